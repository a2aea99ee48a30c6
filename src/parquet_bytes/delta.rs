//! The delta encodings: `DELTA_BINARY_PACKED`, `DELTA_LENGTH_BYTE_ARRAY` and `DELTA_BYTE_ARRAY`.
//!
//! ```text
//!   DELTA_BINARY_PACKED:  varint block size, varint miniblocks, varint values, zigzag first value, block*
//!                block:  zigzag smallest delta, a bit width per miniblock, miniblocks (bit-packed)
//!   DELTA_LENGTH_BYTE_ARRAY:  lengths as above, then all bytes
//!   DELTA_BYTE_ARRAY:  prefix lengths as above, then suffixes as DELTA_LENGTH_BYTE_ARRAY
//! ```
//! Arithmetic wraps at the width of the column's type.
//!
//! Source: `Encodings.md`, "Delta Encoding", in the `parquet-format` repository.

use super::varint;
use crate::error::FormatError;
use crate::limits::PAGE_DECODED_BYTES_MAX;

type Result<T> = std::result::Result<T, FormatError>;

/// How a writer laid out the blocks; a new stream gets the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Values of a block.
    values: usize,
    /// Miniblocks of a block.
    miniblocks: usize,
}

/// Where the values of a page are in some bytes: from, to.
pub type Spans = Vec<(u32, u32)>;

/// Values of a block; no writer is known to use more.
const BLOCK_VALUES_MAX: u64 = 1 << 20;

impl Default for Blocks {
    fn default() -> Self {
        Self {
            values: 128,
            miniblocks: 4,
        }
    }
}

/// A page's values, read from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: u64,
}

impl<'a> Reader<'a> {
    fn truncated(&self) -> FormatError {
        FormatError::Truncated {
            structure: "delta encoding",
            offset: self.offset,
            needed: 1,
            available: 0,
        }
    }

    fn invalid(&self, found: String, expected: &'static str) -> FormatError {
        FormatError::Invalid {
            structure: "delta encoding",
            offset: self.offset,
            found,
            expected,
        }
    }

