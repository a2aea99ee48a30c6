//! The selected rows of many shards as one stream of Arrow batches, and as bytes of a format.
//!
//! ```text
//!   [ShardRows] ── Export::new: footers ──> one schema, one task per row group that is hit
//!      tasks ── waves of small ones decoded in parallel, large ones batch by batch ──> batches, in order
//!      batches ── sink::write ──> Parquet, JSON Lines, CSV, Arrow
//! ```
//!
//! * `schema`: one schema over shards that differ; [`sink`]: the formats, with `json` and `csv`
//! * `disclose`: what of a shard is shown; [`headers`], [`categories`]: which columns hold a value;
//!   [`disclosed`]: an export as its plan's disclosure asks for it
//! * [`owners`]: whose the rows are; [`spool`], [`per_subject`]: a file for each subject; `report`: a page for each;
//!   `when`: when its rows were; `type_names`: what types are called
//!
//! # Invariants
//! Rows come in the order of shard, row group, row, whatever the number of threads. Only row groups that are
//! hit are read, and of them, where there is an offset index, only pages that hold selected rows. A shard that is no
//! longer the version its rows were selected in is an error, as is a row group that yields fewer rows
//! than were selected.
//!
//! Memory: of a wave at most [`WAVE_ROWS`] decoded rows, plus one page per column and thread; one batch of a larger
//! row group; three numbers per row group that is hit.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::config::Config;
use crate::error::{Error, FormatError, Result};
use crate::limits::BATCH_RECORDS;
use crate::parquet_bytes::chunk_reader::{ParquetFile, guarded};
use crate::parquet_bytes::footer::{Footer, RowGroup};
use crate::shard::Shard;
use crate::storage::{ReadAt, Storage};
use disclose::Shown;
use schema::Unifier;
pub mod categories;
mod csv;
mod disclose;
pub mod disclosed;
pub mod headers;
mod json;
pub mod owners;
pub mod per_subject;
mod report;
mod schema;
pub mod sink;
pub mod spool;
mod type_names;
mod when;

pub use disclosed::{BySubject, Disclosed};

/// Selected rows that are decoded ahead of the caller. A row group with more is decoded batch by batch.
pub const WAVE_ROWS: u64 = 4 * BATCH_RECORDS as u64;

/// Shards whose footers are held at a time while the schema is made.
const FOOTERS_AT_A_TIME: usize = 64;

/// The rows of one shard to export.
#[derive(Debug, Clone)]
pub struct ShardRows {
    /// Relative to the dataset.
    pub path: String,
    /// The [`hash`](Footer::hash) of the version in which the rows were selected.
    pub footer_hash: u64,
    /// Row numbers, counted in the shard.
    pub rows: RoaringBitmap,
}

/// How rows are exported.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Rows of a batch at most; 0 counts as 1.
    pub batch_rows: usize,
    /// Show only whose and when each row is, and how it was collected, by this configuration; `None` shows
    /// everything.
    pub sources_of: Option<Arc<Config>>,
}

impl ExportOptions {
    /// What is shown of a shard.
    fn shown(&self, shard: &Shard, schema: &SchemaRef) -> Result<Shown> {
        match &self.sources_of {
            None => Ok(Shown::everything(&shard.path, Arc::clone(schema))),
            Some(config) => Shown::sources(shard, schema, config),
        }
    }
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            batch_rows: BATCH_RECORDS,
            sources_of: None,
        }
    }
}

/// The selected rows, batch by batch. Decodes in the rayon pool that the caller runs in.
///
/// An error that the iterator yields is an [`ArrowError::ExternalError`] around an [`Error`]; it ends the iteration.
pub struct Export {
    storage: Arc<dyn Storage>,
    shards: Vec<ShardRows>,
    schema: SchemaRef,
    options: ExportOptions,
    tasks: VecDeque<Task>,
    /// Decoded batches that were not yet asked for.
    ready: VecDeque<RecordBatch>,
    large: Option<GroupReader>,
    /// The shards of the last wave: the next one often begins in one of them.
    open: Vec<Arc<OpenShard>>,
}

/// The selected rows of one row group.
#[derive(Debug, Clone, Copy)]
struct Task {
    /// Place in `Export::shards`.
    shard: usize,
    group: usize,
    selected: u64,
}

