//! What a call is about, once it is known who calls.

use std::sync::Arc;

use axum::http::request::Parts;
use bytes::Bytes;

use crate::project::Project;
use crate::store::access::Caller;

/// What a call is about.
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) project: Arc<Project>,
    pub(super) parts: Parts,
    pub(super) body: Bytes,
}
