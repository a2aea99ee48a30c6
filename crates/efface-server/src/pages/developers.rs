//! How programs file requests.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::frame::Frame;
use super::trouble::{Trouble, render};
use super::visit::Visit;
use crate::app::App;
use crate::store::people::Role;

#[derive(Template)]
#[template(path = "developers.html")]
struct Page {
    frame: Frame,
    url: String,
    project: String,
    rate: f64,
    burst: u32,
}

pub(super) fn show(app: &Arc<App>, visit: &Visit) -> Result<Response, Trouble> {
    let mut own = visit.projects(app, Role::Auditor);
    let project = own.next().map(|project| project.config.token.clone());
    let page = Page {
        frame: visit.frame("For developers", "").narrow(),
        url: app.config.public_url.clone(),
        project: project.unwrap_or_else(|| "...".to_owned()),
        rate: app.config.limits.rate,
        burst: app.config.limits.burst,
    };
    render(StatusCode::OK, &page)
}
