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
use crate::{Error, Result};

/// How far the metric files were written when a checkpoint was made, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    metrics: u64,
    events: u64,
}

pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    events: Events,
}

impl Metrics {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Self { path, file, events: Events::open(folder)? })
    }

    pub(super) fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        // Written by hand so that the keys stand in the order given. JSON has no NaN and no infinity: they become null.
        let mut text = format!("{{\"step\":{step}");
        for (name, value) in values {
            let _ = write!(text, ",{}:{}", Value::from(*name), Value::from(*value));
        }
        text.push_str("}\n");
        self.file.write_all(text.as_bytes()).map_err(Error::io("write", &self.path))?;
        self.events.log(step, values)
    }

    pub(super) fn sync(&mut self) -> Result<Marks> {
        self.file.sync_data().map_err(Error::io("write", &self.path))?;
        let metrics = self.file.seek(SeekFrom::End(0)).map_err(Error::io("read", &self.path))?;
        Ok(Marks { metrics, events: self.events.len()? })
    }

    pub(super) fn rewind(&mut self, marks: Marks) -> Result<()> {
        let length = self.file.metadata().map_err(Error::io("read", &self.path))?.len();
        if length < marks.metrics {
            let what = format!("has {length} bytes, and the checkpoint was made at {}: lines were lost", marks.metrics);
            return Err(Error::damaged(&self.path, what));
        }
        self.file.set_len(marks.metrics).map_err(Error::io("truncate", &self.path))?;
        self.events.rewind(marks.events)
    }
}

/// All metrics of a run folder. A last line that a kill cut in two is passed over.
pub(super) fn read(folder: &Path) -> Result<Vec<Value>> {
    let path = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| Error::damaged(&path, format!("line {}: {error}", index + 1)))
    };
    whole.lines().enumerate().map(parse).collect()
}
