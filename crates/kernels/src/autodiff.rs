//! One way to give an operator its hand-written backward pass.

use std::{fmt, sync::Arc};

use burn::backend::{
    Autodiff, Backend,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::FloatTensor,
};

/// A tensor of the autodiff backend.
pub(crate) type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// From the gradient to the output, and which inputs want a gradient, to the gradients to the inputs.
pub(crate) type BackwardPass<B, const N: usize> = dyn Fn(FloatTensor<B>, [bool; N]) -> [Option<FloatTensor<B>>; N] + Send + Sync;

/// `output` as a function of `inputs`, with this backward pass. The pass is made only if an input is tracked.
pub(crate) fn differentiable<B: Backend, C: CheckpointStrategy, const N: usize>(
    inputs: [&Tracked<B, C>; N],
    output: FloatTensor<B>,
    pass: impl Fn(FloatTensor<B>, [bool; N]) -> [Option<FloatTensor<B>>; N] + Send + Sync + 'static,
) -> Tracked<B, C> {
    match Step.prepare::<C>(inputs.map(|input| input.node())).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(Held(Arc::new(pass)), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

#[derive(Debug)]
struct Step;

struct Held<B: Backend, const N: usize>(Arc<BackwardPass<B, N>>);

impl<B: Backend, const N: usize> Clone for Held<B, N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Backend, const N: usize> fmt::Debug for Held<B, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("backward pass")
    }
}

impl<B: Backend, const N: usize> Backward<B, N> for Step {
    type State = Held<B, N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let wanted = std::array::from_fn(|index| ops.parents[index].is_some());
        let found = (ops.state.0)(output_gradient, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}
