//! Who asked, who agreed, and through which door: what evidence says of a request beside what is asked.
//!
//! # Invariants
//! These texts are opaque: nothing is decided by them. They are short, and hold no control characters, so that they can
//! be shown and logged as one line.

use serde::{Deserialize, Serialize};

use crate::error::{RequestFault, Result};
use crate::limits;

/// What is written down of a request beside the question itself. It must hold no subject id: it stays in the receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// Who agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The door that it came through, such as `form`, `api` or `cli`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What the asker calls the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_request_id: Option<String>,
}

impl Provenance {
    /// Checks that each text is a short line.
    ///
    /// # Errors
    /// [`NotALine`](RequestFault::NotALine) that names the field.
    pub fn check(&self) -> Result<()> {
        for (field, text) in [
            ("requested_by", &self.requested_by),
            ("approved_by", &self.approved_by),
            ("origin", &self.origin),
            ("subject_request_id", &self.subject_request_id),
        ] {
            text.as_deref()
                .map_or(Ok(()), |text| check_line(field, text))?;
        }
        Ok(())
    }
}

/// Checks that a text that is kept as evidence is a short line.
///
/// # Errors
/// [`NotALine`](RequestFault::NotALine) that names the field.
pub fn check_line(field: &'static str, text: &str) -> Result<()> {
    let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if is_line && text.len() <= limits::EVIDENCE_TEXT_BYTES_MAX {
        Ok(())
    } else {
        Err(RequestFault::NotALine { field }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_text_is_a_short_line_or_its_field_is_named() {
        let of = |text: String| Provenance {
            origin: Some(text),
            ..Provenance::default()
        };
        assert!(Provenance::default().check().is_ok());
        assert!(of("é".repeat(256)).check().is_ok());
        for wrong in [
            String::new(),
            " ".to_owned(),
            "a\nb".to_owned(),
            "x".repeat(513),
        ] {
            match of(wrong).check() {
                Err(Error::Request { fault }) => assert_eq!(fault.field(), "origin"),
                other => panic!("{other:?}"),
            }
        }
    }
}
