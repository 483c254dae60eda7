//! A round of 100 clients beside PyTorch in the form of FedDyn's authors and beside Flower's simulation; and whether the authors' code,
//! where there is a copy, comes to the same models.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{self, command, root, run},
    wheel,
};

/// Names a copy of the authors' repository, alpemreacar/FedDyn.
const AUTHORS: &str = "LYCEUM_FEDDYN";

pub(super) fn run_all() -> Result<()> {
    shell::data("mnist")?;
    let folder = root().join("bench");
    let python = python::environment("bench-federated", &std::fs::read_to_string(folder.join("federated-requirements.txt"))?)?;
    wheel::install(&python)?;
    let script = |name: &str| folder.join(name).to_string_lossy().into_owned();
    match std::env::var(AUTHORS) {
        Ok(authors) => run(&python, &[&script("feddyn_agrees.py"), &authors])?,
        Err(_) => eprintln!("{AUTHORS} names no copy of the authors' repository: their models are not compared"),
    }
    let mnist = shell::data_folder().join("mnist").to_string_lossy().into_owned();
    let program = |name: &str| command(&python, &[&script(name), &mnist]);
    let mut measured = Measurements::default();
    let programs = ["federated_lyceum.py", "federated.py", "federated_flower.py"];
    measured.alternate(3, &mut programs.map(program))?;
    let ours = measured.median("round", "lyceum")?;
    let against = |peer: &'static str| -> Result<_> { Ok(("round", peer, ours, measured.median("round", peer)?)) };
    let ratios: [_; 2] = [against("authors' form")?, against("Flower's simulation")?];
    measured.finish("federated", &ratios)
}
