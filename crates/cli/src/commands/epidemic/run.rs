//! `lyceum epidemic run`.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use lyceum_core::{Error, Progress, Result, atomic, interrupt, run as run_files};
use lyceum_epidemic::{Config, Deciding, PolicyName, Simulation, report, table};
use serde_json::json;

use super::{Policy, Simulated, folder, write_report};
use crate::commands::said;

/// Simulate an epidemic
///
/// Writes to OUT: days.parquet, infections.parquet (a line list), reproduction.parquet (R by day), summary.json, report.html, and
/// `state`, the simulation as it ended: --from continues it.
/// If interrupted, run the same command again to resume.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum epidemic run --people 100000 --policy bct1 --out runs/bct1
  lyceum epidemic run --people 1000000 --days 100 --policy heuristic1 --uptake 0.56 --out runs/large
  lyceum epidemic run --predictor runs/predictors/deep-set/predictor.safetensors --out runs/learnt
  lyceum epidemic run recipes/epidemic/closures.toml --out runs/closures
  lyceum epidemic run montreal.toml --set transmission.contagion=30 --seed 7 --out runs/more
  lyceum epidemic run --from runs/none/state --policy lockdown --days 120 --out runs/what-if")]
pub(crate) struct Run {
    #[command(flatten)]
    simulated: Simulated,

    /// The policy: who is asked to stay at home, and why [default: none]
    #[arg(long, value_enum)]
    policy: Option<Policy>,

    /// Trace by a learnt predictor: a file that the experiment `infectiousness` wrote
    #[arg(long, value_name = "FILE")]
    predictor: Option<PathBuf>,

    /// The share of those with a smartphone who have the app; 0.8415 are 60 % of all
    #[arg(long, allow_negative_numbers = true)]
    uptake: Option<f64>,

    /// The share of contacts that take place, on top of what the policy does
    #[arg(long, allow_negative_numbers = true)]
    mobility: Option<f64>,

    /// The seed of all randomness
    #[arg(long)]
    seed: Option<u64>,

    /// Go on from the state of another run: its people, its infections, from its last day on
    #[arg(long, conflicts_with = "config")]
    from: Option<PathBuf>,

    /// Write the contacts of each day to OUT/contacts (large)
    #[arg(long)]
    contacts: bool,

    /// Write the states of people by hour to OUT/hours.parquet
    #[arg(long)]
    hours: bool,

    /// Days between two checkpoints
    #[arg(long, default_value_t = 20)]
    checkpoint_every: u32,

    /// The folder for the results
    #[arg(long, short)]
    out: PathBuf,
}

impl Run {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let state = self.out.join("state");
        let begun = Instant::now();
        let mut simulation = self.begin(&state)?;
        let made = begun.elapsed();
        let config = simulation.config().clone();
        if self.contacts && !config.count_contacts {
            return Err(Error::invalid("--contacts", "count_contacts = false", "count_contacts = true, so that all contacts are drawn"));
        }
        folder(&self.out)?;
        let (begun, first) = (Instant::now(), simulation.days().len());
        let mut task = progress.task("days", simulation.days().len() as u64, u64::from(config.days));
        while !simulation.is_over() {
            if let Err(stop) = interrupt::check() {
                simulation.save(&state)?;
                return Err(stop);
            }
            let day = if self.contacts {
                let (day, contacts) = simulation.step_with_contacts();
                atomic::own_folder(&self.out.join("contacts"))?;
                table::contacts(&contacts).write_parquet(&self.out.join(format!("contacts/day-{:04}.parquet", day.day)))?;
                day
            } else {
                simulation.step()
            };
            task.set(u64::from(day.day) + 1, &format!("{} infectious, {} in quarantine", day.infectious, day.quarantined));
            if self.checkpoint_every > 0 && (day.day + 1) % self.checkpoint_every == 0 && !simulation.is_over() {
                simulation.save(&state)?;
            }
        }
        drop(task);
        let seconds = begun.elapsed().as_secs_f64();
        write(&self.out, &simulation)?;
        if self.hours {
            table::hours(&simulation).write_parquet(&self.out.join("hours.parquet"))?;
        }
        simulation.save(&state)?;
        let summary = report::Summary::of(&simulation);
        let text = format!(
            "{} of {} people were infected, {} died, {} at most were in hospital; report: {}",
            simulation.infections().len(),
            config.people,
            simulation.days().last().map_or(0, |day| day.dead),
            simulation.days().iter().map(|day| day.in_hospital).max().unwrap_or(0),
            self.out.join("report.html").display(),
        );
        said(
            progress,
            &json!({
                "event": "simulated", "out": self.out, "outcome": summary.outcome, "people": config.people,
                "days": simulation.days().len() - first, "seconds": seconds, "population_seconds": made.as_secs_f64(),
            }),
            || text,
        );
        Ok(())
    }

    /// A new simulation, or one that goes on.
    fn begin(&self, state: &Path) -> Result<Simulation> {
        if let Some(from) = &self.from {
            let changed = std::cell::RefCell::new(Ok(()));
            let simulation = Simulation::load_with(
                from,
                |config| match self.config(config.clone()) {
                    Ok(new) => *config = new,
                    Err(error) => *changed.borrow_mut() = Err(error),
                },
                Deciding::Now(None),
            );
            changed.into_inner()?;
            return simulation;
        }
        let config = self.config(self.simulated.config()?)?;
        config.check()?;
        if state.exists() {
            // Only what is the same simulation goes on; a longer one goes on too.
            if let Ok(before) = Simulation::load(state) {
                let as_long = Config { days: config.days, ..before.config().clone() };
                if as_long == config && before.days().len() <= config.days as usize {
                    return Simulation::load_with(state, |before| before.days = config.days, Deciding::AsBefore);
                }
            }
        }
        Simulation::new(&config)
    }

    /// With the options that stand beside the configuration.
    fn config(&self, mut config: Config) -> Result<Config> {
        if self.from.is_some() {
            config.days = self.simulated.days.unwrap_or(config.days);
            for change in &self.simulated.changes {
                config = super::changed(&config, change)?;
            }
        }
        config.policy = self.policy.map_or(config.policy, |policy| policy.0);
        if let Some(predictor) = &self.predictor {
            match self.policy {
                None | Some(Policy(PolicyName::Learnt)) => config.policy = PolicyName::Learnt,
                Some(Policy(other)) => return Err(Error::invalid("--policy", other.name(), "learnt, beside --predictor")),
            }
            config.predictor = Some(predictor.clone());
        }
        config.uptake = self.uptake.unwrap_or(config.uptake);
        config.mobility = self.mobility.unwrap_or(config.mobility);
        config.seed = self.seed.unwrap_or(config.seed);
        Ok(config)
    }
}

fn write(out: &Path, simulation: &Simulation) -> Result<()> {
    table::days(simulation.days()).write_parquet(&out.join("days.parquet"))?;
    table::infections(simulation).write_parquet(&out.join("infections.parquet"))?;
    let summary = report::Summary::of(simulation);
    table::reproduction(&summary.reproduction).write_parquet(&out.join("reproduction.parquet"))?;
    run_files::write_json(&out.join("summary.json"), &summary)?;
    write_report(out, &report::of_run(&summary))
}
