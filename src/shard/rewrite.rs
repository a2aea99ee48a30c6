//! A shard without some of its rows, or of the values in them.
//!
//! ```text
//!   row group without such a row:  its chunks' bytes are copied (inside the kernel where it can)
//!   row group with some:           its chunks are made anew page by page (shard::chunk), in parallel; where
//!                                  values are cleared, just those of their columns
//!   row group with nothing else:   left out (a row group of 0 rows breaks other readers)
//!   page index, footer:            emitted from the old trees with the offsets moved (shard::output)
//! ```
//! While some chunks are written the next ones are made.
//!
//! # Invariants
//! * Gaps between chunks are not copied, so nothing is kept that no footer field points to.
//! * What the footer holds and this does not know is kept, but for what holds record keys
//!   ([`RECORD_KEYS`]), which is left out and reported.
//! * The same shard without the same rows gives the same bytes, however many threads there are.
//!
//! Memory: the new pages of as many chunks as fit the budget, but of one chunk at least, and the page index
//! of the shard.

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::Shard;
use super::chunk::elements::Elements;
use super::chunk::erasure::{Erasure, What};
use super::chunk::level::ZstdLevel;
use super::chunk::{NewChunk, Source, Tools, is_without, without};
use super::clear::{Action, Clearing};
use super::output::Output;
use super::shared::to_scrub;
use crate::error::{Error, FormatError, Result};
use crate::limits;
use crate::parquet_bytes::chunk_reader::guarded;
use crate::storage::Sink;

/// Keys of the footer's key-values that hold record keys: what other rows' keys were can't be told
/// from them, so they go as soon as any row goes.
pub const RECORD_KEYS: [&str; 4] = [
    "hoodie_min_record_key",
    "hoodie_max_record_key",
    "org.apache.hudi.bloomfilter",
    "hoodie_bloom_filter_type_code",
];

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

/// What a rewrite did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RewriteReport {
    /// Rows that are gone.
    pub rows_removed: u64,
    /// Values that were cleared, or that lost JSON members.
    pub values_cleared: u64,
    /// Row groups that were made anew.
    pub row_groups_rewritten: u64,
    /// Row groups that lost all their rows and were left out.
    pub row_groups_dropped: u64,
    /// Dictionary and data pages that were made anew.
    pub pages_rewritten: u64,
    /// Pages of row groups that lost rows that were copied as they were.
    pub pages_copied: u64,
    /// Bytes that were copied as they were.
    pub bytes_copied: u64,
    /// Bytes that were encoded anew: pages, bloom filters, page index, footer.
    pub bytes_encoded: u64,
    /// Where the new shard's bytes are that were not copied, ascending; ranges lie apart.
    #[serde(skip)]
    pub new_ranges: Vec<Range<u64>>,
    /// Keys of footer key-values that were left out since they held record keys.
    pub dropped_key_values: Vec<String>,
}

/// Writes `shard` without `rows` (counted in the shard) to `sink`. The sink is not synced.
///
/// # Errors
/// When a row is not in the shard, something is damaged, or writing fails. What was written so far is
/// then of no use.
pub fn rewrite(
    shard: &Shard,
    rows: &RoaringBitmap,
    sink: &mut dyn Sink,
    options: &RewriteOptions,
) -> Result<RewriteReport> {
    check_rows(shard, rows)?;
    remake(shard, &fates(shard, rows), None, sink, options)
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
    remake(shard, &touched(shard, rows), Some(clearing), sink, options)
}

/// Whether nothing is left in `rows` of what `clearing` says.
///
/// # Errors
/// When a page is damaged.
pub fn is_clear(shard: &Shard, rows: &RoaringBitmap, clearing: &Clearing) -> Result<bool> {
    let leaves = 0..shard.footer.schema().num_columns();
    let chunks: Vec<(usize, usize, Vec<u32>)> = touched(shard, rows)
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
        Some(last) if u64::from(last) >= shard.footer.rows() => Err(Error::Option {
            option: "rows",
            reason: format!(
                "row {last} is not in {}, which has {} rows (counted from 0)",
                shard.path,
                shard.footer.rows()
            ),
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
        tasks.extend(leaves.map(|leaf| Task {
            group: position,
            leaf,
            rows,
            scrub: scrubbed.contains(&(position, leaf)),
        }));
    }
    let budget = (options.memory / 4).min(WAVE_BYTES_MAX);
    let mut output = Output::new(shard, sink, work)?;
    let tools = Mutex::default();
    let mut levels = vec![options.zstd_level; shard.footer.schema().num_columns()];
    // The first row group decides the levels, so that the result does not depend on who is faster.
    let undecided = levels.len().min(tasks.len());
    let (first, mut later) = tasks.split_at(undecided);
    let (mut done, mut of_done) = (make(shard, clearing, first, &levels, &tools)?, first);
    for (level, chunk) in levels.iter_mut().zip(&done) {
        // A chunk that was copied says nothing.
        if *level == ZstdLevel::Auto {
            *level = chunk.zstd_level;
        }
    }
    while !of_done.is_empty() {
        let (now, rest) = later.split_at(wave(shard, later, budget));
        let (next, written) = rayon::join(
            || make(shard, clearing, now, &levels, &tools),
            || output.chunks(of_done, std::mem::take(&mut done)),
        );
        written?;
        (done, of_done, later) = (next?, now, rest);
    }
    output.finish()
}

/// Bytes of the chunks that are made at a time: enough to keep many threads busy, and little enough to begin
/// writing soon.
const WAVE_BYTES_MAX: u64 = 32 << 20;

/// One chunk that is made anew.
pub(super) struct Task<'a> {
    /// Its row group.
    pub(super) group: usize,
    /// Its column.
    pub(super) leaf: usize,
    rows: &'a [u32],
    /// Whether dictionary entries go that nothing referred to before.
    scrub: bool,
}

