//! Work by the instructions that this process uses.

use lyceum_core::instructions::{Instructions, instructions};
use pulp::WithSimd;

/// Runs the work compiled for [these instructions](instructions).
pub(crate) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    match instructions() {
        Instructions::Avx512 => {
            if let Some(simd) = pulp::x86::V4::try_new() {
                return pulp::Simd::vectorize(simd, work);
            }
        }
        Instructions::Avx2 => {
            if let Some(simd) = pulp::x86::V3::try_new() {
                return pulp::Simd::vectorize(simd, work);
            }
        }
        Instructions::Plain => return pulp::Simd::vectorize(pulp::Scalar, work),
    }
    pulp::Arch::new().dispatch(work)
}
