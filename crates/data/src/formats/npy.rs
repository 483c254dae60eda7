//! NumPy's `.npy` and `.npz`.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Cursor, Read as _},
    path::Path,
};

use lyceum_core::{Error, Result, atomic, memory};
use memmap2::Mmap;
use ndarray::{Array1, Array2, ArrayView2, Dimension};
use ndarray_npy::{NpzWriter, ReadNpyError, ReadNpyExt, ReadableElement, ViewNpyError, ViewNpyExt, WritableElement, WriteNpyExt};
use zip::ZipArchive;

/// A matrix of floats, in memory or still in its file.
pub enum Matrix {
    /// Float32, read because the file has Fortran order or foreign bytes.
    Float32(Array2<f32>),
    /// Float64, read.
    Float64(Array2<f64>),
    /// Float32 mapped into memory: only what is looked at is read.
    Mapped(Mmap),
}

/// The numbers of a [`Matrix`].
pub enum MatrixView<'a> {
    /// Single precision.
    Float32(ArrayView2<'a, f32>),
    /// Double precision.
    Float64(ArrayView2<'a, f64>),
}

impl Matrix {
    /// Opens a `.npy` file of two axes. Float32 in C order is mapped; float64 and Fortran order are read.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map(path)?;
        match ArrayView2::<f32>::view_npy(&map) {
            Ok(view) if view.is_standard_layout() => return Ok(Self::Mapped(map)),
            Ok(view) => return Ok(Self::Float32(view.as_standard_layout().into_owned())),
            Err(ViewNpyError::WrongDescriptor(_) | ViewNpyError::MisalignedData | ViewNpyError::NonNativeEndian) => {}
            Err(error) => return Err(Error::damaged(path, error.to_string())),
        }
        let wide = Array2::<f64>::read_npy(Cursor::new(&map[..])).map(Self::Float64);
        let read = wide.or_else(|_| Array2::<f32>::read_npy(Cursor::new(&map[..])).map(Self::Float32));
        read.map_err(|error| Error::damaged(path, format!("{error}; allowed: float32 or float64 with two axes")))
    }

    /// The matrix.
    pub fn view(&self) -> MatrixView<'_> {
        match self {
            Self::Float32(array) => MatrixView::Float32(array.view()),
            Self::Float64(array) => MatrixView::Float64(array.view()),
            Self::Mapped(map) => MatrixView::Float32(ArrayView2::view_npy(map).expect("checked when it was opened")),
        }
    }

    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        match self.view() {
            MatrixView::Float32(view) => view.dim(),
            MatrixView::Float64(view) => view.dim(),
        }
    }
}

/// Reads class numbers: a `.npy` file of one axis with any whole type.
pub fn labels(path: &Path) -> Result<Vec<usize>> {
    let map = map(path)?;
    macro_rules! attempt {
        ($($type:ty),*) => { $(
            match Array1::<$type>::read_npy(Cursor::new(&map[..])) {
                Ok(array) => return array.iter().enumerate().map(|(row, &value)| usize::try_from(value).map_err(|_| {
                    Error::damaged(path, format!("row {row}: label {value}; allowed: 0 and above"))
                })).collect(),
                Err(ReadNpyError::WrongDescriptor(_)) => {}
                Err(error) => return Err(Error::damaged(path, error.to_string())),
            }
        )* };
    }
    attempt!(i64, i32, u8, u32, u64, i16, u16, i8);
    Err(Error::damaged(path, "its type is not a whole number; allowed: int8 to int64, uint8 to uint64"))
}

/// Reads class numbers: an array of a `.npz` file with any whole type.
pub fn labels_of_npz(path: &Path, name: &str) -> Result<Vec<usize>> {
    let bytes = member(path, name)?;
    macro_rules! attempt {
        ($($type:ty),*) => { $(
            match ndarray::ArrayD::<$type>::read_npy(&bytes[..]) {
                Ok(array) => return array.iter().enumerate().map(|(row, &value)| usize::try_from(value).map_err(|_| {
                    Error::damaged(path, format!("`{name}`, row {row}: label {value}; allowed: 0 and above"))
                })).collect(),
                Err(ReadNpyError::WrongDescriptor(_)) => {}
                Err(error) => return Err(Error::damaged(path, format!("`{name}`: {error}"))),
            }
        )* };
    }
    attempt!(i64, i32, u8, u32, u64, i16, u16, i8);
    Err(Error::damaged(path, format!("`{name}` is no array of whole numbers; numbers that are to be predicted: data.target")))
}

/// Reads numbers: an array of a `.npz` file of any extents and any type of numbers.
pub fn numbers_of_npz(path: &Path, name: &str) -> Result<ndarray::ArrayD<f64>> {
    let bytes = member(path, name)?;
    macro_rules! attempt {
        ($($type:ty),*) => { $(
            match ndarray::ArrayD::<$type>::read_npy(&bytes[..]) {
                Ok(array) => return Ok(array.mapv(|value| value as f64)),
                Err(ReadNpyError::WrongDescriptor(_)) => {}
                Err(error) => return Err(Error::damaged(path, format!("`{name}`: {error}"))),
            }
        )* };
    }
    attempt!(f64, f32, i64, i32, u8, u32, u64, i16, u16, i8);
    Err(Error::damaged(path, format!("`{name}` is no array of numbers; allowed: float32, float64 and whole numbers")))
}

