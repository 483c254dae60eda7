//! `lyceum epidemic compare`.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use clap::Args;
use lyceum_core::{Error, Progress, Result, run as run_files};
use lyceum_epidemic::{
    Config, PolicyName, Simulation,
    evaluate::Outcome,
    report::{self, Compared},
};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{Policy, Simulated, folder, write_report};
use crate::commands::said;

/// Simulate policies and scenarios beside one another, with many seeds
///
/// Writes OUT/runs.jsonl (one line a simulation, as they come), OUT/table.json, OUT/matched.json and OUT/report.html: curves by policy, R against
/// contacts with a Gaussian process for each, and what no other policy beats. Killed and started again with the same arguments it runs
/// what is missing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum epidemic compare --policies none,bct1,heuristic1,oracle --seeds 5 --people 3000 --out runs/compare
  lyceum epidemic compare --policies none,bct1 --predictor deep-set=runs/predictors/deep-set/predictor.safetensors --out runs/learnt
  lyceum epidemic compare --scenario open=open.toml --scenario closed=closed.toml --seeds 10 --out runs/scenarios
  lyceum epidemic compare --policies none,bct1 --uptake 0.4215,0.8415 --mobility 0.3,0.5,0.7 --seeds 10 --out runs/frontier")]
pub(crate) struct Compare {
    #[command(flatten)]
    simulated: Simulated,

    /// The policies [default: none,bct1,heuristic1,oracle, or those of the scenarios]
    #[arg(long, value_enum, value_delimiter = ',')]
    policies: Vec<Policy>,

    /// A scenario: a name, and a configuration with its interventions. Each policy is simulated in each scenario
    #[arg(long = "scenario", value_name = "NAME=FILE", conflicts_with = "config")]
    scenarios: Vec<String>,

    /// A learnt predictor as an additional policy: a name, and a file written by the experiment `infectiousness`
    #[arg(long = "predictor", value_name = "NAME=FILE")]
    predictors: Vec<String>,

    /// Shares of phone owners with the app; 0.4215, 0.5618 and 0.8415 are 30, 40 and 60 % of all. Policies without one run once
    /// [default: the configuration's, 0.8415]
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    uptake: Vec<f64>,

