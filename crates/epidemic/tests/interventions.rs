//! Interventions: each changes what it should, when it should, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_epidemic::{
    Config, Intervention, Simulation,
    disease::Setting,
    interventions::{Contacts, Vaccination},
    simulation::Noted,
};

fn config(interventions: Vec<Intervention>) -> Config {
    Config { people: 4_000, days: 40, initially_infected: 0.01, interventions, ..Config::default() }
}

fn run(config: &Config) -> Simulation {
    let mut simulation = Simulation::new(config).unwrap();
    simulation.run().unwrap();
    simulation
}

fn vaccine(vaccination: Vaccination) -> Intervention {
    Intervention { vaccination: Some(vaccination), ..Intervention::default() }
}

/// Everyone on the first day, protected at once.
fn everyone() -> Vaccination {
    Vaccination { a_day: 1.0, delay: 0, ..Vaccination::default() }
}

#[test]
fn what_changes_nothing_changes_nothing() {
    let plain = run(&config(Vec::new()));
    let with = run(&config(vec![Intervention { from: 5, until: Some(20), ..Intervention::default() }, vaccine(Vaccination::default())]));
    assert_eq!(plain.days(), with.days());
    assert_eq!(plain.infections(), with.infections());
}

#[test]
fn nobody_meets_where_it_is_closed() {
    let closed = vec![Setting::School, Setting::Venue];
    let config = config(vec![Intervention { from: 9, until: Some(16), closed: closed.clone(), ..Intervention::default() }]);
    let mut simulation = Simulation::new(&config).unwrap();
    let mut plain = Simulation::new(&Config { interventions: Vec::new(), ..config }).unwrap();
    for day in 0..21 {
        let (_, contacts) = simulation.step_with_contacts();
        let (_, before) = plain.step_with_contacts();
        let there = |contacts: &[Noted]| contacts.iter().filter(|noted| closed.contains(&noted.setting)).count();
        if day < 9 {
            assert_eq!(contacts, before);
        } else if day < 16 {
            assert!(there(&contacts) == 0 && there(&before) > 0, "day {day}");
            assert!(contacts.len() * 10 > before.len() * 4, "the others meet as before: {} of {}", contacts.len(), before.len());
        } else {
            assert!(there(&contacts) * 10 > there(&before) * 8, "day {day}");
        }
    }
    let during =
        |setting| move |infection: &&lyceum_epidemic::disease::Infection| infection.place == setting && (9.0..16.0).contains(&infection.at);
    assert_eq!(simulation.infections().iter().filter(during(Setting::School)).count(), 0);
}

#[test]
fn shares_of_contacts_are_those_that_take_place() {
    let contacts = |contacts: Contacts| {
        let config = config(vec![Intervention { contacts, ..Intervention::default() }]);
        let (_, noted) = Simulation::new(&config).unwrap().step_with_contacts();
        noted
    };
    let at = |noted: &[Noted], setting| noted.iter().filter(|noted| noted.setting == setting).count() as f64;
    let (all, some) = (contacts(Contacts::default()), contacts(Contacts { work: 0.5, school: 0.0, ..Contacts::default() }));
    let work = at(&some, Setting::Work) / at(&all, Setting::Work);
    assert!((work - 0.5).abs() < 0.05, "{work}");
    assert_eq!(at(&some, Setting::School), 0.0);
    assert_eq!(at(&some, Setting::Home), at(&all, Setting::Home));
    // Both at once: half of a half.
    let half = Intervention { contacts: Contacts { work: 0.5, ..Contacts::default() }, ..Intervention::default() };
    let (_, quarter) = Simulation::new(&config(vec![half.clone(), half])).unwrap().step_with_contacts();
    let quarter = at(&quarter, Setting::Work) / at(&all, Setting::Work);
    assert!((quarter - 0.25).abs() < 0.05, "{quarter}");
}

#[test]
fn infections_come_from_outside_alone_where_nothing_is_passed_on() {
    let interventions = vec![
        Intervention { contagion: 0.0, ..Intervention::default() },
        Intervention { imported: 0.7, ..Intervention::default() },
        // Begins and ends on other days: parts of an infection add up all the same.
        Intervention { from: 3, until: Some(17), imported: 0.5, ..Intervention::default() },
    ];
    let simulation = run(&Config { initially_infected: 0.0, ..config(interventions) });
    let imported: u32 = simulation.days().iter().map(|day| day.imported).sum();
    assert!((34..=36).contains(&imported), "0.7·40 + 0.5·14 = 35, and {imported} came");
    assert_eq!(simulation.infections().len(), imported as usize);
    assert!(simulation.infections().iter().all(|infection| infection.by.is_none() && infection.place == Setting::Outside));
    assert!(simulation.days().iter().all(|day| day.new_infections == day.imported && day.people() == 4_000));
}

