//! `lyceum conformal` on files.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::fs;

use common::{refused, succeeds};
use lyceum_data::formats::{npy, parquet};
use ndarray::{Array1, Array2};

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
fn every_scheme_works_on_files() {
    let folder = files();
    let at = folder.path();
    let write = |name: &str, of: fn(usize) -> f64| npy::write(&at.join(name), &(0..1_000).map(of).collect::<Array1<f64>>()).unwrap();
    npy::write(&at.join("groups.npy"), &(0..1_000).map(|i| i64::from(i % 2)).collect::<Array1<i64>>()).unwrap();
    write("weights.npy", |i| 1.0 + (i % 2) as f64);
    for (scheme, known) in [
        ("class-conditional", ""),
        ("clustered --clusters 2", ""),
        ("groups", "--groups groups.npy"),
        ("weighted", "--weights weights.npy"),
    ] {
        let calibrate =
            format!("conformal calibrate --logits cal.npy --labels cal-y.npy --scheme {scheme} {known} --score lac --out {scheme}.json");
        let model = scheme.split(' ').next().unwrap().to_owned() + ".json";
        let calibrate = calibrate.replace(&format!("{scheme}.json"), &model);
        assert!(succeeds(at, &calibrate).contains("threshold"), "{scheme}");
        let evaluated = format!("conformal evaluate --model {model} --logits test.npy --labels test-y.npy {known} --json");
        let value: serde_json::Value = serde_json::from_str(succeeds(at, &evaluated).trim()).unwrap();
        let coverage = value["coverage"]["share"].as_f64().unwrap();
        assert!((0.86..=1.0).contains(&coverage), "{scheme}: {coverage}");
        succeeds(at, &format!("conformal predict --model {model} --logits test.parquet {known} --out sets.npz"));
        if known.is_empty() {
            assert!(refused(at, &format!("{calibrate} --groups groups.npy")).contains("--groups"));
        } else {
            assert!(refused(at, &calibrate.replace(known, "")).contains("needs it"));
            assert!(
                refused(at, &format!("conformal predict --model {model} --logits test.npy --out none.npz")).contains("one for each row")
            );
        }
    }
    succeeds(at, "conformal p-values --logits cal.npy --labels cal-y.npy --test test.npy --score lac --out p.npy");
    let p: Array2<f64> = npy::read(&at.join("p.npy")).unwrap();
    assert!(p.dim() == (1_000, 10) && p.iter().all(|p| (1.0 / 1_001.0..=1.0).contains(p)));
    succeeds(at, "conformal calibrate --logits cal.npy --labels cal-y.npy --score lac --temperature 1 --alpha 0.2 --out lac.json");
    succeeds(at, "conformal predict --model lac.json --logits test.npy --out sets.npz");
    let starts: Array1<i64> = npy::read_npz(&at.join("sets.npz"), "indptr").unwrap();
    for (row, p) in p.rows().into_iter().enumerate() {
        assert_eq!(p.iter().filter(|p| **p > 0.2).count() as i64, starts[row + 1] - starts[row], "row {row}");
    }
    let test: Array2<f32> = npy::read(&at.join("test.npy")).unwrap();
    let by_model = ndarray::stack(ndarray::Axis(0), &[test.view(), test.view()]).unwrap();
    npy::write(&at.join("by-model.npy"), &by_model).unwrap();
    succeeds(at, "conformal cross --logits cal.npy --labels cal-y.npy --folds groups.npy --test by-model.npy --score aps --out cross.npz");
}

#[test]
fn streams_risks_and_intervals_work_on_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let write = |name: &str, of: fn(usize) -> f64| npy::write(&at.join(name), &(0..1_000).map(of).collect::<Array1<f64>>()).unwrap();
    let noise = |i: usize| ((i * 7_919) % 1_009) as f64 / 1_009.0 - 0.5;
    write("score.npy", |i| ((i * 7_919) % 1_009) as f64 + i as f64);
    let told = succeeds(at, "conformal online --scores score.npy --alpha 0.2 --gamma 0.02 --window 100 --out thresholds.npy --json");
    let value: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert!((value["coverage"].as_f64().unwrap() - 0.8).abs() < 0.05, "{told}");
    let thresholds: Array1<f64> = npy::read(&at.join("thresholds.npy")).unwrap();
    assert!(thresholds[0].is_infinite() && thresholds.len() == 1_000);

    let losses = Array2::from_shape_fn((200, 5), |(row, column)| if row % 5 >= column { 1.0 } else { 0.0 });
    npy::write(&at.join("losses.npy"), &losses).unwrap();
    assert!(succeeds(at, "conformal risk --losses losses.npy --alpha 0.25").contains("setting 4"));
    let reversed = losses.slice(ndarray::s![.., ..;-1]).to_owned();
    npy::write(&at.join("reversed.npy"), &reversed).unwrap();
    assert!(succeeds(at, "conformal risk --losses reversed.npy --alpha 0.5 --method learn-then-test").contains("settings 0 to 1"));
    assert!(refused(at, "conformal risk --losses reversed.npy").contains("do not rise"));
    assert!(refused(at, "conformal risk --losses losses.npy --alpha 2").contains("alpha"));

    write("prediction.npy", |i| i as f64);
    npy::write(&at.join("y.npy"), &(0..1_000).map(|i| i as f64 + noise(i)).collect::<Array1<f64>>()).unwrap();
    let ends = Array2::from_shape_fn((1_000, 2), |(row, end)| row as f64 + if end == 0 { -0.1 } else { 0.1 });
    npy::write(&at.join("ends.npy"), &ends).unwrap();
    npy::write(&at.join("residuals.npy"), &(0..1_000).map(|i| noise(i).abs()).collect::<Array1<f64>>()).unwrap();
    npy::write(&at.join("by-model.npy"), &Array2::from_shape_fn((20, 1_000), |(row, _)| row as f64)).unwrap();
    for (line, rows) in [
        ("split --predictions prediction.npy --y y.npy --test prediction.npy", 1_000),
        ("quantile --ends ends.npy --y y.npy --test ends.npy", 1_000),
        ("jackknife-plus --residuals residuals.npy --test by-model.npy", 20),
    ] {
        succeeds(at, &format!("conformal interval {line} --alpha 0.2 --out intervals.npy"));
        let found: Array2<f64> = npy::read(&at.join("intervals.npy")).unwrap();
        assert_eq!(found.dim(), (rows, 2));
        // |noise| is even on [0, 0.5]: its 0.8-quantile is 0.4.
        assert!(found.rows().into_iter().enumerate().all(|(row, ends)| (ends[1] - row as f64 - 0.4).abs() < 0.01), "{line}");
    }
    assert!(refused(at, "conformal interval split --predictions y.npy --y ends.npy --test y.npy --out i.npy").contains("ends.npy"));
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
    assert!(refused(at, "conformal calibrate --logits cal.txt --labels cal-y.npy --out model.json").contains(".parquet"));
    assert!(refused(at, "conformal calibrate --logits none.csv --out model.json").contains("none.csv"));
    assert!(refused(at, "conformal calibrate --logits cal.npy --out model.json").contains("--labels"));
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

