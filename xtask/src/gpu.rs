//! `cargo xtask gpu`: training through WebGPU, on a Vulkan of software where there is no other.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};

use crate::shell::{command, has, root, run, run_command, target};

/// How far a loss may be from the CPU's, beside it: sums come in another order.
const TOLERANCE: f64 = 1e-5;
/// Steps of each arm that are compared.
const STEPS: usize = 5;

/// Builds with the feature `wgpu` and compares the losses of the quick start's first steps with the CPU's.
pub(crate) fn compare() -> Result<()> {
    let drivers = Path::new("/usr/share/vulkan/icd.d");
    if !drivers.exists() && has("apt-get") {
        run("apt-get", &["update", "-qq"])?;
        run("apt-get", &["install", "-y", "-qq", "mesa-vulkan-drivers"])?;
    }
    let folder = target()?.join("gpu");
    let features = ["build", "--release", "--package", "lyceum", "--features", "wgpu", "--target-dir"];
    run_command(command("cargo", &features).arg(&folder))?;
    let binary = folder.join("release/lyceum");
    let mut losses = Vec::new();
    for device in ["cpu", "wgpu"] {
        let out = folder.join(format!("run-{device}"));
        if out.exists() {
            std::fs::remove_dir_all(&out)?;
        }
        // One batch an epoch: a loss is logged for each step.
        let mut words = vec!["--quiet".to_owned(), "run".into(), root().join("recipes/quickstart.toml").display().to_string()];
        let steps = format!("training.epochs={STEPS}");
        for change in [&format!("device=\"{device}\""), "seeds=1", "data.limit=64", "training.batch_size=64", &steps] {
            words.extend(["--set".to_owned(), change.to_owned()]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run_command(command(&binary, &words).arg("--out").arg(&out))?;
        losses.push(losses_of(&out)?);
    }
    let (cpu, gpu) = (&losses[0], &losses[1]);
    ensure!(!cpu.is_empty() && cpu.len() == gpu.len(), "the runs have other arms: {cpu:?} {gpu:?}");
    println!("| arm | step | cpu | wgpu | difference beside the loss |\n|---|---:|---:|---:|---:|");
    let mut worst = 0.0_f64;
    for (arm, cpu) in cpu {
        let gpu = gpu.get(arm).context("an arm is missing")?;
        for (step, (a, b)) in cpu.iter().zip(gpu).enumerate() {
            let difference = (a - b).abs() / a.abs();
            println!("| {arm} | {} | {a:.6} | {b:.6} | {difference:.1e} |", step + 1);
            worst = worst.max(difference);
        }
    }
    ensure!(worst <= TOLERANCE, "the largest difference is {worst:.1e}; allowed: {TOLERANCE:.0e}");
    println!("\nlargest difference {worst:.1e} (allowed {TOLERANCE:.0e})");
    Ok(())
}

/// The training loss of each step, by arm.
fn losses_of(run: &Path) -> Result<BTreeMap<String, Vec<f64>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(run)? {
        let file = entry?.path().join("metrics.jsonl");
        if !file.is_file() {
            continue;
        }
        let arm = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let loss = |line: &str| -> Result<f64> {
            serde_json::from_str::<serde_json::Value>(line)?["train_loss"].as_f64().context("a line without a loss")
        };
        found.insert(arm, std::fs::read_to_string(&file)?.lines().map(loss).collect::<Result<Vec<f64>>>()?);
    }
    Ok(found)
}
