//! Definition and repetition levels of a decompressed data page, and where its values begin.
//!
//! ```text
//!   V1 page:  [len u32, repetition levels] [len u32, definition levels] values
//!   V2 page:  repetition levels, definition levels, values      (lengths in the header)
//! ```
//! A level whose maximum is 0 is not stored.
//!
//! The deprecated encoding `BIT_PACKED` puts the highest bits first by the format, and the lowest first in the files
//! of Impala and in the readers of Arrow and Impala. Nothing in a file says which it is. So such levels are read only
//! where both orders give the same ones, and never written.
//!
//! Source: `README.md`, "Data Pages", in the `parquet-format` repository.

use std::ops::Range;

use parquet::basic::Encoding;

use super::page::{PageHeader, PageKind};
use super::rle::{self, RleDecoder};
use crate::error::FormatError;

type Result<T> = std::result::Result<T, FormatError>;

/// The levels of one page. Kept for reuse from page to page.
#[derive(Debug, Default)]
pub struct Levels {
    /// One per value or null; empty where the maximum is 0.
    pub repetition: Vec<u32>,
    /// One per value or null; empty where all are the maximum, as most are.
    pub definition: Vec<u32>,
}

impl Levels {
    /// How many of some entries are values; `max` is the largest definition level.
    pub fn values(&self, entries: Range<usize>, max: i16) -> usize {
        if self.definition.is_empty() {
            return entries.len();
        }
        let max = u32::try_from(max).unwrap_or(0);
        let levels = self.definition.get(entries).unwrap_or_default();
        // In numbers as wide as the levels, so that many are compared at a time.
        let count =
            |levels: &[u32]| -> u32 { levels.iter().map(|level| u32::from(*level == max)).sum() };
        levels
            .chunks(1 << 16)
            .map(|levels| count(levels) as usize)
            .sum()
    }

    /// The definition level of an entry; `max` is the largest.
    pub fn definition_of(&self, entry: usize, max: i16) -> u32 {
        let max = || u32::try_from(max).unwrap_or(0);
        self.definition.get(entry).copied().unwrap_or_else(max)
    }

    /// Decodes only the repetition levels of a page of version 2.
    ///
    /// # Errors
    /// When they are damaged or larger than their maximum.
    pub fn read_repetition(&mut self, page: &PageHeader, bytes: &[u8], max: i16) -> Result<()> {
        self.repetition.clear();
        let count = page.kind.data_values().unwrap_or(0) as usize;
        RleDecoder::new(bytes, width(max), page.offset)?.read(count, &mut self.repetition)?;
        check(&self.repetition, max, page)
    }

    /// Decodes the levels of a decompressed page body and returns the bytes of its values.
    ///
    /// # Errors
    /// When the levels are damaged or larger than their maximum.
    pub fn read<'a>(
        &mut self,
        page: &PageHeader,
        body: &'a [u8],
        max_repetition: i16,
        max_definition: i16,
    ) -> Result<&'a [u8]> {
        self.repetition.clear();
        self.definition.clear();
        let truncated = || FormatError::Truncated {
            structure: "page levels",
            offset: page.offset,
            needed: u64::from(page.uncompressed_len),
            available: body.len() as u64,
        };
        let levels = [
            (&mut self.repetition, max_repetition, false),
            (&mut self.definition, max_definition, true),
        ];
        let mut rest = body;
        match page.kind {
            PageKind::V1 {
                values,
                definition,
                repetition,
                ..
            } => {
                for ((out, max, is_definition), encoding) in
                    levels.into_iter().zip([repetition, definition])
                {
                    if max == 0 {
                        continue;
                    }
                    let width = width(max);
                    #[expect(deprecated, reason = "old files hold it")]
                    if encoding == Encoding::BIT_PACKED {
                        let len = (values as usize * usize::from(width)).div_ceil(8);
                        let (bytes, after) = rest.split_at_checked(len).ok_or_else(truncated)?;
                        bit_packed(bytes, values as usize, width, out)?;
                        rest = after;
                    } else if encoding != Encoding::RLE {
                        return Err(FormatError::Unsupported {
                            feature: format!("encoding {encoding} of levels"),
                        });
                    } else {
                        let (len, after) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
                        let len = u32::from_le_bytes(*len) as usize;
                        let (bytes, after) = after.split_at_checked(len).ok_or_else(truncated)?;
                        let decoder = RleDecoder::new(bytes, width, page.offset)?;
                        read_runs(decoder, values, (max, is_definition), out)?;
                        rest = after;
                    }
                    check(out, max, page)?;
                }
            }
            PageKind::V2 {
                values,
                definition_len,
                repetition_len,
                ..
            } => {
                for ((out, max, is_definition), len) in
                    levels.into_iter().zip([repetition_len, definition_len])
                {
                    let (bytes, after) =
                        rest.split_at_checked(len as usize).ok_or_else(truncated)?;
                    rest = after;
                    if max > 0 {
                        let decoder = RleDecoder::new(bytes, width(max), page.offset)?;
                        read_runs(decoder, values, (max, is_definition), out)?;
                        check(out, max, page)?;
                    }
                }
            }
            PageKind::Dictionary { .. } | PageKind::Other => {}
        }
        Ok(rest)
    }
}

/// Reads the levels of `count` entries, except definition levels that are all the largest one.
fn read_runs(
    mut decoder: RleDecoder<'_>,
    count: u32,
    (max, is_definition): (i16, bool),
    out: &mut Vec<u32>,
) -> Result<()> {
    let count = count as usize;
    let is_all = |value: Option<u32>| value.is_some_and(|value| i64::from(value) == i64::from(max));
    if is_definition && is_all(decoder.repeated(count)?) {
        return Ok(());
    }
    decoder.read(count, out)
}

