//! A dataset directory: refresh its index, plan, export, delete. What most users call.
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
//! The index is refreshed before it is believed. Where it can't be (another efface holds the lock, the
//! directory is read-only), shards that it does not know as they are now are scanned in full.

use std::sync::Arc;

use jiff::Timestamp;
use rayon::prelude::*;
use serde::Serialize;

use crate::compaction::task::{self, ShardTask, TaskResult};
use crate::compaction::{self, CompactOptions, CompactReport, Compaction, Site};
use crate::config::Config;
use crate::dataset::{Dataset, Files};
use crate::delete::{self, DeleteOptions, DeleteReport};
use crate::error::{ErrorKind, Result};
use crate::export::{BySubject, Disclosed};
use crate::index::Index;
use crate::index::compare::Comparison;
use crate::index::upkeep::Upkeep;
use crate::key_file;
use crate::limits;
use crate::observe::{Observer, Silent};
use crate::plan::Plan;
use crate::plan::price::{self, Price};
use crate::plan::search::{self, Knowledge};
use crate::queue::{Queue, Status, Submitted};
use crate::receipts::{Head, Receipt, Receipts};
use crate::request::{Request, Suppress};
use crate::storage::FileInfo;
use crate::storage::{Lock, Storage};
use crate::subject::{SubjectId, SubjectKey};
use crate::suppression::Suppression;
use crate::tracking::TrackingId;
use crate::verify::{self, Verification};

pub use crate::index::upkeep::{IndexReport, IndexState};

/// How an engine works; the defaults suit a service.
#[derive(Clone)]
pub struct EngineOptions {
    /// Memory that a delete or an export may use, in bytes.
    pub memory: u64,
    /// Is told of progress.
    pub observer: Arc<dyn Observer>,
    /// The seed of the index's hashes, if a new index is made: draw it at random.
    pub seed_if_new: u64,
    /// The key under which receipts hash subject ids, if the dataset has none yet.
    pub key_if_new: SubjectKey,
    /// What the lock file says of its holder, for the message that another process gets.
    pub holder: String,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            memory: limits::MEMORY_BYTES,
            observer: Arc::new(Silent),
            seed_if_new: 0,
            key_if_new: SubjectKey::random(),
            holder: format!("pid {}", std::process::id()),
        }
    }
}

/// A dataset, open for requests.
pub struct Engine {
    dataset: Dataset,
    options: EngineOptions,
}

/// What there is in a dataset.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The shards.
    pub shards: Vec<ShardInfo>,
    /// The subject columns of the first shard that has some, as they are called there.
    pub subject: Vec<String>,
    /// The time column of that shard.
    pub time: Option<String>,
    /// How the index stands to the shards.
    pub index: IndexState,
}

/// One shard.
#[derive(Debug, Clone, Serialize)]
pub struct ShardInfo {
    /// Relative to the dataset.
    pub path: String,
    /// Of the file.
    pub bytes: u64,
    /// How many.
    pub row_groups: u64,
    /// How many.
    pub rows: u64,
}

impl Engine {
    /// Opens the dataset below `storage`. Cheap: nothing is read yet.
    ///
    /// # Errors
    /// None so far; a storage that needs opening may have some.
    pub fn open(storage: Arc<dyn Storage>, config: Config, options: EngineOptions) -> Result<Self> {
        Ok(Self {
            dataset: Dataset {
                storage,
                config,
                observer: Arc::clone(&options.observer),
            },
            options,
        })
    }

    /// Checks that every shard has the columns that have a role, with types that can have it.
    ///
    /// # Errors
    /// The first shard that hasn't, or is damaged.
    pub fn check_roles(&self) -> Result<()> {
        let files = self.dataset.list()?;
        let check = |file: &FileInfo| {
            let shard = self.dataset.open(&file.path)?;
            self.dataset.subject_columns(&shard)?;
            self.dataset.config.roles().time(&shard).map(drop)
        };
        let checked: Vec<Result<()>> = files.shards.par_iter().map(check).collect();
        checked.into_iter().collect()
    }

    /// Builds the index, or brings it up to date.
    ///
    /// # Errors
    /// [`Locked`](crate::Error::Locked), or what is wrong with a shard.
    pub fn refresh(&self) -> Result<IndexReport> {
        let _lock = self.lock()?;
        let (_, report) = self.upkeep(false).refresh(&self.dataset.list()?)?;
        Ok(report)
    }

    /// Brings the index up to date and compares it with the shards in full, reading every id of every shard. One
    /// that differs is made anew; [`IndexReport::rebuilt`] then says so.
    ///
    /// # Errors
    /// Those of [`refresh`](Self::refresh).
    pub fn verify_index(&self) -> Result<(IndexReport, Comparison)> {
        let _lock = self.lock()?;
        self.upkeep(false).verify(&self.dataset.list()?)
    }

