//! What numbers are brought to like units by.

use lyceum_core::{Error, Result};

use crate::{Examples, Inputs};

/// (x − mean)/std of the numbers of each channel, or of each column of a table, which comes before the network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Normalization {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalization {
    /// One number for all channels, or one for each; none leaves a side out.
    ///
    /// # Errors
    ///
    /// Another count, numbers that are not finite, and deviations of 0.
    pub fn new(mean: Vec<f32>, std: Vec<f32>, channels: usize) -> Result<Self> {
        let normalization = Self { mean, std };
        normalization.check(channels)?;
        Ok(normalization)
    }

    /// Errors where it is not one of examples of this many channels.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn check(&self, channels: usize) -> Result<()> {
        for (what, values) in [("mean", &self.mean), ("std", &self.std)] {
            let valid = values.iter().all(|value| value.is_finite() && (what == "mean" || *value != 0.0));
            if !(values.is_empty() || values.len() == 1 || values.len() == channels) || !valid {
                let allowed = format!("one finite number (of std not 0), or one for each of {channels} channels");
                return Err(Error::invalid(what, format!("{values:?}"), allowed));
            }
        }
        Ok(())
    }

    /// Mean and deviation of each column; the deviation of a column whose numbers are all the same is 1.
    ///
    /// # Errors
    ///
    /// Numbers too far from 0, or too near to it, for single precision, with their column.
    pub fn of_columns(rows: &Inputs) -> Result<Self> {
        let n = rows.nrows().max(1) as f64;
        let mut sums = vec![[0.0_f64; 2]; rows.ncols()];
        let each = |of: &mut dyn FnMut(usize, f64)| {
            (0..rows.nrows()).for_each(|row| rows.row(row).iter().enumerate().for_each(|(column, x)| of(column, f64::from(*x))));
        };
        // Sums of the same number are exact: its mean is the number, and its deviation 0.
        each(&mut |column, x| sums[column][0] += x);
        let means: Vec<f64> = sums.iter().map(|sum| sum[0] / n).collect();
        each(&mut |column, x| sums[column][1] += (x - means[column]).powi(2));
        let deviations: Vec<f64> = sums.iter().map(|sum| if sum[1] > 0.0 { (sum[1] / n).sqrt() } else { 1.0 }).collect();
        let beyond = |(mean, std): (&f64, &f64)| mean.abs() > 1e37 || !(1e-30..1e37).contains(std);
        if let Some(column) = means.iter().zip(&deviations).position(beyond) {
            let found = format!("column {}, with a mean of {} and a deviation of {}", column + 1, means[column], deviations[column]);
            return Err(Error::invalid("data.standardize", found, "numbers up to 1e37, with deviations of 1e-30 or more"));
        }
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        Ok(Self { mean: narrow(means), std: narrow(deviations) })
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.mean.is_empty() && self.std.is_empty()
    }

    /// What is subtracted from each channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// What each channel is divided by then.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Normalises one example with this many channels.
    pub fn apply(&self, example: &mut [f32], channels: usize) {
        let each = (example.len() / channels.max(1)).max(1);
        let of = |values: &[f32], channel: usize, usual: f32| values.get(channel).or(values.first()).copied().unwrap_or(usual);
        for (channel, values) in example.chunks_mut(each).enumerate() {
            let (mean, std) = (of(&self.mean, channel, 0.0), of(&self.std, channel, 1.0));
            values.iter_mut().for_each(|value| *value = (*value - mean) / std);
        }
    }

    /// Normalises examples with this many channels; bytes become numbers.
    pub fn apply_to(&self, examples: &mut Examples, channels: usize) {
        examples.inputs = examples.inputs.map_rows(|from, to| {
            to.copy_from_slice(from);
            self.apply(to, channels);
        });
    }
}

impl From<[f64; 2]> for Normalization {
    fn from([mean, std]: [f64; 2]) -> Self {
        Self { mean: vec![mean as f32], std: vec![std as f32] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_channels() {
        let rows = Inputs::from(ndarray::array![[1.0_f32, 0.1, 5.0], [3.0, 0.1, 5.0]]);
        let found = Normalization::of_columns(&rows).unwrap();
        assert_eq!((found.mean(), found.std()), (&[2.0, 0.1, 5.0][..], &[1.0, 1.0, 1.0][..]));
        let mut example = [3.0, 0.1, 7.0];
        found.apply(&mut example, 3);
        assert_eq!(example, [1.0, 0.0, 2.0]);
        let mut picture = [1.0, 3.0, 5.0, 7.0];
        Normalization::new(vec![1.0, 5.0], vec![2.0], 2).unwrap().apply(&mut picture, 2);
        assert_eq!(picture, [0.0, 1.0, 0.0, 1.0]);
        assert!(Normalization::new(vec![1.0; 3], vec![2.0], 2).is_err() && Normalization::new(vec![], vec![0.0], 2).is_err());
        for wild in [[3e38_f32, -3e38], [0.0, 1e-44]] {
            let error = Normalization::of_columns(&Inputs::from(ndarray::array![[0.0, wild[0]], [0.0, wild[1]]])).unwrap_err();
            assert!(error.to_string().contains("column 2"), "{error}");
        }
    }
}
