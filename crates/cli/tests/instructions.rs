//! The same runs with wide and with narrow instructions: what the book's chapter on kernels says of them.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::{fs, path::Path};

use common::{
    Files, assert_same, command, files,
    recipes::{self, FEDERATED, RECIPE, STREAM},
};
use serde_json::Value;

/// The instructions that a run says it used, and its files but for the one that says so.
fn run(folder: &Path, recipe: &Path, instructions: &str) -> (String, Files) {
    let line = format!("--quiet run {} --out {instructions}", recipe.display());
    let ended = command(folder, &line).env("LYCEUM_INSTRUCTIONS", instructions).output().unwrap();
    assert!(ended.status.success(), "{instructions}: {}", String::from_utf8_lossy(&ended.stderr));
    let mut files = files(&folder.join(instructions));
    let said: Value = serde_json::from_slice(&files.remove(Path::new("run.json")).unwrap()).unwrap();
    (said["instructions"].as_str().unwrap().to_owned(), files)
}

/// AVX-512 and AVX2 end in the same bytes. Without fused multiply-add all numbers differ a little.
fn agree(recipe: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    fs::write(&path, recipe).unwrap();
    let [(widest, wide), (narrower, narrow), (_, plain)] = ["avx512", "avx2", "plain"].map(|kind| run(folder.path(), &path, kind));
    assert_same(&narrow, &wide, &format!("{narrower} beside {widest}"));
    if narrower == "plain" {
        return;
    }
    let is_model = |path: &Path| path.extension().is_some_and(|extension| extension == "safetensors");
    let models = wide.iter().filter(|(path, _)| is_model(path));
    assert!(models.clone().count() > 0);
    assert!(models.clone().any(|(path, bytes)| plain[path] != *bytes), "plain instructions do not differ from {narrower}");
    for (path, bytes) in models {
        let (fused, twice) = (numbers(bytes), numbers(&plain[path]));
        assert_eq!(fused.len(), twice.len(), "{}", path.display());
        let largest = fused.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        let apart = fused.iter().zip(&twice).fold(0f32, |apart, (one, other)| apart.max((one - other).abs()));
        assert!(apart <= 0.02 * largest, "{}: {apart} of {largest}", path.display());
    }
}

/// The float32 numbers of a safetensors file.
fn numbers(bytes: &[u8]) -> Vec<f32> {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect()
}

/// Convolutions through tiles and by the definition, dropout, LookSAM's memory, temperature, sets.
#[test]
fn certify() {
    agree(&RECIPE.replace("channels = [4]", "channels = [16, 16]").replace("epochs = 8", "epochs = 1\nbatch_size = 128"));
}

/// Batch normalisation and shortcuts.
#[test]
fn residual_network() {
    let network = "[model.resnet]\nwidths = [16, 16]\nblocks = 1\n[training]";
    let (before, after) = (RECIPE.find("[model.cnn]").unwrap(), RECIPE.find("[training]").unwrap());
    let recipe = format!("{}{network}{}", &RECIPE[..before], &RECIPE[after + "[training]".len()..]);
    agree(&recipe.replace("epochs = 8", "epochs = 1\nbatch_size = 128"));
}

/// Every federated method's state, and weights by examples.
#[test]
fn federated() {
    agree(&FEDERATED.replace("rounds = 12", "rounds = 2"));
}

/// Every strategy but GPM and SGP, whose bases come from a library that chooses its blocks by the processor.
#[test]
fn continual() {
    let mut parts = STREAM.replace("epochs = 3", "epochs = 1").split("[[strategy]]").map(str::to_owned).collect::<Vec<_>>();
    parts.retain(|part| !part.contains("gpm"));
    agree(&parts.join("[[strategy]]"));
}

/// Attention, layer normalisation, GELU, embeddings and AdamW.
#[test]
fn pretraining() {
    let folder = tempfile::tempdir().unwrap();
    agree(&recipes::pretraining(folder.path()).replace("steps = 30", "steps = 5"));
}
