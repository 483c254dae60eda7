//! Runs through the binary: killed, interrupted, resumed, spoiled.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use common::{
    Files, assert_same,
    recipes::{FEDERATED, RECIPE, STREAM, pretraining},
};

fn lyceum(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lyceum"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> Output {
    lyceum(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a recipe in it.
fn with_recipe(recipe: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    fs::write(&path, recipe).unwrap();
    (folder, path)
}

/// Every file of a run whose bytes must not depend on how often it was interrupted.
fn fingerprint(run: &Path) -> Files {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                // Older checkpoints depend on when they were made.
                let newest = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
                folders.push(if name == "checkpoints" { newest(&path) } else { path });
            } else if name == "metrics.jsonl" || name.ends_with(".safetensors") || name == "summary.json" || name == "report.json" {
                files.insert(path.strip_prefix(run).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn finished(recipe: &str, run: &Path, threads: &str) -> Files {
    let (_folder, recipe) = with_recipe(recipe);
    let out =
        lyceum(&["run", recipe.to_str().unwrap(), "--out", run.to_str().unwrap()]).env("RAYON_NUM_THREADS", threads).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    fingerprint(run)
}

/// Waits, kills or asks to stop, and says whether the process was still running.
fn stop_after(mut child: Child, time: Duration, kill: bool) -> bool {
    std::thread::sleep(time);
    let running = child.try_wait().unwrap().is_none();
    if kill {
        child.kill().unwrap();
        child.wait().unwrap();
    } else if running {
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let out = child.wait_with_output().unwrap();
        // It may have ended meanwhile, and before it hears signals it ends by them.
        assert!([Some(130), Some(0), None].contains(&out.status.code()), "{} {}", out.status, text(&out.stderr));
    }
    running
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bytes_on_any_number_of_threads() {
    ends_with_the_same_bytes(RECIPE, "LookSAM");
}

/// Each seed is the run that it would be alone, and what they found is compared; a run that was stopped goes on with the seed it was at.
#[test]
fn several_seeds_are_as_many_runs_and_resume() {
    let short = RECIPE.replace("epochs = 8", "epochs = 2");
    let folder = tempfile::tempdir().unwrap();
    let together = folder.path().join("together");
    let (_folder, recipe) = with_recipe(&short.replace("seed = 3", "seed = 3\nseeds = 2"));
    let run = || lyceum(&["run", recipe.to_str().unwrap(), "--out", together.to_str().unwrap()]).spawn().unwrap();
    stop_after(run(), Duration::from_millis(400), true);
    let resumed = output(&["resume", together.to_str().unwrap()]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert!(text(&resumed.stdout).contains("LookSAM − SGD"), "{}", text(&resumed.stdout));
    let summary = |run: &Path| -> serde_json::Value { serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap() };
    let mut alone = Vec::new();
    for seed in [3, 4] {
        let path = folder.path().join(seed.to_string());
        let expected = finished(&short.replace("seed = 3", &format!("seed = {seed}")), &path, "2");
        let mut found = fingerprint(&together.join(format!("seed-{seed}")));
        // The recipe is part of a report; here it asks for two seeds.
        let both = [found.remove(Path::new("report.json")), expected.get(Path::new("report.json")).cloned()];
        assert!(both.iter().all(Option::is_some));
        let expected: Files = expected.into_iter().filter(|(path, _)| path != Path::new("report.json")).collect();
        assert_same(&found, &expected, "one of two seeds");
        alone.push(summary(&path)["values"]["SGD/test_log_loss"].as_f64().unwrap());
    }
    let values = &summary(&together)["values"];
    assert!((values["SGD/test_log_loss"].as_f64().unwrap() - f64::midpoint(alone[0], alone[1])).abs() < 1e-12);
    assert!(values["LookSAM - SGD/test_accuracy/low"].is_f64(), "{values}");
    let message = refused(&RECIPE.replace("seed = 3", "seeds = 0"), &[]);
    assert!(message.contains("1 to 1000"), "{message}");
}

#[test]
fn a_stream_killed_at_any_moment_ends_with_the_same_bytes() {
    ends_with_the_same_bytes(STREAM, "DER++");
}

/// A network that one of the methods cannot take, and a file with a mistake, are refused before anything is written.
#[test]
fn networks_that_do_not_fit_are_refused() {
    let stream = |model: &str| {
        STREAM.replace("[model]\nmlp = { hidden = [12], dropout = 0.1 }", "").replace("[data]", &format!("model = {model}\n[data]"))
    };
    let symbols = refused(&stream("{ lstm = {} }"), &[]);
    assert!(symbols.contains("rows of symbols"), "{symbols}");
    let chain = refused(&stream("\"squeeze\""), &[]);
    assert!(chain.contains("HAT") && chain.contains("shortcuts"), "{chain}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.toml");
    let own = |text: &str| {
        fs::write(&file, text).unwrap();
        refused(&stream(&format!("{{ file = {:?} }}", file.to_str().unwrap())), &[])
    };
    let depthwise = own("layers = [{ conv = 4 }, { depthwise = 3 }, \"relu\", { linear = \"classes\" }]");
    assert!(depthwise.contains("GPM") && depthwise.contains("depthwise1"), "{depthwise}");
    let classes = own("layers = [{ linear = 7 }]");
    assert!(classes.contains("10 numbers, one for each class"), "{classes}");
}

#[test]
fn a_stream_without_boundaries_resumes() {
    let free = STREAM.replace("[stream]", "[free]\nchunk = 90\nblur = 0.1\n[stream]").replace("[[strategy]]\nmethod = { hat = {} }\n", "");
    ends_with_the_same_bytes(&free, "SGP");
}

#[test]
fn a_federation_killed_at_any_moment_ends_with_the_same_bytes() {
    ends_with_the_same_bytes(FEDERATED, "FedDyn");
    // With almost no memory for the clients' states, which then are on disk, and with noise.
    let spilled = FEDERATED.replace("[data]", "state_memory_mb = 0.01\n[data]");
    ends_with_the_same_bytes(&spilled, "FedDyn");
    let private =
        FEDERATED.replace("method = { scaffold = {} }", "method = \"fedavg\"").replace("method = \"fednova\"", "method = { fedprox = {} }");
    ends_with_the_same_bytes(&private.replace("[local]", "[privacy]\nclip = 1.0\nnoise = 0.5\n[local]"), "FedYogi");
    let message = refused(&FEDERATED.replace("[local]", "[privacy]\nclip = 1.0\nnoise = 0.5\n[local]"), &[]);
    assert!(message.contains("SCAFFOLD") && message.contains("privacy"), "{message}");
    // Running statistics are a part of the server's state.
    let normalised = FEDERATED.replace("mlp = { hidden = [12] }", "cnn = { channels = [4], hidden = 8 }");
    ends_with_the_same_bytes(&normalised, "FedDyn");
    let private = private.replace("mlp = { hidden = [12] }", "cnn = { channels = [4], hidden = 8 }");
    let message = refused(&private.replace("[local]", "[privacy]\nclip = 1.0\nnoise = 0.5\n[local]"), &[]);
    assert!(message.contains("batch normalisation"), "{message}");
}

/// Clients that are made up, and clients that speak.
#[test]
fn clients_of_other_sources() {
    let source = FEDERATED.find("[data]").unwrap()..FEDERATED.find("[participation]").unwrap();
    let with = |tables: &str| FEDERATED.replace(&FEDERATED[source.clone()], tables);
    ends_with_the_same_bytes(
        &with("model = \"linear\"\n[synthetic]\nclients = 6\nmean_examples = 30\nsolution_deviation = 1.0\n"),
        "FedDyn",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roles.jsonl");
    let role = |k: usize| format!("{{\"role\": \"{k}\", \"text\": \"{}\"}}\n", "to be or not to be ".repeat(5 + k));
    fs::write(&file, (0..5).map(role).collect::<String>()).unwrap();
    let speakers = format!(
        "[model]\nlstm = {{ embedding = 4, hidden = 6, layers = 2 }}\n[characters]\nfile = {file:?}\nclients = 4\nwindow = 5\ntrain = 20\ntest = 5\n"
    );
    ends_with_the_same_bytes(&with(&speakers), "FedDyn");
    for (tables, part) in [
        ("model = \"linear\"\n", "found 0 of the tables"),
        ("model = \"linear\"\n[data]\nname = \"digits\"\n", "clients"),
        ("model = \"linear\"\n[synthetic]\n[clients]\ncount = 3\n", "clients of its own"),
        ("model = { lstm = {} }\n[synthetic]\n", "symbols"),
        ("model = { lstm = {} }\n[characters]\nfile = \"/nowhere/roles.jsonl\"\n", "/nowhere/roles.jsonl"),
    ] {
        let message = refused(&with(tables), &[]);
        assert!(message.contains(part), "{message}");
    }
}

/// A corpus of three made-up languages, two of which share their words.
#[test]
fn languages_resume_and_relatives_have_like_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let words = |language: &str, line: usize| -> String {
        let word = |k: usize| match (language, (line * 7 + k * (1 + line % 5)) % 16) {
            ("en-us", word) => format!("word{}", "abcdefghijklmnop".chars().nth(word).unwrap()),
            ("aa" | "ab", word) => format!("{}ot", "bcdfghjklmnpqrst".chars().nth(word).unwrap()),
            (_, word) => format!("u{}i", "bcdfghjklmnpqrst".chars().nth(15 - word).unwrap()),
        };
        (0..4).map(word).collect::<Vec<_>>().join(" ") + &format!(" {language}{}", line % 3)
    };
    for language in ["en-us", "aa", "ab", "zz"] {
        let lines: String = (0..300).map(|line| format!("k{line}\t{} {line}\n", words(language, line))).collect();
        fs::write(folder.path().join(format!("{language}.tsv")), lines).unwrap();
    }
    let recipe = format!(
        r#"
experiment = "multilingual"
[data]
folder = {:?}
held_out = 10
vocabulary = 400
length = 48
[data.languages]
aa = {{ pairs = 100, family = "a/1" }}
ab = {{ pairs = 100, family = "a/2" }}
zz = {{ pairs = 100, family = "z" }}
[model]
width = 16
heads = 2
feed_forward = 16
layers = 1
[training]
steps = 30
batch_size = 4
evaluate_every = 5
[[arm]]
name = "vaccine"
method = {{ gradient-vaccine = {{}} }}
granularity = "layer"
[[arm]]
name = "mixed"
mixing_temperature = 5.0
"#,
        folder.path().to_string_lossy()
    );
    let summary: serde_json::Value = serde_json::from_slice(&ends_with_the_same_bytes(&recipe, "vaccine")).unwrap();
    let cosine = |pair: &str| summary["values"][format!("vaccine/cosine/{pair}")].as_f64().unwrap();
    assert!(cosine("aa/ab") > cosine("aa/zz") && cosine("aa/ab") > cosine("ab/zz"), "{summary}");
}

/// A made-up language in which some words always come in pairs: who learns with whole pairs masked must guess them from further off.
#[test]
fn pretraining_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = pretraining(folder.path());
    let summary: serde_json::Value = serde_json::from_slice(&ends_with_the_same_bytes(&recipe, "spans")).unwrap();
    for arm in ["PMI", "spans"] {
        let loss = |probe: &str| summary["values"][format!("{arm}/{probe}/loss")].as_f64().unwrap();
        assert!(["words", "spans", "collocations"].iter().all(|probe| loss(probe) > 0.0 && loss(probe) < 500_f64.ln()), "{summary}");
    }
}

/// A predictor for contact tracing, in two rounds.
#[test]
fn a_predictor_resumes_to_the_same_bytes() {
    let recipe = r#"
experiment = "infectiousness"
seed = 4
rounds = 2
[simulations]
people = 400
days = 14
train = 3
held_out = 2
ranges = { initially_infected = [0.02, 0.04], mobility = [0.7, 0.9] }
[training]
steps = 20
batch_size = 16
evaluate_every = 4
[[predictor]]
name = "deep-set"
network = { deep-set = { width = 16, blocks = 2 } }
"#;
    let summary: serde_json::Value = serde_json::from_slice(&ends_with_the_same_bytes(recipe, "deep-set/round-2")).unwrap();
    let value = |key: &str| summary["values"][format!("deep-set/2/{key}")].as_f64().unwrap();
    assert!(value("error") > 0.0 && value("variance") > 0.0 && (0.0..=1.0).contains(&value("auc")), "{summary}");
}

#[test]
fn sharpness_vaccine_and_projection_work_together_and_resume() {
    let recipe = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/continual/together.toml")).unwrap();
    let summary = ends_with_the_same_bytes(&recipe.replace("epochs = 6", "epochs = 4"), "GPM");
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    let accuracy = |name: &str| summary["values"][format!("{name}/acc")].as_f64().unwrap();
    assert!(accuracy("GPM") > accuracy("naive") + 0.1, "{} {}", accuracy("GPM"), accuracy("naive"));
}

/// Kills a run again and again, or asks it to stop; gives its summary. `part` is one of its parts.
fn ends_with_the_same_bytes(recipe: &str, part: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let start = std::time::Instant::now();
    let expected = finished(recipe, &folder.path().join("whole"), "1");
    let time = start.elapsed();
    assert_same(&finished(recipe, &folder.path().join("threads"), "2"), &expected, "two threads");
    assert!(expected.contains_key(&Path::new(part).join("metrics.jsonl")) && expected.contains_key(Path::new("summary.json")));
    let (_recipe_folder, recipe) = with_recipe(recipe);
    let mut killed = 0;
    for attempt in 0..6_u32 {
        let run = folder.path().join(format!("killed-{attempt}"));
        let arguments = ["run", recipe.to_str().unwrap(), "--out", run.to_str().unwrap()];
        // Moments spread over the run, never the same ones.
        let moment = |k: u32| time.mul_f64(f64::from((attempt * 37 + k * 53 + std::process::id()) % 100) / 100.0);
        killed += u32::from(stop_after(lyceum(&arguments).spawn().unwrap(), moment(0), attempt % 2 == 0));
        if !run.join("recipe.toml").exists() {
            continue;
        }
        for k in 1..3 {
            let again = lyceum(&["resume", run.to_str().unwrap()]).spawn().unwrap();
            killed += u32::from(stop_after(again, moment(k), (attempt + k) % 2 == 0));
        }
        let out = output(&["resume", run.to_str().unwrap()]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert_same(&fingerprint(&run), &expected, &format!("attempt {attempt}"));
    }
    assert!(killed > 0, "no process was caught running");
    expected[Path::new("summary.json")].clone()
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_says_how_to_go_on_and_resume_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let expected = finished(RECIPE, &folder.path().join("whole"), "1");
    let run = folder.path().join("stopped");
    let (_recipe_folder, recipe) = with_recipe(RECIPE);
    let child = lyceum(&["run", recipe.to_str().unwrap(), "--out", run.to_str().unwrap()]).spawn().unwrap();
    while !run.join("SGD/checkpoints").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
    // The message may be broken over lines.
    let message: String = text(&out.stderr).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert!(message.contains("lyceum resume"), "{message}");
    assert!(output(&["resume", run.to_str().unwrap()]).status.success());
    assert_same(&fingerprint(&run), &expected, "after Ctrl-C");
}

/// Runs a recipe that must be refused: exit status 2, nothing written; gives what was said.
fn refused(recipe: &str, more: &[&str]) -> String {
    let (folder, path) = with_recipe(recipe);
    let run = folder.path().join("run");
    let mut arguments = vec!["run", "recipe.toml", "--out", run.to_str().unwrap()];
    arguments.extend(more);
    let out = lyceum(&arguments).current_dir(folder.path()).env("LYCEUM_DATA", "/nowhere").output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    assert!(!run.exists());
    fs::remove_file(path).unwrap();
    text(&out.stderr)
}

#[test]
fn mistakes_in_a_recipe_show_the_line_and_the_remedy() {
    insta::assert_snapshot!("misspelt key", refused(&RECIPE.replace("epochs =", "epocs ="), &[]));
    insta::assert_snapshot!("wrong type", refused(&RECIPE.replace("epochs = 8", "epochs = \"8\""), &[]));
    insta::assert_snapshot!("out of range", refused(&RECIPE.replace("label_noise = 0.3", "label_noise = 1.3"), &[]));
    insta::assert_snapshot!("unknown estimator", refused(&RECIPE.replace("looksam =", "loksam ="), &[]));
    insta::assert_snapshot!("unknown data", refused(&RECIPE.replace("\"digits\"", "\"digit\""), &[]));
    insta::assert_snapshot!("unknown device", refused(&RECIPE.replace("seed = 3", "seed = 3\ndevice = \"cuda:0\""), &[]));
    insta::assert_snapshot!("unknown experiment", refused(&RECIPE.replace("certify", "certfy"), &[]));
    insta::assert_snapshot!("two arms of one name", refused(&RECIPE.replace("LookSAM", "SGD"), &[]));
    insta::assert_snapshot!("image too small", refused(&RECIPE.replace("channels = [4]", "channels = [4, 4, 4, 4]"), &[]));
    insta::assert_snapshot!("override", refused(RECIPE, &["--set", "training.learning_rat=0.1"]));
}

#[test]
fn a_missing_data_file_is_named_with_where_to_put_it() {
    let message = refused(&RECIPE.replace("\"digits\"", "\"mnist\""), &[]);
    assert!(message.contains("/nowhere/mnist/train-images-idx3-ubyte") && message.contains("lyceum data get mnist"), "{message}");
}

/// `lyceum explain --markdown > docs/src/keys.md` makes the chapter anew.
#[test]
fn keys_are_explained_and_the_book_has_them_all() {
    let chapter = text(&output(&["explain", "--markdown"]).stdout);
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/keys.md");
    assert!(chapter == fs::read_to_string(book).unwrap(), "docs/src/keys.md is not what `lyceum explain --markdown` prints");
    let found = text(&output(&["explain", "train", "training.optimizer"]).stdout);
    assert!(found.contains("training.optimizer.sgd.momentum = 0.9") && !found.contains("training.epochs"), "{found}");
    let schema: serde_json::Value = serde_json::from_slice(&output(&["explain", "certify", "--schema"]).stdout).unwrap();
    assert_eq!(schema["properties"]["experiment"]["const"], "certify");
    for arguments in [&["explain", "trian"][..], &["explain", "train", "training.lr"], &["explain"]] {
        assert_eq!(output(arguments).status.code(), Some(2));
    }
}

#[test]
fn a_finished_run_is_not_overwritten_and_a_missing_one_is_told() {
    let (folder, recipe) = with_recipe(&RECIPE.replace("epochs = 8", "epochs = 1"));
    let run = folder.path().join("run");
    let arguments = ["run", recipe.to_str().unwrap(), "--out", run.to_str().unwrap()];
    assert!(output(&arguments).status.success());
    let before = fingerprint(&run);
    assert_eq!(output(&arguments).status.code(), Some(2));
    assert_same(&fingerprint(&run), &before, "after a second run");
    assert!(output(&["resume", run.to_str().unwrap()]).status.success());
    assert!(output(&["report", run.to_str().unwrap(), "--table"]).status.success());
    for command in ["resume", "report"] {
        let out = output(&[command, folder.path().join("none").to_str().unwrap()]);
        assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    }
    // Two processes cannot write one run.
    fs::remove_file(run.join("summary.json")).unwrap();
    let lock = fs::File::open(run.join("lock")).unwrap();
    lock.lock().unwrap();
    let out = output(&["resume", run.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("another process"), "{}", text(&out.stderr));
}

/// On a file system of 300 KB: an error that says so, and what was there before stays readable.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_and_the_run_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&disk).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount("size=300k") {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    }
    let run = disk.join("run");
    let (_recipe_folder, recipe) = with_recipe(RECIPE);
    let out = output(&["run", recipe.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    let message = text(&out.stderr);
    let bigger = mount("remount,size=20m");
    let resumed = bigger.then(|| output(&["resume", run.to_str().unwrap()]));
    let partial = walk(&disk).into_iter().any(|path| path.to_string_lossy().contains(".partial"));
    let files = resumed.as_ref().filter(|out| out.status.success()).map(|_| fingerprint(&run));
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    assert_eq!(out.status.code(), Some(1), "{message}");
    assert!(message.contains("No space left"), "{message}");
    assert!(!partial, "a half-written file was left behind");
    if let Some(resumed) = resumed {
        assert!(resumed.status.success(), "{}", text(&resumed.stderr));
        assert_same(&files.unwrap(), &finished(RECIPE, &folder.path().join("whole"), "1"), "after a full disk");
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] }).collect()
}

#[test]
fn help_and_lists_are_for_newcomers() {
    let help = text(&output(&["--help"]).stdout);
    assert!(help.contains("lyceum run recipes/quickstart.toml") && help.contains("conformal"), "{help}");
    assert!(text(&output(&["list"]).stdout).contains("certify"));
    assert!(text(&output(&["data"]).stdout).contains("digits"));
    assert!(text(&output(&["completions", "bash"]).stdout).contains("_lyceum"));
    assert!(text(&output(&["man"]).stdout).contains(".TH lyceum"));
    let json = output(&["run", "nothing.toml", "--json"]);
    assert_eq!(json.status.code(), Some(2));
    let error: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (error["event"].as_str(), error["file"].as_str(), error["exit_status"].as_u64()),
        (Some("error"), Some("nothing.toml"), Some(2))
    );
    let experiments: Vec<serde_json::Value> =
        text(&output(&["list", "--json"]).stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(experiments.iter().any(|one| one["name"] == "certify" && one["about"].is_string()));
    let sets: Vec<serde_json::Value> =
        text(&output(&["data", "--json"]).stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(sets.iter().any(|one| one["name"] == "digits" && one["present"] == true));
    assert!(sets.iter().any(|one| one["name"] == "lingua" && one["labelled"] == false));
    assert!(text(&output(&["data", "lingua"]).stdout).contains("lingua-LANGUAGE-language-model"));
}
