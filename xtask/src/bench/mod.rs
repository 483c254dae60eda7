//! `cargo xtask bench`: programs that print their times in turn, and the ratios of their medians.
//!
//! A program prints one JSON object a line: `{"work": "raps", "peer": "lyceum", "seconds": 0.021}`; more keys are
//! passed on. The peers are measured in turn (A B C A B C …), so a drift of the machine's speed meets all of them.

mod active;
mod conformal;
mod continual;
mod epidemic;
mod federated;
mod kernels;
mod masking;
mod multitask;
mod onnx;
mod predict;
mod sam;

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    machine,
    shell::{output, root},
};

pub(crate) fn run(name: &str) -> Result<()> {
    match name {
        "sam" => sam::run(),
        "conformal" => conformal::run(),
        "active" => active::run(),
        "kernels" => kernels::run_all(),
        "continual" => continual::run_all(),
        "epidemic" => epidemic::run_all(),
        "federated" => federated::run_all(),
        "masking" => masking::run_all(),
        "multitask" => multitask::run(),
        "onnx" => onnx::run_all(),
        "predict" => predict::run_all(),
        _ => bail!(
            "no bench `{name}`; there are: sam, conformal, active, kernels, continual, epidemic, federated, masking, multitask, onnx, predict"
        ),
    }
}

/// Times by (work, peer), and lines that hold something else than a time.
#[derive(Default)]
struct Measurements {
    times: BTreeMap<(String, String), Vec<f64>>,
    rates: Vec<Value>,
}

impl Measurements {
    /// Runs the programs in turn, `rounds` times, and collects what they print.
    fn alternate(&mut self, rounds: usize, programs: &mut [Command]) -> Result<()> {
        for _ in 0..rounds {
            for program in &mut *programs {
                for line in output(program)?.lines().filter(|line| line.starts_with('{')) {
                    let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
                    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
                    println!("{line}");
                    let Some(seconds) = value["seconds"].as_f64() else {
                        self.rates.push(value);
                        continue;
                    };
                    self.times.entry((text("work"), text("peer"))).or_default().push(seconds);
                }
            }
        }
        Ok(())
    }

    fn median(&self, work: &str, peer: &str) -> Result<f64> {
        let mut times =
            self.times.get(&(work.to_owned(), peer.to_owned())).cloned().with_context(|| format!("{work} by {peer} was not measured"))?;
        times.sort_by(f64::total_cmp);
        Ok(0.5 * (times[(times.len() - 1) / 2] + times[times.len() / 2]))
    }

    /// Prints `ratio WORK/PEER VALUE` for each of `ratios` (work, peer, our median, theirs), and writes all of it to
    /// `results/bench/NAME.json`.
    fn finish(&self, name: &str, ratios: &[(&str, &str, f64, f64)]) -> Result<()> {
        let mut medians = Vec::new();
        for (work, peer) in self.times.keys() {
            medians.push(json!({ "work": work, "peer": peer, "median_seconds": self.median(work, peer)?, "runs": self.times[&(work.clone(), peer.clone())] }));
        }
        let shown: Vec<Value> =
            ratios.iter().map(|(work, peer, ours, theirs)| json!({ "work": work, "peer": peer, "ratio": ours / theirs })).collect();
        let folder = root().join("results/bench");
        std::fs::create_dir_all(&folder)?;
        let text = serde_json::to_string_pretty(
            &json!({ "machine": machine::describe()?, "ratios": shown, "rates": self.rates, "medians": medians }),
        )?;
        std::fs::write(folder.join(format!("{name}.json")), text + "\n")?;
        for (work, peer, ours, theirs) in ratios {
            println!("ratio {work}/{peer} {:.4}", ours / theirs);
        }
        Ok(())
    }
}
