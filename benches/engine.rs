//! Index, plan and export of 1 and of 20 ids, each next to the least that a disk could do for it.
//!
//! ```sh
//! cargo bench --bench engine                                  # on a dataset that it has generated first
//! EFFACE_BENCH_DATASET=DIR cargo bench --bench engine         # on the shards of a directory of your own
//! ```
//!
//! Generated: seed 1, 4 shards of 250,000 rows (10 row groups each), 100,000 Zipf users, shards in time
//! order, zstd. `1` is the user with the median number of rows; the `20` are spread evenly over all users,
//! ordered by their number of rows. Files are in the page cache, so the limits are those of memory.
//!
//! | limit | of |
//! |---|---|
//! | `limit/read` | `index`: every byte of the shards is read once |
//! | `limit/copy` | a delete that touches every shard (see `efface delete`): the shards are copied |
//! | `limit/read_hit/N` | `plan/N`, `export/N`: the row groups with such rows are read whole |
//!
//! As a test (`cargo test --benches`) everything runs once, on `data-samples/`.
#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without docs"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::datatypes::DataType;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efface::plan::Plan;
use efface::storage::ReadAt;
use efface::{Config, Disk, Engine, EngineOptions, Request, Shard, Storage, Subjects};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Bytes that the limits read at a time.
const READ_BYTES: usize = 1 << 20;

/// A copy of a dataset that the benchmark may write its index into.
struct Lake {
    dir: tempfile::TempDir,
    shards: Vec<PathBuf>,
    bytes: u64,
}

impl Lake {
    fn new() -> Self {
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

    fn root(&self) -> PathBuf {
        self.dir.path().join("copy")
    }

    fn engine(&self) -> Engine {
        let disk = Arc::new(Disk::new(self.root()));
        Engine::open(disk, Config::default(), EngineOptions::default()).unwrap()
    }

    /// Every id, by its number of rows.
    fn ids(&self) -> Vec<String> {
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

fn generate(out: &Path) -> PathBuf {
    let arguments = "run --quiet --release --example events --";
    let sizes = "--shards 4 --rows-per-shard 250000 --users 100000";
    let status = Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .arg(out)
        .args(sizes.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "the generator failed");
    out.join("events")
}

fn request(ids: &[&String]) -> Request {
    let subjects = Subjects::new(ids.iter().map(|id| id.as_str())).unwrap();
    Request::export(subjects, "2026-07-01T00:00:00Z".parse().unwrap())
}

fn export(engine: &Engine, plan: &Plan) -> usize {
    let batches = engine.export(plan).unwrap();
    batches.map(|batch| batch.unwrap().num_rows()).sum()
}

fn read(path: &Path, buffer: &mut [u8]) {
    let mut file = File::open(path).unwrap();
    while file.read(buffer).unwrap() > 0 {
        black_box(&buffer);
    }
}

/// The bytes of the row groups that a plan touches.
fn hit(disk: &Disk, plan: &Plan) -> Vec<(Arc<dyn ReadAt>, u64, u64)> {
    let mut spans = Vec::new();
    for planned in &plan.shards {
        let shard = Shard::open(disk, &planned.path).unwrap();
        let bases = shard.row_bases();
        for (group, rows) in shard.footer.row_groups().iter().zip(bases.windows(2)) {
            let row = |row: u64| u32::try_from(row).unwrap();
            if planned.rows.range_cardinality(row(rows[0])..row(rows[1])) > 0 {
                for chunk in &group.chunks {
                    spans.push((
                        disk.open(&planned.path).unwrap(),
                        chunk.range.start,
                        chunk.range.end,
                    ));
                }
            }
        }
    }
    spans
}

fn engine(criterion: &mut Criterion) {
    let lake = Lake::new();
    let engine = lake.engine();
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(lake.bytes));
    let mut buffer = vec![0; READ_BYTES];

    group.bench_function("limit/read", |bencher| {
        bencher.iter(|| {
            for shard in &lake.shards {
                read(shard, &mut buffer);
            }
        });
    });
    group.bench_function("limit/copy", |bencher| {
        let to = tempfile::tempdir_in(lake.dir.path()).unwrap();
        bencher.iter(|| {
            for (number, shard) in lake.shards.iter().enumerate() {
                fs::copy(shard, to.path().join(number.to_string())).unwrap();
            }
        });
    });
    group.bench_function("index", |bencher| {
        let without_index = || drop(fs::remove_dir_all(lake.root().join("_efface")));
        let build = |()| engine.refresh().unwrap();
        bencher.iter_batched(without_index, build, BatchSize::PerIteration);
    });

    let ids = lake.ids();
    let median = vec![&ids[ids.len() / 2]];
    let spread = ids
        .iter()
        .step_by((ids.len() / 20).max(1))
        .take(20)
        .collect();
    let disk = Disk::new(lake.root());
    for ids in [median, spread] {
        let request = request(&ids);
        let plan = engine.plan(&request).unwrap();
        assert_eq!(plan.rows, export(&engine, &plan) as u64);
        let spans = hit(&disk, &plan);
        group.throughput(Throughput::Bytes(plan.bytes));
        group.bench_function(BenchmarkId::new("limit/read_hit", ids.len()), |bencher| {
            bencher.iter(|| {
                for (file, start, end) in &spans {
                    let mut at = *start;
                    while at < *end {
                        let len = (end - at).min(READ_BYTES as u64);
                        let part = &mut buffer[..usize::try_from(len).unwrap()];
                        file.read_at(at, part).unwrap();
                        at += len;
                    }
                }
            });
        });
        group.bench_function(BenchmarkId::new("plan", ids.len()), |bencher| {
            bencher.iter(|| engine.plan(&request).unwrap());
        });
        group.bench_function(BenchmarkId::new("export", ids.len()), |bencher| {
            bencher.iter(|| export(&engine, &plan));
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