impl Export {
    /// Prepares the export of `shards`, which are in the order of their paths.
    ///
    /// # Errors
    /// When a shard can't be opened, is damaged or was changed, or two shards give a column types that have no common type.
    pub fn new(
        storage: Arc<dyn Storage>,
        shards: Vec<ShardRows>,
        options: &ExportOptions,
    ) -> Result<Self> {
        let mut unifier = Unifier::default();
        let mut tasks = VecDeque::new();
        let mut place = 0;
        for part in shards.chunks(FOOTERS_AT_A_TIME) {
            let open: Vec<(Shard, Shown)> = part
                .par_iter()
                .map(|rows| {
                    let shard = open_unchanged(&*storage, rows)?;
                    let metadata = arrow_metadata(&shard, shard.footer.metadata())?;
                    let shown = options.shown(&shard, metadata.schema())?;
                    Ok((shard, shown))
                })
                .collect::<Result<_>>()?;
            for (rows, (shard, shown)) in part.iter().zip(open) {
                unifier.add(&rows.path, &shown)?;
                add_tasks(&mut tasks, place, rows, &shard)?;
                place += 1;
            }
        }
        Ok(Self {
            storage,
            shards,
            schema: unifier.finish(),
            options: ExportOptions {
                batch_rows: options.batch_rows.max(1),
                ..options.clone()
            },
            tasks,
            ready: VecDeque::new(),
            large: None,
            open: Vec::new(),
        })
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(large) = &mut self.large {
                match large.next_batch(&self.schema)? {
                    Some(batch) => return Ok(Some(batch)),
                    None => self.large = None,
                }
                continue;
            }
            if self.tasks.is_empty() {
                return Ok(None);
            }
            self.decode_some()?;
        }
    }

    /// Decodes the next wave of row groups, or begins with the next one if it is large.
    fn decode_some(&mut self) -> Result<()> {
        let mut rows = 0;
        let mut wave = Vec::new();
        while let Some(task) = self.tasks.front()
            && (wave.is_empty() || rows + task.selected <= WAVE_ROWS)
            && wave.len() < 2 * rayon::current_num_threads()
        {
            rows += task.selected;
            wave.extend(self.tasks.pop_front());
        }
        self.open_shards(&wave)?;
        let readers = wave.iter().map(|task| {
            let open = self.open.iter().find(|open| open.place == task.shard);
            open.map(|open| (Arc::clone(open), *task))
        });
        let readers: Vec<_> = readers.flatten().collect();
        let (schema, batch_rows) = (&self.schema, self.options.batch_rows);
        if rows > WAVE_ROWS {
            for (open, task) in readers {
                let selection = self.shards.get(task.shard).map(|shard| &shard.rows);
                self.large = selection
                    .map(|rows| GroupReader::new(open, task, rows, batch_rows))
                    .transpose()?;
            }
            return Ok(());
        }
        let shards = &self.shards;
        let decoded: Vec<Result<Vec<RecordBatch>>> = readers
            .into_par_iter()
            .map(|(open, task)| {
                let Some(shard) = shards.get(task.shard) else {
                    return Ok(Vec::new());
                };
                let mut reader = GroupReader::new(open, task, &shard.rows, batch_rows)?;
                let mut batches = Vec::new();
                while let Some(batch) = reader.next_batch(schema)? {
                    batches.push(batch);
                }
                Ok(batches)
            })
            .collect();
        // In the order of the export, so the error that is told doesn't depend on which thread was first.
        for batches in decoded {
            self.ready.extend(batches?);
        }
        Ok(())
    }

    /// Makes `self.open` the shards of `wave`.
    fn open_shards(&mut self, wave: &[Task]) -> Result<()> {
        let mut places: Vec<usize> = wave.iter().map(|task| task.shard).collect();
        places.dedup();
        let (storage, shards, before) = (&self.storage, &self.shards, &self.open);
        let options = &self.options;
        let open: Vec<Option<Arc<OpenShard>>> = places
            .par_iter()
            .map(|place| {
                let known = before.iter().find(|open| open.place == *place);
                match (known, shards.get(*place)) {
                    (Some(open), _) => Ok(Some(Arc::clone(open))),
                    (None, Some(rows)) => OpenShard::new(&**storage, *place, rows, options)
                        .map(|open| Some(Arc::new(open))),
                    (None, None) => Ok(None),
                }
            })
            .collect::<Result<_>>()?;
        self.open = open.into_iter().flatten().collect();
        Ok(())
    }
}

