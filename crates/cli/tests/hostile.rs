//! Input that once led out of the run's folder, to a panic, or to nonsense; and readers that hang up.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use common::{command, lyceum};
use lyceum_data::formats::npy;
use ndarray::{Array1, Array2};

/// Runs a recipe in a folder of its own, as `run`.
fn run(folder: &Path, recipe: &str) -> Output {
    fs::write(folder.join("recipe.toml"), recipe).unwrap();
    lyceum(folder, "run recipe.toml --out run")
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

const FEDERATED: &str = r#"
experiment = "federated"
seed = 1
rounds = 1
[data]
name = "digits"
held_out = 0.0
limit = 100
[model]
mlp = { hidden = [8] }
[clients]
count = 5
split = "even"
"#;

const CONTINUAL: &str = r#"
experiment = "continual"
seed = 1
[data]
name = "digits"
held_out = 0.0
limit = 200
[model]
mlp = { hidden = [8] }
[stream]
permuted = { tasks = 2 }
[training]
epochs = 1
batch_size = 10
learning_rate = 0.02
schedule = "constant"
optimizer = { sgd = { momentum = 0.0 } }
"#;

/// Names of arms that leave the folder, are those of the run's own files, or share a folder: nothing is written for any of them.
#[test]
fn names_of_arms_are_no_paths() {
    let folder = tempfile::tempdir().unwrap();
    let absolute = folder.path().join("elsewhere");
    let names = ["../escaped", absolute.to_str().unwrap(), "lock", "summary.json", "Report.html", "checkpoints", "a/b", "."];
    for name in names {
        let out = run(folder.path(), &format!("{FEDERATED}[[arm]]\nname = {name:?}\nmethod = \"fedavg\"\n"));
        assert!(out.status.code() == Some(2) && said(&out).contains("arm.0.name"), "{name}: {}", said(&out));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
    }
    for (one, other) in [("./other", "other"), ("Other", "other"), ("other", "other")] {
        let arms = [one, other].map(|name| format!("[[strategy]]\nname = {name:?}\nmethod = \"naive\"\n")).concat();
        let out = run(folder.path(), &format!("{CONTINUAL}{arms}"));
        assert!(out.status.code() == Some(2) && said(&out).contains(".name"), "{one}: {}", said(&out));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{one}");
    }
}

/// A run whose recipe was changed does not resume; if nobody could know, names are checked all the same.
#[test]
fn an_edited_recipe_does_not_resume() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), &format!("{FEDERATED}[[arm]]\nname = \"arm\"\nmethod = \"fedavg\"\n"));
    assert!(out.status.success(), "{}", said(&out));
    fs::remove_file(folder.path().join("run/summary.json")).unwrap();
    let recipe = folder.path().join("run/recipe.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("\"arm\"", "\"../escaped\"")).unwrap();
    let out = lyceum(folder.path(), "resume run");
    assert!(out.status.code() == Some(2) && said(&out).contains("recipe.toml"), "{}", said(&out));
    fs::remove_file(folder.path().join("run/run.json")).unwrap();
    let out = lyceum(folder.path(), "resume run");
    assert!(out.status.code() == Some(2) && said(&out).contains("arm"), "{}", said(&out));
    assert!(!folder.path().join("escaped").exists());
}

/// A run reads what it read when it began: a file that is missing or has changed is named, and the missing one before anything is
/// written.
#[test]
fn a_run_knows_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (logits, labels) = (folder.path().join("logits.npy"), folder.path().join("labels.npy"));
    let recipe = "experiment = \"compare-scores\"\nlogits = \"logits.npy\"\nlabels = \"labels.npy\"\n[comparison]\nsplits = 2\n";
    let of = |class: usize| Array2::from_shape_fn((200, 3), |(row, label)| ((row * 7 + label * (5 + class)) % 11) as f32);
    npy::write(&logits, &of(0)).unwrap();
    let out = run(folder.path(), recipe);
    assert!(out.status.code() == Some(2) && said(&out).contains("labels.npy"), "{}", said(&out));
    assert!(!folder.path().join("run").exists());
    npy::write(&labels, &Array1::from_shape_fn(200, |row| (row % 3) as i64)).unwrap();
    let out = run(folder.path(), recipe);
    assert!(out.status.success(), "{}", said(&out));
    fs::remove_file(folder.path().join("run/summary.json")).unwrap();
    assert!(lyceum(folder.path(), "resume run").status.success());
    fs::remove_file(folder.path().join("run/summary.json")).unwrap();
    npy::write(&logits, &of(1)).unwrap();
    let out = lyceum(folder.path(), "resume run");
    assert!(out.status.code() == Some(2) && said(&out).contains("logits.npy"), "{}", said(&out));
    // Where nobody noted what the files were, they are noted when the run goes on.
    let noted = fs::read_to_string(folder.path().join("run/run.json")).unwrap();
    let mut origin: serde_json::Value = serde_json::from_str(&noted).unwrap();
    origin.as_object_mut().unwrap().remove("inputs").unwrap();
    fs::write(folder.path().join("run/run.json"), origin.to_string()).unwrap();
    assert!(lyceum(folder.path(), "resume run").status.success());
    assert!(fs::read_to_string(folder.path().join("run/run.json")).unwrap().contains("logits.npy"));
}