#[test]
fn parameters_change_on_their_days() {
    let change =
        |text: &str| Intervention { from: 10, until: Some(20), parameters: toml::from_str(text).unwrap(), ..Intervention::default() };
    let simulation = run(&config(vec![change("testing.capacity = 0.02")]));
    for day in simulation.days() {
        let most = if (10..20).contains(&day.day) { 80 } else { 4 };
        assert!(day.tests <= most, "{day:?}");
    }
    assert!(simulation.days()[10..20].iter().any(|day| day.tests > 20));
    let quarantine = run(&config(vec![Intervention { from: 10, until: Some(20), level: 4, ..Intervention::default() }]));
    for day in quarantine.days() {
        assert_eq!(day.quarantined > 3_500, (10..20).contains(&day.day), "{day:?}");
    }
}

#[test]
fn doses_are_given_as_planned() {
    let plan = Vaccination { a_day: 0.010_1, ages: [60, 79], coverage: 0.5, oldest_first: true, ..Vaccination::default() };
    let simulation = run(&config(vec![Intervention { from: 4, ..vaccine(plan.clone()) }]));
    let people = &simulation.population().people;
    let wanted = (people.iter().filter(|person| (60..80).contains(&person.age)).count() as f64 * 0.5).round() as u32;
    for day in simulation.days() {
        let given = if day.day < 4 { 0 } else { (f64::from(day.day - 3) * 40.4).floor() as u32 };
        assert_eq!(day.vaccinated, given.min(wanted), "day {}", day.day);
    }
    assert!(simulation.days().last().unwrap().vaccinated == wanted, "all who want it have it");
    // A second campaign for the others finds those who have none.
    let rest = Vaccination { ages: [0, 200], coverage: 1.0, a_day: 1.0, ..plan.clone() };
    let both = run(&config(vec![vaccine(plan), Intervention { from: 20, ..vaccine(rest) }]));
    let dead = both.days()[19].dead;
    assert!(both.days()[20].vaccinated >= 4_000 - dead - 1, "{:?}", both.days()[20]);
}

#[test]
fn a_vaccine_spares_what_it_says() {
    let of = |vaccination: Vaccination| run(&config(vec![vaccine(vaccination)]));
    let none = of(Vaccination { against_infection: 1.0, ..everyone() });
    assert_eq!(none.infections().len(), 40, "only the first");
    let late = of(Vaccination { against_infection: 1.0, delay: 15, ..everyone() });
    assert!(late.days()[14].new_infections > 0);
    assert!(late.infections().iter().all(|infection| infection.at < 15.0));
    let healthy = of(Vaccination { against_symptoms: 1.0, ..everyone() });
    let later = |simulation: &Simulation, of: fn(&lyceum_epidemic::disease::Infection) -> bool| {
        simulation.infections().iter().filter(|infection| infection.at > 0.0 && of(infection)).count()
    };
    assert!(later(&healthy, |_| true) > 100);
    assert_eq!(later(&healthy, |infection| !infection.asymptomatic), 0);
    let mild = of(Vaccination { against_hospital: 1.0, ..everyone() });
    assert!(later(&mild, |infection| !infection.asymptomatic) > 100);
    assert_eq!(later(&mild, |infection| infection.hospital[0].is_finite()), 0);
    let silent = of(Vaccination { against_transmission: 1.0, ..everyone() });
    assert!(silent.infections().iter().all(|infection| infection.by.is_none_or(|by| {
        // Only those who were infected before anyone was protected pass it on.
        silent.infections().iter().any(|other| other.person == by && other.at == 0.0)
    })));
}

/// A leaky vaccine of efficacy e that everyone has is a contagion of 1 − e, whichever end of a contact it protects.
#[test]
fn a_leaky_vaccine_is_a_smaller_contagion() {
    let run = |intervention: Intervention| {
        // Who is infected at first has no vaccine: the infection comes in later.
        let seeds = Intervention { from: 1, until: Some(8), imported: 5.0, ..Intervention::default() };
        run(&Config { initially_infected: 0.0, testing: false, ..config(vec![seeds, intervention]) })
    };
    let contagion = run(Intervention { contagion: 0.5, ..Intervention::default() });
    assert!(contagion.infections().len() > 150);
    for vaccination in [Vaccination { against_infection: 0.5, ..everyone() }, Vaccination { against_transmission: 0.5, ..everyone() }] {
        let vaccinated = run(vaccine(vaccination));
        let who = |simulation: &Simulation| -> Vec<(u32, Option<u32>)> {
            simulation.infections().iter().map(|infection| (infection.person, infection.by)).collect()
        };
        assert_eq!(who(&vaccinated), who(&contagion));
    }
    assert!(run(Intervention::default()).infections().len() > contagion.infections().len() * 5 / 4);
}

