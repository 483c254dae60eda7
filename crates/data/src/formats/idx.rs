//! IDX, the format of MNIST: two zero bytes, a type byte (8 = unsigned byte), the number of axes, the extent of each
//! axis as a big-endian `u32`, the values.

use std::path::Path;

use lyceum_core::{Error, Result};

use crate::{Extent, Inputs};

/// Images (`n × rows × columns`) as `n × (rows · columns)` bytes, which stand for numbers in \[0, 1\].
pub fn images(path: &Path, bytes: &[u8]) -> Result<(Extent, Inputs)> {
    let ([_, height, width], values) = parse::<3>(path, bytes)?;
    Ok((Extent { channels: 1, height, width }, Inputs::bytes(values.to_vec(), height * width)))
}

/// Labels.
pub fn labels(path: &Path, bytes: &[u8]) -> Result<Vec<usize>> {
    let (_, values) = parse::<1>(path, bytes)?;
    Ok(values.iter().map(|&v| usize::from(v)).collect())
}

/// Writes unsigned bytes with these extents.
pub fn encode(extents: &[usize], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    bytes.extend(extents.iter().flat_map(|&extent| (extent as u32).to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn parse<'a, const D: usize>(path: &Path, bytes: &'a [u8]) -> Result<([usize; D], &'a [u8])> {
    let header = 4 + 4 * D;
    if bytes.len() < header || bytes[..2] != [0, 0] {
        return Err(Error::damaged(path, "not an IDX file"));
    }
    if bytes[2..4] != [8, D as u8] {
        let what = format!("IDX type {:#04x} with {} axes; allowed: unsigned bytes (0x08) with {D}", bytes[2], bytes[3]);
        return Err(Error::damaged(path, what));
    }
    let extents: [usize; D] = std::array::from_fn(|axis| {
        let at = 4 + 4 * axis;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
    });
    let expected = extents.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    let values = &bytes[header..];
    if expected != Some(values.len()) {
        return Err(Error::damaged(path, format!("its header promises {extents:?} values, and {} bytes follow", values.len())));
    }
    Ok((extents, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(n in 0_usize..5, height in 1_usize..4, width in 1_usize..4, byte: u8) {
            let values = vec![byte; n * height * width];
            let (extent, inputs) = images(Path::new("x"), &encode(&[n, height, width], &values)).unwrap();
            prop_assert_eq!(extent, Extent { channels: 1, height, width });
            prop_assert_eq!(inputs.dim(), (n, height * width));
            prop_assert!(inputs.array().iter().all(|&v| v == f32::from(byte) / 255.0));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = images(Path::new("x"), &bytes);
            let _ = labels(Path::new("x"), &bytes);
        }
    }

    #[test]
    fn a_truncated_or_lying_file_is_refused() {
        let whole = encode(&[2, 2, 2], &[1; 8]);
        for cut in 0..whole.len() {
            assert!(images(Path::new("x"), &whole[..cut]).is_err());
        }
        assert!(images(Path::new("x"), &encode(&[usize::from(u16::MAX), 65_536, 65_536], &[])).is_err());
        assert!(labels(Path::new("x"), &whole).is_err());
    }
}
