//! What a rewrite reads and copies, recorded: with one victim in one row group of ten, nothing is read of the
//! other nine but what is copied whole, and of the victim's row group no page without it is decompressed.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
use efface::Shard;
use efface::io::{ReadAt, Sink};
use efface::parquet_bytes::page_walk::PageWalk;
use efface::shard::rewrite::{RewriteOptions, RewriteReport, rewrite};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use roaring::RoaringBitmap;

const ROWS: usize = 100_000;
const GROUP_ROWS: usize = 10_000;
const PAGE_ROWS: usize = 1000;
/// In the fourth row group, in the third page of the flat columns.
const VICTIM: u32 = 32_550;
/// What a walk over headers may read of a page.
const HEADER_WINDOW: u64 = 512;

/// A file in memory that records what is read of it.
struct Recorded {
    bytes: Vec<u8>,
    reads: Mutex<Vec<Range<u64>>>,
}

impl ReadAt for Recorded {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What is read of a long file shows here with a short one.
    fn whole_bytes_max(&self) -> u64 {
        0
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let Some(bytes) = self.bytes.get(start..start + buffer.len()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        buffer.copy_from_slice(bytes);
        let end = offset + buffer.len() as u64;
        self.reads.lock().unwrap().push(offset..end);
        Ok(())
    }
}

/// A sink in memory that copies without reading through [`ReadAt`], as the kernel does, and records it.
#[derive(Default)]
struct Copier {
    source: Vec<u8>,
    bytes: Vec<u8>,
    copies: Vec<(Range<u64>, u64)>,
}

impl Write for Copier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Copier {
    fn copy_from(&mut self, _source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        let place = |at: u64| usize::try_from(at).unwrap();
        self.copies.push((range.clone(), self.bytes.len() as u64));
        let copied = &self.source[place(range.start)..place(range.end)];
        self.bytes.extend_from_slice(copied);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A number without a pattern that a codec could use.
fn scattered(row: usize) -> usize {
    let mixed = (row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40
}

/// Ids of many rows, numbers of their own, and lists; with and without dictionaries, with and without an
/// offset index.
fn shard_bytes(version: WriterVersion, has_index: bool) -> Vec<u8> {
    let ids = (0..ROWS).map(|row| format!("user {}", scattered(row) % 700));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..ROWS {
        for item in 0..row % 3 {
            lists
                .values()
                .append_value(format!("item {}", scattered(row + item) % 500));
        }
        lists.append(!row.is_multiple_of(5));
    }
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(StringArray::from_iter_values(ids))),
        (
            "number",
            Arc::new(
                (0..ROWS)
                    .map(|row| i64::try_from(scattered(row)).unwrap())
                    .collect::<Int64Array>(),
            ),
        ),
        ("lists", Arc::new(lists.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let statistics = if has_index {
        EnabledStatistics::Page
    } else {
        EnabledStatistics::Chunk
    };
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_column_dictionary_enabled("number".into(), false)
        .set_statistics_enabled(statistics)
        .set_offset_index_disabled(!has_index)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

struct Run {
    old: Shard,
    sink: Copier,
    reads: Vec<Range<u64>>,
    report: RewriteReport,
}

fn run(bytes: Vec<u8>) -> Run {
    let recorded = Arc::new(Recorded {
        bytes: bytes.clone(),
        reads: Mutex::default(),
    });
    let old = Shard::new("old.parquet", Arc::clone(&recorded) as Arc<dyn ReadAt>).unwrap();
    recorded.reads.lock().unwrap().clear();
    let mut sink = Copier {
        source: bytes,
        ..Copier::default()
    };
    let rows = RoaringBitmap::from([VICTIM]);
    let report = rewrite(&old, &rows, &mut sink, &RewriteOptions::default()).unwrap();
    let reads = recorded.reads.lock().unwrap().clone();
    Run {
        old,
        sink,
        reads,
        report,
    }
}

/// Bytes of `range` that were read.
fn read_of(reads: &[Range<u64>], range: &Range<u64>) -> u64 {
    let overlap = |read: &Range<u64>| {
        let (start, end) = (read.start.max(range.start), read.end.min(range.end));
        end.saturating_sub(start)
    };
    reads.iter().map(overlap).sum()
}

/// The data pages of a chunk, in order.
fn data_pages(shard: &Shard, group: usize, leaf: usize) -> Vec<Range<u64>> {
    let chunk = &shard.footer.row_groups()[group].chunks[leaf];
    let mut walk = PageWalk::new(Arc::clone(&shard.file), chunk.range.clone());
    let mut pages = Vec::new();
    while let Some(page) = walk.peek().unwrap() {
        if page.kind.data_values().is_some() {
            pages.push(page.offset..page.end());
        }
        walk.skip(&page);
    }
    pages
}

#[test]
fn untouched_row_groups_are_copied_without_a_look_and_untouched_pages_without_decompressing_them() {
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for has_index in [false, true] {
            let run = run(shard_bytes(version, has_index));
            let what = format!("{version:?}, offset index: {has_index}");
            let (old, groups) = (&run.old, run.old.footer.row_groups());
            assert_eq!(groups.len(), 10, "{what}");
            for (number, group) in groups.iter().enumerate() {
                if number == 3 {
                    continue;
                }
                for chunk in &group.chunks {
                    assert_eq!(
                        read_of(&run.reads, &chunk.range),
                        0,
                        "{what}: row group {number}"
                    );
                }
            }
            // Lists of version 1 have their repetition levels compressed: they must be looked into.
            if version == WriterVersion::PARQUET_2_0 {
                let pages = data_pages(old, 3, 2);
                let is_whole =
                    |page: &&Range<u64>| read_of(&run.reads, page) >= page.end - page.start;
                assert!(pages.len() > 5, "{what}");
                assert_eq!(pages.iter().filter(is_whole).count(), 1, "{what}");
            }
            for leaf in 0..2 {
                let pages = data_pages(old, 3, leaf);
                assert_eq!(pages.len(), GROUP_ROWS / PAGE_ROWS, "{what}");
                for (number, page) in pages.iter().enumerate() {
                    let read = read_of(&run.reads, page);
                    if number == 2 {
                        assert!(read > 0, "{what}: column {leaf}");
                        continue;
                    }
                    assert!(
                        page.end - page.start > 2 * HEADER_WINDOW,
                        "{what}: {page:?}"
                    );
                    // A window may begin with the end of the page before, whose header it came with.
                    assert!(
                        read <= 2 * HEADER_WINDOW,
                        "{what}: {read} bytes of page {number} of column {leaf}"
                    );
                    let is_copied =
                        run.sink.copies.iter().any(|(copied, _)| {
                            copied.start <= page.start && page.end <= copied.end
                        });
                    assert!(is_copied, "{what}: page {number} of column {leaf}");
                }
            }
            assert_eq!(run.report.pages_rewritten, 3, "{what}: one a column");
            assert_eq!(run.report.rows_removed, 1);
        }
    }
}

#[test]
fn what_is_copied_is_the_same_bytes_and_all_that_is_counted_adds_up() {
    let run = run(shard_bytes(WriterVersion::PARQUET_2_0, true));
    let place = |at: u64| usize::try_from(at).unwrap();
    let mut copied_bytes = 0;
    for (range, to) in &run.sink.copies {
        let len = range.end - range.start;
        let old = &run.sink.source[place(range.start)..place(range.end)];
        let new = &run.sink.bytes[place(*to)..place(to + len)];
        assert!(old == new);
        copied_bytes += len;
    }
    assert_eq!(run.report.bytes_copied, copied_bytes);
    let new: u64 = run
        .report
        .new_ranges
        .iter()
        .map(|range| range.end - range.start)
        .sum();
    assert_eq!(run.report.bytes_encoded, new);
    let magic = 4;
    assert_eq!(copied_bytes + new + magic, run.sink.bytes.len() as u64);
    // Nine row groups, in two spans around the one that was touched, and the pages in between.
    assert!(
        run.sink.copies.len() < 20,
        "{} copies",
        run.sink.copies.len()
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.parquet");
    File::create(&path)
        .unwrap()
        .write_all(&run.sink.bytes)
        .unwrap();
    let rows = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        File::open(path).unwrap(),
    );
    let rows: usize = rows
        .unwrap()
        .build()
        .unwrap()
        .map(|batch| batch.unwrap().num_rows())
        .sum();
    assert_eq!(rows, ROWS - 1);
}
