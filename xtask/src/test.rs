//! `cargo xtask test` and `cargo xtask ci`.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{
    docs, features, python,
    shell::{command, has, release, root, run, run_command},
    wheel,
};

/// Format, lints, every test, documentation.
pub(crate) fn all() -> Result<()> {
    run("cargo", &["fmt", "--all", "--check"])?;
    features::agree()?;
    run_command(
        command("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).env("CARGO_TERM_PROGRESS_WHEN", "never"),
    )?;
    install_chromium();
    run("cargo", &["test", "--workspace"])?;
    cluster_tests()?;
    python_tests()?;
    docs::api()
}

/// Counting on a Ballista cluster is a feature of its own, since its dependencies take minutes to compile.
fn cluster_tests() -> Result<()> {
    run("cargo", &["test", "-p", "lyceum-masking", "--features", "cluster", "--test", "cluster"])
}

/// The quick start, as the README has it.
pub(crate) fn quick_start() -> Result<()> {
    let out = tempfile()?;
    run("cargo", &["run", "--release", "--", "run", "recipes/quickstart.toml", "--out", &out])?;
    ensure!(Path::new(&out).join("report.html").exists(), "the quick start wrote no report");
    std::fs::remove_dir_all(out)?;
    Ok(())
}

/// What other tools read of what Lyceum writes, and the Python package as its users have it: installed from the wheel.
fn python_tests() -> Result<()> {
    let requirements = root().join("tests/python/requirements.txt");
    let python = python::environment("tests", &std::fs::read_to_string(requirements)?)?;
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?;
    wheel::install(&python)?;
    run_command(command(&python, &["-m", "pytest", "-q", "tests/python"]).env("LYCEUM", lyceum))?;
    run(&python, &["-m", "pytest", "-q", "--doctest-modules", "--pyargs", "lyceum"])?;
    run(&python, &["-m", "mypy", "--strict", "-p", "lyceum"])
}

/// The report's test opens it in Chromium. Where it is not there and cannot be installed, that test says that it was
/// skipped; in CI it must run.
fn install_chromium() {
    if has("chromium") || has("google-chrome") || !has("apt-get") {
        return;
    }
    let install = [["apt-get", "update", "-qq"].as_slice(), ["apt-get", "install", "-y", "-qq", "chromium"].as_slice()];
    for words in install {
        if let Err(error) = run(words[0], &words[1..]) {
            eprintln!("Chromium could not be installed: {error}");
            return;
        }
    }
}

fn tempfile() -> Result<String> {
    let folder = std::env::temp_dir().join(format!("lyceum-quickstart-{}", std::process::id()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder.to_string_lossy().into_owned())
}
