//! Subject ids in the names of files and directories.
//!
//! ```text
//!   user=ann%40example.org/2024/events-ann@example.org.parquet
//!        └─ a value ─┘     └ a directory  └─ a part of a file's name
//! ```
//! A name is compared as it is, and with its `%XX` decoded, as Hive writes values of partitions.
//!
//! # What counts
//! * The value of a partition `COLUMN=VALUE` that is the id. A number only if the column is a subject column: days and
//!   hours are numbers, too.
//! * A directory's whole name, and a file's name without its extension from 3 bytes on. A number only if it is at least
//!   6 digits long and no date.
//! * A part of a name between other characters than letters and digits, from [`PART_BYTES_MIN`] bytes on. A number only
//!   if it is neither a date nor a time in seconds or milliseconds, from 8 digits on.
//!
//! So an id that stands in a name by chance (`1` in `day=1`) refuses no request. What that leaves out, `verify` leaves
//! out, too.

use std::borrow::Cow;
use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::{SubjectId, canonical_number};

/// A part of a name this long counts as an id.
pub const PART_BYTES_MIN: usize = 6;

/// What is shown in the place of an id.
const HIDDEN: &str = "*";

/// Finds ids in paths. `Debug` prints none of them.
#[derive(Clone, Default)]
pub struct Names {
    /// By the id's text: its number.
    ids: HashMap<Box<str>, usize>,
    /// By its canonical text, of ids that are numbers.
    numbers: HashMap<String, usize>,
    /// Names of subject columns, in lower case.
    columns: Vec<String>,
    longest: usize,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Names({} ids)", self.ids.len())
    }
}

