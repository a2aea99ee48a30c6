//! Types of every kind through every format: written, or refused with the column's name.

mod oracle;

use std::io::Write;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::*;
use arrow::error::ArrowError;
use bytes::Bytes;
use efface::export::sink::{self, Format, write_batches};
use efface::{Config, Disk, Engine, EngineOptions, Error, Request, Subjects};
use oracle::Contents;
use parquet::column::writer::ColumnWriter;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const FORMATS: [Format; 5] = [
    Format::Parquet,
    Format::Jsonl,
    Format::Csv { safe: false },
    Format::Csv { safe: true },
    Format::Arrow,
];

/// Three rows of each type, the last one null where that can be.
#[expect(clippy::too_many_lines, reason = "a list of all types")]
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let words = || {
        Arc::new(StringArray::from(vec![
            Some("=x"),
            Some("\u{202e}\"\n\0"),
            None,
        ])) as ArrayRef
    };
    let numbers = || Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef;
    let map = |keys: ArrayRef, values: ArrayRef| -> ArrayRef {
        let fields: Fields = vec![
            Field::new("k", keys.data_type().clone(), false),
            Field::new("v", values.data_type().clone(), true),
        ]
        .into();
        let entries = StructArray::new(fields.clone(), vec![keys, values], None);
        let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        let offsets = OffsetBuffer::new(vec![0, 2, 3, 3].into());
        Arc::new(MapArray::new(field, offsets, entries, None, false))
    };
    let text_map = map(Arc::new(StringArray::from(vec!["a", "b", "<"])), words());
    let list_of = |items: ArrayRef| -> ArrayRef {
        let item = Arc::new(Field::new("item", items.data_type().clone(), true));
        let offsets = OffsetBuffer::new(vec![0, 1, 3, 3].into());
        Arc::new(ListArray::new(item, offsets, items, None))
    };
    let union_fields = UnionFields::try_new(
        vec![0, 1],
        vec![
            Field::new("i", DataType::Int32, true),
            Field::new("s", DataType::Utf8, true),
        ],
    )
    .unwrap();
    let union = UnionArray::try_new(
        union_fields,
        vec![0_i8, 1, 0].into(),
        None,
        vec![numbers(), words()],
    )
    .unwrap();
    let dictionary: DictionaryArray<Int8Type> =
        vec![Some("a"), None, Some("a")].into_iter().collect();
    let runs = RunArray::<Int32Type>::try_new(
        &Int32Array::from(vec![2, 3]),
        &StringArray::from(vec!["a", "b"]),
    );
    vec![
        ("map of text", text_map.clone()),
        ("map of numbers", map(numbers(), words())),
        ("list of maps", list_of(text_map)),
        ("list of maps of numbers", list_of(map(numbers(), words()))),
        ("dictionary", Arc::new(dictionary)),
        (
            "decimal 32",
            Arc::new(
                Decimal32Array::from(vec![1, -2, 3])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
        ),
        (
            "decimal 128",
            Arc::new(
                Decimal128Array::from(vec![i128::MAX / 4, -1, 0])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        (
            "decimal 256",
            Arc::new(
                Decimal256Array::from(vec![i256::from(7), i256::MINUS_ONE, i256::ZERO])
                    .with_precision_and_scale(76, 3)
                    .unwrap(),
            ),
        ),
        (
            "duration",
            Arc::new(DurationNanosecondArray::from(vec![1, i64::MIN, 0])),
        ),
        (
            "interval of months",
            Arc::new(IntervalYearMonthArray::from(vec![1, -1, 0])),
        ),
        (
            "interval of days",
            Arc::new(IntervalDayTimeArray::from(vec![
                IntervalDayTime::new(1, 2);
                3
            ])),
        ),
        (
            "interval of both",
            Arc::new(IntervalMonthDayNanoArray::from(
                vec![IntervalMonthDayNano::new(1, 2, 3); 3],
            )),
        ),
        ("union", Arc::new(union)),
        (
            "time 32",
            Arc::new(Time32MillisecondArray::from(vec![0, 86_399_999, i32::MAX])),
        ),
        (
            "time 64",
            Arc::new(Time64NanosecondArray::from(vec![0, -1, i64::MAX])),
        ),
        (
            "date 32",
            Arc::new(Date32Array::from(vec![0, i32::MIN, i32::MAX])),
        ),
        (
            "date 64",
            Arc::new(Date64Array::from(vec![0, i64::MIN, i64::MAX])),
        ),
        (
            "timestamp",
            Arc::new(
                TimestampNanosecondArray::from(vec![0, i64::MIN, i64::MAX])
                    .with_timezone("Mars/Olympus"),
            ),
        ),
        (
            "fixed binary",
            Arc::new(
                FixedSizeBinaryArray::try_from_iter([[0_u8, 255], [1, 2], [3, 4]].into_iter())
                    .unwrap(),
            ),
        ),
        (
            "half",
            Arc::new(Float16Array::from_iter_values(
                ["1", "NaN", "inf"].map(|text| text.parse().unwrap()),
            )),
        ),
        (
            "double",
            Arc::new(Float64Array::from(vec![-0.0, f64::NEG_INFINITY, f64::NAN])),
        ),
        ("null", Arc::new(NullArray::new(3))),
        ("runs", Arc::new(runs.unwrap())),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                "a long text that is not inline",
                "b",
                "c",
            ])),
        ),
        (
            "binary view",
            Arc::new(BinaryViewArray::from_iter_values([
                &b"\xff\0"[..],
                b"",
                b"x",
            ])),
        ),
        (
            "fixed list",
            Arc::new(FixedSizeListArray::new(
                Arc::new(Field::new("item", DataType::Int32, true)),
                1,
                numbers(),
                None,
            )),
        ),
        (
            "large list",
            Arc::new(LargeListArray::new(
                Arc::new(Field::new("item", DataType::Utf8, true)),
                OffsetBuffer::from_lengths([1, 0, 2]),
                words(),
                None,
            )),
        ),
        (
            "unsigned",
            Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1])),
        ),
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            "struct",
            Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("a\"b", DataType::Utf8, true)),
                words(),
            )])),
        ),
    ]
}

