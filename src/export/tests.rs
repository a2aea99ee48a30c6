use std::collections::HashMap;
use std::io;
use std::ops::Range;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Array, ListBuilder, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder as NaiveReader;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use proptest::prelude::*;

use super::sink::{Format, write};
use super::*;
use crate::io::ReadAt;
use crate::parquet_bytes::page_places::Places;
use crate::table::{CommitUnit, Committed, Replacement, ShardVersion, Snapshot, Staging};

mod types;

/// Files in memory that record every read.
#[derive(Default)]
struct Memory {
    files: HashMap<String, Vec<u8>>,
    reads: Arc<Mutex<Vec<Range<u64>>>>,
}

struct Recorded(Vec<u8>, Arc<Mutex<Vec<Range<u64>>>>);

impl ReadAt for Recorded {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// What is read of a long file shows here with a short one.
    fn whole_bytes_max(&self) -> u64 {
        0
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let bytes = self.0.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        self.1
            .lock()
            .unwrap()
            .push(offset..offset + buffer.len() as u64);
        Ok(())
    }
}

impl Memory {
    fn file(&self, path: &str) -> Arc<dyn ReadAt> {
        let reads = Arc::clone(&self.reads);
        Arc::new(Recorded(self.files[path].clone(), reads))
    }

    fn shard_ref(&self, path: &str) -> ShardRef {
        ShardRef {
            path: path.to_owned(),
            bytes: self.files[path].len() as u64,
            version: ShardVersion::Tag("only".to_owned()),
            obstacle: None,
        }
    }
}

const ONLY_READS: &str = "an export only reads";

impl Table for Memory {
    fn name(&self) -> String {
        "memory".into()
    }
    fn snapshot(&self) -> Result<Snapshot> {
        panic!("{ONLY_READS}")
    }
    fn find(&self, _: &str) -> Result<Option<ShardRef>> {
        panic!("{ONLY_READS}")
    }
    fn open(&self, shard: &ShardRef) -> Result<Arc<dyn ReadAt>> {
        Ok(self.file(&shard.path))
    }
    fn clock_ns(&self) -> Result<Option<i64>> {
        panic!("{ONLY_READS}")
    }
    fn stage(&self, _: &ShardRef) -> Result<Box<dyn Staging>> {
        panic!("{ONLY_READS}")
    }
    fn settle(&self, _: &mut [Box<dyn Staging>]) -> Result<()> {
        panic!("{ONLY_READS}")
    }
    fn open_staged(&self, _: &str) -> Result<Arc<dyn ReadAt>> {
        panic!("{ONLY_READS}")
    }
    fn discard(&self, _: &[String]) -> Result<()> {
        panic!("{ONLY_READS}")
    }
    fn commit(&self, _: &Snapshot, _: &[Replacement]) -> Result<Committed> {
        panic!("{ONLY_READS}")
    }
    fn commit_unit(&self) -> CommitUnit {
        panic!("{ONLY_READS}")
    }
    fn recover(&self, _: &Snapshot, _: &[String]) -> Result<()> {
        panic!("{ONLY_READS}")
    }
    fn room(&self) -> Result<Option<u64>> {
        panic!("{ONLY_READS}")
    }
    fn neighbour(&self, _: &str) -> Result<Arc<dyn Table>> {
        panic!("{ONLY_READS}")
    }
    fn resolve(&self, _: &str) -> Result<Option<String>> {
        panic!("{ONLY_READS}")
    }
}

