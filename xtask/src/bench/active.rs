//! A batch from a pool of a million points, scored, drawn and weighted, beside scikit-activeml.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{command, root},
    wheel,
};

pub(super) fn run() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-active", &std::fs::read_to_string(folder.join("active-requirements.txt"))?)?;
    wheel::install(&python)?;
    let script = folder.join("active.py").to_string_lossy().into_owned();
    let mut measured = Measurements::default();
    measured.alternate(5, &mut ["lyceum", "skactiveml"].map(|peer| command(&python, &[&script, peer])))?;
    let [ours, theirs] = ["lyceum", "skactiveml"].map(|peer| measured.median("batch", peer));
    measured.finish("active", &[("batch", "skactiveml", ours?, theirs?)])
}
