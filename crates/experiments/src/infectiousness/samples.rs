//! Simulations whose phones are learnt from.

use std::sync::Arc;

use lyceum_core::{Result, Run, Seed, range, run::Input};
use lyceum_epidemic::{
    Config, Simulation,
    random::Random,
    region::REGIONS,
    tracing::{
        DAYS, Phone, Policy,
        collect::{Collector, Sampling},
        learnt::Inputs,
    },
};
use rand::RngExt;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network::Sample;

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Simulations {
    /// The region whose people are simulated: one of Lyceum's, or a TOML file.
    region: String,
    /// People of a simulation.
    #[serde(with = "range::AtLeastOne")]
    people: usize,
    /// Days of a simulation.
    #[serde(with = "range::AtLeastOne")]
    days: usize,
    /// Simulations of a round that are learnt from.
    #[serde(with = "range::AtLeastOne")]
    pub(super) train: usize,
    /// Simulations of a round that are kept out: levels come from them, and with the new predictor as policy, the figures.
    #[serde(with = "range::AtLeastOne")]
    pub(super) held_out: usize,
    /// The share of phones and days that is kept where the owner was infectious within fourteen days.
    #[serde(with = "range::Fraction")]
    share: f64,
    /// Where the owner was not, the share that is kept of it: most are well, and little is learnt from them.
    #[serde(with = "range::Fraction")]
    well: f64,
    /// Between which values each simulation draws what it is like.
    ranges: Ranges,
}

/// Between which values each simulation draws: domain randomisation, so that a predictor meets nothing new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Ranges {
    /// The share of smartphone owners who have the app.
    uptake: [f64; 2],
    /// The share of people who are infected on the first day.
    initially_infected: [f64; 2],
    /// The share of contacts that take place.
    mobility: [f64; 2],
    /// The share of careful people.
    careful: [f64; 2],
    /// The chance that a symptom is not entered.
    symptom_drop_out: [f64; 2],
    /// The chance that a symptom is entered that is not there.
    symptom_drop_in: [f64; 2],
    /// The chance by day that somebody does not follow the recommendation of the app.
    drop_out: [f64; 2],
    /// The same of the quarantine after a positive test.
    test_drop_out: [f64; 2],
    /// The same of the quarantine of a household.
    household_drop_out: [f64; 2],
    /// People who follow recommendations: without those who do not, hardly any infection would go from phone to phone.
    follow: [f64; 2],
    /// Noise of the oracle whose messages the first round has.
    oracle_add: [f64; 2],
    /// The same, as a share of the value.
    oracle_multiply: [f64; 2],
}

impl Default for Simulations {
    fn default() -> Self {
        Self {
            region: "montreal".into(),
            people: 3_000,
            days: 40,
            train: 40,
            held_out: 6,
            share: 0.8,
            well: 0.05,
            ranges: Ranges::default(),
        }
    }
}

impl Default for Ranges {
    /// As the authors drew them, but for who follows, and less of the noise that is added.
    fn default() -> Self {
        Self {
            uptake: [0.4215, 0.8415],
            initially_infected: [0.002, 0.006],
            mobility: [0.3, 0.9],
            careful: [0.5, 0.8],
            symptom_drop_out: [0.1, 0.6],
            symptom_drop_in: [1e-4, 1e-3],
            drop_out: [0.01, 0.05],
            test_drop_out: [0.01, 0.03],
            household_drop_out: [0.02, 0.05],
            follow: [0.0, 1.0],
            oracle_add: [0.0, 0.05],
            oracle_multiply: [0.2, 0.8],
        }
    }
}

impl Simulations {
    /// The region, where it is a file.
    pub(super) fn inputs(&self) -> Vec<Input> {
        let is_known = REGIONS.iter().any(|(name, _)| *name == self.region);
        let file = (!is_known).then(|| Input::named(&self.region, "Give a region's file, or one of the known regions."));
        file.into_iter().collect()
    }

    /// The configuration of simulation `number`, and the share of people who follow recommendations.
    fn config(&self, number: usize, seed: Seed) -> (Config, f32) {
        let mut rng = seed.stream_at("simulation", number as u64);
        let ranges = &self.ranges;
        let mut draw = |[low, high]: [f64; 2]| if high > low { rng.random_range(low..high) } else { low };
        let mut config = Config {
            region: self.region.clone(),
            people: self.people as u32,
            days: self.days as u32,
            uptake: draw(ranges.uptake),
            initially_infected: draw(ranges.initially_infected),
            mobility: draw(ranges.mobility),
            count_contacts: false,
            oracle_noise: [draw(ranges.oracle_add) as f32, draw(ranges.oracle_multiply) as f32],
            ..Config::default()
        };
        let changed = [
            ("behaviour", "careful", draw(ranges.careful)),
            ("phones", "symptom_drop_out", draw(ranges.symptom_drop_out)),
            ("phones", "symptom_drop_in", draw(ranges.symptom_drop_in)),
            ("phones", "drop_out", draw(ranges.drop_out)),
            ("testing", "drop_out", draw(ranges.test_drop_out)),
            ("testing", "household_drop_out", draw(ranges.household_drop_out)),
        ];
        for (table, key, value) in changed {
            let table = config.parameters.entry(table).or_insert_with(|| toml::Table::new().into());
            table.as_table_mut().expect("a table").insert(key.into(), value.into());
        }
        let follow = draw(ranges.follow) as f32;
        config.seed = rng.random_range(0..u64::from(u32::MAX));
        (config, follow)
    }

    /// Rules between fields.
    pub(super) fn check(&self) -> Result<()> {
        self.config(0, Seed::new(0)).0.check()
    }

    /// What phones knew in `count` simulations under a policy, which the configuration of each is given to.
    pub(super) fn samples(
        &self,
        run: &Run,
        (name, count): (&str, usize),
        seed: Seed,
        policy: impl Fn(&Config) -> Arc<dyn Policy> + Sync,
    ) -> Result<Vec<Arc<Sample>>> {
        let task = std::sync::Mutex::new((run.progress().task(name, 0, count as u64), 0));
        let seed = seed.child(name);
        let found: Vec<Vec<Arc<Sample>>> = (0..count)
            .into_par_iter()
            .map(|number| {
                run.stop_if_requested()?;
                let (config, follow) = self.config(number, seed);
                let sampling = Sampling { follow, share: self.share as f32, well: self.well as f32 };
                let collector = Arc::new(Collector::new(policy(&config), sampling, Random(config.seed)));
                Simulation::with_policy(&config, Some(collector.clone()))?.run()?;
                if let Ok(mut task) = task.lock() {
                    task.1 += 1;
                    let done = task.1;
                    task.0.set(done, "");
                }
                Ok(collector.take().iter().map(|phone| Arc::new(sample(phone))).collect())
            })
            .collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn sample(phone: &Phone) -> Sample {
    let inputs = Inputs::of(phone);
    let mut truth = phone.truth;
    // What a recommendation of today is for.
    truth[0] = phone.tomorrow;
    let exposure =
        phone.exposure.and_then(|(ago, level)| inputs.clusters.iter().position(|cluster| (cluster.ago, cluster.level) == (ago, level)));
    Sample { truth, infectious: phone.truth[0] > 0.0, days: (phone.day as usize + 1).min(DAYS), exposure, inputs }
}
