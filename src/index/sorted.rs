//! The gathered postings, by ascending hashes.
//!
//! Some partitions at a time are grouped in parallel and then given, hash by hash. One that is too large for that is
//! taken in equal parts, each in a pass over all of it.

use rayon::prelude::*;

use super::format::to_usize;
use super::grouping::{Grouping, PAIR_GROUPING_BYTES, Part};
use super::partition::Partition;
use super::spill::Spilled;
use crate::error::{Error, Result};
use crate::subject::SubjectHash;

/// Partitions, or parts of one, that are grouped at a time, at most.
const SLOTS_MAX: usize = 64;
/// Passes over a partition are at most two to the power of this.
const PART_BITS_MAX: u32 = 12;

/// The postings of a [`PostingSorter`](super::build::PostingSorter), each once.
pub struct SortedPostings<'a> {
    /// The part of each partition that stayed in memory.
    pool: Vec<Partition>,
    spilled: Option<Spilled<'a>>,
    directory: String,
    pairs: u64,
    /// Partitions that hold anything, ascending.
    numbers: Vec<usize>,
    part_bits: u32,
    /// Parts that were grouped, of all these partitions.
    grouped: usize,
    slots: Vec<Grouping>,
    /// What is given next: a slot, a group of it, and where its row groups begin.
    slot: usize,
    group: usize,
    start: usize,
}

impl<'a> SortedPostings<'a> {
    /// Takes the in-memory partitions and the spill file (`pairs` pairs in all), and groups them within `memory` bytes.
    pub(super) fn new(
        pool: Vec<Partition>,
        spilled: Option<Spilled<'a>>,
        directory: String,
        pairs: u64,
        memory: usize,
    ) -> Self {
        let words = pool.iter().enumerate().map(|(number, partition)| {
            let spilled = spilled.as_ref().map_or(0, |spilled| spilled.words(number));
            (number, spilled + partition.words() as u64)
        });
        let sizes: Vec<(usize, u64)> = words.filter(|(_, words)| *words > 0).collect();
        let largest = sizes.iter().map(|(_, words)| *words).max().unwrap_or(0);
        let room = (memory / PAIR_GROUPING_BYTES) as u64;
        let threads = rayon::current_num_threads() as u64;
        let mut part_bits = 0;
        while part_bits < PART_BITS_MAX && (largest >> part_bits) * threads > room {
            part_bits += 1;
        }
        let slots = to_usize(room / (largest >> part_bits).max(1)).clamp(1, SLOTS_MAX);
        Self {
            pool,
            spilled,
            directory,
            pairs,
            numbers: sizes.into_iter().map(|(number, _)| number).collect(),
            part_bits,
            grouped: 0,
            slots: std::iter::repeat_with(Grouping::default)
                .take(slots)
                .collect(),
            slot: slots,
            group: 0,
            start: 0,
        }
    }

    /// A bound of the number of pairs: exact, except for repeats.
    pub fn pairs_at_most(&self) -> u64 {
        self.pairs
    }

    /// The next hash; its ascending row groups replace what is in `row_groups`. `None` at the end.
    ///
    /// # Errors
    /// When what was spilled can't be read.
    pub fn next_group(&mut self, row_groups: &mut Vec<u32>) -> Result<Option<SubjectHash>> {
        row_groups.clear();
        loop {
            let Some(slot) = self.slots.get(self.slot) else {
                if !self.fill_slots()? {
                    return Ok(None);
                }
                continue;
            };
            if let Some(group) = slot.groups().get(self.group) {
                let given = slot.row_groups().get(self.start..group.end);
                row_groups.extend_from_slice(given.unwrap_or_default());
                self.group += 1;
                self.start = group.end;
                return Ok(Some(SubjectHash(group.hash)));
            }
            self.slot += 1;
            self.group = 0;
            self.start = 0;
        }
    }

    /// Groups as many parts as there are slots; `false` when there are none left.
    fn fill_slots(&mut self) -> Result<bool> {
        let (numbers, part_bits) = (&self.numbers, self.part_bits);
        let unit_at = |place: usize| {
            let part = Part {
                number: place as u64 & ((1 << part_bits) - 1),
                bits: part_bits,
            };
            numbers
                .get(place >> part_bits)
                .map(|number| (*number, part))
        };
        // What was given is not needed any more.
        let given = self.grouped.saturating_sub(self.slots.len()) >> part_bits;
        for number in numbers.iter().take(self.grouped >> part_bits).skip(given) {
            if let Some(partition) = self.pool.get_mut(*number) {
                *partition = Partition::default();
            }
        }
        let units: Vec<_> = (self.grouped..)
            .map_while(unit_at)
            .take(self.slots.len())
            .collect();
        self.slots.truncate(units.len());
        self.grouped += units.len();
        self.slot = 0;
        // Read one after the other, because a disk serves one reader faster, and because the same one fails each time.
        for ((number, part), slot) in units.iter().zip(&mut self.slots) {
            slot.clear();
            if let Some(spilled) = &self.spilled {
                spilled.read(*number, |words| slot.add(words, *part))?;
            }
        }
        let pool = &self.pool;
        let are_whole = units
            .par_iter()
            .zip(&mut self.slots)
            .map(|((number, part), slot)| {
                let partition = pool.get(*number);
                let is_whole = partition
                    .is_none_or(|partition| partition.pieces().all(|piece| slot.add(piece, *part)));
                slot.group(*part);
                is_whole
            });
        if !are_whole.reduce(|| true, |left, right| left && right) {
            return Err(Error::State {
                path: self.directory.clone(),
                reason:
                    "has 2^32 or more postings whose hashes begin alike: give the index less memory"
                        .to_owned(),
            });
        }
        Ok(!self.slots.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::index::partition::{PARTITIONS, partition_of};

    #[test]
    fn parts_give_what_whole_partitions_give() {
        let groups_in = |memory: usize| {
            let mut pool: Vec<Partition> = std::iter::repeat_with(Partition::default)
                .take(PARTITIONS)
                .collect();
            // Of every third partition a few hashes, of the last one thousands.
            let few = (0..3000_u64).map(|number| xxh3_64(&number.to_le_bytes()));
            let many = (0..5000_u64).map(|number| xxh3_64(&number.to_le_bytes()) | 0x3FF << 54);
            let mut pairs = 0;
            for (hash, row_group) in few.chain(many).zip((0..7).cycle()) {
                let number = partition_of(hash);
                if number.is_multiple_of(3) {
                    pool[number].push(row_group, &[hash], 10);
                    pool[number].push(row_group + 1, &[hash], 10);
                    pairs += 2;
                }
            }
            let mut sorted = SortedPostings::new(pool, None, "runs".to_owned(), pairs, memory);
            let is_in_parts = sorted.part_bits > 0;
            let (mut groups, mut row_groups) = (Vec::new(), Vec::new());
            while let Some(hash) = sorted.next_group(&mut row_groups).unwrap() {
                groups.push((hash, row_groups.clone()));
            }
            let given: usize = groups.iter().map(|(_, row_groups)| row_groups.len()).sum();
            assert_eq!(given as u64, pairs);
            (groups, is_in_parts)
        };
        let (whole, is_in_parts) = groups_in(64 << 20);
        assert!(!is_in_parts && whole.is_sorted_by(|left, right| left.0 < right.0));
        assert_eq!(groups_in(100_000), (whole.clone(), true));
        assert_eq!(groups_in(0), (whole, true));
    }
}
