//! The peak memory of a delete from row groups that are larger than its budget. (Its own process: the peak
//! that the system reports is the process's.)
#![cfg(target_os = "linux")]

mod peak;

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use efface::{DeleteOptions, Engine, EngineOptions, Request, Subjects};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use peak::peak;

const ROW_GROUPS: u64 = 40;
const ROWS: u64 = 60_000;
/// Bytes of values of a row group: six columns of numbers that don't repeat.
const ROW_GROUP_BYTES: u64 = ROWS * 6 * 8;

/// One event in each thousand is the victim's, so every row group is encoded again.
fn row_group(number: u64) -> RecordBatch {
    let mixed = |row: u64, column: u64| {
        let seed = (number * ROWS + row) * 8 + column;
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(31)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9)
    };
    let ids = (0..ROWS).map(|row| if row % 1000 == 0 { "ada" } else { "bob" });
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let mut columns = vec![("distinct_id".to_owned(), ids)];
    for column in 0..6 {
        let values = UInt64Array::from_iter_values((0..ROWS).map(|row| mixed(row, column)));
        columns.push((format!("c{column}"), Arc::new(values)));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn a_delete_holds_one_row_group_at_a_time_when_the_budget_holds_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.parquet");
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .build();
    let file = File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, row_group(0).schema(), Some(properties)).unwrap();
    for number in 0..ROW_GROUPS {
        writer.write(&row_group(number)).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    let before = peak();
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes > ROW_GROUPS * ROW_GROUP_BYTES);

    let options = EngineOptions {
        memory: 1 << 20,
        ..EngineOptions::default()
    };
    let engine = Engine::open_dir_with(dir.path(), options).unwrap();
    let asked = "2026-01-31T12:00:00Z".parse().unwrap();
    let request = Request::delete(Subjects::new(["ada"]).unwrap(), asked);
    let done = engine
        .delete(&request, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!(done.row_groups_rewritten, ROW_GROUPS);
    assert_eq!(done.rows_removed, ROW_GROUPS * ROWS / 1000);

    let taken = peak() - before;
    eprintln!(
        "{taken} bytes more than before, for row groups of {ROW_GROUP_BYTES} and a file of {bytes}"
    );
    assert!(taken < 8 * ROW_GROUP_BYTES, "{taken} bytes");
    assert!(taken < bytes / 3, "{taken} bytes");
}
