//! Virtual environments for the Python side.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell::{cache, has, run};

/// The Python of a virtual environment in the cache with these requirements, made or brought up to date.
pub(crate) fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let folder = cache().join("venv").join(name);
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == requirements) && python.exists() {
        return Ok(python);
    }
    let system = if has("python3") { "python3" } else { "python" };
    let folder = folder.to_string_lossy().into_owned();
    run(system, &["-m", "venv", "--clear", &folder])?;
    let mut arguments = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    arguments.extend(requirements.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')));
    run(&python, &arguments)?;
    std::fs::write(stamp, requirements)?;
    Ok(python)
}
