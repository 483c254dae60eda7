//! Recipes: an experiment as a TOML file.
//!
//! ```toml
//! experiment = "certify"   # which experiment
//! seed = 1                 # the root of all randomness (default 0)
//! seeds = 5                # run with the seeds 1 to 5, and compare what they found (default 1)
//!
//! [training]               # all else belongs to the experiment
//! epochs = 10
//! ```
//!
//! A recipe is read into the typed configuration of its experiment. An unknown key, a wrong type or a value out of
//! range is a [`RecipeError`] that knows the bytes at fault, says what is allowed and guesses what was meant.

use std::{fs, ops::Range, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{Error, RecipeError, Result, Seed};

/// The keys that every recipe has.
pub(crate) const HEAD: [&str; 3] = ["experiment", "seed", "seeds"];

/// A parsed recipe whose experiment is known and whose configuration is not yet typed.
#[derive(Debug, Clone)]
pub struct Recipe {
    name: String,
    /// With the overrides.
    text: String,
    /// The file, without them.
    file: String,
    experiment: String,
    seed: Seed,
    seeds: u64,
}

/// A rule between fields that a configuration breaks; see [`Experiment::check`](crate::Experiment::check).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The dotted path of the key to point at, for example `training.batch_size`.
    pub key: String,
    /// What was found and what is allowed.
    pub message: String,
}

