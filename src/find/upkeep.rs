//! The index of a dataset: kept up to date, and compared with the shards.
//!
//! # Invariants
//! If an index is damaged, its whole segments stay, and the shards of the others are scanned. An index of other subject
//! columns is rebuilt. The report says `rebuilt` only after the rebuild succeeded; until then the old index stays.

use roaring::RoaringBitmap;
use serde::Serialize;

use crate::dataset::Dataset;
use crate::error::{Error, FormatError, Result};
use crate::index::changes::RewrittenShard;
use crate::index::compare::Comparison;
use crate::index::manifest::manifest_path;
use crate::index::refresh::{RefreshOptions, RefreshReport, refresh};
use crate::index::source::{ShardFooter, ShardSource};
use crate::index::{DIRECTORY, Index};
use crate::limits;
use crate::shard::{Shard, ids};
use crate::subject::SubjectHash;
use crate::table::{ShardRef, Snapshot};

/// The part of the memory that building an index takes: one in so many.
const MEMORY_PART: u64 = 4;

/// The findings and figures of a refresh of the index.
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
    /// Why the old index, or a part of it, was not used, if there was one.
    pub rebuilt: Option<String>,
}

/// How the index was brought up to date.
struct Done {
    report: RefreshReport,
    rebuilt: Option<String>,
}

impl Done {
    fn new(report: RefreshReport) -> Self {
        Self {
            report,
            rebuilt: None,
        }
    }

    fn report(self, index: &Index) -> Result<IndexReport> {
        let stats = index.stats()?;
        Ok(IndexReport {
            rows: stats.rows,
            subjects: stats.subjects,
            postings: stats.postings,
            bytes: stats.bytes,
            segments: stats.segments,
            added: self.report.added,
            changed: self.report.changed,
            removed: self.report.removed,
            unchanged: self.report.unchanged,
            rebuilt: self.rebuilt,
        })
    }
}

/// Keeps the index of a dataset. The caller holds the dataset's lock.
pub(crate) struct Upkeep<'a> {
    pub(crate) dataset: &'a Dataset,
    /// The seed of an index that is rebuilt.
    pub(crate) seed_if_new: u64,
    /// Memory of the work that the index is for, in bytes; building the index takes a part of it.
    pub(crate) memory: u64,
    /// Whether the work that the index is for needs a time column in every shard.
    pub(crate) needs_time: bool,
}

