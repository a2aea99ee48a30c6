//! The operations.

use axum::http::StatusCode;
use axum::response::Response;
use efface::ErrorKind;
use efface::queue::RequestState;
use efface::tracking::TrackingId;
use serde_json::{Value, json};

use super::asked::Asked;
use super::refusal::Refusal;
use super::{answers, wish};
use crate::app::App;
use crate::error::Error;
use crate::filing::{self, Filer, NotFiled};
use crate::http;
use crate::project::{has_ended, word_of};
use crate::store::requests::Listed;
use crate::wish::Wish;

/// Letters of a client's key.
const KEY_MAX: usize = 255;

/// Files a request.
pub(super) fn create(app: &App, asked: &Asked) -> Result<Response, Refusal> {
    let wish = wish::read(&asked.body)?;
    let key = asked.parts.headers.get("idempotency-key");
    let key = key.map(|key| match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_MAX => Ok(key),
        _ => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "Idempotency-Key must have 1 to 255 visible ASCII characters",
        )),
    });
    let from = Filer {
        person: &asked.caller.person,
        origin: "api",
        key: key.transpose()?,
    };
    let filed = filing::file(app, &asked.project, &wish, &from);
    let listed = filed.map_err(|fault| refused(&wish, fault))?;
    Ok(http::json(StatusCode::CREATED, &answers::created(&listed)))
}

fn refused(wish: &Wish, fault: NotFiled) -> Refusal {
    match fault {
        NotFiled::Conflict { at, tracking_ids } => {
            let ids: Vec<&str> = wish
                .subjects
                .iter()
                .enumerate()
                .filter(|(index, _)| at.contains(index))
                .map(|(_, (_, id))| id.reveal())
                .collect();
            let error: Value = json!({
                "conflicting_distinct_ids": ids,
                "conflicting_task_ids": tracking_ids,
                "error": "a deletion that has not ended names some of the ids: send the others",
            });
            Refusal::new(StatusCode::CONFLICT, error)
        }
        NotFiled::OtherKeyed => Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this Idempotency-Key was used for another request",
        ),
        NotFiled::IdTaken => Refusal::new(
            StatusCode::BAD_REQUEST,
            "subject_request_id: another request of the project has it",
        ),
        NotFiled::Full => Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests of the project wait; ask again after its next window",
        )
        .after(3600),
        NotFiled::Ending => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the service is restarting; ask again",
        )
        .after(5),
        NotFiled::Failed(error) => error.into(),
    }
}

/// The request that a path names, if there is one in this project.
fn named(app: &App, asked: &Asked) -> Result<Option<(TrackingId, Listed)>, Refusal> {
    let Some(id) = tracking_id(asked) else {
        return Ok(None);
    };
    let listed = app.store.request(&id.to_string())?;
    let is_meant = |listed: &Listed| listed.project == asked.project.id();
    Ok(listed.filter(is_meant).map(|listed| (id, listed)))
}

fn tracking_id(asked: &Asked) -> Option<TrackingId> {
    segment(asked).parse().ok()
}

/// What stands in the path where a tracking id does.
fn segment(asked: &Asked) -> &str {
    asked.parts.uri.path().split('/').nth(5).unwrap_or_default()
}

/// Says how a request stands.
pub(super) fn status(app: &App, asked: &Asked) -> Result<Response, Refusal> {
    let Some((id, listed)) = named(app, asked)? else {
        let state = RequestState::NotFound.as_str();
        let body = answers::status(segment(asked), state, None, &[]);
        return Ok(http::json(StatusCode::OK, &body));
    };
    let status = asked.project.engine()?.status(id, app.now())?;
    let state = word_of(&status);
    if status.state.as_str() != listed.state && has_ended(status.state) {
        app.store
            .change(|db| crate::project::note_status(db, &status))?;
    }
    let ids = match asked.project.entry(id) {
        Ok(Some(entry)) if !has_ended(status.state) => {
            let ids = entry.request.subjects.iter();
            ids.map(|(_, id)| id.reveal().to_owned()).collect()
        }
        // They were wiped when it ended.
        _ => Vec::new(),
    };
    let body = answers::status(&listed.tracking_id, state, Some(&listed), &ids);
    Ok(http::json(StatusCode::OK, &body))
}

/// Cancels a request.
pub(super) fn cancel(app: &App, asked: &Asked) -> Result<Response, Refusal> {
    let Some((id, _)) = named(app, asked)? else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "there is no such request",
        ));
    };
    let who = &asked.caller.person.email;
    match filing::cancel(app, &asked.project, id, who) {
        Ok(()) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        Err(Error::Library(error)) if error.kind() == ErrorKind::Refused => Err(Refusal {
            allow: Some("GET, HEAD"),
            ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error.to_string())
        }),
        Err(error) => Err(error.into()),
    }
}
