//! Decimals as numbers with all of their digits, even those beyond what their type admits.

use std::fmt::Write;

use arrow::array::{
    Array, AsArray, Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array,
};
use arrow::datatypes::DataType;
use arrow::json::writer::Encoder;

/// The values of an array of decimals.
pub(super) struct Decimals<'a> {
    values: Values<'a>,
    scale: i8,
    unscaled: String,
}

enum Values<'a> {
    Of32(&'a Decimal32Array),
    Of64(&'a Decimal64Array),
    Of128(&'a Decimal128Array),
    Of256(&'a Decimal256Array),
}

impl<'a> Decimals<'a> {
    /// `None` for other types.
    pub(super) fn of(array: &'a dyn Array) -> Option<Self> {
        let (values, scale) = match array.data_type() {
            DataType::Decimal32(_, scale) => (Values::Of32(array.as_primitive()), scale),
            DataType::Decimal64(_, scale) => (Values::Of64(array.as_primitive()), scale),
            DataType::Decimal128(_, scale) => (Values::Of128(array.as_primitive()), scale),
            DataType::Decimal256(_, scale) => (Values::Of256(array.as_primitive()), scale),
            _ => return None,
        };
        Some(Self {
            values,
            scale: *scale,
            unscaled: String::new(),
        })
    }
}

impl Encoder for Decimals<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.unscaled.clear();
        // Nothing keeps a string from taking what is written.
        let _infallible = match &self.values {
            Values::Of32(values) => write!(self.unscaled, "{}", values.value(row)),
            Values::Of64(values) => write!(self.unscaled, "{}", values.value(row)),
            Values::Of128(values) => write!(self.unscaled, "{}", values.value(row)),
            Values::Of256(values) => write!(self.unscaled, "{}", values.value(row)),
        };
        push_decimal(&self.unscaled, self.scale, out);
    }
}

/// A whole number with the point so many digits from its end.
fn push_decimal(unscaled: &str, scale: i8, out: &mut Vec<u8>) {
    let digits = match unscaled.strip_prefix('-') {
        Some(digits) => {
            out.push(b'-');
            digits
        }
        None => unscaled,
    };
    let places = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.extend_from_slice(digits.as_bytes());
        let zeros = if digits == "0" { 0 } else { places };
        out.extend(std::iter::repeat_n(b'0', zeros));
        return;
    }
    let whole = digits.len().saturating_sub(places);
    let (whole, behind) = digits.split_at(whole);
    out.extend_from_slice(if whole.is_empty() { "0" } else { whole }.as_bytes());
    out.push(b'.');
    out.extend(std::iter::repeat_n(b'0', places - behind.len()));
    out.extend_from_slice(behind.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_point_is_where_the_scale_says() {
        for (unscaled, scale, expected) in [
            ("5", 0, "5"),
            ("-5", 2, "-0.05"),
            ("125", 2, "1.25"),
            ("0", 3, "0.000"),
            ("7", -2, "700"),
            ("0", -2, "0"),
            ("12345", 5, "0.12345"),
        ] {
            let mut out = Vec::new();
            push_decimal(unscaled, scale, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
