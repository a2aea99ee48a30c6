//! A project: its dataset, and what is done there.
//!
//! The dataset is opened for each call, so that a configuration that was stored meanwhile counts.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efface::engine::{Engine, EngineOptions};
use efface::file_system::disk::Disk;
use efface::queue::{Entry, Queue, RequestState, Status};
use efface::receipts::{Cause, Receipt, Receipts};
use efface::request::{Kind, Provenance};
use efface::state::files::StateFiles;
use efface::subject::SubjectKey;
use efface::tracking::TrackingId;
use jiff::Timestamp;

use crate::config::ProjectConfig;
use crate::error::Result;
use crate::secrets::Keys;
use crate::store::Store;
use crate::store::requests::{self, Listed};

/// Entries of the queue that are compared with the lists at a time.
const PAGE: usize = 256;

/// A project.
pub(crate) struct Project {
    pub(crate) config: ProjectConfig,
    /// Held while a request is handed over, and while the lists are compared with the queue.
    submitting: Mutex<()>,
    /// Held while a preview is counted.
    counting: Mutex<()>,
    /// When a compaction last went well, in seconds; 0 for never.
    last_success: AtomicI64,
    /// Why the last one did not.
    trouble: Mutex<Option<String>>,
}

/// Whether a request that stands so has ended.
pub(crate) fn has_ended(state: RequestState) -> bool {
    matches!(
        state,
        RequestState::Success | RequestState::Failure | RequestState::Revoked
    )
}

