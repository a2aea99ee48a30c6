//! Grouping the pairs of a partition by their hashes.
//!
//! Stretches are put into the order of their row groups. Then each hash is counted in a table, the hashes that there
//! are get sorted, and each row group goes to the next place of its hash: no pair is compared with another one.
//!
//! ```text
//!   stretches: row group 0 | b a     1 | a c     table: b 1, a 2, c 1     groups: a 0 1 | b 0 | c 1
//! ```
//!
//! Memory: at most [`PAIR_GROUPING_BYTES`] for each pair of a part.

use super::format::to_usize;
use super::partition::{PARTITION_BITS, next_stretch};

/// Its hash, its number, its row group; and where it is the only one of its hash, twice what is known of a hash,
/// what is sorted of it, and four places of the table.
pub(super) const PAIR_GROUPING_BYTES: usize = 8 + 4 + 4 + 2 * size_of::<Known>() + 16 + 16;

/// Marks a pair that was there before.
const REPEATED: u32 = u32::MAX;

/// One of 2^`bits` equal parts of a partition's hashes.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) bits: u32,
}

impl Part {
    fn holds(self, hash: u64) -> bool {
        let bits = (hash << PARTITION_BITS).checked_shr(u64::BITS - self.bits);
        bits.unwrap_or(0) == self.number
    }
}

struct Stretch {
    row_group: u32,
    start: usize,
    end: usize,
}

/// What is known of a hash.
struct Known {
    hash: u64,
    /// The last row group that was counted.
    row_group: u32,
    /// First its pairs, then the place of the next one.
    place: u32,
}

/// A hash, and the end of its row groups: they begin where those of the hash before it end.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) hash: u64,
    pub(super) end: usize,
}

/// Groups one part after the other, each in the memory of the one before.
#[derive(Default)]
pub(super) struct Grouping {
    hashes: Vec<u64>,
    stretches: Vec<Stretch>,
    table: Table,
    /// For each pair, in the order of the stretches, the place of its hash in the table's list.
    numbers: Vec<u32>,
    sorted: Vec<(u64, u32)>,
    groups: Vec<Group>,
    row_groups: Vec<u32>,
}

impl Grouping {
    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.stretches.clear();
        self.groups.clear();
        self.row_groups.clear();
    }

    /// Takes of these words what is in the part; `false` when they are no stretches, or too many.
    pub(super) fn add(&mut self, mut words: &[u64], part: Part) -> bool {
        while let Some((row_group, hashes)) = next_stretch(&mut words) {
            let start = self.hashes.len();
            if part.bits == 0 {
                self.hashes.extend_from_slice(hashes);
            } else {
                let hashes = hashes.iter().copied();
                self.hashes.extend(hashes.filter(|hash| part.holds(*hash)));
            }
            let end = self.hashes.len();
            self.stretches.push(Stretch {
                row_group,
                start,
                end,
            });
        }
        words.is_empty() && self.hashes.len() < to_usize(REPEATED.into())
    }

    /// Makes the groups.
    pub(super) fn group(&mut self, part: Part) {
        if self.hashes.is_empty() {
            return;
        }
        // Mostly ascending already, which this sort makes use of.
        self.stretches.sort_by_key(|stretch| stretch.row_group);
        self.count(PARTITION_BITS + part.bits);
        let known = self.table.known.iter().zip(0..);
        self.sorted.clear();
        self.sorted
            .extend(known.map(|(known, number)| (known.hash, number)));
        self.sorted.sort_unstable();
        self.place();
    }

    /// Counts the pairs of each hash. Hashes are spread evenly behind their first `same_bits` bits.
    fn count(&mut self, same_bits: u32) {
        self.table.clear(same_bits);
        self.numbers.clear();
        self.numbers.reserve(self.hashes.len());
        for stretch in &self.stretches {
            let hashes = self.hashes.get(stretch.start..stretch.end);
            for hash in hashes.unwrap_or_default() {
                let number = self.table.count(*hash, stretch.row_group);
                self.numbers.push(number);
            }
        }
    }

    /// Puts each row group to those of its hash.
    #[expect(
        clippy::indexing_slicing,
        reason = "numbers are places in the list of the table, and what it counted adds up to the row groups"
    )]
    fn place(&mut self) {
        let mut end = 0_u32;
        for (hash, number) in &self.sorted {
            let place = &mut self.table.known[*number as usize].place;
            end += std::mem::replace(place, end);
            self.groups.push(Group {
                hash: *hash,
                end: end as usize,
            });
        }
        self.row_groups.resize(end as usize, 0);
        let mut numbers = self.numbers.as_slice();
        for stretch in &self.stretches {
            let (of_stretch, rest) = numbers.split_at(stretch.end - stretch.start);
            numbers = rest;
            for number in of_stretch {
                if *number != REPEATED {
                    let place = &mut self.table.known[*number as usize].place;
                    self.row_groups[*place as usize] = stretch.row_group;
                    *place += 1;
                }
            }
        }
    }

    /// The hashes of the part, ascending.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Row groups of all hashes, ascending within each.
    pub(super) fn row_groups(&self) -> &[u32] {
        &self.row_groups
    }
}

