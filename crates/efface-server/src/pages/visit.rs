//! Who visits a page, and what was sent along.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::http::header::{COOKIE, HeaderName, HeaderValue, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

use super::form::Form;
use super::frame::Frame;
use super::trouble::Trouble;
use crate::app::App;
use crate::http::{self, BodyFault, read_body};
use crate::project::Project;
use crate::secrets::is_same;
use crate::store::access::{self, Session};
use crate::store::people::Role;

/// A visit of a person who is logged in.
pub(crate) struct Visit {
    pub(super) session: Session,
    /// The mark that each of the session's forms sends along.
    pub(super) csrf: String,
    pub(super) path: String,
    pub(super) query: Form,
    pub(super) form: Form,
    /// The session's text, if it began with this visit.
    begun: Option<String>,
}

/// Makes a page.
pub(crate) type Page = fn(&Arc<App>, &Visit) -> Result<Response, Trouble>;

impl Visit {
    /// The frame of a page.
    pub(super) fn frame(&self, title: &str, place: &'static str) -> Frame {
        Frame::of(&self.session.person, &self.csrf, title, place)
    }

    /// The part of the path at a place, counted from 0.
    pub(super) fn segment(&self, at: usize) -> &str {
        self.path.split('/').nth(at + 1).unwrap_or_default()
    }

    /// The projects in which the visitor has at least a role.
    pub(super) fn projects<'a>(
        &'a self,
        app: &'a App,
        role: Role,
    ) -> impl Iterator<Item = &'a Arc<Project>> {
        let may =
            move |project: &&Arc<Project>| self.session.person.role(project.id()) >= Some(role);
        app.projects.iter().filter(may)
    }

    /// A project in which the visitor has at least a role.
    pub(super) fn project<'a>(
        &self,
        app: &'a App,
        id: u64,
        role: Role,
    ) -> Result<&'a Arc<Project>, Trouble> {
        match self.session.person.role(id) {
            // Who sees nothing of a project doesn't learn whether there is one.
            None | Some(Role::Member) => Err(Trouble::not_found()),
            Some(own) if own < role => Err(Trouble::forbidden()),
            Some(_) => app.project(id).ok_or_else(Trouble::not_found),
        }
    }

    /// The visitor's address, as the audit log names it.
    pub(super) fn who(&self) -> &str {
        &self.session.person.email
    }
}

/// Leads to another page.
pub(super) fn go(to: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// The name of the session's cookie. With the prefix, browsers take it from nobody but us.
fn cookie_name(app: &App) -> &'static str {
    if app.config.is_https() {
        "__Host-efface"
    } else {
        "efface"
    }
}

/// Gives or takes the session's cookie.
pub(super) fn set_cookie(app: &App, response: &mut Response, text: Option<&str>) {
    let name = cookie_name(app);
    let secure = if app.config.is_https() {
        "; Secure"
    } else {
        ""
    };
    let (text, age) = match text {
        Some(text) => (text, access::SESSION.as_secs()),
        None => ("", 0),
    };
    let cookie = format!("{name}={text}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// The session's text that a browser sent.
fn cookie<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(app);
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(cookie, _)| *cookie == name)
        .map(|(_, text)| text)
}

/// Whether a form comes from one of our own pages, as far as the browser says.
pub(super) fn is_from_here(app: &App, headers: &HeaderMap) -> bool {
    let site = headers.get(HeaderName::from_static("sec-fetch-site"));
    let is_own_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    let origin = headers.get(ORIGIN);
    is_own_site && origin.is_none_or(|origin| origin == app.config.public_url.as_str())
}

/// Reads the form that was sent, of up to `bytes_max` bytes.
pub(super) async fn read_form(
    app: &App,
    parts: &Parts,
    body: axum::body::Body,
    bytes_max: usize,
) -> Result<Form, Trouble> {
    let body = read_body(app, &parts.headers, body, bytes_max).await;
    let form = match body {
        Ok(body) => Form::read(&parts.headers, body).await,
        Err(fault) => Err(fault),
    };
    form.map_err(|fault| {
        let told = match fault {
            BodyFault::TooLarge => {
                format!("What was sent is larger than {bytes_max} bytes. Split the file.")
            }
            BodyFault::TooSlow => "The form came too slowly. Try again.".to_owned(),
            BodyFault::Broken => "The form could not be read.".to_owned(),
        };
        Trouble::Problem(fault.status(), told)
    })
}

