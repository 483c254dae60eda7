//! What is told of a federated run: table, charts, who has what.

use lyceum_core::{
    Measure, Report, Result, Summary,
    report::{Axis, Block, Chart, Picture, Series, Table},
};
use lyceum_data::Examples;
use lyceum_train::{Evaluation, evaluate};

use super::{Arm, Config, Progress, clients::Federation};

/// Evaluations at the end over which a loss is averaged: with few clients a round the server's model goes up and down.
const TAIL: usize = 50;

impl Config {
    pub(super) fn summarise(&self, learnt: &[(&Arm, Progress)]) -> Summary {
        let columns = ["method", "server, %", "log-loss", "active mean, %", "all mean, %", "worst tenth, %"].map(str::to_owned);
        let reached = self.targets.iter().map(|target| format!("to {} %", 100.0 * target));
        let to = |target: &f64| Measure::number(&format!("rounds_to_{target}"), &format!("rounds to {} %", 100.0 * target));
        let accuracies = [Measure::share("server_accuracy", "server's accuracy"), Measure::share("worst_tenth", "worst tenth of clients")];
        let mut summary = Summary {
            table: Table::new(columns.into_iter().chain(reached)),
            headline: accuracies.into_iter().chain(self.targets.iter().map(to)).collect(),
            curves: vec![Measure::share("server_accuracy", "server's accuracy"), Measure::number("local_loss", "clients' loss")],
            ..Summary::default()
        };
        for (arm, progress) in learnt {
            let Some(last) = progress.points.last() else { continue };
            let percent = |value: f64| format!("{:.2}", 100.0 * value);
            let worst = worst_tenth(&progress.fairness);
            let mut row = vec![arm.name().to_owned(), percent(last.server), format!("{:.4}", last.loss), percent(last.active)];
            row.extend([last.all.map_or("–".into(), percent), percent(worst)]);
            for (key, value) in [("server_accuracy", last.server), ("active_accuracy", last.active), ("worst_tenth", worst)] {
                summary.values.insert(format!("{}/{key}", arm.name()), value);
            }
            let tail = &progress.points[progress.points.len().saturating_sub(TAIL)..];
            let mean = tail.iter().map(|point| point.loss).sum::<f64>() / tail.len() as f64;
            summary.values.insert(format!("{}/server_loss", arm.name()), last.loss);
            summary.values.insert(format!("{}/mean_loss", arm.name()), mean);
            summary.values.insert(format!("{}/rounds", arm.name()), last.round as f64);
            summary.values.extend(progress.epsilon.map(|epsilon| (format!("{}/epsilon", arm.name()), epsilon)));
            summary.values.insert(format!("{}/refused", arm.name()), progress.refused as f64);
            summary.values.insert(format!("{}/bytes", arm.name()), last.bytes as f64);
            for point in &progress.points {
                summary.values.insert(format!("{}/accuracy/{}", arm.name(), point.round), point.server);
            }
            for target in &self.targets {
                let found = progress.points.iter().find(|point| point.reaches(*target));
                row.push(found.map_or("–".into(), |point| format!("{} ({})", point.round, megabytes(point.bytes))));
                if let Some(point) = found {
                    summary.values.insert(format!("{}/rounds_to_{target}", arm.name()), point.round as f64);
                    summary.values.insert(format!("{}/bytes_to_{target}", arm.name()), point.bytes as f64);
                }
            }
            summary.table.push(row);
        }
        summary
    }