/// Hashes and their counts, with open addressing.
#[derive(Default)]
struct Table {
    /// One more than the place in `known`; 0 where nothing is.
    places: Vec<u32>,
    known: Vec<Known>,
    same_bits: u32,
}

impl Table {
    const PLACES_MIN: usize = 16;

    /// Forgets all hashes. Those that come have their first `same_bits` bits in common.
    fn clear(&mut self, same_bits: u32) {
        let places = self.places.len().max(Self::PLACES_MIN);
        self.places.clear();
        self.places.resize(places, 0);
        self.known.clear();
        self.same_bits = same_bits;
    }

    /// Where the search for a hash begins.
    fn home(&self, hash: u64) -> usize {
        to_usize((hash << self.same_bits) >> (u64::BITS - self.places.len().ilog2()))
    }

    /// Counts a pair, of a row group that is not below those before; the number of its hash, or [`REPEATED`].
    #[expect(
        clippy::indexing_slicing,
        reason = "there is a power of two of places, at most half of them are taken, and what they hold is known"
    )]
    fn count(&mut self, hash: u64, row_group: u32) -> u32 {
        let mask = self.places.len() - 1;
        let mut at = self.home(hash);
        loop {
            let place = self.places[at];
            if place == 0 {
                return self.insert(at, hash, row_group);
            }
            let known = &mut self.known[place as usize - 1];
            if known.hash == hash {
                if known.row_group == row_group {
                    return REPEATED;
                }
                known.row_group = row_group;
                known.place += 1;
                return place - 1;
            }
            at = (at + 1) & mask;
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "as in `count`; a table that has just grown has free places"
    )]
    fn insert(&mut self, at: usize, hash: u64, row_group: u32) -> u32 {
        self.known.push(Known {
            hash,
            row_group,
            place: 1,
        });
        // Fewer than `REPEATED`, as the hashes of a part are.
        let place = u32::try_from(self.known.len()).unwrap_or(REPEATED);
        self.places[at] = place;
        if self.known.len() * 2 > self.places.len() {
            let places = self.places.len() * 2;
            self.places.clear();
            self.places.resize(places, 0);
            for (known, place) in self.known.iter().zip(1..) {
                let mut at = self.home(known.hash);
                while self.places[at] != 0 {
                    at = (at + 1) & (places - 1);
                }
                self.places[at] = place;
            }
        }
        place - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::index::partition::Partition;

    fn groups_of(grouping: &Grouping) -> Vec<(u64, Vec<u32>)> {
        let mut start = 0;
        let groups = grouping.groups().iter().map(|group| {
            let row_groups = &grouping.row_groups()[start..group.end];
            start = group.end;
            (group.hash, row_groups.to_vec())
        });
        groups.collect()
    }

    proptest! {
        #[test]
        fn groups_are_those_of_a_map(
            stretches in prop::collection::vec((0_u32..9, prop::collection::vec(0_u64..1 << 10, 0..80)), 0..12),
            spread in any::<bool>(),
            bits in 0_u32..3,
        ) {
            // Spread over the bits behind the partition's, or nearly all alike in them.
            let shift = if spread { 44 } else { 0 };
            let mut partition = Partition::default();
            let mut expected: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
            for (row_group, hashes) in &stretches {
                let hashes: Vec<u64> = hashes.iter().map(|hash| hash << shift).collect();
                partition.push(*row_group, &hashes, 100);
                for hash in hashes {
                    expected.entry(hash).or_default().insert(*row_group);
                }
            }
            let mut grouping = Grouping::default();
            let mut found = Vec::new();
            for number in 0..1 << bits {
                let part = Part { number, bits };
                grouping.clear();
                for piece in partition.pieces() {
                    prop_assert!(grouping.add(piece, part));
                }
                grouping.group(part);
                found.extend(groups_of(&grouping));
            }
            let expected = expected.into_iter();
            let expected: Vec<(u64, Vec<u32>)> =
                expected.map(|(hash, row_groups)| (hash, row_groups.into_iter().collect())).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn words_that_are_cut_short_are_no_stretches() {
        let mut partition = Partition::default();
        partition.push(1, &[10, 20], 8);
        let words: Vec<u64> = partition.pieces().flatten().copied().collect();
        let part = Part { number: 0, bits: 0 };
        assert!(Grouping::default().add(&words, part));
        assert!(!Grouping::default().add(&words[..2], part));
    }
}