/// How many chunks are made at a time: as many as fit the budget, but one at least.
fn wave(shard: &Shard, tasks: &[Task<'_>], mut budget: u64) -> usize {
    let mut taken = 0;
    for task in tasks {
        let bytes = bytes_of(shard, task);
        if taken > 0 && bytes > budget {
            break;
        }
        budget = budget.saturating_sub(bytes);
        taken += 1;
    }
    taken
}

/// Makes chunks anew, in parallel; `tools` are those that no thread uses.
fn make(
    shard: &Shard,
    clearing: Option<&Clearing>,
    tasks: &[Task<'_>],
    levels: &[ZstdLevel],
    tools: &Mutex<Vec<Tools>>,
) -> Result<Vec<NewChunk>> {
    let make_one = |task: &Task<'_>| {
        let Some(source) = Source::of(shard, task.group, task.leaf) else {
            return Err(Error::ShardChanged {
                path: shard.path.clone(),
            });
        };
        let level = levels.get(task.leaf).copied().unwrap_or_default();
        guarded(&source.descriptor.path().string(), || {
            let idle = tools.lock().ok().and_then(|mut idle| idle.pop());
            let mut mine = idle.unwrap_or_default();
            let made = with_erasure(
                shard,
                (task.group, task.leaf),
                task.rows,
                clearing,
                &mut mine,
                |erasure, tools| without(&source, erasure, task.scrub, level, tools),
            );
            if let Ok(mut idle) = tools.lock() {
                idle.push(mine);
            }
            Ok(made)
        })
        .and_then(|made| made)
        .map_err(|error| error.in_shard(&shard.path))
    };
    // The largest first, so that no thread is left alone with one at the end.
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(tasks.get(*at).map(|task| bytes_of(shard, task))));
    let mut made: Vec<(usize, Result<NewChunk>)> = order
        .into_par_iter()
        .with_max_len(1)
        .filter_map(|at| Some((at, make_one(tasks.get(at)?))))
        .collect();
    made.sort_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, made)| made).collect()
}

/// Shows `then` what goes from a chunk in the rows `rows` of its row group.
///
/// # Errors
/// Those of `then`, and when the column of a map's keys is damaged.
pub(super) fn with_erasure<T>(
    shard: &Shard,
    (group, leaf): (usize, usize),
    rows: &[u32],
    clearing: Option<&Clearing>,
    tools: &mut Tools,
    then: impl FnOnce(&Erasure<'_>, &mut Tools) -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    let Some(clearing) = clearing else {
        let what = What::Rows;
        return then(&Erasure { rows, what }, tools);
    };
    match clearing.action(leaf) {
        None => then(&Erasure::NONE, tools),
        Some(Action::Null {
            repetition,
            definition,
        }) => {
            let what = What::Null {
                repetition: *repetition,
                definition: *definition,
            };
            then(&Erasure { rows, what }, tools)
        }
        Some(Action::Members(edit) | Action::Empty(edit)) => {
            let what = What::Replace(&**edit);
            then(&Erasure { rows, what }, tools)
        }
        Some(Action::Keys {
            key,
            levels,
            sources,
            path,
        }) => {
            let chunk = |leaf| Source::of(shard, group, leaf);
            let (Some(key), Some(source)) = (chunk(*key), chunk(leaf)) else {
                return then(&Erasure::NONE, tools);
            };
            let is_gone =
                |key: &[u8]| std::str::from_utf8(key).is_ok_and(|key| sources.name_key(path, key));
            let elements = Elements::of(&key, &source, rows, *levels, &is_gone, tools)?;
            let what = What::Elements(&elements);
            then(&Erasure { rows, what }, tools)
        }
    }
}

fn bytes_of(shard: &Shard, task: &Task<'_>) -> u64 {
    let group = shard.footer.row_groups().get(task.group);
    let chunk = group.and_then(|group| group.chunks.get(task.leaf));
    chunk.map_or(0, |chunk| chunk.range.end - chunk.range.start)
}

/// What becomes of a row group.
pub(super) enum Fate {
    /// Nothing, but perhaps entries of its dictionaries go.
    Kept,
    /// It loses all its rows.
    Dropped,
    /// These rows go, counted in the row group.
    Without(Vec<u32>),
    /// Values of these rows go.
    Cleared(Vec<u32>),
}

/// What becomes of the row groups of `shard` when `rows` go.
fn fates(shard: &Shard, rows: &RoaringBitmap) -> Vec<Fate> {
    let groups = shard.footer.row_groups().iter();
    groups
        .zip(touched(shard, rows))
        .map(|(group, fate)| match fate {
            Fate::Cleared(rows) if rows.len() as u64 == group.rows => Fate::Dropped,
            Fate::Cleared(rows) => Fate::Without(rows),
            fate => fate,
        })
        .collect()
}

/// What becomes of the row groups of `shard` when values of `rows` go.
pub(super) fn touched(shard: &Shard, rows: &RoaringBitmap) -> Vec<Fate> {
    let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    let groups = shard.footer.row_groups().iter();
    groups
        .zip(shard.row_bases())
        .map(|(group, base)| {
            if group.rows == 0 {
                return Fate::Kept;
            }
            let range = row(base)..=row(base + group.rows - 1);
            let inside: Vec<u32> = rows
                .range(range)
                .map(|at| row(u64::from(at) - base))
                .collect();
            if inside.is_empty() {
                Fate::Kept
            } else {
                Fate::Cleared(inside)
            }
        })
        .collect()
}