impl Project {
    pub(crate) fn new(config: ProjectConfig) -> Self {
        Self {
            config,
            submitting: Mutex::default(),
            counting: Mutex::default(),
            last_success: AtomicI64::new(0),
            trouble: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.config.id
    }

    /// Opens the dataset.
    pub(crate) fn engine(&self) -> Result<Engine> {
        let options = EngineOptions {
            holder: format!("efface serve, pid {}", std::process::id()),
            ..EngineOptions::default()
        };
        Ok(Engine::open_dir_with(&self.config.dataset, options)?)
    }

    /// Lets one caller at a time hand over requests.
    pub(crate) fn submitting(&self) -> MutexGuard<'_, ()> {
        self.submitting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one preview at a time be counted.
    pub(crate) fn counting(&self) -> MutexGuard<'_, ()> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receipt of a request that ended.
    pub(crate) fn receipt(&self, id: TrackingId) -> Result<Option<Receipt>> {
        let state = StateFiles::new(Disk::new(&self.config.dataset));
        Ok(Receipts::new(&state).find(id)?)
    }

    /// A request that waits, with its ids.
    pub(crate) fn entry(&self, id: TrackingId) -> Result<Option<Entry>> {
        // Reading needs no key.
        let state = Arc::new(StateFiles::new(Disk::new(&self.config.dataset)));
        let queue = Queue::new(state, SubjectKey::random(), "efface serve");
        Ok(queue.entry(id)?)
    }

    /// When a compaction last went well.
    pub(crate) fn last_success(&self) -> Option<i64> {
        Some(self.last_success.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Why the last compaction did not go well.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes how a compaction went.
    pub(crate) fn ran(&self, now: Timestamp, trouble: Option<String>) {
        if trouble.is_none() {
            self.last_success.store(now.as_second(), Ordering::Relaxed);
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Brings the lists up to date with the whole queue.
    pub(crate) fn sync(&self, store: &Store, keys: &Keys, now: Timestamp) -> Result<()> {
        let mut after = self.sync_page(store, keys, None, now)?;
        while after.is_some() {
            after = self.sync_page(store, keys, after, now)?;
        }
        Ok(())
    }

    /// Brings the lists up to date with the next entries of the queue, those behind the request `after`. Gives behind
    /// which to go on; `None` at the end. Nothing is handed over meanwhile, so it must not take long.
    pub(crate) fn sync_page(
        &self,
        store: &Store,
        keys: &Keys,
        after: Option<TrackingId>,
        now: Timestamp,
    ) -> Result<Option<TrackingId>> {
        let _alone = self.submitting();
        let engine = self.engine()?;
        let waiting = engine.waiting_page(after, PAGE, now)?;
        let is_full = waiting.len() == PAGE;
        let last = waiting.last().map(|status| status.tracking_id);
        let last = last.filter(|_| is_full);
        let mut entered = Vec::new();
        for status in waiting.iter().filter(|status| !status.is_damaged) {
            if !store.is_listed(&status.tracking_id.to_string())? {
                entered.extend(self.entry(status.tracking_id)?);
            }
        }
        let mut ended = Vec::new();
        for id in store.open_requests(self.id(), after, last)? {
            let Ok(id) = id.parse::<TrackingId>() else {
                continue;
            };
            if !waiting.iter().any(|status| status.tracking_id == id) {
                ended.push(engine.status(id, now)?);
            }
        }
        store.change(|db| {
            for entry in &entered {
                let subjects = entry.request.subjects.iter();
                let subjects =
                    subjects.map(|(position, id)| (position, keys.subject(self.id(), id.reveal())));
                requests::enter(db, &self.listed(entry), subjects)?;
            }
            for status in waiting.iter().filter(|status| !status.is_damaged) {
                note_status(db, status)?;
            }
            for status in &ended {
                match status.state {
                    // It was listed, but the service ended before it was handed over; nobody got an answer.
                    RequestState::NotFound => {
                        requests::forget(db, &status.tracking_id.to_string())?;
                    }
                    _ => note_status(db, status)?,
                }
            }
            Ok(())
        })?;
        Ok(last)
    }

    /// Lists what ended without having been seen in the queue: requests of the command, and those of a database that
    /// was lost.
    pub(crate) fn list_receipts(&self, store: &Store) -> Result<()> {
        let _alone = self.submitting();
        let engine = self.engine()?;
        store.change(|db| {
            let mut entered = Ok(());
            engine.receipts(|receipt| {
                if entered.is_ok() && receipt.cause == Cause::Delete {
                    entered = enter_ended(db, &self.listed_of(&receipt));
                }
            })?;
            entered
        })
    }

    fn listed(&self, entry: &Entry) -> Listed {
        let request = &entry.request;
        Listed {
            tracking_id: entry.tracking_id.to_string(),
            project: self.id(),
            kind: request.kind.as_str().to_owned(),
            regulation: request.regulation.as_str().to_owned(),
            disclosure: request.disclosure.as_str().to_owned(),
            subjects: request.subjects.len() as u64,
            suppress: request.suppress.is_some(),
            requested_by: entry.by.requested_by.clone().unwrap_or_default(),
            approved_by: entry.by.approved_by.clone(),
            origin: origin(&entry.by),
            subject_request_id: entry.by.subject_request_id.clone(),
            requested_at: request.requested_at,
            due: entry.due,
            state: RequestState::Pending.as_str().to_owned(),
            ended_at: None,
        }
    }

    fn listed_of(&self, receipt: &Receipt) -> Listed {
        Listed {
            tracking_id: receipt.tracking_id.to_string(),
            project: self.id(),
            kind: Kind::Delete.as_str().to_owned(),
            regulation: receipt.regulation.as_str().to_owned(),
            disclosure: receipt.disclosure.as_str().to_owned(),
            subjects: receipt.subjects.len() as u64,
            suppress: receipt.suppressed,
            requested_by: receipt.by.requested_by.clone().unwrap_or_default(),
            approved_by: receipt.by.approved_by.clone(),
            origin: origin(&receipt.by),
            subject_request_id: receipt.by.subject_request_id.clone(),
            requested_at: receipt.requested_at,
            due: receipt.due,
            state: RequestState::from(receipt.state).as_str().to_owned(),
            ended_at: Some(receipt.ended_at),
        }
    }
}

/// Lists a request that has ended, unless it is listed.
fn enter_ended(db: &rusqlite::Connection, listed: &Listed) -> Result<()> {
    if requests::is_listed(db, &listed.tracking_id)? {
        return Ok(());
    }
    requests::enter(db, listed, std::iter::empty())
}

/// Where a request came from; the command doesn't say.
fn origin(by: &Provenance) -> String {
    by.origin.clone().unwrap_or_else(|| "cli".to_owned())
}

/// How a request stands, in a word of the API.
pub(crate) fn word_of(status: &Status) -> &'static str {
    if status.is_damaged {
        "UNKNOWN"
    } else {
        status.state.as_str()
    }
}

/// Notes how a request stands.
pub(crate) fn note_status(db: &rusqlite::Connection, status: &Status) -> Result<()> {
    let id = status.tracking_id.to_string();
    let ended = status.ended_at.filter(|_| has_ended(status.state));
    requests::set_state(db, &id, status.state.as_str(), status.due, ended)
}
