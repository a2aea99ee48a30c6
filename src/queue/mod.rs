//! Delete requests that were handed over and wait for a compaction.
//!
//! ```text
//! submit ─> _efface/queue/<tracking id>.json ── compact ──> receipt; the file is removed
//!               │                                  cancel ──> receipt (REVOKED); the file is removed
//!               └─ _efface/queue/same/<keyed hash of what is asked>: the tracking id, so that the same request,
//!                  asked again while it waits, joins it (a hint: when it is missing or torn, there are two requests)
//! ```
//!
//! * `entry`: what the file of a request holds
//!
//! The state of a request is never stored, but follows from where it is:
//!
//! | state | where |
//! |---|---|
//! | `PENDING` | in the queue |
//! | `STAGING` | in the queue, and named by the pass that is being planned |
//! | `STARTED` | in the queue, and named by the pass that is being carried out |
//! | `SUCCESS`, `FAILURE`, `REVOKED` | in the receipts |
//! | `NOT_FOUND` | nowhere |
//!
//! # Invariants
//! The file of a request is the only one that holds its raw ids, and it is removed when the request ends. It is
//! never appended to. Whoever changes the queue or the receipts holds the queue's lock, shortly.
//!
//! # Crash behaviour
//! A request is durable before its tracking id is given out. It is removed after its receipt is durable; one that has
//! a receipt is no longer pending, wherever its file is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::error::{Error, RequestFault, Result};
use crate::limits;
use crate::pass::{Pass, Stage};
use crate::receipts::{Ended, Outcome, Receipt, Receipts};
use crate::request::{Kind, Request};
use crate::state::{Expect, Lease, State, document};
use crate::subject::SubjectKey;
use crate::tracking::TrackingId;

mod entry;

pub use entry::Entry;

/// Where requests wait, relative to the dataset.
pub const DIRECTORY: &str = "_efface/queue";

const LOCK: &str = "_efface/queue.lock";
/// How often the lock is tried, and how long it is waited for in between: 10 seconds in all.
const LOCK_ATTEMPTS: u32 = 1000;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How long after it was asked a request is due, unless it says otherwise.
pub const DUE_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Where a request is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RequestState {
    /// It waits for a compaction.
    Pending,
    /// A compaction finds out what it touches. It can still be cancelled.
    Staging,
    /// A compaction carries it out.
    Started,
    /// It was carried out.
    Success,
    /// It was not, or not in every shard.
    Failure,
    /// It was cancelled.
    Revoked,
    /// There is no such request.
    NotFound,
}

/// A request that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// How it is known from now on.
    pub tracking_id: TrackingId,
    /// Whether the same was already asked and waits: the tracking id is that of then.
    pub joined: bool,
    /// Its deadline.
    pub due: Timestamp,
}

/// How a request stands. Holds no subject id.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The request.
    pub tracking_id: TrackingId,
    /// Where it is.
    pub state: RequestState,
    /// Subject ids that it names.
    pub subjects: usize,
    /// When it was asked.
    pub requested_at: Option<Timestamp>,
    /// When it was handed over.
    pub submitted_at: Option<Timestamp>,
    /// Its deadline.
    pub due: Option<Timestamp>,
    /// Whether the deadline has passed and it has not ended.
    pub overdue: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Rows that were removed, once it has ended.
    pub rows_removed: u64,
    /// Rows in which values were cleared, once it has ended.
    pub rows_cleared: u64,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// The digest of the plan that was carried out, if it was planned on its own.
    pub digest: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// What became of each id, once it has ended.
    pub outcomes: Vec<SubjectOutcome>,
}

/// What became of one submitted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SubjectOutcome {
    /// Its position in the request, counted from 1.
    pub position: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// Rows of it that were deleted or cleared.
    pub rows: u64,
    /// The request that counts its rows, if it was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<TrackingId>,
}

/// The queue of a dataset.
#[derive(Clone)]
pub struct Queue {
    state: Arc<dyn State>,
    key: SubjectKey,
    holder: String,
}

impl Queue {
    /// The queue that lies in `state`; `key` is the dataset's, `holder` is what others learn of who has the
    /// lease. Reads nothing yet.
    pub fn new(state: Arc<dyn State>, key: SubjectKey, holder: &str) -> Self {
        let holder = holder.to_owned();
        Self { state, key, holder }
    }

    /// Hands a delete request over. It is durable when this returns.
    ///
    /// # Errors
    /// What [`Request::check`] refuses, an export, and failures of the place where the state lies.
    pub fn submit(
        &self,
        id: TrackingId,
        request: &Request,
        submitted_at: Timestamp,
        due: Option<Timestamp>,
    ) -> Result<Submitted> {
        request.check()?;
        if request.kind != Kind::Delete {
            return Err(RequestFault::ExportCannotWait.into());
        }
        let entry = Entry {
            tracking_id: id,
            submitted_at,
            due: due.unwrap_or_else(|| due_after(request.requested_at)),
            request: request.clone(),
        };
        let _lease = self.lease()?;
        if let Some(other) = self.same(&entry)? {
            return Ok(Submitted {
                tracking_id: other.tracking_id,
                joined: true,
                due: other.due,
            });
        }
        self.enter(&entry)?;
        // Without it the same request would only be carried out as two.
        let same = self.hint_path(&entry);
        self.state
            .put(&same, id.to_string().as_bytes(), Expect::Any)?;
        Ok(Submitted {
            tracking_id: id,
            joined: false,
            due: entry.due,
        })
    }

