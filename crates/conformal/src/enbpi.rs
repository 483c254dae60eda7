//! EnbPI: intervals of a series, from what an ensemble has missed lately.

use lyceum_core::{Error, Result};

use crate::{
    quantile,
    regression::{Interval, finite},
};

/// What to add to predictions of a series for intervals of coverage about 1 − α (Xu and Xie 2021; 2023): `errors` are the last y − ŷ, each
/// of an ensemble that did not see y.
///
/// `symmetric` gives ∓ the conformal quantile of |y − ŷ|. Otherwise it is the shortest stretch that holds ⌈(1 − α)(n + 1)⌉ of the errors:
/// their quantiles at β and 1 − α + β with the best β of all (the authors try a few).
pub fn ends(errors: &[f64], alpha: f64, symmetric: bool) -> Result<Interval> {
    quantile::check_alpha(alpha)?;
    finite("error", errors)?;
    if errors.is_empty() {
        return Err(Error::invalid("errors", "none", "one or more"));
    }
    if symmetric {
        let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        let q = quantile::threshold(&mut sizes, alpha);
        return Ok((-q, q));
    }
    let held = quantile::rank(errors.len(), alpha).max(1);
    let mut sorted = errors.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let stretches = sorted.windows(held).map(|window| (window[0], window[held - 1]));
    let shortest = stretches.min_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0)));
    Ok(shortest.unwrap_or((f64::NEG_INFINITY, f64::INFINITY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_stretch() {
        let errors = [9.0, -4.0, 1.0, 2.0, 0.0, 3.0, -9.0, 2.5, 1.5];
        assert_eq!(ends(&errors, 0.4, true).unwrap(), (-3.0, 3.0));
        assert_eq!(ends(&errors, 0.4, false).unwrap(), (0.0, 3.0));
        assert_eq!(ends(&errors, 0.1, false).unwrap(), (-9.0, 9.0));
        assert_eq!(ends(&errors, 0.05, false).unwrap(), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(ends(&[], 0.1, true).is_err() && ends(&[f64::NAN], 0.1, true).is_err() && ends(&errors, 1.0, true).is_err());
    }
}
