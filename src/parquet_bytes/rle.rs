//! The hybrid of run-length and bit-packed encoding that levels and dictionary indices use.
//!
//! ```text
//!   run:  varint(count << 1), value in ceil(width / 8) bytes
//!      or varint(groups << 1 | 1), groups * width bytes: 8 values a group, lowest bits first
//! ```
//!
//! Source: `Encodings.md`, "Run Length Encoding / Bit-Packing Hybrid", in the `parquet-format` repository.

use super::varint;
use crate::error::FormatError;

type Result<T> = std::result::Result<T, FormatError>;

/// Calls a function that is made for each width, from 0 to 32.
macro_rules! for_width {
    ($width:expr, $call:ident, ($($argument:expr),*)) => {
        for_width!(@ $width, $call, ($($argument),*),
            1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
    };
    (@ $width:expr, $call:ident, $arguments:tt, $($known:literal)*) => {
        match $width {
            0 => {}
            $($known => for_width!(! $call, $known, $arguments),)*
            _ => debug_assert!(false, "a width of {}", $width),
        }
    };
    (! $call:ident, $known:literal, ($($argument:expr),*)) => {
        $call::<$known>($($argument),*)
    };
}
/// Decodes values of up to 32 bits.
pub struct RleDecoder<'a> {
    bytes: &'a [u8],
    width: u8,
    run: Run<'a>,
    offset: u64,
}

enum Run<'a> {
    Repeated {
        value: u32,
        left: usize,
    },
    Packed {
        bytes: &'a [u8],
        at: usize,
        left: usize,
    },
}

impl<'a> RleDecoder<'a> {
    /// Decodes `bytes`, whose values take `width` bits (0 to 32); `offset` of the page is for messages.
    ///
    /// # Errors
    /// When the width is more than 32 bits.
    pub fn new(bytes: &'a [u8], width: u8, offset: u64) -> Result<Self> {
        if width > 32 {
            return Err(FormatError::Invalid {
                structure: "run-length encoding",
                offset,
                found: format!("a bit width of {width}"),
                expected: "at most 32",
            });
        }
        Ok(Self {
            bytes,
            width,
            run: Run::Repeated { value: 0, left: 0 },
            offset,
        })
    }

    /// Appends the next `count` values to `out`.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn read(&mut self, mut count: usize, out: &mut Vec<u32>) -> Result<()> {
        while count > 0 {
            match &mut self.run {
                Run::Repeated { left: 0, .. } | Run::Packed { left: 0, .. } => {
                    self.next_run(count)?;
                }
                Run::Repeated { value, left } => {
                    let take = count.min(*left);
                    out.resize(out.len() + take, *value);
                    *left -= take;
                    count -= take;
                }
                Run::Packed { bytes, at, left } => {
                    let take = count.min(*left);
                    unpack(bytes, *at, take, self.width, out);
                    *at += take;
                    *left -= take;
                    count -= take;
                }
            }
        }
        Ok(())
    }

    /// The next value.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn one(&mut self) -> Result<u32> {
        if let Run::Repeated { left: 0, .. } | Run::Packed { left: 0, .. } = self.run {
            self.next_run(1)?;
        }
        Ok(match &mut self.run {
            Run::Repeated { value, left } => {
                *left -= 1;
                *value
            }
            Run::Packed { bytes, at, left } => {
                let bit = *at * usize::from(self.width);
                *at += 1;
                *left -= 1;
                // At most 32 bits that begin inside of a byte.
                let mut word = [0; 8];
                let bytes = bytes.get(bit / 8..).unwrap_or_default();
                match bytes.first_chunk::<8>() {
                    Some(bytes) => word = *bytes,
                    None => word
                        .iter_mut()
                        .zip(bytes)
                        .for_each(|(to, from)| *to = *from),
                }
                let value = u64::from_le_bytes(word) >> (bit % 8);
                let mask = (1_u64 << self.width) - 1;
                u32::try_from(value & mask).unwrap_or(u32::MAX)
            }
        })
    }

    /// Passes over the next `count` values.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn skip(&mut self, mut count: usize) -> Result<()> {
        while count > 0 {
            match &mut self.run {
                Run::Repeated { left: 0, .. } | Run::Packed { left: 0, .. } => {
                    self.next_run(count)?;
                }
                Run::Repeated { left, .. } => {
                    let take = count.min(*left);
                    *left -= take;
                    count -= take;
                }
                Run::Packed { at, left, .. } => {
                    let take = count.min(*left);
                    *at += take;
                    *left -= take;
                    count -= take;
                }
            }
        }
        Ok(())
    }

    /// The value of the next `count` values, if they are one run.
    ///
    /// # Errors
    /// When the bytes end before it.
    pub fn repeated(&mut self, count: usize) -> Result<Option<u32>> {
        if count > 0
            && let Run::Repeated { left: 0, .. } | Run::Packed { left: 0, .. } = self.run
        {
            self.next_run(count)?;
        }
        Ok(match self.run {
            Run::Repeated { value, left } if left >= count && count > 0 => Some(value),
            _ => None,
        })
    }

    fn next_run(&mut self, needed: usize) -> Result<()> {
        if self.width == 0 {
            // Some writers leave out the runs of values that take no bits.
            self.run = Run::Repeated {
                value: 0,
                left: needed,
            };
            return Ok(());
        }
        let truncated = FormatError::Truncated {
            structure: "run-length encoding",
            offset: self.offset,
            needed: needed as u64,
            available: 0,
        };
        let Some(header) = varint::read(&mut self.bytes) else {
            return Err(truncated);
        };
        if header & 1 == 0 {
            let width = usize::from(self.width).div_ceil(8);
            let Some((value, rest)) = self.bytes.split_at_checked(width) else {
                return Err(truncated);
            };
            self.bytes = rest;
            let value = value
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            let left = usize::try_from(header >> 1).unwrap_or(usize::MAX);
            if left == 0 {
                return Err(truncated);
            }
            self.run = Run::Repeated { value, left };
        } else {
            let groups = usize::try_from(header >> 1).unwrap_or(usize::MAX);
            // The last run may lack the bytes of its padding.
            let len = groups
                .saturating_mul(usize::from(self.width))
                .min(self.bytes.len());
            let (bytes, rest) = self.bytes.split_at(len);
            let left = (len * 8 / usize::from(self.width)).min(groups.saturating_mul(8));
            if left == 0 {
                return Err(truncated);
            }
            self.bytes = rest;
            self.run = Run::Packed { bytes, at: 0, left };
        }
        Ok(())
    }
}

