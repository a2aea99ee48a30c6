//! Sources in JSON, structs, lists and maps: which columns hold JSON is never guessed against the person, what can't be
//! read is cleared whole, and after a delete of sources an export of sources holds none.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use efface::export::sink::{self, Format};
use efface::request::Disclosure;
use efface::request::subjects::Subjects;
use efface::{
    Config, DeleteOptions, DeleteReport, Engine, EngineOptions, Error, ErrorKind, Request,
};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

const ROWS: usize = 40;
const GOOD: &str = r#"{"browser":"Chrome","x":1}"#;

/// A dataset in which every second row is of p.
fn dataset(column: ArrayRef) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let ids = (0..column.len()).map(|row| Some(if row % 2 == 1 { "p" } else { "q" }));
    let ids: ArrayRef = Arc::new(ids.collect::<StringArray>());
    let columns = [("distinct_id", ids, true), ("properties", column, true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let file = std::fs::File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    dir
}

fn texts(values: &[&str]) -> tempfile::TempDir {
    dataset(Arc::new(StringArray::from(values.to_vec())))
}

fn engine(dir: &Path, config: &Config) -> Engine {
    Engine::open_dir_with(dir, EngineOptions::overriding(config.clone())).unwrap()
}

fn delete(dir: &Path, config: &Config) -> efface::Result<DeleteReport> {
    let subjects = Subjects::new(["p".to_owned()]).unwrap();
    let mut request = Request::delete(subjects, jiff::Timestamp::UNIX_EPOCH);
    request.disclosure = Disclosure::Sources;
    request.max_match = 1.0;
    engine(dir, config).delete(&request, None, &DeleteOptions::default())
}

fn export(dir: &Path, config: &Config, disclosure: Disclosure) -> efface::Result<String> {
    let subjects = Subjects::new(["p".to_owned()]).unwrap();
    let mut request = Request::export(subjects, jiff::Timestamp::UNIX_EPOCH);
    request.disclosure = disclosure;
    let engine = engine(dir, config);
    let plan = engine.plan(&request)?;
    let mut lines = Vec::new();
    sink::write(&mut engine.export(&plan)?, Format::Jsonl, &mut lines)?;
    Ok(String::from_utf8(lines).unwrap())
}

/// After the delete nothing but whose the rows are is exported of sources, and `secret` is nowhere in them.
fn assert_law(dir: &Path, config: &Config, secret: &str) -> DeleteReport {
    assert!(
        export(dir, config, Disclosure::Sources)
            .unwrap()
            .contains(secret)
    );
    let done = delete(dir, config).unwrap();
    let sources = export(dir, config, Disclosure::Sources).unwrap();
    for line in sources.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(!holds(&row["properties"]), "{line}");
    }
    let left = export(dir, config, Disclosure::Data).unwrap();
    assert_eq!(left.lines().count(), sources.lines().count());
    assert!(!left.contains(secret), "{left}");
    let again = delete(dir, config).unwrap();
    assert_eq!(again.values_cleared, 0);
    done
}

fn holds(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => false,
        serde_json::Value::Object(members) => members.values().any(holds),
        serde_json::Value::Array(items) => items.iter().any(holds),
        _ => true,
    }
}

#[test]
fn one_odd_value_turns_nothing_off_and_is_cleared_whole() {
    for (odd, whole) in [
        (GOOD, 0),
        (r#"{"browser":"Chr"#, 1),
        ("[]", 1),
        (r#"[{"browser":"Chrome"}]"#, 1),
        ("n/a", 1),
        ("\u{feff}{\"browser\":\"Chrome\",\"x\":1}", 0),
        ("\"{\\\"browser\\\":\\\"Chrome\\\"}\"", 1),
        ("7", 1),
        ("", 0),
        ("null", 0),
    ] {
        for at in [0, 1, 15] {
            let mut values = vec![GOOD; ROWS];
            values[at] = odd;
            let dir = texts(&values);
            let done = assert_law(dir.path(), &Config::default(), "Chrome");
            let is_of_p = u64::from(at % 2 == 1);
            assert_eq!(done.values_cleared_whole, whole * is_of_p, "{odd} at {at}");
        }
    }
}

#[test]
fn a_column_of_which_less_than_half_is_json_is_refused_until_somebody_says_which_it_is() {
    let mut values = vec!["just a comment"; ROWS];
    values[..19].fill(GOOD);
    let dir = texts(&values);
    let before = std::fs::read(dir.path().join("a.parquet")).unwrap();
    let nothing = Config::default();
    let is_said = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("properties") && text.contains("a.parquet"),
            "{text}"
        );
    };
    is_said(delete(dir.path(), &nothing).unwrap_err());
    is_said(export(dir.path(), &nothing, Disclosure::Sources).unwrap_err());
    is_said(export(dir.path(), &nothing, Disclosure::Categories).unwrap_err());
    assert!(std::fs::read(dir.path().join("a.parquet")).unwrap() == before);
    // Whole rows need no decision.
    assert_eq!(
        export(dir.path(), &nothing, Disclosure::Data)
            .unwrap()
            .lines()
            .count(),
        20
    );
    let named = vec!["properties".to_owned()];
    let text = Config {
        text_column: named.clone(),
        ..Config::default()
    };
    assert_eq!(delete(dir.path(), &text).unwrap().values_cleared, 0);
    assert!(
        export(dir.path(), &text, Disclosure::Data)
            .unwrap()
            .contains("Chrome")
    );
    let json = Config {
        json_column: named,
        ..Config::default()
    };
    assert_eq!(
        assert_law(dir.path(), &json, "Chrome").values_cleared_whole,
        11
    );
}

