//! `lyceum masking mask`.

use std::{fs, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use lyceum_core::{Error, Progress, Result, Seed, atomic};
use lyceum_masking::{
    MaskConfig, Masker, Method, Vocabulary,
    tokens::{self, Tokens},
    tree::TokenTree,
};
use serde_json::json;

use crate::commands::said;

/// Tokenise a text and mask it
///
/// Each line is a document. Its tokens, with the special tokens of the tokeniser, are cut into rows. With --out they are written as
/// JSON lines of `input_ids` and `labels` (-100 where nothing is to be predicted), else shown as text.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum masking mask text.txt --tokenizer tokenizer.json --vocabulary collocations
  lyceum masking mask text.txt --tokenizer tokenizer.json --vocabulary collocations --out masked.jsonl
  lyceum masking mask text.txt --tokenizer tokenizer.json --method span --out spans.jsonl")]
pub(crate) struct Mask {
    /// The text (UTF-8)
    text: PathBuf,

    /// The tokeniser (tokenizer.json)
    #[arg(long)]
    tokenizer: PathBuf,

    /// collocations: the vocabulary
    #[arg(long)]
    vocabulary: Option<PathBuf>,

    /// The unit that is masked as a whole
    #[arg(long, value_enum, default_value_t = MethodName::Collocations)]
    method: MethodName,

    /// The share of tokens that are chosen
    #[arg(long, default_value_t = 0.15, allow_negative_numbers = true)]
    share: f64,

    /// Of these, the share that becomes the mask
    #[arg(long = "mask", default_value_t = 0.8, allow_negative_numbers = true)]
    masked: f64,

    /// Of these, the share that becomes other tokens
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    random: f64,

    /// The mask token; that of BERT or RoBERTa by default
    #[arg(long = "mask-token")]
    token: Option<String>,

    /// Tokens of the longest row
    #[arg(long, default_value_t = 512)]
    length: usize,

    /// The seed
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where rows are written (JSON lines)
    #[arg(long, short)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum MethodName {
    /// Single tokens
    Token,
    /// The tokens of a word
    WholeWord,
    /// Spans of words, as SpanBERT does
    Span,
    /// The collocations of the vocabulary, else words
    Collocations,
}

impl Mask {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        if self.length < 3 {
            return Err(Error::invalid("length", self.length, "3 and more"));
        }
        let tokenizer = tokens::load(&self.tokenizer)?;
        let known = Arc::new(Tokens::of(&tokenizer, self.token.as_deref())?);
        let method = match self.method {
            MethodName::Token => Method::Token,
            MethodName::WholeWord => Method::WholeWord,
            MethodName::Span => Method::SPAN,
            MethodName::Collocations => Method::Collocations,
        };
        let tree = match (&self.vocabulary, self.method) {
            (Some(path), MethodName::Collocations) => {
                let vocabulary = Vocabulary::open(path)?;
                if !tokens::same_case(vocabulary.about().splitting, &tokenizer) {
                    progress.warn("vocabulary and tokeniser differ in upper and lower case: words with capitals will not be found");
                }
                Some(Arc::new(TokenTree::new(&vocabulary, &tokenizer, &known)?))
            }
            _ => None,
        };
        let config = MaskConfig { method, share: self.share, mask: self.masked, random: self.random };
        let masker = Masker::new(config, known, tree)?;
        let text = fs::read(&self.text).map_err(Error::io("read", &self.text))?;
        let text = String::from_utf8(text)
            .map_err(|error| Error::damaged(&self.text, format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))?;
        let mut task = progress.task("mask", 0, text.len() as u64);
        let (mut rows, mut done, mut written) = (0_u64, 0, String::new());
        for line in text.split_inclusive('\n') {
            done += line.len() as u64;
            if line.trim().is_empty() {
                continue;
            }
            let encoded = tokenizer.encode_fast(line.trim(), true).map_err(|error| Error::Failed(format!("the tokeniser: {error}")))?;
            for ids in encoded.get_ids().chunks(self.length) {
                let mut ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
                let mut labels = vec![0; ids.len()];
                let length = ids.len();
                masker.mask_rows(&mut ids, &mut labels, length, None, Seed::new(self.seed), rows);
                rows += 1;
                if self.out.is_some() {
                    written.push_str(&json!({ "input_ids": ids, "labels": labels }).to_string());
                    written.push('\n');
                } else {
                    say!("{}", shown(&tokenizer, &ids));
                }
            }
            task.set(done, "");
        }
        if let Some(out) = &self.out {
            atomic::write(out, written.as_bytes())?;
            said(progress, &json!({ "event": "masked", "out": out, "rows": rows }), || format!("{rows} rows in {}", out.display()));
        }
        Ok(())
    }
}

/// Tokens as text, special ones among them.
fn shown(tokenizer: &tokenizers::Tokenizer, ids: &[i64]) -> String {
    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
    tokenizer.decode(&ids, false).unwrap_or_default()
}
