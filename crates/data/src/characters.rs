//! Text of many speakers, a client each: eighty characters in, the next one out.

use std::path::Path;

use lyceum_core::{Error, Result, range, run::Input};
use ndarray::Array2;
use rand::{Rng, RngExt, seq::SliceRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cache, Examples, Extent, cache::Known, prepare::Prepared};

/// The characters of the LEAF benchmark (Caldas et al. 2018); any other counts as the last.
pub const ALPHABET: &str = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}";

/// Who speaks and how much of it is used, as in the FedDyn experiments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Characters {
    /// A JSON Lines file with `role` and `text` in each line; the roles of Shakespeare's plays from the cache if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<std::path::PathBuf>,
    /// m, drawn from those who speak enough.
    #[serde(with = "range::AtLeastOne")]
    pub clients: usize,
    /// Characters that a client sees.
    #[serde(with = "range::AtLeastOne")]
    pub window: usize,
    /// Consecutive examples a client trains on, from a random place of its text on.
    #[serde(with = "range::AtLeastOne")]
    pub train: usize,
    /// Examples after these that it is tested on.
    #[serde(with = "range::AtLeastOne")]
    pub test: usize,
}

impl Default for Characters {
    fn default() -> Self {
        Self { file: None, clients: 100, window: 80, train: 2_000, test: 400 }
    }
}

#[derive(Deserialize)]
struct Role {
    role: String,
    text: String,
}

const ROLES: Known = Known { name: "roles.jsonl", sha256: None };
const HINT: &str = "`lyceum data get shakespeare` downloads it; or give your own file with `file`.";

impl Characters {
    /// The file that they are read from.
    pub fn inputs(&self, cache: &Cache) -> Vec<Input> {
        let own = self.file.as_ref().map(|path| Input::named(path, "Give a file of lines with a role and its text."));
        vec![own.unwrap_or_else(|| Input::named(cache.folder("shakespeare").join(ROLES.name), HINT))]
    }

    /// The examples, and which of them each client has. The inputs are numbers of characters in [`ALPHABET`].
    pub fn prepare(&self, cache: &Cache, rng: &mut impl Rng) -> Result<(Prepared, Vec<Vec<usize>>)> {
        range::check(self)?;
        let (path, bytes) = if let Some(path) = &self.file {
            (path.clone(), std::fs::read(path).map_err(Error::io("read", path))?)
        } else {
            (cache.folder("shakespeare").join(ROLES.name), cache.read("shakespeare", ROLES, HINT)?)
        };
        self.spread(&roles(&path, &bytes)?, rng)
    }

    fn spread(&self, roles: &[Role], rng: &mut impl Rng) -> Result<(Prepared, Vec<Vec<usize>>)> {
        let needed = self.window + self.train + self.test;
        let numbers = |text: &str| text.chars().map(|c| ALPHABET.chars().position(|a| a == c).unwrap_or(ALPHABET.len() - 1)).collect();
        let mut enough: Vec<Vec<usize>> =
            roles.iter().map(|role| numbers(&role.text)).filter(|text: &Vec<usize>| text.len() >= needed).collect();
        if enough.len() < self.clients {
            let allowed = format!("at most the {} of {} speakers with {needed} characters or more", enough.len(), roles.len());
            return Err(Error::invalid("characters.clients", self.clients, allowed));
        }
        enough.shuffle(rng);
        let (mut train, mut test, mut parts) = (Rows::default(), Rows::default(), Vec::new());
        for text in &enough[..self.clients] {
            let start = rng.random_range(0..=text.len() - needed);
            parts.push((train.labels.len()..train.labels.len() + self.train).collect());
            for (rows, first, count) in [(&mut train, start, self.train), (&mut test, start + self.train, self.test)] {
                for at in first..first + count {
                    rows.inputs.extend(text[at..at + self.window].iter().map(|&symbol| symbol as f32));
                    rows.labels.push(text[at + self.window]);
                }
            }
        }
        let train = train.examples(self.window);
        let extent = Extent { channels: 1, height: 1, width: self.window };
        let classes = ALPHABET.chars().map(String::from).collect();
        Ok((Prepared::new(extent, classes, train, test.examples(self.window)), parts))
    }
}

#[derive(Default)]
struct Rows {
    inputs: Vec<f32>,
    labels: Vec<usize>,
}

impl Rows {
    fn examples(self, window: usize) -> Examples {
        let inputs = Array2::from_shape_vec((self.labels.len(), window), self.inputs).expect("a window an example");
        Examples::new(inputs, self.labels)
    }
}

fn roles(path: &Path, bytes: &[u8]) -> Result<Vec<Role>> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::damaged(path, format!("is not UTF-8: {error}")))?;
    let role = |(number, line): (usize, &str)| {
        serde_json::from_str::<Role>(line)
            .map_err(|error| Error::damaged(path, format!("line {}: {error}; each line is an object with `role` and `text`", number + 1)))
    };
    let roles = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(role).collect::<Result<Vec<Role>>>()?;
    let mut names: Vec<&str> = roles.iter().map(|role| role.role.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::damaged(path, format!("has the role `{}` twice", pair[0]))),
        None => Ok(roles),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;

    #[test]
    fn windows_follow_one_another_and_the_label_is_the_next_character() {
        assert_eq!(ALPHABET.chars().count(), 80);
        let line = |role: &str, text: &str| serde_json::json!({ "role": role, "text": text }).to_string();
        let file = [line("a", &"abcdefgh".repeat(4)), line("b", "too short"), line("c", &"xyz€".repeat(9))].join("\n");
        let roles = roles(Path::new("roles.jsonl"), file.as_bytes()).unwrap();
        let config = Characters { file: None, clients: 2, window: 5, train: 12, test: 3 };
        let (data, parts) = config.spread(&roles, &mut Seed::new(1).stream("characters")).unwrap();
        assert_eq!((data.train.inputs.dim(), data.test.len(), parts.len()), ((24, 5), 6, 2));
        for part in &parts {
            for pair in part.windows(2) {
                let (this, next) = (data.train.inputs.row(pair[0]), data.train.inputs.row(pair[1]));
                assert!(this.iter().skip(1).eq(next.iter().take(4)));
                assert_eq!(next[4] as usize, data.train.labels[pair[0]]);
            }
        }
        assert!(data.train.labels.contains(&79), "a character that is not in the alphabet is the last");
        let many = Characters { clients: 3, ..config };
        let error = many.spread(&roles, &mut Seed::new(1).stream("characters")).unwrap_err();
        assert!(error.to_string().contains("2 of 3 speakers") && error.exit_code() == 2, "{error}");
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        for (file, part) in
            [("{\"role\": \"a\"}", "line 1"), ("{\"role\":\"a\",\"text\":\"\"}\n\n{\"role\":\"a\",\"text\":\"\"}", "`a` twice")]
        {
            let error = roles(Path::new("roles.jsonl"), file.as_bytes()).err().unwrap().to_string();
            assert!(error.contains(part) && error.contains("roles.jsonl"), "{error}");
        }
        assert!(roles(Path::new("roles.jsonl"), &[0xff, 0xfe]).is_err());
    }
}
