//! Whether an index holds exactly what the shards do.
//!
//! ```text
//!   all shards scanned again ─> sorted hashes and row groups ──┐
//!   all segments, merged by hash ────────────────────────────────┴─> missing, surplus
//! ```
//!
//! Memory: that of sorting ([`build`](super::build)), and the row groups of one hash.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Index;
use super::changes::Scan;
use super::refresh::{RefreshOptions, scan};
use super::segment::{Segment, SegmentGroups};
use super::source::ShardSource;
use crate::error::{Error, Result};
use crate::state::State;
use crate::subject::SubjectHash;
use crate::subject::names::stored;
use crate::table::ShardRef;

/// How an index differs from the shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Pairs of a hash and a row group that both have.
    pub postings: u64,
    /// Pairs that only the shards have: rows that a look-up would miss.
    pub missing: u64,
    /// Pairs that only the index has: traces of ids that are gone.
    pub surplus: u64,
}

impl Index {
    /// Compares the index with its shards in full; `files` are the dataset's as they are now. The caller
    /// holds the dataset's lock.
    ///
    /// # Errors
    /// [`Error::ShardChanged`] when a shard is not as the index knows it, [`Error::State`] when a segment is
    /// damaged, and errors of `source` and of the state.
    pub fn compare(
        &self,
        state: &dyn State,
        files: &[ShardRef],
        options: &RefreshOptions<'_>,
        source: &dyn ShardSource,
    ) -> Result<Comparison> {
        self.verify()?;
        let by_path: BTreeMap<String, &ShardRef> = files
            .iter()
            .map(|file| (stored(&file.path), file))
            .collect();
        let scans: Vec<Scan<'_>> = self
            .shards()
            .iter()
            .map(|shard| match by_path.get(shard.path.as_str()) {
                Some(file) => Ok(Scan::whole(file, shard.footer(), shard.numbers.clone())),
                None => Err(Error::ShardChanged {
                    path: shard.path.clone(),
                }),
            })
            .collect::<Result<_>>()?;
        let scans: Vec<&Scan<'_>> = scans.iter().collect();
        let mut truth = scan(state, &scans, options.memory, self.seed(), source)?;
        let mut found = Merged::new(&self.segments)?;
        let mut comparison = Comparison::default();
        let (mut rows, mut postings) = (Vec::new(), Vec::new());
        let mut left = truth.next_group(&mut rows)?;
        let mut right = found.next_group(&mut postings)?;
        loop {
            let order = match (left, right) {
                (None, None) => return Ok(comparison),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.cmp(&right),
            };
            let is_known = |number: &&u32| postings.binary_search(number).is_ok();
            let both = match order {
                Ordering::Equal => rows.iter().filter(is_known).count() as u64,
                _ => 0,
            };
            comparison.postings += both;
            if order.is_le() {
                comparison.missing += rows.len() as u64 - both;
                left = truth.next_group(&mut rows)?;
            }
            if order.is_ge() {
                comparison.surplus += postings.len() as u64 - both;
                right = found.next_group(&mut postings)?;
            }
        }
    }
}

/// The hashes of several segments with their row groups, ascending.
struct Merged<'a>(Vec<(SubjectHash, Vec<u32>, SegmentGroups<'a>)>);

impl<'a> Merged<'a> {
    fn new(segments: &'a [Segment]) -> Result<Self> {
        let mut merged = Self(Vec::new());
        for segment in segments {
            merged.advance(segment.groups(), Vec::new())?;
        }
        Ok(merged)
    }

    fn advance(&mut self, mut groups: SegmentGroups<'a>, mut numbers: Vec<u32>) -> Result<()> {
        if let Some(hash) = groups.next_group(&mut numbers)? {
            self.0.push((hash, numbers, groups));
        }
        Ok(())
    }

    fn next_group(&mut self, row_groups: &mut Vec<u32>) -> Result<Option<SubjectHash>> {
        row_groups.clear();
        let Some(least) = self.0.iter().map(|(hash, ..)| *hash).min() else {
            return Ok(None);
        };
        for (hash, numbers, groups) in std::mem::take(&mut self.0) {
            if hash == least {
                row_groups.extend_from_slice(&numbers);
                self.advance(groups, numbers)?;
            } else {
                self.0.push((hash, numbers, groups));
            }
        }
        row_groups.sort_unstable();
        Ok(Some(least))
    }
}
