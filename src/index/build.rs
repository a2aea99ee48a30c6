//! Gathering postings in bounded memory.
//!
//! ```text
//! scan of a shard ─> PostingBuffer: 32 Ki hashes of a row group, by their first 10 bits   one per scan
//!                          └─> its pool, by the same bits ─(all are too large)─> appended to a file, as it is
//! finish ─> SortedPostings: of each 10 bits what was spilled and what the pools hold, grouped
//! ```
//!
//! Nothing is compared, sorted or merged on the way: what belongs together meets again when its partition is
//! grouped (`index/grouping.rs`), on all cores, in memory that the processor's caches hold. And nothing
//! that one scan writes is in the cache of another one's core, except a count at every few hundred hashes.
//!
//! Memory: the budget (three quarters for the pools, one for grouping), 256 KiB for each scan under way, and the row
//! groups of one hash.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::format::to_usize;
use super::partition::{PARTITIONS, Partition, WORD_BYTES, partition_of};
use super::sorted::SortedPostings;
use super::spill::SpillWriter;
use crate::error::Result;
use crate::state::State;
use crate::subject::SubjectHash;

/// Hashes of one partition in a buffer, at most; with a small budget fewer.
const PART_HASHES_MAX: usize = 32;
/// Hashes that a buffer remembers, to leave out repeats.
const RECENT_HASHES: usize = 1024;
/// Words that a pool reserves at a time, at most; with a small budget fewer.
const PIECE_WORDS_MAX: usize = 512;
/// Memory for grouping, at least.
const GROUPING_BYTES_MIN: usize = 512 << 10;

const _: () = assert!(PARTITIONS * PART_HASHES_MAX * WORD_BYTES == 256 << 10);
const _: () = assert!(PART_HASHES_MAX <= u8::MAX as usize);

/// Takes (hash, row group) pairs from many threads, and gives them back sorted and only once.
///
/// One sorter at a time may work on a directory: for a dataset's index, the caller holds its lock.
pub struct PostingSorter<'a> {
    state: &'a dyn State,
    /// Where pools are spilled to.
    directory: String,
    memory: usize,
    /// Words that the pools have reserved together.
    pooled_words: AtomicUsize,
    pooled_words_max: usize,
    spill: Mutex<Option<SpillWriter<'a>>>,
    /// Buffers of finished scans, for the next ones.
    idle: Mutex<Vec<Gathered>>,
}

