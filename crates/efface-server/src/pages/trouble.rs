//! Why there is no page, and the page that says so.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use efface::ErrorKind;

use super::frame::Frame;
use crate::error::Error;
use crate::http;

/// Why there is no page.
pub(crate) enum Trouble {
    /// Something that people can mend, or must know.
    Problem(StatusCode, String),
    /// A fault of the service or of a dataset.
    Failed(Error),
}

impl Trouble {
    pub(super) fn problem(status: StatusCode, text: &str) -> Self {
        Self::Problem(status, text.to_owned())
    }

    pub(super) fn not_found() -> Self {
        Self::problem(
            StatusCode::NOT_FOUND,
            "There is nothing here that you may see.",
        )
    }

    pub(super) fn forbidden() -> Self {
        Self::problem(
            StatusCode::FORBIDDEN,
            "Your role does not allow this. Ask an owner of the project.",
        )
    }

    /// The page that says it.
    pub(super) fn answer(self) -> Response {
        match self {
            Self::Problem(status, text) => problem(status, &text),
            Self::Failed(error) => {
                let (status, text) = told(&error);
                problem(status, &text)
            }
        }
    }
}

/// An error, in words for people.
pub(super) fn told(error: &Error) -> (StatusCode, String) {
    let kind = match error {
        Error::Library(error) => error.kind(),
        _ => ErrorKind::Io,
    };
    match kind {
        ErrorKind::Usage | ErrorKind::Refused => {
            (StatusCode::BAD_REQUEST, sentence(&error.to_string()))
        }
        ErrorKind::Conflict | ErrorKind::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The project is busy. Try again in a moment.".to_owned(),
        ),
        _ => {
            tracing::error!(%error, "a page failed");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The service has a fault, which its log tells. Nothing was changed by this page."
                    .to_owned(),
            )
        }
    }
}

/// A message of the library as a sentence.
pub(super) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let end = if message.ends_with('.') { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<efface::Error> for Trouble {
    fn from(error: efface::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A page as an answer.
pub(super) fn render(status: StatusCode, page: &impl Template) -> Result<Response, Trouble> {
    match page.render() {
        Ok(text) => Ok(http::answer(status, "text/html; charset=utf-8", text)),
        Err(error) => {
            tracing::error!(%error, "can't make a page");
            Err(Trouble::problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The page could not be made. The log tells why.",
            ))
        }
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    frame: Frame,
    text: &'a str,
}

/// A page that says what went wrong.
pub(crate) fn problem(status: StatusCode, text: &str) -> Response {
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "Too large",
        status if status.is_server_error() => "Something broke here",
        _ => "That did not work",
    };
    let frame = Frame::outside(title);
    let page = Problem { frame, text }.render();
    let text = page.unwrap_or_else(|_| text.to_owned());
    http::answer(status, "text/html; charset=utf-8", text)
}
