//! Whole columns of a file as Arrow batches.
//!
//! The footer and the pages are read as for everything else here ([`footer`](super::footer),
//! [`chunk_reader`](super::chunk_reader)): what they contradict each other in is an error, and so is a panic of the
//! `parquet` crate.
//!
//! Memory: a batch, and a page and a dictionary of each column.

use std::sync::Arc;

use arrow::datatypes::{DataType, Fields, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::column::page::{PageIterator, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::ColumnDescPtr;

use super::chunk_reader::ChunkPages;
use super::footer::{Chunk, Footer};
use super::guard::{FirstFailure, guarded};
use super::hint::hints;
use crate::error::FormatError;
use crate::io::ReadAt;

type Result<T> = std::result::Result<T, FormatError>;

/// The Arrow schema of a file. A hint of the writer that doesn't fit the file is ignored.
///
/// # Errors
/// When a column has a type that Arrow lacks.
pub(crate) fn arrow_schema(footer: &Footer) -> Result<Schema> {
    let read = |hints| guarded("schema", || parquet_to_arrow_schema(footer.schema(), hints));
    read(hints(footer)).or_else(|_| read(None))
}

/// Rows of a batch of `schema`, at most `most`: fewer where each takes much memory whatever it holds.
pub(crate) fn batch_rows(schema: &Schema, most: usize) -> usize {
    /// Bytes of the values of fixed lengths of a batch.
    const BYTES: u64 = 64 << 20;
    fn width(data_type: &DataType) -> u64 {
        match data_type {
            DataType::FixedSizeBinary(len) => u64::try_from(*len).unwrap_or(0),
            DataType::FixedSizeList(item, len) => {
                let len = u64::try_from(*len).unwrap_or(0);
                len.saturating_mul(width(item.data_type()))
            }
            DataType::Struct(fields) => widths(fields),
            _ => 16,
        }
    }
    fn widths(fields: &Fields) -> u64 {
        let widths = fields.iter().map(|field| width(field.data_type()));
        widths.fold(0, u64::saturating_add)
    }
    let rows = BYTES / widths(schema.fields()).max(1);
    most.min(usize::try_from(rows).unwrap_or(usize::MAX)).max(1)
}

/// The rows of some columns, batch by batch.
pub(crate) struct Batches {
    reader: ParquetRecordBatchReader,
    failure: FirstFailure,
    claimed: u64,
    seen: u64,
}

impl Batches {
    /// Those of `columns`, told by their places in `schema`, which is the [`arrow_schema`]; `most` rows in a batch.
    ///
    /// # Errors
    /// When a column can't be read as Arrow has it.
    pub(crate) fn new(
        file: &Arc<dyn ReadAt>,
        footer: &Footer,
        schema: &Schema,
        columns: impl IntoIterator<Item = usize>,
        most: usize,
    ) -> Result<Self> {
        let failure = FirstFailure::default();
        let source = Source {
            file,
            footer,
            failure: &failure,
        };
        let mask = ProjectionMask::roots(footer.schema(), columns);
        // The reader makes room for a whole batch of each column.
        let most = most.min(source.num_rows());
        let batch_rows = batch_rows(schema, most);
        let reader = guarded("schema", || {
            let hints = Some(schema.fields());
            let levels = parquet_to_arrow_field_levels(footer.schema(), mask, hints)?;
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &source, batch_rows, None)
        })?;
        Ok(Self {
            reader,
            failure,
            claimed: footer.rows(),
            seen: 0,
        })
    }

    /// The next batch; `None` when all rows that the footer claims were seen.
    ///
    /// # Errors
    /// When a page is damaged, or the pages hold another number of values than the footer claims.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let context = format!("rows from {} on", self.seen);
        let batch = guarded(&context, || {
            let next = self.reader.next().transpose();
            next.map_err(|error| ParquetError::External(Box::new(error)))
        })
        .map_err(|error| self.failure.cause(error))?;
        match &batch {
            Some(batch) => self.seen += batch.num_rows() as u64,
            None if self.seen == self.claimed => {}
            None => {
                return Err(FormatError::Contradiction {
                    what: "rows of the file".to_owned(),
                    claimed: self.claimed,
                    counted: self.seen,
                });
            }
        }
        Ok(batch)
    }
}

/// All row groups, as the Arrow reader asks for them.
struct Source<'a> {
    file: &'a Arc<dyn ReadAt>,
    footer: &'a Footer,
    failure: &'a FirstFailure,
}

impl RowGroups for Source<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.footer.rows()).unwrap_or(usize::MAX)
    }

    fn column_chunks(
        &self,
        leaf: usize,
    ) -> std::result::Result<Box<dyn PageIterator>, ParquetError> {
        let groups = self.footer.row_groups().iter();
        let chunks: Vec<Chunk> = groups
            .filter_map(|group| group.chunks.get(leaf).cloned())
            .collect();
        let columns = self.footer.schema().columns();
        let descriptor = columns
            .get(leaf)
            .ok_or_else(|| ParquetError::General(format!("there is no column {leaf}")))?;
        Ok(Box::new(ColumnPages {
            file: Arc::clone(self.file),
            chunks: chunks.into_iter(),
            column: Arc::clone(descriptor),
            failure: self.failure.clone(),
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.footer.metadata().row_groups().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.footer.metadata()
    }
}

/// The chunks of a leaf, one row group after the other.
struct ColumnPages {
    file: Arc<dyn ReadAt>,
    chunks: std::vec::IntoIter<Chunk>,
    column: ColumnDescPtr,
    failure: FirstFailure,
}

impl Iterator for ColumnPages {
    type Item = std::result::Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = self.chunks.next()?;
        let (file, failure) = (Arc::clone(&self.file), self.failure.clone());
        let pages = ChunkPages::new(file, &chunk, &self.column, failure);
        Some(Ok(Box::new(pages)))
    }
}

impl PageIterator for ColumnPages {}