/// Appends the levels of a page's `entries` entries as runs ([`kind_with_runs`]); says how many bytes the repetition
/// and the definition levels took.
pub fn write(
    levels: &Levels,
    entries: usize,
    kind: PageKind,
    max_repetition: i16,
    max_definition: i16,
    out: &mut Vec<u8>,
) -> (usize, usize) {
    let PageKind::V1 { .. } = kind else {
        let start = out.len();
        write_runs(&levels.repetition, entries, max_repetition, out);
        let middle = out.len();
        write_runs(&levels.definition, entries, max_definition, out);
        return (middle - start, out.len() - middle);
    };
    let mut lens = [0; 2];
    let both = [
        (&levels.repetition, max_repetition),
        (&levels.definition, max_definition),
    ];
    for ((levels, max), len) in both.into_iter().zip(&mut lens) {
        if max == 0 {
            continue;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        write_runs(levels, entries, max, out);
        // A page's levels take less bytes than the page, which is shorter than 2 GiB.
        let bytes = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(slot) = out.get_mut(start..start + 4) {
            slot.copy_from_slice(&bytes.to_le_bytes());
        }
        *len = out.len() - start;
    }
    let [repetition, definition] = lens;
    (repetition, definition)
}

fn write_runs(levels: &[u32], entries: usize, max: i16, out: &mut Vec<u8>) {
    if levels.is_empty() && max > 0 {
        let max_level = u32::try_from(max).unwrap_or(0);
        rle::encode_repeated(max_level, entries, width(max), out);
    } else {
        rle::encode(levels, width(max), out);
    }
}

/// Bits that a level of at most `max` takes.
fn width(max: i16) -> u8 {
    let leading = u8::try_from(max.leading_zeros()).unwrap_or(0);
    16 - leading
}

fn check(levels: &[u32], max: i16, page: &PageHeader) -> Result<()> {
    let most = rle::largest(levels);
    if i64::from(most) <= i64::from(max) {
        return Ok(());
    }
    Err(FormatError::Invalid {
        structure: "page levels",
        offset: page.offset,
        found: format!("a level of {most}"),
        expected: "at most the maximum that the schema gives",
    })
}

/// What the header of a page says whose levels are written.
pub fn kind_with_runs(mut kind: PageKind, max_repetition: i16, max_definition: i16) -> PageKind {
    if let PageKind::V1 {
        definition,
        repetition,
        ..
    } = &mut kind
    {
        for (encoding, max) in [(repetition, max_repetition), (definition, max_definition)] {
            if max > 0 {
                *encoding = Encoding::RLE;
            }
        }
    }
    kind
}

/// Reads levels in the deprecated encoding, where the order of the bits makes no difference.
fn bit_packed(bytes: &[u8], count: usize, width: u8, out: &mut Vec<u32>) -> Result<()> {
    out.extend(highest_first(bytes, width).take(count));
    if out
        .iter()
        .copied()
        .eq(lowest_first(bytes, width).take(count))
    {
        return Ok(());
    }
    Err(FormatError::Unsupported {
        feature: "a page with levels as BIT_PACKED, whose bits writers put in different orders,"
            .into(),
    })
}

/// As the format describes it.
fn highest_first(bytes: &[u8], width: u8) -> impl Iterator<Item = u32> {
    levels_of(bytes, width, true)
}

/// As Impala writes it, and as it and Arrow read it.
fn lowest_first(bytes: &[u8], width: u8) -> impl Iterator<Item = u32> {
    levels_of(bytes, width, false)
}

fn levels_of(bytes: &[u8], width: u8, is_highest_first: bool) -> impl Iterator<Item = u32> {
    let width = usize::from(width);
    let bit = move |at: usize| {
        let shift = if is_highest_first { 7 - at % 8 } else { at % 8 };
        bytes
            .get(at / 8)
            .map_or(0, |byte| u32::from(byte >> shift & 1))
    };
    let levels = bytes.len() * 8 / width.max(1);
    (0..levels).map(move |level| {
        let bits = level * width..(level + 1) * width;
        if is_highest_first {
            bits.fold(0, |sum, at| sum << 1 | bit(at))
        } else {
            bits.rev().fold(0, |sum, at| sum << 1 | bit(at))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_the_largest_level() {
        assert_eq!([1, 2, 3, 4, 7, 8].map(width), [1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn the_deprecated_encoding_is_read_where_both_orders_of_bits_agree() {
        // 0 to 7 at 3 bits, as in Encodings.md, "Bit-packed (Deprecated)".
        let bytes = [0b0000_0101, 0b0011_1001, 0b0111_0111];
        assert!(highest_first(&bytes, 3).eq(0..8));
        // The same as runs have it, from the same page.
        let bytes = [0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert!(lowest_first(&bytes, 3).eq(0..8));
        assert!(bit_packed(&bytes, 8, 3, &mut Vec::new()).is_err());
        for width in 1..=15 {
            for (byte, level) in [(0, 0), (0xFF, (1 << width) - 1)] {
                let mut out = Vec::new();
                let bytes = vec![byte; (13 * usize::from(width)).div_ceil(8)];
                bit_packed(&bytes, 13, width, &mut out).unwrap();
                assert_eq!(out, [level; 13]);
            }
            let mut one = vec![0; (13 * usize::from(width)).div_ceil(8)];
            one[0] = 1;
            // Levels of whole bytes are the same in either order.
            let is_told = bit_packed(&one, 13, width, &mut Vec::new()).is_ok();
            assert_eq!(is_told, width == 8);
        }
    }
}
