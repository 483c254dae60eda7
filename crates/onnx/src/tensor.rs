//! Numbers with any number of axes.

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};

use crate::proto::TensorProto;

/// A tensor. Numbers of all floating types are held in single precision, those of all whole types in 64 bits.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// Numbers.
    Float(ArrayD<f32>),
    /// Whole numbers.
    Int(ArrayD<i64>),
    /// True or false.
    Bool(ArrayD<bool>),
}

/// What a mistake is, in words.
pub(crate) type Fit<T> = Result<T, String>;

/// How many numbers these extents have, where one tensor may have so many: a small file can ask for more than any memory holds.
pub fn size(dims: &[usize]) -> Result<usize, String> {
    const MOST: usize = 1 << 28;
    match dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim)) {
        Some(product) if product <= MOST => Ok(product),
        _ => Err(format!("extents {dims:?}; allowed: at most {MOST} numbers")),
    }
}

/// The types of the format that are read.
pub mod kind {
    #![allow(missing_docs, reason = "named by the format")]
    pub const FLOAT: i32 = 1;
    pub const UINT8: i32 = 2;
    pub const INT8: i32 = 3;
    pub const UINT16: i32 = 4;
    pub const INT16: i32 = 5;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    pub const STRING: i32 = 8;
    pub const BOOL: i32 = 9;
    pub const FLOAT16: i32 = 10;
    pub const DOUBLE: i32 = 11;
    pub const UINT32: i32 = 12;
    pub const UINT64: i32 = 13;
    pub const BFLOAT16: i32 = 16;

    /// Whether numbers of this type are held as [`Tensor::Float`](super::Tensor::Float).
    pub fn is_float(kind: i32) -> bool {
        [FLOAT, FLOAT16, DOUBLE, BFLOAT16].contains(&kind)
    }
}

impl Tensor {
    /// The extent of each axis.
    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Float(x) => x.shape(),
            Self::Int(x) => x.shape(),
            Self::Bool(x) => x.shape(),
        }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of these extents, the last axis first.
    ///
    /// # Errors
    ///
    /// Another number of them.
    pub fn floats(dims: &[usize], values: Vec<f32>) -> Fit<Self> {
        ArrayD::from_shape_vec(IxDyn(dims), values).map(Self::Float).map_err(|error| error.to_string())
    }

    /// Whole numbers along one axis.
    pub fn ints(values: Vec<i64>) -> Self {
        Self::Int(ndarray::Array1::from_vec(values).into_dyn())
    }

    /// The numbers, where it holds such.
    ///
    /// # Errors
    ///
    /// Whole numbers, or true and false.
    pub fn as_floats(&self) -> Fit<&ArrayD<f32>> {
        match self {
            Self::Float(x) => Ok(x),
            Self::Int(_) | Self::Bool(_) => Err("found whole numbers; allowed: floating numbers".into()),
        }
    }

    /// The whole numbers in their order.
    ///
    /// # Errors
    ///
    /// Other numbers.
    pub fn as_ints(&self) -> Fit<Vec<i64>> {
        match self {
            Self::Int(x) => Ok(x.iter().copied().collect()),
            Self::Float(_) | Self::Bool(_) => Err("found floating numbers; allowed: whole numbers".into()),
        }
    }

    /// Reads a tensor of a file; what lies in a file beside it comes as `external`.
    ///
    /// # Errors
    ///
    /// A type that is not read, and another number of values than its extents say.
    pub fn from_proto(proto: &TensorProto, external: Option<&[u8]>) -> Fit<Self> {
        let dims: Vec<usize> =
            proto.dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().map_err(|_| "an extent below 0")?;
        let len = dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim)).ok_or("extents beyond counting")?;
        let raw = external.unwrap_or(&proto.raw_data);
        let of_ints = |values: Vec<i64>| ArrayD::from_shape_vec(IxDyn(&dims), values).map(Self::Int).map_err(|error| error.to_string());
        let small = || proto.int32_data.iter().map(|value| i64::from(*value)).collect::<Vec<_>>();
        match proto.data_type {
            kind::FLOAT if raw.is_empty() => Self::floats(&dims, proto.float_data.clone()),
            kind::FLOAT => Self::floats(&dims, numbers(raw, len, f32::from_le_bytes)?),
            kind::DOUBLE if raw.is_empty() => Self::floats(&dims, proto.double_data.iter().map(|value| *value as f32).collect()),
            kind::DOUBLE => Self::floats(&dims, numbers(raw, len, |bytes| f64::from_le_bytes(bytes) as f32)?),
            kind::FLOAT16 if raw.is_empty() => {
                Self::floats(&dims, proto.int32_data.iter().map(|bits| f16::from_bits(*bits as u16).to_f32()).collect())
            }
            kind::FLOAT16 => Self::floats(&dims, numbers(raw, len, |bytes| f16::from_le_bytes(bytes).to_f32())?),
            kind::BFLOAT16 if raw.is_empty() => {
                Self::floats(&dims, proto.int32_data.iter().map(|bits| bf16::from_bits(*bits as u16).to_f32()).collect())
            }
            kind::BFLOAT16 => Self::floats(&dims, numbers(raw, len, |bytes| bf16::from_le_bytes(bytes).to_f32())?),
            kind::INT64 if raw.is_empty() => of_ints(proto.int64_data.clone()),
            kind::INT64 => of_ints(numbers(raw, len, i64::from_le_bytes)?),
            kind::INT32 if !raw.is_empty() => of_ints(numbers(raw, len, |bytes| i64::from(i32::from_le_bytes(bytes)))?),
            kind::INT16 if !raw.is_empty() => of_ints(numbers(raw, len, |bytes| i64::from(i16::from_le_bytes(bytes)))?),
            kind::UINT16 if !raw.is_empty() => of_ints(numbers(raw, len, |bytes| i64::from(u16::from_le_bytes(bytes)))?),
            kind::INT8 if !raw.is_empty() => of_ints(numbers(raw, len, |[byte]: [u8; 1]| i64::from(byte as i8))?),
            kind::UINT8 if !raw.is_empty() => of_ints(numbers(raw, len, |[byte]: [u8; 1]| i64::from(byte))?),
            kind::UINT32 if !raw.is_empty() => of_ints(numbers(raw, len, |bytes| i64::from(u32::from_le_bytes(bytes)))?),
            kind::UINT64 if !raw.is_empty() => of_ints(numbers(raw, len, |bytes| u64::from_le_bytes(bytes) as i64)?),
            kind::UINT32 | kind::UINT64 => of_ints(proto.uint64_data.iter().map(|value| *value as i64).collect()),
            kind::INT32 | kind::INT16 | kind::INT8 | kind::UINT16 | kind::UINT8 => of_ints(small()),
            kind::BOOL => {
                let values = if raw.is_empty() { small() } else { numbers(raw, len, |[byte]: [u8; 1]| i64::from(byte))? };
                let values = values.into_iter().map(|value| value != 0).collect();
                ArrayD::from_shape_vec(IxDyn(&dims), values).map(Self::Bool).map_err(|error| error.to_string())
            }
            kind::STRING => Err("a tensor of texts; allowed: numbers".into()),
            other => Err(format!("a tensor of type {other}; allowed: floating and whole numbers of 8 to 64 bits, true and false")),
        }
        .map_err(|error| if error.contains("hape") { format!("another number of values than its extents {dims:?} say") } else { error })
    }

    /// The tensor as a file holds it.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        let (data_type, raw): (i32, Vec<u8>) = match self {
            Self::Float(x) => (kind::FLOAT, x.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Self::Int(x) => (kind::INT64, x.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Self::Bool(x) => (kind::BOOL, x.iter().map(|value| u8::from(*value)).collect()),
        };
        let dims = self.dims().iter().map(|dim| *dim as i64).collect();
        TensorProto { dims, data_type, name: name.to_owned(), raw_data: raw.into(), ..TensorProto::default() }
    }
}

