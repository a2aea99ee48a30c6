//! The body of a request: JSON, whatever its type says. Keys that nobody knows are ignored.

use axum::http::StatusCode;
use efface::limits;
use efface::request::subjects::ID_BYTES_MAX;
use efface::request::{Disclosure, Regulation, Subjects};
use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::wish::Wish;

/// What a body asks for.
pub(super) fn read(body: &[u8]) -> Result<Wish, Refusal> {
    let refuse = |why: &str| Refusal::new(StatusCode::BAD_REQUEST, why);
    let body: Value = serde_json::from_slice(body)
        // The error's own text could quote the body.
        .map_err(|error| {
            refuse(&format!(
                "the body is not JSON, from line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
    let Value::Object(body) = body else {
        return Err(refuse("the body must be a JSON object with distinct_ids"));
    };
    let regulation = choice(
        &body,
        "compliance_type",
        Regulation::ALL,
        Regulation::as_str,
    )?;
    let disclosure = choice(
        &body,
        "disclosure_type",
        Disclosure::ALL,
        Disclosure::as_str,
    )?;
    let subject_request_id = of_client(&body)?;
    if given(&body, "status_callback_urls")
        .is_some_and(|urls| urls.as_array().is_none_or(|urls| !urls.is_empty()))
    {
        return Err(refuse(
            "status_callback_urls: callbacks are not offered here; ask for the status instead",
        ));
    }
    Ok(Wish {
        regulation: regulation.unwrap_or_default(),
        disclosure: disclosure.unwrap_or_default(),
        subjects: subjects(&body)?,
        suppress: false,
        subject_request_id,
    })
}

fn subjects(body: &Map<String, Value>) -> Result<Subjects, Refusal> {
    let refuse = |why: String| Refusal::new(StatusCode::BAD_REQUEST, why);
    let Some(ids) = given(body, "distinct_ids") else {
        return Err(refuse("distinct_ids is missing".to_owned()));
    };
    let Some(ids) = ids.as_array() else {
        return Err(refuse("distinct_ids must be a list of strings".to_owned()));
    };
    let mut texts = Vec::with_capacity(ids.len().min(limits::SUBJECTS_MAX));
    for (position, id) in (1..).zip(ids) {
        let Some(id) = id.as_str() else {
            return Err(refuse(format!(
                "distinct_ids: the id at position {position} is no string"
            )));
        };
        if id.len() > ID_BYTES_MAX {
            return Err(refuse(format!(
                "distinct_ids: the id at position {position} has more than {ID_BYTES_MAX} bytes"
            )));
        }
        texts.push(id);
    }
    Subjects::new(texts).map_err(|error| refuse(format!("distinct_ids: {error}")))
}

/// One of our words, in any case.
fn choice<T: Copy>(
    body: &Map<String, Value>,
    field: &str,
    all: &[T],
    spelled: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Refusal> {
    let Some(value) = given(body, field) else {
        return Ok(None);
    };
    let is_it = |choice: &&T| {
        value
            .as_str()
            .is_some_and(|word| word.eq_ignore_ascii_case(spelled(**choice)))
    };
    let found = all.iter().find(is_it);
    let words: Vec<&str> = all.iter().map(|choice| spelled(*choice)).collect();
    let refusal = Refusal::new(
        StatusCode::BAD_REQUEST,
        format!("{field} must be one of {}, in any case", words.join(", ")),
    );
    found.copied().map(Some).ok_or(refusal)
}

/// The id that a client drew for its request.
fn of_client(body: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    let Some(value) = given(body, "subject_request_id") else {
        return Ok(None);
    };
    let is_uuid = |text: &str| {
        let bytes = text.as_bytes();
        let is_at = |(at, byte): (usize, &u8)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => *byte == b'4',
            19 => b"89ab".contains(byte),
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        };
        bytes.len() == 36 && bytes.iter().enumerate().all(is_at)
    };
    match value.as_str() {
        Some(text) if is_uuid(text) => Ok(Some(text.to_owned())),
        _ => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "subject_request_id must be a UUID of version 4 in lower case",
        )),
    }
}

/// A value that is there and isn't null.
fn given<'a>(body: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    body.get(field).filter(|value| !value.is_null())
}
