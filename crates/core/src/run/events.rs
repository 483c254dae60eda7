//! TensorBoard event files: a TFRecord file of `Event` messages, each with one scalar `Summary`.
//!
//! A record is: length (u64, little endian), masked CRC-32C of the length, the message, masked CRC-32C of the message.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{Error, Result, atomic};

const PREFIX: &str = "events.out.tfevents.";

pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Opens the newest event file of the folder, or starts one.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
        let newest =
            entries.flatten().map(|e| e.path()).filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PREFIX))).max();
        let path = newest.unwrap_or_else(|| folder.join(format!("{PREFIX}{:010}.lyceum", now() as u64)));
        let file = atomic::open_own(&path, OpenOptions::new().create(true).append(true))?;
        let mut events = Self { path, file };
        if events.len()? == 0 {
            events.start()?;
        }
        Ok(events)
    }

    pub(super) fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let time = now();
        let mut bytes = Vec::new();
        for (tag, value) in values {
            record(&mut bytes, &scalar_event(time, step, tag, *value as f32));
        }
        self.file.write_all(&bytes).map_err(Error::io("write", &self.path))
    }

    pub(super) fn len(&mut self) -> Result<u64> {
        self.file.seek(SeekFrom::End(0)).map_err(Error::io("read", &self.path))
    }

    /// Cuts the file back; what a lost tail would have held is shown by the metrics all the same.
    pub(super) fn rewind(&mut self, length: u64) -> Result<()> {
        let length = length.min(self.len()?);
        self.file.set_len(length).map_err(Error::io("truncate", &self.path))?;
        if length == 0 { self.start() } else { Ok(()) }
    }

    fn start(&mut self) -> Result<()> {
        let mut event = double_field(1, now());
        event.extend(bytes_field(3, b"brain.Event:2"));
        let mut bytes = Vec::new();
        record(&mut bytes, &event);
        self.file.write_all(&bytes).map_err(Error::io("write", &self.path))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// `Event { wall_time: 1, step: 2, summary: 5 { value: 1 { tag: 1, simple_value: 2 } } }`.
fn scalar_event(time: f64, step: u64, tag: &str, value: f32) -> Vec<u8> {
    let mut point = bytes_field(1, tag.as_bytes());
    point.push(2 << 3 | 5);
    point.extend(value.to_le_bytes());
    let mut event = double_field(1, time);
    event.push(2 << 3);
    varint(&mut event, step);
    event.extend(bytes_field(5, &bytes_field(1, &point)));
    event
}

fn double_field(number: u8, value: f64) -> Vec<u8> {
    let mut out = vec![number << 3 | 1];
    out.extend(value.to_le_bytes());
    out
}

fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, bytes.len() as u64);
    out.extend(bytes);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn record(out: &mut Vec<u8>, message: &[u8]) {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let length = (message.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length));
    out.extend(message);
    out.extend(masked(message));
}