impl Violation {
    /// A violation at `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl Recipe {
    /// Reads a recipe file and applies overrides of the form `key.path=value`.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Missing { path: path.to_path_buf(), hint: "Give the path of a recipe (a TOML file).".into() }
            }
            std::io::ErrorKind::InvalidData => Error::damaged(path, "a recipe is text in UTF-8; this file is not"),
            _ => Error::Io { path: path.to_path_buf(), action: "read", source },
        })?;
        Self::parse_with(&name, &text, overrides)
    }

    /// Parses the text of a recipe; `name` is what errors call it.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        Self::parse_with(name, text, &[])
    }

    /// The same with other values for some keys, as `--set` has them.
    pub fn parse_with(name: &str, text: &str, overrides: &[String]) -> Result<Self> {
        let changed = if overrides.is_empty() { text.to_owned() } else { apply(name, text, overrides)? };
        Self::parse_changed(name, changed, text.into())
    }

    fn parse_changed(name: &str, text: String, file: String) -> Result<Self> {
        let mut recipe = Self { name: name.into(), text, file, experiment: String::new(), seed: Seed::new(0), seeds: 1 };
        (recipe.experiment, recipe.seed, recipe.seeds) = recipe.head()?;
        if recipe.experiment.is_empty() {
            let help = "A recipe starts with a line such as: experiment = \"certify\". `lyceum list` names them all.";
            return Err(recipe.error(0..0, "the key `experiment` is missing".into(), Some(help.into())));
        }
        Ok(recipe)
    }

    /// The name of the experiment.
    pub fn experiment(&self) -> &str {
        &self.experiment
    }

    /// The root seed.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The seeds that it is to be run with: `seed`, `seed` + 1, and so on, as many as `seeds` says.
    pub fn seeds(&self) -> impl ExactSizeIterator<Item = u64> {
        let first = self.seed.root();
        (0..self.seeds as usize).map(move |n| first.wrapping_add(n as u64))
    }

    /// The file's name without folder and ending: how a run is named by default.
    pub fn stem(&self) -> &str {
        Path::new(&self.name).file_stem().and_then(|s| s.to_str()).unwrap_or("run")
    }

    /// The typed configuration of the experiment.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C> {
        let table = self.table()?;
        let span = table.span();
        let mut rest = table.into_inner();
        for key in HEAD {
            rest.remove(key);
        }
        C::deserialize(toml::Deserializer::from(Spanned::new(span, rest))).map_err(|error| self.explain(&error))
    }

    /// An error that points at a key of this recipe, or at its start where the recipe does not write the key.
    pub fn violation(&self, violation: &Violation) -> Error {
        let message = format!("`{}`: {}", violation.key, violation.message);
        let span = self.table().ok().and_then(|table| locate(&table, &violation.key)).unwrap_or(0..0);
        self.error(span, message, None)
    }

    /// An unknown experiment, with the nearest name among those there are.
    pub fn unknown_experiment(&self, known: &[&str]) -> Error {
        let span = self.table().ok().and_then(|table| locate(&table, "experiment")).unwrap_or(0..0);
        self.error(span, format!("unknown experiment `{}`", self.experiment), Some(suggest(&self.experiment, known)))
    }

    /// This recipe with every default written out, as a run keeps it.
    pub fn resolved<C: Serialize>(&self, config: &C) -> Result<String> {
        let body = toml::to_string(config).map_err(|e| Error::Failed(format!("cannot write the resolved recipe: {e}")))?;
        let seeds = if self.seeds > 1 { format!("seeds = {}\n", self.seeds) } else { String::new() };
        Ok(format!("experiment = {:?}\nseed = {}\n{seeds}{body}", self.experiment, self.seed.root()))
    }

    fn head(&self) -> Result<(String, Seed, u64)> {
        let table = self.table()?;
        let wrong = |key: &str, value: &Spanned<DeValue<'_>>, found: &str, allowed: &str| {
            self.error(value.span(), format!("`{key}`: found {found}; allowed: {allowed}"), None)
        };
        let experiment = match table.get_ref().get("experiment").map(|value| (value, value.get_ref())) {
            None => String::new(),
            Some((_, DeValue::String(text))) => text.to_string(),
            Some((value, other)) => return Err(wrong("experiment", value, other.type_str(), "the name of an experiment, in quotes")),
        };
        let whole = |key: &str, default: u64, allowed: &str, fits: &dyn Fn(u64) -> bool| match table.get_ref().get(key) {
            None => Ok(default),
            Some(value) => match value.get_ref() {
                DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                    .ok()
                    .filter(|number| fits(*number))
                    .ok_or_else(|| wrong(key, value, number.as_str(), allowed)),
                other => Err(wrong(key, value, other.type_str(), "a whole number")),
            },
        };
        let seed = whole("seed", 0, "a whole number from 0 to 2^63-1", &|_| true)?;
        let seeds = whole("seeds", 1, "a whole number from 1 to 1000", &|seeds| (1..=1000).contains(&seeds))?;
        Ok((experiment, Seed::new(seed), seeds))
    }

    fn table(&self) -> Result<Spanned<DeTable<'_>>> {
        DeTable::parse(&self.text).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &toml::de::Error) -> Error {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        // serde words an unknown field and an unknown variant alike: the first quoted word was found, the rest is allowed.
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        match quoted.split_first() {
            Some((found, allowed)) if message.starts_with("unknown field") => {
                self.error(span, format!("unknown key `{found}`"), Some(suggest(found, allowed)))
            }
            Some((found, allowed)) if message.starts_with("unknown variant") => {
                self.error(span, format!("unknown value `{found}`"), Some(suggest(found, allowed)))
            }
            Some((missing, _)) if message.starts_with("missing field") => {
                let help = format!("`lyceum explain {} {missing}` says what it means.", self.experiment);
                self.error(span, format!("the key `{missing}` is missing here"), Some(help).filter(|_| !self.experiment.is_empty()))
            }
            _ => {
                let written = self.text.get(span.clone());
                let key = written.map(|_| self.key_at(span.start)).unwrap_or_default();
                let (message, help) = in_words(message, written.unwrap_or_default());
                self.error(span, format!("{key}{message}"), help)
            }
        }
    }

    /// The key to the left of a value, as `` `key`: ``.
    fn key_at(&self, position: usize) -> String {
        let line = self.text[..position].rsplit('\n').next().unwrap_or_default();
        match line.rsplit_once('=') {
            Some((before, _)) => {
                let key = before.rsplit([',', '{', ' ']).find(|part| !part.trim().is_empty()).unwrap_or_default().trim();
                format!("`{key}`: ")
            }
            None => String::new(),
        }
    }

    fn error(&self, span: Range<usize>, message: String, help: Option<String>) -> Error {
        // A line that an override changed or added is not one of the file.
        match self.span_in_file(&span) {
            Some(span) => RecipeError::at(&self.name, &self.file, span, message, help),
            None => RecipeError::at(&format!("{} with --set", self.name), &self.text, span, message, help),
        }
        .into()
    }

    /// Where the file itself has the line of these bytes of the text; `None` if an override made it.
    fn span_in_file(&self, span: &Range<usize>) -> Option<Range<usize>> {
        if self.text == self.file {
            return Some(span.clone());
        }
        let start = self.text.get(..span.start)?.rfind('\n').map_or(0, |end| end + 1);
        let line = self.text.get(start..)?.split_inclusive('\n').next()?;
        // Of equal lines, the one that as many equal ones come before; where an override made or changed one, nobody knows which.
        let count = |text: &str| text.split_inclusive('\n').filter(|other| *other == line).count();
        if count(&self.text) != count(&self.file) {
            return None;
        }
        let before = self.text[..start].split_inclusive('\n').filter(|other| *other == line).count();
        let mut position = 0;
        let places = self.file.split_inclusive('\n').map(|other| {
            position += other.len();
            (position - other.len(), other)
        });
        let (place, _) = places.filter(|(_, other)| *other == line).nth(before)?;
        let moved = place + (span.start - start)..place + (span.end - start);
        self.file.get(moved.clone()).filter(|written| *written == &self.text[span.clone()]).map(|_| moved)
    }
}

