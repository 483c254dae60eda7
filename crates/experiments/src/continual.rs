//! The experiment `continual`: strategies on a stream of tasks. It joins `lyceum-continual` and `lyceum-optim`.

use std::ops::Range;

use lyceum_continual::{
    Learner, StrategyConfig, StreamConfig, Task,
    learner::{Diverged, Progress},
    metrics,
};
use lyceum_core::{
    Error, Experiment, Measure, Report, Result, Run, Seed, Summary, Violation, range,
    report::{Axis, Block, Chart, Heatmap, Series, Table},
    run::{Input, check_names},
};
use lyceum_data::{
    Cache, Examples, Inputs,
    prepare::{DataConfig, Prepared},
};
use lyceum_multitask::Method;
use lyceum_optim::{EstimatorConfig, Multitask, multitask::Granularity};
use lyceum_train::{DeviceName, ModelConfig, TrainConfig, onnx};
use ndarray::Array2;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Learns a stream with each strategy.
#[derive(Debug, Clone, Copy)]
pub struct Continual;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    data: DataConfig,
    /// Mean and standard deviation that inputs are brought to 0 and 1 from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    normalization: Option<[f64; 2]>,
    model: ModelConfig,
    stream: StreamConfig,
    /// Nobody tells where one task ends and the next begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    free: Option<Free>,
    /// Tasks that are learnt together, one after the other such group.
    #[serde(default = "one", with = "range::AtLeastOne")]
    together: usize,
    #[serde(default)]
    training: TrainConfig,
    /// How gradients are estimated.
    #[serde(default)]
    estimator: EstimatorConfig,
    /// How the gradients of tasks that are learnt together are combined.
    #[serde(default)]
    combiner: Method,
    /// What is compared and combined at a time.
    #[serde(default)]
    granularity: Granularity,
    /// What is compared.
    strategy: Vec<Arm>,
}

/// A stream without boundaries: its examples come in chunks of a fixed size, and a strategy does after each what it would do
/// after a task.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Free {
    /// Examples of a chunk.
    #[serde(with = "range::AtLeastOne")]
    chunk: usize,
    /// How far tasks run into one another: the standard deviation of when an example comes, in lengths of a task.
    #[serde(default, with = "range::NonNegative")]
    blur: f64,
}

/// The examples of all tasks in the order in which they come.
struct Sequence {
    /// Task and position.
    examples: Vec<(u32, u32)>,
    /// How many have come when each task should be over.
    ends: Vec<usize>,
}

impl Free {
    fn sequence(&self, sizes: &[usize], seed: Seed) -> Sequence {
        let mut rng = seed.stream("continual/free");
        let mut timed: Vec<(f64, u32, u32)> = Vec::new();
        for (task, &size) in sizes.iter().enumerate() {
            for position in 0..size {
                let shift: f64 = StandardNormal.sample(&mut rng);
                timed.push((task as f64 + rng.random::<f64>() + self.blur * shift, task as u32, position as u32));
            }
        }
        timed.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let ends = (1..=sizes.len()).map(|end| timed.partition_point(|(time, ..)| *time < end as f64)).collect();
        Sequence { examples: timed.into_iter().map(|(_, task, position)| (task, position)).collect(), ends }
    }
}

/// A strategy with a name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arm {
    /// Its name; that of the method if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    method: StrategyConfig,
    /// A learning rate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    learning_rate: Option<f64>,
}

fn one() -> usize {
    1
}

impl Arm {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.method.name())
    }
}

impl Experiment for Continual {
    type Config = Config;

