//! Errors as a person sees them (what, where in the file, and what to do), and as a program reads them.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use lyceum_core::Error;
use serde_json::{Value, json};

/// A mistake in the arguments as an event of `--json`.
pub(crate) fn usage(error: &clap::Error) -> Value {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    json!({ "event": "error", "message": message, "help": null, "file": null, "line": null, "exit_status": error.exit_code() })
}

/// An error in the parts that both forms show.
pub(crate) struct Diagnostic {
    error: Error,
    message: String,
    help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(error: Error) -> Self {
        let (message, help) = match &error {
            Error::Recipe(found) => (found.message.clone(), found.help.clone()),
            Error::Missing { path, hint } => (format!("{}: no such file", path.display()), Some(hint.clone())),
            Error::Invalid { what, found, allowed } => (format!("{what}: found {found}"), Some(format!("allowed: {allowed}"))),
            other => (other.to_string(), None),
        };
        Self { error, message, help }
    }

    /// For a terminal, with the line of the recipe that is wrong.
    pub(crate) fn text(&self) -> String {
        let title = Level::ERROR.primary_title(&self.message);
        let mut groups = vec![match &self.error {
            Error::Recipe(found) => title.element(
                Snippet::source(&found.text).path(&found.name).annotation(AnnotationKind::Primary.span(found.span.clone()).label("here")),
            ),
            _ => Group::with_title(title),
        }];
        groups.extend(self.help.iter().map(|help| Group::with_title(Level::HELP.secondary_title(help))));
        Renderer::styled().render(&groups)
    }

    /// As an event of `--json`.
    pub(crate) fn json(&self) -> Value {
        let (file, line) = match &self.error {
            Error::Recipe(found) => (Some(found.name.clone()), Some(found.line)),
            Error::Missing { path, .. } | Error::Damaged { path, .. } | Error::Locked { path } | Error::Io { path, .. } => {
                (Some(path.display().to_string()), None)
            }
            _ => (None, None),
        };
        json!({
            "event": "error",
            "message": self.message,
            "help": self.help,
            "file": file,
            "line": line,
            "exit_status": self.error.exit_code(),
        })
    }
}
