//! One process a run.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use crate::{Error, Result, atomic};

/// An advisory lock on a run folder; the operating system releases it when the process ends, however it ends.
pub(super) struct Lock(#[allow(dead_code, reason = "held, never read")] File);

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let file = atomic::open_own(&path, OpenOptions::new().write(true).create(true))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: folder.into() }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }
}
