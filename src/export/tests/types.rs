//! Shards whose columns or types differ.

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DurationNanosecondArray,
    DurationSecondArray, Float64Array, Int32Array, Int64Array, LargeListArray, ListArray,
    ListBuilder, StringArray, StringBuilder, StructArray, Time32MillisecondArray,
    Time64NanosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};

use super::*;

#[test]
fn a_missing_column_is_null_and_integers_widen() {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
    let other: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let both = RecordBatch::try_from_iter([("new", other), ("i", wide)]).unwrap();
    let memory = storage([
        ("a", single("i", narrow)),
        ("b", file(&both, 10, 10, false, true)),
    ]);
    let found = export_all(memory, &["a", "b"]).unwrap();
    assert_eq!(
        text(&found),
        "{\"i\":7}\n{\"i\":9223372036854775807,\"new\":\"x\"}\n"
    );
    assert!(!found.schema().field(0).is_nullable() && found.schema().field(1).is_nullable());
}

#[test]
fn structs_are_unified_by_the_names_of_their_fields() {
    let one = |name: &str, value: ArrayRef| -> ArrayRef {
        let field = Arc::new(Field::new(name, value.data_type().clone(), false));
        Arc::new(StructArray::from(vec![(field, value)]))
    };
    let left = one("a", Arc::new(Int32Array::from(vec![1])));
    let right = one("b", Arc::new(StringArray::from(vec!["y"])));
    let memory = storage([("1", single("s", left)), ("2", single("s", right))]);
    let found = export_all(memory, &["1", "2"]).unwrap();
    assert_eq!(text(&found), "{\"s\":{\"a\":1}}\n{\"s\":{\"b\":\"y\"}}\n");
}

/// The first rows of two shards with a column `c`, as lines of JSON without `c`.
fn both(left: ArrayRef, right: ArrayRef) -> Result<Vec<String>> {
    let memory = storage([("a", single("c", left)), ("b", single("c", right))]);
    let lines = text(&export_all(memory, &["a", "b"])?);
    let value = |line: &str| {
        let value = line.strip_prefix("{\"c\":").unwrap();
        value.strip_suffix('}').unwrap().to_owned()
    };
    Ok(lines.lines().map(value).collect())
}

#[test]
fn shards_of_different_types_come_with_every_value_as_it_is() {
    let number = || -> ArrayRef { Arc::new(Int64Array::from(vec![(1 << 53) + 1])) };
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["1"])) };
    let micros = |value| TimestampMicrosecondArray::from(vec![value]);
    let decimal = |value, precision, scale| -> ArrayRef {
        let array = Decimal128Array::from(vec![value]);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    };
    let list =
        |value: i64| ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(value)])]);
    let large = LargeListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(2), None])]);
    let strings = || -> ArrayRef {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("x")]);
        Arc::new(lists.finish())
    };
    let field = Arc::new(Field::new("f", DataType::Int64, true));
    let record: ArrayRef = Arc::new(StructArray::from(vec![(field, number())]));
    let cases: Vec<(ArrayRef, ArrayRef, [&str; 2])> = vec![
        (number(), text(), ["\"9007199254740993\"", "\"1\""]),
        (
            number(),
            Arc::new(Float64Array::from(vec![0.5])),
            ["\"9007199254740993\"", "\"0.5\""],
        ),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            Arc::new(Int64Array::from(vec![-3])),
            ["18446744073709551615", "-3"],
        ),
        (
            Arc::new(BooleanArray::from(vec![true])),
            number(),
            ["\"true\"", "\"9007199254740993\""],
        ),
        (
            decimal(125, 5, 2),
            decimal(1_125, 10, 3),
            ["1.250", "1.125"],
        ),
        (
            decimal(10_i128.pow(37), 38, 0),
            decimal(-1, 10, 9),
            [
                "10000000000000000000000000000000000000.000000000",
                "-0.000000001",
            ],
        ),
        (
            Arc::new(micros(1).with_timezone("Europe/Berlin")),
            Arc::new(micros(-1)),
            [
                "\"1970-01-01T00:00:00.000001Z\"",
                "\"1969-12-31T23:59:59.999999Z\"",
            ],
        ),
        (
            Arc::new(Time32MillisecondArray::from(vec![1])),
            Arc::new(Time64NanosecondArray::from(vec![3])),
            ["\"00:00:00.001\"", "\"00:00:00.000000003\""],
        ),
        (
            Arc::new(DurationSecondArray::from(vec![-1])),
            Arc::new(DurationNanosecondArray::from(vec![3])),
            ["\"-PT1S\"", "\"PT0.000000003S\""],
        ),
        (
            Arc::new(Date32Array::from(vec![1])),
            Arc::new(micros(1)),
            ["\"1970-01-02\"", "\"1970-01-01T00:00:00.000001\""],
        ),
        (
            Arc::new(list(1 << 40)),
            Arc::new(large),
            ["[1099511627776]", "[2,null]"],
        ),
        (Arc::new(list(7)), strings(), ["[\"7\"]", "[\"x\"]"]),
        (record, text(), [r#""{\"f\":9007199254740993}""#, "\"1\""]),
    ];
    for (left, right, expected) in cases {
        let types = format!("{} {}", left.data_type(), right.data_type());
        let mut found = both(Arc::clone(&left), Arc::clone(&right)).unwrap();
        assert_eq!(found, expected, "{types}");
        found = both(right, left).unwrap();
        found.reverse();
        assert_eq!(found, expected, "{types}, the other way round");
    }
}

#[test]
fn a_value_that_does_not_fit_the_finer_unit_names_its_column_and_both_shards() {
    let left: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1 << 62]));
    let right: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]));
    let memory = storage([("a", single("t", left)), ("b", single("t", right))]);
    let shards = ["a", "b"].map(|path| shard(&memory, path, [0]));
    let mut export =
        Export::new(Arc::new(memory), shards.into(), &ExportOptions::default()).unwrap();
    match write(&mut export, Format::Jsonl, &mut Vec::new()).unwrap_err() {
        Error::SchemaConflict {
            left_path,
            right_path,
            column,
            ..
        } => {
            assert_eq!([left_path.as_str(), &right_path, &column], ["b", "a", "t"]);
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_partition_directory_is_a_column() {
    let column = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let memory = storage([
        ("land=C%C3%B4te/a", single("i", column())),
        ("x", single("i", column())),
    ]);
    let found = export_all(memory, &["land=C%C3%B4te/a", "x"]).unwrap();
    assert_eq!(text(&found), "{\"i\":1,\"land\":\"Côte\"}\n{\"i\":1}\n");
}
