//! The time of a row, and whether it is inside a window.
//!
//! | column | what a value means |
//! |---|---|
//! | timestamp of any unit, with or without zone | that instant; without zone in UTC |
//! | INT96 | nanoseconds of the day and Julian day, in UTC |
//! | date | a whole day: it is inside if any instant of it is |
//! | integer | seconds, milliseconds, microseconds or nanoseconds since 1970 |
//!
//! A null is inside every window: it can't be shown to be older.

use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{DataType, Int96};
use parquet::file::statistics::Statistics;
use serde::{Deserialize, Serialize};

use super::Shard;
use super::roles::TimeColumn;
use crate::error::{Error, FormatError, Result};
use crate::parquet_bytes::chunk_reader::{ChunkPages, guarded};

/// The unit of an integer time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitName {
    /// 1 s.
    #[serde(rename = "s")]
    Seconds,
    /// 1/1,000 s.
    #[serde(rename = "ms")]
    Milliseconds,
    /// 1/1,000,000 s.
    #[serde(rename = "us")]
    Microseconds,
    /// 1/1,000,000,000 s.
    #[serde(rename = "ns")]
    Nanoseconds,
}

/// What the values of a time column mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeKind {
    /// Units since 1970.
    Instant(UnitName),
    /// Days since 1970.
    Date,
    /// Nanoseconds of the day, then the Julian day.
    Int96,
}

const DAY_NS: i128 = 86_400_000_000_000;
/// The Julian day of 1 January 1970.
const JULIAN_1970: i128 = 2_440_588;

impl FromStr for UnitName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "s" | "seconds" => Ok(Self::Seconds),
            "ms" | "milliseconds" => Ok(Self::Milliseconds),
            "us" | "microseconds" => Ok(Self::Microseconds),
            "ns" | "nanoseconds" => Ok(Self::Nanoseconds),
            other => Err(Error::Option {
                option: "--time-unit",
                reason: format!("{other:?} is not one of s, ms, us, ns"),
            }),
        }
    }
}

impl UnitName {
    fn nanoseconds(self) -> i128 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }

    /// The only unit in which all bounds of the column are between the years 1990 and 2100.
    pub(super) fn guess(shard: &Shard, leaf: usize) -> Option<Self> {
        const PLAUSIBLE_S: std::ops::Range<i128> = 631_152_000..4_102_444_800;
        let mut bounds = Vec::new();
        for group in shard.footer.metadata().row_groups() {
            match group.columns().get(leaf)?.statistics() {
                Some(Statistics::Int64(of)) => {
                    bounds.extend(of.min_opt().copied().map(i128::from));
                    bounds.extend(of.max_opt().copied().map(i128::from));
                }
                Some(Statistics::Int32(of)) => {
                    bounds.extend(of.min_opt().copied().map(i128::from));
                    bounds.extend(of.max_opt().copied().map(i128::from));
                }
                _ => return None,
            }
        }
        let units = [
            Self::Seconds,
            Self::Milliseconds,
            Self::Microseconds,
            Self::Nanoseconds,
        ];
        let mut fitting = units.into_iter().filter(|unit| {
            let seconds = |bound: &i128| bound * unit.nanoseconds() / 1_000_000_000;
            !bounds.is_empty()
                && bounds
                    .iter()
                    .all(|bound| PLAUSIBLE_S.contains(&seconds(bound)))
        });
        fitting.next().filter(|_| fitting.next().is_none())
    }
}

impl TimeKind {
    /// Whether an integer value is at or after `start_ns` (nanoseconds since 1970).
    fn integer_is_inside(self, value: i64, start_ns: i128) -> bool {
        match self {
            Self::Instant(unit) => i128::from(value) * unit.nanoseconds() >= start_ns,
            Self::Date => (i128::from(value) + 1) * DAY_NS > start_ns,
            Self::Int96 => true,
        }
    }
}

/// Which of `rows` (ascending, counted in row group `group`) are at or after `start`.
///
/// # Errors
/// When a page is damaged.
pub fn inside(
    shard: &Shard,
    group: usize,
    column: &TimeColumn,
    rows: &[u32],
    start: Timestamp,
) -> Result<Vec<u32>> {
    let path = column.descriptor.path().string();
    let chunk = shard
        .footer
        .row_groups()
        .get(group)
        .and_then(|group| group.chunks.get(column.leaf));
    let Some(chunk) = chunk else {
        return Ok(Vec::new());
    };
    let pages = Box::new(ChunkPages::new(Arc::clone(&shard.file), chunk, &path));
    let start_ns = start.as_nanosecond();
    let kind = column.kind;
    let max = column.descriptor.max_def_level();
    guarded(&path, || {
        match get_column_reader(column.descriptor.clone(), pages) {
            ColumnReader::Int32ColumnReader(reader) => keep(reader, max, rows, |value| {
                kind.integer_is_inside(i64::from(*value), start_ns)
            }),
            ColumnReader::Int64ColumnReader(reader) => keep(reader, max, rows, |value| {
                kind.integer_is_inside(*value, start_ns)
            }),
            ColumnReader::Int96ColumnReader(reader) => {
                keep(reader, max, rows, |value| int96_ns(value) >= start_ns)
            }
            // Roles::time lets no other type through.
            _ => Ok(rows.to_vec()),
        }
    })
    .map_err(|error: FormatError| error.in_shard(&shard.path))
}

fn int96_ns(value: &Int96) -> i128 {
    let [low, high, day] = value.data() else {
        return 0;
    };
    let of_day = i128::from(u64::from(*high) << 32 | u64::from(*low));
    (i128::from(*day) - JULIAN_1970) * DAY_NS + of_day
}

fn keep<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    max_definition: i16,
    rows: &[u32],
    is_inside: impl Fn(&T::T) -> bool,
) -> parquet::errors::Result<Vec<u32>> {
    let (mut definition, mut values) = (Vec::new(), Vec::new());
    let mut kept = Vec::new();
    let mut at = 0;
    for run in rows.chunk_by(|left, right| left + 1 == *right) {
        let [first, ..] = run else { continue };
        reader.skip_records((first - at) as usize)?;
        definition.clear();
        values.clear();
        reader.read_records(run.len(), Some(&mut definition), None, &mut values)?;
        at = first + u32::try_from(run.len()).unwrap_or(u32::MAX);
        let mut values = values.iter();
        for (position, row) in run.iter().enumerate() {
            let is_null = max_definition > 0 && definition.get(position) != Some(&max_definition);
            if is_null || values.next().is_none_or(&is_inside) {
                kept.push(*row);
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_inside_if_any_instant_of_it_is() {
        let noon = DAY_NS * 100 + DAY_NS / 2;
        assert!(TimeKind::Date.integer_is_inside(100, noon));
        assert!(!TimeKind::Date.integer_is_inside(99, noon));
        assert!(!TimeKind::Date.integer_is_inside(99, DAY_NS * 100));
    }

    #[test]
    fn int96_counts_from_the_julian_day() {
        let mut value = Int96::new();
        value.set_data(1, 0, 2_440_589);
        assert_eq!(int96_ns(&value), DAY_NS + 1);
    }
}
