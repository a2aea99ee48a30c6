//! Exports of 1, 20 and 2000 ids, end to end, next to their physical limit in the same run; and the peak memory of a
//! large one.
//!
//! ```sh
//! cargo bench --bench export                                  # on a dataset that it has generated first
//! EFFACE_BENCH_DATASET=DIR cargo bench --bench export         # on the shards of a directory of your own
//! cargo bench --bench export -- 2000                          # just so many ids
//! ```
//!
//! Generated: seed 1, 4 shards of 250,000 rows (10 row groups each), 100,000 Zipf users, shards in time
//! order, zstd. `1` is the user with the median number of rows, the others are spread evenly over all users,
//! ordered by their number of rows. Files are in the page cache, and the index is fresh.
//!
//! | figure | is |
//! |---|---|
//! | `decompress` | the limit: just the pages with such rows, and the dictionaries that they use, decompressed on all cores, from memory to memory |
//! | `whole` | an engine opened, the index asked, the plan made, all batches taken: a library call |
//! | `plan`, `export` | its two parts |
//! | `parquet`, `jsonl` | the same as a process, the file synced and renamed into place |
//!
//! Every round measures each figure once; the median of the rounds is printed, and its ratio to the limit's. Last, half of
//! the rows, every second one, are written as JSON Lines by a process of its own, whose peak memory is printed.
//!
//! As a test (`cargo test --benches`) everything runs once, on `data-samples/`.

#[path = "../../../benches/lake/mod.rs"]
mod lake;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use efface::export::sink::{Format, write};
use efface::export::{Disclosed, Export, ExportOptions, ShardRows};
use efface::index::changes::SETTLED_NS;
use efface::parquet_bytes::codec::{Codec, Codecs};
use efface::parquet_bytes::page::{PageHeader, PageKind};
use efface::parquet_bytes::page_walk::PageWalk;
use efface::plan::Plan;
use efface::table::directory::Directory;
use efface::table::{ShardRef, Table};
use efface::{Disk, Request, Shard, Subjects};
use lake::Lake;
use rayon::prelude::*;

const ASKED: &str = "2026-07-01T00:00:00Z";

/// Asks this program to write half of the dataset that it names, and to tell the peak memory.
const HALF: &str = "EFFACE_BENCH_HALF";

/// A page as it is in memory.
struct Page {
    header: PageHeader,
    codec: Codec,
    body: Vec<u8>,
}

/// The data pages with rows of a plan, and the dictionaries that they use.
fn touched_pages(table: &dyn Table, plan: &Plan) -> Vec<Page> {
    let mut pages = Vec::new();
    for planned in &plan.shards {
        let file = table.open(&planned.shard).unwrap();
        let shard = Shard::new(planned.path(), file).unwrap();
        for (group, base) in shard.footer.row_groups().iter().zip(shard.row_bases()) {
            for chunk in &group.chunks {
                let mut walk = PageWalk::new(Arc::clone(&shard.file), chunk.range.clone());
                let mut row = u32::try_from(base).unwrap();
                let mut dictionary = None;
                while let Some(header) = walk.peek().unwrap() {
                    // The dataset has flat columns alone: a value is a row.
                    let rows = header.kind.data_values().unwrap_or(0);
                    let page = Page {
                        codec: chunk.codec,
                        body: walk.body(&header).unwrap().to_vec(),
                        header: header.clone(),
                    };
                    if matches!(header.kind, PageKind::Dictionary { .. }) {
                        dictionary = Some(page);
                    } else if planned.rows.range_cardinality(row..row + rows) > 0 {
                        pages.extend(dictionary.take_if(|_| header.kind.uses_dictionary()));
                        pages.push(page);
                    }
                    row += rows;
                }
            }
        }
    }
    pages
}

fn decompress(pages: &[Page]) -> usize {
    let per_thread = pages
        .len()
        .div_ceil(rayon::current_num_threads() * 16)
        .max(1);
    pages
        .par_chunks(per_thread)
        .map_init(
            || (Codecs::default(), Vec::new()),
            |(codecs, plain), pages| {
                let mut bytes = 0;
                for page in pages {
                    plain.clear();
                    page.header
                        .decompress(&page.body, page.codec, codecs, plain)
                        .unwrap();
                    bytes += black_box(&plain).len();
                }
                bytes
            },
        )
        .sum()
}

fn rows_of(export: Disclosed) -> u64 {
    export.map(|batch| batch.unwrap().num_rows() as u64).sum()
}

