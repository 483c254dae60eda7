//! Trains a classifier of digits by sharpness-aware minimisation, calibrates prediction sets on held-out examples, and predicts.
//!
//!     cargo run --release -p classifier-example

use lyceum_conformal::{Conformal, ConformalConfig, ScoreConfig, metrics};
use lyceum_core::{Result, Seed};
use lyceum_data::{Cache, prepare::DataConfig};
use lyceum_optim::EstimatorConfig;
use lyceum_train::{ModelConfig, TrainConfig, Trainer, cpu, logits};

/// The share of test images whose set holds their digit, and the mean size of the sets.
fn certify(alpha: f64, epochs: usize, seed: Seed) -> Result<(f64, f64)> {
    let data = DataConfig::named("digits").prepare(&Cache::locate(), seed)?;
    let classes = data.classes.len();

    let model = ModelConfig::Mlp { hidden: vec![64], dropout: 0.0 }.init(data.extent, classes, seed, &cpu())?;
    let config = TrainConfig { epochs, ..TrainConfig::default() };
    let mut trainer = Trainer::new(config, model, classes, EstimatorConfig::sam(0.1).build()?, seed)?;
    trainer.run_epochs(&data.train)?;

    let config = ConformalConfig { alpha, score: ScoreConfig::raps(0.01, 2), ..ConformalConfig::default() };
    let held_out = logits(trainer.model(), &data.held_out)?;
    let conformal = Conformal::calibrate(config, held_out.view(), &data.held_out.labels, seed)?;
    let sets = conformal.predict(logits(trainer.model(), &data.test)?.view(), seed.child("test"))?;
    Ok((metrics::coverage(&sets, &data.test.labels).share, metrics::mean_size(&sets)))
}

fn main() -> Result<()> {
    let (coverage, size) = certify(0.05, 20, Seed::new(1))?;
    println!("{:.1} % of the sets contain the digit; a set has {size:.2} labels on average", 100.0 * coverage);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_cover_as_often_as_they_should() {
        let (coverage, size) = certify(0.1, 5, Seed::new(1)).expect("data that is part of the program");
        assert!(coverage > 0.85 && size < 3.0, "{coverage} {size}");
    }

    #[test]
    fn a_wrong_level_is_an_error_and_no_panic() {
        assert_eq!(certify(0.0, 1, Seed::new(1)).unwrap_err().exit_code(), 2);
        assert_eq!(certify(0.1, 0, Seed::new(1)).unwrap_err().exit_code(), 2);
    }
}
