//! Pairs of a hash and a row group whose hashes begin with the same bits, as they were scanned.
//!
//! They are words: in each stretch the hashes of one row group.
//!
//! ```text
//! | row group u32, count u32 | hash u64 | hash u64 | ..  | row group, count | hash | ..
//! ```
//! A pair takes little more than its hash.

use super::format::to_usize;

/// The leading bits of a hash that tell its partition.
pub(super) const PARTITION_BITS: u32 = 10;
/// Partitions that there are.
pub(super) const PARTITIONS: usize = 1 << PARTITION_BITS;
pub(super) const WORD_BYTES: usize = 8;

/// The partition of a hash.
pub(super) fn partition_of(hash: u64) -> usize {
    to_usize(hash >> (u64::BITS - PARTITION_BITS))
}

/// Pieces of whole stretches, so that growing copies nothing and reserves little.
#[derive(Default)]
pub(super) struct Partition {
    pieces: Vec<Vec<u64>>,
}

impl Partition {
    /// Appends a stretch, at most `u32::MAX` hashes; returns the words that had to be reserved for it.
    pub(super) fn push(&mut self, row_group: u32, hashes: &[u64], piece_words: usize) -> usize {
        let count = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        let head = u64::from(row_group) << 32 | u64::from(count);
        let words = 1 + hashes.len();
        if let Some(piece) = self.pieces.last_mut()
            && piece.capacity() - piece.len() >= words
        {
            piece.push(head);
            piece.extend_from_slice(hashes);
            return 0;
        }
        let mut piece = Vec::with_capacity(piece_words.max(words));
        piece.push(head);
        piece.extend_from_slice(hashes);
        let reserved = piece.capacity();
        self.pieces.push(piece);
        reserved
    }

    /// Takes over what another one holds.
    pub(super) fn append(&mut self, mut other: Self) {
        self.pieces.append(&mut other.pieces);
    }

    /// Words that are reserved.
    pub(super) fn reserved(&self) -> usize {
        self.pieces.iter().map(Vec::capacity).sum()
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u64]> {
        self.pieces.iter().map(Vec::as_slice)
    }

    pub(super) fn words(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }
}

/// Takes the first stretch from `words`: its row group and its hashes. `None` at the end, and when the rest is
/// shorter than it says.
pub(super) fn next_stretch<'w>(words: &mut &'w [u64]) -> Option<(u32, &'w [u64])> {
    let (head, rest) = words.split_first()?;
    let count = to_usize(head & u64::from(u32::MAX));
    let (hashes, rest) = rest.split_at_checked(count)?;
    *words = rest;
    Some((u32::try_from(head >> 32).unwrap_or(u32::MAX), hashes))
}
