//! The index: from the hash of a subject id to the row groups that may hold its rows.
//!
//! ```text
//!   SubjectHash ──> segments: hash -> dataset-wide row-group numbers
//!                       └──> manifest: number -> shard, row group within the shard
//! ```
//!
//! * [`manifest`]: the live segments, and the shards that they were made from; [`numbers`]: of their row groups
//! * [`mod@format`]: the bytes of a segment
//! * [`segment`]: reading one
//! * [`writer`]: writing one
//! * [`build`], [`sorted`]: gathering postings in bounded memory, and giving them by hash; [`merge`]: with segments; [`builder`]: the segment of one shard
//! * [`changes`]: how the shards differ from the manifest; [`refresh`]: bringing the index up to date with them;
//!   [`source`]: how it reads shards
//! * [`compare`]: whether it holds exactly what they do
//!
//! Everything lies below [`DIRECTORY`] of the dataset's state. Segments can be made, merged and read
//! without the rest ([`builder`], [`segment::Segment`]), by services that keep their own catalog.
//!
//! # Invariants
//! * Hashes only nominate: [`Index::candidates`] gives every row group that holds a row of a subject
//!   of a shard that is as it was when it was scanned, and, when two ids share a hash, some more.
//!   Whether the shards are still as they were is for [`refresh`] to say, before any look-up that matters.
//! * What was read is checked before it is used: damage is an [`Error::State`], upon which the
//!   caller refreshes from nothing. It is never a missed row.
//! * A hash that is in no live shard is in no file here, once a refresh has returned.
//!
//! Memory: the manifest, one bit for 4 KiB of segments, and a bitmap of the nominated row groups.
//! Segments are mapped and only touched where a hash is looked up.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use self::changes::keep_alive;
use self::manifest::{Manifest, SegmentEntry, ShardEntry, segment_path};
use self::segment::{Segment, SegmentGroups};
use crate::error::{Error, Result};
use crate::state::State;
use crate::subject::SubjectHash;

pub mod build;
pub mod builder;
pub mod changes;
pub mod compare;
pub mod format;
mod grouping;
pub mod manifest;
pub mod merge;
pub mod numbers;
mod partition;
mod record;
pub mod refresh;
pub mod segment;
pub mod sorted;
pub mod source;
mod spill;
pub mod writer;

#[cfg(test)]
mod tests;

/// Where the index lies, relative to the dataset.
pub const DIRECTORY: &str = "_efface/index";

/// Up to so many, the subjects of several segments are counted one by one.
pub const SUBJECTS_COUNTED_MAX: u64 = 1 << 20;

/// Attempts to open the index while refreshes keep swapping the manifest.
const OPEN_ATTEMPTS: usize = 16;

/// An index, open for look-ups. A refresh by another process does not disturb it.
#[derive(Debug)]
pub struct Index {
    manifest: Manifest,
    manifest_bytes: u64,
    segments: Vec<Segment>,
    /// Positions of the shards that have row groups, by their first number.
    by_number: Vec<usize>,
    /// Whether parts were damaged and left out, so that the manifest on disk says otherwise.
    is_part: bool,
}

/// How much an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Rows of the shards.
    pub rows: u64,
    /// Distinct hashes: exact when there is one segment or up to [`SUBJECTS_COUNTED_MAX`] of them,
    /// else estimated from the least hashes of all segments, to about 0.1 % (see [`Index::stats`]).
    pub subjects: u64,
    /// Pairs of a hash and a row group.
    pub postings: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Live segments.
    pub segments: usize,
}

impl Index {
    /// Opens the index; `None` when there is none yet. Only the manifest and the tail of each
    /// segment are read: see [`verify`](Self::verify) for more.
    ///
    /// # Errors
    /// [`Error::State`] when the index is damaged or was built for another configuration. Either
    /// way, a refresh from nothing makes a new one.
    pub fn open(state: &dyn State, configuration: &str) -> Result<Option<Self>> {
        let mut bytes = Manifest::load(state)?;
        for _ in 0..OPEN_ATTEMPTS {
            let opened = match &bytes {
                Some(bytes) => Self::open_once(state, bytes, configuration),
                None => return Self::nothing(state),
            };
            if opened.is_ok() {
                return opened.map(Some);
            }
            // A refresh may have removed segments after the manifest was read.
            let again = Manifest::load(state)?;
            if again == bytes {
                return opened.map(Some);
            }
            bytes = again;
        }
        Err(Error::State {
            path: manifest::manifest_path(),
            reason: "changes faster than it can be opened".to_owned(),
        })
    }

