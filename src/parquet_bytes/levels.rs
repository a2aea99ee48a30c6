//! Definition and repetition levels of a decompressed data page, and where its values begin.
//!
//! ```text
//!   V1 page:  [len u32, repetition levels] [len u32, definition levels] values
//!   V2 page:  repetition levels, definition levels, values      (lengths in the header)
//! ```
//! A level whose maximum is 0 is not stored.
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
                        bit_packed(bytes, values as usize, width, out);
                        rest = after;
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

/// Appends the levels of a page's `entries` entries in the encodings that its header says; says how many bytes
/// the repetition and the definition levels took.
pub fn write(
    levels: &Levels,
    entries: usize,
    kind: PageKind,
    max_repetition: i16,
    max_definition: i16,
    out: &mut Vec<u8>,
) -> (usize, usize) {
    let PageKind::V1 {
        definition,
        repetition,
        ..
    } = kind
    else {
        let start = out.len();
        write_runs(&levels.repetition, entries, max_repetition, out);
        let middle = out.len();
        write_runs(&levels.definition, entries, max_definition, out);
        return (middle - start, out.len() - middle);
    };
    let mut lens = [0; 2];
    let both = [
        (&levels.repetition, max_repetition, repetition),
        (&levels.definition, max_definition, definition),
    ];
    for ((levels, max, encoding), len) in both.into_iter().zip(&mut lens) {
        if max == 0 {
            continue;
        }
        let start = out.len();
        #[expect(deprecated, reason = "old files hold it")]
        if encoding == Encoding::BIT_PACKED {
            let max_level = u32::try_from(max).unwrap_or(0);
            let all = vec![max_level; if levels.is_empty() { entries } else { 0 }];
            write_bit_packed(
                if levels.is_empty() { &all } else { levels },
                width(max),
                out,
            );
        } else {
            out.extend_from_slice(&[0; 4]);
            write_runs(levels, entries, max, out);
            // A page's levels take less bytes than the page, which is shorter than 2 GiB.
            let bytes = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
            if let Some(slot) = out.get_mut(start..start + 4) {
                slot.copy_from_slice(&bytes.to_le_bytes());
            }
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

/// The deprecated encoding of levels: highest bits first.
fn bit_packed(bytes: &[u8], count: usize, width: u8, out: &mut Vec<u32>) {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    for _ in 0..count {
        let level = bits
            .by_ref()
            .take(usize::from(width))
            .fold(0, |sum, bit| sum << 1 | bit);
        out.push(level);
    }
}

fn write_bit_packed(levels: &[u32], width: u8, out: &mut Vec<u8>) {
    let (mut byte, mut bits) = (0_u8, 0);
    for level in levels {
        for bit in (0..width).rev() {
            byte = byte << 1 | u8::from(level >> bit & 1 == 1);
            bits += 1;
            if bits == 8 {
                out.push(byte);
                (byte, bits) = (0, 0);
            }
        }
    }
    if bits > 0 {
        out.push(byte << (8 - bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_the_largest_level() {
        assert_eq!([1, 2, 3, 4, 7, 8].map(width), [1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn the_deprecated_encoding_decodes_as_in_the_formats_example() {
        // 0 to 7 at 3 bits, as in Encodings.md, "Bit-packed (Deprecated)".
        let bytes = [0b0000_0101, 0b0011_1001, 0b0111_0111];
        let mut out = Vec::new();
        bit_packed(&bytes, 8, 3, &mut out);
        assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7]);
        let mut back = Vec::new();
        write_bit_packed(&out, 3, &mut back);
        assert_eq!(back, bytes);
        back.clear();
        write_bit_packed(&[1, 0, 1], 1, &mut back);
        assert_eq!(back, [0b1010_0000]);
    }
}
