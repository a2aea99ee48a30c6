//! Checking the results of tasks, and swapping new shards in.
//!
//! # Invariants
//! * No figure of a task's run is believed that can be checked: the rows that are left, and the row groups in which no
//!   row of a covered id may be left, follow from the job and the two footers. Of a result from elsewhere the hashes
//!   and the cleared values are checked, too.
//! * A result counts once. A second one, one of another version of the shard, one that lost its file and one that
//!   fails its check change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::class::{Action, Job};
use super::ready::{Outcome, Ready};
use super::running::Compaction;
use super::task::{self, FORMAT, NewShard, Settled, ShardTask, TaskResult, doubted};
use crate::config::EmptyShards;
use crate::error::{Error, Result};
use crate::find::search;
use crate::pass::{Progress, Swap};
use crate::shard::Shard;
use crate::shard::lineage::Lineage;
use crate::shard::readback;
use crate::shard::rewrite::{RewriteReport, is_clear};
use crate::shard::select::select;
use crate::table::{CommitUnit, Replacement};

/// Attempts for a shard that other processes keep replacing.
const ATTEMPTS_MAX: u32 = 5;

impl Compaction {
    /// Checks what came of tasks that were run here or elsewhere, and swaps the new shards in, all of them with as
    /// few syncs as one. Where another process has replaced an old shard in the meantime, its task is to be done
    /// again, from the new content, and so is one whose new shard is gone: those are the tasks that this gives.
    ///
    /// A result that was committed before, or belongs to an earlier version of a shard, changes nothing. A table that
    /// changes as a whole does so with the last result.
    ///
    /// # Errors
    /// [`State`](Error::State) when a result comes from another pass or another version of efface. Failures of the
    /// table. A fault of a shard itself is no error here: the requests that have rows in it fail.
    pub fn commit(&mut self, results: Vec<TaskResult>) -> Result<Vec<ShardTask>> {
        let mut wanted = Vec::with_capacity(results.len());
        for result in results {
            wanted.extend(self.wanted(result)?);
        }
        let this = &*self;
        let staged = wanted.iter().filter_map(|result| result.written.as_ref());
        let staged = staged.map(|new| new.staged.clone()).collect();
        let outcomes: Vec<(String, Result<Outcome>)> = wanted
            .into_par_iter()
            .map(|result| (result.shard.path.clone(), this.check_result(result)))
            .collect();
        self.discard_useless(staged, &outcomes);
        self.take(outcomes)
    }

    /// Removes what useless results name, except what good ones name, too.
    fn discard_useless(&self, mut staged: Vec<String>, outcomes: &[(String, Result<Outcome>)]) {
        let new = outcomes.iter().filter_map(|(_, outcome)| match outcome {
            Ok(Outcome::Swap(new)) => Some(&**new),
            _ => None,
        });
        let useful: BTreeSet<&str> = new
            .chain(&self.ready)
            .map(|ready| ready.staged.as_str())
            .collect();
        staged.retain(|staged| !useful.contains(staged.as_str()));
        // The errors of the checks are the ones to report.
        let _ignored = self.site.dataset.table.discard(&staged);
    }

    /// The result, unless it is no longer needed: then its file is removed.
    fn wanted(&self, result: TaskResult) -> Result<Option<TaskResult>> {
        let path = &result.shard.path;
        if result.format != FORMAT || result.pass != self.pass.id {
            return Err(Error::State {
                path: path.clone(),
                reason: format!(
                    "a result of pass {} and version {} was given to pass {}, which takes version {FORMAT}",
                    result.pass, result.format, self.pass.id
                ),
            });
        }
        let job = self.jobs.get(path);
        let is_current = job.is_some_and(|job| job.shard == result.shard);
        if is_current && self.outstanding.contains(path) {
            return Ok(Some(result));
        }
        if let Some(new) = result.written {
            let is_used = self.ready.iter().any(|ready| ready.staged == new.staged);
            if !is_used {
                self.site.dataset.table.discard(&[new.staged])?;
            }
        }
        Ok(None)
    }

