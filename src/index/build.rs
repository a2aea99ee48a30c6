//! Sorting postings in bounded memory, and merging them with segments into a new segment.
//!
//! ```text
//! scan of a shard ─> PostingBuffer (64 Ki pairs, sorted, de-duplicated)   one per scan
//!                          └─> pool, by the hash's top byte ─(full)─> sorted run on disk
//! finish ─> SortedPostings: runs and the rest of the pool, merged ──┐
//!           segments, without their dead row groups ────────────────┴─> merge ─> SegmentWriter
//! ```
//!
//! Memory: the budget (half for the pool, half for a pool that is being spilled), 1 MiB for each
//! scan under way, and the row groups of one hash. At most [`FAN_IN_MAX`] files are read at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::format::to_usize;
use super::manifest::SegmentEntry;
use super::runs::{Pair, RUN_PAIR_BYTES, Run, RunReader, write_run};
use super::segment::{Segment, SegmentGroups};
use super::writer::SegmentWriter;
use crate::error::Result;
use crate::storage::{Storage, temporary_name};
use crate::subject::SubjectHash;

/// Runs that are merged at a time.
pub const FAN_IN_MAX: usize = 128;

const BUFFER_PAIRS_MAX: usize = 1 << 16;
const BUFFER_PAIRS_MIN: usize = 64;
const PARTITIONS: usize = 256;
const PAIR_BYTES: usize = size_of::<Pair>();

/// Pairs read from a run at a time, at most; with a small budget fewer.
const READ_PAIRS_MAX: usize = 16 << 10;

type Pool = Vec<Vec<Pair>>;

const _: () = assert!(PAIR_BYTES == 16);
const _: () = assert!(FAN_IN_MAX * READ_PAIRS_MAX * RUN_PAIR_BYTES <= 32 << 20);

/// Takes (hash, row group) pairs from many threads, and gives them back sorted and only once.
///
/// One sorter at a time may work on a directory: for a dataset's index, the caller holds its lock.
pub struct PostingSorter<'a> {
    storage: &'a dyn Storage,
    /// Where runs are spilled to.
    directory: String,
    pool_pairs_max: usize,
    buffer_pairs: usize,
    pool: Mutex<Pool>,
    /// Held while a pool is written out, so that only one is.
    spilling: Mutex<Vec<Run<'a>>>,
    runs_made: AtomicU64,
}

impl<'a> PostingSorter<'a> {
    /// A sorter that keeps some `memory` bytes in memory and the rest in temporary files of `directory`.
    pub fn new(storage: &'a dyn Storage, directory: &str, memory: usize) -> Self {
        // A growing vector may have twice the capacity that it needs, and there are two pools.
        let pool_pairs_max = (memory / PAIR_BYTES / 4).max(1);
        Self {
            storage,
            directory: directory.to_owned(),
            pool_pairs_max,
            buffer_pairs: (pool_pairs_max / 16).clamp(BUFFER_PAIRS_MIN, BUFFER_PAIRS_MAX),
            pool: Mutex::new(empty_pool()),
            spilling: Mutex::new(Vec::new()),
            runs_made: AtomicU64::new(0),
        }
    }

    /// A buffer for one scan. Its pairs count only after its [`finish`](PostingBuffer::finish).
    pub fn buffer(&self) -> PostingBuffer<'_, 'a> {
        PostingBuffer {
            sorter: self,
            pairs: Vec::new(),
        }
    }

