//! The bitmap of a heap record: the portable roaring format.
//!
//! Mostly it is one array container, which is written and read here without making a bitmap of it:
//!
//! ```text
//! 0 cookie u32 = 12346   4 containers u32 = 1   8 high bits u16   10 values - 1 u16   12 offset u32 = 16
//! 16 low bits u16, ascending ..
//! ```
//! Source: the format specification of `RoaringFormatSpec`. Everything else is for the `roaring` crate, which writes
//! the same bytes.

use std::io;

use roaring::RoaringBitmap;

use super::format::{to_usize, u32_at};

const COOKIE: u32 = 12346;
const HEAD_BYTES: usize = 16;
/// Values of an array container.
const ARRAY_MAX: usize = 4096;

/// Appends the bitmap of ascending row groups, at least one.
pub(super) fn encode(row_groups: &[u32], bytes: &mut Vec<u8>) -> io::Result<()> {
    if let Some((high, values)) = one_array(row_groups) {
        bytes.reserve(HEAD_BYTES + 2 * row_groups.len());
        bytes.extend_from_slice(&COOKIE.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&high.to_le_bytes());
        bytes.extend_from_slice(&values.to_le_bytes());
        bytes.extend_from_slice(&16_u32.to_le_bytes());
        for number in row_groups {
            let [low, next, ..] = number.to_le_bytes();
            bytes.extend_from_slice(&[low, next]);
        }
        return Ok(());
    }
    let mut bitmap: RoaringBitmap = row_groups.iter().copied().collect();
    bitmap.optimize();
    bytes.reserve(bitmap.serialized_size());
    bitmap.serialize_into(bytes)
}

/// Appends the row groups of a bitmap; `None` when it is none, or an empty one.
pub(super) fn decode(bytes: &[u8], row_groups: &mut Vec<u32>) -> Option<()> {
    if let Some((high, values)) = parse_array(bytes) {
        let low = values.chunks_exact(2);
        let low = low.filter_map(|value| Some(u16::from_le_bytes(*value.first_chunk()?)));
        let before = row_groups.len();
        row_groups.extend(low.map(|low| high | u32::from(low)));
        let added = row_groups.get(before..)?;
        return added.is_sorted_by(|left, right| left < right).then_some(());
    }
    let mut rest = bytes;
    let bitmap = RoaringBitmap::deserialize_from(&mut rest).ok()?;
    if !rest.is_empty() || bitmap.is_empty() {
        return None;
    }
    row_groups.extend(bitmap);
    Some(())
}

/// The high bits and one less than the number of values, where one array container is the smallest bitmap.
fn one_array(row_groups: &[u32]) -> Option<(u16, u16)> {
    let (first, last) = (row_groups.first()?, row_groups.last()?);
    if first >> 16 != last >> 16 || row_groups.len() > ARRAY_MAX {
        return None;
    }
    let pairs = row_groups.iter().zip(row_groups.iter().skip(1));
    let runs = 1 + pairs.filter(|(left, right)| **left + 1 < **right).count();
    let is_smallest = 2 * row_groups.len() <= 2 + 4 * runs;
    let parts = (
        u16::try_from(first >> 16),
        u16::try_from(row_groups.len() - 1),
    );
    match parts {
        (Ok(high), Ok(values)) if is_smallest => Some((high, values)),
        _ => None,
    }
}

/// The high bits, in their place, and the bytes of the values, if it is one array container.
fn parse_array(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, values) = bytes.split_at_checked(HEAD_BYTES)?;
    let counts = u32_at(head, 8)?;
    let count = to_usize(u64::from(counts >> 16)) + 1;
    let is_one = u32_at(head, 0)? == COOKIE
        && u32_at(head, 4)? == 1
        && u32_at(head, 12)? == 16
        && count <= ARRAY_MAX
        && values.len() == 2 * count;
    is_one.then_some((counts << 16, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row groups of many shapes: arrays, runs, full bitmaps, several containers.
    fn shapes() -> Vec<Vec<u32>> {
        let mut shapes = vec![vec![0], vec![u32::MAX >> 1], vec![65_535, 65_536]];
        for start in [0, 65_000, 200_000] {
            for step in [1, 2, 3, 40] {
                for len in [1, 2, 3, 4, 40, 536, 4096, 4097, 5000] {
                    shapes.push((start..).step_by(step).take(len).collect());
                }
            }
        }
        // Pairs of neighbours: as many bytes as runs and as an array, up to a constant.
        shapes.push((0..100).flat_map(|at| [7 * at, 7 * at + 1]).collect());
        shapes.push(
            (0..100)
                .flat_map(|at| [7 * at, 7 * at + 1, 7 * at + 2])
                .collect(),
        );
        shapes
    }

    #[test]
    fn a_record_is_what_the_roaring_crate_writes_and_comes_back() {
        for row_groups in shapes() {
            let mut bytes = Vec::new();
            encode(&row_groups, &mut bytes).unwrap();
            let mut bitmap: RoaringBitmap = row_groups.iter().copied().collect();
            bitmap.optimize();
            let mut expected = Vec::new();
            bitmap.serialize_into(&mut expected).unwrap();
            let (first, len) = (row_groups[0], row_groups.len());
            assert_eq!(bytes, expected, "{len} from {first}");
            let mut back = vec![1];
            assert_eq!(decode(&bytes, &mut back), Some(()));
            assert_eq!(back[1..], row_groups);
        }
    }

    #[test]
    fn a_record_that_is_cut_or_does_not_ascend_is_refused() {
        let mut bytes = Vec::new();
        encode(&[1, 60, 2000], &mut bytes).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len], &mut Vec::new()), None, "{len}");
        }
        bytes[HEAD_BYTES] = 61;
        assert_eq!(decode(&bytes, &mut Vec::new()), None);
    }
}
