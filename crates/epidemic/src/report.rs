//! Reports: one simulation, or several beside one another.

use std::collections::BTreeMap;

use lyceum_core::report::{Axis, Block, Chart, Picture, Report, Series, Shape, Table};
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    disease::{Setting, asymptomatic},
    evaluate::{self, Estimate, GaussianProcess, Outcome, pareto},
    parameters::Parameters,
    picture,
    record::Day,
    simulation::Simulation,
};

/// What is kept of a simulation for its report, and for comparisons later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was simulated.
    pub config: Config,
    /// The days.
    pub days: Vec<Day>,
    /// In a few numbers.
    pub outcome: Outcome,
    /// How many were infected where.
    pub settings: BTreeMap<String, u64>,
    /// Shares of [generation times](evaluate::generation_times) by days.
    pub generation_times: Vec<f64>,
    /// R by the [renewal equation](evaluate::by_renewal) for each day, from the seven days up to it.
    pub reproduction: Vec<Option<Estimate>>,
    /// How ill those became who were infected, by age.
    pub severity: Vec<Severity>,
    /// R by the week of infection.
    pub by_week: Vec<Option<Estimate>>,
    /// The tree of an outbreak.
    pub tree: Option<String>,
}

/// How many of those infected at some age go to hospital, to intensive care, and die, also after the last day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Severity {
    /// Who was infected.
    pub infected: u32,
    /// Who goes to hospital.
    pub hospital: u32,
    /// Who goes to intensive care.
    pub critical: u32,
    /// Who dies.
    pub dead: u32,
}

impl Severity {
    fn by_decade(simulation: &Simulation) -> Vec<Self> {
        let mut all = vec![Self::default(); 10];
        for infection in simulation.infections() {
            let of = &mut all[simulation.population().people[infection.person as usize].decade()];
            of.infected += 1;
            of.hospital += u32::from(infection.hospital[0].is_finite());
            of.critical += u32::from(infection.critical[0].is_finite());
            of.dead += u32::from(infection.death.is_finite());
        }
        all
    }
}

impl Summary {
    /// Of a simulation that is over.
    pub fn of(simulation: &Simulation) -> Self {
        let infections = simulation.infections();
        let mut settings = BTreeMap::new();
        infections.iter().for_each(|infection| *settings.entry(infection.place.name().to_owned()).or_default() += 1);
        let children = evaluate::children(infections);
        let week = |week: u32| evaluate::by_generations(infections, &children, week as f32 * 7.0, week as f32 * 7.0 + 7.0);
        Self {
            config: simulation.config().clone(),
            days: simulation.days().to_vec(),
            outcome: Outcome::of(simulation),
            settings,
            generation_times: evaluate::generation_times(infections),
            // Window and level are right.
            reproduction: evaluate::reproduction(infections, simulation.days().len(), 7, 0.95).unwrap_or_default(),
            severity: Severity::by_decade(simulation),
            by_week: (0..simulation.days().len().div_ceil(7) as u32).map(week).collect(),
            tree: picture::tree(infections, 120),
        }
    }

    fn new_infections(&self) -> Vec<f64> {
        let mut new: Vec<f64> = self.days.iter().map(|day| f64::from(day.new_infections)).collect();
        // Those who are infected at first come on the first day: what others owe to them is not owed to nobody.
        if let Some(first) = new.first_mut() {
            let outside = self.settings.get(Setting::Outside.name()).copied().unwrap_or(0) as f64;
            *first += outside - self.days.iter().map(|day| f64::from(day.imported)).sum::<f64>();
        }
        new
    }