    fn name(&self) -> &'static str {
        "continual"
    }

    fn about(&self) -> &'static str {
        "a stream of tasks by Gradient Projection Memory and its baselines: accuracy, forgetting, how full each layer is"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        config.model.check_data(&config.data)?;
        let wrong = |key: &str, message: String| Err(Violation::new(key, message));
        if config.strategy.is_empty() {
            return wrong("strategy", "found none; allowed: at least one".into());
        }
        check_names("strategy", config.strategy.iter().map(|arm| arm.name()))?;
        for arm in &config.strategy {
            if let StrategyConfig::Gpm(gpm) = &arm.method
                && gpm.thresholds.is_empty()
            {
                return wrong("strategy.method.gpm.thresholds", "found none; allowed: at least one".into());
            }
        }
        if let Some([mean, deviation]) = config.normalization
            && !(mean.is_finite() && deviation > 0.0 && deviation.is_finite())
        {
            return wrong("normalization", format!("found [{mean}, {deviation}]; allowed: a finite mean and a deviation > 0"));
        }
        if config.free.is_some() {
            if config.stream.heads() {
                return wrong("free", "found together with outputs for each task; allowed: streams whose tasks share all outputs".into());
            }
            if config.together > 1 {
                return wrong("together", format!("found {} together with `free`; allowed: 1", config.together));
            }
            if let Some(arm) = config.strategy.iter().find(|arm| matches!(arm.method, StrategyConfig::Hat(_))) {
                return wrong("strategy.method", format!("found `{}`, which must know the task; allowed with `free`: others", arm.name()));
            }
        }
        if config.normalization.is_some() && config.data.standardize {
            return wrong("normalization", "found with data.standardize; allowed: one of them".into());
        }
        if config.normalization.is_some() && config.data.is_text() {
            return wrong("normalization", "found with texts, whose numbers are symbols; allowed: none".into());
        }
        if matches!(config.stream, StreamConfig::Groups) && config.data.whole_groups {
            return wrong(
                "data.whole_groups",
                "found with a task for each group, which has examples for training and for testing; allowed: false".into(),
            );
        }
        if matches!(config.stream, StreamConfig::Groups) && !config.data.has_groups() {
            return wrong("stream", "found `groups`, and data without any; allowed: together with `data.group` or `data.layout`".into());
        }
        if !config.stream.tells_task()
            && let Some(arm) = config.strategy.iter().find(|arm| matches!(arm.method, StrategyConfig::Hat(_)))
        {
            return wrong(
                "strategy.method",
                format!("found `{}`, which must know the task; allowed where none is told: others", arm.name()),
            );
        }
        if config.together > 1 && config.strategy.iter().any(|arm| matches!(arm.method, StrategyConfig::Hat(_))) {
            return wrong("together", format!("found {} with HAT, which learns one task at a time; allowed: 1", config.together));
        }
        let TrainConfig {
            warmup_epochs, label_smoothing, patience, checkpoint_seconds, weight_decay, group, augment, class_weights, ..
        } = &config.training;
        let usual = TrainConfig::default();
        let without_effect = [
            ("warmup_epochs", *warmup_epochs != usual.warmup_epochs),
            ("label_smoothing", *label_smoothing != usual.label_smoothing),
            ("patience", *patience != usual.patience),
            ("checkpoint_seconds", *checkpoint_seconds != usual.checkpoint_seconds),
            ("weight_decay", *weight_decay != usual.weight_decay),
            ("group", *group != usual.group),
            ("augment", *augment != usual.augment),
            ("class_weights", *class_weights != usual.class_weights),
        ];
        if let Some((key, _)) = without_effect.iter().find(|(_, set)| *set) {
            let text = "has no effect in this experiment; allowed: epochs, batch_size, learning_rate, schedule, optimizer, clip_norm";
            return wrong(&format!("training.{key}"), text.into());
        }
        if let Err(error) = config.combiner.check() {
            return wrong("combiner", error.to_string());
        }
        if let Ok(entry) = lyceum_data::catalog::find(&config.data.name) {
            config.stream.check("stream", entry.classes)?;
            if let Some(graph) = config.model.check("model", entry.extent, config.stream.outputs(entry.classes))? {
                let fits = config.strategy.iter().try_for_each(|arm| arm.method.check_network(&graph));
                fits.map_err(|error| Violation::new("model", error.to_string()))?;
            }
        }
        Ok(())
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let data = config.data.prepare_for(run, config.model.known()?)?;
        if config.normalization.is_some() && !data.normalization.is_empty() {
            let found = "found with a model that tells what its numbers are normalised by";
            return Err(Error::invalid("normalization", found, "absent"));
        }
        let classes = data.classes.len();
        config.stream.check("stream", classes)?;
        let graph = config.model.graph(data.extent, config.stream.outputs(classes))?;
        config.strategy.iter().try_for_each(|arm| arm.method.check_network(&graph))?;
        let count = config.stream.tasks(&data);
        let tests = (0..count)
            .map(|number| {
                let (mut test, own) = config.stream.test(&data, number, run.seed())?;
                config.normalise(&mut test);
                Ok((test, own))
            })
            .collect::<Result<Vec<(Examples, Range<usize>)>>>()?;
        let sequence = match &config.free {
            Some(free) => {
                let sizes = (0..count).map(|number| Ok(config.task(&data, number, run)?.train.len())).collect::<Result<Vec<usize>>>()?;
                Some(free.sequence(&sizes, run.seed()))
            }
            None => None,
        };
        let schedule = Order { count, together: config.together, chunk: config.free.map(|free| free.chunk), sequence };
        let mut learnt = Vec::new();
        for arm in &config.strategy {
            let part = run.child(arm.name())?;
            let mut training = config.training.clone();
            training.learning_rate = arm.learning_rate.unwrap_or(training.learning_rate);
            let outputs = (config.stream.outputs(classes), config.stream.heads());
            let learner = Learner {
                training,
                strategy: arm.method.clone(),
                estimator: {
                    let estimator = config.estimator.clone();
                    Box::new(move || estimator.build())
                },
                combiner: {
                    let (method, granularity) = (config.combiner, config.granularity);
                    Box::new(move |seed| Ok(Box::new(Multitask::new(method, granularity, seed)?)))
                },
                outputs,
                seed: run.seed(),
            };
            // The same beginning, the same stream and the same batches for all.
            let model = config.model.init(data.extent, outputs.0, run.seed(), &config.device.device())?;
            let joint = arm.method == StrategyConfig::Multitask;
            let (model, progress) = if joint {
                learner.learn(&part, model, 1, |_| Ok(vec![config.joint(&data, count, run)?]), &tests)?
            } else {
                learner.learn(&part, model, schedule.stages(), |stage| config.stage(&data, &schedule, stage, run), &tests)?
            };
            // With HAT, what the network says depends on the task's masks.
            if !matches!(arm.method, StrategyConfig::Hat(_)) && progress.diverged.is_none() {
                let normalization = config.normalization.map(|numbers| onnx::normalization(&numbers.into())).unwrap_or_default();
                onnx::save(part.folder(), &model, &config.stream.output_names(&data, run.seed()), &data, normalization)?;
            }
            learnt.push(Learnt { name: arm.name().to_owned(), joint, progress });
        }
        let summary = summarise(&schedule, &learnt);
        run.finish(&summary, &report(config, &data, &schedule, &learnt, &summary))?;
        Ok(summary)
    }
}

