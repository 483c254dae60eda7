//! A corpus as rows of tokens, and its collocations.

use std::{fs, path::PathBuf, sync::Arc};

use lyceum_core::{Error, Result, Run, Seed, Violation, atomic, range, run::Input};
use lyceum_data::{Cache, split};
use lyceum_masking::{
    BuildConfig, MaskConfig, Masker, Method, Score, masker::IGNORED, select::SelectConfig, tokens::Tokens, tree::TokenTree,
};
use lyceum_train::TokenBatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
    models::bpe::{BPE, BpeTrainerBuilder},
    normalizers::BertNormalizer,
    pre_tokenizers::{
        bert::BertPreTokenizer,
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
    },
};

use crate::order::Order;

/// Where the texts of a corpus are kept, in the run folder.
pub(super) const FOLDER: &str = "texts";

const HINT: &str = "Give a folder of .txt files. `lyceum data get english` makes one of Debian's documentation.";

/// Where the text comes from, and what is made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TextConfig {
    /// A folder of texts (.txt, a paragraph a line), or the name of one in the data folder.
    folder: String,
    /// Read no more than so many bytes of each text.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    bytes: Option<usize>,
    /// Different tokens, learnt from the text as pieces of words.
    #[serde(default = "vocabulary", with = "range::AtLeastOne")]
    vocabulary: usize,
    /// Tokens of a row, the two at its ends among them.
    #[serde(default = "length", with = "range::AtLeastOne")]
    pub(super) length: usize,
    /// Rows that are held out of training.
    #[serde(default = "held_out", with = "range::AtLeastOne")]
    held_out: usize,
    /// How often a collocation must be in the text.
    #[serde(default = "min_count", with = "range::AtLeastOne")]
    min_count: usize,
    /// How many collocations there are.
    #[serde(default = "collocations", with = "range::AtLeastOne")]
    collocations: usize,
}

fn vocabulary() -> usize {
    8_000
}

fn length() -> usize {
    64
}

fn held_out() -> usize {
    500
}

fn min_count() -> usize {
    10
}

fn collocations() -> usize {
    100_000
}

impl TextConfig {
    pub(super) fn check(&self, key: &str) -> Result<(), Violation> {
        let wrong = |field: &str, message: String| Err(Violation::new(format!("{key}.{field}"), message));
        if self.length < 8 {
            return wrong("length", format!("found {}; allowed: 8 or more", self.length));
        }
        if self.vocabulary < 500 {
            return wrong("vocabulary", format!("found {}; allowed: 500 or more", self.vocabulary));
        }
        Ok(())
    }

    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        Ok(self.texts()?.into_iter().map(|path| Input::named(path, HINT)).collect())
    }

    fn texts(&self) -> Result<Vec<PathBuf>> {
        let named = PathBuf::from(&self.folder);
        let folder = if named.is_dir() { named } else { Cache::locate().folder(&self.folder) };
        let entries = fs::read_dir(&folder).map_err(|_| Error::Missing { path: folder.clone(), hint: HINT.into() })?;
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
        paths.sort();
        if paths.is_empty() {
            return Err(Error::damaged(&folder, "holds no .txt file"));
        }
        Ok(paths)
    }
}

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const START: i64 = 2;
const END: i64 = 3;

/// Rows of tokens.
pub(super) struct Corpus {
    tokenizer: Tokenizer,
    tokens: Arc<Tokens>,
    length: usize,
    train: Vec<Vec<i64>>,
    held_out: Vec<Vec<i64>>,
    texts: Vec<PathBuf>,
    build: BuildConfig,
    work: PathBuf,
}

type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

impl Corpus {
    /// Reads the texts and learns the tokens.
    pub(super) fn read(config: &TextConfig, run: &Run) -> Result<Self> {
        let mut texts = Vec::new();
        for path in config.texts()? {
            let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
            let some = &bytes[..config.bytes.unwrap_or(usize::MAX).min(bytes.len())];
            // Up to the end of a line.
            let end = some.iter().rposition(|byte| *byte == b'\n').map_or(some.len(), |end| end + 1);
            let text = String::from_utf8(some[..end].to_vec()).map_err(|error| Error::damaged(&path, format!("is not UTF-8: {error}")))?;
            texts.push((path, text));
        }
        let work = run.folder().join(FOLDER);
        let tokenizer = tokenizer(config, texts.iter().flat_map(|(_, text)| text.lines()))?;
        let tokens = Arc::new(Tokens::of(&tokenizer, None)?);
        let mut rows = Vec::new();
        for (_, text) in &texts {
            rows.extend(cut(&tokenizer, text, config.length)?);
        }
        if rows.len() <= config.held_out {
            return Err(Error::invalid("the texts", format!("{} rows", rows.len()), format!("more than the {} held out", config.held_out)));
        }
        let order = split::permutation(rows.len(), &mut run.seed().stream("pretraining/split"));
        let mut take = |places: &[usize]| places.iter().map(|&place| std::mem::take(&mut rows[place])).collect();
        let (held_out, train) = (take(&order[..config.held_out]), take(&order[config.held_out..]));
        // Collocations are those of the same part of the texts.
        atomic::own_folder(&work)?;
        let mut paths = Vec::new();
        for (path, text) in &texts {
            let part = work.join(path.file_name().unwrap_or_default());
            atomic::write(&part, text.as_bytes())?;
            paths.push(part);
        }
        let build = BuildConfig {
            min_count: config.min_count as u64,
            select: SelectConfig { size: config.collocations, ..SelectConfig::default() },
            ..BuildConfig::default()
        };
        Ok(Self { tokenizer, tokens, length: config.length, train, held_out, texts: paths, build, work })
    }

