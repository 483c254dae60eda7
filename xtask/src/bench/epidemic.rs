//! An epidemic of 100,000 people beside Covasim and OpenABM-Covid19, with testing and tracing, and of a million.

use std::process::Command;

use anyhow::Result;

use super::Measurements;
use crate::{
    python,
    shell::{command, release, root, run},
};

const PEOPLE: &str = "100000";
const DAYS: &str = "60";
/// Contacts of this share make an epidemic of a fifth to a third of all in 60 days, as Covasim's defaults do.
const MOBILITY: &str = "0.55";
const ROUNDS: usize = 9;

pub(super) fn run_all() -> Result<()> {
    let folder = root().join("bench");
    let python = python::environment("bench-epidemic", &std::fs::read_to_string(folder.join("epidemic-requirements.txt"))?)?;
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?.to_string_lossy().into_owned();
    let script = folder.join("epidemic.py").to_string_lossy().into_owned();
    let simulate = |work: &str, people: &str, days: &str, more: &[&str]| -> Command {
        let mut simulate = command(&python, &[&script, "lyceum", work, &lyceum]);
        simulate.args(["--people", people, "--days", days, "--initially-infected", "0.0002", "--checkpoint-every", "0"]);
        simulate.args(["--set", "count_contacts=false"]).args(more);
        simulate
    };
    let mut measured = Measurements::default();
    let plain = ["--policy", "unmitigated", "--mobility", MOBILITY, "--set", "testing=false"];
    let mut programs = vec![simulate("plain", PEOPLE, DAYS, &plain), command(&python, &[&script, "covasim", "plain", PEOPLE, DAYS])];
    let openabm = std::env::var("LYCEUM_OPENABM").ok();
    match &openabm {
        Some(source) => programs.push(command(&python, &[&script, "openabm", "plain", source, PEOPLE, DAYS])),
        None => eprintln!(
            "OpenABM-Covid19 is not measured: LYCEUM_OPENABM is not set. It is the folder of its source, with src/covid19ibm.exe built \
             (gcc -O3 src/*.c but the interface's, with GSL)."
        ),
    }
    programs.push(simulate("binary-tracing", PEOPLE, DAYS, &["--policy", "bct1", "--mobility", MOBILITY]));
    programs.push(command(&python, &[&script, "covasim", "binary-tracing", PEOPLE, DAYS, "tracing"]));
    programs.push(simulate("messages", PEOPLE, DAYS, &["--policy", "heuristic1", "--mobility", MOBILITY]));
    measured.alternate(ROUNDS, &mut programs)?;
    // How time grows with people, and the largest.
    let mut sizes: Vec<Command> =
        ["10000", "100000", "1000000"].iter().map(|people| simulate(&format!("plain-{people}"), people, DAYS, &plain)).collect();
    sizes.push(simulate("million-messages", "1000000", "100", &["--policy", "heuristic1", "--mobility", MOBILITY]));
    measured.alternate(1, &mut sizes)?;
    let median = |work: &str, peer: &str| measured.median(work, peer);
    let mut ratios = vec![
        ("plain", "covasim", median("plain", "lyceum")?, median("plain", "covasim")?),
        ("binary-tracing", "covasim", median("binary-tracing", "lyceum")?, median("binary-tracing", "covasim")?),
    ];
    if openabm.is_some() {
        ratios.push(("plain", "openabm", median("plain", "lyceum")?, median("plain", "openabm")?));
    }
    measured.finish("epidemic", &ratios)
}
