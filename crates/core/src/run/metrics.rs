//! Metrics as they come: JSON Lines that other tools can read while the run goes on.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::Events;
use crate::{Error, Result, atomic};

/// How far the metric files were written when a checkpoint was made, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    metrics: u64,
    /// CRC-32C of the metrics up to here; absent in checkpoints of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32c: Option<u32>,
    events: u64,
}

pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    /// Of all that the file should hold.
    crc32c: u32,
    events: Events,
}

impl Metrics {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let file = atomic::open_own(&path, OpenOptions::new().create(true).read(true).append(true))?;
        let crc32c = crc32c::crc32c(&fs::read(&path).map_err(Error::io("read", &path))?);
        Ok(Self { path, file, crc32c, events: Events::open(folder)? })
    }

    pub(super) fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        // Written by hand so that the keys stand in the order given. JSON has no NaN and no infinity: they become null.
        let mut text = format!("{{\"step\":{step}");
        for (name, value) in values {
            let _ = write!(text, ",{}:{}", Value::from(*name), Value::from(*value));
        }
        text.push_str("}\n");
        self.file.write_all(text.as_bytes()).map_err(Error::io("write", &self.path))?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, text.as_bytes());
        self.events.log(step, values)
    }

    pub(super) fn sync(&mut self) -> Result<Marks> {
        self.file.sync_data().map_err(Error::io("write", &self.path))?;
        let metrics = self.file.seek(SeekFrom::End(0)).map_err(Error::io("read", &self.path))?;
        Ok(Marks { metrics, crc32c: Some(self.crc32c), events: self.events.len()? })
    }

    pub(super) fn rewind(&mut self, marks: Marks) -> Result<()> {
        let length = self.file.metadata().map_err(Error::io("read", &self.path))?.len();
        if length < marks.metrics {
            let what = format!("has {length} bytes, and the checkpoint was made at {}: lines were lost", marks.metrics);
            return Err(Error::damaged(&self.path, what));
        }
        let mut kept = fs::read(&self.path).map_err(Error::io("read", &self.path))?;
        kept.truncate(marks.metrics as usize);
        self.crc32c = crc32c::crc32c(&kept);
        if marks.crc32c.is_some_and(|expected| expected != self.crc32c) {
            return Err(Error::damaged(&self.path, "was changed since the checkpoint was made: its checksum is another"));
        }
        self.file.set_len(marks.metrics).map_err(Error::io("truncate", &self.path))?;
        self.events.rewind(marks.events)
    }

    /// All metrics so far.
    pub(super) fn read(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.path).map_err(Error::io("read", &self.path))?;
        if crc32c::crc32c(text.as_bytes()) != self.crc32c {
            return Err(Error::damaged(&self.path, "was changed while the run was going on"));
        }
        let parse = |(index, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| Error::damaged(&self.path, format!("line {}: {error}", index + 1)))
        };
        text.lines().enumerate().map(parse).collect()
    }
}
