//! A shard without some of its rows, or without some of the values in them.
//!
//! ```text
//!   row group without such a row:  its chunks' bytes are copied (inside the kernel where it can)
//!   row group with some:           its chunks are rebuilt page by page (shard::chunk), in parallel; where
//!                                  values are cleared, only those of their columns
//!   row group with nothing else:   left out (a row group of 0 rows breaks other readers)
//!   page index, footer:            emitted from the old trees with the offsets moved (shard::output)
//! ```
//! While some chunks are written the next ones are made (`shard::relay`).
//!
//! # Invariants
//! * Gaps between chunks are not copied, so nothing is kept that no footer field points to.
//! * Unknown footer fields are kept, except key-values that are made of rows (`shard::output::key_values`): these are
//!   left out, or the parts of them that are, and reported.
//! * The same shard without the same rows gives the same bytes, however many threads there are.
//!
//! Memory: the new pages of as many chunks as fit the budget, but of one chunk at least, and the page index
//! of the shard.

use std::sync::{Condvar, Mutex, PoisonError};

use rayon::prelude::*;
use roaring::RoaringBitmap;

use self::task::{ChunkTask, with_erasure};
use super::Shard;
use super::chunk::level::ZstdLevel;
use super::chunk::{NewChunk, Source, Tools, is_without, without};
use super::clear::Clearing;
use super::fate::Fate;
use super::output::Output;
use super::relay::relay;
use super::shared::to_scrub;
use crate::error::{Error, FormatError, Result};
use crate::io::Sink;
use crate::limits;
use crate::parquet_bytes::guard::guarded;

pub use self::report::{RECORD_KEYS, RewriteReport};

pub(super) mod report;
pub(super) mod task;

/// How to rewrite.
#[derive(Debug, Clone, Copy)]
pub struct RewriteOptions {
    /// Memory that new chunks may take, in bytes.
    pub memory: u64,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
}

impl Default for RewriteOptions {
    fn default() -> Self {
        Self {
            memory: limits::MEMORY_BYTES,
            zstd_level: ZstdLevel::Auto,
        }
    }
}

/// Writes `shard` without `rows` (counted in the shard) to `sink`. The sink is not synced.
///
/// # Errors
/// [`NoSuchRow`](Error::NoSuchRow) when a row is not in the shard; when something is damaged, or writing fails. What was written so far is
/// then of no use.
pub fn rewrite(
    shard: &Shard,
    rows: &RoaringBitmap,
    sink: &mut dyn Sink,
    options: &RewriteOptions,
) -> Result<RewriteReport> {
    check_rows(shard, rows)?;
    remake(shard, &Fate::without_rows(shard, rows), None, sink, options)
}

/// Writes `shard` to `sink` with what `clearing` says gone from `rows` (counted in the shard). The sink is not
/// synced.
///
/// # Errors
/// As [`rewrite`].
pub fn clear(
    shard: &Shard,
    rows: &RoaringBitmap,
    clearing: &Clearing,
    sink: &mut dyn Sink,
    options: &RewriteOptions,
) -> Result<RewriteReport> {
    check_rows(shard, rows)?;
    remake(
        shard,
        &Fate::cleared(shard, rows),
        Some(clearing),
        sink,
        options,
    )
}

/// Whether nothing is left in `rows` of what `clearing` says.
///
/// # Errors
/// When a page is damaged.
pub fn is_clear(shard: &Shard, rows: &RoaringBitmap, clearing: &Clearing) -> Result<bool> {
    let leaves = 0..shard.footer.schema().num_columns();
    let chunks: Vec<(usize, usize, Vec<u32>)> = Fate::cleared(shard, rows)
        .into_iter()
        .enumerate()
        .filter_map(|(group, fate)| match fate {
            Fate::Cleared(rows) => Some((group, rows)),
            _ => None,
        })
        .flat_map(|(group, rows)| {
            let cleared = leaves
                .clone()
                .filter(|leaf| clearing.action(*leaf).is_some());
            cleared.map(move |leaf| (group, leaf, rows.clone()))
        })
        .collect();
    let is_clear = |(group, leaf, rows): &(usize, usize, Vec<u32>)| {
        let Some(source) = Source::of(shard, *group, *leaf) else {
            return Ok(true);
        };
        let (at, tools) = ((*group, *leaf), &mut Tools::default());
        with_erasure(shard, at, rows, Some(clearing), tools, |erasure, tools| {
            is_without(&source, erasure, tools)
        })
    };
    let all: Vec<std::result::Result<bool, FormatError>> =
        chunks.par_iter().map(is_clear).collect();
    let mut is_all_clear = true;
    for one in all {
        is_all_clear &= one.map_err(|error| error.in_shard(&shard.path))?;
    }
    Ok(is_all_clear)
}

