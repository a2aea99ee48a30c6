//! How the values of a column compare, and which of them a bound may stem from.
//!
//! Source: `README.md`, "Column orders", and `parquet.thrift`, `ColumnOrder` and `Statistics`, in the
//! `parquet-format` repository.

use std::cmp::Ordering;

use parquet::basic::{ColumnOrder, ConvertedType, LogicalType, SortOrder, Type};
use parquet::schema::types::ColumnDescriptor;

/// The order of a column's values, which are bytes as `PLAIN` has them (without a length).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueOrder {
    /// `false` before `true`.
    Boolean,
    /// Little-endian integers with a sign, 4 or 8 bytes.
    Signed,
    /// Little-endian integers without a sign, 4 or 8 bytes.
    Unsigned,
    /// Little-endian IEEE 754, 4 or 8 bytes; NaN is left out, -0 equals 0.
    Float,
    /// IEEE 754 of 2 bytes.
    Half,
    /// Bytes without a sign.
    Bytes,
    /// Big-endian integers with a sign, of any length.
    BigEndian,
}

impl ValueOrder {
    /// The order of `descriptor`, if it has one that bounds may be made by; `column_order` is what the
    /// footer says.
    pub fn of(descriptor: &ColumnDescriptor, column_order: ColumnOrder) -> Option<Self> {
        if matches!(column_order, ColumnOrder::UNKNOWN) {
            return None;
        }
        let is_unsigned = descriptor.sort_order() == SortOrder::UNSIGNED;
        let is_undefined = descriptor.sort_order() == SortOrder::UNDEFINED;
        let is_decimal = matches!(
            descriptor.logical_type_ref(),
            Some(LogicalType::Decimal { .. })
        ) || descriptor.converted_type() == ConvertedType::DECIMAL;
        Some(match descriptor.physical_type() {
            _ if is_undefined => return None,
            Type::BOOLEAN => Self::Boolean,
            Type::INT32 | Type::INT64 if is_unsigned => Self::Unsigned,
            Type::INT32 | Type::INT64 => Self::Signed,
            Type::INT96 => return None,
            Type::FLOAT | Type::DOUBLE => Self::Float,
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY if is_decimal => Self::BigEndian,
            Type::FIXED_LEN_BYTE_ARRAY
                if matches!(descriptor.logical_type_ref(), Some(LogicalType::Float16)) =>
            {
                Self::Half
            }
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY => Self::Bytes,
        })
    }

    /// Whether this is also the order of the deprecated `min` and `max`.
    pub fn is_deprecated_one(self) -> bool {
        matches!(self, Self::Boolean | Self::Signed | Self::Float)
    }

    /// Whether bounds may be cut short.
    pub fn is_cut(self) -> bool {
        self == Self::Bytes
    }

    /// Whether `value` takes part in bounds.
    pub fn counts(self, value: &[u8]) -> bool {
        match self {
            Self::Float => !float(value).is_nan(),
            Self::Half => !is_half_nan(value),
            _ => true,
        }
    }

    /// Compares two values that [`counts`](Self::counts).
    pub fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Self::Boolean | Self::Bytes => left.cmp(right),
            Self::Signed => signed(left).cmp(&signed(right)),
            Self::Unsigned => unsigned(left).cmp(&unsigned(right)),
            Self::Float => float(left)
                .partial_cmp(&float(right))
                .unwrap_or(Ordering::Equal),
            Self::Half => half(left).cmp(&half(right)),
            Self::BigEndian => big_endian(left, right),
        }
    }
}

fn signed(bytes: &[u8]) -> i64 {
    match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(bytes), _) => i64::from_le_bytes(*bytes),
        (None, Some(bytes)) => i64::from(i32::from_le_bytes(*bytes)),
        (None, None) => 0,
    }
}

fn unsigned(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(bytes), _) => u64::from_le_bytes(*bytes),
        (None, Some(bytes)) => u64::from(u32::from_le_bytes(*bytes)),
        (None, None) => 0,
    }
}

fn float(bytes: &[u8]) -> f64 {
    match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(bytes), _) => f64::from_le_bytes(*bytes),
        (None, Some(bytes)) => f64::from(f32::from_le_bytes(*bytes)),
        (None, None) => 0.0,
    }
}

