use std::{path::PathBuf, time::Instant};
use lyceum_core::{Progress, progress::Mode};
use lyceum_masking::BuildConfig;
fn main() {
    let paths: Vec<PathBuf> = std::env::args().skip(2).map(PathBuf::from).collect();
    let memory: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let config = BuildConfig { memory: memory << 20, ..BuildConfig::default() };
    let start = Instant::now();
    let counts = config.count(&paths, &PathBuf::from("/tmp/ex/work"), &Progress::new(Mode::Plain)).unwrap();
    println!("counted {:?}", start.elapsed());
    for o in &counts.orders { println!("{} of {}", o.len(), o.total); }
    let v = config.vocabulary(&counts).unwrap();
    println!("vocabulary {:?}", start.elapsed());
    v.save(&PathBuf::from("/tmp/ex/vocab")).unwrap();
    v.save_table(&PathBuf::from("/tmp/ex/vocab.tsv")).unwrap();
    println!("saved {:?}", start.elapsed());
}
