//! Reading one immutable segment: probes, a pass in hash order, and the complete check.
//!
//! ```text
//! lookup(hash) ─> directory block ─> entry block (binary search) ─> slot ─> (heap record)
//!                       └── each block's check is looked at on its first use ──┘
//! ```
//!
//! # Invariants
//! Bytes of the file are used only after their check held, so damage ends in
//! [`Error::State`], never in a wrong answer. The layout is in [`format`](mod@super::format).
//!
//! Memory: one bit per 4 KiB block, and the row groups of the posting in hand. The file itself is mapped: for
//! look-ups, which read a page or two each, so nothing is read ahead but during a pass.

use std::sync::atomic::{AtomicU64, Ordering};

use roaring::RoaringBitmap;

use super::format::{
    BLOCK_BYTES, Check, DIRECTORY_PER_BLOCK, ENTRIES_PER_BLOCK, ENTRY_BYTES, RECORD_HEAD_BYTES,
    Slot, Tail, bucket, split_check, to_usize, u32_at, u64_at,
};
use super::record;
use crate::error::{Error, Result};
use crate::io::{Access, Mapped};
use crate::subject::SubjectHash;

/// Where there are fewer pages for each look-up, the file is read ahead.
const PAGES_FOR_EACH_LOOKUP_MIN: usize = 4;

/// One index file, open for look-ups. It is shared freely between threads.
#[derive(Debug)]
pub struct Segment {
    bytes: Mapped,
    path: String,
    tail: Tail,
    tail_check: u64,
    check: Check,
    /// The first block of the directory and of the heap.
    directory_start: u64,
    heap_start: u64,
    checked: Box<[AtomicU64]>,
}

impl Segment {
    /// Opens a segment: its tail is read and its length compared, nothing else.
    ///
    /// # Errors
    /// [`Error::State`] when the tail is damaged, of another version or another dataset's, or when
    /// the file has not the length that the tail gives it.
    pub fn open(bytes: Mapped, path: &str, expected_seed: u64) -> Result<Self> {
        let damaged = |reason| Error::State {
            path: path.to_owned(),
            reason,
        };
        bytes.advise(Access::Random);
        let block = bytes
            .last_chunk::<BLOCK_BYTES>()
            .ok_or_else(|| damaged(format!("has only {} bytes", bytes.len())))?;
        let (tail, tail_check) = Tail::parse(block).map_err(damaged)?;
        if tail.seed != expected_seed {
            return Err(damaged("belongs to another dataset".to_owned()));
        }
        if tail.file_bytes() != bytes.len() as u64 {
            return Err(damaged(format!(
                "has {} bytes, but its tail says {}",
                bytes.len(),
                tail.file_bytes()
            )));
        }
        let [entries, directory, _] = tail.sections();
        let blocks = bytes.len() / BLOCK_BYTES;
        Ok(Self {
            check: Check::new(tail.seed, tail.number),
            directory_start: entries,
            heap_start: entries + directory,
            checked: std::iter::repeat_with(AtomicU64::default)
                .take(blocks.div_ceil(64))
                .collect(),
            path: path.to_owned(),
            tail,
            tail_check,
            bytes,
        })
    }

    /// What the segment says of itself.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The check of the tail: tells this segment from every other.
    pub fn tail_check(&self) -> u64 {
        self.tail_check
    }

    /// Bytes of the file.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Says how many look-ups follow. Of a file that is not in memory each reads its page or two; but where they are
    /// for a good part of its pages, reading ahead costs less than so many single reads.
    pub fn expect_lookups(&self, count: usize) {
        let pages = self.bytes.len() / BLOCK_BYTES;
        self.bytes
            .advise(if count >= pages / PAGES_FOR_EACH_LOOKUP_MIN {
                Access::Sequential
            } else {
                Access::Random
            });
    }

