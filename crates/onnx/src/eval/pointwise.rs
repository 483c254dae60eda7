//! Functions of each number, and of pairs of them.

use lyceum_core::math::erf;
use ndarray::{ArrayD, IxDyn};

use super::Call;
use crate::{
    Tensor,
    tensor::{Fit, kind, size},
};

/// The extents of what comes of these, each axis as long as the longest or 1.
pub(super) fn broadcast_dims(all: &[&[usize]]) -> Fit<Vec<usize>> {
    let rank = all.iter().map(|dims| dims.len()).max().unwrap_or(0);
    let mut found = vec![1; rank];
    for dims in all {
        for (place, dim) in found[rank - dims.len()..].iter_mut().zip(*dims) {
            match (*place, *dim) {
                (a, b) if a == b => {}
                (1, b) => *place = b,
                (_, 1) => {}
                _ => return Err(format!("extents {all:?} do not fit one another")),
            }
        }
    }
    size(&found)?;
    Ok(found)
}

fn pairs<T: Clone>(a: &ArrayD<T>, b: &ArrayD<T>, change: impl Fn(&T, &T) -> T) -> Fit<ArrayD<T>> {
    zipped(a, b, change)
}

fn zipped<T: Clone, U: Clone, V: Clone>(a: &ArrayD<T>, b: &ArrayD<U>, change: impl Fn(&T, &U) -> V) -> Fit<ArrayD<V>> {
    let dims = broadcast_dims(&[a.shape(), b.shape()])?;
    let (a, b) = (a.broadcast(IxDyn(&dims)), b.broadcast(IxDyn(&dims)));
    let (a, b) = a.zip(b).ok_or("extents that do not fit one another")?;
    let values: Vec<V> = a.iter().zip(b.iter()).map(|(a, b)| change(a, b)).collect();
    ArrayD::from_shape_vec(IxDyn(&dims), values).map_err(|error| error.to_string())
}

