//! Canonical bytes of an id column, row by row or from dictionaries alone.
//!
//! ```text
//!   dictionary page ──> each entry judged once ──┐
//!   dictionary-encoded pages: indices ───────────┴─> hits
//!   PLAIN pages: each value judged ────────────────> hits
//!   pages in other encodings: decoded (parquet_bytes::values), each value judged
//! ```
//!
//! Memory: one page and the verdicts of one dictionary.

use std::io::Write;
use std::sync::Arc;

use arrow::datatypes::i256;
use parquet::basic::{Encoding, Type};
use roaring::RoaringBitmap;

use super::Shard;
use super::roles::{SubjectColumn, SubjectKind};
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::limits::PAGE_VALUES_MAX;
use crate::parquet_bytes::codec::Codecs;
use crate::parquet_bytes::footer::Chunk;
use crate::parquet_bytes::levels::Levels;
use crate::parquet_bytes::page::{PageHeader, PageKind};
use crate::parquet_bytes::page_walk::PageWalk;
use crate::parquet_bytes::rle::RleDecoder;
use crate::parquet_bytes::values::{PageValues, Physical};

type Result<T> = std::result::Result<T, FormatError>;

/// Bytes that a read asks for when only the dictionary page is wanted.
const DICTIONARY_READ_BYTES: u64 = 64 << 10;

/// Judges canonical bytes: `Some(ordinal)` of the id that they are, or `None`.
pub type Judge<'a> = dyn FnMut(&[u8]) -> Option<u32> + 'a;
/// Takes hits: the row in the row group, and the ordinal that the judge gave.
pub type Hit<'a> = dyn FnMut(u32, u32) + 'a;

/// Shows the distinct values of the row groups `row_groups` of a shard to `see`, with the number of the row
/// group, as [`distinct`] does.
///
/// # Errors
/// When a page is damaged.
pub fn distinct_in(
    shard: &Shard,
    columns: &[SubjectColumn],
    row_groups: &RoaringBitmap,
    see: &mut dyn FnMut(u32, &[u8]),
) -> crate::error::Result<()> {
    for column in columns {
        for (number, group) in (0_u32..).zip(shard.footer.row_groups()) {
            let chunk = group.chunks.get(column.leaf);
            let Some(chunk) = chunk.filter(|_| row_groups.contains(number)) else {
                continue;
            };
            distinct(&shard.file, chunk, column, &mut |value| see(number, value))
                .map_err(|error| error.in_shard(&shard.path))?;
        }
    }
    Ok(())
}

/// Shows every distinct value of a chunk to `see` (some of them repeatedly, and also dictionary entries
/// that no row refers to), reading as little as possible: the dictionary page alone where every data
/// page uses it.
///
/// # Errors
/// When a page is damaged.
pub fn distinct(
    file: &Arc<dyn ReadAt>,
    chunk: &Chunk,
    column: &SubjectColumn,
    see: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let only_dictionary = match chunk.only_dictionary {
        Some(known) => known,
        None => is_only_dictionary(file, chunk)?,
    };
    if !only_dictionary {
        let mut judge = |value: &[u8]| {
            see(value);
            None
        };
        return hits(file, chunk, column, &mut judge, &mut |_, _| {});
    }
    let mut walk =
        PageWalk::with_read_len(Arc::clone(file), chunk.range.clone(), DICTIONARY_READ_BYTES);
    let mut scratch = Vec::new();
    let mut bytes = Vec::new();
    while let Some(page) = walk.peek()? {
        if let PageKind::Dictionary { values, .. } = page.kind {
            page.decompress(
                walk.body(&page)?,
                chunk.codec,
                &mut Codecs::default(),
                &mut bytes,
            )?;
            return each_plain(&bytes, column, u64::from(values), &page, |raw| {
                see(column.kind.canonical(raw, &mut scratch));
            });
        }
        if page.kind != PageKind::Other {
            return Err(FormatError::Invalid {
                structure: "column chunk",
                offset: page.offset,
                found: "a data page".into(),
                expected: "a dictionary page first, since the footer says that every page uses one",
            });
        }
        walk.skip(&page);
    }
    Ok(())
}

