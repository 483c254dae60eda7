//! The two sweeps over the gradients: all dot products, then a weighted sum.
//!
//! Both go block by block, a block being short enough that the pieces of all tasks stay in a core's first cache. Within a
//! block dot products are summed in single precision, sixteen apart, over blocks in double and in the blocks' order: the
//! result does not depend on the number of threads.

use std::ops::Range;

use lyceum_core::{Error, Result, vectorize};
use ndarray::Array2;
use rayon::prelude::*;

use crate::gradients::{Gradients, Segment};

/// Numbers of a task in a block.
const BLOCK: usize = 1024;

/// Numbers of a task in a piece of a block: those of eight tasks, and the next piece's, fit the first cache together.
const PIECE: usize = 256;

/// Running sums of a dot product.
const LANES: usize = 16;

/// Blocks a task of the thread pool.
const RUN: usize = 64;

/// The Gram matrix Gᵢⱼ = ⟨gᵢ, gⱼ⟩ of each group, T × T. Errors where it is not finite, naming the task.
pub fn gram(gradients: &Gradients<'_>) -> Result<Vec<Array2<f64>>> {
    let tasks = gradients.tasks();
    let pairs = tasks * (tasks + 1) / 2;
    let mut sums = vec![vec![0.0; pairs]; gradients.groups()];
    for segment in gradients.all() {
        let n = segment.parts[0].len();
        let runs = (0..n.div_ceil(BLOCK * RUN)).into_par_iter().map(|run| {
            let mut found = vec![0.0; pairs];
            add_products(&segment.parts, run * BLOCK * RUN..((run + 1) * BLOCK * RUN).min(n), &mut found);
            found
        });
        for found in runs.collect::<Vec<_>>() {
            sums[segment.group].iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
        }
    }
    sums.into_iter().map(|sums| square(&sums, tasks)).collect()
}

/// The matrix of the products (i, j), i ≤ j, row by row.
fn square(products: &[f64], tasks: usize) -> Result<Array2<f64>> {
    let mut gram = Array2::zeros((tasks, tasks));
    let mut products = products.iter();
    for i in 0..tasks {
        for j in i..tasks {
            let product = products.next().copied().unwrap_or_default();
            (gram[[i, j]], gram[[j, i]]) = (product, product);
        }
    }
    // A number that is not finite makes the square of its own task not finite.
    match (0..tasks).find(|&task| !gram[[task, task]].is_finite()) {
        Some(task) => Err(Error::invalid(format!("gradient of task {task}"), gram[[task, task]].sqrt(), "finite numbers")),
        None => Ok(gram),
    }
}

vectorize! {
    /// Adds to `sums` the products of all pairs (i, j), i ≤ j, of these parts between two places, row by row.
    fn add_products(parts: &[&[f32]], places: Range<usize>, sums: &mut [f64]) {
        let whole = places.end - places.len() % LANES;
        let mut lanes = vec![[0.0_f32; LANES]; sums.len()];
        for block in (places.start..whole).step_by(BLOCK) {
            let end = (block + BLOCK).min(whole);
            for start in (block..end).step_by(PIECE) {
                add_piece(parts, start..(start + PIECE).min(end), &mut lanes);
            }
            for (sum, lanes) in sums.iter_mut().zip(&mut lanes) {
                *sum += std::mem::take(lanes).iter().map(|lane| f64::from(*lane)).sum::<f64>();
            }
        }
        let mut sums = sums.iter_mut();
        for (i, a) in parts.iter().enumerate() {
            for (b, sum) in parts[i..].iter().zip(&mut sums) {
                *sum += a[whole..places.end].iter().zip(&b[whole..places.end]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            }
        }
    }
}

/// Adds the products of a piece of all parts to the running sums, while the next piece is on its way from memory.
#[inline(always)]
fn add_piece(parts: &[&[f32]], piece: Range<usize>, lanes: &mut [[f32; LANES]]) {
    let mut rest = lanes;
    for (i, part) in parts.iter().enumerate() {
        prefetch(&part[piece.end..(piece.end + PIECE).min(part.len())]);
        let a = &part[piece.clone()];
        let mut others = &parts[i..];
        // Four others at a time: their sums stay in registers, and the part of task i is read once for them.
        while let Some(([b0, b1, b2, b3], more)) = others.split_first_chunk() {
            let (now, after) = rest.split_at_mut(4);
            add_four(a, [b0, b1, b2, b3].map(|b| &b[piece.clone()]), now);
            (others, rest) = (more, after);
        }
        for b in others {
            let (now, after) = rest.split_at_mut(1);
            add_one(a, &b[piece.clone()], &mut now[0]);
            rest = after;
        }
    }
}

/// Asks for these numbers ahead of their use.
#[inline(always)]
fn prefetch(numbers: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// Adds a·b, lane by lane, for four b.
#[inline(always)]
fn add_four(a: &[f32], b: [&[f32]; 4], sums: &mut [[f32; LANES]]) {
    let [mut s0, mut s1, mut s2, mut s3] = [sums[0], sums[1], sums[2], sums[3]];
    let whole = a.as_chunks::<LANES>().0;
    let [b0, b1, b2, b3] = b.map(|b| &b.as_chunks::<LANES>().0[..whole.len()]);
    for ((((a, b0), b1), b2), b3) in whole.iter().zip(b0).zip(b1).zip(b2).zip(b3) {
        for lane in 0..LANES {
            s0[lane] = a[lane].mul_add(b0[lane], s0[lane]);
            s1[lane] = a[lane].mul_add(b1[lane], s1[lane]);
            s2[lane] = a[lane].mul_add(b2[lane], s2[lane]);
            s3[lane] = a[lane].mul_add(b3[lane], s3[lane]);
        }
    }
    (sums[0], sums[1], sums[2], sums[3]) = (s0, s1, s2, s3);
}

/// Adds a·b, lane by lane.
#[inline(always)]
fn add_one(a: &[f32], b: &[f32], sums: &mut [f32; LANES]) {
    let mut now = *sums;
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            now[lane] = a[lane].mul_add(b[lane], now[lane]);
        }
    }
    *sums = now;
}

