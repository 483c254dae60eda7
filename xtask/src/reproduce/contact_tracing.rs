//! Tracing policies at equal mobility: R by policy and adoption, and once among 100,000 people.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Extent,
    figure::{self, Line},
    mean_and_deviation,
};
use crate::{
    machine,
    shell::{self, command, release, root, run, run_command},
};

const POLICIES: &str = "none,bct1,bct2,heuristic1,heuristic3,oracle";
/// 30, 40 and 60 % of all people.
const UPTAKES: [(&str, &str); 3] = [("0.4215", "30 %"), ("0.5618", "40 %"), ("0.8415", "60 %")];
const MOBILITIES: &str = "0.15,0.2,0.25,0.3,0.35,0.4,0.5,0.6,0.8,1.0";
const SEEDS: usize = 10;
const RECIPE: &str = "recipes/epidemic/predictors.toml";
/// Of the recipe.
const PREDICTORS: [&str; 3] = ["linear", "deep-set", "set-transformer"];

pub(super) fn run_all(extent: Extent) -> Result<()> {
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?;
    let work = shell::cache().join("reproduce/contact-tracing");
    if !extent.missing && work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    let learnt = work.join("predictors");
    if learnt.exists() {
        run_command(command(&lyceum, &["--quiet", "resume"]).arg(&learnt))?;
    } else {
        run_command(command(&lyceum, &["--quiet", "run", RECIPE, "--out"]).arg(&learnt))?;
    }
    let predictors = |names: &[&str]| -> Vec<String> {
        let file = |name: &str| format!("{name}={}", learnt.join(name).join("predictor.safetensors").display());
        names.iter().flat_map(|name| ["--predictor".to_owned(), file(name)]).collect()
    };
    let seeds = extent.seeds.unwrap_or(SEEDS).to_string();
    let compare = |name: &str, seeds: &str, more: &[&str], learnt: &[&str]| -> Result<(Value, Value)> {
        let out = work.join(name);
        let mut compare = command(&lyceum, &["--quiet", "epidemic", "compare", "--out"]);
        compare.arg(&out).args(["--seeds", seeds]).args(more).args(predictors(learnt));
        run_command(&mut compare)?;
        let read = |name: &str| -> Result<Value> { Ok(serde_json::from_str(&std::fs::read_to_string(out.join(name))?)?) };
        Ok((read("table.json")?, read("matched.json")?))
    };
    let folder = root().join("results/contact-tracing");
    std::fs::create_dir_all(&folder)?;
    let mut text = format!(
        "# Contact tracing at equal mobility\n\n\
         3,000 people of Montreal, 50 days, 0.2 % infected at first, {seeds} seeds, contacts cut to 15 % to 100 % on top of what a policy does.\n\
         A Gaussian process of R on contacts a person and day for each policy; below, R where contacts are as many as leave R at 1.2 (and at\n\
         1.0) without tracing, with 95 % intervals of the process. R counts whom those infect who were infected from the second week to two\n\
         weeks before the end. Linear function, deep set and set transformer were learnt in other epidemics (`{RECIPE}`).\n\n\
         Again: `cargo xtask reproduce contact-tracing`.\n\n"
    );
    let mut kept = Vec::new();
    for (uptake, adoption) in UPTAKES {
        let more = ["--policies", POLICIES, "--uptake", uptake, "--mobility", MOBILITIES, "--people", "3000", "--days", "50"];
        let (table, matched) = compare(&format!("uptake-{uptake}"), &seeds, &more, &PREDICTORS)?;
        writeln!(text, "## {adoption} of all have the app\n\n{}", matched_table(&matched)?)?;
        if adoption == "60 %" {
            let labels = ["contacts a person and day", "R"];
            figure::lines(&folder.join("frontier.svg"), "Tracing at equal mobility, 60 % with the app", labels, &lines(&table)?)?;
            text += "![R against contacts](frontier.svg)\n\n";
        }
        kept.push(json!({ "adoption": adoption, "matched": matched, "runs": summary(&table)? }));
    }
    let more = ["--policies", POLICIES, "--mobility", "0.6", "--people", "100000", "--days", "60"];
    let (table, _) = compare("large", "2", &more, &PREDICTORS[1..2])?;
    writeln!(text, "## 100,000 people, 60 % with the app, contacts cut to 60 %\n\n{}", outcomes(&table)?)?;
    kept.push(json!({ "people": 100_000, "runs": summary(&table)? }));
    let machine = machine::describe()?;
    writeln!(text, "{}.", machine::footer(&machine))?;
    std::fs::write(
        folder.join("results.json"),
        serde_json::to_string_pretty(&json!({ "machine": machine, "seeds": seeds, "parts": kept }))? + "\n",
    )?;
    std::fs::write(folder.join("README.md"), text)?;
    Ok(())
}

