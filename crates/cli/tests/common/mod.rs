//! The binary, as a user calls it in a folder.

#![allow(dead_code, reason = "not every test calls it in every way")]

pub(crate) mod recipes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
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

/// What must be the same: everything but pages, which have dates, and older checkpoints, which depend on when they were made.
pub(crate) fn files(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(path) = left.pop() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let inside = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            if name == "checkpoints" { left.extend(inside.max()) } else { left.extend(inside) }
        } else if name != "report.html" && name != "lock" && !name.starts_with("events.out") {
            let mut content = fs::read(&path).unwrap();
            if name == "runs.jsonl" {
                // Simulations are written as they come.
                let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
                lines.sort_unstable();
                content = lines.concat();
            }
            files.insert(path.strip_prefix(folder).unwrap().to_path_buf(), content);
        }
    }
    files
}

/// Names the files in which two runs differ, or which only one has.
pub(crate) fn assert_same(found: &Files, expected: &Files, when: &str) {
    let differ: BTreeSet<&PathBuf> = found.keys().chain(expected.keys()).filter(|path| found.get(*path) != expected.get(*path)).collect();
    assert!(differ.is_empty(), "{when}: {differ:?}");
}
