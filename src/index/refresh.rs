//! Bringing the index up to date: only shards that are new or have changed are scanned.
//!
//! ```text
//! Changes: new, changed, rewritten, vanished shards
//!                      │
//!                      ├── row groups to scan (in parallel) ──> PostingSorter ──┐
//!                      └── segments with postings that go, and small ones ──────┴─ merge ──> one new segment
//!                                                                     manifest swapped <──┘
//!                                                         superseded files removed <──┘
//! ```
//!
//! **Which segments are merged.** One with postings that go always (nothing of an erased subject
//! may stay), unless all its shards are gone: then it is dropped. Once there is something to write,
//! also the smallest others, as long as they are at most twice as large as all that is
//! written already, or more than [`SEGMENTS_MAX`] would be live. Each hash is so
//! rewritten a logarithmic number of times while a dataset grows.
//!
//! **After a delete** ([`RefreshOptions::rewritten`]) row groups keep their numbers. The postings of those that
//! were touched are replaced by the result of a scan of only those. So the index follows from what is left of an
//! id, not from what was removed: a row that goes may be the last one of an id in another subject
//! column, and another id may have the same hash. The cost is that of the row groups touched and of the segments
//! that hold their shards. Where few row groups of a segment were not touched
//! ([`TOUCHED_FOR_EACH_LEFT`](super::changes::TOUCHED_FOR_EACH_LEFT)), those are scanned too and the segment is
//! dropped: merging it costs as much for one as for all.
//!
//! # Crash behaviour
//! The manifest's swap is the one commit point. Before it, the old index is whole; after it, the new
//! one. Files that a crash left behind are removed by the next refresh, also by one that finds
//! nothing to do.
//!
//! Memory: `memory` for sorting (see [`build`](super::build)), and the manifest.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::build::PostingSorter;
use super::changes::{Changes, RewrittenShard, Scan};
use super::format::to_usize;
use super::manifest::{Manifest, SegmentEntry, manifest_path, segment_number, segment_path};
use super::merge::write_merged;
use super::segment::Segment;
use super::sorted::SortedPostings;
use super::source::ShardSource;
use super::{DIRECTORY, Index, open_segment};
use crate::error::{Error, FormatError, Result};
use crate::state::State;
use crate::table::ShardRef;

/// Segments that are live after a refresh that wrote one.
pub const SEGMENTS_MAX: usize = 8;

/// What is indexed, and how.
#[derive(Debug, Clone, Copy)]
pub struct RefreshOptions<'a> {
    /// The key of what is indexed; see [`Manifest::configuration`].
    pub configuration: &'a str,
    /// The seed of an index that is built from nothing. Draw it at random.
    pub seed_if_new: u64,
    /// Bytes of memory for sorting; see [`limits::INDEX_MEMORY_BYTES`](crate::limits::INDEX_MEMORY_BYTES).
    pub memory: usize,
    /// Shards that a delete replaced after the index was brought up to date. One that does not match is scanned as a
    /// changed one.
    pub rewritten: &'a [RewrittenShard],
}

/// What a refresh found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshReport {
    /// Shards that are new.
    pub added: usize,
    /// Shards that are not as they were.
    pub changed: usize,
    /// Shards that are gone.
    pub removed: usize,
    /// Shards that are as they were.
    pub unchanged: usize,
}

/// Makes the index agree with `files`, the dataset's shards as they are now. With `existing` `None`
/// it is built from nothing. The caller holds the dataset's lock and has installed its thread pool.
/// When nothing has changed, nothing is written.
///
/// # Errors
/// An error of `source`; [`Error::ShardChanged`] when a shard was replaced while it was scanned;
/// [`Error::State`] when a segment that must be merged is damaged (refresh from nothing then) or
/// the dataset has more than 2^31 row groups; errors of the state. The index is then as
/// it was, unless removing superseded files was what failed: the next refresh tries that again.
pub fn refresh(
    state: &dyn State,
    existing: Option<Index>,
    files: &[ShardRef],
    options: &RefreshOptions<'_>,
    source: &dyn ShardSource,
) -> Result<(Index, RefreshReport)> {
    let existing = existing.filter(|index| index.manifest.configuration == options.configuration);
    let changes = Changes::find(existing.as_ref(), files, options.rewritten, source)?;
    let report = RefreshReport {
        added: changes.added,
        changed: changes.changed,
        removed: changes.removed,
        unchanged: changes.unchanged(),
    };
    let seed = existing.as_ref().map_or(options.seed_if_new, Index::seed);
    let mut segments = match existing {
        Some(index) if changes.scans.is_empty() && changes.removed == 0 && !index.is_part => {
            remove_leftovers(state, &index.manifest)?;
            return Ok((index, report));
        }
        Some(index) if !changes.is_renumbering => index.segments,
        _ => Vec::new(),
    };

    let scans: Vec<&Scan<'_>> = changes.scans.values().collect();
    let sorted = scan(state, &scans, options.memory, seed, source)?;
    let mut shards = changes.shards.clone();
    let sources = choose(&mut segments, &changes, &sorted);
    let mut written = None;
    if !changes.scans.is_empty() || !sources.is_empty() {
        let entry = write(state, seed, sorted, &sources, &changes)?;
        let merged: BTreeSet<u32> = sources
            .iter()
            .map(|segment| segment.tail().number)
            .collect();
        for (position, shard) in shards.iter_mut().enumerate() {
            if changes.scans.contains_key(&position) || merged.contains(&shard.segment) {
                shard.segment = entry.number;
            }
        }
        written = Some(entry);
    }
    drop(sources);

    if let Some(entry) = &written {
        segments.push(open_segment(state, entry, seed)?);
    }
    segments.sort_by_key(|segment| segment.tail().number);
    let manifest = Manifest {
        seed,
        configuration: options.configuration.to_owned(),
        next_row_group: changes.next_row_group,
        segments: segments.iter().map(entry_of).collect(),
        shards,
    };
    let manifest_bytes = manifest.store(state)?;
    remove_leftovers(state, &manifest)?;
    Ok((Index::assemble(manifest, manifest_bytes, segments), report))
}