/// Finds out from the page headers whether every data page uses the dictionary.
fn is_only_dictionary(file: &Arc<dyn ReadAt>, chunk: &Chunk) -> Result<bool> {
    const HEADER_READ_BYTES: u64 = 512;
    let mut walk =
        PageWalk::with_read_len(Arc::clone(file), chunk.range.clone(), HEADER_READ_BYTES);
    let mut any = false;
    while let Some(page) = walk.peek()? {
        walk.skip(&page);
        match page.kind.data_encoding() {
            Some(encoding) if !is_dictionary(encoding) => return Ok(false),
            found => any |= found.is_some(),
        }
    }
    Ok(any)
}

/// Judges every value of a chunk and reports the rows of those that are wanted. A hit can come more than
/// once: a list has several elements.
///
/// # Errors
/// When a page is damaged, or the pages hold another number of values than the footer claims.
pub fn hits(
    file: &Arc<dyn ReadAt>,
    chunk: &Chunk,
    column: &SubjectColumn,
    judge: &mut Judge<'_>,
    hit: &mut Hit<'_>,
) -> Result<()> {
    let mut scan = Scan {
        column,
        verdicts: Vec::new(),
        levels: Levels::default(),
        indices: Vec::new(),
        scratch: Vec::new(),
        row: 0,
    };
    let mut walk = PageWalk::new(Arc::clone(file), chunk.range.clone());
    let mut codecs = Codecs::default();
    let mut bytes = Vec::new();
    let mut seen = 0;
    while let Some(page) = walk.peek()? {
        if page.kind == PageKind::Other {
            walk.skip(&page);
            continue;
        }
        seen += u64::from(page.kind.data_values().unwrap_or(0));
        if seen > chunk.values || page.kind.data_values().unwrap_or(0) > PAGE_VALUES_MAX {
            return Err(contradiction(column, chunk, seen));
        }
        if page.kind.uses_dictionary() && scan.wants_no_entry() {
            scan.row += page.kind.data_values().unwrap_or(0);
            walk.skip(&page);
            continue;
        }
        bytes.clear();
        page.decompress(walk.body(&page)?, chunk.codec, &mut codecs, &mut bytes)?;
        if let PageKind::Dictionary { values, .. } = page.kind {
            scan.dictionary(&page, &bytes, values, judge)?;
        } else {
            scan.data(&page, &bytes, judge, hit)?;
        }
    }
    if seen == chunk.values {
        Ok(())
    } else {
        Err(contradiction(column, chunk, seen))
    }
}

fn contradiction(column: &SubjectColumn, chunk: &Chunk, counted: u64) -> FormatError {
    FormatError::Contradiction {
        what: format!("values of a chunk of column {}", column.descriptor.path()),
        claimed: chunk.values,
        counted,
    }
}

fn is_dictionary(encoding: Encoding) -> bool {
    matches!(
        encoding,
        Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
    )
}

/// What is kept from page to page.
struct Scan<'a> {
    column: &'a SubjectColumn,
    verdicts: Vec<Option<u32>>,
    levels: Levels,
    indices: Vec<u32>,
    scratch: Vec<u8>,
    /// Rows that began before the next page.
    row: u32,
}

