//! How the shards differ from what the manifest says of them.
//!
//! ```text
//! shards now ──> size and times compared with the manifest ──> those that differ, or may: footers read
//!                     as it was ─────────────────> its postings stay
//!                     rewritten by a delete ─────> row groups that were touched are scanned, the others stay
//!                     new or changed ────────────> scanned, under new numbers      <──┘
//!                     vanished ──────────────────> its postings go
//! segments of which little would stay ───────────> all their shards are scanned
//! ```
//!
//! # Which shards are read
//! A file's time of change can't be set back, but two changes within a tick of the clock have the same. So a
//! shard whose size and times are as they were is believed unread only if it had been left alone for
//! [`SETTLED_NS`] when it was read last, by the clock that gave it its times. Of the others the footer is read and
//! its hash compared, each time; so it is where there are no times of change. A version that is a tag is believed.
//!
//! # Invariants
//! A row-group number is given out once. When they run out, all shards are scanned again, from number 0 on.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::Index;
use super::format::ROW_GROUPS_MAX;
use super::manifest::{ShardEntry, manifest_path};
use super::numbers::RowGroupNumbers;
use super::source::{ShardFooter, ShardSource};
use crate::error::{Error, Result};
use crate::shard::lineage::Lineage;
use crate::subject::names::stored;
use crate::table::{ShardRef, ShardVersion};

/// How long a shard must have been left alone before it is believed to be as it was by its times: longer
/// than any tick of a file system's clock.
pub const SETTLED_NS: i64 = 2_000_000_000;

/// A segment is dropped and its shards are scanned whole where so many of its row groups must be scanned for each
/// one that need not: copying the postings of few row groups still means reading the segment through. An estimate;
/// bench `index`, `delete`, has both sides of it.
pub const TOUCHED_FOR_EACH_LEFT: u64 = 8;

/// A shard that was replaced by what a rewrite left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrittenShard {
    /// Relative to the dataset.
    pub path: String,
    /// What its rewrite reported.
    pub lineage: Lineage,
}

/// A shard to scan.
pub(super) struct Scan<'a> {
    pub(super) file: &'a ShardRef,
    pub(super) footer: ShardFooter,
    pub(super) numbers: RowGroupNumbers,
    /// The row groups to scan, counted from 0 within the shard.
    pub(super) row_groups: RoaringBitmap,
}

impl<'a> Scan<'a> {
    /// All row groups of a shard.
    pub(super) fn whole(file: &'a ShardRef, footer: ShardFooter, numbers: RowGroupNumbers) -> Self {
        let mut row_groups = RoaringBitmap::new();
        row_groups.insert_range(0..footer.row_groups);
        Self {
            file,
            footer,
            numbers,
            row_groups,
        }
    }
}

/// What a refresh must do, and what the manifest will say of the shards.
pub(super) struct Changes<'a> {
    /// All shards now, by path. Those that are scanned have no segment yet.
    pub(super) shards: Vec<ShardEntry>,
    /// What is scanned, by its position in `shards`.
    pub(super) scans: BTreeMap<usize, Scan<'a>>,
    pub(super) added: usize,
    pub(super) changed: usize,
    pub(super) removed: usize,
    pub(super) next_row_group: u32,
    /// The numbers ran out: everything is scanned again.
    pub(super) is_renumbering: bool,
    /// Row groups whose postings stay as they are, for each old segment that has any.
    pub(super) alive: BTreeMap<u32, RoaringBitmap>,
    /// Old segments with postings that go.
    pub(super) stale: BTreeSet<u32>,
}