    /// Sorts what is left and starts the merge.
    ///
    /// # Errors
    /// When a run can't be written or read.
    pub fn finish(self) -> Result<SortedPostings<'a>> {
        let mut pool = into_inner(self.pool);
        let mut runs = into_inner(self.spilling);
        pool.par_iter_mut().for_each(sort_once);
        let in_memory: usize = pool.iter().map(Vec::len).sum();
        let read_pairs = (self.pool_pairs_max / FAN_IN_MAX).clamp(16, READ_PAIRS_MAX);
        while runs.len() > FAN_IN_MAX {
            let merged: Vec<_> = runs.drain(..FAN_IN_MAX).collect();
            let path = run_path(&self.directory, &self.runs_made);
            let mut merge = SortedPostings::new(merged, Vec::new(), read_pairs)?;
            runs.push(write_run(self.storage, path, || merge.next_pair())?);
        }
        let pairs = runs.iter().map(|run| run.pairs).sum::<u64>() + in_memory as u64;
        let mut sorted = SortedPostings::new(runs, pool, read_pairs)?;
        sorted.pairs_at_most = pairs;
        Ok(sorted)
    }

    fn add(&self, pairs: &[Pair]) -> Result<()> {
        let is_full = |pool: &Pool| pool.iter().map(Vec::len).sum::<usize>() >= self.pool_pairs_max;
        let mut pool = lock(&self.pool);
        for part in pairs.chunk_by(|left, right| partition(*left) == partition(*right)) {
            let target = part.first().and_then(|pair| pool.get_mut(partition(*pair)));
            if let Some(target) = target {
                target.extend_from_slice(part);
            }
        }
        if !is_full(&pool) {
            return Ok(());
        }
        drop(pool);
        // Nothing below runs on the thread pool: a scan that was stolen here would wait for itself.
        let mut runs = lock(&self.spilling);
        let mut pool = lock(&self.pool);
        if !is_full(&pool) {
            return Ok(());
        }
        let mut full = std::mem::replace(&mut *pool, empty_pool());
        drop(pool);
        full.iter_mut().for_each(sort_once);
        let path = run_path(&self.directory, &self.runs_made);
        let mut pairs = full.into_iter().flatten();
        runs.push(write_run(self.storage, path, || Ok(pairs.next()))?);
        Ok(())
    }
}

/// The pairs of one scan on their way to the sorter.
pub struct PostingBuffer<'s, 'a> {
    sorter: &'s PostingSorter<'a>,
    pairs: Vec<Pair>,
}

