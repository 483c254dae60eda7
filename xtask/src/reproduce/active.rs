//! Active learning and active testing: bias of estimates, labels saved, training with and without weights.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::Result;

use super::{Cell, Extent, Results, figure, kept_cells, run_missing_cells, simulated};
use crate::{
    machine,
    shell::{self, root},
};

type Values = BTreeMap<String, f64>;

/// Name, what it says above its table, overrides of `recipes/active/training.toml`. The longest is first.
const TRAININGS: [(&str, &str, &[&str]); 3] = [
    (
        "training-mnist",
        "MNIST, a network of two convolutions with dropout, BALD of 20 networks, 10 repetitions",
        &[
            "data.name=mnist",
            "data.limit=11000",
            "data.held_out=0.1",
            "model={cnn={channels=[16,32],hidden=128,batch_norm=false,dropout=0.5}}",
            "training.learning_rate=0.03",
            "acquisition.samples=20",
            "acquisition.batch=5",
            "acquisition.labels=[10,30,50,70]",
            "acquisition.steps=200",
            "acquisition.repetitions=10",
        ],
    ),
    (
        "training-digits",
        "Digits, one hidden layer of 64 with dropout, BALD of 100 networks, 40 repetitions: a flexible network",
        &["acquisition.repetitions=40"],
    ),
    (
        "training-linear",
        "Digits, logistic regression with an L2 penalty of 1, entropy, 40 repetitions: an inflexible model",
        &[
            "model=linear",
            "acquisition.samples=0",
            "acquisition.score=entropy",
            "training.weight_decay.in-loss=1.0",
            "acquisition.repetitions=40",
        ],
    ),
];

/// The same of `recipes/active/testing.toml`.
const TESTINGS: [(&str, &str, &[&str]); 3] = [
    (
        "testing-mnist",
        "MNIST: a network with one hidden layer of 64 trained on 5,000 examples, five convolutional networks as surrogate, a pool of 2,000",
        &["data.name=mnist", "data.limit=5000", "data.held_out=0.1", "model={mlp={hidden=[64]}}", "testing.pool=2000"],
    ),
    ("testing-digits", "Digits: a network with two hidden layers of 64, five convolutional networks as surrogate, a pool of 800", &[]),
    ("testing-digits-linear", "Digits: the same network, five logistic regressions as surrogate", &["surrogate.model=linear"]),
];

