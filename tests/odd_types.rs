//! Values and shapes for which Arrow has no type: a person gets their data all the same, exactly.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::DataType;
use efface::export::sink::{self, Format};
use efface::request::subjects::Subjects;
use efface::{DeleteOptions, Engine, Request};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// One leaf: its values, and the levels of their entries.
enum Leaf {
    Text(Vec<&'static str>, Vec<i16>, Vec<i16>),
    Number(Vec<i32>, Vec<i16>, Vec<i16>),
    Instant(Vec<Int96>, Vec<i16>, Vec<i16>),
}

fn write(dir: &Path, name: &str, message: &str, leaves: Vec<Leaf>) {
    let schema = Arc::new(parse_message_type(message).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let file = std::fs::File::create(dir.join(name)).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for leaf in leaves {
        let mut column = group.next_column().unwrap().unwrap();
        match leaf {
            Leaf::Text(values, definition, repetition) => {
                let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
                let typed = column.typed::<ByteArrayType>();
                let written = typed.write_batch(&values, some(&definition), some(&repetition));
                written.unwrap();
            }
            Leaf::Number(values, definition, repetition) => {
                let typed = column.typed::<Int32Type>();
                let written = typed.write_batch(&values, some(&definition), some(&repetition));
                written.unwrap();
            }
            Leaf::Instant(values, definition, repetition) => {
                let typed = column.typed::<Int96Type>();
                let written = typed.write_batch(&values, some(&definition), some(&repetition));
                written.unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn some(levels: &[i16]) -> Option<&[i16]> {
    (!levels.is_empty()).then_some(levels)
}

fn request(ids: &[&str]) -> Request {
    let subjects = Subjects::new(ids.iter().map(|id| (*id).to_owned())).unwrap();
    let mut request = Request::delete(subjects, jiff::Timestamp::UNIX_EPOCH);
    request.max_match = 1.0;
    request
}

fn export(dir: &Path, ids: &[&str], format: Format) -> Vec<u8> {
    let engine = Engine::open_dir(dir).unwrap();
    let subjects = request(ids).subjects;
    let export = Request::export(subjects, jiff::Timestamp::UNIX_EPOCH);
    let plan = engine.plan(&export).unwrap();
    let mut out = Vec::new();
    sink::write(&mut engine.export(&plan).unwrap(), format, &mut out).unwrap();
    out
}

fn lines(dir: &Path, ids: &[&str]) -> String {
    String::from_utf8(export(dir, ids, Format::Jsonl)).unwrap()
}

fn rows(dir: &Path, ids: &[&str]) -> RecordBatch {
    let file = bytes::Bytes::from(export(dir, ids, Format::Parquet));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    let batches: Result<Vec<_>, _> = reader.build().unwrap().collect();
    arrow::compute::concat_batches(&schema, &batches.unwrap()).unwrap()
}

/// Every format exports the rows of `id`, and a delete takes them.
fn assert_gone_after(dir: &Path, id: &str, gone: u64) {
    for format in [Format::Csv { safe: true }, Format::Arrow, Format::Parquet] {
        assert!(!export(dir, &[id], format).is_empty());
    }
    let engine = Engine::open_dir(dir).unwrap();
    let report = engine.delete(&request(&[id]), None, &DeleteOptions::default());
    assert_eq!(report.unwrap().rows_removed, gone);
}

fn int96(day: u32, ns: u64) -> Int96 {
    let mut value = Int96::new();
    value.set_data(
        u32::try_from(ns & u64::from(u32::MAX)).unwrap(),
        u32::try_from(ns >> 32).unwrap(),
        day,
    );
    value
}

const YEAR_1: u32 = 1_721_426;
const YEAR_9999: u32 = 5_373_484;
const TODAY: u32 = 2_461_373;

const INSTANTS: &str = "message m {
    required binary distinct_id (UTF8);
    optional int96 at;
}";

fn ids() -> Leaf {
    Leaf::Text(vec!["p", "q", "p", "p"], vec![], vec![])
}

#[test]
fn instants_that_no_type_holds_beside_each_other_are_text() {
    let dir = tempfile::tempdir().unwrap();
    let values = vec![
        int96(YEAR_1, 0),
        int96(TODAY, 1),
        int96(YEAR_9999, 86_399_999_999_999),
    ];
    let at = Leaf::Instant(values, vec![1, 1, 0, 1], vec![]);
    write(dir.path(), "a.parquet", INSTANTS, vec![ids(), at]);
    let all = "{\"distinct_id\":\"p\",\"at\":\"0001-01-01T00:00:00\"}\n\
               {\"distinct_id\":\"q\",\"at\":\"2026-11-28T00:00:00.000000001\"}\n\
               {\"distinct_id\":\"p\"}\n\
               {\"distinct_id\":\"p\",\"at\":\"9999-12-31T23:59:59.999999999\"}\n";
    assert_eq!(lines(dir.path(), &["p", "q"]), all);
    let rows = rows(dir.path(), &["p", "q"]);
    let texts: Vec<Option<&str>> = rows.column(1).as_string::<i32>().iter().collect();
    assert_eq!(
        texts,
        [
            Some("0001-01-01T00:00:00"),
            Some("2026-11-28T00:00:00.000000001"),
            None,
            Some("9999-12-31T23:59:59.999999999")
        ]
    );
    assert_gone_after(dir.path(), "p", 3);
    assert_eq!(
        lines(dir.path(), &["q"]),
        all.lines().nth(1).unwrap().to_owned() + "\n"
    );
}

#[test]
fn instants_far_away_are_timestamps_where_a_unit_tells_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let values = vec![int96(YEAR_1, 1000), int96(TODAY, 1), int96(YEAR_9999, 0)];
    let at = Leaf::Instant(values, vec![1, 1, 0, 1], vec![]);
    write(dir.path(), "a.parquet", INSTANTS, vec![ids(), at]);
    // The row of q needs nanoseconds, but it isn't selected.
    let far = rows(dir.path(), &["p"]);
    let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    assert_eq!(*far.column(1).data_type(), micros);
    let near = rows(dir.path(), &["q"]);
    let nanos = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
    assert_eq!(*near.column(1).data_type(), nanos);
    assert!(lines(dir.path(), &["p"]).contains("\"0001-01-01T00:00:00.000001\""));
}

#[test]
fn instants_in_lists_and_of_other_shards_are_as_exact() {
    let dir = tempfile::tempdir().unwrap();
    let message = "message m {
        required binary distinct_id (UTF8);
        optional group at (LIST) { repeated group list { optional int96 element; } }
    }";
    // [year 1, today], null, [], [null, year 5,000,000]
    let values = vec![int96(YEAR_1, 0), int96(TODAY, 1), int96(1_827_000_000, 7)];
    let at = Leaf::Instant(values, vec![3, 3, 0, 1, 2, 3], vec![0, 1, 0, 0, 0, 1]);
    write(dir.path(), "a.parquet", message, vec![ids(), at]);
    let at = Leaf::Instant(vec![int96(TODAY, 2)], vec![3, 0, 0, 0], vec![0, 0, 0, 0]);
    write(dir.path(), "b.parquet", message, vec![ids(), at]);
    let found = lines(dir.path(), &["p"]);
    let expected = "{\"distinct_id\":\"p\",\"at\":[\"0001-01-01T00:00:00\",\"2026-11-28T00:00:00.000000001\"]}\n\
        {\"distinct_id\":\"p\",\"at\":[]}\n\
        {\"distinct_id\":\"p\",\"at\":[null,\"157641933196800000000007 ns since 1970-01-01\"]}\n\
        {\"distinct_id\":\"p\",\"at\":[\"2026-11-28T00:00:00.000000002\"]}\n\
        {\"distinct_id\":\"p\"}\n\
        {\"distinct_id\":\"p\"}\n";
    assert_eq!(found, expected);
    assert_gone_after(dir.path(), "p", 6);
}

#[test]
fn columns_and_fields_of_one_name_are_all_exported() {
    let dir = tempfile::tempdir().unwrap();
    let message = "message m {
        required binary distinct_id (UTF8);
        optional int32 x;
        optional int32 x;
        optional int32 x_2;
        optional group s { optional int32 y; optional binary y (UTF8); }
    }";
    let numbers = |from: i32| Leaf::Number((from..from + 4).collect(), vec![1; 4], vec![]);
    let inside = Leaf::Number((30..34).collect(), vec![2; 4], vec![]);
    let text = Leaf::Text(vec!["t"; 4], vec![2; 4], vec![]);
    let leaves = vec![ids(), numbers(0), numbers(10), numbers(20), inside, text];
    write(dir.path(), "a.parquet", message, leaves);
    let line =
        "{\"distinct_id\":\"q\",\"x\":1,\"x_3\":11,\"x_2\":21,\"s\":{\"y\":31,\"y_2\":\"t\"}}\n";
    assert_eq!(lines(dir.path(), &["q"]), line);
    assert_eq!(rows(dir.path(), &["q"]).num_columns(), 5);
    assert_gone_after(dir.path(), "p", 3);
    assert_eq!(lines(dir.path(), &["q"]), line);
}

#[test]
fn groups_that_are_no_lists_or_maps_though_they_say_so_are_what_they_physically_are() {
    let pairs = |key_definition: i16, repetition: Vec<i16>| {
        vec![
            ids(),
            Leaf::Text(
                vec!["k", "l", "m", "n"],
                vec![key_definition; 4],
                repetition.clone(),
            ),
            Leaf::Number(vec![1, 2, 3, 4], vec![key_definition + 1; 4], repetition),
        ]
    };
    let entry = "{ required binary key (UTF8); optional int32 value; }";
    let cases = [
        (
            format!("repeated group m (MAP) {{ repeated group key_value {entry} }}"),
            pairs(2, vec![0; 4]),
            "[{\"key_value\":[{\"key\":\"l\",\"value\":2}]}]",
        ),
        (
            format!("optional group m (MAP) {{ optional group key_value {entry} }}"),
            pairs(2, vec![]),
            "{\"key_value\":{\"key\":\"l\",\"value\":2}}",
        ),
        (
            "optional group m (MAP) { repeated group key_value { optional binary key (UTF8); optional int32 value; optional int32 more; } }".to_owned(),
            vec![
                ids(),
                Leaf::Text(vec!["k", "l", "m", "n"], vec![3; 4], vec![0; 4]),
                Leaf::Number(vec![1, 2, 3, 4], vec![3; 4], vec![0; 4]),
                Leaf::Number(vec![], vec![2; 4], vec![0; 4]),
            ],
            "{\"key_value\":[{\"key\":\"l\",\"value\":2}]}",
        ),
        (
            format!("optional group m (LIST) {{ optional group list {entry} }}"),
            pairs(2, vec![]),
            "{\"list\":{\"key\":\"l\",\"value\":2}}",
        ),
        (
            "repeated group m (LIST) { repeated group list { optional int32 element; } }".to_owned(),
            vec![ids(), Leaf::Number(vec![1, 2, 3, 4], vec![3; 4], vec![0; 4])],
            "[{\"list\":[{\"element\":2}]}]",
        ),
        (
            format!("optional group m (LIST) {{ repeated group a {entry} optional int32 b; }}"),
            {
                let mut leaves = pairs(2, vec![0; 4]);
                leaves.push(Leaf::Number(vec![5, 6, 7, 8], vec![2; 4], vec![]));
                leaves
            },
            "{\"a\":[{\"key\":\"l\",\"value\":2}],\"b\":6}",
        ),
    ];
    for (message, leaves, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let message = format!("message m {{ required binary distinct_id (UTF8); {message} }}");
        write(dir.path(), "a.parquet", &message, leaves);
        let line = format!("{{\"distinct_id\":\"q\",\"m\":{expected}}}\n");
        assert_eq!(lines(dir.path(), &["q"]), line, "{message}");
        assert_gone_after(dir.path(), "p", 3);
        assert_eq!(lines(dir.path(), &["q"]), line, "{message}");
    }
}
