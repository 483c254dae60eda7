//! Cases whose answers are known: limits, laws of large epidemics, and what must not depend on how it is computed.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::{Path, PathBuf};

use lyceum_epidemic::{
    Config, Deciding, Parameters, PolicyName, Simulation,
    disease::{Infection, Setting},
    random::Random,
    record::hours,
    region::REGIONS,
    simulation::{Exposure, passes_on},
    vaccination::Protection,
};

fn run(config: &Config) -> Simulation {
    let mut simulation = Simulation::new(config).unwrap();
    simulation.run().unwrap();
    simulation
}

fn parameters(text: &str) -> toml::Table {
    toml::from_str(text).unwrap()
}

fn attack(simulation: &Simulation) -> f64 {
    simulation.infections().len() as f64 / simulation.population().len() as f64
}

/// Children of those infected in the first days after the beginning.
fn reproduction(simulation: &Simulation, from: f32, until: f32) -> f64 {
    let mut children = vec![0_u32; simulation.population().len()];
    simulation.infections().iter().filter_map(|infection| infection.by).for_each(|by| children[by as usize] += 1);
    let of: Vec<u32> = simulation
        .infections()
        .iter()
        .filter(|infection| (from..until).contains(&infection.at))
        .map(|infection| children[infection.person as usize])
        .collect();
    f64::from(of.iter().sum::<u32>()) / of.len() as f64
}

#[test]
fn without_transmission_nobody_else_is_infected() {
    let config = Config {
        people: 3_000,
        days: 30,
        initially_infected: 0.01,
        parameters: parameters("transmission.contagion = 0"),
        ..Config::default()
    };
    let simulation = run(&config);
    assert_eq!(simulation.infections().len(), 30);
    assert!(simulation.days().iter().all(|day| day.new_infections == 0));
}

#[test]
fn everyone_is_somewhere_every_day_and_every_hour() {
    // A learnt one needs a file.
    for policy in PolicyName::ALL.into_iter().filter(|policy| *policy != PolicyName::Learnt) {
        let config = Config { people: 2_000, days: 40, initially_infected: 0.01, policy, ..Config::default() };
        let simulation = run(&config);
        let mut infected = 20;
        for day in simulation.days() {
            infected += day.new_infections;
            assert_eq!(day.people(), 2_000, "{policy:?}");
            assert_eq!(day.susceptible, 2_000 - infected, "{policy:?}, day {}", day.day);
            assert!(day.falsely_quarantined <= day.quarantined && day.critical <= day.in_hospital);
            assert!(day.levels.iter().sum::<u32>() <= 2_000);
        }
        let hours = hours(simulation.infections(), 2_000, 40);
        assert_eq!(hours.len(), 24 * 40);
        for (hours, day) in hours.chunks(24).zip(simulation.days()) {
            for hour in hours {
                assert_eq!(hour.susceptible + hour.exposed + hour.infectious + hour.recovered + hour.dead, 2_000, "{hour:?}");
            }
            assert_eq!(hours.iter().map(|hour| hour.new_infections).sum::<u32>(), day.new_infections);
            assert_eq!((hours[23].susceptible, hours[23].exposed), (day.susceptible, day.exposed), "{day:?}");
            // Who recovers or dies in the course of a day does so for the day's row when the next begins.
            assert!(hours[23].recovered >= day.recovered && hours[23].dead >= day.dead && hours[23].infectious <= day.infectious);
        }
        // Nobody twice, and nobody by someone who was infected later.
        let mut people: Vec<u32> = simulation.infections().iter().map(|infection| infection.person).collect();
        people.sort_unstable();
        assert!(people.windows(2).all(|pair| pair[0] < pair[1]));
        for infection in simulation.infections() {
            let by = infection.by.map(|by| simulation.infections().iter().find(|other| other.person == by).unwrap());
            // A meeting counts from its beginning, and can last into the time in which the other becomes infectious.
            assert!(by.is_none_or(|by| by.at + by.onset < infection.at + 0.5 && infection.at < by.at + by.recovery));
        }
    }
}

fn region(folder: &Path, changes: impl FnOnce(&mut toml::Table)) -> String {
    let mut region: toml::Table = toml::from_str(REGIONS[0].1).unwrap();
    changes(&mut region);
    let path: PathBuf = folder.join("region.toml");
    std::fs::write(&path, toml::to_string(&region).unwrap()).unwrap();
    path.to_string_lossy().into_owned()
}

