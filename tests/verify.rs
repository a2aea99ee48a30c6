//! `verify` finds what other tools leave behind: each kind of trace is put into a file by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use efface::config::Config;
use efface::file_system::FileSystem;
use efface::parquet_bytes::page::PageKind;
use efface::parquet_bytes::page_walk::PageWalk;
use efface::shard::residue::Place;
use efface::{DeleteOptions, Disk, Engine, EngineOptions, Request, Shard, SubjectId, Subjects};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tempfile::TempDir;

const ERASED: &str = "erased-person-0001";
/// Of the same length, and greater.
const OTHER: &str = "someone-else-00001";

fn write(
    dir: &Path,
    name: &str,
    ids: &[&str],
    has_dictionary: bool,
    about: Option<&str>,
) -> PathBuf {
    let column: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
    let batch = RecordBatch::try_from_iter([("distinct_id", column)]).unwrap();
    let pair = about.map(|about| vec![KeyValue::new("about".to_owned(), about.to_owned())]);
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(has_dictionary)
        .set_bloom_filter_enabled(true)
        .set_bloom_filter_fpp(1e-9)
        .set_write_page_header_statistics(true)
        .set_key_value_metadata(pair)
        .build();
    let path = dir.join(name);
    let file = fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

/// Changes the body of the first data page.
fn patch(dir: &TempDir, path: &Path, change: impl FnOnce(&mut [u8])) {
    patch_group(dir, path, 0, change);
}

/// Changes the body of the first data page of the first column in a row group.
#[expect(clippy::disallowed_methods, reason = "a test damages its own input")]
fn patch_group(dir: &TempDir, path: &Path, group: usize, change: impl FnOnce(&mut [u8])) {
    let disk = Disk::new(dir.path());
    let name = path.file_name().unwrap().to_str().unwrap();
    let shard = Shard::new(name, disk.open(name).unwrap()).unwrap();
    let chunk = &shard.footer.row_groups()[group].chunks[0];
    let mut walk = PageWalk::new(Arc::clone(&shard.file), chunk.range.clone());
    let mut page = walk.peek().unwrap().unwrap();
    if matches!(page.kind, PageKind::Dictionary { .. }) {
        walk.skip(&page);
        page = walk.peek().unwrap().unwrap();
    }
    let mut bytes = fs::read(path).unwrap();
    let place = |at: u64| usize::try_from(at).unwrap();
    change(&mut bytes[place(page.body_offset())..place(page.end())]);
    fs::write(path, bytes).unwrap();
}

fn places(dir: &TempDir, config: Config) -> Vec<(String, Place, u64)> {
    let storage = Disk::new(dir.path());
    let engine = Engine::open_files(storage, EngineOptions::overriding(config)).unwrap();
    let found = engine.verify(&[SubjectId::new(ERASED)]).unwrap();
    assert_eq!(found.clean, found.findings.is_empty());
    let text = format!("{found:?}");
    assert!(!text.contains(ERASED), "{text}");
    let all = found.findings.into_iter();
    all.map(|finding| (finding.path, finding.place, finding.count))
        .collect()
}

fn at(place: Place, count: u64) -> (String, Place, u64) {
    ("a.parquet".to_owned(), place, count)
}

#[test]
fn rows_statistics_and_both_indexes_are_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "a.parquet",
        &[ERASED, OTHER, ERASED],
        false,
        None,
    );
    let found = places(&dir, Config::default());
    assert!(found.contains(&at(Place::Page, 2)), "{found:?}");
    assert!(found.contains(&at(Place::Statistics, 1)), "{found:?}");
    assert!(found.contains(&at(Place::PageStatistics, 1)), "{found:?}");
    assert!(found.contains(&at(Place::ColumnIndex, 1)), "{found:?}");
}

#[test]
fn statistics_and_a_bloom_filter_that_outlive_their_rows_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.parquet", &[ERASED, OTHER], false, None);
    patch(&dir, &path, |body| {
        let at = body
            .windows(ERASED.len())
            .position(|part| part == ERASED.as_bytes());
        let at = at.expect("an uncompressed page");
        body[at..at + ERASED.len()].copy_from_slice(OTHER.as_bytes());
    });
    let expected = [
        at(Place::Statistics, 1),
        at(Place::PageStatistics, 1),
        at(Place::ColumnIndex, 1),
        at(Place::BloomFilter, 1),
    ];
    assert_eq!(places(&dir, Config::default()), expected);
}

