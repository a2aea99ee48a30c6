//! Exports of the three disclosures beside the naive way, and the law: what a delete took away, an export of the same
//! disclosure no longer shows.

mod oracle;
mod tracked;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch, RecordBatchReader};
use arrow::datatypes::UInt64Type;
use efface::export::sink::{self, Format};
use efface::request::subjects::Subjects;
use efface::request::{Disclosure, RequiredColumns, Unknown};
use efface::{Config, DeleteOptions, Engine, EngineOptions, Request};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tracked::{SOURCES, Shape, is_source_key, only_source_keys, shape};

/// Columns that can't be null: a delete of categories leaves their types' empty values.
const REQUIRED: [&str; 3] = ["seq", "code", "must.b"];

fn engine(dir: &Path, shape: &Shape) -> Engine {
    let json_column = if shape.seed.is_multiple_of(3) {
        vec!["blob".to_owned()]
    } else {
        Vec::new()
    };
    let config = Config {
        json_column,
        ..Config::default()
    };
    Engine::open_dir_with(dir, EngineOptions::overriding(config)).unwrap()
}

fn wanted(shape: &Shape) -> Vec<String> {
    let ids: BTreeSet<usize> = shape.wanted.iter().copied().collect();
    ids.iter().map(|id| format!("user {id}")).collect()
}

fn asked(
    shape: &Shape,
    disclosure: Disclosure,
    make: impl Fn(Subjects, jiff::Timestamp) -> Request,
) -> Request {
    let subjects = Subjects::new(wanted(shape)).unwrap();
    let mut request = make(subjects, jiff::Timestamp::UNIX_EPOCH);
    request.disclosure = disclosure;
    request.max_match = 1.0;
    request.unknown = Unknown::Report;
    request.required_columns = RequiredColumns::Default;
    request
}

/// An export as JSON, nulls left out.
fn exported(engine: &Engine, shape: &Shape, disclosure: Disclosure) -> Vec<Value> {
    let plan = engine
        .plan(&asked(shape, disclosure, Request::export))
        .unwrap();
    let mut lines = Vec::new();
    sink::write(
        &mut engine.export(&plan).unwrap(),
        Format::Jsonl,
        &mut lines,
    )
    .unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let line = |line: &str| normal(serde_json::from_str(line).unwrap());
    lines.lines().map(line).collect()
}

/// Without members that are null, numbers as they are compared.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let some = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(some.map(|(key, value)| (key, normal(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Number(number) => json!(number.as_f64()),
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) => json!(number),
            Err(_) => match serde_json::from_str::<Map<String, Value>>(&text) {
                Ok(object) => normal(Value::Object(object)),
                Err(_) => Value::String(text),
            },
        },
        other => other,
    }
}

/// Of an event, whose and when it is and its sources.
fn only_sources(event: &Value) -> Value {
    let sources_of = |value: &Value| {
        let mut object = value.as_object().cloned();
        if let Some(object) = &mut object {
            object.retain(|key, _| is_source_key(key));
        }
        json!(object)
    };
    let mut shown = Map::new();
    let millis = event["time"].as_u64().unwrap();
    let time = jiff::Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap();
    let time = time.to_string();
    shown.insert("time".to_owned(), json!(time.trim_end_matches('Z')));
    shown.insert("distinct_id".to_owned(), event["distinct_id"].clone());
    for name in SOURCES {
        shown.insert(name.to_owned(), event[name].clone());
    }
    if !event["context"].is_null() {
        let context = &event["context"];
        shown.insert(
            "context".to_owned(),
            json!({"ip": context["ip"], "deep": context["deep"]}),
        );
    }
    shown.insert("props".to_owned(), sources_of(&event["props"]));
    if let Some(logs) = event["logs"].as_array() {
        let logs = logs
            .iter()
            .map(|log| json!({"seen": sources_of(&log["seen"])}));
        shown.insert("logs".to_owned(), logs.collect());
    }
    if let Some(blob) = event["blob"].as_str() {
        if let Some(object) = only_source_keys(&serde_json::from_str(blob).unwrap()) {
            shown.insert("blob".to_owned(), object);
        }
    }
    normal(Value::Object(shown))
}

/// The headers of an export: for each subject, column and its rows.
type Headers = BTreeMap<(u64, String), (String, u64)>;

fn headers(engine: &Engine, shape: &Shape) -> Headers {
    let request = asked(shape, Disclosure::Categories, Request::export);
    let plan = engine.plan(&request).unwrap();
    let export = engine.export(&plan).unwrap();
    let names = ["subject", "table", "column", "type", "role", "rows"];
    let schema = export.schema();
    assert!(schema.fields().iter().map(|field| field.name()).eq(names));
    let mut headers = Headers::new();
    for batch in export {
        let batch: RecordBatch = batch.unwrap();
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name).unwrap().as_string::<i32>();
            column.value(row).to_owned()
        };
        let number = |name: &str, row: usize| {
            let column = batch.column_by_name(name).unwrap();
            column.as_primitive::<UInt64Type>().value(row)
        };
        for row in 0..batch.num_rows() {
            let key = (number("subject", row), text("column", row));
            let header = (text("role", row), number("rows", row));
            assert_eq!(headers.insert(key, header), None, "a header comes once");
        }
    }
    headers
}

