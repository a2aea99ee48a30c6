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

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::config::Config;
use crate::dataset::{self, Files, STATE_DIRECTORY};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Export, ExportOptions, ShardRows};
use crate::identity::{Expansion, IdentityGraph};
use crate::index::Index;
use crate::index::refresh::{RefreshOptions, RefreshReport, ShardFooter, ShardSource, refresh};
use crate::limits;
use crate::observe::{Observer, Silent};
use crate::parquet_bytes::footer::Footer;
use crate::parquet_bytes::page::{PageKind, PageWalk};
use crate::plan::{KnownSubject, Plan, SelectedShard};
use crate::request::Request;
use crate::shard::roles::{Roles, SubjectColumn};
use crate::shard::select::{Selection, Wanted, select};
use crate::shard::{Shard, ids};
use crate::storage::{FileInfo, Lock, Storage};
use crate::subject::SubjectHash;

/// How an engine works; the defaults suit a service.
#[derive(Clone)]
pub struct EngineOptions {
    /// Memory that a delete or an export may use, in bytes.
    pub memory: u64,
    /// Is told of progress.
    pub observer: Arc<dyn Observer>,
    /// The seed of the index's hashes, if a new index is made: draw it at random.
    pub seed_if_new: u64,
    /// What the lock file says of its holder, for the message that another process gets.
    pub holder: String,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            memory: limits::MEMORY_BYTES,
            observer: Arc::new(Silent),
            seed_if_new: 0,
            holder: format!("pid {}", std::process::id()),
        }
    }
}

/// A dataset, open for requests.
pub struct Engine {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) config: Config,
    pub(crate) options: EngineOptions,
}

/// What a refresh of the index found and did.
#[derive(Debug, Clone, Serialize)]
pub struct IndexReport {
    /// Rows of the dataset.
    pub rows: u64,
    /// Distinct subject ids.
    pub subjects: u64,
    /// Pairs of subject id and row group.
    pub postings: u64,
    /// Bytes of the index.
    pub bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// Shards that were new.
    pub added: usize,
    /// Shards that had changed.
    pub changed: usize,
    /// Shards that were gone.
    pub removed: usize,
    /// Shards that were as the index knew them.
    pub unchanged: usize,
    /// Why the old index was not used, if there was one and it was not.
    pub rebuilt: Option<String>,
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

/// How the index stands to the shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexState {
    /// There is none yet.
    Missing,
    /// It knows every shard as it is.
    Fresh,
    /// The next run will refresh it.
    Stale {
        /// Shards that it doesn't know.
        added: usize,
        /// Shards that it knows otherwise.
        changed: usize,
        /// Shards that it knows and that are gone.
        removed: usize,
    },
    /// The next run will make it anew, for this reason.
    Damaged(String),
}

/// A shard with the row groups that may hold wanted ids.
struct Candidate {
    path: String,
    row_groups: Vec<u32>,
}

impl Engine {
    /// Opens the dataset below `storage`. Cheap: nothing is read yet.
    ///
    /// # Errors
    /// None so far; a storage that needs opening may have some.
    pub fn open(storage: Arc<dyn Storage>, config: Config, options: EngineOptions) -> Result<Self> {
        Ok(Self {
            storage,
            config,
            options,
        })
    }

    /// Checks that every shard has the columns that have a role, with types that can have it.
    ///
    /// # Errors
    /// The first shard that hasn't, or is damaged.
    pub fn check_roles(&self) -> Result<()> {
        let files = dataset::list(&*self.storage, &self.config)?;
        let roles = self.config.roles();
        files.shards.par_iter().try_for_each(|file| {
            let shard = Shard::open(&*self.storage, &file.path)?;
            self.subjects_of(&roles, &shard)?;
            roles.time(&shard).map(drop)
        })
    }

    /// Builds the index, or brings it up to date.
    ///
    /// # Errors
    /// [`Locked`](Error::Locked), or what is wrong with a shard.
    pub fn refresh(&self) -> Result<IndexReport> {
        let _lock = self.lock()?;
        let files = dataset::list(&*self.storage, &self.config)?;
        let (_, report, rebuilt) = self.refresh_locked(&files)?;
        Ok(IndexReport {
            rows: report.stats.rows,
            subjects: report.stats.subjects,
            postings: report.stats.postings,
            bytes: report.stats.bytes,
            segments: report.stats.segments,
            added: report.added,
            changed: report.changed,
            removed: report.removed,
            unchanged: report.unchanged,
            rebuilt,
        })
    }