/// Tables with names of examples, labels and groups give what arrays of numbers give, and names come back.
#[test]
fn tables_have_names() {
    let folder = files();
    let at = folder.path();
    let logits: Array2<f32> = npy::read(&at.join("cal.npy")).unwrap();
    let labels = npy::labels(&at.join("cal-y.npy")).unwrap();
    let classes = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibex", "jay"];
    let mut table = format!("input,label,site,group,{}\n", classes.join(",")).replace("site,", "");
    for (row, label) in logits.rows().into_iter().zip(&labels) {
        let numbers: Vec<String> = row.iter().map(ToString::to_string).collect();
        let group = ["leeds", "york"][label % 2];
        table += &format!("\"example {label}, x\",{},{group},{}\n", classes[*label], numbers.join(","));
    }
    fs::write(at.join("cal.csv"), &table).unwrap();
    let mut zip = ndarray_npy::NpzWriter::new(fs::File::create(at.join("cal.npz")).unwrap());
    zip.add_array("logits", &logits).unwrap();
    zip.add_array("label", &ndarray::Array1::from_iter(labels.iter().map(|&label| label as i64))).unwrap();
    zip.finish().unwrap();
    succeeds(at, "conformal calibrate --logits cal.npy --labels cal-y.npy --out a.json");
    succeeds(at, "conformal calibrate --logits cal.csv --out b.json");
    succeeds(at, "conformal calibrate --logits cal.npz --labels cal.npz --out c.json");
    let threshold =
        |file: &str| serde_json::from_slice::<serde_json::Value>(&fs::read(at.join(file)).unwrap()).unwrap()["threshold"].clone();
    assert!(threshold("a.json").is_number() && threshold("a.json") == threshold("b.json") && threshold("a.json") == threshold("c.json"));
    let sets = succeeds(at, "conformal predict --model b.json --logits cal.csv");
    let first = sets.lines().nth(1).unwrap();
    assert!(sets.starts_with("input,set\n\"example ") && classes.iter().any(|class| first.contains(class)), "{first}");
    assert_eq!(sets.lines().count(), labels.len() + 1);
    // Groups by name, also of a file that has some of them only.
    succeeds(at, "conformal calibrate --logits cal.csv --scheme groups --groups cal.csv --out g.json");
    let york: String =
        table.lines().enumerate().filter(|(row, line)| *row == 0 || line.contains(",york,")).map(|(_, line)| format!("{line}\n")).collect();
    fs::write(at.join("york.csv"), &york).unwrap();
    let all = succeeds(at, "conformal predict --model g.json --logits cal.csv --groups cal.csv");
    let some = succeeds(at, "conformal predict --model g.json --logits york.csv --groups york.csv");
    let size = |text: &str, places: &dyn Fn(usize) -> bool| -> usize {
        text.lines().skip(1).enumerate().filter(|(row, _)| places(*row)).map(|(_, line)| line.split_whitespace().count()).sum()
    };
    let (of_york, of_some) = (size(&all, &|row| labels[row] % 2 == 1) as f64, size(&some, &|_| true) as f64);
    assert!((of_york / of_some - 1.0).abs() < 0.02, "{of_york} {of_some}: thresholds are alike, draws differ");
    fs::write(at.join("hull.csv"), york.replace(",york,", ",hull,")).unwrap();
    assert!(refused(at, "conformal predict --model g.json --logits hull.csv --groups hull.csv").contains("allowed: one of leeds, york"));
    fs::write(at.join("other.csv"), table.replacen("ant,bee", "bee,ant", 1)).unwrap();
    assert!(refused(at, "conformal predict --model b.json --logits other.csv").contains("in their order: ant, bee"));
    fs::write(at.join("wrong.csv"), table.replace("x\",ant,", "x\",unicorn,")).unwrap();
    assert!(refused(at, "conformal calibrate --logits wrong.csv --out d.json").contains("allowed: one of ant"));
}
