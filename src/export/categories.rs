//! The headers of each subject as rows: one line per column and key that holds a value, and none of the values.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};

use super::headers::{Columns, Counts, Header};
use super::owners::{Owners, rows_by_subjects};
use super::{Canceller, Export};
use crate::error::{Error, Result};

/// The headers of each subject, one batch a subject. The rows are read when the first is asked for.
pub struct Categories {
    schema: SchemaRef,
    canceller: Canceller,
    table: String,
    /// The position of each subject in the request.
    positions: Vec<usize>,
    rows: Option<(Box<Export>, Box<Owners>)>,
    columns: Columns,
    counts: std::vec::IntoIter<(usize, Counts)>,
}

impl Categories {
    pub(super) fn new(
        table: String,
        positions: Vec<usize>,
        export: Export,
        owners: Owners,
        columns: Columns,
    ) -> Self {
        Self {
            schema: schema(),
            canceller: export.canceller(),
            table,
            positions,
            rows: Some((Box::new(export), Box::new(owners))),
            columns,
            counts: Vec::new().into_iter(),
        }
    }

    pub(super) fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    fn count(&mut self) -> Result<()> {
        let Some((export, mut owners)) = self.rows.take() else {
            return Ok(());
        };
        let mut counts: Vec<Counts> = vec![Counts::default(); self.positions.len()];
        for batch in *export {
            let batch = batch.map_err(Error::arrow("counting the columns"))?;
            let seen = self
                .columns
                .look(&batch, true)
                .map_err(Error::arrow("counting the columns"))?;
            let owners = owners.next_rows(batch.num_rows())?;
            for (subjects, rows) in rows_by_subjects(&owners) {
                for subject in subjects.iter() {
                    if let Some(counts) = counts.get_mut(*subject as usize) {
                        counts.add(&seen, &rows);
                    }
                }
            }
        }
        let counted: Vec<(usize, Counts)> = self.positions.iter().copied().zip(counts).collect();
        self.counts = counted.into_iter();
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.count()?;
        for (position, counts) in self.counts.by_ref() {
            let headers = self.columns.headers(&counts);
            if !headers.is_empty() {
                return lines(&self.schema, position, &self.table, &headers).map(Some);
            }
        }
        Ok(None)
    }
}

fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        number("subject"),
        text("table"),
        text("column"),
        text("type"),
        text("role"),
        number("rows"),
    ]))
}

fn lines(
    schema: &SchemaRef,
    position: usize,
    table: &str,
    headers: &[Header],
) -> Result<RecordBatch> {
    fn text<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_value(position as u64, headers.len())),
        text(headers.iter().map(|_| table)),
        text(headers.iter().map(|header| header.column.as_str())),
        text(headers.iter().map(|header| header.type_name.as_str())),
        text(headers.iter().map(|header| header.role.as_str())),
        Arc::new(UInt64Array::from_iter_values(
            headers.iter().map(|header| header.rows),
        )),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::arrow("listing the columns"))
}

impl Iterator for Categories {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        next.map_err(|error| ArrowError::ExternalError(Box::new(error)))
            .transpose()
    }
}

impl RecordBatchReader for Categories {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl std::fmt::Debug for Categories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Categories({} subjects)", self.positions.len())
    }
}