    fn by_renewal(&self) -> impl Iterator<Item = (f64, Estimate)> {
        self.reproduction.iter().enumerate().skip(7).filter_map(|(day, found)| found.map(|found| (day as f64, found)))
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn estimate(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "–".into(), |found| format!("{:.2} ({:.2} to {:.2})", found.value, found.low, found.high))
}

/// A report of one simulation.
pub fn of_run(summary: &Summary) -> Report {
    let Summary { config, days, outcome, .. } = summary;
    let n = f64::from(config.people);
    let mut facts = Table::new(["", ""]);
    let contacts = outcome.contacts.map_or_else(|| "not counted".into(), |contacts| format!("{contacts:.2}"));
    for (name, value) in [
        ("infected", percent(outcome.attack)),
        ("died", percent(outcome.deaths)),
        ("R: infected by each of those infected from the second week to two weeks before the end", estimate(outcome.reproduction)),
        ("contacts a person and day, near and long enough", contacts),
        ("share of time in quarantine", percent(outcome.quarantine)),
        ("of it without being infected", percent(outcome.false_quarantine / outcome.quarantine.max(1e-12))),
        ("most in hospital on a day", percent(outcome.hospital_peak)),
        ("have the app", percent(outcome.adoption)),
    ] {
        facts.push([name.to_owned(), value]);
    }
    let share = |of: fn(&Day) -> u32| days.iter().map(move |day| (f64::from(day.day), 100.0 * f64::from(of(day)) / n)).collect::<Vec<_>>();
    let most = |of: fn(&Day) -> u32| days.iter().map(|day| f64::from(of(day))).fold(0.0, f64::max);
    let mut states = Chart::new("People by state", Axis::linear("day"), Axis::linear("% of people"))
        .with(Series::line("susceptible", share(|day| day.susceptible)))
        .with(Series::line("exposed", share(|day| day.exposed)))
        .with(Series::line("infectious", share(|day| day.infectious)))
        .with(Series::line("recovered", share(|day| day.recovered)));
    let count = |of: fn(&Day) -> u32| days.iter().map(move |day| (f64::from(day.day), f64::from(of(day)))).collect::<Vec<_>>();
    let mut flows = Chart::new("New infections, tests and hospital", Axis::linear("day"), Axis::linear("people"))
        .with(Series::line("new infections", count(|day| day.new_infections)))
        .with(Series::line("positive tests", count(|day| day.positive)))
        .with(Series::line("in hospital", count(|day| day.in_hospital)))
        .with(Series::line("dead", count(|day| day.dead)));
    if days.iter().any(|day| day.vaccinated > 0) {
        states = states.with(Series::line("vaccinated", share(|day| day.vaccinated)));
    }
    if !config.interventions.is_empty() {
        states = states.with(marks(config, 100.0));
        flows = flows.with(marks(config, most(|day| day.new_infections.max(day.positive).max(day.in_hospital).max(day.dead))));
    }
    let places: Vec<(&str, f64)> = Setting::ALL
        .iter()
        .filter_map(|setting| summary.settings.get(setting.name()).map(|count| (setting.name(), *count as f64)))
        .collect();
    let mut report = Report::new(
        format!("An epidemic under the policy {}", config.policy.name()),
        format!(
            "{} people of {}, {} days, seed {}, mobility {}, uptake {} of phone owners.",
            config.people, config.region, config.days, config.seed, config.mobility, config.uptake
        ),
    )
    .section("In short", std::iter::once(Block::Table(facts)).chain(interventions(config).map(Block::Table)))
    .section("The epidemic", [Block::Chart(states), Block::Chart(flows)])
    .section("How many each infects", [Block::Chart(reproduction(summary))])
    .section(
        "How ill people become",
        [
            Block::Table(severity(summary)),
            Block::Text(
                "Of those infected so far, with what lies beyond the last day. In brackets what the parameters say of people without a vaccine."
                    .into(),
            ),
        ],
    );
    report = report.section(
        "What people do",
        [
            Block::Text("Share of people at each level of behaviour: as before the epidemic (also those who break a quarantine on a day), and the recommendations 0 to 3.".into()),
            Block::Picture { picture: Picture::svg(&picture::levels(days)), caption: "Levels of behaviour by day".into() },
            Block::Chart(
                Chart::new("Quarantine", Axis::linear("day"), Axis::linear("% of people"))
                    .with(Series::line("in quarantine", share(|day| day.quarantined)))
                    .with(Series::line("without being infected", share(|day| day.falsely_quarantined))),
            ),
        ],
    );
    let mut where_to = vec![
        Block::Chart(
            Chart::new("Where people were infected", Axis::category("place", places.iter().map(|(name, _)| *name)), Axis::linear("people"))
                .with(Series::bars("infected", places.iter().map(|(_, count)| *count))),
        ),
        Block::Chart(Chart::new("From one infection to the next", Axis::linear("days"), Axis::linear("share")).with(Series::new(
            "generation time",
            Shape::Line,
            summary.generation_times.iter().take(30).enumerate().map(|(days, share)| (days as f64, *share)),
        ))),
    ];
    if let Some(tree) = &summary.tree {
        where_to.push(Block::Picture {
            picture: Picture::svg(tree),
            caption: "One outbreak: who infected whom, from left to right by time. Open circles have no symptoms.".into(),
        });
    }
    report = report.section("Who infects whom", where_to);
    report.section("Configuration", [Block::Code(toml::to_string(config).unwrap_or_default())])
}

/// Hospital, intensive care and death by age, beside what the parameters say.
fn severity(summary: &Summary) -> Table {
    let mut table = Table::new(["age", "infected", "to hospital", "of them to intensive care", "died"]);
    let Ok(parameters) = Parameters::changed(&summary.config.parameters) else { return table };
    for (decade, of) in summary.severity.iter().enumerate() {
        let asymptomatic = asymptomatic(&parameters.course, 10 * decade as u8 + 5);
        let chances = parameters.severity.risks().1.chances(asymptomatic, decade);
        let hospital = (1.0 - asymptomatic) * chances.hospital;
        let there = chances.critical * chances.critical_death + (1.0 - chances.critical) * chances.ward_death;
        let died = hospital * there + (1.0 - hospital * there) * chances.otherwise;
        let share = |part: u32, all: u32, expected: f32| {
            let found = if all == 0 { "–".into() } else { percent(f64::from(part) / f64::from(all)) };
            format!("{found} ({})", percent(f64::from(expected)))
        };
        table.push([
            if decade == 9 { "90 and more".into() } else { format!("{} to {}", 10 * decade, 10 * decade + 9) },
            of.infected.to_string(),
            share(of.hospital, of.infected, hospital),
            share(of.critical, of.hospital, chances.critical),
            share(of.dead, of.infected, died),
        ]);
    }
    table
}

/// What is done when.
fn interventions(config: &Config) -> Option<Table> {
    let mut table = Table::new(["what is done", "from day", "until day"]);
    for intervention in &config.interventions {
        let until = intervention.until.map_or_else(|| "the end".into(), |until| until.to_string());
        for change in intervention.changes() {
            table.push([change, intervention.from.to_string(), until.clone()]);
        }
    }
    (!config.interventions.is_empty()).then_some(table)
}

/// A line up to this height wherever an intervention begins or ends.
fn marks(config: &Config, height: f64) -> Series {
    let days = config.interventions.iter().flat_map(|intervention| std::iter::once(intervention.from).chain(intervention.until));
    let mut days: Vec<u32> = days.filter(|day| *day < config.days).collect();
    days.sort_unstable();
    days.dedup();
    let points = days.into_iter().map(f64::from).flat_map(|day| [(day, 0.0), (day, height), (f64::NAN, f64::NAN)]);
    Series::new("interventions begin and end", Shape::Reference, points)
}

fn reproduction(summary: &Summary) -> Chart {
    let new = summary.new_infections();
    let found: Vec<(f64, Estimate)> = summary.by_renewal().collect();
    let mean_generation: f64 = summary.generation_times.iter().enumerate().map(|(days, share)| days as f64 * share).sum();
    let ratio = evaluate::by_case_ratio(&new, (mean_generation.round() as usize).max(1), 7);
    let weeks: Vec<(f64, Estimate)> = summary
        .by_week
        .iter()
        .enumerate()
        // Those of the last two weeks have not infected all whom they will.
        .take(summary.by_week.len().saturating_sub(2))
        .filter_map(|(week, found)| found.map(|found| (week as f64 * 7.0 + 3.5, found)))
        .collect();
    let last = summary.days.last().map_or(1.0, |day| f64::from(day.day));
    Chart::new("Reproduction number, three ways", Axis::linear("day"), Axis::linear("R"))
        .with(
            Series::line("renewal equation, 7 days", found.iter().map(|(day, found)| (*day, found.value)))
                .with_band(found.iter().map(|(_, found)| (found.low, found.high))),
        )
        .with(
            Series::new("children of those infected in a week", Shape::Scatter, weeks.iter().map(|(day, found)| (*day, found.value)))
                .with_band(weeks.iter().map(|(_, found)| (found.low, found.high))),
        )
        .with(Series::line("ratio of cases", ratio.iter().enumerate().filter_map(|(day, ratio)| ratio.map(|ratio| (day as f64, ratio)))))
        .with(Series::new("1", Shape::Reference, [(0.0, 1.0), (last, 1.0)]))
}

/// One run of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What it is compared as, for example the policy and the adoption.
    pub arm: String,
    /// Its seed.
    pub seed: u64,
    /// Its mobility.
    pub mobility: f64,
    /// What came out.
    pub outcome: Outcome,
    /// New infections a day, as a share of the people.
    pub new_infections: Vec<f64>,
}

