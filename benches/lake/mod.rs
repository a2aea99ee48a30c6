//! The dataset that is measured: generated, or a directory of your own (`EFFACE_BENCH_DATASET`).
//!
//! | generated | shards x rows | users | row groups a shard | bytes |
//! |---|---|---|---|---|
//! | by default | 4 x 250,000 | 100,000 | 10 | 64 MB |
//! | with `EFFACE_BENCH_FULL=1` | 16 x 1,000,000 | 400,000 | 10 | 1 GB |
//!
//! By `crates/samples`, seed 1: 20 flat columns, zstd level 1, pages of at most 20,000 rows, shards and their rows in
//! time order; users by Zipf's law. Files are in the page cache, since they were just written.
#![allow(dead_code, reason = "each bench uses its own part")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array, StringArray};
use arrow::datatypes::DataType;
use efface::{Engine, EngineOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const INDEX_SEED: u64 = 0;

/// A copy of a dataset that the benchmark may write its index into.
pub(crate) struct Lake {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) shards: Vec<PathBuf>,
    pub(crate) bytes: u64,
}

impl Lake {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let is_measured = std::env::args().any(|argument| argument == "--bench");
        let events = match std::env::var_os("EFFACE_BENCH_DATASET") {
            Some(dataset) => PathBuf::from(dataset),
            None if is_measured => generate(&dir.path().join("generated")),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("data-samples/events"),
        };
        let copy = dir.path().join("copy");
        fs::create_dir(&copy).unwrap();
        let mut shards = Vec::new();
        let mut bytes = 0;
        for entry in fs::read_dir(events).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "parquet") {
                let to = copy.join(path.file_name().unwrap());
                bytes += fs::copy(&path, &to).unwrap();
                shards.push(to);
            }
        }
        Self { dir, shards, bytes }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("copy")
    }

    pub(crate) fn engine(&self) -> Engine {
        // The same hashes in each run.
        let options = EngineOptions {
            seed_if_new: INDEX_SEED,
            ..EngineOptions::default()
        };
        Engine::open_dir_with(self.root(), options).unwrap()
    }

    /// Every id, by its number of rows.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        for shard in &self.shards {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(shard).unwrap());
            let builder = builder.unwrap();
            let column = ProjectionMask::columns(builder.parquet_schema(), ["distinct_id"]);
            for batch in builder.with_projection(column).build().unwrap() {
                let ids = arrow::compute::cast(batch.unwrap().column(0), &DataType::Utf8).unwrap();
                let ids = ids.as_any().downcast_ref::<StringArray>().unwrap();
                for id in ids.iter().flatten() {
                    *rows.entry(id.to_owned()).or_default() += 1;
                }
            }
        }
        let mut ids: Vec<(usize, String)> = rows.into_iter().map(|(id, rows)| (rows, id)).collect();
        ids.sort();
        ids.into_iter().map(|(_, id)| id).collect()
    }
}

/// Whether the full size is asked for.
pub(crate) fn is_full() -> bool {
    std::env::var_os("EFFACE_BENCH_FULL").is_some_and(|value| value != "0")
}

fn generate(out: &Path) -> PathBuf {
    // With the features of the whole workspace, so that nothing is compiled for the generator alone.
    let arguments = "build --quiet --release --workspace --bin events";
    let built = Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success(), "the generator can't be built");
    // This program is `target/release/deps/..`.
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    let sizes = if is_full() {
        "--shards 16 --rows-per-shard 1000000 --users 400000"
    } else {
        "--shards 4 --rows-per-shard 250000 --users 100000"
    };
    let status = Command::new(target.join("release/events"))
        .arg(out)
        .args(sizes.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "the generator failed");
    out.join("events")
}
