//! The experiment `multilingual`: one encoder for many languages, their gradients combined by each method. It joins
//! `lyceum-optim`, `lyceum-multitask` and the encoder of `lyceum-train`.

mod corpus;
mod picture;

use std::sync::{Arc, Mutex, PoisonError};

use corpus::{Corpus, TextConfig};
use lyceum_core::{
    DivergedArms, Experiment, Measure, Report, Result, Run, Seed, Summary, Violation, range,
    report::{Axis, Block, Chart, Series, Table},
    run::{Input, check_names},
};
use lyceum_multitask::{
    Method,
    similarity::{self, Similarity},
};
use lyceum_optim::{EstimatorConfig, Multitask, multitask::Granularity};
use lyceum_train::{
    Batch, Bert, ClipNorm, DeviceName, GradientCombiner, OptimizerConfig, ParamSpace, Pipeline, Schedule, Slopes, State, TokenTasks,
    TokenTasksBatch, Vector, evaluate_tokens,
    steps::{self, Look, Steps},
};
use ndarray::Array2;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encoder::EncoderConfig;

/// Learns languages together with each method.
#[derive(Debug, Clone, Copy)]
pub struct Multilingual;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    data: TextConfig,
    #[serde(default)]
    model: EncoderConfig,
    #[serde(default)]
    training: StepsConfig,
    /// How gradients are estimated.
    #[serde(default)]
    estimator: EstimatorConfig,
    /// What is compared.
    arm: Vec<Arm>,
}

/// How long and how fast.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct StepsConfig {
    /// Optimiser steps.
    #[serde(with = "range::AtLeastOne")]
    steps: usize,
    /// Pairs of each language in a step.
    #[serde(with = "range::AtLeastOne")]
    batch_size: usize,
    /// The peak learning rate.
    #[serde(with = "range::Positive")]
    learning_rate: f64,
    /// Steps over which the rate rises to its peak.
    warmup: usize,
    /// The largest norm of a gradient.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    clip_norm: Option<f64>,
    /// How the learning rate changes.
    schedule: Schedule,
    /// The optimiser.
    optimizer: OptimizerConfig,
    /// Steps between two looks at held-out paragraphs; a checkpoint is written at each.
    #[serde(with = "range::AtLeastOne")]
    evaluate_every: usize,
}

impl Default for StepsConfig {
    fn default() -> Self {
        Self {
            steps: 1_000,
            batch_size: 8,
            learning_rate: 3e-3,
            warmup: 50,
            clip_norm: None,
            schedule: Schedule::Cosine,
            optimizer: OptimizerConfig::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
            evaluate_every: 100,
        }
    }
}

/// One way to learn.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arm {
    /// Its name, also its folder in the run.
    name: String,
    /// How the languages' gradients are combined.
    #[serde(default)]
    method: Method,
    /// What is compared and combined at a time.
    #[serde(default)]
    granularity: Granularity,
    /// Draw a step's pairs from all languages together, language i of nᵢ pairs with a probability that grows with nᵢ^(1/T),
    /// instead of equally many of each; there is nothing to combine then.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    mixing_temperature: Option<f64>,
    /// A learning rate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    learning_rate: Option<f64>,
}

/// What an arm came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Learnt {
    /// After how many steps, and the loss and accuracy of each language then.
    curve: Vec<(usize, Vec<[f64; 2]>)>,
    similarity: Option<Similarity>,
}

/// A combiner that the experiment can ask how alike gradients were.
struct Shared(Arc<Mutex<Multitask>>);

impl GradientCombiner for Shared {
    fn combine(&mut self, slopes: &Slopes, space: &ParamSpace) -> Result<Vector> {
        locked(&self.0, |combiner| combiner.combine(slopes, space))
    }

    fn state(&self) -> State {
        locked(&self.0, |combiner| combiner.state())
    }

    fn restore(&mut self, state: State) -> Result<()> {
        locked(&self.0, |combiner| combiner.restore(state))
    }
}

