//! One process a run.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use crate::{Error, Result};

/// An advisory lock on a run folder; the operating system releases it when the process ends, however it ends.
pub(super) struct Lock(#[allow(dead_code, reason = "held, never read")] File);

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: folder.into() }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }
}
