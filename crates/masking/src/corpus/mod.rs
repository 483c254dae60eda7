//! Corpora: text, JSON lines or Parquet, plain or packed, read block by block.

mod json;
#[cfg(feature = "parquet")]
mod parquet;

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use lyceum_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::words::{Piece, Words, ends_word};

/// How files are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// By the name: `.jsonl`, `.ndjson` and `.parquet`, anything else is text; `.gz` and `.zst` are unpacked.
    #[default]
    Auto,
    /// Text in UTF-8.
    Text,
    /// A JSON object a line, with a document in one of its fields.
    Jsonl,
    /// Parquet, with a document in each row of a column of strings.
    Parquet,
}

/// Files to be read in this order.
#[derive(Debug, Clone)]
pub struct Corpus {
    files: Vec<Source>,
    field: String,
    /// Bytes of a block, and of the longest record (a JSON object).
    block: usize,
    longest: usize,
}

/// A file of a corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    path: PathBuf,
    bytes: u64,
    /// When it was changed last, in nanoseconds.
    changed: u128,
    format: Format,
    packed: Packed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Packed {
    No,
    Gzip,
    Zstd,
}

/// A place in a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    file: usize,
    /// Bytes of the unpacked file, or rows of a Parquet file, that are behind.
    offset: u64,
    /// Lines that are behind.
    line: u64,
    /// The place is inside a word that is too long to be one.
    inside: bool,
}

/// A piece of a corpus that can be cut into words by itself.
#[derive(Debug)]
pub struct Block {
    content: Content,
    begins: Mark,
    /// The next place.
    pub(crate) ends: Mark,
    /// Bytes of the files read so far, for progress.
    pub(crate) read: u64,
}

#[derive(Debug)]
enum Content {
    Text(Vec<u8>),
    Json(Vec<u8>),
    #[cfg(feature = "parquet")]
    Documents(Vec<Vec<u8>>),
}

impl Corpus {
    /// Files that are there and can be read; `field` is the field of JSON objects or the column of Parquet files. `memory` is
    /// what all of it may take: it decides how much is read at a time (never what is read), and how long a JSON object may be.
    pub fn open(paths: &[PathBuf], format: Format, field: &str, memory: usize) -> Result<Self> {
        let files = paths.iter().map(|path| Source::open(path, format)).collect::<Result<Vec<Source>>>()?;
        if files.is_empty() {
            return Err(Error::invalid("the corpus", "no files", "at least one"));
        }
        let block = (memory / (32 * rayon::current_num_threads())).clamp(1 << 16, 4 << 20);
        Ok(Self { files, field: field.into(), block, longest: memory / 4 })
    }

    /// Bytes of all files as they lie on the disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn files(&self) -> &[Source] {
        &self.files
    }

    /// The blocks from a place on.
    pub fn blocks(&self, from: Mark) -> Blocks<'_> {
        Blocks { corpus: self, mark: from, open: None, rest: Vec::new(), read: Arc::default() }
    }

    /// Calls `each` with the pieces of a block, in order. A document ends with a boundary.
    pub fn pieces(&self, block: &Block, words: &Words, mut each: impl FnMut(Piece<'_>)) -> Result<()> {
        let path = &self.files[block.begins.file].path;
        if block.begins.offset == 0 {
            each(Piece::Boundary);
        }
        match &block.content {
            Content::Text(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|error| {
                    let at = block.begins.offset + error.valid_up_to() as u64;
                    let line = block.begins.line + lines(&bytes[..error.valid_up_to()]) + 1;
                    let what = format!("line {line}, byte {at}: {:#04x} is not UTF-8", bytes[error.valid_up_to()]);
                    Error::damaged(path, format!("{what}; allowed: text in UTF-8 (iconv -f latin1 -t utf8 converts)"))
                })?;
                let mut inside = block.begins.inside;
                for segment in segments(text) {
                    words.of(segment, inside, &mut each)?;
                    inside = ends_inside(segment);
                }
                Ok(())
            }
            Content::Json(bytes) => {
                for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    let text = json::field(line, &self.field)
                        .map_err(|error| Error::damaged(path, format!("line {}: {error}", block.begins.line + number as u64 + 1)))?;
                    words.of(&text, false, &mut each)?;
                    each(Piece::Boundary);
                }
                Ok(())
            }
            #[cfg(feature = "parquet")]
            Content::Documents(documents) => {
                for (row, document) in documents.iter().enumerate() {
                    let text = std::str::from_utf8(document).map_err(|_| {
                        let row = block.begins.offset + row as u64;
                        Error::damaged(path, format!("row {row}: `{}` is not UTF-8", self.field))
                    })?;
                    words.of(text, false, &mut each)?;
                    each(Piece::Boundary);
                }
                Ok(())
            }
        }
    }
}