fn set(table: &mut toml::Table, path: &str, value: impl Into<toml::Value>) {
    match path.split_once('.') {
        Some((first, rest)) => set(table[first].as_table_mut().unwrap(), rest, value),
        None => _ = table.insert(path.into(), value.into()),
    }
}

#[test]
fn two_people_in_a_closed_household() {
    let folder = tempfile::tempdir().unwrap();
    let region = region(folder.path(), |region| {
        set(region, "households.sizes", vec![0.0, 1.0, 0.0, 0.0, 0.0]);
        set(region, "households.families", vec![vec![1.0, 0.0, 0.0]; 4]);
        set(region, "households.in_residence", vec![0.0; 16]);
        set(region, "ages.share", [vec![0.0; 6], vec![1.0], vec![0.0; 9]].concat());
        set(region, "contacts.other", 0.0);
        set(region, "contacts.unknown", 0.0);
    });
    let changed = parameters(
        "transmission.contagion = 1000000\nseverity.verity.hospital = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n\
         severity.verity.death = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
    );
    for seed in 0..20 {
        let config = Config {
            region: region.clone(),
            people: 2,
            days: 60,
            seed,
            initially_infected: 0.5,
            policy: PolicyName::Unmitigated,
            testing: false,
            parameters: changed.clone(),
            ..Config::default()
        };
        let simulation = run(&config);
        assert_eq!(simulation.infections().len(), 2, "seed {seed}");
        assert_eq!(simulation.infections()[1].place, Setting::Home);
    }
}

/// Everyone meets everyone alike, all meetings are alike, nobody is tested or stays at home.
fn homogeneous(folder: &Path) -> Config {
    let region = region(folder, |region| {
        let shares: Vec<f64> = region["ages"]["share"].as_array().unwrap().iter().map(|share| share.as_float().unwrap()).collect();
        let all: f64 = shares.iter().sum();
        let matrix: Vec<Vec<f64>> = shares.iter().map(|share| vec![share / all; 16]).collect();
        for kind in ["home", "work", "school", "unknown", "known"] {
            set(region, &format!("contacts.{kind}"), 0.0);
        }
        set(region, "contacts.other", 4.0);
        set(region, "contacts.reached.other", 1.0);
        set(region, "contacts.matrices.other", matrix);
        set(region, "contacts.seconds", vec![vec![3600.0; 16]; 16]);
        for place in ["store", "venue", "park", "home"] {
            set(region, &format!("contacts.hours.{place}"), 24.0);
        }
        set(region, "outings.community", 1_000_000);
        set(region, "schools.kinds", Vec::<toml::Value>::new());
        set(region, "work.from", 120);
        set(region, "work.to", 120);
        set(region, "households.in_residence", vec![0.0; 16]);
    });
    let ones = "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]";
    let none = "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]";
    let changed = parameters(&format!(
        "transmission.susceptibility = {ones}\ntransmission.contacts_a_day = {ones}\nseverity.verity.hospital = {none}\nseverity.verity.death = {none}\n\
         transmission.places = {{ home = 1, store = 1, venue = 1, park = 1 }}\n\
         illness.out_severe = 1\nillness.out_moderate = 1\nillness.out_mild = 1\ncourse.recovery_age_years = 1e9\n\
         course.asymptomatic_a_year = 0.0"
    ));
    Config {
        region,
        people: 40_000,
        days: 200,
        initially_infected: 0.002,
        policy: PolicyName::Unmitigated,
        testing: false,
        count_contacts: false,
        parameters: changed,
        ..Config::default()
    }
}