impl<'a> PostingSorter<'a> {
    /// A sorter that keeps some `memory` bytes in memory and the rest in a temporary file of `directory`.
    pub fn new(state: &'a dyn State, directory: &str, memory: usize) -> Self {
        Self {
            state,
            directory: directory.to_owned(),
            memory,
            pooled_words: AtomicUsize::new(0),
            pooled_words_max: (memory / WORD_BYTES / 4 * 3).max(1),
            spill: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// A buffer for one scan. All its pairs count after its [`finish`](PostingBuffer::finish), some also without it.
    pub fn buffer(&self) -> PostingBuffer<'_, 'a> {
        let idle = lock(&self.idle).pop();
        PostingBuffer {
            sorter: self,
            gathered: idle.unwrap_or_else(|| Gathered::new(self.pooled_words_max)),
        }
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// When what was spilled can't be read.
    pub fn finish(self) -> Result<SortedPostings<'a>> {
        let spilled = into_inner(self.spill)
            .map(SpillWriter::finish)
            .transpose()?;
        let mut pool = new_pool();
        let mut pairs = 0;
        for gathered in into_inner(self.idle) {
            pairs += gathered.pairs;
            for (target, partition) in pool.iter_mut().zip(gathered.pool) {
                target.append(partition);
            }
        }
        let memory = (self.memory / 4).max(GROUPING_BYTES_MIN);
        Ok(SortedPostings::new(
            pool,
            spilled,
            self.directory,
            pairs,
            memory,
        ))
    }

    /// Counts what a pool has reserved, and spills all that no other scan is using if that is too much.
    fn reserved(&self, words: usize, pool: &mut [Partition]) -> Result<()> {
        let pooled = self.pooled_words.fetch_add(words, Ordering::Relaxed) + words;
        if pooled < self.pooled_words_max {
            return Ok(());
        }
        // Nothing below runs on the thread pool: a scan that was stolen here would wait for itself.
        let mut spill = lock(&self.spill);
        let writer = match &mut *spill {
            Some(writer) => writer,
            none => none.insert(SpillWriter::create(
                self.state,
                &format!("{}/spilled", self.directory),
            )?),
        };
        let mut idle = lock(&self.idle);
        let idle = idle.iter_mut().map(|gathered| gathered.pool.as_mut_slice());
        for pool in idle.chain([pool]) {
            for (number, partition) in pool.iter_mut().enumerate() {
                let full = std::mem::take(partition);
                self.pooled_words
                    .fetch_sub(full.reserved(), Ordering::Relaxed);
                writer.write(number, &full)?;
            }
        }
        Ok(())
    }
}

/// The pairs of one scan on their way to the sorter.
pub struct PostingBuffer<'s, 'a> {
    sorter: &'s PostingSorter<'a>,
    gathered: Gathered,
}

/// What a buffer holds.
#[derive(Default)]
struct Gathered {
    /// The row group of the hashes that are not in the pool yet.
    row_group: u32,
    part_hashes: usize,
    piece_words: usize,
    /// So many for each partition.
    hashes: Vec<u64>,
    /// How many of them there are.
    counts: Vec<u8>,
    /// The last hash for each value of the low bits: most repeats are of an id that was seen shortly before.
    recent: Vec<u64>,
    pool: Vec<Partition>,
    /// Pairs that were handed over.
    pairs: u64,
}

fn new_pool() -> Vec<Partition> {
    std::iter::repeat_with(Partition::default)
        .take(PARTITIONS)
        .collect()
}

impl Gathered {
    fn new(pooled_words_max: usize) -> Self {
        let part_hashes = (pooled_words_max / 16 / PARTITIONS).clamp(1, PART_HASHES_MAX);
        let mut new = Self {
            row_group: 0,
            part_hashes,
            piece_words: (pooled_words_max / PARTITIONS / 16).min(PIECE_WORDS_MAX),
            hashes: vec![0; PARTITIONS * part_hashes],
            counts: vec![0; PARTITIONS],
            recent: vec![0; RECENT_HASHES],
            pool: new_pool(),
            pairs: 0,
        };
        new.forget_recent();
        new
    }

    fn forget_recent(&mut self) {
        self.recent.fill(0);
        // All others are not where 0 would be.
        if let Some(first) = self.recent.first_mut() {
            *first = 1;
        }
    }
}

impl PostingBuffer<'_, '_> {
    /// Takes a pair. The same pair may come any number of times; pairs of one row group should come together.
    ///
    /// # Errors
    /// When a pool can't be spilled.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "there are as many recent hashes and counts as their indices have values, and no count reaches the part"
    )]
    pub fn push(&mut self, hash: SubjectHash, row_group: u32) -> Result<()> {
        if row_group != self.gathered.row_group {
            self.hand_over()?;
            self.gathered.row_group = row_group;
        }
        let gathered = &mut self.gathered;
        let recent = &mut gathered.recent[to_usize(hash.0 % RECENT_HASHES as u64)];
        if std::mem::replace(recent, hash.0) == hash.0 {
            return Ok(());
        }
        let partition = partition_of(hash.0);
        let count = &mut gathered.counts[partition];
        gathered.hashes[partition * gathered.part_hashes + usize::from(*count)] = hash.0;
        *count += 1;
        if usize::from(*count) == gathered.part_hashes {
            return self.hand_over_part(partition);
        }
        Ok(())
    }

    /// Hands the rest over.
    ///
    /// # Errors
    /// When a pool can't be spilled.
    pub fn finish(mut self) -> Result<()> {
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<()> {
        for partition in 0..PARTITIONS {
            self.hand_over_part(partition)?;
        }
        self.gathered.forget_recent();
        Ok(())
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "there is a count, a part and a pool for every partition"
    )]
    fn hand_over_part(&mut self, partition: usize) -> Result<()> {
        let gathered = &mut self.gathered;
        let count = usize::from(std::mem::take(&mut gathered.counts[partition]));
        if count == 0 {
            return Ok(());
        }
        gathered.pairs += count as u64;
        let start = partition * gathered.part_hashes;
        let hashes = &gathered.hashes[start..start + count];
        let pool = &mut gathered.pool[partition];
        let reserved = pool.push(gathered.row_group, hashes, gathered.piece_words);
        if reserved == 0 {
            return Ok(());
        }
        self.sorter.reserved(reserved, &mut gathered.pool)
    }
}

impl Drop for PostingBuffer<'_, '_> {
    /// Earlier scans may have used the same pool, so it is kept also when this scan has failed.
    fn drop(&mut self) {
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.counts.fill(0);
        gathered.forget_recent();
        lock(&self.sorter.idle).push(gathered);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A scan that panicked has left whole stretches only.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;
    use crate::file_system::disk::Disk;
    use crate::state::files::StateFiles;
    use xxhash_rust::xxh3::xxh3_64;

    fn sort(memory: usize, hashes: u64) -> Vec<(u64, Vec<u32>)> {
        let dir = tempfile::tempdir().unwrap();
        let disk = StateFiles::new(Disk::new(dir.path()));
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
        let spilled = lock(&sorter.spill).is_some();
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
            "spilled often, and grouped in parts"
        );
    }
}
