//! Rewriting shards without the rows of 1, 20 and 2000 ids, next to its physical limits in the same run.
//!
//! ```sh
//! cargo bench --bench rewrite                                  # on a dataset that it has generated first
//! EFFACE_BENCH_DATASET=DIR cargo bench --bench rewrite         # on the shards of a directory of your own
//! EFFACE_BENCH_FULL=1 cargo bench --bench rewrite              # the full size
//! ```
//!
//! Generated: the dataset that [`lake`] tells of. `1` is the user with the median number of rows, the others are spread
//! evenly over all users, ordered by their number of rows. By default these are 3 rows of a million, in 3 of the 80 pages
//! that each column has; 139 rows, in 46 of them; and 15,075 rows, in all. Files are in the page cache, and nothing is
//! synced.
//!
//! | limit | is |
//! |---|---|
//! | `copy/N` | the shards with such rows copied as they are |
//! | `codec/N` | just the pages with such rows, and the dictionaries that lose entries, decompressed and compressed again, zstd 3, on all cores, in memory |
//!
//! `zstd3/N` compresses at the same level, `auto/N` at the level that [`ZstdLevel::Auto`] finds. Each shard is
//! rewritten on all cores, one after the other.
//!
//! As a test (`cargo test --benches`) everything runs once, on `data-samples/`.
#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without docs"
)]

mod lake;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efface::file_system::FileSystem;
use efface::file_system::disk::FileSink;
use efface::parquet_bytes::codec::{Codec, Codecs};
use efface::parquet_bytes::page::{PageHeader, PageKind};
use efface::parquet_bytes::page_walk::PageWalk;
use efface::plan::Plan;
use efface::shard::chunk::level::ZstdLevel;
use efface::shard::rewrite::{RewriteOptions, rewrite};
use efface::{Disk, Request, Shard, Subjects};
use lake::Lake;
use rayon::prelude::*;

const LEVEL: i32 = 3;

/// A data page with rows that go, as it is in memory.
struct Page {
    header: PageHeader,
    codec: Codec,
    body: Vec<u8>,
}

fn open(disk: &Disk, path: &str) -> Shard {
    Shard::new(path, disk.open(path).unwrap()).unwrap()
}

/// The data pages with rows that a plan removes, and the dictionaries that lose entries by it, as the shards
/// in `done` show.
fn touched_pages(disk: &Disk, done: &Disk, plan: &Plan) -> Vec<Page> {
    let mut pages = Vec::new();
    for planned in &plan.shards {
        let shard = open(disk, planned.path());
        let after = open(done, planned.path());
        let groups = shard.footer.row_groups().iter().zip(shard.row_bases());
        assert_eq!(groups.len(), after.footer.row_groups().len());
        for ((group, base), group_after) in groups.zip(after.footer.row_groups()) {
            for (chunk, chunk_after) in group.chunks.iter().zip(&group_after.chunks) {
                let range_after = chunk_after.range.clone();
                let mut walk_after = PageWalk::new(Arc::clone(&after.file), range_after);
                let first_after = walk_after.peek().unwrap().map(|header| header.kind);
                let mut walk = PageWalk::new(Arc::clone(&shard.file), chunk.range.clone());
                let mut row = u32::try_from(base).unwrap();
                while let Some(header) = walk.peek().unwrap() {
                    // The dataset has flat columns alone: a value is a row.
                    let rows = header.kind.data_values().unwrap_or(0);
                    let loses_entries = matches!(header.kind, PageKind::Dictionary { .. })
                        && first_after != Some(header.kind);
                    if loses_entries || planned.rows.range_cardinality(row..row + rows) > 0 {
                        pages.push(Page {
                            codec: chunk.codec,
                            body: walk.body(&header).unwrap().to_vec(),
                            header: header.clone(),
                        });
                    }
                    walk.skip(&header);
                    row += rows;
                }
            }
        }
    }
    pages
}

fn recompress(pages: &[Page]) -> usize {
    let contexts = || {
        let mut codecs = Codecs::default();
        codecs.set_zstd_level(LEVEL);
        (codecs, Vec::new(), Vec::new())
    };
    let per_thread = pages
        .len()
        .div_ceil(rayon::current_num_threads() * 16)
        .max(1);
    pages
        .par_chunks(per_thread)
        .map_init(contexts, |(codecs, plain, packed), pages| {
            let mut bytes = 0;
            for page in pages {
                plain.clear();
                packed.clear();
                page.header
                    .decompress(&page.body, page.codec, codecs, plain)
                    .unwrap();
                codecs.compress(page.codec, plain, packed).unwrap();
                bytes += packed.len();
            }
            bytes
        })
        .sum()
}

fn rewrite_all(disk: &Disk, to: &Path, plan: &Plan, zstd_level: ZstdLevel) -> u64 {
    let options = RewriteOptions {
        zstd_level,
        ..RewriteOptions::default()
    };
    let mut removed = 0;
    for planned in &plan.shards {
        let shard = open(disk, planned.path());
        let mut sink = FileSink::new(File::create(to.join(planned.path())).unwrap());
        let report = rewrite(&shard, &planned.rows, &mut sink, &options).unwrap();
        removed += report.rows_removed;
    }
    removed
}

fn copy_all(lake: &Lake, to: &Path, plan: &Plan) {
    for planned in &plan.shards {
        let path = planned.path();
        fs::copy(lake.root().join(path), to.join(path)).unwrap();
    }
}

fn bench(criterion: &mut Criterion) {
    let lake = Lake::new();
    let engine = lake.engine();
    let disk = Disk::new(lake.root());
    let ids = lake.ids();
    let mut group = criterion.benchmark_group("rewrite");
    group.sample_size(10);
    // Fewer of the samples' ids: without all of them row groups would be gone.
    for count in [1, 20, 2000.min(ids.len() / 4)] {
        let wanted: Vec<&String> = match count {
            1 => vec![&ids[ids.len() / 2]],
            _ => ids
                .iter()
                .step_by((ids.len() / count).max(1))
                .take(count)
                .collect(),
        };
        let subjects = Subjects::new(wanted.iter().map(|id| id.as_str())).unwrap();
        let request = Request::delete(subjects, "2026-07-01T00:00:00Z".parse().unwrap());
        let plan = engine.plan(&request).unwrap();
        let bytes = plan.shards.iter().map(|planned| planned.shard.bytes);
        group.throughput(Throughput::Bytes(bytes.sum()));
        let out = tempfile::tempdir_in(lake.dir.path()).unwrap();
        group.bench_function(BenchmarkId::new("copy", count), |bencher| {
            bencher.iter(|| copy_all(&lake, out.path(), &plan));
        });
        rewrite_all(&disk, out.path(), &plan, ZstdLevel::Auto);
        let pages = touched_pages(&disk, &Disk::new(out.path()), &plan);
        group.bench_function(BenchmarkId::new("codec", count), |bencher| {
            bencher.iter(|| recompress(&pages));
        });
        drop(pages);
        for (name, level) in [
            ("zstd3", ZstdLevel::Fixed(LEVEL)),
            ("auto", ZstdLevel::Auto),
        ] {
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    assert_eq!(rewrite_all(&disk, out.path(), &plan, level), plan.rows);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
