//! The selected rows of one row group as Arrow batches.
//!
//! ```text
//!   selected rows ── gather, leaf by leaf ──> pages of just these rows ── the `parquet` crate's Arrow reader ──> batches
//! ```
//!
//! Memory: one page and the dictionary of each leaf; one batch.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::TimeUnit;
use arrow::record_batch::RecordBatch;

use parquet::arrow::FieldLevels;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use roaring::RoaringBitmap;

use super::arrow_types::{arrow_schema, field_levels, int96_units};
use super::conform::conform;
use super::int96::{Instants, check_int96};
use super::schema::Unified;
use super::shown::Shown;
use crate::error::{FormatError, Result};
use crate::io::ReadAt;
use crate::parquet_bytes::footer::Footer;
use crate::parquet_bytes::gather::{Gather, SharedScratch};
use crate::parquet_bytes::guard::{FirstFailure, guarded};
use crate::shard::Shard;

/// A shard that rows are read from.
pub(super) struct OpenShard {
    shard: Shard,
    levels: FieldLevels,
    /// The units of those leaves that are INT96.
    int96: Vec<Option<TimeUnit>>,
    shown: Shown,
}

impl OpenShard {
    /// `instants` is what `shown` was decided with.
    pub(super) fn new(shard: Shard, shown: Shown, instants: &Instants) -> Result<Self> {
        let schema = arrow_schema(&shard.path, &shard.footer, instants)?;
        let leaves = shown.leaves.clone();
        Ok(Self {
            levels: field_levels(&shard.path, &shard.footer, leaves, instants)?,
            int96: int96_units(&schema, &shard.footer),
            shard,
            shown,
        })
    }
}

/// The row numbers of each row group; of one without rows, or beyond what a bitmap can hold, `None`.
pub(super) fn group_ranges(footer: &Footer) -> impl Iterator<Item = Option<RangeInclusive<u32>>> {
    let mut base = 0;
    footer.row_groups().iter().map(move |group| {
        let start = base;
        base += group.rows;
        let last = base.checked_sub(1).filter(|last| *last >= start)?;
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        Some(u32::try_from(start).ok()?..=last)
    })
}

/// Decodes the selected rows of one row group.
pub(super) struct GroupReader {
    open: Arc<OpenShard>,
    reader: ParquetRecordBatchReader,
    failure: FirstFailure,
    context: String,
    selected: u64,
    seen: u64,
}

/// What a row group is read with.
pub(super) struct Means {
    pub(super) batch_rows: usize,
    pub(super) scratch: SharedScratch,
    /// Set when nobody waits for the rows any more: reads fail then.
    pub(super) cancelled: Arc<AtomicBool>,
}

impl GroupReader {
    /// A reader of those of `rows` (counted in the shard) that are in the row group `group`.
    pub(super) fn new(
        open: Arc<OpenShard>,
        group: usize,
        rows: &RoaringBitmap,
        means: Means,
    ) -> Result<Self> {
        let range = group_ranges(&open.shard.footer).nth(group).flatten();
        let base = range.as_ref().map_or(0, |range| *range.start());
        let rows: Arc<[u32]> = match range {
            Some(range) => rows.range(range).map(|row| row - base).collect(),
            None => Arc::default(),
        };
        let failure = FirstFailure::default();
        let context = format!("row group {group}");
        let selected = rows.len() as u64;
        let source = Source {
            file: Arc::new(Cancellable {
                file: Arc::clone(&open.shard.file),
                cancelled: means.cancelled,
            }),
            open: &open,
            group,
            rows,
            scratch: means.scratch,
            failure: failure.clone(),
        };
        let reader = guarded(&context, || {
            // The reader makes room for a whole batch of each column.
            let batch_rows = means.batch_rows.min(source.rows.len()).max(1);
            ParquetRecordBatchReader::try_new_with_row_groups(
                &open.levels,
                &source,
                batch_rows,
                None,
            )
        })
        .map_err(|error| failure.cause(error).in_shard(&open.shard.path))?;
        Ok(Self {
            open,
            reader,
            failure,
            context,
            selected,
            seen: 0,
        })
    }

    pub(super) fn next_batch(&mut self, unified: &Unified) -> Result<Option<RecordBatch>> {
        let path = &self.open.shard.path;
        let batch = guarded(&self.context, || {
            let next = self.reader.next().transpose();
            next.map_err(|error| ParquetError::External(Box::new(error)))
        })
        .map_err(|error| self.failure.cause(error).in_shard(path))?;
        let Some(batch) = batch else {
            if self.seen == self.selected {
                return Ok(None);
            }
            return Err(FormatError::Contradiction {
                what: format!("selected rows of {}", self.context),
                claimed: self.selected,
                counted: self.seen,
            }
            .in_shard(path));
        };
        self.seen += batch.num_rows() as u64;
        conform(path, &self.open.shown, &batch, unified).map(Some)
    }
}

/// The leaves of one row group, as the Arrow reader asks for them.
struct Source<'a> {
    file: Arc<dyn ReadAt>,
    open: &'a OpenShard,
    group: usize,
    /// Counted in the row group.
    rows: Arc<[u32]>,
    scratch: SharedScratch,
    failure: FirstFailure,
}

impl RowGroups for Source<'_> {
    fn num_rows(&self) -> usize {
        self.rows.len()
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>, ParquetError> {
        let footer = &self.open.shard.footer;
        let group = footer.row_groups().get(self.group);
        let found = group
            .and_then(|group| Some((group, group.chunks.get(leaf)?)))
            .zip(footer.schema().columns().get(leaf));
        let pages = found.map(|((group, chunk), column)| {
            let pages = Gather::new(
                Arc::clone(&self.file),
                chunk,
                column.clone(),
                group.rows,
                Arc::clone(&self.rows),
                Arc::clone(&self.scratch),
            );
            Box::new(Watched {
                pages,
                int96: self.open.int96.get(leaf).copied().flatten(),
                failure: self.failure.clone(),
            })
        });
        Ok(Box::new(OneChunk(pages)))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        let groups = self.open.shard.footer.metadata().row_groups();
        Box::new(groups.get(self.group).into_iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.open.shard.footer.metadata()
    }
}

/// The chunk of a leaf in the one row group that is read.
struct OneChunk(Option<Box<Watched>>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(pages as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

/// Pages whose failure is kept.
struct Watched {
    pages: Gather,
    /// The unit of the timestamps that its INT96 values become.
    int96: Option<TimeUnit>,
    failure: FirstFailure,
}

impl Iterator for Watched {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl Watched {
    fn pop(&mut self) -> Result<Option<Page>, FormatError> {
        let page = self.pages.pop()?;
        if let (Some(unit), Some(page)) = (self.int96, &page) {
            check_int96(values_of(page), unit, &self.pages.column_path())?;
        }
        Ok(page)
    }
}

/// The bytes of a page behind its levels.
pub(super) fn values_of(page: &Page) -> &[u8] {
    let levels = match page {
        Page::DataPageV2 {
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => def_levels_byte_len + rep_levels_byte_len,
        _ => 0,
    };
    page.buffer().get(levels as usize..).unwrap_or_default()
}

impl PageReader for Watched {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pop();
        self.failure.keep(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.failure.keep(self.pages.coming())
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.get_next_page().map(drop)
    }
}

/// Fails every read after the export was cancelled.
struct Cancellable {
    file: Arc<dyn ReadAt>,
    cancelled: Arc<AtomicBool>,
}

impl ReadAt for Cancellable {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the export was given up"));
        }
        self.file.read_at(offset, buffer)
    }
}
