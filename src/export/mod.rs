//! The selected rows of many shards as one stream of Arrow batches, and as bytes of a format.
//!
//! ```text
//!   [ShardRows] ── Export::new: footers ──> one schema, one task per row group that is hit
//!      tasks ── ahead: decoded in parallel, as far as there is room ──> batches, in order
//!      batches ── sink::write ──> Parquet, JSON Lines, CSV, Arrow
//! ```
//!
//! * `arrow_types`: what Parquet's types become, with `int96` and `instants`; `schema`: one schema over shards that differ, with `common_type` and
//!   `partitions`; `conform`: batches brought into it
//! * [`sink`]: the formats, with `json` and `csv`; `cells`, `temporal`, `decimals`: exact text; `failure`: what ends them
//! * `decode`: the rows of one row group; `ahead`: doing so ahead of the caller
//! * `shown`: what of a shard is shown; `disclose`: deciding that; `edit`: arrays without the rest
//! * [`headers`], [`categories`]: which columns hold a value; `fields`, `presence`: where columns are, and which rows
//!   have a value; [`disclosed`]: an export as its plan's disclosure asks for it
//! * [`owners`]: whose the rows are; [`spool`], [`per_subject`]: a file for each subject; [`archive`]: all of them in one; `report`: a page for each;
//!   `when`: when its rows were; `type_names`: what types are called
//!
//! # Invariants
//! Rows come in the order of shard, row group, row, whatever the number of threads. Only row groups that are
//! hit are read, and of them only pages that hold selected rows (and where there is no offset index, the headers of
//! the others). A shard that is no longer the version its rows were selected in is an error, as is a row group that
//! yields fewer rows than were selected.
//!
//! Memory: 64 MiB of decoded batches; one batch, and one page and one dictionary per column, for each thread; three
//! numbers per row group that is hit; footers up to a bound.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limits::BATCH_RECORDS;
use crate::parquet_bytes::batches::batch_rows;
use crate::parquet_bytes::footer::Footer;
use crate::parquet_bytes::gather::SharedScratch;
use crate::shard::Shard;
use crate::shard::held::Holder;
use crate::table::{ShardRef, Table};
use ahead::{Ahead, Work};
use arrow_types::arrow_schema;
use decode::{GroupReader, Means, OpenShard, group_ranges};
use disclose::sources;
use instants::survey;
use int96::Instants;
use schema::{Unified, Unifier};
use shown::Shown;

mod ahead;
pub mod archive;
mod arrow_types;
pub mod categories;
mod cells;
mod common_type;
mod conform;
mod csv;
mod decimals;
mod decode;
mod disclose;
pub mod disclosed;
mod edit;
mod failure;
mod fields;
pub mod headers;
mod instants;
mod int96;
mod json;
pub mod owners;
mod partitions;
pub mod per_subject;
mod presence;
mod report;
mod schema;
mod shown;
pub mod sink;
pub mod spool;
mod temporal;
mod type_names;
mod when;

pub use disclosed::{BySubject, Disclosed};

/// Shards whose footers are held at a time while the schema is made.
const FOOTERS_AT_A_TIME: usize = 64;

/// The rows of one shard to export.
#[derive(Debug, Clone)]
pub struct ShardRows {
    /// The shard.
    pub shard: ShardRef,
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
    fn shown(&self, shard: &Shard, instants: &Instants) -> Result<Shown> {
        let schema: SchemaRef = Arc::new(arrow_schema(&shard.path, &shard.footer, instants)?);
        match &self.sources_of {
            None => Ok(Shown::everything(&shard.path, schema)),
            Some(config) => sources(shard, &schema, config),
        }
    }