impl<'a> Changes<'a> {
    /// Compares `files` with what `existing` says of them.
    pub(super) fn find(
        existing: Option<&Index>,
        files: &'a [ShardRef],
        rewritten: &[RewrittenShard],
        source: &dyn ShardSource,
    ) -> Result<Self> {
        let old = existing.map_or(&[][..], Index::shards);
        let (now, removed) = compared(old, files);
        let began = if now.iter().all(is_believed) {
            None
        } else {
            source.clock_ns()?
        };
        let footers = read_footers(&now, source)?;
        let next = existing.map_or(0, |index| index.manifest.next_row_group);
        let is_renumbering = must_renumber(next, &now, &footers)?;
        let rewritten: BTreeMap<&str, &Lineage> = rewritten
            .iter()
            .map(|shard| (shard.path.as_str(), &shard.lineage))
            .collect();
        let mut changes = Self {
            shards: Vec::with_capacity(now.len()),
            scans: BTreeMap::new(),
            added: 0,
            changed: 0,
            removed: removed.len(),
            next_row_group: if is_renumbering { 0 } else { next },
            is_renumbering,
            alive: BTreeMap::new(),
            stale: removed.iter().map(|shard| shard.segment).collect(),
        };
        let (mut kept, mut rewritten_of) = (Vec::new(), Vec::new());
        let mut touched: BTreeMap<u32, u64> = BTreeMap::new();
        for ((file, known), footer) in now.into_iter().zip(footers) {
            let settled = is_settled(&file.version, began);
            let known = known.map(|old| (old, is_same(old, file, &footer)));
            match known {
                None => changes.added += 1,
                Some((_, false)) => changes.changed += 1,
                Some((_, true)) => {}
            }
            match known {
                Some((old, true)) if !is_renumbering => {
                    kept.push((changes.shards.len(), file, old));
                    changes.keep(old, settled);
                }
                Some((old, false)) if !is_renumbering => {
                    changes.stale.insert(old.segment);
                    let lineage = rewritten.get(file.path.as_str());
                    match lineage.and_then(|lineage| remnant(lineage, old, &footer)) {
                        Some((numbers, again)) => {
                            *touched.entry(old.segment).or_default() += again.len();
                            rewritten_of.push((changes.shards.len(), old.segment));
                            changes.keep_part(old.segment, &numbers, &again);
                            changes.scan(file, footer, numbers, Some(again), settled);
                        }
                        None => changes.scan_again(file, footer, settled),
                    }
                }
                _ => changes.scan_again(file, footer, settled),
            }
        }
        for (segment, touched) in touched {
            changes.drop_if_little_is_left(segment, touched, &rewritten_of, &kept);
        }
        Ok(changes)
    }