    /// Shares of contacts that take place, on top of what policies do [default: the configuration's, 1]
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
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
        let mine = plan(&cells)?;
        folder(&self.out)?;
        let (path, kept_plan) = (self.out.join("runs.jsonl"), self.out.join("plan.json"));
        // Runs of another plan are not those of this one; those of arms that it does not have are kept for one that does.
        let mut plan: BTreeMap<String, Value> = run_files::read_json(&kept_plan).ok().flatten().unwrap_or_default();
        let mut runs = kept(&path);
        runs.retain(|run| mine.get(&run.arm).or(plan.get(&run.arm)).is_some_and(|arm| plan.get(&run.arm) == Some(arm)));
        plan.extend(mine);
        run_files::write_json(&kept_plan, &plan)?;
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
        // People are drawn once for all that have the same.
        let mut by_people: BTreeMap<(u64, u32), Vec<&Cell>> = BTreeMap::new();
        for cell in missing {
            by_people.entry((cell.config.seed, Simulation::people_key(&cell.config)?)).or_default().push(cell);
        }
        let by_people: Vec<Vec<&Cell>> = by_people.into_values().collect();
        let found: Vec<Vec<Compared>> = by_people
            .par_iter()
            .map(|cells| {
                let population = Arc::new(Simulation::population_of(&cells[0].config)?);
                cells
                    .par_iter()
                    .map(|cell| {
                        let mut simulation = Simulation::with_population(&cell.config, cell.config.tracing()?, population.clone())?;
                        simulation.run()?;
                        let (n, seed) = (f64::from(cell.config.people), cell.config.seed);
                        let run = Compared {
                            arm: cell.arm.clone(),
                            seed,
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
        let or = |given: &[f64], own: f64| if given.is_empty() { vec![own] } else { given.to_vec() };
        let mut cells: Vec<Cell> = Vec::new();
        for Cell { arm, config: base } in self.arms()? {
            let traces = base.policy.traces();
            for (place, uptake) in or(&self.uptake, base.uptake).into_iter().enumerate() {
                if !traces && place > 0 {
                    continue;
                }
                let arm = if traces && self.uptake.len() > 1 { format!("{arm}, uptake {uptake}") } else { arm.clone() };
                for mobility in or(&self.mobility, base.mobility) {
                    let config = Config { uptake, mobility, ..base.clone() };
                    config.check()?;
                    cells.extend((1..=self.seeds).map(|seed| Cell { arm: arm.clone(), config: Config { seed, ..config.clone() } }));
                }
            }
        }
        Ok(cells)
    }

    /// What is compared, whatever adoption, mobility and seed: policies, in scenarios if there are some.
    fn arms(&self) -> Result<Vec<Cell>> {
        let mut scenarios = Vec::new();
        for scenario in &self.scenarios {
            let (name, file) = named("--scenario", scenario)?;
            scenarios.push((Some(name), self.simulated.changing(Some(Path::new(file)))?));
        }
        if scenarios.is_empty() {
            scenarios.push((None, self.simulated.config()?));
        }
        let given = self.policies.iter().map(|Policy(policy)| *policy);
        let policies = if self.policies.is_empty() && self.scenarios.is_empty() { POLICIES.to_vec() } else { given.collect() };
        let mut policies: Vec<(&str, PolicyName, Option<PathBuf>)> =
            policies.into_iter().map(|policy| (policy.name(), policy, None)).collect();
        for predictor in &self.predictors {
            let (name, file) = named("--predictor", predictor)?;
            policies.push((name, PolicyName::Learnt, Some(file.into())));
        }
        let mut arms: Vec<Cell> = Vec::new();
        for (scenario, base) in scenarios {
            let of = |(name, policy, predictor): &(&str, PolicyName, Option<PathBuf>)| Cell {
                arm: scenario.map_or_else(|| (*name).to_owned(), |scenario| format!("{scenario}, {name}")),
                config: Config { policy: *policy, predictor: predictor.clone().or_else(|| base.predictor.clone()), ..base.clone() },
            };
            match scenario {
                Some(scenario) if policies.is_empty() => arms.push(Cell { arm: scenario.to_owned(), config: base.clone() }),
                _ => arms.extend(policies.iter().map(of)),
            }
        }
        for (place, Cell { arm, .. }) in arms.iter().enumerate() {
            if arms[..place].iter().any(|other| other.arm == *arm) {
                return Err(Error::invalid("what is compared", format!("`{arm}` twice"), "names that no other has"));
            }
        }
        Ok(arms)
    }
}

/// What each arm simulates, with whatever mobility and seed: what it comes to must not change between runs that are kept.
fn plan(cells: &[Cell]) -> Result<BTreeMap<String, Value>> {
    let mut plan = BTreeMap::new();
    for Cell { arm, config } in cells {
        if plan.contains_key(arm) {
            continue;
        }
        if config.predictor.is_some() {
            // What cannot be read is found before anything is written.
            config.tracing()?;
        }
        // A changed region or predictor is another plan, and so are other people.
        let (files, people) = (config.files()?, Simulation::people_key(&Config { seed: 0, ..config.clone() })?);
        let uptake = if config.policy.traces() { config.uptake } else { 0.0 };
        let config = Config { seed: 0, mobility: 1.0, uptake, ..config.clone() };
        plan.insert(arm.clone(), json!({ "config": config, "files": files, "people": people, "version": env!("CARGO_PKG_VERSION") }));
    }
    Ok(plan)
}

/// What is compared where nothing is said.
const POLICIES: [PolicyName; 4] = [PolicyName::None, PolicyName::Bct1, PolicyName::Heuristic1, PolicyName::Oracle];

/// A name and a file.
fn named<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
    text.split_once('=')
        .filter(|(name, file)| !name.is_empty() && !file.is_empty())
        .ok_or_else(|| Error::invalid(option, text, "NAME=FILE"))
}

/// Runs that were finished before; a line that was being written is none.
fn kept(path: &Path) -> Vec<Compared> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
