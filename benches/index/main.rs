//! Building, opening, asking and refreshing the index, each next to its physical limit in the same run.
//!
//! ```sh
//! cargo bench --bench index                                       # on a dataset that it has generated first
//! EFFACE_BENCH_DATASET=DIR cargo bench --bench index              # on the shards of a directory of your own
//! EFFACE_BENCH_IDS=100000000 cargo bench --bench index -- ids     # look-ups among so many ids (1.6 GB)
//! ```
//!
//! Generated: seed 1, 4 shards of 250,000 rows (10 row groups each), 100,000 Zipf users, zstd. `uuids`: 16 shards of
//! 1,000,000 rows in row groups of 100,000, each row with one of 400,000 evenly drawn UUIDs in text form (36
//! characters), snappy, the writer's defaults: of each chunk a dictionary of 1 MiB and then plain pages. Synthetic
//! segments: 1e6 and 1e7 evenly spread hashes, one row group of 1000 for two of three ids, two for the third; look-ups
//! are of 2000 hashes that are there, spread over the segment. `refresh`: 10,000 links to one small shard in 100
//! directories and one shard that is new each time. `shards`: 2 row groups of 4 ids in each shard, no id in two of
//! them; 2000 ids, spread evenly. Files are in the page cache, except for `cold`, before which the segment is dropped
//! from it; it is opened again there. Whatever the command line leaves out is not generated.
//!
//! | figure | its limit |
//! |---|---|
//! | `build` | `copy`: the shards copied; `decode`: every id of the id column decoded by the parquet crate, on all cores |
//! | `uuids` | `decode` |
//! | `ids/lookup/N` | a probe of two or three cache lines an id |
//! | `ids/cold/N` | a read of two pages an id; the faults and bytes that it took are printed |
//! | `ids/open/N` | the read of one block |
//! | `refresh` | `stat_and_read`: the list of the shards with their sizes and times, and the ids of the new one read; plus `durable`: as many bytes as the index has published, and one file removed |
//! | `shards/N` | `list`: making the list |
//! | `delete/N` | the rewritten shards scanned in full |
//!
//! The size of the index is printed, with the entropy of its postings: what each id's choice of row groups takes at
//! least, hashes not counted.
//!
//! As a test (`cargo test --benches`) everything runs once, on `data-samples/` and a few ids.
#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without docs"
)]

mod deletes;
#[path = "../lake/mod.rs"]
mod lake;
mod memory;
mod shards;

use std::cell::OnceCell;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efface::file_system::{FileSystem, Walk};
use efface::index::Index;
use efface::index::manifest::{Manifest, segment_path};
use efface::index::segment::Segment;
use efface::index::writer::SegmentWriter;
use efface::shard::ids::distinct_in;
use efface::shard::roles::Roles;
use efface::state::files::StateFiles;
use efface::state::{Expect, State};
use efface::subject::SubjectHash;
use efface::{Disk, Engine, EngineOptions, Shard};
use lake::Lake;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use roaring::RoaringBitmap;
use rustix::fs::{Advice, fadvise};

const SEED: u64 = 1;
const LOOKUPS: u64 = 2000;

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn decode(shard: &Path) -> usize {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(shard).unwrap()).unwrap();
    let column = ProjectionMask::columns(builder.parquet_schema(), ["distinct_id"]);
    let batches = builder.with_projection(column).build().unwrap();
    batches
        .map(|batch| black_box(batch.unwrap()).num_rows())
        .sum()
}

fn open(dataset: &Path) -> Engine {
    let options = EngineOptions {
        seed_if_new: SEED,
        ..EngineOptions::default()
    };
    Engine::open_dir_with(dataset, options).unwrap()
}

