//! `lyceum.federated`.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use lyceum_core::{Array, Error, Result, Seed, memory};
use lyceum_data::{Examples, Extent, partition as partitions};
use lyceum_federated::{
    Client, Guard, Journal, LocalConfig, LocalProblem, LocalResult, LocalTrainer, Message, Method, MethodConfig, NetworkTrainer,
    Participation, Privacy, Reply, Rules, Simulation,
    participation::Active,
    privacy,
    round::{Ledger, Round},
};
use lyceum_optim::EstimatorConfig;
use lyceum_train::{Evaluation, ModelConfig, Net, ParamSpace, cpu, evaluate, logits};
use numpy::ndarray::{Array2, ArrayView2};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::{exceptions::PyException, prelude::*, types::PyDict};

use crate::{
    error::{exception, options},
    threads::{detached, stoppable},
};

type Vector<'py> = Bound<'py, PyArray1<f32>>;
type Given<'py> = PyReadonlyArray1<'py, f32>;
/// A message's vectors and numbers.
type Sent<'py> = (BTreeMap<String, Vector<'py>>, BTreeMap<String, f64>);
type Received<'py> = (BTreeMap<String, Given<'py>>, BTreeMap<String, f64>);

fn message(received: &Received<'_>) -> Message {
    let arrays = received.0.iter().map(|(name, values)| (name.clone(), values.as_array().to_vec()));
    Message { arrays: arrays.collect(), numbers: received.1.clone() }
}

fn sent(py: Python<'_>, message: Message) -> Sent<'_> {
    (message.arrays.into_iter().map(|(name, values)| (name, values.into_pyarray(py))).collect(), message.numbers)
}

/// The examples of a client or a test set, after a look at what does not fit the network.
fn examples(network: &PyNetwork, x: &PyReadonlyArray2<'_, f32>, y: &PyReadonlyArray1<'_, i64>) -> PyResult<Examples> {
    let (inputs, labels) = (x.as_array(), y.as_array());
    let wrong = |what: &str, found: String, allowed: String| Err(exception(Error::invalid(what, found, allowed)));
    if inputs.nrows() != labels.len() {
        return wrong("y", format!("{} labels", labels.len()), format!("{}, one a row of x", inputs.nrows()));
    }
    network.check_inputs(inputs).map_err(exception)?;
    if let Some(label) = labels.iter().find(|label| usize::try_from(**label).map_or(true, |label| label >= network.classes)) {
        return wrong("y", format!("label {label}"), format!("0 to {}", network.classes - 1));
    }
    Ok(Examples::new(inputs.to_owned(), labels.iter().map(|label| *label as usize).collect()))
}

/// A network of Lyceum.
#[pyclass(name = "Network", module = "lyceum._native", frozen)]
pub(crate) struct PyNetwork {
    model: Net,
    space: ParamSpace,
    extent: Extent,
    classes: usize,
}

#[pymethods]
impl PyNetwork {
    /// `model` is JSON.
    #[new]
    fn new(model: &str, extent: [usize; 3], classes: usize, seed: u64) -> PyResult<Self> {
        let config: ModelConfig = options("model", model)?;
        let [channels, height, width] = extent;
        memory::check("shape", &extent).map_err(exception)?;
        let extent = Extent { channels, height, width };
        let model = config.init(extent, classes, Seed::new(seed), &cpu()).map_err(exception)?;
        let space = ParamSpace::of(&model);
        Ok(Self { model, space, extent, classes })
    }

    /// The parameters that the seed gives.
    fn initial<'py>(&self, py: Python<'py>) -> Vector<'py> {
        lyceum_kernels::vector::to_vec(&self.space.vector(&self.model)).into_pyarray(py)
    }

    /// Names and shapes, in the order of the vector.
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.space.params().iter().filter(|info| info.range.is_some()).map(|info| (info.name.clone(), info.shape.clone())).collect()
    }

    fn logits<'py>(&self, py: Python<'py>, parameters: Given<'py>, x: PyReadonlyArray2<'py, f32>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let model = self.placed(&parameters)?;
        self.check_inputs(x.as_array()).map_err(exception)?;
        let labels = vec![0; x.as_array().nrows()];
        let inputs = Examples::new(x.as_array().to_owned(), labels);
        let found = stoppable(py, || logits(&model, &inputs))?;
        let n = inputs.len();
        Ok(if n == 0 { Array2::zeros((0, self.classes)) } else { found }.into_pyarray(py))
    }

    /// Accuracy and log-loss.
    fn evaluate(
        &self,
        py: Python<'_>,
        parameters: Given<'_>,
        x: PyReadonlyArray2<'_, f32>,
        y: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<(f64, f64)> {
        let (model, examples) = (self.placed(&parameters)?, examples(self, &x, &y)?);
        let Evaluation { accuracy, log_loss } = stoppable(py, || evaluate(&model, &examples))?;
        Ok((accuracy, log_loss))
    }
}

