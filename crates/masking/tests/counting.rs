//! Counts against those of a plain map, whatever the memory, the file format and the cuts between blocks.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use lyceum_core::{Progress, Seed};
use lyceum_masking::{
    BuildConfig, Words,
    corpus::{Corpus, Format, Mark},
    counting::{self, CountConfig, Counts, Engine},
    words::{Piece, Splitting},
};
use rand::RngExt;

type Map = BTreeMap<Vec<String>, u64>;

/// Every n-gram of the texts, each text by itself, and how many n-grams of each length there are.
fn plain(texts: &[&str], orders: usize, splitting: Splitting) -> (Map, Vec<u64>) {
    let (mut counts, mut totals) = (Map::new(), vec![0; orders]);
    for text in texts {
        let mut runs: Vec<Vec<String>> = vec![Vec::new()];
        lyceum_masking::words::split(text, splitting, false, |piece| match piece {
            Piece::Word(word, _) => runs.last_mut().unwrap().push(word.to_owned()),
            Piece::Boundary => runs.push(Vec::new()),
        });
        for run in &runs {
            for n in 1..=orders {
                for ngram in run.windows(n) {
                    *counts.entry(ngram.to_vec()).or_default() += 1;
                    totals[n - 1] += 1;
                }
            }
        }
    }
    (counts, totals)
}

fn found(counts: &Counts) -> (Map, Vec<u64>) {
    let mut map = Map::new();
    for (place, order) in counts.orders.iter().enumerate() {
        for (number, &count) in order.counts.iter().enumerate() {
            let words = counts.words(place + 1, number as u32);
            map.insert(words.into_iter().map(|word| counts.dictionary.word(word).to_owned()).collect(), count);
        }
    }
    (map, counts.orders.iter().map(|order| order.total).collect())
}

fn frequent((counts, totals): (Map, Vec<u64>), least: u64) -> (Map, Vec<u64>) {
    (counts.into_iter().filter(|(_, count)| *count >= least).collect(), totals)
}

fn count(paths: &[PathBuf], orders: usize, min_count: u64, memory: usize, splitting: Splitting, work: &Path) -> Counts {
    let corpus = Corpus::open(paths, Format::Auto, "text", memory).unwrap();
    let config = CountConfig { orders, min_count, memory, engine: Engine::Kernel };
    counting::count(&corpus, &Words::BuiltIn(splitting), &config, &serde_json::Value::Null, work, &Progress::quiet()).unwrap()
}

/// Random text: few different words (some of them long or beyond ASCII), signs, ends of lines.
fn text(seed: u64, words: usize, different: usize) -> String {
    let mut rng = Seed::new(seed).stream("text");
    let mut text = String::new();
    for _ in 0..words {
        let word: f64 = rng.random();
        // A few are much more frequent than others.
        let word = (word * word * different as f64) as usize;
        match word % 7 {
            0 => text.push_str(&format!("Wort{word}ä")),
            1 => text.push_str(&"x".repeat(word % 120 + 1)),
            _ => text.push_str(&format!("w{word}")),
        }
        text.push_str(match rng.random_range(0..30) {
            0 => ".\n",
            1 => ", ",
            2 => "\r\n\n",
            _ => " ",
        });
    }
    text
}

#[test]
fn a_hundred_random_corpora_are_counted_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Seed::new(7).stream("corpora");
    for seed in 0..100 {
        let splitting = Splitting { lines: seed % 3 > 0, ..Splitting::default() };
        let (words, different, orders) = (rng.random_range(0..6_000), rng.random_range(1..60), rng.random_range(2..6));
        let least = rng.random_range(1..12);
        let texts: Vec<String> = (0..rng.random_range(1..4)).map(|part| text(seed * 10 + part, words + 1, different)).collect();
        let paths: Vec<PathBuf> = texts
            .iter()
            .enumerate()
            .map(|(part, text)| {
                let path = folder.path().join(format!("{seed}-{part}.txt"));
                std::fs::write(&path, text).unwrap();
                path
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let work = folder.path().join("work");
        let expected = frequent(plain(&texts, orders, splitting), least);
        assert_eq!(found(&count(&paths, orders, least, 1 << 26, splitting, &work)), expected, "corpus {seed}");
        assert!(!work.exists());
    }
}

/// Little memory: pairs go to the disk, files are read in small blocks, and nothing changes.
#[test]
fn counts_do_not_depend_on_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (path, work) = (folder.path().join("a.txt"), folder.path().join("work"));
    let text = text(3, 120_000, 14);
    std::fs::write(&path, &text).unwrap();
    let splitting = Splitting::default();
    let expected = frequent(plain(&[&text], 4, splitting), 40);
    for memory in [500_000, 3_000_000, 1 << 30] {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let counts = pool.install(|| count(std::slice::from_ref(&path), 4, 40, memory, splitting, &work));
            assert_eq!(found(&counts), expected, "{memory} bytes, {threads} threads");
        }
    }
}

