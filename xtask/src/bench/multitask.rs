//! Gradients of several tasks combined, beside torchjd, the sequential form, and a plain sweep of the same bytes.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{self, command, root},
    wheel,
};

pub(super) fn run() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-multitask", &std::fs::read_to_string(folder.join("multitask-requirements.txt"))?)?;
    wheel::install(&python)?;
    shell::run("cargo", &["bench", "--workspace", "--bench", "combine", "--no-run"])?;
    let script = folder.join("multitask.py").to_string_lossy().into_owned();
    let ours = || command("cargo", &["bench", "--quiet", "--workspace", "--bench", "combine"]);
    let in_python = |peer| command(&python, &[&script, peer]);
    let mut measured = Measurements::default();
    measured.alternate(5, &mut [ours(), in_python("wheel"), in_python("torchjd"), in_python("sequential")])?;
    let median = |work, peer| measured.median(work, peer);
    let sweep = median("read-read-write", "lyceum")?;
    let ratios = [
        ("pcgrad", "torchjd", median("pcgrad", "lyceum")?, median("pcgrad", "torchjd")?),
        ("pcgrad-in-python", "torchjd", median("pcgrad", "wheel")?, median("pcgrad", "torchjd")?),
        ("gradient-vaccine", "sequential", median("gradient-vaccine", "lyceum")?, median("gradient-vaccine", "sequential")?),
        ("gradient-vaccine-in-python", "sequential", median("gradient-vaccine", "wheel")?, median("gradient-vaccine", "sequential")?),
        ("pcgrad", "read-read-write", median("pcgrad", "lyceum")?, sweep),
        ("gradient-vaccine", "read-read-write", median("gradient-vaccine", "lyceum")?, sweep),
    ];
    measured.finish("multitask", &ratios)
}
