//! The help pages of LibreOffice: the same paragraphs in many languages, told apart by their ids.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result};

use super::{debian, files_in, name_of, read, walk, write};

/// The languages that are brought, as Debian's packages name them; the first is what the others are translated from.
const LANGUAGES: [&str; 16] = ["en-us", "de", "nl", "da", "sv", "fr", "es", "it", "pt-br", "cs", "pl", "ru", "fi", "hu", "tr", "eu"];

/// Unpacks the packages libreoffice-help-LANGUAGE; gives the folder that holds a folder a language.
pub(super) fn libreoffice_help(work: &Path) -> Result<PathBuf> {
    for language in LANGUAGES {
        debian(&format!("libreoffice-help-{language}"), work, work)?;
    }
    Ok(work.join("usr/share/libreoffice/help"))
}

/// A file LANGUAGE.tsv each: the paragraph's page and id, a tab, its text.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    for folder in files_in(from)? {
        let language = name_of(&folder).to_lowercase();
        if !LANGUAGES.contains(&language.as_str()) {
            continue;
        }
        let mut paragraphs = BTreeMap::new();
        for page in walk(&folder.join("text"))?.into_iter().filter(|page| page.extension().is_some_and(|extension| extension == "html")) {
            let name = page.strip_prefix(&folder).unwrap_or(&page).with_extension("");
            for (id, text) in blocks(&String::from_utf8_lossy(&read(&page)?)) {
                paragraphs.insert(format!("{}#{id}", name.display()), text);
            }
        }
        if paragraphs.is_empty() {
            return Err(Error::damaged(&folder, "no paragraphs"));
        }
        let text: String = paragraphs.iter().map(|(key, text)| format!("{key}\t{text}\n")).collect();
        write(&to.join(format!("{language}.tsv")), text.as_bytes())?;
    }
    Ok(())
}

/// The ids and texts of paragraphs and headings.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in page.split("id=\"").skip(1) {
        let Some((id, rest)) = part.split_once('"') else { continue };
        if !(id.starts_with("par_id") || id.starts_with("hd_id")) {
            continue;
        }
        let Some((_, body)) = rest.split_once('>') else { continue };
        let end = ["</p>", "</h1>", "</h2>", "</h3>", "</h4>", "</h5>", "</h6>", "</div>"].iter().filter_map(|tag| body.find(tag)).min();
        let text = plain(&body[..end.unwrap_or(body.len())]);
        if !text.is_empty() {
            found.push((id.to_owned(), text));
        }
    }
    found
}

/// Text without tags and entities, its spaces single.
pub(super) fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text += part.split_once('>').map_or(if text.is_empty() { part } else { "" }, |(_, after)| after);
    }
    for (entity, character) in
        [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, character);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_of_a_page() {
        let page = r#"<h1 id="hd_id1" dir="auto">
<a name="x"></a>Find &amp; go</h1><p id="par_id2" class="paragraph">Press <span class="key">F1</span>,
 then&nbsp;wait.</p><p id="other">no</p><p id="par_id3"></p>"#;
        let expected = [("hd_id1", "Find & go"), ("par_id2", "Press F1, then wait.")];
        assert_eq!(blocks(page), expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
    }
}