fn locked<R>(combiner: &Mutex<Multitask>, work: impl FnOnce(&mut Multitask) -> R) -> R {
    work(&mut combiner.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Experiment for Multilingual {
    type Config = Config;

    fn name(&self) -> &'static str {
        "multilingual"
    }

    fn about(&self) -> &'static str {
        "one encoder for many languages: combiners of gradients, and which languages' gradients are alike"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        let wrong = |key: &str, message: String| Err(Violation::new(key, message));
        config.model.check("model")?;
        if config.arm.is_empty() {
            return wrong("arm", "found none; allowed: at least one".into());
        }
        check_names("arm", config.arm.iter().map(|arm| arm.name.as_str()))?;
        for arm in &config.arm {
            if let Err(error) = arm.method.check() {
                return wrong("arm.method", error.to_string());
            }
            if arm.mixing_temperature.is_some() && arm.method != Method::Sum {
                return wrong("arm.method", "found together with `mixing_temperature`; allowed: one of them".into());
            }
        }
        Ok(())
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok(config.data.inputs())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let corpus = Corpus::read(&config.data, run.seed())?;
        let (mut learnt, mut diverged) = (Vec::new(), DivergedArms::default());
        for arm in &config.arm {
            let part = run.child(&arm.name)?;
            let outcome = diverged.catch(run, &arm.name, config.learn(&part, &corpus, arm, run.seed()))?;
            learnt.extend(outcome.map(|progress| (arm, progress)));
        }
        let mut summary = config.summarise(&corpus, &learnt);
        diverged.note(&mut summary)?;
        run.finish(&summary, &diverged.report(config.report(&corpus, &learnt, &summary)))?;
        Ok(summary)
    }
}

impl Config {
    /// Learns with one arm, or goes on; `seed` decides beginning and order of pairs, alike for all arms.
    fn learn(&self, run: &Run, corpus: &Corpus, arm: &Arm, seed: Seed) -> Result<Learnt> {
        let model = self.model.init(corpus.vocabulary(), self.data.length, seed, &self.device);
        let combiner = Arc::new(Mutex::new(Multitask::new(arm.method, arm.granularity, seed)?));
        let mut pipeline =
            Pipeline::new(model, self.estimator.build()?, &self.training.optimizer)?.with_combiner(Box::new(Shared(combiner.clone())));
        if let Some(max_norm) = self.training.clip_norm {
            pipeline = pipeline.with_transform(Box::new(ClipNorm { max_norm }));
        }
        let StepsConfig { steps, learning_rate, warmup, schedule, evaluate_every, .. } = self.training.clone();
        let learning_rate = arm.learning_rate.unwrap_or(learning_rate);
        let steps = Steps { count: steps, learning_rate, warmup, schedule, look_every: evaluate_every };
        let next = |step| {
            let batch = self.batch(corpus, arm, step, seed);
            (TokenTasks { tasks: batch.0.len() }, batch)
        };
        let look = |model: &Bert, step, kept: &mut Learnt| {
            let found = corpus.tests().iter().map(|batches| evaluate_tokens(model, batches)).collect::<Result<Vec<[f64; 2]>>>()?;
            let mean = found.iter().map(|[loss, _]| loss).sum::<f64>() / found.len() as f64;
            kept.curve.push((step, found));
            if let Some(seen) = locked(&combiner, Multitask::take_similarity).filter(|_| arm.mixing_temperature.is_none()) {
                kept.similarity = Some(match kept.similarity.take() {
                    Some(before) => before.merged(&seen)?,
                    None => seen,
                });
            }
            Ok(Look { metrics: vec![("held_out_loss", mean)], message: format!("loss {mean:.3}") })
        };
        Ok(steps::train(run, &arm.name, pipeline, &steps, seed, next, look)?.1)
    }

    /// The pairs of a step: as many of each language, or drawn from all.
    fn batch(&self, corpus: &Corpus, arm: &Arm, step: usize, seed: Seed) -> TokenTasksBatch {
        let (count, languages) = (self.training.batch_size, corpus.languages().len());
        let mut rng = seed.stream_at("multilingual/batch", step as u64);
        let Some(temperature) = arm.mixing_temperature else {
            let draw = |language: usize| {
                let pairs: Vec<(usize, usize)> = (0..count).map(|i| (language, corpus.place(language, step * count + i, seed))).collect();
                corpus.batch(&pairs, &mut rng)
            };
            return TokenTasksBatch((0..languages).map(draw).collect());
        };
        let weights: Vec<f64> = (0..languages).map(|language| (corpus.count(language) as f64).powf(1.0 / temperature)).collect();
        let total: f64 = weights.iter().sum();
        let pairs: Vec<(usize, usize)> = (0..count * languages)
            .map(|_| {
                let mut left = rng.random::<f64>() * total;
                let language = weights.iter().position(|weight| {
                    left -= weight;
                    left < 0.0
                });
                let language = language.unwrap_or(languages - 1);
                (language, rng.random_range(0..corpus.count(language)))
            })
            .collect();
        TokenTasksBatch(vec![corpus.batch(&pairs, &mut rng)])
    }

