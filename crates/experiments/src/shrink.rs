//! The experiment `shrink`: units of a trained network are taken out by one or more criteria until a budget is met, and what is left is trained
//! further, with the whole network as a teacher.

use std::time::Instant;

use lyceum_core::{
    Error, Experiment, Measure, Report, Result, Run, Seed, Summary, Violation,
    report::{Axis, Block, Chart, Series, Table},
    run::{Input, read_json, write_json},
};
use lyceum_data::{
    Cache,
    prepare::{DataConfig, Prepared},
};
use lyceum_optim::{
    EstimatorConfig,
    comparison::{check_arms, each_arm},
    experiment::{curve, percent, with_network},
};
use lyceum_sparsify::{Allocation, Criterion, Rules, Shrunk, plan::rising, shrink, shrunk::without};
use lyceum_train::{DeviceName, DistillationConfig, Evaluation, ModelConfig, Net, TrainConfig, Trainer, evaluate, onnx};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Examples that removal is verified with, and time is measured on.
const EXAMPLES: usize = 256;
/// Passes of which the median counts.
const PASSES: usize = 7;
/// Shares of a group that are taken out to see what that costs.
const SHARES: [f64; 3] = [0.25, 0.5, 0.75];

/// Makes trained networks smaller.
pub struct Shrink;

/// The recipe of `shrink`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    data: DataConfig,
    model: ModelConfig,
    /// How the smaller network is trained further: 10 epochs at a rate of 0.01, where there is no such table.
    #[serde(default = "fine_tuning")]
    training: TrainConfig,
    #[serde(default)]
    distillation: DistillationConfig,
    #[serde(default)]
    shrink: Rules,
    /// What is compared.
    #[serde(default = "one_arm")]
    arm: Vec<ArmConfig>,
}

/// One way of choosing what is taken out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ArmConfig {
    /// What it is called, also its folder in the run.
    name: String,
    #[serde(default)]
    criterion: Criterion,
    /// Where units are taken from, where it differs from that of `shrink`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allocation: Option<Allocation>,
    /// How gradients are taken in training.
    #[serde(default)]
    estimator: EstimatorConfig,
}

fn fine_tuning() -> TrainConfig {
    TrainConfig { epochs: 10, learning_rate: 0.01, ..TrainConfig::default() }
}

fn one_arm() -> Vec<ArmConfig> {
    vec![ArmConfig { name: "taylor".into(), ..ArmConfig::default() }]
}

/// A smaller network and what was measured of it.
struct Arm {
    name: String,
    shrunk: Shrunk,
    /// After training.
    net: Net,
    /// Before and after training.
    test: [Evaluation; 2],
    deviation: f32,
    evaluations: f64,
    metrics: Vec<serde_json::Value>,
}

impl Experiment for Shrink {
    type Config = Config;

    fn name(&self) -> &'static str {
        "shrink"
    }

    fn about(&self) -> &'static str {
        "makes a trained network smaller: takes out units by importance (Taylor, L1, L2, batch norm) within a budget, and trains it further"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        config.model.check_data(&config.data)?;
        if !config.model.keeps_head() {
            return Err(Violation::new(
                "model",
                "found a network without weights; allowed: a trained one (model.onnx.file, without new_head)",
            ));
        }
        check_arms(config.arm.iter().map(|arm| arm.name.as_str()))
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        if config.model.predicts_numbers()? {
            return Err(Error::invalid("model", "one that predicts numbers", "one of classes"));
        }
        let data = config.data.prepare_for(run, config.model.known()?)?;
        let whole = config.model.init(data.extent, data.classes.len(), run.seed(), &config.device.device())?;
        let work = Work { config, data, whole };
        let dense = evaluate(&work.whole, &work.data.test)?;
        let (arms, diverged) = each_arm(&config.arm, |arm| &arm.name, run, |arm| work.arm(arm, run))?;
        for arm in &arms {
            onnx::save(&run.folder().join(&arm.name), &arm.net, &work.data.classes, &work.data, Vec::new())?;
        }
        let cost = work.whole.graph().cost();
        let mut summary = Summary { table: table(&arms, dense, &work.whole), headline: headline(), curves: curves(), ..Summary::default() };
        summary.values.insert("whole/test_accuracy".into(), dense.accuracy);
        summary.values.insert("whole/multiply_adds".into(), cost.multiply_adds as f64);
        summary.values.insert("whole/parameters".into(), cost.parameters as f64);
        for arm in &arms {
            let own = arm.net.graph().cost();
            let values = [
                ("test_accuracy", arm.test[1].accuracy),
                ("test_log_loss", arm.test[1].log_loss),
                ("test_accuracy_before_training", arm.test[0].accuracy),
                ("multiply_adds", own.multiply_adds as f64),
                ("parameters", own.parameters as f64),
                ("deviation", f64::from(arm.deviation)),
                ("gradient_evaluations", arm.evaluations),
            ];
            values.into_iter().for_each(|(key, value)| {
                summary.values.insert(format!("{}/{key}", arm.name), value);
            });
        }
        diverged.note(&mut summary)?;
        run.finish(&summary, &diverged.report(work.report(&arms, dense, &summary)?))?;
        Ok(summary)
    }
}

