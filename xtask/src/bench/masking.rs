//! The whole build of a vocabulary beside KenLM's counting of the same n-grams, bigrams beside gensim, the collator beside that of
//! transformers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Measurements;
use crate::{
    python,
    shell::{self, command, release, root, run},
    wheel,
};

/// Words of the corpus for bigrams.
const BIGRAM_WORDS: &str = "6200000";
/// A memory that the corpus does not fit into.
const LITTLE: &str = "256M";

pub(super) fn run_all() -> Result<()> {
    shell::data("english")?;
    let folder = root().join("bench");
    let python = python::environment("bench-masking", &std::fs::read_to_string(folder.join("masking-requirements.txt"))?)?;
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?.to_string_lossy().into_owned();
    wheel::install(&python)?;
    let script = folder.join("masking.py").to_string_lossy().into_owned();
    let work = shell::cache().join("bench/masking");
    std::fs::create_dir_all(&work)?;
    let at = |name: &str| work.join(name).to_string_lossy().into_owned();
    let english = shell::data_folder().join("english").to_string_lossy().into_owned();
    // What takes long and is the same every time is kept.
    for (task, from, out) in [("words", &english, "words.txt"), ("tokenizer", &english, "tokenizer.json")] {
        if !work.join(out).exists() {
            run(&python, &[&script, task, from, &at("partial")])?;
            std::fs::rename(work.join("partial"), work.join(out))?;
        }
    }
    cut(&work.join("words.txt"), BIGRAM_WORDS.parse()?, &work.join("bigrams.txt"))?;
    let corpus = texts(Path::new(&english))?;
    agreement(&python, &script, &lyceum, &work)?;

    let mut measured = Measurements::default();
    let build = |memory: &str, out: &str| {
        let mut build = command(&python, &[&script, "run", if memory == LITTLE { "build-in-little" } else { "build" }, "lyceum", &lyceum]);
        build.args(["--quiet", "masking", "build"]).args(&corpus).args(["--memory", memory, "--out", &at(out)]);
        build
    };
    let bigrams = [
        &script,
        "run",
        "bigrams",
        "lyceum",
        &lyceum,
        "--quiet",
        "masking",
        "build",
        &at("bigrams.txt"),
        "--orders",
        "2",
        "--out",
        &at("pairs"),
    ];
    let mut ratios = Vec::new();
    if let Some(lmplz) = std::env::var("LYCEUM_LMPLZ").ok().filter(|path| !path.is_empty()) {
        let options = "-o 5 -S 4G --discount_fallback --skip_symbols";
        let line = format!("{lmplz} {options} -T {} < {} > /dev/null", at("lmplz-"), at("words.txt"));
        measured
            .alternate(3, &mut [build("4G", "vocabulary"), command(&python, &[&script, "run", "build", "lmplz", "sh", "-c", &line])])?;
        ratios.push(("build", "lmplz", measured.median("build", "lyceum")?, measured.median("build", "lmplz")?));
    } else {
        println!("not measured: lmplz; LYCEUM_LMPLZ must hold the path of KenLM's program lmplz");
        measured.alternate(3, &mut [build("4G", "vocabulary")])?;
    }
    measured.alternate(1, &mut [build(LITTLE, "little")])?;
    ensure!(std::fs::read(work.join("vocabulary"))? == std::fs::read(work.join("little"))?, "the vocabulary depends on the memory");
    measured.alternate(3, &mut [command(&python, &bigrams), command(&python, &[&script, "gensim", &at("words.txt"), BIGRAM_WORDS])])?;
    let text = corpus.first().context("no texts")?;
    let collate = |peer: &str| command(&python, &[&script, "collate", peer, &at("tokenizer.json"), &at("vocabulary"), text]);
    measured.alternate(3, &mut [collate("lyceum"), collate("transformers")])?;
    ratios.push(("bigrams", "gensim", measured.median("bigrams", "lyceum")?, measured.median("bigrams", "gensim")?));
    for work in ["collate", "collate-with-special-tokens-mask"] {
        ratios.push((work, "transformers", measured.median(work, "lyceum")?, measured.median(work, "transformers")?));
    }
    measured.finish("masking", &ratios)
}

/// What Lyceum builds from 20 MB of real text equals a plain count in Python. Lines of ASCII alone: what a letter is beyond it the
/// two do not agree on.
fn agreement(python: &Path, script: &str, lyceum: &str, work: &Path) -> Result<()> {
    let (sample, out) = (work.join("sample.txt"), work.join("sample").to_string_lossy().into_owned());
    let text = std::fs::read_to_string(work.join("words.txt"))?;
    let mut some = String::new();
    for line in text.lines().filter(|line| line.is_ascii()) {
        if some.len() > 20_000_000 {
            break;
        }
        some.push_str(line);
        some.push('\n');
    }
    std::fs::write(&sample, some)?;
    let sample = sample.to_string_lossy().into_owned();
    run(lyceum, &["--quiet", "masking", "build", &sample, "--cased", "--size", "100000000", "--out", &out])?;
    run(python, &[script, "agree", &sample, &format!("{out}.tsv")])
}

/// The first so many words of a text.
fn cut(from: &Path, words: usize, to: &Path) -> Result<()> {
    let text = std::fs::read_to_string(from)?;
    let mut left = words;
    let lines: Vec<&str> = text
        .lines()
        .take_while(|line| {
            let more = left > 0;
            left = left.saturating_sub(line.split(' ').count());
            more
        })
        .collect();
    Ok(std::fs::write(to, lines.join("\n") + "\n")?)
}

fn texts(folder: &Path) -> Result<Vec<String>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths.into_iter().map(|path| path.to_string_lossy().into_owned()).collect())
}
