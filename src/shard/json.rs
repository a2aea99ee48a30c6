//! JSON objects in string columns: which columns hold them, and an object without some of its members.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

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

/// What some writers put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Values that say whether a column holds JSON objects.
const SAMPLED_VALUES: usize = 100;

/// The leaves of `shard` that hold JSON objects: the configured ones, or those that say so or whose first values
/// all are: up to 100 of the first page that has some (empty ones and `null` don't count, but one must be).
///
/// # Errors
/// When a configured column holds no text, or a page is damaged.
pub fn json_leaves(shard: &Shard, configured: &[String]) -> Result<BTreeSet<usize>> {
    let schema = shard.footer.schema();
    let mut leaves = BTreeSet::new();
    for name in configured {
        for found in find(schema, name).map_err(|names| names.of(&shard.path, "JSON", name))? {
            let Found::Leaf(leaf) = found else {
                return Err(not_text(shard, name, "a group"));
            };
            let physical = schema.column(leaf).physical_type();
            if physical != Physical::BYTE_ARRAY {
                return Err(not_text(shard, name, &physical.to_string()));
            }
            leaves.insert(leaf);
        }
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
    text.first() == Some(&b'{') && read_members(text, &mut String::new()).is_some()
}

/// The members of an object that is JSON, or almost; `masked` keeps what they were read from in that case.
fn read_members<'a>(text: &'a [u8], masked: &'a mut String) -> Option<Vec<Member<'a>>> {
    let exact = std::str::from_utf8(text).ok().and_then(members);
    if exact.is_some() {
        return exact;
    }
    *masked = mask(text);
    members(masked)
}

/// Text of the same length in which what writers put into JSON although it is none is something that is:
/// `NaN` and `Infinity`, raw control characters in strings, bytes that are no UTF-8.
fn mask(text: &[u8]) -> String {
    let is_utf8 = std::str::from_utf8(text).is_ok();
    let mut masked = Vec::with_capacity(text.len());
    let (mut is_string, mut is_escaped) = (false, false);
    while let Some(rest) = text.get(masked.len()..).filter(|rest| !rest.is_empty()) {
        let token = [("NaN", "0e0"), ("Infinity", "1e000000")];
        let token = token
            .iter()
            .find(|(odd, _)| !is_string && rest.starts_with(odd.as_bytes()));
        if let Some((_, number)) = token {
            masked.extend_from_slice(number.as_bytes());
            continue;
        }
        let byte = rest.first().copied().unwrap_or(0);
        let is_odd = is_string && byte < 0x20 || !is_utf8 && byte >= 0x80;
        masked.push(if is_odd { b'?' } else { byte });
        match (is_string, byte) {
            (_, b'"') if !is_escaped => is_string = !is_string,
            _ => {}
        }
        is_escaped = is_string && byte == b'\\' && !is_escaped;
    }
    String::from_utf8(masked).unwrap_or_default()
}

/// A member of an object: its key, and where its value lies in the text.
type Member<'a> = (Cow<'a, str>, Range<usize>);

/// The members of an object in the order of the text; `None` if it is no JSON object.
pub(super) fn members(text: &str) -> Option<Vec<Member<'_>>> {
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
                members.push((key.0, from..from + value.get().len()));
            }
            Ok(members)
        }
    }
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
///
/// Text that begins as an object and can't be taken apart (cut short, say) may hold any member: `{}` takes its
/// place.
pub fn without_members(text: &[u8], is_gone: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    if let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
        let left = without_members(rest, is_gone)?;
        return Some([BYTE_ORDER_MARK, &left].concat());
    }
    let mut masked = String::new();
    let Some(members) = read_members(text, &mut masked) else {
        let is_broken = text.trim_ascii_start().first() == Some(&b'{');
        return is_broken.then(|| b"{}".to_vec());
    };
    if !members.iter().any(|(key, _)| is_gone(key)) {
        return None;
    }
    let open = text.iter().position(|byte| *byte == b'{')?;
    let mut left = text.get(..=open)?.to_vec();
    let mut from = open + 1;
    let mut is_first = true;
    for (key, value) in &members {
        // With the comma in front of it, unless it is the first.
        let member = text.get(from..value.end)?;
        from = value.end;
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

/// The part of `text` that [`without_members`] removes: the object with only the members whose key `is_kept`, or all
/// of the text if it begins as an object and can't be parsed. `None` if there are none, or it is no JSON object.
pub fn only_members(text: &[u8], is_kept: impl Fn(&str) -> bool) -> Option<Cow<'_, [u8]>> {
    // All members are kept, or some go, or none is an object's.
    without_members(text, &is_kept)?;
    let rest = without_members(text, |key| !is_kept(key));
    let is_broken = rest.is_some() && each_member(text, |_, _| ()).is_none();
    Some(match rest {
        Some(rest) if !is_broken => Cow::Owned(rest),
        _ => Cow::Borrowed(text),
    })
}

