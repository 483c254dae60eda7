//! What can go wrong, told so that a person can mend it.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use crate::recipe::Violation;

/// The result of anything in Lyceum that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. [`Error::exit_code`] tells a user's mistake from a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe has a mistake in it.
    #[error(transparent)]
    Recipe(Box<RecipeError>),
    /// A value that a user gave is not allowed.
    #[error("{what}: found {found}; allowed: {allowed}")]
    Invalid {
        /// The option, field or argument.
        what: String,
        /// What was found.
        found: String,
        /// What would have been right.
        allowed: String,
    },
    /// A file that is needed is not there.
    #[error("{}: no such file. {hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Where to get it and where to put it.
        hint: String,
    },
    /// A file is there but is not what it should be.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// Another process is writing this run.
    #[error("{}: another process is writing this run", path.display())]
    Locked {
        /// The run folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// What a user asked for breaks a rule.
    #[error("{0}")]
    Violated(String),
    /// The computation itself failed.
    #[error("{0}")]
    Failed(String),
    /// Training diverged: a loss or a parameter is no longer finite.
    #[error("{0}")]
    Diverged(String),
    /// The user asked to stop; what was done so far is saved.
    #[error("stopped on request; go on with: {again}")]
    Interrupted {
        /// The command that goes on.
        again: String,
    },
}

impl From<Violation> for Error {
    /// Of a configuration that no recipe holds, so that there is no line to show.
    fn from(violation: Violation) -> Self {
        Self::Violated(format!("{}: {}", violation.key, violation.message))
    }
}

impl Error {
    /// For use with `map_err` on operations on a file.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// The same for a file that a user named: where there is none, `hint` says what to give.
    pub fn missing_or_io(action: &'static str, path: impl AsRef<Path>, hint: &str) -> impl FnOnce(std::io::Error) -> Self {
        let (path, hint) = (path.as_ref().to_path_buf(), hint.to_owned());
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { path, hint },
            _ => Self::Io { path, action, source },
        }
    }

    /// A file whose content is wrong.
    pub fn damaged(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.as_ref().to_path_buf(), what: what.into() }
    }

    /// A value that is not allowed.
    pub fn invalid(what: impl Into<String>, found: impl ToString, allowed: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), found: found.to_string(), allowed: allowed.into() }
    }

    /// If training diverged, says when.
    pub fn when(self, when: impl std::fmt::Display) -> Self {
        match self {
            Self::Diverged(reason) => Self::Diverged(format!("{when}: {reason}")),
            other => other,
        }
    }

    /// The exit status of a process that ends with this error: 2 for a user's mistake, 130 after Ctrl-C, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Recipe(_)
            | Self::Violated(_)
            | Self::Invalid { .. }
            | Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Locked { .. } => 2,
            Self::Interrupted { .. } => 130,
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => 2,
                _ => 1,
            },
            Self::Failed(_) | Self::Diverged(_) => 1,
        }
    }
}

/// A mistake in a recipe: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{name}:{line}: {message}{}", help.as_ref().map(|h| format!("\n  {h}")).unwrap_or_default())]
pub struct RecipeError {
    /// The file, as the user named it.
    pub name: String,
    /// The text that was parsed, with overrides applied.
    pub text: String,
    /// The bytes of `text` that are wrong.
    pub span: Range<usize>,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What is allowed, and the nearest guess.
    pub help: Option<String>,
}

impl RecipeError {
    /// A mistake at these bytes of a text.
    pub fn at(name: &str, text: &str, span: Range<usize>, message: String, help: Option<String>) -> Self {
        let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
        Self { name: name.into(), text: text.into(), span, line, message, help }
    }
}

impl From<RecipeError> for Error {
    fn from(error: RecipeError) -> Self {
        Self::Recipe(Box::new(error))
    }
}