/// Serves a page to people who are logged in.
pub(super) async fn serve(app: Arc<App>, page: Page, request: Request) -> Response {
    match carry_out(&app, page, request).await {
        Ok(response) => response,
        Err(trouble) => trouble.answer(),
    }
}

pub(super) fn unanswered(why: crate::app::NoAnswer) -> Trouble {
    Trouble::problem(
        http::no_answer(why),
        "Too many people are here at once. Try again in a moment.",
    )
}

async fn carry_out(app: &Arc<App>, page: Page, request: Request) -> Result<Response, Trouble> {
    let (parts, body) = request.into_parts();
    let known = app.blocking(move |app| {
        let known = recognise(app, &parts);
        (parts, known)
    });
    let (parts, known) = known.await.map_err(unanswered)?;
    let Some((session, begun)) = known? else {
        return Ok(go("/login"));
    };
    let csrf = app.keys.form(&session.hash);
    let is_change = !matches!(parts.method, Method::GET | Method::HEAD);
    let form = if is_change {
        read_form(app, &parts, body, app.config.limits.body_bytes).await?
    } else {
        Form::default()
    };
    if is_change && !(is_from_here(app, &parts.headers) && is_same(form.text("csrf"), &csrf)) {
        return Err(Trouble::problem(
            StatusCode::FORBIDDEN,
            "The form is too old, or does not come from here. Go back, load the page again, and send it once more.",
        ));
    }
    let visit = Visit {
        session,
        csrf,
        path: parts.uri.path().to_owned(),
        query: Form::parse(parts.uri.query().unwrap_or_default().as_bytes()),
        form,
        begun,
    };
    let made = app.blocking(move |app| {
        let mut made = page(app, &visit);
        if let (Ok(response), Some(text)) = (&mut made, &visit.begun) {
            set_cookie(app, response, Some(text));
        }
        made
    });
    made.await.map_err(unanswered)?
}

/// Who visits: by the session's cookie, or by what a trusted proxy says.
fn recognise(app: &App, parts: &Parts) -> Result<Option<(Session, Option<String>)>, Trouble> {
    let now = app.now();
    let text = cookie(app, &parts.headers);
    let session = match text {
        Some(text) => app.store.session(text, now)?,
        None => None,
    };
    let Some(email) = proxied(app, parts) else {
        return Ok(session.map(|session| (session, None)));
    };
    // The proxy's word counts more than an older session of somebody else.
    if let Some(session) =
        session.filter(|session| session.person.email.eq_ignore_ascii_case(email))
    {
        return Ok(Some((session, None)));
    }
    let Some(person) = app.store.person_by_email(email)? else {
        return Err(Trouble::problem(
            StatusCode::FORBIDDEN,
            "You are logged in, but nobody has added you here. Ask an owner of your project.",
        ));
    };
    let text = app
        .store
        .change(|db| access::begin_session(db, person.id, now))?;
    app.note(&person.email, "logged in by the proxy", None, "", "")?;
    let session = app.store.session(&text, now)?;
    Ok(session.map(|session| (session, Some(text))))
}

/// The address of a person, as a trusted proxy says it.
fn proxied<'a>(app: &App, parts: &'a Parts) -> Option<&'a str> {
    let proxy = app.config.proxy.as_ref()?;
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
    let plain = |ip: IpAddr| ip.to_canonical();
    let is_trusted = proxy.from.iter().any(|from| plain(*from) == plain(peer));
    let mut said = parts.headers.get_all(&proxy.user_header).iter();
    let email = said.next()?.to_str().ok()?.trim();
    // Two of them: somebody smuggled one in.
    (is_trusted && said.next().is_none() && !email.is_empty()).then_some(email)
}
