//! `cargo xtask wheel`: the Python package as a wheel that needs no Rust where it is installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{
    python,
    shell::{command, root, run_command, target},
};

/// Builds the wheel; gives its path.
pub(crate) fn build() -> Result<PathBuf> {
    let python = python::environment("wheel", "maturin>=1.9,<2\n")?;
    let folder = target()?.join("wheels");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let manifest = root().join("crates/python/Cargo.toml");
    let mut maturin = command(&python, &["-m", "maturin", "build", "--release", "--locked", "--manifest-path"]);
    run_command(maturin.arg(manifest).arg("--out").arg(&folder))?;
    let mut wheels = std::fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path());
    wheels.find(|path| path.extension().is_some_and(|extension| extension == "whl")).context("maturin wrote no wheel")
}

/// Builds the wheel and installs it into a virtual environment.
pub(crate) fn install(python: &Path) -> Result<()> {
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall", "--no-deps"];
    run_command(command(python, &pip).arg(build()?))
}
