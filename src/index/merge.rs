//! Merging what was scanned with segments into a new segment.
//!
//! ```text
//!   SortedPostings ───────────────────────────┐
//!   segments, without their dead row groups ──┴─> merge, hash by hash ─> SegmentWriter
//! ```
//!
//! Memory: the row groups of one hash of each source, and for each segment a bit for every row-group number
//! between the least and the greatest that is alive.

use roaring::RoaringBitmap;

use super::format::to_usize;
use super::manifest::SegmentEntry;
use super::segment::{Segment, SegmentGroups};
use super::sorted::SortedPostings;
use super::writer::SegmentWriter;
use crate::error::Result;
use crate::state::State;
use crate::subject::SubjectHash;

/// A source of hashes in ascending order, each with its row groups.
pub enum Source<'a> {
    /// The result of a scan.
    Scanned(SortedPostings<'a>),
    /// The content of a segment; only of the live row groups, if these are given.
    Segment(SegmentGroups<'a>, Option<Alive>),
}

/// Row groups that are alive, a bit for each from the first on: every posting of a merge is looked up.
pub struct Alive {
    first: u32,
    words: Vec<u64>,
}

impl Alive {
    fn new(row_groups: &RoaringBitmap) -> Self {
        let first = row_groups.min().unwrap_or(0);
        let last = row_groups.max().unwrap_or(0);
        let mut words = vec![0_u64; to_usize(u64::from(last - first) / 64 + 1)];
        for number in row_groups {
            let place = number - first;
            if let Some(word) = words.get_mut(to_usize(u64::from(place / 64))) {
                *word |= 1 << (place % 64);
            }
        }
        Self { first, words }
    }

    fn contains(&self, number: u32) -> bool {
        let place = number.wrapping_sub(self.first);
        let word = self.words.get(to_usize(u64::from(place / 64)));
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

impl Source<'_> {
    fn next_group(&mut self, row_groups: &mut Vec<u32>) -> Result<Option<SubjectHash>> {
        match self {
            Self::Scanned(sorted) => sorted.next_group(row_groups),
            Self::Segment(iter, alive) => loop {
                let hash = iter.next_group(row_groups)?;
                if let Some(alive) = alive {
                    row_groups.retain(|number| alive.contains(*number));
                }
                if hash.is_none() || !row_groups.is_empty() {
                    return Ok(hash);
                }
            },
        }
    }
}

/// Merges sources into a segment.
///
/// # Errors
/// When a source is damaged, or reading or writing fails.
pub fn merge(sources: Vec<Source<'_>>, writer: &mut SegmentWriter<'_>) -> Result<()> {
    let mut heads = Vec::with_capacity(sources.len());
    for mut source in sources {
        let mut row_groups = Vec::new();
        if let Some(hash) = source.next_group(&mut row_groups)? {
            heads.push((hash, row_groups, source));
        }
    }
    let mut merged: Vec<u32> = Vec::new();
    while let Some(least) = heads.iter().map(|(hash, ..)| *hash).min() {
        merged.clear();
        let mut is_over = false;
        for (hash, row_groups, source) in heads.iter_mut().filter(|(hash, ..)| *hash == least) {
            merged.extend_from_slice(row_groups);
            if let Some(next) = source.next_group(row_groups)? {
                *hash = next;
            } else {
                // Marked by having no row groups, which no source gives.
                row_groups.clear();
                is_over = true;
            }
        }
        if is_over {
            heads.retain(|(_, row_groups, _)| !row_groups.is_empty());
        }
        if !merged.is_sorted_by(|left, right| left < right) {
            merged.sort_unstable();
            merged.dedup();
        }
        writer.append(least, &merged)?;
    }
    Ok(())
}

/// Writes the segment `path`, with this seed and number, from scans and from other segments (from each only the row
/// groups that are given, or all).
///
/// # Errors
/// Those of [`merge`].
pub(super) fn write_merged(
    state: &dyn State,
    path: &str,
    (seed, number): (u64, u32),
    scanned: SortedPostings<'_>,
    others: Vec<(&Segment, Option<RoaringBitmap>)>,
) -> Result<SegmentEntry> {
    let hashes: u64 = others
        .iter()
        .map(|(segment, _)| segment.tail().hashes)
        .sum();
    let hashes_at_most = hashes.saturating_add(scanned.pairs_at_most());
    let mut writer = SegmentWriter::create(state, path, seed, number, hashes_at_most)?;
    let mut sources = vec![Source::Scanned(scanned)];
    for (segment, alive) in others {
        let alive = alive.as_ref().map(Alive::new);
        sources.push(Source::Segment(segment.groups(), alive));
    }
    merge(sources, &mut writer)?;
    let (tail, tail_check) = writer.finish()?;
    Ok(SegmentEntry {
        number,
        bytes: tail.file_bytes(),
        tail_check,
    })
}
