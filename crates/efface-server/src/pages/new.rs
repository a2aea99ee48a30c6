//! A new request: what is asked, what that would touch, and sending it.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use efface::plan::PlanReport;
use efface::request::{Disclosure, Regulation, Subjects, Unknown};

use super::form::Form;
use super::frame::Frame;
use super::trouble::{Trouble, render, sentence, told};
use super::visit::{Visit, go, unanswered};
use super::words;
use crate::app::{App, NoAnswer};
use crate::error::{Error, Result};
use crate::filing::{self, Filer, NotFiled};
use crate::preview::{Counted, Preview};
use crate::project::Project;
use crate::store::people::Role;
use crate::wish::Wish;

/// How long a page waits for a count.
const WAIT: Duration = Duration::from_secs(5);
/// Ids that a preview lists; unknown ones come first.
const LISTED: usize = 100;

/// What was typed, without ids.
#[derive(Default)]
struct Typed {
    regulation: String,
    project: String,
    disclosure: String,
    suppress: bool,
}

#[derive(Template)]
#[template(path = "new.html")]
struct New {
    frame: Frame,
    csrf: String,
    projects: Vec<(u64, String)>,
    typed: Typed,
    faults: Vec<(&'static str, String)>,
}

impl New {
    fn is_faulty(&self, field: &str) -> bool {
        self.faults.iter().any(|(faulty, _)| *faulty == field)
    }
}

/// What a preview shows.
enum Seen {
    NotYet,
    Failed(String),
    Done(Counts),
}

struct Counts {
    people: String,
    known: String,
    rows: String,
    share: String,
    shards: String,
    bytes: String,
    refused: Option<String>,
    will_fail: bool,
    left_out: u64,
    subjects: Vec<(usize, bool, String)>,
    more: usize,
}

#[derive(Template)]
#[template(path = "preview.html")]
struct Previewed {
    frame: Frame,
    csrf: String,
    id: String,
    report: Seen,
    words: String,
    project: String,
    regulation: String,
    disclosure: &'static str,
    window: String,
    fault: Option<String>,
}

pub(super) fn show(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    page(app, visit, Typed::default(), Vec::new())
}

fn page(
    app: &Arc<App>,
    visit: &Visit,
    typed: Typed,
    faults: Vec<(&'static str, String)>,
) -> Result<Response, Trouble> {
    let projects: Vec<(u64, String)> = visit
        .projects(app, Role::Admin)
        .map(|project| (project.id(), project.config.name.clone()))
        .collect();
    if projects.is_empty() {
        return Err(Trouble::forbidden());
    }
    let status = if faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    let page = New {
        frame: visit.frame("New request", "requests").narrow(),
        csrf: visit.csrf.clone(),
        projects,
        typed,
        faults,
    };
    render(status, &page)
}

/// The ids that a form gives: one, or a CSV.
pub(super) fn subjects(form: &Form) -> Result<Subjects, (&'static str, String)> {
    let (one, file) = (form.text("distinct_id"), form.bytes("file"));
    match (one.is_empty(), file.is_empty()) {
        (true, true) => Err(("distinct_id", "Give one id, or a file of them.".to_owned())),
        (false, false) => Err((
            "distinct_id",
            "Give one id or a file, but not both.".to_owned(),
        )),
        (false, true) => {
            Subjects::new([one]).map_err(|error| ("distinct_id", sentence(&error.to_string())))
        }
        (true, false) => {
            Subjects::from_csv(file).map_err(|error| ("file", sentence(&error.to_string())))
        }
    }
}

/// Takes a form, and begins to count what it would touch.
pub(super) fn count(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let form = &visit.form;
    let typed = Typed {
        regulation: form.text("regulation").to_owned(),
        project: form.text("project").to_owned(),
        disclosure: form.text("disclosure").to_owned(),
        suppress: form.text("suppress") == "yes",
    };
    let id = form.number("project").ok_or_else(Trouble::not_found)?;
    let project = visit.project(app, id, Role::Admin)?;
    let mut faults = Vec::new();
    let regulation = choice::<Regulation>(form, "regulation", "Choose a law.", &mut faults);
    let disclosure =
        choice::<Disclosure>(form, "disclosure", "Choose how much of it.", &mut faults);
    let subjects = subjects(form).map_err(|fault| faults.push(fault)).ok();
    if typed.suppress && disclosure != Some(Disclosure::Data) {
        faults.push((
            "suppress",
            "Only a delete of data can keep rows from coming back.".to_owned(),
        ));
    }
    let (Some(regulation), Some(disclosure), Some(subjects), true) =
        (regulation, disclosure, subjects, faults.is_empty())
    else {
        return page(app, visit, typed, faults);
    };
    let wish = Wish {
        regulation,
        disclosure,
        subjects,
        suppress: typed.suppress,
        subject_request_id: None,
    };
    let place = Arc::clone(&app.previews_counted).try_acquire_owned();
    let place = place.map_err(|_| unanswered(NoAnswer::Busy))?;
    let person = visit.session.person.id;
    let (id, preview) = app.previews.add(person, project.id(), wish, app.now())?;
    let (counting, project) = (Arc::clone(app), Arc::clone(project));
    let thread = std::thread::Builder::new().name("preview".to_owned());
    let started = thread.spawn(move || {
        let counted = match plan(&counting, &project, &preview.wish) {
            Ok(report) => Counted::Done(report),
            Err(error) => Counted::Failed(told(&error).1),
        };
        *preview.counted() = counted;
        drop(place);
    });
    started.map_err(|source| Error::Io {
        doing: "start",
        what: "a thread".to_owned(),
        source,
    })?;
    Ok(go(&format!("/requests/preview/{id}")))
}

fn choice<T: std::str::FromStr>(
    form: &Form,
    field: &'static str,
    fault: &str,
    faults: &mut Vec<(&'static str, String)>,
) -> Option<T> {
    let chosen = form.text(field).parse().ok();
    if chosen.is_none() {
        faults.push((field, fault.to_owned()));
    }
    chosen
}

fn plan(app: &App, project: &Project, wish: &Wish) -> Result<PlanReport> {
    // Counts side by side would take the memory and the disk of each other, and of what is carried out.
    let _turn = project.counting();
    let engine = project.engine()?;
    let plan = engine.plan(&wish.request(&project.config, app.now()))?;
    Ok(engine.report(&plan)?)
}

/// The preview that a path names, if it is the visitor's.
fn named(app: &App, visit: &Visit) -> Result<(String, Arc<Preview>), Trouble> {
    let id = visit.segment(2);
    let preview = app.previews.get(id, visit.session.person.id, app.now());
    let gone = "This preview is gone: it was sent, dropped, or older than 30 minutes. File the request again.";
    let preview = preview.ok_or_else(|| Trouble::problem(StatusCode::NOT_FOUND, gone))?;
    Ok((id.to_owned(), preview))
}

pub(super) fn preview(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let (id, preview) = named(app, visit)?;
    let started = std::time::Instant::now();
    while matches!(*preview.counted(), Counted::NotYet) && started.elapsed() < WAIT {
        std::thread::sleep(Duration::from_millis(20));
    }
    show_preview(app, visit, &id, &preview, StatusCode::OK, None)
}

fn show_preview(
    app: &Arc<App>,
    visit: &Visit,
    id: &str,
    preview: &Preview,
    status: StatusCode,
    fault: Option<String>,
) -> Result<Response, Trouble> {
    let project = visit.project(app, preview.project, Role::Admin)?;
    let report = match &*preview.counted() {
        Counted::NotYet => Seen::NotYet,
        Counted::Failed(text) => Seen::Failed(text.clone()),
        Counted::Done(report) => Seen::Done(counts(report, project.config.unknown)),
    };
    let wish = &preview.wish;
    let people = words::people(wish.subjects.len() as u64);
    let page = Previewed {
        frame: visit.frame("Preview", "requests").narrow(),
        csrf: visit.csrf.clone(),
        id: id.to_owned(),
        report,
        words: format!("Delete {people}"),
        project: project.config.name.clone(),
        regulation: wish.regulation.as_str().to_uppercase(),
        disclosure: words::disclosure(wish.disclosure.as_str()),
        window: project.config.window.describe(),
        fault,
    };
    render(status, &page)
}

fn counts(report: &PlanReport, unknown: Unknown) -> Counts {
    let known = report
        .subjects
        .iter()
        .filter(|subject| subject.found)
        .count();
    let mut subjects: Vec<_> = report.subjects.iter().collect();
    // Those that somebody must look at come first.
    subjects.sort_by_key(|subject| (subject.found, subject.position));
    let more = subjects.len().saturating_sub(LISTED);
    let is_unknown = known < report.subjects.len();
    let will_fail = report.refused.is_some() && !(is_unknown && unknown == Unknown::Report);
    let of_unknown = (is_unknown && unknown == Unknown::Report).then(|| {
        "The ids that are unknown will be reported as not found; the others are carried out."
            .to_owned()
    });
    let refused = report.refused.as_deref().map(sentence).or(of_unknown);
    Counts {
        people: words::count(report.subjects.len() as u64),
        known: words::count(known as u64),
        rows: words::count(report.rows),
        share: words::share(report.rows, report.dataset_rows),
        shards: words::count(report.shards),
        bytes: words::bytes(report.bytes),
        refused,
        will_fail,
        left_out: report.left_out,
        subjects: subjects
            .into_iter()
            .take(LISTED)
            .map(|subject| (subject.position, subject.found, words::count(subject.rows)))
            .collect(),
        more,
    }
}

/// Sends what a preview showed.
pub(super) fn send(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let (id, preview) = named(app, visit)?;
    if visit.form.text("drop") == "yes" {
        app.previews.forget(&id);
        return Ok(go("/requests"));
    }
    let project = visit.project(app, preview.project, Role::Admin)?;
    let again = |fault: &str| {
        let fault = Some(fault.to_owned());
        show_preview(app, visit, &id, &preview, StatusCode::BAD_REQUEST, fault)
    };
    if !matches!(*preview.counted(), Counted::Done(_)) {
        return again("It is not counted yet.");
    }
    let wish = &preview.wish;
    let typed = visit.form.number::<usize>("confirm");
    if typed != Some(wish.subjects.len()) {
        return again("To confirm, type the number of people that stands above.");
    }
    // A form that is sent twice is one request.
    let key = format!("preview {id}");
    let filer = Filer {
        person: &visit.session.person,
        origin: "form",
        key: Some(&key),
    };
    match filing::file(app, project, wish, &filer) {
        Ok(listed) => Ok(go(&format!("/requests/{}?sent=yes", listed.tracking_id))),
        Err(NotFiled::Conflict { at, tracking_ids }) => {
            let places: Vec<String> = wish
                .subjects
                .iter()
                .enumerate()
                .filter(|(index, _)| at.contains(index))
                .take(20)
                .map(|(_, (position, _))| position.to_string())
                .collect();
            let more = if at.len() > places.len() { ", …" } else { "" };
            again(&format!(
                "A delete that has not ended names some of these ids already (places {}{more}): task {}.",
                places.join(", "),
                tracking_ids.join(", "),
            ))
        }
        Err(NotFiled::OtherKeyed | NotFiled::IdTaken) => again("This preview was sent already."),
        Err(NotFiled::Full) => {
            again("Too many requests of this project wait. Try again after its next window.")
        }
        Err(NotFiled::Ending) => again("The service is restarting. Try again in a moment."),
        Err(NotFiled::Failed(error)) => {
            let (status, text) = told(&error);
            show_preview(app, visit, &id, &preview, status, Some(text))
        }
    }
}
