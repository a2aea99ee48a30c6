//! Judging events that come as lines of JSON.
//!
//! ```text
//!   line ── keys on the way to a subject column, wherever they stand ──> its ids ── list ──> come in, or not
//! ```
//!
//! # Invariants
//! What can't be judged is said to be so, and never taken for innocent: a line that is no object, one that names no
//! subject at all, an id that is neither text nor a whole number. A key that stands twice counts twice, whichever one the
//! next reader takes; keys count in any case; a path may be nested or flat.
//!
//! Memory: one line.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{CutOff, Suppression};
use crate::shard::roles::{Roles, SUBJECT_NAMES, TIME_NAMES};
use crate::shard::time::UnitName;
use crate::subject::{Form, SubjectId, SubjectKey, canonical_number};

/// Where raw events keep their columns, if not beside each other.
const PROPERTIES: &str = "properties";

/// Judges lines of JSON.
pub struct Lines<'a> {
    list: &'a Suppression,
    key: Option<&'a SubjectKey>,
    subjects: Vec<String>,
    times: Vec<String>,
    unit: Option<UnitName>,
}

/// Why an event can't be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unjudged {
    /// It is no JSON object.
    #[error("it is no JSON object")]
    NoObject,
    /// No key names its subject.
    #[error("it has none of the subject columns")]
    NoSubject,
    /// Its subject is neither text, nor a whole number, nor a list of these.
    #[error("its subject is neither text nor a whole number")]
    NoId,
}

/// What was found in an event.
#[derive(Default)]
struct Found {
    has_subject: bool,
    /// The latest cut-off of its suppressed ids.
    cut_off: Option<CutOff>,
    /// The earliest of its times.
    time: Option<Timestamp>,
}

impl<'a> Lines<'a> {
    /// A judge by `list`, whose ids are hashed under `key` (with no list there is no key), for events with these roles.
    pub fn new(list: &'a Suppression, key: Option<&'a SubjectKey>, roles: &Roles) -> Self {
        let named = |given: &[String], names: &[&str]| -> Vec<String> {
            if given.is_empty() {
                let beside = names.iter().map(|name| (*name).to_owned());
                let within = names.iter().map(|name| format!("{PROPERTIES}.{name}"));
                beside.chain(within).collect()
            } else {
                given.to_vec()
            }
        };
        Self {
            list,
            key,
            subjects: named(&roles.subjects, &SUBJECT_NAMES),
            times: named(roles.time.as_slice(), &TIME_NAMES),
            unit: roles.time_unit,
        }
    }

    /// Whether an event may come in: it is of no suppressed id, or of a time at which that id's rows may come in again.
    ///
    /// # Errors
    /// When that can't be told.
    pub fn may_come_in(&self, line: &str) -> Result<bool, Unjudged> {
        let subjects: Vec<&str> = self.subjects.iter().map(String::as_str).collect();
        let mut found = Found::default();
        walk(line, &subjects, &mut |text| {
            found.has_subject = true;
            self.look_up(text, &mut found.cut_off)
        })?;
        if !found.has_subject {
            return Err(Unjudged::NoSubject);
        }
        let Some(cut_off) = found.cut_off else {
            return Ok(true);
        };
        let times: Vec<&str> = self.times.iter().map(String::as_str).collect();
        walk(line, &times, &mut |text| {
            let time = self.time(text);
            found.time = match (found.time, time) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            Ok(())
        })?;
        // A time that can't be read can't be shown to be later.
        let is_later = |cut_off: Timestamp| found.time.is_some_and(|time| time >= cut_off);
        Ok(cut_off.is_some_and(is_later))
    }

    /// Adds what the list says of an id.
    fn look_up(&self, text: &str, cut_off: &mut Option<CutOff>) -> Result<(), Unjudged> {
        let mut add = |found: Option<CutOff>| {
            *cut_off = match (*cut_off, found) {
                (Some(one), Some(other)) => Some(one.zip(other).map(|(one, other)| one.max(other))),
                (one, other) => one.or(other),
            };
        };
        match text.as_bytes().first() {
            Some(b'"') => {
                let id: String = serde_json::from_str(text).map_err(|_| Unjudged::NoId)?;
                let id = SubjectId::new(id);
                for form in [Form::Text, Form::Uuid] {
                    if let (Some(key), Some(canonical)) = (self.key, id.canonical(form)) {
                        add(self.list.cut_off(key, &[form], &canonical));
                    }
                }
                Ok(())
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> =
                    serde_json::from_str(text).map_err(|_| Unjudged::NoId)?;
                let mut elements = elements.into_iter();
                elements.try_for_each(|element| self.look_up(element.get(), cut_off))
            }
            Some(b'n') => Ok(()),
            _ => {
                let number = canonical_number(text).ok_or(Unjudged::NoId)?;
                if let Some(key) = self.key {
                    add(self.list.cut_off(key, &[Form::Number], number.as_bytes()));
                    add(self.list.cut_off(key, &[Form::Text], number.as_bytes()));
                }
                Ok(())
            }
        }
    }