#[test]
fn every_type_is_written_or_refused_by_the_name_of_its_column() {
    let mut refused = Vec::new();
    for (name, column) in columns() {
        let batch = RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
        for format in FORMATS {
            let mut out = Vec::new();
            let batches = [Ok::<_, ArrowError>(batch.clone())];
            match write_batches(&batch.schema(), batches, format, &mut out) {
                Ok(written) => {
                    assert_eq!(written.rows, 3, "{name} as {format:?}");
                    let text = String::from_utf8_lossy(&out);
                    for error in ["ERROR", "Cast error", "<invalid>"] {
                        assert!(!text.contains(error), "{name} as {format:?}: {text}");
                    }
                    if format == Format::Jsonl {
                        let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
                        assert_eq!(lines.flatten().count(), 3, "{name}: {text}");
                    }
                    if let Format::Csv { .. } = format {
                        let mut rows = csv::Reader::from_reader(&out[..]);
                        assert_eq!(rows.records().flatten().count(), 3, "{name}: {text}");
                    }
                }
                Err(Error::FormatLacks { column, .. }) => {
                    assert_eq!(column, name);
                    assert!(out.is_empty());
                    refused.push((name, format.ending()));
                }
                Err(error) => panic!("{name} as {format:?}: {error}"),
            }
        }
    }
    // What is refused is what a format has no word for.
    let lacking = |format| {
        let of = refused.iter().filter(|(_, ending)| *ending == format);
        let mut names: Vec<&str> = of.map(|(name, _)| *name).collect();
        names.dedup();
        names
    };
    assert_eq!(lacking("jsonl"), ["union"]);
    assert_eq!(lacking("csv"), ["union"]);
    assert_eq!(lacking("parquet"), ["interval of both", "union"]);
    assert_eq!(lacking("arrow"), Vec::<&str>::new());
}

