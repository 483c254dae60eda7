//! What a result was measured on.

use anyhow::Result;
use serde_json::{Value, json};

use crate::shell::{command, output};

/// Date, processor, cores, compiler and commit.
pub(crate) fn describe() -> Result<Value> {
    let first = |program: &str, arguments: &[&str]| output(&mut command(program, arguments)).map(|text| text.trim().to_owned());
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches([':', ' ', '\t']));
    let wide = if cpu.contains("avx512f") {
        "AVX-512"
    } else if cpu.contains("avx2") {
        "AVX2"
    } else {
        "no AVX2"
    };
    let changed = !first("git", &["status", "--porcelain"])?.is_empty();
    Ok(json!({
        "date": first("date", &["-u", "+%Y-%m-%d"])?,
        "cpu": format!("{model}, {wide}"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "rustc": first("rustc", &["--version"])?,
        "commit": first("git", &["rev-parse", "--short=12", "HEAD"])? + if changed { " with changes" } else { "" },
    }))
}

/// The last line of a report: when, where and of which commit it was measured.
pub(crate) fn footer(machine: &Value) -> String {
    let field = |name: &str| machine[name].as_str().unwrap_or_default();
    format!("Measured {} on {} ({} cores), commit {}", field("date"), field("cpu"), machine["cores"], field("commit"))
}
