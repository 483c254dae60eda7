//! The numbers of examples, a row each.

use std::{borrow::Cow, io::Write as _, ops::Range, path::Path, sync::Arc};

use lyceum_core::{Error, Result};
use memmap2::Mmap;
use ndarray::{Array2, Axis, concatenate, s};

/// `n × d` numbers, or pictures that stay bytes: four times less of them, and those of a mapped file take no memory of their own.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// Any numbers.
    Numbers(Array2<f32>),
    /// A byte b stands for b/255.
    Bytes(Bytes),
}

/// Rows of bytes. Choosing some of them copies nothing.
#[derive(Debug, Clone)]
pub struct Bytes {
    held: Arc<Held>,
    width: usize,
    rows: Vec<u32>,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    File(Mmap),
}

impl Held {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::File(map) => map,
        }
    }
}

/// More bytes than this are written to a file without a name, and mapped: the system reads what is asked for, and may forget it again.
const IN_MEMORY: usize = 256 << 20;

/// Rows of bytes as they come.
pub struct BytesWriter {
    width: usize,
    bytes: Vec<u8>,
    file: Option<std::fs::File>,
}

impl BytesWriter {
    /// For so many rows of this width. `folder` is where a file goes that memory should not hold.
    ///
    /// # Errors
    ///
    /// A folder that cannot be made or written to.
    pub fn new(rows: usize, width: usize, folder: &Path) -> Result<Self> {
        let file = if rows.saturating_mul(width) > IN_MEMORY {
            std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
            Some(tempfile::tempfile_in(folder).map_err(Error::io("make a file in", folder))?)
        } else {
            None
        };
        Ok(Self { width, bytes: Vec::new(), file })
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// A disk that is full.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(file) = &mut self.file {
            return file.write_all(bytes).map_err(|error| Error::Failed(format!("pictures could not be kept on disk: {error}")));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// All that were added.
    ///
    /// # Errors
    ///
    /// A file that cannot be mapped.
    pub fn finish(self) -> Result<Inputs> {
        let held = match self.file {
            // SAFETY: the file has no name, so that nobody else can change or shorten it.
            Some(file) => Held::File(unsafe { Mmap::map(&file) }.map_err(|error| Error::Failed(format!("pictures on disk: {error}")))?),
            None => Held::Memory(self.bytes),
        };
        Ok(Inputs::of(held, self.width))
    }
}

impl Inputs {
    /// Rows of bytes, each of this width.
    pub fn bytes(bytes: Vec<u8>, width: usize) -> Self {
        Self::of(Held::Memory(bytes), width)
    }

    fn of(held: Held, width: usize) -> Self {
        let rows = held.bytes().len().checked_div(width).unwrap_or(0);
        Self::Bytes(Bytes { held: Arc::new(held), width, rows: (0..rows as u32).collect() })
    }

    /// How many rows there are.
    pub fn nrows(&self) -> usize {
        self.dim().0
    }

    /// How many numbers a row has.
    pub fn ncols(&self) -> usize {
        self.dim().1
    }

