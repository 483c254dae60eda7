//! `lyceum completions` and `lyceum man`.

use std::{io, path::PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;
use lyceum_core::{Error, Result};

use crate::Cli;

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
        clap_complete::generate(self.shell, &mut Cli::command(), "lyceum", &mut io::stdout());
    }
}

impl Man {
    pub(crate) fn execute(self) -> Result<()> {
        match self.out {
            Some(folder) => {
                std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
                clap_mangen::generate_to(Cli::command(), &folder).map_err(Error::io("write to", &folder))
            }
            None => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()).map_err(Error::io("write", "standard output")),
        }
    }
}
