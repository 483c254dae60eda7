//! Permuted MNIST by GPM, beside naive fine-tuning and beside PyTorch in the form of GPM's authors: ten tasks of five epochs.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};

use super::Measurements;
use crate::{
    python,
    shell::{self, command, output, release, root, run},
};

/// Tasks, and epochs of each, as the recipe has them.
const TASKS: usize = 10;
const EPOCHS: usize = 5;
/// Streams of this many tasks alternate this many times for the time of an epoch: what a projection costs does not depend on
/// how many tasks are behind, and a machine's speed drifts.
const SHORT: usize = 3;
const ROUNDS: usize = 12;
/// Kept out of earlier tasks' inputs, and not.
const METHODS: [(&str, &str, &str); 2] =
    [("gpm", "GPM", "{gpm={thresholds=[0.95,0.99,0.99],samples=300}}"), ("naive", "naive", "\"naive\"")];

pub(super) fn run_all() -> Result<()> {
    shell::data("mnist")?;
    let folder = root().join("bench");
    // The same as for the kernels: one PyTorch serves both.
    let python = python::environment("bench-kernels", &std::fs::read_to_string(folder.join("kernels-requirements.txt"))?)?;
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?;
    let script = folder.join("continual.py").to_string_lossy().into_owned();
    let mnist = shell::data_folder().join("mnist").to_string_lossy().into_owned();
    let mut measured = Measurements::default();
    let mut ours = |tasks: usize, (peer, name, method): (&str, &str, &str)| -> Result<()> {
        let out = std::env::temp_dir().join(format!("lyceum-bench-continual-{}", std::process::id()));
        let method = format!("strategy.0.method={method}");
        let stream = format!("stream.permuted.tasks={tasks}");
        let mut lyceum = command(&lyceum, &["--quiet", "run", "recipes/continual/pmnist.toml", "--out"]);
        lyceum.arg(&out).args(["--set", &method, "--set", &stream]);
        let start = Instant::now();
        output(&mut lyceum)?;
        let whole = start.elapsed().as_secs_f64();
        let times = epochs(&out.join(name), tasks)?;
        std::fs::remove_dir_all(&out)?;
        println!("{{\"work\": \"{tasks} tasks\", \"peer\": \"{peer}\", \"seconds\": {whole}, \"epochs\": {times:?}}}");
        if tasks == TASKS {
            measured.times.entry(("stream".into(), peer.into())).or_default().push(whole);
        } else {
            measured.times.entry(("epoch".into(), peer.into())).or_default().extend(&times);
        }
        Ok(())
    };
    for _ in 0..ROUNDS {
        METHODS.into_iter().try_for_each(|method| ours(SHORT, method))?;
    }
    METHODS.into_iter().try_for_each(|method| ours(TASKS, method))?;
    measured.alternate(1, &mut [command(&python, &[&script, &mnist, &TASKS.to_string(), &EPOCHS.to_string()])])?;
    let median = |work, peer| measured.median(work, peer);
    // Ours are whole processes, with loading and evaluation; the peer's seconds are those of learning alone.
    measured.finish(
        "continual",
        &[
            ("epoch", "naive", median("epoch", "gpm")?, median("epoch", "naive")?),
            ("stream", "naive", median("stream", "gpm")?, median("stream", "naive")?),
            ("stream", "authors' form", median("stream", "gpm")?, median("stream", "authors' form")?),
        ],
    )
}

/// Seconds of the second and further epochs of the second and further tasks, where GPM projects: from when a run told of one
/// epoch (TensorBoard's events hold the time) until it told of the next.
fn epochs(run: &Path, tasks: usize) -> Result<Vec<f64>> {
    let file =
        std::fs::read_dir(run)?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| path.to_string_lossy().contains("tfevents"));
    let bytes = std::fs::read(file.with_context(|| format!("no events in {}", run.display()))?)?;
    let mut times = Vec::new();
    let mut rest = bytes.as_slice();
    // A record: length (8 bytes), checksum (4), an event whose first field is its time (a byte, 8 bytes), checksum (4).
    while let Some((head, record)) = rest.split_at_checked(12) {
        let length = u64::from_le_bytes(head[..8].try_into()?) as usize;
        times.push(f64::from_le_bytes(record.get(1..9).context("an event without its time")?.try_into()?));
        rest = record.get(length + 4..).context("a record that is cut off")?;
    }
    // The first event names the format; then there is one for every number that an epoch logged, at nearly the same time.
    let logged = times.len() / (tasks * EPOCHS);
    let ends: Vec<f64> = times.into_iter().skip(1).step_by(logged.max(1)).collect();
    Ok((0..ends.len() - 1)
        .filter(|epoch| *epoch >= EPOCHS && epoch % EPOCHS != EPOCHS - 1)
        .map(|epoch| ends[epoch + 1] - ends[epoch])
        .collect())
}