/// Mean and half of the 95 % interval of a mean.
pub fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, 1.96 * (variance / n).sqrt())
}

/// R on contacts a person and day, in all runs of an arm.
#[derive(Debug, Clone)]
pub struct Frontier {
    /// The arm.
    pub arm: String,
    /// Contacts and R of each run.
    pub points: Vec<(f64, f64)>,
    /// Through them, where they are enough.
    pub process: Option<GaussianProcess>,
    /// Fewest and most contacts.
    pub range: (f64, f64),
}

/// Of all arms, in the order in which they come.
pub fn frontiers(runs: &[Compared]) -> Vec<Frontier> {
    let mut arms: Vec<&str> = Vec::new();
    for run in runs {
        if !arms.contains(&run.arm.as_str()) {
            arms.push(&run.arm);
        }
    }
    let of = |arm: &str| {
        let points: Vec<(f64, f64)> = runs
            .iter()
            .filter(|run| run.arm == arm)
            .filter_map(|run| Some((run.outcome.contacts?, run.outcome.reproduction?.value)))
            .collect();
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let range = x.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
        Frontier { arm: arm.to_owned(), process: GaussianProcess::fit(&x, &y), points, range }
    };
    arms.into_iter().map(of).collect()
}

/// R of each arm where contacts are as many as give the first arm this R: policies are compared at equal mobility. None where an arm has
/// no such contacts.
pub fn matched(frontiers: &[Frontier], reference: f64) -> Option<Matched> {
    let Frontier { process, range: (low, high), .. } = frontiers.first()?;
    let first = process.as_ref()?;
    if first.at(*low).value >= reference {
        return None;
    }
    let contacts = (0..=400).map(|i| low + (high - low) * f64::from(i) / 400.0).find(|x| first.at(*x).value >= reference)?;
    let at = |frontier: &Frontier| {
        let (low, high) = frontier.range;
        let process = frontier.process.as_ref().filter(|_| (low..=high).contains(&contacts));
        (frontier.arm.clone(), process.map(|process| process.at(contacts)))
    };
    Some(Matched { reference, contacts, arms: frontiers.iter().map(at).collect() })
}

