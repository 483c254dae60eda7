//! Core sets by the greedy k-center rule (Sener and Savarese 2018).

use lyceum_core::{Error, Result, interrupt};
use ndarray::{ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::scores::check_points;

/// `count` points, each the one farthest from all that are taken: argmax_n min_{t taken} ‖φ_n − φ_t‖. Where nothing is
/// taken yet the first is the one farthest from the mean. Of equals the first. O(count · n · d), memory O(n).
///
/// These points are not drawn by chance: the risk cannot be estimated from them without bias.
pub fn k_center_greedy(features: ArrayView2<'_, f32>, taken: &[usize], count: usize) -> Result<Vec<usize>> {
    let n = features.nrows();
    check_points(taken, n)?;
    let mut is_taken = vec![false; n];
    taken.iter().for_each(|&index| is_taken[index] = true);
    let left = is_taken.iter().filter(|taken| !**taken).count();
    if count > left {
        return Err(Error::invalid("count", count, format!("at most {left}, the points that are left")));
    }
    if let Some((index, value)) = features.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(Error::invalid(format!("feature {index} in row-major order"), value, "a finite number"));
    }
    let mut distances = vec![f32::INFINITY; n];
    for &index in taken {
        interrupt::check()?;
        lower(&mut distances, features, features.row(index));
    }
    let mut chosen = Vec::with_capacity(count);
    for _ in 0..count {
        interrupt::check()?;
        let index = if taken.is_empty() && chosen.is_empty() {
            let center = features.mean_axis(Axis(0)).unwrap_or_default();
            let mut from_center = vec![f32::INFINITY; n];
            lower(&mut from_center, features, center.view());
            farthest(&from_center, &is_taken)
        } else {
            farthest(&distances, &is_taken)
        };
        is_taken[index] = true;
        chosen.push(index);
        lower(&mut distances, features, features.row(index));
    }
    Ok(chosen)
}

/// Lowers squared distances to those from one more point.
fn lower(distances: &mut [f32], features: ArrayView2<'_, f32>, point: ArrayView1<'_, f32>) {
    let point: Vec<f32> = point.to_vec();
    distances.par_iter_mut().zip(features.axis_iter(Axis(0)).into_par_iter()).with_min_len(256).for_each(|(distance, row)| {
        let mut sums = [0.0_f32; 8];
        match row.as_slice() {
            Some(row) => {
                let (a, a_rest) = row.as_chunks::<8>();
                let (b, b_rest) = point.as_chunks::<8>();
                for (a, b) in a.iter().zip(b) {
                    sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += (a - b) * (a - b));
                }
                sums[0] += a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            }
            None => sums[0] = row.iter().zip(&point).map(|(a, b)| (a - b) * (a - b)).sum(),
        }
        *distance = distance.min(sums.iter().sum());
    });
}

fn farthest(distances: &[f32], taken: &[bool]) -> usize {
    let left = distances.iter().zip(taken).enumerate().filter(|(_, (_, taken))| !**taken);
    let best = |best: Option<(usize, f32)>, (index, (&distance, _)): (usize, (&f32, &bool))| match best {
        Some((_, largest)) if largest >= distance => best,
        _ => Some((index, distance)),
    };
    left.fold(None, best).map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn each_point_is_the_farthest() {
        let features = array![[0.0_f32], [1.0], [10.0], [4.0]];
        assert_eq!(k_center_greedy(features.view(), &[0], 3).unwrap(), [2, 3, 1]);
        assert_eq!(k_center_greedy(features.view(), &[], 2).unwrap(), [2, 0]);
        assert!(k_center_greedy(features.view(), &[0], 4).unwrap_err().to_string().contains("at most 3"));
    }

    #[test]
    fn it_equals_the_definition() {
        let features = Array2::from_shape_fn((60, 11), |(i, j)| ((i * 31 + j * 17) as f32).sin());
        let mut taken = vec![5, 9];
        for index in k_center_greedy(features.view(), &[5, 9], 20).unwrap() {
            let distance = |n: usize| {
                let to = |t: &usize| (&features.row(n) - &features.row(*t)).mapv(|d| d * d).sum();
                taken.iter().map(to).fold(f32::INFINITY, f32::min)
            };
            let largest = (0..60).filter(|n| !taken.contains(n)).map(distance).fold(0.0, f32::max);
            assert!((distance(index) - largest).abs() < 1e-4);
            taken.push(index);
        }
    }
}
