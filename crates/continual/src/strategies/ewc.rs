//! Elastic weight consolidation.

use lyceum_core::{Result, Seed};
use lyceum_data::split;
use lyceum_train::{State, Vector};

use crate::{
    Task,
    objective::{RowsBuilder, StageBatch},
    strategy::{Context, Note, Strategy},
    surface::gradient_at,
};

/// The loss + (λ/2) Σ Fᵢ(θᵢ − θ*ᵢ)², θ* the parameters after the last task and F the sum over tasks of the Fisher information:
/// the mean over examples of the squared gradients of each one's own log-likelihood (Kirkpatrick et al. 2017). λ is not that of
/// libraries which leave the ½ out.
#[derive(Debug)]
pub struct Ewc {
    strength: f64,
    samples: usize,
    /// F and θ*.
    kept: Option<(Vector, Vector)>,
}

impl Ewc {
    /// λ, and how many examples of a task give F.
    pub(crate) fn new(strength: f64, samples: usize) -> Self {
        Self { strength, samples, kept: None }
    }
}

impl Strategy for Ewc {
    fn transform(&mut self, gradient: Vector, parameters: &Vector, _: Context<'_>) -> Result<Vector> {
        Ok(match &self.kept {
            Some((fisher, anchor)) => gradient + fisher.clone() * (parameters.clone() - anchor.clone()) * self.strength,
            None => gradient,
        })
    }

    fn end(&mut self, tasks: &[Task], context: Context<'_>) -> Result<Note> {
        let point = context.space.vector(context.model);
        let mut fisher = self.kept.take().map_or_else(|| point.zeros_like(), |(fisher, _)| fisher);
        for task in tasks {
            let order = split::permutation(task.train.len(), &mut context.seed.stream("ewc"));
            let count = self.samples.min(order.len());
            let mut sum = point.zeros_like();
            for &position in &order[..count] {
                let g = example_gradient(task, position, &point, context)?;
                sum = sum + g.clone() * g;
            }
            fisher = fisher + sum / count.max(1) as f64;
        }
        let kept_numbers = 2 * context.space.dimension();
        self.kept = Some((fisher, point));
        Ok(Note { kept_numbers, ..Note::default() })
    }

    fn state(&self) -> State {
        match &self.kept {
            Some((fisher, anchor)) => State::default().with_vector("fisher", fisher).with_vector("anchor", anchor),
            None => State::default(),
        }
    }

    fn restore(&mut self, state: State, context: Context<'_>) -> Result<()> {
        let device = context.space.vector(context.model).device();
        self.kept = state.vector("fisher", &device).zip(state.vector("anchor", &device));
        Ok(())
    }
}

/// The gradient of one example's loss.
pub(super) fn example_gradient(task: &Task, position: usize, point: &Vector, context: Context<'_>) -> Result<Vector> {
    let mut rows = RowsBuilder::new(context.outputs, context.heads);
    let input = task.train.inputs.row(position);
    rows.push(&input, task.train.labels[position], 1.0, &task.outputs);
    let context = Context { seed: Seed::new(0), ..context };
    gradient_at(context, point, &StageBatch { tasks: vec![rows.build(&point.device())] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_data::{Examples, Extent};
    use lyceum_kernels::vector;
    use lyceum_train::{ModelConfig, ParamSpace};
    use ndarray::array;

    #[test]
    fn the_penalty_pulls_towards_the_anchor() {
        let device = lyceum_train::cpu();
        let v = |values: &[f32]| vector::from_vec(values.to_vec(), &device);
        let model = ModelConfig::Linear.init(Extent { channels: 1, height: 1, width: 2 }, 2, Seed::new(0), &device).unwrap();
        let space = ParamSpace::of(&model);
        let context = Context { model: &model, space: &space, outputs: 2, heads: false, seed: Seed::new(0), rate: 0.1, part: 0.0 };
        let mut ewc = Ewc::new(10.0, 4);
        assert_eq!(vector::to_vec(&ewc.transform(v(&[1.0, 1.0]), &v(&[3.0, 5.0]), context).unwrap()), [1.0, 1.0]);
        ewc.kept = Some((v(&[2.0, 0.0]), v(&[1.0, 1.0])));
        // (1, 1) + 10·(2, 0)∘((3, 5) − (1, 1)).
        assert_eq!(vector::to_vec(&ewc.transform(v(&[1.0, 1.0]), &v(&[3.0, 5.0]), context).unwrap()), [41.0, 1.0]);
    }

    #[test]
    fn the_fisher_information_is_the_mean_of_squared_gradients_and_adds_up() {
        let device = lyceum_train::cpu();
        let model = ModelConfig::Linear.init(Extent { channels: 1, height: 1, width: 2 }, 2, Seed::new(0), &device).unwrap();
        let space = ParamSpace::of(&model);
        let context = Context { model: &model, space: &space, outputs: 2, heads: false, seed: Seed::new(0), rate: 0.1, part: 0.0 };
        let train = Examples::new(array![[1.0, 0.5], [-2.0, 1.0]], vec![0, 1]);
        let task = Task { number: 0, outputs: 0..2, heads: None, train };
        let point = space.vector(&model);
        let gradients: Vec<Vec<f32>> = (0..2).map(|row| vector::to_vec(&example_gradient(&task, row, &point, context).unwrap())).collect();
        assert!(gradients[0] != gradients[1] && gradients.iter().flatten().any(|g| *g != 0.0));
        let expected: Vec<f32> = (0..gradients[0].len()).map(|i| gradients.iter().map(|g| g[i] * g[i]).sum::<f32>() / 2.0).collect();
        let fisher = |ewc: &Ewc| ewc.state().arrays.iter().find(|array| array.name == "fisher").unwrap().values.clone();
        let mut ewc = Ewc::new(1.0, 100);
        for times in [1.0, 2.0] {
            ewc.end(std::slice::from_ref(&task), context).unwrap();
            let close = |(a, b): (&f32, &f32)| (a - times * b).abs() <= 1e-6 * (1.0 + b.abs());
            assert!(fisher(&ewc).iter().zip(&expected).all(close));
        }
        let mut again = Ewc::new(1.0, 100);
        again.restore(ewc.state(), context).unwrap();
        let moved = point.clone() + 0.5;
        let of = |ewc: &mut Ewc| vector::to_vec(&ewc.transform(point.clone(), &moved, context).unwrap());
        assert_eq!(of(&mut again), of(&mut ewc));
        assert_ne!(of(&mut ewc), vector::to_vec(&point));
    }
}
