//! Logits of new examples from a trained network.

use burn::tensor::{Tensor, TensorData};
use lyceum_core::{Error, Result};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::{Net, inference::Inference};
use crate::{Network, ParamSpace, Pass};

/// A network that is trained: normalisation is folded into weights, weights are laid out for the kernels, memory is planned, and nothing
/// is recorded for gradients. It can be shared between threads; an example gives the same bits alone and in every batch.
///
/// Networks with sequences, transposed convolutions, bilinear upsampling, adaptive pooling, or images in another shape are run as
/// [`Net`] runs them, some hundred examples at a time.
#[derive(Debug)]
pub struct Predictor {
    net: Net,
    /// `None`: the network has nodes that only [`Net`] runs.
    inference: Option<Inference>,
}

/// Examples of a pass of what is not compiled.
const ROWS: usize = 256;

impl Net {
    /// What gives the logits of new examples.
    ///
    /// # Errors
    ///
    /// As [`folded`](Self::folded).
    pub fn predictor(&self) -> Result<Predictor> {
        let folded = self.folded()?;
        let space = ParamSpace::of(&folded);
        let inference = Inference::new(folded.graph(), &space.arrays(&folded));
        let vector = space.vector(&folded);
        Ok(Predictor { inference, net: space.place_for_evaluation(folded, &vector) })
    }
}

impl Predictor {
    /// The logits of examples, `n × d` to `n × k`, on all cores.
    ///
    /// # Errors
    ///
    /// Rows of another width than the network's input.
    pub fn logits(&self, inputs: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        let (n, d) = inputs.dim();
        let [expected, classes] = [self.net.graph().input().len(), self.net.graph().output().len()];
        if d != expected {
            return Err(Error::invalid("the inputs", format!("{d} numbers an example"), expected.to_string()));
        }
        let inputs = inputs.as_standard_layout();
        let inputs = inputs.as_slice().unwrap_or_default();
        let logits = match &self.inference {
            _ if n == 0 => Vec::new(),
            Some(inference) => {
                let threads = rayon::current_num_threads();
                let at_once = inference.images_at_once().min(n.div_ceil(threads));
                let alone = n < threads;
                let mut logits = vec![0.0; n * classes];
                let chunks = inputs.par_chunks(at_once * d).zip(logits.par_chunks_mut(at_once * classes));
                chunks.for_each(|(inputs, logits)| inference.run(inputs, logits, alone));
                logits
            }
            None => {
                let mut logits: Vec<f32> = Vec::with_capacity(n * classes);
                for rows in inputs.chunks(ROWS * d) {
                    let data = TensorData::new(rows.to_vec(), [rows.len() / d, d]);
                    let given = self.net.forward(Tensor::from_data(data, &crate::cpu()), &mut Pass::evaluation());
                    let given: Vec<f32> =
                        given.try_into_vec_as().map_err(|error| Error::Failed(format!("the device gave no logits: {error}")))?;
                    logits.extend(given);
                }
                logits
            }
        };
        Array2::from_shape_vec((n, classes), logits).map_err(|error| Error::Failed(error.to_string()))
    }
}