fn file(
    batch: &RecordBatch,
    group_rows: usize,
    page_rows: usize,
    index: bool,
    v2: bool,
) -> Vec<u8> {
    let version = if v2 {
        WriterVersion::PARQUET_2_0
    } else {
        WriterVersion::PARQUET_1_0
    };
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows)
        .set_statistics_enabled(if index {
            EnabledStatistics::Page
        } else {
            EnabledStatistics::None
        })
        .set_offset_index_disabled(!index)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn events(rows: usize, seed: i64) -> RecordBatch {
    let number = |row: usize| i64::try_from(row).unwrap() * 7 + seed;
    let some = |row: usize, every: i64| (number(row) % every != 0).then(|| number(row));
    let ids: ArrayRef = Arc::new((0..rows).map(|row| some(row, 5)).collect::<Int64Array>());
    let names: ArrayRef = Arc::new(
        (0..rows)
            .map(|row| some(row, 3).map(|id| format!("u{}", id % 11)))
            .collect::<StringArray>(),
    );
    let times: ArrayRef = Arc::new(
        (0..rows)
            .map(|row| some(row, 13))
            .collect::<TimestampMicrosecondArray>()
            .with_timezone("UTC"),
    );
    let mut lists = ListBuilder::new(Int32Builder::new());
    for row in 0..rows {
        for item in 0..row % 4 {
            lists
                .values()
                .append_option((item != 1).then_some(i32::try_from(row).unwrap()));
        }
        lists.append(row % 6 != 0);
    }
    let field = Arc::new(Field::new("name", DataType::Utf8, true));
    let structs: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&names))]));
    let lists: ArrayRef = Arc::new(lists.finish());
    RecordBatch::try_from_iter_with_nullable([
        ("id", ids, true),
        ("name", names, true),
        ("time", times, true),
        ("tags", lists, true),
        ("props", structs, true),
    ])
    .unwrap()
}

fn shard(storage: &Memory, path: &str, rows: impl IntoIterator<Item = u32>) -> ShardRows {
    ShardRows {
        shard: storage.shard_ref(path),
        footer_hash: Footer::read_hash(&*storage.file(path)).unwrap(),
        rows: rows.into_iter().collect(),
    }
}

fn storage(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Memory {
    Memory {
        files: files
            .into_iter()
            .map(|(path, bytes)| (path.to_owned(), bytes))
            .collect(),
        ..Memory::default()
    }
}

fn single(name: &str, column: ArrayRef) -> Vec<u8> {
    file(
        &RecordBatch::try_from_iter([(name, column)]).unwrap(),
        100,
        100,
        true,
        false,
    )
}

fn export_all(storage: Memory, paths: &[&str]) -> Result<RecordBatch> {
    let shards = paths
        .iter()
        .map(|path| shard(&storage, path, [0]))
        .collect();
    let export = Export::new(Arc::new(storage), shards, &ExportOptions::default())?;
    let schema = export.schema();
    let batches: Vec<_> = export.map(std::result::Result::unwrap).collect();
    Ok(concat_batches(&schema, &batches).unwrap())
}

fn text(batch: &RecordBatch) -> String {
    let schema = batch.schema();
    let mut out = Vec::new();
    write(
        &mut arrow::record_batch::RecordBatchIterator::new([Ok(batch.clone())], schema),
        Format::Jsonl,
        &mut out,
    )
    .unwrap();
    String::from_utf8(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_export_is_what_reading_everything_and_filtering_gives(
        shards in proptest::collection::vec(
            (1..300_usize, 10..120_usize, 3..40_usize, any::<bool>(), any::<bool>(),
             proptest::collection::vec(0.0..1.0_f64, 300), 0.0..1.0_f64),
            1..4,
        ),
        batch_rows in 1..64_usize,
    ) {
        let mut memory = Memory::default();
        let mut selected = Vec::new();
        let mut expected = Vec::new();
        for (place, (rows, group, page, index, v2, dice, density)) in shards.into_iter().enumerate() {
            let batch = events(rows, i64::try_from(place).unwrap());
            let bytes = file(&batch, group, page, index, v2);
            let path = format!("{place}.parquet");
            memory.files.insert(path.clone(), bytes.clone());
            let keep: Vec<bool> = dice[..rows].iter().map(|roll| *roll < density).collect();
            let hits = (0..).zip(&keep).filter(|(_, keep)| **keep).map(|(row, _)| row);
            selected.push(shard(&memory, &path, hits));
            let naive = NaiveReader::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
            let naive: Vec<_> = naive.map(std::result::Result::unwrap).collect();
            let naive = concat_batches(&batch.schema(), &naive).unwrap();
            expected.push(filter_record_batch(&naive, &keep.into()).unwrap());
        }
        let export = Export::new(Arc::new(memory), selected, &ExportOptions { batch_rows, ..ExportOptions::default() }).unwrap();
        let schema = export.schema();
        let found: Vec<_> = export.map(std::result::Result::unwrap).collect();
        prop_assert!(found.iter().all(|batch| (1..=batch_rows).contains(&batch.num_rows())));
        let found = concat_batches(&schema, &found).unwrap();
        let expected = concat_batches(&schema, &expected).unwrap();
        prop_assert_eq!(&found, &expected);
        let lines = text(&found);
        for line in lines.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        prop_assert_eq!(lines.lines().count(), expected.num_rows());
    }
}

#[test]
fn a_row_group_of_several_batches_comes_in_order() {
    let rows = 40_000_u32;
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::from(rows)));
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    let memory = storage([("a", file(&batch, 1 << 20, 5000, true, false))]);
    let rows = shard(&memory, "a", 0..rows);
    let export = Export::new(Arc::new(memory), vec![rows], &ExportOptions::default()).unwrap();
    let found: Vec<_> = export.map(std::result::Result::unwrap).collect();
    assert_eq!(concat_batches(&batch.schema(), &found).unwrap(), batch);
}