#[test]
fn saved_and_gone_on_is_the_same() {
    let plan = Vaccination { a_day: 0.013, against_infection: 0.6, delay: 3, coverage: 0.8, ..Vaccination::default() };
    let interventions = vec![
        Intervention { from: 6, until: Some(30), closed: vec![Setting::Work], contagion: 0.7, imported: 0.3, ..Intervention::default() },
        Intervention { from: 8, ..vaccine(plan) },
    ];
    let config = config(interventions);
    let whole = run(&config);
    let folder = tempfile::tempdir().unwrap();
    for day in [5, 13, 33] {
        let path = folder.path().join(format!("state-{day}"));
        let mut part = Simulation::new(&config).unwrap();
        (0..day).for_each(|_| _ = part.step());
        part.save(&path).unwrap();
        let mut again = Simulation::load(&path).unwrap();
        again.run().unwrap();
        assert_eq!(again.days(), whole.days(), "from day {day}");
        assert_eq!(again.infections(), whole.infections());
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| run(&config)).days(), whole.days());
    }
}

#[test]
fn mistakes_name_their_place() {
    for (text, told) in [
        ("[[interventions]]\nfrom = 9\nuntil = 9", "interventions[0].until"),
        ("[[interventions]]\n[[interventions]]\nclosed = [\"home\"]", "interventions[1].closed"),
        ("[[interventions]]\nclosed = [\"moon\"]", "moon"),
        ("[[interventions]]\ncontacts.work = 3", "interventions[0].contacts.work"),
        ("[[interventions]]\ncontacts.work = nan", "interventions[0].contacts.work"),
        ("[[interventions]]\ncontagion = -1", "interventions[0].contagion"),
        ("[[interventions]]\nimported = inf", "interventions[0].imported"),
        ("[[interventions]]\nlevel = 5", "interventions[0].level"),
        ("[[interventions]]\nvaccination.a_day = 1.5", "interventions[0].vaccination.a_day"),
        ("[[interventions]]\nvaccination.ages = [65, 12]", "interventions[0].vaccination.ages"),
        ("[[interventions]]\nvaccination.against_flu = 1", "against_flu"),
        ("[[interventions]]\nparameters.testing.capacty = 1", "testing.capacty"),
        ("[[interventions]]\nfrom = 500\nparameters.testing.capacity = 7", "testing.capacity"),
        ("[[intervention]]\nfrom = 5", "intervention"),
        (&"[[interventions]]\nfrom = 3\ncontacts.school = 1.5\n".repeat(2), "contacts on day 3"),
        (&"[[interventions]]\nuntil = 9\nimported = 1e6\n".repeat(3), "imported on day 0"),
        (&"[[interventions]]\ncontagion = 100\n".repeat(9), "contagion on day 0"),
        (&"[[interventions]]\n".repeat(1_001), "1000 at most"),
    ] {
        let message = Config::parse("plan.toml", text).unwrap_err().to_string();
        assert!(message.contains(told), "{text}: {message}");
    }
}

#[test]
fn values_are_changed_by_their_path() {
    let base = Config::parse("plan.toml", "[[interventions]]\nfrom = 5\n[[interventions]]\nfrom = 7\ncontagion = 0.5").unwrap();
    let change = |text: &str| base.changed("--set", toml::from_str(text).unwrap());
    let changed = change("interventions.1.contagion = 0.25").unwrap();
    assert_eq!((changed.interventions[1].contagion, changed.interventions[1].from), (0.25, 7));
    assert_eq!(changed.interventions[0], base.interventions[0]);
    assert_eq!(change("transmission.contagion = 9").unwrap().parameters["transmission"]["contagion"].as_integer(), Some(9));
    assert_eq!(change("testing.capacity = 0.01").unwrap().parameters["testing"]["capacity"].as_float(), Some(0.01));
    assert!(!change("testing = false").unwrap().testing);
    assert_eq!(change("people = 77").unwrap().people, 77);
    assert!(change("interventions = []").unwrap().interventions.is_empty());
    for (text, told) in
        [("interventions.2.contagion = 1", "interventions"), ("peple = 5", "peple"), ("interventions.x = 1", "interventions")]
    {
        let message = change(text).unwrap_err().to_string();
        assert!(message.contains(told), "{text}: {message}");
    }
}