#[test]
fn half_is_enough_and_none_is_text() {
    let mut values = vec!["n/a"; ROWS];
    values[..20].fill(GOOD);
    let dir = texts(&values);
    assert_eq!(
        assert_law(dir.path(), &Config::default(), "Chrome").values_cleared_whole,
        10
    );
    let dir = texts(&["browser"; ROWS]);
    assert_eq!(
        delete(dir.path(), &Config::default())
            .unwrap()
            .values_cleared,
        0
    );
}

#[test]
fn a_column_that_is_no_text_or_that_no_shard_has_is_no_text_column() {
    let dir = dataset(Arc::new(Int64Array::from(vec![1; 4])));
    for name in ["properties", "misspelt"] {
        let config = Config {
            text_column: vec![name.to_owned()],
            ..Config::default()
        };
        let error = delete(dir.path(), &config).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn fields_of_structs_in_structs_and_in_lists_are_sources() {
    let city: ArrayRef = Arc::new(StringArray::from(vec!["Secret"; 4]));
    let price: ArrayRef = Arc::new(Int64Array::from(vec![7; 4]));
    let field = |name: &str, of: &ArrayRef| Field::new(name, of.data_type().clone(), true);
    let group = |columns: Vec<(&str, ArrayRef)>| -> ArrayRef {
        let fields: Fields = columns.iter().map(|(name, of)| field(name, of)).collect();
        let columns = columns.into_iter().map(|(_, of)| of).collect();
        Arc::new(StructArray::new(fields, columns, None))
    };
    let list = |of: ArrayRef| -> ArrayRef {
        let item = Arc::new(Field::new("item", of.data_type().clone(), true));
        Arc::new(ListArray::new(
            item,
            OffsetBuffer::from_lengths([1; 4]),
            of,
            None,
        ))
    };
    let inner = group(vec![("city", city), ("price", price)]);
    let deep = |of: ArrayRef| group(vec![("a", group(vec![("b", of)]))]);
    for column in [
        group(vec![("a", inner.clone())]),
        deep(inner.clone()),
        list(inner.clone()),
        deep(list(deep(inner.clone()))),
        list(list(inner.clone())),
    ] {
        let what: DataType = column.data_type().clone();
        let dir = dataset(column);
        assert_law(dir.path(), &Config::default(), "Secret");
        let left = export(dir.path(), &Config::default(), Disclosure::Data).unwrap();
        assert!(left.contains("\"price\":7"), "{what}: {left}");
    }
}

#[test]
fn what_looks_like_a_source_and_was_left_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; 2])) };
    let columns = [
        ("distinct_id", text("p")),
        ("lib", text("l")),
        ("ip", text("i")),
        ("plan", text("x")),
    ];
    let columns = columns.map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let file = std::fs::File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let config = Config {
        source: vec!["lib".to_owned()],
        ..Config::default()
    };
    assert_eq!(delete(dir.path(), &config).unwrap().sources_left, ["ip"]);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::json!("Chrome")),
        Just(serde_json::json!(null)),
        Just(serde_json::json!("a\\\"}{[,")),
        any::<i32>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, |inside| {
        let key = proptest::sample::select(vec!["$os", "browser", "a", "b \"{", "c,]"]);
        prop_oneof![
            proptest::collection::vec(inside.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::vec((key, inside), 0..4).prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                serde_json::Value::Object(members.collect())
            }),
        ]
    })
}

/// The naive way.
fn without_sources(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            members.retain(|key, _| !["$os", "browser"].contains(&key.as_str()));
            members.values_mut().for_each(without_sources);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_sources),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn members_go_at_any_depth_and_the_rest_stays(
        values in proptest::collection::vec((json(), any::<bool>()), 1..12)
    ) {
        let lines: Vec<String> = values
            .iter()
            .map(|(value, is_spaced)| match is_spaced {
                true => serde_json::to_string_pretty(value).unwrap(),
                false => value.to_string(),
            })
            .collect();
        let dir = texts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let config = Config {
            json_column: vec!["properties".to_owned()],
            ..Config::default()
        };
        delete(dir.path(), &config).unwrap();
        let left = export(dir.path(), &config, Disclosure::Data);
        if values.len() < 2 {
            return Ok(());
        }
        let left = left.unwrap();
        let of_p = values.iter().map(|(value, _)| value).skip(1).step_by(2);
        for (line, value) in left.lines().zip(of_p) {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let found: serde_json::Value =
                serde_json::from_str(row["properties"].as_str().unwrap()).unwrap();
            let mut expected = match value {
                serde_json::Value::Object(_) | serde_json::Value::Null => value.clone(),
                _ => serde_json::json!({}),
            };
            without_sources(&mut expected);
            prop_assert_eq!(found, expected);
        }
        for line in export(dir.path(), &config, Disclosure::Sources).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            prop_assert!(row.get("properties").is_none(), "{}", line);
        }
    }
}
