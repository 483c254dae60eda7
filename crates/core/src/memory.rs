//! What fits into memory, asked before memory is asked for.

use std::sync::OnceLock;

use crate::{Error, Result};

/// Errors if so many numbers of 32 bits do not fit into this machine's memory; `factors` are multiplied, `what` is the setting
/// that they come from.
pub fn check(what: &str, factors: &[usize]) -> Result<()> {
    let bytes = factors.iter().try_fold(4_usize, |product, factor| product.checked_mul(*factor));
    if factors.contains(&0) || bytes.is_some_and(|bytes| bytes <= total()) {
        return Ok(());
    }
    let gibibytes = |bytes: f64| format!("{:.3} GiB", bytes / f64::from(1 << 30));
    let product = factors.iter().fold(4.0, |product, factor| product * *factor as f64);
    Err(Error::invalid(what, format!("a size that needs {}", gibibytes(product)), format!("what fits into {}", gibibytes(total() as f64))))
}

/// The bytes of memory that the machine has; where that is not known, all that can be addressed.
fn total() -> usize {
    static TOTAL: OnceLock<usize> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<usize>().ok());
        kibibytes.map_or(isize::MAX as usize, |kibibytes| kibibytes << 10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_and_overflow_too() {
        assert!(check("x", &[1 << 20, 2]).is_ok());
        for factors in [[1 << 40, 1 << 20], [usize::MAX, 2], [1 << 62, 1]] {
            let error = check("model.hidden", &factors).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().starts_with("model.hidden: found a size that needs"), "{error}");
        }
        assert!(check("x", &[usize::MAX, 0]).is_ok());
    }
}
