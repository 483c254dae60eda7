//! Progress for people and programs: bars on a terminal, plain lines elsewhere, JSON lines on request, or nothing.

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bars if standard error is a terminal, else plain lines.
    Auto,
    /// One plain line every few seconds.
    Plain,
    /// One JSON object a line on standard output.
    Json,
    /// Nothing.
    Quiet,
}

/// Where progress goes; clones share it.
#[derive(Clone)]
pub struct Progress(Arc<Shown>);

enum Shown {
    Bars(MultiProgress),
    Plain(Mutex<()>),
    Json(Mutex<()>),
    Nothing,
}

/// A piece of work with a known number of units.
pub struct Task {
    progress: Progress,
    name: String,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    shown: Instant,
}

/// Plain and JSON progress come at most this often for one task.
const INTERVAL: Duration = Duration::from_secs(2);

impl Progress {
    /// Progress in this mode.
    pub fn new(mode: Mode) -> Self {
        Self(Arc::new(match mode {
            Mode::Auto if std::io::stderr().is_terminal() => Shown::Bars(MultiProgress::new()),
            Mode::Auto | Mode::Plain => Shown::Plain(Mutex::new(())),
            Mode::Json => Shown::Json(Mutex::new(())),
            Mode::Quiet => Shown::Nothing,
        }))
    }

    /// No progress at all.
    pub fn quiet() -> Self {
        Self::new(Mode::Quiet)
    }

    /// Whether a program reads standard output.
    pub fn is_json(&self) -> bool {
        matches!(*self.0, Shown::Json(_))
    }

    /// Starts a task of `total` units of which `done` are done already.
    pub fn task(&self, name: &str, done: u64, total: u64) -> Task {
        let bar = match &*self.0 {
            Shown::Bars(bars) => {
                let bar = bars.add(ProgressBar::new(total).with_position(done).with_prefix(name.to_owned()));
                let template = "{prefix:>16.bold} {bar:30.cyan/black.bright} {pos}/{len} {eta:>4} {wide_msg:.dim}";
                bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
                Some(bar)
            }
            _ => None,
        };
        // The first line comes at once, so that a long first unit does not look like silence.
        let shown = Instant::now().checked_sub(INTERVAL).unwrap_or_else(Instant::now);
        Task { progress: self.clone(), name: name.into(), total, done, bar, shown }
    }

    /// Says something that is not a unit of work.
    pub fn note(&self, text: &str) {
        match &*self.0 {
            Shown::Bars(bars) => drop(bars.println(text)),
            Shown::Plain(lock) => line(lock, &mut std::io::stderr(), text),
            Shown::Json(lock) => line(lock, &mut std::io::stdout(), &json!({ "event": "note", "text": text }).to_string()),
            Shown::Nothing => {}
        }
    }

    /// Says something that must not be missed, in every mode.
    pub fn warn(&self, text: &str) {
        match &*self.0 {
            Shown::Bars(_) | Shown::Plain(_) => self.note(&format!("warning: {text}")),
            Shown::Json(lock) => line(lock, &mut std::io::stdout(), &json!({ "event": "warning", "text": text }).to_string()),
            Shown::Nothing => drop(writeln!(std::io::stderr(), "warning: {text}")),
        }
    }
}

impl Task {
    /// `done` units are done; `message` is the state in a few words.
    pub fn set(&mut self, done: u64, message: &str) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message.to_owned());
        }
        if self.shown.elapsed() < INTERVAL && done < self.total {
            return;
        }
        self.shown = Instant::now();
        match &*self.progress.0 {
            Shown::Plain(lock) => line(lock, &mut std::io::stderr(), &format!("{}: {done}/{} {message}", self.name, self.total)),
            Shown::Json(lock) => {
                let event = json!({ "event": "progress", "task": self.name, "done": done, "total": self.total, "message": message });
                line(lock, &mut std::io::stdout(), &event.to_string());
            }
            Shown::Bars(_) | Shown::Nothing => {}
        }
    }

    /// One more unit is done.
    pub fn advance(&mut self, message: &str) {
        self.set(self.done + 1, message);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// A closed pipe must not end a long run, so errors are ignored.
fn line(lock: &Mutex<()>, to: &mut dyn Write, text: &str) {
    let _one_at_a_time = lock.lock();
    let _ = writeln!(to, "{text}");
    let _ = to.flush();
}
