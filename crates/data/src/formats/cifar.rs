//! The binary version of CIFAR-10 and CIFAR-100: records of one or two label bytes and 3 × 32 × 32 pixel bytes,
//! channel by channel.

use std::path::Path;

use lyceum_core::{Error, Result};

use crate::{Examples, Extent, Inputs};

const PIXELS: usize = 3 * 32 * 32;
/// The extent of every picture.
pub const EXTENT: Extent = Extent { channels: 3, height: 32, width: 32 };

/// Records with `label_bytes` labels each (1 for CIFAR-10; 2, coarse then fine, for CIFAR-100), of which the last counts.
pub fn examples(path: &Path, bytes: &[u8], label_bytes: usize, classes: usize) -> Result<Examples> {
    let record = label_bytes + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(Error::damaged(path, format!("{} bytes; allowed: a positive multiple of {record}", bytes.len())));
    }
    let n = bytes.len() / record;
    let mut values = Vec::with_capacity(n * PIXELS);
    let mut labels = Vec::with_capacity(n);
    for (index, record) in bytes.chunks_exact(record).enumerate() {
        let label = usize::from(record[label_bytes - 1]);
        if label >= classes {
            return Err(Error::damaged(path, format!("record {index}: label {label}; allowed: 0 to {}", classes - 1)));
        }
        labels.push(label);
        values.extend_from_slice(&record[label_bytes..]);
    }
    Ok(Examples::new(Inputs::bytes(values, PIXELS), labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_channel_by_channel() {
        let mut bytes = vec![7_u8];
        bytes.extend((0..PIXELS).map(|i| (i / 1024 * 100) as u8));
        let read = examples(Path::new("x"), &bytes, 1, 10).unwrap();
        assert_eq!(read.labels, [7]);
        assert_eq!((read.inputs.row(0)[0], read.inputs.row(0)[1024], read.inputs.row(0)[2048]), (0.0, 100.0 / 255.0, 200.0 / 255.0));
        assert!(examples(Path::new("x"), &bytes[1..], 1, 10).is_err());
        assert!(examples(Path::new("x"), &bytes, 1, 5).unwrap_err().to_string().contains("label 7"));
    }
}
