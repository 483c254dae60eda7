//! `lyceum list`.

use lyceum_experiments::ALL;

/// List the experiments that a recipe can name
#[derive(clap::Args)]
pub(crate) struct List {}

impl List {
    pub(crate) fn execute() {
        let width = ALL.iter().map(|experiment| experiment.name().len()).max().unwrap_or(0);
        for experiment in ALL {
            say!("{:width$}  {}", experiment.name(), experiment.about());
        }
    }
}
