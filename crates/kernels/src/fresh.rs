//! Vectors in memory that is not set to zero before their numbers are written.

use std::mem::MaybeUninit;

/// Vectors of these lengths, as `write` leaves them.
///
/// # Safety
/// `write` writes every number of each.
pub(crate) unsafe fn written<const N: usize>(lens: [usize; N], write: impl FnOnce([&mut [MaybeUninit<f32>]; N])) -> [Vec<f32>; N] {
    let mut vectors = lens.map(Box::new_uninit_slice);
    write(vectors.each_mut().map(|vector| &mut vector[..]));
    // SAFETY: the caller's promise.
    vectors.map(|vector| unsafe { vector.assume_init() }.into_vec())
}
