//! Pages that contradict each other.

use super::survey::PageAt;
use crate::error::FormatError;

/// An index in `page` has no entry in the dictionary.
pub(super) fn outside(page: &PageAt, index: u32) -> FormatError {
    FormatError::Invalid {
        structure: "dictionary indices",
        offset: page.header.offset,
        found: format!("index {index}"),
        expected: "an entry of the dictionary",
    }
}

/// Two columns of a map have different numbers of elements.
pub(super) fn unlike_keys(page: &PageAt, keys: usize, found: usize) -> FormatError {
    FormatError::Contradiction {
        what: format!(
            "keys of a map in a row, beside its values in the page at offset {}",
            page.header.offset
        ),
        claimed: keys as u64,
        counted: found as u64,
    }
}
