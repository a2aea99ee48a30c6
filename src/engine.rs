//! A dataset, open for requests: refresh its index, plan, export, delete. Most users call only this.
//!
//! ```text
//!   Request ── identity graph ──> covered ids ── index ──> candidate row groups ── select ──> Plan
//!                                                                                  │         │
//!                                                                              Export     delete
//! ```
//!
//! Work runs on the rayon pool in which the caller is ([`rayon::ThreadPool::install`]), or the global one.
//!
//! # Invariants
//! The index is refreshed before it is believed. If it can't be (another efface holds the lock, the directory is
//! read-only), shards that changed after they were indexed are scanned in full.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rayon::prelude::*;

use crate::config::Config;
use crate::dataset::Dataset;
use crate::erase::delete::{self, DeleteOptions, DeleteReport};
use crate::erase::task::{self, ShardTask, TaskResult};
use crate::erase::{self, CompactOptions, CompactReport, Compaction, Purpose, Site};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{BySubject, Disclosed};
use crate::file_system::FileSystem;
use crate::file_system::disk::Disk;
use crate::find::search::{self, Knowledge};
use crate::find::upkeep::Upkeep;
use crate::find::verify::{self, Verification};
use crate::find::{inspect, price};
use crate::identity::Expansion;
use crate::index::Index;
use crate::index::compare::Comparison;
use crate::key_file;
use crate::limits;
use crate::observe::{Observer, Silent};
use crate::plan::{Plan, PlanReport};
use crate::queue::{self, Queue, Status, Submission, Submitted};
use crate::receipts::{Head, Receipt, Receipts};
use crate::request::{Kind, Request, Suppress};
use crate::state::files::StateFiles;
use crate::state::{Lease, State};
use crate::subject::{SubjectId, SubjectKey};
use crate::suppression::Suppression;
use crate::table::directory::Directory;
use crate::table::throttled::{Rate, Throttled};
use crate::table::{ShardRef, Snapshot, Table};
use crate::tracking::TrackingId;
use crate::witness::Witness;

mod elsewhere;
mod exports;
mod underway;

pub use crate::find::inspect::{IndexState, Inspection, ShardInfo};
pub use crate::find::upkeep::IndexReport;

/// Says which configuration counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Configuration {
    /// The one that is stored for the dataset; the defaults if none is.
    #[default]
    Stored,
    /// This one. It is an error if a different one is stored.
    Given(Config),
    /// This one, whatever is stored.
    Overriding(Config),
}

/// How an engine works.
#[derive(Clone)]
pub struct EngineOptions {
    /// Which configuration counts: by default, the stored one.
    pub configuration: Configuration,
    /// Memory that the work may take, in bytes.
    pub memory: u64,
    /// Takes note of how far work is.
    pub observer: Arc<dyn Observer>,
    /// The seed of the index's hashes, if a new index is built. Drawn at random by default.
    pub seed_if_new: u64,
    /// The key under which receipts hash subject ids, if the dataset has none yet. Drawn at random by default.
    pub key_if_new: SubjectKey,
    /// What others learn of who holds the lease.
    pub holder: String,
    /// Bytes of shards that may be read and written in a second, if not as many as can be.
    pub rate: Option<Rate>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            configuration: Configuration::default(),
            memory: limits::MEMORY_BYTES,
            observer: Arc::new(Silent),
            // Each is keyed with the system's randomness.
            seed_if_new: RandomState::new().hash_one("seed"),
            key_if_new: SubjectKey::random(),
            holder: format!("pid {}", std::process::id()),
            rate: None,
        }
    }
}

impl EngineOptions {
    /// The defaults, with this configuration whatever is stored.
    pub fn overriding(config: Config) -> Self {
        Self {
            configuration: Configuration::Overriding(config),
            ..Self::default()
        }
    }
}

/// A dataset, open for requests.
#[derive(Clone)]
pub struct Engine {
    dataset: Dataset,
    options: EngineOptions,
}

