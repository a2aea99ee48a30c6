//! Carrying out deletes: one at once, or all that wait, each touched shard rewritten once for all of them.
//!
//! ```text
//!   lock ─> an unfinished pass is ended first ─> pass.json (staging) ─> index refreshed, requests planned, refused
//!     ─> pass.json (started): from here on nothing can be cancelled
//!     ─> per shard: task (new shard beside it, fsync, read back) ─> old one unchanged? ─> progress ─> rename over
//!     ─> index (erased ids' hashes leave it) ─> suppression list ─> alias rows ─> receipts
//!     ─> waiting requests, and with them the raw ids, removed ─> record of the pass removed
//! ```
//!
//! * `site`: where, by whom and how
//! * `staging`: what is to be done, and what is refused; `class`: requests that do the same
//! * `suppressing`: rows of suppressed ids that came in meanwhile
//! * [`task`]: one shard's part, which can be run anywhere
//! * `commit`: checks a new shard and swaps it in; runs tasks here, one shard being synced while the next is written
//! * `finish`: what follows when all shards are done
//!
//! # Crash behaviour
//! The rename of one shard is the only commit point: a shard has all its rows or none of the victims. What was
//! started is carried on by whoever opens the dataset for writing next: shards that were swapped have no victims
//! left, so planning again finds the others; the progress says what was swapped. Alias rows go after all
//! events, so that every id is still found; receipts come before the requests go, so none is forgotten, and a pass
//! that has receipts gets no second ones.
//!
//! Memory: that of one rewrite and one that is being checked, the covered ids, and a few numbers for each shard.

use std::collections::{BTreeMap, BTreeSet};

use self::class::{Class, Job, Member};
use self::commit::Committed;
use self::staging::Staging;
use self::task::{Action, ShardTask, Step, TaskResult};
use crate::dataset::{Files, partition_names};
use crate::error::{Error, Result};
use crate::pass::{Pass, Progress, ProgressLog, Stage, Swap};
use crate::plan::Plan;
use crate::queue::Entry;
use crate::receipts::Receipts;
use crate::request::Disclosure;
use crate::storage::Lock;
use crate::suppression::{Checked, Suppression};
use crate::tracking::TrackingId;

mod class;
mod commit;
mod finish;
mod report;
mod site;
mod staging;
mod suppressing;
pub mod task;

pub use report::CompactReport;
pub use site::CompactOptions;
pub(crate) use site::Site;

/// A pass that was started: its tasks are to be run and committed, wherever that is done, and then it is finished.
///
/// Dropped before, it is carried on by the next delete or compaction.
pub struct Compaction<'a> {
    site: Site<'a>,
    options: CompactOptions,
    pass: Pass,
    files: Files,
    members: Vec<Member>,
    classes: Vec<Class>,
    /// What is to be done, by path.
    jobs: BTreeMap<String, Job>,
    /// What was done, also by earlier runs of the pass.
    swaps: Vec<Swap>,
    log: Option<ProgressLog>,
    /// How often a shard was tried that other processes replaced.
    attempts: BTreeMap<String, u32>,
    alias_rows: u64,
    /// Shards that could not be read or rewritten.
    failed: BTreeMap<String, Error>,
    suppression: Suppression,
    /// Shards in which no suppressed row is left.
    checked: Checked,
    summaries_removed: Vec<String>,
    _lock: Box<dyn Lock>,
}

/// Ends what an interrupted run left, then carries out all that waits.
pub(crate) fn compact(site: &Site<'_>, options: &CompactOptions) -> Result<CompactReport> {
    let mut report = CompactReport::default();
    if let Some(unfinished) = Compaction::unfinished(site.clone(), options)? {
        report = unfinished.run_to_end()?.0;
    }
    if let Some(pending) = Compaction::of_pending(site.clone(), options.clone())? {
        let (pending, _) = pending.run_to_end()?;
        report.add(pending);
    }
    let left = site.queue().entries()?;
    let damaged = left.into_iter().filter_map(Result::err);
    report.requests_damaged = damaged.map(|error| error.to_string()).collect();
    Ok(report)
}

