//! INT96 instants in a type that can tell them: by the file's own unit, else in microseconds or nanoseconds, else as
//! text.
//!
//! ```text
//!   selected rows of the INT96 leaves ── survey ──> Instants of those that need another type ── arrow_types
//! ```
//!
//! INT96 holds nanoseconds of any of four billion days. A number of 64 bits tells nanoseconds from 1677 to 2262 alone, so
//! `0001-01-01` and `9999-12-31`, which writers use for "ever", need microseconds. Beside an instant that needs
//! nanoseconds no type of Arrow or Parquet holds them: the column is text then, as JSON Lines has instants.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::FixedSizeBinaryArray;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::json::writer::Encoder;
use parquet::arrow::ProjectionMask;
use parquet::basic::Type as Physical;
use roaring::RoaringBitmap;

use super::arrow_types::edit_leaves;
use super::decode::{group_ranges, values_of};
use super::temporal::{per_second, write_civil};
use crate::error::{FormatError, Result};
use crate::parquet_bytes::footer::Footer;
use crate::parquet_bytes::gather::{Gather, SharedScratch};
use crate::shard::Shard;

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

fn can_tell(unit: TimeUnit, ns: i128) -> bool {
    let scale = i128::from(1_000_000_000 / per_second(unit));
    ns % scale == 0 && i64::try_from(ns / scale).is_ok()
}

/// Looks at the selected `rows` (counted in the shard) of the INT96 leaves among `shown`, whose Arrow schema is that of
/// the whole shard.
///
/// # Errors
/// When a page is damaged.
pub(super) fn survey(
    shard: &Shard,
    schema: &Schema,
    shown: &ProjectionMask,
    rows: &RoaringBitmap,
) -> Result<Instants> {
    let mut instants = Instants::new();
    for (leaf, unit) in int96_units(schema, &shard.footer).into_iter().enumerate() {
        let Some(unit) = unit.filter(|_| shown.leaf_included(leaf)) else {
            continue;
        };
        let told = told(shard, leaf, unit, rows).map_err(|error| error.in_shard(&shard.path))?;
        if told != Told::By(unit) {
            instants.insert(leaf, told);
        }
    }
    Ok(instants)
}

fn told(
    shard: &Shard,
    leaf: usize,
    unit: TimeUnit,
    rows: &RoaringBitmap,
) -> std::result::Result<Told, FormatError> {
    let mut units = vec![unit, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let scratch = SharedScratch::default();
    let groups = shard.footer.row_groups().iter();
    for (group, range) in groups.zip(group_ranges(&shard.footer)) {
        let column = shard.footer.schema().columns().get(leaf);
        let (Some(range), Some(chunk), Some(column)) = (range, group.chunks.get(leaf), column)
        else {
            continue;
        };
        let base = *range.start();
        let rows: Arc<[u32]> = rows.range(range).map(|row| row - base).collect();
        if rows.is_empty() {
            continue;
        }
        let mut pages = Gather::new(
            Arc::clone(&shard.file),
            chunk,
            column.clone(),
            group.rows,
            rows,
            Arc::clone(&scratch),
        );
        while let Some(page) = pages.pop()? {
            let (values, _) = values_of(&page).as_chunks::<BYTES>();
            units.retain(|unit| values.iter().all(|value| can_tell(*unit, ns_of(value))));
        }
    }
    Ok(units.first().map_or(Told::AsText, |unit| Told::By(*unit)))
}

/// The unit of each leaf that is an INT96, in the order of Parquet's columns.
pub(super) fn int96_units(schema: &Schema, footer: &Footer) -> Vec<Option<TimeUnit>> {
    let mut columns = footer.schema().columns().iter();
    let mut units = Vec::new();
    let mut note = |field: &arrow::datatypes::Field| {
        let column = columns.next();
        let is_int96 = column.is_some_and(|column| column.physical_type() == Physical::INT96);
        units.push(match field.data_type() {
            DataType::Timestamp(unit, _) if is_int96 => Some(*unit),
            _ => None,
        });
        field.clone()
    };
    for field in schema.fields() {
        edit_leaves(field, &mut note);
    }
    units
}

/// Checks that the INT96 values, which follow one another, are instants that the unit can tell.
///
/// # Errors
/// [`FormatError::Unsupported`] at the first that isn't.
pub(super) fn check_int96(
    values: &[u8],
    unit: TimeUnit,
    column: &str,
) -> std::result::Result<(), FormatError> {
    let (values, _) = values.as_chunks::<BYTES>();
    if values.iter().all(|value| can_tell(unit, ns_of(value))) {
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