    /// Looks at the dataset without changing anything.
    ///
    /// # Errors
    /// When there are no shards, or one is damaged or lacks a column that has a role.
    pub fn inspect(&self) -> Result<Inspection> {
        let files = self.dataset.list()?;
        let shards = self.dataset.open_all(&files)?;
        let (mut subject, mut time) = (Vec::new(), None);
        for shard in &shards {
            let columns = self.dataset.subject_columns(shard)?;
            let column = self.dataset.config.roles().time(shard)?;
            if subject.is_empty() {
                subject = columns
                    .iter()
                    .map(|column| column.descriptor.path().string())
                    .collect();
                time = column.map(|column| column.descriptor.path().string());
            }
        }
        let infos = files
            .shards
            .iter()
            .zip(&shards)
            .map(|(file, shard)| ShardInfo {
                path: file.path.clone(),
                bytes: file.size,
                row_groups: shard.footer.row_groups().len() as u64,
                rows: shard.footer.rows(),
            });
        Ok(Inspection {
            shards: infos.collect(),
            subject,
            time,
            index: IndexState::of(&self.dataset, &files, &shards)?,
        })
    }

    /// Finds out what `request` touches and what that will cost. Changes nothing but the index.
    ///
    /// # Errors
    /// When the request contradicts itself, an id expands too far, or a shard is damaged. Ids that are not
    /// found are no error here but in [`Plan::check`].
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        request.check()?;
        let needs_time = request.window_start()?.is_some();
        let expansion = self.dataset.expand(request)?;
        let plan = |files: &Files, knowledge: Knowledge<'_>| {
            let plan = search::plan(&self.dataset, request, &expansion, files, knowledge)?;
            Ok(plan.with_wanted(search::wanted(&expansion)))
        };
        match self.lock() {
            Ok(_lock) => {
                let files = self.dataset.list()?;
                self.upkeep(needs_time)
                    .with_index(&files, |index| plan(&files, Knowledge::Fresh(index)))
            }
            // Readers run beside a deleter, and on directories that they can't write to.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Conflict | ErrorKind::Io | ErrorKind::Unavailable
                ) =>
            {
                let files = self.dataset.list()?;
                let storage = &*self.dataset.storage;
                let index = Index::open(storage, &self.dataset.config.index_key());
                plan(&files, Knowledge::AsFound(index.unwrap_or(None).as_ref()))
            }
            Err(error) => Err(error),
        }
    }

    /// What it costs to carry out each shard of `plan`, in its order.
    ///
    /// # Errors
    /// When a shard has changed since, or its page index or page headers are damaged.
    pub fn prices(&self, plan: &Plan) -> Result<Vec<Price>> {
        price::prices(&self.dataset, plan)
    }

    /// What `plan`'s disclosure asks for, as a stream of record batches: the rows that it found, or the headers of
    /// each subject.
    ///
    /// # Errors
    /// When a guard of the plan forbids it, a shard has changed since, or shards don't fit together.
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
    /// Before anything is touched: what [`plan`](Self::plan) and [`Plan::check`] refuse,
    /// [`PlanChanged`](crate::Error::PlanChanged), [`Locked`](crate::Error::Locked), a table with a catalog
    /// of its own, a shard behind a link. Later: I/O, and [`ShardChanged`](crate::Error::ShardChanged) when
    /// another process keeps replacing a shard; run again then.
    pub fn delete(
        &self,
        request: &Request,
        expected_digest: Option<&str>,
        options: &DeleteOptions,
    ) -> Result<DeleteReport> {
        let site = self.site(self.key()?);
        delete::delete(
            &site,
            request,
            expected_digest,
            options,
            self.options.memory,
        )
    }

    /// Hands a delete request over, to be carried out by the next [`compact`](Self::compact): it is durable when
    /// this returns. The same request, asked again while it waits, joins it. `due` is the deadline, 30 days after
    /// it was asked if it isn't given.
    ///
    /// # Errors
    /// What [`Request::check`] refuses, an export, and failures of the storage.
    pub fn submit(
        &self,
        tracking_id: TrackingId,
        request: &Request,
        submitted_at: Timestamp,
        due: Option<Timestamp>,
    ) -> Result<Submitted> {
        self.dataset.list()?;
        let queue = self.site(self.key()?).queue();
        queue.submit(tracking_id, request, submitted_at, due)
    }

    /// How a request stands at the time `now`.
    ///
    /// # Errors
    /// When a file of the queue or of the receipts can't be read.
    pub fn status(&self, tracking_id: TrackingId, now: Timestamp) -> Result<Status> {
        self.reader().status(tracking_id, now)
    }

    /// How all requests stand at the time `now` that have not ended, in the order in which they were handed over.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub fn waiting(&self, now: Timestamp) -> Result<Vec<Status>> {
        self.reader().waiting(now)
    }

    /// Cancels a request that was not begun.
    ///
    /// # Errors
    /// [`NotCancellable`](crate::Error::NotCancellable) with its state, and failures of the storage.
    pub fn cancel(&self, tracking_id: TrackingId, now: Timestamp) -> Result<()> {
        self.site(self.key()?).queue().cancel(tracking_id, now)
    }

    /// Carries out all requests that wait, each touched shard rewritten once for all of them; before that, what an
    /// interrupted run left unfinished.
    ///
    /// # Errors
    /// Before anything is touched: [`Locked`](crate::Error::Locked), a table with a catalog of its own, an alias
    /// table that can't be read. Later: I/O, [`ShardChanged`](crate::Error::ShardChanged) when another process keeps
    /// replacing a shard, [`Cancelled`](crate::Error::Cancelled): run again then. A request that is refused, and a
    /// shard that can't be read, are no errors here but fail what they concern.
    pub fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        compaction::compact(&self.site(self.key()?), options)
    }

    /// Plans and starts a compaction whose tasks are run elsewhere: first of what an interrupted run left
    /// unfinished, if there is that (call it again then), else of all requests that wait; `None` when none do.
    ///
    /// ```text
    ///   begin ─> tasks ─> run_task, in whatever process ─> commit (which may give a task again) ─> finish
    /// ```
    ///
    /// # Errors
    /// As [`compact`](Self::compact), before anything is touched.
    pub fn begin(&self, options: &CompactOptions) -> Result<Option<Compaction<'_>>> {
        let site = self.site(self.key()?);
        match Compaction::unfinished(site.clone(), options)? {
            Some(unfinished) => Ok(Some(unfinished)),
            None => Compaction::of_pending(site, options.clone()),
        }
    }

    /// Runs a task of a compaction that was begun here or elsewhere: the new shard then lies beside the old one.
    ///
    /// # Errors
    /// Those of [`task::run`].
    pub fn run_task(&self, task: &ShardTask) -> Result<TaskResult> {
        task::run(&self.dataset, task)
    }

    /// Puts the subjects, and the ids that they cover by `identity`, on the suppression list: the next compaction
    /// removes their rows, also those that come in later; with a cut-off only those of a time before it. Gives how
    /// many ids were new there.
    ///
    /// # Errors
    /// When the alias table or the list can't be read, an id expands too far, or the list can't be written.
    pub fn suppress(&self, request: &Request, suppress: Suppress, now: Timestamp) -> Result<u64> {
        self.change_suppression(request, |list, key, ids| {
            list.add(key, ids, suppress.before, now)
        })
    }

    /// Takes the subjects, and the ids that they cover, off the suppression list. Gives how many were on it.
    ///
    /// # Errors
    /// As [`suppress`](Self::suppress).
    pub fn unsuppress(&self, request: &Request) -> Result<u64> {
        self.change_suppression(request, |list, key, ids| list.remove(key, ids))
    }

    /// The suppression list.
    ///
    /// # Errors
    /// When it is damaged or can't be read.
    pub fn suppression(&self) -> Result<Suppression> {
        Suppression::load(&*self.dataset.storage)
    }

    fn change_suppression(
        &self,
        request: &Request,
        change: impl FnOnce(&mut Suppression, &SubjectKey, &[SubjectId]) -> u64,
    ) -> Result<u64> {
        request.check()?;
        self.dataset.list()?;
        let expansion = self.dataset.expand(request)?;
        let key = self.key()?;
        let _lock = self.site(key.clone()).queue().lock()?;
        let storage = &*self.dataset.storage;
        let mut list = Suppression::load(storage)?;
        let changed = change(&mut list, &key, &expansion.ids);
        list.store(storage)?;
        Ok(changed)
    }

    /// Checks the chain of receipts, and shows each of them to `see`.
    ///
    /// # Errors
    /// [`State`](crate::Error::State) that says where the chain is broken.
    pub fn receipts(&self, see: impl FnMut(Receipt)) -> Result<Head> {
        Receipts::new(&*self.dataset.storage).check(see)
    }

    /// Looks for `ids` in every structure of every shard and in efface's own files. Changes nothing.
    ///
    /// # Errors
    /// When there are no shards, one is damaged, or something can't be read.
    pub fn verify(&self, ids: &[SubjectId]) -> Result<Verification> {
        verify::verify(&self.dataset, ids)
    }

    fn site(&self, key: SubjectKey) -> Site<'_> {
        Site {
            dataset: &self.dataset,
            key,
            holder: &self.options.holder,
            seed_if_new: self.options.seed_if_new,
        }
    }

    /// The queue for what needs no key.
    fn reader(&self) -> Queue<'_> {
        self.site(self.options.key_if_new.clone()).queue()
    }

    /// The dataset's key, made if need be.
    fn key(&self) -> Result<SubjectKey> {
        let (storage, config) = (&*self.dataset.storage, &self.dataset.config);
        if let Some(key) = key_file::load(storage, config)? {
            return Ok(key);
        }
        self.dataset.list()?;
        let _lock = self.reader().lock()?;
        key_file::load_or_make(storage, config, &self.options.key_if_new)
    }

    fn lock(&self) -> Result<Box<dyn Lock>> {
        self.dataset.lock(&self.options.holder)
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
