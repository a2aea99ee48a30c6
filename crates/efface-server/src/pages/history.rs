//! The audit log.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::frame::Frame;
use super::trouble::{Trouble, render};
use super::visit::Visit;
use super::words;
use crate::app::App;
use crate::store::audit::Chain;
use crate::store::people::Role;

/// Lines on a page.
const PAGE: u32 = 100;

struct Line {
    when: String,
    who: String,
    what: String,
    project: String,
    about: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    frame: Frame,
    csrf: String,
    lines: Vec<Line>,
    older: Option<i64>,
    whole: Option<(i64, String)>,
    broken: Option<i64>,
}

pub(super) fn show(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    page(app, visit, None)
}

pub(super) fn check(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let chain = app.store.check_audit(&app.keys.audit)?;
    page(app, visit, Some(chain))
}

fn page(app: &Arc<App>, visit: &Visit, chain: Option<Chain>) -> Result<Response, Trouble> {
    let seen: Vec<u64> = visit
        .projects(app, Role::Auditor)
        .map(|project| project.id())
        .collect();
    if seen.is_empty() {
        return Err(Trouble::forbidden());
    }
    let before = visit.query.number("before").unwrap_or(i64::MAX);
    let lines = app.store.audit(&seen, before, PAGE)?;
    let older = lines
        .last()
        .filter(|line| lines.len() == PAGE as usize && line.number > 1);
    let older = older.map(|line| line.number);
    let (whole, broken) = match chain {
        None => (None, None),
        Some(Chain::Whole { lines, head }) => (Some((lines, head)), None),
        Some(Chain::Broken { line }) => (None, Some(line)),
    };
    let lines = lines.into_iter().map(|line| Line {
        when: words::moment(line.at),
        who: line.who,
        what: line.what,
        project: line
            .project
            .and_then(|id| Some(app.project(id)?.config.name.clone()))
            .unwrap_or_default(),
        about: line.about,
        detail: line.detail,
    });
    let page = Page {
        frame: visit.frame("Audit", "audit"),
        csrf: visit.csrf.clone(),
        lines: lines.collect(),
        older,
        whole,
        broken,
    };
    render(StatusCode::OK, &page)
}
