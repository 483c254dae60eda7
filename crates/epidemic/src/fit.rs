//! Calibration: which parameters make a simulation like a series that was seen.
//!
//! Approximate Bayesian computation by a population of candidates (Beaumont, Cornuet, Marin and Robert, *Adaptive approximate Bayesian
//! computation*, 2009): a generation is drawn around the better half of the one before, and weighed so that the prior stays what it
//! was. What remains are draws from the posterior, as far as the distance allows.

use lyceum_core::{Error, Progress, Result, Seed};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{config::Config, simulation::Simulation};

/// A parameter that is looked for, uniformly between two values: one of the configuration (`mobility`, `initially_infected`, `uptake`,
/// `interventions.0.contagion`), or of the disease such as `transmission.contagion`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Free {
    /// Its name.
    pub name: String,
    /// The least value.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Series {
    /// New infections a day.
    NewInfections,
    /// Positive tests a day.
    Positive,
    /// People in hospital.
    InHospital,
    /// All deaths so far.
    Dead,
}

impl Series {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 4] =
        [("new-infections", Self::NewInfections), ("positive", Self::Positive), ("in-hospital", Self::InHospital), ("dead", Self::Dead)];

    /// Of a simulation.
    pub fn of(self, simulation: &Simulation) -> Vec<f64> {
        let value = |day: &crate::record::Day| match self {
            Self::NewInfections => day.new_infections,
            Self::Positive => day.positive,
            Self::InHospital => day.in_hospital,
            Self::Dead => day.dead,
        };
        simulation.days().iter().map(|day| f64::from(value(day))).collect()
    }
}

/// How it is looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitConfig {
    /// Candidates of a generation.
    pub candidates: usize,
    /// Generations.
    pub generations: usize,
    /// Draws of the search.
    pub seed: u64,
    /// What is compared.
    pub series: Series,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self { candidates: 64, generations: 5, seed: 1, series: Series::NewInfections }
    }
}

/// Values that fit, with their weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// What was looked for.
    pub free: Vec<Free>,
    /// Values of each candidate.
    pub values: Vec<Vec<f64>>,
    /// How much each counts; the sum is 1.
    pub weights: Vec<f64>,
    /// How far each is from what was seen.
    pub distances: Vec<f64>,
}

impl Fitted {
    /// The mean of a parameter, and an interval that holds 90 % of the weight.
    pub fn summary(&self, parameter: usize) -> (f64, [f64; 2]) {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by(|a, b| self.values[*a][parameter].total_cmp(&self.values[*b][parameter]));
        let quantile = |q: f64| {
            let mut before = 0.0;
            for &place in &order {
                before += self.weights[place];
                if before >= q {
                    return self.values[place][parameter];
                }
            }
            order.last().map_or(f64::NAN, |place| self.values[*place][parameter])
        };
        let mean = self.values.iter().zip(&self.weights).map(|(values, weight)| values[parameter] * weight).sum();
        (mean, [quantile(0.05), quantile(0.95)])
    }

    /// The candidate nearest to what was seen.
    pub fn best(&self) -> &[f64] {
        let best = (0..self.values.len()).min_by(|a, b| self.distances[*a].total_cmp(&self.distances[*b])).unwrap_or(0);
        &self.values[best]
    }
}

/// How far two series are apart: the root mean square of the differences of log(1 + weekly sums), which counts a small epidemic as much
/// as a large one.
pub fn distance(found: &[f64], seen: &[f64]) -> f64 {
    let weekly = |series: &[f64]| -> Vec<f64> { series.chunks(7).map(|week| (1.0 + week.iter().sum::<f64>()).ln()).collect() };
    let n = found.len().min(seen.len());
    let (found, seen) = (weekly(&found[..n]), weekly(&seen[..n]));
    (found.iter().zip(&seen).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / seen.len().max(1) as f64).sqrt()
}

/// A configuration with some values changed.
pub fn with(config: &Config, free: &[Free], values: &[f64]) -> Result<Config> {
    free.iter().zip(values).try_fold(config.clone(), |config, (Free { name, .. }, value)| {
        let allowed = "a name such as transmission.contagion, mobility or interventions.0.contagion";
        let change = toml::from_str(&format!("{name} = {value:?}")).map_err(|_| Error::invalid("parameter", name, allowed))?;
        config.changed(name, change)
    })
}