    /// Checks a result, wherever its task ran.
    fn check_result(&self, result: TaskResult) -> Result<Outcome> {
        let table = &self.site.dataset.table;
        let path = &result.shard.path;
        let job = self.job(path)?;
        let open = || {
            let old = Shard::new(path, table.open(&job.shard)?)?;
            if old.footer.hash == job.footer_hash {
                Ok(old)
            } else {
                Err(job.shard.changed())
            }
        };
        let outcome = match result.written {
            None => open()
                .and_then(|old| self.check_nothing(job, &old))
                .map(|()| Outcome::Nothing),
            Some(new) => {
                let checked = open().and_then(|old| {
                    let staged = table.open_staged(&new.staged)?;
                    let staged = Shard::new(path, staged).map_err(doubted(path))?;
                    let checked = self.check(job, &old, &staged, &new)?;
                    self.check_cleared(job, &old, &staged)?;
                    check_hashes(&old, &staged, &new)?;
                    Ok(checked)
                });
                checked.map(|checked| self.ready(job, new, checked))
            }
        };
        match outcome {
            Err(error) if is_of_result(&error) => {
                tracing::warn!(%error, "the result of a task counts for nothing");
                Ok(Outcome::Useless(error))
            }
            outcome => outcome,
        }
    }

    /// Checks a new shard that was settled here.
    pub(super) fn examine(&self, path: &str, settled: Option<Settled>) -> Result<Outcome> {
        let table = &*self.site.dataset.table;
        let job = self.job(path)?;
        let Some(settled) = settled else {
            return Ok(Outcome::Nothing);
        };
        let (old, staged) = settled.shards();
        let new = settled.checked(table)?;
        match self.check(job, &old, &staged, &new) {
            Ok(checked) => Ok(self.ready(job, new, checked)),
            Err(error) => {
                // The error of the check is the one to report.
                let _ignored = table.discard(&[new.staged]);
                Err(error)
            }
        }
    }

    fn job(&self, path: &str) -> Result<&Job> {
        self.jobs.get(path).ok_or_else(|| Error::Internal {
            path: path.to_owned(),
            invariant: "a result has no job",
        })
    }

