//! `lyceum epidemic fit`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use lyceum_core::{
    Error, Progress, Report, Result, atomic,
    report::{Axis, Block, Chart, Series, Table},
    run as run_files,
};
use lyceum_epidemic::{
    Simulation,
    fit::{FitConfig, Free, Series as Seen, fit, with},
};
use serde_json::json;

use super::{Simulated, folder, write_report};
use crate::commands::said;

/// Find parameters under which a simulation is like a series that was seen
///
/// SERIES has a number a day: a text file with one a line, or a .csv whose first line names its columns. Approximate Bayesian
/// computation: writes OUT/fitted.json (the posterior), OUT/fitted.toml (a configuration with the best values) and OUT/report.html.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum epidemic fit hospital.csv --column beds --series in-hospital --free transmission.contagion=5..60 --people 20000 --out runs/fit
  lyceum epidemic fit cases.txt --series positive --free mobility=0.2..1 --free initially_infected=0.0001..0.01 --out runs/fit")]
pub(crate) struct Fit {
    /// The series
    series_file: PathBuf,

    #[command(flatten)]
    simulated: Simulated,

    /// Its column, in a .csv
    #[arg(long)]
    column: Option<String>,

    /// The observed quantity
    #[arg(long, value_enum, default_value_t = SeriesName::NewInfections)]
    series: SeriesName,

    /// A parameter to find, and between which values: mobility, initially_infected, uptake, or one of the disease
    #[arg(long, required = true, value_name = "NAME=LOW..HIGH")]
    free: Vec<String>,

    /// Simulations of a generation
    #[arg(long, default_value_t = 64)]
    candidates: usize,

    /// Generations
    #[arg(long, default_value_t = 5)]
    generations: usize,

    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The folder for the results
    #[arg(long, short)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum SeriesName {
    /// New infections a day
    NewInfections,
    /// Positive tests a day
    Positive,
    /// People in hospital
    InHospital,
    /// All deaths so far
    Dead,
}

impl Fit {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let seen = read(&self.series_file, self.column.as_deref())?;
        let config = self.simulated.config()?;
        let free: Vec<Free> = self
            .free
            .iter()
            .map(|text| {
                let parsed = text.split_once('=').and_then(|(name, range)| {
                    let (low, high) = range.split_once("..")?;
                    Some(Free { name: name.into(), low: low.parse().ok()?, high: high.parse().ok()? })
                });
                parsed.ok_or_else(|| Error::invalid("--free", text, "NAME=LOW..HIGH, for example transmission.contagion=5..60"))
            })
            .collect::<Result<_>>()?;
        let series = Seen::ALL[self.series as usize].1;
        let how = FitConfig { candidates: self.candidates, generations: self.generations, seed: self.seed, series };
        let fitted = fit(&config, &free, &seen, &how, progress)?;
        folder(&self.out)?;
        run_files::write_json(&self.out.join("fitted.json"), &fitted)?;
        let best = with(&config, &free, fitted.best())?;
        let text = toml::to_string(&best).map_err(|error| Error::Failed(error.to_string()))?;
        atomic::write(&self.out.join("fitted.toml"), text.as_bytes())?;
        let mut simulation = Simulation::new(&lyceum_epidemic::Config { days: seen.len() as u32, count_contacts: false, ..best })?;
        simulation.run()?;
        let mut table = Table::new(["parameter", "looked for in", "mean", "90 %", "best"]);
        let mut lines = Vec::new();
        for (place, free) in free.iter().enumerate() {
            let (mean, [low, high]) = fitted.summary(place);
            table.push([
                free.name.clone(),
                format!("{} to {}", free.low, free.high),
                format!("{mean:.4}"),
                format!("{low:.4} to {high:.4}"),
                format!("{:.4}", fitted.best()[place]),
            ]);
            lines.push(format!("{} {mean:.4} ({low:.4} to {high:.4})", free.name));
        }
        let points = |values: &[f64]| values.iter().enumerate().map(|(day, value)| (day as f64, *value)).collect::<Vec<_>>();
        let chart = Chart::new("Seen and simulated", Axis::linear("day"), Axis::linear(Seen::ALL[self.series as usize].0))
            .with(Series::line("seen", points(&seen)))
            .with(Series::line("simulated with the best values", points(&series.of(&simulation))));
        let mut blocks = vec![Block::Table(table), Block::Chart(chart)];
        for (place, free) in free.iter().enumerate() {
            let cloud = fitted.values.iter().zip(&fitted.distances).map(|(values, distance)| (values[place], *distance));
            blocks.push(Block::Chart(
                Chart::new(format!("{}: values that fit", free.name), Axis::linear(free.name.clone()), Axis::linear("distance"))
                    .with(Series::new("candidates", lyceum_core::report::Shape::Scatter, cloud)),
            ));
        }
        let lead = format!(
            "Approximate Bayesian computation: {} generations of {} simulations of {} people.",
            self.generations, self.candidates, config.people
        );
        write_report(&self.out, &Report::new("Fitted to a series", lead).section("Parameters", blocks))?;
        said(progress, &json!({ "event": "fitted", "out": self.out, "fitted": fitted.best() }), || lines.join("\n"));
        Ok(())
    }
}

fn read(path: &Path, column: Option<&str>) -> Result<Vec<f64>> {
    let text =
        std::fs::read_to_string(path).map_err(Error::missing_or_io("read", path, "Give a text file with a number a line, or a .csv."))?;
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    let csv = path.extension().is_some_and(|end| end == "csv");
    let mut place = 0;
    if csv {
        let names: Vec<String> =
            lines.next().map(|(_, line)| line.split(',').map(|name| name.trim().to_owned()).collect()).unwrap_or_default();
        place = match column {
            Some(column) => names
                .iter()
                .position(|name| name == column)
                .ok_or_else(|| Error::damaged(path, format!("no column `{column}`; there are: {}", names.join(", "))))?,
            None if names.len() == 1 => 0,
            None => return Err(Error::invalid("--column", "nothing", format!("one of {}", names.join(", ")))),
        };
    }
    lines
        .map(|(number, line)| {
            let cell = if csv { line.split(',').nth(place).unwrap_or("").trim() } else { line.trim() };
            let value: Option<f64> = cell.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
            value.ok_or_else(|| Error::damaged(path, format!("line {}: found `{cell}`; allowed: a number of 0 and more", number + 1)))
        })
        .collect()
}
