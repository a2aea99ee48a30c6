//! The peak memory, and the files that are open, while an export makes a file for each of many subjects. (Its own
//! process: the peak that the system reports is the process's.)
#![cfg(target_os = "linux")]

mod peak;

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use efface::export::per_subject::{self, Layout};
use efface::export::sink::Format;
use efface::state::files::StateFiles;
use efface::{Config, Disk, Engine, EngineOptions, Request, Subjects};
use parquet::arrow::ArrowWriter;

use peak::peak;

const SUBJECTS: usize = 2000;
const ROWS: usize = 600_000;
const ROW_GROUP_ROWS: usize = 10_000;
const TEXT_BYTES: usize = 400;
const SPOOL_BYTES: usize = 4 << 20;

fn row_group(first: usize, id: impl Fn(usize) -> String) -> RecordBatch {
    let rows = first..first + ROW_GROUP_ROWS;
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.clone().map(id)));
    let texts = rows.map(|row| format!("{row:0TEXT_BYTES$}"));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    RecordBatch::try_from_iter([("distinct_id", ids), ("text", texts)]).unwrap()
}

#[test]
fn a_file_for_each_of_many_subjects_takes_memory_and_open_files_for_few() {
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("events");
    fs::create_dir(&events).unwrap();
    let id = |row: usize| format!("user {}", row % SUBJECTS);
    let file = File::create(events.join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, row_group(0, id).schema(), None).unwrap();
    for first in (0..ROWS).step_by(ROW_GROUP_ROWS) {
        writer.write(&row_group(first, id)).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();

    let disk = Disk::new(&events);
    let engine = Engine::open_files(disk, EngineOptions::overriding(Config::default())).unwrap();
    let subjects = Subjects::new((0..SUBJECTS).map(id)).unwrap();
    let asked = "2026-01-31T12:00:00Z".parse().unwrap();
    let plan = engine.plan(&Request::export(subjects, asked)).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let layout = Layout {
        spool_bytes: SPOOL_BYTES,
        ..Layout::new(Format::Jsonl)
    };
    let is_over = AtomicBool::new(false);
    let open_files = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let (before, open_before) = (peak(), open_files());
    let open_most = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(open_files());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            most
        });
        let rows = engine.export_by_subject(&plan).unwrap();
        let manifest = per_subject::write(
            rows,
            &plan.subjects,
            &StateFiles::new(Disk::new(&out)),
            &layout,
        )
        .unwrap();
        is_over.store(true, Ordering::Relaxed);
        let written: u64 = manifest.subjects.iter().map(|entry| entry.rows).sum();
        assert_eq!((manifest.subjects.len(), written), (SUBJECTS, ROWS as u64));
        watch.join().unwrap()
    });
    let taken = peak().saturating_sub(before);
    eprintln!("{taken} bytes more than {before}, {open_before} to {open_most} open files");
    assert!(open_most < open_before + 16, "{open_most} open files");
    // 64 MiB of batches that wait to be taken, what is gathered (twice while it is written out), what the threads
    // have in the making, and what malloc keeps of all that.
    let rows = ROWS * TEXT_BYTES;
    assert!(taken < 144 << 20, "{taken} bytes for {rows} of rows");
}
