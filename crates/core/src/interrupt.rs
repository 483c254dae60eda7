//! Ctrl-C, as a question that long loops ask between two steps.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Asks every long loop of this process to save what it has and stop.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Withdraws the request. For programs that continue after a stop, such as an interpreter.
pub fn withdraw() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// Whether somebody asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error if somebody asked to stop. For loops that have nothing to save: the same command starts again, or continues from the files
/// that it finds.
pub fn check() -> Result<()> {
    if requested() { Err(Error::Interrupted { again: "the same command".into() }) } else { Ok(()) }
}
