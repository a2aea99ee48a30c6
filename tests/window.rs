//! The window of a CCPA export, over every type of time column, with and without bounds: the exported rows are what a
//! filter of the generated times leaves. Several subject columns, nulls, ids in old rows alone.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, Date64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt32Array, UInt64Array,
};
use efface::request::{Regulation, Unknown};
use efface::shard::time::UnitName;
use efface::{Config, Disk, Engine, EngineOptions, Error, Request, Subjects};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int96, Int96Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

const DAY_S: i64 = 86_400;

/// A type of time column, and how it holds seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Seconds,
    Millis,
    Micros,
    Nanos,
    NanosUtc,
    Date32,
    Date64,
    Int32Seconds,
    UInt32Seconds,
    Int64(UnitName),
    UInt64Millis,
    Int96,
}

const KINDS: [Kind; 15] = [
    Kind::Seconds,
    Kind::Millis,
    Kind::Micros,
    Kind::Nanos,
    Kind::NanosUtc,
    Kind::Date32,
    Kind::Date64,
    Kind::Int32Seconds,
    Kind::UInt32Seconds,
    Kind::Int64(UnitName::Seconds),
    Kind::Int64(UnitName::Milliseconds),
    Kind::Int64(UnitName::Microseconds),
    Kind::Int64(UnitName::Nanoseconds),
    Kind::UInt64Millis,
    Kind::Int96,
];

impl Kind {
    fn array(self, times: &[Option<i64>]) -> ArrayRef {
        let scaled = |by: i64| times.iter().map(move |time| time.map(|time| time * by));
        let days = || {
            times
                .iter()
                .map(|time| time.map(|time| time.div_euclid(DAY_S)))
        };
        match self {
            Self::Seconds => Arc::new(scaled(1).collect::<TimestampSecondArray>()),
            Self::Millis => Arc::new(scaled(1_000).collect::<TimestampMillisecondArray>()),
            Self::Micros => Arc::new(scaled(1_000_000).collect::<TimestampMicrosecondArray>()),
            Self::Nanos => Arc::new(scaled(1_000_000_000).collect::<TimestampNanosecondArray>()),
            Self::NanosUtc => Arc::new(
                scaled(1_000_000_000)
                    .collect::<TimestampNanosecondArray>()
                    .with_timezone("UTC"),
            ),
            Self::Date32 => Arc::new(
                days()
                    .map(|day| day.map(|day| i32::try_from(day).unwrap()))
                    .collect::<Date32Array>(),
            ),
            Self::Date64 => Arc::new(
                days()
                    .map(|day| day.map(|day| day * DAY_S * 1000))
                    .collect::<Date64Array>(),
            ),
            Self::Int32Seconds => Arc::new(
                scaled(1)
                    .map(|time| time.map(|time| i32::try_from(time).unwrap()))
                    .collect::<Int32Array>(),
            ),
            Self::UInt32Seconds => Arc::new(
                scaled(1)
                    .map(|time| time.map(|time| u32::try_from(time).unwrap()))
                    .collect::<UInt32Array>(),
            ),
            Self::Int64(unit) => Arc::new(scaled(per_second(unit)).collect::<Int64Array>()),
            Self::UInt64Millis => Arc::new(
                scaled(1000)
                    .map(|time| time.map(|time| u64::try_from(time).unwrap()))
                    .collect::<UInt64Array>(),
            ),
            Self::Int96 => unreachable!("written without Arrow"),
        }
    }

    /// Whether a row is inside of the window that begins at `start`, by the words of the specification.
    fn is_inside(self, time: Option<i64>, start: i64) -> bool {
        let Some(time) = time else { return true };
        match self {
            // A date is the whole day.
            Self::Date32 | Self::Date64 => (time.div_euclid(DAY_S) + 1) * DAY_S > start,
            _ => time >= start,
        }
    }