#[test]
fn every_format_has_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<String> = (0..50).map(|seed| text(seed, 300, 20).replace('\n', " ")).collect();
    let at = |name: &str| folder.path().join(name);
    let plain_text = documents.join("\n") + "\n";
    let json: String =
        documents.iter().map(|text| serde_json::json!({ "id": 1, "text": text, "more": { "text": 2 } }).to_string() + "\n").collect();
    std::fs::write(at("a.txt"), &plain_text).unwrap();
    std::fs::write(at("a.jsonl"), &json).unwrap();
    std::fs::write(at("a.txt.zst"), zstd::encode_all(plain_text.as_bytes(), 1).unwrap()).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(json.as_bytes()).unwrap();
    std::fs::write(at("a.jsonl.gz"), packed.finish().unwrap()).unwrap();
    let names = ["a.txt", "a.jsonl", "a.txt.zst", "a.jsonl.gz"];
    let of = |name: &str| found(&count(&[at(name)], 3, 5, 1 << 26, Splitting::default(), &at("work")));
    let expected = of(names[0]);
    assert!(expected.0.len() > 100);
    names[1..].iter().for_each(|name| assert_eq!(of(name), expected, "{name}"));
    #[cfg(feature = "parquet")]
    {
        write_parquet(&at("a.parquet"), &documents);
        assert_eq!(of("a.parquet"), expected);
        let error =
            Corpus::open(&[at("a.parquet")], Format::Auto, "body", 1 << 26).unwrap().blocks(Mark::default()).next_block().unwrap_err();
        assert!(error.to_string().contains("no column `body`; there are: id, text"), "{error}");
    }
}

#[cfg(feature = "parquet")]
fn write_parquet(path: &Path, documents: &[String]) {
    use parquet::{
        data_type::{ByteArray, ByteArrayType, Int64Type},
        file::writer::SerializedFileWriter,
        schema::parser::parse_message_type,
    };
    let schema = parse_message_type("message m { required int64 id; optional binary text (UTF8); }").unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema.into(), Arc::default()).unwrap();
    for documents in documents.chunks(20) {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&vec![1; documents.len() + 1], None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = documents.iter().map(|text| ByteArray::from(text.as_str())).collect();
        // The last row of each group has no text.
        let mut levels = vec![1; values.len()];
        levels.push(0);
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// One line longer than any block, with and without spaces in it, and one word that is longer still.
#[test]
fn long_lines_are_counted_like_short_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (path, work) = (folder.path().join("a.txt"), folder.path().join("work"));
    let spaced = "the long line ".repeat(40_000);
    let monster = format!("before {} after after after", "y".repeat(900_000));
    let text = format!("{spaced}\n{monster}");
    std::fs::write(&path, &text).unwrap();
    let counts = count(std::slice::from_ref(&path), 3, 2, 2_000_000, Splitting::default(), &work);
    assert_eq!(found(&counts), frequent(plain(&[&text], 3, Splitting::default()), 2));
}

