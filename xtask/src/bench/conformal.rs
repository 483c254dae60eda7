//! RAPS on 50,000 × 1,000 logits, half to calibrate, half to predict, beside its peers.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{self, command, root},
};

pub(super) fn run() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-conformal", &std::fs::read_to_string(folder.join("conformal-requirements.txt"))?)?;
    let data = shell::cache().join("bench/conformal");
    let data = data.to_string_lossy().into_owned();
    let script = folder.join("conformal.py").to_string_lossy().into_owned();
    shell::run(&python, &[&script, "data", &data])?;
    shell::run("cargo", &["bench", "--workspace", "--bench", "raps", "--no-run"])?;
    let mut measured = Measurements::default();
    let ours = || command("cargo", &["bench", "--quiet", "--workspace", "--bench", "raps", "--", &data]);
    let peer = |name: &str| command(&python, &[&script, name, &data]);
    measured.alternate(3, &mut [ours(), peer("torchcp"), ours(), peer("crepes")])?;
    // MAPIE needs minutes and most of the memory: once is enough to see that it is not the fastest.
    measured.alternate(1, &mut [ours(), peer("mapie")])?;
    let ours = measured.median("raps", "lyceum")?;
    let mut ratios = Vec::new();
    for name in ["torchcp", "crepes", "mapie"] {
        ratios.push(("raps", name, ours, measured.median("raps", name)?));
    }
    ratios.push(("raps", "read", ours, measured.median("read", "lyceum")?));
    ratios.push(("calibrate", "read", measured.median("calibrate", "lyceum")?, measured.median("read", "lyceum")?));
    measured.finish("conformal", &ratios)
}
