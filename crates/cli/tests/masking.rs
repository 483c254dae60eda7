//! `lyceum masking` on files.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use common::{command, refused, succeeds};
use lyceum_core::Seed;
use rand::RngExt;

/// Text with collocations in it: `left3 right3` come together much more often than by chance.
fn text(words: usize, seed: u64) -> String {
    let mut rng = Seed::new(seed).stream("text");
    let mut text = String::new();
    let mut here = 0;
    while here < words {
        let u: f64 = rng.random();
        if rng.random_range(0..20) == 0 {
            let pair = (u * 40.0) as usize;
            text.push_str(&format!("left{pair} right{pair} "));
        } else {
            text.push_str(&format!("w{} ", (u * u * 3_000.0) as usize));
        }
        here += 1;
        if here % 17 == 0 {
            text.push_str("end.\n");
        }
    }
    text
}

#[test]
fn build_inspect_mask() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("a.txt"), text(60_000, 1)).unwrap();
    assert!(succeeds(at, "masking build a.txt --out found").contains("collocations of"));
    let shown = succeeds(at, "masking inspect found --top 3");
    assert!(shown.contains("left") && shown.contains("|right"), "{shown}");
    let table = fs::read_to_string(at.join("found.tsv")).unwrap();
    let best: Vec<&str> = table.lines().skip(1).take(40).map(|line| line.split('\t').nth(2).unwrap()).collect();
    assert!(best.iter().all(|ngram| ngram.starts_with("left")), "{best:?}");
    let looked = Command::new(env!("CARGO_BIN_EXE_lyceum"))
        .args(["masking", "inspect", "found", "LEFT3 right3", "w1 w2 w3"])
        .current_dir(at)
        .output();
    let looked = String::from_utf8(looked.unwrap().stdout).unwrap();
    assert!(looked.contains("left3|right3") && looked.contains("not in the vocabulary"), "{looked}");
    let covered = succeeds(at, "masking inspect found --text a.txt --json");
    let coverage: serde_json::Value = serde_json::from_str(covered.lines().last().unwrap()).unwrap();
    assert_eq!(coverage["event"], "coverage");
    let (words, covered) = (coverage["words"].as_f64().unwrap(), coverage["covered"].as_f64().unwrap());
    assert!((0.08..0.3).contains(&(covered / words)), "{coverage}");
    // A tokeniser of whole words.
    let mut vocab = serde_json::Map::new();
    for token in ["[PAD]", "[UNK]", "[MASK]", "left3", "right3", "w1", "end", "."] {
        let id = vocab.len();
        vocab.insert(token.into(), id.into());
    }
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": { "type": "BertPreTokenizer" },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab },
    });
    fs::write(at.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(at.join("b.txt"), "w1 left3 right3 end.\n".repeat(400)).unwrap();
    let line = "masking mask b.txt --tokenizer tokenizer.json --vocabulary found --mask 1 --random 0";
    let shown = succeeds(at, line);
    assert!(shown.contains("[MASK] [MASK] end") && !shown.contains("[MASK] right3"), "{shown}");
    assert!(succeeds(at, &format!("{line} --out rows.jsonl")).contains("400 rows"));
    let rows = fs::read_to_string(at.join("rows.jsonl")).unwrap();
    for row in rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()) {
        assert_eq!(row["labels"][1] == -100, row["labels"][2] == -100);
    }
    succeeds(at, "masking mask b.txt --tokenizer tokenizer.json --method span --out spans.jsonl");
}

/// Killed at any moment, or asked to stop, and started again: the same bytes.
#[test]
#[cfg(unix)]
fn a_build_that_was_killed_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for part in 0..4 {
        fs::write(at.join(format!("{part}.txt")), text(150_000, part)).unwrap();
    }
    let line = "--quiet masking build 0.txt 1.txt 2.txt 3.txt --memory 64M --out";
    succeeds(at, &format!("{line} whole"));
    let mut rng = Seed::new(5).stream("kills");
    for round in 0..12 {
        let mut child = command(at, &format!("{line} killed")).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.random_range(0..700)));
        if round % 2 == 0 {
            child.kill().unwrap();
        } else {
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).output();
        }
        child.wait().unwrap();
    }
    succeeds(at, &format!("{line} killed"));
    assert!(fs::read(at.join("whole")).unwrap() == fs::read(at.join("killed")).unwrap());
    assert!(fs::read(at.join("whole.tsv")).unwrap() == fs::read(at.join("killed.tsv")).unwrap());
    assert!(!at.join("killed.work").exists());
}

/// The disk is full (here: files may not be longer): told, nothing left behind, and what was there before is as it was.
#[test]
#[cfg(unix)]
fn a_full_disk_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("a.txt"), text(200_000, 1)).unwrap();
    fs::write(at.join("found"), "what was there before").unwrap();
    let binary = env!("CARGO_BIN_EXE_lyceum");
    for blocks in [100, 400] {
        let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec {binary} --quiet masking build a.txt --min-count 1 --out found");
        let out = Command::new("sh").args(["-c", &line]).current_dir(at).output().unwrap();
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{message}");
        assert!(message.contains("cannot write"), "{message}");
        assert_eq!(fs::read_to_string(at.join("found")).unwrap(), "what was there before");
        let mut left: Vec<String> =
            fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        left.sort();
        assert_eq!(left, ["a.txt", "found"]);
    }
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("a.txt"), text(2_000, 1)).unwrap();
    fs::write(at.join("bad.txt"), b"caf\xe9").unwrap();
    fs::write(at.join("empty.txt"), "").unwrap();
    for (line, expected) in [
        ("masking build none.txt --out x", "none.txt: no such file"),
        ("masking build a.txt bad.txt --out x", "bad.txt: line 1, byte 3"),
        ("masking build empty.txt --out x", "no words"),
        ("masking build a.txt --out none/x", "none"),
        ("masking build a.txt --out x --memory 1M", "64M and more"),
        ("masking build a.txt --out x --memory lots", "allowed: a number with K, M, G or T"),
        ("masking build a.txt --out x --shares 1,2", "4 numbers"),
        ("masking build a.txt --out x --orders 1", "2 to 8"),
        ("masking build a.txt --out x --tokenizer none.json", "none.json"),
        ("masking inspect a.txt", "is not a vocabulary"),
        ("masking inspect none", "lyceum masking build"),
        ("masking mask a.txt --tokenizer a.txt", "is no tokeniser"),
        ("masking mask a.txt --tokenizer none.json", "none.json"),
    ] {
        let message = refused(at, line);
        assert!(message.replace(['\n', '│', ' '], "").contains(&expected.replace(' ', "")), "{line}: {message}");
        assert!(!at.join("x").exists() && !at.join("x.work").exists(), "{line}");
    }
}
