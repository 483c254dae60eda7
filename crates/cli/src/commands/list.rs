//! `lyceum list`.

use lyceum_core::Progress;
use lyceum_experiments::ALL;
use serde_json::json;

/// List the experiments that a recipe can name
#[derive(clap::Args)]
pub(crate) struct List {}

impl List {
    pub(crate) fn execute(progress: &Progress) {
        let width = ALL.iter().map(|experiment| experiment.name().len()).max().unwrap_or(0);
        for experiment in ALL {
            if progress.is_json() {
                say!("{}", json!({ "name": experiment.name(), "about": experiment.about() }));
            } else {
                say!("{:width$}  {}", experiment.name(), experiment.about());
            }
        }
    }
}