/// How much one person passes on in the course of the infection, by the day: meetings a day times the mean probability of each.
fn passed_on(config: &Config) -> Vec<f64> {
    let parameters = Parameters::changed(&config.parameters).unwrap();
    // Seconds: normal with mean and deviation 3600, positive; less than 900 pass nothing on.
    let normal = |p: f64| {
        use statrs::distribution::{ContinuousCDF, Normal};
        let normal = Normal::standard();
        let below = normal.cdf(-1.0);
        3600.0 * (1.0 + normal.inverse_cdf(below + (1.0 - below) * p))
    };
    let seconds: Vec<f64> = (0..64).map(|place| normal((f64::from(place) + 0.5) / 64.0)).filter(|seconds| *seconds >= 900.0).collect();
    let (count, steps) = (3_000, 8);
    let population = Simulation::population_of(&Config { people: count, ..config.clone() }).unwrap();
    let mut by_day = vec![0.0; 40];
    for number in 0..count {
        let infection = Infection::new(
            &population.people[number as usize],
            number,
            None,
            Setting::Home,
            0.0,
            Random(77),
            &parameters.course,
            &parameters.severity,
            Protection::default(),
        );
        for (day, all) in by_day.iter_mut().enumerate() {
            for step in 0..steps {
                let days = day as f32 + (step as f32 + 0.5) / steps as f32;
                let symptoms = infection.symptoms(days);
                let p: f64 = seconds
                    .iter()
                    .map(|seconds| Exposure { days, seconds: *seconds as f32, symptoms, setting: Setting::Venue, decade: 4, left: 1.0 })
                    .map(|exposure| f64::from(passes_on(&parameters.transmission, &infection, &exposure)))
                    .sum::<f64>()
                    / 64.0;
                // Four meetings begun by each, so that each has eight.
                *all += 8.0 * p / f64::from(steps) / f64::from(count);
            }
        }
    }
    by_day
}

/// With a contagion for this many infections by each, at first.
fn calibrate(config: &mut Config, wanted: f64) {
    let (mut low, mut high) = (0.0, 200.0);
    for _ in 0..16 {
        let middle: f64 = f64::midpoint(low, high);
        config.parameters["transmission"].as_table_mut().unwrap().insert("contagion".into(), middle.into());
        if passed_on(config).iter().sum::<f64>() < wanted { low = middle } else { high = middle }
    }
}

/// The final size z solves z = 1 − (1 − s)·exp(−R₀ z), s the share that is infected at first; R₀ = 2 gives 0.7968 and 1.5 gives 0.5828
/// as s goes to 0.
#[test]
fn the_final_size_of_a_well_mixed_epidemic() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = homogeneous(folder.path());
    for (wanted, expected_limit) in [(2.0, 0.7968), (1.5, 0.5828)] {
        calibrate(&mut config, wanted);
        let law = |s: f64| (0..500).fold(0.5, |z: f64, _| 1.0 - (1.0 - s) * (-wanted * z).exp());
        assert!((law(0.0) - expected_limit).abs() < 1e-3);
        let found = attack(&run(&config));
        assert!((found - law(0.002)).abs() < 0.015, "R0 = {wanted}: {found} for {}", law(0.002));
    }
}

/// R₀ from the growth r while few are infected: 1/R₀ = ∫ w(a)·exp(−r a) da with the distribution w of the time from one infection to
/// the next (Wallinga and Lipsitch 2007).
#[test]
fn early_growth_follows_euler_and_lotka() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = homogeneous(folder.path());
    calibrate(&mut config, 2.2);
    (config.people, config.days) = (200_000, 40);
    config.initially_infected = 0.0005;
    let passed = passed_on(&config);
    let r0: f64 = passed.iter().sum();
    let simulation = run(&config);
    // New infections from the second generation on, and before a twentieth of all is infected.
    let days: Vec<(f64, f64)> = simulation
        .days()
        .iter()
        .filter(|day| day.day >= 14 && f64::from(day.susceptible) > 0.95 * 200_000.0)
        .map(|day| (f64::from(day.day), f64::from(day.new_infections).max(1.0).ln()))
        .collect();
    assert!(days.len() >= 8, "{days:?}");
    let n = days.len() as f64;
    let (x, y) = (days.iter().map(|day| day.0).sum::<f64>() / n, days.iter().map(|day| day.1).sum::<f64>() / n);
    let r = days.iter().map(|day| (day.0 - x) * (day.1 - y)).sum::<f64>() / days.iter().map(|day| (day.0 - x).powi(2)).sum::<f64>();
    let found = r0 / passed.iter().enumerate().map(|(day, passed)| passed * (-r * (day as f64 + 0.5)).exp()).sum::<f64>();
    assert!((found - r0).abs() < 0.12 * r0, "R0 = {r0}; {found} from the growth {r}");
}

#[test]
fn one_seed_one_result_with_any_number_of_threads_and_whatever_is_counted() {
    for policy in [PolicyName::None, PolicyName::Bct2, PolicyName::Heuristic1, PolicyName::Oracle] {
        let config = Config { people: 6_000, days: 25, initially_infected: 0.01, policy, intervention_day: 3, ..Config::default() };
        let with =
            |threads: usize, config: &Config| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| run(config));
        let one = with(1, &config);
        for threads in [2, 8] {
            let other = with(threads, &config);
            assert_eq!(one.days(), other.days(), "{policy:?}, {threads} threads");
            assert_eq!(one.infections(), other.infections());
        }
        // What cannot matter is not drawn, and that changes nothing.
        let fewer = with(2, &Config { count_contacts: false, ..config.clone() });
        assert_eq!(one.infections(), fewer.infections(), "{policy:?}");
        assert!(fewer.days().iter().all(|day| day.contacts.is_none()));
        let another = with(2, &Config { seed: 2, ..config });
        assert_ne!(one.infections(), another.infections());
    }
}

