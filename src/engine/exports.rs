//! Exports that wait: each becomes an archive.
//!
//! ```text
//!   lease of the archives ─> for each export that waits:
//!     record (in the making) ─> plan ─> written, synced ─> is its record still there? ─> name ─> record (made)
//!     ─> receipt ─> request, and with it the raw ids, removed
//! ```
//!
//! # Invariants
//! * Nobody sees half an archive: it gets its name when it is whole and durable.
//! * The record comes before the first row is read. A delete of the same ids that ends meanwhile removes it, and the
//!   archive is made again, of what is left.
//!
//! # Crash behaviour
//! Until its receipt is durable an export waits, and is carried out from the beginning. One whose record is there can't
//! be cancelled.

use jiff::Timestamp;

use super::Engine;
use crate::archives::{self, Archive, Archives};
use crate::erase::{CompactOptions, CompactReport};
use crate::error::{Error, ErrorKind, Result};
use crate::export::archive::{Archive as Zip, Packed};
use crate::export::per_subject::{Hashing, Layout};
use crate::io::Mapped;
use crate::plan::Plan;
use crate::queue::{Contents, Entry, Held, Queue, Status};
use crate::receipts::{ArchiveEvidence, Ended, Outcome, Receipt, Receipts, SubjectEvidence};
use crate::request::Kind;
use crate::state::{DIRECTORY, State};
use crate::subject::SubjectKey;
use crate::tracking::TrackingId;

/// How often an archive is begun again because a delete overtook it.
const ATTEMPTS: u32 = 3;

/// How making an archive ended.
enum Made {
    /// It is there.
    Whole(Box<Receipt>),
    /// The export was cancelled before it was begun.
    Cancelled,
    /// A delete of the same ids ended meanwhile.
    Overtaken,
}

