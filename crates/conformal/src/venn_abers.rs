//! Venn–Abers prediction: calibrated probabilities, with how far they can be trusted.

use lyceum_core::{Error, Result};

use crate::mondrian::same_length;

/// Inductive Venn–Abers prediction of two labels (Vovk and Petej 2014; Vovk, Petej and Fedorova 2015).
///
/// The new point joins the calibration points once with label 0 and once with label 1; isotonic regression of the labels on the scores
/// gives p₀ and p₁ at it. On exchangeable data one of the two, p_Y, is perfectly calibrated: P(Y = 1 | p_Y) = p_Y, whatever made the scores.
#[derive(Debug, Clone, PartialEq)]
pub struct VennAbers {
    /// The distinct scores, ascending, with their points.
    groups: Vec<(f64, Block)>,
    /// For each group the last block of the isotonic regression of it and all before, and the group before that block.
    left: Vec<Chained>,
    /// For each group the first block of the isotonic regression of it and all after, and the group after that block.
    right: Vec<Chained>,
}

/// Points that have one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Block {
    ones: usize,
    points: usize,
}

type Chained = (Block, Option<usize>);

impl Block {
    fn and(self, other: Self) -> Self {
        Self { ones: self.ones + other.ones, points: self.points + other.points }
    }

    /// Whether its share of ones is that of the other or more.
    fn reaches(self, other: Self) -> bool {
        self.ones as u128 * other.points as u128 >= other.ones as u128 * self.points as u128
    }
}

impl VennAbers {
    /// From scores, any numbers that are larger where label 1 is likelier, and labels of points not used for training.
    pub fn calibrate(scores: &[f64], labels: &[bool]) -> Result<Self> {
        same_length("labels", labels.len(), scores.len())?;
        if scores.is_empty() {
            return Err(Error::invalid("scores", "none", "one or more to calibrate on"));
        }
        scores.iter().enumerate().try_for_each(|(row, score)| check(&format!("score of row {row}"), *score))?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let mut groups: Vec<(f64, Block)> = Vec::new();
        for row in order {
            let point = Block { ones: usize::from(labels[row]), points: 1 };
            match groups.last_mut() {
                Some((score, block)) if *score == scores[row] => *block = block.and(point),
                _ => groups.push((scores[row], point)),
            }
        }
        let (mut left, mut right): (Vec<Chained>, Vec<Chained>) = (Vec::new(), vec![Default::default(); groups.len()]);
        for (i, (_, block)) in groups.iter().enumerate() {
            left.push(pooled(*block, i.checked_sub(1), &left, Block::reaches));
        }
        for (i, (_, block)) in groups.iter().enumerate().rev() {
            right[i] = pooled(*block, Some(i + 1).filter(|next| *next < groups.len()), &right, |next, block| block.reaches(next));
        }
        Ok(Self { groups, left, right })
    }

    /// p₀ and p₁ of a new score, p₀ ≤ p₁. Errors where it is not finite.
    pub fn probabilities(&self, score: f64) -> Result<(f64, f64)> {
        check("score", score)?;
        let place = self.groups.partition_point(|(known, _)| *known < score);
        let same = self.groups.get(place).filter(|(known, _)| *known == score).map(|(_, block)| *block);
        let after = Some(place + usize::from(same.is_some())).filter(|next| *next < self.groups.len());
        let with = |ones| self.value(same.unwrap_or_default().and(Block { ones, points: 1 }), place.checked_sub(1), after);
        Ok((with(0), with(1)))
    }

    /// The value of a block between these groups in the isotonic regression of all.
    fn value(&self, mut block: Block, mut before: Option<usize>, mut after: Option<usize>) -> f64 {
        loop {
            let points = block.points;
            (block, after) = pooled(block, after, &self.right, |next, block| block.reaches(next));
            (block, before) = pooled(block, before, &self.left, Block::reaches);
            if block.points == points {
                return block.ones as f64 / block.points as f64;
            }
        }
    }
}

