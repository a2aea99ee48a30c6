//! The bytes of a segment: sorted hashes with their postings, in blocks that carry checksums.
//!
//! All numbers are little-endian. A segment is a whole number of blocks of [`BLOCK_BYTES`]:
//!
//! ```text
//!           +----------------------------------------------------------+
//! entries   | block: 255 x { hash u64, slot u64 } .. zeros .. check u64 |  ascending hashes
//!           +----------------------------------------------------------+
//! directory | block: 1022 x u32 ............................. check u64 |  2^bits + 1 numbers
//!           +----------------------------------------------------------+
//! heap      | record: len u32, check u32, len bytes of roaring bitmap   |  records touch; zeros
//!           | record: ...                                               |  fill the last block
//!           +----------------------------------------------------------+
//! tail      | 0 magic [u8; 8]     8 version u32         12 number u32   |  one block
//!           | 16 seed u64        24 hashes u64          32 postings u64 |
//!           | 40 heap bytes u64  48 directory bits u32                  |
//!           | 52 row-group end u32   56 content u64     .. zeros ..     |
//!           | 4088 check u64                                            |
//!           +----------------------------------------------------------+
//! ```
//!
//! The **tail** stands last so that a segment is written in one pass. Its content is the sum, modulo 2^64, of the
//! checks of all blocks and records, so that its own check tells the segment from every other one. The **directory** gives, for
//! each value of the top `bits` bits of a hash, the number of the first entry that has at least
//! these bits, so a probe searches some 32 to 64 entries. A **slot** is a posting (see [`Slot`]):
//!
//! ```text
//!  63 62 61            31 30             0
//! | 0  0 | mask of 31    | base           |  base, and base + 1 + i for each bit i of the mask
//! | 0  1 | second        | first          |  two row groups
//! | 1  0 | offset of the record in the heap|  a bitmap in the portable roaring format
//! ```
//!
//! # Invariants
//! * Hashes ascend strictly; no posting is empty; row groups are below the tail's row-group end.
//! * Every byte counts: those of blocks under the block's check, those of records under the
//!   record's, and what fills the heap's last block is zero.
//! * A check is seeded with the dataset's seed, the segment's number and the place of the bytes, so
//!   a block that strayed in from another file or another place is as wrong as a flipped bit.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a block: the unit that is checked, and what a cold read costs.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of a block before its check.
pub const PAYLOAD_BYTES: usize = BLOCK_BYTES - 8;
/// Bytes of a hash and its slot.
pub const ENTRY_BYTES: usize = 16;
/// Entries of a block.
pub const ENTRIES_PER_BLOCK: usize = PAYLOAD_BYTES / ENTRY_BYTES;
/// Directory numbers of a block.
pub const DIRECTORY_PER_BLOCK: usize = PAYLOAD_BYTES / 4;
/// Bytes of a heap record before its bitmap.
pub const RECORD_HEAD_BYTES: usize = 8;
/// Bits of the largest directory: 16 MiB.
pub const DIRECTORY_BITS_MAX: u32 = 22;
/// Hashes that a segment may hold: the directory counts them in a `u32`.
pub const HASHES_MAX: u64 = u32::MAX as u64;
/// Row groups that a dataset may have: two of their numbers fit into a slot.
pub const ROW_GROUPS_MAX: u32 = 1 << 31;

/// The version that this code writes, and the only one that it reads.
pub const VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"EFFACEIX";

const ENTRIES_PER_BUCKET_LOG2: u32 = 5;
const NUMBER_MASK: u64 = ROW_GROUPS_MAX as u64 - 1;
const NUMBER_BITS: u32 = 31;
const TAG_SHIFT: u32 = 62;
const OFFSET_MASK: u64 = (1 << TAG_SHIFT) - 1;

const _: () = assert!(ENTRIES_PER_BLOCK == 255 && DIRECTORY_PER_BLOCK == 1022);
const _: () = assert!(ROW_GROUPS_MAX.trailing_zeros() == NUMBER_BITS);
const _: () = assert!(2 * NUMBER_BITS == TAG_SHIFT);
const _: () = assert!(4 << DIRECTORY_BITS_MAX == 16 << 20);

/// The directory's bits for so many hashes.
pub fn directory_bits(hashes: u64) -> u32 {
    let log2 = hashes.max(1).ilog2();
    log2.saturating_sub(ENTRIES_PER_BUCKET_LOG2)
        .min(DIRECTORY_BITS_MAX)
}

/// The bucket of a hash in a directory of `bits` bits.
pub fn bucket(hash: u64, bits: u32) -> u64 {
    hash.checked_shr(u64::BITS - bits).unwrap_or(0)
}

/// What seeds the checks of one segment.
#[derive(Debug, Clone, Copy)]
pub struct Check(u64);