/// Bits that the choice of `chosen` of `all` takes.
fn choice_bits(chosen: usize, all: u32) -> f64 {
    let of = |at: usize| {
        let at = f64::from(u32::try_from(at).unwrap());
        (f64::from(all) - at) / (f64::from(u32::try_from(chosen).unwrap()) - at)
    };
    (0..chosen).map(|at| of(at).log2()).sum()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print_size(state: &dyn State, dataset_bytes: u64) {
    // The bench that builds it may have been left out.
    let Some(index) = Index::open(state, "").unwrap() else {
        return;
    };
    let figures = index.stats().unwrap();
    let manifest = Manifest::parse(&Manifest::load(state).unwrap().unwrap()).unwrap();
    let row_groups = manifest.next_row_group;
    let mut bits = 0.0;
    for entry in &manifest.segments {
        let path = segment_path(entry.number);
        let segment = Segment::open(state.map(&path).unwrap(), &path, manifest.seed).unwrap();
        let mut groups = segment.groups();
        let mut numbers = Vec::new();
        while groups.next_group(&mut numbers).unwrap().is_some() {
            bits += choice_bits(numbers.len(), row_groups);
        }
    }
    println!(
        "index: {} ids, {} postings, {} bytes = {:.2} bytes a posting ({:.2} % of the dataset); entropy of the postings {:.2} bytes each",
        figures.subjects,
        figures.postings,
        figures.bytes,
        figures.bytes as f64 / figures.postings.max(1) as f64,
        figures.bytes as f64 * 100.0 / dataset_bytes as f64,
        bits / 8.0 / figures.postings.max(1) as f64,
    );
}

fn build(criterion: &mut Criterion) {
    // Made when it is first needed: the command line may leave this out.
    let made = OnceCell::new();
    let lake = || made.get_or_init(Lake::new);
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    group.bench_function("copy", |bencher| {
        let lake = lake();
        let to = tempfile::tempdir_in(lake.dir.path()).unwrap();
        bencher.iter(|| {
            for (number, shard) in lake.shards.iter().enumerate() {
                fs::copy(shard, to.path().join(number.to_string())).unwrap();
            }
        });
    });
    group.bench_function("decode", |bencher| {
        let shards = &lake().shards;
        bencher.iter(|| shards.par_iter().map(|shard| decode(shard)).sum::<usize>());
    });
    group.bench_function("index", |bencher| {
        let lake = lake();
        let engine = lake.engine();
        let without_index = || drop(fs::remove_dir_all(lake.root().join("_efface")));
        let build = |()| engine.refresh().unwrap();
        bencher.iter_batched(without_index, build, BatchSize::PerIteration);
        let state = StateFiles::new(Disk::new(lake.root()));
        print_size(&state, lake.bytes);
    });
    group.finish();
}

/// Shards whose ids overflow their dictionaries.
fn write_uuids(dir: &Path) -> Vec<PathBuf> {
    let (shards, rows, row_group, ids) = if is_measured() {
        (16, 1_000_000, 100_000, 400_000)
    } else {
        (1, 2000, 1000, 3000)
    };
    // SplitMix64 of a counter.
    let mixed = |number: u64| {
        let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    };
    let uuid = |number: u64| {
        let (high, low) = (mixed(2 * number), mixed(2 * number + 1));
        let [a, b, c] = [high >> 32, high >> 16 & 0xFFFF, high & 0xFFFF];
        format!(
            "{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}",
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        )
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(row_group))
        .build();
    let known: Vec<String> = (0..ids).map(uuid).collect();
    (0..shards)
        .into_par_iter()
        .map(|shard| {
            let path = dir.join(format!("{shard}.parquet"));
            let numbers = (0..rows).map(|row| mixed(shard * rows + row + SEED) % ids);
            let id = |number: u64| &known[usize::try_from(number).unwrap()];
            let column: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.map(id)));
            let batch = RecordBatch::try_from_iter([("distinct_id", column)]).unwrap();
            let file = File::create(&path).unwrap();
            let mut writer =
                ArrowWriter::try_new(file, batch.schema(), Some(properties.clone())).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            path
        })
        .collect()
}