    /// What is shown of `rows` of a shard, and how its INT96 instants are told there.
    fn shown_of(&self, shard: &Shard, rows: &RoaringBitmap) -> Result<(Shown, Instants)> {
        let none = Instants::new();
        let shown = self.shown(shard, &none)?;
        let schema = arrow_schema(&shard.path, &shard.footer, &none)?;
        let instants = survey(shard, &schema, &shown.leaves, rows)?;
        if instants.is_empty() {
            return Ok((shown, instants));
        }
        Ok((self.shown(shard, &instants)?, instants))
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

/// The selected rows, batch by batch. Batches are decoded ahead of time, on the caller's rayon pool.
///
/// An error that the iterator yields is an [`ArrowError::ExternalError`] around an [`Error`]; it ends the iteration.
/// Dropping this ends the work, as a [`Canceller`] does.
pub struct Export {
    schema: SchemaRef,
    ahead: Arc<Ahead<Decoding>>,
    cancelled: Arc<AtomicBool>,
    is_over: bool,
}

/// Gives up an [`Export`], from any thread.
#[derive(Debug, Clone)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    /// Ends the work at its next read; the export then yields [`Error::Cancelled`], unless it is over.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Export {
    /// Prepares the export of `shards`, which are in the order of their paths.
    ///
    /// # Errors
    /// When a shard can't be opened, is damaged or was changed.
    pub fn new(
        table: Arc<dyn Table>,
        shards: Vec<ShardRows>,
        options: &ExportOptions,
    ) -> Result<Self> {
        let selected = shards.into_iter().map(|rows| (rows, None));
        Self::with_footers(table, selected.collect(), options)
    }

    /// The same, with the footers that are known already.
    pub(crate) fn with_footers(
        table: Arc<dyn Table>,
        shards: Vec<(ShardRows, Option<Arc<Footer>>)>,
        options: &ExportOptions,
    ) -> Result<Self> {
        let mut all = Unifier::default();
        let mut tasks = VecDeque::new();
        let mut selected = Vec::with_capacity(shards.len());
        let holder = Holder::default();
        let mut shards = shards.into_iter().peekable();
        while shards.peek().is_some() {
            let part: Vec<_> = shards.by_ref().take(FOOTERS_AT_A_TIME).collect();
            let open: Vec<(Arc<Footer>, Shown, Instants)> = part
                .par_iter()
                .map(|(rows, footer)| {
                    let shard = open_unchanged(&*table, rows, footer.as_ref())?;
                    let (shown, instants) = options.shown_of(&shard, &rows.rows)?;
                    Ok((shard.footer, shown, instants))
                })
                .collect::<Result<_>>()?;
            for ((rows, _), (footer, shown, instants)) in part.into_iter().zip(open) {
                all.add(&rows.shard.path, &shown)?;
                add_tasks(&mut tasks, selected.len(), &rows, &footer)?;
                let footer = holder.hold(&footer);
                selected.push((rows, footer, instants));
            }
        }
        let unified = all.finish();
        let schema = Arc::clone(&unified.schema);
        let cancelled = Arc::new(AtomicBool::new(false));
        let work = Decoding {
            table,
            shards: selected,
            unified,
            options: options.clone(),
            cancelled: Arc::clone(&cancelled),
            scratches: Mutex::default(),
            open: Mutex::default(),
        };
        Ok(Self {
            schema,
            ahead: Ahead::new(work, tasks),
            cancelled,
            is_over: false,
        })
    }

    /// What gives this export up.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.cancelled))
    }
}

impl Iterator for Export {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.ahead.next();
        if !matches!(next, Some(Ok(_))) {
            self.is_over = true;
            self.ahead.clear();
        }
        Some(next?.map_err(|error| ArrowError::ExternalError(Box::new(error))))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.ahead.clear();
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
            self.ahead.work().shards.len(),
            self.ahead.left()
        )
    }
}

/// The selected rows of one row group.
#[derive(Debug, Clone, Copy)]
struct Task {
    /// Place in `Decoding::shards`.
    shard: usize,
    group: usize,
}