fn matched_table(matched: &Value) -> Result<String> {
    let columns = matched.as_array().context("matched.json")?;
    let mut text = "| policy |".to_owned();
    for column in columns {
        write!(text, " R at {:.2} contacts a day |", column["contacts"].as_f64().unwrap_or(f64::NAN))?;
    }
    text += "\n|---|";
    text += &"---:|".repeat(columns.len());
    let arms = columns.first().and_then(|column| column["arms"].as_array()).context("no arms")?;
    for (place, arm) in arms.iter().enumerate() {
        write!(text, "\n| {} |", arm[0].as_str().unwrap_or_default())?;
        for column in columns {
            let found = &column["arms"][place][1];
            match (found["value"].as_f64(), found["low"].as_f64(), found["high"].as_f64()) {
                (Some(value), Some(low), Some(high)) => write!(text, " {value:.2} ({low:.2} to {high:.2}) |")?,
                _ => text += " – |",
            }
        }
    }
    Ok(text + "\n")
}

/// Mean contacts and R of each policy at each mobility.
fn lines(table: &Value) -> Result<Vec<Line>> {
    let runs = table.as_array().context("table.json")?;
    let number = |run: &Value, path: &str| run["outcome"].pointer(path).and_then(Value::as_f64);
    Ok(arms(runs)
        .into_iter()
        .map(|arm| {
            let points = MOBILITIES.split(',').filter_map(|mobility| {
                let here = runs.iter().filter(|run| run["arm"] == arm && run["mobility"].as_f64() == mobility.parse().ok());
                let (contacts, r): (Vec<f64>, Vec<f64>) =
                    here.filter_map(|run| number(run, "/contacts").zip(number(run, "/reproduction/value"))).unzip();
                let ((contacts, _), (r, deviation)) = (mean_and_deviation(&contacts), mean_and_deviation(&r));
                contacts.is_finite().then_some((contacts, r, deviation))
            });
            Line { name: arm.to_owned(), points: points.collect() }
        })
        .collect())
}

/// The policies in their order.
fn arms(runs: &[Value]) -> Vec<&str> {
    let mut arms: Vec<&str> = Vec::new();
    for arm in runs.iter().filter_map(|run| run["arm"].as_str()) {
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    }
    arms
}

/// The runs without their curves.
fn summary(table: &Value) -> Result<Vec<Value>> {
    let runs = table.as_array().context("table.json")?;
    Ok(runs
        .iter()
        .map(|run| json!({ "arm": run["arm"], "seed": run["seed"], "mobility": run["mobility"], "outcome": run["outcome"] }))
        .collect())
}

fn outcomes(table: &Value) -> Result<String> {
    let runs = table.as_array().context("table.json")?;
    let mut text =
        "| policy | R | infected, % | contacts a day | in quarantine, % | of these not infected, % |\n|---|---:|---:|---:|---:|---:|\n"
            .to_owned();
    for arm in arms(runs) {
        let of = |read: &dyn Fn(&Value) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter(|run| run["arm"] == arm).filter_map(|run| read(&run["outcome"])).collect();
            let (mean, deviation) = mean_and_deviation(&values);
            format!("{mean:.2} ± {deviation:.2}")
        };
        writeln!(
            text,
            "| {arm} | {} | {} | {} | {} | {} |",
            of(&|outcome| outcome["reproduction"]["value"].as_f64()),
            of(&|outcome| Some(100.0 * outcome["attack"].as_f64()?)),
            of(&|outcome| outcome["contacts"].as_f64()),
            of(&|outcome| Some(100.0 * outcome["quarantine"].as_f64()?)),
            of(&|outcome| Some(100.0 * outcome["false_quarantine"].as_f64()? / outcome["quarantine"].as_f64()?.max(1e-12))),
        )?;
    }
    Ok(text)
}