fn is_half_nan(bytes: &[u8]) -> bool {
    bytes
        .first_chunk::<2>()
        .is_some_and(|bytes| u16::from_le_bytes(*bytes) & 0x7FFF > 0x7C00)
}

/// A number in the order of the half-precision floats; both zeros are one.
fn half(bytes: &[u8]) -> i32 {
    let bits = bytes
        .first_chunk::<2>()
        .map_or(0, |bytes| u16::from_le_bytes(*bytes));
    let magnitude = i32::from(bits & 0x7FFF);
    if bits & 0x8000 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

fn big_endian(left: &[u8], right: &[u8]) -> Ordering {
    let is_negative = |bytes: &[u8]| bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let negative = (is_negative(left), is_negative(right));
    if negative.0 != negative.1 {
        return negative.1.cmp(&negative.0);
    }
    // The shorter one is extended by its sign.
    let sign = if negative.0 { 0xFF } else { 0 };
    let len = left.len().max(right.len());
    let extended = |bytes: &'_ [u8]| {
        let missing = len - bytes.len();
        let bytes = bytes.to_vec();
        std::iter::repeat_n(sign, missing).chain(bytes)
    };
    extended(left).cmp(extended(right))
}

/// A bound that stands somewhere in a file, and what is known of where it stems from.
///
/// A bound that may be a cut value needs a value that stays and is cut to the same; one that is the whole of
/// a value that goes needs the same value among those that stay.
#[derive(Debug, Clone)]
pub struct Bound {
    bytes: Vec<u8>,
    is_max: bool,
    order: Option<ValueOrder>,
    /// How much of a value that goes it may be.
    gone: Likeness,
    /// How much of a value that stays it is.
    kept: Likeness,
}

/// How a bound may stem from a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    None,
    Cut,
    Whole,
    /// More than any value that stays can make up for.
    Beyond,
}

impl Bound {
    /// A bound as it stands in the file; without an order any value that goes makes it suspect.
    pub fn new(bytes: &[u8], is_max: bool, order: Option<ValueOrder>) -> Self {
        Self {
            bytes: bytes.to_vec(),
            is_max,
            order,
            gone: Likeness::None,
            kept: Likeness::None,
        }
    }

    /// Its length in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty bound is a bound like any other"
    )]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Sees a value that goes.
    pub fn suspect(&mut self, value: &[u8]) {
        let likeness = match self.order {
            None => Likeness::Whole,
            Some(order) if !order.counts(value) => Likeness::None,
            Some(order) if !order.counts(&self.bytes) => Likeness::Whole,
            Some(order) if order.compare(value, &self.bytes).is_eq() => Likeness::Whole,
            Some(order) if order.is_cut() => {
                // A maximum that was cut has had its last character raised, which is at most 4 bytes.
                let raised = if self.is_max { 4 } else { 0 };
                let sure = self.bytes.len().saturating_sub(raised);
                let front = self.bytes.get(..sure).unwrap_or_default();
                if value.starts_with(front) {
                    Likeness::Cut
                } else {
                    Likeness::None
                }
            }
            Some(_) => Likeness::None,
        };
        self.gone = self.gone.max(likeness);
    }

    /// Sees a value that is new, and that the bound may not hold for.
    pub fn admit(&mut self, value: &[u8]) {
        let Some(order) = self.order else {
            self.gone = Likeness::Beyond;
            return;
        };
        if !order.counts(value) {
            return;
        }
        let comparison = order.compare(value, &self.bytes);
        let is_outside = if self.is_max {
            comparison.is_gt()
        } else {
            comparison.is_lt()
        };
        if is_outside || !order.counts(&self.bytes) {
            self.gone = Likeness::Beyond;
        }
    }

    /// Sees a value that stays.
    pub fn attain(&mut self, value: &[u8]) {
        let likeness = match self.order {
            Some(order) if order.counts(value) && order.counts(&self.bytes) => {
                if order.compare(value, &self.bytes).is_eq() {
                    Likeness::Whole
                } else if order.is_cut() && is_cut_from(&self.bytes, value, self.is_max) {
                    Likeness::Cut
                } else {
                    Likeness::None
                }
            }
            _ => Likeness::None,
        };
        self.kept = self.kept.max(likeness);
    }

    /// Whether it may not be kept, as far as is known.
    pub fn is_open(&self) -> bool {
        self.gone > self.kept
    }
}