    /// Adds the row groups of a hash to `row_groups`; says whether there were any.
    ///
    /// # Errors
    /// [`Error::State`] when a block that is needed is damaged.
    pub fn lookup(&self, hash: SubjectHash, row_groups: &mut RoaringBitmap) -> Result<bool> {
        let bucket = bucket(hash.0, self.tail.directory_bits);
        let mut low = u64::from(self.directory(bucket)?);
        let mut high = u64::from(self.directory(bucket + 1)?);
        if low > high || high > self.tail.hashes {
            return Err(self.damaged("the directory does not ascend"));
        }
        while low < high {
            let middle = low.midpoint(high);
            let (found, slot) = self.entry(middle)?;
            match found.cmp(&hash.0) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    match self.posting(slot)? {
                        Posting::Inline(numbers) => row_groups.extend(numbers),
                        Posting::Heap(record) => {
                            let mut numbers = Vec::new();
                            self.decode(record, &mut numbers)?;
                            row_groups.extend(numbers);
                        }
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// All entries in the order of their hashes.
    pub fn groups(&self) -> SegmentGroups<'_> {
        self.bytes.advise(Access::Sequential);
        SegmentGroups {
            segment: self,
            next: 0,
            previous: None,
        }
    }

    /// Reads everything: every check, the order of the hashes, the directory, the counts, that the
    /// records of the heap touch and that what fills its last block is zero.
    ///
    /// # Errors
    /// [`Error::State`] that names the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        let mut bucket_next = 0;
        let mut heap_next = 0;
        let mut postings = 0;
        let mut iter = self.groups();
        let mut row_groups = Vec::new();
        for number in 0..self.tail.hashes {
            let Some((hash, slot)) = iter.next_slot()? else {
                return Err(self.damaged("ends before its last entry"));
            };
            while bucket_next <= bucket(hash.0, self.tail.directory_bits) {
                self.expect_directory(bucket_next, number)?;
                bucket_next += 1;
            }
            if let Some(Slot::Heap(offset)) = Slot::from_bits(slot) {
                if offset != heap_next {
                    return Err(self.damaged("a record of the heap is not where it should be"));
                }
                heap_next += RECORD_HEAD_BYTES as u64 + self.record(offset)?.len() as u64;
            }
            row_groups.clear();
            self.row_groups(slot, &mut row_groups)?;
            postings += row_groups.len() as u64;
        }
        while bucket_next <= 1 << self.tail.directory_bits {
            self.expect_directory(bucket_next, self.tail.hashes)?;
            bucket_next += 1;
        }
        if postings != self.tail.postings || heap_next != self.tail.heap_bytes {
            return Err(self.damaged("holds not as much as its tail says"));
        }
        if self.content()? != self.tail.content {
            return Err(self.damaged("holds something else than its tail says"));
        }
        let padding = self.heap().get(to_usize(heap_next)..).unwrap_or_default();
        if padding.iter().any(|byte| *byte != 0) {
            return Err(self.damaged("has bytes after the last record of its heap"));
        }
        Ok(())
    }

    /// The sum of the checks of all blocks and records.
    fn content(&self) -> Result<u64> {
        let mut content = 0_u64;
        for block in 0..self.heap_start {
            let payload = self.block(block)?;
            content = content.wrapping_add(self.check.block(payload, block));
        }
        let mut offset = 0;
        while offset < self.tail.heap_bytes {
            let bitmap = self.record(offset)?;
            content = content.wrapping_add(self.check.record(bitmap, offset).into());
            offset += (RECORD_HEAD_BYTES + bitmap.len()) as u64;
        }
        Ok(content)
    }

    fn expect_directory(&self, bucket: u64, entry: u64) -> Result<()> {
        if u64::from(self.directory(bucket)?) == entry {
            return Ok(());
        }
        Err(self.damaged("the directory does not lead to the entries"))
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::State {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }

    /// The payload of a block, its check looked at on the first use.
    fn block(&self, number: u64) -> Result<&[u8]> {
        let start = to_usize(number).saturating_mul(BLOCK_BYTES);
        let Some((payload, check)) = self
            .bytes
            .get(start..start.saturating_add(BLOCK_BYTES))
            .and_then(split_check)
        else {
            return Err(self.damaged("leads to a block behind its end"));
        };
        let word = self.checked.get(to_usize(number / 64));
        let bit = 1 << (number % 64);
        // Relaxed: the bytes never change, and to check a block twice does no harm.
        if word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0) {
            return Ok(payload);
        }
        let found = self.check.block(payload, number);
        if found != check {
            return Err(Error::State {
                path: self.path.clone(),
                reason: format!(
                    "the block at offset {start} says that its check is {check:016x}, but its bytes have {found:016x}"
                ),
            });
        }
        if let Some(word) = word {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(payload)
    }

    fn entry(&self, number: u64) -> Result<(u64, u64)> {
        let block = self.block(number / ENTRIES_PER_BLOCK as u64)?;
        let offset = to_usize(number % ENTRIES_PER_BLOCK as u64) * ENTRY_BYTES;
        u64_at(block, offset)
            .zip(u64_at(block, offset + 8))
            .ok_or_else(|| self.damaged("an entry is cut short"))
    }

    fn directory(&self, bucket: u64) -> Result<u32> {
        let block = self.block(self.directory_start + bucket / DIRECTORY_PER_BLOCK as u64)?;
        u32_at(block, to_usize(bucket % DIRECTORY_PER_BLOCK as u64) * 4)
            .ok_or_else(|| self.damaged("the directory is cut short"))
    }

    fn heap(&self) -> &[u8] {
        let start = to_usize(self.heap_start) * BLOCK_BYTES;
        let end = self.bytes.len() - BLOCK_BYTES;
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The bitmap's bytes of the record at an offset, checked.
    fn record(&self, offset: u64) -> Result<&[u8]> {
        let records = self.heap().get(..to_usize(self.tail.heap_bytes));
        let parts = records
            .and_then(|records| records.get(to_usize(offset)..))
            .and_then(|record| Some((u32_at(record, 0)?, u32_at(record, 4)?, record)));
        let Some((len, check, record)) = parts else {
            return Err(self.damaged("leads to a record behind the end of its heap"));
        };
        let end = to_usize(u64::from(len)).saturating_add(RECORD_HEAD_BYTES);
        match record.get(RECORD_HEAD_BYTES..end) {
            Some(bitmap) if self.check.record(bitmap, offset) == check => Ok(bitmap),
            _ => Err(self.damaged(&format!(
                "the record at offset {offset} of its heap has not the check that it says"
            ))),
        }
    }

    fn posting(&self, slot: u64) -> Result<Posting<'_>> {
        let posting = match Slot::from_bits(slot) {
            Some(Slot::Window { base, mask }) => Inline {
                next: Some(base),
                base: base.wrapping_add(1),
                mask,
            },
            Some(Slot::Pair(first, second)) => Inline {
                next: Some(first),
                base: second,
                mask: 1,
            },
            Some(Slot::Heap(offset)) => return Ok(Posting::Heap(self.record(offset)?)),
            None => return Err(self.damaged("a slot is of no known kind")),
        };
        self.expect_below_end(posting.last_number())?;
        Ok(Posting::Inline(posting))
    }

    /// Appends the row groups of a slot.
    fn row_groups(&self, slot: u64, row_groups: &mut Vec<u32>) -> Result<()> {
        match self.posting(slot)? {
            Posting::Inline(numbers) => row_groups.extend(numbers),
            Posting::Heap(record) => self.decode(record, row_groups)?,
        }
        Ok(())
    }

    /// Appends the row groups of a record.
    fn decode(&self, record: &[u8], row_groups: &mut Vec<u32>) -> Result<()> {
        record::decode(record, row_groups)
            .ok_or_else(|| self.damaged("a record of its heap is no roaring bitmap"))?;
        self.expect_below_end(row_groups.last().copied().unwrap_or(u32::MAX))
    }

    fn expect_below_end(&self, row_group: u32) -> Result<()> {
        if row_group < self.tail.row_group_end {
            return Ok(());
        }
        Err(self.damaged("a row group is beyond the segment's last one"))
    }
}

/// The row groups of one hash.
enum Posting<'a> {
    Inline(Inline),
    /// The bitmap of a record.
    Heap(&'a [u8]),
}

/// The ascending numbers of a slot: `next`, then `base + i` for each bit `i` of `mask`.
#[derive(Clone)]
struct Inline {
    next: Option<u32>,
    base: u32,
    mask: u32,
}

impl Inline {
    fn last_number(&self) -> u32 {
        match self.mask.checked_ilog2() {
            Some(bit) => self.base.saturating_add(bit),
            None => self.next.unwrap_or(0),
        }
    }
}

impl Iterator for Inline {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if let Some(first) = self.next.take() {
            return Some(first);
        }
        if self.mask == 0 {
            return None;
        }
        let bit = self.mask.trailing_zeros();
        self.mask &= self.mask - 1;
        Some(self.base.saturating_add(bit))
    }
}

/// A pass over a segment in the order of the hashes. See [`Segment::groups`].
#[derive(Debug)]
pub struct SegmentGroups<'a> {
    segment: &'a Segment,
    next: u64,
    previous: Option<u64>,
}

