//! Small recipes whose runs are killed and resumed.

use std::{fs, path::Path};

pub(crate) const RECIPE: &str = r#"
experiment = "certify"
seed = 3
[data]
name = "digits"
label_noise = 0.3
[model.cnn]
channels = [4]
hidden = 16
dropout = 0.1
[training]
epochs = 8
checkpoint_seconds = 0
[sharpness]
examples = 100
iterations = 3
[[arm]]
name = "SGD"
estimator = "plain"
[[arm]]
name = "LookSAM"
estimator.looksam = { every = 3 }
"#;

/// Every strategy of a stream with all that it keeps, and the three methods that change gradients together.
pub(crate) const STREAM: &str = r#"
experiment = "continual"
[data]
name = "digits"
limit = 150
[model]
mlp = { hidden = [12], dropout = 0.1 }
[stream]
permuted = { tasks = 3 }
[training]
epochs = 3
batch_size = 15
learning_rate = 0.02
[[strategy]]
method = { gpm = { thresholds = [0.9], samples = 50 } }
[[strategy]]
name = "SGP"
method = { gpm = { thresholds = [0.9], samples = 50, scale = 5.0 } }
[[strategy]]
method = { hat = {} }
[[strategy]]
method = { ewc = { samples = 20 } }
[[strategy]]
method = { si = {} }
[[strategy]]
method = { lwf = {} }
[[strategy]]
method = { ogd = { samples = 10 } }
[[strategy]]
method = { a-gem = { memory = 40, reference = 20 } }
[[strategy]]
method = { replay = { memory = 40 } }
[[strategy]]
method = { dark-replay = { memory = 40 } }
[[strategy]]
method = "multitask"
"#;

/// Methods with state on both sides, slow clients, lost replies.
pub(crate) const FEDERATED: &str = r#"
experiment = "federated"
rounds = 12
checkpoint_seconds = 0.0
[data]
name = "digits"
limit = 400
[model]
mlp = { hidden = [12] }
[clients]
count = 9
split = { dirichlet = 0.3 }
size_deviation = 0.4
[participation]
fraction = 0.5
independent = true
stragglers = 0.3
lost_replies = 0.2
[local]
epochs = 2
batch_size = 10
[[arm]]
method = { feddyn = { alpha = 0.1 } }
[[arm]]
method = { scaffold = {} }
[[arm]]
method = { fedyogi = {} }
[[arm]]
method = "fednova"
"#;

/// Lines in which some words always come in pairs.
pub(crate) fn write_text(path: &Path, lines: usize) {
    let word = |line: usize, place: usize| match (line * 7 + place * place * 5 + line / 11) % 40 {
        word if word % 5 == 0 => format!("new york wort{word}"),
        word => format!("wort{word}"),
    };
    let line = |line: usize| (0..9).map(|place| word(line, place)).collect::<Vec<_>>().join(" ") + "\n";
    fs::write(path, (0..lines).map(line).collect::<String>()).unwrap();
}

/// A made-up language, whose text is written to the folder.
pub(crate) fn pretraining(folder: &Path) -> String {
    write_text(&folder.join("a.txt"), 1_500);
    format!(
        r#"
experiment = "pretraining"
[data]
folder = {:?}
vocabulary = 500
length = 24
held_out = 40
min_count = 5
collocations = 200
[model]
width = 16
heads = 2
feed_forward = 16
layers = 1
[training]
steps = 30
batch_size = 8
evaluate_every = 5
[[arm]]
name = "PMI"
method = "collocations"
[[arm]]
name = "spans"
method = {{ span = {{ p = 0.3, longest = 4 }} }}
"#,
        folder.to_string_lossy()
    )
}
