//! Answers other than success.

use axum::http::StatusCode;
use axum::http::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use axum::response::Response;
use efface::ErrorKind;
use serde_json::{Value, json};

use crate::error::Error;
use crate::http;

/// An answer other than success.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: Value,
    pub(super) retry_after: Option<u64>,
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<Value>) -> Self {
        Self {
            status,
            error: error.into(),
            retry_after: None,
            allow: None,
        }
    }

    pub(super) fn after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    pub(super) fn answer(self) -> Response {
        let body = json!({"status": "error", "error": self.error});
        let mut response = http::json(self.status, &body);
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        match self.retry_after {
            Some(seconds) => http::retry_after(response, seconds),
            None => response,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Library(error) => error.kind(),
            _ => ErrorKind::Io,
        };
        match kind {
            ErrorKind::Usage | ErrorKind::Refused => {
                Self::new(StatusCode::BAD_REQUEST, error.to_string())
            }
            ErrorKind::Conflict | ErrorKind::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the project is busy; ask again",
            )
            .after(5),
            _ => {
                tracing::error!(%error, "a call failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the service has a fault, which its log tells; ask again later",
                )
            }
        }
    }
}

impl From<efface::Error> for Refusal {
    fn from(error: efface::Error) -> Self {
        Error::from(error).into()
    }
}
