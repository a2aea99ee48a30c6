//! Requests that wait to be carried out by a compaction.
//!
//! ```text
//! submit ─> _efface/queue/<tracking id>.json ── compact ──> receipt; the file is removed
//!               │                                  cancel ──> receipt (REVOKED); the file is removed
//!               ├─ _efface/queue/held/<tracking id>.json: why it could not be ended, and what was done so far
//!               └─ _efface/queue/same/<keyed hash of what is asked>: the tracking id, so that the same request,
//!                  asked again while it waits, joins it (a hint: when it is missing or torn, there are two requests)
//! ```
//!
//! * `entry`: what the file of a request holds
//! * `held`: what is known of a request that could not be ended
//! * `status`: how a request stands
//! * `submission`: what is handed over
//!
//! The state of a request is never stored, but follows from where it is:
//!
//! | state | where |
//! |---|---|
//! | `PENDING` | in the queue |
//! | `STAGING` | in the queue, and named by the pass that is being planned |
//! | `STARTED` | in the queue, and named by the pass that is being carried out, or carried out in some shards |
//! | `SUCCESS`, `FAILURE`, `REVOKED` | in the receipts |
//! | `NOT_FOUND` | nowhere |
//!
//! # Invariants
//! Only the files of a request hold its raw ids, and they are removed when the request ends. They are never appended to.
//! A hint is compared with the request that it names before it is believed. Whoever changes the queue or the receipts
//! holds the queue's lock, for a short time.
//!
//! # Crash behaviour
//! A request is durable before its tracking id is given out. It is removed after its receipt is durable; one that has
//! a receipt is no longer pending, wherever its file is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rayon::prelude::*;

use crate::config::Config;
use crate::error::{Error, RequestFault, Result};
use crate::limits;
use crate::pass::{Pass, Stage};
use crate::receipts::{Ended, Receipts};
use crate::request::Kind;
use crate::request::provenance::check_line;
use crate::state::{Expect, Lease, State, document};
use crate::subject::{KeyedHash, SubjectKey};
use crate::tracking::TrackingId;

mod entry;
mod held;
mod status;
mod submission;

pub use entry::Entry;
pub(crate) use held::{Held, Part};
pub use status::{RequestState, Status, SubjectOutcome};
pub use submission::{Submission, due_after, extended};

/// Where requests wait, relative to the dataset.
pub const DIRECTORY: &str = "_efface/queue";

/// What is known of requests that could not be ended.
const HELD: &str = "_efface/queue/held";