/// What all arms share.
struct Work<'a> {
    config: &'a Config,
    data: Prepared,
    whole: Net,
}

impl Work<'_> {
    fn arm(&self, arm: &ArmConfig, run: &Run) -> Result<Arm> {
        let Config { training, distillation, shrink: rules, .. } = self.config;
        let part = run.child(&arm.name)?;
        let rules = Rules { allocation: arm.allocation.unwrap_or(rules.allocation), ..rules.clone() };
        // A run that goes on has what it had, also where time was measured.
        let file = part.folder().join("left.json");
        let shrunk = if let Some(left) = read_json(&file)? {
            Shrunk::of(&self.whole, left)?
        } else {
            let shrunk = shrink(&self.whole, &rules, |net| arm.criterion.importance(net, Some(&self.data.train), run.seed()))?;
            write_json(&file, &shrunk.left)?;
            shrunk
        };
        let before = evaluate(&shrunk.net, &self.data.test)?;
        let classes = self.data.classes.len();
        let mut trainer = Trainer::new(training.clone(), shrunk.net.clone(), classes, arm.estimator.build()?, run.seed())?;
        trainer = trainer.with_pictures(self.data.extent);
        if distillation.share > 0.0 {
            trainer = trainer.with_teacher(*distillation, &self.whole);
        }
        trainer.train(&part, &self.data.train, Some(&self.data.held_out).filter(|held_out| !held_out.is_empty()), &arm.name)?;
        run.stop_if_requested()?;
        let net = trainer.model().clone();
        Ok(Arm {
            name: arm.name.clone(),
            test: [before, evaluate(&net, &self.data.test)?],
            deviation: shrunk.deviation(self.probes().view())?,
            shrunk,
            net,
            evaluations: trainer.evaluations(),
            metrics: part.metrics()?,
        })
    }

    /// Some test examples.
    fn probes(&self) -> Array2<f32> {
        let test = &self.data.test;
        test.subset(&(0..test.len().min(EXAMPLES)).collect::<Vec<_>>()).inputs.array().into_owned()
    }

    /// Log-loss on held-out examples (or those for testing) with a share of one group taken out, the least important by Σ|w|.
    fn sensitivity(&self) -> Result<Table> {
        let examples = if self.data.held_out.is_empty() { &self.data.test } else { &self.data.held_out };
        let groups = self.whole.graph().dependencies();
        let importance = Criterion::L1.importance(&self.whole, None, Seed::new(0))?;
        let whole = evaluate(&self.whole, examples)?;
        let columns = SHARES.map(|share| format!("without {:.0} %", 100.0 * share));
        let mut table = Table::new(["units of", "units"].map(str::to_owned).into_iter().chain(["none out".to_owned()]).chain(columns));
        for (group, own) in groups.iter().zip(&importance) {
            let order = rising(own);
            let mut row = vec![group.name.clone(), own.len().to_string(), format!("{:.3}", whole.log_loss)];
            for share in SHARES {
                let out = ((share * own.len() as f64) as usize).min(own.len() - 1);
                let units: Vec<_> = order[..out].iter().map(|unit| &group.units[*unit]).collect();
                row.push(format!("{:.3}", evaluate(&without(&self.whole, &units)?[0], examples)?.log_loss));
            }
            table.push(row);
        }
        Ok(table)
    }

    fn report(&self, arms: &[Arm], dense: Evaluation, summary: &Summary) -> Result<Report> {
        let lead = format!(
            "{} training examples of {}, {} held out, {} for testing. The whole network has {} of the test examples right; if it was trained \
             on some of them, that and what follows is better than it would be on new ones.",
            self.data.train.len(),
            self.config.data.title(),
            self.data.held_out.len(),
            self.data.test.len(),
            percent(dense.accuracy)
        );
        let certificate = "Removal is verified: deviation is how far the logits of the network after a round of removal, before it is trained \
                           further, are from those of the one before it with 0 in the weights that read what was taken out, at most, of the \
                           largest.";
        let of = |title: &str, label: &str, metric: &str| {
            Block::Chart(curve(title, label, metric, arms.iter().map(|arm| (arm.name.as_str(), &*arm.metrics))))
        };
        let curves = [of("Accuracy on held-out examples", "accuracy", "validation_accuracy"), of("Training loss", "loss", "train_loss")];
        let sensitivity = "Log-loss with the least important units of one group taken out, all else whole, without training: where a network \
                           bears cuts, and where it does not.";
        let report = Report::new(format!("Smaller networks on {}", self.config.data.title()), lead)
            .section("Outcome", [Block::Table(summary.table.clone()), Block::Text(certificate.into())])
            .section("What was taken out", [Block::Table(cuts(arms)), Block::Chart(kept(arms))])
            .section("Learning curves", curves)
            .section("Sensitivity", [Block::Text(sensitivity.into()), Block::Table(self.sensitivity()?)])
            .section("Time", [Block::Table(self.times(arms)?)]);
        Ok(with_network(report, arms.first().map(|arm| &arm.net)))
    }

    /// Milliseconds of a pass, of the whole network and of each arm's in turn.
    fn times(&self, arms: &[Arm]) -> Result<Table> {
        let probes = self.probes();
        let nets = std::iter::once(("the whole network", &self.whole)).chain(arms.iter().map(|arm| (arm.name.as_str(), &arm.net)));
        let nets: Vec<_> = nets.map(|(name, net)| Ok((name, net, net.predictor()?))).collect::<Result<_>>()?;
        let mut found = vec![Vec::new(); nets.len()];
        for _ in 0..PASSES {
            for ((.., predictor), found) in nets.iter().zip(&mut found) {
                let start = Instant::now();
                predictor.logits(probes.view())?;
                found.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let medians: Vec<f64> = found
            .into_iter()
            .map(|mut times| {
                times.sort_by(f64::total_cmp);
                times[PASSES / 2]
            })
            .collect();
        let mut table = Table::new([
            "",
            &format!("milliseconds for {} examples, on this machine", probes.nrows()),
            "of the whole",
            "multiply-adds of the whole",
        ]);
        let cost = self.whole.graph().cost().multiply_adds.max(1) as f64;
        for ((name, net, _), time) in nets.iter().zip(&medians) {
            let own = net.graph().cost().multiply_adds as f64;
            table.push([(*name).to_owned(), format!("{time:.2}"), percent(time / medians[0]), percent(own / cost)]);
        }
        Ok(table)
    }
}

fn headline() -> Vec<Measure> {
    vec![
        Measure::share("test_accuracy", "test accuracy"),
        Measure::share("test_accuracy_before_training", "before training"),
        Measure::number("multiply_adds", "multiply-adds"),
        Measure::number("parameters", "parameters"),
    ]
}

fn curves() -> Vec<Measure> {
    vec![Measure::share("validation_accuracy", "accuracy on held-out examples"), Measure::number("train_loss", "training loss")]
}

/// A row an arm, after the whole network.
fn table(arms: &[Arm], dense: Evaluation, whole: &Net) -> Table {
    let columns = ["", "test accuracy", "before training", "test log-loss", "multiply-adds", "parameters", "deviation"];
    let mut table = Table::new(columns);
    if arms.is_empty() {
        return table;
    }
    let cost = whole.graph().cost();
    let millions = |count: u64| format!("{:.3} million", count as f64 / 1e6);
    table.push([
        "the whole network".to_owned(),
        percent(dense.accuracy),
        "–".to_owned(),
        format!("{:.3}", dense.log_loss),
        millions(cost.multiply_adds),
        millions(cost.parameters),
        "–".to_owned(),
    ]);
    for arm in arms {
        let own = arm.net.graph().cost();
        let of = |own: u64, whole: u64| format!("{} ({})", millions(own), percent(own as f64 / whole.max(1) as f64));
        table.push([
            arm.name.clone(),
            percent(arm.test[1].accuracy),
            percent(arm.test[0].accuracy),
            format!("{:.3}", arm.test[1].log_loss),
            of(own.multiply_adds, cost.multiply_adds),
            of(own.parameters, cost.parameters),
            format!("{:.1e}", arm.deviation),
        ]);
    }
    table
}

/// What each arm has kept of each group.
fn cuts(arms: &[Arm]) -> Table {
    let mut table =
        Table::new(["units of", "units"].map(str::to_owned).into_iter().chain(arms.iter().map(|arm| format!("left by {}", arm.name))));
    let Some(first) = arms.first() else { return table };
    for (number, group) in first.shrunk.kept.iter().enumerate() {
        let left = arms.iter().map(|arm| arm.shrunk.kept[number].left.to_string());
        table.push([group.name.clone(), group.units.to_string()].into_iter().chain(left).collect::<Vec<_>>());
    }
    table
}

fn kept(arms: &[Arm]) -> Chart {
    let groups = arms.first().map_or(&[][..], |arm| &arm.shrunk.kept);
    let axis = Axis::category("units of", groups.iter().map(|group| group.name.clone()));
    let chart = Chart::new("Share of units that is left", axis, Axis::linear("share"));
    let share = |arm: &Arm| -> Vec<f64> { arm.shrunk.kept.iter().map(|group| group.left as f64 / group.units as f64).collect() };
    arms.iter().fold(chart, |chart, arm| chart.with(Series::bars(&arm.name, share(arm))))
}