/// See [`matched`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matched {
    /// R of the first arm.
    pub reference: f64,
    /// Contacts a person and day.
    pub contacts: f64,
    /// R of each arm.
    pub arms: Vec<(String, Option<Estimate>)>,
}

/// R of the first arm at which the others are compared with it.
pub const REFERENCES: [f64; 2] = [1.2, 1.0];

fn matched_table(frontiers: &[Frontier]) -> Option<Block> {
    let found: Vec<Matched> = REFERENCES.iter().filter_map(|reference| matched(frontiers, *reference)).collect();
    let names = found.iter().map(|found| format!("R at {:.2} contacts a day, where the first has {}", found.contacts, found.reference));
    let mut table = Table::new(std::iter::once(String::new()).chain(names));
    for (place, (arm, _)) in found.first()?.arms.iter().enumerate() {
        table.push(std::iter::once(arm.clone()).chain(found.iter().map(|found| estimate(found.arms[place].1))));
    }
    Some(Block::Table(table))
}

/// A report of many simulations: curves by arm, R against contacts, and which arms no other beats.
pub fn of_comparison(runs: &[Compared], frontiers: &[Frontier]) -> Report {
    let mut table = Table::new(["", "runs", "R", "infected, %", "died, %", "contacts a day", "quarantine, %", "of it not infected, %"]);
    let mut curves = Chart::new("New infections by arm, mean over seeds", Axis::linear("day"), Axis::linear("% of people a day"));
    let mut cloud = Chart::new("R against contacts", Axis::linear("contacts a person and day"), Axis::linear("R"));
    let mut fronts = Vec::new();
    for Frontier { arm, points, process, range: (low, high) } in frontiers {
        let runs: Vec<&Compared> = runs.iter().filter(|run| run.arm == *arm).collect();
        let value = |of: &dyn Fn(&Outcome) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(|run| of(&run.outcome)).collect();
            if values.is_empty() {
                return "–".to_owned();
            }
            let (mean, half) = mean(&values);
            format!("{mean:.2} ± {half:.2}")
        };
        table.push([
            arm.clone(),
            runs.len().to_string(),
            value(&|outcome| outcome.reproduction.map(|found| found.value)),
            value(&|outcome| Some(100.0 * outcome.attack)),
            value(&|outcome| Some(100.0 * outcome.deaths)),
            value(&|outcome| outcome.contacts),
            value(&|outcome| Some(100.0 * outcome.quarantine)),
            value(&|outcome| Some(100.0 * outcome.false_quarantine / outcome.quarantine.max(1e-12))),
        ]);
        let days = runs.iter().map(|run| run.new_infections.len()).min().unwrap_or(0);
        let by_day: Vec<(f64, f64)> =
            (0..days).map(|day| mean(&runs.iter().map(|run| 100.0 * run.new_infections[day]).collect::<Vec<f64>>())).collect();
        curves = curves.with(
            Series::line(arm.clone(), by_day.iter().enumerate().map(|(day, (mean, _))| (day as f64, *mean)))
                .with_band(by_day.iter().map(|(mean, half)| ((mean - half).max(0.0), mean + half))),
        );
        cloud = cloud.with(Series::new(arm.clone(), Shape::Scatter, points.iter().copied()));
        if let Some(process) = process.as_ref().filter(|_| high - low > 1e-6) {
            let line: Vec<(f64, Estimate)> =
                (0..=40).map(|i| low + (high - low) * f64::from(i) / 40.0).map(|x| (x, process.at(x))).collect();
            cloud = cloud.with(
                Series::line(format!("{arm}: Gaussian process"), line.iter().map(|(x, found)| (*x, found.value)))
                    .with_band(line.iter().map(|(_, found)| (found.low, found.high)))
                    .of(arm.clone()),
            );
        }
        let attack: Vec<f64> = runs.iter().map(|run| run.outcome.attack).collect();
        let lost: Vec<f64> = runs.iter().filter_map(|run| run.outcome.contacts).collect();
        if !lost.is_empty() {
            fronts.push((arm.clone(), (-mean(&lost).0, mean(&attack).0)));
        }
    }
    let points: Vec<(f64, f64)> = fronts.iter().map(|(_, point)| *point).collect();
    let front: Vec<(f64, f64)> = pareto(&points).into_iter().map(|place| (-points[place].0, 100.0 * points[place].1)).collect();
    let mut trade = Chart::new("What it costs, and what it saves", Axis::linear("contacts a person and day"), Axis::linear("% infected"));
    for (arm, (contacts, attack)) in &fronts {
        trade = trade.with(Series::new(arm.clone(), Shape::Scatter, [(-contacts, 100.0 * attack)]));
    }
    let trade = trade.with(Series::new("beaten by no other", Shape::Reference, front));
    Report::new("Policies compared", "Means over seeds, with intervals of 95 %. Policies that reduce contacts more look better on R alone: compare them at equal contacts.")
        .section("In short", [Block::Table(table)])
        .section("Epidemics", [Block::Chart(curves)])
        .section("At equal mobility", matched_table(frontiers).into_iter().chain([Block::Chart(cloud), Block::Chart(trade)]))
}