/// What an arm came to.
struct Learnt {
    name: String,
    /// Whether all tasks were learnt at once.
    joint: bool,
    progress: Progress,
}

/// What is learnt after what.
struct Order {
    /// How many tasks there are.
    count: usize,
    together: usize,
    chunk: Option<usize>,
    sequence: Option<Sequence>,
}

impl Order {
    /// How many stages there are.
    fn stages(&self) -> usize {
        match (&self.sequence, self.chunk) {
            (Some(sequence), Some(chunk)) => sequence.examples.len().div_ceil(chunk),
            _ => self.count.div_ceil(self.together),
        }
    }

    /// The stage at whose end a task has been learnt.
    fn learnt(&self, task: usize) -> usize {
        match (&self.sequence, self.chunk) {
            (Some(sequence), Some(chunk)) => (sequence.ends[task].max(1) - 1) / chunk,
            _ => task / self.together,
        }
    }

    /// How many tasks have been learnt when a stage is over.
    fn behind(&self, stage: usize) -> usize {
        (0..self.count).take_while(|task| self.learnt(*task) <= stage).count()
    }
}

impl Config {
    /// The tasks of a stage; of a stream without boundaries one that holds whatever comes.
    fn stage(&self, data: &Prepared, order: &Order, stage: usize, run: &Run) -> Result<Vec<Task>> {
        let (Some(sequence), Some(chunk)) = (&order.sequence, order.chunk) else {
            let tasks = stage * order.together..((stage + 1) * order.together).min(order.count);
            return tasks.map(|number| self.task(data, number, run)).collect();
        };
        let examples = &sequence.examples[stage * chunk..((stage + 1) * chunk).min(sequence.examples.len())];
        let outputs = 0..self.stream.outputs(data.classes.len());
        let (mut inputs, mut labels) = (Array2::zeros((examples.len(), data.extent.len())), vec![0; examples.len()]);
        for number in 0..order.count as u32 {
            if !examples.iter().any(|(task, _)| *task == number) {
                continue;
            }
            let task = self.task(data, number as usize, run)?;
            for (row, (_, position)) in examples.iter().enumerate().filter(|(_, (task, _))| *task == number) {
                let own = task.train.inputs.row(*position as usize);
                inputs.row_mut(row).iter_mut().zip(own.iter()).for_each(|(to, from)| *to = *from);
                labels[row] = task.train.labels[*position as usize];
            }
        }
        let train = Examples::new(inputs, labels);
        Ok(vec![Task { number: stage, outputs, heads: None, train }])
    }

