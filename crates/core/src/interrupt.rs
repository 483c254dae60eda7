//! Ctrl-C, as a question that long loops ask between two steps.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Asks every long loop of this process to save what it has and stop.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Takes the request back, once it has been heard: for programs that go on after it, as an interpreter does.
pub fn withdraw() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// Whether somebody asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error if somebody asked to stop: for loops that keep nothing, so that the same call begins anew or goes on with what it finds.
pub fn check() -> Result<()> {
    if requested() { Err(Error::Interrupted { again: "the same command".into() }) } else { Ok(()) }
}
