//! Subject ids: what a request names, and how values of a column are compared with them.
//!
//! A column's values are compared in **canonical bytes**, so that one rule serves every type:
//!
//! | column | canonical bytes of a value | of a submitted id |
//! |---|---|---|
//! | text, binary | its bytes | its UTF-8 bytes |
//! | integer, decimal | the number as text: no `+`, no leading zeros, no trailing zeros in the fraction | the same, if it is a number |
//! | fixed-size binary | its bytes | its UTF-8 bytes, and the 16 bytes of a UUID in text form |
//!
//! The index holds a keyed 64-bit hash of the canonical bytes ([`SubjectHash`]); hashes only
//! nominate row groups, the canonical bytes decide.
//!
//! * `key`: the secret key of a dataset, and hashes under it
//! * [`names`]: ids in the names of files and directories

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

mod key;
pub mod names;

pub use key::{KeyId, KeyedHash, SubjectKey};

/// One identifier of a subject. `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId(Box<str>);

impl SubjectId {
    /// An id as it was submitted: no trimming, no case folding.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self(id.into())
    }

    /// The id itself. It must not reach a message, a log or a file name.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The canonical bytes of this id in a column that is compared as `form` says; `None` when it can't be in
    /// such a column.
    pub fn canonical(&self, form: Form) -> Option<Vec<u8>> {
        match form {
            Form::Text => Some(self.0.as_bytes().to_vec()),
            Form::Number => canonical_number(&self.0).map(String::into_bytes),
            Form::Uuid => uuid_bytes(&self.0).map(Vec::from),
        }
    }
}

/// How the values of a column are compared with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Byte for byte: `1` is not `01`.
    Text,
    /// By value: `01` is `1`.
    Number,
    /// The 16 bytes of a UUID that is given as text.
    Uuid,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::Number, Self::Uuid];
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectId(..)")
    }
}

/// XXH3-64 of the canonical bytes of an id, with a seed that each dataset draws for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectHash(pub u64);

impl SubjectHash {
    /// Hashes canonical bytes.
    pub fn of(canonical: &[u8], seed: u64) -> Self {
        Self(xxh3_64_with_seed(canonical, seed))
    }
}

/// The canonical text of a decimal number, or `None` when `text` is not one.
///
/// Accepted: an optional sign, digits, optionally a point and digits. No exponent, no blanks.
pub fn canonical_number(text: &str) -> Option<String> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (digits, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let mut canonical = String::with_capacity(text.len() + 1);
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        canonical.push('-');
    }
    canonical.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        canonical.push('.');
        canonical.push_str(fraction);
    }
    Some(canonical)
}

/// The bytes of a UUID in its text form (8-4-4-4-12 hexadecimal digits, either case).
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut uuid = 0_u128;
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
        } else {
            uuid = uuid << 4 | u128::from(char::from(*byte).to_digit(16)?);
        }
    }
    Some(uuid.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        for (text, canonical) in [
            ("7", "7"),
            ("007", "7"),
            ("+7.50", "7.5"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("-0.10", "-0.1"),
            ("00", "0"),
        ] {
            assert_eq!(canonical_number(text).as_deref(), Some(canonical), "{text}");
        }
        for text in ["", "-", "7.", ".5", "1e3", " 7", "0x7", "7a", "--7"] {
            assert_eq!(canonical_number(text), None, "{text}");
        }
    }

    #[test]
    fn a_uuid_has_its_sixteen_bytes_as_a_form() {
        let id = SubjectId::new("00112233-4455-6677-8899-AABBccddeeff");
        assert_eq!(
            id.canonical(Form::Uuid).unwrap(),
            [
                0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                0xee, 0xff
            ]
        );
        let other = SubjectId::new("00112233x4455-6677-8899-aabbccddeeff");
        assert_eq!(other.canonical(Form::Uuid), None);
    }

    #[test]
    fn debug_prints_nothing_of_an_id() {
        assert!(!format!("{:?}", SubjectId::new("ada@example.org")).contains("ada"));
    }
}
