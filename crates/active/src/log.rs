//! The record of an acquisition: what was taken, and with which probability.

use std::path::Path;

use lyceum_core::{Error, Result, checksum::sha256, run};
use serde::{Deserialize, Serialize};

/// One point that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// Its number in the pool.
    pub index: usize,
    /// ln q: the logarithm of the probability with which it was taken, among the points that were left then.
    pub log_q: f64,
}

/// All draws from a pool, in their order. Weights are computed from it when they are asked for: those of early draws
/// change with every later one.
#[derive(Debug, Clone, PartialEq)]
pub struct AcquisitionLog {
    stored: Stored,
    taken: Vec<bool>,
}

/// The record as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// How many points the pool has, taken and not.
    pool_size: usize,
    /// What the pool was, if its owner said so: another pool has other probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    draws: Vec<Draw>,
}

/// The largest pool.
const LARGEST: usize = 1 << 31;

impl AcquisitionLog {
    /// An empty record of a pool of this size.
    pub fn new(pool_size: usize) -> Result<Self> {
        if pool_size == 0 || pool_size > LARGEST {
            return Err(Error::invalid("pool_size", pool_size, format!("1 to {LARGEST}")));
        }
        Ok(Self { stored: Stored { pool_size, fingerprint: None, draws: Vec::new() }, taken: vec![false; pool_size] })
    }

    /// With a fingerprint of the pool: the SHA-256 of these bytes.
    pub fn with_fingerprint(mut self, pool: &[u8]) -> Self {
        self.stored.fingerprint = Some(sha256(pool));
        self
    }

    /// Errors where the pool is not the one the record was begun with.
    pub fn check_pool(&self, pool: &[u8]) -> Result<()> {
        match &self.stored.fingerprint {
            Some(old) if *old != sha256(pool) => {
                let found = format!("the fingerprint {}", sha256(pool));
                Err(Error::invalid("pool", found, format!("the pool that this record was begun with: {old}")))
            }
            _ => Ok(()),
        }
    }

    /// How many points the pool has: N.
    pub fn pool_size(&self) -> usize {
        self.stored.pool_size
    }

    /// The draws in their order; there are M.
    pub fn draws(&self) -> &[Draw] {
        &self.stored.draws
    }

    /// Which points of the pool were taken.
    pub fn taken(&self) -> &[bool] {
        &self.taken
    }

    /// Adds a draw. Errors where the point is not in the pool or was taken before, or its probability is not in (0, 1].
    pub fn push(&mut self, draw: Draw) -> Result<()> {
        let pool_size = self.pool_size();
        let taken = self.taken.get_mut(draw.index);
        let taken = taken.ok_or_else(|| Error::invalid("point", draw.index, format!("0 to {}", pool_size - 1)))?;
        if *taken {
            return Err(Error::invalid("point", format!("{}, which was taken before", draw.index), "a point that is left"));
        }
        // A probability of 1 may have been rounded up.
        if !(draw.log_q.is_finite() && draw.log_q <= 1e-9) {
            return Err(Error::invalid("log_q", draw.log_q, "the logarithm of a probability above 0"));
        }
        *taken = true;
        self.stored.draws.push(draw);
        Ok(())
    }

    /// Writes the record as JSON, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        run::write_json(path, &self.stored)
    }

    /// Reads what [`save`](Self::save) wrote, and checks it.
    pub fn load(path: &Path) -> Result<Self> {
        let hint = "`lyceum active start` makes such a file.";
        let stored: Stored = run::read_json(path)?.ok_or_else(|| Error::Missing { path: path.into(), hint: hint.into() })?;
        let mut log = Self::new(stored.pool_size).map_err(|error| Error::damaged(path, error.to_string()))?;
        log.stored.fingerprint = stored.fingerprint;
        for (m, draw) in stored.draws.into_iter().enumerate() {
            log.push(draw).map_err(|error| Error::damaged(path, format!("draw {}: {error}", m + 1)))?;
        }
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_file_and_a_damaged_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut log = AcquisitionLog::new(10).unwrap().with_fingerprint(b"pool");
        log.push(Draw { index: 3, log_q: 0.1_f64.ln() }).unwrap();
        log.save(&path).unwrap();
        assert_eq!(AcquisitionLog::load(&path).unwrap(), log);
        assert!(log.check_pool(b"pool").is_ok() && log.check_pool(b"another").is_err());
        for (found, told) in [
            (r#"{"pool_size": 10, "draws": [{"index": 10, "log_q": -1}]}"#, "draw 1: point: found 10; allowed: 0 to 9"),
            (r#"{"pool_size": 10, "draws": [{"index": 1, "log_q": -1}, {"index": 1, "log_q": -1}]}"#, "draw 2: point: found 1, which was"),
            (r#"{"pool_size": 10, "draws": [{"index": 1, "log_q": 0.5}]}"#, "draw 1: log_q: found 0.5"),
            (r#"{"pool_size": 1e300, "draws": []}"#, "pool_size"),
            (r#"{"pool_size": 99999999999999, "draws": []}"#, "pool_size: found 99999999999999"),
        ] {
            std::fs::write(&path, found).unwrap();
            let error = AcquisitionLog::load(&path).unwrap_err().to_string();
            assert!(error.contains("log.json") && (error.contains(told) || told == "pool_size"), "{error}");
        }
    }
}
