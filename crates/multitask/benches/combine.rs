//! Eight gradients of ten million numbers, combined by each method; beside it a plain sweep of the same bytes: everything read
//! twice and a result written once. Prints JSON lines.

use std::time::Instant;

use lyceum_core::Seed;
use lyceum_multitask::{Gradients, Method};
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TASKS: usize = 8;
const NUMBERS: usize = 10_000_000;

fn main() {
    let values: Vec<Vec<f32>> = (0..TASKS)
        .map(|task| (0..NUMBERS).into_par_iter().map(|i| ((i * 7_919 + task * 104_729) % 100_003) as f32 / 5e4 - 1.0).collect())
        .collect();
    let slices: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
    let gradients = Gradients::whole(&slices).expect("gradients of one length");
    let mut out = vec![0.0_f32; NUMBERS];
    let mut print = |work: &str, run: &mut dyn FnMut(&mut [f32])| {
        let mut times: Vec<f64> = (0..7)
            .map(|_| {
                let start = Instant::now();
                run(&mut out);
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{{\"work\": \"{work}\", \"peer\": \"lyceum\", \"seconds\": {}}}", times[times.len() / 2]);
    };
    for (name, method) in [
        ("pcgrad", Method::PcGrad),
        ("gradient-vaccine", Method::GradientVaccine { rate: 0.01 }),
        ("mgda", Method::Mgda),
        ("cagrad", Method::CaGrad { radius: 0.5 }),
        ("nash-mtl", Method::NashMtl),
        ("aligned-mtl", Method::ALL[8]),
    ] {
        let mut combiner = method.combiner(TASKS, 1).expect("good constants");
        print(name, &mut |out| combiner.combine(&gradients, None, Seed::new(0), &mut [out]).expect("finite gradients"));
    }
    print("read-read-write", &mut |out| {
        let mut sum = 0.0;
        for slice in &slices {
            sum += slice.par_chunks(1 << 16).map(read).sum::<f32>();
        }
        assert!(sum.is_finite());
        out.par_chunks_mut(1 << 14).enumerate().for_each(|(chunk, out)| {
            out.fill(0.0);
            for slice in &slices {
                add(&slice[chunk << 14..][..out.len()], out);
            }
        });
    });
}

lyceum_core::vectorize! {
    fn read(values: &[f32]) -> f32 {
        let mut sums = [0.0_f32; 64];
        for chunk in values.as_chunks::<64>().0 {
            for lane in 0..64 {
                sums[lane] += chunk[lane];
            }
        }
        sums.iter().sum()
    }
}

lyceum_core::vectorize! {
    fn add(values: &[f32], out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out += value;
        }
    }
}