impl Scan<'_> {
    /// Whether the pages of the dictionary can be passed over: their entries are rows, and none is wanted.
    fn wants_no_entry(&self) -> bool {
        let is_flat = self.column.descriptor.max_rep_level() == 0;
        is_flat && !self.verdicts.is_empty() && self.verdicts.iter().all(Option::is_none)
    }

    fn dictionary(
        &mut self,
        page: &PageHeader,
        bytes: &[u8],
        values: u32,
        judge: &mut Judge<'_>,
    ) -> Result<()> {
        self.verdicts.clear();
        let (kind, scratch, verdicts) = (self.column.kind, &mut self.scratch, &mut self.verdicts);
        each_plain(bytes, self.column, u64::from(values), page, |raw| {
            verdicts.push(judge(kind.canonical(raw, scratch)));
        })
    }

    fn data(
        &mut self,
        page: &PageHeader,
        bytes: &[u8],
        judge: &mut Judge<'_>,
        hit: &mut Hit<'_>,
    ) -> Result<()> {
        let descriptor = &self.column.descriptor;
        let (max_repetition, max_definition) =
            (descriptor.max_rep_level(), descriptor.max_def_level());
        let values = self
            .levels
            .read(page, bytes, max_repetition, max_definition)?;
        let count = page.kind.data_values().unwrap_or(0);
        let present = self.levels.values(0..count as usize, max_definition);
        let mut rows = Rows {
            levels: &self.levels,
            has_repetition: max_repetition > 0,
            max_definition,
            at: 0,
            count: count as usize,
            row: self.row,
            values: 0,
        };
        if page.kind.data_encoding().is_some_and(is_dictionary) {
            self.indices.clear();
            if present > 0 {
                let (width, packed) = values.split_first().ok_or(FormatError::Truncated {
                    structure: "dictionary indices",
                    offset: page.offset,
                    needed: 1,
                    available: 0,
                })?;
                RleDecoder::new(packed, *width, page.offset)?.read(present, &mut self.indices)?;
            }
            for (at, index) in self.indices.iter().enumerate() {
                match self.verdicts.get(*index as usize) {
                    Some(None) => {}
                    Some(Some(ordinal)) => {
                        if let Some(row) = rows.of_value(at) {
                            hit(row, *ordinal);
                        }
                    }
                    None => {
                        return Err(FormatError::Invalid {
                            structure: "dictionary indices",
                            offset: page.offset,
                            found: format!("index {index}"),
                            expected: "an entry of the dictionary",
                        });
                    }
                }
            }
        } else if page.kind.data_encoding() != Some(Encoding::PLAIN) {
            let (kind, scratch) = (self.column.kind, &mut self.scratch);
            let physical = Physical::of(descriptor);
            let at = bytes.len() - values.len();
            let values = PageValues::read(page, physical, bytes.to_vec(), at, present, Vec::new())?;
            for (at, raw) in (0..present).filter_map(|at| Some((at, values.get(at)?))) {
                if let Some(ordinal) = judge(kind.canonical(raw, scratch))
                    && let Some(row) = rows.of_value(at)
                {
                    hit(row, ordinal);
                }
            }
        } else {
            let (kind, scratch) = (self.column.kind, &mut self.scratch);
            let mut at = 0;
            each_plain(values, self.column, present as u64, page, |raw| {
                if let Some(ordinal) = judge(kind.canonical(raw, scratch))
                    && let Some(row) = rows.of_value(at)
                {
                    hit(row, ordinal);
                }
                at += 1;
            })?;
        }
        self.row = rows.finish();
        Ok(())
    }
}

fn is_max(level: u32, max: i16) -> bool {
    i64::from(level) == i64::from(max)
}

/// Which row each value of a page is in.
struct Rows<'a> {
    levels: &'a Levels,
    has_repetition: bool,
    max_definition: i16,
    at: usize,
    count: usize,
    /// Rows that began before `at`.
    row: u32,
    /// Values before `at`.
    values: usize,
}

impl Rows<'_> {
    /// The row of the value with this number in the page, which must not be less than the last one asked for.
    fn of_value(&mut self, value: usize) -> Option<u32> {
        if !self.has_repetition && self.levels.definition.is_empty() {
            return Some(self.row + u32::try_from(value).ok()?);
        }
        let mut row = None;
        while self.values <= value {
            row = self.next_value();
            self.values += 1;
        }
        row
    }

    /// The row of the next value that is not null.
    fn next_value(&mut self) -> Option<u32> {
        while self.at < self.count {
            let level = self.levels.definition_of(self.at, self.max_definition);
            let is_value = is_max(level, self.max_definition);
            self.step();
            if is_value {
                return self.row.checked_sub(1);
            }
        }
        None
    }

    fn step(&mut self) {
        let begins = !self.has_repetition || self.levels.repetition.get(self.at) == Some(&0);
        self.row += u32::from(begins);
        self.at += 1;
    }

    /// Rows that began before the end of the page.
    fn finish(mut self) -> u32 {
        if self.has_repetition {
            while self.at < self.count {
                self.step();
            }
            return self.row;
        }
        self.row + u32::try_from(self.count - self.at).unwrap_or(0)
    }
}

