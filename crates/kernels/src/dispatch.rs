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

/// [`dispatch`] for rows of `numbers` numbers, a multiple of 8: where 16 does not divide it, AVX2 instead of AVX-512, so that every register is
/// full.
pub(crate) fn dispatch_lanes<W: WithSimd>(numbers: usize, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if instructions() == Instructions::Avx512
        && !numbers.is_multiple_of(16)
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        return pulp::Simd::vectorize(simd, work);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
    dispatch(work)
}