#[test]
fn only_the_hit_row_group_is_read() {
    for index in [true, false] {
        let memory = storage([("a", file(&events(1000, 1), 100, 10, index, false))]);
        let rows = shard(&memory, "a", [345]);
        let open = Shard::new("a", memory.file("a")).unwrap();
        let reads = Arc::clone(&memory.reads);
        let export = Export::new(Arc::new(memory), vec![rows], &ExportOptions::default()).unwrap();
        reads.lock().unwrap().clear();
        assert_eq!(
            export.map(|batch| batch.unwrap().num_rows()).sum::<usize>(),
            1
        );
        let reads = reads.lock().unwrap();
        for (number, group) in open.footer.row_groups().iter().enumerate() {
            // A page header is read through a buffer, which may reach beyond; what matters is where reads begin.
            let begun = |range: &Range<u64>| reads.iter().any(|read| range.contains(&read.start));
            let hit = group.chunks.iter().any(|chunk| begun(&chunk.range));
            assert_eq!(hit, number == 3, "row group {number}, index {index}");
            if index && number != 3 {
                let overlaps = |range: &Range<u64>| {
                    reads
                        .iter()
                        .any(|read| read.start < range.end && range.start < read.end)
                };
                assert!(
                    !group.chunks.iter().any(|chunk| overlaps(&chunk.range)),
                    "row group {number}"
                );
            }
        }
    }
}

#[test]
fn with_an_offset_index_no_page_without_a_selected_row_is_read() {
    for v2 in [false, true] {
        let memory = storage([("a", file(&events(1000, 1), 100, 10, true, v2))]);
        let rows = shard(&memory, "a", [345]);
        let open = Shard::new("a", memory.file("a")).unwrap();
        let reads = Arc::clone(&memory.reads);
        let export = Export::new(Arc::new(memory), vec![rows], &ExportOptions::default()).unwrap();
        reads.lock().unwrap().clear();
        assert_eq!(
            export.map(|batch| batch.unwrap().num_rows()).sum::<usize>(),
            1
        );
        // A copy: looking for the pages reads, too.
        let reads = reads.lock().unwrap().clone();
        let is_read = |range: &Range<u64>| {
            let overlaps = |read: &Range<u64>| read.start < range.end && range.start < read.end;
            reads.iter().any(overlaps)
        };
        for (number, group) in open.footer.row_groups().iter().enumerate() {
            for (chunk, column) in group.chunks.iter().zip(open.footer.schema().columns()) {
                let is_flat = column.max_rep_level() == 0;
                let places = Places::find(&open.file, chunk, is_flat, group.rows).unwrap();
                // Pages of lists end where a batch of the writer does.
                assert!(places.pages.len() >= 9, "{}", places.pages.len());
                for place in &places.pages {
                    let is_hit = number == 3 && place.rows.as_ref().unwrap().contains(&45);
                    assert_eq!(is_read(&place.bytes), is_hit, "{number} {place:?} {v2}");
                }
            }
        }
    }
}

