//! States, times and choices in words for people.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::store::requests::Listed;

/// A day before which a deadline is shown as near.
pub(super) const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A state.
pub(super) struct State {
    pub(super) words: &'static str,
    /// A class of the stylesheet.
    pub(super) tone: &'static str,
    pub(super) meaning: &'static str,
}

/// A deadline.
pub(super) struct Due {
    pub(super) words: String,
    pub(super) tone: &'static str,
    pub(super) date: String,
}

/// All states that can be asked for, with their words.
pub(super) const STATES: [(&str, &str); 6] = [
    ("PENDING", "Pending"),
    ("STAGING", "Staging"),
    ("STARTED", "Started"),
    ("SUCCESS", "Done"),
    ("FAILURE", "Failed"),
    ("REVOKED", "Cancelled"),
];

pub(super) fn state(state: &str) -> State {
    let (words, tone, meaning) = match state {
        "PENDING" => (
            "Pending",
            "",
            "It waits for the project's next window. It can still be cancelled.",
        ),
        "STAGING" => (
            "Staging",
            "busy",
            "Its rows are being looked for. It can still be cancelled.",
        ),
        "STARTED" => (
            "Started",
            "busy",
            "It is being carried out, and can't be cancelled any more.",
        ),
        "SUCCESS" => (
            "Done",
            "good",
            "It was carried out, and the receipt proves it.",
        ),
        "FAILURE" => (
            "Failed",
            "bad",
            "It was not carried out, or not in every file. Read why, and file it again.",
        ),
        "REVOKED" => (
            "Cancelled",
            "warn",
            "Somebody cancelled it before anything was touched.",
        ),
        _ => (
            "Unknown",
            "warn",
            "Its file can't be read. The service's log says what to do.",
        ),
    };
    State {
        words,
        tone,
        meaning,
    }
}

pub(super) fn kind(kind: &str) -> &'static str {
    if kind == "export" { "Export" } else { "Delete" }
}

pub(super) fn disclosure(disclosure: &str) -> &'static str {
    match disclosure {
        "categories" => "Categories",
        "sources" => "Sources",
        _ => "Data",
    }
}

pub(super) fn outcome(outcome: efface::receipts::Outcome) -> String {
    use efface::receipts::Outcome;
    match outcome {
        Outcome::Deleted => "Deleted".to_owned(),
        Outcome::NotFound => "Not found".to_owned(),
        Outcome::Merged => "Counted by another request".to_owned(),
        Outcome::Untouched => "Untouched".to_owned(),
    }
}

/// A day.
pub(super) fn day(time: Timestamp) -> String {
    let time = TimeZone::UTC.to_datetime(time);
    time.strftime("%-d %b %Y").to_string()
}

/// A day and the time of it.
pub(super) fn moment(time: Timestamp) -> String {
    let time = TimeZone::UTC.to_datetime(time);
    time.strftime("%-d %b %Y, %H:%M").to_string()
}

/// The deadline of a request that has not ended.
pub(super) fn due(listed: &Listed, now: Timestamp) -> Option<Due> {
    if listed.ended_at.is_some() {
        return None;
    }
    let left = listed.due.duration_since(now);
    let days = left.as_hours().unsigned_abs() / 24;
    let plural = if days == 1 { "" } else { "s" };
    let (words, tone) = match (left.is_negative(), days) {
        (true, 0) => ("overdue since today".to_owned(), "late"),
        (true, _) => (format!("{days} day{plural} overdue"), "late"),
        (false, 0) => ("due today".to_owned(), "soon"),
        (false, _) if left < SOON => (format!("{days} day{plural} left"), "soon"),
        (false, _) => (format!("{days} days left"), ""),
    };
    let date = day(listed.due);
    Some(Due { words, tone, date })
}

/// A number with its thousands set apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of people.
pub(super) fn people(number: u64) -> String {
    if number == 1 {
        "1 person".to_owned()
    } else {
        format!("{} people", count(number))
    }
}

/// A number of bytes.
pub(super) fn bytes(number: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut rest = number;
    let mut unit = 0;
    while rest >= 1024 * 10 && unit + 1 < units.len() {
        rest = rest.div_ceil(1024);
        unit += 1;
    }
    format!("{} {}", count(rest), units.get(unit).unwrap_or(&""))
}

/// A part of a whole in percent.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 || part == 0 {
        return "0 %".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    match hundredths {
        0 => "under 0.01 %".to_owned(),
        _ => format!("{}.{:02} %", hundredths / 100, hundredths % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_set_as_people_read_them() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(bytes(10_239), "10,239 bytes");
        assert_eq!(bytes(10_240), "10 KiB");
        assert_eq!(share(1, 3), "33.33 %");
        assert_eq!(share(1, 1_000_000), "under 0.01 %");
    }
}
