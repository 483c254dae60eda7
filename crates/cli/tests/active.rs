//! `lyceum active` on files, as a user calls it.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    path::Path,
    process::{Command, Output},
};

use lyceum_data::formats::npy;
use ndarray::{Array1, Array3};

fn lyceum(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lyceum")).current_dir(folder).args(arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let out = lyceum(folder, arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The message of a refusal; the record is as it was.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let record = std::fs::read(folder.join("log.json")).ok();
    let out = lyceum(folder, arguments);
    assert_eq!(out.status.code(), Some(2), "{arguments:?}");
    assert_eq!(std::fs::read(folder.join("log.json")).ok(), record, "{arguments:?}");
    String::from_utf8(out.stderr).unwrap()
}

fn points(printed: &str) -> Vec<usize> {
    printed.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_pool_from_start_to_estimate() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let samples = Array3::from_shape_fn((4, 50, 3), |(s, n, c)| {
        let z = |c: usize| (f64::from((s * 7 + n * 3 + c * 11) as u32).sin() * 2.0).exp();
        (z(c) / (z(0) + z(1) + z(2))) as f32
    });
    npy::write(&here.join("samples.npy"), &samples).unwrap();
    ok(here, &["active", "start", "--pool-size", "50", "--pool", "samples.npy", "--out", "log.json"]);
    let first = points(&ok(here, &["active", "draw", "--log", "log.json", "--count", "5"]));
    for score in ["entropy", "least-confidence", "margin", "bald", "variation-ratio"] {
        ok(here, &["active", "score", "--probabilities", "samples.npy", "--score", score, "--out", "scores.npy"]);
    }
    ok(here, &["active", "score", "--probabilities", "samples.npy", "--score", "bald", "--out", "scores.npy"]);
    let draw = ["active", "draw", "--log", "log.json", "--pool", "samples.npy", "--scores", "scores.npy", "--clip", "0.1", "--count", "10"];
    let second = points(&ok(here, &draw));
    let mut all = [first, second].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 15, "no point is taken twice");

    ok(here, &["active", "weights", "--log", "log.json", "--out", "weights.npy"]);
    let weights: Array1<f64> = npy::read(&here.join("weights.npy")).unwrap();
    npy::write(&here.join("losses.npy"), &Array1::from_elem(15, 0.5_f64)).unwrap();
    let out = ok(here, &["--json", "active", "estimate", "--log", "log.json", "--losses", "losses.npy", "--bound", "1"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    let lure = value["estimates"][0]["estimate"]["value"].as_f64().unwrap();
    assert!((lure - 0.5 * weights.mean().unwrap()).abs() < 1e-12);
    let (low, high) = (value["confidence_sequence"][0].as_f64().unwrap(), value["confidence_sequence"][1].as_f64().unwrap());
    assert!(low <= 0.5 && 0.5 <= high);
    assert_eq!(points(&ok(here, &["active", "batch", "--samples", "samples.npy", "--count", "4"])).len(), 4);
    assert!(ok(here, &["active", "estimate", "--log", "log.json", "--losses", "losses.npy"]).contains("LURE"));

    let message = refused(here, &["active", "start", "--pool-size", "9", "--out", "log.json"]);
    assert!(message.contains("never overwritten"), "{message}");
    std::fs::write(here.join("other.npy"), "another pool").unwrap();
    let message = refused(here, &["active", "draw", "--log", "log.json", "--pool", "other.npy"]);
    assert!(message.contains("fingerprint"), "{message}");
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ok(here, &["active", "start", "--pool-size", "4", "--out", "log.json"]);
    let scores = |values: &[f64]| npy::write(&here.join("scores.npy"), &Array1::from(values.to_vec())).unwrap();
    let draw = |more: &[&str]| refused(here, &[&["active", "draw", "--log", "log.json", "--scores", "scores.npy"], more].concat());
    scores(&[1.0, f64::NAN, 1.0, 1.0]);
    assert!(draw(&[]).contains("score of point 1"));
    scores(&[1.0, 0.0, 1.0, 1.0]);
    assert!(draw(&[]).contains("probability 0"));
    scores(&[1.0; 3]);
    assert!(draw(&[]).contains("scores"));
    scores(&[1.0; 4]);
    assert!(draw(&["--count", "5"]).contains("count"));
    assert!(draw(&["--proposal", "epsilon-greedy", "--epsilon", "0"]).contains("epsilon"));
    assert!(draw(&["--clip", "2"]).contains("clip"));
    assert!(refused(here, &["active", "draw", "--log", "nowhere.json"]).contains("active start"));
    assert!(refused(here, &["active", "estimate", "--log", "log.json", "--losses", "scores.npy"]).contains("losses"));
    std::fs::write(here.join("log.json"), "{\"pool_size\": 4, \"draws\": [{\"index\": 9, \"log_q\": -1}]}").unwrap();
    assert!(refused(here, &["active", "draw", "--log", "log.json"]).contains("draw 1"));
    assert!(refused(here, &["active", "start", "--pool-size", "0", "--out", "new.json"]).contains("pool_size"));
    assert!(!here.join("new.json").exists());
}
