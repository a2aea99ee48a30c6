//! A pass that was started.

use std::collections::{BTreeMap, BTreeSet};

use super::class::{Class, Job, Member};
use super::ready::Ready;
use super::staging::{Staged, is_of_shard};
use super::task::{ClearStep, FORMAT, ShardTask};
use super::{CompactOptions, CompactReport, Site};
use crate::config::partition_names;
use crate::error::{Error, ErrorKind, Result};
use crate::pass::{Pass, ProgressLog, Swap};
use crate::queue::Entry;
use crate::request::Disclosure;
use crate::state::Lease;
use crate::suppression::{Checked, Suppression};
use crate::table::Snapshot;
use crate::tracking::TrackingId;

/// A pass that was started. Run and commit its tasks, here or elsewhere, then finish it.
///
/// It holds the lease of the dataset until it is finished. If it is dropped before, the next delete or compaction
/// carries the pass on.
pub struct Compaction {
    pub(super) site: Site,
    pub(super) options: CompactOptions,
    pub(super) pass: Pass,
    pub(super) snapshot: Snapshot,
    pub(super) members: Vec<Member>,
    pub(super) classes: Vec<Class>,
    /// The jobs, by path.
    pub(super) jobs: BTreeMap<String, Job>,
    /// The shards whose tasks were neither committed nor failed.
    pub(super) outstanding: BTreeSet<String>,
    /// Checked results that wait for the others of their commit.
    pub(super) ready: Vec<Ready>,
    /// The swaps that were done, also by earlier runs of the pass.
    pub(super) swaps: Vec<Swap>,
    pub(super) log: ProgressLog,
    /// Attempts for each shard that another process replaced.
    pub(super) attempts: BTreeMap<String, u32>,
    pub(super) alias_rows: u64,
    /// Attributes that the new alias table lacks.
    pub(super) alias_attributes: Vec<String>,
    /// Shards that could not be read or rewritten.
    pub(super) failed: BTreeMap<String, Error>,
    pub(super) suppression: Suppression,
    /// Shards in which no suppressed row is left.
    pub(super) checked: Checked,
    pub(super) summaries_removed: Vec<String>,
    pub(super) sidecars_removed: Vec<String>,
    /// `None` once the pass has ended.
    pub(super) lease: Option<Box<dyn Lease>>,
}

/// The parts that a started pass is made of.
pub(super) struct Start {
    pub(super) site: Site,
    pub(super) options: CompactOptions,
    pub(super) pass: Pass,
    pub(super) snapshot: Snapshot,
    pub(super) members: Vec<Member>,
    pub(super) suppression: Suppression,
    pub(super) checked: Checked,
    pub(super) staged: Staged,
    pub(super) log: ProgressLog,
    pub(super) lease: Box<dyn Lease>,
}

impl Compaction {
    pub(super) fn started(start: Start) -> Self {
        let Staged {
            classes,
            jobs,
            failed,
        } = start.staged;
        Self {
            outstanding: jobs.keys().cloned().collect(),
            site: start.site,
            options: start.options,
            pass: start.pass,
            snapshot: start.snapshot,
            members: start.members,
            classes,
            jobs,
            ready: Vec::new(),
            swaps: Vec::new(),
            log: start.log,
            attempts: BTreeMap::new(),
            alias_rows: 0,
            alias_attributes: Vec::new(),
            failed,
            suppression: start.suppression,
            checked: start.checked,
            summaries_removed: Vec::new(),
            sidecars_removed: Vec::new(),
            lease: Some(start.lease),
        }
    }

    /// The id of the pass.
    pub fn id(&self) -> TrackingId {
        self.pass.id
    }

    /// The tasks that were neither committed nor failed, one for each shard, in the order of their paths.
    pub fn tasks(&self) -> Vec<ShardTask> {
        let outstanding = self.outstanding.iter();
        outstanding
            .filter_map(|path| self.jobs.get(path))
            .map(|job| self.task(job))
            .collect()
    }

    pub(super) fn task(&self, job: &Job) -> ShardTask {
        let clear = job.clear.iter().filter(|(_, rows)| !rows.is_empty());
        ShardTask {
            format: FORMAT,
            pass: self.pass.id,
            shard: job.shard.clone(),
            footer_hash: job.footer_hash,
            config: self.site.dataset.config.clone(),
            clear: clear
                .map(|(cleared, rows)| ClearStep {
                    cleared: *cleared,
                    rows: rows.clone(),
                })
                .collect(),
            remove: job.remove.clone(),
            memory: self.site.memory,
            zstd_level: self.options.zstd_level,
        }
    }

    /// Gives up a task that could not be carried out. The requests that have rows in the shard wait for another pass,
    /// unless what they ask for is what can't be done: these fail.
    ///
    /// # Errors
    /// The same error, if it concerns not the shard but the table or the machine, for example: the pass can be
    /// carried on later.
    pub fn fail(&mut self, path: &str, error: Error) -> Result<()> {
        if !is_of_shard(&error) {
            return Err(error);
        }
        tracing::warn!(path, %error, "a shard could not be rewritten");
        if let Some(job) = self.jobs.get(path) {
            for (place, _) in &job.of_request {
                if let Some(member) = self.members.get_mut(*place) {
                    if error.kind() == ErrorKind::Refused {
                        member.refuse(&error);
                    } else {
                        member.hold(&error);
                    }
                }
            }
        }
        self.outstanding.remove(path);
        self.failed.insert(path.to_owned(), error);
        Ok(())
    }

    /// Ends the pass, after every task was committed or has failed.
    ///
    /// # Errors
    /// [`Outstanding`](Error::Outstanding) while tasks are outstanding: nothing was changed then, and they can still be
    /// committed. Failures of the table and the state, and [`ShardChanged`](Error::ShardChanged) when another process
    /// changes the alias table: the pass can be carried on later.
    pub fn finish(&mut self) -> Result<CompactReport> {
        self.end().map(|(report, _)| report)
    }

    /// Checks that this pass may still change the dataset.
    pub(super) fn confirm(&self) -> Result<()> {
        match &self.lease {
            Some(lease) => lease.confirm(),
            None => Err(Error::State {
                path: crate::pass::DIRECTORY.to_owned(),
                reason: format!("the pass {} has ended", self.pass.id),
            }),
        }
    }

    /// Runs all tasks here and ends the pass; returns the errors of shards, too.
    ///
    /// # Errors
    /// Those of [`run_all`](Self::run_all) and [`finish`](Self::finish). The record of the pass then says what was in
    /// the way.
    pub(crate) fn run_to_end(mut self) -> Result<(CompactReport, BTreeMap<String, Error>)> {
        let ended = self.run_all().and_then(|()| self.end());
        if let Err(error) = &ended
            && !matches!(error, Error::Cancelled)
            && self.lease.is_some()
        {
            self.pass.trouble = Some(error.to_string());
            // The first error is the one to report.
            let _ignored = self.pass.store(&*self.site.dataset.state);
        }
        ended
    }

    /// The requests that it carries out.
    pub(crate) fn requests(&self) -> impl Iterator<Item = TrackingId> {
        self.members.iter().map(|member| member.entry.tracking_id)
    }

    /// The request that asks the same as `entry`, under the same configuration.
    pub(crate) fn same(&self, entry: &Entry) -> Option<TrackingId> {
        let config = &self.site.dataset.config;
        let mut entries = self.members.iter().map(|member| &member.entry);
        let same = entries.find(|other| entry.is_same(other, config))?;
        Some(same.tracking_id)
    }

    /// Names of partitions whose directories say something of rows of which every column is cleared.
    pub(super) fn partitions_left(&self) -> Vec<String> {
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