/// The block with all that it must be pooled with on one side, and the group beyond.
fn pooled(mut block: Block, mut next: Option<usize>, chain: &[Chained], violates: impl Fn(Block, Block) -> bool) -> Chained {
    while let Some((other, beyond)) = next.map(|next| chain[next]).filter(|(other, _)| violates(*other, block)) {
        (block, next) = (block.and(other), beyond);
    }
    (block, next)
}

/// One probability of the two: p₁/(1 − p₀ + p₁), whose log-loss is at most that of both (Vovk, Petej and Fedorova 2015, equation 7).
pub fn merged((p0, p1): (f64, f64)) -> f64 {
    p1 / (1.0 - p0 + p1)
}

fn check(what: &str, score: f64) -> Result<()> {
    if score.is_finite() { Ok(()) } else { Err(Error::invalid(what, score, "a finite number")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use rand::RngExt;

    /// max over a of min over b of the mean of points a to b around the new one: the isotonic regression by its formula.
    fn by_formula(scores: &[f64], labels: &[bool], score: f64, label: bool) -> f64 {
        let points: Vec<(f64, f64)> = scores.iter().copied().zip(labels.iter().map(|label| f64::from(u8::from(*label)))).collect();
        let mean = |low: f64, high: f64| {
            let held = points.iter().filter(|(s, _)| low <= *s && *s <= high);
            let (sum, n) = held.fold((f64::from(u8::from(label)), 1.0), |(sum, n), (_, y)| (sum + y, n + 1.0));
            sum / n
        };
        let ends = || scores.iter().copied().chain([score]);
        let least = |low: f64| ends().filter(|high| *high >= score).map(|high| mean(low, high)).fold(f64::INFINITY, f64::min);
        ends().filter(|low| *low <= score).map(least).fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn as_the_formula_of_isotonic_regression_says() {
        for trial in 0..300 {
            let mut rng = Seed::new(trial).stream("venn-abers");
            let n = rng.random_range(1..30);
            let steps = if trial % 2 == 0 { 8.0 } else { 1e6 };
            let scores: Vec<f64> = (0..n).map(|_| (rng.random::<f64>() * steps).round()).collect();
            let labels: Vec<bool> = scores.iter().map(|score| rng.random::<f64>() < (score / steps).powi(2)).collect();
            let model = VennAbers::calibrate(&scores, &labels).unwrap();
            for score in scores.iter().map(|s| s + f64::from(rng.random_range(-1_i8..=1))) {
                let (p0, p1) = model.probabilities(score).unwrap();
                let expected = [false, true].map(|label| by_formula(&scores, &labels, score, label));
                assert!((p0 - expected[0]).abs() < 1e-12 && (p1 - expected[1]).abs() < 1e-12, "{trial} {score} {p0} {p1} {expected:?}");
                assert!(p0 <= p1 && (p0..=p1).contains(&merged((p0, p1))));
            }
        }
        assert!(VennAbers::calibrate(&[f64::NAN], &[true]).is_err() && VennAbers::calibrate(&[], &[]).is_err());
        assert!(VennAbers::calibrate(&[0.0], &[true]).unwrap().probabilities(f64::NAN).is_err());
    }

    #[test]
    fn the_probability_of_the_true_label_is_calibrated() {
        // Scores of a classifier that is far too sure of itself.
        let (mut sums, trials) = ([[0.0; 3]; 5], 3000);
        for trial in 0..trials {
            let mut rng = Seed::new(trial).stream("calibrated");
            let mut draw = || {
                let x = rng.random::<f64>();
                (x.powi(9), rng.random::<f64>() < 0.2 + 0.6 * x)
            };
            let (scores, labels): (Vec<f64>, Vec<bool>) = (0..60).map(|_| draw()).unzip();
            let (score, label) = draw();
            let (p0, p1) = VennAbers::calibrate(&scores, &labels).unwrap().probabilities(score).unwrap();
            let p = if label { p1 } else { p0 };
            let held = &mut sums[((p * 5.0) as usize).min(4)];
            *held = [held[0] + 1.0, held[1] + p, held[2] + f64::from(u8::from(label))];
        }
        for [n, p, ones] in sums {
            assert!((p - ones).abs() < 3.5 * (0.25 * n).sqrt() + 1.0, "{sums:?}");
        }
    }
}
