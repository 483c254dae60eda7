//! Gates on units and branches, which are learnt beside the weights.
//!
//! A gate multiplies the weights that read its unit, or those that its branch ends in. So a gate of 0 is removal, whatever normalisation and
//! activation come before them; and the gradient of a gate is had from that of the weights alone: with w the weights, m the gate and
//! g = ∂L/∂w of the loss L at m·w, m·∂L/∂m = Σ g·w.

use lyceum_core::{Seed, range};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How gates are learnt and sampled (Yuan, Savarese and Maire, *Growing Efficient Deep Networks by Structured Continuous
/// Sparsification*, 2021).
///
/// ```text
/// E_{q ~ Bernoulli(σ(βs))} [ L(w ∘ σ(βs) ∘ q) ] + λ Σ σ(βs),   λ = penalty · (used − allowed),   βᵢ = temperature · sharpening^(tᵢ/T)
/// ```
///
/// for scores s, of which q is drawn once a round, tᵢ the number of the T rounds in which i was there; what is allowed rises from what the seed
/// uses to the budget. So that one setting serves networks and
/// data of any size, the slopes of L with respect to the gates are in units of their root mean square over all gates, and the
/// learning rate is that of a round, whatever the number of its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Growth {
    /// The share of each group's units, and of all branches, that there are at first: the seed.
    #[serde(with = "range::PositiveFraction")]
    pub seed: f64,
    /// The score of a unit of the seed at first, and of any other less this.
    #[serde(with = "range::Positive")]
    pub score: f64,
    /// β at first.
    #[serde(with = "range::Positive")]
    pub temperature: f64,
    /// What β is multiplied with in the end.
    #[serde(with = "range::Positive")]
    pub sharpening: f64,
    /// A temperature for each gate, by the rounds in which it was there; or one for all, by the rounds.
    pub separate: bool,
    /// Whether what is trained is drawn; otherwise all units are, to the end: continuous sparsification.
    pub sampled: bool,
    /// Whether as much is drawn as is allowed: qᵢ = 1 where βᵢsᵢ + ε > θ, ε from the logistic distribution and θ as it fits. Otherwise θ = 0,
    /// which is a draw from Bernoulli(σ(βs)), and the penalty alone steers what is used.
    pub on_schedule: bool,
    /// λ over how far the budget is off.
    #[serde(with = "range::NonNegative")]
    pub penalty: f64,
    /// The scores' learning rate of a round at its peak; they follow the schedule of the weights, by gradient descent without decay.
    #[serde(with = "range::Positive")]
    pub learning_rate: f64,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            seed: 0.5,
            score: 0.3,
            temperature: 10.0,
            sharpening: 10.0,
            separate: true,
            sampled: true,
            on_schedule: true,
            penalty: 0.5,
            learning_rate: 0.5,
        }
    }
}

/// Scores do not leave [−1, 1].
const MOST: f64 = 1.0;

/// Gates and their scores.
#[derive(Debug, Clone)]
pub(crate) struct Gates {
    growth: Growth,
    /// How many rounds there are.
    rounds: usize,
    /// λ.
    pub(crate) pressure: f64,
    /// Steps of a round.
    pub(crate) steps: f64,
    /// s.
    pub(crate) scores: Vec<f64>,
    /// t.
    pub(crate) counts: Vec<f64>,
}

/// σ(x).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Growth {
    /// β of a gate that was there in `count` of `rounds` rounds.
    pub fn temperature_after(&self, count: f64, rounds: usize) -> f64 {
        self.temperature * self.sharpening.powf(count / rounds.max(1) as f64)
    }

    /// λ where this share is used of what a budget allows a share of.
    pub fn pressure(&self, used: f64, budget: f64) -> f64 {
        self.penalty * (used - budget).clamp(-1.0, 1.0)
    }

    /// ∂/∂s of L + λσ(βs), by `slope` = Σ g·w of the weights behind the gate; 0 where the unit is not there.
    pub fn score_gradient(score: f64, beta: f64, slope: f64, pressure: f64) -> f64 {
        let m = sigmoid(beta * score);
        beta * (1.0 - m) * (slope + pressure * m)
    }
}