#[test]
fn a_dictionary_entry_without_a_row_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.parquet", &[OTHER, ERASED, OTHER], true, None);
    // One bit an index: 0, 1, 0 becomes 0, 0, 0.
    patch(&dir, &path, |body| {
        let last = body.last_mut().unwrap();
        assert_eq!(*last, 0b010);
        *last = 0;
    });
    let found = places(&dir, Config::default());
    assert!(found.contains(&at(Place::DictionaryEntry, 1)), "{found:?}");
    assert!(
        !found.iter().any(|(_, place, _)| *place == Place::Page),
        "{found:?}"
    );
}

#[test]
fn key_values_gaps_and_other_columns_are_searched_for_the_text() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.parquet", &[OTHER], true, Some(ERASED));
    assert_eq!(places(&dir, Config::default()), [at(Place::KeyValue, 1)]);

    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.parquet", &[OTHER], true, None);
    insert_behind_pages(&dir, &path);
    assert_eq!(places(&dir, Config::default()), [at(Place::Gap, 1)]);

    let dir = tempfile::tempdir().unwrap();
    let column: ArrayRef = Arc::new(StringArray::from(vec![ERASED]));
    let id: ArrayRef = Arc::new(StringArray::from(vec![OTHER]));
    let batch = RecordBatch::try_from_iter([("distinct_id", id), ("referrer", column)]).unwrap();
    let file = fs::File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let found = places(&dir, Config::default());
    assert!(found.contains(&at(Place::Page, 1)), "{found:?}");
}

/// Puts text between the magic and the first page, and moves nothing: the footer is written again.
#[expect(clippy::disallowed_methods, reason = "a test damages its own input")]
fn insert_behind_pages(dir: &TempDir, path: &Path) {
    let shard = Shard::new(
        "a.parquet",
        Disk::new(dir.path()).open("a.parquet").unwrap(),
    )
    .unwrap();
    let bytes = fs::read(path).unwrap();
    let (before, footer) = bytes.split_at(usize::try_from(shard.footer.offset).unwrap());
    fs::write(path, [before, ERASED.as_bytes(), footer].concat()).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
fn files_of_efface_leftovers_and_the_alias_table_are_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.parquet", &[OTHER], true, None);
    fs::create_dir(dir.path().join("_efface")).unwrap();
    fs::write(dir.path().join("_efface/notes"), format!("x{ERASED}y")).unwrap();
    fs::write(dir.path().join(".a.parquet.efface-tmp"), "anything").unwrap();
    fs::write(
        dir.path().join("aliases.csv"),
        format!("alias,distinct_id\n{ERASED},{OTHER}\n"),
    )
    .unwrap();
    let config = Config {
        aliases: Some("aliases.csv".to_owned()),
        ..Config::default()
    };
    let expected = [
        (".a.parquet.efface-tmp".to_owned(), Place::Leftover, 1),
        ("_efface/notes".to_owned(), Place::State, 1),
        ("aliases.csv".to_owned(), Place::AliasTable, 1),
    ];
    assert_eq!(places(&dir, config), expected);
}

#[test]
fn a_dictionary_that_row_groups_share_loses_the_entry_in_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    // Three row groups with the same dictionary: only the first has a row of the person.
    let ids = [ERASED, OTHER].repeat(3);
    let column: ArrayRef = Arc::new(StringArray::from(ids));
    let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..6));
    let batch = RecordBatch::try_from_iter([("distinct_id", column), ("n", numbers)]).unwrap();
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(Some(2))
        .build();
    let file = fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    for group in [1, 2] {
        patch_group(&dir, &path, group, |body| {
            let last = body.last_mut().unwrap();
            assert_eq!(*last, 0b10);
            *last = 0b11;
        });
    }
    let entries = |places: &[(String, Place, u64)]| {
        let is_entry = |found: &&(String, Place, u64)| found.1 == Place::DictionaryEntry;
        places.iter().filter(is_entry).count()
    };
    assert_eq!(entries(&places(&dir, Config::default())), 2);
    let storage = Disk::new(dir.path());
    let engine = Engine::open_files(storage, EngineOptions::overriding(Config::default())).unwrap();
    let request = Request::delete(
        Subjects::new([ERASED]).unwrap(),
        jiff::Timestamp::UNIX_EPOCH,
    );
    let done = engine
        .delete(&request, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!((done.rows_removed, done.row_groups_rewritten), (1, 3));
    assert_eq!(places(&dir, Config::default()), []);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap());
    let batches: Vec<RecordBatch> = reader
        .unwrap()
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let left = arrow::compute::concat_batches(&batch.schema(), &batches).unwrap();
    assert_eq!(
        left.column(0)
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        [OTHER; 5]
    );
    let numbers = left.column(1).as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(numbers.values(), &[1, 2, 3, 4, 5]);
}
