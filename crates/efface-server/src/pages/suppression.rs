//! Stop collecting: the ids whose rows must not come back.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use efface::request::{Request, Suppress, Unknown};

use super::frame::Frame;
use super::new::subjects;
use super::trouble::{Trouble, render};
use super::visit::Visit;
use super::words;
use crate::app::App;
use crate::store::people::Role;

#[derive(Template)]
#[template(path = "suppression.html")]
struct Page {
    frame: Frame,
    csrf: String,
    projects: Vec<(u64, String)>,
    lists: Vec<(String, String)>,
    told: Option<String>,
    fault: Option<String>,
}

pub(super) fn show(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    page(app, visit, None, None)
}

fn page(
    app: &Arc<App>,
    visit: &Visit,
    told: Option<String>,
    fault: Option<String>,
) -> Result<Response, Trouble> {
    let (mut projects, mut lists) = (Vec::new(), Vec::new());
    for project in visit.projects(app, Role::Admin) {
        let count = project.engine()?.suppression()?.iter().len() as u64;
        let name = project.config.name.clone();
        lists.push((name.clone(), words::count(count)));
        projects.push((project.id(), name));
    }
    if projects.is_empty() {
        return Err(Trouble::forbidden());
    }
    let status = if fault.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let page = Page {
        frame: visit.frame("Stop collecting", "suppression").narrow(),
        csrf: visit.csrf.clone(),
        projects,
        lists,
        told,
        fault,
    };
    render(status, &page)
}

pub(super) fn change(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let id = visit
        .form
        .number("project")
        .ok_or_else(Trouble::not_found)?;
    let project = visit.project(app, id, Role::Admin)?;
    let subjects = match subjects(&visit.form) {
        Ok(subjects) => subjects,
        Err((_, fault)) => return page(app, visit, None, Some(fault)),
    };
    let count = subjects.len();
    let now = app.now();
    let request = Request {
        identity: project.config.identity,
        // Somebody may ask before the first row comes in.
        unknown: Unknown::Report,
        ..Request::delete(subjects, now)
    };
    let engine = project.engine()?;
    let (what, changed) = if visit.form.text("do") == "remove" {
        ("collecting again", engine.unsuppress(&request)?)
    } else {
        (
            "collecting stopped",
            engine.suppress(&request, Suppress::default(), now)?,
        )
    };
    let detail = format!("ids given: {count}, changed: {changed}");
    app.note(visit.who(), what, Some(project.id()), "", &detail)?;
    let told = match (what, changed) {
        (_, 0) => "The list is as it was.".to_owned(),
        ("collecting again", _) => format!("{changed} taken off the list."),
        _ => format!("{changed} put on the list."),
    };
    page(app, visit, Some(told), None)
}
