//! Training steps beside PyTorch's, and the rates of the operators, on one thread and on two.

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{command, root, run},
};

const NETS: [&str; 6] = ["mlp", "cnn", "resnet", "mobilenet-v2", "densenet40", "transformer"];
/// How PyTorch can run a network: eagerly, with channels last, compiled.
const FORMS: [&str; 3] = ["eager", "channels-last", "compiled"];

pub(super) fn run_all() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-kernels", &std::fs::read_to_string(folder.join("kernels-requirements.txt"))?)?;
    let script = folder.join("kernels.py").to_string_lossy().into_owned();
    run("cargo", &["bench", "--workspace", "--bench", "nets", "--bench", "operators", "--no-run"])?;
    let mut measured = Measurements::default();
    for threads in ["1", "2"] {
        let ours = |bench| {
            let mut ours = command("cargo", &["bench", "--quiet", "--workspace", "--bench", bench]);
            // Memory is kept, as the program does.
            ours.env("RAYON_NUM_THREADS", threads).env("MIMALLOC_PURGE_DELAY", "-1");
            ours
        };
        measured.alternate(5, &mut [ours("nets"), command(&python, &[&script, threads])])?;
        measured.alternate(1, &mut [ours("operators")])?;
    }
    let mut ratios = Vec::new();
    let names: Vec<String> = NETS.iter().flat_map(|net| [format!("{net}-1"), format!("{net}-2")]).collect();
    for name in &names {
        // Beside the fastest form.
        let fastest = FORMS.iter().filter_map(|form| measured.median(name, form).ok()).fold(f64::INFINITY, f64::min);
        ratios.push((name.as_str(), "pytorch", measured.median(name, "lyceum")?, fastest));
    }
    for net in ["cnn", "resnet"] {
        let [one, two] = [1, 2].map(|threads| measured.median(&format!("{net}-{threads}"), "lyceum"));
        ratios.push((net, "one-thread", two?, one?));
    }
    measured.finish("kernels", &ratios)
}