    fn task(&self, data: &Prepared, number: usize, run: &Run) -> Result<Task> {
        let mut task = self.stream.task(data, number, run.seed())?;
        self.normalise(&mut task.train);
        Ok(task)
    }

    fn normalise(&self, examples: &mut Examples) {
        if let Some([mean, deviation]) = self.normalization {
            examples.inputs = examples.inputs.map(|x| ((f64::from(x) - mean) / deviation) as f32);
        }
    }

    /// All tasks as one.
    fn joint(&self, data: &Prepared, count: usize, run: &Run) -> Result<Task> {
        let tasks = (0..count).map(|number| self.task(data, number, run)).collect::<Result<Vec<Task>>>()?;
        let inputs = Inputs::concatenated(&tasks.iter().map(|task| &task.train.inputs).collect::<Vec<_>>());
        let labels = tasks.iter().flat_map(|task| task.train.labels.iter().copied()).collect();
        let heads = self.stream.heads().then(|| tasks.iter().map(|task| task.outputs.clone()).collect());
        let outputs = 0..self.stream.outputs(data.classes.len());
        Ok(Task { number: count - 1, outputs, heads, train: Examples::new(inputs, labels) })
    }
}

impl Learnt {
    /// The matrix of the tasks that a stage ends with: a row for each task, as if every task were a stage. Of an arm that diverged,
    /// the rows up to there.
    fn by_task(&self, order: &Order) -> Vec<Vec<f64>> {
        let stage = |task: usize| if self.joint { 0 } else { order.learnt(task) };
        (0..order.count).map_while(|task| self.progress.matrix.get(stage(task)).cloned()).collect()
    }
}

fn summarise(order: &Order, learnt: &[Learnt]) -> Summary {
    let mut summary = Summary {
        table: Table::new(["strategy", "ACC, %", "BWT, points", "forgetting, points", "at learning, %", "numbers kept"]),
        headline: vec![
            Measure::share("acc", "average accuracy"),
            Measure::number("bwt", "backward transfer"),
            Measure::share("at_learning", "accuracy at learning"),
        ],
        ..Summary::default()
    };
    for arm in learnt {
        let Learnt { name, joint, progress } = arm;
        for (t, row) in progress.matrix.iter().enumerate() {
            for (j, accuracy) in row.iter().enumerate() {
                summary.values.insert(format!("{name}/matrix/{t}/{j}"), *accuracy);
            }
        }
        for (t, note) in progress.notes.iter().enumerate() {
            for (layer, update) in &note.layers {
                summary.values.insert(format!("{name}/rank/{t}/{layer}"), update.rank as f64);
            }
        }
        if let Some(diverged) = &progress.diverged {
            summary.values.insert(format!("{name}/diverged_step"), diverged.step as f64);
            let dash = || "–".to_owned();
            summary.table.push([name.clone(), format!("diverged {}", when(diverged)), dash(), dash(), dash(), dash()]);
            continue;
        }
        let mut matrix = arm.by_task(order);
        let count = order.count;
        // What comes after the last task was over counts too.
        if let Some(last) = progress.matrix.last() {
            matrix[count - 1].clone_from(last);
        }
        let (acc, bwt, forgotten) = (metrics::average_accuracy(&matrix), metrics::backward_transfer(&matrix), metrics::forgetting(&matrix));
        let learning = (0..count).map(|j| matrix[j][j]).sum::<f64>() / count as f64;
        let kept = progress.notes.last().map_or(0, |note| note.kept_numbers);
        let points = |value: f64| if *joint { "–".into() } else { format!("{:+.2}", 100.0 * value) };
        summary.table.push([
            name.clone(),
            format!("{:.2}", 100.0 * acc),
            points(bwt),
            points(forgotten),
            format!("{:.2}", 100.0 * learning),
            kept.to_string(),
        ]);
        for (key, value) in
            [("acc", acc), ("bwt", bwt), ("forgetting", forgotten), ("at_learning", learning), ("kept_numbers", kept as f64)]
        {
            summary.values.insert(format!("{name}/{key}"), value);
        }
    }
    summary
}

/// When an arm diverged, for people.
fn when(diverged: &Diverged) -> String {
    format!("in stage {}, epoch {}, step {}", diverged.stage + 1, diverged.epoch + 1, diverged.step + 1)
}

