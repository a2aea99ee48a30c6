//! Bringing the index up to date: only shards that are new or have changed are scanned.
//!
//! ```text
//! shards now ──> size and times compared with the manifest ──> those that differ, or may: footers read
//!                                     new, changed, vanished <─────┘
//!                                                                 │
//! scan new and changed (in parallel) ──> PostingSorter ──┐        │ dead row groups
//! segments with dead row groups, and small segments ─────┴─ merge ┴──> one new segment
//!                                                                        └─> manifest swapped
//!                                                            superseded files removed <──┘
//! ```
//!
//! **Which segments are merged.** One that holds a dead row group always (nothing of an erased subject
//! may stay), unless all its shards are gone: then it is dropped. Once there is something to write,
//! also the smallest others, as long as they are at most twice as large as all that is
//! written already, or more than [`SEGMENTS_MAX`] would be live. Each hash is so
//! rewritten a logarithmic number of times while a dataset grows.
//!
//! A shard that was rewritten counts as changed: it is scanned again under new row-group numbers. To
//! keep the numbers and only take postings away is the business of a later step; a merge
//! ([`build::merge`](super::build::merge)) takes any filter of row groups, and the format need not change.
//!
//! # Which shards are read
//! A file's time of change can't be set back, but two changes within a tick of the clock have the same. So a
//! shard whose size and times are as they were is believed unread only if it had been left alone for
//! [`SETTLED_NS`] when it was read last, by the clock of the file system that holds the index. Of the others the
//! footer is read and its hash compared, each time; so it is where there are no times of change.
//!
//! # Invariants
//! A row-group number is given out once. When they run out, the whole index is built anew.
//!
//! # Crash behaviour
//! The manifest's swap is the one commit point. Before it, the old index is whole; after it, the new
//! one. Files that a crash left behind are removed by the next refresh, also by one that finds
//! nothing to do.
//!
//! Memory: `memory` for sorting (see [`build`](super::build)), and the manifest.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::build::{PostingSorter, SortedPostings, Source, merge};
use super::format::ROW_GROUPS_MAX;
use super::manifest::{
    FORMAT, Manifest, SegmentEntry, ShardEntry, manifest_path, segment_number, segment_path,
};
use super::segment::Segment;
use super::writer::SegmentWriter;
use super::{DIRECTORY, Index, open_segment};
use crate::error::{Error, FormatError, Result};
use crate::storage::{FileInfo, Storage, TEMPORARY_SUFFIX, temporary_name};
use crate::subject::SubjectHash;

/// How long a shard must have been left alone before it is believed to be as it was by its times: longer
/// than any tick of a file system's clock.
pub const SETTLED_NS: i64 = 2_000_000_000;

/// Segments that are live after a refresh that wrote one.
pub const SEGMENTS_MAX: usize = 8;

/// How a refresh reads shards. It is called from several threads at once.
pub trait ShardSource: Sync {
    /// Reads a shard's footer, and no more.
    ///
    /// # Errors
    /// When it can't be read; the refresh then ends with this error.
    fn footer(&self, file: &FileInfo) -> Result<ShardFooter>;

    /// Gives `emit` every subject id of a shard: its hash under `seed`, and the row group, counted
    /// from 0 within the shard. The same pair may come any number of times.
    ///
    /// # Errors
    /// When the shard can't be read; the refresh then ends with this error.
    fn scan(
        &self,
        file: &FileInfo,
        seed: u64,
        emit: &mut dyn FnMut(SubjectHash, u32),
    ) -> Result<ShardFooter>;
}

/// What a shard's footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardFooter {
    /// A hash of all its bytes.
    pub hash: u64,
    /// Row groups of the shard.
    pub row_groups: u32,
    /// Rows of the shard.
    pub rows: u64,
}

/// What is indexed, and how.
#[derive(Debug, Clone, Copy)]
pub struct RefreshOptions<'a> {
    /// The key of what is indexed; see [`Manifest::configuration`].
    pub configuration: &'a str,
    /// The seed of an index that is built from nothing. Draw it at random.
    pub seed_if_new: u64,
    /// Bytes of memory for sorting; see [`limits::INDEX_MEMORY_BYTES`](crate::limits::INDEX_MEMORY_BYTES).
    pub memory: usize,
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
    /// What the index holds now.
    pub stats: super::Stats,
}

