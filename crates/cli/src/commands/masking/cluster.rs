//! `lyceum masking scheduler` and `lyceum masking executor`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use lyceum_core::{Error, Result};
use lyceum_masking::cluster;

use super::bytes;

/// Run the scheduler of a Ballista cluster, for `build --cluster`
#[derive(Args)]
#[command(after_help = "\
Example:
  lyceum masking scheduler --bind 0.0.0.0:50050")]
pub(crate) struct Scheduler {
    /// Where it listens. Whoever reaches it can read files: keep it within a network that is trusted
    #[arg(long, default_value = "127.0.0.1:50050")]
    bind: SocketAddr,
}

impl Scheduler {
    pub(crate) fn execute(self) -> Result<()> {
        cluster::scheduler(self.bind)
    }
}

/// Run an executor of a Ballista cluster
#[derive(Args)]
#[command(after_help = "\
Example:
  lyceum masking executor --scheduler head:50050 --bind 10.0.0.7:50051 --memory 16G")]
pub(crate) struct Executor {
    /// The scheduler
    #[arg(long, default_value = "localhost:50050")]
    scheduler: String,

    /// Where it serves the other executors; the port after it serves the scheduler
    #[arg(long, default_value = "127.0.0.1:50051")]
    bind: SocketAddr,

    /// How many tasks it works on at a time; all cores by default
    #[arg(long, default_value_t = 0)]
    cores: usize,

    /// The memory of all of them
    #[arg(long, value_parser = bytes, default_value = "2G")]
    memory: usize,

    /// Where intermediate results lie
    #[arg(long, default_value = "lyceum-executor")]
    work: PathBuf,
}

impl Executor {
    pub(crate) fn execute(self) -> Result<()> {
        let scheduler = self.scheduler.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
        let scheduler =
            scheduler.ok_or_else(|| Error::invalid("scheduler", &self.scheduler, "host and port, for example localhost:50050"))?;
        let cores = if self.cores == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { self.cores };
        cluster::Executor { bind: self.bind, scheduler, cores, memory: self.memory as u64 }.run(&self.work)
    }
}