impl Gates {
    /// Gates before the first round; `seeded` says which units belong to the seed.
    pub(crate) fn new(growth: Growth, rounds: usize, seeded: &[bool]) -> Self {
        let scores = seeded.iter().map(|seeded| if *seeded { growth.score } else { -growth.score }).collect();
        Self { growth, rounds, pressure: 0.0, steps: 1.0, scores, counts: vec![0.0; seeded.len()] }
    }

    /// What is saved beside scores and counts.
    pub(crate) fn numbers(&self) -> [f64; 3] {
        [self.rounds as f64, self.pressure, self.steps]
    }

    /// As it was saved.
    pub(crate) fn restored(growth: Growth, [rounds, pressure, steps]: [f64; 3], scores: Vec<f64>, counts: Vec<f64>) -> Self {
        Self { growth, rounds: rounds as usize, pressure, steps, scores, counts }
    }

    fn beta(&self, gate: usize) -> f64 {
        self.growth.temperature_after(self.counts[gate], self.rounds)
    }

    /// What each gate multiplies with: σ(βs).
    pub(crate) fn values(&self) -> Vec<f32> {
        (0..self.scores.len()).map(|gate| sigmoid(self.beta(gate) * self.scores[gate]) as f32).collect()
    }

    /// βs + ε of a round, ε drawn gate by gate: above 0 with probability σ(βs).
    pub(crate) fn draw(&self, seed: Seed, round: usize) -> Vec<f64> {
        let mut rng = seed.stream_at("sparsify/gates", round as u64);
        let mut noise = || {
            let u: f64 = rng.random::<f64>().clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            (u / (1.0 - u)).ln()
        };
        (0..self.scores.len()).map(|gate| self.beta(gate) * self.scores[gate] + noise()).collect()
    }

    /// Begins a round that trains the units that are `on`.
    pub(crate) fn begin(&mut self, on: &[bool], used: f64, budget: f64, steps: usize) {
        (self.pressure, self.steps) = (self.growth.pressure(used, budget), steps as f64);
        for (count, on) in self.counts.iter_mut().zip(on) {
            *count += f64::from(u8::from(*on || !self.growth.separate));
        }
    }

    /// A step along the gradient, by Σ g·w of each gate.
    pub(crate) fn step(&mut self, slopes: &[f64], relative_rate: f64) {
        let rate = self.growth.learning_rate * relative_rate / self.steps;
        let present = slopes.iter().filter(|slope| **slope != 0.0).count().max(1);
        let unit = (slopes.iter().map(|slope| slope * slope).sum::<f64>() / present as f64).sqrt().max(f64::MIN_POSITIVE);
        for (gate, slope) in slopes.iter().enumerate() {
            let gradient = Growth::score_gradient(self.scores[gate], self.beta(gate), slope / unit, self.pressure);
            self.scores[gate] = (self.scores[gate] - rate * gradient).clamp(-MOST, MOST);
        }
    }
}

/// Runs of a vector's numbers that a gate multiplies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gated(Vec<(std::ops::Range<usize>, u32)>);

impl Gated {
    /// By the gate of each number, if it has one.
    pub(crate) fn new(gates: impl Iterator<Item = Option<u32>>) -> Self {
        let mut runs: Vec<(std::ops::Range<usize>, u32)> = Vec::new();
        for (place, gate) in gates.enumerate().filter_map(|(place, gate)| Some((place, gate?))) {
            match runs.last_mut() {
                Some((run, own)) if run.end == place && *own == gate => run.end += 1,
                _ => runs.push((place..place + 1, gate)),
            }
        }
        Self(runs)
    }

    /// Multiplies numbers with their gates.
    pub(crate) fn multiply(&self, numbers: &mut [f32], gates: &[f32]) {
        for (run, gate) in &self.0 {
            numbers[run.clone()].iter_mut().for_each(|number| *number *= gates[*gate as usize]);
        }
    }