/// Makes the index agree with `files`, the dataset's shards as they are now. With `existing` `None`
/// it is built from nothing. The caller holds the dataset's lock and has installed its thread pool.
/// When nothing has changed, nothing is written.
///
/// # Errors
/// An error of `source`; [`Error::ShardChanged`] when a shard was replaced while it was scanned;
/// [`Error::State`] when a segment that must be merged is damaged (refresh from nothing then) or
/// the dataset has more than 2^31 row groups; errors of the storage. The index is then as
/// it was, unless removing superseded files was what failed: the next refresh tries that again.
pub fn refresh(
    storage: &dyn Storage,
    existing: Option<Index>,
    files: &[FileInfo],
    options: &RefreshOptions<'_>,
    source: &dyn ShardSource,
) -> Result<(Index, RefreshReport)> {
    let existing = existing.filter(|index| index.manifest.configuration == options.configuration);
    let changes = Changes::find(storage, existing.as_ref(), files, source)?;
    let report = |index: &Index| -> Result<RefreshReport> {
        Ok(RefreshReport {
            added: changes.added,
            changed: changes.changed,
            removed: changes.removed,
            unchanged: changes.shards.len() - changes.added - changes.changed,
            stats: index.stats()?,
        })
    };
    let seed = existing.as_ref().map_or(options.seed_if_new, Index::seed);
    let mut segments = match existing {
        Some(index) if changes.scanned.is_empty() && changes.removed == 0 => {
            remove_leftovers(storage, &index.manifest)?;
            let report = report(&index)?;
            return Ok((index, report));
        }
        Some(index) if !changes.is_renumbering => index.segments,
        _ => Vec::new(),
    };

    let sorted = scan(storage, &changes.scans(), options.memory, seed, source)?;
    let mut shards = changes.shards.clone();
    let sources = choose(&mut segments, &changes, &sorted);
    let mut written = None;
    if !changes.scanned.is_empty() || !sources.is_empty() {
        let entry = write(storage, seed, sorted, &sources, &changes)?;
        let merged: BTreeSet<u32> = sources
            .iter()
            .map(|segment| segment.tail().number)
            .collect();
        for (position, shard) in shards.iter_mut().enumerate() {
            if changes.scanned.contains_key(&position) || merged.contains(&shard.segment) {
                shard.segment = entry.number;
            }
        }
        written = Some(entry);
    }
    drop(sources);

    if let Some(entry) = &written {
        segments.push(open_segment(storage, entry, seed)?);
    }
    segments.sort_by_key(|segment| segment.tail().number);
    let manifest = Manifest {
        format: FORMAT,
        seed,
        configuration: options.configuration.to_owned(),
        next_row_group: changes.next_row_group,
        segments: segments.iter().map(entry_of).collect(),
        shards,
    };
    let manifest_bytes = manifest.store(storage)?;
    remove_leftovers(storage, &manifest)?;
    let index = Index::assemble(manifest, manifest_bytes, segments);
    let report = report(&index)?;
    Ok((index, report))
}

/// How the shards differ from the manifest, and what the manifest will say of them.
struct Changes<'a> {
    /// All shards now. Those that are scanned have no segment yet.
    shards: Vec<ShardEntry>,
    /// Positions in `shards` of those that must be scanned.
    scanned: BTreeMap<usize, (&'a FileInfo, ShardFooter)>,
    added: usize,
    changed: usize,
    removed: usize,
    next_row_group: u32,
    /// The numbers ran out: everything is scanned again, from number 0.
    is_renumbering: bool,
    /// Row groups that stay as they are, for each old segment that has any.
    alive: BTreeMap<u32, RoaringBitmap>,
    /// Old segments with row groups that are no more.
    stale: BTreeSet<u32>,
}

