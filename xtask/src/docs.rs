//! `cargo xtask docs`.

use anyhow::Result;

use crate::shell::{cache, command, root, run, run_command};

/// The book and the API documentation.
pub(crate) fn all() -> Result<()> {
    api()?;
    let tools = cache().join("tools");
    let mdbook = tools.join("bin/mdbook");
    if !mdbook.exists() {
        run("cargo", &["install", "--locked", "--root", &tools.to_string_lossy(), "mdbook"])?;
    }
    run(mdbook, &["build", &root().join("docs").to_string_lossy()])
}

/// The API documentation; a broken link is an error.
pub(crate) fn api() -> Result<()> {
    run_command(command("cargo", &["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
}
