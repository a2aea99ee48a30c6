//! Index, plan and export of 1 and of 20 ids, each next to the least that a disk could do for it.
//!
//! ```sh
//! cargo bench --bench engine                                  # on a dataset that it has generated first
//! EFFACE_BENCH_DATASET=DIR cargo bench --bench engine         # on the shards of a directory of your own
//! EFFACE_BENCH_FULL=1 cargo bench --bench engine              # the full size
//! ```
//!
//! Generated: the dataset that [`lake`] tells of. `1` is the user with the median number of rows; the `20` are spread
//! evenly over all users, ordered by their number of rows. By default these are 3 rows of a million, in 3 of 40 row groups,
//! and 139 rows, in 33 of them. Files are in the page cache, so the limits are those of memory.
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

mod lake;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efface::file_system::FileSystem;
use efface::io::ReadAt;
use efface::plan::Plan;
use efface::{Disk, Engine, Request, Shard, Subjects};
use lake::Lake;

/// Bytes that the limits read at a time.
const READ_BYTES: usize = 1 << 20;

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
        let path = planned.path();
        let shard = Shard::new(path, disk.open(path).unwrap()).unwrap();
        let bases = shard.row_bases();
        for (group, rows) in shard.footer.row_groups().iter().zip(bases.windows(2)) {
            let row = |row: u64| u32::try_from(row).unwrap();
            if planned.rows.range_cardinality(row(rows[0])..row(rows[1])) > 0 {
                for chunk in &group.chunks {
                    let file = disk.open(path).unwrap();
                    spans.push((file, chunk.range.start, chunk.range.end));
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
        let bytes = engine.report(&plan).unwrap().bytes;
        group.throughput(Throughput::Bytes(bytes));
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