#[test]
fn a_cancelled_export_says_so_and_reads_no_more() {
    let memory = storage([("a", file(&events(1000, 1), 10, 10, true, false))]);
    let rows = shard(&memory, "a", 0..1000);
    let reads = Arc::clone(&memory.reads);
    let options = ExportOptions {
        batch_rows: 1,
        ..ExportOptions::default()
    };
    let mut export = Export::new(Arc::new(memory), vec![rows], &options).unwrap();
    export.canceller().cancel();
    reads.lock().unwrap().clear();
    let error = write(&mut export, Format::Jsonl, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(export.next().is_none());
    assert_eq!(reads.lock().unwrap().len(), 0);
}

#[test]
fn an_offset_index_that_lies_about_rows_leads_to_no_other_row() {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    let mut bytes = file(&batch, 100, 10, true, false);
    let memory = storage([("a", bytes.clone())]);
    let open = Shard::new("a", memory.file("a")).unwrap();
    let range = open.footer.row_groups()[0].chunks[0]
        .offset_index
        .clone()
        .unwrap();
    let place = |at: u64| usize::try_from(at).unwrap();
    let index = &mut bytes[place(range.start)..place(range.end)];
    // The first row of the third page, 20, as a zigzag varint, becomes 21.
    let at = index.iter().position(|byte| *byte == 40).unwrap();
    index[at] = 42;
    let memory = storage([("a", bytes)]);
    let rows = shard(&memory, "a", [20, 25]);
    let mut export = Export::new(Arc::new(memory), vec![rows], &ExportOptions::default()).unwrap();
    let mut lines = Vec::new();
    write(&mut export, Format::Jsonl, &mut lines).unwrap();
    assert_eq!(lines, b"{\"i\":20}\n{\"i\":25}\n");
}

#[test]
fn a_pool_of_one_thread_exports_from_inside_of_itself() {
    let batch = events(500, 1);
    let memory = storage([("a", file(&batch, 30, 10, true, false))]);
    let rows = shard(&memory, "a", 0..500);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let found: Vec<RecordBatch> = pool.install(|| {
        let export = Export::new(Arc::new(memory), vec![rows], &ExportOptions::default()).unwrap();
        export.map(std::result::Result::unwrap).collect()
    });
    assert_eq!(concat_batches(&batch.schema(), &found).unwrap(), batch);
}

#[test]
fn a_shard_that_was_changed_is_refused() {
    let memory = storage([("a", file(&events(10, 1), 10, 10, true, false))]);
    let mut other = shard(&memory, "a", [1]);
    other.footer_hash ^= 1;
    let beyond = shard(&memory, "a", [10]);
    let memory: Arc<dyn Table> = Arc::new(memory);
    for rows in [other, beyond] {
        let error =
            Export::new(Arc::clone(&memory), vec![rows], &ExportOptions::default()).unwrap_err();
        assert!(matches!(error, Error::ShardChanged { path } if path == "a"));
    }
}

#[test]
fn a_damaged_page_is_an_error_and_ends_the_export() {
    let mut bytes = file(&events(100, 1), 100, 10, true, false);
    let memory = storage([("a", bytes.clone())]);
    let range = Shard::new("a", memory.file("a"))
        .unwrap()
        .footer
        .row_groups()[0]
        .chunks[0]
        .range
        .clone();
    for byte in
        &mut bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
    {
        *byte = 0xff;
    }
    let memory = storage([("a", bytes)]);
    let rows = shard(&memory, "a", [3, 50]);
    let mut export = Export::new(Arc::new(memory), vec![rows], &ExportOptions::default()).unwrap();
    let error = write(&mut export, Format::Jsonl, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Shard { .. }), "{error}");
    assert!(export.next().is_none());
}

