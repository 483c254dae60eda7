//! Errors as a person sees them: what, where in the file, and what to do.

use lyceum_core::Error;
use miette::{Diagnostic, LabeledSpan, MietteHandlerOpts, NamedSource, Report, SourceCode};

/// An error of the library with its place in the recipe, if it has one.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Shown {
    message: String,
    help: Option<String>,
    source_code: Option<NamedSource<String>>,
    label: Option<LabeledSpan>,
}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source_code.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.label.clone().map(|label| Box::new(std::iter::once(label)) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

/// The error, ready to be printed with `{:?}`.
pub(crate) fn report(error: Error) -> Report {
    // Set once; a second call (in tests) is refused and harmless.
    let _ = miette::set_hook(Box::new(|_| Box::new(MietteHandlerOpts::new().width(100).context_lines(1).build())));
    Report::new(match error {
        Error::Recipe(error) => Shown {
            label: Some(LabeledSpan::new(Some("here".into()), error.span.start, error.span.len())),
            source_code: Some(NamedSource::new(error.name, error.text).with_language("toml")),
            message: error.message,
            help: error.help,
        },
        Error::Missing { path, hint } => {
            Shown { message: format!("{}: no such file", path.display()), help: Some(hint), source_code: None, label: None }
        }
        Error::Invalid { what, found, allowed } => {
            Shown { message: format!("{what}: found {found}"), help: Some(format!("allowed: {allowed}")), source_code: None, label: None }
        }
        other => Shown { message: other.to_string(), help: None, source_code: None, label: None },
    })
}
