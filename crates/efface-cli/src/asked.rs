//! The request that options describe.

use efface::request::{Kind, Request};
use jiff::Timestamp;

use crate::args::{Guard, RequestArgs};
use crate::failure::Result;
use crate::ids;

/// The request of this kind that the options describe.
///
/// # Errors
/// Those of the ids, and of [`Request::check`].
pub(crate) fn asked(kind: Kind, words: &RequestArgs, guard: Option<&Guard>) -> Result<Request> {
    let subjects = ids::subjects(&words.ids)?;
    let requested_at = words.requested_at.unwrap_or_else(Timestamp::now);
    let defaults = match kind {
        Kind::Export => Request::export(subjects, requested_at),
        Kind::Delete => Request::delete(subjects, requested_at),
    };
    let request = Request {
        regulation: words.regulation,
        disclosure: words.disclosure,
        identity: words.identity,
        identity_cap: words.identity_cap,
        unknown: words.unknown,
        since: words.since,
        max_match: guard.map_or(defaults.max_match, |guard| guard.max_match),
        required_columns: guard.map_or(defaults.required_columns, |guard| guard.required_columns),
        ..defaults
    };
    request.check()?;
    Ok(request)
}