impl<'a> Changes<'a> {
    fn scans(&self) -> Vec<Scan<'a>> {
        let first = |position: &usize| {
            self.shards
                .get(*position)
                .map(|shard| shard.first_row_group)
        };
        let scanned = self.scanned.iter();
        scanned
            .filter_map(|(position, (file, footer))| Some((first(position)?, *file, *footer)))
            .collect()
    }

    fn find(
        storage: &dyn Storage,
        existing: Option<&Index>,
        files: &'a [FileInfo],
        source: &dyn ShardSource,
    ) -> Result<Self> {
        let old: Old<'_> = existing
            .map_or(&[][..], Index::shards)
            .iter()
            .map(|shard| (shard.path.as_str(), shard))
            .collect();
        let (now, began) = read_footers(storage, &old, files, source)?;
        let is_settled = |file: &FileInfo| {
            file.changed_ns != 0 && file.changed_ns.saturating_add(SETTLED_NS) < began
        };
        let is_same = |shard: &ShardEntry, file: &FileInfo, footer: &ShardFooter| {
            shard.is_like(file) && footer_of(shard) == *footer
        };
        let needed = |is_wanted: &dyn Fn(&FileInfo, &ShardFooter) -> bool| -> u64 {
            now.values()
                .filter(|(file, footer)| is_wanted(file, footer))
                .map(|(_, footer)| u64::from(footer.row_groups))
                .sum()
        };
        let next = existing.map_or(0, |index| index.manifest.next_row_group);
        let is_new = |file: &FileInfo, footer: &ShardFooter| {
            !old.get(file.path.as_str())
                .is_some_and(|shard| is_same(shard, file, footer))
        };
        let is_renumbering = u64::from(next) + needed(&is_new) > u64::from(ROW_GROUPS_MAX);
        if is_renumbering && needed(&|_, _| true) > u64::from(ROW_GROUPS_MAX) {
            return Err(Error::State {
                path: manifest_path(),
                reason: format!(
                    "the dataset has more than {ROW_GROUPS_MAX} row groups, which is all that an index can number"
                ),
            });
        }
        let mut changes = Self {
            shards: Vec::with_capacity(now.len()),
            scanned: BTreeMap::new(),
            added: 0,
            changed: 0,
            removed: old.keys().filter(|path| !now.contains_key(*path)).count(),
            next_row_group: if is_renumbering { 0 } else { next },
            is_renumbering,
            alive: BTreeMap::new(),
            stale: BTreeSet::new(),
        };
        for (path, shard) in &old {
            let stays = now
                .get(path)
                .is_some_and(|(file, footer)| is_same(shard, file, footer));
            if stays {
                let alive = changes.alive.entry(shard.segment).or_default();
                alive.insert_range(shard.first_row_group..shard.row_group_end());
            } else {
                changes.stale.insert(shard.segment);
            }
        }
        for (path, (file, footer)) in now {
            let known = old.get(path);
            match known {
                Some(shard) if is_same(shard, file, &footer) => {
                    if !is_renumbering {
                        changes.shards.push(ShardEntry {
                            settled: shard.settled || is_settled(file),
                            ..(*shard).clone()
                        });
                        continue;
                    }
                }
                Some(_) => changes.changed += 1,
                None => changes.added += 1,
            }
            changes.scanned.insert(changes.shards.len(), (file, footer));
            changes.shards.push(ShardEntry {
                path: path.to_owned(),
                size: file.size,
                modified_ns: file.modified_ns,
                changed_ns: file.changed_ns,
                footer_hash: footer.hash,
                first_row_group: changes.next_row_group,
                row_groups: footer.row_groups,
                rows: footer.rows,
                segment: 0,
                settled: is_settled(file),
            });
            changes.next_row_group += footer.row_groups;
        }
        Ok(changes)
    }
}

/// What `old` says of a shard by its path.
type Old<'a> = BTreeMap<&'a str, &'a ShardEntry>;
/// A shard now, by its path.
type Now<'a> = BTreeMap<&'a str, (&'a FileInfo, ShardFooter)>;

/// The footers of all shards, read where they may not be as they were; and when reading began.
fn read_footers<'a>(
    storage: &dyn Storage,
    old: &Old<'_>,
    files: &'a [FileInfo],
    source: &dyn ShardSource,
) -> Result<(Now<'a>, i64)> {
    let known = |file: &FileInfo| {
        let shard = old.get(file.path.as_str());
        shard.filter(|shard| shard.is_surely_like(file))
    };
    let began = if files.iter().all(|file| known(file).is_some()) {
        0
    } else {
        clock(storage)?
    };
    let footers: Vec<Result<ShardFooter>> = files
        .par_iter()
        .map(|file| match known(file) {
            Some(shard) => Ok(footer_of(shard)),
            None => source.footer(file),
        })
        .collect();
    let mut now = BTreeMap::new();
    for (file, footer) in files.iter().zip(footers) {
        now.insert(file.path.as_str(), (file, footer?));
    }
    Ok((now, began))
}

