//! Generated tracking events with sources in columns, structs, maps, lists and JSON, and the naive way to take these
//! out.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow::json::ReaderBuilder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::oracle::numbers::Numbers;

/// Columns that are sources by their names.
pub(crate) const SOURCES: [&str; 8] = [
    "$browser",
    "screen_width",
    "wifi",
    "city",
    "app_build_number",
    "utm_tags",
    "device",
    "mp_lib",
];

pub(crate) fn is_source_key(key: &str) -> bool {
    ["$os", "mp_lib", "city", "os", "utm_x"].contains(&key)
}

pub(crate) fn schema() -> Arc<Schema> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let group = |name: &str, fields: Vec<Field>| {
        Field::new(name, DataType::Struct(Fields::from(fields)), true)
    };
    let list = |name: &str, item: DataType| {
        Field::new(
            name,
            DataType::List(Arc::new(Field::new("item", item, true))),
            true,
        )
    };
    let map = |name: &str, value: DataType| {
        let fields = vec![
            Field::new("keys", DataType::Utf8, false),
            Field::new("values", value, true),
        ];
        let entries = Field::new("entries", DataType::Struct(Fields::from(fields)), false);
        Field::new(name, DataType::Map(Arc::new(entries), false), true)
    };
    let seen = DataType::Struct(Fields::from(vec![
        Field::new("n", DataType::Int64, true),
        list("os", DataType::Int64),
    ]));
    let log = DataType::Struct(Fields::from(vec![text("name"), map("seen", seen)]));
    Arc::new(Schema::new(vec![
        text("distinct_id"),
        Field::new(
            "time",
            DataType::Timestamp(TimeUnit::Millisecond, None),
            true,
        ),
        text("$browser"),
        text("plan"),
        Field::new("screen_width", DataType::Int64, true),
        Field::new("wifi", DataType::Boolean, true),
        text("city"),
        Field::new("price", DataType::Float64, true),
        Field::new("app_build_number", DataType::Decimal128(20, 2), true),
        list("utm_tags", DataType::Utf8),
        list("tags", DataType::Utf8),
        group(
            "device",
            vec![text("model"), Field::new("weight", DataType::Float32, true)],
        ),
        group(
            "context",
            vec![text("ip"), text("page"), group("deep", vec![text("city")])],
        ),
        map("props", DataType::Utf8),
        list("logs", log),
        text("blob"),
        text("mp_lib"),
        Field::new("seq", DataType::Int64, false),
        Field::new("code", DataType::Utf8, false),
        Field::new(
            "must",
            DataType::Struct(Fields::from(vec![
                Field::new("a", DataType::Int64, true),
                Field::new("b", DataType::Boolean, false),
            ])),
            false,
        ),
    ]))
}

impl Numbers {
    fn text(&mut self, of: &str) -> Value {
        match self.next(6) {
            0 => Value::Null,
            n => json!(format!("{of} {n}")),
        }
    }

    /// An object with some of the keys.
    fn object(&mut self, keys: &[&str], value: impl Fn(&mut Self) -> Value) -> Value {
        let mut object = Map::new();
        for key in keys {
            if self.next(2) == 0 {
                object.insert((*key).to_owned(), value(self));
            }
        }
        Value::Object(object)
    }

    fn list(&mut self, longest: u64, item: impl Fn(&mut Self) -> Value) -> Value {
        match self.next(longest + 2) {
            0 => Value::Null,
            len => (1..len).map(|_| item(self)).collect(),
        }
    }