#[test]
fn a_parquet_export_reads_back_with_the_same_rows() {
    let batch = events(100, 1);
    let memory = storage([("a", file(&batch, 30, 10, true, false))]);
    let rows = shard(&memory, "a", 0..100);
    let mut export = Export::new(Arc::new(memory), vec![rows], &ExportOptions::default()).unwrap();
    let mut out = Vec::new();
    let written = write(&mut export, Format::Parquet, &mut out).unwrap();
    assert_eq!((written.rows, written.bytes), (100, out.len() as u64));
    let read = NaiveReader::try_new(bytes::Bytes::from(out))
        .unwrap()
        .build()
        .unwrap();
    let read: Vec<_> = read.map(std::result::Result::unwrap).collect();
    assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), batch);
}

#[test]
fn an_export_of_sources_reads_no_page_of_another_column() {
    let memory = storage([("a", file(&events(1000, 1), 100, 10, true, false))]);
    let rows = shard(&memory, "a", [345]);
    let open = Shard::new("a", memory.file("a")).unwrap();
    let reads = Arc::clone(&memory.reads);
    let named = |name: &str| vec![name.to_owned()];
    let config = Config {
        subject: named("id"),
        source: named("tags"),
        json_column: named("there is none"),
        ..Config::default()
    };
    let options = ExportOptions {
        sources_of: Some(Arc::new(config)),
        ..ExportOptions::default()
    };
    let export = Export::new(Arc::new(memory), vec![rows], &options).unwrap();
    let shown: Vec<String> = export
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(shown, ["id", "time", "tags"]);
    reads.lock().unwrap().clear();
    assert_eq!(
        export.map(|batch| batch.unwrap().num_rows()).sum::<usize>(),
        1
    );
    let reads = reads.lock().unwrap();
    let chunks = &open.footer.row_groups()[3].chunks;
    let is_read = |range: &Range<u64>| reads.iter().any(|read| range.contains(&read.start));
    let read: Vec<bool> = chunks.iter().map(|chunk| is_read(&chunk.range)).collect();
    // id, name, time, tags, props.name
    assert_eq!(read, [true, false, true, true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_that_went_through_a_spool_are_those_of_each_subject(
        batches in proptest::collection::vec((1..40_usize, any::<i64>()), 0..8),
        subjects in 1..5_u32,
        budget in prop_oneof![Just(0), Just(20_000), Just(usize::MAX)],
        dice in any::<u64>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let out = crate::state::files::StateFiles::new(crate::Disk::new(dir.path()));
        let batches: Vec<RecordBatch> = batches.iter().map(|(rows, seed)| events(*rows, seed >> 8)).collect();
        let schema = events(1, 0).schema();
        let mut spool = spool::Spool::new(&out, Arc::clone(&schema), subjects as usize, budget);
        let is_of = |batch: usize, row: usize, subject: u32| {
            (dice >> ((batch * 7 + row * 3 + subject as usize) % 60)) & 1 == 1
        };
        for (number, batch) in batches.iter().enumerate() {
            let of_row = |row| (0..subjects).filter(|subject| is_of(number, row, *subject)).collect();
            let subjects = (0..batch.num_rows()).map(of_row).collect();
            spool.add(&disclosed::Owned { batch: batch.clone(), subjects }).unwrap();
        }
        let pieces = spool.finish().unwrap();
        prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no name is left");
        for subject in 0..subjects {
            let found: Vec<RecordBatch> = pieces.of(subject as usize).map(std::result::Result::unwrap).collect();
            let found = concat_batches(&schema, &found).unwrap();
            let kept = batches.iter().enumerate().map(|(number, batch)| {
                let keep: Vec<bool> = (0..batch.num_rows()).map(|row| is_of(number, row, subject)).collect();
                filter_record_batch(batch, &keep.into()).unwrap()
            });
            let kept: Vec<RecordBatch> = kept.collect();
            prop_assert_eq!(found, concat_batches(&schema, &kept).unwrap());
        }
    }
}
