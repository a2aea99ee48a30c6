//! Which line of which file is the receipt of a request, or the first of a pass.
//!
//! ```text
//! _efface/receipts/index/000000000001-000000065536.segment     receipts 1 to 65,536
//! _efface/receipts/index/000000065537-000000065540.segment     receipts 65,537 to ..
//!
//! append ─> a segment of the new receipts, merged with those before it that are not twice as large
//! ```
//!
//! # Invariants
//! * This is a cache. It may be missing, behind or damaged: what it doesn't cover is looked through. A segment counts
//!   only if the chain ends there with the hash that the segment has, or if the one after it says so.
//! * Each segment is at least twice as large as all after it, unless one was lost: a million receipts have some 14.
//!
//! # Crash behaviour
//! A segment follows its receipts, and those that it was merged from go after it. Whoever has the queue's lease next
//! removes what is left over, and covers what is not covered, some receipts at a time.
//!
//! Memory: a block of each segment; to write, the records of one file of receipts or of [`RECEIPTS_AT_ONCE`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::chain::{self, Head, Place};
use super::evidence::Receipt;
use super::segment::{self, Key, Name, Record, Segment, Span};
use crate::error::{Error, Result};
use crate::state::State;

/// Receipts after which a catch-up lets others have the lease: at most 0.4 s in bench `queue`.
const RECEIPTS_AT_ONCE: u64 = 1 << 15;
/// How often segments are listed again because one was merged away before it was opened.
const OPEN_ATTEMPTS: usize = 5;

/// The index of the receipts in a state.
pub(super) struct Index<'a> {
    state: &'a dyn State,
}

/// Records of receipts that follow each other.
pub(super) struct Batch {
    before: Head,
    last: Option<(Place, Head)>,
    records: Vec<Record>,
}

impl Batch {
    /// Of the receipts that follow `head`.
    pub(super) fn after(head: &Head) -> Self {
        Self {
            before: head.clone(),
            last: None,
            records: Vec::new(),
        }
    }

    /// Adds the next receipt, with which the chain has come to `head`.
    pub(super) fn push(&mut self, keys: &[Key], place: Place, head: &Head) {
        let records = keys.iter().map(|key| Record::new(*key, place));
        self.records.extend(records);
        self.last = Some((place, head.clone()));
    }
}

/// What a receipt is found by.
pub(super) fn keys_of(receipt: &Receipt) -> Vec<Key> {
    let pass = receipt.pass.map(Key::pass);
    let keys = [Some(Key::request(receipt.tracking_id)), pass];
    keys.into_iter().flatten().collect()
}

impl<'a> Index<'a> {
    pub(super) fn new(state: &'a dyn State) -> Self {
        Self { state }
    }