/// None of these runs, and each error names the field.
#[test]
fn what_makes_no_sense_is_refused() {
    let train = "experiment = \"train\"\n[data]\nname = \"digits\"\n[model]\nlstm = { hidden = 8 }\n[training]\nepochs = 1\n\
                 [[arm]]\nname = \"a\"\nestimator = \"plain\"\n";
    let large = |hidden: &str| train.replace("lstm = { hidden = 8 }", &format!("mlp = {{ hidden = {hidden} }}"));
    let gpm = format!(
        "{}[[strategy]]\nmethod = {{ gpm = {{ samples = 20 }} }}\n",
        CONTINUAL.replace("mlp = { hidden = [8] }", "lstm = { hidden = 8 }")
    );
    let small = "experiment = \"continual\"\ntogether = 2\n[data]\nname = \"digits\"\nlimit = 2\nheld_out = 0.0\n[model]\nmlp = { hidden = [8] }\n\
                 [stream]\nsplit = { classes = 1 }\n[training]\nepochs = 1\nbatch_size = 2\n[[strategy]]\nmethod = \"naive\"\n";
    let folder = tempfile::tempdir().unwrap();
    for (recipe, told) in [
        (train.to_owned(), "model"),
        (gpm, "model"),
        (small.to_owned(), "no training examples"),
        (large("[64, 9223372036854775807]"), "model"),
        (large("[1099511627776]"), "model"),
    ] {
        let out = run(folder.path(), &recipe);
        assert!(out.status.code() == Some(2) && said(&out).contains(told) && !said(&out).contains("panicked"), "{recipe}: {}", said(&out));
    }
}

/// A mistake that shows only once the data are read leaves nothing behind, so that the corrected recipe can have the folder.
#[test]
fn what_fails_at_its_start_leaves_no_folder() {
    let train = "experiment = \"train\"\nseeds = 2\n[data]\nname = \"digits\"\nlimit = 100\n[model]\nmlp = { hidden = [8] }\n[training]\n\
                 epochs = 1\n[[arm]]\nname = \"a\"\nestimator = \"plain\"\n";
    let testing = "experiment = \"active-testing\"\nmodel = \"linear\"\n[data]\nname = \"digits\"\nlimit = 100\n[training]\nepochs = 1\n\
                   [surrogate]\nmodel = \"linear\"\nmembers = 1\ntraining = { epochs = 1 }\n[testing]\nruns = 2\nlabels = [10, 100000]\n";
    let folder = tempfile::tempdir().unwrap();
    for (recipe, told) in [
        (train.replace("limit = 100", "limit = 99999"), "data.limit"),
        (train.replace("limit = 100", "test = 0.0"), "data"),
        (train.replace("epochs = 1", "epochs = 1\nwarmup_epochs = 3"), "warmup_epochs"),
        (testing.to_owned(), "testing.pool"),
    ] {
        let out = run(folder.path(), &recipe);
        assert!(out.status.code() == Some(2) && said(&out).contains(told), "{recipe}: {}", said(&out));
        assert!(!folder.path().join("run").exists(), "{recipe}");
    }
    assert!(run(folder.path(), train).status.success());
}

/// Clients that take part independently with a tiny probability: rounds end all the same.
#[test]
fn a_federation_of_clients_that_hardly_take_part_ends() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = format!("{FEDERATED}[participation]\nfraction = 1e-12\nindependent = true\n[[arm]]\nmethod = \"fedavg\"\n");
    let out = run(folder.path(), &recipe);
    assert!(matches!(out.status.code(), Some(0 | 2)), "{}", said(&out));
}

