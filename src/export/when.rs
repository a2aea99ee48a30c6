//! When the rows of a batch were.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;

use super::fields::column_at;
use super::headers::Roles;
use super::presence::array_at;
use crate::shard::time::UnitName;

/// The time column of an export.
#[derive(Debug, Clone)]
pub(super) struct When {
    path: String,
    /// Of a column of integers.
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
        let unit = match array.data_type() {
            DataType::Timestamp(unit, _) => *unit,
            DataType::Date32 | DataType::Date64 => TimeUnit::Millisecond,
            _ => match self.unit {
                UnitName::Seconds => TimeUnit::Second,
                UnitName::Milliseconds => TimeUnit::Millisecond,
                UnitName::Microseconds => TimeUnit::Microsecond,
                UnitName::Nanoseconds => TimeUnit::Nanosecond,
            },
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

fn instant(value: i64, unit: TimeUnit) -> Option<Timestamp> {
    let instant = match unit {
        TimeUnit::Second => Timestamp::from_second(value),
        TimeUnit::Millisecond => Timestamp::from_millisecond(value),
        TimeUnit::Microsecond => Timestamp::from_microsecond(value),
        TimeUnit::Nanosecond => Timestamp::from_nanosecond(i128::from(value)),
    };
    instant.ok()
}
