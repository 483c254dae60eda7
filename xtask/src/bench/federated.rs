//! A round of 100 clients beside PyTorch in the form of FedDyn's authors.

use anyhow::Result;

use super::Measurements;
use crate::{
    data, python,
    shell::{command, root, run},
};

pub(super) fn run_all() -> Result<()> {
    data::bring("mnist")?;
    let folder = root().join("bench");
    // The same as for the kernels: one PyTorch serves both.
    let python = python::environment("bench-kernels", &std::fs::read_to_string(folder.join("kernels-requirements.txt"))?)?;
    run("cargo", &["bench", "--workspace", "--bench", "round", "--no-run"])?;
    let script = folder.join("federated.py").to_string_lossy().into_owned();
    let mnist = data::folder().join("mnist").to_string_lossy().into_owned();
    let mut measured = Measurements::default();
    let ours = command("cargo", &["bench", "--quiet", "--workspace", "--bench", "round"]);
    measured.alternate(3, &mut [ours, command(&python, &[&script, &mnist])])?;
    let (ours, theirs) = (measured.median("round", "lyceum")?, measured.median("round", "authors' form")?);
    measured.finish("federated", &[("round", "authors' form", ours, theirs)])
}
