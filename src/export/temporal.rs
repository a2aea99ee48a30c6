//! Dates, times, instants and durations as text that is exact for every value.
//!
//! A value beyond the end of the calendar is a number and its unit: `2147483647 days since 1970-01-01`.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::Encoder;
use jiff::Span;
use jiff::civil::{Date, date};

const DAY_SECONDS: i64 = 86_400;

/// The values of an array of one of these types.
pub(super) struct Temporal {
    /// An array of `Int64`.
    values: ArrayRef,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Days.
    Date,
    /// Milliseconds, though of whole days.
    DateMillis,
    Time(TimeUnit),
    Instant {
        unit: TimeUnit,
        is_local: bool,
    },
    Duration(TimeUnit),
}

impl Temporal {
    /// # Errors
    /// None for these types; `None` for others.
    pub(super) fn of(array: &dyn Array) -> Result<Option<Self>, ArrowError> {
        let kind = match array.data_type() {
            DataType::Date32 => Kind::Date,
            DataType::Date64 => Kind::DateMillis,
            DataType::Time32(unit) | DataType::Time64(unit) => Kind::Time(*unit),
            DataType::Timestamp(unit, zone) => Kind::Instant {
                unit: *unit,
                is_local: zone.is_none(),
            },
            DataType::Duration(unit) => Kind::Duration(*unit),
            _ => return Ok(None),
        };
        let values = cast(array, &DataType::Int64)?;
        Ok(Some(Self { values, kind }))
    }
}

impl Encoder for Temporal {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.values.as_primitive::<Int64Type>().value(row);
        out.push(b'"');
        // Nothing keeps a vector from taking what is written.
        let _infallible = self.kind.write(value, out);
        out.push(b'"');
    }
}

impl Kind {
    fn write(self, value: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::Date => match date_of(value) {
                Some(date) => write!(out, "{date}"),
                None => write!(out, "{value} days since 1970-01-01"),
            },
            Self::DateMillis => {
                let (seconds, rest) = split(value, TimeUnit::Millisecond);
                match date_of(seconds.div_euclid(DAY_SECONDS)) {
                    Some(date) if seconds.rem_euclid(DAY_SECONDS) == 0 && rest == 0 => {
                        write!(out, "{date}")
                    }
                    Some(_) | None => write_instant(value, TimeUnit::Millisecond, "", out),
                }
            }
            Self::Time(unit) => match split(value, unit) {
                (seconds @ 0..DAY_SECONDS, rest) => write_time(seconds, rest, unit, out),
                _ => write!(out, "{value} {} since midnight", symbol(unit)),
            },
            Self::Instant { unit, is_local } => {
                write_instant(value, unit, if is_local { "" } else { "Z" }, out)
            }
            Self::Duration(unit) => {
                let per_second = per_second(unit).unsigned_abs();
                let size = value.unsigned_abs();
                let sign = if value < 0 { "-" } else { "" };
                write!(out, "{sign}PT{}", size / per_second)?;
                write_fraction(size % per_second, unit, out)?;
                out.push(b'S');
                Ok(())
            }
        }
    }
}

fn write_instant(value: i64, unit: TimeUnit, zone: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (seconds, rest) = split(value, unit);
    if write_civil(seconds, rest, unit, zone, out)? {
        return Ok(());
    }
    write!(out, "{value} {} since 1970-01-01", symbol(unit))
}

/// Writes seconds since 1970-01-01 and a rest in the unit, unless they are beyond the calendar; says whether it did.
pub(super) fn write_civil(
    seconds: i64,
    rest: u64,
    unit: TimeUnit,
    zone: &str,
    out: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let Some(date) = date_of(seconds.div_euclid(DAY_SECONDS)) else {
        return Ok(false);
    };
    write!(out, "{date}T")?;
    write_time(seconds.rem_euclid(DAY_SECONDS), rest, unit, out)?;
    out.extend_from_slice(zone.as_bytes());
    Ok(true)
}

/// The time of a day, as ISO 8601 writes it.
fn write_time(seconds: i64, rest: u64, unit: TimeUnit, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    write!(out, "{:02}:{:02}:{seconds:02}", minutes / 60, minutes % 60)?;
    write_fraction(rest, unit, out)
}

/// A fraction of a second, without zeros at its end.
fn write_fraction(mut rest: u64, unit: TimeUnit, out: &mut Vec<u8>) -> std::io::Result<()> {
    if rest == 0 {
        return Ok(());
    }
    let mut width = digits(unit);
    while rest.is_multiple_of(10) {
        rest /= 10;
        width -= 1;
    }
    write!(out, ".{rest:0width$}")
}

/// Whole seconds, rounded down, and what is left, in the unit.
fn split(value: i64, unit: TimeUnit) -> (i64, u64) {
    let per_second = per_second(unit);
    let rest = value.rem_euclid(per_second);
    (value.div_euclid(per_second), rest.unsigned_abs())
}

fn date_of(days: i64) -> Option<Date> {
    let span = Span::new().try_days(days).ok()?;
    date(1970, 1, 1).checked_add(span).ok()
}

/// How many of a unit a second has.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn digits(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// The SI symbol of a unit.
pub(super) fn symbol(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_text() {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        let utc = |unit| Kind::Instant {
            unit,
            is_local: false,
        };
        let local = |unit| Kind::Instant {
            unit,
            is_local: true,
        };
        for (kind, value, expected) in [
            (Kind::Date, 0, "1970-01-01"),
            (Kind::Date, 2_932_896, "9999-12-31"),
            (Kind::Date, 2_932_897, "2932897 days since 1970-01-01"),
            (Kind::Date, -719_528, "0000-01-01"),
            (
                Kind::Date,
                i64::from(i32::MIN),
                "-2147483648 days since 1970-01-01",
            ),
            (Kind::DateMillis, 86_400_000, "1970-01-02"),
            (Kind::DateMillis, -1, "1969-12-31T23:59:59.999"),
            (
                Kind::DateMillis,
                i64::MAX,
                "9223372036854775807 ms since 1970-01-01",
            ),
            (Kind::Time(Second), 86_399, "23:59:59"),
            (Kind::Time(Second), 86_400, "86400 s since midnight"),
            (Kind::Time(Millisecond), 1, "00:00:00.001"),
            (
                Kind::Time(Nanosecond),
                3_600_000_000_120,
                "01:00:00.00000012",
            ),
            (Kind::Time(Nanosecond), -1, "-1 ns since midnight"),
            // 2^32 seconds, which are none in 32 bits.
            (
                Kind::Time(Nanosecond),
                4_294_967_296_000_000_000,
                "4294967296000000000 ns since midnight",
            ),
            (utc(Millisecond), 1_500, "1970-01-01T00:00:01.5Z"),
            (utc(Second), 253_402_300_799, "9999-12-31T23:59:59Z"),
            (
                utc(Second),
                253_402_300_800,
                "253402300800 s since 1970-01-01",
            ),
            (local(Microsecond), -1, "1969-12-31T23:59:59.999999"),
            (
                local(Microsecond),
                i64::MAX,
                "9223372036854775807 us since 1970-01-01",
            ),
            (utc(Nanosecond), i64::MIN, "1677-09-21T00:12:43.145224192Z"),
            (Kind::Duration(Second), i64::MIN, "-PT9223372036854775808S"),
            (Kind::Duration(Nanosecond), 1, "PT0.000000001S"),
            (Kind::Duration(Millisecond), -1_500, "-PT1.5S"),
            (Kind::Duration(Millisecond), 0, "PT0S"),
        ] {
            let mut out = Vec::new();
            kind.write(value, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
