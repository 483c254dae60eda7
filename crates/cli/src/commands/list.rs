//! `lyceum list`.

use crate::experiments::EXPERIMENTS;

/// List the experiments that a recipe can name
#[derive(clap::Args)]
pub(crate) struct List {}

impl List {
    pub(crate) fn execute() {
        let width = EXPERIMENTS.iter().map(|experiment| experiment.name().len()).max().unwrap_or(0);
        for experiment in EXPERIMENTS {
            say!("{:width$}  {}", experiment.name(), experiment.about());
        }
    }
}