    fn varint(&mut self) -> Result<u64> {
        varint::read(&mut self.bytes).ok_or_else(|| self.truncated())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or_else(|| self.truncated())?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// Appends the values of a `DELTA_BINARY_PACKED` stream to `out`, which must be `count`; returns how it was
/// laid out and the bytes behind it.
///
/// # Errors
/// When the stream is damaged or holds another number of values.
pub fn read_binary_packed<'a>(
    bytes: &'a [u8],
    count: usize,
    offset: u64,
    out: &mut Vec<i64>,
) -> Result<(Blocks, &'a [u8])> {
    let mut reader = Reader { bytes, offset };
    let (block, miniblocks) = (reader.varint()?, reader.varint()?);
    let values = reader.varint()?;
    let first = varint::zigzag(reader.varint()?);
    let is_possible = miniblocks > 0
        && block <= BLOCK_VALUES_MAX
        && block.is_multiple_of(miniblocks)
        && (block / miniblocks).is_multiple_of(8)
        && block > 0;
    if !is_possible {
        return Err(reader.invalid(
            format!("blocks of {block} values in {miniblocks} miniblocks"),
            "miniblocks of a multiple of 8 values",
        ));
    }
    if values != count as u64 {
        return Err(FormatError::Contradiction {
            what: format!("values of the delta-encoded page at offset {offset}"),
            claimed: count as u64,
            counted: values,
        });
    }
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let blocks = Blocks {
        values: size(block),
        miniblocks: size(miniblocks),
    };
    if count == 0 {
        return Ok((blocks, reader.bytes));
    }
    let per_miniblock = blocks.values / blocks.miniblocks;
    let end = out.len() + count;
    out.push(first);
    let mut last = first;
    while out.len() < end {
        let smallest = varint::zigzag(reader.varint()?);
        let widths = reader.take(blocks.miniblocks)?;
        for width in widths {
            if out.len() == end {
                break;
            }
            if *width > 64 {
                return Err(reader.invalid(format!("a bit width of {width}"), "at most 64"));
            }
            let len = per_miniblock / 8 * usize::from(*width);
            // The last miniblock may lack the bytes of its padding.
            let wanted = (end - out.len()).min(per_miniblock);
            let needed = (wanted * usize::from(*width)).div_ceil(8);
            let packed = reader.take(len.min(reader.bytes.len()).max(needed))?;
            for index in 0..wanted {
                let delta = bits(packed, index * usize::from(*width), *width);
                last = last
                    .wrapping_add(smallest)
                    .wrapping_add(delta.cast_signed());
                out.push(last);
            }
        }
    }
    Ok((blocks, reader.bytes))
}

/// `width` bits from bit `at` on.
fn bits(bytes: &[u8], at: usize, width: u8) -> u64 {
    let mut word = [0; 16];
    let tail = bytes.get(at / 8..).unwrap_or_default();
    match tail.first_chunk::<16>() {
        Some(window) => word = *window,
        None => {
            for (slot, byte) in word.iter_mut().zip(tail) {
                *slot = *byte;
            }
        }
    }
    let mask = (1_u128 << width) - 1;
    let [low, ..] = split(u128::from_le_bytes(word) >> (at % 8) & mask);
    low
}

fn split(value: u128) -> [u64; 2] {
    let bytes = value.to_le_bytes();
    let (low, high) = bytes.split_at(8);
    [low, high].map(|half| {
        half.first_chunk::<8>()
            .map_or(0, |half| u64::from_le_bytes(*half))
    })
}

/// Appends `values` as `DELTA_BINARY_PACKED`, wrapping at 32 bits for a column of 32-bit integers.
pub fn write_binary_packed(values: &[i64], is_32_bit: bool, blocks: Blocks, out: &mut Vec<u8>) {
    varint::write(out, blocks.values as u64);
    varint::write(out, blocks.miniblocks as u64);
    varint::write(out, values.len() as u64);
    let Some((first, rest)) = values.split_first() else {
        varint::write(out, 0);
        return;
    };
    varint::write_zigzag(out, *first);
    let wrap = |delta: i64| {
        if is_32_bit {
            let [a, b, c, d, ..] = delta.to_le_bytes();
            i64::from(i32::from_le_bytes([a, b, c, d]))
        } else {
            delta
        }
    };
    let per_miniblock = blocks.values / blocks.miniblocks.max(1);
    let mut last = *first;
    let mut deltas = Vec::with_capacity(blocks.values);
    for block in rest.chunks(blocks.values.max(1)) {
        deltas.clear();
        for value in block {
            deltas.push(wrap(value.wrapping_sub(last)));
            last = *value;
        }
        let smallest = deltas.iter().copied().min().unwrap_or(0);
        varint::write_zigzag(out, smallest);
        let widths = out.len();
        out.resize(widths + blocks.miniblocks, 0);
        for (number, miniblock) in deltas.chunks(per_miniblock.max(1)).enumerate() {
            let above = |delta: &i64| {
                let above = delta.wrapping_sub(smallest).cast_unsigned();
                if is_32_bit {
                    above & u64::from(u32::MAX)
                } else {
                    above
                }
            };
            let most = miniblock.iter().map(above).max().unwrap_or(0);
            let width = u8::try_from(64 - most.leading_zeros()).unwrap_or(64);
            if let Some(slot) = out.get_mut(widths + number) {
                *slot = width;
            }
            let (mut word, mut filled) = (0_u128, 0_u32);
            let start = out.len();
            for delta in miniblock {
                word |= u128::from(above(delta)) << filled;
                filled += u32::from(width);
                if filled >= 64 {
                    let [low, high] = split(word);
                    out.extend_from_slice(&low.to_le_bytes());
                    word = u128::from(high);
                    filled -= 64;
                }
            }
            let bytes = word.to_le_bytes();
            out.extend(bytes.iter().take(filled.div_ceil(8) as usize));
            out.resize(start + per_miniblock / 8 * usize::from(width), 0);
        }
    }
}

/// The spans of the values of a `DELTA_LENGTH_BYTE_ARRAY` stream in the bytes that are returned.
///
/// # Errors
/// When the stream is damaged.
pub fn read_lengths(bytes: &[u8], count: usize, offset: u64) -> Result<(Spans, Blocks, &[u8])> {
    let mut lengths = Vec::with_capacity(count);
    let (blocks, data) = read_binary_packed(bytes, count, offset, &mut lengths)?;
    let mut spans = Vec::with_capacity(count);
    let mut at = 0_u32;
    for length in lengths {
        let end = u32::try_from(length)
            .ok()
            .and_then(|length| at.checked_add(length))
            .filter(|end| *end as usize <= data.len());
        let Some(end) = end else {
            return Err(FormatError::Truncated {
                structure: "delta-encoded byte arrays",
                offset,
                needed: length.unsigned_abs(),
                available: data.len() as u64 - u64::from(at),
            });
        };
        spans.push((at, end));
        at = end;
    }
    Ok((spans, blocks, data))
}

/// Appends values as `DELTA_LENGTH_BYTE_ARRAY`.
pub fn write_lengths<'a>(
    values: impl Iterator<Item = &'a [u8]> + Clone,
    blocks: Blocks,
    out: &mut Vec<u8>,
) {
    let lengths: Vec<i64> = values
        .clone()
        .map(|value| i64::try_from(value.len()).unwrap_or(i64::MAX))
        .collect();
    write_binary_packed(&lengths, true, blocks, out);
    values.for_each(|value| out.extend_from_slice(value));
}

