//! Independent trainings side by side, one thread each.
//!
//! Small networks gain little from several threads inside an operator, so where there are many trainings (seeds,
//! arms, clients) each gets a thread of its own: two at a time on two cores beat one at a time on both.

use lyceum_core::{Error, Result};
use rayon::ThreadPoolBuilder;

/// Makes the calling thread one of the threads that operators run on, so that it does itself what it would otherwise
/// hand to another and wait for. A program calls it once, as it starts; where threads run already, nothing changes.
pub fn enlist_this_thread() {
    let _ = ThreadPoolBuilder::new().use_current_thread().build_global();
}

/// The results of `work` on every item, in their order. Inside `work` everything runs on one thread.
pub fn one_thread_each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    if items.len() < 2 {
        return items.iter().map(work).collect();
    }
    // A plain thread an item in flight: a worker of rayon's pool that waits for another pool would steal work and
    // hold two items at once.
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = rayon::current_num_threads().min(items.len());
    let mut done: Vec<(usize, Result<R>)> = std::thread::scope(|scope| {
        let worker = || {
            // One thread for all that this worker does: a new one would have no memory yet, and the system clears what it gives.
            let pool = ThreadPoolBuilder::new().num_threads(1).build();
            let alone = |item: &T| match &pool {
                Ok(pool) => pool.install(|| work(item)),
                Err(error) => Err(Error::Failed(format!("no thread: {error}"))),
            };
            let mut mine = Vec::new();
            loop {
                let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                match items.get(index) {
                    Some(item) => mine.push((index, alone(item))),
                    None => return mine,
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker that does not panic")).collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The same on a thread pool of this size, for tests and measurements.
pub fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| Error::Failed(format!("no threads: {error}")))?;
    Ok(pool.install(work))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn results_come_in_order_and_each_has_one_thread() {
        let items: Vec<usize> = (0..20).collect();
        let found = one_thread_each(&items, |item| Ok((*item, rayon::current_num_threads()))).unwrap();
        assert_eq!(found, items.iter().map(|item| (*item, 1)).collect::<Vec<_>>());
        let sum: usize = with_threads(2, || items.par_iter().sum()).unwrap();
        assert_eq!(sum, 190);
    }
}
