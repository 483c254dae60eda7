//! `lyceum.masking`.

use std::{path::PathBuf, sync::Arc};

use lyceum_core::{Error, Progress, Seed, progress::Mode};
use lyceum_masking::{
    BuildConfig, MaskConfig, Masker, Vocabulary, Words,
    tokens::{self, Tokens},
    tree::TokenTree,
};
use numpy::{IntoPyArray, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2, PyUntypedArrayMethods, ndarray::Array2};
use pyo3::{
    exceptions::{PyIndexError, PyTypeError},
    ffi,
    prelude::*,
    types::{PyBytes, PyList},
};

use crate::{
    error::{exception, options},
    threads::{detached, stoppable},
};

/// A vocabulary of collocations.
#[pyclass(name = "Vocabulary", module = "lyceum._native", frozen)]
pub(crate) struct PyVocabulary {
    vocabulary: Vocabulary,
    words: Words,
}

/// The words of a vocabulary: of its own splitter, or of the tokeniser that it was built with.
fn words_of(vocabulary: &Vocabulary, tokenizer: Option<tokenizers::Tokenizer>) -> PyResult<Words> {
    let splitting = vocabulary.about().splitting;
    match tokenizer {
        Some(tokenizer) => Ok(Words::Tokenizer(Box::new(tokenizer), splitting)),
        None if vocabulary.about().tokenizer => {
            let allowed = "the tokenizer.json that the vocabulary was built with";
            Err(exception(Error::invalid("tokenizer", "None", allowed)))
        }
        None => Ok(Words::BuiltIn(splitting)),
    }
}

fn parsed(tokenizer: &str) -> PyResult<tokenizers::Tokenizer> {
    let found = tokenizer.parse();
    found.map_err(|error: tokenizers::Error| exception(Error::invalid("tokenizer", error, "the JSON of a fast tokenizer")))
}

#[pymethods]
impl PyVocabulary {
    /// `config` is JSON.
    #[staticmethod]
    fn build(py: Python<'_>, corpus: Vec<PathBuf>, config: &str, work: PathBuf, shown: bool) -> PyResult<Self> {
        let config: BuildConfig = options("options", config)?;
        let progress = Progress::new(if shown { Mode::Auto } else { Mode::Quiet });
        let (vocabulary, words) = stoppable(py, || Ok((config.build(&corpus, &work, &progress)?, config.words()?)))?;
        Ok(Self { vocabulary, words })
    }

    #[staticmethod]
    fn open(path: PathBuf, tokenizer: Option<PathBuf>) -> PyResult<Self> {
        let vocabulary = Vocabulary::open(&path).map_err(exception)?;
        let words = words_of(&vocabulary, tokenizer.map(|path| tokens::load(&path)).transpose().map_err(exception)?)?;
        Ok(Self { vocabulary, words })
    }

    /// The bytes of its file, and the JSON of its tokeniser: as it travels to another process.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Option<String>)> {
        let tokenizer = match &self.words {
            Words::BuiltIn(_) => None,
            Words::Tokenizer(tokenizer, _) => {
                Some(tokenizer.to_string(false).map_err(|error| exception(Error::Failed(error.to_string())))?)
            }
        };
        Ok((PyBytes::new(py, self.vocabulary.bytes()), tokenizer))
    }

    #[staticmethod]
    fn from_bytes(bytes: Vec<u8>, tokenizer: Option<&str>) -> PyResult<Self> {
        let vocabulary = Vocabulary::from_bytes(bytes).map_err(exception)?;
        let words = words_of(&vocabulary, tokenizer.map(parsed).transpose()?)?;
        Ok(Self { vocabulary, words })
    }

    fn save(&self, path: PathBuf, table: Option<PathBuf>) -> PyResult<()> {
        self.vocabulary.save(&path).map_err(exception)?;
        table.map_or(Ok(()), |table| self.vocabulary.save_table(&table)).map_err(exception)
    }

    /// What it was made of, as JSON.
    fn about(&self) -> PyResult<String> {
        serde_json::to_string(self.vocabulary.about()).map_err(|error| exception(Error::Failed(error.to_string())))
    }

    fn __len__(&self) -> usize {
        self.vocabulary.len()
    }

    /// Words, score, count, and the words with the cut that decides.
    fn get(&self, number: usize) -> PyResult<(Vec<String>, f64, u64, String)> {
        if number >= self.vocabulary.len() {
            return Err(PyIndexError::new_err(format!("collocation {number} of {}", self.vocabulary.len())));
        }
        let found = self.vocabulary.get(number as u32);
        Ok((found.words.iter().map(|word| (*word).to_owned()).collect(), found.score, found.count, found.explained()))
    }

    fn number(&self, words: Vec<String>) -> Option<u32> {
        self.vocabulary.number(&words.iter().map(String::as_str).collect::<Vec<&str>>())
    }

    /// Number, first letter and the letter after the last of each collocation in a text.
    fn find(&self, py: Python<'_>, text: &str) -> PyResult<Vec<(u32, usize, usize)>> {
        detached(py, || {
            let found = self.vocabulary.find(text, &self.words)?;
            // Python counts letters, not bytes.
            let (mut at, mut letters) = (0, 0);
            let mut letter = |byte: usize| {
                letters += text[at..byte].chars().count();
                at = byte;
                letters
            };
            Ok(found.into_iter().map(|found| (found.number, letter(found.start), letter(found.end))).collect())
        })
    }
}