impl PyNetwork {
    fn placed(&self, parameters: &Given<'_>) -> PyResult<Net> {
        let parameters = parameters.as_array().to_vec();
        self.check_dimension(parameters.len()).map_err(exception)?;
        Ok(self.space.place_for_evaluation(self.model.clone(), &lyceum_kernels::vector::from_vec(parameters, &cpu())))
    }

    /// Errors unless each row is an example, and finite.
    fn check_inputs(&self, x: ArrayView2<'_, f32>) -> Result<()> {
        if x.ncols() != self.extent.len() {
            return Err(Error::invalid(
                "x",
                format!("{} numbers per row", x.ncols()),
                format!("{}, as the network has", self.extent.len()),
            ));
        }
        match x.indexed_iter().find(|(_, value)| !value.is_finite()) {
            Some(((row, column), value)) => Err(Error::invalid(format!("x, row {row}, column {column}"), value, "a finite number")),
            None => Ok(()),
        }
    }

    fn check_dimension(&self, found: usize) -> Result<()> {
        let d = self.space.dimension();
        if found == d { Ok(()) } else { Err(Error::invalid("parameters", format!("{found} numbers"), format!("{d}, as the network has"))) }
    }
}

/// The local training of one client with a network of Lyceum.
#[pyclass(name = "Trainer", module = "lyceum._native", frozen)]
pub(crate) struct PyTrainer {
    network: Py<PyNetwork>,
    examples: Examples,
    local: LocalConfig,
    estimator: EstimatorConfig,
}

#[pymethods]
impl PyTrainer {
    /// `local` and `estimator` are JSON.
    #[new]
    fn new(
        network: Py<PyNetwork>,
        x: PyReadonlyArray2<'_, f32>,
        y: PyReadonlyArray1<'_, i64>,
        local: &str,
        estimator: &str,
    ) -> PyResult<Self> {
        let examples = examples(network.get(), &x, &y)?;
        Ok(Self { network, examples, local: options("local", local)?, estimator: options("estimator", estimator)? })
    }
}

impl PyTrainer {
    fn train(&self, problem: &LocalProblem, round: u64, part: f64, seed: Seed) -> Result<LocalResult> {
        let network = self.network.get();
        network.check_dimension(problem.start.len())?;
        let everything = [(0..self.examples.len()).collect::<Vec<usize>>()];
        trainer(network, &self.examples, &everything, &self.local, &self.estimator)?.train(0, problem, round, part, seed)
    }
}

fn trainer<'a>(
    network: &PyNetwork,
    examples: &'a Examples,
    parts: &'a [Vec<usize>],
    local: &LocalConfig,
    estimator: &EstimatorConfig,
) -> Result<NetworkTrainer<'a>> {
    if network.model.graph().has_batch_norm() {
        let allowed = "a network without batch normalisation; recipes train others too";
        return Err(Error::invalid("the model", "running statistics, which are no parameters", allowed));
    }
    let estimator = estimator.clone();
    NetworkTrainer::new(network.model.clone(), examples, parts, network.classes, local.clone(), Box::new(move || estimator.build()))
}