impl Iterator for Export {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        if next.is_err() {
            self.tasks.clear();
            self.ready.clear();
            self.large = None;
        }
        next.map_err(|error| ArrowError::ExternalError(Box::new(error)))
            .transpose()
    }
}

impl RecordBatchReader for Export {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Export({} shards, {} row groups left)",
            self.shards.len(),
            self.tasks.len()
        )
    }
}

fn open_unchanged(storage: &dyn Storage, rows: &ShardRows) -> Result<Shard> {
    let shard = Shard::open(storage, &rows.path)?;
    if shard.footer.hash != rows.footer_hash {
        return Err(changed(rows));
    }
    Ok(shard)
}

fn changed(rows: &ShardRows) -> Error {
    Error::ShardChanged {
        path: rows.path.clone(),
    }
}

fn add_tasks(
    tasks: &mut VecDeque<Task>,
    place: usize,
    rows: &ShardRows,
    shard: &Shard,
) -> Result<()> {
    let mut selected_of_all = 0;
    for (group, range) in group_ranges(shard).enumerate() {
        let selected = range.map_or(0, |range| rows.rows.range_cardinality(range));
        selected_of_all += selected;
        if selected > 0 {
            tasks.push_back(Task {
                shard: place,
                group,
                selected,
            });
        }
    }
    // The rows were selected in a longer version of the shard.
    if selected_of_all != rows.rows.len() {
        return Err(changed(rows));
    }
    Ok(())
}

/// The row numbers of each row group; of one without rows, or beyond what a bitmap can hold, `None`.
fn group_ranges(shard: &Shard) -> impl Iterator<Item = Option<std::ops::RangeInclusive<u32>>> {
    let mut base = 0;
    shard.footer.row_groups().iter().map(move |group| {
        let start = base;
        base += group.rows;
        let last = base.checked_sub(1).filter(|last| *last >= start)?;
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        Some(u32::try_from(start).ok()?..=last)
    })
}

