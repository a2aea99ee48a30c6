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
//!
//! ```text
//!   bounds of the row group ── all before, all inside ──> nothing is read
//!          └─ neither: bounds of the page (column index) ── the same
//!                             └─ neither: the values of the rows in question
//! ```
//! Bounds count only where they can be right: both are there and in order, nulls are counted, and the order is the
//! one that the values have (`INT96` has none).

use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{DataType, Int96};
use parquet::file::statistics::Statistics;
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};
use serde::{Deserialize, Serialize};

use super::Shard;
use crate::error::{Error, FormatError, Result};
use crate::limits::BATCH_RECORDS;
use crate::parquet_bytes::footer::Chunk;
use crate::parquet_bytes::gather::{Gather, SharedScratch};
use crate::parquet_bytes::guard::guarded;
use crate::parquet_bytes::page_index::ColumnIndex;
use crate::parquet_bytes::page_places::Places;

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
    /// Milliseconds since 1970, of a day.
    DateMillis,
    /// Nanoseconds of the day, then the Julian day.
    Int96,
}

/// A time column of one shard.
#[derive(Debug, Clone)]
pub struct TimeColumn {
    /// The leaf's number.
    pub leaf: usize,
    /// What its values mean.
    pub kind: TimeKind,
    /// The leaf.
    pub descriptor: ColumnDescPtr,
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
            other => Err(Error::Choice {
                field: "time_unit",
                found: other.to_owned(),
                choices: &["s", "ms", "us", "ns"],
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
        let column = shard.footer.schema().columns().get(leaf)?;
        let mut bounds = Vec::new();
        let groups = shard.footer.metadata().row_groups().iter();
        for group in groups.filter(|group| group.num_rows() > 0) {
            let statistics = group.columns().get(leaf)?.statistics()?;
            // A row group of nulls alone says nothing of the unit.
            if let Bounds::Between(min, max) = integer_bounds(statistics, column)? {
                bounds.extend([min, max]);
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

/// Bounds of an integer column.
enum Bounds {
    /// From the least to the largest value, in the column's own order.
    Between(i128, i128),
    /// There is no value.
    Empty,
}

/// The bounds of an integer column, if they are in its own order.
fn integer_bounds(statistics: &Statistics, column: &ColumnDescriptor) -> Option<Bounds> {
    let is_unsigned = is_unsigned(column);
    // The old bounds of unsigned numbers were made by the order of signed ones.
    if is_unsigned && statistics.is_min_max_deprecated() {
        return None;
    }
    let (min, max) = match statistics {
        Statistics::Int32(of) => {
            let wide = |value: &i32| integer(&value.to_le_bytes(), is_unsigned);
            (of.min_opt().and_then(wide), of.max_opt().and_then(wide))
        }
        Statistics::Int64(of) => {
            let wide = |value: &i64| integer(&value.to_le_bytes(), is_unsigned);
            (of.min_opt().and_then(wide), of.max_opt().and_then(wide))
        }
        _ => return None,
    };
    match (min, max) {
        (Some(min), Some(max)) => (min <= max).then_some(Bounds::Between(min, max)),
        (None, None) => Some(Bounds::Empty),
        _ => None,
    }
}

/// A little-endian number of 4 or 8 bytes.
fn integer(bytes: &[u8], is_unsigned: bool) -> Option<i128> {
    if let Ok(bytes) = bytes.try_into() {
        let value = i64::from_le_bytes(bytes);
        return Some(if is_unsigned {
            value.cast_unsigned().into()
        } else {
            value.into()
        });
    }
    let value = i32::from_le_bytes(bytes.try_into().ok()?);
    Some(if is_unsigned {
        value.cast_unsigned().into()
    } else {
        value.into()
    })
}

fn is_unsigned(column: &ColumnDescriptor) -> bool {
    match column.logical_type_ref() {
        Some(LogicalType::Integer(integer)) => !integer.is_signed,
        Some(_) => false,
        None => matches!(
            column.converted_type(),
            ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64
        ),
    }
}

/// What bounds say of the rows that they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Inside,
    Before,
    Unknown,
}

impl TimeKind {
    /// Whether an integer value is at or after `start_ns` (nanoseconds since 1970).
    fn integer_is_inside(self, value: i128, start_ns: i128) -> bool {
        match self {
            Self::Instant(unit) => value * unit.nanoseconds() >= start_ns,
            Self::Date => (value + 1) * DAY_NS > start_ns,
            Self::DateMillis => {
                let day = value.div_euclid(DAY_NS / 1_000_000);
                Self::Date.integer_is_inside(day, start_ns)
            }
            Self::Int96 => true,
        }
    }

    /// What bounds say of a column of integers; `nulls` of its rows have no value.
    fn verdict(self, bounds: (i128, i128), nulls: Option<i64>, start_ns: i128) -> Verdict {
        if self == Self::Int96 {
            return Verdict::Unknown;
        }
        if self.integer_is_inside(bounds.0, start_ns) {
            return Verdict::Inside;
        }
        if nulls == Some(0) && !self.integer_is_inside(bounds.1, start_ns) {
            return Verdict::Before;
        }
        Verdict::Unknown
    }
}

/// Whether the bounds of a row group show that all of its rows are before `start`.
pub fn is_all_before(shard: &Shard, group: usize, column: &TimeColumn, start: Timestamp) -> bool {
    group_verdict(shard, group, column, start.as_nanosecond()) == Verdict::Before
}

fn group_verdict(shard: &Shard, group: usize, column: &TimeColumn, start_ns: i128) -> Verdict {
    let metadata = shard.footer.metadata().row_groups().get(group);
    let chunk = metadata.and_then(|group| group.columns().get(column.leaf));
    let Some(statistics) = chunk.and_then(|chunk| chunk.statistics()) else {
        return Verdict::Unknown;
    };
    let nulls = statistics.null_count_opt();
    let nulls = nulls.and_then(|nulls| i64::try_from(nulls).ok());
    match integer_bounds(statistics, &column.descriptor) {
        Some(Bounds::Between(min, max)) => column.kind.verdict((min, max), nulls, start_ns),
        _ => Verdict::Unknown,
    }
}

/// Those of `rows` that the column index shows to be inside, and those that it says nothing of.
fn judged_by_pages(
    shard: &Shard,
    chunk: &Chunk,
    group_rows: u64,
    column: &TimeColumn,
    rows: &[u32],
    start_ns: i128,
) -> (Vec<u32>, Vec<u32>) {
    let nothing = || (Vec::new(), rows.to_vec());
    let Some(range) = &chunk.column_index else {
        return nothing();
    };
    let Ok(places) = Places::find(&shard.file, chunk, true, group_rows) else {
        return nothing();
    };
    let Ok(Some(index)) = ColumnIndex::read(&*shard.file, range, places.pages.len()) else {
        return nothing();
    };
    let is_unsigned = is_unsigned(&column.descriptor);
    let (mut inside, mut open) = (Vec::new(), Vec::new());
    for (place, page) in places.pages.iter().zip(&index.pages) {
        let Some(held) = &place.rows else {
            return nothing();
        };
        let number = |bytes: &[u8]| integer(bytes, is_unsigned);
        let bounds = page.bounds.as_ref();
        let bounds = bounds.and_then(|(min, max)| Some((number(min)?, number(max)?)));
        let verdict = match bounds.filter(|(min, max)| min <= max) {
            Some(bounds) => column.kind.verdict(bounds, page.nulls, start_ns),
            None => Verdict::Unknown,
        };
        let of = |row: &u32| held.contains(&u64::from(*row));
        let of_page = rows.iter().copied().filter(of);
        match verdict {
            Verdict::Inside => inside.extend(of_page),
            Verdict::Unknown => open.extend(of_page),
            Verdict::Before => {}
        }
    }
    (inside, open)
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
    let start_ns = start.as_nanosecond();
    let number = group;
    let found = shard.footer.row_groups().get(number);
    let Some((group, chunk)) =
        found.and_then(|group| Some((group, group.chunks.get(column.leaf)?)))
    else {
        return Ok(Vec::new());
    };
    match group_verdict(shard, number, column, start_ns) {
        Verdict::Inside => return Ok(rows.to_vec()),
        Verdict::Before => return Ok(Vec::new()),
        Verdict::Unknown => {}
    }
    let (mut inside, open) = judged_by_pages(shard, chunk, group.rows, column, rows, start_ns);
    if open.is_empty() {
        return Ok(inside);
    }
    let pages = Box::new(Gather::new(
        Arc::clone(&shard.file),
        chunk,
        column.descriptor.clone(),
        group.rows,
        open.as_slice().into(),
        SharedScratch::default(),
    ));
    let kind = column.kind;
    let max = column.descriptor.max_def_level();
    let is_unsigned = is_unsigned(&column.descriptor);
    let is_in = |bytes: &[u8]| {
        integer(bytes, is_unsigned).is_none_or(|value| kind.integer_is_inside(value, start_ns))
    };
    let read = guarded(&path, || {
        match get_column_reader(column.descriptor.clone(), pages) {
            ColumnReader::Int32ColumnReader(reader) => {
                keep(reader, max, &open, |value| is_in(&value.to_le_bytes()))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                keep(reader, max, &open, |value| is_in(&value.to_le_bytes()))
            }
            ColumnReader::Int96ColumnReader(reader) => {
                keep(reader, max, &open, |value| int96_ns(value) >= start_ns)
            }
            // Roles::time lets no other type through.
            _ => Ok(open.clone()),
        }
    })
    .map_err(|error: FormatError| error.in_shard(&shard.path))?;
    inside.extend(read);
    inside.sort_unstable();
    Ok(inside)
}

fn int96_ns(value: &Int96) -> i128 {
    let [low, high, day] = value.data() else {
        return 0;
    };
    let of_day = i128::from(u64::from(*high) << 32 | u64::from(*low));
    (i128::from(*day) - JULIAN_1970) * DAY_NS + of_day
}

/// Which of `rows` are inside; `reader` has their values and no others.
fn keep<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    max_definition: i16,
    rows: &[u32],
    is_inside: impl Fn(&T::T) -> bool,
) -> parquet::errors::Result<Vec<u32>> {
    let (mut definition, mut values) = (Vec::new(), Vec::new());
    let mut kept = Vec::new();
    for part in rows.chunks(BATCH_RECORDS) {
        definition.clear();
        values.clear();
        reader.read_records(part.len(), Some(&mut definition), None, &mut values)?;
        let mut values = values.iter();
        for (position, row) in part.iter().enumerate() {
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