fn report(config: &Config, data: &Prepared, order: &Order, learnt: &[Learnt], summary: &Summary) -> Report {
    let count = order.count;
    let mut lead = format!(
        "{count} tasks made of {} ({}), {} training examples each at most. ACC: mean accuracy on all tasks at the end; BWT: how much the \
         accuracy on a task has changed since it was learnt.",
        config.data.title(),
        toml::to_string(&config.stream).unwrap_or_default().trim().replace('\n', ", "),
        data.train.len()
    );
    if let Some(Free { chunk, blur }) = config.free {
        lead += &format!(
            " The learner is not told where a task ends: it gets {chunk} examples at a time, and tasks run into one another (blur {blur})."
        );
    }
    let mut after = Chart::new("Accuracy on the tasks so far", Axis::linear("tasks learnt"), Axis::linear("mean accuracy, %"));
    let mut first = Chart::new("Accuracy on the first task", Axis::linear("tasks learnt"), Axis::linear("accuracy, %"));
    let mut heat = Vec::new();
    for arm in learnt.iter().filter(|arm| !arm.joint && !arm.progress.matrix.is_empty()) {
        let (name, matrix) = (&arm.name, arm.by_task(order));
        if matrix.is_empty() {
            continue;
        }
        let mean = |stage: usize, row: &Vec<f64>| {
            let behind = order.behind(stage).max(1);
            row[..behind].iter().sum::<f64>() / behind as f64
        };
        let tasks = matrix.iter().enumerate().map(|(task, row)| (task as f64 + 1.0, 100.0 * mean(order.learnt(task), row)));
        after = after.with(Series::line(name, tasks));
        first = first.with(Series::line(name, matrix.iter().enumerate().map(|(task, row)| (task as f64 + 1.0, 100.0 * row[0]))));
        let cells = |row: &Vec<f64>| row.iter().map(|accuracy| Some(100.0 * accuracy)).collect();
        let numbers = |count: usize| (1..=count).map(|task| task.to_string()).collect();
        heat.push(Block::Heatmap(Heatmap {
            title: name.clone(),
            rows: ("tasks learnt".into(), numbers(matrix.len())),
            columns: ("task".into(), numbers(matrix[0].len())),
            values: matrix.iter().map(cells).collect(),
            scale: (0.0, 100.0, " %".into()),
            digits: 1,
        }));
    }
    let mut report = Report::new("Tasks one after another", lead)
        .section("Outcome", [Block::Table(summary.table.clone()), Block::Chart(after), Block::Chart(first)]);
    let ended = learnt.iter().filter_map(|arm| Some((arm, arm.progress.diverged.as_ref()?)));
    let ended: Vec<String> =
        ended.map(|(arm, diverged)| format!("{} diverged {}: {}.", arm.name, when(diverged), diverged.reason)).collect();
    if !ended.is_empty() {
        report = report.section("What ended early", [Block::Text(ended.join(" "))]);
    }
    let text = Block::Text("The accuracy on each task after each was learnt, in %.".into());
    report = report.section("Accuracy matrices", [text].into_iter().chain(heat));
    for Learnt { name, progress, .. } in learnt {
        if progress.notes.iter().any(|note| !note.layers.is_empty()) {
            report = report.section(format!("How full {name} is"), fill(progress));
        }
    }
    report
}

/// How many directions each layer has after each task.
fn fill(progress: &Progress) -> Vec<Block> {
    let mut chart = Chart::new("Directions in use", Axis::linear("task"), Axis::linear("% of the layer's input space"));
    let mut full = Vec::new();
    let names: Vec<&String> = progress.notes.first().map(|note| note.layers.iter().map(|(name, _)| name).collect()).unwrap_or_default();
    for name in names {
        let points = progress.notes.iter().enumerate().filter_map(|(task, note)| {
            let (_, update) = note.layers.iter().find(|(layer, _)| layer == name)?;
            Some((task as f64 + 1.0, 100.0 * update.rank as f64 / update.dimension as f64))
        });
        let points: Vec<(f64, f64)> = points.collect();
        if let Some((task, _)) = points.iter().find(|(_, share)| *share >= 100.0) {
            full.push(format!("`{name}` is full after task {task}: it cannot learn any more."));
        }
        chart = chart.with(Series::line(name, points));
    }
    let mut blocks = vec![Block::Chart(chart)];
    blocks.extend((!full.is_empty()).then(|| Block::Text(full.join(" "))));
    blocks
}