impl<'a> Compaction<'a> {
    /// The pass that was started and not finished, if there is one. One that was not started is dropped.
    pub(crate) fn unfinished(site: Site<'a>, options: &CompactOptions) -> Result<Option<Self>> {
        let storage = &*site.dataset.storage;
        if !Pass::has_files(storage)? {
            return Ok(None);
        }
        let (lock, files) = site.open()?;
        // The lock is held now: it is as whoever had it before left it.
        let Some(mut pass) = Pass::load(storage)? else {
            Pass::remove(storage)?;
            return Ok(None);
        };
        let queue = site.queue();
        let is_ended = Receipts::new(storage).has_pass(pass.id)?;
        if pass.stage == Stage::Staging || is_ended {
            // Under its lock the queue has no request that has ended.
            let _queue_lock = queue.lock()?;
            Pass::remove(storage)?;
            return Ok(None);
        }
        let mut members = Vec::new();
        let mut kept = Vec::new();
        for (id, planned) in pass.requests.iter().zip(pass.planned) {
            // A request that isn't there was not yet durable when the pass was cut off: nothing was done.
            if let Some(entry) = queue.entry(*id)? {
                members.push(Member {
                    planned,
                    ..Member::new(entry)
                });
                kept.push(*id);
            }
        }
        pass.planned = Vec::new();
        if members.is_empty() && !pass.requests.is_empty() {
            Pass::remove(storage)?;
            return Ok(None);
        }
        pass.requests = kept;
        tracing::info!(pass = %pass.id, "an unfinished pass is carried on");
        let mut this = Self::new(site, options.clone(), pass, files, members, lock)?;
        this.take_up()?;
        this.plan(&mut |_| Ok(()), false, true)?;
        this.remove_summaries()?;
        Ok(Some(this))
    }

    /// Everything that waits, planned and started; `None` when nothing does.
    pub(crate) fn of_pending(site: Site<'a>, options: CompactOptions) -> Result<Option<Self>> {
        let storage = &*site.dataset.storage;
        let (lock, files) = site.open()?;
        let queue = site.queue();
        let (pass, entries) = {
            let _queue_lock = queue.lock()?;
            // A damaged one must not keep the others from their deadline: it stays, and is told at the end.
            let entries: Vec<Entry> = queue.entries()?.into_iter().flatten().collect();
            let requests = entries.iter().map(|entry| entry.tracking_id).collect();
            let pass = Pass::staging(options.pass, requests, options.now);
            if entries.is_empty() && Suppression::load(storage)?.is_empty() {
                return Ok(None);
            }
            pass.store(storage)?;
            (pass, entries)
        };
        let members = entries.into_iter().map(Member::new).collect();
        let mut this = Self::new(site, options, pass, files, members, lock)?;
        loop {
            if let Err(error) = this.plan(&mut |_| Ok(()), false, false) {
                // What is told is why; a record that stays is dropped by the next run.
                let _ignored = Pass::remove(storage);
                return Err(error);
            }
            let _queue_lock = queue.lock()?;
            let waiting = queue.waiting_ids()?;
            let before = this.members.len();
            this.members
                .retain(|member| waiting.contains(&member.entry.tracking_id));
            if this.members.is_empty() && this.jobs.is_empty() {
                Pass::remove(storage)?;
                this.store_checked()?;
                return Ok(None);
            }
            if this.members.len() == before {
                this.start()?;
                this.remove_summaries()?;
                return Ok(Some(this));
            }
            // Some were cancelled meanwhile: planned again without them.
            this.members = this
                .members
                .drain(..)
                .map(|member| Member::new(member.entry))
                .collect();
        }
    }

    /// One request, planned and started; `expected_digest` is what the caller agreed to. `None` when it is not new
    /// and no longer waits: it was cancelled meanwhile.
    pub(crate) fn of_one(
        site: Site<'a>,
        options: CompactOptions,
        entry: Entry,
        is_new: bool,
        expected_digest: Option<&str>,
    ) -> Result<Option<Self>> {
        let (lock, files) = site.open()?;
        let requests = vec![entry.tracking_id];
        let pass = Pass::staging(entry.tracking_id, requests, options.now);
        let members = vec![Member::new(entry)];
        let mut this = Self::new(site, options, pass, files, members, lock)?;
        let mut agreed = |plan: &Plan| match expected_digest {
            Some(expected) if expected != plan.digest => Err(Error::PlanChanged {
                expected: expected.to_owned(),
                found: plan.digest.clone(),
            }),
            _ => Ok(()),
        };
        this.plan(&mut agreed, true, false)?;
        let queue = this.site.queue();
        let queue_lock = queue.lock()?;
        if !is_new && queue.entry(this.pass.id)?.is_none() {
            return Ok(None);
        }
        this.start()?;
        // Nothing of the dataset is touched before the request, too, is durable.
        for member in &this.members {
            queue.enter(&member.entry)?;
        }
        drop(queue_lock);
        this.remove_summaries()?;
        Ok(Some(this))
    }

