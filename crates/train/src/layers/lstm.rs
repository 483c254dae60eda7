//! A layer of long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

use burn::tensor::{
    Tensor,
    activation::{sigmoid, tanh},
};
use lyceum_kernels::Activation;

use super::Linear;
use crate::Pass;

/// The states h after each step, `n × k` each, of inputs that lie step after step (`steps·n × d`). With gates i, f, g, o in this
/// order,
///
/// ```text
/// i, f, o = σ(Wx + Uh + b),  g = tanh(Wx + Uh + b),  c ← f∘c + i∘g,  h ← o∘tanh c
/// ```
///
/// from h = 0 and c = 0; b is the sum of both layers' biases.
pub(crate) fn lstm(x: Tensor<2>, steps: usize, input: &Linear, recurrent: &Linear, pass: &mut Pass) -> Vec<Tensor<2>> {
    let n = x.dims()[0] / steps;
    let given = input.forward(x, Activation::None, pass);
    let (mut states, mut memory): (Vec<Tensor<2>>, Option<Tensor<2>>) = (Vec::with_capacity(steps), None);
    for step in 0..steps {
        let width = given.dims()[1] / 4;
        let state = states.last().cloned().unwrap_or_else(|| Tensor::zeros([n, width], &given.device()).autodiff());
        let gates = given.clone().narrow(0, step * n, n) + recurrent.forward(state, Activation::None, pass);
        let gate = |number: usize| gates.clone().narrow(1, number * width, width);
        let new = sigmoid(gate(0)) * tanh(gate(2));
        let kept = match memory {
            Some(memory) => sigmoid(gate(1)) * memory + new,
            None => new,
        };
        states.push(sigmoid(gate(3)) * tanh(kept.clone()));
        memory = Some(kept);
    }
    states
}