    /// Puts an entry into the queue, durably. The caller holds the lock, or is about to carry it out.
    pub(crate) fn enter(&self, entry: &Entry) -> Result<()> {
        document::store(
            &*self.state,
            &entry_path(entry.tracking_id),
            entry,
            Expect::Any,
        )
    }

    /// The requests that wait, in the order in which they were asked, and in the place of one whose file is
    /// damaged an [`Error::State`] that names it.
    ///
    /// # Errors
    /// When the queue can't be read.
    pub fn entries(&self) -> Result<Vec<Result<Entry>>> {
        let mut entries = Vec::new();
        for id in self.waiting_ids()? {
            match self.entry(id) {
                Ok(Some(entry)) => entries.push(Ok(entry)),
                // It was carried out or cancelled since it was listed.
                Ok(None) => {}
                Err(damaged @ Error::State { .. }) => entries.push(Err(damaged)),
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    /// The tracking ids of the requests that wait, in the order in which they were asked.
    pub(crate) fn waiting_ids(&self) -> Result<BTreeSet<TrackingId>> {
        let files = self.state.list(DIRECTORY)?;
        Ok(files
            .iter()
            .filter_map(|file| entry_id(&file.path))
            .collect())
    }

    /// One request that waits.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn entry(&self, id: TrackingId) -> Result<Option<Entry>> {
        let path = entry_path(id);
        match document::load(&*self.state, &path, limits::QUEUE_ENTRY_BYTES_MAX) {
            Ok(entry) => Ok(entry),
            Err(_) if !self.state.has(&path)? => Ok(None),
            Err(Error::State { path, reason }) => Err(Error::State {
                path,
                reason: format!("{reason}: remove it, and submit that request again"),
            }),
            Err(error) => Err(error),
        }
    }

    /// How a request stands at the time `now`.
    ///
    /// # Errors
    /// When its file, the pass or the receipts can't be read.
    pub fn status(&self, id: TrackingId, now: Timestamp) -> Result<Status> {
        // The queue first: a request goes from there to the receipts, so it is never missed.
        let waiting = self.entry(id)?;
        if let Some(receipt) = Receipts::new(&*self.state).find(id)? {
            return Ok(Status::ended(&receipt));
        }
        match waiting {
            Some(entry) => Ok(Status::waiting(&entry, self.stage_of(id)?, now)),
            None => Ok(Status::unknown(id)),
        }
    }

    /// How all requests stand that have not ended.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub fn waiting(&self, now: Timestamp) -> Result<Vec<Status>> {
        let entries = self.entries()?.into_iter().collect::<Result<Vec<_>>>()?;
        let pass = Pass::load(&*self.state)?;
        let stages: HashMap<TrackingId, RequestState> = pass
            .iter()
            .flat_map(|pass| pass.requests.iter().map(|id| (*id, pass.stage.into())))
            .collect();
        Ok(entries
            .iter()
            .map(|entry| {
                let stage = stages.get(&entry.tracking_id).copied();
                Status::waiting(entry, stage.unwrap_or(RequestState::Pending), now)
            })
            .collect())
    }

    /// Cancels a request that was not begun; a receipt says so.
    ///
    /// # Errors
    /// [`NotCancellable`](Error::NotCancellable) with the state that it is in, and failures of the place where the state lies.
    pub fn cancel(&self, id: TrackingId, now: Timestamp) -> Result<()> {
        let _lease = self.lease()?;
        let status = self.status(id, now)?;
        let entry = self.entry(id)?;
        let (Some(entry), RequestState::Pending | RequestState::Staging) = (entry, status.state)
        else {
            return Err(Error::NotCancellable {
                tracking_id: id,
                state: status.state.as_str(),
            });
        };
        let receipt = entry.receipt(&self.key, Ended::Revoked, now);
        let receipts = Receipts::new(&*self.state);
        receipts
            .append(vec![receipt], || self.leave(&[entry]))
            .map(drop)
    }

    /// Removes ended requests, and with them their raw ids.
    pub(crate) fn leave(&self, entries: &[Entry]) -> Result<()> {
        // The hints first: without its entry nobody could tell what a hint is of.
        let hints = entries.iter().map(|entry| self.hint_path(entry));
        self.state.remove(&hints.collect::<Vec<_>>())?;
        let paths = entries.iter().map(|entry| entry_path(entry.tracking_id));
        self.state.remove(&paths.collect::<Vec<_>>())
    }

    /// Takes out what an interrupted run left of requests that have a receipt.
    fn settle(&self) -> Result<()> {
        Receipts::new(&*self.state).catch_up(|id| match self.entry(id) {
            Ok(entry) => self.leave(entry.as_slice()),
            Err(Error::State { .. }) => self.state.remove(&[entry_path(id)]),
            Err(error) => Err(error),
        })
    }

    /// Takes the lease, waiting for others that have it shortly. Requests that have ended are no longer in the queue
    /// then, also if who ended them did not live to take them out.
    ///
    /// # Errors
    /// [`Locked`](Error::Locked) when it isn't given up within 10 seconds.
    pub(crate) fn lease(&self) -> Result<Box<dyn Lease>> {
        let lease = lease(&*self.state, &self.holder)?;
        self.settle()?;
        Ok(lease)
    }

    fn stage_of(&self, id: TrackingId) -> Result<RequestState> {
        let pass = Pass::load(&*self.state)?;
        let stage = pass.filter(|pass| pass.requests.contains(&id));
        Ok(stage.map_or(RequestState::Pending, |pass| pass.stage.into()))
    }

    /// The request that waits, was not begun, and asks the same as `entry`.
    pub(crate) fn same(&self, entry: &Entry) -> Result<Option<Entry>> {
        const HINT_BYTES_MAX: u64 = 64;
        let path = self.hint_path(entry);
        let Some(hint) = self.state.get(&path, HINT_BYTES_MAX)? else {
            return Ok(None);
        };
        let id = String::from_utf8(hint.bytes)
            .ok()
            .and_then(|text| text.parse().ok());
        match id {
            Some(id) if self.stage_of(id)? != RequestState::Started => self.entry(id),
            _ => Ok(None),
        }
    }

    fn hint_path(&self, entry: &Entry) -> String {
        format!("{DIRECTORY}/same/{}", entry.fingerprint(&self.key))
    }
}

/// Takes the lease of the queue and the receipts, waiting for others that have it shortly.
///
/// # Errors
/// [`Locked`](Error::Locked) when it isn't given up within 10 seconds.
pub(crate) fn lease(state: &dyn State, holder: &str) -> Result<Box<dyn Lease>> {
    let mut attempts = 1..LOCK_ATTEMPTS;
    loop {
        match state.lease(LOCK, holder) {
            Err(Error::Locked { .. }) if attempts.next().is_some() => thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
}

impl RequestState {
    /// How it is spelled.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Staging => "STAGING",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Revoked => "REVOKED",
            Self::NotFound => "NOT_FOUND",
        }
    }
}

impl From<Stage> for RequestState {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Staging => Self::Staging,
            Stage::Started => Self::Started,
        }
    }
}

