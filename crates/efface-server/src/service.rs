//! The whole service: opened, served, ended.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::app::{App, Clock};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::store::access;
use crate::store::audit::{self, Note};
use crate::store::people::{self, Role};
use crate::{api, http, listen, pages, private, worker};

/// A service that is open.
pub struct Service {
    app: Arc<App>,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    /// Opens the data directory and looks at each project. Nothing is served yet. While another process serves from the
    /// directory, the lists are left to that one.
    ///
    /// # Errors
    /// When the data directory, its database or a project can't be used.
    pub fn open(config: Config, clock: Clock) -> Result<Self> {
        let app = Arc::new(App::open(config, clock)?);
        for project in &app.projects {
            let dataset = &project.config.dataset;
            if !dataset.is_dir() {
                return Err(Error::Usage(format!(
                    "project {}: its dataset {} is not a directory",
                    project.id(),
                    dataset.display()
                )));
            }
            if app.is_alone() {
                project.list_receipts(&app.store)?;
                project.sync(&app.store, &app.keys, app.now())?;
            }
        }
        let threads = Vec::new();
        Ok(Self { app, threads })
    }

    /// Makes a person the owner of every project. Gives a one-time link by which the person sets a password.
    ///
    /// # Errors
    /// When the address is none, and when the database fails.
    pub fn invite_owner(&self, email: &str) -> Result<String> {
        let app = &self.app;
        if !pages::is_email(email) {
            return Err(Error::Usage(format!("`{email}` is no e-mail address")));
        }
        let now = app.now();
        let text = app.store.change(|db| {
            let person = people::add(db, email, email, now)?;
            for project in &app.projects {
                people::set_role(db, person, project.id(), Role::Owner)?;
                let note = Note {
                    at: now,
                    who: "console",
                    what: "role given",
                    project: Some(project.id()),
                    about: email,
                    detail: Role::Owner.as_str(),
                };
                audit::note(db, &app.keys.audit, &note)?;
            }
            access::invite(db, person, now)
        })?;
        Ok(pages::invitation_url(app, &text))
    }

    /// What the world sees.
    pub fn router(&self) -> Router {
        let app = Arc::clone(&self.app);
        Router::new()
            .merge(api::routes())
            .merge(pages::routes())
            .fallback(nowhere)
            .layer(middleware::from_fn_with_state(Arc::clone(&app), around))
            .with_state(app)
    }

    /// Health and metrics.
    pub fn private_router(&self) -> Router {
        private::router(Arc::clone(&self.app))
    }

    /// Carries out what waits in every project, whatever its window.
    ///
    /// # Errors
    /// Those of a compaction.
    pub fn work(&self) -> Result<()> {
        for project in &self.app.projects {
            worker::compact(&self.app, project, self.app.now())?;
        }
        Ok(())
    }

    /// Serves until a signal ends it, then finishes what was begun.
    ///
    /// # Errors
    /// When an address can't be listened at, and when another process serves from the data directory.
    pub fn serve(mut self) -> Result<()> {
        if !self.app.is_alone() {
            return Err(Error::Usage(format!(
                "another process serves from {}: end it, or give this one a data directory of its own",
                self.app.config.data.display()
            )));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start", Path::new("the runtime")))?;
        self.threads = worker::start(&self.app)?;
        let served = runtime.block_on(listen::serve(
            &self.app,
            self.router(),
            self.private_router(),
        ));
        worker::end(&self.app, std::mem::take(&mut self.threads));
        runtime.shutdown_background();
        served
    }
}

/// Around every answer: headers, the count, and a line in the log that names the route but not the path.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = request.method().clone();
    let is_style = route.starts_with("/static/");
    let response = next.run(request).await;
    let response = http::harden(app.config.is_https(), response);
    let status = response.status().as_u16();
    app.measures.answered(route, status);
    if !is_style {
        tracing::info!(%method, route, status, "answered");
    }
    response
}

async fn nowhere(request: Request) -> Response {
    if api::is_below(request.uri().path()) {
        return api::nowhere();
    }
    pages::problem(StatusCode::NOT_FOUND, "There is nothing at this address.")
}
