//! Test lines of many languages, from the crates of the Lingua detector.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result};

use super::{files_in, name_of, read, run, write};

/// Gives the folder of the crates' sources.
pub(super) fn lingua(work: &Path) -> Result<PathBuf> {
    let source = work.join("src");
    fs::create_dir_all(&source).map_err(Error::io("create", &source))?;
    write(&source.join("lib.rs"), b"")?;
    let manifest = "[package]\nname = \"lines\"\nedition = \"2024\"\n[dependencies]\nlingua = \"=1.8.0\"\n[workspace]\n";
    write(&work.join("Cargo.toml"), manifest.as_bytes())?;
    run("cargo", &["vendor", "--quiet", "vendor"], work)?;
    Ok(work.join("vendor"))
}

/// A folder a language, with its lines.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    for source in files_in(from)? {
        let name = name_of(&source);
        let Some(language) = name.strip_prefix("lingua-").and_then(|name| name.strip_suffix("-language-model")) else { continue };
        let folder = to.join(language);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        for kind in ["sentences.txt", "word-pairs.txt", "single-words.txt"] {
            write(&folder.join(kind), &read(&source.join("testdata").join(kind))?)?;
        }
    }
    Ok(())
}