/// A masker with its tokeniser.
#[pyclass(name = "Masker", module = "lyceum._native", frozen)]
pub(crate) struct PyMasker {
    masker: Masker,
    seed: Seed,
}

#[pymethods]
impl PyMasker {
    /// `tokenizer` and `config` are JSON.
    #[new]
    fn new(
        py: Python<'_>,
        tokenizer: &str,
        config: &str,
        vocabulary: Option<&Bound<'_, PyVocabulary>>,
        mask: Option<&str>,
        seed: u64,
    ) -> PyResult<Self> {
        let config: MaskConfig = options("options", config)?;
        let tokenizer = tokens::whole(&parsed(tokenizer)?).into_owned();
        let vocabulary = vocabulary.map(|vocabulary| &vocabulary.get().vocabulary);
        detached(py, || {
            let tokens = Arc::new(Tokens::of(&tokenizer, mask)?);
            let tree = vocabulary.map(|vocabulary| TokenTree::new(vocabulary, &tokenizer, &tokens)).transpose()?;
            let masker = Masker::new(config, tokens.clone(), tree.map(Arc::new))?;
            Ok(Self { masker, seed: Seed::new(seed) })
        })
    }

    /// Masks rows in place; the labels. `worker`: the number of a worker process, and the seed that its loader gave it for this epoch.
    fn mask<'py>(
        &self,
        py: Python<'py>,
        mut ids: PyReadwriteArray2<'py, i64>,
        special: Option<PyReadonlyArray2<'py, i64>>,
        worker: Option<(u64, u64)>,
        first: u64,
    ) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let (rows, length) = (ids.shape()[0], ids.shape()[1]);
        let special: Option<Vec<bool>> = special.map(|special| special.as_array().iter().map(|special| *special != 0).collect());
        if special.as_ref().is_some_and(|special| special.len() != rows * length) {
            return Err(exception(Error::invalid("special_tokens_mask", "another shape", format!("{rows} x {length}, as input_ids"))));
        }
        let mut labels = Array2::zeros((rows, length));
        let seed = worker.map_or(self.seed, |(worker, epoch)| self.seed.child(&format!("worker/{worker}/{epoch}")));
        let (ids, to) = (ids.as_slice_mut()?, labels.as_slice_mut().unwrap_or_default());
        let mut work = || self.masker.mask_rows(ids, to, length, special.as_deref(), seed, first);
        // For a few rows it is not worth while to hand over the interpreter.
        if rows * length > 1 << 14 {
            detached(py, || {
                work();
                Ok(())
            })?;
        } else {
            work();
        }
        Ok(labels.into_pyarray(py))
    }
}

/// Rows of whole numbers, lists or arrays, as one array; shorter ones are filled up to `width` (0: the longest), on the left or
/// on the right.
#[pyfunction]
pub(crate) fn pad<'py>(
    py: Python<'py>,
    rows: Vec<Bound<'py, PyAny>>,
    width: usize,
    multiple: usize,
    fill: i64,
    left: bool,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    enum Row<'py> {
        List(Bound<'py, PyList>),
        Array(PyReadonlyArray1<'py, i64>),
    }
    let of = |row: &Bound<'py, PyAny>| -> PyResult<Row<'py>> {
        if let Ok(list) = row.cast::<PyList>() {
            return Ok(Row::List(list.clone()));
        }
        let array = row.extract().map_err(|_| PyTypeError::new_err("rows must be lists of int or arrays of int64"))?;
        Ok(Row::Array(array))
    };
    let rows: Vec<Row<'py>> = rows.iter().map(of).collect::<PyResult<_>>()?;
    let length = |row: &Row<'py>| match row {
        Row::List(list) => list.len(),
        Row::Array(array) => array.len(),
    };
    let longest = rows.iter().map(length).max().unwrap_or(0).max(width).next_multiple_of(multiple.max(1));
    let mut values = vec![fill; rows.len() * longest];
    for (number, row) in rows.iter().enumerate() {
        let count = length(row);
        let start = number * longest + if left { longest - count } else { 0 };
        // Masks are mostly the same row over and over, which comparing the objects tells sooner than converting them.
        if let (Row::List(list), Some(Row::List(before))) = (row, number.checked_sub(1).map(|before| &rows[before]))
            && list.len() == before.len()
            && list.eq(before).unwrap_or(false)
        {
            values.copy_within(start - longest..start - longest + count, start);
            continue;
        }
        let to = &mut values[start..start + count];
        match row {
            Row::List(list) => {
                let (mut before, mut known) = (std::ptr::null_mut(), 0);
                for (place, value) in to.iter_mut().enumerate() {
                    // SAFETY: the list is held, and the item is borrowed from it; where there is none that is an error, found below.
                    let item = unsafe { ffi::PyList_GetItem(list.as_ptr(), place as isize) };
                    // A mask is the same object over and over.
                    if item == before && !item.is_null() {
                        *value = known;
                        continue;
                    }
                    // SAFETY: an int, another object or none: the last two give -1 and set an error.
                    *value = unsafe { ffi::PyLong_AsLongLong(item) };
                    (before, known) = (item, *value);
                    if *value == -1
                        && let Some(error) = PyErr::take(py)
                    {
                        return Err(error);
                    }
                }
            }
            Row::Array(array) => to.iter_mut().zip(array.as_array()).for_each(|(to, from)| *to = *from),
        }
    }
    Ok(Array2::from_shape_vec((rows.len(), longest), values).map_err(|error| exception(Error::Failed(error.to_string())))?.into_pyarray(py))
}