impl From<Ended> for RequestState {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Success => Self::Success,
            Ended::Failure => Self::Failure,
            Ended::Revoked => Self::Revoked,
        }
    }
}

impl Status {
    fn unknown(id: TrackingId) -> Self {
        Self {
            tracking_id: id,
            state: RequestState::NotFound,
            subjects: 0,
            requested_at: None,
            submitted_at: None,
            due: None,
            overdue: false,
            ended_at: None,
            rows_removed: 0,
            rows_cleared: 0,
            left_out: 0,
            digest: None,
            reason: None,
            outcomes: Vec::new(),
        }
    }

    fn waiting(entry: &Entry, state: RequestState, now: Timestamp) -> Self {
        Self {
            state,
            subjects: entry.request.subjects.len(),
            requested_at: Some(entry.request.requested_at),
            submitted_at: Some(entry.submitted_at),
            due: Some(entry.due),
            overdue: entry.due < now,
            ..Self::unknown(entry.tracking_id)
        }
    }

    /// What a receipt says.
    pub fn ended(receipt: &Receipt) -> Self {
        let outcome = receipt.subjects.iter().map(|subject| SubjectOutcome {
            position: subject.position,
            outcome: subject.outcome,
            rows: subject.rows,
            merged_into: subject.merged_into,
        });
        Self {
            tracking_id: receipt.tracking_id,
            state: receipt.state.into(),
            subjects: receipt.subjects.len(),
            requested_at: Some(receipt.requested_at),
            submitted_at: Some(receipt.submitted_at),
            due: Some(receipt.due),
            overdue: false,
            ended_at: Some(receipt.ended_at),
            rows_removed: receipt.rows_removed,
            rows_cleared: receipt.rows_cleared,
            left_out: receipt.left_out,
            digest: receipt.digest.clone(),
            reason: receipt.reason.clone(),
            outcomes: outcome.collect(),
        }
    }
}

/// The deadline of what was asked at `time`.
pub(crate) fn due_after(time: Timestamp) -> Timestamp {
    time.checked_add(DUE_AFTER).unwrap_or(Timestamp::MAX)
}

fn entry_path(id: TrackingId) -> String {
    format!("{DIRECTORY}/{id}.json")
}

fn entry_id(path: &str) -> Option<TrackingId> {
    let name = path.strip_prefix(DIRECTORY)?.strip_prefix('/')?;
    name.strip_suffix(".json")?.parse().ok()
}
