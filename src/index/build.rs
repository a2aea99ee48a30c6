//! Sorting postings in bounded memory.
//!
//! ```text
//! scan of a shard ─> PostingBuffer (16 Ki pairs, by the hash's top byte)   one per scan
//!                          └─> pool, by the same byte ─(full)─> sorted run on disk
//! finish ─> SortedPostings: runs and the rest of the pool, merged
//! ```
//!
//! Memory: the budget (half for the pool, half for a pool that is being spilled), up to 1 MiB
//! for each scan under way, and the row groups of one hash. At most [`FAN_IN_MAX`] files are read at a time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::format::to_usize;
use super::runs::{Pair, RUN_PAIR_BYTES, Run, RunReader, RunWriter};
use crate::error::Result;
use crate::storage::{Storage, temporary_name};
use crate::subject::SubjectHash;

/// Runs that are merged at a time.
pub const FAN_IN_MAX: usize = 128;

const PARTITIONS: usize = 256;
/// Pairs of one partition in a buffer, at most; with a small budget fewer.
const PART_PAIRS_MAX: usize = 64;
/// Pairs that a buffer remembers, to leave out repeats.
const RECENT_PAIRS: usize = 1024;
const PAIR_BYTES: usize = size_of::<Pair>();

/// Pairs read from a run at a time, at most; with a small budget fewer.
const READ_PAIRS_MAX: usize = 4 << 10;

const _: () = assert!(PAIR_BYTES == 16);
const _: () = assert!(PARTITIONS * PART_PAIRS_MAX * PAIR_BYTES <= 1 << 20);
// As bytes, as pairs, in a block, and while that is sorted.
const _: () = assert!(FAN_IN_MAX * READ_PAIRS_MAX * (RUN_PAIR_BYTES + 3 * PAIR_BYTES) <= 32 << 20);

/// Takes (hash, row group) pairs from many threads, and gives them back sorted and only once.
///
/// One sorter at a time may work on a directory: for a dataset's index, the caller holds its lock.
pub struct PostingSorter<'a> {
    storage: &'a dyn Storage,
    /// Where runs are spilled to.
    directory: String,
    pool_pairs_max: usize,
    /// Pairs of a partition that a buffer gathers before it hands them over.
    part_pairs: usize,
    pool: Vec<Mutex<Vec<Pair>>>,
    /// At least the pairs of the pool.
    pool_pairs: AtomicUsize,
    /// Held while a pool is written out, so that only one is.
    spilling: Mutex<Vec<Run<'a>>>,
    runs_made: AtomicU64,
    /// Of scans that are over, for the next ones.
    idle: Mutex<Vec<Gathered>>,
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
            part_pairs: (pool_pairs_max / 16 / PARTITIONS).clamp(1, PART_PAIRS_MAX),
            pool: std::iter::repeat_with(Mutex::default)
                .take(PARTITIONS)
                .collect(),
            pool_pairs: AtomicUsize::new(0),
            spilling: Mutex::new(Vec::new()),
            runs_made: AtomicU64::new(0),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// A buffer for one scan. Its pairs count only after its [`finish`](PostingBuffer::finish).
    pub fn buffer(&self) -> PostingBuffer<'_, 'a> {
        let idle = lock(&self.idle).pop();
        PostingBuffer {
            sorter: self,
            gathered: idle.unwrap_or_else(Gathered::new),
        }
    }

    /// Sorts what is left and starts the merge.
    ///
    /// # Errors
    /// When a run can't be written or read.
    pub fn finish(self) -> Result<SortedPostings<'a>> {
        let pool = self.pool.into_par_iter().map(into_inner);
        let pool: Vec<Vec<Pair>> = pool
            .map_init(Vec::new, |scratch, mut pairs| {
                sort_once(&mut pairs, scratch);
                pairs
            })
            .collect();
        let mut runs = into_inner(self.spilling);
        let in_memory: usize = pool.iter().map(Vec::len).sum();
        let read_pairs = (self.pool_pairs_max / FAN_IN_MAX).clamp(16, READ_PAIRS_MAX);
        while runs.len() > FAN_IN_MAX {
            let mut merge = SortedPostings::new(Vec::new());
            for run in runs.drain(..FAN_IN_MAX) {
                merge.add(run, read_pairs)?;
            }
            let path = run_path(&self.directory, &self.runs_made);
            let mut writer = RunWriter::create(self.storage, path)?;
            while merge.next_block()? {
                writer.write(&merge.block)?;
            }
            runs.push(writer.finish()?);
        }
        let mut sorted = SortedPostings::new(pool);
        sorted.pairs_at_most = runs.iter().map(|run| run.pairs).sum::<u64>() + in_memory as u64;
        for run in runs {
            sorted.add(run, read_pairs)?;
        }
        Ok(sorted)
    }

    /// Moves the pairs of a partition to the pool, and the pool to a run if it is full.
    fn add(&self, partition: usize, pairs: &mut Vec<Pair>) -> Result<()> {
        // Counted before they are there, so that no pair is taken away that was not counted.
        let pooled = self.pool_pairs.fetch_add(pairs.len(), Ordering::Relaxed) + pairs.len();
        if let Some(target) = self.pool.get(partition) {
            lock(target).extend_from_slice(pairs);
        }
        pairs.clear();
        if pooled < self.pool_pairs_max {
            return Ok(());
        }
        // Nothing below runs on the thread pool: a scan that was stolen here would wait for itself.
        let mut runs = lock(&self.spilling);
        if self.pool_pairs.load(Ordering::Relaxed) < self.pool_pairs_max {
            return Ok(());
        }
        let full = self
            .pool
            .iter()
            .map(|part| std::mem::take(&mut *lock(part)));
        let full: Vec<Vec<Pair>> = full.collect();
        let taken = full.iter().map(Vec::len).sum();
        self.pool_pairs.fetch_sub(taken, Ordering::Relaxed);
        let path = run_path(&self.directory, &self.runs_made);
        let mut writer = RunWriter::create(self.storage, path)?;
        let mut scratch = Vec::new();
        for mut pairs in full {
            sort_once(&mut pairs, &mut scratch);
            writer.write(&pairs)?;
        }
        runs.push(writer.finish()?);
        Ok(())
    }
}

