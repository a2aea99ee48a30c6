//! Logging in and out, and setting a password by a one-time link.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::form::Form;
use super::frame::Frame;
use super::trouble::{Trouble, render};
use super::visit::{Visit, go, is_from_here, read_form, set_cookie, unanswered};
use crate::app::App;
use crate::password;
use crate::store::access;
use crate::store::audit::{self, Note};
use crate::store::people;

/// Bytes of a form that somebody unknown sends.
const FORM_BYTES_MAX: usize = 64 << 10;

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    frame: Frame,
    email: &'a str,
    fault: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome<'a> {
    frame: Frame,
    email: &'a str,
    name: &'a str,
    fault: Option<&'static str>,
}

/// Whether a text can be an e-mail address.
pub(crate) fn is_email(text: &str) -> bool {
    let is_plain = |part: &str| {
        let is_odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '@';
        !part.is_empty() && !part.contains(is_odd)
    };
    let parts = text.split_once('@');
    text.len() <= 254 && parts.is_some_and(|(name, host)| is_plain(name) && is_plain(host))
}

/// The address of a one-time link.
pub(crate) fn invitation_url(app: &App, link: &str) -> String {
    format!("{}/welcome/{link}", app.config.public_url)
}

fn page(email: &str, status: StatusCode, fault: Option<&'static str>) -> Result<Response, Trouble> {
    let frame = Frame::outside("Log in");
    let page = Login {
        frame,
        email,
        fault,
    };
    render(status, &page)
}

pub(super) async fn show() -> Response {
    page("", StatusCode::OK, None).unwrap_or_else(Trouble::answer)
}

pub(super) async fn login(State(app): State<Arc<App>>, request: Request) -> Response {
    let entered = enter(&app, request, |app, form, _| check_login(app, form));
    entered.await.unwrap_or_else(Trouble::answer)
}

pub(super) async fn set_password(State(app): State<Arc<App>>, request: Request) -> Response {
    let entered = enter(&app, request, accept);
    entered.await.unwrap_or_else(Trouble::answer)
}

/// Reads a form of somebody who isn't logged in, and works on it; passwords take their turn.
async fn enter(
    app: &Arc<App>,
    request: Request,
    work: fn(&App, &Form, &str) -> Result<Response, Trouble>,
) -> Result<Response, Trouble> {
    let (parts, body) = request.into_parts();
    let form = read_form(app, &parts, body, FORM_BYTES_MAX).await?;
    if !is_from_here(app, &parts.headers) {
        return Err(Trouble::problem(
            StatusCode::FORBIDDEN,
            "The form does not come from here. Load the page again.",
        ));
    }
    let path = parts.uri.path().to_owned();
    let Ok(_turn) = app.passwords.acquire().await else {
        return Err(unanswered(crate::app::NoAnswer::Busy));
    };
    let done = app.blocking(move |app| work(app, &form, &path)).await;
    done.map_err(unanswered)?
}

fn check_login(app: &App, form: &Form) -> Result<Response, Trouble> {
    const WRONG: &str = "The address or the password is wrong. After 5 wrong passwords in a row, wait for 15 minutes.";
    let (email, typed) = (form.text("email").trim(), form.text("password"));
    let now = app.now();
    let found = app.store.credentials(email, now)?;
    let stored = found.as_ref().and_then(|found| found.password.as_deref());
    let typed = if typed.len() > password::LEN_MAX {
        ""
    } else {
        typed
    };
    // Worked out in every case, so that the time does not tell whether there is such a person.
    let is_right = password::is_right(typed, stored);
    let Some(found) = found else {
        return page(email, StatusCode::UNAUTHORIZED, Some(WRONG));
    };
    if !found.is_open {
        return page(email, StatusCode::UNAUTHORIZED, Some(WRONG));
    }
    if !is_right {
        app.store.count_failure(found.person, now)?;
        app.note(email, "wrong password", None, "", "")?;
        return page(email, StatusCode::UNAUTHORIZED, Some(WRONG));
    }
    begin(app, found.person, email, "logged in")
}

/// Begins a session, and leads to the first page.
fn begin(app: &App, person: i64, email: &str, what: &str) -> Result<Response, Trouble> {
    let now = app.now();
    let text = app.store.change(|db| {
        let note = Note {
            at: now,
            who: email,
            what,
            project: None,
            about: "",
            detail: "",
        };
        audit::note(db, &app.keys.audit, &note)?;
        access::begin_session(db, person, now)
    })?;
    let mut response = go("/");
    set_cookie(app, &mut response, Some(&text));
    Ok(response)
}

pub(super) fn logout(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    app.store
        .change(|db| access::end_session(db, &visit.session.hash))?;
    let mut response = go("/login");
    set_cookie(app, &mut response, None);
    Ok(response)
}

pub(super) async fn welcome(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let made = app.blocking(move |app| {
        let person = invited(app, link_in(&path))?;
        welcome_page(&person, StatusCode::OK, None)
    });
    let made = made.await.map_err(unanswered).and_then(|made| made);
    made.unwrap_or_else(Trouble::answer)
}

fn welcome_page(
    person: &people::Person,
    status: StatusCode,
    fault: Option<&'static str>,
) -> Result<Response, Trouble> {
    let is_named = person.name != person.email;
    let page = Welcome {
        frame: Frame::outside("Set your password"),
        email: &person.email,
        name: if is_named { &person.name } else { "" },
        fault,
    };
    render(status, &page)
}

/// The one-time link that a path ends with.
fn link_in(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn used_or_old() -> Trouble {
    Trouble::problem(
        StatusCode::NOT_FOUND,
        "This link was used already, or is too old. Ask an owner of your project for a new one.",
    )
}

/// Whom a link is for.
fn invited(app: &App, link: &str) -> Result<people::Person, Trouble> {
    let person = app.store.invited(link, app.now())?;
    let person = person.filter(|person| !person.is_disabled);
    person.ok_or_else(used_or_old)
}

fn accept(app: &App, form: &Form, path: &str) -> Result<Response, Trouble> {
    let link = link_in(path);
    let person = invited(app, link)?;
    let bad = StatusCode::BAD_REQUEST;
    let name = form.text("name").trim();
    if name.is_empty() || name.len() > 400 || name.chars().any(char::is_control) {
        return welcome_page(&person, bad, Some("Type your name."));
    }
    let typed = form.text("password");
    if let Some(fault) = fault_of(typed) {
        return welcome_page(&person, bad, Some(fault));
    }
    if typed != form.text("again") {
        return welcome_page(&person, bad, Some("The two passwords differ."));
    }
    let stored = password::hash(typed)?;
    let is_first = app.store.change(|db| {
        let is_first = access::take_invitation(db, link)?;
        if is_first {
            people::set_password(db, person.id, &stored)?;
            people::set_name(db, person.id, name)?;
        }
        Ok(is_first)
    })?;
    if !is_first {
        return Err(used_or_old());
    }
    begin(
        app,
        person.id,
        &person.email,
        "password set by a one-time link",
    )
}

/// What is wrong with a new password.
pub(super) fn fault_of(typed: &str) -> Option<&'static str> {
    if typed.chars().count() < password::LEN_MIN {
        return Some("The password has less than 12 characters.");
    }
    (typed.len() > password::LEN_MAX).then_some("The password is too long.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        assert!(is_email("ada@example.com"));
        for other in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a b@c",
            "a@b@c",
            "a@b\nBcc: c",
        ] {
            assert!(!is_email(other), "{other}");
        }
    }
}
