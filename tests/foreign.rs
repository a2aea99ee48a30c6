//! Files that other writers wrote: one existing value is deleted by each column that can be a subject, and
//! the result is compared with the naive filter. Set `EFFACE_FOREIGN` to a folder of Parquet files to run
//! on them; the shards of `data-samples/` are always used.

mod oracle;

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use efface::export::sink::{self, Format};
use efface::export::{Export, ExportOptions, ShardRows};
use efface::file_system::FileSystem;
use efface::request::Disclosure;
use efface::request::subjects::Subjects;
use efface::shard::Shard;
use efface::shard::roles::{Roles, SubjectColumn};
use efface::shard::schema::column_names;
use efface::table::Table;
use efface::table::directory::Directory;
use efface::{Config, DeleteOptions, Disk, Engine, EngineOptions, ErrorKind, Request};
use oracle::Contents;

/// Columns that are tried as the subject in each file, spread over its schema.
const COLUMNS_PER_FILE: usize = 4;

fn parquet_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "parquet"))
        .collect();
    files.sort();
    files
}

fn files() -> Vec<PathBuf> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-samples/events");
    let mut files = parquet_files(&samples);
    match std::env::var_os("EFFACE_FOREIGN") {
        Some(dir) => files.extend(parquet_files(Path::new(&dir))),
        None => eprintln!("skipped: EFFACE_FOREIGN is not set, so only the samples are used"),
    }
    files
}

/// The columns of a shard that can be a subject, by name.
fn subject_columns(shard: &Shard) -> Vec<(String, SubjectColumn)> {
    let find = |name: String| {
        let roles = Roles {
            subjects: vec![name.clone()],
            ..Roles::default()
        };
        Some((name, roles.subjects(shard).ok()?.pop()?))
    };
    column_names(shard.footer.schema())
        .into_iter()
        .filter_map(find)
        .collect()
}

/// Exports the subjects of `delete`, which is carried out afterwards, in each disclosure and format: all their rows.
fn export_in_every_way(engine: &Engine, delete: &Request, rows: u64, what: &str) {
    let formats = [
        Format::Parquet,
        Format::Jsonl,
        Format::Csv { safe: true },
        Format::Arrow,
    ];
    for disclosure in [
        Disclosure::Data,
        Disclosure::Sources,
        Disclosure::Categories,
    ] {
        let export = Request {
            disclosure,
            ..Request::export(delete.subjects.clone(), delete.requested_at)
        };
        let plan = engine.plan(&export).unwrap();
        for format in formats {
            let what = format!("{what}, {disclosure} as {format:?}");
            let mut exported = engine
                .export(&plan)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let written = sink::write(&mut exported, format, &mut std::io::sink());
            let written = written.unwrap_or_else(|error| panic!("{what}: {error}"));
            if disclosure == Disclosure::Categories {
                assert!(
                    written.rows > 0,
                    "{what}: at least the subject has a header"
                );
            } else {
                assert_eq!(written.rows, rows, "{what}");
            }
        }
    }
}

