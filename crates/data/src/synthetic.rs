//! Examples made up for clients that differ in known ways.

use lyceum_core::{Result, range};
use ndarray::{Array1, Array2};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Examples, Extent, prepare::Prepared};

/// Multinomial logistic regression on clients that differ in solution, in features and in amount (the generator of Li et al. 2020 as
/// the authors of FedDyn have it). With Σ = diag(j^−1.2), j = 1..d,
///
/// ```text
/// n_k ~ log-normal(ln(mean_examples), size_deviation)
/// μ_k ~ N(0, solution_deviation²),  W_k, b_k ~ N(μ_k, 1)    or one W, b ~ N(0, 1) for all
/// B_k ~ N(0, feature_deviation²),   v_k ~ N(B_k, 1)^d       or 0 for all
/// x ~ N(v_k, Σ),  y = argmax(xW_k + b_k)
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticLogistic {
    /// m.
    #[serde(with = "range::AtLeastOne")]
    pub clients: usize,
    /// d.
    #[serde(with = "range::AtLeastOne")]
    pub features: usize,
    /// How many classes there are.
    #[serde(with = "range::AtLeastOne")]
    pub classes: usize,
    /// The median of the clients' numbers of examples.
    #[serde(with = "range::AtLeastOne")]
    pub mean_examples: usize,
    /// How far the clients' solutions lie apart; absent: they all have the same.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub solution_deviation: Option<f64>,
    /// How far the clients' features lie apart; absent: all have mean 0.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub feature_deviation: Option<f64>,
    /// σ of the logarithm of the clients' numbers of examples.
    #[serde(with = "range::NonNegative")]
    pub size_deviation: f64,
}

impl Default for SyntheticLogistic {
    fn default() -> Self {
        Self {
            clients: 20,
            features: 30,
            classes: 5,
            mean_examples: 200,
            solution_deviation: None,
            feature_deviation: None,
            size_deviation: 0.0,
        }
    }
}

impl SyntheticLogistic {
    /// The examples, and which of them each client has. The test examples are the training examples, as the authors have it.
    pub fn generate(&self, rng: &mut impl Rng) -> Result<(Prepared, Vec<Vec<usize>>)> {
        range::check(self)?;
        let (d, c) = (self.features, self.classes);
        let mut normal = |mean: f64, deviation: f64| mean + deviation * Distribution::<f64>::sample(&StandardNormal, &mut *rng);
        let shared: Vec<f64> = (0..(d + 1) * c).map(|_| normal(0.0, 1.0)).collect();
        let (mut inputs, mut labels, mut parts): (Vec<f32>, Vec<usize>, Vec<Vec<usize>>) = Default::default();
        for _ in 0..self.clients {
            let size = (self.mean_examples as f64).ln() + self.size_deviation * normal(0.0, 1.0);
            let n = (size.exp().round() as usize).max(1);
            let own: Option<Vec<f64>> = self.solution_deviation.map(|deviation| {
                let mean = normal(0.0, deviation);
                (0..(d + 1) * c).map(|_| normal(mean, 1.0)).collect()
            });
            let solution = own.as_ref().unwrap_or(&shared);
            let center: Vec<f64> = match self.feature_deviation {
                Some(deviation) => {
                    let mean = normal(0.0, deviation);
                    (0..d).map(|_| normal(mean, 1.0)).collect()
                }
                None => vec![0.0; d],
            };
            parts.push((labels.len()..labels.len() + n).collect());
            for _ in 0..n {
                let x: Vec<f64> = center.iter().enumerate().map(|(j, v)| normal(*v, ((j + 1) as f64).powf(-0.6))).collect();
                let logit = |class: usize| (0..d).map(|j| x[j] * solution[j * c + class]).sum::<f64>() + solution[d * c + class];
                let logits: Array1<f64> = (0..c).map(logit).collect();
                let best = (0..c).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
                inputs.extend(x.iter().map(|x| *x as f32));
                labels.push(best);
            }
        }
        let train = Examples::new(Array2::from_shape_vec((labels.len(), d), inputs).expect("d numbers an example"), labels);
        let classes = (0..c).map(|class| class.to_string()).collect();
        Ok((Prepared::new(Extent { channels: 1, height: 1, width: d }, classes, train.clone(), train), parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;

    #[test]
    fn clients_differ_as_asked() {
        let generate = |config: &SyntheticLogistic| config.generate(&mut Seed::new(1).stream("synthetic")).unwrap();
        let means = |(data, parts): &(Prepared, Vec<Vec<usize>>)| -> Vec<f64> {
            parts
                .iter()
                .map(|part| part.iter().map(|&row| f64::from(data.train.inputs.row(row)[29])).sum::<f64>() / part.len() as f64)
                .collect()
        };
        let spread = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        let same = generate(&SyntheticLogistic::default());
        assert_eq!((same.0.train.inputs.dim(), same.1.len()), ((4_000, 30), 20));
        // The 30th feature has deviation 30^−0.6 = 0.13, its mean over 200 examples 0.009.
        assert!(spread(&means(&same)) < 0.02);
        let apart = generate(&SyntheticLogistic { feature_deviation: Some(1.0), ..Default::default() });
        assert!(spread(&means(&apart)) > 0.7);
        let uneven = generate(&SyntheticLogistic { size_deviation: 1.0, ..Default::default() });
        let sizes: Vec<f64> = uneven.1.iter().map(|part| (part.len() as f64).ln()).collect();
        assert!((spread(&sizes) - 1.0).abs() < 0.4, "{}", spread(&sizes));
        // With solutions of their own, clients label the same kind of features otherwise: the classes' shares differ more.
        let shares = |(data, parts): &(Prepared, Vec<Vec<usize>>)| -> Vec<f64> {
            parts.iter().map(|part| part.iter().filter(|&&row| data.train.labels[row] == 0).count() as f64 / part.len() as f64).collect()
        };
        let own = generate(&SyntheticLogistic { solution_deviation: Some(1.0), ..Default::default() });
        assert!(spread(&shares(&own)) > 3.0 * spread(&shares(&same)), "{} {}", spread(&shares(&own)), spread(&shares(&same)));
    }
}