/// The Arrow schema of a shard. A schema hint of the writer that doesn't fit the file is ignored.
fn arrow_metadata(shard: &Shard, metadata: &Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata> {
    let read = |options| {
        let metadata = Arc::clone(metadata);
        guarded("schema", || ArrowReaderMetadata::try_new(metadata, options))
    };
    read(ArrowReaderOptions::new())
        .or_else(|_| read(ArrowReaderOptions::new().with_skip_arrow_metadata(true)))
        .map_err(|error| error.in_shard(&shard.path))
}

/// A shard that rows are read from.
struct OpenShard {
    place: usize,
    shard: Shard,
    metadata: ArrowReaderMetadata,
    shown: Shown,
}

impl OpenShard {
    fn new(
        storage: &dyn Storage,
        place: usize,
        rows: &ShardRows,
        options: &ExportOptions,
    ) -> Result<Self> {
        let shard = open_unchanged(storage, rows)?;
        let indexed =
            with_offset_index(&shard).unwrap_or_else(|| Arc::clone(shard.footer.metadata()));
        let metadata = arrow_metadata(&shard, &indexed)?;
        let shown = options.shown(&shard, metadata.schema())?;
        Ok(Self {
            place,
            shard,
            metadata,
            shown,
        })
    }
}

/// The metadata with the offset index, if there is one that can be right: the reader trusts it.
fn with_offset_index(shard: &Shard) -> Option<Arc<ParquetMetaData>> {
    let footer: &Footer = &shard.footer;
    let metadata = guarded("offset index", || {
        let mut reader = ParquetMetaDataReader::new_with_metadata((**footer.metadata()).clone())
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        reader.read_page_indexes(&ParquetFile(Arc::clone(&shard.file)))?;
        reader.finish()
    })
    .ok()?;
    let index = metadata.offset_index()?;
    let sound = index.len() == footer.row_groups().len()
        && index
            .iter()
            .zip(footer.row_groups())
            .all(|(columns, group)| {
                columns.len() == group.chunks.len()
                    && columns.iter().zip(&group.chunks).all(|(column, chunk)| {
                        pages_are_sound(column.page_locations(), &chunk.range, group)
                    })
            });
    sound.then(|| Arc::new(metadata))
}

/// Whether pages lie in order inside their chunk, and their first rows in order inside the row group.
fn pages_are_sound(
    pages: &[parquet::file::page_index::offset_index::PageLocation],
    chunk: &Range<u64>,
    group: &RowGroup,
) -> bool {
    let mut end = chunk.start;
    let mut next_row = 0;
    for page in pages {
        let (Ok(offset), Ok(len), Ok(row)) = (
            u64::try_from(page.offset),
            u64::try_from(page.compressed_page_size),
            u64::try_from(page.first_row_index),
        ) else {
            return false;
        };
        let first = next_row == 0;
        if offset < end || len == 0 || offset.saturating_add(len) > chunk.end {
            return false;
        }
        if row < next_row || (first && row != 0) || row >= group.rows {
            return false;
        }
        end = offset + len;
        next_row = row + 1;
    }
    next_row > 0 || group.rows == 0
}

/// Decodes the selected rows of one row group.
struct GroupReader {
    open: Arc<OpenShard>,
    file: Arc<Watched>,
    reader: ParquetRecordBatchReader,
    context: String,
    selected: u64,
    seen: u64,
}

impl GroupReader {
    fn new(
        open: Arc<OpenShard>,
        task: Task,
        rows: &RoaringBitmap,
        batch_rows: usize,
    ) -> Result<Self> {
        let file = Arc::new(Watched {
            file: Arc::clone(&open.shard.file),
            failed: Mutex::new(None),
        });
        let context = format!("row group {}", task.group);
        let range = group_ranges(&open.shard).nth(task.group).flatten();
        let total = open
            .shard
            .footer
            .row_groups()
            .get(task.group)
            .map_or(0, |group| group.rows);
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        let reader = guarded(&context, || {
            let selection =
                RowSelection::from_consecutive_ranges(runs(rows, range).into_iter(), total);
            let source = ParquetFile(Arc::<Watched>::clone(&file));
            ParquetRecordBatchReaderBuilder::new_with_metadata(source, open.metadata.clone())
                .with_batch_size(batch_rows)
                .with_row_groups(vec![task.group])
                .with_projection(open.shown.leaves.clone())
                .with_row_selection(selection)
                .with_row_selection_policy(RowSelectionPolicy::Selectors)
                .build()
        })
        .map_err(|error| file.cause(error).in_shard(&open.shard.path))?;
        Ok(Self {
            open,
            file,
            reader,
            context,
            selected: task.selected,
            seen: 0,
        })
    }

    fn next_batch(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let path = &self.open.shard.path;
        let batch = guarded(&self.context, || {
            let next = self.reader.next().transpose();
            next.map_err(|error| ParquetError::External(Box::new(error)))
        })
        .map_err(|error| self.file.cause(error).in_shard(path))?;
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
        let shown = &self.open.shown;
        shown
            .conform(&batch, schema)
            .map(Some)
            .map_err(|source| Error::Arrow {
                context: format!("{path}: {}", self.context),
                source,
            })
    }
}

/// Runs of consecutive selected rows, counted in the row group.
fn runs(rows: &RoaringBitmap, group: Option<std::ops::RangeInclusive<u32>>) -> Vec<Range<usize>> {
    let Some(group) = group else {
        return Vec::new();
    };
    let base = *group.start();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in rows.range(group) {
        let row = (row - base) as usize;
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

/// A file that keeps its first failure, which the `parquet` crate turns into a string on the way out.
struct Watched {
    file: Arc<dyn ReadAt>,
    failed: Mutex<Option<FormatError>>,
}

impl Watched {
    /// The failed read behind `error`, if there was one.
    fn cause(&self, error: FormatError) -> FormatError {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.take().unwrap_or(error)
    }
}

impl ReadAt for Watched {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer).map_err(|source| {
            let kind = source.kind();
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(FormatError::Read { offset, source });
            kind.into()
        })
    }
}

#[cfg(test)]
mod tests;
