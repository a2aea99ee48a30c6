//! Every user has values of their own in columns of every type. After a delete no decompressed byte of the
//! shard, no structure of its footer and no file of efface's own holds a value of an erased user, and all the
//! others' rows are as they were.
//!
//! Pages are read by the `parquet` crate's page reader, which the rewriting code doesn't use.

mod oracle;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, ListBuilder, MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::datatypes::{DataType, Field};
use efface::request::subjects::Subjects;
use efface::request::{Disclosure, RequiredColumns};
use efface::shard::residue::Place;
use efface::{DeleteOptions, Disk, Engine, EngineOptions, Request, SubjectId};
use oracle::Contents;
use oracle::bytes::{found, haystacks, walk};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;

const ROWS: usize = 420;
/// The first is in every page, the second in a few, the third in one row.
const VICTIMS: [usize; 3] = [0, 7, 23];

/// Who row `row` is of.
fn user(row: usize) -> usize {
    match row {
        200 => 23,
        _ if row.is_multiple_of(11) => 0,
        _ => 1 + row / 19 % 22,
    }
}

/// A number that belongs to one user and one column.
fn secret(user: usize, column: u64) -> u64 {
    let mut state = (user as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (column << 56);
    for _ in 0..3 {
        state = (state ^ (state >> 31)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }
    state
}

fn text(user: usize, column: u64) -> String {
    format!("{:016x}", secret(user, column))
}

fn decimal(user: usize) -> i128 {
    i128::from(secret(user, 8)) * 1_000_003
}

fn double(user: usize) -> f64 {
    f64::from_bits(secret(user, 4) >> 2)
}

/// Every value of a user, as bytes that could stand somewhere.
fn needles(user: usize) -> Vec<(&'static str, Vec<u8>)> {
    let number = |column| secret(user, column).to_le_bytes().to_vec();
    vec![
        ("id", text(user, 0).into_bytes()),
        ("string", text(user, 1).into_bytes()),
        ("binary", number(2)),
        ("integer", number(3)),
        ("double", double(user).to_le_bytes().to_vec()),
        ("fixed", number(5)),
        ("small integer", number(6)[..4].to_vec()),
        ("decimal", decimal(user).to_be_bytes()[4..].to_vec()),
        ("list", text(user, 9).into_bytes()),
        ("map key", text(user, 10).into_bytes()),
        ("map value", text(user, 11).into_bytes()),
        ("struct field", text(user, 12).into_bytes()),
        ("nested integer", number(13)),
        ("json", text(user, 14).into_bytes()),
    ]
}

fn batch() -> RecordBatch {
    let users: Vec<usize> = (0..ROWS).map(user).collect();
    let texts = |column| {
        let of = users.iter().map(|user| text(*user, column));
        Arc::new(StringArray::from_iter_values(of)) as ArrayRef
    };
    let signed = |column| {
        users
            .iter()
            .map(move |user| secret(*user, column).cast_signed())
    };
    let fixed = users.iter().map(|user| secret(*user, 5).to_le_bytes());
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (row, user) in users.iter().enumerate() {
        for _ in 0..row % 4 {
            lists.values().append_value(text(*user, 9));
        }
        lists.append(!row.is_multiple_of(9));
        if row.is_multiple_of(3) {
            maps.keys().append_value(text(*user, 10));
            maps.values().append_value(text(*user, 11));
            maps.keys().append_value("common");
            maps.values().append_null();
        }
        maps.append(true).unwrap();
    }
    let nested: ArrayRef = Arc::new(Int64Array::from_iter_values(signed(13)));
    let parts: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Arc::new(Field::new("name", DataType::Utf8, true)),
            texts(12),
        ),
        (
            Arc::new(Field::new("number", DataType::Int64, false)),
            nested,
        ),
    ];
    let json = users
        .iter()
        .map(|user| format!(r#"{{"plan":"free","email":"{}"}}"#, text(*user, 14)));
    let decimals: Decimal128Array = users.iter().map(|user| Some(decimal(*user))).collect();
    let small = users
        .iter()
        .map(|user| i32::from_le_bytes(secret(*user, 6).to_le_bytes()[..4].try_into().unwrap()));
    let optional = users
        .iter()
        .enumerate()
        .map(|(row, user)| (row % 5 > 0).then(|| text(*user, 1)));
    let columns: [(&str, ArrayRef); 12] = [
        ("distinct_id", texts(0)),
        ("string", Arc::new(optional.collect::<StringArray>())),
        ("binary", {
            let all: Vec<[u8; 8]> = users
                .iter()
                .map(|user| secret(*user, 2).to_le_bytes())
                .collect();
            Arc::new(BinaryArray::from_iter_values(all))
        }),
        ("integer", Arc::new(Int64Array::from_iter_values(signed(3)))),
        (
            "double",
            Arc::new(Float64Array::from_iter_values(
                users.iter().map(|user| double(*user)),
            )),
        ),
        (
            "fixed",
            Arc::new(FixedSizeBinaryArray::try_from_iter(fixed).unwrap()),
        ),
        ("small", Arc::new(Int32Array::from_iter_values(small))),
        (
            "decimal",
            Arc::new(decimals.with_precision_and_scale(38, 2).unwrap()),
        ),
        ("lists", Arc::new(lists.finish())),
        ("maps", Arc::new(maps.finish())),
        ("struct", Arc::new(StructArray::from(parts))),
        ("json", Arc::new(StringArray::from_iter_values(json))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// How a file is written.
#[derive(Debug, Clone, Copy)]
struct Style {
    codec: Compression,
    version: WriterVersion,
    has_dictionary: bool,
    encoding: usize,
}

fn write(path: &Path, style: Style) {
    let pick = |of: [Encoding; 3]| of[style.encoding];
    let bytes = [
        Encoding::PLAIN,
        Encoding::DELTA_LENGTH_BYTE_ARRAY,
        Encoding::DELTA_BYTE_ARRAY,
    ];
    let numbers = [
        Encoding::PLAIN,
        Encoding::DELTA_BINARY_PACKED,
        Encoding::BYTE_STREAM_SPLIT,
    ];
    let others = [
        Encoding::PLAIN,
        Encoding::BYTE_STREAM_SPLIT,
        Encoding::BYTE_STREAM_SPLIT,
    ];
    let mut builder = WriterProperties::builder()
        .set_compression(style.codec)
        .set_writer_version(style.version)
        .set_dictionary_enabled(style.has_dictionary)
        .set_dictionary_page_size_limit(400)
        .set_max_row_group_row_count(Some(150))
        .set_data_page_row_count_limit(40)
        .set_write_batch_size(20)
        .set_write_page_header_statistics(true)
        .set_bloom_filter_enabled(true)
        .set_bloom_filter_fpp(1e-6);
    for column in ["distinct_id", "string", "binary", "json"] {
        builder = builder.set_column_encoding(column.into(), pick(bytes));
    }
    for column in ["integer", "small"] {
        builder = builder.set_column_encoding(column.into(), pick(numbers));
    }
    for column in ["double", "fixed", "decimal"] {
        builder = builder.set_column_encoding(column.into(), pick(others));
    }
    let batch = batch();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(builder.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Whether a bloom filter claims to hold a value of `user`.
fn is_in_bloom(path: &Path, user: usize) -> bool {
    let options = ReadOptionsBuilder::new()
        .with_reader_properties(
            parquet::file::properties::ReaderProperties::builder()
                .set_read_bloom_filter(true)
                .build(),
        )
        .build();
    let reader =
        SerializedFileReader::new_with_options(File::open(path).unwrap(), options).unwrap();
    (0..reader.num_row_groups()).any(|number| {
        let group = reader.get_row_group(number).unwrap();
        let id = group
            .get_column_bloom_filter(0)
            .expect("the filter is kept");
        let number = group
            .get_column_bloom_filter(3)
            .expect("the filter is kept");
        id.check(&text(user, 0).as_str()) || number.check(&secret(user, 3).cast_signed())
    })
}

fn check(style: Style) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.parquet");
    write(&path, style);
    let before = haystacks(&path);
    let contents = Contents::read(&path).unwrap();
    for victim in VICTIMS {
        assert!(is_in_bloom(&path, victim), "{style:?}");
        for (what, needle) in needles(victim) {
            // The other encodings take values apart.
            if victim == 0 && style.encoding == 0 {
                let is_there = !found(&before, &needle).is_empty();
                assert!(
                    is_there,
                    "{style:?}: the test can't see the {what} of a user"
                );
            }
        }
    }
    let storage = Disk::new(dir.path());
    let engine = Engine::open_files(
        storage,
        EngineOptions::overriding(efface::Config::default()),
    )
    .unwrap();
    let ids = Subjects::new(VICTIMS.map(|victim| text(victim, 0))).unwrap();
    let request = Request::delete(ids, jiff::Timestamp::UNIX_EPOCH);
    let sought: Vec<SubjectId> = VICTIMS.map(|victim| SubjectId::new(text(victim, 0))).into();
    let there = engine.verify(&sought).unwrap();
    let is_found = there
        .findings
        .iter()
        .any(|finding| finding.place == Place::Page);
    assert!(is_found, "{style:?}");
    let report = engine
        .delete(&request, None, &DeleteOptions::default())
        .unwrap();
    let is_victim = |row: usize| VICTIMS.contains(&user(row));
    assert_eq!(
        report.rows_removed,
        (0..ROWS).filter(|row| is_victim(*row)).count() as u64
    );
    let mut after = haystacks(&path);
    for entry in walk(dir.path()) {
        after.push((entry.display().to_string(), fs::read(entry).unwrap()));
    }
    for victim in VICTIMS {
        for (what, needle) in needles(victim) {
            let places = found(&after, &needle);
            assert!(
                places.is_empty(),
                "{style:?}: the {what} of an erased user in {places:?}"
            );
        }
        assert!(!is_in_bloom(&path, victim), "{style:?}");
    }
    assert!(is_in_bloom(&path, 5), "{style:?}");
    let verified = engine.verify(&sought).unwrap();
    assert!(verified.clean, "{style:?}: {:?}", verified.findings);
    let expected = contents.without(is_victim);
    let left = Contents::read(&path).unwrap();
    assert_eq!(expected.row_groups.len(), left.row_groups.len());
    for (expected, left) in expected.row_groups.iter().zip(&left.row_groups) {
        assert!(expected.leaves == left.leaves, "{style:?}: rows differ");
    }
}

/// The same with every column but the id cleared, in rows that stay.
fn check_cleared(style: Style) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.parquet");
    write(&path, style);
    let before = Contents::read(&path).unwrap();
    let storage = Disk::new(dir.path());
    let engine = Engine::open_files(
        storage,
        EngineOptions::overriding(efface::Config::default()),
    )
    .unwrap();
    let ids = Subjects::new(VICTIMS.map(|victim| text(victim, 0))).unwrap();
    let mut request = Request::delete(ids, jiff::Timestamp::UNIX_EPOCH);
    request.disclosure = Disclosure::Categories;
    request.required_columns = RequiredColumns::Default;
    let clear = || {
        let options = DeleteOptions::default();
        engine.delete(&request, None, &options).unwrap()
    };
    let report = clear();
    assert_eq!((report.rows_removed, report.shards_rewritten), (0, 1));
    assert!(report.values_cleared > 0);
    let after = haystacks(&path);
    for victim in VICTIMS {
        for (what, needle) in needles(victim).into_iter().skip(1) {
            let places = found(&after, &needle);
            assert!(places.is_empty(), "{style:?}: the {what} in {places:?}");
        }
    }
    let left = Contents::read(&path).unwrap();
    let mut row = 0;
    for (before, left) in before.row_groups.iter().zip(&left.row_groups) {
        let rows = before.leaves[0].len();
        for (leaf, (before, left)) in before.leaves.iter().zip(&left.leaves).enumerate() {
            assert_eq!(before.len(), left.len());
            for at in 0..rows {
                if leaf == 0 || !VICTIMS.contains(&user(row + at)) {
                    assert!(before[at] == left[at], "{style:?}: leaf {leaf} of row {at}");
                } else {
                    let values = left[at].iter().filter_map(|cell| cell.2.as_ref());
                    let is_empty = |value: &Vec<u8>| value.iter().all(|byte| *byte == 0);
                    assert!(values.clone().all(is_empty), "{style:?}: leaf {leaf}");
                }
            }
        }
        row += rows;
    }
    let bytes = fs::read(&path).unwrap();
    let again = clear();
    assert_eq!((again.values_cleared, again.shards_rewritten), (0, 0));
    assert!(fs::read(&path).unwrap() == bytes, "{style:?}");
}

fn styles() -> impl Iterator<Item = Style> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    let versions = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
    codecs.into_iter().flat_map(move |codec| {
        (0..12).map(move |number| Style {
            codec,
            version: versions[number / 6],
            has_dictionary: number / 3 % 2 == 1,
            encoding: number % 3,
        })
    })
}

#[test]
fn nothing_of_an_erased_user_is_left_whatever_the_encoding_and_codec() {
    styles().for_each(check);
}

#[test]
fn nothing_of_cleared_values_is_left_whatever_the_encoding_and_codec() {
    styles().for_each(check_cleared);
}