/// What both sides go by.
#[pyclass(name = "Rules", module = "lyceum._native", frozen)]
pub(crate) struct PyRules {
    method: Box<dyn Method>,
    participation: Participation,
    guard: Guard,
    privacy: Option<Privacy>,
    seed: Seed,
}

impl PyRules {
    fn rules(&self) -> Rules<'_> {
        let Self { participation, guard, privacy, seed, .. } = *self;
        Rules { method: self.method.as_ref(), participation, guard, privacy, seed, noise: seed }
    }
}

#[pymethods]
impl PyRules {
    /// All but the seed are JSON.
    #[new]
    fn new(method: &str, participation: &str, guard: &str, privacy: &str, seed: u64) -> PyResult<Self> {
        let config: MethodConfig = options("method", method)?;
        let privacy: Option<Privacy> = options("privacy", privacy)?;
        if privacy.is_some() && !config.is_private() {
            let allowed = "a method that sends nothing but a move: not feddc, scaffold or fednova";
            return Err(exception(Error::invalid("method with privacy", config.name(), allowed)));
        }
        let (participation, guard) = (options("participation", participation)?, options("guard", guard)?);
        Ok(Self { method: config.build().map_err(exception)?, participation, guard, privacy, seed: Seed::new(seed) })
    }

    fn start(&self, model: Given<'_>, clients: usize) -> PyResult<PyLedger> {
        self.rules().start(model.as_array().to_vec(), clients).map(PyLedger).map_err(exception)
    }

    /// Client, part of its work, whether its reply arrives.
    fn active(&self, ledger: &PyLedger) -> Vec<(usize, f64, bool)> {
        self.rules().active(&ledger.0).into_iter().map(|Active { id, part, arrives }| (id, part, arrives)).collect()
    }