/// Σ cᵢgᵢ, each group with its coefficients, into one slice a segment.
pub fn weighted_sum(gradients: &Gradients<'_>, coefficients: &[Vec<f64>], out: &mut [&mut [f32]]) -> Result<()> {
    let segments = gradients.all();
    if out.len() != segments.len() {
        return Err(Error::invalid("out", out.len(), format!("one slice for each of {} segments", segments.len())));
    }
    for (segment, out) in segments.iter().zip(out) {
        let n = segment.parts[0].len();
        if out.len() != n {
            return Err(Error::invalid("out", out.len(), format!("{n} numbers, as the segment has")));
        }
        let coefficients: Vec<f32> = coefficients[segment.group].iter().map(|c| *c as f32).collect();
        out.par_chunks_mut(BLOCK * RUN).enumerate().for_each(|(run, out)| sum_run(segment, &coefficients, run * BLOCK * RUN, out));
    }
    Ok(())
}

fn sum_run(segment: &Segment<'_>, coefficients: &[f32], from: usize, out: &mut [f32]) {
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let start = from + block * BLOCK;
        let parts: Vec<&[f32]> = segment.parts.iter().map(|part| &part[start..start + out.len()]).collect();
        sum_block(&parts, coefficients, out);
    }
}

vectorize! {
    fn sum_block(parts: &[&[f32]], coefficients: &[f32], out: &mut [f32]) {
        let (mut parts, mut coefficients) = (parts, coefficients);
        let mut first = true;
        // Eight tasks a pass over the block, which stays in the first cache.
        while !parts.is_empty() {
            let now = parts.len().min(8);
            let mut eight: [&[f32]; 8] = [parts[0]; 8];
            let mut c = [0.0_f32; 8];
            eight[..now].copy_from_slice(&parts[..now]);
            c[..now].copy_from_slice(&coefficients[..now]);
            add_eight(eight, c, first, out);
            (parts, coefficients, first) = (&parts[now..], &coefficients[now..], false);
        }
    }
}

#[inline(always)]
fn add_eight(parts: [&[f32]; 8], c: [f32; 8], first: bool, out: &mut [f32]) {
    let parts = parts.map(|part| &part[..out.len()]);
    for i in 0..out.len() {
        let mut sum = if first { 0.0 } else { out[i] };
        for k in 0..8 {
            sum = c[k].mul_add(parts[k][i], sum);
        }
        out[i] = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use rand::RngExt;

    #[test]
    fn products_and_sums_are_those_of_double_precision() {
        for (tasks, n) in [(1, 1), (2, 15), (3, 16), (5, 1_023), (8, 70_001), (13, 4_097)] {
            let mut rng = Seed::new(n as u64).stream("gram");
            let values: Vec<Vec<f32>> = (0..tasks).map(|_| (0..n).map(|_| rng.random::<f32>() - 0.5).collect()).collect();
            let slices: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
            let cut = n / 3;
            let gradients = Gradients::grouped(&slices, &[0..cut, cut..n]).unwrap();
            let found = gram(&gradients).unwrap();
            let coefficients: Vec<Vec<f64>> = (0..2).map(|group| (0..tasks).map(|i| (i + group) as f64 - 1.5).collect()).collect();
            let mut out = vec![0.0; n];
            let (a, b) = out.split_at_mut(cut);
            weighted_sum(&gradients, &coefficients, &mut [a, b]).unwrap();
            for (group, range) in [0..cut, cut..n].into_iter().enumerate() {
                for i in 0..tasks {
                    for j in 0..tasks {
                        let exact: f64 = range.clone().map(|k| f64::from(values[i][k]) * f64::from(values[j][k])).sum();
                        assert!((found[group][[i, j]] - exact).abs() < 1e-6 * (1.0 + range.len() as f64), "{tasks} {n} {i} {j}");
                    }
                }
                for k in range {
                    let exact: f64 = (0..tasks).map(|i| coefficients[group][i] * f64::from(values[i][k])).sum();
                    assert!((f64::from(out[k]) - exact).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn threads_do_not_matter_and_mistakes_are_told() {
        let values: Vec<f32> = (0..300_000_usize).map(|i| ((i * 7_919) % 1_009) as f32 / 1_009.0 - 0.4).collect();
        let other: Vec<f32> = values.iter().rev().copied().collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gram(&Gradients::whole(&[&values, &other]).unwrap()).unwrap())
        };
        assert_eq!(with(1), with(3));
        let bad = [1.0, f32::NAN];
        let error = gram(&Gradients::whole(&[&[0.0, 1.0], &bad]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("task 1"), "{error}");
        assert!(Gradients::whole(&[&[0.0, 1.0], &[0.0]]).unwrap_err().to_string().contains("task 1"));
        assert!(Gradients::whole(&[]).is_err());
        assert!(Gradients::grouped(&[&[0.0, 1.0]], &[0..1, 1..1]).is_err());
    }
}