/// Shows the PLAIN-encoded values in `bytes` to `see`.
fn each_plain(
    mut bytes: &[u8],
    column: &SubjectColumn,
    count: u64,
    page: &PageHeader,
    mut see: impl FnMut(&[u8]),
) -> Result<()> {
    let fixed = match column.descriptor.physical_type() {
        Type::INT32 => Some(4),
        Type::INT64 => Some(8),
        Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.descriptor.type_length()).ok(),
        _ => None,
    };
    for done in 0..count {
        let value = match fixed {
            Some(len) => bytes.split_at_checked(len),
            None => bytes
                .split_first_chunk::<4>()
                .and_then(|(len, rest)| rest.split_at_checked(u32::from_le_bytes(*len) as usize)),
        };
        let Some((value, rest)) = value else {
            return Err(FormatError::Truncated {
                structure: "PLAIN values",
                offset: page.offset,
                needed: count - done,
                available: 0,
            });
        };
        see(value);
        bytes = rest;
    }
    Ok(())
}

impl SubjectKind {
    /// The canonical bytes of a value as it is in the file (`PLAIN`, without a length).
    pub fn canonical<'a>(self, raw: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let scale = match self {
            Self::Bytes => return raw,
            Self::Integer { scale, .. } | Self::BigEndian { scale } => scale as usize,
        };
        scratch.clear();
        // Writing to a Vec can't fail.
        let _written = match self {
            Self::Integer { signed: true, .. } => write!(scratch, "{}", signed_integer(raw)),
            Self::Integer { signed: false, .. } => write!(scratch, "{}", unsigned_integer(raw)),
            _ => match big_endian(raw) {
                Some(value) => write!(scratch, "{value}"),
                None => return raw,
            },
        };
        if scale > 0 {
            let sign = usize::from(scratch.first() == Some(&b'-'));
            let digits = scratch.len() - sign;
            if digits <= scale {
                scratch.splice(sign..sign, std::iter::repeat_n(b'0', scale + 1 - digits));
            }
            scratch.insert(scratch.len() - scale, b'.');
            while scratch.last() == Some(&b'0') {
                scratch.pop();
            }
            if scratch.last() == Some(&b'.') {
                scratch.pop();
            }
        }
        scratch
    }
}

fn signed_integer(raw: &[u8]) -> i64 {
    match (raw.first_chunk::<4>(), raw.first_chunk::<8>()) {
        (_, Some(bytes)) => i64::from_le_bytes(*bytes),
        (Some(bytes), None) => i64::from(i32::from_le_bytes(*bytes)),
        (None, None) => 0,
    }
}

fn unsigned_integer(raw: &[u8]) -> u64 {
    match (raw.first_chunk::<4>(), raw.first_chunk::<8>()) {
        (_, Some(bytes)) => u64::from_le_bytes(*bytes),
        (Some(bytes), None) => u64::from(u32::from_le_bytes(*bytes)),
        (None, None) => 0,
    }
}

fn big_endian(raw: &[u8]) -> Option<i256> {
    let negative = raw.first()? & 0x80 != 0;
    let mut bytes = [if negative { 0xFF } else { 0 }; 32];
    let start = bytes.len().checked_sub(raw.len())?;
    bytes.split_at_mut(start).1.copy_from_slice(raw);
    Some(i256::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: SubjectKind, raw: &[u8]) -> String {
        String::from_utf8(kind.canonical(raw, &mut Vec::new()).to_vec()).unwrap()
    }

    #[test]
    fn numbers_become_their_canonical_text() {
        let integer = |signed, scale| SubjectKind::Integer { signed, scale };
        assert_eq!(text(integer(true, 0), &(-5_i32).to_le_bytes()), "-5");
        assert_eq!(
            text(integer(false, 0), &u64::MAX.to_le_bytes()),
            "18446744073709551615"
        );
        assert_eq!(text(integer(true, 2), &700_i32.to_le_bytes()), "7");
        assert_eq!(text(integer(true, 2), &(-5_i64).to_le_bytes()), "-0.05");
        assert_eq!(text(integer(true, 3), &0_i64.to_le_bytes()), "0");
        let big = SubjectKind::BigEndian { scale: 1 };
        assert_eq!(text(big, &[0xFF, 0xF6]), "-1");
        assert_eq!(
            text(big, &[0x7F; 16]),
            "16947396313317327396019049076013554060.7"
        );
    }
}