/// Whether JSON holds anything but empty objects and lists.
fn holds(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(members) => members.values().any(holds),
        Value::Array(items) => items.iter().any(holds),
        _ => true,
    }
}

fn naive_headers(shape: &Shape, events: &[Value]) -> Headers {
    let mut headers = Headers::new();
    for (subject, id) in (1..).zip(wanted(shape)) {
        let mut count = |column: String, role: &str| {
            let header = headers
                .entry((subject, column))
                .or_insert((role.to_owned(), 0));
            header.1 += 1;
        };
        for event in events.iter().filter(|event| event["distinct_id"] == id) {
            for (name, value) in event.as_object().unwrap() {
                let role = match name.as_str() {
                    "distinct_id" => "subject",
                    "time" => "time",
                    name if SOURCES.contains(&name) => "source",
                    _ => "data",
                };
                let of_key = |key: &str| if is_source_key(key) { "source" } else { "data" };
                match name.as_str() {
                    // A map is there where it has keys.
                    "props" => {
                        let keys = value.as_object().into_iter().flatten();
                        let keys: Vec<_> = keys.collect();
                        if !keys.is_empty() {
                            count(name.clone(), role);
                        }
                        for (key, _) in keys.into_iter().filter(|(_, value)| !value.is_null()) {
                            count(format!("props.{key}"), of_key(key));
                        }
                    }
                    "blob" => {
                        let Some(text) = value.as_str() else { continue };
                        count(name.clone(), role);
                        let object: Map<String, Value> = serde_json::from_str(text).unwrap();
                        for key in object.keys() {
                            count(format!("blob.{key}"), of_key(key));
                        }
                    }
                    "logs" => {
                        let is_there = |log: &Value| {
                            let seen = log["seen"].as_object();
                            !log["name"].is_null() || seen.is_some_and(|seen| !seen.is_empty())
                        };
                        if value
                            .as_array()
                            .is_some_and(|logs| logs.iter().any(is_there))
                        {
                            count(name.clone(), role);
                        }
                    }
                    "device" | "context" | "must" => {
                        for (field, value) in value.as_object().into_iter().flatten() {
                            let role = match (name.as_str(), field.as_str()) {
                                ("device", _) | (_, "ip") => "source",
                                _ => "data",
                            };
                            if field == "deep" && holds(value) {
                                count(format!("{name}.deep.city"), "source");
                            } else if !value.is_object() && holds(value) {
                                count(format!("{name}.{field}"), role);
                            }
                        }
                    }
                    _ if holds(value) => count(name.clone(), role),
                    _ => {}
                }
            }
        }
    }
    headers
}

fn written(shape: &Shape) -> (tempfile::TempDir, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let events = shape.events();
    shape.write(&dir.path().join("events.parquet"), &events);
    (dir, events)
}

fn delete(engine: &Engine, shape: &Shape, disclosure: Disclosure) {
    let request = asked(shape, disclosure, Request::delete);
    engine
        .delete(&request, None, &DeleteOptions::default())
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn an_export_of_sources_is_what_the_naive_way_picks_and_after_a_delete_holds_none(shape in shape()) {
        let (dir, events) = written(&shape);
        let engine = engine(dir.path(), &shape);
        let of_them = || events.iter().filter(|event| shape.is_wanted(event));
        let expected: Vec<Value> = of_them().map(only_sources).collect();
        prop_assert_eq!(exported(&engine, &shape, Disclosure::Sources), expected);
        delete(&engine, &shape, Disclosure::Sources);
        let left = exported(&engine, &shape, Disclosure::Sources);
        prop_assert_eq!(left.len(), of_them().count());
        for (mut left, event) in left.into_iter().zip(of_them()) {
            let row = left.as_object_mut().unwrap();
            prop_assert_eq!(row.remove("distinct_id"), Some(event["distinct_id"].clone()));
            prop_assert!(row.remove("time").is_some());
            prop_assert!(!holds(&left), "{}", left);
        }
    }

    #[test]
    fn the_categories_are_what_the_naive_way_counts_and_after_a_delete_just_the_keys(shape in shape()) {
        let (dir, events) = written(&shape);
        let engine = engine(dir.path(), &shape);
        prop_assert_eq!(headers(&engine, &shape), naive_headers(&shape, &events));
        delete(&engine, &shape, Disclosure::Categories);
        for ((_, column), (role, _)) in headers(&engine, &shape) {
            let is_key = ["subject", "time"].contains(&role.as_str());
            prop_assert!(is_key || REQUIRED.contains(&column.as_str()), "{} ({})", column, role);
        }
    }

    #[test]
    fn after_a_delete_of_data_none_is_exported(shape in shape()) {
        let (dir, events) = written(&shape);
        let engine = engine(dir.path(), &shape);
        let of_them = events.iter().filter(|event| shape.is_wanted(event)).count();
        prop_assert_eq!(exported(&engine, &shape, Disclosure::Data).len(), of_them);
        delete(&engine, &shape, Disclosure::Data);
        prop_assert!(exported(&engine, &shape, Disclosure::Data).is_empty());
        prop_assert!(headers(&engine, &shape).is_empty());
    }
}
