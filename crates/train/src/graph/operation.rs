//! Operations of other crates.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
};

use burn::tensor::Tensor;
use lyceum_core::{Error, Result};

use super::{Graph, Net, Shape, file};
use crate::Pass;

/// What a crate above tells of an operation that networks may have.
///
/// Everything that looks into a network takes it as a whole: what it reads and what it gives keep all their channels, it has no linear
/// map, and inference runs it as training does.
///
/// ```
/// use std::sync::Arc;
///
/// use burn::tensor::Tensor;
/// use lyceum_train::{Net, Pass, graph::{Graph, Op, Operation, Shape, register}};
///
/// /// x², or another power.
/// #[derive(Debug)]
/// struct Power(f64);
///
/// impl Operation for Power {
///     fn name(&self) -> &'static str {
///         "power"
///     }
///     fn number(&self) -> Option<f64> {
///         Some(self.0)
///     }
///     fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
///         if let [shape] = inputs { Ok(*shape) } else { Err("reads one value".into()) }
///     }
///     fn run(&self, inputs: Vec<Tensor<2>>, _: Option<&Net>, _: &mut Pass) -> Tensor<2> {
///         inputs.into_iter().next().expect("one value").powf_scalar(self.0)
///     }
/// }
///
/// register("power", |number| Ok(Arc::new(Power(number.unwrap_or(2.0)))))?;
/// let text = "layers = [{ linear = 8 }, { power = 3 }, { linear = \"classes\" }]";
/// let graph = Graph::parse("net.toml", text, Shape::Row(5), 2)?;
/// assert!(matches!(&graph.nodes()[1].op, Op::Custom(operation) if operation.number() == Some(3.0)));
/// # Ok::<(), lyceum_core::Error>(())
/// ```
pub trait Operation: Any + Debug + Send + Sync {
    /// What it is called in files and tables: the name by which it is registered.
    fn name(&self) -> &'static str;

    /// What is written after its name in a file; two operations of one name with the same number are the same.
    fn number(&self) -> Option<f64>;

    /// The shape of what it gives, for one example; the error says in words what does not fit.
    fn shape(&self, inputs: &[Shape]) -> std::result::Result<Shape, String>;

    /// The network that has what it learns, if it learns.
    fn body(&self) -> Option<&Graph> {
        None
    }

    /// Multiplications with an addition, for one example.
    fn multiply_adds(&self, _inputs: &[Shape]) -> u64 {
        0
    }

    /// What it gives, `n × k`, for `n` examples, of what it reads, `n × d` each; images lie channel by channel, sequences step by step.
    /// `body` is the network that [`body`](Self::body) describes, with its parameters; the running statistics of its batch normalisation
    /// follow the first time that it is run in a pass.
    fn run(&self, inputs: Vec<Tensor<2>>, body: Option<&Net>, pass: &mut Pass) -> Tensor<2>;
}

impl PartialEq for dyn Operation {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.number() == other.number() && self.body() == other.body()
    }
}

/// Makes an operation from the number that a file has after its name, or says what is wrong with it.
pub type Make = fn(Option<f64>) -> std::result::Result<Arc<dyn Operation>, String>;

static REGISTERED: RwLock<BTreeMap<&'static str, Make>> = RwLock::new(BTreeMap::new());

/// From now on, files of networks may name this operation.
///
/// # Errors
///
/// A name that is a key or an operation already, or has other letters than a-z, digits, - and _.
pub fn register(name: &'static str, make: Make) -> Result<()> {
    let letters = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    let taken = file::is_reserved(name) || registered.get(name).is_some_and(|known| !std::ptr::fn_addr_eq(*known, make));
    if name.is_empty() || !name.chars().all(letters) || taken {
        return Err(Error::invalid("the name of an operation", name, "a-z, digits, - and _, and no key or operation that there is"));
    }
    registered.insert(name, make);
    Ok(())
}

/// The operations that were registered.
pub(super) fn registered() -> BTreeMap<&'static str, Make> {
    REGISTERED.read().unwrap_or_else(PoisonError::into_inner).clone()
}
