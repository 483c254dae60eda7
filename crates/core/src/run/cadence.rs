//! When a loop saves what it has.

use std::time::{Duration, Instant};

use crate::{Result, Run};

/// Of the time between two checkpoints, writing them takes at most one part in so many.
const SHARE: u32 = 20;

/// When the next checkpoint is due: so many seconds after the last one, or later where writing it takes long, so that no more than a
/// twentieth of the time goes into checkpoints. With 0 seconds one is always due.
#[derive(Debug)]
pub struct Cadence {
    least: Duration,
    cost: Duration,
    since: Instant,
}

impl Cadence {
    /// Of checkpoints that are at least so many seconds apart; the first is due so many seconds from now.
    pub fn new(seconds: f64) -> Self {
        // A number that no duration holds means never.
        let least = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Self { least, cost: Duration::ZERO, since: Instant::now() }
    }

    /// Whether a checkpoint should be written now.
    pub fn is_due(&self) -> bool {
        self.least.is_zero() || self.since.elapsed() >= self.least.max(self.cost.saturating_mul(SHARE))
    }

    /// To be called between two units of work. Saves where somebody asked to stop, and errs; saves where a checkpoint is due.
    pub fn between(&mut self, run: &Run, save: impl FnOnce() -> Result<()>) -> Result<()> {
        if let Err(stop) = run.stop_if_requested() {
            save()?;
            return Err(stop);
        }
        if self.is_due() { self.save(save) } else { Ok(()) }
    }

    /// Writes one, and measures how long it takes.
    pub fn save(&mut self, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        write()?;
        (self.cost, self.since) = (begun.elapsed(), Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_to_write_is_written_seldom() {
        let slow = || {
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        };
        let mut cadence = Cadence::new(1e-3);
        assert!(!Cadence::new(3600.0).is_due() && !Cadence::new(f64::MAX).is_due());
        cadence.save(slow).unwrap();
        // Twenty times 20 ms have to pass, not one.
        cadence.since -= Duration::from_millis(390);
        assert!(!cadence.is_due() || cadence.since.elapsed() >= Duration::from_millis(400));
        cadence.since -= Duration::from_mins(1);
        assert!(cadence.is_due());
        let mut always = Cadence::new(0.0);
        always.save(slow).unwrap();
        assert!(always.is_due());
    }
}