/// Exports all rows of the subjects of `delete` as Parquet and JSON Lines: value by value those that the naive filter
/// keeps, in the Parquet types of the source.
fn compare_exports(engine: &Engine, delete: &Request, source: &Source, rows: &[usize], what: &str) {
    let export = Request::export(delete.subjects.clone(), delete.requested_at);
    let plan = engine.plan(&export).unwrap();
    let mut file = Vec::new();
    sink::write(
        &mut engine.export(&plan).unwrap(),
        Format::Parquet,
        &mut file,
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("export.parquet");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(&file)
        .unwrap();
    compare_leaves(source, rows, &Contents::read(&path).unwrap(), what);
    let expected = match &source.rows {
        Ok(all) => oracle::rows::only(all, rows),
        Err(error) => return eprintln!("skipped: the rows of {what}: {error}"),
    };
    let found = oracle::rows::read(file.into()).unwrap();
    for (field, (expected, found)) in expected
        .schema_ref()
        .fields()
        .iter()
        .zip(expected.columns().iter().zip(found.columns()))
    {
        assert_eq!(expected, found, "{what}: column {}", field.name());
    }
    assert_eq!(expected.num_columns(), found.num_columns(), "{what}");
    let mut lines = Vec::new();
    sink::write(
        &mut engine.export(&plan).unwrap(),
        Format::Jsonl,
        &mut lines,
    )
    .unwrap();
    oracle::rows::assert_lines(std::str::from_utf8(&lines).unwrap(), &expected, what);
}

/// A file, as two naive readers see it.
struct Source {
    contents: Contents,
    rows: Result<RecordBatch, String>,
}

/// Compares each leaf that still has the same physical type, bit for bit.
fn compare_leaves(source: &Source, rows: &[usize], found: &Contents, what: &str) {
    let before: Vec<&str> = source
        .contents
        .leaf_types
        .iter()
        .map(String::as_str)
        .collect();
    let after: Vec<&str> = found.leaf_types.iter().map(String::as_str).collect();
    assert_eq!(before.len(), after.len(), "{what}");
    for (leaf, (before, after)) in before.iter().zip(after).enumerate() {
        if before != &after {
            // The Arrow rows are compared as well, so this is just what of the types is lost.
            assert!(
                before.starts_with("INT96"),
                "{what}: leaf {leaf} was {before}, is {after}"
            );
            continue;
        }
        let all: Vec<_> = source.contents.cells(leaf).collect();
        let expected: Vec<_> = rows.iter().map(|row| all[*row]).collect();
        let found: Vec<_> = found.cells(leaf).collect();
        assert!(expected == found, "{what}: leaf {leaf}, {before}");
    }
}

/// Deletes one value of each possible subject column, each from a fresh copy, and compares.
fn delete_from_each_column(path: &Path) -> usize {
    let before = match Contents::read(path) {
        Ok(before) => before,
        Err(error) => {
            // Some files are beyond the naive reader, though not beyond this crate.
            eprintln!("skipped: {}: {error}", path.display());
            return 0;
        }
    };
    let source = Source {
        contents: before,
        rows: oracle::rows::read(std::fs::read(path).unwrap().into()),
    };
    let before = &source.contents;
    let name = path.to_str().unwrap().trim_start_matches('/');
    let shard = Shard::new(name, Disk::new("/").open(name).unwrap()).unwrap();
    let columns = subject_columns(&shard);
    let every = columns.len().div_ceil(COLUMNS_PER_FILE).max(1);
    let mut tried = 0;
    for (name, column) in columns.into_iter().step_by(every) {
        let values = before.values(column.leaf);
        let mut scratch = Vec::new();
        let as_text = |raw: &[u8], scratch: &mut Vec<u8>| {
            let text = String::from_utf8(column.kind.canonical(raw, scratch).to_vec()).ok()?;
            (!text.is_empty()).then_some(text)
        };
        // The value in the most rows, and the one in the fewest.
        let wanted = [
            values.iter().max_by_key(|(_, rows)| **rows),
            values.iter().min_by_key(|(_, rows)| **rows),
        ];
        for (raw, _) in wanted.into_iter().flatten() {
            let Some(id) = as_text(raw, &mut scratch) else {
                continue;
            };
            let dir = tempfile::tempdir().unwrap();
            let copy = dir.path().join("shard.parquet");
            std::fs::copy(path, &copy).unwrap();
            let config = Config {
                subject: vec![name.clone()],
                ..Config::default()
            };
            let disk = Disk::new(dir.path());
            let engine = Engine::open_files(disk, EngineOptions::overriding(config)).unwrap();
            let mut request =
                Request::delete(Subjects::new([id]).unwrap(), jiff::Timestamp::UNIX_EPOCH);
            request.max_match = 1.0;
            let what = format!("{} by {name}", path.display());
            let dropped = before.rows_with(column.leaf, raw);
            export_in_every_way(&engine, &request, dropped.len() as u64, &what);
            compare_exports(&engine, &request, &source, &dropped, &what);
            let report = engine
                .delete(&request, None, &DeleteOptions::default())
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(report.rows_removed, dropped.len() as u64, "{what}");
            let after = Contents::read(&copy).unwrap_or_else(|error| panic!("{what}: {error}"));
            let expected = Contents::read(path)
                .unwrap()
                .without(|row| dropped.binary_search(&row).is_ok());
            compare(&expected, &after, &what);
            tried += 1;
        }
    }
    tried
}

fn compare(expected: &Contents, found: &Contents, what: &str) {
    assert_eq!(expected.schema, found.schema, "{what}");
    assert_eq!(expected.about, found.about, "{what}");
    assert_eq!(expected.row_groups.len(), found.row_groups.len(), "{what}");
    for (number, (expected, found)) in expected
        .row_groups
        .iter()
        .zip(&found.row_groups)
        .enumerate()
    {
        assert_eq!(
            expected.sorting, found.sorting,
            "{what}, row group {number}"
        );
        for (leaf, (expected, found)) in expected.leaves.iter().zip(&found.leaves).enumerate() {
            assert!(
                expected == found,
                "{what}: leaf {leaf} of row group {number} differs"
            );
        }
        assert_eq!(expected.styles, found.styles, "{what}, row group {number}");
    }
}

#[test]
fn one_value_deleted_leaves_what_the_naive_filter_leaves() {
    let mut tried = 0;
    for path in files() {
        let disk = Disk::new("/");
        let relative = path.to_str().unwrap().trim_start_matches('/');
        match Shard::new(relative, disk.open(relative).unwrap()) {
            Ok(_) => tried += delete_from_each_column(&path),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(error.to_string().contains(relative), "{error}");
            }
        }
    }
    assert!(tried > 10, "only {tried} deletes were tried");
}

