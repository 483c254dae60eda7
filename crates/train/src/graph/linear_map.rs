//! The linear parts of a network: applied, transposed, and bounded in norm.

use burn::tensor::Tensor;
use lyceum_core::{Array, Result, Seed};
use ndarray::{Array2, ArrayView2};

use super::{Conv, Graph, Net, Op, Port, Shape};
use crate::{Network, ParamSpace, Pass, device::cpu, layers::BatchNorm};

/// x ↦ Ax, what a node does to one example at the network's weights, without bias and shift.
#[derive(Debug, Clone)]
pub struct LinearMap {
    /// The node.
    pub name: String,
    /// A network of this node alone, whose biases are 0.
    net: Net,
    /// Its parameters, by the last part of their names.
    arrays: Vec<Array>,
}

impl Net {
    /// The maps of the nodes that are linear in what they read: convolutions, fully connected layers, and batch normalisation with its
    /// running statistics; in the order of the nodes.
    ///
    /// # Errors
    ///
    /// A node that cannot stand alone.
    pub fn linear_maps(&self) -> Result<Vec<LinearMap>> {
        let graph = self.graph();
        let arrays = ParamSpace::of(self).arrays(self);
        let mut maps = Vec::new();
        for place in &graph.layers {
            let node = &graph.nodes()[place.node];
            if !matches!(node.op, Op::Conv(_) | Op::TransposedConv { .. } | Op::Linear { .. } | Op::BatchNorm) {
                continue;
            }
            let mut alone = Graph::new(graph.shape(node.inputs[0]));
            alone.add("a", node.op.clone(), &[Port::Input])?;
            let prefix = format!("{}.{}.", graph.family, place.name);
            let own = arrays.iter().filter_map(|array| Some((array, array.name.strip_prefix(&prefix)?)));
            let arrays: Vec<Array> = own
                .map(|(array, slot)| {
                    let is_shift = matches!(slot, "bias" | "beta" | "running_mean");
                    let values = if is_shift { vec![0.0; array.values.len()] } else { array.values.clone() };
                    Array::new(format!("Net.a.{slot}"), array.shape.clone(), values)
                })
                .collect();
            let net = Self::new(alone, Seed::new(0), &cpu())?;
            let net = ParamSpace::of(&net).load(net, &arrays)?;
            maps.push((place.node, LinearMap { name: node.name.clone(), net, arrays }));
        }
        maps.sort_by_key(|(node, _)| *node);
        Ok(maps.into_iter().map(|(_, map)| map).collect())
    }
}

impl LinearMap {
    /// The shapes of x and of Ax.
    pub fn shapes(&self) -> [Shape; 2] {
        [self.net.graph().input(), self.net.graph().output()]
    }

