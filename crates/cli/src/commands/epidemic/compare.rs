//! `lyceum epidemic compare`.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use clap::Args;
use lyceum_core::{Error, Progress, Result, interrupt, run as run_files};
use lyceum_epidemic::{
    Config, PolicyName, Simulation,
    evaluate::Outcome,
    report::{self, Compared},
};
use rayon::prelude::*;
use serde_json::json;

use super::{Policy, Simulated, folder, write_report};
use crate::commands::said;

/// Simulate policies beside one another, with many seeds
///
/// Writes OUT/runs.jsonl (one line a simulation, as they come), OUT/table.json, OUT/matched.json and OUT/report.html: curves by policy, R against
/// contacts with a Gaussian process for each, and what no other policy beats. Killed and started again with the same arguments it runs
/// what is missing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum epidemic compare --policies none,bct1,heuristic1,oracle --seeds 5 --people 3000 --out runs/compare
  lyceum epidemic compare --policies none,bct1 --predictor deep-set=runs/predictors/deep-set/predictor.safetensors --out runs/learnt
  lyceum epidemic compare --policies none,bct1 --uptake 0.4215,0.8415 --mobility 0.3,0.5,0.7 --seeds 10 --out runs/frontier")]
pub(crate) struct Compare {
    #[command(flatten)]
    simulated: Simulated,

    /// The policies
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none,bct1,heuristic1,oracle")]
    policies: Vec<Policy>,

    /// A learnt predictor besides: a name, and a file that the experiment `infectiousness` wrote
    #[arg(long = "predictor", value_name = "NAME=FILE")]
    predictors: Vec<String>,

    /// Shares of phone owners with the app; 0.4215, 0.5618 and 0.8415 are 30, 40 and 60 % of all. Policies without one run once
    #[arg(long, value_delimiter = ',', default_value = "0.8415")]
    uptake: Vec<f64>,

    /// Shares of contacts that take place, on top of what policies do
    #[arg(long, value_delimiter = ',', default_value = "1.0")]
    mobility: Vec<f64>,

    /// How many seeds, from 1 on
    #[arg(long, default_value_t = 5)]
    seeds: u64,

    /// The folder for the results
    #[arg(long, short)]
    out: PathBuf,
}

/// One simulation to be run.
struct Cell {
    arm: String,
    config: Config,
}