/// How the selected rows become batches.
struct Decoding {
    table: Arc<dyn Table>,
    /// With those footers that are kept, and how INT96 instants are told.
    shards: Vec<(ShardRows, Option<Arc<Footer>>, Instants)>,
    unified: Unified,
    options: ExportOptions,
    cancelled: Arc<AtomicBool>,
    /// Those that no row group uses now.
    scratches: Mutex<Vec<SharedScratch>>,
    /// The shards that were opened last: the next row groups are often in one of them.
    open: Mutex<VecDeque<(usize, Arc<OpenShard>)>>,
}

/// A row group that is being decoded.
struct Decoded {
    reader: GroupReader,
    scratch: SharedScratch,
}

impl Work for Decoding {
    type Task = Task;
    type Begun = Decoded;
    type Part = RecordBatch;

    fn begin(&self, task: Task) -> Result<Decoded> {
        let open = self.open(task.shard)?;
        let scratch = lock(&self.scratches).pop().unwrap_or_default();
        let nothing = RoaringBitmap::new();
        let rows = self.shards.get(task.shard);
        let rows = rows.map_or(&nothing, |(shard, ..)| &shard.rows);
        let means = Means {
            batch_rows: batch_rows(&self.unified.schema, self.options.batch_rows),
            scratch: Arc::clone(&scratch),
            cancelled: Arc::clone(&self.cancelled),
        };
        let reader = GroupReader::new(open, task.group, rows, means)?;
        Ok(Decoded { reader, scratch })
    }

    fn go_on(&self, begun: &mut Decoded) -> Result<Option<(RecordBatch, usize)>> {
        let Some(batch) = begun.reader.next_batch(&self.unified)? else {
            lock(&self.scratches).push(Arc::clone(&begun.scratch));
            return Ok(None);
        };
        let bytes = batch.get_array_memory_size();
        Ok(Some((batch, bytes)))
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

impl Decoding {
    fn open(&self, place: usize) -> Result<Arc<OpenShard>> {
        let known = |open: &VecDeque<(usize, Arc<OpenShard>)>| {
            let found = open.iter().find(|(of, _)| *of == place);
            found.map(|(_, shard)| Arc::clone(shard))
        };
        if let Some(open) = known(&lock(&self.open)) {
            return Ok(open);
        }
        let Some((rows, footer, instants)) = self.shards.get(place) else {
            return Err(Error::Internal {
                path: self.table.name(),
                invariant: "a row group that was to be exported is in none of the plan's shards",
            });
        };
        let shard = open_unchanged(&*self.table, rows, footer.as_ref())?;
        let shown = self.options.shown(&shard, instants)?;
        let opened = Arc::new(OpenShard::new(shard, shown, instants)?);
        let mut open = lock(&self.open);
        // Another thread may have been faster.
        if let Some(open) = known(&open) {
            return Ok(open);
        }
        open.push_back((place, Arc::clone(&opened)));
        if open.len() > rayon::current_num_threads() {
            open.pop_front();
        }
        Ok(opened)
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_unchanged(
    table: &dyn Table,
    rows: &ShardRows,
    footer: Option<&Arc<Footer>>,
) -> Result<Shard> {
    let file = table.open(&rows.shard)?;
    let shard = match footer {
        Some(footer) => Shard::with_footer(&rows.shard.path, file, Arc::clone(footer))?,
        None => Shard::new(&rows.shard.path, file)?,
    };
    if shard.footer.hash != rows.footer_hash {
        return Err(rows.shard.changed());
    }
    Ok(shard)
}

fn add_tasks(
    tasks: &mut VecDeque<Task>,
    place: usize,
    rows: &ShardRows,
    footer: &Footer,
) -> Result<()> {
    let mut selected_of_all = 0;
    for (group, range) in group_ranges(footer).enumerate() {
        let selected = range.map_or(0, |range| rows.rows.range_cardinality(range));
        selected_of_all += selected;
        if selected > 0 {
            tasks.push_back(Task {
                shard: place,
                group,
            });
        }
    }
    // The rows were selected in a longer version of the shard.
    if selected_of_all != rows.rows.len() {
        return Err(rows.shard.changed());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