/// What time it is by the clock of the file system; 0 if that can't be told.
fn clock(storage: &dyn Storage) -> Result<i64> {
    let path = temporary_name(&format!("{DIRECTORY}/clock"));
    drop(storage.create(&path, None)?);
    let now = storage.info(&path)?.map_or(0, |file| file.changed_ns);
    storage.remove(&path)?;
    Ok(now)
}

/// A shard to scan, and the number of its first row group.
pub(super) type Scan<'a> = (u32, &'a FileInfo, ShardFooter);

/// Scans shards, in parallel.
pub(super) fn scan<'a>(
    storage: &'a dyn Storage,
    shards: &[Scan<'_>],
    memory: usize,
    seed: u64,
    source: &dyn ShardSource,
) -> Result<SortedPostings<'a>> {
    let sorter = PostingSorter::new(storage, memory);
    shards.par_iter().try_for_each(|(first, file, footer)| {
        let mut buffer = sorter.buffer();
        let mut pushed = Ok(());
        let found = source.scan(file, seed, &mut |hash, row_group| {
            if pushed.is_err() {
            } else if row_group < footer.row_groups {
                pushed = buffer.push(hash, first + row_group);
            } else {
                let contradiction = FormatError::Contradiction {
                    what: "row groups".to_owned(),
                    claimed: footer.row_groups.into(),
                    counted: u64::from(row_group) + 1,
                };
                pushed = Err(contradiction.in_shard(&file.path));
            }
        })?;
        pushed?;
        if found != *footer {
            return Err(Error::ShardChanged {
                path: file.path.clone(),
            });
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
    if !chosen.is_empty() || !changes.scanned.is_empty() {
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
    storage: &dyn Storage,
    seed: u64,
    sorted: SortedPostings<'_>,
    segments: &[Segment],
    changes: &Changes<'_>,
) -> Result<SegmentEntry> {
    // Above every number that is there, live or left over: no file that may be open is replaced.
    let files = storage.list(DIRECTORY)?;
    let used = files
        .iter()
        .filter_map(|file| segment_number(&file.path))
        .max();
    let Some(number) = used.unwrap_or(0).checked_add(1) else {
        return Err(Error::State {
            path: segment_path(u32::MAX),
            reason: "is the last segment that there can be: remove the index to build it anew"
                .to_owned(),
        });
    };
    let hashes: u64 = segments.iter().map(|segment| segment.tail().hashes).sum();
    let hashes_at_most = hashes.saturating_add(sorted.pairs_at_most());
    let mut writer =
        SegmentWriter::create(storage, &segment_path(number), seed, number, hashes_at_most)?;
    let mut sources = vec![Source::Scanned(sorted)];
    for segment in segments {
        let alive = changes.alive.get(&segment.tail().number);
        sources.push(Source::Segment(
            segment.groups(),
            alive.cloned().unwrap_or_default(),
        ));
    }
    merge(sources, &mut writer)?;
    let (tail, tail_check) = writer.finish()?;
    Ok(SegmentEntry {
        number,
        bytes: tail.file_bytes(),
        tail_check,
    })
}

/// Removes what is not live: superseded segments, and whatever a crash left behind.
fn remove_leftovers(storage: &dyn Storage, manifest: &Manifest) -> Result<()> {
    let live: BTreeSet<u32> = manifest.segments.iter().map(|entry| entry.number).collect();
    for file in storage.list(DIRECTORY)? {
        let is_dead_segment =
            segment_number(&file.path).is_some_and(|number| !live.contains(&number));
        if is_dead_segment || file.path.ends_with(TEMPORARY_SUFFIX) {
            storage.remove(&file.path)?;
        }
    }
    Ok(())
}

fn entry_of(segment: &Segment) -> SegmentEntry {
    SegmentEntry {
        number: segment.tail().number,
        bytes: segment.len_bytes(),
        tail_check: segment.tail_check(),
    }
}

pub(super) fn footer_of(shard: &ShardEntry) -> ShardFooter {
    ShardFooter {
        hash: shard.footer_hash,
        row_groups: shard.row_groups,
        rows: shard.rows,
    }
}
