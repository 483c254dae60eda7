//! The objective of masked language models.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use lyceum_kernels::{label_cross_entropy, mean, row_sums};

use crate::{Batch, Objective, Pass, models::Bert};

/// Sequences of the same length, padded where they are shorter, with tokens to be predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Tokens of a sequence.
    pub length: usize,
    /// `n · length` tokens as the network sees them.
    pub tokens: Vec<u32>,
    /// Whether each token is one, not padding.
    pub present: Vec<bool>,
    /// Places in `tokens`, ascending, and the token that was there.
    pub targets: Vec<(u32, u32)>,
}

impl Batch for TokenBatch {
    fn len(&self) -> usize {
        self.tokens.len() / self.length.max(1)
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        self.select(&rows.collect::<Vec<_>>())
    }

    fn select(&self, positions: &[usize]) -> Self {
        let length = self.length;
        let mut part = Self { length, tokens: Vec::new(), present: Vec::new(), targets: Vec::new() };
        for (row, &position) in positions.iter().enumerate() {
            let at = position * length..(position + 1) * length;
            let first = self.targets.partition_point(|(place, _)| (*place as usize) < at.start);
            let here = self.targets[first..].iter().take_while(|(place, _)| (*place as usize) < at.end);
            part.targets.extend(here.map(|(place, token)| (place - at.start as u32 + (row * length) as u32, *token)));
            part.tokens.extend_from_slice(&self.tokens[at.clone()]);
            part.present.extend_from_slice(&self.present[at]);
        }
        part
    }
}

/// The mean cross-entropy of the masked tokens: each token counts the same, whichever sequence it is in.
#[derive(Debug, Clone, Copy, Default)]
pub struct MaskedTokens;

impl MaskedTokens {
    /// The cross-entropy of every target, in their order.
    pub fn target_losses(model: &Bert, batch: &TokenBatch, pass: &mut Pass) -> Tensor<1> {
        let (places, tokens): (Vec<u32>, Vec<u32>) = batch.targets.iter().copied().unzip();
        let encoded = model.encode(&batch.tokens, &batch.present, batch.len(), pass);
        label_cross_entropy(model.predict(encoded, &places, pass), &tokens)
    }
}

impl Objective for MaskedTokens {
    type Model = Bert;
    type Batch = TokenBatch;

    fn loss(&self, _: usize, model: &Bert, batch: &TokenBatch, pass: &mut Pass) -> Tensor<1> {
        mean(Self::target_losses(model, batch, pass))
    }

    /// A sequence's share of the batch's loss, times the number of sequences: their mean is the loss.
    fn losses(&self, _: usize, model: &Bert, batch: &TokenBatch, pass: &mut Pass) -> Tensor<1> {
        let losses = Self::target_losses(model, batch, pass);
        let (n, targets) = (batch.len(), batch.targets.len());
        let mut share = vec![0.0; n * targets];
        for (index, (place, _)) in batch.targets.iter().enumerate() {
            share[*place as usize / batch.length * targets + index] = n as f32 / targets as f32;
        }
        let share = Tensor::<2>::from_data(TensorData::new(share, [n, targets]), &losses.device().inner());
        let share = if losses.is_autodiff() { share.autodiff() } else { share };
        row_sums(share * losses.reshape([1, targets]).expand([n, targets]))
    }
}
