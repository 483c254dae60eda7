//! Standard output and standard error, and what becomes of a program that cannot write to them.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    process::exit,
};

/// Writes a text to standard output. A reader that has gone (`lyceum list | head -1`) is no error: what was to be done is
/// done. Any other failure, such as a full disk, ends the program with exit status 1.
pub(crate) fn text(text: &str) {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(found) if found.kind() != ErrorKind::BrokenPipe => {
            error(&format_args!("standard output: cannot write: {found}"));
            exit(1);
        }
        _ => {}
    }
}

/// Writes an error to standard error, if there is anybody to read it; in colours where they show.
pub(crate) fn error(error: &dyn Display) {
    let _ = writeln!(anstream::stderr(), "{error}");
}

/// A file that grows beyond the limit of the process (`ulimit -f`) is an error of that file, not a signal that kills.
pub(crate) fn outlive_limits() {
    // SAFETY: ignoring a signal installs no handler.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
