//! The pages for people: made on the server, usable without JavaScript.
//!
//! ```text
//!   session (else to /login) ─> the form, within bounds ─> its origin and its mark (else 403) ─> the page
//! ```
//!
//! * `visit`: who visits, and what was sent along
//! * `frame`: what every page has around it
//! * `trouble`: why there is no page
//! * `words`: states, times and choices in words for people
//! * the others: a page each

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::response::Response;
use axum::routing::{get, post};

use crate::app::App;
use crate::http;

mod developers;
mod door;
mod form;
mod frame;
mod history;
mod new;
mod one;
mod people;
mod requests;
mod settings;
mod suppression;
mod trouble;
mod visit;
mod words;

pub(crate) use door::{invitation_url, is_email};
pub(crate) use trouble::problem;

const STYLE: &str = include_str!("style.css");
const ICON: &str = include_str!("icon.svg");

/// The routes of the pages.
pub(crate) fn routes() -> Router<Arc<App>> {
    let on = |page: visit::Page| {
        move |State(app): State<Arc<App>>, request| visit::serve(app, page, request)
    };
    Router::new()
        .route("/", get(on(requests::home)))
        .route("/login", get(door::show).post(door::login))
        .route(
            "/welcome/{link}",
            get(door::welcome).post(door::set_password),
        )
        .route("/logout", post(on(door::logout)))
        .route("/requests", get(on(requests::list)))
        .route("/requests.csv", get(on(requests::csv)))
        .route("/requests/search", post(on(requests::search)))
        .route("/requests/new", get(on(new::show)).post(on(new::count)))
        .route(
            "/requests/preview/{preview}",
            get(on(new::preview)).post(on(new::send)),
        )
        .route("/requests/{tracking_id}", get(on(one::show)))
        .route("/requests/{tracking_id}/cancel", post(on(one::cancel)))
        .route(
            "/requests/{tracking_id}/receipt.json",
            get(on(one::receipt)),
        )
        .route(
            "/suppression",
            get(on(suppression::show)).post(on(suppression::change)),
        )
        .route("/settings", get(on(settings::show)))
        .route("/settings/tokens", post(on(settings::make)))
        .route(
            "/settings/tokens/{token}/revoke",
            post(on(settings::revoke)),
        )
        .route("/settings/password", post(on(settings::set_password)))
        .route("/people", get(on(people::show)).post(on(people::add)))
        .route("/people/role", post(on(people::change)))
        .route("/audit", get(on(history::show)))
        .route("/audit/check", post(on(history::check)))
        .route("/developers", get(on(developers::show)))
        .route(
            "/static/style.css",
            get(async || fixed("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/static/icon.svg",
            get(async || fixed("image/svg+xml", ICON)),
        )
}

/// A file that is the same for everybody.
fn fixed(kind: &'static str, text: &'static str) -> Response {
    let mut response = http::answer(StatusCode::OK, kind, text);
    let hour = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, hour);
    response
}
