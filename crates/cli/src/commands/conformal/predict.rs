//! `lyceum conformal predict`.

use std::path::PathBuf;

use clap::Args;
use lyceum_conformal::{Names, PredictionSets, Predictor, conformal::Copies};
use lyceum_core::{Progress, Result};

use super::{
    files::{KnownFiles, LABEL, Logits, SetsFile},
    test_seed,
};

/// Write the prediction set of each row of logits
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum conformal predict --model model.json --logits test.npy --out sets.npz
  lyceum conformal predict --model model.json --logits test.parquet --out sets.parquet
  lyceum conformal predict --model model.json --logits test.csv > sets.csv

A .npz file holds `indptr` and `indices`: the labels of row i are indices[indptr[i]:indptr[i+1]], most likely first.
A .parquet file holds one list of labels a row; a .csv or .jsonl file, and the standard output, the names of the labels. Columns called
`input`, `label`, `group` and `weight` of the logits' table are no classes.")]
pub(crate) struct Predict {
    /// The model that `calibrate` wrote
    #[arg(long, short)]
    model: PathBuf,

    /// The logits: .npy, .npz (the array `logits`), .csv or .parquet (a column for each class)
    #[arg(long)]
    logits: PathBuf,

    #[command(flatten)]
    known: KnownFiles,

    /// The seed of the draws; another one than at calibration is derived from it
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the sets are written: .npz, .parquet, .csv or .jsonl; the standard output, as CSV, if absent
    #[arg(long, short)]
    out: Option<PathBuf>,
}

impl Predict {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let out = SetsFile::new(self.out.as_deref())?;
        let (model, names) = Predictor::load_named(&self.model)?;
        let logits = Logits::open("--logits", &self.logits, LABEL)?;
        let sets = sets(&model, &names, &logits, &self.known, self.seed, |_, _| Ok(()))?;
        let classes = if names.classes.is_empty() { &logits.classes } else { &names.classes };
        out.write(&sets, classes, &logits.inputs, progress)
    }
}

/// The sets of all rows; `each` sees every block too.
pub(super) fn sets(
    model: &Predictor,
    names: &Names,
    logits: &Logits,
    known: &KnownFiles,
    seed: u64,
    mut each: impl FnMut(usize, ndarray::ArrayView2<'_, f32>) -> Result<()>,
) -> Result<PredictionSets> {
    logits.check_classes(names)?;
    let known = known.open(Some(names))?;
    model.check(known.view(), logits.dim().0)?;
    let (mut copies, mut sets) = (Copies::default(), PredictionSets::default());
    logits.blocks(|first, block| {
        sets.append(&model.predict_part(&mut copies, block, known.view().rows(first..first + block.nrows()), test_seed(seed))?);
        each(first, block)
    })?;
    Ok(sets)
}