/// Looks for the values under which a simulation is like what was seen on its first days.
pub fn fit(config: &Config, free: &[Free], seen: &[f64], how: &FitConfig, progress: &Progress) -> Result<Fitted> {
    if free.is_empty() {
        return Err(Error::invalid("parameters to fit", "none", "at least one, with its least and greatest value"));
    }
    for Free { name, low, high } in free {
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Error::invalid(name.as_str(), format!("{low} to {high}"), "two finite numbers, the smaller one first"));
        }
    }
    if seen.len() < 7 || seen.iter().any(|value| !(value.is_finite() && *value >= 0.0)) {
        return Err(Error::invalid("series", format!("{} days", seen.len()), "at least 7 days of finite numbers of 0 and more"));
    }
    if how.candidates < 4 || how.generations == 0 {
        return Err(Error::invalid(
            "candidates and generations",
            format!("{} and {}", how.candidates, how.generations),
            "4 and 1, and more",
        ));
    }
    let config = Config { days: seen.len() as u32, count_contacts: false, ..config.clone() };
    // Mistakes of names and limits show before the work.
    for ends in [free.iter().map(|free| free.low).collect::<Vec<f64>>(), free.iter().map(|free| free.high).collect()] {
        with(&config, free, &ends)?.check()?;
    }
    let seed = Seed::new(how.seed);
    let mut task = progress.task("fitting", 0, (how.candidates * how.generations) as u64);
    let judge = |values: &[f64], number: u64| -> Result<f64> {
        let mut config = with(&config, free, values)?;
        // Each candidate has its own luck: what fits must fit with any.
        config.seed = config.seed.wrapping_add(1 + number);
        let mut simulation = Simulation::new(&config)?;
        simulation.run()?;
        Ok(distance(&how.series.of(&simulation), seen))
    };
    let mut kept: Option<Fitted> = None;
    for generation in 0..how.generations {
        let spread: Vec<f64> = kept.as_ref().map_or_else(Vec::new, |kept| {
            (0..free.len())
                .map(|parameter| {
                    let (mean, _) = kept.summary(parameter);
                    let variance: f64 =
                        kept.values.iter().zip(&kept.weights).map(|(values, weight)| weight * (values[parameter] - mean).powi(2)).sum();
                    // Twice the variance of those before (Beaumont et al.).
                    (2.0 * variance).sqrt().max(1e-3 * (free[parameter].high - free[parameter].low))
                })
                .collect()
        });
        let candidates: Vec<Vec<f64>> = (0..how.candidates)
            .map(|candidate| {
                let mut rng = seed.stream_at("fit", (generation * how.candidates + candidate) as u64);
                let Some(kept) = &kept else {
                    return free.iter().map(|free| free.low + (free.high - free.low) * rng.random::<f64>()).collect();
                };
                let mut left: f64 = rng.random();
                let from = kept.weights.iter().position(|weight| {
                    left -= weight;
                    left <= 0.0
                });
                let around = &kept.values[from.unwrap_or(0)];
                (0..free.len())
                    .map(|parameter| {
                        let Free { low, high, .. } = &free[parameter];
                        // Again until it is within the limits; in the end its beginning.
                        let draw = |rng: &mut lyceum_core::Stream| {
                            let (u, v): (f64, f64) = (rng.random::<f64>().max(1e-300), rng.random());
                            around[parameter] + spread[parameter] * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
                        };
                        (0..64).map(|_| draw(&mut rng)).find(|value| (*low..=*high).contains(value)).unwrap_or(around[parameter])
                    })
                    .collect()
            })
            .collect();
        let distances: Vec<f64> = candidates
            .par_iter()
            .enumerate()
            .map(|(candidate, values)| judge(values, (generation * how.candidates + candidate) as u64))
            .collect::<Result<_>>()?;
        let weights: Vec<f64> = candidates
            .iter()
            .map(|values| {
                kept.as_ref().map_or(1.0, |kept| {
                    let density: f64 = kept
                        .values
                        .iter()
                        .zip(&kept.weights)
                        .map(|(before, weight)| {
                            let far: f64 = (0..free.len()).map(|i| ((values[i] - before[i]) / spread[i]).powi(2)).sum();
                            weight * (-far / 2.0).exp()
                        })
                        .sum();
                    1.0 / density.max(1e-300)
                })
            })
            .collect();
        // The better half goes on; in the end it is the answer.
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]).then(a.cmp(b)));
        order.truncate((how.candidates / 2).max(2));
        let all: f64 = order.iter().map(|place| weights[*place]).sum();
        task.set(((generation + 1) * how.candidates) as u64, &format!("distance {:.3}", distances[order[order.len() - 1]]));
        kept = Some(Fitted {
            free: free.to_vec(),
            values: order.iter().map(|place| candidates[*place].clone()).collect(),
            weights: order.iter().map(|place| weights[*place] / all).collect(),
            distances: order.iter().map(|place| distances[*place]).collect(),
        });
    }
    kept.ok_or_else(|| Error::Failed("nothing was fitted".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series that was simulated with a known contagion is fitted again.
    #[test]
    fn a_synthetic_truth_is_found_again() {
        let config = Config { people: 3_000, days: 49, initially_infected: 0.01, testing: false, mobility: 0.5, ..Config::default() };
        let free = vec![Free { name: "transmission.contagion".into(), low: 5.0, high: 80.0 }];
        let mut truth = Simulation::new(&with(&config, &free, &[25.0]).unwrap()).unwrap();
        truth.run().unwrap();
        let seen = Series::NewInfections.of(&truth);
        let how = FitConfig { candidates: 24, generations: 4, ..FitConfig::default() };
        let fitted = fit(&config, &free, &seen, &how, &Progress::quiet()).unwrap();
        let (mean, [low, high]) = fitted.summary(0);
        assert!((mean - 25.0).abs() < 6.0 && low < 27.0 && high > 23.0, "{mean} [{low}, {high}]");
        assert_eq!(fitted, fit(&config, &free, &seen, &how, &Progress::quiet()).unwrap());
    }

    #[test]
    fn mistakes_are_told() {
        let config = Config { people: 100, ..Config::default() };
        let free = |name: &str| vec![Free { name: name.into(), low: 0.1, high: 0.9 }];
        let told =
            |free: Vec<Free>, seen: &[f64]| fit(&config, &free, seen, &FitConfig::default(), &Progress::quiet()).unwrap_err().to_string();
        assert!(told(free("transmission.contagoin"), &[1.0; 9]).contains("contagoin"));
        assert!(told(Vec::new(), &[1.0; 9]).contains("at least one"));
        assert!(told(free("mobility"), &[1.0; 3]).contains("7 days"));
        assert!(told(free("mobility"), &[f64::NAN; 9]).contains("finite"));
    }
}
