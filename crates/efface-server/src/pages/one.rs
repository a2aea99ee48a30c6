//! The page of one request.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, HeaderValue};
use axum::response::Response;
use efface::queue::Status;
use efface::tracking::TrackingId;

use super::frame::Frame;
use super::trouble::{Trouble, render, sentence, told};
use super::visit::{Visit, go};
use super::words::{self, Due, State};
use crate::app::App;
use crate::error::Error;
use crate::filing;
use crate::http;
use crate::project::{Project, has_ended, word_of};
use crate::store::people::Role;
use crate::store::requests::Listed;

/// Outcomes that the page lists; the receipt has all.
const LISTED: usize = 100;

/// A step on the way of a request.
struct Step {
    words: &'static str,
    detail: String,
    /// A class of the stylesheet.
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "request.html")]
struct Page {
    frame: Frame,
    csrf: String,
    words: String,
    project: String,
    regulation: String,
    disclosure: &'static str,
    origin: &'static str,
    requested: String,
    due: Option<Due>,
    state: State,
    steps: Vec<Step>,
    has_ended: bool,
    has_receipt: bool,
    may_cancel: bool,
    reason: Option<String>,
    told: Option<&'static str>,
    fault: Option<String>,
    rows_removed: String,
    rows_cleared: u64,
    outcomes: Vec<(usize, String, String)>,
    more: usize,
    listed: Listed,
}

/// The request that a path names, if the visitor may see it.
fn named<'a>(
    app: &'a App,
    visit: &Visit,
    role: Role,
) -> Result<(TrackingId, Listed, &'a Arc<Project>), Trouble> {
    let id: TrackingId = visit.segment(1).parse().map_err(|_| Trouble::not_found())?;
    let listed = app.store.request(&id.to_string())?;
    let listed = listed.ok_or_else(Trouble::not_found)?;
    let project = visit.project(app, listed.project, role)?;
    Ok((id, listed, project))
}

pub(super) fn show(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    page(app, visit, StatusCode::OK, None)
}

fn page(
    app: &Arc<App>,
    visit: &Visit,
    answer: StatusCode,
    fault: Option<String>,
) -> Result<Response, Trouble> {
    let (id, listed, project) = named(app, visit, Role::Auditor)?;
    let now = app.now();
    let status = project.engine()?.status(id, now)?;
    let has_ended = has_ended(status.state);
    if has_ended && listed.ended_at.is_none() {
        app.store
            .change(|db| crate::project::note_status(db, &status))?;
    }
    let state = word_of(&status);
    let told = match (visit.query.text("sent"), visit.query.text("cancelled")) {
        ("yes", _) if !has_ended => {
            Some("It was sent. You can leave this page: nothing else is to be done.")
        }
        (_, "yes") => Some("It was cancelled. Nothing was touched."),
        _ => None,
    };
    let outcomes = status.outcomes.iter().take(LISTED).map(|one| {
        let rows = words::count(one.rows);
        (one.position, words::outcome(one.outcome), rows)
    });
    let role = visit.session.person.role(project.id());
    let page = Page {
        frame: visit.frame("Request", "requests"),
        csrf: visit.csrf.clone(),
        words: format!(
            "{} of {}",
            words::kind(&listed.kind),
            words::people(listed.subjects)
        ),
        project: project.config.name.clone(),
        regulation: listed.regulation.to_uppercase(),
        disclosure: words::disclosure(&listed.disclosure),
        origin: match listed.origin.as_str() {
            "form" => "form",
            "api" => "API",
            _ => "the command line",
        },
        requested: words::moment(listed.requested_at),
        due: if has_ended {
            None
        } else {
            words::due(&listed, now)
        },
        state: words::state(state),
        steps: steps(&listed, &status, project),
        has_ended,
        has_receipt: has_ended,
        may_cancel: matches!(state, "PENDING" | "STAGING") && role >= Some(Role::Admin),
        reason: status.reason.as_deref().map(sentence),
        told,
        fault,
        rows_removed: words::count(status.rows_removed),
        rows_cleared: status.rows_cleared,
        outcomes: outcomes.collect(),
        more: status.outcomes.len().saturating_sub(LISTED),
        listed,
    };
    render(answer, &page)
}

fn steps(listed: &Listed, status: &Status, project: &Project) -> Vec<Step> {
    use efface::queue::RequestState::{
        Failure, NotFound, Pending, Revoked, Staging, Started, Success,
    };
    let step = |words, detail: String, tone| Step {
        words,
        detail,
        tone,
    };
    let mut steps = vec![step("Filed", words::moment(listed.requested_at), "done")];
    let window = project.config.window.describe();
    let ended = status.ended_at.map(words::moment).unwrap_or_default();
    match status.state {
        Pending | Staging => {
            steps.push(step(
                "Waits",
                format!("It is carried out {}.", when(&window)),
                "now",
            ));
            steps.push(step("Carried out", String::new(), ""));
            steps.push(step("Done, with a receipt", String::new(), ""));
        }
        Started => {
            steps.push(step("Waited", String::new(), "done"));
            steps.push(step(
                "Being carried out",
                "Files are written without the rows.".to_owned(),
                "now",
            ));
            steps.push(step("Done, with a receipt", String::new(), ""));
        }
        Success => steps.push(step("Done, with a receipt", ended, "done")),
        Failure => steps.push(step("Failed", ended, "bad")),
        Revoked => steps.push(step("Cancelled", ended, "bad")),
        NotFound => {}
    }
    steps
}

fn when(window: &str) -> String {
    if window == "at any time" {
        "in a moment".to_owned()
    } else {
        format!("in the next window, {window}")
    }
}

pub(super) fn cancel(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let (id, _, project) = named(app, visit, Role::Admin)?;
    match filing::cancel(app, project, id, visit.who()) {
        Ok(()) => Ok(go(&format!("/requests/{id}?cancelled=yes"))),
        Err(Error::Library(error)) => {
            let (status, text) = told(&error.into());
            page(app, visit, status, Some(text))
        }
        Err(error) => Err(error.into()),
    }
}

/// The receipt, as the dataset holds it.
pub(super) fn receipt(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let (id, _, project) = named(app, visit, Role::Auditor)?;
    let receipt = project.receipt(id)?.ok_or_else(Trouble::not_found)?;
    let text = serde_json::to_string_pretty(&receipt).map_err(|error| {
        tracing::error!(%error, "can't write a receipt");
        Trouble::not_found()
    })?;
    app.note(
        visit.who(),
        "receipt fetched",
        Some(project.id()),
        &id.to_string(),
        "",
    )?;
    let mut response = http::answer(StatusCode::OK, "application/json", text);
    let name = format!("attachment; filename=\"receipt-{id}.json\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
