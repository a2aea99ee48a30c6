//! Personal settings: roles, tokens, password.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::SignedDuration;

use super::door::fault_of;
use super::frame::Frame;
use super::trouble::{Trouble, render};
use super::visit::{Visit, set_cookie, unanswered};
use super::words;
use crate::app::{App, NoAnswer};
use crate::password;
use crate::store::access::{self, WARNED};
use crate::store::audit::{self, Note};
use crate::store::people::{self, Role};

/// Tokens that a person may have at the same time.
const TOKENS_MAX: usize = 20;

struct Token {
    id: i64,
    name: String,
    made: String,
    used: String,
    ends: String,
    tone: &'static str,
    is_open: bool,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    frame: Frame,
    csrf: String,
    email: String,
    roles: Vec<(String, &'static str, &'static str)>,
    tokens: Vec<Token>,
    warnings: Vec<String>,
    may_make: bool,
    made: Option<String>,
    told: Option<&'static str>,
    fault: Option<&'static str>,
}

pub(super) fn show(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    page(app, visit, None, None, None)
}

fn page(
    app: &Arc<App>,
    visit: &Visit,
    made: Option<String>,
    told: Option<&'static str>,
    fault: Option<&'static str>,
) -> Result<Response, Trouble> {
    let now = app.now();
    let person = &visit.session.person;
    let roles = person.roles.iter().filter_map(|(id, role)| {
        let name = app.project(*id)?.config.name.clone();
        Some((name, role.as_str(), role.meaning()))
    });
    let mut warnings = Vec::new();
    let tokens = app.store.tokens(person.id)?.into_iter().map(|token| {
        let left = token.expires_at.duration_since(now);
        let is_open = token.revoked_at.is_none() && left.is_positive();
        if is_open && left <= WARNED {
            let days = left.as_hours() / 24;
            let soon = if left <= SignedDuration::from_hours(7 * 24) {
                "Make a new one now"
            } else {
                "Make a new one soon"
            };
            warnings.push(format!(
                "“{}” ends in {days} days. {soon}, and put it in its place.",
                token.name
            ));
        }
        let (ends, tone) = match token.revoked_at {
            Some(at) => (format!("revoked {}", words::day(at)), ""),
            None if !is_open => (format!("ended {}", words::day(token.expires_at)), "late"),
            None if left <= WARNED => (words::day(token.expires_at), "soon"),
            None => (words::day(token.expires_at), ""),
        };
        Token {
            id: token.id,
            name: token.name,
            made: words::day(token.created_at),
            used: token
                .last_used_at
                .map_or_else(|| "never".to_owned(), words::moment),
            ends,
            tone,
            is_open,
        }
    });
    let tokens = tokens.collect();
    let status = if fault.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let page = Page {
        frame: visit.frame("Personal settings", "settings").narrow(),
        csrf: visit.csrf.clone(),
        email: person.email.clone(),
        roles: roles.collect(),
        tokens,
        warnings,
        may_make: may_make(visit),
        made,
        told,
        fault,
    };
    render(status, &page)
}

fn may_make(visit: &Visit) -> bool {
    let mut roles = visit.session.person.roles.iter();
    roles.any(|(_, role)| *role >= Role::Admin)
}

pub(super) fn make(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    if !may_make(visit) {
        return Err(Trouble::forbidden());
    }
    let name = visit.form.text("name").trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return page(
            app,
            visit,
            None,
            None,
            Some("Say what the token is for, in up to 100 characters."),
        );
    }
    let now = app.now();
    let person = visit.session.person.id;
    let own = app.store.tokens(person)?.into_iter();
    let open = own.filter(|token| token.revoked_at.is_none() && token.expires_at > now);
    if open.count() >= TOKENS_MAX {
        return page(
            app,
            visit,
            None,
            None,
            Some("You have 20 tokens. Revoke one that is not used any more."),
        );
    }
    let text = app.store.change(|db| {
        let (id, text) = access::make_token(db, person, name, now)?;
        let about = format!("token {id}");
        audit::note(db, &app.keys.audit, &note(app, visit, "token made", &about))?;
        Ok(text)
    })?;
    page(app, visit, Some(text), None, None)
}

fn note<'a>(app: &App, visit: &'a Visit, what: &'a str, about: &'a str) -> Note<'a> {
    Note {
        at: app.now(),
        who: visit.who(),
        what,
        project: None,
        about,
        detail: "",
    }
}

pub(super) fn revoke(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let id: i64 = visit.segment(2).parse().map_err(|_| Trouble::not_found())?;
    let person = visit.session.person.id;
    let revoked = app.store.change(|db| {
        let revoked = access::revoke_token(db, person, id, app.now())?;
        if revoked {
            let about = format!("token {id}");
            audit::note(
                db,
                &app.keys.audit,
                &note(app, visit, "token revoked", &about),
            )?;
        }
        Ok(revoked)
    })?;
    if !revoked {
        return Err(Trouble::not_found());
    }
    page(
        app,
        visit,
        None,
        Some("The token is revoked: it opens nothing from now on."),
        None,
    )
}

pub(super) fn set_password(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let (old, new) = (visit.form.text("old"), visit.form.text("password"));
    let person = &visit.session.person;
    let now = app.now();
    if let Some(fault) = fault_of(new) {
        return page(app, visit, None, None, Some(fault));
    }
    let turn = app.passwords.try_acquire();
    let _turn = turn.map_err(|_| unanswered(NoAnswer::Busy))?;
    let found = app.store.credentials(&person.email, now)?;
    let found = found.filter(|found| found.is_open && old.len() <= password::LEN_MAX);
    let stored = found.as_ref().and_then(|found| found.password.as_deref());
    if !password::is_right(old, stored) {
        app.store.count_failure(person.id, now)?;
        app.note(visit.who(), "wrong password", None, "", "")?;
        return page(
            app,
            visit,
            None,
            None,
            Some(
                "The present password is wrong. After 5 wrong ones in a row, wait for 15 minutes.",
            ),
        );
    }
    let stored = password::hash(new)?;
    let text = app.store.change(|db| {
        people::set_password(db, person.id, &stored)?;
        audit::note(
            db,
            &app.keys.audit,
            &note(app, visit, "password changed", ""),
        )?;
        access::begin_session(db, person.id, now)
    })?;
    // The forms of the page would carry the mark of the session that ended.
    let mut response = super::visit::go("/settings");
    set_cookie(app, &mut response, Some(&text));
    Ok(response)
}
