//! How the ids of an alias table's column are spelled as text.

use crate::subject::canonical_number;

/// How a column's values become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// They are text.
    Text,
    /// Integers, in decimal.
    Number,
    /// UUIDs, in lower case with hyphens.
    Uuid,
}

impl Spelling {
    /// How `id` is spelled in such a column; `None` when it can't be there.
    pub(super) fn of(self, id: &str) -> Option<String> {
        match self {
            Self::Text => Some(id.to_owned()),
            Self::Number => canonical_number(id),
            Self::Uuid => is_uuid(id).then(|| id.to_ascii_lowercase()),
        }
    }
}

/// The text form of the bytes of a UUID.
pub(super) fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_spelled_as_its_column_spells_it() {
        let bytes: Vec<u8> = (0..16).map(|byte| byte * 17).collect();
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(uuid_text(&bytes), text);
        assert_eq!(
            Spelling::Uuid.of(&text.to_uppercase()).as_deref(),
            Some(text)
        );
        assert_eq!(Spelling::Uuid.of(&text.replace('-', "0")), None);
        assert_eq!(Spelling::Uuid.of("7"), None);
    }

    #[test]
    fn a_number_is_spelled_without_what_does_not_count() {
        assert_eq!(Spelling::Number.of("+007").as_deref(), Some("7"));
        assert_eq!(Spelling::Number.of("seven"), None);
        assert_eq!(Spelling::Text.of("+007").as_deref(), Some("+007"));
    }
}
