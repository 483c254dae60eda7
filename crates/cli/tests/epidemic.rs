//! `lyceum epidemic` on files.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::{fs, path::Path, process::Stdio, time::Duration};

use common::{command, refused, succeeds};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const SMALL: &str = "--people 1200 --days 30 --initially-infected 0.01";

#[test]
fn a_run_its_files_and_what_if() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let said = succeeds(path, &format!("epidemic run {SMALL} --policy bct1 --contacts --hours --out one"));
    assert!(said.contains("of 1200 people were infected"), "{said}");
    for file in [
        "days.parquet",
        "hours.parquet",
        "infections.parquet",
        "reproduction.parquet",
        "summary.json",
        "report.html",
        "report.json",
        "state",
        "contacts/day-0029.parquet",
    ] {
        assert!(path.join("one").join(file).exists(), "{file}");
    }
    let report = fs::read_to_string(path.join("one/report.html")).unwrap();
    assert!(report.contains("Reproduction number, three ways") && !report.contains("http://cdn") && !report.contains("https://cdn"));
    // The same again gives the same files, and a longer one begins with the same days.
    let first = fs::read(path.join("one/infections.parquet")).unwrap();
    succeeds(path, &format!("epidemic run {SMALL} --policy bct1 --out again"));
    assert!(fs::read(path.join("again/infections.parquet")).unwrap() == first);
    succeeds(path, "epidemic run --from one/state --policy lockdown --days 45 --out branch");
    let (before, after) = (json(&path.join("one/summary.json")), json(&path.join("branch/summary.json")));
    assert_eq!(before["days"].as_array().unwrap()[..], after["days"].as_array().unwrap()[..30]);
    assert_eq!(after["days"].as_array().unwrap().len(), 45);
    succeeds(path, "epidemic plot one branch --out beside");
    assert!(fs::read_to_string(path.join("beside/report.html")).unwrap().contains("branch"));
    // A file and changes.
    fs::write(path.join("mine.toml"), "people = 800\ndays = 12\n[parameters.transmission]\ncontagion = 0\n").unwrap();
    succeeds(path, "epidemic run mine.toml --set course.asymptomatic=0.5 --seed 4 --out mine");
    let mine = json(&path.join("mine/summary.json"));
    assert_eq!(mine["config"]["parameters"]["course"]["asymptomatic"], 0.5);
    assert!(mine["days"].as_array().unwrap().iter().all(|day| day["new_infections"] == 0));
}

#[test]
fn a_run_that_was_killed_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let line = "epidemic run --people 30000 --days 60 --initially-infected 0.01 --policy heuristic1 --checkpoint-every 2";
    let mut child = command(path, &format!("{line} --out killed")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !path.join("killed/state").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before a checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!path.join("killed/summary.json").exists());
    succeeds(path, &format!("{line} --out killed"));
    succeeds(path, &format!("{line} --out whole"));
    assert!(fs::read(path.join("killed/infections.parquet")).unwrap() == fs::read(path.join("whole/infections.parquet")).unwrap());
    assert!(fs::read(path.join("killed/days.parquet")).unwrap() == fs::read(path.join("whole/days.parquet")).unwrap());
}

#[test]
fn policies_are_compared_and_what_is_missing_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let line = "epidemic compare --people 600 --days 30 --initially-infected 0.02 --policies none,bct1 --uptake 0.4,0.9 --mobility 0.3,0.8 --out out";
    succeeds(path, &format!("{line} --seeds 1"));
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines(&path.join("out/runs.jsonl")), 6);
    // Cut off in the middle of a line, with one more seed.
    let text = fs::read_to_string(path.join("out/runs.jsonl")).unwrap();
    fs::write(path.join("out/runs.jsonl"), &text[..text.len() - 40]).unwrap();
    succeeds(path, &format!("{line} --seeds 2"));
    let table = json(&path.join("out/table.json"));
    assert_eq!(table.as_array().unwrap().len(), 12);
    assert_eq!(table[0]["arm"], "none");
    assert!(fs::read_to_string(path.join("out/report.html")).unwrap().contains("bct1, uptake 0.9"));
    succeeds(path, &format!("{line}-whole --seeds 2"));
    assert!(fs::read(path.join("out/table.json")).unwrap() == fs::read(path.join("out-whole/table.json")).unwrap());
}

