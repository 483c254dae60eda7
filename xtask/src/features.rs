//! `cargo xtask features`: whether the binary, the wheel and the tests agree on the features of their dependencies. Where
//! they do not, each dependency is compiled once for each of them.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::shell::{command, output};

/// Packages with a version and their features: `serde v1.0 default,derive,std`. A package that is built for this machine and for
/// build scripts has two lines.
fn tree(arguments: &[&str]) -> Result<BTreeSet<String>> {
    let format = ["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p} {f}"];
    let text = output(command("cargo", &format).args(arguments))?;
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)").replace(" (proc-macro)", "").trim().to_owned());
    Ok(lines.filter(|line| !line.is_empty() && !line.contains('/')).collect())
}

/// What comes before the features.
fn package(line: &str) -> &str {
    line.match_indices(' ').nth(1).map_or(line, |(at, _)| &line[..at])
}

pub(crate) fn agree() -> Result<()> {
    let whole = tree(&["--workspace", "--exclude", "xtask"])?;
    for member in ["lyceum", "lyceum-python"] {
        let part = tree(&["--package", member])?;
        for line in part.difference(&whole) {
            eprintln!("{member} alone: {line}");
            whole.iter().filter(|other| package(other) == package(line)).for_each(|other| eprintln!("  everywhere: {other}"));
        }
        ensure!(
            part.is_subset(&whole),
            "{member} has dependencies with other features than the workspace: add them to crates/workspace-hack"
        );
    }
    Ok(())
}
