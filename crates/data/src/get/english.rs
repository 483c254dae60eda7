//! English prose: what Debian's documentation and dictionary packages say, a paragraph a line.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result, interrupt};

use super::{debian, parallel_text::plain, read, walk, write};
use crate::cache::unpacked;

/// The packages, each a file of its own.
const PACKAGES: [&str; 12] = [
    "linux-doc-6.1",
    "dict-gcide",
    "openjdk-17-doc",
    "python3.11-doc",
    "wordnet-base",
    "rust-doc",
    "perl-doc",
    "postgresql-doc-15",
    "dict-foldoc",
    "dict-jargon",
    "cppreference-doc-en-html",
    "libreoffice-help-en-us",
];

/// Unpacks the packages, each into a folder of its name.
pub(super) fn packages(work: &Path) -> Result<PathBuf> {
    for package in PACKAGES {
        debian(package, work, &work.join(package))?;
    }
    Ok(work.to_owned())
}

/// A file PACKAGE.txt each. A paragraph that a package has already is left out: pages repeat their navigation.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    for package in PACKAGES {
        interrupt::check()?;
        // By the name that a file has once it is unpacked.
        let files: BTreeMap<PathBuf, PathBuf> = walk(&from.join(package))?.into_iter().map(|path| (without_packing(&path), path)).collect();
        let (mut text, mut known) = (String::new(), HashSet::new());
        for (name, path) in files {
            let Some(paragraphs) = reader(&name) else { continue };
            let mut bytes = read(&path)?;
            if name != path {
                bytes = unpacked(&bytes).map_err(|error| Error::damaged(&path, error.to_string()))?;
            }
            // A dictionary may hold a few bytes that are not UTF-8.
            let content = String::from_utf8_lossy(&bytes).replace(char::REPLACEMENT_CHARACTER, " ");
            for paragraph in paragraphs(&content) {
                let mut hasher = DefaultHasher::new();
                paragraph.hash(&mut hasher);
                if paragraph.contains(' ') && is_latin(&paragraph) && known.insert(hasher.finish()) {
                    text.push_str(&paragraph);
                    text.push('\n');
                }
            }
        }
        if text.is_empty() {
            return Err(Error::damaged(from.join(package), "no text"));
        }
        write(&to.join(format!("{package}.txt")), text.as_bytes())?;
    }
    Ok(())
}

/// `page.gz` and `words.dict.dz` are `page` and `words.dict`.
fn without_packing(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "gz" || extension == "dz") { path.with_extension("") } else { path.into() }
}

/// Whether hardly any letter is of another script than English has.
fn is_latin(paragraph: &str) -> bool {
    let letters = || paragraph.chars().filter(|c| c.is_alphabetic());
    letters().filter(|c| *c > '\u{24F}').count() * 10 <= letters().count()
}

/// What makes paragraphs of a file, by its name. Translations are not English.
fn reader(path: &Path) -> Option<fn(&str) -> Vec<String>> {
    if path.components().any(|part| part.as_os_str() == "translations") {
        return None;
    }
    let name = path.file_name()?.to_str()?;
    let extension = path.extension().map_or("", |extension| extension.to_str().unwrap_or_default());
    Some(match extension {
        "html" | "htm" => html,
        "pod" => pod,
        "rst" | "txt" | "dict" if name != "copyright.txt" => paragraphs,
        _ if name.starts_with("data.") => glosses,
        _ => return None,
    })
}

/// Lines joined up to an empty one or one that is indented anew.
fn paragraphs(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            found.push(String::new());
            continue;
        }
        let last = found.len() - 1;
        for word in line.split_whitespace() {
            if !found[last].is_empty() {
                found[last].push(' ');
            }
            found[last].push_str(word);
        }
    }
    found.retain(|paragraph| !paragraph.is_empty());
    found
}

/// Perl's documentation without its markup: `C<print>`, `=head1 NAME`.
fn pod(text: &str) -> Vec<String> {
    let mut plain = String::with_capacity(text.len());
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let code = letter.is_ascii_uppercase() && !before.is_alphanumeric() && letters.peek() == Some(&'<');
        if code {
            while letters.next_if_eq(&'<').is_some() {}
        } else if letter != '>' {
            plain.push(letter);
        }
        before = letter;
    }
    let mut found = paragraphs(&plain);
    for paragraph in &mut found {
        if let Some(rest) = paragraph.strip_prefix('=') {
            *paragraph = rest.split_once(' ').map_or(String::new(), |(_, heading)| heading.to_owned());
        }
    }
    found
}

/// The text between two ends of blocks.
fn html(page: &str) -> Vec<String> {
    let mut page = page.to_owned();
    for element in ["script", "style"] {
        while let Some(start) = page.find(&format!("<{element}")) {
            let end = page[start..].find(&format!("</{element}>")).map_or(page.len(), |end| start + end);
            page.replace_range(start..end, "");
        }
    }
    let blocks = ["<p", "</p", "<div", "</div", "<li", "</li", "<td", "</td", "<h", "</h", "<br", "<pre", "</pre", "<dt", "<dd", "<tr"];
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(tag) = page[at..].find('<') {
        let here = at + tag;
        if blocks.iter().any(|block| page[here..].starts_with(block)) {
            found.push(plain(&page[start..here]));
            start = here;
        }
        at = here + 1;
    }
    found.push(plain(&page[start..]));
    found.retain(|paragraph| !paragraph.is_empty());
    found
}

/// What WordNet says of each set of words, behind a bar.
fn glosses(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| Some(line.split_once("| ")?.1.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_of_each_kind() {
        assert_eq!(paragraphs("One\n  two.\n\n\n three\n"), ["One two.", "three"]);
        let page = "<html><style>p {}</style><p class=x>One <b>bold</b> &amp; two</p><ul><li>three</ul><script>no</script>";
        assert_eq!(html(page), ["One bold & two", "three"]);
        assert_eq!(glosses("00001 03 n 01 | a thing; \"an example\"  \n  licence\n"), ["a thing; \"an example\""]);
    }
}