/// Whether `bound` is what `value` gives when it is cut to the bound's length.
fn is_cut_from(bound: &[u8], value: &[u8], is_max: bool) -> bool {
    if value.len() <= bound.len() {
        return false;
    }
    if !is_max {
        return value.starts_with(bound);
    }
    let (Some((raised, front)), Some((byte, kept))) = (
        bound.split_last(),
        value.get(..bound.len()).and_then(<[u8]>::split_last),
    ) else {
        return false;
    };
    front == kept && byte.checked_add(1) == Some(*raised)
}

/// The smallest and the largest of some values.
#[derive(Debug, Clone, Default)]
pub struct Extremes(Option<(Vec<u8>, Vec<u8>)>);

impl Extremes {
    /// Sees a value.
    pub fn see(&mut self, order: ValueOrder, value: &[u8]) {
        if !order.counts(value) {
            return;
        }
        match &mut self.0 {
            None => self.0 = Some((value.to_vec(), value.to_vec())),
            Some((min, max)) => {
                if order.compare(value, min).is_lt() {
                    value.clone_into(min);
                } else if order.compare(value, max).is_gt() {
                    value.clone_into(max);
                }
            }
        }
    }

    /// Sees all values of `other`.
    pub fn merge(&mut self, order: ValueOrder, other: &Self) {
        if let Some((min, max)) = &other.0 {
            self.see(order, min);
            self.see(order, max);
        }
    }

    /// Smallest and largest, as bounds are written: a zero has the sign that covers both zeros.
    pub fn bounds(&self, order: ValueOrder) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut min, mut max) = self.0.clone()?;
        if matches!(order, ValueOrder::Float | ValueOrder::Half) {
            let zero = vec![0; min.len()];
            if order.compare(&min, &zero).is_eq() {
                min.clone_from(&zero);
                if let Some(last) = min.last_mut() {
                    *last = 0x80;
                }
            }
            if order.compare(&max, &zero).is_eq() {
                max = zero;
            }
        }
        Some((min, max))
    }
}

/// Cuts a lower bound to at most `len` bytes, between characters if it is text; says whether it was cut.
pub fn cut_min(bound: &mut Vec<u8>, len: usize) -> bool {
    if bound.len() <= len {
        return false;
    }
    bound.truncate(cut_at(bound, len));
    true
}

/// Cuts an upper bound to at most `len` bytes and raises what is left, so that it stays above what was cut;
/// says whether it was cut. Where nothing can be raised it stays as it is.
pub fn cut_max(bound: &mut Vec<u8>, len: usize) -> bool {
    if bound.len() <= len {
        return false;
    }
    let cut = bound.get(..cut_at(bound, len)).unwrap_or_default();
    let raised = match std::str::from_utf8(cut) {
        Ok(text) => raise_text(text),
        Err(_) => raise_bytes(cut),
    };
    match raised {
        Some(raised) => {
            *bound = raised;
            true
        }
        None => false,
    }
}

/// Where to cut: in front of the character that does not fit, if the bytes are text.
fn cut_at(bound: &[u8], len: usize) -> usize {
    match std::str::from_utf8(bound) {
        Ok(text) => text.floor_char_boundary(len),
        Err(_) => len,
    }
}

fn raise_text(text: &str) -> Option<Vec<u8>> {
    for (at, character) in text.char_indices().rev() {
        // A character that takes more bytes when raised would make the bound longer.
        let next = char::from_u32(u32::from(character) + 1)
            .filter(|next| next.len_utf8() == character.len_utf8());
        if let Some(next) = next {
            let mut raised = text.get(..at)?.to_owned();
            raised.push(next);
            return Some(raised.into_bytes());
        }
    }
    None
}