impl Engine {
    /// Opens the dataset in a directory, with its stored configuration, index and queue.
    ///
    /// # Errors
    /// When the stored configuration can't be read or understood.
    pub fn open_dir(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_dir_with(path, EngineOptions::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_dir_with(path: impl AsRef<Path>, options: EngineOptions) -> Result<Self> {
        Self::open_files(Disk::new(path.as_ref()), options)
    }

    /// Opens the dataset in a system of files, which holds the shards and efface's own files.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_files(
        files: impl FileSystem + Clone + 'static,
        options: EngineOptions,
    ) -> Result<Self> {
        let state = Arc::new(StateFiles::new(files.clone()));
        Self::open(Arc::new(Directory::new(files)), state, options)
    }

    /// Opens the dataset of a table, with efface's own files in `state`. No shard is read yet.
    ///
    /// # Errors
    /// When the stored configuration can't be read or understood, or differs from a given one
    /// ([`Configuration::Given`]).
    pub fn open(
        table: Arc<dyn Table>,
        state: Arc<dyn State>,
        options: EngineOptions,
    ) -> Result<Self> {
        let config = match &options.configuration {
            Configuration::Overriding(config) => config.clone(),
            Configuration::Stored => Config::load(&*state)?.unwrap_or_default(),
            Configuration::Given(config) => match Config::load(&*state)? {
                Some(stored) if stored != *config => {
                    return Err(Error::OtherConfig {
                        path: Config::PATH.to_owned(),
                    });
                }
                _ => config.clone(),
            },
        };
        let table = match &options.rate {
            Some(rate) => Arc::new(Throttled::new(table, rate.clone())),
            None => table,
        };
        if let Some(group) = &config.state_group {
            state.open_to(group)?;
        }
        Ok(Self {
            dataset: Dataset {
                table,
                state,
                config,
                observer: Arc::clone(&options.observer),
            },
            options,
        })
    }

    /// Checks the engine's configuration against every shard, then stores it for everybody who opens the dataset from
    /// now on.
    ///
    /// # Errors
    /// Those of [`check_roles`](Self::check_roles), and when it can't be written.
    pub fn store_configuration(&self) -> Result<()> {
        self.check_roles()?;
        self.dataset.config.store(&*self.dataset.state)
    }

    /// The configuration that counts.
    pub fn config(&self) -> &Config {
        &self.dataset.config
    }

    /// Checks that every shard has the columns of each role, with types that fit the role.
    ///
    /// # Errors
    /// The first shard that lacks one, or is damaged.
    pub fn check_roles(&self) -> Result<()> {
        let snapshot = self.dataset.snapshot()?;
        let check = |of: &ShardRef| {
            let shard = self.dataset.open(of)?;
            self.dataset.config.subject_columns(&shard)?;
            self.dataset.config.roles().time(&shard).map(drop)
        };
        let checked: Vec<Result<()>> = snapshot.shards.par_iter().map(check).collect();
        checked.into_iter().collect()
    }

    /// Builds the index, or brings it up to date.
    ///
    /// # Errors
    /// [`Locked`](crate::Error::Locked), or a fault of a shard.
    pub fn refresh(&self) -> Result<IndexReport> {
        let _lease = self.lease()?;
        let (_, report) = self.upkeep(false).refresh(&self.dataset.snapshot()?)?;
        Ok(report)
    }

    /// Brings the index up to date and compares it with the shards in full, reading every id of every shard. One
    /// that differs is rebuilt; [`IndexReport::rebuilt`] then says so.
    ///
    /// # Errors
    /// Those of [`refresh`](Self::refresh).
    pub fn verify_index(&self) -> Result<(IndexReport, Comparison)> {
        let _lease = self.lease()?;
        self.upkeep(false).verify(&self.dataset.snapshot()?)
    }

    /// Looks at the dataset without changing anything.
    ///
    /// # Errors
    /// When there are no shards, or one is damaged or lacks a column that has a role.
    pub fn inspect(&self) -> Result<Inspection> {
        inspect::inspect(&self.dataset)
    }

    /// Finds out what `request` touches and what that will cost. Changes only the index.
    ///
    /// # Errors
    /// When the request contradicts itself, an id expands too far, or a shard is damaged.
    /// [`Underway`](crate::Error::Underway) when a delete of ids to be exported is started. Ids that are not
    /// found are no error here but in [`Plan::check`].
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        request.check()?;
        self.plan_covered(request, &self.dataset.expand(request)?)
    }