/// Reads numbers: a `.npy` file of one axis with float64 or float32.
pub fn numbers(path: &Path) -> Result<Vec<f64>> {
    let bytes = map(path)?;
    let wide = Array1::<f64>::read_npy(&bytes[..]);
    let read = wide.or_else(|_| Array1::<f32>::read_npy(&bytes[..]).map(|values| values.mapv(f64::from)));
    read.map(|values| values.to_vec()).map_err(|error| Error::damaged(path, format!("{error}; allowed: float32 or float64 with one axis")))
}

/// Reads a whole `.npy` file of this type and number of axes.
pub fn read<A: ReadableElement, D: Dimension>(path: &Path) -> Result<ndarray::Array<A, D>> {
    let bytes = map(path)?;
    ndarray::Array::read_npy(&bytes[..]).map_err(|error| Error::damaged(path, error.to_string()))
}

/// Reads one array of a `.npz` file.
pub fn read_npz<A: ReadableElement, D: Dimension>(path: &Path, name: &str) -> Result<ndarray::Array<A, D>> {
    let read = ndarray::Array::read_npy(&member(path, name)?[..]);
    read.map_err(|error| Error::damaged(path, format!("`{name}`: {error}")))
}

/// The bytes of one array of a `.npz` file, with a header as NumPy writes it.
fn member(path: &Path, name: &str) -> Result<Vec<u8>> {
    let wrong = |error: &dyn std::fmt::Display| Error::damaged(path, format!("`{name}`: {error}"));
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| Error::damaged(path, error.to_string()))?;
    let member = [format!("{name}.npy"), name.to_owned()].into_iter().find(|member| archive.index_for_name(member).is_some());
    let member = member
        .ok_or_else(|| wrong(&format_args!("there is no such array; allowed: {}", archive.file_names().collect::<Vec<_>>().join(", "))))?;
    let member = archive.by_name(&member).map_err(|error| wrong(&error))?;
    let size = member.size();
    memory::check("the array", &[usize::try_from(size / 4).unwrap_or(usize::MAX)])?;
    let mut bytes = Vec::new();
    member.take(size).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    check_header(&bytes).map_err(|problem| wrong(&problem))?;
    Ok(bytes)
}

/// Writes a `.npy` file, whole or not at all.
pub fn write<A: WritableElement, D: Dimension>(path: &Path, array: &ndarray::Array<A, D>) -> Result<()> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
    atomic::write(path, &bytes)
}

/// Sets of labels in compressed sparse rows: the labels of row `i` are `labels[starts[i]..starts[i + 1]]`.
pub fn write_sets(path: &Path, starts: &[usize], labels: &[u32]) -> Result<()> {
    let failed = |error: ndarray_npy::WriteNpzError| Error::Failed(format!("{}: {error}", path.display()));
    let mut archive = NpzWriter::new(BufWriter::new(Cursor::new(Vec::new())));
    let starts: Array1<i64> = starts.iter().map(|&start| start as i64).collect();
    let labels: Array1<i32> = labels.iter().map(|&label| label as i32).collect();
    archive.add_array("indptr", &starts).map_err(failed)?;
    archive.add_array("indices", &labels).map_err(failed)?;
    let buffer = archive.finish().map_err(failed)?.into_inner().map_err(|error| Error::Failed(error.to_string()))?;
    atomic::write(path, &buffer.into_inner())
}

/// Maps a file whose header [`check_header`] finds right.
fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::missing_or_io("open", path, "Give the path of a .npy file."))?;
    // SAFETY: the map is read-only and private to this process. Should another process change or cut the file
    // meanwhile, values change or the process ends on SIGBUS; the command line documents that inputs must not change.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
    check_header(&map).map_err(|problem| Error::damaged(path, problem))?;
    Ok(map)
}

