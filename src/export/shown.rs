//! What an export shows of one shard.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;

use super::edit::Edit;
use super::partitions::{Partition, partitions};

/// What an export shows of one shard.
pub(super) struct Shown {
    /// The schema of what is shown.
    pub(super) schema: SchemaRef,
    /// The columns that its path stands for.
    pub(super) partitions: Vec<Partition>,
    /// The leaves that are read.
    pub(super) leaves: ProjectionMask,
    /// How each column that is read becomes what is shown; without, as it is.
    pub(super) edits: Option<Vec<Edit>>,
}

impl Shown {
    /// All of a shard with this Arrow schema.
    pub(super) fn everything(path: &str, schema: SchemaRef) -> Self {
        Self {
            partitions: partitions(path, &schema),
            schema,
            leaves: ProjectionMask::all(),
            edits: None,
        }
    }

    /// The columns of what is shown; `batch` holds the leaves that are read.
    ///
    /// # Errors
    /// When a column has a type whose sources can't be told apart, or isn't the text that it should be.
    pub(super) fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        let Some(edits) = &self.edits else {
            return Ok(batch.columns().to_vec());
        };
        let columns = edits.iter().zip(batch.columns()).zip(self.schema.fields());
        columns
            .map(|((edit, column), field)| edit.apply(column, field))
            .collect()
    }
}
