//! Permuted MNIST by GPM, beside naive fine-tuning and beside PyTorch in the form of GPM's authors.

use std::time::Instant;

use anyhow::Result;

use super::Measurements;
use crate::{
    data, python,
    shell::{command, output, release, root, run},
};

/// Tasks, and epochs of each.
const TASKS: u32 = 3;
const EPOCHS: u32 = 1;

pub(super) fn run_all() -> Result<()> {
    data::bring("mnist")?;
    let folder = root().join("bench");
    // The same as for the kernels: one PyTorch serves both.
    let python = python::environment("bench-kernels", &std::fs::read_to_string(folder.join("kernels-requirements.txt"))?)?;
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?;
    let script = folder.join("continual.py").to_string_lossy().into_owned();
    let mnist = data::folder().join("mnist").to_string_lossy().into_owned();
    let mut measured = Measurements::default();
    for _ in 0..3 {
        for (peer, method) in [("gpm", "{gpm={thresholds=[0.95,0.99,0.99],samples=300}}"), ("naive", "\"naive\"")] {
            let out = std::env::temp_dir().join(format!("lyceum-bench-continual-{}", std::process::id()));
            let run = out.to_string_lossy().into_owned();
            let sets =
                [format!("stream.permuted.tasks={TASKS}"), format!("training.epochs={EPOCHS}"), format!("strategy.0.method={method}")];
            let mut arguments = vec!["--quiet", "run", "recipes/continual/pmnist.toml", "--out", &run];
            sets.iter().for_each(|set| arguments.extend(["--set", set]));
            let start = Instant::now();
            output(&mut command(&lyceum, &arguments))?;
            let seconds = start.elapsed().as_secs_f64();
            std::fs::remove_dir_all(&out)?;
            println!("{{\"work\": \"stream\", \"peer\": \"{peer}\", \"seconds\": {seconds}}}");
            measured.times.entry(("stream".into(), peer.into())).or_default().push(seconds);
        }
        measured.alternate(1, &mut [command(&python, &[&script, &mnist, &TASKS.to_string(), &EPOCHS.to_string()])])?;
    }
    let median = |peer| measured.median("stream", peer);
    // Ours are whole processes, with loading and evaluation; the peer's seconds are those of learning alone.
    measured.finish(
        "continual",
        &[("gpm", "naive", median("gpm")?, median("naive")?), ("gpm", "authors' form", median("gpm")?, median("authors' form")?)],
    )
}
