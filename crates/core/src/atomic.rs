//! Files that are either whole or not there.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Writes a file under a temporary name, syncs it and renames it, so that a reader meets the old content or the new
/// one and never a part. On any error the temporary file is removed and the old content is untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// The same for what is not in memory as one piece: `fill` writes it.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let temporary = sibling(path);
    let written = (|| {
        let mut file = BufWriter::new(create(&temporary)?);
        fill(&mut file).and_then(|()| file.flush()).and_then(|()| file.get_ref().sync_all()).map_err(Error::io("write", &temporary))?;
        fs::rename(&temporary, path).map_err(Error::io("rename to", path))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(path);
    Ok(())
}

/// Fills a folder under a temporary name and renames it, replacing an earlier folder of that name.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = sibling(path);
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
    let filled = fill(&temporary).and_then(|()| {
        if path.exists() {
            fs::remove_dir_all(path).map_err(Error::io("replace", path))?;
        }
        fs::rename(&temporary, path).map_err(Error::io("rename to", path))
    });
    if filled.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    filled?;
    sync_folder(path);
    Ok(())
}

/// Creates a file with this content and waits until it is on the disk.
pub fn create_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("write", path))
}

/// Opens a file for writing with these options. A symbolic link in its place is an error: what it points to is not ours.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW);
    }
    options.open(path).map_err(|source| refuse_link(path).err().unwrap_or_else(|| Error::io("open", path)(source)))
}

/// An error if the path is a symbolic link.
pub fn refuse_link(path: &Path) -> Result<()> {
    if path.is_symlink() {
        Err(Error::invalid(path.display().to_string(), "a symbolic link", "a file or folder of its own"))
    } else {
        Ok(())
    }
}

/// Makes a folder, with those above it, where there is none. A symbolic link in its place is an error.
pub fn own_folder(path: &Path) -> Result<()> {
    refuse_link(path)?;
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// As [`File::create`], but never through a symbolic link.
fn create(path: &Path) -> Result<File> {
    open_own(path, OpenOptions::new().write(true).create(true).truncate(true))
}

fn sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Some file systems cannot sync a folder; the rename itself has been done.
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        write_folder(&path, |inside| create_synced(&inside.join("a"), b"old")).unwrap();
        let failed = write_folder(&path, |inside| {
            create_synced(&inside.join("a"), b"new")?;
            Err(Error::Failed("full".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(path.join("a")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