/// Shows key and value of each member of the object in `text`, as they are written there; `None` if it is no JSON
/// object.
pub fn each_member(text: &[u8], mut see: impl FnMut(&str, &[u8])) -> Option<()> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    // Most text is none.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let mut masked = String::new();
    for (key, value) in read_members(text, &mut masked)? {
        see(&key, text.get(value)?);
    }
    Some(())
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
    fn members_are_found_in_text_that_is_almost_json() {
        for (text, left) in [
            (
                r#"{"$a":1,"b":NaN,"c":-Infinity,"d":"NaN"}"#,
                r#"{"b":NaN,"c":-Infinity,"d":"NaN"}"#,
            ),
            ("{\"$a\":1,\"b\":\"tab\there\"}", "{\"b\":\"tab\there\"}"),
            ("\u{feff}{\"$a\":1,\"b\":2}", "\u{feff}{\"b\":2}"),
        ] {
            assert_eq!(without(text).as_deref(), Some(left), "{text}");
        }
        let left = without_members(b"{\"$a\":1,\"b\":\"\xff\"}", |key| key == "$a");
        assert_eq!(left.as_deref(), Some(&b"{\"b\":\"\xff\"}"[..]));
    }

    #[test]
    fn what_begins_as_an_object_and_is_none_goes_as_a_whole() {
        for text in ["{\"$a\":1", "{\"$a\":1}x", "{\"b\":1,}", " {"] {
            assert_eq!(without(text).as_deref(), Some("{}"), "{text}");
        }
    }

    #[test]
    fn what_goes_and_what_stays_are_all_of_it() {
        let only = |text: &str| {
            let left = only_members(text.as_bytes(), |key| key.starts_with('$'));
            left.map(|left| String::from_utf8(left.into_owned()).unwrap())
        };
        for (text, left) in [
            (r#"{"$a":1,"b":2}"#, Some(r#"{"$a":1}"#)),
            (
                r#"{"b":2, "$a":NaN, "$c":3}"#,
                Some(r#"{"$a":NaN, "$c":3}"#),
            ),
            (r#"{"$a":1}"#, Some(r#"{"$a":1}"#)),
            ("{\"$a\":1", Some("{\"$a\":1")),
            (r#"{"b":1}"#, None),
            ("{}", None),
            ("[1]", None),
            ("", None),
        ] {
            assert_eq!(only(text).as_deref(), left, "{text}");
        }
    }

    #[test]
    fn members_are_shown_with_their_values() {
        let mut seen = Vec::new();
        let text = "\u{feff}{\"a\": [1, 2] ,\"\\u0062\":null}";
        let found = each_member(text.as_bytes(), |key, value| {
            seen.push((key.to_owned(), String::from_utf8(value.to_vec()).unwrap()));
        });
        assert!(found.is_some());
        let expected = [("a", "[1, 2]"), ("b", "null")];
        assert_eq!(
            seen,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert!(each_member(b"[]", |_, _| ()).is_none());
    }

    #[test]
    fn what_is_no_object_stays() {
        for text in ["", "null", "[{\"$a\":1}]", "$a", "{\"b\":1}"] {
            assert_eq!(without(text), None, "{text}");
        }
        let deep = format!("{{\"b\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(without(&deep), None);
        let deep = format!("{{\"$a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(without(&deep).as_deref(), Some("{}"));
    }
}