/// The pairs of one scan on their way to the sorter.
pub struct PostingBuffer<'s, 'a> {
    sorter: &'s PostingSorter<'a>,
    gathered: Gathered,
}

/// What a buffer holds.
struct Gathered {
    /// By partition.
    parts: Vec<Vec<Pair>>,
    /// The last pair for each value of the hash's low bits: most repeats are of an id that was seen just before.
    recent: Vec<Pair>,
}

impl Gathered {
    fn new() -> Self {
        Self {
            parts: vec![Vec::new(); PARTITIONS],
            // No pair is of this row group.
            recent: vec![(0, u32::MAX); RECENT_PAIRS],
        }
    }
}

impl PostingBuffer<'_, '_> {
    /// Takes a pair. The same pair may come any number of times.
    ///
    /// # Errors
    /// When a run can't be written.
    #[inline]
    pub fn push(&mut self, hash: SubjectHash, row_group: u32) -> Result<()> {
        let pair = (hash.0, row_group);
        let place = to_usize(hash.0 % RECENT_PAIRS as u64);
        if let Some(recent) = self.gathered.recent.get_mut(place)
            && std::mem::replace(recent, pair) == pair
        {
            return Ok(());
        }
        let partition = partition(pair);
        if let Some(part) = self.gathered.parts.get_mut(partition) {
            part.push(pair);
            if part.len() >= self.sorter.part_pairs {
                return self.sorter.add(partition, part);
            }
        }
        Ok(())
    }

    /// Hands the rest over.
    ///
    /// # Errors
    /// When a run can't be written.
    pub fn finish(mut self) -> Result<()> {
        for (partition, part) in self.gathered.parts.iter_mut().enumerate() {
            if !part.is_empty() {
                self.sorter.add(partition, part)?;
            }
        }
        lock(&self.sorter.idle).push(self.gathered);
        Ok(())
    }
}

/// The merge of sorted runs and what stayed in memory, each pair once.
///
/// It goes by blocks: of each source what it holds up to the least of their last pairs, sorted together.
pub struct SortedPostings<'a> {
    feeds: Vec<Feed<'a>>,
    block: Vec<Pair>,
    /// Pairs of the block that were given.
    given: usize,
    scratch: Vec<Pair>,
    pairs_at_most: u64,
}

impl<'a> SortedPostings<'a> {
    /// Of the sorted partitions of a pool.
    fn new(pool: Vec<Vec<Pair>>) -> Self {
        Self {
            feeds: vec![Feed::new(PairSource::Memory(pool.into_iter()))],
            block: Vec::new(),
            given: 0,
            scratch: Vec::new(),
            pairs_at_most: 0,
        }
    }

    fn add(&mut self, run: Run<'a>, read_pairs: usize) -> Result<()> {
        let reader = RunReader::open(run, read_pairs)?;
        self.feeds.push(Feed::new(PairSource::Run(reader)));
        Ok(())
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
        let mut group = None;
        loop {
            let rest = self.block.get(self.given..).unwrap_or_default();
            if let Some(first) = rest.first() {
                let hash = *group.get_or_insert(first.0);
                let same = rest.iter().take_while(|pair| pair.0 == hash);
                let before = row_groups.len();
                row_groups.extend(same.map(|pair| pair.1));
                self.given += row_groups.len() - before;
            }
            // The group may go on in the next block.
            if self.given < self.block.len() || !self.next_block()? {
                return Ok(group.map(SubjectHash));
            }
        }
    }

    /// Makes the next block, which ascends from the one before; `false` at the end.
    fn next_block(&mut self) -> Result<bool> {
        self.block.clear();
        self.given = 0;
        for feed in &mut self.feeds {
            feed.fill()?;
        }
        self.feeds.retain(|feed| !feed.left().is_empty());
        if let [feed] = self.feeds.as_mut_slice() {
            feed.give_all(&mut self.block);
            return Ok(true);
        }
        let lasts = self.feeds.iter().filter_map(|feed| feed.left().last());
        let Some(bound) = lasts.min().copied() else {
            return Ok(false);
        };
        for feed in &mut self.feeds {
            feed.give(bound, &mut self.block);
        }
        sort_once(&mut self.block, &mut self.scratch);
        Ok(true)
    }
}