fn uuids(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let made = OnceCell::new();
    let shards = || made.get_or_init(|| write_uuids(dir.path()));
    let mut group = criterion.benchmark_group("uuids");
    group.sample_size(10);
    group.bench_function("decode", |bencher| {
        let shards = shards();
        bencher.iter(|| shards.par_iter().map(|shard| decode(shard)).sum::<usize>());
    });
    group.bench_function("index", |bencher| {
        shards();
        let engine = open(dir.path());
        let without_index = || drop(fs::remove_dir_all(dir.path().join("_efface")));
        let build = |()| engine.refresh().unwrap();
        bencher.iter_batched(without_index, build, BatchSize::PerIteration);
    });
    group.finish();
}

/// The hash of the synthetic id `number` of `ids`.
fn hash_of(number: u64, ids: u64) -> SubjectHash {
    SubjectHash(number * (u64::MAX / ids) + number % 7)
}

fn write_segment(state: &dyn State, ids: u64) {
    let mut writer = SegmentWriter::create(state, "segment", SEED, 1, ids).unwrap();
    for number in 0..ids {
        let first = u32::try_from(number % 1000).unwrap();
        let numbers = [first, first + 1];
        let taken = if number % 3 == 0 { 2 } else { 1 };
        writer
            .append(hash_of(number, ids), &numbers[..taken])
            .unwrap();
    }
    writer.finish().unwrap();
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ids(criterion: &mut Criterion) {
    let sizes = match std::env::var("EFFACE_BENCH_IDS") {
        Ok(ids) => vec![ids.parse().unwrap()],
        Err(_) if is_measured() => vec![1_000_000, 10_000_000],
        Err(_) => vec![5_000],
    };
    let mut group = criterion.benchmark_group("ids");
    group.sample_size(20);
    for ids in sizes {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFiles::new(Disk::new(dir.path()));
        let made = OnceCell::new();
        let open = || {
            made.get_or_init(|| write_segment(&state, ids));
            Segment::open(state.map("segment").unwrap(), "segment", SEED).unwrap()
        };
        let asked: Vec<SubjectHash> = (0..LOOKUPS)
            .map(|number| hash_of(number * (ids / LOOKUPS), ids))
            .collect();
        group.throughput(Throughput::Elements(LOOKUPS));
        group.bench_function(BenchmarkId::new("lookup", ids), |bencher| {
            let segment = open();
            bencher.iter(|| {
                let mut found = RoaringBitmap::new();
                for hash in &asked {
                    assert!(segment.lookup(*hash, &mut found).unwrap());
                }
                found.len()
            });
        });
        let (mut runs, mut faults, mut read) = (0, 0, 0);
        group.bench_function(BenchmarkId::new("cold", ids), |bencher| {
            drop(open());
            let file = File::open(dir.path().join("segment")).unwrap();
            let drop_cache = || fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            let look_up = |()| {
                let before = (memory::faults(), memory::bytes_read());
                let segment = open();
                segment.expect_lookups(asked.len());
                let mut found = RoaringBitmap::new();
                for hash in &asked {
                    assert!(segment.lookup(*hash, &mut found).unwrap());
                }
                runs += LOOKUPS;
                faults += memory::faults() - before.0;
                read += memory::bytes_read() - before.1;
            };
            bencher.iter_batched(drop_cache, look_up, BatchSize::PerIteration);
        });
        if runs > 0 {
            println!(
                "ids/cold/{ids}: {:.2} page faults and {:.0} bytes from disk an id",
                faults as f64 / runs as f64,
                read as f64 / runs as f64,
            );
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("open", ids), |bencher| {
            drop(open());
            bencher.iter(|| open().tail().hashes);
        });
    }
    group.finish();
}

/// The shard that comes and goes.
const NEW: &str = "day=0/new.parquet";

/// Many links to one small shard, with an index.
struct Many {
    dir: tempfile::TempDir,
    disk: Disk,
    engine: Engine,
    /// The shard that is linked.
    sample: PathBuf,
}

impl Many {
    fn new() -> Self {
        let (directories, of_each) = if is_measured() { (100, 100) } else { (2, 3) };
        let dir = tempfile::tempdir().unwrap();
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-samples/events");
        let sample = fs::read_dir(samples)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|ending| ending == "parquet"))
            .unwrap();
        let one = dir.path().join("day=0");
        fs::create_dir(&one).unwrap();
        let one = one.join("0.parquet");
        fs::copy(&sample, &one).unwrap();
        for directory in 1..=directories {
            let directory = dir.path().join(format!("day={directory}"));
            fs::create_dir(&directory).unwrap();
            for number in 0..of_each {
                fs::hard_link(&one, directory.join(format!("{number}.parquet"))).unwrap();
            }
        }
        // Until they have settled they are read again each time.
        thread::sleep(Duration::from_millis(2100));
        let engine = open(dir.path());
        engine.refresh().unwrap();
        Self {
            disk: Disk::new(dir.path()),
            dir,
            engine,
            sample,
        }
    }

    fn add(&self) {
        fs::copy(&self.sample, self.dir.path().join(NEW)).unwrap();
    }

    fn remove(&self) {
        assert!(self.disk.unlink(NEW).unwrap());
        self.disk.sync_directories(&[NEW]).unwrap();
    }
}