pub(super) fn run(extent: Extent) -> Result<()> {
    shell::data("mnist")?;
    let machine = machine::describe()?;
    let folder = root().join("results/active");
    let kept = kept_cells(&folder, extent)?;
    let cell = |recipe: &'static str, name: &str, overrides: &[&str]| Cell {
        recipe,
        name: name.to_owned(),
        overrides: overrides.iter().map(|&change| change.to_owned()).collect(),
    };
    let trainings = TRAININGS.iter().map(|(name, _, overrides)| cell("recipes/active/training.toml", name, overrides));
    let testings = TESTINGS.iter().map(|(name, _, overrides)| cell("recipes/active/testing.toml", name, overrides));
    let toy = cell("recipes/active/toy-regression.toml", "toy", &[]);
    let mut cells: Vec<Cell> = trainings.chain(testings).chain([toy]).collect();
    let mut found = run_missing_cells("active", &cells, &kept, extent)?;
    let (cell, intervals) = simulated("lyceum-active", "interval_coverage", &kept)?;
    cells.push(cell);
    found.push(intervals);
    let by_name: BTreeMap<&str, &Values> = cells.iter().map(|cell| cell.name.as_str()).zip(&found).collect();

    std::fs::create_dir_all(&folder)?;
    let mut text = String::from(
        "# Active learning without bias\n\n\
         Recipes: `recipes/active/*.toml`; again: `cargo xtask reproduce active`. Seed 1.\n\n\
         ## A line through clustered points\n\n\
         101 points in three clusters; points are taken by their distance to those taken before. Left: how far the estimate of a\n\
         fixed line's risk is from it, over 3,000 pools. Right: the risk of lines fitted with these weights, on other points.\n",
    );
    toy_tables(&mut text, by_name["toy"])?;
    text += "\n## A classifier's risk from few labels\n\n\
         Points of a test pool drawn in proportion to the loss that a surrogate expects; 500 runs. Labels saved: how many labels drawn\n\
         evenly give the same squared error, over those used.\n";
    for (name, about, _) in TESTINGS {
        testing_table(&mut text, about, by_name[name])?;
    }
    text += "\n## Intervals by simulation\n\n";
    interval_table(&mut text, by_name["interval_coverage"])?;
    text += "\n## Training with and without weights\n\n\
         A pool with class shares 1, .5, .5, .2, .2, .2, .1, .1, .01, .01 and 10 % of the labels drawn at random; 10 labels drawn evenly,\n\
         then by the model. Networks are trained from scratch. Test examples have the pool's shares and right labels. ± standard error.\n\
         Overfitting bias: r − R_LURE, active-learning bias: R_LURE − R̃, of the unweighted training, with r on labels as wrong as the pool's.\n";
    for (name, about, _) in TRAININGS {
        training_table(&mut text, about, by_name[name])?;
        let line = |arm: &str, key: &str| {
            let points = labels_of(by_name[name], arm).into_iter().map(|m| {
                let value = |what: &str| by_name[name].get(&format!("{m}/{arm}{key}{what}")).copied().unwrap_or(f64::NAN);
                (m as f64, value(""), value("_standard_error"))
            });
            points.collect::<Vec<_>>()
        };
        let arms =
            ["unweighted", "PURE", "LURE", "random points"].map(|arm| figure::Line { name: arm.into(), points: line(arm, "/log_loss") });
        figure::lines(&folder.join(format!("{name}.svg")), "Test log-loss", ["labels", "nats"], &arms)?;
        let biases = [("overfitting", "overfitting_bias"), ("active learning", "active_learning_bias")]
            .map(|(label, key)| figure::Line { name: label.into(), points: line("", key) });
        figure::lines(&folder.join(format!("{name}-biases.svg")), "Biases of the unweighted training's loss", ["labels", "nats"], &biases)?;
        write!(text, "\n![log-loss]({name}.svg)\n![biases]({name}-biases.svg)\n")?;
    }
    Results { folder: &folder, machine, seeds: &[1], cells: &cells, found: &found, kept }.write(text)
}

fn interval_table(text: &mut String, values: &Values) -> Result<()> {
    let value = |name: &str| values.get(name).copied().unwrap_or(f64::NAN);
    let (pool, runs) = (value("pool"), value("runs"));
    write!(
        text,
        "Intervals of 95 % for the risk of a pool of {pool:.0}, of whose losses a tenth are large; {runs:.0} runs\n\
         (`crates/active/examples/interval_coverage.rs`). Width: of the interval, over 2 · 1.96 standard deviations of the estimate; 1 is right. Few\n\
         labels are drawn with Student's t, which is wider.\n"
    )?;
    for (scores, about) in [("expected loss", "in proportion to a noisy guess of their losses"), ("uniform", "evenly")] {
        write!(
            text,
            "\nPoints taken {about}:\n\n\
             | M/N | PURE: coverage, % | width | LURE: coverage, % | width |\n|---:|---:|---:|---:|---:|\n"
        )?;
        for labels in [10, 20, 50, 100, 200, 333, 500, 700, 900, 990, 1_000] {
            write!(text, "| {:.2} |", f64::from(labels) / pool)?;
            for estimator in ["PURE", "LURE"] {
                let of = |what: &str| value(&format!("{scores}/{labels}/{estimator}/{what}"));
                let width = if of("width").is_nan() { "exact".to_owned() } else { format!("{:.2}", of("width")) };
                write!(text, " {:.1} | {width} |", 100.0 * of("coverage"))?;
            }
            writeln!(text)?;
        }
    }
    Ok(())
}