    fn unit(self) -> Option<UnitName> {
        match self {
            Self::Int32Seconds | Self::UInt32Seconds => Some(UnitName::Seconds),
            Self::Int64(unit) => Some(unit),
            Self::UInt64Millis => Some(UnitName::Milliseconds),
            _ => None,
        }
    }
}

fn per_second(unit: UnitName) -> i64 {
    match unit {
        UnitName::Seconds => 1,
        UnitName::Milliseconds => 1_000,
        UnitName::Microseconds => 1_000_000,
        UnitName::Nanoseconds => 1_000_000_000,
    }
}

fn properties(group: usize, page: usize, statistics: EnabledStatistics) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(group))
        .set_data_page_row_count_limit(page)
        .set_write_batch_size(page)
        .set_statistics_enabled(statistics)
        .set_offset_index_disabled(statistics != EnabledStatistics::Page)
        .build()
}

/// Row numbers, two subject columns and the time.
fn write(path: &Path, rows: &[Row], kind: Kind, properties: WriterProperties) {
    let times: Vec<Option<i64>> = rows.iter().map(|row| row.time).collect();
    let text = |of: fn(&Row) -> Option<u8>| -> ArrayRef {
        let ids = rows.iter().map(|row| of(row).map(|id| format!("u{id}")));
        Arc::new(ids.collect::<StringArray>())
    };
    if kind == Kind::Int96 {
        return write_int96(path, rows, properties);
    }
    let numbers: ArrayRef = Arc::new((0..).take(rows.len()).collect::<Int64Array>());
    let columns = [
        ("row", numbers),
        ("distinct_id", text(|row| row.id)),
        ("device_id", text(|row| row.device)),
        ("time", kind.array(&times)),
    ];
    let nullable = columns.map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(nullable).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn write_int96(path: &Path, rows: &[Row], properties: WriterProperties) {
    let schema = "message m { required int64 row; optional binary distinct_id (UTF8);
        optional binary device_id (UTF8); optional int96 time; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let group_rows = properties.max_row_group_row_count().unwrap_or(rows.len());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for (number, part) in rows.chunks(group_rows).enumerate() {
        let mut group = writer.next_row_group().unwrap();
        let first = i64::try_from(number * group_rows).unwrap();
        let numbers: Vec<i64> = (first..).take(part.len()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<parquet::data_type::Int64Type>();
        typed.write_batch(&numbers, None, None).unwrap();
        column.close().unwrap();
        for of in [|row: &Row| row.id, |row: &Row| row.device] {
            let ids: Vec<Option<u8>> = part.iter().map(of).collect();
            let levels: Vec<i16> = ids.iter().map(|id| i16::from(id.is_some())).collect();
            let text = |id: &u8| ByteArray::from(format!("u{id}").into_bytes());
            let values: Vec<ByteArray> = ids.iter().flatten().map(text).collect();
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        let levels: Vec<i16> = part
            .iter()
            .map(|row| i16::from(row.time.is_some()))
            .collect();
        let time = |time: i64| {
            let ns = u64::try_from(time.rem_euclid(DAY_S) * 1_000_000_000).unwrap();
            let day = u32::try_from(time.div_euclid(DAY_S) + 2_440_588).unwrap();
            let (low, high) = (ns & u64::from(u32::MAX), ns >> 32);
            let mut value = Int96::new();
            value.set_data(low.try_into().unwrap(), high.try_into().unwrap(), day);
            value
        };
        let values: Vec<Int96> = part.iter().filter_map(|row| row.time).map(time).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<Int96Type>();
        typed.write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// A generated row.
#[derive(Debug, Clone, Copy)]
struct Row {
    id: Option<u8>,
    device: Option<u8>,
    time: Option<i64>,
}

/// Rows with times around `start`, some of them in runs, so that whole pages and row groups are on one side.
fn rows(start: i64) -> impl Strategy<Value = Vec<Row>> {
    let offset = prop_oneof![
        Just(-1_i64),
        Just(0),
        Just(1),
        -3 * DAY_S..3 * DAY_S,
        Just(400 * DAY_S),
        Just(-400 * DAY_S)
    ];
    let row = (
        proptest::option::weighted(0.9, 0..6_u8),
        proptest::option::weighted(0.5, 0..6_u8),
        proptest::option::weighted(0.97, offset),
    );
    let run = (
        row,
        1..25_usize,
        proptest::collection::vec((0..6_u8, 0..6_u8), 25),
    );
    let runs = proptest::collection::vec(run, 1..8);
    runs.prop_map(move |runs| {
        let mut rows = Vec::new();
        for ((id, device, offset), len, others) in runs {
            for (at, (other, other_device)) in others.into_iter().take(len).enumerate() {
                let is_first = at == 0;
                rows.push(Row {
                    id: if is_first { id } else { Some(other) },
                    device: if is_first { device } else { Some(other_device) },
                    time: offset.map(|offset| start + offset),
                });
            }
        }
        rows
    })
}

fn engine(dir: &Path, kind: Kind) -> Engine {
    let config = Config {
        subject: vec!["distinct_id".into(), "device_id".into()],
        time_unit: kind.unit(),
        ..Config::default()
    };
    Engine::open_dir_with(dir, EngineOptions::overriding(config)).unwrap()
}

fn request(ids: &[u8], asked: &str, since: Option<&str>) -> Request {
    let subjects = Subjects::new(ids.iter().map(|id| format!("u{id}"))).unwrap();
    let mut request = Request::export(subjects, asked.parse().unwrap());
    request.regulation = Regulation::Ccpa;
    request.unknown = Unknown::Report;
    request.since = since.map(|since| since.parse().unwrap());
    request
}

/// What is asked when, and where the window then begins.
const WINDOWS: [(&str, Option<&str>, &str); 4] = [
    ("2026-01-31T12:00:00Z", None, "2025-01-31T12:00:00Z"),
    ("2024-02-29T23:59:59Z", None, "2023-02-28T23:59:59Z"),
    ("2025-02-28T00:00:00Z", None, "2024-02-28T00:00:00Z"),
    (
        "2026-01-31T12:00:00Z",
        Some("2020-02-29T00:00:00Z"),
        "2020-02-29T00:00:00Z",
    ),
];

fn dataset() -> impl Strategy<Value = (usize, Vec<Vec<Row>>)> {
    (0..WINDOWS.len()).prop_flat_map(|window| {
        let start = WINDOWS[window].2.parse::<Timestamp>().unwrap().as_second();
        let shards = proptest::collection::vec(rows(start), 1..3);
        (Just(window), shards)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 240, ..ProptestConfig::default() })]

    #[test]
    fn a_ccpa_export_holds_the_rows_of_its_window(
        kind in proptest::sample::select(KINDS.to_vec()),
        (window, shards) in dataset(),
        group in 1..40_usize,
        page in 1..12_usize,
        statistics in proptest::sample::select(vec![
            EnabledStatistics::None, EnabledStatistics::Chunk, EnabledStatistics::Page,
        ]),
        wanted in proptest::sample::subsequence(vec![0_u8, 1, 2, 3, 4, 5, 77], 1..5),
    ) {
        let (asked, since, start) = WINDOWS[window];
        let start = start.parse::<Timestamp>().unwrap().as_second();
        let dir = tempfile::tempdir().unwrap();
        for (number, rows) in shards.iter().enumerate() {
            let path = dir.path().join(format!("{number}.parquet"));
            write(&path, rows, kind, properties(group, page, statistics));
        }
        let engine = engine(dir.path(), kind);
        let plan = engine.plan(&request(&wanted, asked, since)).unwrap();
        let mut found = Vec::new();
        for batch in engine.export(&plan).unwrap() {
            let batch = batch.unwrap();
            let rows = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            found.extend(rows.values().iter().copied());
        }
        let is_of = |row: &Row, id: u8| row.id == Some(id) || row.device == Some(id);
        let mut expected = Vec::new();
        for rows in &shards {
            for (number, row) in (0_i64..).zip(rows) {
                let is_wanted = wanted.iter().any(|id| is_of(row, *id));
                if is_wanted && kind.is_inside(row.time, start) {
                    expected.push(number);
                }
            }
        }
        prop_assert_eq!(found, expected);
        for (subject, id) in plan.subjects.iter().zip(&wanted) {
            let of = |row: &&Row| is_of(row, *id);
            let all = || shards.iter().flatten().filter(of);
            let inside = all().filter(|row| kind.is_inside(row.time, start)).count();
            prop_assert_eq!((subject.found, subject.rows), (all().next().is_some(), inside as u64));
        }
    }
}

/// A shard of ten row groups of one day each, and its ids.
fn days(dir: &Path, array: ArrayRef, name: &str) {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..array.len()).map(|row| format!("u{}", row % 3)),
    ));
    let batch = RecordBatch::try_from_iter([("distinct_id", ids), ("time", array)]).unwrap();
    let file = File::create(dir.join(name)).unwrap();
    let properties = properties(10, 5, EnabledStatistics::Page);
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn the_unit_of_integers_is_guessed_where_just_one_is_plausible() {
    let first = "2025-06-01T00:00:00Z"
        .parse::<Timestamp>()
        .unwrap()
        .as_second();
    let plausible: Vec<(ArrayRef, usize)> = [1, 1_000, 1_000_000, 1_000_000_000]
        .into_iter()
        .map(|by| -> (ArrayRef, usize) {
            let times = (0..100).map(|day| (first + day * DAY_S) * by);
            (Arc::new(Int64Array::from_iter_values(times)), 100)
        })
        .collect();
    let unsigned = (0..100).map(|day| u32::try_from(first + day * DAY_S).unwrap());
    let unsigned: ArrayRef = Arc::new(UInt32Array::from_iter_values(unsigned));
    for (array, rows) in plausible.into_iter().chain([(unsigned, 100)]) {
        let dir = tempfile::tempdir().unwrap();
        days(dir.path(), array, "a.parquet");
        let config = Config::default();
        let storage = Disk::new(dir.path());
        let engine = Engine::open_files(storage, EngineOptions::overriding(config)).unwrap();
        let plan = engine.plan(&request(&[0, 1, 2], "2026-06-01T00:00:00Z", None));
        assert_eq!(plan.unwrap().rows, rows as u64);
        let later = engine.plan(&request(&[0, 1, 2], "2026-06-11T00:00:00Z", None));
        assert_eq!(later.unwrap().rows, rows as u64 - 10);
    }
    // Numbers that are no plausible time in any unit.
    let dir = tempfile::tempdir().unwrap();
    days(
        dir.path(),
        Arc::new(Int64Array::from_iter_values(0..100)),
        "a.parquet",
    );
    let storage = Disk::new(dir.path());
    let engine = Engine::open_files(storage, EngineOptions::overriding(Config::default())).unwrap();
    let refused = engine.plan(&request(&[0], "2026-06-01T00:00:00Z", None));
    assert!(
        matches!(&refused, Err(Error::NoTimeUnit { column, .. }) if column == "time"),
        "{refused:?}"
    );
}

#[test]
fn an_id_of_old_rows_alone_is_known_and_has_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let old = "2001-01-01T00:00:00Z"
        .parse::<Timestamp>()
        .unwrap()
        .as_second();
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![old; 30]));
    days(dir.path(), times, "a.parquet");
    let storage = Disk::new(dir.path());
    let engine = Engine::open_files(storage, EngineOptions::overriding(Config::default())).unwrap();
    let plan = engine
        .plan(&request(&[0, 9], "2026-06-01T00:00:00Z", None))
        .unwrap();
    let found: Vec<bool> = plan.subjects.iter().map(|subject| subject.found).collect();
    assert_eq!((plan.rows, found), (0, vec![true, false]));
    let positions: BTreeSet<usize> = plan
        .subjects
        .iter()
        .map(|subject| subject.position)
        .collect();
    assert_eq!(positions, BTreeSet::from([1, 2]));
}
