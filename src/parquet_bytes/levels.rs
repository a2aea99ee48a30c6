//! Definition and repetition levels of a decompressed data page, and where its values begin.
//!
//! ```text
//!   V1 page:  [len u32, repetition levels] [len u32, definition levels] values
//!   V2 page:  repetition levels, definition levels, values      (lengths in the header)
//! ```
//! A level whose maximum is 0 is not stored.
//!
//! Source: `README.md`, "Data Pages", in the `parquet-format` repository.

use parquet::basic::Encoding;

use super::page::{PageHeader, PageKind};
use super::rle::{self, RleDecoder};
use crate::error::FormatError;

type Result<T> = std::result::Result<T, FormatError>;

/// The levels of one page; empty where the maximum is 0. Kept for reuse from page to page.
#[derive(Debug, Default)]
pub struct Levels {
    /// One per value or null.
    pub repetition: Vec<u32>,
    /// One per value or null.
    pub definition: Vec<u32>,
}

impl Levels {
    /// Decodes just the repetition levels of a page of version 2.
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
            (&mut self.repetition, max_repetition),
            (&mut self.definition, max_definition),
        ];
        let mut rest = body;
        match page.kind {
            PageKind::V1 {
                values,
                definition,
                repetition,
                ..
            } => {
                for ((out, max), encoding) in levels.into_iter().zip([repetition, definition]) {
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
                        RleDecoder::new(bytes, width, page.offset)?.read(values as usize, out)?;
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
                for ((out, max), len) in levels.into_iter().zip([repetition_len, definition_len]) {
                    let (bytes, after) =
                        rest.split_at_checked(len as usize).ok_or_else(truncated)?;
                    rest = after;
                    if max > 0 {
                        RleDecoder::new(bytes, width(max), page.offset)?
                            .read(values as usize, out)?;
                        check(out, max, page)?;
                    }
                }
            }
            PageKind::Dictionary { .. } | PageKind::Other => {}
        }
        Ok(rest)
    }
}

/// Appends the levels of a page in the encodings that its header says; says how many bytes the repetition
/// and the definition levels took.
pub fn write(
    levels: &Levels,
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
        rle::encode(&levels.repetition, width(max_repetition), out);
        let middle = out.len();
        rle::encode(&levels.definition, width(max_definition), out);
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
            write_bit_packed(levels, width(max), out);
        } else {
            out.extend_from_slice(&[0; 4]);
            rle::encode(levels, width(max), out);
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

/// Bits that a level of at most `max` takes.
fn width(max: i16) -> u8 {
    let leading = u8::try_from(max.leading_zeros()).unwrap_or(0);
    16 - leading
}

fn check(levels: &[u32], max: i16, page: &PageHeader) -> Result<()> {
    let most = levels.iter().copied().max().unwrap_or(0);
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