impl Check {
    /// For the segment of this number in the dataset of this seed.
    pub fn new(seed: u64, number: u32) -> Self {
        Self(seed.wrapping_add(u64::from(number) << 32))
    }

    /// The check of a block's payload; blocks are counted from the start of the file.
    pub fn block(self, payload: &[u8], block: u64) -> u64 {
        xxh3_64_with_seed(payload, self.0 ^ block)
    }

    /// The check of a record's bitmap, at this offset of the heap.
    pub fn record(self, bitmap: &[u8], offset: u64) -> u32 {
        let hash = xxh3_64_with_seed(bitmap, !self.0 ^ offset);
        u32::try_from(hash >> 32).unwrap_or(u32::MAX)
    }
}

/// The row groups of one hash, as they stand in an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// `base`, and `base + 1 + i` for each bit `i` of `mask`.
    Window {
        /// The first row group.
        base: u32,
        /// The others, 31 bits.
        mask: u32,
    },
    /// Two row groups, the smaller one first.
    Pair(u32, u32),
    /// The offset of a record in the heap.
    Heap(u64),
}

impl Slot {
    /// Ascending row groups that need no record; `None` when they need one.
    pub fn inline(row_groups: &[u32]) -> Option<Self> {
        let (&base, others) = row_groups.split_first()?;
        let mut mask = 0_u32;
        for number in others {
            let bit = number.checked_sub(base)?.checked_sub(1)?;
            if bit >= NUMBER_BITS {
                return match others {
                    [second] => Some(Self::Pair(base, *second)),
                    _ => None,
                };
            }
            mask |= 1 << bit;
        }
        Some(Self::Window { base, mask })
    }

    /// The eight bytes of an entry.
    pub fn to_bits(self) -> u64 {
        match self {
            Self::Window { base, mask } => u64::from(mask) << NUMBER_BITS | u64::from(base),
            Self::Pair(first, second) => {
                1 << TAG_SHIFT | u64::from(second) << NUMBER_BITS | u64::from(first)
            }
            Self::Heap(offset) => 2 << TAG_SHIFT | offset & OFFSET_MASK,
        }
    }

    /// What [`to_bits`](Self::to_bits) made; `None` for bits that it never makes.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let low = u32::try_from(bits & NUMBER_MASK).ok()?;
        let high = u32::try_from(bits >> NUMBER_BITS & NUMBER_MASK).ok()?;
        match bits >> TAG_SHIFT {
            0 => Some(Self::Window {
                base: low,
                mask: high,
            }),
            1 if low < high => Some(Self::Pair(low, high)),
            2 => Some(Self::Heap(bits & OFFSET_MASK)),
            _ => None,
        }
    }
}

/// The last block: what a segment is and how long its sections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The segment's number in its dataset.
    pub number: u32,
    /// The dataset's seed.
    pub seed: u64,
    /// Entries.
    pub hashes: u64,
    /// Pairs of a hash and a row group.
    pub postings: u64,
    /// Bytes of the heap's records.
    pub heap_bytes: u64,
    /// The directory's bits.
    pub directory_bits: u32,
    /// One more than the largest row group.
    pub row_group_end: u32,
    /// The sum of the checks of all blocks and records.
    pub content: u64,
}

impl Tail {
    /// Blocks of the entries, the directory and the heap.
    pub fn sections(&self) -> [u64; 3] {
        [
            self.hashes.div_ceil(ENTRIES_PER_BLOCK as u64),
            ((1_u64 << self.directory_bits) + 1).div_ceil(DIRECTORY_PER_BLOCK as u64),
            self.heap_bytes.div_ceil(BLOCK_BYTES as u64),
        ]
    }

    /// Bytes of the whole segment.
    pub fn file_bytes(&self) -> u64 {
        let [entries, directory, heap] = self.sections();
        let blocks = entries.saturating_add(directory).saturating_add(heap);
        blocks.saturating_add(1).saturating_mul(BLOCK_BYTES as u64)
    }