impl Engine {
    /// Carries out the exports that wait, and removes archives whose time is over. [`compact`](Self::compact) does so,
    /// too, before the deletes. It needs no lock of the dataset.
    ///
    /// # Errors
    /// [`Locked`](Error::Locked) when another process is doing so; failures of the state;
    /// [`Cancelled`](Error::Cancelled). An export that is refused is no error here but ends; one that meets a damaged
    /// shard, or one that is replaced just now, waits on, and the report says why.
    pub fn carry_out_exports(&self, options: &CompactOptions) -> Result<CompactReport> {
        let state = &*self.dataset.state;
        let mut report = CompactReport::default();
        let waiting = self.reader().entries()?.into_iter().flatten();
        let waiting: Vec<Entry> = waiting
            .filter(|entry| entry.is_ready(Kind::Export))
            .collect();
        if waiting.is_empty() && Archives::new(state).ids()?.is_empty() {
            return Ok(report);
        }
        let key = self.key()?;
        let _lease = state.lease(archives::LOCK, &self.options.holder)?;
        let queue = self.site(key).queue();
        report.archives_expired = remove_expired(state, &queue, options.now)?;
        for entry in waiting {
            if options.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let id = entry.tracking_id;
            match self.carry_out_export(&entry, &queue, options) {
                Ok(None) => {}
                Ok(Some(receipt)) => report.requests.push(Status::ended(&receipt)),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    report.troubles.push(error.kind());
                    self.hold_export(&entry, &queue, &error)?;
                    report.requests.push(queue.status(id, options.now)?);
                }
            }
        }
        Ok(report)
    }

    /// The archives of this dataset, also those in the making.
    ///
    /// # Errors
    /// When a record is damaged, or can't be read.
    pub fn archives(&self) -> Result<Vec<Archive>> {
        Archives::new(&*self.dataset.state).all()
    }

    /// The archive of an export, to be read; `None` if there is none (any more) that is whole and whose time is not over.
    /// The bytes stay, whatever happens to the archive.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn archive(&self, id: TrackingId, now: Timestamp) -> Result<Option<Mapped>> {
        let archives = Archives::new(&*self.dataset.state);
        match archives.get(id)? {
            Some(archive) if !archive.is_expired(now) => archives.open(&archive),
            _ => Ok(None),
        }
    }

    /// Notes that an archive was fetched: deletes of its ids need wait for it no longer. Says whether it is there.
    ///
    /// # Errors
    /// When its record can't be written.
    pub fn archive_fetched(&self, id: TrackingId, now: Timestamp) -> Result<bool> {
        let queue = self.site(self.key()?).queue();
        let _lease = queue.lease()?;
        let archives = Archives::new(&*self.dataset.state);
        let Some(mut archive) = archives.get(id)?.filter(|archive| archive.made.is_some()) else {
            return Ok(false);
        };
        archive.fetched_at = Some(now);
        archive.fetches = archive.fetches.saturating_add(1);
        archives.store(&archive)?;
        Ok(true)
    }

    /// The receipt; `None` if it was cancelled meanwhile.
    fn carry_out_export(
        &self,
        entry: &Entry,
        queue: &Queue,
        options: &CompactOptions,
    ) -> Result<Option<Box<Receipt>>> {
        let mut engine = self.clone();
        if let Some(config) = &entry.config {
            engine.dataset.config = config.carried_into(&self.dataset.config);
        }
        for _ in 0..ATTEMPTS {
            match engine.make_archive(entry, queue, options) {
                Ok(Made::Whole(receipt)) => return Ok(Some(receipt)),
                Ok(Made::Cancelled) => return Ok(None),
                Ok(Made::Overtaken) | Err(Error::ShardChanged { .. }) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Refused | ErrorKind::Usage) => {
                    return engine.refuse_export(entry, queue, &error, options.now);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Overtaken {
            tracking_id: entry.tracking_id,
        })
    }

    fn make_archive(&self, entry: &Entry, queue: &Queue, options: &CompactOptions) -> Result<Made> {
        let state = &*self.dataset.state;
        let archives = Archives::new(state);
        let expansion = self.dataset.expand(&entry.request)?;
        let key = self.key()?;
        let archive = Archive::begun(
            entry.tracking_id,
            options.archives.clone(),
            options.now,
            (&key, &expansion.ids),
        );
        {
            let _lease = queue.lease()?;
            if queue.entry(entry.tracking_id)?.is_none() {
                return Ok(Made::Cancelled);
            }
            // One that was begun elsewhere, and not ended, leaves nothing there.
            let before = archives.get(entry.tracking_id)?;
            archives.withdraw(before.as_slice())?;
            archives.store(&archive)?;
        }
        let plan = self.plan_covered(&entry.request, &expansion)?;
        plan.check()?;
        archives.in_place(&archive, |place, name| {
            // What others of this process' kind left there holds rows.
            place.clean_up(if archive.directory.is_some() {
                ""
            } else {
                DIRECTORY
            })?;
            let mut draft = place.create(name)?;
            let (packed, file) = {
                let out = Hashing::new(&mut draft);
                let (out, packed) = self.write_archive(entry.contents, &plan, place, out)?;
                (packed, out.file(name))
            };
            let failed = || Error::io("write", name);
            draft.sync().map_err(failed())?;
            let _lease = queue.lease()?;
            if archives.get(entry.tracking_id)?.as_ref() != Some(&archive) {
                return Ok(Made::Overtaken);
            }
            draft.publish()?;
            let evidence = ArchiveEvidence {
                rows: packed.rows,
                files: packed.files,
                bytes: file.bytes,
                blake3: file.blake3,
                expires_at: Archive::expiry(options.now),
            };
            archives.store(&archive.made(evidence.clone()))?;
            let receipt = exported(entry, &plan, &key, evidence, options.now);
            let receipts = Receipts::new(state);
            let told = receipt.clone();
            receipts.append(vec![receipt], || queue.leave(&[entry.clone()]))?;
            Ok(Made::Whole(Box::new(told)))
        })
    }

    fn write_archive<W: std::io::Write + Send>(
        &self,
        contents: Contents,
        plan: &Plan,
        spools: &dyn State,
        out: W,
    ) -> Result<(W, Packed)> {
        let zip = Zip::new(out);
        if contents.per_subject {
            let layout = Layout {
                has_pages: contents.pages,
                ..Layout::new(contents.format)
            };
            let export = self.export_by_subject(plan)?;
            return zip.write_subjects(export, &plan.subjects, spools, &layout);
        }
        let mut export = self.export(plan)?;
        let about = (self.dataset.name(), plan.disclosure().to_string());
        zip.write_rows(&mut export, about, contents.format)
    }

    /// Ends an export that can't be carried out as it was asked.
    fn refuse_export(
        &self,
        entry: &Entry,
        queue: &Queue,
        error: &Error,
        now: Timestamp,
    ) -> Result<Option<Box<Receipt>>> {
        let state = &*self.dataset.state;
        let _lease = queue.lease()?;
        if queue.entry(entry.tracking_id)?.is_none() {
            return Ok(None);
        }
        self.give_up(entry.tracking_id)?;
        let receipt = Receipt {
            reason: Some(error.to_string()),
            reason_kind: Some(error.kind()),
            ..entry.receipt(&self.key()?, Ended::Failure, now)
        };
        let told = receipt.clone();
        Receipts::new(state).append(vec![receipt], || queue.leave(&[entry.clone()]))?;
        Ok(Some(Box::new(told)))
    }

    /// Writes down why an export waits on. It can be cancelled again.
    fn hold_export(&self, entry: &Entry, queue: &Queue, error: &Error) -> Result<()> {
        let expansion = self.dataset.expand(&entry.request).ok();
        let _lease = queue.lease()?;
        self.give_up(entry.tracking_id)?;
        let Some(expansion) = expansion else {
            return Ok(());
        };
        let mut held = Held::new(Some(error.to_string()), expansion);
        held.kind = Some(error.kind());
        queue.hold(vec![(entry.tracking_id, held)])
    }

    /// Forgets an archive in the making. The caller holds the queue's lease.
    fn give_up(&self, id: TrackingId) -> Result<()> {
        let archives = Archives::new(&*self.dataset.state);
        let begun = archives.get(id)?;
        archives.withdraw(begun.as_slice())?;
        archives.forget(begun.as_slice())
    }
}

/// The receipt of an export that became an archive.
fn exported(
    entry: &Entry,
    plan: &Plan,
    key: &SubjectKey,
    evidence: ArchiveEvidence,
    now: Timestamp,
) -> Receipt {
    let base = entry.receipt(key, Ended::Success, now);
    let subjects = base.subjects.into_iter().zip(&plan.subjects);
    let subjects = subjects.map(|(subject, planned)| SubjectEvidence {
        outcome: if planned.found {
            Outcome::Exported
        } else {
            Outcome::NotFound
        },
        rows: planned.rows,
        ..subject
    });
    Receipt {
        started_at: Some(now),
        left_out: plan.left_out,
        digest: Some(plan.digest.clone()),
        archive: Some(evidence),
        subjects: subjects.collect(),
        ..base
    }
}

/// Removes archives whose time is over. Gives how many.
fn remove_expired(state: &dyn State, queue: &Queue, now: Timestamp) -> Result<u64> {
    let archives = Archives::new(state);
    let is_over = |archive: &Archive| archive.is_expired(now);
    if !archives.all()?.iter().any(is_over) {
        return Ok(0);
    }
    let _lease = queue.lease()?;
    let mut expired = archives.all()?;
    expired.retain(is_over);
    archives.withdraw(&expired)?;
    archives.forget(&expired)?;
    Ok(expired.len() as u64)
}