    /// Believes that there was nothing to do only if nothing is left to do.
    fn check_nothing(&self, job: &Job, old: &Shard) -> Result<()> {
        let failed = |reason: String| Error::CheckFailed {
            path: old.path.clone(),
            reason,
        };
        let rows = job.remove.len();
        if rows > 0 {
            return Err(failed(format!(
                "a task says that there was nothing to do, but {rows} rows were to be removed"
            )));
        }
        for (cleared, rows) in &job.clear {
            let config = &self.site.dataset.config;
            let clearing = config.clearing(old, cleared.disclosure, cleared.required_columns)?;
            if !is_clear(old, rows, &clearing)? {
                return Err(failed(
                    "a task says that there was nothing to do, but values to clear are there"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Checks that no value is left in the new shard that was to be cleared.
    fn check_cleared(&self, job: &Job, old: &Shard, new: &Shard) -> Result<()> {
        for (cleared, rows) in &job.clear {
            let config = &self.site.dataset.config;
            let clearing = config.clearing(old, cleared.disclosure, cleared.required_columns)?;
            let rows = rows - &job.remove;
            task::check_cleared(new, &job.remove, &rows, &clearing)?;
        }
        Ok(())
    }

    /// Checks that the new shard is the one that its run described, has the rows that the job leaves, and holds no
    /// row of a covered id where it differs from the old one.
    fn check(&self, job: &Job, old: &Shard, new: &Shard, described: &NewShard) -> Result<Checked> {
        let failed = |reason: String| Error::CheckFailed {
            path: old.path.clone(),
            reason,
        };
        let after = &described.after;
        if new.footer.hash != after.footer_hash || new.file.len() != after.bytes {
            return Err(failed("it is not the file that was written".to_owned()));
        }
        let before = &described.before;
        if old.footer.hash != before.footer_hash || old.file.len() != before.bytes {
            return Err(failed("it was made from another shard".to_owned()));
        }
        let expected = old.footer.rows().saturating_sub(job.remove.len());
        let (left, told) = (new.footer.rows(), described.report.rows_removed);
        if left != expected || told != job.remove.len() {
            return Err(failed(format!(
                "it has {left} rows instead of {expected}, and {told} are said to be gone"
            )));
        }
        let (changed, mut lineage) = changed_groups(old, new, job).ok_or_else(|| {
            failed("its row groups are not those of the old shard without the rows".to_owned())
        })?;
        // Row groups that share a dictionary are rebuilt together. One too many is only scanned once more.
        let rebuilt = described
            .report
            .lineage
            .iter()
            .flat_map(|told| &told.touched);
        let groups = old.footer.row_groups().len();
        let others = rebuilt.filter(|number| {
            usize::try_from(**number).is_ok_and(|number| number < groups)
                && lineage.dropped.binary_search(number).is_err()
        });
        let others: Vec<u32> = others.copied().collect();
        lineage.touched.extend(others);
        lineage.touched.sort_unstable();
        lineage.touched.dedup();
        let removing = self
            .classes
            .iter()
            .filter(|class| class.action == Action::Remove);
        for class in removing {
            let columns = self.site.dataset.config.subject_columns(new)?;
            changed.par_iter().try_for_each(|number| {
                let left = select(new, [*number], &columns, &class.wanted, None)?;
                match left.rows.len() {
                    0 => Ok(()),
                    rows => Err(failed(format!(
                        "{rows} rows to delete are still in row group {number}"
                    ))),
                }
            })?;
        }
        Ok(Checked {
            rows_left: left,
            lineage,
        })
    }

    /// A new shard that was checked.
    fn ready(&self, job: &Job, new: NewShard, checked: Checked) -> Outcome {
        let dataset = &self.site.dataset;
        let Checked { rows_left, lineage } = checked;
        let is_gone = dataset.config.empty_shards == EmptyShards::Remove
            && rows_left == 0
            && !job.remove.is_empty();
        let swap = Swap {
            path: job.shard.path.clone(),
            other_names: job.shard.other_names(),
            before: new.before.hash,
            after: (!is_gone).then_some(new.after.hash),
            of_request: job.of_request.clone(),
            of_subject: job.of_subject.clone(),
            suppressed: job.suppressed,
            report: RewriteReport {
                lineage: Some(lineage),
                ..new.report
            },
        };
        Outcome::Swap(Box::new(Ready {
            replacement: Replacement {
                old: job.shard.clone(),
                new: (!is_gone).then(|| new.staged.clone()),
            },
            staged: new.staged,
            swap,
            footer_hash: new.after.footer_hash,
        }))
    }

    /// Takes checked results, and commits what is complete. Returns the tasks that must run again.
    pub(super) fn take(
        &mut self,
        outcomes: Vec<(String, Result<Outcome>)>,
    ) -> Result<Vec<ShardTask>> {
        let done = self.take_each(outcomes);
        if done.is_err() {
            self.discard_ready();
        }
        done
    }

    /// Gives back the room of what was not committed. The error that is reported is the one that led here.
    fn discard_ready(&mut self) {
        // What other machines wrote is named by their results, and is taken in by the next commit.
        if self.pass.elsewhere {
            return;
        }
        let staged = self.ready.drain(..).map(|ready| ready.staged);
        let staged: Vec<String> = staged.collect();
        let _ignored = self.site.dataset.table.discard(&staged);
    }

    fn take_each(&mut self, outcomes: Vec<(String, Result<Outcome>)>) -> Result<Vec<ShardTask>> {
        let mut again = Vec::new();
        let mut errors: BTreeMap<String, Error> = BTreeMap::new();
        let mut unused = Vec::new();
        let mut useless: BTreeMap<String, Error> = BTreeMap::new();
        let mut ready = self.ready_paths();
        for (path, outcome) in outcomes {
            match outcome {
                Ok(Outcome::Nothing) => drop(self.outstanding.remove(&path)),
                Ok(Outcome::Useless(error)) => drop(useless.insert(path, error)),
                Ok(Outcome::Swap(new)) => {
                    // Of two results at a time the first one counts.
                    if self.outstanding.contains(&path) && ready.insert(path) {
                        self.ready.push(*new);
                    } else {
                        unused.push(new.staged);
                    }
                }
                Err(error) => drop(errors.entry(path).or_insert(error)),
            }
        }
        unused.retain(|staged| self.ready.iter().all(|ready| ready.staged != *staged));
        let discarded = self.site.dataset.table.discard(&unused);
        let mut failed = Ok(());
        for (path, error) in errors {
            // Another result of the same task may have been good. After a failure the rest is known all the same, so
            // that no file is forgotten.
            if failed.is_ok() && self.outstanding.contains(&path) && !ready.contains(&path) {
                match self.retry(&path, error) {
                    Ok(task) => again.extend(task),
                    Err(error) => failed = Err(error),
                }
            }
        }
        failed.and(discarded)?;
        for (path, error) in useless {
            if self.outstanding.contains(&path) && !ready.contains(&path) {
                again.extend(self.once_more(&path, error)?);
            }
        }
        again.extend(self.swap_complete()?);
        Ok(again)
    }

    /// Commits what is ready, as far as the table takes it: a table that changes as a whole waits for all tasks that
    /// are outstanding. Gives the tasks that are to be done again.
    pub(super) fn swap_complete(&mut self) -> Result<Vec<ShardTask>> {
        let is_complete = match self.site.dataset.table.commit_unit() {
            CommitUnit::EachShard => true,
            CommitUnit::WholeTable => self.ready.len() == self.outstanding.len(),
        };
        if !is_complete || self.ready.is_empty() {
            return Ok(Vec::new());
        }
        let done = self.swap();
        if done.is_err() {
            self.discard_ready();
        }
        done
    }

    /// The shards that wait to be swapped in.
    pub(super) fn ready_paths(&self) -> BTreeSet<String> {
        let ready = self.ready.iter();
        ready.map(|ready| ready.swap.path.clone()).collect()
    }

    /// Swaps in what is ready: announced first, then committed.
    fn swap(&mut self) -> Result<Vec<ShardTask>> {
        let dataset = &self.site.dataset;
        self.confirm()?;
        let steps: Vec<Progress> = self
            .ready
            .iter()
            .map(|ready| Progress::Swap(Box::new(ready.swap.clone())))
            .collect();
        self.log.announce(&*dataset.state, &steps)?;
        let replacements: Vec<Replacement> = self
            .ready
            .iter()
            .map(|ready| ready.replacement.clone())
            .collect();
        let table = Arc::clone(&dataset.table);
        let committed = table.commit(&self.snapshot, &replacements)?;
        let mut ready = std::mem::take(&mut self.ready);
        let removed = std::mem::take(&mut self.snapshot.summaries);
        self.summaries_removed.extend(removed);
        self.sidecars_removed.extend(committed.sidecars);
        if table.commit_unit() == CommitUnit::WholeTable && !committed.changed.is_empty() {
            // Nothing was committed: the others wait for those that must run again.
            let mut changed = Vec::new();
            for place in committed.changed.iter().rev() {
                if *place < ready.len() {
                    changed.push(ready.swap_remove(*place));
                }
            }
            self.ready = ready;
            return self.again_all(changed);
        }
        let mut changed = Vec::new();
        let mut unused = Vec::new();
        for (place, ready) in ready.into_iter().enumerate() {
            if committed.changed.contains(&place) {
                changed.push(ready);
                continue;
            }
            if ready.replacement.new.is_none() {
                unused.push(ready.staged);
            }
            let path = &ready.swap.path;
            if let Some(footer_hash) = self.checked.shards.get_mut(path) {
                *footer_hash = ready.footer_hash;
            }
            self.outstanding.remove(path);
            self.swaps.push(ready.swap);
        }
        table.discard(&unused)?;
        self.again_all(changed)
    }

    fn again_all(&mut self, changed: Vec<Ready>) -> Result<Vec<ShardTask>> {
        let staged: Vec<String> = changed.iter().map(|ready| ready.staged.clone()).collect();
        self.site.dataset.table.discard(&staged)?;
        let mut again = Vec::new();
        for ready in changed {
            let path = ready.swap.path;
            match self.again(&path) {
                Ok(task) => again.extend(task),
                Err(error) => self.fail(&path, error)?,
            }
        }
        Ok(again)
    }

    /// The task that follows `error`: the same shard again, from its new content, or none.
    pub(super) fn retry(&mut self, path: &str, error: Error) -> Result<Option<ShardTask>> {
        match error {
            Error::ShardChanged { .. } => match self.again(path) {
                Ok(task) => Ok(task),
                Err(error) => self.fail(path, error).map(|()| None),
            },
            error => self.fail(path, error).map(|()| None),
        }
    }

    /// What is to be done after a result that was of no use: the same once more, unless that was tried too often.
    fn once_more(&mut self, path: &str, error: Error) -> Result<Option<ShardTask>> {
        if self.is_tried_too_often(path) {
            return self.fail(path, error).map(|()| None);
        }
        Ok(self.jobs.get(path).map(|job| self.task(job)))
    }

    fn is_tried_too_often(&mut self, path: &str) -> bool {
        let attempt = self.attempts.entry(path.to_owned()).or_default();
        *attempt += 1;
        *attempt > ATTEMPTS_MAX
    }

    /// What is to be done with a shard that another process replaced.
    fn again(&mut self, path: &str) -> Result<Option<ShardTask>> {
        if self.is_tried_too_often(path) {
            return Err(Error::ShardChanged {
                path: path.to_owned(),
            });
        }
        let dataset = &self.site.dataset;
        let Some(now) = dataset.table.find(path)? else {
            // Its rows went with it.
            self.jobs.remove(path);
            self.outstanding.remove(path);
            return Ok(None);
        };
        let shard = dataset.open(&now)?;
        dataset.check_replaceable(&*dataset.table, &now)?;
        let mut job = Job::new(now, shard.footer.hash, shard.footer.rows());
        for class in &self.classes {
            let all = (0..).take(shard.footer.row_groups().len()).collect();
            let found = search::in_shard(dataset, &shard, all, &class.wanted, None)?;
            let counts = found.of_subject.iter().copied().enumerate();
            let counts: Vec<(usize, u64)> = counts.filter(|(_, rows)| *rows > 0).collect();
            if !found.rows.is_empty() {
                class.add_to(&mut job, found.rows, &counts);
            }
        }
        super::suppressing::suppress_in(
            &self.site,
            (&self.suppression, &mut self.checked),
            &shard,
            &mut job,
        )?;
        if job.is_empty() {
            self.jobs.remove(path);
            self.outstanding.remove(path);
            return Ok(None);
        }
        let task = self.task(&job);
        self.jobs.insert(path.to_owned(), job);
        Ok(Some(task))
    }
}

/// What was found when a new shard was checked.
struct Checked {
    rows_left: u64,
    lineage: Lineage,
}

/// Checks the hashes that the receipt will tell.
fn check_hashes(old: &Shard, new: &Shard, described: &NewShard) -> Result<()> {
    for (shard, told) in [(old, &described.before), (new, &described.after)] {
        let hash = readback::hash(&*shard.file).map_err(Error::io("read", &shard.path))?;
        if hash != told.hash {
            return Err(Error::CheckFailed {
                path: shard.path.clone(),
                reason: "it has not the hash that its run described".to_owned(),
            });
        }
    }
    Ok(())
}

/// Whether an error says that a result is of no use, and nothing of the old shard or the table.
fn is_of_result(error: &Error) -> bool {
    match error {
        Error::CheckFailed { .. } | Error::State { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The row groups of `new` whose rows the job changed, and which ones of `old` these are, or `None` if its row groups
/// are not those of `old` without the rows that the job removes.
fn changed_groups(old: &Shard, new: &Shard, job: &Job) -> Option<(Vec<u32>, Lineage)> {
    let all_touched = job.rows();
    let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    let count = |rows: &RoaringBitmap, start: u64, end: u64| {
        if start == end {
            0
        } else {
            rows.range_cardinality(row(start)..=row(end - 1))
        }
    };
    let mut left = (0_u32..).zip(new.footer.row_groups());
    let (mut changed, mut touched, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = 0;
    for (number, group) in (0_u32..).zip(old.footer.row_groups()) {
        let end = start + group.rows;
        let removed = count(&job.remove, start, end);
        let is_touched = count(&all_touched, start, end) > 0;
        start = end;
        if is_touched && removed == group.rows {
            dropped.push(number);
            continue;
        }
        let (number_in_new, of_new) = left.next()?;
        if of_new.rows != group.rows - removed {
            return None;
        }
        if is_touched {
            touched.push(number);
            changed.push(number_in_new);
        }
    }
    let lineage = Lineage {
        old_footer_hash: old.footer.hash,
        footer_hash: new.footer.hash,
        touched,
        dropped,
    };
    left.next().is_none().then_some((changed, lineage))
}