impl Compare {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let cells = self.cells()?;
        if cells.is_empty() {
            return Err(Error::invalid("--seeds", self.seeds, "1 and more"));
        }
        // Runs of another plan are not those of this one.
        let mut predictors = std::collections::BTreeMap::new();
        for cell in &cells {
            if let Some(path) = &cell.config.predictor
                && !predictors.contains_key(path)
            {
                // What cannot be read is found before anything is written; a changed file is another plan.
                cell.config.tracing()?;
                predictors.insert(path.clone(), crc32c::crc32c(&std::fs::read(path).map_err(Error::io("read", path))?));
            }
        }
        folder(&self.out)?;
        let path = self.out.join("runs.jsonl");
        let plan = self.out.join("plan.json");
        let settings = json!({ "config": self.simulated.config()?, "predictors": predictors, "version": env!("CARGO_PKG_VERSION") });
        let mut runs = if run_files::read_json::<serde_json::Value>(&plan).ok().flatten().as_ref() == Some(&settings) {
            kept(&path)
        } else {
            Vec::new()
        };
        run_files::write_json(&plan, &settings)?;
        let text: String = runs.iter().filter_map(|run| serde_json::to_string(run).ok()).map(|line| line + "\n").collect();
        lyceum_core::atomic::write(&path, text.as_bytes())?;
        let same =
            |run: &Compared, cell: &Cell| run.arm == cell.arm && run.seed == cell.config.seed && run.mobility == cell.config.mobility;
        let missing: Vec<&Cell> = cells.iter().filter(|cell| !runs.iter().any(|run| same(run, cell))).collect();
        let file = std::fs::OpenOptions::new().append(true).open(&path).map_err(Error::io("open", &path))?;
        let out = Mutex::new((
            file,
            progress.task("simulations", (cells.len() - missing.len()) as u64, cells.len() as u64),
            cells.len() - missing.len(),
        ));
        // Those of a seed have the same people: they are drawn once.
        let seeds: Vec<u64> = (1..=self.seeds).collect();
        let found: Vec<Vec<Compared>> = seeds
            .par_iter()
            .map(|seed| {
                let mine: Vec<&&Cell> = missing.iter().filter(|cell| cell.config.seed == *seed).collect();
                let Some(first) = mine.first() else { return Ok(Vec::new()) };
                let population = Arc::new(Simulation::population_of(&first.config)?);
                mine.par_iter()
                    .map(|cell| {
                        if interrupt::requested() {
                            return Err(Error::Interrupted { again: "the same command".into() });
                        }
                        let mut simulation = Simulation::with_population(&cell.config, cell.config.tracing()?, population.clone())?;
                        simulation.run();
                        let n = f64::from(cell.config.people);
                        let run = Compared {
                            arm: cell.arm.clone(),
                            seed: *seed,
                            mobility: cell.config.mobility,
                            outcome: Outcome::of(&simulation),
                            new_infections: simulation.days().iter().map(|day| f64::from(day.new_infections) / n).collect(),
                        };
                        let line = serde_json::to_string(&run).map_err(|error| Error::Failed(error.to_string()))?;
                        if let Ok(mut out) = out.lock() {
                            let (file, task, done) = &mut *out;
                            writeln!(file, "{line}").map_err(Error::io("write", &path))?;
                            *done += 1;
                            task.set(*done as u64, &format!("{}, seed {seed}", cell.arm));
                        }
                        Ok(run)
                    })
                    .collect::<Result<Vec<Compared>>>()
            })
            .collect::<Result<_>>()?;
        drop(out);
        runs.extend(found.into_iter().flatten());
        // In the order of the plan, whatever ran first.
        let runs: Vec<Compared> = cells.iter().filter_map(|cell| runs.iter().find(|run| same(run, cell)).cloned()).collect();
        run_files::write_json(&self.out.join("table.json"), &runs)?;
        let frontiers = report::frontiers(&runs);
        let matched: Vec<_> = report::REFERENCES.iter().filter_map(|reference| report::matched(&frontiers, *reference)).collect();
        run_files::write_json(&self.out.join("matched.json"), &matched)?;
        write_report(&self.out, &report::of_comparison(&runs, &frontiers))?;
        let report = self.out.join("report.html");
        said(progress, &json!({ "event": "compared", "runs": runs.len(), "report": report }), || {
            format!("{} simulations; report: {}", runs.len(), report.display())
        });
        Ok(())
    }

    fn cells(&self) -> Result<Vec<Cell>> {
        let base = self.simulated.config()?;
        let mut cells = Vec::new();
        let mut arms: Vec<(&str, PolicyName, Option<PathBuf>)> =
            self.policies.iter().map(|Policy(policy)| (policy.name(), *policy, base.predictor.clone())).collect();
        for predictor in &self.predictors {
            let wrong = || Error::invalid("--predictor", predictor, "NAME=FILE");
            let (name, file) = predictor.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty()).ok_or_else(wrong)?;
            if arms.iter().any(|(other, ..)| *other == name) {
                return Err(Error::invalid("--predictor", predictor, "a name that no other arm has"));
            }
            arms.push((name, PolicyName::Learnt, Some(file.into())));
        }
        for (name, policy, predictor) in arms {
            let traces = policy.traces();
            for (place, uptake) in self.uptake.iter().enumerate() {
                if !traces && place > 0 {
                    continue;
                }
                let arm = if traces && self.uptake.len() > 1 { format!("{name}, uptake {uptake}") } else { name.to_owned() };
                for mobility in &self.mobility {
                    for seed in 1..=self.seeds {
                        let predictor = predictor.clone();
                        let config = Config { policy, predictor, uptake: *uptake, mobility: *mobility, seed, ..base.clone() };
                        config.check()?;
                        cells.push(Cell { arm: arm.clone(), config });
                    }
                }
            }
        }
        Ok(cells)
    }
}

/// Runs that were finished before; a line that was being written is none.
fn kept(path: &Path) -> Vec<Compared> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