fn check_rows(shard: &Shard, rows: &RoaringBitmap) -> Result<()> {
    match rows.max() {
        Some(last) if u64::from(last) >= shard.footer.rows() => Err(Error::NoSuchRow {
            path: shard.path.clone(),
            row: last,
            rows: shard.footer.rows(),
        }),
        _ => Ok(()),
    }
}

fn remake(
    shard: &Shard,
    work: &[Fate],
    clearing: Option<&Clearing>,
    sink: &mut dyn Sink,
    options: &RewriteOptions,
) -> Result<RewriteReport> {
    let scrubbed = to_scrub(shard, work, clearing).map_err(|error| error.in_shard(&shard.path))?;
    let mut tasks = Vec::new();
    for (position, fate) in work.iter().enumerate() {
        let rows: &[u32] = match fate {
            Fate::Dropped => continue,
            Fate::Kept if scrubbed.iter().all(|(group, _)| *group != position) => continue,
            Fate::Kept => &[],
            Fate::Without(rows) | Fate::Cleared(rows) => rows,
        };
        let leaves = 0..shard.footer.schema().num_columns();
        tasks.extend(leaves.map(|leaf| ChunkTask {
            group: position,
            leaf,
            rows,
            scrub: scrubbed.contains(&(position, leaf)),
        }));
    }
    let threads = rayon::current_num_threads() as u64;
    let budget = (options.memory / 4).min(threads.saturating_mul(BYTES_PER_THREAD));
    let mut output = Output::new(shard, sink, work)?;
    let columns = shard.footer.schema().num_columns();
    let maker = Maker {
        shard,
        clearing,
        first_group: tasks.first().map(|task| task.group),
        tools: Mutex::default(),
        levels: match options.zstd_level {
            ZstdLevel::Auto => Mutex::new(vec![None; columns]),
            fixed @ ZstdLevel::Fixed(_) => Mutex::new(vec![Some(fixed); columns]),
        },
        decided: Condvar::new(),
    };
    relay(
        &tasks,
        budget,
        |task| task.bytes(shard),
        |task| maker.make(task),
        |task, new| output.chunk(task, new),
    )?;
    let mut report = output.finish()?;
    report.sources_left = clearing.map_or_else(Vec::new, |clearing| clearing.left().to_vec());
    Ok(report)
}

/// Bytes of chunks that wait to be written for each thread: enough to keep it busy, and little enough to begin
/// writing soon.
const BYTES_PER_THREAD: u64 = 16 << 20;

/// Rebuilds chunks.
struct Maker<'a> {
    shard: &'a Shard,
    clearing: Option<&'a Clearing>,
    /// The first row group decides the levels, so that the result does not depend on who is faster.
    first_group: Option<usize>,
    /// By column, once they are known.
    levels: Mutex<Vec<Option<ZstdLevel>>>,
    decided: Condvar,
    /// Those that no thread uses.
    tools: Mutex<Vec<Tools>>,
}

impl Maker<'_> {
    fn make(&self, task: &ChunkTask<'_>) -> Result<NewChunk> {
        let Some(source) = Source::of(self.shard, task.group, task.leaf) else {
            return Err(Error::Internal {
                path: self.shard.path.clone(),
                invariant: "a chunk that was to be rewritten is not in the footer",
            });
        };
        let decides = self.first_group == Some(task.group);
        let level = self.level(task.leaf, decides);
        let at = (task.group, task.leaf);
        let made = guarded(&source.descriptor.path().string(), || {
            let idle = self.tools.lock().ok().and_then(|mut idle| idle.pop());
            let mut mine = idle.unwrap_or_default();
            let (rows, clearing) = (task.rows, self.clearing);
            let made = with_erasure(
                self.shard,
                at,
                rows,
                clearing,
                &mut mine,
                |erasure, tools| without(&source, erasure, task.scrub, level, tools),
            );
            if let Ok(mut idle) = self.tools.lock() {
                idle.push(mine);
            }
            Ok(made)
        })
        .and_then(|made| made);
        if decides {
            // Nobody may wait for a level that failed to be decided.
            let found = made.as_ref().map_or(level, |new| new.zstd_level);
            let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = levels.get_mut(task.leaf) {
                slot.get_or_insert(found);
            }
            self.decided.notify_all();
        }
        made.map_err(|error| error.in_shard(&self.shard.path))
    }

    /// The level for a column; waits until it is decided, unless that is up to the caller.
    fn level(&self, leaf: usize, decides: bool) -> ZstdLevel {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match levels.get(leaf).copied() {
                Some(Some(level)) => return level,
                Some(None) if !decides => {
                    let waited = self.decided.wait(levels);
                    levels = waited.unwrap_or_else(PoisonError::into_inner);
                }
                _ => return ZstdLevel::Auto,
            }
        }
    }
}