    fn broadcast<'py>(&self, py: Python<'py>, ledger: &PyLedger) -> Sent<'py> {
        sent(py, self.rules().broadcast(&ledger.0.server))
    }

    /// What goes up, and the loss. The journal is read from its file and is on the disk when this returns.
    #[pyo3(signature = (client, round, received, accepted, journal, train, part))]
    #[allow(clippy::too_many_arguments, reason = "as many as there are things to know")]
    fn answer<'py>(
        &self,
        py: Python<'py>,
        client: (usize, usize, f64),
        round: u64,
        received: Received<'py>,
        accepted: Option<u64>,
        journal: PathBuf,
        train: Bound<'py, PyAny>,
        part: f64,
    ) -> PyResult<(Sent<'py>, f64)> {
        let (id, examples, share) = client;
        let client = Client { id, examples, share };
        let message = message(&received);
        let before = Journal::load(&journal, &owner(id)).map_err(exception)?;
        let d = message.array("model").map_err(exception)?.len();
        let kept = [&before.committed, &before.pending].into_iter().flatten().flat_map(|(_, state)| &state.arrays);
        if let Some((name, values)) = kept.into_iter().find(|(_, values)| values.len() != d) {
            let found = format!("`{name}` with {} numbers", values.len());
            let what = format!("the client's state in {}", journal.display());
            return Err(exception(Error::invalid(what, found, format!("{d}, as the model has: it belongs to another federation"))));
        }
        let answer = if let Ok(trainer) = train.extract::<PyRef<'py, PyTrainer>>() {
            let trainer: &PyTrainer = &trainer;
            detached(py, || {
                let solve = |problem: &LocalProblem, seed| trainer.train(problem, round, part, seed);
                self.rules().answer(client, round, &message, accepted, before, solve)
            })?
        } else {
            let mut raised = None;
            let solve = |problem: &LocalProblem, seed| {
                called(py, &train, problem, round, part, seed).map_err(|error| {
                    let text = format!("local training: {error}");
                    raised = Some(error);
                    Error::Failed(text)
                })
            };
            let answer = self.rules().answer(client, round, &message, accepted, before, solve);
            match raised {
                // What stops a program is not to be mistaken for an error; an error says where it comes from.
                Some(error) if !error.is_instance_of::<PyException>(py) => return Err(error),
                _ => answer.map_err(exception)?,
            }
        };
        detached(py, || answer.journal.save(&journal, &owner(id)))?;
        Ok((sent(py, answer.message), answer.loss))
    }

    /// Whether clients must know their share of the examples.
    #[getter]
    fn weights_by_examples(&self) -> bool {
        self.method.weights_by_examples()
    }

    /// `replies`: client, examples, message, each as it was sent: what is not understood is refused. `sent`: how many clients the
    /// message went to. `noise`: the seed of the noise, where it is another than that of the rules.
    fn conclude<'py>(
        &self,
        py: Python<'py>,
        ledger: &mut PyLedger,
        replies: Vec<Bound<'py, PyAny>>,
        sent: u64,
        noise: Option<u64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (mut all, mut refused) = (Vec::new(), Vec::new());
        for (place, reply) in replies.iter().enumerate() {
            let who = reply.get_item(0).and_then(|id| id.extract::<usize>());
            match (&who, reply.extract::<(usize, usize, Received<'py>)>()) {
                (_, Ok((id, examples, received))) => {
                    all.push(Reply { client: Client { id, examples, share: 1.0 }, message: message(&received) });
                }
                (Ok(id), Err(error)) => refused.push((*id, format!("not understood: {error}"))),
                (Err(_), Err(error)) => {
                    return Err(exception(Error::invalid(format!("reply {place}"), error, "client, examples and message")));
                }
            }
        }
        let down = sent.saturating_mul(self.rules().broadcast(&ledger.0.server).bytes());
        let up = all.iter().map(|reply| reply.message.bytes()).sum::<u64>();
        let mut rules = self.rules();
        rules.noise = noise.map_or(rules.noise, Seed::new);
        let mut round = detached(py, || rules.conclude(&mut ledger.0, all))?;
        round.refused.extend(refused);
        round.refused.sort();
        let traffic = &mut ledger.0.traffic;
        (traffic.down, traffic.up) = (traffic.down.saturating_add(down), traffic.up.saturating_add(up));
        told(py, round)
    }
}

fn told(py: Python<'_>, round: Round) -> PyResult<Bound<'_, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("taken", round.taken)?;
    told.set_item("refused", round.refused)?;
    told.set_item("drift", round.drift)?;
    told.set_item("active_mean", round.active_mean.into_pyarray(py))?;
    Ok(told)
}

