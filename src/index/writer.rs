//! Writing one segment in a single pass, from ascending hashes.
//!
//! ```text
//! append(hash, row groups) ──> entries ────────────────────> draft ─────────┐
//!              │──> heap records ──> another draft ── copied ─────────────> │ finish: + directory,
//!              └──> directory (in memory) ────────────────────────────────> │ heap, tail
//!                                                                           └─ publish ──> segment
//! ```
//!
//! # Crash behaviour
//! The segment has its name only when it is whole and durable. Until then it is a draft
//! (two, when the heap is large), removed when the writer is dropped and by the next refresh.
//!
//! Memory: the directory (at most 16 MiB), 2 MiB of buffers, and one posting at a time.

use std::io::Write;

use super::format::{
    BLOCK_BYTES, Check, DIRECTORY_PER_BLOCK, ENTRIES_PER_BLOCK, ENTRY_BYTES, HASHES_MAX,
    PAYLOAD_BYTES, ROW_GROUPS_MAX, Slot, Tail, bucket, directory_bits, to_usize,
};
use super::record;
use crate::error::{Error, Result};
use crate::io::Sink;
use crate::limits;
use crate::state::{Draft, State};
use crate::subject::SubjectHash;

/// Writes one segment. Nothing of it is kept unless [`finish`](Self::finish) returns.
pub struct SegmentWriter<'a> {
    draft: Box<dyn Draft + 'a>,
    path: String,
    tail: Tail,
    check: Check,
    block: Vec<u8>,
    blocks: u64,
    previous: Option<u64>,
    /// Made with `bits_max` bits, and coarsened at the end to what the hashes need.
    directory: Vec<u32>,
    bits_max: u32,
    heap: Heap<'a>,
    /// The bitmap of the record that was appended last.
    bitmap: Vec<u8>,
}

impl<'a> SegmentWriter<'a> {
    /// Starts the segment `path` with this number, for at most `hashes_at_most` hashes (a guess that
    /// is too low only makes a coarser directory).
    ///
    /// # Errors
    /// When it can't be begun.
    pub fn create(
        state: &'a dyn State,
        path: &str,
        seed: u64,
        number: u32,
        hashes_at_most: u64,
    ) -> Result<Self> {
        Ok(Self {
            draft: state.create(path)?,
            path: path.to_owned(),
            tail: Tail {
                number,
                seed,
                hashes: 0,
                postings: 0,
                heap_bytes: 0,
                directory_bits: 0,
                row_group_end: 0,
                content: 0,
            },
            check: Check::new(seed, number),
            block: Vec::with_capacity(BLOCK_BYTES),
            blocks: 0,
            previous: None,
            directory: Vec::new(),
            bits_max: directory_bits(hashes_at_most),
            heap: Heap {
                state,
                path: format!("{path}.heap"),
                buffer: Vec::new(),
                spilled: None,
            },
            bitmap: Vec::new(),
        })
    }

