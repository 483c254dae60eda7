//! `lyceum completions` and `lyceum man`.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use lyceum_core::{Error, Result};

use crate::{Cli, output};

/// Print completions for a shell
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lyceum completions bash > ~/.local/share/bash-completion/completions/lyceum")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Write man pages, one a sub-command
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lyceum man --out ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// The folder; by default the main page goes to standard output
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn execute(self) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "lyceum", &mut script);
        output::text(&String::from_utf8_lossy(&script));
    }
}

impl Man {
    pub(crate) fn execute(self) -> Result<()> {
        if let Some(folder) = self.out {
            std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
            return clap_mangen::generate_to(Cli::command(), &folder).map_err(Error::io("write to", &folder));
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|error| Error::Failed(error.to_string()))?;
        output::text(&String::from_utf8_lossy(&page));
        Ok(())
    }
}
