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
use super::json_parts::Part;
use super::schema::{Found, find};
use crate::error::{Error, FormatError, Result};
use crate::parquet_bytes::footer::{column, statistics as field};

/// What some writers put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Values that say whether a column holds JSON objects.
const SAMPLED_VALUES: usize = 100;

/// What is said of the string columns of a dataset.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Those that hold JSON objects.
    pub json: &'a [String],
    /// Those that hold none.
    pub text: &'a [String],
    /// Whether a column that may hold JSON, or may not, is an error rather than text.
    pub is_doubt_refused: bool,
}

/// The leaves of `shard` that hold JSON objects: those of which it is said, or which say so themselves, or at least half
/// of whose first values are objects: up to 100 of the first page that has some (empty ones and `null` don't count).
///
/// # Errors
/// [`Error::MaybeJson`] where some of the first values are objects, but fewer than half, and nothing is said of the
/// column; when a configured column holds no text, or a page is damaged.
pub fn json_leaves(shard: &Shard, said: Said<'_>) -> Result<BTreeSet<usize>> {
    let schema = shard.footer.schema();
    let mut leaves = named(shard, "JSON", said.json)?;
    let text = named(shard, "text", said.text)?;
    for (leaf, descriptor) in schema.columns().iter().enumerate() {
        if !is_text(descriptor) || leaves.contains(&leaf) || text.contains(&leaf) {
            continue;
        }
        match holds_objects(shard, leaf, descriptor).map_err(|error| error.in_shard(&shard.path))? {
            Held::Objects => drop(leaves.insert(leaf)),
            Held::Both if said.is_doubt_refused => {
                return Err(Error::MaybeJson {
                    path: shard.path.clone(),
                    column: descriptor.path().string(),
                });
            }
            Held::Both | Held::Text => {}
        }
    }
    Ok(leaves)
}

/// The leaves of configured columns, which must be of text.
fn named(shard: &Shard, role: &'static str, names: &[String]) -> Result<BTreeSet<usize>> {
    let schema = shard.footer.schema();
    let mut leaves = BTreeSet::new();
    for name in names {
        for found in find(schema, name).map_err(|names| names.of(&shard.path, role, name))? {
            let Found::Leaf(leaf) = found else {
                return Err(not_text(shard, role, name, "a group"));
            };
            let physical = schema.column(leaf).physical_type();
            if physical != Physical::BYTE_ARRAY {
                return Err(not_text(shard, role, name, &physical.to_string()));
            }
            leaves.insert(leaf);
        }
    }
    Ok(leaves)
}

/// What the first values of a column are.
enum Held {
    Objects,
    /// Some are objects, but fewer than half.
    Both,
    Text,
}

fn not_text(shard: &Shard, role: &'static str, column: &str, found: &str) -> Error {
    Error::ColumnType {
        path: shard.path.clone(),
        role,
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
) -> std::result::Result<Held, FormatError> {
    if descriptor.logical_type_ref() == Some(&LogicalType::Json)
        || descriptor.converted_type() == ConvertedType::JSON
    {
        return Ok(Held::Objects);
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
        // An object begins with a brace, or blanks or a byte order mark before it.
        let bound = |id| statistics.and_then(|statistics| statistics.binary(id)?.first().copied());
        let bounds = bound(field::MIN_VALUE).zip(bound(field::MAX_VALUE));
        if bounds.is_some_and(|(least, most)| {
            least > b'{' && most < BYTE_ORDER_MARK[0] || least > b' ' && most < b'{'
        }) {
            return Ok(Held::Text);
        }
        let (mut objects, mut others) = (0, 0);
        for value in sample(&source, SAMPLED_VALUES)? {
            if is_object(&value) {
                objects += 1;
            } else if !holds_nothing(&value) {
                others += 1;
            }
        }
        match (objects, others) {
            (0, 0) => {}
            (0, _) => return Ok(Held::Text),
            (objects, others) if objects >= others => return Ok(Held::Objects),
            _ => return Ok(Held::Both),
        }
    }
    Ok(Held::Text)
}

/// Whether text is blank or JSON's null.
fn holds_nothing(text: &[u8]) -> bool {
    matches!(text.trim_ascii(), b"" | b"null")
}

/// Whether text is a JSON object, or almost.
pub fn is_object(text: &[u8]) -> bool {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    text.trim_ascii_start().first() == Some(&b'{')
        && read_members(text, &mut String::new()).is_some()
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

/// The object in `text` without the members that `is_gone`, at any depth; the rest of it stays byte for byte. `None` if
/// there are none. `is_gone` is shown the path of a member, by keys with dots between them, and its key.
///
/// Text that is no object (cut short, say, an array, or encoded twice) may hold any member: `{}` takes its place, unless
/// it is blank or JSON's null.
pub fn without_members(text: &[u8], is_gone: impl Fn(&str, &str) -> bool) -> Option<Vec<u8>> {
    if let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
        let left = without_members(rest, is_gone)?;
        return Some([BYTE_ORDER_MARK, &left].concat());
    }
    match parted(text, &is_gone, Part::Without) {
        None => (!holds_nothing(text) && text != WHOLE).then(|| WHOLE.to_vec()),
        Some((_, false)) => None,
        Some((left, true)) => Some(left),
    }
}

/// What takes the place of text that is no object.
const WHOLE: &[u8] = b"{}";

/// The part of `text` that [`without_members`] removes: the object with only the members that `is_kept`, at any depth, or
/// all of the text if it is no object. `None` if there is none.
pub fn only_members(text: &[u8], is_kept: impl Fn(&str, &str) -> bool) -> Option<Cow<'_, [u8]>> {
    // All members are kept, or some go, or none is an object's.
    without_members(text, &is_kept)?;
    let (mark, rest) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => (BYTE_ORDER_MARK, rest),
        None => (&[][..], text),
    };
    Some(match parted(rest, &is_kept, Part::Only) {
        Some((only, _)) => Cow::Owned([mark, &only].concat()),
        None => Cow::Borrowed(text),
    })
}