impl Names {
    /// Finds `ids`, each with a number, where the subject columns have these names, or these dotted paths.
    pub fn new<'a, 'c>(
        ids: impl IntoIterator<Item = (usize, &'a SubjectId)>,
        columns: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        let mut names = Self::default();
        for column in columns {
            let last = column.rsplit('.').next().unwrap_or(column);
            names.columns.push(column.to_lowercase());
            names.columns.push(last.to_lowercase());
        }
        for (place, id) in ids {
            let text = id.reveal();
            if text.is_empty() {
                continue;
            }
            names.longest = names.longest.max(text.len());
            names.ids.entry(text.into()).or_insert(place);
            if let Some(number) = canonical_number(text) {
                names.numbers.entry(number).or_insert(place);
            }
        }
        names
    }

    /// The first directory or file of `path` that is named by an id: the id's number, and the end of that name in the
    /// path.
    pub fn find(&self, path: &str) -> Option<(usize, usize)> {
        let mut end = 0;
        let parts: Vec<&str> = path.split('/').collect();
        for (number, part) in parts.iter().enumerate() {
            end += part.len();
            if let Some(place) = self.in_name(part, number + 1 == parts.len()) {
                return Some((place, end));
            }
            end += 1;
        }
        None
    }

    /// The path with `*` in the place of each name that holds an id, and of each value of a subject column.
    pub fn shown<'p>(&self, path: &'p str) -> Cow<'p, str> {
        let count = path.split('/').count();
        let is_shown = |(number, part): (usize, &str)| {
            self.in_name(part, number + 1 == count).is_none() && self.of_subject(part).is_none()
        };
        if path.split('/').enumerate().all(is_shown) {
            return Cow::Borrowed(path);
        }
        let shown = path.split('/').enumerate().map(|(number, part)| {
            if is_shown((number, part)) {
                Cow::Borrowed(part)
            } else if let Some((column, _)) = part.split_once('=') {
                Cow::Owned(format!("{column}={HIDDEN}"))
            } else {
                Cow::Borrowed(HIDDEN)
            }
        });
        Cow::Owned(shown.collect::<Vec<_>>().join("/"))
    }

    /// The value of a partition of a subject column.
    fn of_subject<'p>(&self, name: &'p str) -> Option<&'p str> {
        let (column, value) = name.split_once('=')?;
        let column = percent_decoded(column).to_lowercase();
        self.columns.contains(&column).then_some(value)
    }

    fn in_name(&self, name: &str, is_file: bool) -> Option<usize> {
        if self.ids.is_empty() {
            return None;
        }
        let decoded = percent_decoded(name);
        let found = self.in_text(name, is_file);
        if found.is_some() || decoded == name {
            return found;
        }
        self.in_text(&decoded, is_file)
    }

    fn in_text(&self, name: &str, is_file: bool) -> Option<usize> {
        let id = |text: &str, tells: &dyn Fn(&str) -> bool| {
            let is_telling = !is_digits(text) || tells(text);
            self.ids.get(text).copied().filter(|_| is_telling)
        };
        if let Some(value) = self.of_subject(name) {
            let number =
                || canonical_number(value).and_then(|number| self.numbers.get(&number).copied());
            let found = self.ids.get(value).copied().or_else(number);
            if found.is_some() {
                return found;
            }
        }
        if let Some((_, value)) = name.split_once('=') {
            let found = id(value, &|_| false);
            if found.is_some() {
                return found;
            }
        }
        let stem = if is_file {
            name.rsplit_once('.').map_or(name, |(stem, _)| stem)
        } else {
            name
        };
        let whole = |text: &str| text.len() >= PART_BYTES_MIN && !is_date(text);
        let found = id(stem, &whole).filter(|_| !is_file || stem.len() >= 3);
        found.or_else(|| self.in_part(name))
    }

    /// An id between other characters than letters and digits.
    fn in_part(&self, name: &str) -> Option<usize> {
        let mut starts = Vec::new();
        let mut before: Option<char> = None;
        let is_edge = |before: Option<char>, next: Option<char>| {
            !(before.is_some_and(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric))
        };
        let nexts = name
            .char_indices()
            .map(|(at, next)| (at, Some(next)))
            .chain([(name.len(), None)]);
        for (at, next) in nexts {
            if is_edge(before, next) {
                for start in &starts {
                    let part = name.get(*start..at).unwrap_or_default();
                    let is_long = (PART_BYTES_MIN..=self.longest).contains(&part.len());
                    if let Some(place) = self.ids.get(part).filter(|_| is_long)
                        && (!is_digits(part) || is_number_that_tells(part))
                    {
                        return Some(*place);
                    }
                }
                starts.push(at);
            }
            before = next;
        }
        None
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `202401`, `20240131`, `2024013123`.
fn is_date(digits: &str) -> bool {
    let is_century = digits.starts_with("19") || digits.starts_with("20");
    let month = digits.get(4..6).and_then(|month| month.parse::<u8>().ok());
    is_century
        && matches!(digits.len(), 6 | 8 | 10)
        && month.is_some_and(|month| (1..=12).contains(&month))
}

fn is_number_that_tells(digits: &str) -> bool {
    let is_time = digits.starts_with('1') && matches!(digits.len(), 10 | 13);
    digits.len() >= 8 && !is_date(digits) && !is_time
}

/// A path as the index stores it: names that could hold an id are hashed. Numbers and dates of partitions stay, so that
/// what belongs together stays together.
pub fn stored(path: &str) -> String {
    let shown = path.split('/').map(|part| {
        let value = part.split_once('=').map_or(part, |(_, value)| value);
        let is_bare = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'_' | b'.');
        let is_date_or_short = value.bytes().all(is_bare) && (value.len() < 8 || !is_number(value));
        if is_date_or_short || part.len() <= 2 {
            Cow::Borrowed(part)
        } else {
            Cow::Owned(format!("~{:016x}", xxh3_64(part.as_bytes())))
        }
    });
    shown.collect::<Vec<_>>().join("/")
}

/// A number that is no date and no time.
fn is_number(text: &str) -> bool {
    is_digits(text) && is_number_that_tells(text)
}