/// So many numbers of so many bytes each.
fn numbers<const N: usize, T>(raw: &[u8], len: usize, read: impl Fn([u8; N]) -> T) -> Fit<Vec<T>> {
    let (all, rest) = raw.as_chunks::<N>();
    if all.len() != len || !rest.is_empty() {
        return Err(format!("{} bytes; allowed: {len} numbers of {N} bytes", raw.len()));
    }
    Ok(all.iter().map(|bytes| read(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_as_it_went() {
        for tensor in [
            Tensor::floats(&[2, 1], vec![1.5, -2.0]).unwrap(),
            Tensor::ints(vec![i64::MIN, 0, 7]),
            Tensor::Bool(ArrayD::from_elem(IxDyn(&[]), true)),
        ] {
            assert_eq!(Tensor::from_proto(&tensor.to_proto("a"), None).unwrap(), tensor);
        }
        let half = TensorProto { dims: vec![2], data_type: kind::FLOAT16, int32_data: vec![0x3c00, 0xc000], ..TensorProto::default() };
        assert_eq!(Tensor::from_proto(&half, None).unwrap(), Tensor::floats(&[2], vec![1.0, -2.0]).unwrap());
        let bytes = TensorProto { dims: vec![2], data_type: kind::INT8, raw_data: vec![255, 1].into(), ..TensorProto::default() };
        assert_eq!(Tensor::from_proto(&bytes, None).unwrap(), Tensor::ints(vec![-1, 1]));
        for (dims, kind) in [(vec![3], kind::FLOAT), (vec![-1], kind::FLOAT), (vec![i64::MAX, 8], kind::FLOAT), (vec![0], kind::STRING)] {
            let wrong = TensorProto { dims, data_type: kind, raw_data: vec![0; 8].into(), ..TensorProto::default() };
            assert!(Tensor::from_proto(&wrong, None).is_err());
        }
    }
}
