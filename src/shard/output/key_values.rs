//! Key-values of the footer that are made of the rows: what of them would tell of rows that are gone.
//!
//! | key | what goes |
//! |---|---|
//! | those of record keys ([`RECORD_KEYS`]) | all of it |
//! | `geo` (`GeoParquet`) | the bounding box of each column |
//! | `org.apache.spark.sql.parquet.row.metadata` | attributes of Spark ML: labels, least and greatest values |
//! | `stac-geoparquet`, `stac:collection`, `stac:collections` | the extents |
//! | `ARROW:schema` | the same of what it holds under these keys |
//!
//! Members of JSON are overwritten with blanks, so that nothing else of a text moves: in the flatbuffer of
//! `ARROW:schema` other things point behind it.

use std::ops::Range;

use arrow::ipc::{Field, KeyValue, root_as_message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::parquet_bytes::footer::file;
use crate::parquet_bytes::thrift::{Struct, Value};
use crate::shard::json::members;
use crate::shard::rewrite::report::RECORD_KEYS;

/// Fields of a `KeyValue`.
const KEY: i16 = 1;
const VALUE: i16 = 2;

/// The key of the serialized Arrow schema.
pub(crate) const ARROW_SCHEMA: &[u8] = b"ARROW:schema";

/// Levels of JSON and of Arrow types that are looked through. What lies deeper goes with what it lies in.
const DEPTH_MAX: usize = 64;

/// A key whose value is JSON, and the name of the members that are made of rows.
const MADE_OF_ROWS: [(&str, &str); 5] = [
    ("geo", "bbox"),
    ("org.apache.spark.sql.parquet.row.metadata", "ml_attr"),
    ("stac-geoparquet", "extent"),
    ("stac:collection", "extent"),
    ("stac:collections", "extent"),
];

/// What is left of a text.
enum Left {
    /// All of it.
    All,
    /// This, which is as long.
    Blanked(Vec<u8>),
    /// Nothing: it can't be taken apart.
    Nothing,
}

/// Takes what is made of rows out of the key-values of a footer; says what went.
pub(super) fn without_rows(footer: &mut Struct) -> Vec<String> {
    let mut gone = Vec::new();
    let Some(pairs) = footer.list_mut(file::KEY_VALUES) else {
        return gone;
    };
    pairs.items.retain_mut(|pair| {
        let Value::Struct(pair) = pair else {
            return true;
        };
        let key = pair.binary(KEY).unwrap_or_default().to_vec();
        let known = RECORD_KEYS.iter().find(|known| known.as_bytes() == key);
        if let Some(known) = known {
            gone.push((*known).to_owned());
            return false;
        }
        let value = pair.binary(VALUE).unwrap_or_default();
        let (left, told) = if key == ARROW_SCHEMA {
            arrow_without_rows(value)
        } else {
            let rule = rule(&key);
            let left = rule.map_or(Left::All, |(_, member)| without(value, member));
            (left, rule.map_or_else(String::new, told))
        };
        match left {
            Left::All => true,
            Left::Blanked(value) => {
                pair.set(VALUE, Value::Binary(value));
                gone.push(told);
                true
            }
            Left::Nothing => {
                gone.push(String::from_utf8_lossy(&key).into_owned());
                false
            }
        }
    });
    gone
}

fn rule(key: &[u8]) -> Option<(&'static str, &'static str)> {
    let mut rules = MADE_OF_ROWS.iter();
    rules.find(|(known, _)| known.as_bytes() == key).copied()
}

fn told((key, member): (&str, &str)) -> String {
    format!("{key}: {member}")
}

/// The serialized Arrow schema in base64, whose own key-values hold copies of those of the footer.
fn arrow_without_rows(value: &[u8]) -> (Left, String) {
    let mut told_of = String::new();
    let Ok(mut bytes) = STANDARD.decode(value) else {
        return (Left::All, told_of);
    };
    let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for (key, at) in arrow_pairs(&bytes) {
        let Some(rule) = rule(key.as_bytes()) else {
            continue;
        };
        let text = bytes.get(at.clone()).unwrap_or_default();
        let left = match without(text, rule.1) {
            Left::All => continue,
            Left::Blanked(left) => left,
            Left::Nothing => vec![b' '; text.len()],
        };
        told_of = format!("ARROW:schema: {}", told(rule));
        edits.push((at, left));
    }
    if edits.is_empty() {
        return (Left::All, told_of);
    }
    for (at, left) in edits {
        if let Some(part) = bytes.get_mut(at) {
            part.copy_from_slice(&left);
        }
    }
    (Left::Blanked(STANDARD.encode(&bytes).into_bytes()), told_of)
}

/// The key-values of a serialized Arrow schema and of its fields: the key, and where the value lies.
fn arrow_pairs(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    // The length of the message, in newer files behind four bytes that no old length is.
    let message = match bytes.strip_prefix(&CONTINUATION) {
        Some(rest) => rest.get(4..),
        None => bytes.get(4..),
    };
    let schema = message.and_then(|message| root_as_message(message).ok());
    let Some(schema) = schema.and_then(|message| message.header_as_schema()) else {
        return Vec::new();
    };
    let mut pairs: Vec<KeyValue<'_>> = schema.custom_metadata().into_iter().flatten().collect();
    let fields = schema.fields().into_iter().flatten();
    let mut fields: Vec<(Field<'_>, usize)> = fields.map(|field| (field, 0)).collect();
    while let Some((field, depth)) = fields.pop() {
        pairs.extend(field.custom_metadata().into_iter().flatten());
        if depth < DEPTH_MAX {
            let below = field.children().into_iter().flatten();
            fields.extend(below.map(|field| (field, depth + 1)));
        }
    }
    let place = |pair: KeyValue<'_>| {
        let (key, value) = (pair.key()?, pair.value()?);
        let from = value.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
        Some((key.to_owned(), from..from + value.len()))
    };
    pairs.into_iter().filter_map(place).collect()
}

/// A text of JSON without the members of this name.
fn without(text: &[u8], member: &str) -> Left {
    let mut left = text.to_vec();
    let Ok(text) = std::str::from_utf8(text) else {
        return Left::Nothing;
    };
    let mut blanks = Vec::new();
    if find(text, 0, member, 0, &mut blanks).is_none() {
        return Left::Nothing;
    }
    if blanks.is_empty() {
        return Left::All;
    }
    for range in blanks {
        if let Some(part) = left.get_mut(range) {
            part.fill(b' ');
        }
    }
    Left::Blanked(left)
}

/// Finds members of this name in `text`, which lies at `base`, and the commas that go with them. `None` if it is no
/// JSON.
fn find(
    text: &str,
    base: usize,
    member: &str,
    depth: usize,
    blanks: &mut Vec<Range<usize>>,
) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let trimmed = text.trim_ascii_start();
    if trimmed.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        for item in items {
            let at = item.get().as_ptr().addr() - text.as_ptr().addr();
            find(item.get(), base + at, member, depth + 1, blanks)?;
        }
        return Some(());
    }
    if !trimmed.starts_with('{') {
        return serde_json::from_str::<&RawValue>(text).ok().map(drop);
    }
    let mut from = text.find('{')? + 1;
    let mut is_first = true;
    for (key, at) in members(text)? {
        let value = text.get(at.clone())?;
        // How a box is made of columns (`covering`) is no box.
        let is_gone = key == member && !(member == "bbox" && value.starts_with('{'));
        if is_gone {
            blanks.push(base + from..base + at.end);
        } else {
            if is_first && let Some(comma) = text.get(from..at.start)?.find(',') {
                let comma = base + from + comma;
                // That of a member which is gone; a key may hold one, too, but stands behind it.
                if !text.get(from..comma - base)?.contains('"') {
                    blanks.push(comma..comma + 1);
                }
            }
            is_first = false;
            find(value, base + at.start, member, depth + 1, blanks)?;
        }
        from = at.end;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str, member: &str) -> Option<String> {
        match without(text.as_bytes(), member) {
            Left::All => Some(text.to_owned()),
            Left::Blanked(left) => String::from_utf8(left).ok(),
            Left::Nothing => None,
        }
    }

    #[test]
    fn members_go_and_nothing_else_moves() {
        for (text, rest) in [
            (
                r#"{"bbox":[1.5,2],"a":1.10}"#,
                r#"{               "a":1.10}"#,
            ),
            (r#"{"a":1, "bbox" : [1]}"#, r#"{"a":1              }"#),
            (r#"{"a":1,"bbox":[1],"b":2}"#, r#"{"a":1           ,"b":2}"#),
            (
                r#"{"bbox":[1],"bbox":null,"b,c":2}"#,
                r#"{                       "b,c":2}"#,
            ),
            (r#"{"bbox":[1]}"#, "{          }"),
            (r#"[{"x":{"bbox":[1]}}]"#, r#"[{"x":{          }}]"#),
            (
                r#"{"covering":{"bbox":{"xmin":["b","x"]}}}"#,
                r#"{"covering":{"bbox":{"xmin":["b","x"]}}}"#,
            ),
            (r#"{"a":"bbox, [1]"}"#, r#"{"a":"bbox, [1]"}"#),
        ] {
            assert_eq!(left(text, "bbox").as_deref(), Some(rest));
            assert_eq!(text.len(), rest.len());
            let _json: serde_json::Value = serde_json::from_str(rest).unwrap();
        }
        for text in [r#"{"bbox":[1]"#, "", "\u{1}"] {
            assert_eq!(left(text, "bbox"), None, "{text}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(left(&deep, "bbox"), None);
    }
}
