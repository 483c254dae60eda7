//! Batch normalisation as a part of the weights before it, for inference.

use lyceum_core::{Array, Error, Result, Seed};

use super::{Conv, Graph, LayerPlace, Net, Op, Port};
use crate::{ParamSpace, device::cpu, layers::BatchNorm};

impl Net {
    /// The network that gives in evaluation what this one gives, with fewer operations: where nothing but a batch normalisation reads
    /// what a convolution or a fully connected layer gives, the running statistics, the scale and the shift become a part of its weights,
    ///
    /// ```text
    /// W ← W·γ/√(v + ε),  b ← (b − m)·γ/√(v + ε) + β.
    /// ```
    ///
    /// Other normalisations stay; dropout, which does nothing in evaluation, goes. It is not to be trained: the statistics are gone.
    ///
    /// # Errors
    ///
    /// A parameter that the network's own description does not name.
    pub fn folded(&self) -> Result<Self> {
        let graph = self.graph();
        let readers = graph.readers();
        let folds = |number: usize| match (&graph.nodes()[number].op, graph.nodes()[number].inputs.as_slice()) {
            (Op::BatchNorm, [Port::Node(before)]) if readers[*before].len() == 1 => match graph.nodes()[*before].op {
                Op::Conv(_) | Op::Linear { .. } => Some(*before),
                _ => None,
            },
            _ => None,
        };
        let space = ParamSpace::of(self);
        let mut arrays = space.arrays(self);
        let mut folded = Graph::new(graph.input());
        let mut ports: Vec<Port> = Vec::new();
        let mut layers: Vec<LayerPlace> = Vec::new();
        for (number, node) in graph.nodes().iter().enumerate() {
            let at = |port: &Port| match port {
                Port::Input => Port::Input,
                Port::Node(number) => ports[*number],
            };
            if let Op::Dropout(_) = node.op {
                ports.push(at(&node.inputs[0]));
                continue;
            }
            if let Some(before) = folds(number) {
                fold(graph, before, number, &mut arrays)?;
                ports.push(ports[before]);
                continue;
            }
            let normed = readers[number].first().is_some_and(|reader| folds(*reader) == Some(number));
            let op = match &node.op {
                Op::Conv(conv) if normed => Op::Conv(Conv { bias: true, ..*conv }),
                op => op.clone(),
            };
            let inputs: Vec<Port> = node.inputs.iter().map(at).collect();
            ports.push(folded.add(&node.name, op, &inputs)?);
            let place = folded.nodes().len() - 1;
            layers
                .extend(graph.layers.iter().filter(|layer| layer.node == number).map(|layer| LayerPlace { node: place, ..layer.clone() }));
        }
        folded.layers = layers;
        folded.family = graph.family;
        let net = Self::new(folded, Seed::new(0), &cpu())?;
        let space = ParamSpace::of(&net);
        space.load(net, &arrays)
    }
}

/// Puts the normalisation of node `norm` into the weights of node `before`, on whose output it works.
fn fold(graph: &Graph, before: usize, norm: usize, arrays: &mut Vec<Array>) -> Result<()> {
    let layer = |node: usize| {
        let place = graph.layers.iter().find(|place| place.node == node);
        place.map(|place| format!("{}.{}", graph.family, place.name)).unwrap_or_default()
    };
    let (weight_name, bias_name, norm) = (format!("{}.weight", layer(before)), format!("{}.bias", layer(before)), layer(norm));
    let find = |slot: &str| {
        let found = arrays.iter().find(|array| array.name == format!("{norm}.{slot}"));
        found.map(|array| array.values.clone()).ok_or_else(|| Error::Failed(format!("`{norm}` has no {slot}")))
    };
    let [gamma, beta, mean, variance] = [find("gamma")?, find("beta")?, find("running_mean")?, find("running_variance")?];
    let scales: Vec<f64> = gamma.iter().zip(&variance).map(|(gamma, v)| BatchNorm::scale(*gamma, *v)).collect();
    let outputs = scales.len();
    let weight = arrays.iter_mut().find(|array| array.name == weight_name);
    let weight = weight.ok_or_else(|| Error::Failed(format!("there is no `{weight_name}`")))?;
    // The outputs are the last axis of a fully connected layer, the first of a convolution.
    let is_linear = matches!(graph.nodes()[before].op, Op::Linear { .. });
    let each = weight.values.len() / outputs;
    for (place, value) in weight.values.iter_mut().enumerate() {
        let output = if is_linear { place % outputs } else { place / each };
        *value = (f64::from(*value) * scales[output]) as f32;
    }
    let shift = |bias: &[f32]| {
        let one = |o: usize| (f64::from(bias[o]) - f64::from(mean[o])) * scales[o] + f64::from(beta[o]);
        (0..outputs).map(|o| one(o) as f32).collect::<Vec<f32>>()
    };
    match arrays.iter_mut().find(|array| array.name == bias_name) {
        Some(bias) => bias.values = shift(&bias.values),
        None => arrays.push(Array::new(&bias_name, vec![outputs], shift(&vec![0.0; outputs]))),
    }
    Ok(())
}