/// `text` with its `%XX` decoded, or as it is when that isn't UTF-8.
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%'
            && let Some(([high, low], after)) = after
                .split_first_chunk::<2>()
                .map(|(pair, rest)| (*pair, rest))
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    match String::from_utf8(bytes) {
        Ok(decoded) => Cow::Owned(decoded),
        Err(_) => Cow::Borrowed(text),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ids: &[&str]) -> Names {
        let ids: Vec<SubjectId> = ids.iter().map(|id| SubjectId::new(*id)).collect();
        Names::new(ids.iter().enumerate(), ["distinct_id", "user.uid"])
    }

    #[test]
    fn ids_are_found_in_values_directories_and_names_of_files() {
        for (id, path, shown) in [
            ("ann", "user=ann/0.parquet", "user=*/0.parquet"),
            ("ann", "ann/0.parquet", "*/0.parquet"),
            ("ann", "x/ann.parquet", "x/*"),
            ("7", "uid=7/0.parquet", "uid=*/0.parquet"),
            ("7", "uid=007/0.parquet", "uid=*/0.parquet"),
            ("a@b.org", "user=a%40b.org/0.parquet", "user=*/0.parquet"),
            ("a@b.org", "events-a@b.org-2024.parquet", "*"),
            ("a b/c:d", "u=a%20b%2Fc%3Ad/0.parquet", "u=*/0.parquet"),
            ("person-3", "d=1/person-3_0.parquet", "d=1/*"),
            (
                "Åsa Öberg",
                "n=%C3%85sa %C3%96berg/0.parquet",
                "n=*/0.parquet",
            ),
            ("83729104", "user-83729104.parquet", "*"),
            ("<x>abc", "y-<x>abc/0.parquet", "*/0.parquet"),
        ] {
            let names = names(&["other", id]);
            assert_eq!(names.find(path).map(|(place, _)| place), Some(1), "{path}");
            assert_eq!(names.shown(path), shown);
        }
        let names = names(&["person-3"]);
        assert_eq!(names.find("a/u=person-3/b/c.parquet"), Some((0, 12)));
    }

    #[test]
    fn what_stands_in_a_name_by_chance_is_no_id() {
        for (id, path) in [
            ("1", "day=1/a.parquet"),
            ("a", "day=1/a.parquet"),
            ("0", "part=x/0.parquet"),
            ("202401", "month=202401/202401/202401.parquet"),
            ("20240131", "20240131/events-20240131.parquet"),
            ("1700000000", "events-1700000000.parquet"),
            ("person-3", "u=person-30/a.parquet"),
            ("person-3", "u=aperson-3/a.parquet"),
            ("parquet", "a.parquet2"),
            ("part", "part-0.parquet"),
        ] {
            assert_eq!(names(&[id]).find(path), None, "{path}");
            assert_eq!(names(&[id]).shown(path), path);
        }
    }

    #[test]
    fn values_of_subject_columns_are_never_shown() {
        let names = names(&[]);
        assert_eq!(
            names.shown("Distinct_ID=bob/d=1/a.parquet"),
            "Distinct_ID=*/d=1/a.parquet"
        );
        assert_eq!(names.shown("d=1/a.parquet"), "d=1/a.parquet");
        assert_eq!(names.find("distinct_id=bob/a.parquet"), None);
    }

    #[test]
    fn the_index_stores_no_name_that_could_hold_an_id() {
        for path in [
            "day=2024-01-31/hour=07",
            "2024/01/31/7",
            "a/b",
            "day=20240131/x",
        ] {
            assert_eq!(stored(path), path);
        }
        for path in [
            "user=ann",
            "uid=83729104",
            "ann@example.org",
            "person-3.parquet",
        ] {
            let stored = stored(&format!("day=1/{path}"));
            assert!(
                stored.starts_with("day=1/~") && !stored.contains(path),
                "{stored}"
            );
        }
    }

    #[test]
    fn a_broken_percent_escape_stays_as_it_is() {
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
        assert_eq!(percent_decoded("%ff"), "%ff");
    }
}
