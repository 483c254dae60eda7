//! Running other programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The root of the workspace that cargo runs this in: another clone may have built the program.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A folder for what may be kept between runs of these commands.
pub(crate) fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("lyceum")
}

/// The target folder: two above this very program.
pub(crate) fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    own.ancestors().nth(2).map(Path::to_path_buf).context("the target folder")
}

/// A program of this workspace in the release profile.
pub(crate) fn release(name: &str) -> Result<PathBuf> {
    Ok(target()?.join("release").join(name))
}

/// A command in the root of the workspace.
pub(crate) fn command(program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command and fails if it does.
pub(crate) fn run(program: impl AsRef<Path>, arguments: &[&str]) -> Result<()> {
    run_command(&mut command(program, arguments))
}

/// Brings a data set into the cache, unless it is there.
pub(crate) fn data(name: &str) -> Result<()> {
    run("cargo", &["run", "--release", "--quiet", "--", "--quiet", "data", "get", name])
}

/// Where Lyceum looks for data.
pub(crate) fn data_folder() -> PathBuf {
    std::env::var_os("LYCEUM_DATA").filter(|value| !value.is_empty()).map_or_else(|| cache().join("data"), PathBuf::from)
}

/// The same for a command with an environment of its own.
pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command.status().with_context(|| shown(command))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// What a command prints on standard output; its errors go to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.stderr(Stdio::inherit()).output().with_context(|| shown(command))?;
    if !out.status.success() {
        bail!("{} ended with {}", shown(command), out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether a program can be started at all.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
