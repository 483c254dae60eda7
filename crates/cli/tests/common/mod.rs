//! The binary, as a user calls it in a folder.

#![allow(dead_code, reason = "not every test calls it in every way")]

pub(crate) mod recipes;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub(crate) fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lyceum"));
    command.args(line.split_whitespace()).current_dir(folder);
    command
}

pub(crate) fn lyceum(folder: &Path, line: &str) -> Output {
    command(folder, line).output().unwrap()
}

pub(crate) fn succeeds(folder: &Path, line: &str) -> String {
    let out = lyceum(folder, line);
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub(crate) fn refused(folder: &Path, line: &str) -> String {
    let out = lyceum(folder, line);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{line}: {message}");
    message
}

/// Files by their place, with what is in them.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Names the files in which two runs differ, or which only one has.
pub(crate) fn assert_same(found: &Files, expected: &Files, when: &str) {
    let differ: BTreeSet<&PathBuf> = found.keys().chain(expected.keys()).filter(|path| found.get(*path) != expected.get(*path)).collect();
    assert!(differ.is_empty(), "{when}: {differ:?}");
}
