//! The operators of DataFusion, in this process and on a cluster of processes, against the kernel: byte by byte.

#![cfg(feature = "cluster")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    env, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lyceum_core::{Error, Progress, Seed};
use lyceum_masking::{BuildConfig, cluster, counting::Engine};
use rand::RngExt;

const ROLE: &str = "LYCEUM_TEST_ROLE";
const PLACES: &str = "LYCEUM_TEST_PLACES";

/// What this program is when a test starts it again: a process of the cluster.
#[test]
#[ignore = "a process of the cluster of the other tests"]
fn node() {
    let Ok(role) = env::var(ROLE) else { return };
    let places: Vec<SocketAddr> = env::var(PLACES).unwrap().split(',').map(|place| place.parse().unwrap()).collect();
    match role.as_str() {
        "scheduler" => cluster::scheduler(places[0]).unwrap(),
        work => {
            let scheduler = (places[0].ip().to_string(), places[0].port());
            cluster::Executor { bind: places[1], scheduler, cores: 1, memory: 256 << 20 }.run(Path::new(work)).unwrap();
        }
    }
}

struct Node(Child);

impl Node {
    fn start(role: &str, places: &[SocketAddr]) -> Self {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        let program = env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", "node", "--ignored", "--nocapture"]).env(ROLE, role).env(PLACES, places.join(","));
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free, and the one after it.
fn free() -> SocketAddr {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if first.port() < u16::MAX && TcpListener::bind((first.ip(), first.port() + 1)).is_ok() {
            return first;
        }
    }
}

fn reachable(place: SocketAddr) {
    let start = Instant::now();
    while TcpStream::connect(place).is_err() {
        assert!(start.elapsed() < Duration::from_mins(1), "{place} does not answer");
        thread::sleep(Duration::from_millis(50));
    }
}

struct Cluster {
    scheduler: SocketAddr,
    _scheduler: Node,
    executors: Vec<Node>,
}

impl Cluster {
    fn start(folder: &Path, executors: usize) -> Self {
        let scheduler = free();
        let node = Node::start("scheduler", &[scheduler]);
        reachable(scheduler);
        let start = |number: usize| {
            let place = free();
            let executor = Node::start(&folder.join(format!("executor-{number}")).to_string_lossy(), &[scheduler, place]);
            reachable(place);
            executor
        };
        Self { scheduler, _scheduler: node, executors: (0..executors).map(start).collect() }
    }

    fn engine(&self) -> Engine {
        Engine::Cluster(format!("df://{}", self.scheduler))
    }
}

fn corpus(folder: &Path, words: usize) -> Vec<PathBuf> {
    let mut rng = Seed::new(11).stream("corpus");
    let mut text = String::new();
    for place in 0..words {
        let u: f64 = rng.random();
        match rng.random_range(0..12) {
            0 => text.push_str(&format!("left{0} right{0} ", (u * 40.0) as usize)),
            1 => text.push_str("as well as that "),
            _ => text.push_str(&format!("w{} ", (u * u * u * 4_000.0) as usize)),
        }
        if place % 19 == 0 {
            text.push_str(".\n");
        }
    }
    let (first, second) = text.split_at(text.find('\n').unwrap() + 1);
    ["a.txt", "b.txt"]
        .into_iter()
        .zip([first, second])
        .map(|(name, text)| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        })
        .collect()
}

fn build(engine: Engine, corpus: &[PathBuf], folder: &Path, name: &str) -> lyceum_core::Result<Vec<u8>> {
    let config = BuildConfig { min_count: 4, engine, memory: 512 << 20, ..BuildConfig::default() };
    let vocabulary = config.build(corpus, &folder.join(format!("{name}.work")), &Progress::quiet())?;
    let path = folder.join(name);
    vocabulary.save(&path)?;
    Ok(fs::read(path).unwrap())
}

#[test]
fn a_cluster_builds_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), 60_000);
    let expected = build(Engine::Kernel, &corpus, folder.path(), "kernel").unwrap();
    assert!(build(Engine::Datafusion, &corpus, folder.path(), "datafusion").unwrap() == expected);
    let cluster = Cluster::start(folder.path(), 2);
    assert!(build(cluster.engine(), &corpus, folder.path(), "cluster").unwrap() == expected);
    assert!(!folder.path().join("cluster.work").exists());
}

/// One of two executors is killed while it works: the other one does its work. When both are killed it is an error, nothing is
/// written, and what was counted before is kept for the same command again.
#[test]
fn executors_are_killed_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), 400_000);
    let expected = build(Engine::Kernel, &corpus, folder.path(), "kernel").unwrap();
    let mut cluster = Cluster::start(folder.path(), 2);

    let (executors, engine) = (&mut cluster.executors, Engine::Cluster(format!("df://{}", cluster.scheduler)));
    let mut build_and_kill = |name: &str| {
        let work = folder.path().join(format!("{name}.work"));
        thread::scope(|scope| {
            let job = scope.spawn(|| build(engine.clone(), &corpus, folder.path(), name));
            // The query comes when the pairs are written.
            let start = Instant::now();
            while !(2..=5).any(|order| work.join(format!("pairs-{order}")).is_dir()) && !job.is_finished() {
                assert!(start.elapsed() < Duration::from_mins(1), "no pairs");
                thread::sleep(Duration::from_millis(2));
            }
            drop(executors.pop());
            job.join().unwrap()
        })
    };
    assert!(build_and_kill("one").unwrap() == expected);
    match build_and_kill("both") {
        Err(Error::Failed(message)) => assert!(message.contains("the cluster at df://"), "{message}"),
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    }
    assert!(!folder.path().join("both").exists());

    // The same build goes on where it was, here with another engine: single words are not counted again.
    let first = folder.path().join("both.work").join("order-1");
    assert!(first.exists());
    fs::remove_file(folder.path().join("both.work").join("numbers")).unwrap();
    assert!(build(Engine::Kernel, &corpus, folder.path(), "both").unwrap() == expected);
}
