//! Killed at the calls that change files, one after the other, and started again: the same files, whatever the moment.
//!
//! Takes minutes and needs strace: `cargo test --workspace --test kills -- --ignored`.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use common::{
    assert_same, files,
    recipes::{self, FEDERATED, RECIPE, STREAM, write_text},
};

/// Between any two of them a process may end.
const CALLS: [&str; 8] = ["mkdir", "openat", "write", "ftruncate", "fsync", "rename", "unlink", "unlinkat"];

/// So many kills for each of them, spread evenly.
const KILLS: usize = 25;

/// `lyceum` with arguments in which `OUT` stands for where results go; under strace where options for it are given.
fn lyceum(strace: &[&str], arguments: &[&str], out: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_lyceum");
    let mut command = Command::new(if strace.is_empty() { program } else { "strace" });
    if !strace.is_empty() {
        command.args(["-f", "-qq"]).args(strace).arg(program);
    }
    let arguments = arguments.iter().map(|argument| argument.replace("OUT", out.to_str().unwrap()));
    command.arg("--quiet").args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn succeeds(arguments: &[&str], out: &Path) {
    let ended = lyceum(&[], arguments, out);
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// `first` is killed, and `again` goes on with it; a run that has no recipe yet is begun again.
fn ends_the_same(first: &[&str], again: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        folder.path().join(name).join("out")
    };
    let whole = place("whole");
    succeeds(first, &whole);
    let expected = files(whole.parent().unwrap());
    assert!(!expected.is_empty());
    let table = folder.path().join("calls");
    lyceum(&["-c", "-o", table.to_str().unwrap()], first, &place("counted"));
    let table = fs::read_to_string(&table).unwrap();
    let mut killed = 0;
    for call in CALLS {
        let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|line| line.last() == Some(&call));
        let count: usize = line.map_or(0, |line| line[3].parse().unwrap());
        for number in (1..=count).step_by(count.div_ceil(KILLS).max(1)) {
            let out = place(&format!("{call}-{number}"));
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
            let ended = lyceum(&["-o", "/dev/null", "-e", &trace, "-e", &inject], first, &out);
            killed += usize::from(!ended.status.success());
            succeeds(if first[0] == "run" && !out.join("recipe.toml").exists() { first } else { again }, &out);
            assert_same(&files(out.parent().unwrap()), &expected, &format!("{first:?} killed at {call} {number} of {count}"));
            fs::remove_dir_all(out.parent().unwrap()).unwrap();
        }
    }
    assert!(killed > KILLS, "{killed} kills");
}

fn recipe_ends_the_same(recipe: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    fs::write(&path, recipe).unwrap();
    ends_the_same(&["run", path.to_str().unwrap(), "--out", "OUT"], &["resume", "OUT"]);
}

#[test]
#[ignore = "minutes, and needs strace"]
fn certify() {
    recipe_ends_the_same(&RECIPE.replace("epochs = 8", "epochs = 2"));
}

#[test]
#[ignore = "minutes, and needs strace"]
fn continual() {
    recipe_ends_the_same(&STREAM.replace("epochs = 3", "epochs = 1"));
}

/// With clients' states on disk.
#[test]
#[ignore = "minutes, and needs strace"]
fn federated() {
    recipe_ends_the_same(&FEDERATED.replace("rounds = 12", "rounds = 4").replace("[data]", "state_memory_mb = 0.01\n[data]"));
}

#[test]
#[ignore = "minutes, and needs strace"]
fn pretraining() {
    let folder = tempfile::tempdir().unwrap();
    recipe_ends_the_same(&recipes::pretraining(folder.path()).replace("steps = 30", "steps = 10"));
}

#[test]
#[ignore = "minutes, and needs strace"]
fn masking_build() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("a.txt");
    write_text(&text, 40_000);
    let build = ["masking", "build", text.to_str().unwrap(), "--memory", "64M", "--out", "OUT"];
    ends_the_same(&build, &build);
}

#[test]
#[ignore = "minutes, and needs strace"]
fn epidemic_run() {
    let run = [
        "epidemic",
        "run",
        "--people",
        "600",
        "--days",
        "12",
        "--checkpoint-every",
        "3",
        "--policy",
        "heuristic1",
        "--contacts",
        "--out",
        "OUT",
    ];
    ends_the_same(&run, &run);
}

#[test]
#[ignore = "minutes, and needs strace"]
fn epidemic_compare() {
    let compare = [
        "epidemic",
        "compare",
        "--people",
        "600",
        "--days",
        "10",
        "--policies",
        "none,bct1",
        "--mobility",
        "0.7,1",
        "--seeds",
        "2",
        "--out",
        "OUT",
    ];
    ends_the_same(&compare, &compare);
}