    /// The row groups that may hold rows of any of these: for each shard, by its position in
    /// [`shards`](Self::shards), the numbers of its row groups, counted from 0 within the shard.
    ///
    /// # Errors
    /// [`Error::State`] when a part of a segment that is needed is damaged.
    pub fn candidates(&self, hashes: &[SubjectHash]) -> Result<BTreeMap<usize, RoaringBitmap>> {
        let mut hashes = hashes.to_vec();
        hashes.sort_unstable();
        hashes.dedup();
        let mut numbers = RoaringBitmap::new();
        for segment in &self.segments {
            segment.expect_lookups(hashes.len());
            for hash in &hashes {
                segment.lookup(*hash, &mut numbers)?;
            }
        }
        let mut candidates: BTreeMap<usize, RoaringBitmap> = BTreeMap::new();
        let mut positions = self.by_number.iter().copied().peekable();
        for number in numbers {
            let position = loop {
                let position = positions.peek().copied();
                let shard = position.and_then(|position| self.shards().get(position));
                let Some((position, shard)) = position.zip(shard) else {
                    return Err(Self::stray());
                };
                if shard.numbers.end() > number {
                    let within = shard.numbers.position(number);
                    break (position, within.ok_or_else(Self::stray)?);
                }
                positions.next();
            };
            candidates.entry(position.0).or_default().insert(position.1);
        }
        Ok(candidates)
    }

    /// The shards that the index was made from, by path.
    pub fn shards(&self) -> &[ShardEntry] {
        &self.manifest.shards
    }

    /// The seed that hashes for a look-up must have.
    pub fn seed(&self) -> u64 {
        self.manifest.seed
    }

    /// How much the index holds.
    ///
    /// With several segments the distinct hashes are counted in a merge of the segments that ends
    /// after `k` = [`SUBJECTS_COUNTED_MAX`] of them: hashes are spread evenly, so when the k-th is
    /// at the fraction `f` of all 64-bit numbers, there are about `(k - 1) / f`.
    ///
    /// # Errors
    /// [`Error::State`] when a segment is damaged where it is read.
    pub fn stats(&self) -> Result<Stats> {
        let subjects = match self.segments.as_slice() {
            [segment] => segment.tail().hashes,
            segments => distinct(segments, SUBJECTS_COUNTED_MAX)?,
        };
        let bytes: u64 = self.segments.iter().map(Segment::len_bytes).sum();
        Ok(Stats {
            rows: self
                .shards()
                .iter()
                .map(|shard| shard.rows)
                .fold(0, u64::saturating_add),
            subjects,
            postings: self
                .segments
                .iter()
                .map(|segment| segment.tail().postings)
                .sum(),
            bytes: bytes + self.manifest_bytes,
            segments: self.segments.len(),
        })
    }