/// Scans shards, in parallel.
pub(super) fn scan<'a>(
    state: &'a dyn State,
    scans: &[&Scan<'_>],
    memory: usize,
    seed: u64,
    source: &dyn ShardSource,
) -> Result<SortedPostings<'a>> {
    let sorter = PostingSorter::new(state, DIRECTORY, memory);
    scans.par_iter().try_for_each(|scan| {
        let path = &scan.file.path;
        let numbers: Vec<u32> = scan.numbers.alive().collect();
        let mut buffer = sorter.buffer();
        let mut pushed = Ok(());
        let mut emit = |hash, row_group: u32| {
            if pushed.is_err() {
                return;
            }
            // Assigned only when it fails: this runs for every id that is read.
            match numbers.get(to_usize(row_group.into())) {
                Some(number) => {
                    if let Err(error) = buffer.push(hash, *number) {
                        pushed = Err(error);
                    }
                }
                None => {
                    pushed = Err(FormatError::Contradiction {
                        what: "row groups".to_owned(),
                        claimed: scan.footer.row_groups.into(),
                        counted: u64::from(row_group) + 1,
                    }
                    .in_shard(path));
                }
            }
        };
        let found = source.scan(scan.file, &scan.row_groups, seed, &mut emit)?;
        pushed?;
        if found != scan.footer {
            return Err(Error::ShardChanged { path: path.clone() });
        }
        buffer.finish()
    })?;
    sorter.finish()
}

/// Takes from `segments` those that go into the new one, and drops those that have no shard left.
/// What remains in `segments` stays live as it is.
fn choose(
    segments: &mut Vec<Segment>,
    changes: &Changes<'_>,
    sorted: &SortedPostings<'_>,
) -> Vec<Segment> {
    segments.retain(|segment| changes.alive.contains_key(&segment.tail().number));
    let (mut chosen, mut others): (Vec<_>, Vec<_>) = std::mem::take(segments)
        .into_iter()
        .partition(|segment| changes.stale.contains(&segment.tail().number));
    if !chosen.is_empty() || !changes.scans.is_empty() {
        others.sort_by_key(Segment::len_bytes);
        let new_bytes = sorted.pairs_at_most().saturating_mul(16);
        let mut bytes = chosen.iter().map(Segment::len_bytes).sum::<u64>() + new_bytes;
        let mut live = others.len() + 1;
        let count = others
            .iter()
            .take_while(|segment| {
                let is_chosen = live > SEGMENTS_MAX || segment.len_bytes() / 2 <= bytes;
                bytes += segment.len_bytes();
                live -= 1;
                is_chosen
            })
            .count();
        chosen.extend(others.drain(..count));
    }
    *segments = others;
    chosen
}

/// Writes the one new segment of a refresh.
fn write(
    state: &dyn State,
    seed: u64,
    sorted: SortedPostings<'_>,
    segments: &[Segment],
    changes: &Changes<'_>,
) -> Result<SegmentEntry> {
    // Above every number that is there, live or left over: no file that may be open is replaced.
    let files = state.list(DIRECTORY)?;
    let used = files
        .iter()
        .filter_map(|file| segment_number(&file.path))
        .max();
    let Some(number) = used.unwrap_or(0).checked_add(1) else {
        return Err(Error::State {
            path: segment_path(u32::MAX),
            reason: "is the last segment that there can be: remove the index to rebuild it"
                .to_owned(),
        });
    };
    let path = segment_path(number);
    let others = segments.iter().map(|segment| {
        let alive = changes.alive.get(&segment.tail().number);
        (segment, Some(alive.cloned().unwrap_or_default()))
    });
    write_merged(state, &path, (seed, number), sorted, others.collect())
}

/// Removes what is not live: superseded segments, and whatever a crash or another version left behind.
fn remove_leftovers(state: &dyn State, manifest: &Manifest) -> Result<()> {
    let live = manifest.segments.iter().map(|entry| entry.number);
    let live: BTreeSet<String> = live.map(segment_path).chain([manifest_path()]).collect();
    let files = state.list(DIRECTORY)?.into_iter().map(|file| file.path);
    let left: Vec<String> = files.filter(|path| !live.contains(path)).collect();
    state.remove(&left)
}

fn entry_of(segment: &Segment) -> SegmentEntry {
    SegmentEntry {
        number: segment.tail().number,
        bytes: segment.len_bytes(),
        tail_check: segment.tail_check(),
    }
}