impl Source {
    fn open(path: &Path, format: Format) -> Result<Self> {
        let about = path.metadata().map_err(Error::missing_or_io("open", path, "Give files of text, JSON lines or Parquet."))?;
        if about.is_dir() {
            return Err(Error::damaged(path, "is a folder; allowed: files (lyceum masking build FOLDER/*)"));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let (stem, packed) = match name.rsplit_once('.') {
            Some((stem, "gz")) => (stem, Packed::Gzip),
            Some((stem, "zst" | "zstd")) => (stem, Packed::Zstd),
            _ => (name.as_str(), Packed::No),
        };
        let format = match (format, stem.rsplit_once('.').map(|(_, end)| end)) {
            (Format::Auto, Some("jsonl" | "ndjson")) => Format::Jsonl,
            (Format::Auto, Some("parquet")) => Format::Parquet,
            (Format::Auto, _) => Format::Text,
            (format, _) => format,
        };
        if format == Format::Parquet && !cfg!(feature = "parquet") {
            return Err(Error::damaged(path, "is Parquet, which this build cannot read (feature `parquet`)"));
        }
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |time| time.as_nanos());
        Ok(Self { path: path.into(), bytes: about.len(), changed, format, packed })
    }
}

/// The blocks of a corpus, in order.
pub struct Blocks<'a> {
    corpus: &'a Corpus,
    mark: Mark,
    open: Option<Open>,
    /// What was read beyond the last block.
    rest: Vec<u8>,
    /// Bytes of the files that were read.
    read: Arc<AtomicU64>,
}

enum Open {
    Stream {
        reader: Box<dyn Read + Send>,
        ended: bool,
    },
    #[cfg(feature = "parquet")]
    Rows(Box<parquet::Rows>),
}