/// Errors unless the file begins with a header as NumPy writes it (a dictionary of a type, an order and a shape), and holds
/// the numbers that it names. The reader itself would ask for memory, or search nested brackets, before it looks.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    const KEYS: &str = "allowed: {'descr': '<f4', 'fortran_order': False, 'shape': (rows, columns), }";
    let not_npy = || "it is no .npy file: it does not begin with \\x93NUMPY, a version and a header".to_owned();
    let (version, rest) = bytes.strip_prefix(b"\x93NUMPY").and_then(|rest| rest.split_at_checked(2)).ok_or_else(not_npy)?;
    let wide = if version[0] == 1 { 2 } else { 4 };
    let (length, rest) = rest.split_at_checked(wide).ok_or_else(not_npy)?;
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (header, data) =
        rest.split_at_checked(length).ok_or_else(|| format!("its header should have {length} bytes, and it ends before"))?;
    let header: String =
        String::from_utf8_lossy(header).chars().filter(|c| !c.is_whitespace()).map(|c| if c == '"' { '\'' } else { c }).collect();
    let after = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest);
    let kind = after("descr").and_then(|rest| rest.strip_prefix('\'')).and_then(|rest| rest.split_once('\''));
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split_once(')'));
    let (Some((kind, _)), Some((shape, _)), 4) = (kind, shape, header.matches(['{', '}', '(', ')']).count()) else {
        return Err(format!("its header is not understood; {KEYS}"));
    };
    let size: usize =
        kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().map_err(|_| format!("its type is {kind:?}; {KEYS}"))?;
    let axes = shape.split(',').filter(|axis| !axis.is_empty());
    let axes: Vec<usize> = axes.map(str::parse).collect::<Result<_, _>>().map_err(|_| format!("its shape is ({shape}); {KEYS}"))?;
    // Also where an axis is 0 the others must be such that an array of them could be.
    let possible = axes
        .iter()
        .filter(|axis| **axis > 0)
        .try_fold(size, |bytes, axis| bytes.checked_mul(*axis).filter(|bytes| *bytes < isize::MAX as usize));
    let wanted = if axes.contains(&0) { possible.map(|_| 0) } else { possible };
    match wanted {
        Some(wanted) if wanted <= data.len() => Ok(()),
        _ => Err(format!("its header names an array of shape ({shape}) and type {kind:?}, and {} bytes follow", data.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ShapeBuilder, array};

    #[test]
    fn matrices_of_both_widths_and_orders_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let expected = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
        write(&path, &expected).unwrap();
        assert!(matches!(Matrix::open(&path).unwrap(), Matrix::Mapped(_)));
        assert!(matches!(Matrix::open(&path).unwrap().view(), MatrixView::Float32(view) if view == expected));
        write(&path, &expected.mapv(f64::from)).unwrap();
        assert!(matches!(Matrix::open(&path).unwrap(), Matrix::Float64(array) if array == expected.mapv(f64::from)));
        let mut fortran = Array2::<f32>::zeros((2, 3).f());
        fortran.assign(&expected);
        write(&path, &fortran).unwrap();
        assert!(matches!(Matrix::open(&path).unwrap(), Matrix::Float32(array) if array == expected));
    }

    #[test]
    fn labels_of_any_whole_type_are_read_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y.npy");
        write(&path, &array![3_i64, 1]).unwrap();
        assert_eq!(labels(&path).unwrap(), [3, 1]);
        write(&path, &array![3_u8, 1]).unwrap();
        assert_eq!(labels(&path).unwrap(), [3, 1]);
        write(&path, &array![3_i32, -1]).unwrap();
        assert!(labels(&path).unwrap_err().to_string().contains("row 1: label -1"));
        write(&path, &array![0.5_f32]).unwrap();
        assert_eq!(labels(&path).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn truncated_empty_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        write(&path, &array![[1.0_f32, 2.0], [4.0, 5.0]]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Matrix::open(&path).is_err(), "cut at {cut}");
        }
        write(&path, &array![1_i64, 2]).unwrap();
        assert!(Matrix::open(&path).is_err());
        assert!(Matrix::open(Path::new("/nowhere/x.npy")).is_err_and(|error| error.exit_code() == 2));
    }

    #[test]
    fn hostile_headers_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let dictionary = |kind: &str, shape: &str| format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        for header in [
            dictionary("<i8", "(2500000000,)"),
            dictionary("<f8", "(1000000000000, 10)"),
            dictionary("<f8", "(18446744073709551615, 18446744073709551615)"),
            dictionary("<f4", "(0, 9223372036854775807)"),
            dictionary("<f4", "(-1, 4)"),
            dictionary("|O", "(2,)"),
            "{'a':".repeat(26),
            "(".repeat(60_000),
            dictionary("<f4", "(((((2,)))))"),
        ] {
            let length = u16::try_from(header.len()).unwrap();
            let bytes = [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes(), header.as_bytes(), &[0; 64]].concat();
            std::fs::write(&path, bytes).unwrap();
            let errors = [Matrix::open(&path).err(), labels(&path).err(), numbers(&path).err(), read::<f64, ndarray::Ix2>(&path).err()];
            assert!(errors.into_iter().all(|error| error.is_some_and(|error| error.exit_code() == 2)), "{header:.80}");
        }
    }

    #[test]
    fn sets_are_written_as_sparse_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sets.npz");
        write_sets(&path, &[0, 2, 2], &[5, 1]).unwrap();
        assert_eq!(read_npz::<i64, ndarray::Ix1>(&path, "indptr").unwrap().to_vec(), [0, 2, 2]);
        assert_eq!(read_npz::<i32, ndarray::Ix1>(&path, "indices").unwrap().to_vec(), [5, 1]);
    }
}
