//! Footer key-values that are made of the rows: after a delete nothing of them tells of rows that are gone.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use efface::shard::residue::Place;
use efface::{DeleteOptions, DeleteReport, Engine, Request, SubjectId, Subjects};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Who is erased.
const ERASED: &str = "erased-person";

/// Stands in metadata for something that was made of the erased rows.
const TRACE: &str = "-123.456789";

/// A dataset of one shard; the metadata stands in the footer, and in the Arrow schema as well.
fn dataset(metadata: &[(&str, String)], of_field: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..40).map(|row| format!("person {}", row % 7)).collect();
    let ids = ids.iter().map(String::as_str).chain([ERASED]);
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..41));
    let texts = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let id = Field::new("distinct_id", ids.data_type().clone(), true);
    let fields = vec![
        id.with_metadata(texts(of_field)),
        Field::new("number", numbers.data_type().clone(), true),
    ];
    let copies: Vec<(&str, &str)> = metadata
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, texts(&copies)));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids, numbers]).unwrap();
    let pairs = metadata.iter();
    let pairs = pairs.map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(pairs.collect()))
        .build();
    let file = File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    dir
}

fn delete(dir: &TempDir) -> DeleteReport {
    let request = Request::delete(
        Subjects::new([ERASED]).unwrap(),
        "2026-01-31T12:00:00Z".parse().unwrap(),
    );
    let engine = Engine::open_dir(dir.path()).unwrap();
    engine
        .delete(&request, None, &DeleteOptions::default())
        .unwrap()
}

/// The key-values of the footer, the Arrow schema decoded.
fn key_values(dir: &TempDir) -> HashMap<String, Vec<u8>> {
    let file = File::open(dir.path().join("a.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata();
    let decoded = |pair: &KeyValue| {
        let value = pair.value.clone().unwrap_or_default();
        let value = match pair.key.as_str() {
            "ARROW:schema" => STANDARD.decode(value).unwrap(),
            _ => value.into_bytes(),
        };
        (pair.key.clone(), value)
    };
    pairs.into_iter().flatten().map(decoded).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// The schema as a reader sees it.
fn schema(dir: &TempDir) -> Schema {
    let file = File::open(dir.path().join("a.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
    reader.unwrap().schema().as_ref().clone()
}

fn geo(bbox: &Value) -> String {
    let column = json!({
        "encoding": "WKB",
        "geometry_types": ["Point"],
        "bbox": bbox,
        "covering": {"bbox": {"xmin": ["box", "xmin"]}},
    });
    json!({"version": "1.1.0", "primary_column": "g", "columns": {"g": column}}).to_string()
}

#[test]
fn what_is_made_of_rows_goes_and_the_rest_stays() {
    let trace: Value = TRACE.parse().unwrap();
    let ml = json!({"type": "struct", "fields": [{
        "name": "distinct_id", "type": "string",
        "metadata": {"ml_attr": {"vals": [TRACE, "b"], "type": "nominal"}, "comment": "kept"},
    }]});
    let stac = json!({"version": "1", "collections": {"c": {"id": "kept", "extent": {"spatial": {"bbox": [[trace]]}}}}});
    for (key, text, told, kept) in [
        (
            "geo",
            geo(&json!([trace, 1.5, 2, 3])),
            "geo: bbox",
            "\"primary_column\":\"g\"",
        ),
        (
            "org.apache.spark.sql.parquet.row.metadata",
            ml.to_string(),
            "org.apache.spark.sql.parquet.row.metadata: ml_attr",
            "\"comment\":\"kept\"",
        ),
        (
            "stac-geoparquet",
            stac.to_string(),
            "stac-geoparquet: extent",
            "\"id\":\"kept\"",
        ),
    ] {
        let dir = dataset(&[(key, text.clone()), ("mine", "stays".to_owned())], &[]);
        let before = key_values(&dir);
        assert!(holds(&before[key], TRACE) && holds(&before["ARROW:schema"], TRACE));
        let types = schema(&dir);
        let done = delete(&dir);
        assert_eq!(
            done.dropped_key_values,
            [format!("ARROW:schema: {told}"), told.to_owned()]
        );
        let after = key_values(&dir);
        for (name, value) in &after {
            assert!(!holds(value, TRACE), "{name}");
            assert_eq!(value.len(), before[name].len(), "nothing moves in {name}");
        }
        assert_eq!(after.len(), before.len());
        assert_eq!(after["mine"], b"stays");
        let left = std::str::from_utf8(&after[key]).unwrap();
        let _json: Value = serde_json::from_str(left).unwrap();
        assert!(left.contains(kept), "{left}");
        assert_eq!(schema(&dir).fields(), types.fields());
    }
}

#[test]
fn how_a_box_is_made_of_columns_is_no_box() {
    let dir = dataset(&[("geo", geo(&json!([1, 2, 3, 4])))], &[]);
    delete(&dir);
    let left: Value = serde_json::from_slice(&key_values(&dir)["geo"]).unwrap();
    let column = &left["columns"]["g"];
    assert_eq!(column["covering"]["bbox"]["xmin"], json!(["box", "xmin"]));
    assert_eq!(column["bbox"], Value::Null);
}

#[test]
fn metadata_that_is_damaged_goes_whole() {
    let dir = dataset(&[("geo", format!("{{\"bbox\": [{TRACE}"))], &[]);
    let done = delete(&dir);
    assert!(done.dropped_key_values.contains(&"geo".to_owned()));
    let after = key_values(&dir);
    assert!(!after.contains_key("geo") && !holds(&after["ARROW:schema"], TRACE));
}

#[test]
fn a_shard_that_loses_nothing_keeps_what_is_made_of_its_rows() {
    let dir = dataset(&[("geo", geo(&json!([1, 2, 3, 4])))], &[]);
    let before = key_values(&dir);
    let request = Request {
        unknown: efface::request::Unknown::Report,
        ..Request::delete(
            Subjects::new(["nobody"]).unwrap(),
            "2026-01-31T12:00:00Z".parse().unwrap(),
        )
    };
    let engine = Engine::open_dir(dir.path()).unwrap();
    let done = engine.delete(&request, None, &DeleteOptions::default());
    assert!(done.unwrap().dropped_key_values.is_empty());
    assert_eq!(key_values(&dir), before);
}

#[test]
fn verify_looks_into_the_arrow_schema() {
    let categories = format!("{};{ERASED}3;ann", ERASED.len());
    let dir = dataset(&[], &[("_PL_ENUM_VALUES", &categories)]);
    delete(&dir);
    let engine = Engine::open_dir(dir.path()).unwrap();
    let found = engine.verify(&[SubjectId::new(ERASED)]).unwrap();
    let places: Vec<Place> = found.findings.iter().map(|finding| finding.place).collect();
    assert_eq!(places, [Place::KeyValue]);
}
