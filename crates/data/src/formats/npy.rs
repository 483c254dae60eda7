//! NumPy's `.npy` and `.npz`.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Cursor},
    path::Path,
};

use lyceum_core::{Error, Result, atomic};
use memmap2::Mmap;
use ndarray::{Array1, Array2, ArrayView2, Dimension};
use ndarray_npy::{
    NpzReader, NpzWriter, ReadNpyError, ReadNpyExt, ReadableElement, ViewNpyError, ViewNpyExt, WritableElement, WriteNpyExt,
};

/// A matrix of 32-bit floats, in memory or still in its file.
pub enum Matrix {
    /// Read, and converted where the file holds another type.
    Owned(Array2<f32>),
    /// Mapped into memory: only what is looked at is read.
    Mapped(Mmap),
}

impl Matrix {
    /// Opens a `.npy` file of two axes. Float32 in C order is mapped; float64 and Fortran order are read and converted.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map(path)?;
        match ArrayView2::<f32>::view_npy(&map) {
            Ok(view) if view.is_standard_layout() => return Ok(Self::Mapped(map)),
            Ok(view) => return Ok(Self::Owned(view.as_standard_layout().into_owned())),
            Err(ViewNpyError::WrongDescriptor(_)) => {}
            Err(ViewNpyError::MisalignedData | ViewNpyError::NonNativeEndian) => {}
            Err(error) => return Err(Error::damaged(path, error.to_string())),
        }
        let wide = Array2::<f64>::read_npy(Cursor::new(&map[..]));
        let read = wide.map(|array| array.mapv(|value| value as f32)).or_else(|_| Array2::<f32>::read_npy(Cursor::new(&map[..])));
        read.map(Self::Owned).map_err(|error| Error::damaged(path, format!("{error}; allowed: float32 or float64 with two axes")))
    }

    /// The matrix.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        match self {
            Self::Owned(array) => array.view(),
            Self::Mapped(map) => ArrayView2::view_npy(map).expect("checked when it was opened"),
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
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut archive = NpzReader::new(BufReader::new(file)).map_err(|error| Error::damaged(path, error.to_string()))?;
    archive.by_name(name).map_err(|error| Error::damaged(path, format!("`{name}`: {error}")))
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

fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::missing_or_io("open", path, "Give the path of a .npy file."))?;
    // SAFETY: the map is read-only and private to this process. Should another process change or cut the file
    // meanwhile, values change or the process ends on SIGBUS; the command line documents that inputs must not change.
    unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))
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
        assert_eq!(Matrix::open(&path).unwrap().view(), expected);
        write(&path, &expected.mapv(f64::from)).unwrap();
        assert_eq!(Matrix::open(&path).unwrap().view(), expected);
        let mut fortran = Array2::<f32>::zeros((2, 3).f());
        fortran.assign(&expected);
        write(&path, &fortran).unwrap();
        assert_eq!(Matrix::open(&path).unwrap().view(), expected);
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
    fn sets_are_written_as_sparse_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sets.npz");
        write_sets(&path, &[0, 2, 2], &[5, 1]).unwrap();
        assert_eq!(read_npz::<i64, ndarray::Ix1>(&path, "indptr").unwrap().to_vec(), [0, 2, 2]);
        assert_eq!(read_npz::<i32, ndarray::Ix1>(&path, "indices").unwrap().to_vec(), [5, 1]);
    }
}