    /// Looks at the dataset without changing anything.
    ///
    /// # Errors
    /// When there are no shards, or one is damaged or lacks a column that has a role.
    pub fn inspect(&self) -> Result<Inspection> {
        let files = dataset::list(&*self.storage, &self.config)?;
        let shards: Vec<Shard> = files
            .shards
            .par_iter()
            .map(|file| Shard::open(&*self.storage, &file.path))
            .collect::<Result<_>>()?;
        let roles = self.config.roles();
        let (mut subject, mut time) = (Vec::new(), None);
        for shard in &shards {
            let columns = self.subjects_of(&roles, shard)?;
            let column = roles.time(shard)?;
            if subject.is_empty() {
                subject = columns
                    .iter()
                    .map(|column| column.descriptor.path().string())
                    .collect();
                time = column.map(|column| column.descriptor.path().string());
            }
        }
        let index = match Index::open(&*self.storage, &self.config.index_key()) {
            Ok(None) => IndexState::Missing,
            Ok(Some(index)) => index_state(&index, &files, &shards),
            Err(Error::State { reason, .. }) => IndexState::Damaged(reason),
            Err(error) => return Err(error),
        };
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
            index,
        })
    }

    /// Finds out what `request` touches and what that will cost. Changes nothing but the index.
    ///
    /// # Errors
    /// When the request contradicts itself, an id expands too far, or a shard is damaged. Ids that are not
    /// found are no error here but in [`Plan::check`].
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        request.check()?;
        let files = dataset::list(&*self.storage, &self.config)?;
        let lock = match self.lock() {
            Ok(lock) => Some(lock),
            // Readers run beside a deleter, and on directories that they can't write to.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Io) => None,
            Err(error) => return Err(error),
        };
        let index = match &lock {
            Some(_) => Some(self.refresh_locked(&files)?.0),
            None => Index::open(&*self.storage, &self.config.index_key()).unwrap_or(None),
        };
        let expansion = self.expand(request)?;
        self.plan_with(request, &expansion, &files, index.as_ref())
    }

    /// The rows that `plan` found, as a stream of record batches.
    ///
    /// # Errors
    /// When a guard of the plan forbids it, a shard has changed since, or shards don't fit together.
    pub fn export(&self, plan: &Plan) -> Result<Export> {
        plan.check()?;
        let shards = plan
            .shards
            .iter()
            .map(|shard| ShardRows {
                path: shard.path.clone(),
                footer_hash: shard.footer_hash,
                rows: shard.rows.clone(),
            })
            .collect();
        Export::new(Arc::clone(&self.storage), shards, &ExportOptions::default())
    }

    pub(crate) fn lock(&self) -> Result<Box<dyn Lock>> {
        self.storage
            .lock(&format!("{STATE_DIRECTORY}/lock"), &self.options.holder)
    }

    pub(crate) fn expand(&self, request: &Request) -> Result<Expansion> {
        let graph = match self.config.alias_table() {
            Some(table) => IdentityGraph::load(&*self.storage, &table)?,
            None => IdentityGraph::empty(),
        };
        graph.expand(&request.subjects, request.identity, request.identity_cap)
    }

    /// Refreshes the index; the caller holds the lock. A damaged index is made anew, with one warning.
    pub(crate) fn refresh_locked(
        &self,
        files: &Files,
    ) -> Result<(Index, RefreshReport, Option<String>)> {
        let configuration = self.config.index_key();
        let options = RefreshOptions {
            configuration: &configuration,
            seed_if_new: self.options.seed_if_new,
            memory: limits::INDEX_MEMORY_BYTES,
        };
        let source = Shards {
            engine: self,
            roles: self.config.roles(),
        };
        self.options
            .observer
            .begin("indexing", files.shards.len() as u64);
        let run = |existing| refresh(&*self.storage, existing, &files.shards, &options, &source);
        let result = match Index::open(&*self.storage, &configuration).and_then(run) {
            Err(Error::State { path, reason }) if path.starts_with(crate::index::DIRECTORY) => {
                tracing::warn!(%path, %reason, "the index is made anew");
                run(None).map(|(index, report)| (index, report, Some(reason)))
            }
            result => result.map(|(index, report)| (index, report, None)),
        };
        self.options.observer.end();
        result
    }

    pub(crate) fn plan_with(
        &self,
        request: &Request,
        expansion: &Expansion,
        files: &Files,
        index: Option<&Index>,
    ) -> Result<Plan> {
        let window = request.window_start()?;
        let roles = self.config.roles();
        let wanted = wanted(expansion);
        let candidates = self.candidates(files, index, &wanted)?;
        self.options
            .observer
            .begin("selecting", candidates.len() as u64);
        let selected: Vec<SelectedShard> = candidates
            .into_par_iter()
            .map(|candidate| {
                let shard = Shard::open(&*self.storage, &candidate.path)?;
                let selected =
                    self.select(&shard, &roles, candidate.row_groups, &wanted, window)?;
                self.options.observer.advance(1);
                Ok(selected)
            })
            .collect::<Result<_>>()?;
        self.options.observer.end();
        let dataset_rows = match index {
            Some(index) => index.shards().iter().map(|shard| shard.rows).sum(),
            None => self.count_rows(files)?,
        };
        let subjects: Vec<KnownSubject> = expansion
            .covers
            .iter()
            .map(|cover| KnownSubject {
                position: cover.position,
                is_linked: cover.linked,
            })
            .collect();
        Ok(Plan::new(
            request,
            window,
            &subjects,
            selected,
            dataset_rows,
            expansion.left_out,
        ))
    }

    fn count_rows(&self, files: &Files) -> Result<u64> {
        files
            .shards
            .par_iter()
            .map(|file| Ok(Shard::open(&*self.storage, &file.path)?.footer.rows()))
            .sum()
    }

    pub(crate) fn subjects_of(&self, roles: &Roles, shard: &Shard) -> Result<Vec<SubjectColumn>> {
        match roles.subjects(shard) {
            Err(Error::MissingColumn { .. }) if self.config.may_lack_subject(&shard.path) => {
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// The row groups that may hold wanted ids: what the index nominates, and all of those shards that it
    /// does not know as they are.
    fn candidates(
        &self,
        files: &Files,
        index: Option<&Index>,
        wanted: &Wanted,
    ) -> Result<Vec<Candidate>> {
        let mut known = HashMap::new();
        let mut nominated = BTreeMap::new();
        if let Some(index) = index {
            let hashes: Vec<SubjectHash> = wanted
                .forms()
                .map(|form| SubjectHash::of(form, index.seed()))
                .collect();
            nominated = index.candidates(&hashes)?;
            known = index
                .shards()
                .iter()
                .enumerate()
                .map(|(position, entry)| (entry.path.as_str(), (position, entry)))
                .collect();
        }
        let candidates: Vec<Option<Candidate>> = files
            .shards
            .par_iter()
            .map(|file| {
                let row_groups = match known.get(file.path.as_str()) {
                    Some((position, entry))
                        if entry.size == file.size && entry.modified_ns == file.modified_ns =>
                    {
                        nominated
                            .get(position)
                            .map(|groups| groups.iter().collect())
                            .unwrap_or_default()
                    }
                    _ => {
                        let shard = Shard::open(&*self.storage, &file.path)?;
                        (0..)
                            .take(shard.footer.row_groups().len())
                            .collect::<Vec<u32>>()
                    }
                };
                Ok((!row_groups.is_empty()).then(|| Candidate {
                    path: file.path.clone(),
                    row_groups,
                }))
            })
            .collect::<Result<_>>()?;
        Ok(candidates.into_iter().flatten().collect())
    }

    pub(crate) fn select(
        &self,
        shard: &Shard,
        roles: &Roles,
        groups: Vec<u32>,
        wanted: &Wanted,
        window: Option<jiff::Timestamp>,
    ) -> Result<SelectedShard> {
        let columns = self.subjects_of(roles, shard)?;
        let window = match window {
            Some(start) => match roles.time(shard)? {
                Some(column) => Some((column, start)),
                None => {
                    return Err(Error::NoTimeColumn {
                        columns: crate::shard::schema::column_names(shard.footer.schema()),
                    });
                }
            },
            None => None,
        };
        let selections: Vec<Selection> = groups
            .into_par_iter()
            .map(|group| {
                let window = window.as_ref().map(|(column, start)| (column, *start));
                select(shard, [group], &columns, wanted, window)
            })
            .collect::<Result<_>>()?;
        let selection = Selection::union(selections);
        let touched = touched_row_groups(shard, &selection);
        let (mut pages, mut bytes) = (0, 0);
        for group in &touched {
            if let Some(group) = shard.footer.row_groups().get(*group) {
                bytes += group.bytes();
                for chunk in &group.chunks {
                    pages += page_count(shard, chunk)?;
                }
            }
        }
        Ok(SelectedShard {
            path: shard.path.clone(),
            footer_hash: shard.footer.hash,
            selection,
            row_groups: touched.len() as u64,
            pages,
            bytes,
            total_rows: shard.footer.rows(),
        })
    }
}

/// The ids to look for, with the subjects that each belongs to.
pub(crate) fn wanted(expansion: &Expansion) -> Wanted {
    let mut subjects = vec![Vec::new(); expansion.ids.len()];
    for (place, cover) in (0_u32..).zip(&expansion.covers) {
        for id in &cover.ids {
            if let Some(of) = subjects.get_mut(*id as usize) {
                of.push(place);
            }
        }
    }
    Wanted::new(&expansion.ids, subjects, expansion.covers.len())
}

/// The row groups of `shard` with selected rows.
pub(crate) fn touched_row_groups(shard: &Shard, selection: &Selection) -> Vec<usize> {
    let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    shard
        .row_bases()
        .windows(2)
        .enumerate()
        .filter_map(|(group, bounds)| match bounds {
            [base, end] if base < end => {
                (selection.rows.range_cardinality(row(*base)..=row(end - 1)) > 0).then_some(group)
            }
            _ => None,
        })
        .collect()
}

/// Pages of a chunk. Walking all their headers also finds what can't be rewritten before anything is touched.
fn page_count(shard: &Shard, chunk: &crate::parquet_bytes::footer::Chunk) -> Result<u64> {
    const HEADER_READ_BYTES: u64 = 512;
    let mut walk = PageWalk::with_read_len(
        Arc::clone(&shard.file),
        chunk.range.clone(),
        HEADER_READ_BYTES,
    );
    let mut pages = 0;
    while let Some(page) = walk.peek().map_err(|error| error.in_shard(&shard.path))? {
        walk.skip(&page);
        pages += u64::from(page.kind != PageKind::Other);
    }
    Ok(pages)
}

fn index_state(index: &Index, files: &Files, shards: &[Shard]) -> IndexState {
    let known: HashMap<&str, _> = index
        .shards()
        .iter()
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let (mut added, mut changed) = (0, 0);
    for (file, shard) in files.shards.iter().zip(shards) {
        match known.get(file.path.as_str()) {
            None => added += 1,
            Some(entry) if entry.size != file.size || entry.footer_hash != shard.footer.hash => {
                changed += 1;
            }
            Some(_) => {}
        }
    }
    let removed = (known.len() + added).saturating_sub(files.shards.len());
    if added + changed + removed == 0 {
        IndexState::Fresh
    } else {
        IndexState::Stale {
            added,
            changed,
            removed,
        }
    }
}

/// The shards as the index reads them.
struct Shards<'a> {
    engine: &'a Engine,
    roles: Roles,
}

impl Shards<'_> {
    fn footer_of(shard: &Shard) -> Result<ShardFooter> {
        Ok(ShardFooter {
            hash: shard.footer.hash,
            row_groups: u32::try_from(shard.footer.row_groups().len()).map_err(|_| {
                crate::FormatError::Unsupported {
                    feature: "a shard of more than 4,294,967,295 row groups".into(),
                }
                .in_shard(&shard.path)
            })?,
            rows: shard.footer.rows(),
        })
    }
}