/// Local training by a function of the user's: it gets a dict and gives parameters, steps, learning rate and loss.
fn called(py: Python<'_>, train: &Bound<'_, PyAny>, problem: &LocalProblem, round: u64, part: f64, seed: Seed) -> PyResult<LocalResult> {
    let given = PyDict::new(py);
    given.set_item("start", problem.start.clone().into_pyarray(py))?;
    given.set_item("linear", problem.linear.clone().into_pyarray(py))?;
    given.set_item("quadratic", problem.quadratic)?;
    given.set_item("round", round)?;
    given.set_item("part", part)?;
    given.set_item("seed", seed.root())?;
    let (parameters, steps, rate, loss): (Given<'_>, u64, f64, f64) = train.call1((given,))?.extract()?;
    Ok(LocalResult { parameters: parameters.as_array().to_vec(), statistics: problem.statistics.clone(), steps, rate, loss })
}

/// The server and what it knows of its clients.
#[pyclass(name = "Ledger", module = "lyceum._native")]
pub(crate) struct PyLedger(Ledger);

#[pymethods]
impl PyLedger {
    #[getter]
    fn round(&self) -> u64 {
        self.0.server.round
    }

    #[getter]
    fn model<'py>(&self, py: Python<'py>) -> Vector<'py> {
        self.0.server.model().to_vec().into_pyarray(py)
    }

    /// A vector of the method, for example FedDyn's `gradient`.
    fn array<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vector<'py>> {
        Ok(self.0.server.array(name).map_err(exception)?.to_vec().into_pyarray(py))
    }

    #[getter]
    fn accepted(&self) -> Vec<Option<u64>> {
        self.0.accepted.clone()
    }

    #[getter]
    fn taken(&self) -> Vec<u64> {
        self.0.taken.clone()
    }

    /// Bytes down and up.
    #[getter]
    fn traffic(&self) -> (u64, u64) {
        (self.0.traffic.down, self.0.traffic.up)
    }

    /// Its numbers as JSON, and its vectors by name.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<(String, Vec<(String, Vector<'py>)>)> {
        let (saved, arrays) = self.0.save();
        let saved = serde_json::to_string(&saved).map_err(|error| exception(Error::Failed(error.to_string())))?;
        Ok((saved, arrays.into_iter().map(|array| (array.name, array.values.into_pyarray(py))).collect()))
    }

    /// From what `state` gave.
    #[staticmethod]
    fn from_state(saved: &str, arrays: Vec<(String, Given<'_>)>) -> PyResult<Self> {
        let array = |(name, values): &(String, Given<'_>)| Array::new(name, vec![values.as_array().len()], values.as_array().to_vec());
        let arrays: Vec<Array> = arrays.iter().map(array).collect();
        Ok(Self(Ledger::restore(&options("ledger", saved)?, &arrays)))
    }

    fn write(&self, path: PathBuf, note: &str) -> PyResult<()> {
        self.0.write(&path, note).map_err(exception)
    }

    /// What was written, with its note; None if the file is absent.
    #[staticmethod]
    fn read(path: PathBuf) -> PyResult<Option<(Self, String)>> {
        Ok(Ledger::read(&path).map_err(exception)?.map(|(ledger, note)| (Self(ledger), note)))
    }
}

/// Whose a journal is, as its file says.
fn owner(client: usize) -> String {
    format!("client {client}")
}

/// The vectors that a client's journal holds, as the server knows the client.
#[pyfunction]
pub(crate) fn client_state(
    py: Python<'_>,
    client: usize,
    journal: PathBuf,
    accepted: Option<u64>,
) -> PyResult<BTreeMap<String, Vector<'_>>> {
    let journal = Journal::load(&journal, &owner(client)).map_err(exception)?;
    Ok(journal
        .settled(accepted)
        .map_err(exception)?
        .arrays
        .iter()
        .map(|(name, values)| (name.clone(), values.clone().into_pyarray(py)))
        .collect())
}

