//! Columns by name: a path that names several of them means them all, and where no column is spelled like it, the
//! only one that differs by case alone.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{Field, Schema};
use efface::request::{Disclosure, Subjects};
use efface::{Config, DeleteOptions, Engine, EngineOptions, Error, Request};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const ROWS: i32 = 20;

/// `u0` to `u4` and again, from the `first` one on.
fn ids(first: i32) -> ArrayRef {
    let id = |row: i32| format!("u{}", (row + first) % 5);
    Arc::new((0..ROWS).map(|row| Some(id(row))).collect::<StringArray>())
}

fn numbers() -> ArrayRef {
    Arc::new((0..ROWS).map(Some).collect::<Int32Array>())
}

fn nested(name: &str, inner: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new(name, inner.data_type().clone(), true));
    Arc::new(StructArray::from(vec![(field, inner)]))
}

fn write(dir: &Path, columns: Vec<(&str, ArrayRef)>) {
    let fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let file = File::create(dir.join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn rows(dir: &Path) -> i64 {
    let file = File::open(dir.join("a.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    reader.metadata().file_metadata().num_rows()
}

fn engine(dir: &Path, config: Config) -> Engine {
    Engine::open_dir_with(dir, EngineOptions::overriding(config)).unwrap()
}

fn by(subject: &str) -> Config {
    Config {
        subject: vec![subject.to_owned()],
        ..Config::default()
    }
}

/// Exports, deletes and verifies `u2`: so many rows go, and nothing of it is left.
fn erase(columns: Vec<(&str, ArrayRef)>, config: &Config, gone: i64) {
    assert!(erase_from(columns, config, gone));
}

/// Exports and deletes `u2`: so many rows go. Whether nothing of it is left then.
fn erase_from(columns: Vec<(&str, ArrayRef)>, config: &Config, gone: i64) -> bool {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), columns);
    let engine = engine(dir.path(), config.clone());
    let subjects = Subjects::new(["u2"]).unwrap();
    let mut delete = Request::delete(subjects.clone(), jiff::Timestamp::UNIX_EPOCH);
    delete.max_match = 1.0;
    let export = Request::export(subjects.clone(), delete.requested_at);
    let planned = engine.plan(&export).unwrap();
    assert_eq!(i64::try_from(planned.rows).unwrap(), gone);
    let report = engine
        .delete(&delete, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!(i64::try_from(report.rows_removed).unwrap(), gone);
    assert_eq!(rows(dir.path()), i64::from(ROWS) - gone);
    let ids: Vec<_> = subjects.iter().map(|(_, id)| id.clone()).collect();
    engine.verify(&ids).unwrap().clean
}

#[test]
fn two_columns_of_one_name_are_both_searched() {
    let columns = vec![
        ("distinct_id", ids(0)),
        ("distinct_id", ids(1)),
        ("v", numbers()),
    ];
    erase(columns.clone(), &Config::default(), 8);
    erase(columns, &by("distinct_id"), 8);
}

#[test]
fn a_flat_column_and_a_field_of_one_path_are_both_searched() {
    let columns = vec![
        ("user.id", ids(0)),
        ("user", nested("id", ids(1))),
        ("v", numbers()),
    ];
    erase(columns, &by("user.id"), 8);
    // The other way round, deeper, and one of three.
    let columns = vec![
        ("a", nested("b.c", ids(0))),
        ("a.b", nested("c", ids(1))),
        ("a.b.c", ids(2)),
    ];
    erase(columns, &by("a.b.c"), 12);
}

#[test]
fn two_structs_of_one_name_are_both_searched() {
    let columns = vec![
        ("user", nested("id", ids(0))),
        ("user", nested("id", ids(3))),
    ];
    erase(columns, &by("user.id"), 8);
}

#[test]
fn the_only_column_that_differs_by_case_is_meant() {
    erase(vec![("Distinct_ID", ids(0))], &Config::default(), 4);
    erase(vec![("userid", ids(0))], &by("userId"), 4);
    erase(vec![("User", nested("ID", ids(0)))], &by("user.id"), 4);
    // A usual name that is there exactly comes before one that is there in another case.
    let columns = vec![("DISTINCT_ID", ids(1)), ("$distinct_id", ids(0))];
    assert!(!erase_from(columns, &Config::default(), 4));
}

#[test]
fn the_exact_name_counts_before_others() {
    let columns = vec![("userid", ids(1)), ("userId", ids(0)), ("USERID", ids(2))];
    assert!(!erase_from(columns, &by("userId"), 4));
}

#[test]
fn two_columns_that_differ_by_case_are_an_error_that_names_both() {
    let columns = vec![("userid", ids(0)), ("USERID", ids(1))];
    let configs = [
        by("userId"),
        Config {
            time: Some("userId".to_owned()),
            ..by("userid")
        },
        Config {
            source: vec!["userId".to_owned()],
            ..by("userid")
        },
        Config {
            json_column: vec!["userId".to_owned()],
            ..by("userid")
        },
    ];
    for config in configs {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), columns.clone());
        let subjects = Subjects::new(["u2"]).unwrap();
        let mut delete = Request::delete(subjects, jiff::Timestamp::UNIX_EPOCH);
        delete.disclosure = Disclosure::Sources;
        let before = std::fs::read(dir.path().join("a.parquet")).unwrap();
        let error = engine(dir.path(), config)
            .delete(&delete, None, &DeleteOptions::default())
            .unwrap_err();
        assert!(matches!(error, Error::AmbiguousColumn { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("userid") && told.contains("USERID"), "{told}");
        assert!(before == std::fs::read(dir.path().join("a.parquet")).unwrap());
    }
}

#[test]
fn sources_and_time_are_found_in_another_case() {
    let dir = tempfile::tempdir().unwrap();
    let columns = vec![
        ("distinct_id", ids(0)),
        ("Campaign", ids(0)),
        ("UTM_Source", ids(0)),
        ("Time", numbers()),
    ];
    write(dir.path(), columns);
    let config = Config {
        source: vec!["campaign".to_owned(), "utm_*".to_owned()],
        time: Some("TIME".to_owned()),
        ..Config::default()
    };
    let subjects = Subjects::new(["u2"]).unwrap();
    let mut delete = Request::delete(subjects, jiff::Timestamp::UNIX_EPOCH);
    delete.disclosure = Disclosure::Sources;
    delete.max_match = 1.0;
    let report = engine(dir.path(), config)
        .delete(&delete, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!(report.values_cleared, 8);
}

#[test]
fn a_time_that_two_columns_claim_is_refused_only_where_time_counts() {
    let dir = tempfile::tempdir().unwrap();
    let columns = vec![
        ("distinct_id", ids(0)),
        ("time", numbers()),
        ("time", numbers()),
        ("lib", ids(0)),
    ];
    write(dir.path(), columns);
    let engine = engine(dir.path(), Config::default());
    let subjects = Subjects::new(["u2"]).unwrap();
    let mut export = Request::export(subjects.clone(), "2026-01-01T00:00:00Z".parse().unwrap());
    export.regulation = efface::request::Regulation::Ccpa;
    let told = engine.plan(&export).unwrap_err().to_string();
    assert!(told.contains("2 columns"), "{told}");
    let mut delete = Request::delete(subjects, jiff::Timestamp::UNIX_EPOCH);
    delete.max_match = 1.0;
    delete.disclosure = Disclosure::Sources;
    let report = engine
        .delete(&delete, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!(report.values_cleared, 4);
}