#[test]
fn scenarios_are_compared_and_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let plan = "people = 900\ndays = 30\ninitially_infected = 0.02\nmobility = 0.6\n[[interventions]]\nfrom = 4\ncontagion = 1.0\n";
    fs::write(path.join("open.toml"), plan).unwrap();
    fs::write(path.join("masks.toml"), plan.replace("1.0", "0.1")).unwrap();
    let line = "epidemic compare --scenario open=open.toml --scenario masks=masks.toml --out out --seeds";
    succeeds(path, &format!("{line} 2"));
    let table = json(&path.join("out/table.json"));
    let arms: Vec<&str> = table.as_array().unwrap().iter().map(|run| run["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["open", "open", "masks", "masks"]);
    assert_eq!(table[0]["mobility"], 0.6, "as the file has it");
    let attack = |place: usize| table[place]["outcome"]["attack"].as_f64().unwrap();
    assert!(attack(0) > 1.5 * attack(2) && attack(1) > 1.5 * attack(3), "{table}");
    // A scenario whose file changed is simulated anew, the other is kept.
    let lines = || fs::read_to_string(path.join("out/runs.jsonl")).unwrap();
    let before = lines();
    fs::write(path.join("masks.toml"), plan.replace("1.0", "0.0")).unwrap();
    succeeds(path, &format!("{line} 2"));
    let kept = |name: &str, text: &str| text.lines().filter(|line| line.contains(name)).map(str::to_owned).collect::<Vec<String>>();
    assert_eq!(kept("\"open\"", &before), kept("\"open\"", &lines()));
    assert_ne!(kept("\"masks\"", &before), kept("\"masks\"", &lines()));
    // Policies in scenarios.
    succeeds(path, &format!("{line} 1 --policies none,bct1"));
    assert_eq!(json(&path.join("out/table.json"))[3]["arm"], "masks, bct1");
    for (line, told) in [
        ("epidemic compare --scenario open --out x", "NAME=FILE"),
        ("epidemic compare --scenario a=open.toml --scenario a=masks.toml --out x", "`a` twice"),
        ("epidemic compare open.toml --scenario a=masks.toml --out x", "cannot be used with"),
        ("epidemic compare --scenario a=none.toml --out x", "none.toml"),
    ] {
        let message = refused(path, line);
        assert!(message.contains(told), "{line}: {message}");
        assert!(!path.join("x").exists(), "{line}");
    }
}

/// Each scenario is simulated among its own people, whatever else is compared and in which order; those that change nothing of people have
/// the same ones, so that what happened before the intervention is the same too.
#[test]
fn scenarios_do_not_depend_on_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let base = "people = 900\ndays = 20\ninitially_infected = 0.02\n";
    let phones = "[parameters.phones]\nowners = [0, 0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0, 0]\n";
    for (name, more) in [("open", ""), ("few", phones), ("late", "[[interventions]]\nfrom = 12\ncontacts = { other = 0.2 }\n")] {
        fs::write(path.join(format!("{name}.toml")), format!("{base}{more}")).unwrap();
    }
    let compared = |order: &[&str], out: &str| {
        let scenarios = order.iter().map(|name| format!("--scenario {name}={name}.toml ")).collect::<String>();
        succeeds(path, &format!("epidemic compare {scenarios}--policies bct1 --seeds 2 --out {out}"));
        let runs = json(&path.join(out).join("table.json"));
        let of = |name: &str| -> Vec<Value> {
            runs.as_array().unwrap().iter().filter(|run| run["arm"] == format!("{name}, bct1")).cloned().collect()
        };
        ["open", "few", "late"].map(of)
    };
    let all = compared(&["open", "few", "late"], "all");
    assert!(all.iter().all(|runs| runs.len() == 2));
    assert_eq!(compared(&["late", "few", "open"], "backwards"), all);
    // One after the other into one folder, and one alone.
    compared(&["few"], "grown");
    assert_eq!(compared(&["open", "few", "late"], "grown"), all);
    assert_eq!(compared(&["few"], "alone")[1], all[1]);
    let [open, few, late] = &all;
    let days = |run: &Value| run["new_infections"].as_array().unwrap()[..12].to_vec();
    assert_eq!(days(&open[0]), days(&late[0]));
    assert!(few[0]["outcome"]["adoption"].as_f64() < open[0]["outcome"]["adoption"].as_f64());
}