/// Several simulations beside one another.
pub fn of_several(summaries: &[(String, Summary)]) -> Report {
    let chart = |title: &str, unit: &str, of: &dyn Fn(&Summary, &Day) -> f64| {
        summaries.iter().fold(Chart::new(title, Axis::linear("day"), Axis::linear(unit)), |chart, (name, summary)| {
            chart.with(Series::line(name.clone(), summary.days.iter().map(|day| (f64::from(day.day), of(summary, day)))))
        })
    };
    let share = |summary: &Summary, count: u32| 100.0 * f64::from(count) / f64::from(summary.config.people);
    let mut table = Table::new(["", "policy", "R", "infected", "contacts a day", "quarantine"]);
    for (name, summary) in summaries {
        let Outcome { attack, reproduction, contacts, quarantine, .. } = &summary.outcome;
        table.push([
            name.clone(),
            summary.config.policy.name().to_owned(),
            estimate(*reproduction),
            percent(*attack),
            contacts.map_or_else(|| "–".into(), |contacts| format!("{contacts:.2}")),
            percent(*quarantine),
        ]);
    }
    let r =
        summaries.iter().fold(Chart::new("R by the renewal equation", Axis::linear("day"), Axis::linear("R")), |chart, (name, summary)| {
            let found: Vec<(f64, Estimate)> = summary.by_renewal().collect();
            chart.with(
                Series::line(name.clone(), found.iter().map(|(day, found)| (*day, found.value)))
                    .with_band(found.iter().map(|(_, found)| (found.low, found.high))),
            )
        });
    Report::new("Epidemics side by side", "")
        .section("In short", [Block::Table(table)])
        .section(
            "By day",
            [
                Block::Chart(chart("New infections", "% of people a day", &|summary, day| share(summary, day.new_infections))),
                Block::Chart(chart("Infectious", "% of people", &|summary, day| share(summary, day.infectious))),
                Block::Chart(chart("In quarantine", "% of people", &|summary, day| share(summary, day.quarantined))),
                Block::Chart(r),
            ],
        )
        .section(
            "What people do",
            summaries
                .iter()
                .map(|(name, summary)| Block::Picture { picture: Picture::svg(&picture::levels(&summary.days)), caption: name.clone() })
                .collect::<Vec<Block>>(),
        )
}
