//! `lyceum conformal` on files.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use lyceum_data::formats::{npy, parquet};
use ndarray::{Array1, Array2};

fn lyceum(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lyceum")).args(line.split_whitespace()).current_dir(folder).output().unwrap()
}

fn succeeds(folder: &Path, line: &str) -> String {
    let out = lyceum(folder, line);
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn refused(folder: &Path, line: &str) -> String {
    let out = lyceum(folder, line);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{line}: {message}");
    message
}

/// A classifier of ten classes that is right two times in three.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let noise = |i: usize, k: usize| ((i * 10 + k) as f32 * 12.9898).sin();
    let label = |i: usize| (i * 7 + i / 13) % 10;
    let logits = |from: usize| {
        Array2::from_shape_fn((1_000, 10), |(i, k)| {
            let i = i + from;
            noise(i, k) + if k == label(i) && !i.is_multiple_of(3) { 3.0 } else { 0.0 }
        })
    };
    for (name, from) in [("cal", 0), ("test", 1_000)] {
        let (x, y): (Array2<f32>, Vec<usize>) = (logits(from), (from..from + 1_000).map(label).collect());
        npy::write(&folder.path().join(format!("{name}.npy")), &x).unwrap();
        npy::write(&folder.path().join(format!("{name}-y.npy")), &Array1::from_iter(y.iter().map(|&y| y as i64))).unwrap();
        parquet::write_matrix(&folder.path().join(format!("{name}.parquet")), &x, Some(&y)).unwrap();
    }
    folder
}

#[test]
fn calibrate_predict_evaluate() {
    let folder = files();
    let at = folder.path();
    for score in
        ["raps", "aps", "lac", "saps", "top-k", "naive", "raps --tune adaptiveness", "raps --lambda 0.1 --k-reg 2 --temperature 1.5"]
    {
        succeeds(at, &format!("conformal calibrate --logits cal.npy --labels cal-y.npy --score {score} --out model.json"));
        succeeds(at, "conformal predict --model model.json --logits test.npy --out sets.npz");
        let json = succeeds(at, "conformal evaluate --model model.json --logits test.npy --labels test-y.npy --json");
        let value: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
        let coverage = value["coverage"]["share"].as_f64().unwrap();
        if score != "naive" {
            assert!((coverage - 0.9).abs() < 0.05, "{score}: {coverage}");
        }
        let starts: Array1<i64> = npy::read_npz(&at.join("sets.npz"), "indptr").unwrap();
        assert_eq!(starts.len(), 1_001);
    }
}

#[test]
fn parquet_and_npy_give_the_same_sets() {
    let folder = files();
    let at = folder.path();
    succeeds(at, "conformal calibrate --logits cal.npy --labels cal-y.npy --out a.json");
    succeeds(at, "conformal calibrate --logits cal.parquet --labels cal.parquet --out b.json");
    assert_eq!(fs::read(at.join("a.json")).unwrap(), fs::read(at.join("b.json")).unwrap());
    succeeds(at, "conformal predict --model a.json --logits test.npy --out sets.parquet");
    assert!(at.join("sets.parquet").exists());
    succeeds(at, "conformal evaluate --model a.json --logits test.parquet --labels test.parquet");
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let folder = files();
    let at = folder.path();
    let calibrate = "conformal calibrate --logits cal.npy --labels cal-y.npy --out model.json";
    assert!(refused(at, &format!("{calibrate} --alpha 1.5")).contains("alpha"));
    assert!(refused(at, &format!("{calibrate} --temperature -1")).contains("temperature"));
    assert!(refused(at, "conformal calibrate --logits none.npy --labels cal-y.npy --out model.json").contains("none.npy"));
    assert!(refused(at, "conformal calibrate --logits cal-y.npy --labels cal-y.npy --out model.json").contains("cal-y.npy"));
    assert!(refused(at, "conformal calibrate --logits cal.npy --labels cal.npy --out model.json").contains("cal.npy"));
    assert!(refused(at, "conformal calibrate --logits cal.csv --labels cal-y.npy --out model.json").contains(".parquet"));
    let mut logits: Array2<f32> = Array2::zeros((1_000, 10));
    logits[[17, 3]] = f32::NAN;
    npy::write(&at.join("nan.npy"), &logits).unwrap();
    let nan = refused(at, "conformal calibrate --logits nan.npy --labels cal-y.npy --temperature 1 --score aps --out model.json");
    assert!(nan.contains("row 17") && nan.contains("column 3"), "{nan}");
    assert!(!at.join("model.json").exists());
    let whole = fs::read(at.join("cal.npy")).unwrap();
    fs::write(at.join("cut.npy"), &whole[..whole.len() / 2]).unwrap();
    assert!(refused(at, "conformal calibrate --logits cut.npy --labels cal-y.npy --out model.json").contains("cut.npy"));
    succeeds(at, calibrate);
    assert!(refused(at, "conformal predict --model model.json --logits test.npy --out sets.txt").contains(".npz"));
    npy::write(&at.join("narrow.npy"), &Array2::<f32>::zeros((5, 3))).unwrap();
    assert!(refused(at, "conformal predict --model model.json --logits narrow.npy --out sets.npz").contains("10 classes"));
    assert!(!at.join("sets.npz").exists());
}