fn refresh(criterion: &mut Criterion) {
    let made = OnceCell::new();
    let many = || made.get_or_init(Many::new);
    let mut group = criterion.benchmark_group("refresh");
    group.sample_size(20);
    group.bench_function("stat_and_read", |bencher| {
        let many = many();
        many.add();
        bencher.iter(|| {
            let files = many.disk.list("", Walk::ALL).unwrap();
            let shard = Shard::new(NEW, many.disk.open(NEW).unwrap()).unwrap();
            let columns = Roles::default().subjects(&shard).unwrap();
            let groups = u32::try_from(shard.footer.row_groups().len()).unwrap();
            let mut seen = 0;
            distinct_in(&shard, &columns, &(0..groups).collect(), &mut |_, _| {
                seen += 1;
            })
            .unwrap();
            (files.len(), seen)
        });
    });
    group.bench_function("durable", |bencher| {
        let index = many().dir.path().join("_efface/index");
        let files = fs::read_dir(index).unwrap();
        let files: Vec<Vec<u8>> = files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect();
        let beside = tempfile::tempdir().unwrap();
        let state = StateFiles::new(Disk::new(beside.path()));
        bencher.iter(|| {
            for (number, bytes) in files.iter().enumerate() {
                let path = number.to_string();
                state.put(&path, bytes, Expect::Any).unwrap();
            }
            state.remove(&["0".to_owned()]).unwrap();
        });
    });
    group.bench_function("one_of_many", |bencher| {
        let many = many();
        bencher.iter_batched(
            || {
                many.remove();
                many.engine.refresh().unwrap();
                many.add();
            },
            |()| assert_eq!(many.engine.refresh().unwrap().added, 1),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Figures of runs that are too long for criterion.
fn curves(criterion: &mut Criterion) {
    // So that a filter on the command line leaves them out too.
    for (name, run) in [
        ("shards", (|| shards::curve(is_measured())) as fn()),
        ("delete", || deletes::run(&Lake::new(), is_measured())),
    ] {
        let mut is_done = false;
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.measurement_time(Duration::from_millis(10));
        group.warm_up_time(Duration::from_millis(1));
        group.bench_function("curve", |bencher| {
            bencher.iter_custom(|_| {
                if !std::mem::replace(&mut is_done, true) {
                    run();
                }
                Duration::from_nanos(1)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, build, uuids, ids, refresh, curves);
criterion_main!(benches);
