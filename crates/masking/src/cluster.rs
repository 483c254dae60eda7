//! The processes of a Ballista cluster that counts; clusters of Ballista's own programs will do as well.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::{cluster::BallistaCluster, config::SchedulerConfig, scheduler_process::start_server};
use lyceum_core::{Error, Result};

/// How often an executor tells that it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// An executor that was not heard of for so long is given up, and its work goes to the others; where none is left, the job fails.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a scheduler until the process is stopped.
pub fn scheduler(bind: SocketAddr) -> Result<()> {
    let config = SchedulerConfig {
        bind_host: bind.ip().to_string(),
        bind_port: bind.port(),
        external_host: bind.ip().to_string(),
        executor_timeout_seconds: TIMEOUT.as_secs(),
        expire_dead_executor_interval_seconds: HEARTBEAT.as_secs(),
        no_executors_grace_period_seconds: TIMEOUT.as_secs(),
        ..SchedulerConfig::default()
    };
    run("scheduler", async move {
        let cluster = BallistaCluster::new_from_config(&config).await?;
        start_server(cluster, bind, Arc::new(config)).await
    })
}

/// An executor of a cluster.
#[derive(Debug, Clone)]
pub struct Executor {
    /// Where it serves other executors; the next port serves the scheduler.
    pub bind: SocketAddr,
    /// Host and port of the scheduler.
    pub scheduler: (String, u16),
    /// How many tasks it works on at a time.
    pub cores: usize,
    /// Bytes of memory for them all.
    pub memory: u64,
}

impl Executor {
    /// Runs it until the process is stopped; what it has on the disk meanwhile lies in `work`.
    pub fn run(&self, work: &Path) -> Result<()> {
        std::fs::create_dir_all(work).map_err(Error::io("create", work))?;
        let (scheduler_host, scheduler_port) = self.scheduler.clone();
        let next = self.bind.port().checked_add(1).ok_or_else(|| Error::invalid("port", self.bind.port(), "1 to 65534"))?;
        let config = ExecutorProcessConfig {
            bind_host: self.bind.ip().to_string(),
            external_host: Some(self.bind.ip().to_string()),
            port: self.bind.port(),
            grpc_port: next,
            scheduler_host,
            scheduler_port,
            scheduler_connect_timeout_seconds: TIMEOUT.as_secs() as u16,
            vcores: self.cores,
            work_dir: Some(work.to_string_lossy().into_owned()),
            memory_pool_size: Some(self.memory),
            executor_heartbeat_interval_seconds: HEARTBEAT.as_secs(),
            ..ExecutorProcessConfig::default()
        };
        run("executor", start_executor_process(Arc::new(config)))
    }
}

fn run<E: std::fmt::Display>(what: &str, process: impl Future<Output = Result<(), E>>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Error::Failed(format!("cannot start threads: {error}")))?;
    runtime.block_on(process).map_err(|error| Error::Failed(format!("the {what}: {error}")))
}
