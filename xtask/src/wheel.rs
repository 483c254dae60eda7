//! `cargo xtask wheel`: the Python package as a wheel that needs no Rust where it is installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{
    python,
    shell::{command, root, run_command, target},
};

/// Builds the wheel, for this system or also for older ones; gives its path.
pub(crate) fn build(portable: bool) -> Result<PathBuf> {
    let requirements = if portable { "maturin[zig]>=1.9,<2\n" } else { "maturin>=1.9,<2\n" };
    let python = python::environment(if portable { "wheel-portable" } else { "wheel" }, requirements)?;
    let folder = target()?.join("wheels");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let manifest = root().join("crates/python/Cargo.toml");
    let mut maturin = command(&python, &["-m", "maturin", "build", "--release", "--locked", "--manifest-path"]);
    maturin.arg(manifest).arg("--out").arg(&folder);
    if portable {
        // maturin looks for zig in the environment's own Python.
        let own = python.parent().context("a Python lies in a folder")?.to_path_buf();
        let path = std::env::var_os("PATH").unwrap_or_default();
        maturin.env("PATH", std::env::join_paths([own].into_iter().chain(std::env::split_paths(&path)))?);
        // Another linker makes other files.
        maturin.args(["--zig", "--compatibility", "manylinux_2_28"]).env("CARGO_TARGET_DIR", target()?.join("portable"));
    }
    run_command(&mut maturin)?;
    let mut wheels = std::fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path());
    wheels.find(|path| path.extension().is_some_and(|extension| extension == "whl")).context("maturin wrote no wheel")
}

/// Builds the wheel and installs it into a virtual environment.
pub(crate) fn install(python: &Path) -> Result<()> {
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall", "--no-deps"];
    run_command(command(python, &pip).arg(build(false)?))
}
