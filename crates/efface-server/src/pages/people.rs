//! People and projects: who has which role.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::door::{invitation_url, is_email};
use super::frame::Frame;
use super::trouble::{Trouble, render};
use super::visit::Visit;
use crate::app::App;
use crate::project::Project;
use crate::store::access;
use crate::store::audit::{self, Note};
use crate::store::people::{self, Person, Role};

const LAST: &str = "This is the project's only owner. Make somebody else an owner first.";
const NOT_ALL: &str =
    "This person has roles in projects that you don't own. Ask an owner of all of them.";

struct Member {
    id: i64,
    name: String,
    email: String,
    role: &'static str,
    is_disabled: bool,
    has_password: bool,
}

struct Shown {
    id: u64,
    name: String,
    token: String,
    window: String,
    unknown: &'static str,
    is_owned: bool,
    roles: Vec<&'static str>,
    people: Vec<Member>,
}

#[derive(Template)]
#[template(path = "people.html")]
struct Page {
    frame: Frame,
    csrf: String,
    projects: Vec<Shown>,
    meanings: Vec<(&'static str, &'static str)>,
    link: Option<(String, String)>,
    told: Option<String>,
    fault: Option<String>,
}

/// What a page says of what was done.
#[derive(Default)]
struct Said {
    link: Option<(String, String)>,
    told: Option<String>,
    fault: Option<String>,
}

impl Said {
    fn fault(text: &str) -> Self {
        Self {
            fault: Some(text.to_owned()),
            ..Self::default()
        }
    }

    fn told(text: String) -> Self {
        Self {
            told: Some(text),
            ..Self::default()
        }
    }

    fn link(app: &App, email: &str, link: &str) -> Self {
        Self {
            link: Some((email.to_owned(), invitation_url(app, link))),
            ..Self::default()
        }
    }

    /// What was done, unless it would have left a project without an owner.
    fn unless_last(is_done: bool, told: String) -> Self {
        if is_done {
            Self::told(told)
        } else {
            Self::fault(LAST)
        }
    }
}

fn role_told(email: &str, role: Role, project: &Project) -> String {
    let role = role.as_str();
    format!("{email} is {role} of {} now.", project.config.name)
}

/// Whether the visitor is an owner of each project in which a person has a role. A link or a lock counts in all of
/// them, so nobody else gives one.
fn owns_all(visit: &Visit, person: &Person) -> bool {
    let mut roles = person.roles.iter();
    roles.all(|(project, _)| visit.session.person.role(*project) == Some(Role::Owner))
}

pub(super) fn show(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    page(app, visit, Said::default())
}

fn page(app: &Arc<App>, visit: &Visit, said: Said) -> Result<Response, Trouble> {
    let everybody = app.store.people()?;
    let projects: Vec<Shown> = visit
        .projects(app, Role::Auditor)
        .map(|project| {
            let id = project.id();
            let member = |person: &Person| {
                Some(Member {
                    id: person.id,
                    name: person.name.clone(),
                    email: person.email.clone(),
                    role: person.role(id)?.as_str(),
                    is_disabled: person.is_disabled,
                    has_password: person.has_password,
                })
            };
            Shown {
                id,
                name: project.config.name.clone(),
                token: project.config.token.clone(),
                window: project.config.window.describe(),
                unknown: match project.config.unknown {
                    efface::request::Unknown::Refuse => "a request with one ends as failed",
                    efface::request::Unknown::Report => "reported, and the rest is carried out",
                },
                is_owned: visit.session.person.role(id) == Some(Role::Owner),
                roles: Role::ALL.iter().map(|role| role.as_str()).collect(),
                people: everybody.iter().filter_map(member).collect(),
            }
        })
        .collect();
    if projects.is_empty() {
        return Err(Trouble::forbidden());
    }
    let status = if said.fault.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let page = Page {
        frame: visit.frame("People and projects", "people"),
        csrf: visit.csrf.clone(),
        projects,
        meanings: Role::ALL
            .iter()
            .map(|role| (role.as_str(), role.meaning()))
            .collect(),
        link: said.link,
        told: said.told,
        fault: said.fault,
    };
    render(status, &page)
}

