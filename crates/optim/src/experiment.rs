//! The experiment `train`: arms of training compared, with their accuracy and the sharpness of where they end.

use lyceum_core::{
    Experiment, Measure, Report, Result, Run, Summary, Violation,
    report::{Axis, Block, Chart, Picture, Series, Table},
    run::Input,
};

use lyceum_data::Cache;
use lyceum_train::{Net, onnx};

use crate::{
    comparison::{Comparison, TrainedArm},
    sparsity::blocks,
};

/// Trains each arm on the same data and compares them.
pub struct Train;

impl Experiment for Train {
    type Config = Comparison;

    fn name(&self) -> &'static str {
        "train"
    }

    fn about(&self) -> &'static str {
        "trains a classifier by one or more gradient estimators (SGD, SAM, ASAM, GSAM, LookSAM, ESAM) and compares accuracy and sharpness"
    }

    fn check(&self, config: &Comparison) -> Result<(), Violation> {
        config.check()
    }

    fn inputs(&self, config: &Comparison) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Comparison, run: &Run) -> Result<Summary> {
        let (data, arms, diverged) = config.train(run)?;
        for arm in &arms {
            onnx::save(&run.folder().join(&arm.name), &arm.model, &data.classes, &data, Vec::new())?;
        }
        let mut summary = Summary { table: table(&arms), headline: headline(), curves: measured_curves(), ..Summary::default() };
        arms.iter().for_each(|arm| summarise(arm, &mut summary));
        diverged.note(&mut summary)?;
        let lead = format!(
            "{} training examples of {} ({} with a wrong label), {} held out, {} for testing.",
            data.train.len(),
            config.data.title(),
            data.wrong_labels,
            data.held_out.len(),
            data.test.len()
        );
        let report = Report::new(format!("Training on {}", config.data.title()), lead)
            .section("Outcome", [Block::Table(summary.table.clone())])
            .section("Learning curves", curves(&arms).map(Block::Chart))
            .section("Sharpness", spectrum(&arms));
        let sparsity = blocks(&arms);
        let report = if sparsity.is_empty() { report } else { report.section("Sparsity", sparsity) };
        run.finish(&summary, &diverged.report(with_network(report, arms.first().map(|arm| &arm.model))))?;
        Ok(summary)
    }
}

/// The report with a drawing of the network and its cost.
pub fn with_network(report: Report, net: Option<&Net>) -> Report {
    let Some(net) = net else { return report };
    let cost = net.graph().cost();
    let caption = format!(
        "{} nodes; {} parameters, {:.1} million multiply-adds and {:.2} MB of activations for one example.",
        net.graph().nodes().len(),
        cost.parameters,
        cost.multiply_adds as f64 / 1e6,
        cost.activation_bytes as f64 / 1e6
    );
    report.section("Network", [Block::Picture { picture: Picture::svg(&net.graph().svg()), caption }])
}

/// What is compared between seeds.
fn headline() -> Vec<Measure> {
    vec![
        Measure::share("test_accuracy", "test accuracy"),
        Measure::number("test_log_loss", "test log-loss"),
        Measure::number("hessian_largest_eigenvalue", "largest Hessian eigenvalue"),
    ]
}

/// What is drawn over the epochs.
pub fn measured_curves() -> Vec<Measure> {
    vec![
        Measure::share("validation_accuracy", "accuracy on held-out examples with right labels"),
        Measure::number("train_loss", "training loss (cross-entropy)"),
    ]
}

/// What a summary says of an arm.
pub fn summarise(arm: &TrainedArm, summary: &mut Summary) {
    let mut put = |name: &str, value: f64| {
        summary.values.insert(format!("{}/{name}", arm.name), value);
    };
    put("train_accuracy", arm.train.accuracy);
    put("test_accuracy", arm.test.accuracy);
    put("test_log_loss", arm.test.log_loss);
    put("best_test_accuracy", arm.best.0.accuracy);
    put("best_epoch", arm.best.1 as f64);
    put("gradient_evaluations", arm.evaluations);
    put("sharpness", arm.sharpness);
    if let Some(sparsity) = &arm.sparsity {
        let cost = arm.model.graph().cost();
        put("multiply_adds", cost.multiply_adds as f64);
        put("parameters", cost.parameters as f64);
        put("training_share", sparsity.training_share());
        put("deviation", f64::from(sparsity.deviation));
    }
    if let Some(&largest) = arm.eigenvalues.first() {
        put("hessian_largest_eigenvalue", largest);
    }
    if let Some(&fifth) = arm.eigenvalues.get(4) {
        put("hessian_fifth_eigenvalue", fifth);
    }
}

/// A row an arm.
fn table(arms: &[TrainedArm]) -> Table {
    let columns =
        ["", "test accuracy", "at best epoch", "train accuracy", "test log-loss", "largest eigenvalue", "sharpness", "evaluations"];
    let mut table = Table::new(columns);
    for arm in arms {
        table.push([
            arm.name.clone(),
            percent(arm.test.accuracy),
            percent(arm.best.0.accuracy),
            percent(arm.train.accuracy),
            format!("{:.3}", arm.test.log_loss),
            arm.eigenvalues.first().map_or_else(|| "–".into(), |value| format!("{value:.1}")),
            format!("{:.4}", arm.sharpness),
            format!("{:.0}", arm.evaluations),
        ]);
    }
    table
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Validation accuracy and training loss over the epochs.
pub fn curves(arms: &[TrainedArm]) -> [Chart; 2] {
    let of =
        |title: &str, label: &str, metric: &str| curve(title, label, metric, arms.iter().map(|arm| (arm.name.as_str(), &*arm.metrics)));
    [
        of("Accuracy on held-out examples with right labels", "accuracy", "validation_accuracy"),
        of("Training loss", "cross-entropy", "train_loss"),
    ]
}

/// A metric over the epochs, of arms with their metrics.
pub fn curve<'a>(title: &str, label: &str, metric: &str, arms: impl Iterator<Item = (&'a str, &'a [serde_json::Value])>) -> Chart {
    let series = arms.map(|(name, metrics)| {
        let number = |line: &serde_json::Value, key: &str| line.get(key).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
        Series::line(name, metrics.iter().map(move |line| (number(line, "step"), number(line, metric))))
    });
    series.fold(Chart::new(title, Axis::linear("epoch"), Axis::linear(label)), Chart::with)
}

/// The largest eigenvalues of the Hessian, arm beside arm.
pub fn spectrum(arms: &[TrainedArm]) -> [Block; 2] {
    let text = "The largest eigenvalues of the Hessian of the training loss at the end of training, by Lanczos' method; \
                lower is flatter. The column `sharpness` of the outcome is how much higher that loss is at the worst point found \
                within a small distance.";
    let axis = Axis::category("rank", (1..=5).map(|rank| rank.to_string()));
    let chart = Chart::new("Largest eigenvalues of the Hessian", axis, Axis::linear("eigenvalue"));
    let chart = arms.iter().fold(chart, |chart, arm| chart.with(Series::bars(&arm.name, arm.eigenvalues.iter().take(5).copied())));
    [Block::Text(text.into()), Block::Chart(chart)]
}