#[test]
fn interventions_come_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/epidemic/closures.toml");
    fs::copy(example, path.join("plan.toml")).unwrap();
    succeeds(path, "epidemic run plan.toml --people 2000 --days 200 --out out");
    let report = fs::read_to_string(path.join("out/report.html")).unwrap();
    for text in
        ["closed: school, venue", "contacts work × 0.5", "vaccination of 0.6 % a day, ages 65 to 120", "interventions begin and end"]
    {
        assert!(report.contains(text), "{text}");
    }
    assert!(json(&path.join("out/summary.json"))["days"][199]["vaccinated"].as_u64().unwrap() > 500);
    succeeds(
        path,
        "epidemic run plan.toml --people 500 --days 10 --set interventions.1.until=60 --set interventions.0.imported=0 --out changed",
    );
    assert_eq!(json(&path.join("changed/summary.json"))["config"]["interventions"][1]["until"], 60);
    // How much masks do can be found from a series.
    let cases: Vec<String> = (0..21).map(|day| (5 + day).to_string()).collect();
    fs::write(path.join("cases.txt"), cases.join("\n")).unwrap();
    let fit =
        "epidemic fit cases.txt plan.toml --people 500 --candidates 4 --generations 1 --free interventions.0.imported=0..9 --out fitted";
    assert!(succeeds(path, fit).starts_with("interventions.0.imported "));
}

#[test]
fn a_series_is_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    succeeds(path, "epidemic run --people 1500 --days 28 --initially-infected 0.02 --mobility 0.5 --out truth");
    let days = json(&path.join("truth/summary.json"));
    let rows: Vec<String> =
        days["days"].as_array().unwrap().iter().map(|day| format!("{},{}", day["day"], day["new_infections"])).collect();
    fs::write(path.join("seen.csv"), format!("day,cases\n{}\n", rows.join("\n"))).unwrap();
    let fit = "epidemic fit seen.csv --column cases --people 1500 --initially-infected 0.02 --candidates 12 --generations 3 --free mobility=0.1..1";
    let said = succeeds(path, &format!("{fit} --out fitted"));
    let mean: f64 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((0.3..0.75).contains(&mean), "{said}");
    succeeds(path, "epidemic run fitted/fitted.toml --out best");
    assert!(refused(path, "epidemic fit seen.csv --free mobility=0.1..1 --out x").contains("--column"));
    assert!(refused(path, "epidemic fit seen.csv --column deaths --free mobility=0.1..1 --out x").contains("cases"));
    assert!(refused(path, "epidemic fit seen.csv --column cases --free mobility --out x").contains("LOW..HIGH"));
    fs::write(path.join("bad.txt"), "1\n2\nthree\n").unwrap();
    assert!(refused(path, "epidemic fit bad.txt --free mobility=0.1..1 --out x").contains("line 3"));
    assert!(!path.join("x").exists());
}

