//! What operators are given, checked at their public face: a mistake is a panic in words on the calling thread, before anything
//! is read or written, on every device alike.

use std::fmt::Debug;

/// Panics unless the shape is the expected one.
#[track_caller]
pub(crate) fn same<T: PartialEq + Debug>(operator: &str, what: &str, found: T, expected: T) {
    assert!(found == expected, "{operator}: {what} has shape {found:?}, expected {expected:?}");
}

/// Panics if a condition does not hold; `what` says it.
#[track_caller]
pub(crate) fn holds(operator: &str, holds: bool, what: impl FnOnce() -> String) {
    assert!(holds, "{operator}: {}", what());
}

/// The product, or a panic where it goes beyond what memory can hold.
#[track_caller]
pub(crate) fn product(operator: &str, factors: &[usize]) -> usize {
    let product = factors.iter().try_fold(1_usize, |product, factor| product.checked_mul(*factor));
    match product.filter(|product| *product <= isize::MAX as usize / size_of::<f32>()) {
        Some(product) => product,
        None => panic!("{operator}: {factors:?} multiply to more numbers than there can be"),
    }
}

/// Panics unless ε is a number that keeps a root from 0.
#[track_caller]
pub(crate) fn epsilon(operator: &str, epsilon: f64) {
    holds(operator, epsilon as f32 > 0.0 && (epsilon as f32).is_finite(), || format!("ε is {epsilon}, expected a finite number > 0"));
}