/// A line of ideographs, 4.8 million bytes without a space: none is lost where a block ends.
#[test]
fn lines_without_spaces_lose_no_word() {
    let folder = tempfile::tempdir().unwrap();
    let (path, work) = (folder.path().join("a.txt"), folder.path().join("work"));
    std::fs::write(&path, "天地玄黄宇宙洪荒".repeat(200_000)).unwrap();
    for memory in [2_000_000, 64 << 20, 1 << 30] {
        let (counts, totals) = found(&count(std::slice::from_ref(&path), 2, 1, memory, Splitting::default(), &work));
        assert_eq!(totals, [1_600_000, 1_599_999], "{memory} bytes");
        assert_eq!(counts[&["天".to_owned()][..]], 200_000, "{memory} bytes");
        assert_eq!(counts[&["荒".to_owned(), "天".to_owned()][..]], 199_999, "{memory} bytes");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let work = folder.path().join("work");
    let packed = zstd::encode_all(&b"some words in here".repeat(500)[..], 1).unwrap();
    let cases = [
        (at("latin.txt", b"fine\ncaf\xe9 au lait\n"), "latin.txt: line 2, byte 8: 0xe9 is not UTF-8"),
        (at("empty.txt", b""), "no words; allowed: at least one word"),
        (at("signs.txt", b"... --- ...\n\n"), "no words"),
        (at("bad.jsonl", b"{\"text\": \"a\"}\n\n{\"text\": 3}\n"), "bad.jsonl: line 3: invalid type: integer `3`, expected a string"),
        (at("cut.txt.zst", &packed[..packed.len() - 3]), "cut.txt.zst: cannot be unpacked beyond byte"),
        (at("not.gz", b"plain text"), "not.gz: cannot be unpacked beyond byte 0"),
        (at("not.parquet", b"plain text"), "not.parquet"),
        (folder.path().join("none.txt"), "none.txt: no such file"),
        (folder.path().into(), "is a folder"),
    ];
    for (path, expected) in cases {
        let error = BuildConfig::default().build(&[path], &work, &Progress::quiet()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(!work.exists(), "{error}");
    }
    let good = at("good.txt", text(1, 30_000, 9_000).as_bytes());
    for (config, expected) in [
        (BuildConfig { orders: 1, ..BuildConfig::default() }, "orders: found 1; allowed: 2 to 8"),
        (BuildConfig { min_count: 0, ..BuildConfig::default() }, "min_count: found 0; allowed: 1 and more"),
        (BuildConfig { memory: 1 << 20, ..BuildConfig::default() }, "allowed: 64M and more"),
        (BuildConfig { tokenizer: Some("none.json".into()), ..BuildConfig::default() }, "none.json"),
    ] {
        let error = config.build(std::slice::from_ref(&good), &work, &Progress::quiet()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Too little for the words; the memory that is named is enough.
    let count = |memory| {
        let corpus = Corpus::open(std::slice::from_ref(&good), Format::Auto, "text", memory).unwrap();
        let config = CountConfig { orders: 2, min_count: 1, memory, engine: Engine::Kernel };
        counting::count(&corpus, &Words::BuiltIn(Splitting::default()), &config, &serde_json::Value::Null, &work, &Progress::quiet())
    };
    let error = count(300_000).unwrap_err().to_string();
    let named: usize = error.split("allowed: ").nth(1).unwrap().split('M').next().unwrap().parse().unwrap();
    let error = count(named << 20).err().map_or(String::new(), |error| error.to_string());
    assert!(error.is_empty() || error.contains("2-grams"), "{error}");
}

/// A corpus that changed is counted anew, whatever lies in the folder.
#[test]
fn another_process_and_other_files_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, work) = (folder.path().join("a.txt"), folder.path().join("work"));
    std::fs::write(&path, "a b a b\n").unwrap();
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("state.json"), "{\"of\": 1}").unwrap();
    std::fs::write(work.join("words"), "garbage\n").unwrap();
    let lock = std::fs::File::create(work.join("lock")).unwrap();
    lock.lock().unwrap();
    let corpus = Corpus::open(std::slice::from_ref(&path), Format::Auto, "text", 1 << 26).unwrap();
    let config = CountConfig { orders: 2, min_count: 2, memory: 1 << 26, engine: Engine::Kernel };
    let count =
        || counting::count(&corpus, &Words::BuiltIn(Splitting::default()), &config, &serde_json::Value::Null, &work, &Progress::quiet());
    assert!(count().unwrap_err().to_string().contains("another process"));
    drop(lock);
    let expected: HashMap<Vec<String>, u64> = [(vec!["a".into(), "b".into()], 2), (vec!["a".into()], 2), (vec!["b".into()], 2)].into();
    assert_eq!(found(&count().unwrap()).0.into_iter().collect::<HashMap<_, _>>(), expected);
}