    /// Rows, and numbers of each.
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Self::Numbers(array) => array.dim(),
            Self::Bytes(Bytes { width, rows, .. }) => (rows.len(), *width),
        }
    }

    /// Adds the numbers of a row to others.
    pub fn append_row(&self, row: usize, to: &mut Vec<f32>) {
        match self {
            Self::Numbers(array) => match array.row(row).as_slice() {
                Some(row) => to.extend_from_slice(row),
                None => to.extend(array.row(row)),
            },
            Self::Bytes(bytes) => to.extend(bytes.row(row).iter().map(|&byte| real(byte))),
        }
    }

    /// The numbers of a row.
    pub fn row(&self, row: usize) -> Cow<'_, [f32]> {
        if let Self::Numbers(array) = self
            && let Some(row) = array.row(row).to_slice()
        {
            return Cow::Borrowed(row);
        }
        let mut numbers = Vec::with_capacity(self.ncols());
        self.append_row(row, &mut numbers);
        Cow::Owned(numbers)
    }

    /// The numbers of these rows.
    pub fn block(&self, rows: Range<usize>) -> Cow<'_, [f32]> {
        if let Self::Numbers(array) = self
            && let Some(block) = array.slice(s![rows.clone(), ..]).to_slice()
        {
            return Cow::Borrowed(block);
        }
        let mut numbers = Vec::with_capacity(rows.len() * self.ncols());
        rows.for_each(|row| self.append_row(row, &mut numbers));
        Cow::Owned(numbers)
    }

    /// All rows as an array.
    pub fn array(&self) -> Cow<'_, Array2<f32>> {
        match self {
            Self::Numbers(array) => Cow::Borrowed(array),
            Self::Bytes(_) => {
                let numbers = self.block(0..self.nrows()).into_owned();
                Cow::Owned(Array2::from_shape_vec(self.dim(), numbers).unwrap_or_default())
            }
        }
    }

    /// The rows at these positions, in this order.
    pub fn select(&self, positions: &[usize]) -> Self {
        match self {
            Self::Numbers(array) => Self::Numbers(array.select(Axis(0), positions)),
            Self::Bytes(bytes) => Self::Bytes(Bytes { rows: positions.iter().map(|&row| bytes.rows[row]).collect(), ..bytes.clone() }),
        }
    }

    /// The rows of all parts, one after another.
    pub fn concatenated(parts: &[&Self]) -> Self {
        let bytes: Option<Vec<&Bytes>> = parts.iter().map(|part| if let Self::Bytes(bytes) = part { Some(bytes) } else { None }).collect();
        if let Some(bytes) = bytes
            && let [first, rest @ ..] = bytes.as_slice()
        {
            if rest.iter().all(|bytes| Arc::ptr_eq(&bytes.held, &first.held)) {
                let rows = bytes.iter().flat_map(|bytes| bytes.rows.iter().copied()).collect();
                return Self::Bytes(Bytes { rows, ..(*first).clone() });
            }
            let all = bytes.iter().flat_map(|bytes| (0..bytes.rows.len()).flat_map(|row| bytes.row(row)));
            return Self::bytes(all.copied().collect(), first.width);
        }
        let arrays: Vec<_> = parts.iter().map(|part| part.array()).collect();
        let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
        Self::Numbers(concatenate(Axis(0), &views).unwrap_or_default())
    }

    /// Each row changed: `each` gets its numbers and writes as many others.
    pub fn map_rows(&self, mut each: impl FnMut(&[f32], &mut [f32])) -> Self {
        let mut changed = Array2::zeros(self.dim());
        for (row, mut to) in changed.rows_mut().into_iter().enumerate() {
            if let Some(to) = to.as_slice_mut() {
                each(&self.row(row), to);
            }
        }
        Self::Numbers(changed)
    }

    /// Each number changed.
    pub fn map(&self, each: impl Fn(f32) -> f32) -> Self {
        self.map_rows(|from, to| to.iter_mut().zip(from).for_each(|(to, from)| *to = each(*from)))
    }

    /// The first row and place with a number that is not finite.
    pub fn not_finite(&self) -> Option<(usize, usize)> {
        match self {
            Self::Numbers(array) => array.indexed_iter().find(|(_, value)| !value.is_finite()).map(|(place, _)| place),
            Self::Bytes(_) => None,
        }
    }
}

impl Bytes {
    fn row(&self, row: usize) -> &[u8] {
        &self.held.bytes()[self.rows[row] as usize * self.width..][..self.width]
    }
}

impl From<Array2<f32>> for Inputs {
    fn from(array: Array2<f32>) -> Self {
        Self::Numbers(array)
    }
}

/// Equal numbers, however they are held.
impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        self.dim() == other.dim() && (0..self.nrows()).all(|row| self.row(row) == other.row(row))
    }
}

fn real(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn bytes_are_the_numbers_they_stand_for() {
        let bytes = Inputs::bytes(vec![0, 255, 51, 102, 153, 204], 2);
        let numbers = Inputs::from(array![[0.0, 1.0], [0.2, 0.4], [0.6, 0.8]]);
        assert_eq!(bytes, numbers);
        assert_eq!(bytes.dim(), (3, 2));
        for inputs in [&bytes, &numbers] {
            assert_eq!(*inputs.row(1), [0.2, 0.4]);
            assert_eq!(*inputs.block(1..3), [0.2, 0.4, 0.6, 0.8]);
            assert_eq!(inputs.select(&[2, 0, 2]), Inputs::from(array![[0.6, 0.8], [0.0, 1.0], [0.6, 0.8]]));
            assert_eq!(inputs.map(|x| x * 2.0), Inputs::from(array![[0.0, 2.0], [0.4, 0.8], [1.2, 1.6]]));
            assert_eq!(*inputs.array(), array![[0.0, 1.0], [0.2, 0.4], [0.6, 0.8]]);
        }
        let both = Inputs::concatenated(&[&bytes.select(&[1]), &bytes.select(&[0])]);
        assert!(matches!(both, Inputs::Bytes(_)));
        assert_eq!(both, Inputs::concatenated(&[&numbers.select(&[1]), &bytes.select(&[0])]));
        assert_eq!(both, Inputs::concatenated(&[&Inputs::bytes(vec![51, 102], 2), &bytes.select(&[0])]));
        assert_eq!(Inputs::bytes(Vec::new(), 3).dim(), (0, 3));
        assert_eq!(Inputs::from(array![[0.0, f32::NAN]]).not_finite(), Some((0, 1)));
    }

    #[test]
    fn many_bytes_lie_in_a_file_without_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = BytesWriter::new(IN_MEMORY, 2, folder.path()).unwrap();
        for part in [[1, 2], [3, 4], [5, 6]] {
            writer.push(&part).unwrap();
        }
        let inputs = writer.finish().unwrap();
        assert_eq!(inputs, Inputs::bytes(vec![1, 2, 3, 4, 5, 6], 2));
        assert!(matches!(&inputs, Inputs::Bytes(bytes) if matches!(*bytes.held, Held::File(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