    /// Appends a hash, larger than the one before, with its ascending row groups, at least one.
    ///
    /// # Errors
    /// [`Error::State`] when the order or a bound is not kept, or when writing fails.
    pub fn append(&mut self, hash: SubjectHash, row_groups: &[u32]) -> Result<()> {
        let ascends = row_groups.is_sorted_by(|left, right| left < right);
        let last = row_groups.last().copied().unwrap_or(ROW_GROUPS_MAX);
        if self.previous >= Some(hash.0) || !ascends || last >= ROW_GROUPS_MAX {
            return Err(self.refused("was given hashes or row groups that do not ascend"));
        }
        if self.tail.hashes >= HASHES_MAX {
            return Err(self.refused("can't hold more than 2^32 - 1 hashes"));
        }
        self.previous = Some(hash.0);
        let slot = match Slot::inline(row_groups) {
            Some(slot) => slot,
            None => Slot::Heap(self.append_record(row_groups)?),
        };
        self.fill_directory(bucket(hash.0, self.bits_max) + 1);
        self.tail.hashes += 1;
        self.tail.postings += row_groups.len() as u64;
        self.tail.row_group_end = self.tail.row_group_end.max(last + 1);
        self.block.extend_from_slice(&hash.0.to_le_bytes());
        self.block.extend_from_slice(&slot.to_bits().to_le_bytes());
        if self.block.len() == ENTRIES_PER_BLOCK * ENTRY_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    /// Ends the segment and gives it its name, durably. Returns its tail and the tail's check.
    ///
    /// # Errors
    /// When writing or replacing fails.
    pub fn finish(mut self) -> Result<(Tail, u64)> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        self.tail.directory_bits = directory_bits(self.tail.hashes).min(self.bits_max);
        self.fill_directory((1 << self.bits_max) + 1);
        let step = 1_usize << (self.bits_max - self.tail.directory_bits);
        let directory: Vec<u32> = self.directory.iter().copied().step_by(step).collect();
        for numbers in directory.chunks(DIRECTORY_PER_BLOCK) {
            for number in numbers {
                self.block.extend_from_slice(&number.to_le_bytes());
            }
            self.end_block()?;
        }
        self.heap.write_to(&mut *self.draft)?;
        let filled = to_usize(self.tail.heap_bytes % BLOCK_BYTES as u64);
        let padding = vec![0; if filled == 0 { 0 } else { BLOCK_BYTES - filled }];
        let (block, check) = self.tail.to_block();
        self.draft
            .write_all(&padding)
            .and_then(|()| self.draft.write_all(&block))
            .map_err(Error::io("write", &self.path))?;
        self.draft.publish()?;
        Ok((self.tail, check))
    }

    fn refused(&self, reason: &str) -> Error {
        Error::State {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Makes the directory `len` long: the buckets up to there begin at the next entry or before.
    fn fill_directory(&mut self, len: u64) {
        let next = u32::try_from(self.tail.hashes).unwrap_or(u32::MAX);
        if self.directory.len() < to_usize(len) {
            self.directory.resize(to_usize(len), next);
        }
    }

    fn end_block(&mut self) -> Result<()> {
        self.block.resize(PAYLOAD_BYTES, 0);
        let check = self.check.block(&self.block, self.blocks);
        self.block.extend_from_slice(&check.to_le_bytes());
        self.tail.content = self.tail.content.wrapping_add(check);
        self.blocks += 1;
        let written = self.draft.write_all(&self.block);
        self.block.clear();
        written.map_err(Error::io("write", &self.path))
    }

    fn append_record(&mut self, row_groups: &[u32]) -> Result<u64> {
        self.bitmap.clear();
        record::encode(row_groups, &mut self.bitmap)
            .map_err(Error::io("write", &self.heap.path))?;
        let len = u32::try_from(self.bitmap.len())
            .map_err(|_| self.refused("was given a posting of 4 GiB or more"))?;
        let offset = self.tail.heap_bytes;
        let check = self.check.record(&self.bitmap, offset);
        self.tail.content = self.tail.content.wrapping_add(check.into());
        self.heap.append(&len.to_le_bytes())?;
        self.heap.append(&check.to_le_bytes())?;
        self.heap.append(&self.bitmap)?;
        self.tail.heap_bytes += 8 + u64::from(len);
        Ok(offset)
    }
}

/// The records of the heap until the entries are written: in memory while they are few.
struct Heap<'a> {
    state: &'a dyn State,
    path: String,
    buffer: Vec<u8>,
    spilled: Option<Box<dyn Draft + 'a>>,
}

impl Heap<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < limits::WRITE_BYTES {
            return Ok(());
        }
        let draft = match &mut self.spilled {
            Some(draft) => draft,
            none => none.insert(self.state.create(&self.path)?),
        };
        draft
            .write_all(&self.buffer)
            .map_err(Error::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }

    fn write_to(&mut self, target: &mut dyn Sink) -> Result<()> {
        if let Some(mut draft) = self.spilled.take() {
            let source = draft.read_back()?;
            target
                .copy_from(&*source, 0..source.len())
                .map_err(Error::io("copy", &self.path))?;
        }
        target
            .write_all(&self.buffer)
            .map_err(Error::io("write", &self.path))
    }
}