#[test]
fn a_learnt_predictor_traces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let recipe = r#"
experiment = "infectiousness"
rounds = 1
simulations = { people = 600, days = 15, train = 3, held_out = 2 }
training = { steps = 50, batch_size = 32 }
[[predictor]]
name = "linear"
network = "linear"
"#;
    fs::write(path.join("recipe.toml"), recipe).unwrap();
    succeeds(path, "run recipe.toml --out learnt");
    let file = "learnt/linear/predictor.safetensors";
    succeeds(path, &format!("epidemic run {SMALL} --predictor {file} --out one"));
    assert_eq!(json(&path.join("one/summary.json"))["config"]["policy"], "learnt");
    succeeds(path, &format!("epidemic compare {SMALL} --policies none --predictor mine={file} --mobility 0.5 --seeds 2 --out two"));
    assert_eq!(json(&path.join("two/table.json"))[2]["arm"], "mine");
    // Nobody is infected: there is no curve to have an area, and a run that goes on reads that.
    let well = "--set simulations.ranges.initially_infected=[0.0,0.0]";
    assert!(succeeds(path, &format!("run recipe.toml {well} --out well")).contains('-'));
    succeeds(path, "resume well");
    assert!(refused(path, "run recipe.toml --set simulations.share=0 --out nobody").contains("no phone"));
    let bytes = fs::read(path.join(file)).unwrap();
    fs::write(path.join("cut"), &bytes[..bytes.len() / 2]).unwrap();
    for (line, told) in [
        ("epidemic run --policy learnt --out x".to_owned(), "predictor"),
        (format!("epidemic run --policy bct1 --predictor {file} --out x"), "--policy"),
        ("epidemic run --predictor cut --out x".into(), "cut"),
        ("epidemic run --predictor none --out x".into(), "none"),
        ("epidemic compare --predictor cut --out x".into(), "--predictor"),
        ("epidemic compare --predictor a=cut --out x".into(), "cut"),
        (format!("epidemic compare --predictor bct1={file} --out x"), "bct1"),
        ("run wrong.toml --out x".into(), "width"),
        ("run below.toml --out x".into(), "below"),
    ] {
        fs::write(
            path.join("wrong.toml"),
            recipe.replace("\"linear\"\n", "\"l\"\n").replace("network = \"l\"", "network = { deep-set = { width = 12, blocks = 2 } }"),
        )
        .unwrap();
        fs::write(path.join("below.toml"), recipe.replace("rounds = 1", "below = [0.9, 0.5, 0.95]")).unwrap();
        let message = refused(path, &line);
        assert!(message.contains(told), "{line}: {message}");
        assert!(!path.join("x").exists(), "{line}");
    }
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("bad.toml"), "peple = 3\n").unwrap();
    fs::write(path.join("state"), "LYCEUME2 and no more").unwrap();
    fs::write(path.join("plan.toml"), "[[interventions]]\nfrom = 7\nuntil = 3\n").unwrap();
    for (line, told) in [
        ("epidemic run --people 0 --out x", "people"),
        ("epidemic run --uptake 1.5 --out x", "uptake"),
        ("epidemic run --mobility nan --out x", "mobility"),
        ("epidemic run --region atlantis --out x", "montreal"),
        ("epidemic run --set transmission.contagoin=3 --out x", "contagoin"),
        ("epidemic run --set transmission.contagion --out x", "KEY=VALUE"),
        ("epidemic run bad.toml --out x", "peple"),
        ("epidemic run none.toml --out x", "none.toml"),
        ("epidemic run plan.toml --out x", "interventions[0].until"),
        ("epidemic run --set interventions.0.contagion=1 --out x", "interventions"),
        ("epidemic run --from state --out x", "state"),
        ("epidemic run --set count_contacts=false --contacts --out x", "count_contacts"),
        ("epidemic compare --seeds 0 --out x", "--seeds"),
        ("epidemic plot nothing --out x", "nothing"),
        ("epidemic parameters --region mars", "united-states"),
    ] {
        let message = refused(path, line);
        assert!(message.contains(told), "{line}: {message}");
        assert!(!path.join("x").exists(), "{line}");
    }
    assert!(succeeds(path, "epidemic parameters").contains("contagion = 25.0"));
    assert!(succeeds(path, "epidemic parameters --region montreal").contains("census"));
}