/// Arms that are equal see the same batches, and end equal.
#[test]
fn equal_strategies_end_equal() {
    let folder = tempfile::tempdir().unwrap();
    let arms = ["one", "other"].map(|name| format!("[[strategy]]\nname = {name:?}\nmethod = {{ replay = {{ memory = 50 }} }}\n")).concat();
    let out = run(folder.path(), &format!("{CONTINUAL}{arms}"));
    assert!(out.status.success(), "{}", said(&out));
    let metrics = |arm: &str| fs::read_to_string(folder.path().join("run").join(arm).join("metrics.jsonl")).unwrap();
    assert!(!metrics("one").is_empty());
    assert_eq!(metrics("one"), metrics("other"));
}

/// The memories of both replays fill with all that they may hold: 1,000 examples of 64 pixels and a label, and ten logits more.
#[test]
fn replay_memories_fill() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = CONTINUAL.replace("limit = 200\n", "")
        + "[[strategy]]\nname = \"ER\"\nmethod = { replay = { memory = 1000 } }\n[[strategy]]\nname = \"DER++\"\nmethod = { dark-replay = { memory = 1000 } }\n";
    let out = run(folder.path(), &recipe);
    assert!(out.status.success(), "{}", said(&out));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("run/summary.json")).unwrap()).unwrap();
    let kept = |arm: &str| summary["values"][format!("{arm}/kept_numbers")].as_f64().unwrap();
    assert_eq!((kept("ER"), kept("DER++")), (65_000.0, 75_000.0));
}

/// A strategy that diverges ends alone, and the report says which and when.
#[test]
fn a_diverging_strategy_ends_alone() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = format!("{CONTINUAL}[[strategy]]\nmethod = \"naive\"\n[[strategy]]\nmethod = {{ ewc = {{ strength = 1e30 }} }}\n");
    let out = run(folder.path(), &recipe);
    assert!(out.status.success(), "{}", said(&out));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("run/summary.json")).unwrap()).unwrap();
    assert!(summary["values"]["naive/acc"].as_f64().is_some() && summary["values"]["EWC/diverged_step"].as_f64().is_some(), "{summary}");
    let report = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(report.contains("diverged"));
}

/// A network that cannot be laid over the examples is refused wherever these come from, and nothing is written.
#[test]
fn networks_fit_the_examples_of_every_source() {
    let folder = tempfile::tempdir().unwrap();
    let arms = "[[arm]]\nmethod = \"fedavg\"\n";
    for model in ["cnn = { batch_norm = false }", "cnn = { batch_norm = false, channels = [4, 4, 4] }"] {
        let recipe = format!("experiment = \"federated\"\nrounds = 1\n[synthetic]\nfeatures = 5\n[model]\n{model}\n{arms}");
        let out = run(folder.path(), &recipe);
        assert!(out.status.code() == Some(2) && said(&out).contains("halve"), "{}", said(&out));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

/// A repetition whose training diverges is left out; with none left that is an error.
#[test]
fn a_diverging_repetition_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = |rate: &str| {
        format!(
            "experiment = \"active-training\"\n[data]\nname = \"digits\"\nlimit = 300\nheld_out = 0.0\n[model]\nmlp = {{ hidden = [8], dropout = 0.5 }}\n\
             [training]\nlearning_rate = {rate}\n[acquisition]\nlabels = [12]\nsteps = 20\nsamples = 3\nrepetitions = 2\n"
        )
    };
    let out = run(folder.path(), &recipe("0.05"));
    assert!(out.status.success(), "{}", said(&out));
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let out = run(folder.path(), &recipe("1e30"));
    assert!(out.status.code() == Some(1) && said(&out).contains("repetition 2 diverged"), "{}", said(&out));
}

/// Commands that print much.
const PRINTING: [&str; 6] = ["data", "list", "completions bash", "man", "epidemic parameters", "run recipe.toml --dry-run"];

/// A folder with the recipe that they ask for.
fn printing() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("recipe.toml"), format!("{FEDERATED}[[arm]]\nmethod = \"fedavg\"\n")).unwrap();
    folder
}

/// A reader that hangs up is no error of the command, as with `| head`.
#[test]
fn a_closed_pipe_is_no_panic() {
    let folder = printing();
    for line in PRINTING {
        let mut child = command(folder.path(), line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success() && said(&out).is_empty(), "{line}: {} {}", out.status, said(&out));
    }
}

/// A disk that is full is an error that says so.
#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_told() {
    let folder = printing();
    for line in PRINTING {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let out = command(folder.path(), line).stdout(full).output().unwrap();
        assert!(out.status.code() == Some(1) && said(&out).contains("No space"), "{line}: {} {}", out.status, said(&out));
    }
}
