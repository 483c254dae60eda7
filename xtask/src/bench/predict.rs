//! Logits of trained networks beside ONNX Runtime's, on one thread and on two.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{command, root, run},
};

const NETS: [&str; 3] = ["resnet20", "feddyn-cnn", "mobilenet-v2"];

pub(super) fn run_all() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-predict", &std::fs::read_to_string(folder.join("predict-requirements.txt"))?)?;
    let script = folder.join("predict.py").to_string_lossy().into_owned();
    run("cargo", &["bench", "--workspace", "--bench", "predict", "--no-run"])?;
    let mut measured = Measurements::default();
    for threads in ["1", "2"] {
        let mut ours = command("cargo", &["bench", "--quiet", "--workspace", "--bench", "predict"]);
        ours.env("RAYON_NUM_THREADS", threads).env("MIMALLOC_PURGE_DELAY", "-1");
        measured.alternate(5, &mut [ours, command(&python, &[&script, threads])])?;
    }
    let names: Vec<String> = NETS
        .iter()
        .flat_map(|net| [1, 32, 256].into_iter().flat_map(move |batch| [1, 2].map(|threads| format!("{net}-{batch}-{threads}"))))
        .collect();
    let mut ratios = Vec::new();
    for name in &names {
        ratios.push((name.as_str(), "onnxruntime", measured.median(name, "lyceum")?, measured.median(name, "onnxruntime")?));
    }
    measured.finish("predict", &ratios)
}