    /// The segments that can be believed, in the order of the receipts. What they leave out is not covered.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub(super) fn open(&self) -> Result<Vec<Segment>> {
        let mut opened = self.open_all(false)?;
        for attempt in 1..OPEN_ATTEMPTS {
            if opened.is_some() {
                break;
            }
            opened = self.open_all(attempt + 1 == OPEN_ATTEMPTS)?;
        }
        let mut believed: Vec<Segment> = Vec::new();
        for segment in opened.unwrap_or_default().into_iter().rev() {
            let span = segment.span();
            let is_linked = believed.last().is_some_and(|next| {
                let next = next.span();
                next.first == span.last + 1 && next.before == span.end
            });
            if is_linked || self.is_of_the_chain(&segment) {
                believed.push(segment);
            }
        }
        believed.reverse();
        Ok(believed)
    }

    /// Opens all segments; `None` when one is gone meanwhile, unless what is there is to be had all the same.
    fn open_all(&self, is_last: bool) -> Result<Option<Vec<Segment>>> {
        let mut opened = Vec::new();
        for name in self.names()?.0 {
            match Segment::open(self.state, &name) {
                Ok(segment) => opened.push(segment),
                Err(Error::State { .. }) => self.discard(&name),
                Err(_) if is_last => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(opened))
    }

    /// Whether the chain ends with the segment as the segment says.
    fn is_of_the_chain(&self, segment: &Segment) -> bool {
        let span = segment.span();
        match chain::read_line(self.state, span.end_place) {
            Ok((receipt, hash)) if receipt.number == span.last && hash == span.end => true,
            Ok(_) => {
                self.discard(segment.name());
                false
            }
            // The receipts are damaged: another segment would be no better.
            Err(_) => false,
        }
    }

    /// Removes a segment that is damaged or of another chain, so that the next holder of the lease writes it again.
    pub(super) fn discard(&self, name: &Name) {
        let path = name.path();
        tracing::warn!(%path, "a part of the index of receipts can't be used, and is written again");
        // Who may not write here goes without it.
        let _ignored = self.state.remove(&[path]);
    }

    /// The segments that are no part of others, in the order of the receipts, and the others.
    fn names(&self) -> Result<(Vec<Name>, Vec<Name>)> {
        let files = self.state.list(&segment::directory())?;
        let mut names: Vec<Name> = files
            .iter()
            .filter_map(|file| Name::of(&file.path))
            .collect();
        names.sort_by_key(|name| (name.first, Reverse(name.last)));
        let mut covered = 0;
        Ok(names.into_iter().partition(|name| {
            let is_new = name.first > covered;
            if is_new {
                covered = name.last;
            }
            is_new
        }))
    }

    /// Removes what is left over, and covers the first receipts that are not covered, if there are any. The caller
    /// holds the queue's lease; `head` is the end of the chain.
    ///
    /// # Errors
    /// When the chain is damaged there, and those of reading and writing.
    pub(super) fn catch_up(&self, head: &Head) -> Result<()> {
        let (names, mut left) = self.names()?;
        let (names, beyond): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| name.last <= head.receipts);
        left.extend(beyond);
        if !left.is_empty() {
            let paths: Vec<String> = left.iter().map(Name::path).collect();
            self.state.remove(&paths)?;
        }
        let mut at = Head::none();
        let mut until = head.receipts;
        let mut before = None;
        for name in names {
            if name.first != at.receipts + 1 {
                until = name.first - 1;
                break;
            }
            at.receipts = name.last;
            before = Some(name);
        }
        if at.receipts >= until {
            return Ok(());
        }
        if let Some(name) = before {
            match Segment::open(self.state, &name) {
                Ok(segment) => at.hash.clone_from(&segment.span().end),
                Err(error) => {
                    self.discard(&name);
                    return Err(error);
                }
            }
        }
        let enough = until.min(at.receipts.saturating_add(RECEIPTS_AT_ONCE));
        let mut batch = Batch::after(&at);
        while at.receipts < enough {
            chain::follow(self.state, &mut at, &mut |receipt, place, head| {
                batch.push(&keys_of(&receipt), place, head);
            })?;
        }
        self.add(batch)
    }

    /// Covers the receipts of a batch, which are on the disk. The caller holds the queue's lease.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub(super) fn add(&self, batch: Batch) -> Result<()> {
        let Batch {
            before,
            last: Some((end_place, end)),
            mut records,
        } = batch
        else {
            return Ok(());
        };
        records.sort_unstable();
        // The first one of a file counts.
        records.dedup_by(|next, first| next.is_beside(first));
        let mut span = Span {
            first: before.receipts + 1,
            last: end.receipts,
            before: before.hash,
            end: end.hash,
            end_place,
        };
        let alone = span.clone();
        let mut count = records.len() as u64;
        let merged = self.too_small_before(&span, count)?;
        if let Some(first) = merged.last() {
            span.first = first.span().first;
            span.before.clone_from(&first.span().before);
        }
        count += merged.iter().map(Segment::records).sum::<u64>();
        let written = {
            let of_batch = records.iter().map(|record| Ok(*record));
            let mut sources: Vec<Source<'_>> = vec![Box::new(of_batch)];
            for segment in &merged {
                sources.push(Box::new(segment.iter()));
            }
            Merge::new(sources).and_then(|all| segment::write(self.state, &span, count, all))
        };
        if let Err(Error::State { path, .. }) = written {
            // One that was to be merged is damaged.
            let mut names = merged.iter().map(Segment::name);
            if let Some(name) = names.find(|name| name.path() == path) {
                self.discard(name);
            }
            let count = records.len() as u64;
            return segment::write(self.state, &alone, count, records.into_iter().map(Ok));
        }
        written?;
        let paths: Vec<String> = merged.iter().map(|segment| segment.name().path()).collect();
        if paths.is_empty() {
            return Ok(());
        }
        self.state.remove(&paths)
    }

    /// The segments to merge with `count` new records, the latest first: as far back as one is not twice as large as
    /// all that follows.
    fn too_small_before(&self, span: &Span, count: u64) -> Result<Vec<Segment>> {
        let mut before: Vec<Segment> = Vec::new();
        for name in self.names()?.0.into_iter().rev() {
            if name.first >= span.first {
                continue;
            }
            let Ok(segment) = Segment::open(self.state, &name) else {
                break;
            };
            let next = before.last().map_or(span, Segment::span);
            let earlier = segment.span();
            if earlier.last + 1 != next.first || earlier.end != next.before {
                break;
            }
            before.push(segment);
        }
        let mut following = count;
        let mut small = 0;
        for (number, segment) in before.iter().enumerate() {
            if segment.records() < 2 * following {
                small = number + 1;
            }
            following += segment.records();
        }
        before.truncate(small);
        Ok(before)
    }
}

type Source<'a> = Box<dyn Iterator<Item = Result<Record>> + 'a>;

/// Sorted records as one.
struct Merge<'a> {
    sources: Vec<Source<'a>>,
    next: BinaryHeap<Reverse<(Record, usize)>>,
}

impl<'a> Merge<'a> {
    fn new(sources: Vec<Source<'a>>) -> Result<Self> {
        let mut this = Self {
            sources,
            next: BinaryHeap::new(),
        };
        for number in 0..this.sources.len() {
            this.advance(number)?;
        }
        Ok(this)
    }

    fn advance(&mut self, number: usize) -> Result<()> {
        if let Some(record) = self.sources.get_mut(number).and_then(Iterator::next) {
            self.next.push(Reverse((record?, number)));
        }
        Ok(())
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((record, number)) = self.next.pop()?;
        Some(self.advance(number).map(|()| record))
    }
}