impl Upkeep<'_> {
    /// Brings the index up to date with `files`.
    pub(crate) fn refresh(&self, snapshot: &Snapshot) -> Result<(Index, IndexReport)> {
        let (index, done) = self.bring_up_to_date(snapshot, &[])?;
        let report = done.report(&index)?;
        Ok((index, report))
    }

    /// Brings the index up to date after a delete that replaced the shards `rewritten`: only the row groups that it
    /// touched are read. Afterwards nothing of an erased id is left in the index.
    pub(crate) fn after_rewrite(
        &self,
        snapshot: &Snapshot,
        rewritten: &[RewrittenShard],
    ) -> Result<()> {
        self.bring_up_to_date(snapshot, rewritten).map(drop)
    }

    /// Does `work` with an index that is up to date, and a second time if the first shows that the index is damaged.
    pub(crate) fn with_index<T>(
        &self,
        snapshot: &Snapshot,
        work: impl Fn(&Index) -> Result<T>,
    ) -> Result<T> {
        let (index, _) = self.bring_up_to_date(snapshot, &[])?;
        match work(&index) {
            Err(damage) if is_damage(&damage) => {
                drop(index);
                work(&self.mend(snapshot, &[], &damage)?.0)
            }
            result => result,
        }
    }

    /// Brings the index up to date and compares it with the shards in full; it is rebuilt if it differs.
    pub(crate) fn verify(&self, snapshot: &Snapshot) -> Result<(IndexReport, Comparison)> {
        let (index, done) = self.bring_up_to_date(snapshot, &[])?;
        let observer = &self.dataset.observer;
        observer.begin("comparing", snapshot.shards.len() as u64);
        let configuration = self.configuration();
        let state = &*self.dataset.state;
        let options = self.options(&configuration, &[]);
        let compared = index.compare(state, &snapshot.shards, &options, self);
        observer.end();
        match compared {
            Ok(comparison) if comparison.missing + comparison.surplus == 0 => {
                Ok((done.report(&index)?, comparison))
            }
            Ok(comparison) => {
                drop(index);
                let reason = format!(
                    "{} postings were missing and {} were of no row",
                    comparison.missing, comparison.surplus
                );
                let path = manifest_path();
                let (index, done) =
                    self.rebuild(None, snapshot, &[], &Error::State { path, reason })?;
                Ok((done.report(&index)?, comparison))
            }
            Err(damage) if is_damage(&damage) => {
                drop(index);
                let (index, done) = self.mend(snapshot, &[], &damage)?;
                Ok((done.report(&index)?, Comparison::default()))
            }
            Err(error) => Err(error),
        }
    }

    fn bring_up_to_date(
        &self,
        snapshot: &Snapshot,
        rewritten: &[RewrittenShard],
    ) -> Result<(Index, Done)> {
        let open = || Index::open(&*self.dataset.state, &self.configuration());
        match open().and_then(|existing| self.run(existing, snapshot, rewritten)) {
            Err(damage) if is_damage(&damage) => self.mend(snapshot, rewritten, &damage),
            Ok((index, report)) => Ok((index, Done::new(report))),
            Err(error) => Err(error),
        }
    }

    /// Keeps the whole parts of the index and rebuilds the rest.
    fn mend(
        &self,
        snapshot: &Snapshot,
        rewritten: &[RewrittenShard],
        damage: &Error,
    ) -> Result<(Index, Done)> {
        let whole = Index::open_undamaged(&*self.dataset.state, &self.configuration())?;
        self.rebuild(whole, snapshot, rewritten, damage)
    }

    fn rebuild(
        &self,
        whole: Option<Index>,
        snapshot: &Snapshot,
        rewritten: &[RewrittenShard],
        damage: &Error,
    ) -> Result<(Index, Done)> {
        let (index, report) = self.run(whole, snapshot, rewritten)?;
        let reason = damage.to_string();
        let (kept, rebuilt) = (report.unchanged, report.added + report.changed);
        tracing::warn!(%reason, kept, rebuilt, "what was damaged of the index was rebuilt");
        Ok((
            index,
            Done {
                report,
                rebuilt: Some(reason),
            },
        ))
    }

    fn run(
        &self,
        existing: Option<Index>,
        snapshot: &Snapshot,
        rewritten: &[RewrittenShard],
    ) -> Result<(Index, RefreshReport)> {
        let observer = &self.dataset.observer;
        observer.begin("indexing", snapshot.shards.len() as u64);
        let configuration = self.configuration();
        let options = self.options(&configuration, rewritten);
        let state = &*self.dataset.state;
        let result = refresh(state, existing, &snapshot.shards, &options, self);
        observer.end();
        result
    }

    fn options<'c>(
        &self,
        configuration: &'c str,
        rewritten: &'c [RewrittenShard],
    ) -> RefreshOptions<'c> {
        RefreshOptions {
            configuration,
            rewritten,
            seed_if_new: self.seed_if_new,
            memory: usize::try_from(self.memory / MEMORY_PART)
                .unwrap_or(usize::MAX)
                .min(limits::INDEX_MEMORY_BYTES),
        }
    }

    fn configuration(&self) -> String {
        self.dataset.config.index_key()
    }
}

impl ShardSource for Upkeep<'_> {
    fn clock_ns(&self) -> Result<Option<i64>> {
        self.dataset.table.clock_ns()
    }

    /// Every new footer is read before anything is written, so a column that can't have its role is found here.
    fn footer(&self, file: &ShardRef) -> Result<ShardFooter> {
        let shard = self.dataset.open(file)?;
        self.dataset.config.check_roles(&shard, self.needs_time)?;
        footer_of(&shard)
    }

    fn scan(
        &self,
        file: &ShardRef,
        row_groups: &RoaringBitmap,
        seed: u64,
        emit: &mut dyn FnMut(SubjectHash, u32),
    ) -> Result<ShardFooter> {
        let shard = self.dataset.open(file)?;
        let columns = self.dataset.config.subject_columns(&shard)?;
        ids::distinct_in(&shard, &columns, row_groups, &mut |number, value| {
            emit(SubjectHash::of(value, seed), number);
        })?;
        self.dataset.observer.advance(1);
        footer_of(&shard)
    }
}

/// Whether an error concerns a file of the index, which can be rebuilt.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error, Error::State { path, .. } if path.starts_with(DIRECTORY))
}

fn footer_of(shard: &Shard) -> Result<ShardFooter> {
    let row_groups = u32::try_from(shard.footer.row_groups().len()).map_err(|_| {
        FormatError::Unsupported {
            feature: "a shard of more than 4,294,967,295 row groups".into(),
        }
        .in_shard(&shard.path)
    })?;
    Ok(ShardFooter {
        hash: shard.footer.hash,
        row_groups,
        rows: shard.footer.rows(),
    })
}