    /// The plan of a request that covers this.
    fn plan_covered(&self, request: &Request, expansion: &Expansion) -> Result<Plan> {
        let needs_time = request.window_start()?.is_some();
        let plan = |snapshot: &Snapshot, knowledge: Knowledge<'_>| {
            if request.kind == Kind::Export {
                self.refuse_underway(expansion)?;
            }
            let plan = search::plan(&self.dataset, request, expansion, snapshot, knowledge)?;
            Ok(plan.with_wanted(search::wanted(expansion)))
        };
        match self.lease() {
            Ok(_lease) => {
                let snapshot = self.dataset.snapshot()?;
                self.upkeep(needs_time)
                    .with_index(&snapshot, |index| plan(&snapshot, Knowledge::Fresh(index)))
            }
            // Readers run beside a deleter, and on directories that they can't write to.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Conflict | ErrorKind::Io | ErrorKind::Unavailable
                ) =>
            {
                let snapshot = self.dataset.snapshot()?;
                let state = &*self.dataset.state;
                let index = Index::open(state, &self.dataset.config.index_key());
                plan(
                    &snapshot,
                    Knowledge::AsFound(index.unwrap_or(None).as_ref()),
                )
            }
            Err(error) => Err(error),
        }
    }

    /// Whether `plan` would be carried out, as far as can be told without trying: the guards, and shards whose rows
    /// would stay elsewhere.
    ///
    /// # Errors
    /// Those of [`Plan::check`], and [`Place`](crate::Error::Place).
    pub fn check(&self, plan: &Plan) -> Result<()> {
        price::check(&self.dataset, plan)
    }

    /// What `plan` says, with the cost of each shard.
    ///
    /// # Errors
    /// When a shard has changed in the meantime, or its page index or page headers are damaged.
    pub fn report(&self, plan: &Plan) -> Result<PlanReport> {
        price::report(&self.dataset, plan)
    }

    /// A stream of record batches with what `plan`'s disclosure asks for: the rows that it found, or the headers of
    /// each subject.
    ///
    /// # Errors
    /// When a guard of the plan forbids it, a shard has changed in the meantime, or shards don't fit together.
    pub fn export(&self, plan: &Plan) -> Result<Disclosed> {
        plan.check()?;
        Disclosed::new(&self.dataset, plan)
    }

    /// The same, with the subjects of each row.
    ///
    /// # Errors
    /// Those of [`export`](Self::export).
    pub fn export_by_subject(&self, plan: &Plan) -> Result<BySubject> {
        plan.check()?;
        BySubject::new(&self.dataset, plan)
    }

    /// Removes every row that belongs to the request's subjects.
    ///
    /// With `expected_digest`, only if the plan still has that digest.
    ///
    /// # Errors
    /// Before anything is touched: the refusals of [`plan`](Self::plan) and [`Plan::check`],
    /// [`PlanChanged`](crate::Error::PlanChanged), [`Locked`](crate::Error::Locked), a table with a catalog
    /// of its own, a shard behind a link. Later: I/O, and [`ShardChanged`](crate::Error::ShardChanged) when
    /// another process keeps replacing a shard; run again then.
    pub fn delete(
        &self,
        request: &Request,
        expected_digest: Option<&str>,
        options: &DeleteOptions,
    ) -> Result<DeleteReport> {
        self.dataset.table.check_changeable()?;
        let site = self.site(self.key()?);
        delete::delete(&site, request, expected_digest, options)
    }

    /// Hands a request over, with nothing said of it but its deadline: see [`submit_with`](Self::submit_with).
    ///
    /// # Errors
    /// Those of [`submit_with`](Self::submit_with).
    pub fn submit(
        &self,
        tracking_id: TrackingId,
        request: &Request,
        submitted_at: Timestamp,
        due: Option<Timestamp>,
    ) -> Result<Submitted> {
        self.submit_with(&Submission {
            due,
            ..Submission::new(tracking_id, request.clone(), submitted_at)
        })
    }

    /// Hands a request over, to be carried out by the next [`compact`](Self::compact), under the configuration of
    /// this engine whatever is stored then: it is durable when this returns. The same request, asked again while it
    /// waits, joins it: the earlier deadline counts, and what was said of it first stays.
    ///
    /// # Errors
    /// The refusals of [`Submission::check`], an export, a tracking id that stands for something already, and failures of
    /// the state.
    pub fn submit_with(&self, submission: &Submission) -> Result<Submitted> {
        self.dataset.table.check_changeable()?;
        let queue = self.site(self.key()?).queue();
        queue.submit(submission, &self.dataset.config)
    }

    /// Lets a request be carried out that was handed over to wait for approval. `by` is who approves it, and is in the
    /// receipt.
    ///
    /// # Errors
    /// When no such request waits, or it waits for nobody; when `by` is who asked; when `by` is no line.
    pub fn approve(&self, tracking_id: TrackingId, by: &str) -> Result<()> {
        self.site(self.key()?).queue().approve(tracking_id, by)
    }

    /// Ends a request that waits for approval: it is revoked, and its receipt says who denied it, and why.
    ///
    /// # Errors
    /// When no such request waits, or it waits for nobody; when `by` or `reason` is no line; failures of the state.
    pub fn deny(
        &self,
        tracking_id: TrackingId,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        let queue = self.site(self.key()?).queue();
        queue.deny(tracking_id, by, reason, now)
    }

    /// Extends the deadline of a request that has not ended, once: until `until`, or by as much as its
    /// [regulation](queue::extended) allows. Gives the new deadline; the receipt will tell both, and the reason.
    ///
    /// # Errors
    /// When no such request waits, it was extended before, the deadline would be no later one, or `reason` is no line.
    pub fn extend(
        &self,
        tracking_id: TrackingId,
        until: Option<Timestamp>,
        reason: &str,
        now: Timestamp,
    ) -> Result<Timestamp> {
        let queue = self.site(self.key()?).queue();
        queue.extend(tracking_id, until, reason, now)
    }

    /// How a request stands at the time `now`.
    ///
    /// # Errors
    /// When a file of the queue or of the receipts can't be read.
    pub fn status(&self, tracking_id: TrackingId, now: Timestamp) -> Result<Status> {
        self.reader().status(tracking_id, now)
    }

    /// The status at the time `now` of all requests that have not ended, in the order in which they were handed over.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub fn waiting(&self, now: Timestamp) -> Result<Vec<Status>> {
        self.reader().waiting(now)
    }

    /// The same of the first `limit` of them that were handed over after the request `after`, or of all: one page of
    /// many. Only the files of these are read.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub fn waiting_page(
        &self,
        after: Option<TrackingId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Status>> {
        self.reader().waiting_page(after, limit, now)
    }

    /// Cancels a request that was not begun.
    ///
    /// # Errors
    /// [`NotCancellable`](crate::Error::NotCancellable) with its state, and failures of the state.
    pub fn cancel(&self, tracking_id: TrackingId, now: Timestamp) -> Result<()> {
        self.site(self.key()?).queue().cancel(tracking_id, now)
    }

    /// Carries out the exports that wait, finishes the pass that an interrupted run left, then carries out all deletes that
    /// wait. Each touched shard is rewritten once for all of them.
    ///
    /// # Errors
    /// Before anything is touched: [`Locked`](crate::Error::Locked), a table with a catalog of its own, an alias
    /// table that can't be read. Later: I/O, [`ShardChanged`](crate::Error::ShardChanged) when another process keeps
    /// replacing a shard, [`Cancelled`](crate::Error::Cancelled): run again then. A request that is refused is no error
    /// here but ends; a shard that can't be read or rewritten keeps what it concerns waiting, and the report says why.
    pub fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        let site = self.site(self.key()?);
        let exports = match self.carry_out_exports(options) {
            // Somebody else is at it; deletes that have to wait for that do.
            Err(Error::Locked { .. }) => CompactReport::default(),
            exports => exports?,
        };
        let mut report = erase::compact(&site, options)?;
        report.begin_with(exports);
        Ok(report)
    }

    /// Plans and starts a compaction whose tasks run elsewhere. If an interrupted run left a pass unfinished, it is
    /// that pass: finish it, then call this again. Otherwise it covers all requests that wait; `None` if none do.
    ///
    /// ```text
    ///   begin ─> tasks ─> run_task, in whatever process ─> commit (which may give a task again) ─> finish
    /// ```
    ///
    /// # Errors
    /// As [`compact`](Self::compact), before anything is touched.
    pub fn begin(&self, options: &CompactOptions) -> Result<Option<Compaction>> {
        erase::begin(&self.site(self.key()?), options, Purpose::RunHere)
    }

    /// Runs a task of a compaction that was begun here or elsewhere: the new shard is staged, not swapped in. The
    /// configuration in the task counts, not that of this engine.
    ///
    /// # Errors
    /// Those of [`task::run`].
    pub fn run_task(&self, task: &ShardTask) -> Result<TaskResult> {
        task::run(&*self.dataset.table, task)
    }

    /// Puts the subjects, and the ids that they cover by `identity`, on the suppression list: the next compaction
    /// removes their rows, also those that come in later; with a cut-off, only rows of a time before it. Returns how
    /// many of the ids are new on the list.
    ///
    /// # Errors
    /// When the alias table or the list can't be read, an id expands too far, or the list can't be written.
    pub fn suppress(&self, request: &Request, suppress: Suppress, now: Timestamp) -> Result<u64> {
        self.change_suppression(request, |list, key, ids| {
            list.add(key, ids, suppress.before, now)
        })
    }

    /// Takes the subjects, and the ids that they cover, off the suppression list. Returns how many were on it.
    ///
    /// # Errors
    /// As [`suppress`](Self::suppress).
    pub fn unsuppress(&self, request: &Request) -> Result<u64> {
        self.change_suppression(request, |list, key, ids| list.remove(key, ids))
    }

    /// The suppression list.
    ///
    /// # Errors
    /// When it is damaged, gone or can't be read, or the key of its hashes is lost: it would be without effect.
    pub fn suppression(&self) -> Result<Suppression> {
        match key_file::load(&*self.dataset.state, &self.dataset.config)? {
            Some(key) => Suppression::load(&*self.dataset.state, &key),
            // A list is written after its key.
            None => Ok(Suppression::default()),
        }
    }

    /// The key under which ids are hashed; `None` before anything was. With it, and the [list](Self::suppression), others
    /// can judge what comes in. It must not reach a message or a log.
    ///
    /// # Errors
    /// When it can't be read, or is lost.
    pub fn key_of_hashes(&self) -> Result<Option<SubjectKey>> {
        key_file::load(&*self.dataset.state, &self.dataset.config)
    }

    fn change_suppression(
        &self,
        request: &Request,
        change: impl FnOnce(&mut Suppression, &SubjectKey, &[SubjectId]) -> u64,
    ) -> Result<u64> {
        request.check()?;
        let expansion = self.dataset.expand(request)?;
        let key = self.key()?;
        let _lease = self.site(key.clone()).queue().lease()?;
        let state = &*self.dataset.state;
        let mut list = Suppression::load(state, &key)?;
        let changed = change(&mut list, &key, &expansion.ids);
        list.store(state)?;
        Ok(changed)
    }

    /// Checks the chain of receipts, and passes each receipt to `see`.
    ///
    /// # Errors
    /// [`State`](crate::Error::State) that says where the chain is broken, or that it is gone.
    pub fn receipts(&self, see: impl FnMut(Receipt)) -> Result<Head> {
        Witness::check(&*self.dataset.state)?;
        Receipts::new(&*self.dataset.state).check(see)
    }

    /// Looks for `ids` in every structure of every shard and in efface's own files. Changes nothing.
    ///
    /// # Errors
    /// When there are no shards, one is damaged, or something can't be read.
    pub fn verify(&self, ids: &[SubjectId]) -> Result<Verification> {
        verify::verify(&self.dataset, ids)
    }

    /// Puts `new` in the place of the key that hashes ids. Hashes under earlier keys are still found: these keys stay.
    /// Gives all of them.
    ///
    /// # Errors
    /// [`Locked`](crate::Error::Locked); those of [`key_file::load`]; when the key can't be written.
    pub fn replace_key(&self, new: &SubjectKey) -> Result<SubjectKey> {
        let _lease = self.lease()?;
        let state = &*self.dataset.state;
        let _queue_lease = queue::lease(state, &self.options.holder)?;
        key_file::replace(state, &self.dataset.config, new)
    }

    fn site(&self, key: SubjectKey) -> Site {
        Site {
            dataset: self.dataset.clone(),
            key,
            holder: self.options.holder.clone(),
            seed_if_new: self.options.seed_if_new,
            memory: self.options.memory,
        }
    }

    /// The queue, for calls that need no key.
    fn reader(&self) -> Queue {
        self.site(self.options.key_if_new.clone()).queue()
    }

    /// The dataset's key, which is created if there is none.
    fn key(&self) -> Result<SubjectKey> {
        let (state, config) = (&*self.dataset.state, &self.dataset.config);
        if let Some(key) = key_file::load(state, config)? {
            return Ok(key);
        }
        // A place without shards is left as it is.
        self.dataset.snapshot()?;
        let _lease = queue::lease(state, &self.options.holder)?;
        key_file::load_or_make(state, config, &self.options.key_if_new)
    }

    fn lease(&self) -> Result<Box<dyn Lease>> {
        self.dataset.lease(&self.options.holder)
    }

    fn upkeep(&self, needs_time: bool) -> Upkeep<'_> {
        Upkeep {
            dataset: &self.dataset,
            seed_if_new: self.options.seed_if_new,
            memory: self.options.memory,
            needs_time,
        }
    }
}