#[test]
fn a_map_whose_keys_are_no_text_is_a_list_of_keys_and_values() {
    let map = columns()
        .into_iter()
        .find(|(name, _)| *name == "map of numbers")
        .unwrap()
        .1;
    let batch = RecordBatch::try_from_iter_with_nullable([("m", map, true)]).unwrap();
    let text = |format| {
        let mut out = Vec::new();
        let batches = [Ok::<_, ArrowError>(batch.clone())];
        write_batches(&batch.schema(), batches, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let first = r#"[{"key":1,"value":"=x"},{"key":2,"value":"<\"\n\u0000"}]"#;
    let first = first.replace('<', "\u{202e}");
    let lines =
        format!("{{\"m\":{first}}}\n{{\"m\":[{{\"key\":3,\"value\":null}}]}}\n{{\"m\":[]}}\n");
    assert_eq!(text(Format::Jsonl), lines);
    let cells = text(Format::Csv { safe: false });
    let mut cells = csv::Reader::from_reader(cells.as_bytes());
    let cells: Vec<_> = cells
        .records()
        .map(|row| row.unwrap()[0].to_owned())
        .collect();
    assert_eq!(cells, [first.as_str(), r#"[{"key":3,"value":null}]"#, "[]"]);
}

/// One column as lines of JSON, without the braces and its name `c`.
fn lines(field: Field, column: ArrayRef) -> Vec<String> {
    let schema = Arc::new(Schema::new(vec![field.with_name("c")]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    let mut out = Vec::new();
    let batches = [Ok::<_, ArrowError>(batch)];
    write_batches(&schema, batches, Format::Jsonl, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let value = |line: &str| {
        let value = line.strip_prefix("{\"c\":").unwrap_or("null}");
        value.strip_suffix('}').unwrap().to_owned()
    };
    text.lines().map(value).collect()
}

#[test]
fn what_no_calendar_holds_is_told_exactly_and_always_as_text() {
    let infinite = i64::MAX;
    let cases: [(ArrayRef, &str); 6] = [
        (
            Arc::new(Date32Array::from(vec![i32::MAX])),
            "2147483647 days since 1970-01-01",
        ),
        (
            Arc::new(Date64Array::from(vec![infinite])),
            "9223372036854775807 ms since 1970-01-01",
        ),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![infinite])),
            "9223372036854775807 us since 1970-01-01",
        ),
        (
            Arc::new(DurationSecondArray::from(vec![1 << 62])),
            "PT4611686018427387904S",
        ),
        (
            Arc::new(Time32MillisecondArray::from(vec![-1])),
            "-1 ms since midnight",
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![253_402_300_799]).with_timezone("UTC")),
            "9999-12-31T23:59:59Z",
        ),
    ];
    for (column, expected) in cases {
        let field = Field::new("c", column.data_type().clone(), true);
        assert_eq!(lines(field, column), [format!("{expected:?}")]);
    }
}

#[test]
fn a_decimal_of_too_many_digits_keeps_them_all() {
    let column =
        Decimal128Array::from(vec![12_345_678, -5]).with_data_type(DataType::Decimal128(5, 2));
    let field = Field::new("c", column.data_type().clone(), true);
    assert_eq!(lines(field, Arc::new(column)), ["123456.78", "-0.05"]);
}

#[test]
fn floats_that_json_lacks_are_text_wherever_they_are() {
    let floats = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5];
    let expected = ["\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "-0.5"];
    let doubles: ArrayRef = Arc::new(Float64Array::from_iter_values(floats));
    for of in [DataType::Float16, DataType::Float32, DataType::Float64] {
        let column = arrow::compute::cast(&doubles, &of).unwrap();
        assert_eq!(lines(Field::new("c", of, true), column), expected);
    }
    let item = Arc::new(Field::new("item", DataType::Float64, true));
    let list = ListArray::new(
        Arc::clone(&item),
        OffsetBuffer::from_lengths([4]),
        doubles,
        None,
    );
    let field = Field::new("c", DataType::List(item), true);
    let expected = format!("[{}]", expected.join(","));
    assert_eq!(lines(field, Arc::new(list)), [expected]);
}

#[test]
fn a_map_keeps_the_keys_of_nulls_and_the_values_of_keys_that_come_twice() {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for entries in [
        &[("k", None), ("z", Some(1))][..],
        &[("k", Some(1)), ("l", None), ("k", Some(2))],
        &[],
    ] {
        for (key, value) in entries {
            maps.keys().append_value(key);
            maps.values().append_option(*value);
        }
        maps.append(true).unwrap();
    }
    let maps = maps.finish();
    let field = Field::new("c", maps.data_type().clone(), true);
    assert_eq!(
        lines(field, Arc::new(maps)),
        [
            r#"{"k":null,"z":1}"#,
            r#"[{"key":"k","value":1},{"key":"l","value":null},{"key":"k","value":2}]"#,
            "{}"
        ]
    );
}

#[test]
fn uuids_are_text_inside_of_lists_too() {
    let uuid = Field::new("item", DataType::FixedSizeBinary(16), true)
        .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into());
    let item = Arc::new(uuid);
    let bytes = FixedSizeBinaryArray::try_from_iter([b"0123456789abcdef"].into_iter()).unwrap();
    let offsets = OffsetBuffer::from_lengths([1]);
    let list = ListArray::new(Arc::clone(&item), offsets, Arc::new(bytes), None);
    let field = Field::new("c", DataType::List(item), true);
    assert_eq!(
        lines(field, Arc::new(list)),
        [r#"["30313233-3435-3637-3839-616263646566"]"#]
    );
}

/// A file of one row, with columns whose annotations Arrow has no type for.
fn annotated() -> Vec<u8> {
    let message = "message m {
        required binary distinct_id (STRING);
        required fixed_len_byte_array(16) uuid (UUID);
        required binary json (JSON);
        optional group enums (LIST) { repeated group list { required binary element (ENUM); } }
        required binary bson (BSON);
        required fixed_len_byte_array(12) interval (INTERVAL);
        required int32 time (TIME(MILLIS, true));
        required int64 local (TIME(MICROS, false));
        required fixed_len_byte_array(2) half (FLOAT16);
        required fixed_len_byte_array(12) decimal (DECIMAL(28, 3));
        required int64 instant (TIMESTAMP(NANOS, true));
    }";
    let interval = [7_u32, 40, 3_600_500].map(u32::to_le_bytes).concat();
    let decimal = [&[0xff; 10][..], &[0xcf, 0xc7]].concat();
    let values: [&[u8]; 11] = [
        b"ada",
        b"0123456789abcdef",
        b"{\"a\": 1}",
        b"red",
        b"\x05\0\0\0\0",
        &interval,
        &1_i32.to_le_bytes(),
        &2_i64.to_le_bytes(),
        &[0, 0x3c],
        &decimal,
        &3_i64.to_le_bytes(),
    ];
    let schema = Arc::new(parse_message_type(message).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for value in values {
        let mut column = group.next_column().unwrap().unwrap();
        let levels: (Option<&[i16]>, Option<&[i16]>) = match value {
            b"red" => (Some(&[2]), Some(&[0])),
            _ => (None, None),
        };
        let as_bytes = || Bytes::copy_from_slice(value).into();
        match column.untyped() {
            ColumnWriter::ByteArrayColumnWriter(column) => {
                column
                    .write_batch(&[as_bytes()], levels.0, levels.1)
                    .unwrap();
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(column) => {
                let value: parquet::data_type::ByteArray = as_bytes();
                column
                    .write_batch(&[value.into()], levels.0, levels.1)
                    .unwrap();
            }
            ColumnWriter::Int32ColumnWriter(column) => {
                let value = i32::from_le_bytes(value.try_into().unwrap());
                column.write_batch(&[value], None, None).unwrap();
            }
            ColumnWriter::Int64ColumnWriter(column) => {
                let value = i64::from_le_bytes(value.try_into().unwrap());
                column.write_batch(&[value], None, None).unwrap();
            }
            _ => unreachable!("there is no such column"),
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

fn write(path: &std::path::Path, bytes: &[u8]) {
    std::fs::File::create(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

#[test]
fn what_arrow_has_no_type_for_survives_a_parquet_export_and_an_export_of_that() {
    let mut file = annotated();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    write(&path, &file);
    let before = Contents::read(&path).unwrap();
    for _ in 0..2 {
        write(&path, &file);
        let disk = Disk::new(dir.path());
        let engine =
            Engine::open_files(disk, EngineOptions::overriding(Config::default())).unwrap();
        let ada = Subjects::new(["ada"]).unwrap();
        let plan = engine
            .plan(&Request::export(ada, jiff::Timestamp::UNIX_EPOCH))
            .unwrap();
        let export = |format| {
            let mut out = Vec::new();
            sink::write(&mut engine.export(&plan).unwrap(), format, &mut out).unwrap();
            out
        };
        assert_eq!(
            String::from_utf8(export(Format::Jsonl)).unwrap(),
            "{\"distinct_id\":\"ada\",\"uuid\":\"30313233-3435-3637-3839-616263646566\",\"json\":\"{\\\"a\\\": 1}\",\
             \"enums\":[\"red\"],\"bson\":\"BQAAAAA=\",\"interval\":\"P7M40DT3600.500S\",\"time\":\"00:00:00.001\",\
             \"local\":\"00:00:00.000002\",\"half\":1.0,\"decimal\":-12.345,\"instant\":\"1970-01-01T00:00:00.000000003Z\"}\n"
        );
        let stream = export(Format::Arrow);
        let mut stream = arrow::ipc::reader::StreamReader::try_new(&stream[..], None).unwrap();
        let batch = stream.next().unwrap().unwrap();
        let interval = batch.column_by_name("interval").unwrap();
        let interval = interval.as_primitive::<IntervalMonthDayNanoType>().value(0);
        assert_eq!(
            interval,
            IntervalMonthDayNano::new(7, 40, 3_600_500_000_000)
        );
        file = export(Format::Parquet);
        write(&path, &file);
        let after = Contents::read(&path).unwrap();
        assert_eq!(before.leaf_types, after.leaf_types);
        for leaf in 0..before.leaf_types.len() {
            let (before, after): (Vec<_>, Vec<_>) =
                (before.cells(leaf).collect(), after.cells(leaf).collect());
            assert_eq!(before, after, "leaf {leaf}");
        }
    }
}

#[test]
fn an_export_without_rows_has_the_columns_of_the_dataset() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a.parquet"), &annotated());
    let disk = Disk::new(dir.path());
    let engine = Engine::open_files(disk, EngineOptions::overriding(Config::default())).unwrap();
    let mut request = Request::export(
        Subjects::new(["nobody"]).unwrap(),
        jiff::Timestamp::UNIX_EPOCH,
    );
    request.unknown = efface::request::Unknown::Report;
    let plan = engine.plan(&request).unwrap();
    let export = |format| {
        let mut out = Vec::new();
        let written = sink::write(&mut engine.export(&plan).unwrap(), format, &mut out).unwrap();
        assert_eq!(written.rows, 0);
        out
    };
    let header = export(Format::Csv { safe: false });
    assert_eq!(
        String::from_utf8(header).unwrap(),
        "distinct_id,uuid,json,enums,bson,interval,time,local,half,decimal,instant\r\n"
    );
    write(&dir.path().join("b.parquet"), &export(Format::Parquet));
    let [before, after] =
        ["a.parquet", "b.parquet"].map(|name| Contents::read(&dir.path().join(name)).unwrap());
    assert_eq!(before.leaf_types, after.leaf_types);
    let stream = export(Format::Arrow);
    let stream = arrow::ipc::reader::StreamReader::try_new(&stream[..], None).unwrap();
    assert_eq!(stream.schema().fields().len(), 11);
}