/// What serde says of a value of another type, in a user's words, and what to write instead; `written` is the value in the recipe.
fn in_words(message: &str, written: &str) -> (String, Option<String>) {
    if message == "wanted string or table" {
        return (format!("found {written}; allowed: a name in quotes, or {{ name = … }}"), None);
    }
    if message.starts_with("wanted exactly 1 element") {
        return (format!("found {written}; allowed: {{ name = … }} with one name"), None);
    }
    let parts = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = parts.and_then(|parts| parts.rsplit_once(", expected ")) else { return (message.into(), None) };
    let name = written.trim_matches('"');
    if found == "unit variant" {
        return (format!("found {written} alone; allowed: {written} with its keys"), Some(format!("write {{ {name} = {{ … }} }}")));
    }
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.trim_matches('`').to_owned(),
        Some(("floating", value)) => value.trim_start_matches("point ").trim_matches('`').to_owned(),
        _ => match found {
            "map" => "a table".into(),
            "sequence" => "a list".into(),
            other => other.to_owned(),
        },
    };
    let allowed = match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number >= 0",
        "isize" | "i64" | "i32" | "i16" | "i8" => "a whole number",
        "f64" | "f32" => "a number",
        "a string" => "text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct") || other.starts_with("internally") || other == "a map" => "a table: { key = value, … }",
        other if other.starts_with("unit variant") => "the name alone",
        other => other,
    };
    (format!("found {found}; allowed: {allowed}"), None)
}

/// "Did you mean `x`? Allowed here: …".
pub fn suggest(found: &str, allowed: &[&str]) -> String {
    let nearest = allowed
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min();
    let list = if allowed.is_empty() { "no keys".into() } else { allowed.join(", ") };
    match nearest {
        Some((_, name)) => format!("Did you mean `{name}`? Allowed here: {list}."),
        None => format!("Allowed here: {list}."),
    }
}