/// The object in `text` without the members that match, or with only these, and whether that is another text; `None` if
/// it is no object.
fn parted(
    text: &[u8],
    matches: &dyn Fn(&str, &str) -> bool,
    part: Part,
) -> Option<(Vec<u8>, bool)> {
    let mut masked = String::new();
    let is_exact = std::str::from_utf8(text).ok().and_then(members).is_some();
    if !is_exact {
        masked = mask(text);
        members(&masked)?;
    }
    let known = if is_exact { text } else { masked.as_bytes() };
    super::json_parts::part_of(text, known, matches, part)
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
        let left = without_members(text.as_bytes(), |_, key| key.starts_with('$'))?;
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
            (r#"{"$a":1,"$a":2,"b":{"$a":3}}"#, r#"{"b":{}}"#),
            (
                r#"{"b":[1, {"c":2, "$a":[{}]} ,[{"$a":{"d":1}, "e":3}]],"$f":{"g":{}}}"#,
                r#"{"b":[1, {"c":2} ,[{"e":3}]]}"#,
            ),
            (r#"{"b":{ },"$a":1}"#, r#"{"b":{ }}"#),
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
        let left = without_members(b"{\"$a\":1,\"b\":\"\xff\"}", |_, key| key == "$a");
        assert_eq!(left.as_deref(), Some(&b"{\"b\":\"\xff\"}"[..]));
    }

    #[test]
    fn what_is_no_object_goes_as_a_whole() {
        for text in [
            "{\"$a\":1",
            "{\"$a\":1}x",
            "{\"b\":1,}",
            " {",
            "[{\"$a\":1}]",
            "\"{}\"",
            "n/a",
            "7",
        ] {
            assert_eq!(without(text).as_deref(), Some("{}"), "{text}");
        }
    }

    #[test]
    fn what_goes_and_what_stays_are_all_of_it() {
        let only = |text: &str| {
            let left = only_members(text.as_bytes(), |_, key| key.starts_with('$'));
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
            (
                r#"{"b":[1, {"c":2, "$a":3}, {"c":4}], "d":{"e":5}, "f":{"$g":{"h":1}}}"#,
                Some(r#"{"b":[{"$a":3}], "f":{"$g":{"h":1}}}"#),
            ),
            (r#"{"b":1}"#, None),
            ("{}", None),
            ("[1]", Some("[1]")),
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
    fn what_holds_no_such_member_stays() {
        for text in ["", " ", "null", "{}", "{\"b\":1}"] {
            assert_eq!(without(text), None, "{text}");
        }
        let deep = format!("{{\"b\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(without(&deep), None);
        let deep = format!("{{\"$a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(without(&deep).as_deref(), Some("{}"));
    }
}
