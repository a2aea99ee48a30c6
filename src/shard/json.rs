//! JSON objects in string columns: which columns hold them, and an object without some of its members.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::ColumnDescriptor;
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Shard;
use super::chunk::Source;
use super::chunk::reader::sample;
use super::schema::{Found, find};
use crate::error::{Error, FormatError, Result};
use crate::parquet_bytes::footer::{column, statistics as field};

/// Values that say whether a column holds JSON objects.
const SAMPLED_VALUES: usize = 100;

/// The leaves of `shard` that hold JSON objects: the configured ones, or those that say so or whose first 100
/// values all are (empty ones and `null` don't count, but one must be).
///
/// # Errors
/// When a configured column holds no text, or a page is damaged.
pub fn json_leaves(shard: &Shard, configured: &[String]) -> Result<BTreeSet<usize>> {
    let schema = shard.footer.schema();
    let mut leaves = BTreeSet::new();
    for name in configured {
        let leaf = match find(schema, name) {
            None => continue,
            Some(Found::Leaf(leaf)) => leaf,
            Some(Found::Group) => return Err(not_text(shard, name, "a group")),
        };
        let physical = schema.column(leaf).physical_type();
        if physical != Physical::BYTE_ARRAY {
            return Err(not_text(shard, name, &physical.to_string()));
        }
        leaves.insert(leaf);
    }
    if configured.is_empty() {
        for (leaf, descriptor) in schema.columns().iter().enumerate() {
            if is_text(descriptor)
                && holds_objects(shard, leaf, descriptor)
                    .map_err(|error| error.in_shard(&shard.path))?
            {
                leaves.insert(leaf);
            }
        }
    }
    Ok(leaves)
}

fn not_text(shard: &Shard, column: &str, found: &str) -> Error {
    Error::ColumnType {
        path: shard.path.clone(),
        role: "JSON",
        column: column.to_owned(),
        found: found.to_owned(),
        expected: "expected text",
    }
}

fn is_text(descriptor: &ColumnDescriptor) -> bool {
    descriptor.physical_type() == Physical::BYTE_ARRAY
        && match descriptor.logical_type_ref() {
            Some(logical) => matches!(logical, LogicalType::String | LogicalType::Json),
            None => matches!(
                descriptor.converted_type(),
                ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::JSON
            ),
        }
}

fn holds_objects(
    shard: &Shard,
    leaf: usize,
    descriptor: &ColumnDescriptor,
) -> std::result::Result<bool, FormatError> {
    if descriptor.logical_type_ref() == Some(&LogicalType::Json)
        || descriptor.converted_type() == ConvertedType::JSON
    {
        return Ok(true);
    }
    for group in 0..shard.footer.row_groups().len() {
        let Some(source) = Source::of(shard, group, leaf) else {
            continue;
        };
        let statistics = source.meta.structure(column::STATISTICS);
        let nulls = statistics.and_then(|statistics| statistics.i64(field::NULL_COUNT));
        if nulls.is_some_and(|nulls| u64::try_from(nulls) == Ok(source.chunk.values)) {
            continue;
        }
        // Every object lies between two that begin with a brace.
        let largest = statistics.and_then(|statistics| statistics.binary(field::MAX_VALUE));
        let first = |text: &[u8]| {
            text.iter()
                .copied()
                .find(|byte| !byte.is_ascii_whitespace())
        };
        if largest.is_some_and(|text| !matches!(first(text), Some(b'{' | b'n') | None)) {
            return Ok(false);
        }
        let values = sample(&source, SAMPLED_VALUES)?;
        let mut objects = 0;
        for value in values {
            let text = value.trim_ascii();
            if is_object(text) {
                objects += 1;
            } else if !text.is_empty() && text != b"null" {
                return Ok(false);
            }
        }
        if objects > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_object(text: &[u8]) -> bool {
    text.first() == Some(&b'{') && members(text).is_some()
}

/// A member of an object: its key, and where its value ends in the text.
type Member<'a> = (Cow<'a, str>, usize);

/// The members of an object in the order of the text; `None` if it is no JSON object.
fn members(text: &[u8]) -> Option<Vec<Member<'_>>> {
    struct Members<'a>(&'a str);
    impl<'a> Visitor<'a> for Members<'a> {
        type Value = Vec<Member<'a>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut members = Vec::new();
            while let Some(key) = map.next_key::<Key<'a>>()? {
                let value: &'a RawValue = map.next_value()?;
                let from = value.get().as_ptr().addr() - self.0.as_ptr().addr();
                members.push((key.0, from + value.get().len()));
            }
            Ok(members)
        }
    }
    let text = std::str::from_utf8(text).ok()?;
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json.deserialize_map(Members(text)).ok()?;
    json.end().ok()?;
    Some(members)
}

/// A key, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The object in `text` without the members whose key `is_gone`; the rest of it stays byte for byte. `None` if
/// there are none, or it is no JSON object.
pub fn without_members(text: &[u8], is_gone: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let members = members(text)?;
    if !members.iter().any(|(key, _)| is_gone(key)) {
        return None;
    }
    let open = text.iter().position(|byte| *byte == b'{')?;
    let mut left = text.get(..=open)?.to_vec();
    let mut from = open + 1;
    let mut is_first = true;
    for (key, end) in &members {
        // With the comma in front of it, unless it is the first.
        let member = text.get(from..*end)?;
        from = *end;
        if is_gone(key) {
            continue;
        }
        let bare = member.trim_ascii_start();
        match bare.strip_prefix(b",") {
            Some(bare) if is_first => left.extend_from_slice(bare.trim_ascii_start()),
            _ => left.extend_from_slice(member),
        }
        is_first = false;
    }
    let rest = text.get(from..)?;
    left.extend_from_slice(if is_first {
        rest.trim_ascii_start()
    } else {
        rest
    });
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(text: &str) -> Option<String> {
        let left = without_members(text.as_bytes(), |key| key.starts_with('$'))?;
        Some(String::from_utf8(left).unwrap())
    }

    #[test]
    fn members_go_and_the_rest_stays_as_it_was() {
        for (text, left) in [
            (r#"{"$a":1,"b":2}"#, r#"{"b":2}"#),
            (r#"{"b":2,"$a":1}"#, r#"{"b":2}"#),
            (
                r#"{"b":2, "$a":{"x":[1,"}"]}, "c": 1e400 }"#,
                r#"{"b":2, "c": 1e400 }"#,
            ),
            (r#" { "$a" : 1 , "b" : 2 } "#, r#" {"b" : 2 } "#),
            (r#"{ "$a": 1 }"#, "{}"),
            (r#"{"\u0024a":1,"b":"\"$a\":1"}"#, r#"{"b":"\"$a\":1"}"#),
            (r#"{"$a":1,"$a":2,"b":{"$a":3}}"#, r#"{"b":{"$a":3}}"#),
        ] {
            assert_eq!(without(text).as_deref(), Some(left), "{text}");
            assert_eq!(without(left), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_object_stays() {
        for text in [
            "",
            "null",
            "[{\"$a\":1}]",
            "{\"$a\":1",
            "{\"$a\":1}x",
            "$a",
            "{\"b\":1}",
        ] {
            assert_eq!(without(text), None, "{text}");
        }
        let deep = format!("{}{}", "{\"$a\":".repeat(100_000), "}");
        assert_eq!(without(&deep), None);
        let deep = format!("{{\"$a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(without(&deep).as_deref(), Some("{}"));
    }
}