const LOCK: &str = "_efface/queue.lock";
/// Attempts to take the lock, and the pause between them: 10 seconds in all.
const LOCK_ATTEMPTS: u32 = 1000;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A request that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// Its tracking id.
    pub tracking_id: TrackingId,
    /// Whether the same request already waited: then the tracking id is the earlier one.
    pub joined: bool,
    /// Its deadline.
    pub due: Timestamp,
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

    /// Hands a request over, to be carried out under `config`. It is durable when this returns. If the same waits
    /// already, the earlier deadline counts, and what was said of it first stays.
    ///
    /// # Errors
    /// The refusals of [`Submission::check`], a tracking id that stands for something already, and failures of the state.
    pub fn submit(&self, submission: &Submission, config: &Config) -> Result<Submitted> {
        submission.check()?;
        if submission.request.kind != Kind::Delete {
            return Err(RequestFault::ExportCannotWait.into());
        }
        let id = submission.tracking_id;
        let entry = Entry::new(submission, config.clone());
        let _lease = self.lease()?;
        if let Some(mut other) = self.same(&entry)? {
            if entry.due < other.due {
                other.due = entry.due;
                let path = entry_path(other.tracking_id);
                document::store(&*self.state, &path, &other, Expect::Any)?;
            }
            return Ok(Submitted {
                tracking_id: other.tracking_id,
                joined: true,
                due: other.due,
            });
        }
        self.check_is_new(id)?;
        self.enter(&entry)?;
        self.hint(&entry)?;
        Ok(Submitted {
            tracking_id: id,
            joined: false,
            due: entry.due,
        })
    }

    /// Puts a new entry into the queue, durably. The caller holds the lease, and has checked that its id is new.
    pub(crate) fn enter(&self, entry: &Entry) -> Result<()> {
        let path = entry_path(entry.tracking_id);
        let stored = document::store(&*self.state, &path, entry, Expect::Absent);
        stored.map_err(|error| match error {
            Error::StateChanged { .. } => taken(entry.tracking_id),
            error => error,
        })
    }

    /// Checks that an id stands for nothing yet: no request that waits, no receipt and no pass that has ended. The
    /// caller holds the lease.
    ///
    /// # Errors
    /// [`TrackingIdTaken`](RequestFault::TrackingIdTaken), and when the receipts can't be read.
    pub(crate) fn check_is_new(&self, id: TrackingId) -> Result<()> {
        let receipts = Receipts::new(&*self.state);
        let is_taken = self.state.has(&entry_path(id))?
            || receipts.find(id)?.is_some()
            || receipts.has_pass(id)?;
        if is_taken { Err(taken(id)) } else { Ok(()) }
    }

    /// Lets the same request, asked again, join this one. Without it the two would be carried out as two.
    pub(crate) fn hint(&self, entry: &Entry) -> Result<()> {
        let path = hint_path(entry.fingerprint(&self.key));
        let id = entry.tracking_id.to_string();
        self.state.put(&path, id.as_bytes(), Expect::Any).map(drop)
    }

    /// The requests that wait, in the order in which they were asked. If the file of one is damaged, an
    /// [`Error::State`] that names it stands in its place.
    ///
    /// # Errors
    /// When the queue can't be read.
    pub fn entries(&self) -> Result<Vec<Result<Entry>>> {
        let entries = self.waiting_ids()?.into_iter();
        let entries = entries.filter_map(|id| self.read(id).transpose());
        entries.collect()
    }

    /// A request that waits, or what is wrong with its file; `None` if it has ended since it was listed.
    fn read(&self, id: TrackingId) -> Result<Option<Result<Entry>>> {
        match self.entry(id) {
            Err(damaged @ Error::State { .. }) => Ok(Some(Err(damaged))),
            entry => Ok(entry?.map(Ok)),
        }
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
            Some(entry) => {
                let held = self.held(id)?;
                let stage = Pass::stage_of(&*self.state, id)?;
                let (stage, trouble) = stage.unzip();
                let mut status =
                    Status::waiting(&entry, held.as_ref(), stage.map(RequestState::from), now);
                status.reason = trouble.flatten().or(status.reason);
                Ok(status)
            }
            None => Ok(Status::unknown(id)),
        }
    }

    /// What is known of a request that could not be ended.
    ///
    /// # Errors
    /// [`Error::State`] when that can't be read.
    pub(crate) fn held(&self, id: TrackingId) -> Result<Option<Held>> {
        let path = held_path(id);
        let damaged = |reason: &str| Error::State {
            path: path.clone(),
            reason: format!(
                "{reason}: remove it, and the request is carried out from the beginning; its receipt will then not list \
                 the shards that were rewritten before"
            ),
        };
        match document::load::<Held>(&*self.state, &path, limits::QUEUE_ENTRY_BYTES_MAX) {
            Ok(Some(held)) if held.format != held::FORMAT => {
                Err(damaged("another version of efface wrote it"))
            }
            Err(Error::State { reason, .. }) => Err(damaged(&reason)),
            loaded => loaded,
        }
    }

    /// The requests that could not be ended when they were last tried.
    pub(crate) fn held_ids(&self) -> Result<BTreeSet<TrackingId>> {
        let files = self.state.list(HELD)?;
        let names = files
            .iter()
            .filter_map(|file| file.path.strip_prefix(HELD)?.strip_prefix('/'));
        Ok(names.filter_map(id_in).collect())
    }

    /// Writes down what is known of requests that could not be ended. The caller holds the lease; those that are no
    /// longer in the queue are left out.
    pub(crate) fn hold(&self, requests: Vec<(TrackingId, Held)>) -> Result<()> {
        let waiting = self.waiting_ids()?;
        let requests: Vec<_> = requests
            .into_iter()
            .filter(|(id, _)| waiting.contains(id))
            .collect();
        requests.into_par_iter().try_for_each(|(id, held)| {
            document::store(&*self.state, &held_path(id), &held, Expect::Any)
        })
    }

    /// How all requests stand that have not ended. A damaged file hides none of them: what it is about says so.
    ///
    /// # Errors
    /// When the queue or the pass can't be read.
    pub fn waiting(&self, now: Timestamp) -> Result<Vec<Status>> {
        let mut entries = Vec::new();
        for id in self.waiting_ids()? {
            entries.extend(self.read(id)?.map(|entry| (id, entry)));
        }
        self.statuses(entries, now)
    }

    /// How the first `limit` requests stand that have not ended and were asked after the request `after`, in the
    /// order in which they were asked. Only their files are read.
    ///
    /// # Errors
    /// As [`waiting`](Self::waiting).
    pub fn waiting_page(
        &self,
        after: Option<TrackingId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Status>> {
        let mut behind = after.map(entry_name).unwrap_or_default();
        let mut entries = Vec::new();
        while entries.len() < limit {
            let asked = limit - entries.len();
            let names = self.state.names(DIRECTORY, &behind, asked)?;
            for id in names.iter().filter_map(|name| id_in(name)) {
                entries.extend(self.read(id)?.map(|entry| (id, entry)));
            }
            match names.last() {
                Some(last) if names.len() == asked => behind.clone_from(last),
                _ => break,
            }
        }
        self.statuses(entries, now)
    }

    fn statuses(
        &self,
        entries: Vec<(TrackingId, Result<Entry>)>,
        now: Timestamp,
    ) -> Result<Vec<Status>> {
        let (pass, unknown_stage) = match Pass::load(&*self.state) {
            Err(damaged @ Error::State { .. }) => (None, Some(damaged.to_string())),
            pass => (pass?, None),
        };
        let trouble = pass.as_ref().and_then(|pass| pass.trouble.clone());
        let stages: HashMap<TrackingId, RequestState> = pass
            .iter()
            .flat_map(|pass| pass.requests.iter().map(|id| (*id, pass.stage.into())))
            .collect();
        let held = self.held_ids()?;
        let status = |(id, entry): (TrackingId, Result<Entry>)| {
            let stage = stages.get(&id).copied();
            let held = if held.contains(&id) {
                self.held(id)
            } else {
                Ok(None)
            };
            let mut status = match entry.and_then(|entry| Ok((entry, held?))) {
                Ok((entry, held)) => Status::waiting(&entry, held.as_ref(), stage, now),
                Err(damaged @ Error::State { .. }) => {
                    Status::damaged(id, stage, damaged.to_string())
                }
                Err(error) => return Err(error),
            };
            if let Some(damaged) = &unknown_stage {
                status.is_damaged = true;
                status.reason.get_or_insert_with(|| damaged.clone());
            }
            if stage.is_some() && !status.is_damaged {
                status.reason = trouble.clone().or(status.reason);
            }
            Ok(status)
        };
        entries.into_iter().map(status).collect()
    }

    /// Extends the deadline of a request that has not ended, once: until `until`, or by as much as its
    /// [regulation](extended) allows. Gives the new deadline.
    ///
    /// # Errors
    /// When no such request waits, it was extended before, the deadline would be no later one, or `reason` is no line.
    pub fn extend(
        &self,
        id: TrackingId,
        until: Option<Timestamp>,
        reason: &str,
        now: Timestamp,
    ) -> Result<Timestamp> {
        check_line("reason", reason)?;
        self.change(id, |entry| {
            entry.extend(until, reason, now)?;
            Ok(entry.due)
        })
    }

    /// Changes the file of a request that waits.
    fn change<T>(&self, id: TrackingId, change: impl FnOnce(&mut Entry) -> Result<T>) -> Result<T> {
        let _lease = self.lease()?;
        let Some(mut entry) = self.entry(id)? else {
            let ended = Receipts::new(&*self.state).find(id)?;
            let state = ended.map_or(RequestState::NotFound, |receipt| receipt.state.into());
            return Err(Error::NotWaiting {
                tracking_id: id,
                state: state.as_str(),
            });
        };
        let changed = change(&mut entry)?;
        document::store(&*self.state, &entry_path(id), &entry, Expect::Any)?;
        Ok(changed)
    }

    /// Cancels a request that was not started, and writes a receipt of that.
    ///
    /// # Errors
    /// [`NotCancellable`](Error::NotCancellable) with the state of the request, and failures of efface's own state.
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
        // What lies beside them first: without its entry nobody could tell what a hint is of.
        let beside = entries.iter().flat_map(|entry| {
            let hints = entry.fingerprints(&self.key).into_iter().map(hint_path);
            hints.chain([held_path(entry.tracking_id)])
        });
        self.state.remove(&beside.collect::<Vec<_>>())?;
        let paths = entries.iter().map(|entry| entry_path(entry.tracking_id));
        self.state.remove(&paths.collect::<Vec<_>>())
    }

    /// Removes what an interrupted run left of requests that have a receipt.
    fn settle(&self) -> Result<()> {
        Receipts::new(&*self.state).catch_up(|id| match self.entry(id) {
            Ok(entry) => self.leave(entry.as_slice()),
            Err(Error::State { .. }) => self.state.remove(&[held_path(id), entry_path(id)]),
            Err(error) => Err(error),
        })
    }

    /// Takes the lease, waiting for others that hold it for a short time. Afterwards no ended request is in the queue,
    /// even if the process that ended it died before it removed the request.
    ///
    /// # Errors
    /// [`Locked`](Error::Locked) when it isn't given up within 10 seconds.
    pub(crate) fn lease(&self) -> Result<Box<dyn Lease>> {
        let lease = lease(&*self.state, &self.holder)?;
        self.settle()?;
        Ok(lease)
    }

    /// The request that waits, is in no pass that was started, and asks the same as `entry`.
    pub(crate) fn same(&self, entry: &Entry) -> Result<Option<Entry>> {
        const HINT_BYTES_MAX: u64 = 64;
        let stored = Config::load(&*self.state)?.unwrap_or_default();
        for fingerprint in entry.fingerprints(&self.key) {
            let Some(hint) = self.state.get(&hint_path(fingerprint), HINT_BYTES_MAX)? else {
                continue;
            };
            let id = String::from_utf8(hint.bytes).ok();
            let Some(id) = id.and_then(|text| text.parse().ok()) else {
                continue;
            };
            let stage = Pass::stage_of(&*self.state, id)?;
            if matches!(stage, Some((Stage::Started, _))) {
                continue;
            }
            match self.read(id)? {
                Some(Ok(other)) if entry.is_same(&other, &stored) => return Ok(Some(other)),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Takes the lease of the queue and the receipts, waiting for others that hold it for a short time.
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

fn taken(tracking_id: TrackingId) -> Error {
    RequestFault::TrackingIdTaken { tracking_id }.into()
}

fn hint_path(fingerprint: KeyedHash) -> String {
    format!("{DIRECTORY}/same/{fingerprint}")
}

fn held_path(id: TrackingId) -> String {
    format!("{HELD}/{}", entry_name(id))
}

fn entry_path(id: TrackingId) -> String {
    format!("{DIRECTORY}/{}", entry_name(id))
}

/// Names sort as the ids do.
fn entry_name(id: TrackingId) -> String {
    format!("{id}.json")
}

fn entry_id(path: &str) -> Option<TrackingId> {
    id_in(path.strip_prefix(DIRECTORY)?.strip_prefix('/')?)
}

fn id_in(name: &str) -> Option<TrackingId> {
    name.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests;