impl ShardSource for Shards<'_> {
    fn footer(&self, file: &FileInfo) -> Result<ShardFooter> {
        Self::footer_of(&Shard::open(&*self.engine.storage, &file.path)?)
    }

    fn scan(
        &self,
        file: &FileInfo,
        seed: u64,
        emit: &mut dyn FnMut(SubjectHash, u32),
    ) -> Result<ShardFooter> {
        let shard = Shard::open(&*self.engine.storage, &file.path)?;
        for column in self.engine.subjects_of(&self.roles, &shard)? {
            for (number, group) in (0_u32..).zip(shard.footer.row_groups()) {
                let Some(chunk) = group.chunks.get(column.leaf) else {
                    continue;
                };
                ids::distinct(&shard.file, chunk, &column, &mut |value| {
                    emit(SubjectHash::of(value, seed), number);
                })
                .map_err(|error| error.in_shard(&shard.path))?;
            }
        }
        self.engine.options.observer.advance(1);
        Self::footer_of(&shard)
    }
}

/// Whether the shard at `path` still has the content whose footer hash is `expected`.
pub(crate) fn is_unchanged(storage: &dyn Storage, path: &str, expected: u64) -> Result<bool> {
    if storage.info(path)?.is_none() {
        return Ok(false);
    }
    let file = storage.open(path)?;
    Ok(Footer::read_hash(&*file).is_ok_and(|hash| hash == expected))
}