    fn time(&self, text: &str) -> Option<Timestamp> {
        if text.starts_with('"') {
            return serde_json::from_str::<String>(text).ok()?.parse().ok();
        }
        let number: i64 = text.parse().ok()?;
        match self.unit? {
            UnitName::Seconds => Timestamp::from_second(number).ok(),
            UnitName::Milliseconds => Timestamp::from_millisecond(number).ok(),
            UnitName::Microseconds => Timestamp::from_microsecond(number).ok(),
            UnitName::Nanoseconds => Timestamp::from_nanosecond(number.into()).ok(),
        }
    }
}

/// Shows every value at one of the paths, as it stands in the text.
fn walk(
    text: &str,
    paths: &[&str],
    see: &mut dyn FnMut(&str) -> Result<(), Unjudged>,
) -> Result<(), Unjudged> {
    let Pairs(pairs) = serde_json::from_str(text).map_err(|_| Unjudged::NoObject)?;
    for (key, value) in pairs {
        let value = value.get();
        if paths.iter().any(|path| path.eq_ignore_ascii_case(&key)) {
            see(value)?;
        }
        let below = paths.iter().filter_map(|path| {
            let (front, rest) = path.split_at_checked(key.len())?;
            let is_on_the_way = front.eq_ignore_ascii_case(&key);
            rest.strip_prefix('.').filter(|_| is_on_the_way)
        });
        let below: Vec<&str> = below.collect();
        if !below.is_empty() && value.starts_with('{') {
            walk(value, &below, see)?;
        }
    }
    Ok(())
}

/// The members of an object in their order, also those whose keys stand twice.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    pairs.push((Cow::Owned(key), map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({} ids)", self.list.iter().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(key: &SubjectKey) -> Suppression {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let mut list = Suppression::default();
        let never = ["ada", "7", "0b5a1e9c-7c3e-4f6e-9d58-2a1f6f1f3c11"].map(SubjectId::new);
        list.add(key, &never, None, now);
        list.add(key, &[SubjectId::new("later")], Some(now), now);
        list
    }

    #[test]
    fn an_event_of_a_suppressed_id_is_met_however_it_is_written() {
        let key = SubjectKey::new([1; 32]);
        let list = list(&key);
        let lines = Lines::new(&list, Some(&key), &Roles::default());
        for gone in [
            r#"{"distinct_id":"ada"}"#,
            r#"{"Distinct_ID":"ada"}"#,
            r#"{"distinct_id":"bob","distinct_id":"ada"}"#,
            r#"{"distinct_id":"ada","distinct_id":"bob"}"#,
            r#"{"event":"x","properties":{"$distinct_id":"ad\u0061"}}"#,
            r#"{"properties.distinct_id":"ada"}"#,
            r#"{"distinct_id":7}"#,
            r#"{"distinct_id":["bob","ada"]}"#,
            r#"{"distinct_id":"0B5A1E9C-7C3E-4F6E-9D58-2A1F6F1F3C11"}"#,
            r#"{"distinct_id":"later","time":"2026-01-31T11:59:59Z"}"#,
            r#"{"distinct_id":"later"}"#,
            r#"{"distinct_id":"later","time":1}"#,
            r#"{"distinct_id":"later","time":"2027-01-01T00:00:00Z","time":"2025-01-01T00:00:00Z"}"#,
        ] {
            assert_eq!(lines.may_come_in(gone), Ok(false), "{gone}");
        }
        for kept in [
            r#"{"distinct_id":"bob"}"#,
            r#"{"distinct_id":null}"#,
            r#"{"distinct_id":"07"}"#,
            r#"{"distinct_id":"bob","name":"ada"}"#,
            r#"{"distinct_id":"later","time":"2026-01-31T12:00:00Z"}"#,
        ] {
            assert_eq!(lines.may_come_in(kept), Ok(true), "{kept}");
        }
        let in_seconds = Roles {
            time_unit: Some(UnitName::Seconds),
            ..Roles::default()
        };
        let lines = Lines::new(&list, Some(&key), &in_seconds);
        let late = r#"{"distinct_id":"later","time":1900000000}"#;
        assert_eq!(lines.may_come_in(late), Ok(true));
    }

    #[test]
    fn what_cannot_be_judged_is_not_taken_for_innocent() {
        let key = SubjectKey::new([1; 32]);
        let list = list(&key);
        let lines = Lines::new(&list, Some(&key), &Roles::default());
        for (line, why) in [
            ("", Unjudged::NoObject),
            ("[1]", Unjudged::NoObject),
            (r#"{"distinct_id":"ada""#, Unjudged::NoObject),
            (r#"{"distinct_id":"ada"} {}"#, Unjudged::NoObject),
            ("{}", Unjudged::NoSubject),
            (r#"{"user":"ada"}"#, Unjudged::NoSubject),
            (r#"{"distinct_id":{"a":1}}"#, Unjudged::NoId),
            (r#"{"distinct_id":true}"#, Unjudged::NoId),
            (r#"{"distinct_id":7.5}"#, Unjudged::NoId),
            (r#"{"distinct_id":[{}]}"#, Unjudged::NoId),
        ] {
            assert_eq!(lines.may_come_in(line), Err(why), "{line}");
        }
    }
}
