//! Days and infections as columns, for files and for Python.

#[cfg(feature = "parquet")]
mod parquet;

use crate::{
    evaluate::Estimate,
    population::{NOWHERE, Person, Population, SEXES},
    record::{self, Day},
    simulation::{Noted, Simulation},
};

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Whole numbers.
    Whole(Vec<u64>),
    /// Numbers; none is a missing value.
    Number(Vec<Option<f64>>),
    /// Words of a few.
    Word(Vec<&'static str>),
}

impl Column {
    /// How many values.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(values) => values.len(),
            Self::Number(values) => values.len(),
            Self::Word(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Columns with names.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What it is.
    pub name: &'static str,
    /// All of the same length.
    pub columns: Vec<(&'static str, Column)>,
}

/// A row a day.
pub fn days(days: &[Day]) -> Table {
    let whole = |of: fn(&Day) -> u32| Column::Whole(days.iter().map(|day| u64::from(of(day))).collect());
    Table {
        name: "days",
        columns: vec![
            ("day", whole(|day| day.day)),
            ("susceptible", whole(|day| day.susceptible)),
            ("exposed", whole(|day| day.exposed)),
            ("infectious", whole(|day| day.infectious)),
            ("recovered", whole(|day| day.recovered)),
            ("dead", whole(|day| day.dead)),
            ("new_infections", whole(|day| day.new_infections)),
            ("symptomatic", whole(|day| day.symptomatic)),
            ("in_hospital", whole(|day| day.in_hospital)),
            ("critical", whole(|day| day.critical)),
            ("tests", whole(|day| day.tests)),
            ("positive", whole(|day| day.positive)),
            ("quarantined", whole(|day| day.quarantined)),
            ("falsely_quarantined", whole(|day| day.falsely_quarantined)),
            ("level_before", whole(|day| day.levels[0])),
            ("level_0", whole(|day| day.levels[1])),
            ("level_1", whole(|day| day.levels[2])),
            ("level_2", whole(|day| day.levels[3])),
            ("level_3", whole(|day| day.levels[4])),
            ("contacts", Column::Number(days.iter().map(|day| day.contacts.map(|contacts| contacts as f64)).collect())),
            ("noted", Column::Whole(days.iter().map(|day| day.noted).collect())),
            ("imported", whole(|day| day.imported)),
            ("vaccinated", whole(|day| day.vaccinated)),
        ],
    }
}

/// R by the renewal equation, a row a day: the estimate and its interval, or nothing.
pub fn reproduction(found: &[Option<Estimate>]) -> Table {
    let number = |of: fn(&Estimate) -> f64| Column::Number(found.iter().map(|day| day.as_ref().map(of)).collect());
    Table {
        name: "reproduction",
        columns: vec![
            ("day", Column::Whole((0..found.len() as u64).collect())),
            ("r", number(|found| found.value)),
            ("low", number(|found| found.low)),
            ("high", number(|found| found.high)),
        ],
    }
}

/// A row an hour.
pub fn hours(simulation: &Simulation) -> Table {
    let hours = record::hours(simulation.infections(), simulation.population().len() as u32, simulation.days().len() as u32);
    let whole = |of: fn(&record::Hour) -> u32| Column::Whole(hours.iter().map(|hour| u64::from(of(hour))).collect());
    Table {
        name: "hours",
        columns: vec![
            ("hour", whole(|hour| hour.hour)),
            ("susceptible", whole(|hour| hour.susceptible)),
            ("exposed", whole(|hour| hour.exposed)),
            ("infectious", whole(|hour| hour.infectious)),
            ("recovered", whole(|hour| hour.recovered)),
            ("dead", whole(|hour| hour.dead)),
            ("new_infections", whole(|hour| hour.new_infections)),
        ],
    }
}

/// A line for each infection, in their order. Times are days of the simulation.
pub fn infections(simulation: &Simulation) -> Table {
    let (all, people) = (simulation.infections(), &simulation.population().people);
    let person = |infection: &crate::disease::Infection| &people[infection.person as usize];
    let time = |of: fn(&crate::disease::Infection) -> f32| {
        Column::Number(
            all.iter()
                .map(|infection| {
                    let days = of(infection);
                    days.is_finite().then(|| f64::from(infection.at + days))
                })
                .collect(),
        )
    };
    Table {
        name: "infections",
        columns: vec![
            ("person", Column::Whole(all.iter().map(|infection| u64::from(infection.person)).collect())),
            ("age", Column::Whole(all.iter().map(|infection| u64::from(person(infection).age)).collect())),
            ("sex", Column::Word(all.iter().map(|infection| SEXES[usize::from(person(infection).sex)]).collect())),
            ("infected_by", Column::Number(all.iter().map(|infection| infection.by.map(f64::from)).collect())),
            ("setting", Column::Word(all.iter().map(|infection| infection.place.name()).collect())),
            ("infected_at", Column::Number(all.iter().map(|infection| Some(f64::from(infection.at))).collect())),
            ("infectious_from", time(|infection| infection.onset)),
            ("symptoms_from", time(|infection| if infection.asymptomatic { f32::INFINITY } else { infection.incubation })),
            ("recovered_at", time(|infection| if infection.death.is_finite() { f32::INFINITY } else { infection.recovery })),
            ("hospital_from", time(|infection| infection.hospital[0])),
            ("hospital_until", time(|infection| infection.hospital[1])),
            ("critical_from", time(|infection| infection.critical[0])),
            ("dead_at", time(|infection| infection.death)),
            ("peak_viral_load", Column::Number(all.iter().map(|infection| Some(f64::from(infection.peak_height))).collect())),
        ],
    }
}

/// The contacts of a day that were near and long enough.
pub fn contacts(noted: &[Noted]) -> Table {
    Table {
        name: "contacts",
        columns: vec![
            ("from", Column::Whole(noted.iter().map(|noted| u64::from(noted.from)).collect())),
            ("to", Column::Whole(noted.iter().map(|noted| u64::from(noted.to)).collect())),
            ("setting", Column::Word(noted.iter().map(|noted| noted.setting.name()).collect())),
            ("at", Column::Number(noted.iter().map(|noted| Some(f64::from(noted.at))).collect())),
            ("seconds", Column::Number(noted.iter().map(|noted| Some(f64::from(noted.seconds))).collect())),
        ],
    }
}

/// A line for each person.
pub fn people(population: &Population) -> Table {
    let whole = |of: &dyn Fn(usize, &Person) -> u64| {
        Column::Whole(population.people.iter().enumerate().map(|(number, person)| of(number, person)).collect())
    };
    Table {
        name: "people",
        columns: vec![
            ("person", whole(&|number, _| number as u64)),
            ("age", whole(&|_, person| u64::from(person.age))),
            ("sex", Column::Word(population.people.iter().map(|person| SEXES[usize::from(person.sex)]).collect())),
            ("household", whole(&|number, _| u64::from(population.household[number]))),
            (
                "workplace",
                Column::Number(population.workplace.iter().map(|place| (*place != NOWHERE).then_some(f64::from(*place))).collect()),
            ),
            (
                "works_in",
                Column::Word(
                    population
                        .workplace
                        .iter()
                        .map(|place| population.workplaces.get(*place as usize).map_or("", |place| place.kind.name()))
                        .collect(),
                ),
            ),
            ("conditions", whole(&|_, person| u64::from(person.conditions))),
            ("phone", whole(&|_, person| u64::from(person.phone))),
        ],
    }
}
