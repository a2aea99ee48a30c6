//! INT96 instants in a type that can tell them: by the file's own unit, else in microseconds or nanoseconds, else as
//! text.
//!
//! INT96 holds nanoseconds of any of four billion days. A number of 64 bits tells nanoseconds from 1677 to 2262 alone, so
//! `0001-01-01` and `9999-12-31`, which writers use for "ever", need microseconds. Beside an instant that needs
//! nanoseconds no type of Arrow or Parquet holds them: the column is text then, as JSON Lines has instants.

use std::collections::BTreeMap;
use std::io::Write;

use arrow::array::FixedSizeBinaryArray;
use arrow::datatypes::TimeUnit;
use arrow::json::writer::Encoder;

use super::temporal::{per_second, write_civil};
use crate::error::FormatError;

/// What the INT96 values of a leaf become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Timestamps of a unit.
    By(TimeUnit),
    /// Text.
    AsText,
}

/// Those leaves whose values the file's own unit can't tell.
pub(super) type Instants = BTreeMap<usize, Told>;

/// Bytes of an INT96.
const BYTES: usize = 12;
/// The Julian day of 1970-01-01.
const EPOCH_DAY: i128 = 2_440_588;
const DAY_NS: i128 = 86_400_000_000_000;

/// Nanoseconds since 1970-01-01.
fn ns_of(value: &[u8; BYTES]) -> i128 {
    let (Some(of_day), Some(day)) = (value.first_chunk(), value.last_chunk()) else {
        return 0;
    };
    let day = i128::from(i32::from_le_bytes(*day));
    (day - EPOCH_DAY) * DAY_NS + i128::from(i64::from_le_bytes(*of_day))
}

/// Whether a unit can tell all of the values, which follow one another.
pub(super) fn tells_all(unit: TimeUnit, values: &[u8]) -> bool {
    let (values, _) = values.as_chunks::<BYTES>();
    values.iter().all(|value| can_tell(unit, ns_of(value)))
}

fn can_tell(unit: TimeUnit, ns: i128) -> bool {
    let scale = i128::from(1_000_000_000 / per_second(unit));
    ns % scale == 0 && i64::try_from(ns / scale).is_ok()
}

/// Checks that the INT96 values, which follow one another, are instants that the unit can tell.
///
/// # Errors
/// [`FormatError::Unsupported`] at the first that isn't.
pub(super) fn check_int96(values: &[u8], unit: TimeUnit, column: &str) -> Result<(), FormatError> {
    if tells_all(unit, values) {
        return Ok(());
    }
    Err(FormatError::Unsupported {
        feature: format!(
            "an INT96 timestamp of column {column} that no 64-bit number of its unit ({unit:?}) can tell"
        ),
    })
}

/// INT96 values as text.
pub(super) struct Int96Texts<'a>(pub(super) &'a FixedSizeBinaryArray);

impl Encoder for Int96Texts<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let ns = self.0.value(row).first_chunk().map_or(0, ns_of);
        let per_second = i128::from(per_second(TimeUnit::Nanosecond));
        let rest = u64::try_from(ns.rem_euclid(per_second)).unwrap_or(0);
        let seconds = i64::try_from(ns.div_euclid(per_second)).unwrap_or(i64::MAX);
        out.push(b'"');
        // Nothing keeps a vector from taking what is written.
        let _infallible = match write_civil(seconds, rest, TimeUnit::Nanosecond, "", out) {
            Ok(true) => Ok(()),
            _ => write!(out, "{ns} ns since 1970-01-01"),
        };
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_that_a_unit_cannot_tell_are_no_others() {
        let int96 = |day: i32, ns: i64| {
            let mut value = ns.to_le_bytes().to_vec();
            value.extend_from_slice(&day.to_le_bytes());
            value
        };
        let is_told = |value: &[u8], unit| check_int96(value, unit, "c").is_ok();
        let now = int96(2_460_000, 1_001);
        assert!(is_told(&now, TimeUnit::Nanosecond));
        assert!(!is_told(&now, TimeUnit::Microsecond));
        let year_1 = int96(1_721_426, 1_000);
        assert!(!is_told(&year_1, TimeUnit::Nanosecond));
        assert!(is_told(&year_1, TimeUnit::Microsecond));
        let both = [int96(2_440_588, 0), year_1].concat();
        assert!(!is_told(&both, TimeUnit::Nanosecond));
    }
}