    /// Reads every segment in full: all that [`Segment::verify`] looks at, and that each posting is
    /// of a shard that the manifest assigns to that segment.
    ///
    /// # Errors
    /// [`Error::State`] that names the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        let alive = self.alive();
        for segment in &self.segments {
            verify_segment(segment, &alive)?;
        }
        Ok(())
    }

    /// The numbers of all row groups of the shards of each segment.
    fn alive(&self) -> BTreeMap<u32, RoaringBitmap> {
        let mut alive: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
        for shard in self.shards() {
            keep_alive(alive.entry(shard.segment).or_default(), &shard.numbers);
        }
        alive
    }

    /// What is whole of an index that is damaged: the segments in which nothing is wrong, each read in full, with
    /// their shards. A refresh takes the other shards for new ones. `None` when nothing can be kept.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn open_undamaged(state: &dyn State, configuration: &str) -> Result<Option<Self>> {
        let manifest = match Manifest::load(state)?.map(|bytes| Manifest::parse(&bytes)) {
            Some(Ok(manifest)) if manifest.configuration == configuration => manifest,
            Some(Err(error)) if !matches!(error, Error::State { .. }) => return Err(error),
            _ => return Ok(None),
        };
        let mut index = Self::assemble(manifest, 0, Vec::new());
        let alive = index.alive();
        for entry in &index.manifest.segments {
            let segment = open_segment(state, entry, index.manifest.seed)
                .and_then(|segment| verify_segment(&segment, &alive).map(|()| segment));
            match segment {
                Ok(segment) => index.segments.push(segment),
                Err(Error::State { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if index.segments.is_empty() {
            return Ok(None);
        }
        let Self {
            mut manifest,
            segments,
            ..
        } = index;
        let whole: Vec<u32> = segments
            .iter()
            .map(|segment| segment.tail().number)
            .collect();
        manifest
            .segments
            .retain(|entry| whole.contains(&entry.number));
        manifest
            .shards
            .retain(|shard| whole.contains(&shard.segment));
        let mut index = Self::assemble(manifest, 0, segments);
        index.is_part = true;
        Ok(Some(index))
    }

    fn open_once(state: &dyn State, bytes: &[u8], configuration: &str) -> Result<Self> {
        let manifest = Manifest::parse(bytes)?;
        if manifest.configuration != configuration {
            return Err(Error::State {
                path: manifest::manifest_path(),
                reason: "the index was built for another configuration of subject columns"
                    .to_owned(),
            });
        }
        let segments = manifest
            .segments
            .iter()
            .map(|entry| open_segment(state, entry, manifest.seed))
            .collect::<Result<_>>()?;
        Ok(Self::assemble(manifest, bytes.len() as u64, segments))
    }

    /// `segments` in the order of the manifest.
    fn assemble(manifest: Manifest, manifest_bytes: u64, segments: Vec<Segment>) -> Self {
        let mut by_number: Vec<_> = manifest
            .shards
            .iter()
            .enumerate()
            .filter(|(_, shard)| shard.numbers.count() > 0)
            .map(|(position, shard)| (shard.numbers.first(), position))
            .collect();
        by_number.sort_unstable();
        Self {
            by_number: by_number
                .into_iter()
                .map(|(_, position)| position)
                .collect(),
            manifest,
            manifest_bytes,
            segments,
            is_part: false,
        }
    }

    /// Without a manifest there is no index, unless its segments say that there was one.
    fn nothing(state: &dyn State) -> Result<Option<Self>> {
        let files = state.list(DIRECTORY)?;
        if files
            .iter()
            .any(|file| manifest::segment_number(&file.path).is_some())
        {
            return Err(Error::State {
                path: manifest::manifest_path(),
                reason: "is missing, although there are segments".to_owned(),
            });
        }
        Ok(None)
    }

    fn stray() -> Error {
        Error::State {
            path: manifest::manifest_path(),
            reason: "a segment names a row group that the manifest gives to none of its shards"
                .to_owned(),
        }
    }
}

/// Reads a segment in full; every posting must be of a row group that is `alive` in that segment.
fn verify_segment(segment: &Segment, alive: &BTreeMap<u32, RoaringBitmap>) -> Result<()> {
    segment.verify()?;
    let own = alive.get(&segment.tail().number);
    let is_own = |number: &u32| own.is_some_and(|own| own.contains(*number));
    let mut row_groups = Vec::new();
    let mut iter = segment.groups();
    while iter.next_group(&mut row_groups)?.is_some() {
        if !row_groups.iter().all(is_own) {
            return Err(Index::stray());
        }
    }
    Ok(())
}

/// Opens the segment of an entry, and only that one.
fn open_segment(state: &dyn State, entry: &SegmentEntry, seed: u64) -> Result<Segment> {
    let path = segment_path(entry.number);
    if !state.has(&path)? {
        return Err(Error::State {
            path,
            reason: "the segment is missing".to_owned(),
        });
    }
    let segment = Segment::open(state.map(&path)?, &path, seed)?;
    let found = SegmentEntry {
        number: segment.tail().number,
        bytes: segment.len_bytes(),
        tail_check: segment.tail_check(),
    };
    if found != *entry {
        return Err(Error::State {
            path,
            reason: "is not the segment that the manifest names".to_owned(),
        });
    }
    Ok(segment)
}

/// Distinct hashes of several segments: counted up to `counted_max`, estimated beyond.
fn distinct(segments: &[Segment], counted_max: u64) -> Result<u64> {
    let mut heads: Vec<(SubjectHash, SegmentGroups<'_>)> = Vec::with_capacity(segments.len());
    for segment in segments {
        let mut iter = segment.groups();
        heads.extend(iter.next_hash()?.map(|hash| (hash, iter)));
    }
    let mut counted = 0_u64;
    while let Some(least) = heads.iter().map(|(hash, _)| *hash).min() {
        counted += 1;
        if counted == counted_max {
            let whole = u128::from(counted - 1) << u64::BITS;
            let estimate = whole / (u128::from(least.0) + 1);
            let all: u64 = segments.iter().map(|segment| segment.tail().hashes).sum();
            return Ok(u64::try_from(estimate)
                .unwrap_or(u64::MAX)
                .clamp(counted, all));
        }
        let mut kept = Vec::with_capacity(heads.len());
        for (hash, mut iter) in heads {
            if hash != least {
                kept.push((hash, iter));
            } else if let Some(next) = iter.next_hash()? {
                kept.push((next, iter));
            }
        }
        heads = kept;
    }
    Ok(counted)
}