/// Writes `key.path=value` into a document; a value that is not TOML counts as a string.
fn apply(name: &str, text: &str, overrides: &[String]) -> Result<String> {
    let mut document: toml_edit::DocumentMut = text.parse().map_err(|_| {
        // The plain parser words the same mistake with its position.
        Recipe::parse(name, text).err().unwrap_or_else(|| Error::damaged(name, "not TOML"))
    })?;
    for change in overrides {
        let wrong = |allowed: &str| Error::invalid("--set", change, allowed);
        let (path, value) = change.split_once('=').ok_or_else(|| wrong("key=value, for example training.epochs=5"))?;
        if value.trim().is_empty() {
            return Err(wrong("a value after the =; an empty text is \"\""));
        }
        let value: toml_edit::Value = value.trim().parse().unwrap_or_else(|_| value.trim().into());
        let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
        let last = keys.pop().filter(|key| !key.is_empty()).ok_or_else(|| wrong("a key before the ="))?;
        let mut item = document.as_item_mut();
        for key in keys {
            let is_list = item.is_array_of_tables() || item.is_array();
            item = match (is_list, key.parse::<usize>()) {
                (true, Ok(index)) => item.get_mut(index).ok_or_else(|| wrong("an entry of the list that is there, counted from 0"))?,
                (true, Err(_)) => return Err(wrong("a number, counted from 0, after the name of a list")),
                (false, _) => {
                    let table = item.as_table_like_mut().ok_or_else(|| wrong("a path of tables"))?;
                    table.entry(key).or_insert(toml_edit::Item::Table(toml_edit::Table::new()))
                }
            };
        }
        let table = item.as_table_like_mut().ok_or_else(|| wrong("a path that ends in a table"))?;
        table.insert(last, toml_edit::value(value));
    }
    Ok(document.to_string())
}

