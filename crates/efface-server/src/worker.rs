//! What works in a project without being asked: a thread that carries out what waits.
//!
//! Deletes are carried out in the project's window, and outside of it when one is nearly due. A compaction takes all that
//! wait, so a moment passes after the first before it begins.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use efface::ErrorKind;
use efface::erase::CompactOptions;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::app::App;
use crate::error::{Error, Result};
use crate::project::Project;

/// Between two looks at what waits.
const LOOK: Duration = Duration::from_secs(2);
/// Between two comparisons of the lists with the queue, for requests of the command; each looks at one page of it.
const COMPARE: SignedDuration = SignedDuration::from_secs(60);
/// After a compaction that did not go well, it is tried again.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);
/// Before a request is due, the window counts no more.
const NEARLY_DUE: SignedDuration = SignedDuration::from_hours(48);

/// Starts a thread for each project. They end when the service does.
pub(crate) fn start(app: &Arc<App>) -> Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for project in &app.projects {
        let (app, project) = (Arc::clone(app), Arc::clone(project));
        let thread = thread::Builder::new()
            .name(format!("project {}", project.id()))
            .spawn(move || work(&app, &project));
        threads.push(thread.map_err(|source| Error::Io {
            doing: "start",
            what: "a thread".to_owned(),
            source,
        })?);
    }
    Ok(threads)
}

fn work(app: &App, project: &Project) {
    let mut compare_at = Timestamp::MIN;
    let mut compared = None;
    let mut compact_at = Timestamp::MIN;
    while !app.is_ending() {
        let now = app.now();
        if compare_at <= now {
            let next = project.sync_page(&app.store, &app.keys, compared, now);
            compared = next.as_ref().copied().unwrap_or_default();
            tell(project, "compare the lists with the queue", next.map(drop));
            compare_at = now + COMPARE;
        }
        if compact_at <= now {
            match due(app, project, now) {
                Ok(false) => {}
                Ok(true) => {
                    let done = compact(app, project, now);
                    if done.is_err() || project.trouble().is_some() {
                        compact_at = now + AGAIN;
                    }
                    tell(project, "carry out what waits", done);
                }
                Err(error) => tell(project, "look at what waits", Err(error)),
            }
        }
        thread::park_timeout(LOOK);
    }
}

/// Whether something waits, and its time has come.
fn due(app: &App, project: &Project, now: Timestamp) -> Result<bool> {
    let Some(due) = app.store.next_due(project.id())? else {
        return Ok(false);
    };
    let time = TimeZone::UTC.to_datetime(now).time();
    Ok(project.config.window.holds(time) || due < now + NEARLY_DUE)
}

/// Carries out what waits.
pub(crate) fn compact(app: &App, project: &Project, now: Timestamp) -> Result<()> {
    let options = CompactOptions {
        cancel: Some(Arc::clone(&app.is_ending)),
        ..CompactOptions::at(now)
    };
    let done = project
        .engine()
        .and_then(|engine| Ok(engine.compact(&options)?));
    let trouble = match &done {
        Ok(report) => {
            let shards = report.shards_failed.iter().map(|(_, reason)| reason);
            shards.chain(&report.requests_damaged).next().cloned()
        }
        Err(Error::Library(error)) if error.kind() == ErrorKind::Cancelled => return Ok(()),
        Err(error) => Some(error.to_string()),
    };
    if let Ok(report) = &done {
        tracing::info!(
            project = project.id(),
            rows_removed = report.rows_removed,
            shards_rewritten = report.shards_rewritten,
            requests = report.requests.len(),
            "carried out what waited"
        );
    }
    project.ran(now, trouble);
    project.sync(&app.store, &app.keys, now)?;
    done.map(drop)
}

fn tell(project: &Project, doing: &str, done: Result<()>) {
    if let Err(error) = done {
        tracing::error!(project = project.id(), %error, "can't {doing}");
    }
}

/// Wakes threads that wait, so that they see that the service ends.
pub(crate) fn end(app: &App, threads: Vec<JoinHandle<()>>) {
    app.is_ending.store(true, Ordering::Relaxed);
    for thread in &threads {
        thread.thread().unpark();
    }
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a project's thread panicked");
        }
    }
}