/// Rounds with all clients in this process; gives the model and what each round was like. A `schedule` says who takes part; `report` is
/// told how many rounds there were.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "as many as there are things to know")]
pub(crate) fn simulate<'py>(
    py: Python<'py>,
    rules: &PyRules,
    network: &PyNetwork,
    x: PyReadonlyArray2<'py, f32>,
    y: PyReadonlyArray1<'py, i64>,
    parts: Vec<Vec<usize>>,
    local: &str,
    estimator: &str,
    rounds: usize,
    initial: Given<'py>,
    schedule: Option<Vec<Vec<usize>>>,
    test: Option<(PyReadonlyArray2<'py, f32>, PyReadonlyArray1<'py, i64>)>,
    report: Option<Py<PyAny>>,
) -> PyResult<(Vector<'py>, Vec<Bound<'py, PyDict>>)> {
    let all = examples(network, &x, &y)?;
    let test = test.map(|(x, y)| examples(network, &x, &y)).transpose()?;
    if let Some(place) = parts.iter().flatten().find(|place| **place >= all.len()) {
        return Err(exception(Error::invalid("parts", format!("example {place}"), format!("0 to {}", all.len().saturating_sub(1)))));
    }
    if let Some(client) = schedule.iter().flatten().flatten().find(|client| **client >= parts.len()) {
        return Err(exception(Error::invalid("schedule", format!("client {client}"), format!("0 to {}", parts.len().saturating_sub(1)))));
    }
    let (local, estimator) = (options("local", local)?, options("estimator", estimator)?);
    let initial = initial.as_array().to_vec();
    network.check_dimension(initial.len()).map_err(exception)?;
    // What `report` raised.
    let raised: Mutex<Option<PyErr>> = Mutex::default();
    let simulated = stoppable(py, || {
        let trainer = trainer(network, &all, &parts, &local, &estimator)?;
        let clients = Client::all(&parts.iter().map(Vec::len).collect::<Vec<_>>());
        let simulation = Simulation { rules: rules.rules(), trainer: &trainer, clients: &clients, keep_models: false };
        let mut world = simulation.start(initial)?;
        let mut history = Vec::new();
        for number in 0..rounds {
            let round = match &schedule {
                Some(schedule) => {
                    let ids = schedule.get(number).into_iter().flatten();
                    let active: Vec<Active> = ids.map(|&id| Active { id, part: 1.0, arrives: true }).collect();
                    simulation.round_with(&mut world, &active)?
                }
                None => simulation.round(&mut world)?,
            };
            let outcome = test.as_ref().map(|test| evaluate(&trainer.model(world.ledger.server.model(), &[])?, test)).transpose()?;
            // A model for every round would fill the memory.
            history.push((Round { active_mean: Vec::new(), ..round }, outcome, world.ledger.traffic));
            if let Some(report) = &report
                && let Err(error) = Python::attach(|py| report.call1(py, (number + 1,)).map(drop))
            {
                let text = error.to_string();
                raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return Err(Error::Failed(text));
            }
        }
        Ok((world, history))
    });
    if let Some(error) = raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let (world, history) = simulated?;
    let told = history.into_iter().enumerate().map(|(number, (round, outcome, traffic))| {
        let loss = round.loss;
        let told = told(py, round)?;
        told.del_item("active_mean")?;
        told.set_item("round", number)?;
        told.set_item("loss", loss)?;
        told.set_item("bytes", traffic.down + traffic.up)?;
        if let Some(Evaluation { accuracy, log_loss }) = outcome {
            told.set_item("accuracy", accuracy)?;
            told.set_item("log_loss", log_loss)?;
        }
        Ok(told)
    });
    Ok((world.ledger.server.model().to_vec().into_pyarray(py), told.collect::<PyResult<_>>()?))
}

/// Which examples each client has: evenly, or with class mixtures from a Dirichlet law.
#[pyfunction]
pub(crate) fn partition(
    py: Python<'_>,
    labels: PyReadonlyArray1<'_, i64>,
    clients: usize,
    dirichlet: Option<f64>,
    seed: u64,
) -> PyResult<Vec<Vec<usize>>> {
    let labels: Vec<i64> = labels.as_array().to_vec();
    if clients == 0 || labels.len() < clients {
        return Err(exception(Error::invalid("clients", clients, format!("1 to the {} examples", labels.len()))));
    }
    if let Some(label) = labels.iter().find(|label| **label < 0) {
        return Err(exception(Error::invalid("labels", label, "0 or more")));
    }
    let labels: Vec<usize> = labels.into_iter().map(|label| label as usize).collect();
    let rng = &mut Seed::new(seed).stream("federated/partition");
    detached(py, || match dirichlet {
        Some(alpha) => partitions::dirichlet(&labels, clients, alpha, rng),
        None => Ok(partitions::even(labels.len(), clients, rng)),
    })
}

/// See `lyceum_federated::privacy::epsilon`.
#[pyfunction]
pub(crate) fn gaussian_epsilon(noise: f64, rounds: u64, delta: f64) -> f64 {
    privacy::epsilon(noise, rounds, delta)
}