/// Appends `values` of `width` bits each to `out`; bits of a value above its width are lost.
///
/// Eight or more equal values in a row become a repeated run, as in every known writer; packed runs hold at
/// most 504 values, so that their header takes one byte.
pub fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let mut packed = values;
    // Groups at the front of `packed` that are no repeated run.
    let mut groups = 0;
    while let Some((group, rest)) = packed
        .get(groups * GROUP..)
        .and_then(<[u32]>::split_first_chunk::<GROUP>)
    {
        let [first, ..] = group;
        if group.iter().any(|value| value != first) {
            groups += 1;
            continue;
        }
        let run = GROUP + rest.iter().take_while(|value| *value == first).count();
        let (before, after) = packed.split_at(groups * GROUP);
        encode_packed(before, width, out);
        encode_repeated(*first, run, width, out);
        packed = after.get(run..).unwrap_or_default();
        groups = 0;
    }
    encode_packed(packed, width, out);
}

/// Appends a value `count` times.
pub fn encode_repeated(value: u32, count: usize, width: u8, out: &mut Vec<u8>) {
    if count > 0 {
        varint::write(out, (count as u64) << 1);
        let bytes = value.to_le_bytes();
        out.extend(bytes.iter().take(usize::from(width).div_ceil(8)));
    }
}

/// Values of a group: the fewest that a packed run holds.
const GROUP: usize = 8;
const PACKED_RUN_VALUES_MAX: usize = 63 * GROUP;

fn encode_packed(values: &[u32], width: u8, out: &mut Vec<u8>) {
    for run in values.chunks(PACKED_RUN_VALUES_MAX) {
        let groups = run.len().div_ceil(GROUP);
        varint::write(out, (groups as u64) << 1 | 1);
        let end = out.len() + groups * usize::from(width);
        pack(run, width, out);
        // The last group is filled with zeros.
        out.resize(end, 0);
    }
}

/// The largest of some values, 0 if there are none.
pub fn largest(values: &[u32]) -> u32 {
    // Written so that many are compared at a time.
    values.iter().fold(0, |most, value| most.max(*value))
}

/// Appends values of `width` bits each, lowest bits first, to the next whole byte.
pub fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let start = out.len();
    let bytes = (values.len() * usize::from(width)).div_ceil(8);
    out.reserve(bytes + GROUP * 4);
    let (groups, rest) = values.as_chunks::<GROUP>();
    for_width!(width, pack_groups, (groups, out));
    if !rest.is_empty() {
        let mut group = [0; GROUP];
        for (slot, value) in group.iter_mut().zip(rest) {
            *slot = *value;
        }
        for_width!(width, pack_groups, (&[group], out));
    }
    out.truncate(start + bytes);
}

/// Appends values `at..at + count` of the bit-packed `bytes`; those beyond its end are zero.
pub fn unpack(bytes: &[u8], at: usize, count: usize, width: u8, out: &mut Vec<u32>) {
    let end = out.len() + count;
    // A run is left in the middle of a group when a page ends there.
    let skipped = at % GROUP;
    let start = at / GROUP * usize::from(width);
    let bytes = bytes.get(start..).unwrap_or_default();
    let wanted = (skipped + count).div_ceil(GROUP) * usize::from(width);
    let bytes = bytes.get(..wanted).unwrap_or(bytes);
    out.reserve(count + 2 * GROUP);
    let first = out.len();
    for_width!(width, unpack_groups, (bytes, out));
    let whole = bytes.len() / usize::from(width.max(1)) * usize::from(width);
    if out.len() < end + skipped {
        // The last group may lack the bytes of its padding.
        let mut group = [0; 32];
        let tail = bytes.get(whole..).unwrap_or_default();
        for (slot, byte) in group.iter_mut().zip(tail) {
            *slot = *byte;
        }
        let group = group.get(..usize::from(width)).unwrap_or_default();
        for_width!(width, unpack_groups, (group, out));
    }
    out.drain(first..first + skipped.min(out.len() - first));
    out.resize(end, 0);
}