impl PostingBuffer<'_, '_> {
    /// Takes a pair. The same pair may come any number of times.
    ///
    /// # Errors
    /// When a run can't be written.
    #[inline]
    pub fn push(&mut self, hash: SubjectHash, row_group: u32) -> Result<()> {
        self.pairs.push((hash.0, row_group));
        if self.pairs.len() >= self.sorter.buffer_pairs {
            sort_once(&mut self.pairs);
            // Mostly repeats: there is room to go on.
            if self.pairs.len() > self.sorter.buffer_pairs / 2 {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    /// Hands the rest over.
    ///
    /// # Errors
    /// When a run can't be written.
    pub fn finish(mut self) -> Result<()> {
        sort_once(&mut self.pairs);
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<()> {
        let added = self.sorter.add(&self.pairs);
        self.pairs.clear();
        added
    }
}

/// The merge of sorted runs and what stayed in memory, each pair once.
pub struct SortedPostings<'a> {
    sources: Vec<PairSource<'a>>,
    heads: BinaryHeap<Reverse<(Pair, usize)>>,
    previous: Option<Pair>,
    peeked: Option<Pair>,
    pairs_at_most: u64,
}

impl<'a> SortedPostings<'a> {
    fn new(runs: Vec<Run<'a>>, pool: Pool, read_pairs: usize) -> Result<Self> {
        let mut sources = vec![PairSource::Memory(Box::new(pool.into_iter().flatten()))];
        for run in runs {
            sources.push(PairSource::Run(RunReader::open(run, read_pairs)?));
        }
        let mut heads = BinaryHeap::with_capacity(sources.len());
        for (number, source) in sources.iter_mut().enumerate() {
            heads.extend(source.next()?.map(|pair| Reverse((pair, number))));
        }
        Ok(Self {
            sources,
            heads,
            previous: None,
            peeked: None,
            pairs_at_most: 0,
        })
    }

    /// A bound of the number of pairs: exact, but for repeats between runs.
    pub fn pairs_at_most(&self) -> u64 {
        self.pairs_at_most
    }

    /// The next hash; its ascending row groups replace what is in `row_groups`. `None` at the end.
    ///
    /// # Errors
    /// When a run can't be read.
    pub fn next_group(&mut self, row_groups: &mut Vec<u32>) -> Result<Option<SubjectHash>> {
        row_groups.clear();
        let first = match self.peeked.take() {
            Some(pair) => Some(pair),
            None => self.next_pair()?,
        };
        let Some((hash, row_group)) = first else {
            return Ok(None);
        };
        row_groups.push(row_group);
        while let Some(pair) = self.next_pair()? {
            if pair.0 != hash {
                self.peeked = Some(pair);
                break;
            }
            row_groups.push(pair.1);
        }
        Ok(Some(SubjectHash(hash)))
    }

    fn next_pair(&mut self) -> Result<Option<Pair>> {
        loop {
            let Some(mut head) = self.heads.peek_mut() else {
                return Ok(None);
            };
            let Reverse((pair, number)) = *head;
            let following = match self.sources.get_mut(number) {
                Some(source) => source.next()?,
                None => None,
            };
            match following {
                Some(following) => *head = Reverse((following, number)),
                None => drop(std::collections::binary_heap::PeekMut::pop(head)),
            }
            if self.previous.replace(pair) != Some(pair) {
                return Ok(Some(pair));
            }
        }
    }
}

/// Something that gives hashes in ascending order, each with its row groups.
pub enum Source<'a> {
    /// What was scanned just now.
    Scanned(SortedPostings<'a>),
    /// What a segment holds, of the row groups that are still alive if these are given.
    Segment(SegmentGroups<'a>, Option<RoaringBitmap>),
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

/// Writes the segment `path`, of this seed and number, of what was scanned and of other segments (of each just the
/// row groups that are given, or all).
///
/// # Errors
/// Those of [`merge`].
pub(super) fn write_merged(
    storage: &dyn Storage,
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
    let mut writer = SegmentWriter::create(storage, path, seed, number, hashes_at_most)?;
    let mut sources = vec![Source::Scanned(scanned)];
    for (segment, alive) in others {
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

enum PairSource<'a> {
    Memory(Box<dyn Iterator<Item = Pair> + Send>),
    Run(RunReader<'a>),
}

impl PairSource<'_> {
    fn next(&mut self) -> Result<Option<Pair>> {
        match self {
            Self::Memory(pairs) => Ok(pairs.next()),
            Self::Run(reader) => reader.next(),
        }
    }
}

/// The temporary file of the next run.
fn run_path(directory: &str, runs_made: &AtomicU64) -> String {
    let number = runs_made.fetch_add(1, Ordering::Relaxed);
    temporary_name(&format!("{directory}/run-{number}"))
}

fn partition(pair: Pair) -> usize {
    to_usize(pair.0 >> 56)
}

fn empty_pool() -> Pool {
    vec![Vec::new(); PARTITIONS]
}

/// Stable sorting finds the sorted pieces that a partition is made of, and only merges them.
#[expect(clippy::stable_sort_primitive, reason = "see above")]
fn sort_once(pairs: &mut Vec<Pair>) {
    pairs.sort();
    pairs.dedup();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A scan that panicked has left whole pairs only.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Disk;
    use xxhash_rust::xxh3::xxh3_64;

    fn sort(memory: usize, hashes: u64) -> Vec<(u64, Vec<u32>)> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        let sorter = PostingSorter::new(&disk, "runs", memory);
        (0..40_u32).into_par_iter().for_each(|row_group| {
            let mut buffer = sorter.buffer();
            for number in 0..hashes {
                let number = number * u64::from(row_group % 7 + 1) % hashes;
                let hash = SubjectHash(xxh3_64(&number.to_le_bytes()));
                buffer.push(hash, row_group).unwrap();
                buffer.push(hash, row_group).unwrap();
            }
            buffer.finish().unwrap();
        });
        let spilled = !lock(&sorter.spilling).is_empty();
        assert_eq!(spilled, memory < 1 << 20);
        let mut merged = sorter.finish().unwrap();
        let mut groups = Vec::new();
        let mut row_groups = Vec::new();
        while let Some(hash) = merged.next_group(&mut row_groups).unwrap() {
            groups.push((hash.0, row_groups.clone()));
        }
        let pairs: usize = groups.iter().map(|(_, row_groups)| row_groups.len()).sum();
        assert!(pairs as u64 <= merged.pairs_at_most());
        drop(merged);
        assert_eq!(disk.list("").unwrap(), [], "no temporary file is left");
        groups
    }

    #[test]
    fn spilling_gives_what_sorting_in_memory_gives() {
        let in_memory = sort(256 << 20, 1000);
        assert!(in_memory.is_sorted_by(|left, right| left.0 < right.0));
        assert_eq!(in_memory.len(), 1000);
        assert_eq!(sort(64 << 10, 1000), in_memory);
        assert_eq!(
            sort(1 << 10, 1000),
            in_memory,
            "more runs than are merged at a time"
        );
    }
}