impl Call<'_> {
    pub(super) fn unary(self) -> Fit<Tensor> {
        if let (Tensor::Int(x), "Abs" | "Neg" | "Floor" | "Ceil") = (self.input(0)?, self.node.op.as_str()) {
            return Ok(Tensor::Int(match self.node.op.as_str() {
                "Abs" => x.mapv(i64::wrapping_abs),
                "Neg" => x.mapv(i64::wrapping_neg),
                _ => x.clone(),
            }));
        }
        let x = self.input(0)?.as_floats()?;
        let alpha = |usual: f32| self.node.float("alpha", usual);
        let apply = |change: &dyn Fn(f32) -> f32| Ok(Tensor::Float(x.mapv(change)));
        let hard = |x: f32, alpha: f32, beta: f32| (alpha * x + beta).clamp(0.0, 1.0);
        match self.node.op.as_str() {
            "Relu" => apply(&|x| if x < 0.0 { 0.0 } else { x }),
            "LeakyRelu" => apply(&|x| if x < 0.0 { x * alpha(0.01) } else { x }),
            "Elu" => apply(&|x| if x < 0.0 { alpha(1.0) * x.exp_m1() } else { x }),
            "Sigmoid" => apply(&|x| 1.0 / (1.0 + (-x).exp())),
            "HardSigmoid" => apply(&|x| hard(x, alpha(0.2), self.node.float("beta", 0.5))),
            "HardSwish" => apply(&|x| x * hard(x, 1.0 / 6.0, 0.5)),
            "Gelu" if self.node.text("approximate", "none") == "tanh" => {
                apply(&|x| 0.5 * x * (1.0 + ((2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()))
            }
            "Gelu" => apply(&|x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
            "Erf" => apply(&erf),
            "Tanh" => apply(&f32::tanh),
            "Exp" => apply(&f32::exp),
            "Log" => apply(&f32::ln),
            "Sqrt" => apply(&f32::sqrt),
            "Neg" => apply(&|x| -x),
            "Abs" => apply(&f32::abs),
            "Floor" => apply(&f32::floor),
            "Ceil" => apply(&f32::ceil),
            "Reciprocal" => apply(&|x| 1.0 / x),
            "Softplus" => apply(&|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            other => Err(format!("the operator {other} is not known")),
        }
    }

    pub(super) fn broadcast(self) -> Fit<Tensor> {
        let op = self.node.op.as_str();
        if op == "Where" {
            let Tensor::Bool(chosen) = self.input(0)? else { return Err("the condition is no true or false".into()) };
            return match (self.input(1)?, self.input(2)?) {
                (Tensor::Float(a), Tensor::Float(b)) => {
                    let either = zipped(chosen, a, |chosen, a| chosen.then_some(*a))?;
                    zipped(&either, b, |a, b| a.unwrap_or(*b)).map(Tensor::Float)
                }
                (Tensor::Int(a), Tensor::Int(b)) => {
                    let either = zipped(chosen, a, |chosen, a| chosen.then_some(*a))?;
                    zipped(&either, b, |a, b| a.unwrap_or(*b)).map(Tensor::Int)
                }
                _ => Err("values of two types".into()),
            };
        }
        let mut inputs = (0..self.inputs.len()).map(|number| self.input(number));
        let first = inputs.next().ok_or("reads nothing")??.clone();
        let count = self.inputs.len() as f32;
        let sum = inputs.try_fold(first, |a, b| match (&a, b?) {
            (Tensor::Float(a), Tensor::Float(b)) if op == "Equal" => zipped(a, b, |a, b| a == b).map(Tensor::Bool),
            (Tensor::Int(a), Tensor::Int(b)) if op == "Equal" => zipped(a, b, |a, b| a == b).map(Tensor::Bool),
            (Tensor::Bool(a), Tensor::Bool(b)) if op == "Equal" => zipped(a, b, |a, b| a == b).map(Tensor::Bool),
            (Tensor::Float(a), Tensor::Float(b)) => pairs(a, b, of_floats(op)?).map(Tensor::Float),
            (Tensor::Float(a), Tensor::Int(b)) if op == "Pow" => zipped(a, b, |a, b| a.powf(*b as f32)).map(Tensor::Float),
            (Tensor::Int(a), Tensor::Float(b)) if op == "Pow" => {
                zipped(a, b, |a, b| (*a as f64).powf(f64::from(*b)) as i64).map(Tensor::Int)
            }
            (Tensor::Int(a), Tensor::Int(b)) if op == "Div" && b.iter().any(|b| *b == 0) => Err("divides by 0".into()),
            (Tensor::Int(a), Tensor::Int(b)) => pairs(a, b, of_ints(op)?).map(Tensor::Int),
            _ => Err("values of two types".into()),
        })?;
        match sum {
            Tensor::Float(x) if op == "Mean" => Ok(Tensor::Float(x / count)),
            sum => Ok(sum),
        }
    }

    pub(super) fn clip(self) -> Fit<Tensor> {
        let bound = |input: usize, attribute: &str, usual: f32| match self.optional(input) {
            Some(tensor) => tensor.as_floats().map(|x| x.iter().next().copied().unwrap_or(usual)),
            None => Ok(self.node.float(attribute, usual)),
        };
        if let Tensor::Int(x) = self.input(0)? {
            let bound = |input: usize, usual: i64| {
                self.optional(input).map_or(Ok(usual), |tensor| tensor.as_ints().map(|x| x.first().copied().unwrap_or(usual)))
            };
            let (low, high) = (bound(1, i64::MIN)?, bound(2, i64::MAX)?);
            return Ok(Tensor::Int(x.mapv(|x| x.max(low).min(high))));
        }
        let (low, high) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
        Ok(Tensor::Float(self.input(0)?.as_floats()?.mapv(|x| if x.is_nan() { x } else { x.max(low).min(high) })))
    }

    pub(super) fn cast(self) -> Fit<Tensor> {
        let to = i32::try_from(self.node.int("to", 0)).unwrap_or(0);
        let whole =
            [kind::UINT8, kind::INT8, kind::UINT16, kind::INT16, kind::INT32, kind::INT64, kind::UINT32, kind::UINT64].contains(&to);
        Ok(match self.input(0)? {
            Tensor::Float(x) if kind::is_float(to) => Tensor::Float(x.clone()),
            Tensor::Float(x) if whole => Tensor::Int(x.mapv(|x| x as i64)),
            Tensor::Float(x) if to == kind::BOOL => Tensor::Bool(x.mapv(|x| x != 0.0)),
            Tensor::Int(x) if kind::is_float(to) => Tensor::Float(x.mapv(|x| x as f32)),
            Tensor::Int(x) if whole => Tensor::Int(x.clone()),
            Tensor::Int(x) if to == kind::BOOL => Tensor::Bool(x.mapv(|x| x != 0)),
            Tensor::Bool(x) if kind::is_float(to) => Tensor::Float(x.mapv(f32::from)),
            Tensor::Bool(x) if whole => Tensor::Int(x.mapv(i64::from)),
            Tensor::Bool(x) if to == kind::BOOL => Tensor::Bool(x.clone()),
            _ => return Err(format!("a cast to type {to}; allowed: numbers, true and false")),
        })
    }
}

fn of_floats(op: &str) -> Fit<fn(&f32, &f32) -> f32> {
    Ok(match op {
        "Add" | "Sum" | "Mean" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => |a, b| a.powf(*b),
        "Max" => |a, b| if a > b || a.is_nan() { *a } else { *b },
        "Min" => |a, b| if a < b || a.is_nan() { *a } else { *b },
        "PRelu" => |a, b| if *a < 0.0 { a * b } else { *a },
        other => return Err(format!("the operator {other} is not known of floating numbers")),
    })
}

fn of_ints(op: &str) -> Fit<fn(&i64, &i64) -> i64> {
    Ok(match op {
        "Add" | "Sum" => |a, b| a.wrapping_add(*b),
        "Sub" => |a, b| a.wrapping_sub(*b),
        "Mul" => |a, b| a.wrapping_mul(*b),
        "Div" => |a, b| a.wrapping_div(*b),
        "Pow" => |a, b| (*a as f64).powf(*b as f64) as i64,
        "Max" => |a, b| *a.max(b),
        "Min" => |a, b| *a.min(b),
        other => return Err(format!("the operator {other} is not known of whole numbers")),
    })
}
