//! RAPS on 50,000 × 1,000 logits of a good and of a weak classifier, half to calibrate, half to predict, beside its peers.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{self, command, root},
    wheel,
};

pub(super) fn run() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-conformal", &std::fs::read_to_string(folder.join("conformal-requirements.txt"))?)?;
    let data = shell::cache().join("bench/conformal");
    let data = data.to_string_lossy().into_owned();
    let script = folder.join("conformal.py").to_string_lossy().into_owned();
    shell::run(&python, &[&script, "data", &data])?;
    shell::run("cargo", &["bench", "--workspace", "--bench", "raps", "--no-run"])?;
    wheel::install(&python)?;
    shell::run(&python, &[&folder.join("conformal_agrees.py").to_string_lossy()])?;
    let mut measured = Measurements::default();
    let ours = || command("cargo", &["bench", "--quiet", "--workspace", "--bench", "raps", "--", &data]);
    let in_python = |peer| command(&python, &[&script, peer, &data]);
    measured.alternate(3, &mut [ours(), in_python("lyceum"), in_python("torchcp")])?;
    // These need minutes and much memory: once is enough to see whether they are the fastest. A peer that does not end
    // in the time given is left out, and said to be.
    let limit = std::env::var("LYCEUM_BENCH_LIMIT").unwrap_or_else(|_| "900".into());
    let mut peers = vec!["torchcp"];
    for name in ["crepes", "mapie"] {
        let peer = command("timeout", &[&limit, &python.to_string_lossy(), &script, name, &data]);
        match measured.alternate(1, &mut [ours(), peer]) {
            Ok(()) => peers.push(name),
            Err(error) => println!("not measured: {name} ({error})"),
        }
    }
    let (ours, wheel) = (measured.median("raps", "lyceum")?, measured.median("raps", "wheel")?);
    let mut ratios = Vec::new();
    for name in peers {
        let theirs = measured.median("raps", name)?;
        ratios.extend([("raps", name, ours, theirs), ("raps-in-python", name, wheel, theirs)]);
    }
    for (work, name) in [("weak", "lyceum"), ("weak-in-python", "wheel")] {
        ratios.push((work, "torchcp", measured.median("weak", name)?, measured.median("weak", "torchcp")?));
    }
    ratios.push(("raps", "read", ours, measured.median("read", "lyceum")?));
    ratios.push(("calibrate", "read", measured.median("calibrate", "lyceum")?, measured.median("read", "lyceum")?));
    measured.finish("conformal", &ratios)
}
