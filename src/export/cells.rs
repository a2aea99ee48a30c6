//! Values as the cells of CSV and of pages have them.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder};
use arrow::record_batch::RecordBatch;

use super::json::encoders;

/// The values of a batch as people and programs read them in a cell.
pub(super) struct Cells<'a> {
    columns: Vec<Cell<'a>>,
    json: Vec<u8>,
}

enum Cell<'a> {
    Text(ArrayRef),
    Json(NullableEncoder<'a>),
}

impl<'a> Cells<'a> {
    /// # Errors
    /// When there is no JSON for a column.
    pub(super) fn of(
        batch: &'a RecordBatch,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let columns = batch.columns().iter().zip(encoders(batch, options)?);
        let cell = |(column, encoder): (&ArrayRef, NullableEncoder<'a>)| {
            let values = match column.data_type() {
                DataType::Dictionary(_, values) => values.as_ref(),
                other => other,
            };
            Ok(match values {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                    Cell::Text(cast(column, &DataType::LargeUtf8)?)
                }
                _ => Cell::Json(encoder),
            })
        };
        Ok(Self {
            columns: columns.map(cell).collect::<Result<_, ArrowError>>()?,
            json: Vec::new(),
        })
    }

    /// Appends a value, nothing for a null; says whether it is text that somebody may have made up.
    pub(super) fn push(&mut self, row: usize, column: usize, out: &mut String) -> bool {
        let encoder = match self.columns.get_mut(column) {
            None => return false,
            Some(Cell::Text(texts)) => {
                if texts.is_valid(row) {
                    out.push_str(texts.as_string::<i64>().value(row));
                }
                return true;
            }
            Some(Cell::Json(encoder)) => encoder,
        };
        if encoder.is_null(row) {
            return false;
        }
        self.json.clear();
        encoder.encode(row, &mut self.json);
        match serde_json::from_slice::<Cow<'_, str>>(&self.json) {
            Ok(text) if self.json.starts_with(b"\"") => out.push_str(&text),
            _ => out.push_str(&String::from_utf8_lossy(&self.json)),
        }
        false
    }
}
