//! One file of the index of receipts: sorted records of a span of the chain.
//!
//! ```text
//! blocks of 4 KiB:  102 records of 40 bytes, 8 bytes of zeros, the check
//!                   ..
//!                   the tail: which receipts it covers, how many records there are, the chain's hashes before the
//!                   first and at the last of them, where the last one lies; zeros; the check
//!
//! a record:         tracking id (16) | kind (4) | length of the line (4) | file (8) | offset of the line (8)
//! a check:          XXH3 of all before it in the block, seeded with what the file covers and the block's number
//! ```
//! Numbers are little-endian. Records ascend by tracking id and kind; of equal ones those of later files come first.
//!
//! # Invariants
//! Bytes are used only after the check of their block held. A file says by its name what it covers, whole files of
//! receipts; whoever writes one of the same name writes the same bytes.
//!
//! Memory: a block to read, a buffer to write.

use std::cmp::Reverse;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::chain::{DIRECTORY, Place};
use crate::error::{Error, Result};
use crate::io::{Access, Mapped};
use crate::limits;
use crate::state::{Draft, State};
use crate::tracking::TrackingId;

const BLOCK_BYTES: usize = 4096;
const CHECK_BYTES: usize = 8;
const RECORD_BYTES: usize = 40;
const RECORDS_PER_BLOCK: usize = (BLOCK_BYTES - CHECK_BYTES) / RECORD_BYTES;
const MAGIC: &[u8; 8] = b"EFRCPT01";
/// Hexadecimal digits of a hash of the chain.
const HASH_BYTES: usize = 64;
const NAME_ENDING: &str = ".segment";

/// What a record is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    id: [u8; 16],
    kind: Kind,
}

/// What an id is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Request,
    Pass,
}

impl Key {
    pub(super) fn request(id: TrackingId) -> Self {
        let (id, kind) = (id.to_bytes(), Kind::Request);
        Self { id, kind }
    }

    pub(super) fn pass(id: TrackingId) -> Self {
        let (id, kind) = (id.to_bytes(), Kind::Pass);
        Self { id, kind }
    }
}

/// Where a receipt lies. The order of the fields is that of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    key: Key,
    file: Reverse<u64>,
    offset: u64,
    len: u32,
}

impl Record {
    pub(super) fn new(key: Key, place: Place) -> Self {
        Self {
            key,
            file: Reverse(place.file),
            offset: place.offset,
            len: place.len,
        }
    }

    /// Whether it is found by the same key, and lies in the same file.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.key == other.key && self.file == other.file
    }

    fn place(&self) -> Place {
        Place {
            file: self.file.0,
            offset: self.offset,
            len: self.len,
        }
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        let kind: u32 = match self.key.kind {
            Kind::Request => 0,
            Kind::Pass => 1,
        };
        bytes.extend_from_slice(&self.key.id);
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(&self.file.0.to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
    }

    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let id = take(&mut bytes)?;
        let kind = match u32::from_le_bytes(take(&mut bytes)?) {
            0 => Kind::Request,
            1 => Kind::Pass,
            _ => return None,
        };
        Some(Self {
            key: Key { id, kind },
            len: u32::from_le_bytes(take(&mut bytes)?),
            file: Reverse(u64::from_le_bytes(take(&mut bytes)?)),
            offset: u64::from_le_bytes(take(&mut bytes)?),
        })
    }
}

/// What a segment covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// The number of the first receipt, which is the first of its file.
    pub(super) first: u64,
    /// The number of the last receipt, which is the last of its file.
    pub(super) last: u64,
    /// The hash of the receipt before the first.
    pub(super) before: String,
    /// The hash of the last receipt.
    pub(super) end: String,
    /// Where the last receipt lies.
    pub(super) end_place: Place,
}

/// A segment, as its name tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Name {
    pub(super) fn path(&self) -> String {
        let Self { first, last } = self;
        format!("{}/{first:012}-{last:012}{NAME_ENDING}", directory())
    }

    pub(super) fn of(path: &str) -> Option<Self> {
        let name = path.strip_prefix(&directory())?.strip_prefix('/')?;
        let (first, last) = name.strip_suffix(NAME_ENDING)?.split_once('-')?;
        let name = Self {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        };
        (name.path() == path && 0 < name.first && name.first <= name.last).then_some(name)
    }

    /// The check of a block.
    fn check(&self, block: u64, payload: &[u8]) -> u64 {
        let mut place = [0; 24];
        let numbers = [self.first, self.last, block];
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        place
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        xxh3_64_with_seed(payload, xxh3_64(&place))
    }
}

/// Where the segments lie, relative to the dataset.
pub(super) fn directory() -> String {
    format!("{DIRECTORY}/index")
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    name: Name,
    bytes: Mapped,
    span: Span,
    records: u64,
}