    /// How many rows are learnt.
    pub(super) fn len(&self) -> usize {
        self.train.len()
    }

    /// How many tokens there are.
    pub(super) fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Maskers of all these kinds, by what collocations are ranked by where they mask collocations, and how many there are.
    pub(super) fn maskers(&self, kinds: &[(Method, Score)], share: f64, run: &Run) -> Result<Vec<(Masker, usize)>> {
        let counts = if kinds.iter().any(|(method, _)| *method == Method::Collocations) {
            Some(self.build.count(&self.texts, &self.work.join("counting"), run.progress())?)
        } else {
            None
        };
        kinds
            .iter()
            .map(|&(method, score)| {
                let vocabulary = match (&counts, method) {
                    (Some(counts), Method::Collocations) => {
                        let select = SelectConfig { score, ..self.build.select.clone() };
                        Some(BuildConfig { select, ..self.build.clone() }.vocabulary(counts)?)
                    }
                    _ => None,
                };
                let size = vocabulary.as_ref().map_or(0, lyceum_masking::Vocabulary::len);
                let tree = vocabulary.map(|vocabulary| TokenTree::new(&vocabulary, &self.tokenizer, &self.tokens)).transpose()?;
                let config = MaskConfig { method, share, ..MaskConfig::default() };
                Ok((Masker::new(config, self.tokens.clone(), tree.map(Arc::new))?, size))
            })
            .collect()
    }

    /// Training rows of a step, masked: pass after pass over all, each in a new order.
    pub(super) fn batch(&self, masker: &Masker, step: usize, size: usize, seed: Seed, order: &mut Order) -> TokenBatch {
        let rows: Vec<&Vec<i64>> =
            (step * size..(step + 1) * size).map(|draw| &self.train[order.place(draw, self.train.len(), seed)]).collect();
        masked(&rows, masker, self.length, seed, (step * size) as u64)
    }

    /// The held-out rows, masked by this masker once and for all.
    pub(super) fn probe(&self, masker: &Masker, seed: Seed) -> Vec<TokenBatch> {
        let rows: Vec<&Vec<i64>> = self.held_out.iter().collect();
        rows.chunks(32).enumerate().map(|(number, rows)| masked(rows, masker, self.length, seed, 32 * number as u64)).collect()
    }

    /// Takes away what was written to count collocations.
    pub(super) fn clean(&self) -> Result<()> {
        fs::remove_dir_all(&self.work).map_err(Error::io("remove", &self.work))
    }
}

fn masked(rows: &[&Vec<i64>], masker: &Masker, length: usize, seed: Seed, first: u64) -> TokenBatch {
    let mut ids = vec![0_i64; rows.len() * length];
    rows.iter().zip(ids.chunks_mut(length)).for_each(|(row, ids)| ids[..row.len()].copy_from_slice(row));
    let present = ids.iter().map(|id| *id != 0).collect();
    let mut labels = vec![0; ids.len()];
    masker.mask_rows(&mut ids, &mut labels, length, None, seed, first);
    let chosen = labels.iter().enumerate().filter(|(_, label)| **label != IGNORED);
    let mut targets: Vec<(u32, u32)> = chosen.map(|(place, label)| (place as u32, *label as u32)).collect();
    if targets.is_empty() {
        // Rows of a few tokens may go without; a batch may not.
        targets.push((0, ids[0] as u32));
    }
    TokenBatch { length, tokens: ids.into_iter().map(|id| id as u32).collect(), present, targets }
}

/// Rows `[CLS] … [SEP]` of a text: lines one after the other, cut where a row is full.
fn cut(tokenizer: &Tokenizer, text: &str, length: usize) -> Result<Vec<Vec<i64>>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut rows = Vec::new();
    let mut row = vec![START];
    for lines in lines.chunks(4_096) {
        let encoded =
            tokenizer.encode_batch_fast(lines.to_vec(), false).map_err(|error| Error::Failed(format!("the tokens of a text: {error}")))?;
        for id in encoded.iter().flat_map(|line| line.get_ids()) {
            row.push(i64::from(*id));
            if row.len() + 1 == length {
                row.push(END);
                rows.push(std::mem::replace(&mut row, vec![START]));
            }
        }
    }
    Ok(rows)
}

/// Pieces of words, learnt from these lines by byte-pair encoding (whose trainer, unlike that of word pieces, gives the same for the same
/// text). A word begins with `▁`.
fn tokenizer<'a>(config: &TextConfig, lines: impl Iterator<Item = &'a str> + Send) -> Result<Tokenizer> {
    let failed = |error: tokenizers::Error| Error::Failed(format!("the tokens could not be learnt: {error}"));
    let special = SPECIAL.map(|name| AddedToken::from(name, true)).to_vec();
    let mut trainer =
        BpeTrainerBuilder::new().vocab_size(config.vocabulary).min_frequency(2).show_progress(false).special_tokens(special).build();
    let mut tokenizer = Bpe::new(BPE::builder().unk_token(SPECIAL[1].into()).build().map_err(failed)?);
    tokenizer.with_normalizer(Some(NormalizerWrapper::from(BertNormalizer::default()))).map_err(failed)?;
    let marked = Metaspace::new('▁', PrependScheme::Always, false);
    let cut = Sequence::new(vec![PreTokenizerWrapper::from(BertPreTokenizer), PreTokenizerWrapper::from(marked)]);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(cut)));
    tokenizer.train(&mut trainer, lines).map_err(failed)?;
    tokenizer.to_string(false).map_err(failed)?.parse().map_err(failed)
}
