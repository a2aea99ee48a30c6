//! Generated datasets of many shapes: after a delete every leaf of every shard is what the naive filter
//! leaves of the old one, and an export holds what a naive filter of the Arrow batches holds.

mod generated;
mod oracle;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::DataType;
use efface::request::subjects::Subjects;
use efface::{Config, DeleteOptions, Engine, EngineOptions, Request};
use generated::{Shape, SubjectType};
use oracle::Contents;
use oracle::bounds::{check_page_index, check_statistics};
use oracle::split::split_pages;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;

fn engine(dir: &Path, subject: SubjectType) -> Engine {
    let config = Config {
        subject: vec![subject.column().to_owned()],
        ..Config::default()
    };
    Engine::open_dir_with(dir, EngineOptions::overriding(config)).unwrap()
}

fn request(shape: &Shape, make: impl Fn(Subjects, jiff::Timestamp) -> Request) -> Request {
    let ids = shape.wanted.iter().map(|id| shape.subject.id_text(*id));
    let mut request = make(Subjects::new(ids).unwrap(), jiff::Timestamp::UNIX_EPOCH);
    request.max_match = 1.0;
    request.unknown = efface::request::Unknown::Report;
    request
}

fn read_all(path: &Path) -> RecordBatch {
    let file = File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// A column's values as text, however they are encoded in memory.
fn values(column: &ArrayRef) -> String {
    let plain = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    format!("{:?}", cast(column, plain).unwrap())
}

/// Which rows of each shard belong to the wanted ids, by what the generator put there.
fn victims(shape: &Shape) -> Vec<BTreeSet<usize>> {
    let of_shard = |ids: &Vec<Vec<u8>>| {
        let is_wanted = |(row, ids): (usize, &Vec<u8>)| {
            ids.iter()
                .any(|id| shape.wanted.contains(id))
                .then_some(row)
        };
        ids.iter().enumerate().filter_map(is_wanted).collect()
    };
    shape.ids().iter().map(of_shard).collect()
}

/// What a file has besides its rows: bloom filters and page index, by row group and leaf.
fn furniture(path: &Path) -> Vec<Vec<(bool, bool)>> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let of = |column: &parquet::file::metadata::ColumnChunkMetaData| {
        (
            column.bloom_filter_offset().is_some(),
            column.offset_index_offset().is_some(),
        )
    };
    let groups = reader.metadata().row_groups();
    groups
        .iter()
        .map(|group| group.columns().iter().map(of).collect())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn a_delete_leaves_what_the_naive_filter_leaves(shape in generated::shape()) {
        let dir = tempfile::tempdir().unwrap();
        let paths = shape.write(dir.path());
        if let Some(entries) = shape.split() {
            for path in &paths {
                split_pages(path, entries);
            }
        }
        let before: Vec<Contents> = paths.iter().map(|path| Contents::read(path).unwrap()).collect();
        for (path, before) in paths.iter().zip(&before) {
            check_page_index(&File::open(path).unwrap(), before);
        }
        let furniture_before = furniture(&paths[0]);
        let engine = engine(dir.path(), shape.subject);
        let report = engine.delete(&request(&shape, Request::delete), None, &DeleteOptions::default()).unwrap();
        let victims = victims(&shape);
        prop_assert_eq!(report.rows_removed, victims.iter().map(BTreeSet::len).sum::<usize>() as u64);
        for ((path, before), victims) in paths.iter().zip(before).zip(&victims) {
            let expected = before.without(|row| victims.contains(&row));
            let found = Contents::read(path).unwrap();
            prop_assert_eq!(&expected.schema, &found.schema);
            prop_assert_eq!(&expected.about, &found.about);
            prop_assert_eq!(expected.row_groups.len(), found.row_groups.len());
            for (expected, found) in expected.row_groups.iter().zip(&found.row_groups) {
                prop_assert_eq!(&expected.sorting, &found.sorting);
                prop_assert!(expected.leaves == found.leaves, "rows differ");
                prop_assert!(oracle::same_styles(&expected.styles, &found.styles), "{:?}\n{:?}", expected.styles, found.styles);
            }
            check_statistics(File::open(path).unwrap(), &found);
            check_page_index(&File::open(path).unwrap(), &found);
        }
        if victims[0].is_empty() {
            prop_assert_eq!(furniture_before, furniture(&paths[0]));
        } else if let (Some(before), Some(after)) = (furniture_before.first(), furniture(&paths[0]).first()) {
            prop_assert_eq!(before, after);
        }
        let again = engine.delete(&request(&shape, Request::delete), None, &DeleteOptions::default()).unwrap();
        prop_assert_eq!((again.rows_removed, again.shards_rewritten), (0, 0));
    }

    #[test]
    fn an_export_holds_what_the_naive_filter_holds(shape in generated::shape()) {
        let dir = tempfile::tempdir().unwrap();
        let paths = shape.write(dir.path());
        let engine = engine(dir.path(), shape.subject);
        let plan = engine.plan(&request(&shape, Request::export)).unwrap();
        let exported: Vec<RecordBatch> = engine.export(&plan).unwrap().map(Result::unwrap).collect();
        let mut expected = Vec::new();
        for (path, victims) in paths.iter().zip(victims(&shape)) {
            let all = read_all(path);
            let keep: BooleanArray = (0..all.num_rows()).map(|row| Some(victims.contains(&row))).collect();
            expected.push(filter_record_batch(&all, &keep).unwrap());
        }
        let expected = concat_batches(&expected[0].schema(), &expected).unwrap();
        prop_assert_eq!(plan.rows, expected.num_rows() as u64);
        if let Some(first) = exported.first() {
            let exported = concat_batches(&first.schema(), &exported).unwrap();
            prop_assert_eq!(exported.num_rows(), expected.num_rows());
            for (number, column) in expected.columns().iter().enumerate() {
                let found = exported.column(number);
                prop_assert_eq!(values(found), values(column));
            }
        } else {
            prop_assert_eq!(expected.num_rows(), 0);
        }
    }
}
