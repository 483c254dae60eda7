//! Names of the parts of a run, which are folders in it.

use std::collections::BTreeSet;

use crate::Violation;

/// What a run folder holds besides its parts.
const RESERVED: [&str; 9] =
    ["recipe.toml", "run.json", "metrics.jsonl", "checkpoints", "best", "summary.json", "report.json", "report.html", "lock"];

/// The longest name in bytes that every file system takes, with room for what is appended to it.
const LONGEST: usize = 200;

/// Why a part of a run cannot have this name; `None` if it can.
pub(super) fn refused(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let why = if name.is_empty() || name.len() > LONGEST {
        format!("1 to {LONGEST} bytes")
    } else if name.contains(['/', '\\']) || name.chars().any(char::is_control) {
        "no slash, backslash or control character: it names a folder in the run".into()
    } else if name.starts_with(['.', ' ']) || name.ends_with(['.', ' ']) {
        "no dot or space at either end".into()
    } else if RESERVED.contains(&lower.as_str()) || lower.starts_with("events.out.tfevents") {
        "a name that the run folder does not use itself".into()
    } else {
        return None;
    };
    Some(format!("found {name:?}; allowed: {why}"))
}

/// Checks the names of the parts of a run, which the recipe gives in the tables `key`: each names a folder of its own. Names
/// that differ in case alone are one folder on some file systems.
pub fn check_names<'a>(key: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.into_iter().enumerate() {
        let twice =
            || (!seen.insert(name.to_lowercase())).then(|| format!("found {name:?} twice; allowed: names that differ in more than case"));
        if let Some(message) = refused(name).or_else(twice) {
            return Err(Violation::new(format!("{key}.{index}.name"), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_folder_or_share_one_are_refused() {
        for name in
            ["", ".", "..", "../x", "/tmp/x", "./other", "a/b", "a\\b", ".hidden", "end.", " x", "a\nb", "a\0b", "lock", "Recipe.TOML"]
        {
            assert!(refused(name).is_some(), "{name:?}");
        }
        for name in RESERVED.into_iter().chain(["events.out.tfevents.1"]) {
            assert!(refused(name).is_some(), "{name}");
        }
        assert!(refused(&"x".repeat(201)).is_some());
        for name in ["sgd", "SGD, twice as long", "DER++", "λ = 0.5", "a.b", "best-of-two"] {
            assert_eq!(refused(name), None);
        }
        assert!(check_names("arm", ["a", "b"]).is_ok());
        assert!(check_names("arm", ["a", "A"]).is_err());
    }
}