impl Segment {
    /// Opens a segment: its tail is read and its length compared, nothing else.
    ///
    /// # Errors
    /// [`Error::State`] when the tail is damaged, or the file has not the length that it gives; [`Error::Io`] when
    /// the file isn't there or can't be read.
    pub(super) fn open(state: &dyn State, name: &Name) -> Result<Self> {
        let bytes = state.map(&name.path())?;
        bytes.advise(Access::Random);
        let blocks = bytes.len() / BLOCK_BYTES;
        let tail = blocks
            .checked_sub(1)
            .filter(|_| bytes.len().is_multiple_of(BLOCK_BYTES))
            .and_then(|number| checked(name, &bytes, number as u64))
            .and_then(parse_tail);
        let found = tail.filter(|(span, records)| {
            let expected = records.div_ceil(RECORDS_PER_BLOCK as u64);
            span.first == name.first && span.last == name.last && expected + 1 == blocks as u64
        });
        match found {
            Some((span, records)) => Ok(Self {
                name: name.clone(),
                bytes,
                span,
                records,
            }),
            None => Err(damaged(name)),
        }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Where the receipt of `key` lies; the first in the last file, if there are several.
    ///
    /// # Errors
    /// [`Error::State`] when a block that is needed is damaged.
    pub(super) fn look_up(&self, key: Key) -> Result<Option<Place>> {
        let (mut low, mut high) = (0, self.records);
        while low < high {
            let middle = low.midpoint(high);
            if self.record(middle)?.key < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == self.records {
            return Ok(None);
        }
        let record = self.record(low)?;
        Ok((record.key == key).then(|| record.place()))
    }

    /// All records in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Record>> {
        self.bytes.advise(Access::Sequential);
        let blocks = self.records.div_ceil(RECORDS_PER_BLOCK as u64);
        let of_block = |block: u64| {
            let left = self.records - block * RECORDS_PER_BLOCK as u64;
            let count =
                usize::try_from(left).map_or(RECORDS_PER_BLOCK, |left| left.min(RECORDS_PER_BLOCK));
            let payload = checked(&self.name, &self.bytes, block);
            let records = payload.unwrap_or_default().chunks_exact(RECORD_BYTES);
            let records = records.map(Some).chain(std::iter::repeat(None)).take(count);
            records.map(|bytes| {
                let record = bytes.and_then(Record::parse);
                record.ok_or_else(|| damaged(&self.name))
            })
        };
        (0..blocks).flat_map(of_block)
    }

    fn record(&self, number: u64) -> Result<Record> {
        let payload = checked(&self.name, &self.bytes, number / RECORDS_PER_BLOCK as u64);
        let at = usize::try_from(number % RECORDS_PER_BLOCK as u64).map(|at| at * RECORD_BYTES);
        let record = payload
            .zip(at.ok())
            .and_then(|(payload, at)| payload.get(at..at + RECORD_BYTES));
        let record = record.and_then(Record::parse);
        record.ok_or_else(|| damaged(&self.name))
    }
}

/// Writes a segment durably, with records that ascend and whose number is known.
///
/// # Errors
/// The first that `records` gives, and when writing fails.
pub(super) fn write(
    state: &dyn State,
    span: &Span,
    count: u64,
    records: impl Iterator<Item = Result<Record>>,
) -> Result<()> {
    let name = Name {
        first: span.first,
        last: span.last,
    };
    let path = name.path();
    let mut draft = state.create(&path)?;
    let mut writer = Writer {
        draft: &mut *draft,
        name: &name,
        path: &path,
        block: Vec::with_capacity(BLOCK_BYTES),
        buffer: Vec::new(),
        blocks: 0,
    };
    for record in records {
        record?.put(&mut writer.block);
        if writer.block.len() == RECORDS_PER_BLOCK * RECORD_BYTES {
            writer.end_block()?;
        }
    }
    if !writer.block.is_empty() {
        writer.end_block()?;
    }
    put_tail(&mut writer.block, span, count);
    writer.end_block()?;
    writer.flush()?;
    draft.publish()
}

struct Writer<'a> {
    draft: &'a mut dyn Draft,
    name: &'a Name,
    path: &'a str,
    block: Vec<u8>,
    buffer: Vec<u8>,
    blocks: u64,
}

impl Writer<'_> {
    fn end_block(&mut self) -> Result<()> {
        self.block.resize(BLOCK_BYTES - CHECK_BYTES, 0);
        let check = self.name.check(self.blocks, &self.block);
        self.block.extend_from_slice(&check.to_le_bytes());
        self.blocks += 1;
        self.buffer.append(&mut self.block);
        if self.buffer.len() >= limits::WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.draft.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(Error::io("write", self.path))
    }
}

fn put_tail(bytes: &mut Vec<u8>, span: &Span, records: u64) {
    bytes.extend_from_slice(MAGIC);
    let place = span.end_place;
    for number in [
        span.first,
        span.last,
        records,
        place.file,
        place.offset,
        place.len.into(),
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for hash in [&span.before, &span.end] {
        let end = bytes.len() + HASH_BYTES;
        bytes.extend(hash.bytes().take(HASH_BYTES));
        bytes.resize(end, 0);
    }
}

fn parse_tail(mut bytes: &[u8]) -> Option<(Span, u64)> {
    if take::<8>(&mut bytes)? != *MAGIC {
        return None;
    }
    let mut number = || Some(u64::from_le_bytes(take(&mut bytes)?));
    let (first, last, records) = (number()?, number()?, number()?);
    let end_place = Place {
        file: number()?,
        offset: number()?,
        len: u32::try_from(number()?).ok()?,
    };
    let mut hash = || String::from_utf8(take::<HASH_BYTES>(&mut bytes)?.to_vec()).ok();
    let span = Span {
        first,
        last,
        before: hash()?,
        end: hash()?,
        end_place,
    };
    Some((span, records))
}

/// The payload of a block, if its check holds.
fn checked<'a>(name: &Name, bytes: &'a [u8], number: u64) -> Option<&'a [u8]> {
    let start = usize::try_from(number).ok()?.checked_mul(BLOCK_BYTES)?;
    let block = bytes.get(start..start.checked_add(BLOCK_BYTES)?)?;
    let (payload, check) = block.split_last_chunk::<CHECK_BYTES>()?;
    (u64::from_le_bytes(*check) == name.check(number, payload)).then_some(payload)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn damaged(name: &Name) -> Error {
    Error::State {
        path: name.path(),
        reason: "a block has not the check of its bytes; it will be written again".to_owned(),
    }
}
