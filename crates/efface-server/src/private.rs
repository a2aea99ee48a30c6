//! Health and metrics, on an address of their own that the world can't reach.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use crate::app::App;
use crate::error::Result;
use crate::http;

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(async || http::answer(StatusCode::OK, TEXT, "ok\n")),
        )
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(app)
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let faults = app.blocking(|app| faults(app)).await;
    match faults {
        Ok(faults) if faults.is_empty() => http::answer(StatusCode::OK, TEXT, "ready\n"),
        Ok(faults) => {
            let told = faults.join("\n") + "\n";
            http::answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, told)
        }
        Err(why) => http::answer(http::no_answer(why), TEXT, "too many calls at once\n"),
    }
}

/// What keeps the service from its work.
fn faults(app: &App) -> Vec<String> {
    let mut faults = Vec::new();
    if app.is_ending() {
        faults.push("the service ends".to_owned());
    }
    if let Err(error) = app.store.check() {
        faults.push(error.to_string());
    }
    for project in &app.projects {
        let seen = project
            .engine()
            .and_then(|engine| Ok(engine.waiting_page(None, 1, app.now())?));
        if let Err(error) = seen {
            faults.push(format!("project {}: {error}", project.id()));
        } else if !project.config.dataset.is_dir() {
            let dataset = project.config.dataset.display();
            faults.push(format!(
                "project {}: {dataset} is not a directory",
                project.id()
            ));
        }
    }
    faults
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let told = app.blocking(|app| tell(app)).await;
    match told {
        Ok(Ok(text)) => http::answer(StatusCode::OK, METRICS, text),
        Ok(Err(error)) => {
            tracing::error!(%error, "can't measure");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            http::answer(status, TEXT, "the log tells why\n")
        }
        Err(why) => http::answer(http::no_answer(why), TEXT, "too many calls at once\n"),
    }
}

/// A family of metrics: its name, its type, what it says, and lines of labels and values.
struct Family(
    &'static str,
    &'static str,
    &'static str,
    Vec<(String, String)>,
);

fn tell(app: &App) -> Result<String> {
    let now = app.now();
    let mut requests = Family("efface_requests", "gauge", "Requests by state.", Vec::new());
    let mut overdue = Family(
        "efface_overdue",
        "gauge",
        "Requests that have not ended although they are due.",
        Vec::new(),
    );
    let mut next = Family(
        "efface_next_due_seconds",
        "gauge",
        "Seconds until the next request is due; negative when it is overdue.",
        Vec::new(),
    );
    let mut success = Family(
        "efface_compaction_last_success_seconds",
        "gauge",
        "When the last compaction went well, in seconds since 1970.",
        Vec::new(),
    );
    let mut trouble = Family(
        "efface_compaction_trouble",
        "gauge",
        "1 if the last compaction did not go well.",
        Vec::new(),
    );
    for project in &app.projects {
        let id = project.id();
        let of = format!("project=\"{id}\"");
        for (kind, state, count, _) in app.store.counts(id)? {
            let labels = format!("{of},kind=\"{kind}\",state=\"{state}\"");
            requests.3.push((labels, count.to_string()));
        }
        let count = app.store.due_before(id, now)?;
        overdue.3.push((of.clone(), count.to_string()));
        if let Some(due) = app.store.next_due(id)? {
            let seconds = due.duration_since(now).as_secs();
            next.3.push((of.clone(), seconds.to_string()));
        }
        if let Some(at) = project.last_success() {
            success.3.push((of.clone(), at.to_string()));
        }
        let is_in_trouble = u8::from(project.trouble().is_some());
        trouble.3.push((of, is_in_trouble.to_string()));
    }
    let ending = Family(
        "efface_tokens_expiring",
        "gauge",
        "Tokens that end within 30 days.",
        vec![(String::new(), app.store.tokens_ending(now)?.to_string())],
    );
    let answers = app.measures.answers().into_iter();
    let answers = answers.map(|((route, status), count)| {
        (
            format!("route=\"{route}\",code=\"{status}\""),
            count.to_string(),
        )
    });
    let answers = Family(
        "http_requests_total",
        "counter",
        "Answers by route and status.",
        answers.collect(),
    );
    let mut text = String::new();
    for Family(name, kind, help, lines) in
        [requests, overdue, next, success, trouble, ending, answers]
    {
        // Writing into a text does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let labels = if labels.is_empty() {
                labels
            } else {
                format!("{{{labels}}}")
            };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    Ok(text)
}
