//! `lyceum epidemic`: epidemics of a region's people, and what policies do about them.

mod compare;
mod fit;
mod plot;
mod run;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValue};
use lyceum_core::{Error, Progress, Report, Result, atomic, run as run_files};
use lyceum_epidemic::{Config, Parameters, PolicyName};

/// Epidemics of a region's people, with contact tracing
///
/// People live, work and meet as those of a region do; some have an app that warns them. Regions and parameters are data:
/// `lyceum epidemic parameters` prints them with their sources.
#[derive(Subcommand)]
pub(crate) enum Epidemic {
    Run(run::Run),
    Compare(compare::Compare),
    Fit(fit::Fit),
    Plot(plot::Plot),
    /// Print the parameters of the disease, testing, phones and behaviour, or of a region, with their sources
    Parameters {
        /// A region instead: montreal or united-states
        #[arg(long)]
        region: Option<String>,
    },
}

impl Epidemic {
    /// Whether it needs time to stop, to keep what it has found.
    pub(crate) fn saves(&self) -> bool {
        !matches!(self, Self::Plot(_) | Self::Parameters { .. })
    }

    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Run(command) => command.execute(progress),
            Self::Compare(command) => command.execute(progress),
            Self::Fit(command) => command.execute(progress),
            Self::Plot(command) => command.execute(progress),
            Self::Parameters { region } => {
                let text = match region {
                    None => Parameters::text(),
                    Some(name) => {
                        let regions = lyceum_epidemic::region::REGIONS;
                        let names: Vec<&str> = regions.iter().map(|(name, _)| *name).collect();
                        let found = regions.iter().find(|(known, _)| *known == name);
                        found.map(|(_, text)| *text).ok_or_else(|| Error::invalid("--region", &name, names.join(", ")))?
                    }
                };
                say!("{}", text.trim_end());
                Ok(())
            }
        }
    }
}

/// What is simulated: a file, and options that change it.
#[derive(Args)]
struct Simulated {
    /// A configuration (TOML), with interventions if wanted; what it does not say is as in the options below
    config: Option<PathBuf>,

    /// How many people
    #[arg(long)]
    people: Option<u32>,

    /// How many days
    #[arg(long)]
    days: Option<u32>,

    /// A region's name (montreal, united-states) or file
    #[arg(long)]
    region: Option<String>,

    /// The share of people who are infected on day 0
    #[arg(long, allow_negative_numbers = true)]
    initially_infected: Option<f64>,

    /// The day on which the policy begins
    #[arg(long)]
    intervention_day: Option<u32>,

    /// Change a value of the configuration or a parameter, for example transmission.contagion=30
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

impl Simulated {
    fn config(&self) -> Result<Config> {
        self.changing(self.config.as_deref())
    }

    /// A file, or what goes without one, with the options' changes.
    fn changing(&self, file: Option<&Path>) -> Result<Config> {
        let mut config = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(Error::missing_or_io(
                    "read",
                    path,
                    "Give a configuration in TOML, or options alone.",
                ))?;
                Config::parse(&path.to_string_lossy(), &text)?
            }
            None => Config::default(),
        };
        config.people = self.people.unwrap_or(config.people);
        config.days = self.days.unwrap_or(config.days);
        config.initially_infected = self.initially_infected.unwrap_or(config.initially_infected);
        config.intervention_day = self.intervention_day.unwrap_or(config.intervention_day);
        config.region = self.region.clone().unwrap_or(config.region);
        for change in &self.changes {
            config = changed(&config, change)?;
        }
        config.check()?;
        Ok(config)
    }
}

/// With a value changed: `KEY=VALUE`.
fn changed(config: &Config, change: &str) -> Result<Config> {
    let wrong = || Error::invalid("--set", change, "KEY=VALUE, for example transmission.contagion=30");
    let (key, value) = change.split_once('=').ok_or_else(wrong)?;
    let line = |value: &str| toml::from_str::<toml::Table>(&format!("{key} = {value}"));
    // A word need not be quoted.
    let new = line(value).or_else(|_| line(&format!("\"{value}\""))).map_err(|_| wrong())?;
    config.changed("--set", new)
}

/// A policy as an option.
#[derive(Clone, Copy)]
struct Policy(PolicyName);

impl ValueEnum for Policy {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Policy; PolicyName::ALL.len()] = {
            let mut all = [Policy(PolicyName::None); PolicyName::ALL.len()];
            let mut place = 0;
            while place < all.len() {
                all[place] = Policy(PolicyName::ALL[place]);
                place += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.about()))
    }
}

/// A folder for results.
fn folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::io("create", path))
}

fn write_report(folder: &Path, report: &Report) -> Result<()> {
    run_files::write_json(&folder.join("report.json"), report)?;
    atomic::write(&folder.join("report.html"), report.html().as_bytes())
}