fn raise_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.iter().rposition(|byte| *byte < 0xFF)?;
    let mut raised = bytes.get(..=at)?.to_vec();
    if let Some(last) = raised.last_mut() {
        *last += 1;
    }
    Some(raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_as_their_types_do() {
        let less = |order: ValueOrder, left: &[u8], right: &[u8]| {
            assert!(order.compare(left, right).is_lt(), "{order:?}");
            assert!(order.compare(right, left).is_gt(), "{order:?}");
        };
        less(
            ValueOrder::Signed,
            &(-1_i32).to_le_bytes(),
            &1_i32.to_le_bytes(),
        );
        less(
            ValueOrder::Unsigned,
            &1_u64.to_le_bytes(),
            &u64::MAX.to_le_bytes(),
        );
        less(
            ValueOrder::Float,
            &(-1.5_f32).to_le_bytes(),
            &0.5_f32.to_le_bytes(),
        );
        less(
            ValueOrder::Half,
            &0xBC00_u16.to_le_bytes(),
            &0x3C00_u16.to_le_bytes(),
        );
        less(ValueOrder::Bytes, &[0x7F], &[0x80]);
        less(ValueOrder::BigEndian, &[0xFF, 0xFE], &[0x01]);
        less(ValueOrder::BigEndian, &[0xFE], &[0xFF, 0xFF]);
        assert!(
            ValueOrder::BigEndian
                .compare(&[0x05], &[0x00, 0x05])
                .is_eq()
        );
        assert!(!ValueOrder::Float.counts(&f64::NAN.to_le_bytes()));
        assert!(!ValueOrder::Half.counts(&0x7E00_u16.to_le_bytes()));
    }

    #[test]
    fn a_bound_is_open_only_when_a_value_that_goes_may_have_made_it_and_none_that_stays_has_it() {
        let bound = |bytes: &[u8], is_max, gone: &[&[u8]], left: &[&[u8]]| {
            let mut bound = Bound::new(bytes, is_max, Some(ValueOrder::Bytes));
            for value in gone {
                bound.suspect(value);
            }
            for value in left {
                bound.attain(value);
            }
            bound.is_open()
        };
        assert!(!bound(b"ann", false, &[b"bob"], &[]));
        assert!(bound(b"ann", false, &[b"ann"], &[b"bob"]));
        assert!(!bound(b"ann", false, &[b"ann"], &[b"ann"]));
        // Cut bounds: `anna` was cut to `ann`, and `zoey` to `zof`.
        assert!(bound(b"ann", false, &[b"anna"], &[b"bob"]));
        assert!(!bound(b"ann", false, &[b"anna"], &[b"anne"]));
        assert!(bound(b"ann", false, &[b"ann"], &[b"anne"]));
        assert!(bound(b"longzof", true, &[b"longzoey"], &[b"bob"]));
        assert!(!bound(b"longzof", true, &[b"longzoey"], &[b"longzoelle"]));
        let mut unordered = Bound::new(&[1; 12], false, None);
        unordered.suspect(&[2; 12]);
        unordered.attain(&[1; 12]);
        assert!(unordered.is_open());
    }

    #[test]
    fn extremes_leave_nan_out_and_cover_both_zeros() {
        let mut extremes = Extremes::default();
        for value in [f64::NAN, 0.0, -0.0] {
            extremes.see(ValueOrder::Float, &value.to_le_bytes());
        }
        let (min, max) = extremes.bounds(ValueOrder::Float).unwrap();
        assert_eq!(
            (min, max),
            (
                (-0.0_f64).to_le_bytes().to_vec(),
                0.0_f64.to_le_bytes().to_vec()
            )
        );
    }

    #[test]
    fn bounds_are_cut_between_characters_and_stay_bounds() {
        let cut = |text: &str, len| {
            let (mut min, mut max) = (text.as_bytes().to_vec(), text.as_bytes().to_vec());
            let both = (cut_min(&mut min, len), cut_max(&mut max, len));
            (both, min, max)
        };
        assert_eq!(
            cut("abc", 3),
            ((false, false), b"abc".to_vec(), b"abc".to_vec())
        );
        assert_eq!(
            cut("abcd", 3),
            ((true, true), b"abc".to_vec(), b"abd".to_vec())
        );
        assert_eq!(cut("aéx", 2), ((true, true), b"a".to_vec(), b"b".to_vec()));
        assert_eq!(
            cut("a\u{7f}\u{7f}", 2),
            ((true, true), b"a\x7f".to_vec(), b"b".to_vec())
        );
        let mut all = vec![0xFF; 5];
        assert!(!cut_max(&mut all, 2));
        assert_eq!(all, [0xFF; 5]);
    }
}