    fn summarise(&self, corpus: &Corpus, learnt: &[(&Arm, Learnt)]) -> Summary {
        let names = corpus.languages();
        let columns = ["combiner", "mean loss", "mean accuracy, %"].into_iter().map(str::to_owned).chain(names.iter().cloned());
        let headline = vec![Measure::number("loss", "mean loss"), Measure::share("accuracy", "mean accuracy")];
        let curves = vec![Measure::number("train_loss", "training loss")];
        let mut summary = Summary { table: Table::new(columns), headline, curves, ..Summary::default() };
        for (arm, progress) in learnt {
            let Some((_, last)) = progress.curve.last() else { continue };
            let mean = |which: usize| last.iter().map(|found| found[which]).sum::<f64>() / last.len() as f64;
            let cells = [arm.name.clone(), format!("{:.3}", mean(0)), format!("{:.1}", 100.0 * mean(1))];
            summary.table.push(cells.into_iter().chain(last.iter().map(|[loss, _]| format!("{loss:.3}"))));
            summary.values.insert(format!("{}/loss", arm.name), mean(0));
            summary.values.insert(format!("{}/accuracy", arm.name), mean(1));
            for (name, [loss, accuracy]) in names.iter().zip(last) {
                summary.values.insert(format!("{}/loss/{name}", arm.name), *loss);
                summary.values.insert(format!("{}/accuracy/{name}", arm.name), *accuracy);
            }
            if let Some(similarity) = &progress.similarity {
                let cosines = similarity.mean_of_groups();
                for (i, a) in names.iter().enumerate() {
                    for (j, b) in names.iter().enumerate().skip(i + 1) {
                        summary.values.insert(format!("{}/cosine/{a}/{b}", arm.name), cosines[[i, j]]);
                    }
                }
                let correlation = similarity::correlation(cosines.view(), self.data.family_distances().view());
                if correlation.is_finite() {
                    summary.values.insert(format!("{}/cosine_family_correlation", arm.name), correlation);
                }
            }
        }
        summary
    }

    fn report(&self, corpus: &Corpus, learnt: &[(&Arm, Learnt)], summary: &Summary) -> Report {
        let lead = format!(
            "One encoder learns to fill in the masked tokens of paragraphs in {} languages beside the same paragraph in {}. The loss is in \
             nats a masked token, on paragraphs that were held out of training in every language.",
            corpus.languages().len(),
            self.data.source
        );
        let mut curve = Chart::new("Held-out loss", Axis::linear("step"), Axis::linear("mean loss, nats a token"));
        for (arm, progress) in learnt {
            let points = progress
                .curve
                .iter()
                .map(|(step, found)| (*step as f64, found.iter().map(|[loss, _]| loss).sum::<f64>() / found.len() as f64));
            curve = curve.with(Series::line(&arm.name, points));
        }
        let mut data = Table::new(["language", "family", "training pairs", "held-out pairs"]);
        for (number, (name, language)) in self.data.languages.iter().enumerate() {
            let held_out: usize = corpus.tests()[number].iter().map(Batch::len).sum();
            data.push([name.clone(), language.family.clone(), corpus.count(number).to_string(), held_out.to_string()]);
        }
        let mut report = Report::new("One encoder, many languages", lead)
            .section("Outcome", [Block::Table(summary.table.clone()), Block::Chart(curve)])
            .section("Data", [Block::Table(data)]);
        for (arm, progress) in learnt {
            let Some(similarity) = &progress.similarity else { continue };
            let cosines = similarity.mean_of_groups();
            let mut text =
                "The mean cosine of each pair of languages' gradients over training, with the tree that average linkage on 1 − cosine \
                            makes of it: the further left two branches meet, the less alike."
                    .to_owned();
            if let Some(correlation) = summary.values.get(&format!("{}/cosine_family_correlation", arm.name)) {
                text += &format!(" Spearman correlation with the distance of the languages' families: {correlation:+.2}.");
            }
            let distances = Array2::from_shape_fn(cosines.dim(), |at| 1.0 - cosines[at]);
            let picture = picture::clusters(corpus.languages(), cosines.view(), &similarity::dendrogram(distances.view()));
            let picture = Block::Picture { picture, caption: arm.name.clone() };
            report = report.section(format!("Whose gradients are alike: {}", arm.name), [Block::Text(text), picture]);
        }
        report
    }
}
