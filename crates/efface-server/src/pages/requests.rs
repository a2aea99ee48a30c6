//! The request log.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, HeaderValue};
use axum::response::Response;

use super::form::Form;
use super::frame::Frame;
use super::trouble::{Trouble, render, sentence};
use super::visit::{Visit, go};
use super::words::{self, Due, SOON, STATES, State};
use crate::app::App;
use crate::http;
use crate::store::people::Role;
use crate::store::requests::{Listed, Wanted};

/// Requests on a page.
const PAGE: u64 = 50;
/// Requests in a CSV.
const CSV_MAX: u64 = 100_000;

/// What is looked for.
#[derive(Default, Clone)]
struct Filter {
    project: Option<u64>,
    regulation: String,
    state: String,
    due: String,
    id: String,
    page: u64,
}

/// A request, as a line shows it.
struct Row {
    id: String,
    kind: &'static str,
    regulation: String,
    disclosure: &'static str,
    project: String,
    subjects: u64,
    requested: String,
    by: String,
    due: Option<Due>,
    state: State,
}

#[derive(Template)]
#[template(path = "requests.html")]
struct Requests {
    frame: Frame,
    csrf: String,
    may_request: bool,
    projects: Vec<(u64, String)>,
    states: [(&'static str, &'static str); 6],
    filter: Filter,
    searched: bool,
    overdue: u64,
    soon: u64,
    troubles: Vec<(String, String)>,
    rows: Vec<Row>,
    total: u64,
    first: u64,
    last: u64,
    newer: Option<String>,
    older: Option<String>,
    csv: String,
}

impl Requests {
    /// Whether a project is the one that is looked for.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates pass everything so"
    )]
    fn is_project(&self, id: &u64) -> bool {
        self.filter.project == Some(*id)
    }
}

impl Filter {
    fn of(query: &Form) -> Self {
        let word = |name: &str, words: &[&str]| {
            let text = query.text(name);
            let is_known = words.contains(&text);
            (if is_known { text } else { "" }).to_owned()
        };
        let states: Vec<&str> = STATES.iter().map(|(state, _)| *state).collect();
        // Anything else can't be a tracking id, and may be an id of a person that was typed at the wrong place.
        let is_of_id = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
        let id = query.text("id").trim().to_lowercase();
        Self {
            project: query.number("project"),
            regulation: word("regulation", &["gdpr", "ccpa"]),
            state: word("state", &states),
            due: word("due", &["soon", "overdue"]),
            id: if id.len() <= 36 && id.chars().all(is_of_id) {
                id
            } else {
                String::new()
            },
            page: query.number("page").unwrap_or(0),
        }
    }

    fn is_empty(&self) -> bool {
        self.address("").is_empty()
    }

    /// The address of what is looked for.
    fn address(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let project = self.project.map(|id| id.to_string());
        let page = Some(self.page)
            .filter(|page| *page > 0)
            .map(|page| page.to_string());
        for (name, value) in [
            ("project", project.as_deref().unwrap_or_default()),
            ("regulation", self.regulation.as_str()),
            ("state", &self.state),
            ("due", &self.due),
            ("id", &self.id),
            ("page", page.as_deref().unwrap_or_default()),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        let query = query.finish();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        }
    }