    fn event(&mut self, row: usize, shape: &Shape) -> Value {
        let id = usize::try_from(self.next(shape.users)).unwrap();
        let keys = ["$os", "city", "mp_lib", "plan", "x"];
        let seen = |numbers: &mut Self| {
            numbers.object(&["city", "other", "os", "utm_x"], |numbers| {
                let os = numbers.list(2, |numbers| json!(numbers.next(9)));
                match numbers.next(4) {
                    0 => Value::Null,
                    n => json!({"n": n, "os": os}),
                }
            })
        };
        let log = |numbers: &mut Self| json!({"name": numbers.text("log"), "seen": seen(numbers)});
        let blob = self.object(&["$os", "a", "city", "nested"], |numbers| {
            match numbers.next(3) {
                0 => json!({"city": "inside", "list": [1, "}", {"os": "deep"}, {"a": [{"mp_lib": {}}]}]}),
                1 => json!("quoted \"$os\":1"),
                n => json!(n),
            }
        });
        json!({
            "distinct_id": (id > 0).then(|| format!("user {id}")),
            "time": row,
            "$browser": self.text("secret browser"),
            "plan": self.text("plan"),
            "screen_width": self.next(40),
            "wifi": self.next(2) == 0,
            "city": self.text("secret city"),
            "price": self.next(9),
            "app_build_number": format!("{}.25", self.next(1_000_000)),
            "utm_tags": self.list(3, |numbers| numbers.text("secret tag")),
            "tags": self.list(3, |numbers| numbers.text("tag")),
            "device": match self.next(3) {
                0 => Value::Null,
                n => json!({"model": self.text("secret model"), "weight": n}),
            },
            "context": match self.next(4) {
                0 => Value::Null,
                _ => json!({"ip": self.text("secret ip"), "page": self.text("page"), "deep": {"city": self.text("deep")}}),
            },
            "props": match self.next(4) {
                0 => Value::Null,
                _ => self.object(&keys, |numbers| numbers.text("prop")),
            },
            "logs": self.list(3, log),
            "blob": (self.next(4) > 0).then(|| blob.to_string()),
            "mp_lib": self.text("secret lib"),
            "seq": row,
            "code": format!("code {}", self.next(5)),
            "must": {"a": self.next(3), "b": self.next(2) == 0},
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) users: u64,
    pub(crate) wanted: Vec<usize>,
    pub(crate) row_group: usize,
    pub(crate) page_rows: usize,
    pub(crate) codec: usize,
    pub(crate) v2: bool,
    pub(crate) dictionary: bool,
    pub(crate) dictionary_limit: usize,
    pub(crate) encoding: usize,
    pub(crate) bloom: bool,
    pub(crate) seed: u64,
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let data = (
        1_usize..150,
        1_u64..12,
        proptest::collection::vec(1_usize..12, 1..4),
        1_usize..80,
        1_usize..40,
    );
    let style = (
        0_usize..4,
        any::<bool>(),
        any::<bool>(),
        proptest::sample::select(vec![16_usize, 200, 1 << 20]),
        0_usize..3,
        any::<bool>(),
        any::<u64>(),
    );
    (data, style).prop_map(
        |(
            (rows, users, wanted, row_group, page_rows),
            (codec, v2, dictionary, dictionary_limit, encoding, bloom, seed),
        )| Shape {
            rows,
            users: users + 1,
            wanted,
            row_group,
            page_rows,
            codec,
            v2,
            dictionary,
            dictionary_limit,
            encoding,
            bloom,
            seed,
        },
    )
}

impl Shape {
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut numbers = Numbers(self.seed);
        (0..self.rows).map(|row| numbers.event(row, self)).collect()
    }

    pub(crate) fn is_wanted(&self, event: &Value) -> bool {
        let id = event["distinct_id"].as_str();
        self.wanted
            .iter()
            .any(|wanted| id == Some(&format!("user {wanted}")))
    }

    pub(crate) fn write(&self, path: &Path, events: &[Value]) {
        let codec = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
            Compression::LZ4_RAW,
        ][self.codec];
        let version = if self.v2 {
            WriterVersion::PARQUET_2_0
        } else {
            WriterVersion::PARQUET_1_0
        };
        let text = [
            Encoding::PLAIN,
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Encoding::DELTA_BYTE_ARRAY,
        ][self.encoding];
        let mut builder = WriterProperties::builder()
            .set_compression(codec)
            .set_writer_version(version)
            .set_dictionary_enabled(self.dictionary)
            .set_dictionary_page_size_limit(self.dictionary_limit)
            .set_max_row_group_row_count(Some(self.row_group))
            .set_data_page_row_count_limit(self.page_rows)
            .set_write_batch_size(self.page_rows.min(8))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_write_page_header_statistics(self.seed.is_multiple_of(2))
            .set_bloom_filter_enabled(self.bloom)
            .set_encoding(Encoding::PLAIN);
        for column in ["$browser", "blob", "code", "city"] {
            builder = builder.set_column_encoding(column.into(), text);
        }
        let number = [
            Encoding::PLAIN,
            Encoding::DELTA_BINARY_PACKED,
            Encoding::BYTE_STREAM_SPLIT,
        ][self.encoding];
        for column in ["seq", "screen_width"] {
            builder = builder.set_column_encoding(column.into(), number);
        }
        let batch = batch(events);
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(builder.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
}

pub(crate) fn batch(events: &[Value]) -> RecordBatch {
    let mut decoder = ReaderBuilder::new(schema())
        .with_batch_size(events.len())
        .build_decoder()
        .unwrap();
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    let text = lines.join("\n");
    let mut text = text.as_bytes();
    while !text.is_empty() {
        let taken = decoder.decode(text).unwrap();
        text = &text[taken..];
        if taken == 0 {
            break;
        }
    }
    decoder.flush().unwrap().unwrap()
}

/// JSON without the members that are sources, at any depth.
pub(crate) fn without_source_keys(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !is_source_key(key));
            members.values_mut().for_each(without_source_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(without_source_keys),
        _ => {}
    }
}

/// Of JSON, the members that are sources, at any depth, and what stands around them.
pub(crate) fn only_source_keys(value: &Value) -> Option<Value> {
    match value {
        Value::Object(members) => {
            let shown = members.iter().filter_map(|(key, value)| {
                let shown = if is_source_key(key) {
                    Some(value.clone())
                } else {
                    only_source_keys(value)
                };
                Some((key.clone(), shown?))
            });
            let shown: Map<String, Value> = shown.collect();
            (!shown.is_empty()).then_some(Value::Object(shown))
        }
        Value::Array(items) => {
            let shown: Vec<Value> = items.iter().filter_map(only_source_keys).collect();
            (!shown.is_empty()).then_some(Value::Array(shown))
        }
        _ => None,
    }
}

/// An event without its sources.
pub(crate) fn without_sources(event: &mut Value) {
    let retain = |value: &mut Value| {
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| !is_source_key(key));
        }
    };
    let event = event.as_object_mut().unwrap();
    event.retain(|key, _| !SOURCES.contains(&key.as_str()));
    if let Some(context) = event["context"].as_object_mut() {
        context.remove("ip");
        retain(&mut context["deep"]);
    }
    retain(&mut event["props"]);
    for log in event["logs"].as_array_mut().into_iter().flatten() {
        retain(&mut log["seen"]);
    }
    if let Some(blob) = event["blob"].as_str() {
        let mut object: Value = serde_json::from_str(blob).unwrap();
        without_source_keys(&mut object);
        event["blob"] = json!(object.to_string());
    }
}

/// An event of which only whose and when it is are left.
pub(crate) fn without_categories(event: &mut Value) {
    let event = event.as_object_mut().unwrap();
    event.retain(|key, _| ["distinct_id", "time"].contains(&key.as_str()));
    event.insert("seq".to_owned(), json!(0));
    event.insert("code".to_owned(), json!(""));
    event.insert("must".to_owned(), json!({"b": false}));
}

/// A shape without oddities, in which user 2 is wanted.
pub(crate) fn plain(rows: usize, users: u64) -> Shape {
    Shape {
        rows,
        users,
        wanted: vec![2],
        row_group: 100,
        page_rows: 20,
        codec: 0,
        v2: true,
        dictionary: true,
        dictionary_limit: 1 << 20,
        encoding: 0,
        bloom: false,
        seed: 1,
    }
}
