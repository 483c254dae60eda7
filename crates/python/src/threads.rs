//! Work without the interpreter's lock, on threads that exist in this process.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    ptr::null_mut,
    sync::{
        OnceLock,
        atomic::{
            AtomicPtr, AtomicUsize,
            Ordering::{AcqRel, Acquire},
        },
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use lyceum_core::{Error, Result, interrupt};
use pyo3::{PyResult, Python, exceptions::PyKeyboardInterrupt, marker::Ungil};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::exception;

/// The process that loaded the module: rayon's own pool is its.
static LOADED_BY: OnceLock<u32> = OnceLock::new();
/// The pool of a forked process, and which process that is.
static FORKED: AtomicPtr<(u32, ThreadPool)> = AtomicPtr::new(null_mut());

/// To be called when the module is loaded.
pub(crate) fn loaded() {
    LOADED_BY.get_or_init(process::id);
}

/// Does the work without the interpreter's lock. Every call of the module that may use several threads goes through here.
pub(crate) fn detached<T: Ungil + Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Ungil + Send) -> PyResult<T> {
    py.detach(|| guarded(|| in_pool(work))).map_err(exception)
}

fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match pool() {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// A panic, which is a fault of the program, as an error: an exception like any other, which `except Exception` catches.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(fault(panic.as_ref())))
}

fn fault(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Failed(format!("a fault in Lyceum, please report it: {}", text.unwrap_or("a panic without words")))
}

/// As [`detached`], for work that takes seconds and asks whether it should stop: this thread asks the interpreter for signals meanwhile,
/// and Ctrl-C ends the work with `KeyboardInterrupt`. The interpreter tells its main thread alone of signals, so that work which another
/// thread began goes on unless the main one is in such a call too.
pub(crate) fn stoppable<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    // On a thread of the pool, as of a forked process, waiting for the pool could be waiting for itself.
    if rayon::current_thread_index().is_some() {
        return py.detach(|| guarded(work)).map_err(exception);
    }
    WORKING.fetch_add(1, AcqRel);
    let worked = py.detach(|| {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let worker = scope.spawn(move || {
                let found = guarded(|| in_pool(work));
                // Nobody waits any more only if this scope is being left by a panic.
                let _ = sender.send(());
                found
            });
            let mut signal = None;
            while receiver.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if let Some(Err(raised)) = Python::try_attach(|py| py.check_signals()) {
                    if signal.is_some() {
                        // The second one does not wait, as on the command line.
                        process::exit(130);
                    }
                    interrupt::request();
                    signal = Some(raised);
                }
            }
            (worker.join(), signal)
        })
    });
    // The request is to all that work now, and is heard when the last of them has ended.
    if WORKING.fetch_sub(1, AcqRel) == 1 {
        interrupt::withdraw();
    }
    match worked {
        // It says how to go on.
        (Ok(Err(error @ Error::Interrupted { .. })), Some(signal)) if signal.is_instance_of::<PyKeyboardInterrupt>(py) => {
            Err(exception(error))
        }
        (_, Some(signal)) => Err(signal),
        (Ok(found), None) => found.map_err(exception),
        (Err(panic), None) => Err(exception(fault(panic.as_ref()))),
    }
}

/// How many calls of [`stoppable`] there are.
static WORKING: AtomicUsize = AtomicUsize::new(0);

/// How often the interpreter is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The pool of a process that was forked after the module was loaded; `None` in the process that loaded it. A fork takes along none
/// of rayon's threads, and whatever waits for them waits for ever.
fn pool() -> Option<&'static ThreadPool> {
    let here = process::id();
    if LOADED_BY.get() == Some(&here) {
        return None;
    }
    let known = FORKED.load(Acquire);
    // SAFETY: null, or leaked below.
    if let Some((process, pool)) = unsafe { known.as_ref() }
        && *process == here
    {
        return Some(pool);
    }
    let pool = ThreadPoolBuilder::new().build().ok()?;
    let made = Box::into_raw(Box::new((here, pool)));
    match FORKED.compare_exchange(known, made, AcqRel, Acquire) {
        // A pool that a parent made is leaked: its threads are not here to be stopped.
        // SAFETY: just leaked, and never freed.
        Ok(_) => Some(unsafe { &(*made).1 }),
        Err(other) => {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
            // SAFETY: another thread of this process leaked it.
            Some(unsafe { &(*other).1 })
        }
    }
}
