//! Masked language models of several tasks, for example languages.

use std::ops::Range;

use burn::tensor::Tensor;
use lyceum_core::{Error, Result};
use lyceum_kernels::label_cross_entropy;

use crate::{Batch, Bert, MaskedTokens, Objective, Pass, TokenBatch};

/// A batch of each task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTasksBatch(pub Vec<TokenBatch>);

impl Batch for TokenTasksBatch {
    fn len(&self) -> usize {
        self.0.first().map_or(0, Batch::len)
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        Self(self.0.iter().map(|batch| batch.rows(rows.clone())).collect())
    }

    fn select(&self, positions: &[usize]) -> Self {
        Self(self.0.iter().map(|batch| batch.select(positions)).collect())
    }
}

/// The mean cross-entropy of each task's masked tokens; one encoder for all.
#[derive(Debug, Clone, Copy)]
pub struct TokenTasks {
    /// How many tasks there are.
    pub tasks: usize,
}

impl Objective for TokenTasks {
    type Model = Bert;
    type Batch = TokenTasksBatch;

    fn tasks(&self) -> usize {
        self.tasks
    }

    fn loss(&self, task: usize, model: &Bert, batch: &TokenTasksBatch, pass: &mut Pass) -> Tensor<1> {
        MaskedTokens.loss(0, model, &batch.0[task], pass)
    }

    fn losses(&self, task: usize, model: &Bert, batch: &TokenTasksBatch, pass: &mut Pass) -> Tensor<1> {
        MaskedTokens.losses(0, model, &batch.0[task], pass)
    }
}

/// The mean loss of masked tokens, and the share that is predicted right.
pub fn evaluate_tokens(model: &Bert, batches: &[TokenBatch]) -> Result<[f64; 2]> {
    let (mut loss, mut right, mut count) = (0.0, 0, 0);
    for batch in batches {
        let pass = &mut Pass::evaluation();
        let (places, tokens): (Vec<u32>, Vec<u32>) = batch.targets.iter().copied().unzip();
        let logits = model.predict(model.encode(&batch.tokens, &batch.present, batch.len(), pass), &places, pass);
        let width = logits.dims()[1];
        let numbers = |tensor: Tensor<1>| -> Result<Vec<f32>> {
            tensor.try_into_vec_as().map_err(|error| Error::Failed(format!("the device gave no numbers: {error}")))
        };
        loss += numbers(label_cross_entropy(logits.clone(), &tokens))?.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        let logits = numbers(logits.flatten(0, 1))?;
        let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token as u32);
        right += logits.chunks(width).zip(&tokens).filter(|(row, token)| best(row) == Some(**token)).count();
        count += tokens.len();
    }
    Ok([loss / count.max(1) as f64, right as f64 / count.max(1) as f64])
}
