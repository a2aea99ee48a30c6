//! The API for programs: version 3.0 of Mixpanel's, path by path.
//!
//! ```text
//!   who calls (401) ─> which project, as what (400, 403) ─> how often (429) ─> the body (400, 413) ─> effect
//! ```
//!
//! * `calls`: the operations
//! * `asked`: who calls about what
//! * `wish`: the body of a request
//! * `refusal`: answers other than success
//! * `answers`: the bodies that are sent

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use crate::app::{App, NoAnswer};
use crate::http::{self, BodyFault};
use crate::project::Project;
use crate::store::access::Caller;

mod answers;
mod asked;
mod calls;
mod refusal;
mod wish;

use asked::Asked;
use refusal::Refusal;

/// The description of the API, as it is served.
const OPENAPI: &str = include_str!("openapi.json");

/// Where deletions are filed.
const DELETIONS: &str = "/api/app/data-deletions/v3.0";

type Call = fn(&App, &Asked) -> Result<Response, Refusal>;

/// The routes of the API.
pub(crate) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new().route("/api/openapi.json", get(openapi));
    let on = |call: Call| move |State(app): State<Arc<App>>, request| serve(app, call, request);
    // Clients end paths with a slash or without.
    for slash in ["", "/"] {
        let all = post(on(calls::create));
        let one = get(on(calls::status)).delete(on(calls::cancel));
        router = router
            .route(&format!("{DELETIONS}{slash}"), strictly(all))
            .route(
                &format!("{DELETIONS}/{{tracking_id}}{slash}"),
                strictly(one),
            );
    }
    router
}

/// Says of other methods that they aren't allowed, in the API's own words.
fn strictly(methods: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    methods.fallback(|| async {
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this method is not offered here",
        )
        .answer()
    })
}

async fn openapi() -> Response {
    http::answer(StatusCode::OK, "application/json", OPENAPI)
}

/// Whether a path belongs to the API.
pub(crate) fn is_below(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// The answer for a path of the API that there isn't.
pub(crate) fn nowhere() -> Response {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; /api/openapi.json says what there is",
    )
    .answer()
}

/// The answer to a call.
async fn serve(app: Arc<App>, call: Call, request: Request) -> Response {
    let answer = carry_out(app, call, request).await;
    answer.unwrap_or_else(Refusal::answer)
}

async fn carry_out(app: Arc<App>, call: Call, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let unanswered = |why: NoAnswer| {
        let refusal = Refusal::new(http::no_answer(why), "too many calls at once; ask again");
        refusal.after(1)
    };
    let known = app.blocking(move |app| {
        let known = identify(app, &parts);
        (parts, known)
    });
    let (parts, known) = known.await.map_err(unanswered)?;
    let (caller, project) = known?;
    let bytes_max = app.config.limits.body_bytes;
    let body = http::read_body(&app, &parts.headers, body, bytes_max).await;
    let body = body.map_err(|fault| {
        let told = match fault {
            BodyFault::TooLarge => {
                format!("the body has more than {bytes_max} bytes; send fewer ids at once")
            }
            BodyFault::TooSlow => "the body came too slowly".to_owned(),
            BodyFault::Broken => "the body broke off".to_owned(),
        };
        Refusal::new(fault.status(), told)
    })?;
    let asked = Asked {
        caller,
        project,
        parts,
        body,
    };
    let answer = app.blocking(move |app| call(app, &asked));
    answer.await.map_err(unanswered)?
}

/// Who calls about which project; takes a drop of the caller's bucket.
fn identify(app: &App, parts: &Parts) -> Result<(Caller, Arc<Project>), Refusal> {
    let unauthorized = |why: &str| Refusal::new(StatusCode::UNAUTHORIZED, why);
    let sent = parts.headers.get(AUTHORIZATION);
    let sent = sent.map(|header| header.to_str().unwrap_or_default().trim());
    let (scheme, text) = match sent {
        None => {
            return Err(unauthorized(
                "Unable to authenticate request: send the header Authorization: Bearer TOKEN, \
                 with a token of your personal settings",
            ));
        }
        Some(sent) => sent.split_once(' ').unwrap_or((sent, "")),
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthorized(
            "Unable to authenticate request: a project's secret or a service account is not \
             accepted; send Authorization: Bearer TOKEN, with a token of your personal settings",
        ));
    }
    let now = app.now();
    let caller = app.store.caller(text.trim(), now)?.ok_or_else(|| {
        unauthorized(
            "Unable to authenticate request: the token is unknown, expired or revoked; make a new \
             one in your personal settings",
        )
    })?;
    let query = parts.uri.query().unwrap_or_default();
    let mut named = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "token");
    let Some((_, token)) = named.next() else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the query parameter token is missing: it names the project",
        ));
    };
    // Who may do nothing in a project doesn't learn whether there is one.
    let forbidden = || {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "there is no such project, or you are neither owner nor admin of it",
        )
    };
    let project = app.project_of(&token).ok_or_else(forbidden)?;
    let role = caller.person.role(project.id());
    if !role.is_some_and(crate::store::people::Role::may_request) {
        return Err(forbidden());
    }
    if let Err(seconds) = app.limiter.take(caller.token, project.id(), now) {
        let limit = app.config.limits.rate;
        let told = format!("Too Many Requests, this API is limited to {limit} req/s");
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, told).after(seconds));
    }
    Ok((caller, Arc::clone(project)))
}