/// Counts what is read.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Blocks<'_> {
    /// The next block.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        while self.mark.file < self.corpus.files.len() {
            if self.open.is_none() {
                self.open = Some(self.open_file()?);
            }
            let begins = self.mark;
            let content = match &mut self.open {
                #[cfg(feature = "parquet")]
                Some(Open::Rows(rows)) => {
                    let documents = rows.next_documents(self.corpus.block)?;
                    self.mark.offset += documents.len() as u64;
                    (!documents.is_empty()).then_some(Content::Documents(documents))
                }
                _ => self.next_bytes()?,
            };
            if let Some(content) = content {
                return Ok(Some(Block { content, begins, ends: self.mark, read: self.read.load(Ordering::Relaxed) }));
            }
            self.open = None;
            self.rest.clear();
            self.mark = Mark { file: self.mark.file + 1, ..Mark::default() };
        }
        Ok(None)
    }

    fn open_file(&mut self) -> Result<Open> {
        let source = &self.corpus.files[self.mark.file];
        #[cfg(feature = "parquet")]
        if source.format == Format::Parquet {
            self.read.fetch_add(source.bytes, Ordering::Relaxed);
            return Ok(Open::Rows(Box::new(parquet::Rows::open(&source.path, &self.corpus.field, self.mark.offset)?)));
        }
        let mut file = File::open(&source.path).map_err(Error::io("open", &source.path))?;
        if source.packed == Packed::No && self.mark.offset > 0 {
            file.seek(SeekFrom::Start(self.mark.offset)).map_err(Error::io("read", &source.path))?;
            self.read.fetch_add(self.mark.offset, Ordering::Relaxed);
        }
        let file = Counted { file, read: self.read.clone() };
        let mut reader: Box<dyn Read + Send> = match source.packed {
            Packed::No => Box::new(file),
            Packed::Gzip => Box::new(flate2::read::MultiGzDecoder::new(std::io::BufReader::with_capacity(1 << 18, file))),
            Packed::Zstd => Box::new(zstd::Decoder::new(file).map_err(|error| Error::damaged(&source.path, error.to_string()))?),
        };
        if source.packed != Packed::No {
            // Packed files cannot be entered in the middle.
            std::io::copy(&mut reader.by_ref().take(self.mark.offset), &mut std::io::sink())
                .map_err(|error| Error::damaged(&source.path, error.to_string()))?;
        }
        Ok(Open::Stream { reader, ended: false })
    }

    /// The next block of bytes; whole lines where there are ends of lines.
    fn next_bytes(&mut self) -> Result<Option<Content>> {
        let source = &self.corpus.files[self.mark.file];
        let json = source.format == Format::Jsonl;
        let Some(Open::Stream { reader, ended }) = &mut self.open else { return Ok(None) };
        let mut bytes = std::mem::take(&mut self.rest);
        let mut wanted = self.corpus.block.max(bytes.len());
        let cut = loop {
            while !*ended && bytes.len() < wanted {
                let before = bytes.len();
                bytes.resize(wanted, 0);
                let count = match reader.read(&mut bytes[before..]) {
                    Ok(count) => count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {
                        bytes.truncate(before);
                        continue;
                    }
                    Err(error) if source.packed != Packed::No => {
                        let place = self.mark.offset + before as u64;
                        return Err(Error::damaged(&source.path, format!("cannot be unpacked beyond byte {place}: {error}")));
                    }
                    Err(error) => return Err(Error::io("read", &source.path)(error)),
                };
                bytes.truncate(before + count);
                *ended = count == 0;
            }
            if *ended && bytes.is_empty() {
                return Ok(None);
            }
            if *ended {
                break bytes.len();
            }
            if let Some(end) = memchr::memrchr(b'\n', &bytes) {
                break end + 1;
            }
            if json {
                if bytes.len() >= self.corpus.longest {
                    let what = format!("line {}: more than {} bytes", self.mark.line + 1, self.corpus.longest);
                    return Err(Error::damaged(&source.path, format!("{what}; allowed: records within a quarter of the memory given")));
                }
                wanted += self.corpus.block;
                continue;
            }
            if bytes.len() > SEGMENT {
                // What is not UTF-8 is told of when the block is cut into words.
                let valid = std::str::from_utf8(&bytes[..SEGMENT]).map_or_else(|error| error.valid_up_to(), str::len);
                let text = std::str::from_utf8(&bytes[..valid]).unwrap_or_default();
                break if SEGMENT - valid < 4 { segment(text) } else { SEGMENT };
            }
            wanted = SEGMENT + 1;
        };
        self.rest = bytes.split_off(cut);
        self.mark.inside = !json && !*ended && std::str::from_utf8(&bytes).is_ok_and(ends_inside);
        self.mark.offset += bytes.len() as u64;
        self.mark.line += lines(&bytes);
        Ok(Some(if json { Content::Json(bytes) } else { Content::Text(bytes) }))
    }
}

/// A longer line is cut into words by segments of at most so many bytes. Where they end depends on the line alone, so that the
/// memory given, which decides how much is read at a time, never decides what is read.
const SEGMENT: usize = 1 << 20;

/// The segments of a text that begins where a line or a segment does.
fn segments(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // Short lines are one segment, as many as there are before the first long one.
        let mut end = 0;
        while end < rest.len() {
            let line = memchr::memchr(b'\n', &rest.as_bytes()[end..]).map_or(rest.len(), |at| end + at + 1);
            if line - end > SEGMENT {
                break;
            }
            end = line;
        }
        if end == 0 {
            let mut most = SEGMENT;
            while !rest.is_char_boundary(most) {
                most -= 1;
            }
            end = segment(&rest[..most]);
        }
        let (segment, after) = rest.split_at(end);
        rest = after;
        Some(segment)
    })
}

/// Where the first segment of a line ends that begins with this much text and is longer: after the last white space, else after the
/// last sign or ideograph. Where there are only letters, a word is too long to be one and goes on.
fn segment(text: &str) -> usize {
    let space = text.bytes().rposition(|byte| byte.is_ascii_whitespace()).map(|at| at + 1);
    space.or_else(|| text.char_indices().rfind(|(_, c)| ends_word(*c)).map(|(at, c)| at + c.len_utf8())).unwrap_or(text.len())
}

/// Whether a word goes on after this segment.
fn ends_inside(segment: &str) -> bool {
    segment.chars().next_back().is_some_and(|last| !ends_word(last))
}

/// How many lines end in these bytes.
fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