fn toy_tables(text: &mut String, values: &Values) -> Result<()> {
    for (proposal, about) in [("ε-greedy, ε = 0.1", "ε-greedy, ε = 0.1"), ("proportional", "in proportion to the distance")] {
        write!(
            text,
            "\nPoints taken {about}:\n\n\
             | M | bias naive | bias PURE | bias LURE | MSE naive | MSE PURE | MSE LURE | MSE uniform | fit naive | fit PURE | fit LURE | fit uniform |\n\
             |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        )?;
        for m in [5, 10, 20, 50] {
            let value =
                |estimator: &str, what: &str| values.get(&format!("{proposal}/{m}/{estimator}/{what}")).copied().unwrap_or(f64::NAN);
            write!(text, "| {m} |")?;
            for estimator in ["naive", "PURE", "LURE"] {
                write!(text, " {:+.4} ± {:.4} |", value(estimator, "bias"), value(estimator, "bias_standard_error"))?;
            }
            for estimator in ["naive", "PURE", "LURE", "uniform sampling"] {
                write!(text, " {:.2e} |", value(estimator, "mean_squared_error"))?;
            }
            for estimator in ["naive", "PURE", "LURE", "uniform sampling"] {
                write!(text, " {:.3} |", value(estimator, "fit_risk"))?;
            }
            writeln!(text)?;
        }
    }
    Ok(())
}

fn testing_table(text: &mut String, about: &str, values: &Values) -> Result<()> {
    write!(
        text,
        "\n{about}. Risk (log-loss) {:.4}.\n\n\
         | M | RMSE uniform | RMSE naive | RMSE PURE | RMSE LURE | bias LURE | MSE LURE / uniform | labels saved | 95 % intervals that hold |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        values.get("risk").copied().unwrap_or(f64::NAN)
    )?;
    for m in [10, 20, 50, 100] {
        let value = |of: &str, what: &str| values.get(&format!("{of}/{what}")).copied().unwrap_or(f64::NAN);
        let (uniform, lure) = (format!("uniform/{m}/naive"), format!("surrogate/{m}/LURE"));
        let squared = |of: &str| value(of, "mean_squared_error");
        let root = |estimator: &str| squared(&format!("surrogate/{m}/{estimator}")).sqrt();
        writeln!(
            text,
            "| {m} | {:.4} | {:.4} | {:.4} | {:.4} | {:+.4} ± {:.4} | {:.2} | {:.2}x | {:.1} % |",
            squared(&uniform).sqrt(),
            root("naive"),
            root("PURE"),
            root("LURE"),
            value(&lure, "bias"),
            value(&lure, "bias_standard_error"),
            squared(&lure) / squared(&uniform),
            value(&lure, "labels_saved"),
            100.0 * value(&lure, "held")
        )?;
    }
    Ok(())
}

/// After how many labels an arm was measured.
fn labels_of(values: &Values, arm: &str) -> Vec<usize> {
    let ending = if arm.is_empty() { "/overfitting_bias".into() } else { format!("/{arm}/log_loss") };
    let mut labels: Vec<usize> = values.keys().filter_map(|key| key.strip_suffix(&ending)?.parse().ok()).collect();
    labels.sort_unstable();
    labels
}

fn training_table(text: &mut String, about: &str, values: &Values) -> Result<()> {
    write!(
        text,
        "\n{about}.\n\n\
         | labels | accuracy, %: unweighted | PURE | LURE | random | log-loss: unweighted | PURE | LURE | random | overfitting bias | active-learning bias |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )?;
    for m in labels_of(values, "") {
        let value = |key: String, digits: usize| {
            let of = |key: &str| values.get(key).copied().unwrap_or(f64::NAN);
            format!("{:.digits$} ± {:.digits$}", of(&key), of(&format!("{key}_standard_error")))
        };
        let arms = ["unweighted", "PURE", "LURE", "random points"];
        let accuracies = arms.map(|arm| value(format!("{m}/{arm}/accuracy"), 1)).join(" | ");
        let losses = arms.map(|arm| value(format!("{m}/{arm}/log_loss"), 3)).join(" | ");
        let biases = ["overfitting_bias", "active_learning_bias"].map(|key| value(format!("{m}/{key}"), 3)).join(" | ");
        writeln!(text, "| {m} | {accuracies} | {losses} | {biases} |")?;
    }
    Ok(())
}