/// A source of ascending pairs, with those of it that were read and not given yet.
struct Feed<'a> {
    source: PairSource<'a>,
    pairs: Vec<Pair>,
    given: usize,
}

enum PairSource<'a> {
    Memory(std::vec::IntoIter<Vec<Pair>>),
    Run(RunReader<'a>),
}

impl<'a> Feed<'a> {
    fn new(source: PairSource<'a>) -> Self {
        Self {
            source,
            pairs: Vec::new(),
            given: 0,
        }
    }

    fn left(&self) -> &[Pair] {
        self.pairs.get(self.given..).unwrap_or_default()
    }

    /// Reads on if all was given. Nothing is left then only at the end.
    fn fill(&mut self) -> Result<()> {
        if self.left().is_empty() {
            self.given = 0;
            match &mut self.source {
                PairSource::Memory(parts) => {
                    let part = parts.find(|part| !part.is_empty());
                    self.pairs = part.unwrap_or_default();
                }
                PairSource::Run(reader) => reader.read(&mut self.pairs)?,
            }
        }
        Ok(())
    }

    /// Gives all that is left.
    fn give_all(&mut self, block: &mut Vec<Pair>) {
        if self.given == 0 {
            std::mem::swap(block, &mut self.pairs);
            self.pairs.clear();
        } else {
            block.extend_from_slice(self.left());
            self.given = self.pairs.len();
        }
    }

    /// Gives the pairs up to `bound`.
    fn give(&mut self, bound: Pair, block: &mut Vec<Pair>) {
        let left = self.left();
        let count = left.partition_point(|pair| *pair <= bound);
        block.extend(left.iter().take(count));
        self.given += count;
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

/// Sorts pairs and leaves each once. Hashes are spread evenly, so one pass by their high bits puts each among the
/// few that it belongs to.
#[expect(
    clippy::indexing_slicing,
    reason = "a bucket is at most that of the largest hash, and all their counts together are those of the pairs"
)]
fn sort_once(pairs: &mut Vec<Pair>, scratch: &mut Vec<Pair>) {
    let hashes = || pairs.iter().map(|pair| pair.0);
    let (Some(least), Some(largest)) = (hashes().min(), hashes().max()) else {
        return;
    };
    // Two to four pairs in a bucket.
    // At least one bit, for a shift by all 64 is none.
    let bits = (pairs.len() / 2).checked_ilog2().unwrap_or(0).max(1);
    let span = u64::BITS - (largest - least).leading_zeros();
    let shift = span.saturating_sub(bits);
    let bucket = |pair: &Pair| to_usize((pair.0 - least) >> shift);
    let mut ends = vec![0_usize; bucket(&(largest, 0)) + 1];
    for pair in pairs.iter() {
        ends[bucket(pair)] += 1;
    }
    let mut end = 0;
    for count in &mut ends {
        end += std::mem::replace(count, end);
    }
    scratch.clear();
    scratch.resize(pairs.len(), (0, 0));
    for pair in pairs.iter() {
        let place = &mut ends[bucket(pair)];
        scratch[*place] = *pair;
        *place += 1;
    }
    let mut start = 0;
    for end in ends {
        sort_few(&mut scratch[start..end]);
        start = end;
    }
    scratch.dedup();
    std::mem::swap(pairs, scratch);
}

/// By insertion, unless ids that have many row groups make a bucket large.
#[expect(
    clippy::indexing_slicing,
    reason = "places are below the length, and above 0 where one is subtracted"
)]
fn sort_few(pairs: &mut [Pair]) {
    const FEW: usize = 48;
    if pairs.len() > FEW {
        pairs.sort_unstable();
        return;
    }
    for at in 1..pairs.len() {
        let pair = pairs[at];
        let mut place = at;
        while place > 0 && pairs[place - 1] > pair {
            pairs[place] = pairs[place - 1];
            place -= 1;
        }
        pairs[place] = pair;
    }
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
    fn sorting_by_buckets_gives_what_a_comparison_sort_gives() {
        let mut scratch = vec![(7, 7)];
        for len in [0, 1, 2, 3, 4, 5, 100, 5000_u64] {
            // Spread evenly, all alike, the least and the largest there are, and all but one close together.
            let spreads: [fn(u64) -> u64; 4] = [
                |at| xxh3_64(&at.to_le_bytes()),
                |_| u64::MAX,
                |at| if at % 2 == 0 { u64::MAX } else { 0 },
                |at| if at == 1 { u64::MAX } else { at % 9 },
            ];
            for spread in spreads {
                let row_group = |at| u32::try_from(at % 71).unwrap();
                let mut pairs: Vec<Pair> = (0..len).map(|at| (spread(at), row_group(at))).collect();
                let mut expected = pairs.clone();
                expected.sort_unstable();
                expected.dedup();
                sort_once(&mut pairs, &mut scratch);
                assert_eq!(pairs, expected, "{len}");
            }
        }
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