/// A run of the command; everything that it says is dropped.
fn command(lake: &Lake, ids: &Path, format: &str) {
    let out = lake.dir.path().join(format!("out.{format}"));
    let status = Command::new(env!("CARGO_BIN_EXE_efface"))
        .arg("export")
        .arg(lake.root())
        .arg("--ids")
        .arg(ids)
        .args(["--requested-at", ASKED, "--format", format, "-o"])
        .arg(out)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn measure(lake: &Lake, wanted: &[&String], rounds: usize) {
    let count = wanted.len();
    let ids = lake.dir.path().join("ids.csv");
    let lines: Vec<String> = wanted.iter().map(|id| format!("{id}\n")).collect();
    File::create(&ids)
        .and_then(|mut file| file.write_all(lines.concat().as_bytes()))
        .unwrap();
    let subjects = Subjects::new(wanted.iter().map(|id| id.as_str())).unwrap();
    let request = Request::export(subjects, ASKED.parse().unwrap());
    let engine = lake.engine();
    let plan = engine.plan(&request).unwrap();
    let pages = touched_pages(&Directory::new(Disk::new(lake.root())), &plan);
    let bytes = decompress(&pages);
    println!(
        "{count} ids: {} rows, {} row groups, {} pages, {bytes} bytes without compression",
        plan.rows,
        plan.row_groups,
        pages.len(),
    );
    let whole = || {
        let engine = lake.engine();
        let plan = engine.plan(&request).unwrap();
        assert_eq!(rows_of(engine.export(&plan).unwrap()), plan.rows);
    };
    let export = || assert_eq!(rows_of(engine.export(&plan).unwrap()), plan.rows);
    let figures: [(&str, &dyn Fn()); 6] = [
        ("decompress", &|| assert_eq!(decompress(&pages), bytes)),
        ("whole", &whole),
        ("plan", &|| drop(engine.plan(&request).unwrap())),
        ("export", &export),
        ("parquet", &|| command(lake, &ids, "parquet")),
        ("jsonl", &|| command(lake, &ids, "jsonl")),
    ];
    let mut times = vec![Vec::new(); figures.len()];
    for _ in 0..rounds {
        for ((_, run), times) in figures.iter().zip(&mut times) {
            let started = Instant::now();
            run();
            times.push(started.elapsed());
        }
    }
    let limit = median(&mut times[0]);
    for ((name, _), times) in figures.iter().zip(&mut times) {
        let time = median(times);
        println!(
            "  {name:<10} {:>10.2} ms {:>8.2} x",
            time * 1e3,
            time / limit
        );
    }
}

/// Writes every second row of a dataset as JSON Lines to nowhere, and tells how much memory that took at most.
fn half(root: &Path) {
    let table = Directory::new(Disk::new(root));
    let every_second = |of: ShardRef| {
        let shard = Shard::new(&of.path, table.open(&of).unwrap()).unwrap();
        let rows = 0..u32::try_from(shard.footer.rows()).unwrap();
        ShardRows {
            shard: of,
            footer_hash: shard.footer.hash,
            rows: rows.step_by(2).collect(),
        }
    };
    let shards = table.snapshot().unwrap().shards;
    let shards = shards.into_iter().map(every_second).collect();
    let started = Instant::now();
    let mut export = Export::new(Arc::new(table), shards, &ExportOptions::default()).unwrap();
    let written = write(&mut export, Format::Jsonl, &mut std::io::sink()).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!(
        "half as JSON Lines: {} rows, {} bytes, {:.2} s, {}",
        written.rows,
        written.bytes,
        started.elapsed().as_secs_f64(),
        peak.unwrap_or("no VmHWM here"),
    );
}

fn main() {
    if let Some(root) = std::env::var_os(HALF) {
        return half(Path::new(&root));
    }
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let lake = Lake::new();
    if is_measured {
        // Files that were changed just now are looked at each time.
        sleep(Duration::from_nanos(SETTLED_NS.unsigned_abs()) * 2);
    }
    lake.engine().refresh().unwrap();
    let ids = lake.ids();
    let asked: Vec<usize> = std::env::args()
        .filter_map(|count| count.parse().ok())
        .collect();
    for count in [1, 20, 2000] {
        if !asked.is_empty() && !asked.contains(&count) {
            continue;
        }
        let wanted: Vec<&String> = match count {
            1 => vec![&ids[ids.len() / 2]],
            _ => ids
                .iter()
                .step_by((ids.len() / count).max(1))
                .take(count)
                .collect(),
        };
        measure(&lake, &wanted, if is_measured { 7 } else { 1 });
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .env(HALF, lake.root())
        .status()
        .unwrap();
    assert!(status.success());
}