    pub(super) fn report(&self, federation: &Federation, learnt: &[(&Arm, Progress)], summary: &Summary) -> Result<Report> {
        let Federation { data, parts, origin } = federation;
        let sizes = parts.iter().map(Vec::len);
        let lead = format!(
            "{} examples of {} on {} clients ({} to {} each); {} of them active in a round. Accuracies are on the {} test examples: of the \
             server's model, from which the next round starts, of the mean of the models just sent, and of the mean of every client's last \
             model. Rounds (and bytes, up and down) are those at which the better of the first two reached a target.",
            data.train.len(),
            origin,
            parts.len(),
            sizes.clone().min().unwrap_or(0),
            sizes.max().unwrap_or(0),
            match self.participation.fraction {
                fraction if fraction >= 1.0 => "all".to_owned(),
                fraction => format!("{} %", 100.0 * fraction),
            },
            data.test.len()
        );
        let percent = Axis::linear("test accuracy, %");
        let mut by_round = Chart::new("Server model by rounds", Axis::linear("round"), percent.clone());
        let mut by_bytes = Chart::new("Server model by bytes", Axis::linear("MB up and down"), percent.clone());
        let mut active = Chart::new("Mean of the active clients", Axis::linear("round"), percent);
        let mut loss = Chart::new("Test log-loss of the server model", Axis::linear("round"), Axis::log("nats"));
        let mut drift = Chart::new("How far clients drift apart", Axis::linear("round"), Axis::linear("mean distance from their mean"));
        for (arm, progress) in learnt {
            let points = progress.points.iter();
            by_round = by_round.with(Series::line(arm.name(), points.clone().map(|point| (point.round as f64, 100.0 * point.server))));
            by_bytes =
                by_bytes.with(Series::line(arm.name(), points.clone().map(|point| (point.bytes as f64 / 1e6, 100.0 * point.server))));
            active = active.with(Series::line(arm.name(), points.clone().map(|point| (point.round as f64, 100.0 * point.active))));
            loss = loss.with(Series::line(arm.name(), points.clone().map(|point| (point.round as f64, point.loss))));
            drift = drift.with(Series::line(arm.name(), points.map(|point| (point.round as f64, point.drift))));
        }
        let mut report = Report::new("One model over many clients", lead)
            .section(
                "Outcome",
                [
                    Block::Table(summary.table.clone()),
                    Block::Chart(by_round),
                    Block::Chart(by_bytes),
                    Block::Chart(active),
                    Block::Chart(loss),
                ],
            )
            .section("Drift", [Block::Chart(drift)]);
        if let Some(privacy) = &self.privacy {
            let mut table = Table::new(["method", "ε"]);
            for (arm, progress) in learnt {
                table.push([arm.name().to_owned(), progress.epsilon.map_or("–".into(), |epsilon| format!("{epsilon:.2}"))]);
            }
            let text = format!(
                "Each client's move is cut to norm {}, and the sum gets noise of {} times that. ε at δ = {} is that of the client that took \
                 part most often, without counting on who was drawn remaining secret.",
                privacy.clip, privacy.noise, privacy.delta,
            );
            report = report.section("Privacy", [Block::Text(text), Block::Table(table)]);
        }
        let refused: Vec<String> = learnt
            .iter()
            .filter(|(_, progress)| progress.refused > 0)
            .map(|(arm, progress)| format!("{}: {} replies were not taken.\n{}", arm.name(), progress.refused, progress.reasons.join("\n")))
            .collect();
        if !refused.is_empty() {
            report = report.section("Replies that were left out", [Block::Code(refused.join("\n\n"))]);
        }
        let caption = "Clients from left to right, classes from top to bottom: the share of a client's examples that is of a class.";
        let who = Block::Picture { picture: partition_picture(federation)?, caption: caption.into() };
        Ok(report.section("Who has what", [who]))
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Each client's accuracy as its own mixture of classes would see it: Σ over classes of its share × the test accuracy of the class.
pub(super) fn fairness(model: &lyceum_train::Net, Federation { data, parts, .. }: &Federation) -> Result<Vec<f64>> {
    let classes = data.classes.len();
    let mut by_class = vec![0.0; classes];
    for (class, accuracy) in by_class.iter_mut().enumerate() {
        let places: Vec<usize> = (0..data.test.len()).filter(|&place| data.test.labels[place] == class).collect();
        if !places.is_empty() {
            let Evaluation { accuracy: found, .. } = evaluate(model, &data.test.subset(&places))?;
            *accuracy = found;
        }
    }
    let of = |part: &Vec<usize>| shares(&data.train, part, classes).iter().zip(&by_class).map(|(share, accuracy)| share * accuracy).sum();
    Ok(parts.iter().map(of).collect())
}

/// The mean of the lowest tenth.
fn worst_tenth(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let worst = &sorted[..sorted.len().div_ceil(10)];
    worst.iter().sum::<f64>() / worst.len().max(1) as f64
}

/// The share of each class among some examples.
fn shares(examples: &Examples, part: &[usize], classes: usize) -> Vec<f64> {
    let mut shares = vec![0.0; classes];
    part.iter().for_each(|&place| shares[examples.labels[place]] += 1.0 / part.len().max(1) as f64);
    shares
}

/// A column a client, a row a class; the darker, the more.
fn partition_picture(Federation { data, parts, .. }: &Federation) -> Result<Picture> {
    const HEIGHT: usize = 14;
    let classes = data.classes.len();
    let width = (900 / parts.len()).clamp(1, 14);
    let columns: Vec<Vec<f64>> = parts.iter().map(|part| shares(&data.train, part, classes)).collect();
    let mut pixels = Vec::with_capacity(3 * parts.len() * width * classes * HEIGHT);
    for class in (0..classes).flat_map(|class| [class; HEIGHT]) {
        for column in &columns {
            let mix = |dark: f64| (255.0 + (dark - 255.0) * column[class].sqrt()) as u8;
            (0..width).for_each(|_| pixels.extend([mix(20.0), mix(60.0), mix(120.0)]));
        }
    }
    Picture::rgb(parts.len() * width, classes * HEIGHT, &pixels)
}
