//! Networks of other tools beside onnxruntime: what they give, and pictures a second from files to sets.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{self, command, root, target},
    wheel,
};

pub(super) fn run_all() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-onnx", &std::fs::read_to_string(folder.join("onnx-requirements.txt"))?)?;
    shell::run("cargo", &["build", "--release"])?;
    wheel::install(&python)?;
    let script = folder.join("onnx_files.py").to_string_lossy().into_owned();
    let mut measured = Measurements::default();
    measured.alternate(1, &mut [command(&python, &[&script, "networks"])])?;
    let pictures = target()?.join("bench-onnx").to_string_lossy().into_owned();
    let png = |peer| {
        let mut png = command(&python, &[&script, "png", &pictures, peer]);
        png.env("LYCEUM", target().unwrap_or_default().join("release/lyceum"));
        png
    };
    measured.alternate(7, &mut [png("lyceum"), png("onnxruntime")])?;
    let ratios = [("png", "onnxruntime", measured.median("png", "lyceum")?, measured.median("png", "onnxruntime")?)];
    measured.finish("onnx", &ratios)
}