    fn new(
        site: Site<'a>,
        options: CompactOptions,
        pass: Pass,
        files: Files,
        members: Vec<Member>,
        lock: Box<dyn Lock>,
    ) -> Result<Self> {
        let storage = &*site.dataset.storage;
        // A delete at once leaves rows of suppressed ids to a compaction, also when it is carried on: its pass has
        // the id of its request, so their receipt would be a second one of that.
        let suppression = if pass.requests.contains(&pass.id) {
            Suppression::default()
        } else {
            Suppression::load(storage)?
        };
        Ok(Self {
            checked: Checked::load(storage, &suppression)?,
            suppression,
            site,
            options,
            pass,
            files,
            members,
            classes: Vec::new(),
            jobs: BTreeMap::new(),
            swaps: Vec::new(),
            alias_rows: 0,
            failed: BTreeMap::new(),
            summaries_removed: Vec::new(),
            log: None,
            attempts: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// Writes a step down, durably.
    fn log(&mut self, step: &Progress) -> Result<()> {
        let log = match &mut self.log {
            Some(log) => log,
            none => {
                let storage = &*self.site.dataset.storage;
                none.insert(ProgressLog::begin(storage, self.pass.id)?)
            }
        };
        log.append(step)
    }

    /// Takes over what earlier runs of the pass did, as far as the shards show it.
    fn take_up(&mut self) -> Result<()> {
        let storage = &*self.site.dataset.storage;
        let mut swaps: BTreeMap<String, Vec<Swap>> = BTreeMap::new();
        for step in ProgressLog::read(storage, self.pass.id)? {
            match step {
                Progress::Swap(swap) => swaps.entry(swap.path.clone()).or_default().push(*swap),
                Progress::AliasRows(rows) => self.alias_rows = self.alias_rows.max(rows),
            }
        }
        for (path, announced) in swaps {
            let now = match storage.info(&path)? {
                Some(_) => {
                    let file = storage.open(&path)?;
                    Some(task::hash_file(&*file).map_err(Error::io("read", &path))?)
                }
                None => None,
            };
            // A later one can only have been announced after an earlier one was given up.
            self.swaps
                .extend(announced.into_iter().rev().find(|swap| swap.after == now));
        }
        Ok(())
    }

    /// Finds out what is to be done.
    fn plan(
        &mut self,
        agreed: &mut dyn FnMut(&Plan) -> Result<()>,
        is_strict: bool,
        is_resumed: bool,
    ) -> Result<()> {
        let aliases = self.site.dataset.config.alias_table();
        let removes = |member: &Member| member.action() == Action::Remove;
        if let Some(table) = aliases.filter(|_| self.members.iter().any(removes))
            && let Some(file) = self.site.dataset.storage.info(&table.path)?
            && file.is_link
        {
            return Err(Error::LinkedShard { path: file.path });
        }
        let mut staging = Staging {
            dataset: self.site.dataset,
            upkeep: self.site.upkeep(self.options.memory),
            is_strict,
            is_resumed,
            files: &mut self.files,
            unreadable: BTreeMap::new(),
        };
        let staged = staging.stage(&mut self.members, agreed);
        let unreadable = std::mem::take(&mut staging.unreadable);
        (self.classes, self.jobs) = staged?;
        self.failed.extend(unreadable);
        self.plan_suppression(is_resumed)
    }

    /// The point of no return: what is planned is written down.
    fn start(&mut self) -> Result<()> {
        let storage = &*self.site.dataset.storage;
        self.pass.requests = self
            .members
            .iter()
            .map(|member| member.entry.tracking_id)
            .collect();
        self.pass.planned = self
            .members
            .iter()
            .map(|member| member.planned.clone())
            .collect();
        self.pass.stage = Stage::Started;
        self.pass.store(storage)
    }

    /// Removes summaries of footers before the first of them is stale.
    fn remove_summaries(&mut self) -> Result<()> {
        if !self.jobs.is_empty() {
            let storage = &*self.site.dataset.storage;
            storage.remove_all(&self.files.summaries)?;
            self.summaries_removed = std::mem::take(&mut self.files.summaries);
        }
        Ok(())
    }

    /// What is to be done, shard by shard, in the order of their paths.
    pub fn tasks(&self) -> Vec<ShardTask> {
        let jobs = self.jobs.iter();
        jobs.map(|(path, job)| self.task(path, job, 0)).collect()
    }

    fn task(&self, path: &str, job: &Job, attempt: u32) -> ShardTask {
        let steps = job.rows.iter().filter(|(_, rows)| !rows.is_empty());
        ShardTask {
            path: path.to_owned(),
            footer_hash: job.footer_hash,
            steps: steps
                .map(|(action, rows)| Step {
                    action: *action,
                    rows: rows.clone(),
                })
                .collect(),
            attempt,
            memory: self.options.memory,
            zstd_level: self.options.zstd_level,
        }
    }

    /// Checks what came of a task and swaps the new shard in. When another process has replaced the old one
    /// meanwhile, the task is to be done again, from the new content: that is what it gives then.
    ///
    /// # Errors
    /// Failures of the storage. What is wrong with the shard itself fails the requests that have rows in it.
    pub fn commit(&mut self, result: TaskResult) -> Result<Option<ShardTask>> {
        let path = result.path.clone();
        match self.commit_shard(result) {
            Ok(Committed::Done) => Ok(None),
            Ok(Committed::Again(task)) => Ok(Some(*task)),
            Err(error) => self.fail(&path, error).map(|()| None),
        }
    }

    /// A task could not be carried out: the requests that have rows in the shard fail.
    ///
    /// # Errors
    /// The same error, if it says nothing of the shard but of the storage, say: the pass is to be carried on later.
    pub fn fail(&mut self, path: &str, error: Error) -> Result<()> {
        if !commit::is_of_shard(&error) {
            return Err(error);
        }
        tracing::warn!(path, %error, "a shard could not be rewritten");
        let job = self.jobs.get(path).cloned().unwrap_or_default();
        for (place, _) in &job.of_request {
            if let Some(member) = self.members.get_mut(*place) {
                member
                    .planned
                    .refused
                    .get_or_insert_with(|| error.to_string());
            }
        }
        self.failed.insert(path.to_owned(), error);
        Ok(())
    }

    /// Runs all tasks here and ends the pass; gives also what was wrong with shards.
    pub(crate) fn run_to_end(mut self) -> Result<(CompactReport, BTreeMap<String, Error>)> {
        self.run_all()?;
        self.end()
    }

    /// The request that asks the same as `entry`.
    pub(crate) fn same(&self, entry: &Entry) -> Option<TrackingId> {
        let key = &self.site.key;
        let asked = entry.fingerprint(key);
        let mut entries = self.members.iter().map(|member| &member.entry);
        let same = entries.find(|entry| entry.fingerprint(key) == asked)?;
        Some(same.tracking_id)
    }

    /// Names of partitions whose directories say something of rows of which every column is cleared.
    fn partitions_left(&self) -> Vec<String> {
        let is_all = |member: &&Member| member.entry.request.disclosure == Disclosure::Categories;
        let places = (0..).zip(&self.members);
        let clearing: BTreeSet<usize> = places
            .filter(|(_, member)| is_all(member))
            .map(|(place, _)| place)
            .collect();
        let swaps = self.swaps.iter();
        let swapped = swaps.map(|swap| (&swap.path, &swap.of_request));
        // A shard of which nothing was left to clear is not swapped.
        let planned = self.jobs.iter().map(|(path, job)| (path, &job.of_request));
        let touched = swapped.chain(planned).filter(|(_, of_request)| {
            let mut requests = of_request.iter();
            requests.any(|(place, _)| clearing.contains(place))
        });
        let names: BTreeSet<&str> = touched
            .flat_map(|(path, _)| partition_names(path))
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }
}
