//! The loss over fixed examples as a function of the parameters.

use burn::tensor::Device;
use lyceum_core::{Result, interrupt};
use lyceum_data::Examples;
use lyceum_kernels::vector;
use lyceum_train::{Batch as _, CrossEntropy, Network, Objective as _, ParamSpace, Pass, Vector, objective::LabelledBatch};

/// Examples a pass.
const ROWS: usize = 512;

/// Loss and gradient at any point of parameter space.
pub trait Surface {
    /// L(w).
    fn loss(&self, point: &Vector) -> Result<f64>;

    /// ∇L(w).
    fn gradient(&self, point: &Vector) -> Result<Vector>;
}

/// The mean cross-entropy of a network over fixed examples, in evaluation mode: normalisation layers use their running
/// statistics, so the loss is a function of the parameters alone.
pub struct LossSurface<N> {
    model: N,
    space: ParamSpace,
    batches: Vec<LabelledBatch>,
    examples: usize,
}

impl<N: Network> LossSurface<N> {
    /// The surface around a trained network.
    pub fn new(model: &N, examples: &Examples, classes: usize) -> Self {
        let space = ParamSpace::of(model);
        let device: Device = space.vector(model).device();
        let positions: Vec<usize> = (0..examples.len()).collect();
        let batch = |rows: &[usize]| LabelledBatch::new(examples, rows, classes, 0.0, &device);
        Self { model: model.clone(), space, batches: positions.chunks(ROWS).map(batch).collect(), examples: examples.len() }
    }

    /// The network's own parameters.
    pub fn parameters(&self) -> Vector {
        self.space.vector(&self.model)
    }

    fn share(&self, batch: &LabelledBatch) -> f64 {
        batch.len() as f64 / self.examples as f64
    }
}

impl<N: Network> Surface for LossSurface<N> {
    fn loss(&self, point: &Vector) -> Result<f64> {
        let model = self.space.place_for_evaluation(self.model.clone(), point);
        let loss = |batch: &LabelledBatch| CrossEntropy::default().loss(0, &model, batch, &mut Pass::evaluation()).into_scalar::<f32>();
        Ok(self.batches.iter().map(|batch| f64::from(loss(batch)) * self.share(batch)).sum())
    }

    fn gradient(&self, point: &Vector) -> Result<Vector> {
        let model = self.space.place(self.model.clone(), point);
        let mut sum: Option<Vector> = None;
        for batch in &self.batches {
            interrupt::check()?;
            let loss = CrossEntropy::default().loss(0, &model, batch, &mut Pass::evaluation());
            let gradient = self.space.gradient(&model, loss.backward());
            sum = Some(match sum {
                None => gradient * self.share(batch),
                Some(sum) => vector::add_scaled(&sum, self.share(batch), &gradient),
            });
        }
        sum.ok_or_else(|| lyceum_core::Error::Failed("the surface has no examples".into()))
    }
}