impl Drop for SegmentGroups<'_> {
    fn drop(&mut self) {
        self.segment.bytes.advise(Access::Random);
    }
}

impl SegmentGroups<'_> {
    /// The next hash; its ascending row groups replace what is in `row_groups`. `None` at the end.
    ///
    /// # Errors
    /// [`Error::State`] when a block is damaged or the hashes do not ascend.
    pub fn next_group(&mut self, row_groups: &mut Vec<u32>) -> Result<Option<SubjectHash>> {
        row_groups.clear();
        let Some((hash, slot)) = self.next_slot()? else {
            return Ok(None);
        };
        self.segment.row_groups(slot, row_groups)?;
        Ok(Some(hash))
    }

    /// The next hash, without looking at its row groups. `None` at the end.
    ///
    /// # Errors
    /// [`Error::State`] when a block is damaged or the hashes do not ascend.
    pub fn next_hash(&mut self) -> Result<Option<SubjectHash>> {
        Ok(self.next_slot()?.map(|(hash, _)| hash))
    }

    fn next_slot(&mut self) -> Result<Option<(SubjectHash, u64)>> {
        if self.next >= self.segment.tail.hashes {
            return Ok(None);
        }
        let (hash, slot) = self.segment.entry(self.next)?;
        self.next += 1;
        if self.previous.replace(hash) >= Some(hash) {
            return Err(self.segment.damaged("the hashes do not ascend"));
        }
        Ok(Some((SubjectHash(hash), slot)))
    }
}
