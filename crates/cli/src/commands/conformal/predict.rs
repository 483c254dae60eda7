//! `lyceum conformal predict`.

use std::path::PathBuf;

use clap::Args;
use lyceum_conformal::{PredictionSets, Predictor, conformal::Copies};
use lyceum_core::{Progress, Result};

use super::{
    files::{GROUP, KnownFiles, Logits, WEIGHT, writer_of_sets},
    test_seed,
};

/// Write the prediction set of each row of logits
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum conformal predict --model model.json --logits test.npy --out sets.npz
  lyceum conformal predict --model model.json --logits test.parquet --out sets.parquet

A .npz file holds `indptr` and `indices`: the labels of row i are indices[indptr[i]:indptr[i+1]], most likely first.
A .parquet file holds one list of labels a row. A column `label`, `group` or `weight` of the logits' .parquet file is no class.")]
pub(crate) struct Predict {
    /// The model that `calibrate` wrote
    #[arg(long, short)]
    model: PathBuf,

    /// The logits: .npy or .parquet
    #[arg(long)]
    logits: PathBuf,

    #[command(flatten)]
    known: KnownFiles,

    /// The seed of the draws; another one than at calibration is derived from it
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the sets are written: .npz or .parquet
    #[arg(long, short)]
    out: PathBuf,
}

impl Predict {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let write = writer_of_sets(&self.out)?;
        let model = Predictor::load(&self.model)?;
        let logits = Logits::open(&self.logits, &["label", GROUP, WEIGHT])?;
        let sets = sets(&model, &logits, &self.known, self.seed, |_, _| Ok(()))?;
        write(&sets, progress)
    }
}

/// The sets of all rows; `each` sees every block too.
pub(super) fn sets(
    model: &Predictor,
    logits: &Logits,
    known: &KnownFiles,
    seed: u64,
    mut each: impl FnMut(usize, ndarray::ArrayView2<'_, f32>) -> Result<()>,
) -> Result<PredictionSets> {
    let known = known.open()?;
    model.check(known.view(), logits.dim().0)?;
    let (mut copies, mut sets) = (Copies::default(), PredictionSets::default());
    logits.blocks(|first, block| {
        sets.append(&model.predict_part(&mut copies, block, known.view().rows(first..first + block.nrows()), test_seed(seed))?);
        each(first, block)
    })?;
    Ok(sets)
}
