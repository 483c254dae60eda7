//! A recurrent network that says which symbol comes next.

use burn::{
    module::{Module, Param},
    tensor::{
        Device, Tensor,
        activation::{sigmoid, tanh},
    },
};
use lyceum_core::Stream;
use lyceum_kernels::{Activation, gather_rows};

use super::Network;
use crate::{
    Pass,
    layers::{Linear, normal},
};

/// Embeddings of symbols, layers of long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000), and logits over the
/// symbols from the last state. For each step, with gates i, f, g, o in this order,
///
/// ```text
/// i, f, o = σ(Wx + Uh + b),  g = tanh(Wx + Uh + b),  c ← f∘c + i∘g,  h ← o∘tanh c
/// ```
///
/// With embeddings of 8 numbers and two layers of 100 it is the network for Shakespeare of the FedDyn experiments.
#[derive(Module, Debug)]
pub struct Lstm {
    embedding: Param<Tensor<2>>,
    inputs: Vec<Linear>,
    recurrent: Vec<Linear>,
    output: Linear,
    #[module(skip)]
    symbols: usize,
}

impl Lstm {
    /// For so many symbols; weights have variance 1/(3·`hidden`).
    pub fn new(symbols: usize, embedding: usize, hidden: usize, layers: usize, rng: &mut Stream, device: &Device) -> Self {
        let deviation = (1.0 / (3.0 * hidden as f64)).sqrt() as f32;
        let mut linear = |inputs, outputs| Linear::with_normal_weight(inputs, outputs, deviation, rng, device);
        Self {
            inputs: (0..layers).map(|layer| linear(if layer == 0 { embedding } else { hidden }, 4 * hidden)).collect(),
            recurrent: (0..layers).map(|_| linear(hidden, 4 * hidden)).collect(),
            output: linear(hidden, symbols),
            embedding: normal([symbols, embedding], 1.0, rng, device),
            symbols,
        }
    }
}

impl Network for Lstm {
    /// `inputs` holds the number of a symbol in each place; one that there is not counts as the last.
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let [n, steps] = inputs.dims();
        let given = if inputs.is_autodiff() { inputs.inner() } else { inputs };
        let values: Vec<f32> = given.try_into_vec_as().expect("the device gives back what it holds");
        let symbol = |value: f32| (value.max(0.0) as u32).min(self.symbols as u32 - 1);
        // Step after step, so that a step's rows lie together.
        let rows: Vec<u32> =
            (0..steps).flat_map(|step| (0..n).map(move |row| (row, step))).map(|(row, step)| symbol(values[row * steps + step])).collect();
        let mut x = gather_rows(self.embedding.val(), &rows);
        let mut last = None;
        for (inputs, recurrent) in self.inputs.iter().zip(&self.recurrent) {
            let given = inputs.forward(x, Activation::None, pass);
            let (mut states, mut memory): (Vec<Tensor<2>>, Option<Tensor<2>>) = (Vec::with_capacity(steps), None);
            for step in 0..steps {
                let mut gates = given.clone().narrow(0, step * n, n);
                if let Some(state) = states.last() {
                    gates = gates + recurrent.forward(state.clone(), Activation::None, pass);
                }
                let width = gates.dims()[1] / 4;
                let gate = |number: usize| gates.clone().narrow(1, number * width, width);
                let new = sigmoid(gate(0)) * tanh(gate(2));
                let kept = match memory {
                    Some(memory) => sigmoid(gate(1)) * memory + new,
                    None => new,
                };
                states.push(sigmoid(gate(3)) * tanh(kept.clone()));
                memory = Some(kept);
            }
            last = states.last().cloned();
            x = Tensor::cat(states, 0);
        }
        self.output.forward(last.unwrap_or(x), Activation::None, pass)
    }
}