    fn wanted(&self, app: &App, seen: &[(u64, String)]) -> Wanted {
        let now = app.now();
        let is_meant = |id: &u64| self.project.is_none_or(|project| project == *id);
        Wanted {
            projects: seen.iter().map(|(id, _)| *id).filter(is_meant).collect(),
            regulation: self.regulation.clone(),
            state: self.state.clone(),
            due_before: match self.due.as_str() {
                "overdue" => Some(now),
                "soon" => Some(now + SOON),
                _ => None,
            },
            tracking_id: self.id.clone(),
            subjects: None,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is a page as the others are")]
pub(super) fn home(_app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let sees = |(_, role): &(u64, Role)| *role >= Role::Auditor;
    let to = if visit.session.person.roles.iter().any(sees) {
        "/requests"
    } else {
        "/settings"
    };
    Ok(go(to))
}

pub(super) fn list(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let filter = Filter::of(&visit.query);
    let seen = seen(app, visit)?;
    let wanted = filter.wanted(app, &seen);
    page(app, visit, filter, seen, &wanted, false)
}

/// The requests of a person, whose id comes in the body, so that no log and no history has it.
pub(super) fn search(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let seen = seen(app, visit)?;
    let id = visit.form.text("distinct_id");
    let hashes = seen
        .iter()
        .map(|(project, _)| app.keys.subject(*project, id));
    let wanted = Wanted {
        subjects: Some(hashes.collect()),
        ..Filter::default().wanted(app, &seen)
    };
    for (project, _) in &seen {
        let hash = crate::secrets::encode(&app.keys.subject(*project, id));
        app.note(
            visit.who(),
            "looked for a person",
            Some(*project),
            &hash,
            "",
        )?;
    }
    page(app, visit, Filter::default(), seen, &wanted, true)
}

/// The projects whose requests the visitor sees.
fn seen(app: &Arc<App>, visit: &Visit) -> Result<Vec<(u64, String)>, Trouble> {
    let seen: Vec<(u64, String)> = visit
        .projects(app, Role::Auditor)
        .map(|project| (project.id(), project.config.name.clone()))
        .collect();
    if seen.is_empty() {
        return Err(Trouble::forbidden());
    }
    Ok(seen)
}

fn page(
    app: &Arc<App>,
    visit: &Visit,
    filter: Filter,
    seen: Vec<(u64, String)>,
    wanted: &Wanted,
    searched: bool,
) -> Result<Response, Trouble> {
    let now = app.now();
    let offset = filter.page.saturating_mul(PAGE).min(1 << 40);
    let (listed, total) = app.store.requests(wanted, offset, PAGE)?;
    let (mut overdue, mut soon, mut troubles) = (0, 0, Vec::new());
    for (id, name) in &seen {
        overdue += app.store.due_before(*id, now)?;
        soon += app.store.due_before(*id, now + SOON)?;
        let trouble = app.project(*id).and_then(|project| project.trouble());
        troubles.extend(trouble.map(|trouble| (name.clone(), sentence(&trouble))));
    }
    let name_of = |id: u64| {
        let found = seen.iter().find(|(project, _)| *project == id);
        found.map(|(_, name)| name.clone()).unwrap_or_default()
    };
    let rows: Vec<Row> = listed
        .iter()
        .map(|listed| row(listed, name_of(listed.project), now))
        .collect();
    let count = rows.len() as u64;
    let at = |page: u64| {
        Filter {
            page,
            ..filter.clone()
        }
        .address("/requests")
    };
    let page = Requests {
        frame: visit.frame("Requests", "requests"),
        csrf: visit.csrf.clone(),
        may_request: visit.projects(app, Role::Admin).next().is_some(),
        states: STATES,
        searched,
        overdue,
        soon: soon - overdue,
        troubles,
        total,
        first: if count == 0 { 0 } else { offset + 1 },
        last: offset + count,
        newer: (filter.page > 0 && !searched).then(|| at(filter.page - 1)),
        older: (offset + count < total && !searched).then(|| at(filter.page + 1)),
        csv: Filter {
            page: 0,
            ..filter.clone()
        }
        .address("/requests.csv"),
        filter,
        projects: seen,
        rows,
    };
    render(StatusCode::OK, &page)
}

fn row(listed: &Listed, project: String, now: jiff::Timestamp) -> Row {
    Row {
        id: listed.tracking_id.clone(),
        kind: words::kind(&listed.kind),
        regulation: listed.regulation.to_uppercase(),
        disclosure: words::disclosure(&listed.disclosure),
        project,
        subjects: listed.subjects,
        requested: words::day(listed.requested_at),
        by: if listed.requested_by.is_empty() {
            "command line".to_owned()
        } else {
            listed.requested_by.clone()
        },
        due: words::due(listed, now),
        state: words::state(&listed.state),
    }
}

/// The log as CSV, for audits.
pub(super) fn csv(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let seen = seen(app, visit)?;
    let wanted = Filter::of(&visit.query).wanted(app, &seen);
    let (listed, _) = app.store.requests(&wanted, 0, CSV_MAX)?;
    let mut text = String::from(
        "task_id,project_id,type,compliance,disclosure,people,requested_by,approved_by,origin,requested_at,due,state,ended_at\r\n",
    );
    for listed in &listed {
        let ended = listed.ended_at.map(|at| at.to_string()).unwrap_or_default();
        let fields = [
            &listed.tracking_id,
            &listed.project.to_string(),
            &listed.kind,
            &listed.regulation,
            &listed.disclosure,
            &listed.subjects.to_string(),
            &listed.requested_by,
            listed.approved_by.as_ref().unwrap_or(&String::new()),
            &listed.origin,
            &listed.requested_at.to_string(),
            &listed.due.to_string(),
            &listed.state,
            &ended,
        ]
        .map(|field| cell(field));
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    let mut response = http::answer(StatusCode::OK, "text/csv; charset=utf-8", text);
    let named = HeaderValue::from_static("attachment; filename=\"requests.csv\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, named);
    Ok(response)
}

/// A cell of a CSV that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let text = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    };
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_ends_early() {
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("@a"), "\"'@a\"");
        assert_eq!(cell("a\"b,c"), "\"a\"\"b,c\"");
    }

    #[test]
    fn what_is_no_tracking_id_is_not_put_into_an_address() {
        let filter = Filter::of(&Form::parse(
            b"id=ada%40example.com&state=odd&due=soon&page=2",
        ));
        assert_eq!(filter.address("/requests"), "/requests?due=soon&page=2");
    }
}