fn locate(table: &Spanned<DeTable<'_>>, path: &str) -> Option<Range<usize>> {
    let mut keys = path.split('.');
    let mut value = table.get_ref().get(keys.next()?)?;
    for key in keys {
        value = match value.get_ref() {
            DeValue::Table(inner) => inner.get(key)?,
            DeValue::Array(inner) => inner.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value.span())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range;
    use serde::Deserialize;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        training: Training,
        #[serde(default)]
        arm: Vec<Arm>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Training {
        epochs: usize,
        #[serde(default, with = "range::Fraction")]
        label_noise: f64,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arm {
        estimator: Estimator,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    enum Estimator {
        Plain,
        Sam {
            #[serde(with = "range::Positive")]
            rho: f64,
        },
    }

    fn fails(text: &str) -> String {
        match Recipe::parse("demo.toml", text).and_then(|recipe| recipe.config::<Config>()) {
            Ok(config) => format!("accepted: {config:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn values_of_another_type_are_told_in_words() {
        for (message, written, expected) in [
            ("invalid type: string \"8\", expected usize", "\"8\"", "found the text \"8\"; allowed: a whole number >= 0"),
            ("invalid value: integer `-1`, expected usize", "-1", "found -1; allowed: a whole number >= 0"),
            ("invalid type: floating point `1.5`, expected u64", "1.5", "found 1.5; allowed: a whole number >= 0"),
            ("invalid type: integer `3`, expected struct TrainConfig", "3", "found 3; allowed: a table: { key = value, … }"),
            ("invalid type: map, expected f64", "{}", "found a table; allowed: a number"),
            ("invalid type: unit variant, expected struct variant", "\"sam\"", "found \"sam\" alone; allowed: \"sam\" with its keys"),
            ("wanted string or table", "0.1", "found 0.1; allowed: a name in quotes, or { name = … }"),
            ("found -1; allowed: a number", "-1", "found -1; allowed: a number"),
        ] {
            assert_eq!(in_words(message, written).0, expected);
        }
        let help = in_words("invalid type: unit variant, expected struct variant", "\"sam\"").1;
        assert_eq!(help.as_deref(), Some("write { sam = { … } }"));
    }

    #[test]
    fn mistakes_are_told_with_line_and_remedy() {
        let head = "experiment = \"demo\"\n";
        insta::assert_snapshot!(fails(&format!("{head}[training]\nepocs = 3\n")));
        insta::assert_snapshot!(fails(&format!("{head}[training]\nepochs = \"three\"\n")));
        insta::assert_snapshot!(fails(&format!("{head}[training]\nepochs = 3\nlabel_noise = 1.5\n")));
        insta::assert_snapshot!(fails(&format!("{head}[training]\nepochs = -3\n")));
        insta::assert_snapshot!(fails(&format!("{head}[training]\nlabel_noise = 0.5\n")));
        insta::assert_snapshot!(fails(&format!("{head}[training]\nepochs = 1\n[[arm]]\nestimator.sam = {{ rho = -1 }}\n")));
        insta::assert_snapshot!(fails(&format!("{head}[training]\nepochs = 1\n[[arm]]\nestimator = \"plane\"\n")));
        insta::assert_snapshot!(fails("[training]\nepochs = 3\n"));
        insta::assert_snapshot!(fails("experiment = \"demo\"\ntraining = [\n"));
        insta::assert_snapshot!(fails("experiment = \"demo\"\nseed = -1\n[training]\nepochs = 3\n"));
    }

    #[test]
    fn overrides_reach_into_tables_and_lists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.toml");
        fs::write(&path, "experiment = \"demo\"\n[training]\nepochs = 1\n[[arm]]\nestimator = \"plain\"\n").unwrap();
        let set = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            Recipe::read(&path, &changes).and_then(|recipe| Ok((recipe.seed(), recipe.config::<Config>()?)))
        };
        let (seed, config) = set(&["training.epochs=7", "seed=9", "arm.0.estimator={sam={rho=0.5}}"]).unwrap();
        assert_eq!((seed.root(), config.training.epochs), (9, 7));
        assert!(matches!(config.arm[0].estimator, Estimator::Sam { rho } if rho == 0.5));
        assert!(set(&["training.epocs=7"]).unwrap_err().to_string().contains("Did you mean `epochs`?"));
        assert_eq!(set(&["training"]).unwrap_err().exit_code(), 2);
        assert_eq!(set(&["arm.4.estimator=plain"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_mistake_of_an_override_is_told_apart_from_one_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.toml");
        fs::write(&path, "experiment = \"demo\"\n[training]\nepochs = 1\nlabel_noise = 2\n[[arm]]\nestimator = \"plain\"\n").unwrap();
        let found = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            match Recipe::read(&path, &changes).and_then(|recipe| recipe.config::<Config>()) {
                Err(Error::Recipe(error)) => (error.name.ends_with("--set"), error.line, error.text[error.span.clone()].to_owned()),
                other => panic!("{other:?}"),
            }
        };
        // The seed is written above, so that all lines move; those of the file keep their numbers.
        assert_eq!(found(&["seed=3"]), (false, 4, "2".into()));
        assert_eq!(found(&["training.label_noise=0.5", "training.epochs=many"]), (true, 3, "\"many\"".into()));
        let wrong = Recipe::read(&path, &["training.epochs=".into()]).unwrap_err();
        assert!(wrong.to_string().contains("a value after the ="), "{wrong}");
    }

    #[test]
    fn a_violation_points_at_its_key() {
        let recipe = Recipe::parse("demo.toml", "experiment = \"demo\"\n[training]\nepochs = 3\n").unwrap();
        let Error::Recipe(error) = recipe.violation(&Violation::new("training.epochs", "too many")) else { panic!() };
        assert_eq!((error.line, &error.text[error.span.clone()]), (3, "3"));
    }

    #[test]
    fn a_resolved_recipe_reads_back() {
        let recipe = Recipe::parse("demo.toml", "experiment = \"demo\"\nseed = 5\n[training]\nepochs = 3\n").unwrap();
        let text = recipe.resolved(&recipe.config::<Config>().unwrap()).unwrap();
        let again = Recipe::parse("resolved.toml", &text).unwrap();
        assert_eq!((again.seed(), again.config::<Config>().unwrap().training.epochs), (Seed::new(5), 3));
    }
}
