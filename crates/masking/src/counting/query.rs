//! Pairs counted by a query: operators of DataFusion, in this process or on a Ballista cluster.
//!
//! The pairs of neighbours lie in Parquet files, and what is asked is
//!
//! ```sql
//! SELECT a, b, count(*) FROM pairs GROUP BY a, b HAVING count(*) >= least
//! ```
//!
//! which any Ballista cluster can answer: it needs no functions of ours. Places are numbered here, as after the kernel.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array},
        datatypes::{DataType, Field, Schema},
    },
    error::DataFusionError,
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::RuntimeEnvBuilder,
    },
    parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties},
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};
use lyceum_core::{Error, Result, interrupt, progress::Task};
use rayon::prelude::*;

use super::{
    CHUNK, CountConfig, Engine, Work,
    pairs::{check_found, each_chunk, key},
};

/// The frequent pairs and their counts.
pub(super) fn count(work: &Work, order: usize, places: u64, config: &CountConfig, task: &mut Task) -> Result<Vec<(u64, u64)>> {
    let folder = write_pairs(work, order, places, task)?;
    task.set(
        places / 2,
        &match &config.engine {
            Engine::Cluster(address) => format!("counting on {address}"),
            _ => "counting".into(),
        },
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(rayon::current_num_threads())
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(format!("cannot start threads: {error}")))?;
    let counted = runtime.block_on(async {
        let query = async {
            let context = context(work, config).await?;
            ask(&context, &folder, config, order).await
        };
        tokio::pin!(query);
        loop {
            tokio::select! {
                counted = &mut query => return counted,
                () = tokio::time::sleep(Duration::from_millis(100)) => interrupt::check()?,
            }
        }
    })?;
    // What a cluster left running is not waited for.
    runtime.shutdown_background();
    fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
    Ok(counted)
}

/// Writes the pairs of neighbours: columns `a` and `b`, a file for each piece of the corpus.
fn write_pairs(work: &Work, order: usize, places: u64, task: &mut Task) -> Result<PathBuf> {
    let folder = work.path(&format!("pairs-{order}"));
    if folder.is_dir() {
        fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
    }
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let number = || Field::new("a", DataType::UInt32, false);
    let schema = Arc::new(Schema::new(vec![number(), number().with_name("b")]));
    let mut files = 0;
    each_chunk(work, order - 1, places, |chunk, done| {
        interrupt::check()?;
        task.set(done / 4, "writing pairs");
        let starts: Vec<usize> = (0..chunk.len() - 1).step_by(CHUNK).collect();
        starts.par_iter().enumerate().try_for_each(|(piece, &start)| {
            let pairs = chunk[start..(start + CHUNK + 1).min(chunk.len())].windows(2).filter(|pair| key(pair) != 0);
            let (a, b): (Vec<u32>, Vec<u32>) = pairs.map(|pair| (pair[0], pair[1])).unzip();
            write_file(&folder.join(format!("{:06}.parquet", files + piece)), &schema, a, b)
        })?;
        files += starts.len();
        Ok(())
    })?;
    // Executors look it up from their own folders.
    folder.canonicalize().map_err(Error::io("find", &folder))
}

fn write_file(path: &Path, schema: &Arc<Schema>, a: Vec<u32>, b: Vec<u32>) -> Result<()> {
    let failed = |error: String| Error::Failed(format!("{}: {error}", path.display()));
    let file = File::create(path).map_err(Error::io("create", path))?;
    let columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(a)), Arc::new(UInt32Array::from(b))];
    let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|error| failed(error.to_string()))?;
    // Numbers of words and n-grams hardly repeat: dictionaries and statistics would be for nothing.
    let properties = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).set_dictionary_enabled(false).build();
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|error| failed(error.to_string()))?;
    writer.write(&batch).map_err(|error| failed(error.to_string()))?;
    writer.close().map_err(|error| failed(error.to_string()))?;
    Ok(())
}

async fn context(work: &Work, config: &CountConfig) -> Result<SessionContext> {
    let session = SessionConfig::new().with_target_partitions(rayon::current_num_threads());
    match &config.engine {
        #[cfg(feature = "cluster")]
        Engine::Cluster(address) => {
            use ballista::prelude::{SessionConfigExt, SessionContextExt};
            use datafusion::execution::SessionStateBuilder;

            let session = SessionConfig::new_with_ballista().with_target_partitions(PARTITIONS).with_ballista_job_name("lyceum masking");
            let state = SessionStateBuilder::new().with_config(session).with_default_features().build();
            SessionContext::remote_with_state(address, state).await.map_err(|error| refused(config, &error))
        }
        _ => {
            // Half for the operators: batches and files have buffers that they do not tell of.
            let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![work.folder.clone()]));
            let runtime = RuntimeEnvBuilder::new()
                .with_memory_pool(Arc::new(FairSpillPool::new(config.memory / 2)))
                .with_disk_manager_builder(disk)
                .build_arc()
                .map_err(|error| refused(config, &error))?;
            Ok(SessionContext::new_with_config_rt(session, runtime))
        }
    }
}

/// Parts that a cluster cuts the pairs into; what is counted does not depend on it.
#[cfg(feature = "cluster")]
const PARTITIONS: usize = 16;

async fn ask(context: &SessionContext, folder: &Path, config: &CountConfig, order: usize) -> Result<Vec<(u64, u64)>> {
    let failed = |error: DataFusionError| refused(config, &error);
    context.register_parquet("pairs", folder.to_string_lossy(), ParquetReadOptions::default()).await.map_err(failed)?;
    let query = format!("SELECT a, b, count(*) AS times FROM pairs GROUP BY a, b HAVING count(*) >= {}", config.min_count);
    let frame = context.sql(&query).await.map_err(failed)?;
    let batches = frame.collect().await.map_err(failed)?;
    let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
    check_found(found, order, config.memory)?;
    let mut frequent = Vec::with_capacity(found);
    for batch in batches {
        let numbers = |column: usize| batch.column(column).as_any().downcast_ref::<UInt32Array>();
        let (Some(a), Some(b), Some(times)) = (numbers(0), numbers(1), batch.column(2).as_any().downcast_ref::<Int64Array>()) else {
            return Err(Error::Failed(format!("the query gave columns of other types: {}", batch.schema())));
        };
        frequent.extend((0..a.len()).map(|row| (key(&[a.value(row), b.value(row)]), times.value(row) as u64)));
    }
    Ok(frequent)
}

fn refused(config: &CountConfig, error: &DataFusionError) -> Error {
    match (&config.engine, error.find_root()) {
        (Engine::Datafusion, DataFusionError::ResourcesExhausted(what)) => {
            let allowed = format!("more than that, or the engine `kernel`, which takes less: {what}");
            Error::invalid("memory", format!("{}M", config.memory >> 20), allowed)
        }
        (Engine::Cluster(address), _) => {
            let keeps = "What was counted before is kept: the same command goes on, with this engine or another.";
            Error::Failed(format!("the cluster at {address}: {error}. {keeps}"))
        }
        _ => Error::Failed(format!("DataFusion: {error}")),
    }
}