    /// The block, and its check.
    pub fn to_block(self) -> (Vec<u8>, u64) {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&self.number.to_le_bytes());
        block.extend_from_slice(&self.seed.to_le_bytes());
        block.extend_from_slice(&self.hashes.to_le_bytes());
        block.extend_from_slice(&self.postings.to_le_bytes());
        block.extend_from_slice(&self.heap_bytes.to_le_bytes());
        block.extend_from_slice(&self.directory_bits.to_le_bytes());
        block.extend_from_slice(&self.row_group_end.to_le_bytes());
        block.extend_from_slice(&self.content.to_le_bytes());
        block.resize(PAYLOAD_BYTES, 0);
        let check = tail_check(&block);
        block.extend_from_slice(&check.to_le_bytes());
        (block, check)
    }

    /// Reads the last block, with its check.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(block: &[u8]) -> Result<(Self, u64), String> {
        let (payload, check) = split_check(block).ok_or("the tail is cut short")?;
        if !payload.starts_with(&MAGIC) {
            return Err("is no index segment: the magic is missing from its tail".to_owned());
        }
        let tail = read_tail(payload).ok_or("the tail is cut short")?;
        let (version, tail) = tail;
        if version != VERSION {
            return Err(format!(
                "has format version {version}, and this efface reads version {VERSION}"
            ));
        }
        let found = tail_check(payload);
        if found != check {
            return Err(format!(
                "the tail says that its check is {check:016x}, but its bytes have {found:016x}"
            ));
        }
        if tail.hashes > HASHES_MAX
            || tail.postings < tail.hashes
            || tail.directory_bits > DIRECTORY_BITS_MAX
            || tail.row_group_end > ROW_GROUPS_MAX
        {
            return Err("the tail holds a number that is out of its bounds".to_owned());
        }
        Ok((tail, check))
    }
}

/// The tail is checked before it is known whose it is, hence without a seed.
fn tail_check(payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, 0)
}

fn read_tail(payload: &[u8]) -> Option<(u32, Tail)> {
    let tail = Tail {
        number: u32_at(payload, 12)?,
        seed: u64_at(payload, 16)?,
        hashes: u64_at(payload, 24)?,
        postings: u64_at(payload, 32)?,
        heap_bytes: u64_at(payload, 40)?,
        directory_bits: u32_at(payload, 48)?,
        row_group_end: u32_at(payload, 52)?,
        content: u64_at(payload, 56)?,
    };
    Some((u32_at(payload, 8)?, tail))
}

/// A block's payload and the check that stands after it; `None` when it is not a whole block.
pub fn split_check(block: &[u8]) -> Option<(&[u8], u64)> {
    let (payload, check) = block.split_at_checked(PAYLOAD_BYTES)?;
    Some((payload, u64::from_le_bytes(check.try_into().ok()?)))
}

/// The number at an offset, if it is inside.
pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The number at an offset, if it is inside.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A length as a `usize`; one that does not fit is larger than anything in memory.
pub fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(slot: Slot) -> Vec<u32> {
        match slot {
            Slot::Window { base, mask } => std::iter::once(base)
                .chain(
                    (0..31)
                        .filter(|bit| mask >> bit & 1 == 1)
                        .map(|bit| base + 1 + bit),
                )
                .collect(),
            Slot::Pair(first, second) => vec![first, second],
            Slot::Heap(_) => unreachable!(),
        }
    }

    #[test]
    fn a_slot_holds_a_window_or_any_two_row_groups() {
        let last = ROW_GROUPS_MAX - 1;
        for row_groups in [
            vec![0],
            vec![last],
            vec![0, last],
            vec![7, 38],
            vec![7, 39],
            (100..132).collect::<Vec<u32>>(),
        ] {
            let slot = Slot::inline(&row_groups).unwrap();
            assert_eq!(Slot::from_bits(slot.to_bits()), Some(slot));
            assert_eq!(expand(slot), row_groups);
        }
        assert_eq!(Slot::inline(&(100..133).collect::<Vec<u32>>()), None);
        assert_eq!(Slot::inline(&[1, 2, 40]), None);
        assert_eq!(Slot::inline(&[]), None);
        assert_eq!(
            Slot::from_bits(Slot::Heap(77).to_bits()),
            Some(Slot::Heap(77))
        );
        assert_eq!(Slot::from_bits(3 << 62), None);
        assert_eq!(Slot::from_bits(1 << 62), None, "a pair of equal numbers");
    }

    #[test]
    fn a_tail_comes_back_and_no_byte_of_it_can_change() {
        let tail = Tail {
            number: 3,
            seed: 0x1234_5678_9abc_def0,
            hashes: 1000,
            postings: 5000,
            heap_bytes: 77,
            directory_bits: 4,
            row_group_end: 160,
            content: u64::MAX - 5,
        };
        let (block, check) = tail.to_block();
        assert_eq!(Tail::parse(&block), Ok((tail, check)));
        for position in 0..BLOCK_BYTES {
            let mut block = block.clone();
            block[position] ^= 0x10;
            assert!(Tail::parse(&block).is_err(), "byte {position}");
        }
        assert!(Tail::parse(&block[1..]).is_err());
    }

    #[test]
    fn the_directory_grows_with_the_hashes() {
        assert_eq!(directory_bits(0), 0);
        assert_eq!(directory_bits(63), 0);
        assert_eq!(directory_bits(64), 1);
        assert_eq!(directory_bits(u64::MAX), DIRECTORY_BITS_MAX);
        assert_eq!(bucket(u64::MAX, 0), 0);
        assert_eq!(bucket(u64::MAX, 4), 15);
    }
}