#[test]
fn a_saved_simulation_goes_on_as_if_it_had_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved");
    for policy in [PolicyName::Unmitigated, PolicyName::Bct1, PolicyName::Heuristic3] {
        let config = Config { people: 2_000, days: 30, initially_infected: 0.01, policy, intervention_day: 5, ..Config::default() };
        let whole = run(&config);
        for stop in [0, 3, 7, 22, 30] {
            let mut first = Simulation::new(&config).unwrap();
            (0..stop).for_each(|_| _ = first.step());
            first.save(&path).unwrap();
            let mut second = Simulation::load(&path).unwrap();
            second.run().unwrap();
            assert_eq!(whole.days(), second.days(), "{policy:?}, stopped on day {stop}");
            assert_eq!(whole.infections(), second.infections());
        }
    }
    // What if: from the same day on under another policy.
    let mut branch =
        Simulation::load_with(&path, |config| (config.days, config.policy) = (60, PolicyName::Lockdown), Deciding::Now(None)).unwrap();
    branch.run().unwrap();
    assert_eq!(branch.days().len(), 60);
    assert!(Simulation::load_with(&path, |config| config.people = 7, Deciding::AsBefore).is_err());
    // Damaged in any place it is refused.
    let bytes = std::fs::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        std::fs::write(&path, damaged).unwrap();
        assert!(Simulation::load(&path).is_err(), "byte {at}");
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert!(Simulation::load(&path).is_err(), "cut at {at}");
    }
}

/// Everyone has the app, tests are perfect and at once, everyone follows: tracing stops what else goes on.
#[test]
fn perfect_tracing_stops_an_epidemic() {
    let perfect = "phones.owners = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\nphones.drop_out = 0\ntesting.capacity = 1\ntesting.ask_suspicious = 1\n\
                   testing.delay = 0\ntesting.reported = 1\ntesting.drop_out = 0\ntesting.household_drop_out = 0\n\
                   testing.false_negative = [[100, 0]]\nphones.noise = 0\ncourse.asymptomatic = 0\ncourse.asymptomatic_a_year = 0";
    let config = Config {
        people: 10_000,
        days: 60,
        mobility: 0.6,
        uptake: 1.0,
        initially_infected: 0.005,
        parameters: parameters(perfect),
        ..Config::default()
    };
    let untraced = run(&Config { testing: false, ..config.clone() });
    let traced = run(&Config { policy: PolicyName::Bct1, ..config });
    let (without, with) = (reproduction(&untraced, 5.0, 15.0), reproduction(&traced, 5.0, 15.0));
    assert!(without > 1.3 && with < 1.0, "R {without} without tracing, {with} with");
    assert!(attack(&traced) < 0.2 * attack(&untraced), "{} {}", attack(&traced), attack(&untraced));
}

#[test]
fn mistakes_are_told() {
    let told = |config: Config| Simulation::new(&config).err().unwrap().to_string();
    assert!(told(Config { people: 0, ..Config::default() }).contains("people"));
    assert!(told(Config { uptake: f64::NAN, ..Config::default() }).contains("uptake"));
    assert!(told(Config { mobility: 1.5, ..Config::default() }).contains("mobility"));
    assert!(told(Config { region: "nowhere".into(), ..Config::default() }).contains("montreal"));
    assert!(told(Config { parameters: parameters("course.plateau.least = 100"), ..Config::default() }).contains("plateau"));
    assert!(Config::parse("c.toml", "peple = 3").unwrap_err().to_string().contains("peple"));
    assert!(PolicyName::parse("magic").unwrap_err().to_string().contains("heuristic1"));
    // The smallest are simulations too.
    for people in [1, 2, 5] {
        assert_eq!(run(&Config { people, days: 20, initially_infected: 1.0, ..Config::default() }).infections().len(), people as usize);
    }
    assert!(run(&Config { people: 50, initially_infected: 0.0, ..Config::default() }).infections().is_empty());
}