/// Decodes a `DELTA_BYTE_ARRAY` stream: all values behind each other, and their spans.
///
/// # Errors
/// When the stream is damaged, or its values take more than [`PAGE_DECODED_BYTES_MAX`] bytes.
pub fn read_prefixed(bytes: &[u8], count: usize, offset: u64) -> Result<(Vec<u8>, Spans, Blocks)> {
    let mut prefixes = Vec::with_capacity(count);
    let (blocks, rest) = read_binary_packed(bytes, count, offset, &mut prefixes)?;
    let (suffixes, _, data) = read_lengths(rest, count, offset)?;
    let mut values = Vec::with_capacity(data.len() * 2);
    let mut spans = Vec::with_capacity(count);
    let (mut start, mut end) = (0_usize, 0_usize);
    for (prefix, suffix) in prefixes.into_iter().zip(suffixes) {
        let prefix = usize::try_from(prefix)
            .ok()
            .filter(|prefix| *prefix <= end - start);
        let suffix = data.get(suffix.0 as usize..suffix.1 as usize);
        let (Some(prefix), Some(suffix)) = (prefix, suffix) else {
            return Err(FormatError::Invalid {
                structure: "delta-encoded byte arrays",
                offset,
                found: "a prefix longer than the value before".into(),
                expected: "at most its length",
            });
        };
        if values.len() + prefix + suffix.len() > PAGE_DECODED_BYTES_MAX {
            return Err(FormatError::Unsupported {
                feature: format!(
                    "a page whose values take more than {PAGE_DECODED_BYTES_MAX} bytes"
                ),
            });
        }
        let at = values.len();
        values.extend_from_within(start..start + prefix);
        values.extend_from_slice(suffix);
        (start, end) = (at, values.len());
        let narrow = |at| u32::try_from(at).unwrap_or(u32::MAX);
        spans.push((narrow(start), narrow(end)));
    }
    Ok((values, spans, blocks))
}

/// Appends values as `DELTA_BYTE_ARRAY`.
pub fn write_prefixed<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    blocks: Blocks,
    out: &mut Vec<u8>,
) {
    let (mut prefixes, mut suffixes) = (Vec::new(), Vec::new());
    let mut last: &[u8] = &[];
    for value in values {
        let prefix = value
            .iter()
            .zip(last)
            .take_while(|(left, right)| left == right)
            .count();
        prefixes.push(i64::try_from(prefix).unwrap_or(i64::MAX));
        suffixes.push(value.get(prefix..).unwrap_or_default());
        last = value;
    }
    write_binary_packed(&prefixes, true, blocks, out);
    write_lengths(suffixes.into_iter(), blocks, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_formats_own_example_encodes() {
        // "1, 2, 3, 4, 5" of Encodings.md: first value 1, smallest delta 1, widths 0.
        let mut out = Vec::new();
        write_binary_packed(
            &[1, 2, 3, 4, 5],
            false,
            Blocks {
                values: 8,
                miniblocks: 1,
            },
            &mut out,
        );
        assert_eq!(out, [8, 1, 5, 2, 2, 0]);
    }

    proptest! {
        #[test]
        fn integers_come_back(
            values in prop::collection::vec(prop_oneof![any::<i64>(), -5_i64..5, Just(i64::MIN)], 0..300),
            blocks in prop_oneof![Just((128, 4)), Just((8, 1)), Just((256, 2))],
        ) {
            let blocks = Blocks { values: blocks.0, miniblocks: blocks.1 };
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            write_binary_packed(&values, false, blocks, &mut bytes);
            bytes.push(0xAB);
            let (layout, rest) = read_binary_packed(&bytes, values.len(), 0, &mut back).unwrap();
            prop_assert_eq!(rest, &[0xAB]);
            prop_assert_eq!(layout, blocks);
            prop_assert_eq!(back, values);
        }

        #[test]
        fn integers_of_32_bits_come_back(values in prop::collection::vec(any::<i32>(), 0..300)) {
            let wide: Vec<i64> = values.iter().copied().map(i64::from).collect();
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            write_binary_packed(&wide, true, Blocks::default(), &mut bytes);
            read_binary_packed(&bytes, values.len(), 0, &mut back).unwrap();
            let back: Vec<i32> = back.iter().map(|value| {
                let [a, b, c, d, ..] = value.to_le_bytes();
                i32::from_le_bytes([a, b, c, d])
            }).collect();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn byte_arrays_come_back(values in prop::collection::vec("(aa|ab|b){0,6}", 0..200)) {
            let bytes_of = || values.iter().map(String::as_bytes);
            let mut bytes = Vec::new();
            write_lengths(bytes_of(), Blocks::default(), &mut bytes);
            let (spans, _, data) = read_lengths(&bytes, values.len(), 0).unwrap();
            let back = spans.iter().map(|(from, to)| &data[*from as usize..*to as usize]);
            prop_assert!(back.eq(bytes_of()));
            bytes.clear();
            write_prefixed(bytes_of(), Blocks::default(), &mut bytes);
            let (data, spans, _) = read_prefixed(&bytes, values.len(), 0).unwrap();
            let back = spans.iter().map(|(from, to)| &data[*from as usize..*to as usize]);
            prop_assert!(back.eq(bytes_of()));
        }

        #[test]
        fn damaged_streams_are_errors_and_not_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0_usize..200) {
            let _result = read_binary_packed(&bytes, count, 0, &mut Vec::new());
            let _result = read_prefixed(&bytes, count, 0);
        }
    }
}