/// Adds a person to a project, with a role.
pub(super) fn add(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let form = &visit.form;
    let id = form.number("project").ok_or_else(Trouble::not_found)?;
    let project = visit.project(app, id, Role::Owner)?;
    let email = form.text("email").trim();
    let Some(role) = Role::parse(form.text("role")) else {
        return page(app, visit, Said::fault("Choose a role."));
    };
    if !is_email(email) {
        return page(app, visit, Said::fault("That is no e-mail address."));
    }
    let everybody = app.store.people()?;
    let known = everybody
        .iter()
        .find(|person| person.email.eq_ignore_ascii_case(email));
    if known.is_some_and(|person| person.role(project.id()).is_some()) {
        return page(
            app,
            visit,
            Said::fault("This person has a role in the project: change it below."),
        );
    }
    // Who can log in already needs no link.
    let is_new = known.is_none_or(|person| !person.has_password && owns_all(visit, person));
    let now = app.now();
    let link = app.store.change(|db| {
        let person = people::add(db, email, email, now)?;
        people::set_role(db, person, project.id(), role)?;
        note(
            db,
            app,
            visit,
            project.id(),
            ("person added", email, role.as_str()),
        )?;
        if is_new {
            access::invite(db, person, now).map(Some)
        } else {
            Ok(None)
        }
    })?;
    let said = match link {
        Some(link) => Said::link(app, email, &link),
        None => Said::told(role_told(email, role, project)),
    };
    page(app, visit, said)
}

fn note(
    db: &rusqlite::Connection,
    app: &App,
    visit: &Visit,
    project: u64,
    (what, about, detail): (&str, &str, &str),
) -> crate::error::Result<()> {
    let note = Note {
        at: app.now(),
        who: visit.who(),
        what,
        project: Some(project),
        about,
        detail,
    };
    audit::note(db, &app.keys.audit, &note)
}

/// Changes a person's role, gives a new link, or shuts the person out.
pub(super) fn change(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let form = &visit.form;
    let id = form.number("project").ok_or_else(Trouble::not_found)?;
    let project = visit.project(app, id, Role::Owner)?;
    let id = project.id();
    let number: i64 = form.number("person").ok_or_else(Trouble::not_found)?;
    let everybody = app.store.people()?;
    let person = everybody.into_iter().find(|person| person.id == number);
    let person = person.filter(|person| person.role(id).is_some());
    let person = person.ok_or_else(Trouble::not_found)?;
    let email = &person.email;
    let is_last = |db: &rusqlite::Connection| -> crate::error::Result<bool> {
        Ok(person.role(id) == Some(Role::Owner) && people::other_owners(db, person.id, id)? == 0)
    };
    let now = app.now();
    match form.text("do") {
        "role" => {
            let role = Role::parse(form.text("role")).ok_or_else(Trouble::not_found)?;
            let is_done = app.store.change(|db| {
                if role != Role::Owner && is_last(db)? {
                    return Ok(false);
                }
                people::set_role(db, person.id, id, role)?;
                note(db, app, visit, id, ("role given", email, role.as_str()))?;
                Ok(true)
            })?;
            let told = role_told(email, role, project);
            page(app, visit, Said::unless_last(is_done, told))
        }
        "link" | "disable" | "enable" if !owns_all(visit, &person) => {
            page(app, visit, Said::fault(NOT_ALL))
        }
        "link" => {
            let link = app.store.change(|db| {
                note(db, app, visit, id, ("one-time link made", email, ""))?;
                access::invite(db, person.id, now)
            })?;
            page(app, visit, Said::link(app, email, &link))
        }
        "disable" => {
            let is_done = app.store.change(|db| {
                for (project, role) in &person.roles {
                    if *role == Role::Owner && people::other_owners(db, person.id, *project)? == 0 {
                        return Ok(false);
                    }
                }
                people::set_disabled(db, person.id, Some(now))?;
                note(db, app, visit, id, ("person shut out", email, ""))?;
                Ok(true)
            })?;
            let told = format!("{email} is shut out: sessions and tokens open nothing any more.");
            page(app, visit, Said::unless_last(is_done, told))
        }
        "enable" => {
            app.store.change(|db| {
                people::set_disabled(db, person.id, None)?;
                note(db, app, visit, id, ("person let in again", email, ""))
            })?;
            page(app, visit, Said::told(format!("{email} may log in again.")))
        }
        _ => Err(Trouble::not_found()),
    }
}
