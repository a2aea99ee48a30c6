//! When the rows of a batch were.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::fields::column_at;
use super::headers::Roles;
use super::presence::array_at;
use crate::shard::time::UnitName;

/// The time column of an export.
#[derive(Debug, Clone)]
pub(super) struct When {
    path: String,
    /// The unit, if the column has integers.
    unit: UnitName,
}

impl When {
    /// The time column, if the export has one.
    pub(super) fn of(schema: &Schema, roles: &Roles) -> Option<Self> {
        let is_there = |path: &&String| column_at(schema, path).is_some();
        Some(Self {
            path: roles.times.iter().find(is_there)?.clone(),
            unit: roles.unit.unwrap_or(UnitName::Milliseconds),
        })
    }

    /// The instant of each row; `None` where there is none, or none in the calendar.
    ///
    /// # Errors
    /// When the column holds no times.
    pub(super) fn instants(
        &self,
        batch: &RecordBatch,
    ) -> Result<Vec<Option<Timestamp>>, ArrowError> {
        let array =
            column_at(batch.schema_ref(), &self.path).and_then(|place| array_at(batch, &place).0);
        let Some(array) = array else {
            return Ok(vec![None; batch.num_rows()]);
        };
        let array: ArrayRef = match array.data_type() {
            DataType::Dictionary(_, values) => cast(&array, values)?,
            _ => array,
        };
        let of_numbers = match self.unit {
            UnitName::Seconds => TimeUnit::Second,
            UnitName::Milliseconds => TimeUnit::Millisecond,
            UnitName::Microseconds => TimeUnit::Microsecond,
            UnitName::Nanoseconds => TimeUnit::Nanosecond,
        };
        let unit = match array.data_type() {
            DataType::Timestamp(unit, _) => *unit,
            DataType::Date32 | DataType::Date64 => TimeUnit::Millisecond,
            // What shards of different types have in common.
            DataType::Utf8 | DataType::LargeUtf8 => {
                let texts = cast(&array, &DataType::LargeUtf8)?;
                let texts = texts.as_string::<i64>().iter();
                return Ok(texts.map(|text| of_text(text?, of_numbers)).collect());
            }
            _ => of_numbers,
        };
        let array = match array.data_type() {
            DataType::Date32 => cast(&array, &DataType::Date64)?,
            _ => array,
        };
        let values = cast(&array, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>();
        Ok(values.iter().map(|value| instant(value?, unit)).collect())
    }
}

/// The instant that an export's text tells, of whatever type it was.
fn of_text(text: &str, of_numbers: TimeUnit) -> Option<Timestamp> {
    if let Ok(number) = text.parse() {
        return instant(number, of_numbers);
    }
    let of_zone = text.parse::<Timestamp>().ok();
    // A date alone is its midnight.
    let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    of_zone.or_else(|| local().map(|zoned| zoned.timestamp()))
}

fn instant(value: i64, unit: TimeUnit) -> Option<Timestamp> {
    let instant = match unit {
        TimeUnit::Second => Timestamp::from_second(value),
        TimeUnit::Millisecond => Timestamp::from_millisecond(value),
        TimeUnit::Microsecond => Timestamp::from_microsecond(value),
        TimeUnit::Nanosecond => Timestamp::from_nanosecond(i128::from(value)),
    };
    instant.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_type_tells_its_instant() {
        for (text, expected) in [
            ("86400000", "1970-01-02T00:00:00Z"),
            ("1970-01-02", "1970-01-02T00:00:00Z"),
            ("1970-01-02T00:00:00.5", "1970-01-02T00:00:00.5Z"),
            ("1970-01-02T00:00:00.5Z", "1970-01-02T00:00:00.5Z"),
        ] {
            let found = of_text(text, TimeUnit::Millisecond);
            assert_eq!(
                found.map(|found| found.to_string()).as_deref(),
                Some(expected)
            );
        }
        assert_eq!(of_text("9 days since 1970-01-01", TimeUnit::Second), None);
    }
}