#[expect(
    clippy::indexing_slicing,
    reason = "all places follow from the width, which is at most 32: 8 values take at most 4 words"
)]
fn pack_groups<const WIDTH: usize>(groups: &[[u32; GROUP]], out: &mut Vec<u8>) {
    let mask = u64::from(u32::MAX >> (32 - WIDTH));
    let first = out.len();
    out.resize(first + groups.len() * WIDTH, 0);
    let (packed, _) = out[first..].as_chunks_mut::<WIDTH>();
    for (group, packed) in groups.iter().zip(packed) {
        let mut words = [0_u64; 5];
        for (number, value) in group.iter().enumerate() {
            let (value, bit) = (u64::from(*value) & mask, number * WIDTH);
            words[bit / 64] |= value << (bit % 64);
            if bit % 64 + WIDTH > 64 {
                words[bit / 64 + 1] |= value >> (64 - bit % 64);
            }
        }
        let mut bytes = [0; 40];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        for (slot, byte) in packed.iter_mut().zip(bytes) {
            *slot = byte;
        }
    }
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "all places follow from the width, which is at most 32, and the mask keeps at most 32 bits"
)]
fn unpack_groups<const WIDTH: usize>(bytes: &[u8], out: &mut Vec<u32>) {
    let mask = u64::from(u32::MAX >> (32 - WIDTH));
    let groups = bytes.len() / WIDTH;
    let first = out.len();
    out.resize(first + groups * GROUP, 0);
    let (values, _) = out[first..].as_chunks_mut::<GROUP>();
    for (number, values) in values.iter_mut().enumerate() {
        let start = number * WIDTH;
        // Values are cut out of words of 8 bytes, for which there must be room behind the last group.
        let mut padded = [0; 40];
        let group = if let Some(group) = bytes.get(start..start + WIDTH + 8) {
            group
        } else {
            padded[..WIDTH].copy_from_slice(&bytes[start..start + WIDTH]);
            &padded[..WIDTH + 8]
        };
        for (number, value) in values.iter_mut().enumerate() {
            let bit = number * WIDTH;
            let mut word = [0; 8];
            word.copy_from_slice(&group[bit / 8..bit / 8 + 8]);
            *value = (u64::from_le_bytes(word) >> (bit % 8) & mask) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8], width: u8, count: usize) -> Result<Vec<u32>> {
        let mut out = Vec::new();
        RleDecoder::new(bytes, width, 0)?.read(count, &mut out)?;
        Ok(out)
    }

    #[test]
    fn the_formats_own_example_decodes() {
        // 0 to 7 at 3 bits, as in Encodings.md, behind the header of one bit-packed group.
        let bytes = [0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(decode(&bytes, 3, 8).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn runs_follow_each_other() {
        let bytes = [
            8 << 1,
            5,
            0x03,
            0b1000_1000,
            0b1100_0110,
            0b1111_1010,
            2 << 1,
            1,
        ];
        assert_eq!(
            decode(&bytes, 3, 18).unwrap(),
            [5, 5, 5, 5, 5, 5, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7, 1, 1]
        );
    }

    #[test]
    fn wide_values_and_no_bits_at_all() {
        assert_eq!(
            decode(&[2 << 1, 1, 2, 3, 4], 32, 2).unwrap(),
            [0x0403_0201; 2]
        );
        assert_eq!(decode(&[], 0, 3).unwrap(), [0; 3]);
    }

    #[test]
    fn the_formats_own_example_encodes() {
        let mut out = Vec::new();
        encode(&[0, 1, 2, 3, 4, 5, 6, 7], 3, &mut out);
        assert_eq!(out, [0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        out.clear();
        encode(&[5; 100], 9, &mut out);
        assert_eq!(out, [0xC8, 1, 5, 0]);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            width in 0_u8..=32,
            runs in prop::collection::vec((any::<u32>(), 1_usize..40), 0..60),
            singles in any::<bool>(),
        ) {
            let mask = if width == 0 { 0 } else { u32::MAX >> (32 - width) };
            let values: Vec<u32> = runs
                .iter()
                .flat_map(|(value, len)| std::iter::repeat_n(value & mask, if singles { 1 } else { *len }))
                .collect();
            let mut bytes = Vec::new();
            encode(&values, width, &mut bytes);
            prop_assert_eq!(decode(&bytes, width, values.len()).unwrap(), values);
        }
    }

    #[test]
    fn bytes_that_end_too_early_are_an_error() {
        assert!(decode(&[], 1, 1).is_err());
        assert!(decode(&[8 << 1], 3, 8).is_err());
        assert!(decode(&[0x03], 3, 8).is_err());
        assert!(decode(&[0], 3, 1).is_err());
        assert!(decode(&[0xFF; 12], 3, 1).is_err());
        assert!(RleDecoder::new(&[], 33, 0).is_err());
    }
}