    /// Adds Σ g·w of each gate.
    pub(crate) fn add_slopes(&self, gradient: &[f32], parameters: &[f32], slopes: &mut [f64]) {
        for (run, gate) in &self.0 {
            let products = gradient[run.clone()].iter().zip(&parameters[run.clone()]).map(|(g, w)| g * w);
            slopes[*gate as usize] += f64::from(products.sum::<f32>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-10 * (1.0 + expected.abs()), "{found} {expected}");
    }

    #[test]
    fn temperatures_gates_and_pressure_worked_by_hand() {
        let growth = Growth { temperature: 1.0, sharpening: 100.0, penalty: 0.5, ..Growth::default() };
        for (count, beta) in [(0.0, 1.0), (1.0, 1.029_200_527_2), (80.0, 10.0), (160.0, 100.0)] {
            close(growth.temperature_after(count, 160), beta);
        }
        for (beta, gate) in [(1.0, 0.512_497_396_5), (10.0, 0.622_459_331_2), (100.0, 0.993_307_149_1)] {
            close(sigmoid(beta * 0.05), gate);
        }
        for (used, pressure) in [(1.0, 0.25), (0.5, 0.0), (0.1, -0.2)] {
            close(growth.pressure(used, 0.5), pressure);
        }
        // One schedule for all: 200 after 84 factors of 200^(1/84).
        let parent = Growth { sharpening: 200.0, ..growth };
        close(parent.temperature_after(1.0, 84), 1.065_106_939_4);
        close(parent.temperature_after(84.0, 84), 200.0);
    }

    /// w = 2 behind a gate of s = 0.1 and β = 5, loss ½(w·m·q − 1)² + 0.01·m.
    #[test]
    fn a_score_gradient_worked_by_hand() {
        let (w, s, beta) = (2.0, 0.1, 5.0);
        let m = sigmoid(beta * s);
        let gradient_of_weight = (w * m - 1.0) * m;
        close(gradient_of_weight, 0.152_451_906_8);
        close(Growth::score_gradient(s, beta, gradient_of_weight * w, 0.01), 0.587_318_134_1);
        close(Growth::score_gradient(s, beta, 0.0, 0.01), 0.011_750_185_6);
    }

    #[test]
    fn what_is_drawn_follows_the_gates_and_gates_harden() {
        let growth = Growth { score: 0.05, temperature: 1.0, sharpening: 100.0, ..Growth::default() };
        let mut gates = Gates::new(growth, 100, &[true, false]);
        (gates.counts[0], gates.counts[1]) = (50.0, 50.0);
        let rounds = 20_000;
        let mut seen = [0.0_f64; 2];
        for round in 0..rounds {
            gates.draw(Seed::new(1), round).iter().zip(&mut seen).for_each(|(on, seen)| *seen += f64::from(u8::from(*on > 0.0)));
        }
        // Five deviations of a binomial share.
        let deviation = 5.0 * (0.25 / rounds as f64).sqrt();
        assert!((seen[0] / rounds as f64 - 0.622_459).abs() < deviation, "{seen:?}");
        assert!((seen[1] / rounds as f64 - 0.377_541).abs() < deviation, "{seen:?}");
        gates.counts = vec![1e3; 2];
        assert!(sigmoid(gates.beta(0) * gates.scores[0]) == 1.0 && sigmoid(gates.beta(1) * gates.scores[1]) < 1e-30);
        // A gate that is not there has the penalty alone.
        let mut gates = Gates::new(Growth::default(), 10, &[true, true]);
        gates.begin(&[true, false], 1.0, 0.5, 10);
        gates.step(&[-1.0, 0.0], 1.0);
        assert!(gates.scores[0] > 0.3 && gates.scores[1] < 0.3, "{:?}", gates.scores);
        assert_eq!(gates.counts, [1.0, 0.0]);
    }

    #[test]
    fn runs_of_numbers() {
        let gated = Gated::new([None, Some(1), Some(1), Some(0), None, Some(1)].into_iter());
        let mut numbers = [1.0; 6];
        gated.multiply(&mut numbers, &[2.0, 3.0]);
        assert_eq!(numbers, [1.0, 3.0, 3.0, 2.0, 1.0, 3.0]);
        let mut slopes = [0.0; 2];
        gated.add_slopes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0; 6], &mut slopes);
        assert_eq!(slopes, [4.0, 11.0]);
    }
}