/// Rows of an export as Parquet.
fn export_of(engine: &Engine, delete: &Request) -> efface::Result<u64> {
    let export = Request::export(delete.subjects.clone(), delete.requested_at);
    let plan = engine.plan(&export)?;
    let written = sink::write(
        &mut engine.export(&plan)?,
        Format::Parquet,
        &mut std::io::sink(),
    )?;
    Ok(written.rows)
}

#[test]
fn damaged_files_end_in_an_error_or_in_a_right_result_and_are_left_untouched() {
    let Some(dir) = std::env::var_os("EFFACE_FOREIGN") else {
        eprintln!("skipped: EFFACE_FOREIGN is not set");
        return;
    };
    for path in parquet_files(&Path::new(&dir).join("bad")) {
        let before = std::fs::read(&path).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        std::fs::copy(&path, dir.path().join("shard.parquet")).unwrap();
        let Ok(shard) = Shard::new("shard.parquet", disk.open("shard.parquet").unwrap()) else {
            continue;
        };
        for (name, _) in subject_columns(&shard) {
            let config = Config {
                subject: vec![name],
                ..Config::default()
            };
            let options = EngineOptions::overriding(config);
            let engine = Engine::open_files(disk.clone(), options).unwrap();
            let request =
                Request::delete(Subjects::new(["1"]).unwrap(), jiff::Timestamp::UNIX_EPOCH);
            let exported = export_of(&engine, &request);
            let result = engine.delete(&request, None, &DeleteOptions::default());
            let after = std::fs::read(dir.path().join("shard.parquet")).unwrap();
            match result {
                Ok(report) => {
                    assert!(report.rows_removed > 0);
                    let exported = exported.ok();
                    assert!(exported.is_none_or(|rows| rows == report.rows_removed));
                }
                Err(_) => assert!(before == after, "{} was touched", path.display()),
            }
        }
    }
}

#[test]
fn timestamps_that_spark_wrote_far_from_today_are_exported_exactly() {
    let Some(dir) = std::env::var_os("EFFACE_FOREIGN") else {
        eprintln!("skipped: EFFACE_FOREIGN is not set");
        return;
    };
    let path = Path::new(&dir).join("int96_from_spark.parquet");
    let contents = Contents::read(&path).unwrap();
    let expected: Vec<Option<i128>> = contents
        .cells(0)
        .map(|row| row[0].2.as_ref().map(|value| us_of_int96(value)))
        .collect();
    let disk = Disk::new(&dir);
    let table = Arc::new(Directory::new(disk.clone()));
    let shard_ref = table.find("int96_from_spark.parquet").unwrap().unwrap();
    let shard = Shard::new(
        "int96_from_spark.parquet",
        disk.open("int96_from_spark.parquet").unwrap(),
    )
    .unwrap();
    let export = |rows: Range<u32>| {
        let rows = ShardRows {
            shard: shard_ref.clone(),
            footer_hash: shard.footer.hash,
            rows: rows.collect(),
        };
        Export::new(table.clone(), vec![rows], &ExportOptions::default()).unwrap()
    };
    let us = |rows: Range<u32>| -> Vec<Option<i128>> {
        let columns = export(rows).map(|batch| batch.unwrap().column(0).clone());
        let us = columns.map(|column| column.as_primitive::<TimestampMicrosecondType>().clone());
        us.flat_map(|us| us.iter().map(|us| us.map(i128::from)).collect::<Vec<_>>())
            .collect()
    };
    let (all, last) = (expected.len(), expected.last().unwrap().unwrap());
    let but_last = u32::try_from(all - 1).unwrap();
    assert_eq!(us(0..but_last), expected[..all - 1]);
    let beyond_ns = |us: &i128| *us > i128::from(i64::MAX / 1000);
    assert!(expected[..all - 1].iter().flatten().any(beyond_ns));
    // The last one is before all that 64 bits can tell, so all are text.
    assert!(last < i128::from(i64::MIN));
    let batch = export(0..but_last + 1).next().unwrap().unwrap();
    let texts = batch.column(0).as_string::<i32>();
    assert_eq!(texts.len(), all);
    let told = format!("{} ns since 1970-01-01", last * 1000);
    assert_eq!(texts.value(all - 1), told);
    for (text, us) in texts.iter().zip(&expected).take(all - 1) {
        let ns = us.map(|us| us * 1000);
        match text.map(str::parse::<jiff::civil::DateTime>) {
            Some(Ok(civil)) => {
                let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
                assert_eq!(Some(civil.duration_since(epoch).as_nanos()), ns);
            }
            Some(Err(_)) => assert_eq!(
                text.map(str::to_owned),
                ns.map(|ns| format!("{ns} ns since 1970-01-01"))
            ),
            None => assert!(ns.is_none()),
        }
    }
}

fn us_of_int96(value: &[u8]) -> i128 {
    let (ns, day) = value.split_at(8);
    let ns = i128::from(i64::from_le_bytes(ns.try_into().unwrap()));
    let day = i128::from(i32::from_le_bytes(day.try_into().unwrap()));
    (day - 2_440_588) * 86_400_000_000 + ns / 1000
}