    /// Ax of each row, `n × d` to `n × k`; images and sequences lie flat in a row.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        self.net.forward(x, &mut Pass::evaluation())
    }

    /// Aᵀy of each row, `n × k` to `n × d`.
    pub fn adjoint(&self, y: Tensor<2>) -> Tensor<2> {
        let x = Tensor::<2>::zeros([y.dims()[0], self.shapes()[0].len()], &y.device()).autodiff().require_grad();
        let product = (self.net.forward(x.clone(), &mut Pass::evaluation()) * y.autodiff()).sum();
        x.grad(&product.backward()).expect("the product depends on x")
    }

    /// An upper bound of ‖A‖₂ = max ‖Ax‖/‖x‖, which holds whatever the size of the image; ∞ where a weight is not finite.
    ///
    /// Of a matrix M it is ‖(MMᵀ)^p‖_F^(1/2p) with p = 1,024 (64 beyond 512 rows), at most n^(1/4p) times the norm (Delattre et al.,
    /// *Efficient bound of Lipschitz constant for convolutional layers by Gram iteration*, ICML 2023). Of a convolution with the matrices
    /// W_t of its positions t it is the least of ∑_t ‖W_t‖, √m·‖(W_1 … W_T)‖ and √T·‖(W_1; …; W_T)‖, where m windows see a pixel at most
    /// (after Singla and Feizi, *Fantastic Four*, ICLR 2021); in groups, the largest of the groups'.
    pub fn norm_bound(&self) -> f64 {
        let slot = |slot: &str| {
            let found = self.arrays.iter().find(|array| array.name.strip_prefix("Net.a.") == Some(slot));
            found.map_or(&[][..], |array| array.values.as_slice())
        };
        let weight = slot("weight");
        match &self.net.graph().nodes()[0].op {
            Op::Linear { outputs } => {
                let matrix = ArrayView2::from_shape((weight.len() / outputs, *outputs), weight);
                matrix.map_or(f64::INFINITY, |matrix| matrix_norm_bound(&matrix.mapv(f64::from)))
            }
            Op::Conv(Conv { outputs, kernel, stride, dilation, groups, .. }) => {
                let each = weight.len() / groups;
                let of_group = |group: usize| {
                    let weight = &weight[group * each..(group + 1) * each];
                    convolution_norm_bound(weight, outputs / groups, *kernel, *stride, *dilation)
                };
                largest((0..*groups).map(of_group))
            }
            // The adjoint of a convolution with as many outputs as it has inputs.
            Op::TransposedConv { kernel, stride, .. } => {
                convolution_norm_bound(weight, self.net.graph().input().channels(), [*kernel; 2], [*stride; 2], [1; 2])
            }
            _ => {
                let scale = |(gamma, v): (&f32, &f32)| BatchNorm::scale(*gamma, *v).abs();
                largest(slot("gamma").iter().zip(slot("running_variance")).map(scale))
            }
        }
    }
}

/// ∞ where one is not a number.
fn largest(norms: impl Iterator<Item = f64>) -> f64 {
    norms.fold(0.0, |largest, norm| if norm.is_nan() { f64::INFINITY } else { norm.max(largest) })
}

/// Of a weight `outputs × inputs × kernel`, the kernel of so many rows and columns.
fn convolution_norm_bound(weight: &[f32], outputs: usize, kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> f64 {
    let positions = kernel[0] * kernel[1];
    let inputs = weight.len() / outputs / positions;
    let at = |o: usize, i: usize, t: usize| f64::from(weight[(o * inputs + i) * positions + t]);
    let side_by_side = Array2::from_shape_fn((outputs, inputs * positions), |(o, column)| at(o, column / positions, column % positions));
    let stacked = Array2::from_shape_fn((outputs * positions, inputs), |(row, i)| at(row / positions, i, row % positions));
    let sum: f64 = (0..positions).map(|t| matrix_norm_bound(&Array2::from_shape_fn((outputs, inputs), |(o, i)| at(o, i, t)))).sum();
    // Of windows that are `stride` apart, a pixel is seen by those for which stride divides its distance from them.
    let along = [0, 1].map(|axis| kernel[axis].div_ceil(stride[axis] / gcd(stride[axis], dilation[axis])));
    let windows = (along[0] * along[1]) as f64;
    sum.min(windows.sqrt() * matrix_norm_bound(&side_by_side)).min((positions as f64).sqrt() * matrix_norm_bound(&stacked))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// ‖(MMᵀ)^p‖_F^(1/2p) ≥ ‖M‖₂.
fn matrix_norm_bound(matrix: &Array2<f64>) -> f64 {
    /// For what rounding takes away.
    const SLACK: f64 = 1.0 + 1e-9;
    let mut gram = if matrix.nrows() <= matrix.ncols() { matrix.dot(&matrix.t()) } else { matrix.t().dot(matrix) };
    let squarings = if gram.nrows() > 512 { 6 } else { 10 };
    let mut log_scale = 0.0;
    for squaring in 0..=squarings {
        let norm = gram.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        if !norm.is_finite() {
            return f64::INFINITY;
        }
        gram /= norm;
        log_scale += norm.ln();
        if squaring < squarings {
            gram = gram.dot(&gram);
            log_scale *= 2.0;
        }
    }
    (log_scale / 2_f64.powi(squarings + 1)).exp() * SLACK
}