    /// Scans all of what a segment holds if little of it would stay.
    fn drop_if_little_is_left(
        &mut self,
        segment: u32,
        touched: u64,
        rewritten: &[(usize, u32)],
        kept: &[(usize, &'a ShardRef, &ShardEntry)],
    ) {
        let left = self.alive.get(&segment).map_or(0, RoaringBitmap::len);
        if left.saturating_mul(TOUCHED_FOR_EACH_LEFT) > touched {
            return;
        }
        self.alive.remove(&segment);
        for (position, _) in rewritten.iter().filter(|(_, of)| *of == segment) {
            if let Some(scan) = self.scans.get_mut(position) {
                scan.row_groups.insert_range(0..scan.footer.row_groups);
            }
        }
        for (position, file, old) in kept.iter().filter(|(.., old)| old.segment == segment) {
            let scan = Scan::whole(file, old.footer(), old.numbers.clone());
            self.scans.insert(*position, scan);
        }
    }

    /// Shards that are as they were.
    pub(super) fn unchanged(&self) -> usize {
        self.shards.len() - self.added - self.changed
    }

    fn keep(&mut self, old: &ShardEntry, settled: bool) {
        let alive = self.alive.entry(old.segment).or_default();
        keep_alive(alive, &old.numbers);
        self.shards.push(ShardEntry {
            settled: old.settled || settled,
            ..old.clone()
        });
    }

    /// Keeps the postings of a shard's row groups, except those at the positions `again`.
    fn keep_part(&mut self, segment: u32, numbers: &RowGroupNumbers, again: &RoaringBitmap) {
        let stay = (0_u32..)
            .zip(numbers.alive())
            .filter(|(position, _)| !again.contains(*position))
            .map(|(_, number)| number);
        let mut stay = stay.peekable();
        if stay.peek().is_some() {
            self.alive.entry(segment).or_default().extend(stay);
        }
    }

    fn scan_again(&mut self, file: &'a ShardRef, footer: ShardFooter, settled: bool) {
        let numbers = RowGroupNumbers::new(self.next_row_group, footer.row_groups);
        self.next_row_group = numbers.end();
        self.scan(file, footer, numbers, None, settled);
    }

    /// Scans the row groups at the positions `row_groups`, or all.
    fn scan(
        &mut self,
        file: &'a ShardRef,
        footer: ShardFooter,
        numbers: RowGroupNumbers,
        row_groups: Option<RoaringBitmap>,
        settled: bool,
    ) {
        let mut scan = Scan::whole(file, footer, numbers.clone());
        if let Some(row_groups) = row_groups {
            scan.row_groups = row_groups;
        }
        self.scans.insert(self.shards.len(), scan);
        self.shards.push(ShardEntry {
            path: stored(&file.path),
            size: file.bytes,
            stamp: file.version.stamp(),
            footer_hash: footer.hash,
            numbers,
            rows: footer.rows,
            segment: 0,
            settled,
        });
    }
}

/// Adds the numbers of a shard to `alive`.
pub(super) fn keep_alive(alive: &mut RoaringBitmap, numbers: &RowGroupNumbers) {
    alive.insert_range(numbers.first()..numbers.end());
    for number in numbers.dead() {
        alive.remove(*number);
    }
}

/// A shard now, and what the manifest says of it.
type Known<'a, 'o> = (&'a ShardRef, Option<&'o ShardEntry>);

/// The files with their entries, by path, and the entries that have none.
fn compared<'a, 'o>(
    old: &'o [ShardEntry],
    files: &'a [ShardRef],
) -> (Vec<Known<'a, 'o>>, Vec<&'o ShardEntry>) {
    let mut files: Vec<(String, &ShardRef)> = files
        .iter()
        .map(|file| (stored(&file.path), file))
        .collect();
    // Mostly they are in order already.
    files.sort_by(|left, right| left.0.cmp(&right.0));
    let mut old = old.iter().peekable();
    let mut gone = Vec::new();
    let now = files
        .into_iter()
        .map(|(path, file)| {
            while let Some(shard) = old.next_if(|shard| shard.path < path) {
                gone.push(shard);
            }
            (file, old.next_if(|shard| shard.path == path))
        })
        .collect();
    gone.extend(old);
    (now, gone)
}

fn is_same(old: &ShardEntry, file: &ShardRef, footer: &ShardFooter) -> bool {
    old.is_like(file) && old.footer() == *footer
}

/// What `old` became by a rewrite: its numbers, and the positions of the row groups to scan. `None` if it is not
/// what was rewritten, or not that any more.
fn remnant(
    lineage: &Lineage,
    old: &ShardEntry,
    footer: &ShardFooter,
) -> Option<(RowGroupNumbers, RoaringBitmap)> {
    let is_it = lineage.old_footer_hash == old.footer_hash
        && lineage.footer_hash == footer.hash
        && lineage.touched.is_sorted()
        && lineage.dropped.is_sorted();
    if !is_it {
        return None;
    }
    let numbers = old.numbers.without(&lineage.dropped);
    if numbers.count() != footer.row_groups {
        return None;
    }
    let mut touched = lineage.touched.iter().peekable();
    let again = (0_u32..)
        .zip(old.numbers.alive())
        .filter(|(position, _)| touched.next_if_eq(&position).is_some())
        .map(|(_, number)| numbers.position(number))
        .collect::<Option<RoaringBitmap>>()?;
    Some((numbers, again))
}

/// Whether the numbers that are left don't do for the shards that are new or changed.
fn must_renumber(next: u32, now: &[Known<'_, '_>], footers: &[ShardFooter]) -> Result<bool> {
    let (mut new, mut all) = (u64::from(next), 0_u64);
    for ((file, old), footer) in now.iter().zip(footers) {
        let count = u64::from(footer.row_groups);
        all += count;
        if !old.is_some_and(|old| is_same(old, file, footer)) {
            new += count;
        }
    }
    if new <= u64::from(ROW_GROUPS_MAX) {
        return Ok(false);
    }
    if all <= u64::from(ROW_GROUPS_MAX) {
        return Ok(true);
    }
    Err(Error::State {
        path: manifest_path(),
        reason: format!(
            "the dataset has more than {ROW_GROUPS_MAX} row groups, which is all that an index can number"
        ),
    })
}

/// The footers of all shards, read where they may not be as they were.
fn read_footers(now: &[Known<'_, '_>], source: &dyn ShardSource) -> Result<Vec<ShardFooter>> {
    let footers: Vec<Result<ShardFooter>> = now
        .par_iter()
        .map(|(file, old)| match old {
            Some(shard) if shard.is_surely_like(file) => Ok(shard.footer()),
            _ => source.footer(file),
        })
        .collect();
    footers.into_iter().collect()
}

fn is_believed((file, old): &Known<'_, '_>) -> bool {
    old.is_some_and(|shard| shard.is_surely_like(file))
}

/// Whether any later change of a shard must show in its version, if it had this one at the time `now_ns`.
fn is_settled(version: &ShardVersion, now_ns: Option<i64>) -> bool {
    match version {
        ShardVersion::Tag(_) => true,
        ShardVersion::Times { changed_ns, .. } => {
            *changed_ns != 0
                && now_ns.is_some_and(|now| changed_ns.saturating_add(SETTLED_NS) < now)
        }
    }
}
