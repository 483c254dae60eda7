//! `cargo xtask sanitize`: the tests of the crate with unsafe code under valgrind (uninitialised values, on the paths
//! without AVX-512) and under the address sanitizer (all paths; needs a nightly toolchain).

use anyhow::{Context, Result};

use crate::shell::{cache, command, output, run, run_command};

pub(crate) fn all() -> Result<()> {
    for program in test_programs()? {
        // Valgrind takes the comparison "unordered or equal" for "equal", so it does not see a NaN that hardware sees.
        let skipped = "divergence_is_not_hidden";
        run("valgrind", &["--quiet", "--error-exitcode=9", &program, "--test-threads", "1", "--skip", skipped])?;
    }
    let folder = cache().join("asan");
    let mut sanitized =
        command("cargo", &["+nightly", "test", "--package", "lyceum-kernels", "--tests", "--target", "x86_64-unknown-linux-gnu"]);
    // Leaks are not looked for: the thread pool and the autodiff graph live as long as the program.
    sanitized.env("RUSTFLAGS", "-Zsanitizer=address").env("ASAN_OPTIONS", "detect_leaks=0").env("CARGO_TARGET_DIR", folder);
    run_command(&mut sanitized)
}

/// The test programs of the kernels: compiled without optimisation they would take hours.
fn test_programs() -> Result<Vec<String>> {
    let mut build = command("cargo", &["test", "--release", "--workspace", "--no-run", "--message-format", "json", "--lib", "--tests"]);
    let mut programs = Vec::new();
    for line in output(&mut build)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let of_kernels = message["target"]["src_path"].as_str().is_some_and(|path| path.contains("crates/kernels/"));
        if let (true, Some(program)) = (of_kernels, message["executable"].as_str()) {
            programs.push(program.to_owned());
        }
    }
    (!programs.is_empty()).then_some(programs).context("no test programs of lyceum-kernels were built")
}
