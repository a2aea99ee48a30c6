//! Checking what came of tasks, and swapping new shards in.
//!
//! # Invariants
//! * No figure of a task's run is believed that can be checked: the rows that are left, and the row groups in which no
//!   row of a covered id may be left, follow from the job and the two footers.
//! * A result counts once. A second one, one of another version of the shard, and one that lost its file change
//!   nothing.

use std::io;
use std::sync::Arc;

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::class::{Action, Job};
use super::ready::{Outcome, Ready};
use super::running::Compaction;
use super::task::{FORMAT, NewShard, Settled, ShardTask, TaskResult, doubted};
use crate::config::EmptyShards;
use crate::error::{Error, Result};
use crate::find::search;
use crate::pass::{Progress, Swap};
use crate::shard::Shard;
use crate::shard::rewrite::is_clear;
use crate::shard::select::select;
use crate::table::{CommitUnit, Replacement};

/// How often a shard that other processes keep replacing is tried.
const ATTEMPTS_MAX: u32 = 5;

impl Compaction {
    /// Checks what came of tasks that were run here or elsewhere, and swaps the new shards in, all of them with as
    /// few syncs as one. Where another process has replaced an old shard in the meantime, its task is to be done
    /// again, from the new content, and so is one whose new shard is gone: those are the tasks that this gives.
    ///
    /// A result that was committed before, or is of an earlier version of a shard, changes nothing. A table that
    /// changes as a whole does so with the last result.
    ///
    /// # Errors
    /// [`State`](Error::State) when a result is of another pass or of another version of efface. Failures of the
    /// table. What is wrong with a shard itself fails the requests that have rows in it.
    pub fn commit(&mut self, results: Vec<TaskResult>) -> Result<Vec<ShardTask>> {
        let mut outcomes = Vec::with_capacity(results.len());
        for result in results {
            let path = result.shard.path.clone();
            if let Some(result) = self.wanted(result)? {
                outcomes.push((path, self.check_result(result)));
            }
        }
        self.take(outcomes)
    }

    /// The result, unless it is of no use any more: then its file is removed.
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

    /// Checks a result from wherever it comes.
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
        let Some(new) = result.written else {
            self.check_nothing(job, &open()?)?;
            return Ok(Outcome::Nothing);
        };
        let file = match table.open_staged(&new.staged) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Outcome::Lost);
            }
            opened => opened?,
        };
        let checked = open().and_then(|old| {
            let staged = Shard::new(path, file).map_err(doubted(path))?;
            self.check(job, &old, &staged, &new)
        });
        self.ready(job, new, checked)
    }

    /// Checks what was settled here.
    pub(super) fn examine(&self, path: &str, settled: Option<Settled>) -> Result<Outcome> {
        let table = &*self.site.dataset.table;
        let job = self.job(path)?;
        let Some(settled) = settled else {
            return Ok(Outcome::Nothing);
        };
        let (old, staged) = settled.shards();
        let new = settled.checked(table)?;
        let checked = self.check(job, &old, &staged, &new);
        self.ready(job, new, checked)
    }

    fn job(&self, path: &str) -> Result<&Job> {
        self.jobs.get(path).ok_or_else(|| Error::Internal {
            path: path.to_owned(),
            invariant: "a result has no job",
        })
    }

    /// That there was nothing to do is believed only where nothing is left to do.
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

    /// Checks that the new shard is the one that its run described, has the rows that the job leaves, and holds no
    /// row of a covered id where it differs from the old one. Gives its rows.
    fn check(&self, job: &Job, old: &Shard, new: &Shard, described: &NewShard) -> Result<u64> {
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
        let changed = changed_groups(old, new, job).ok_or_else(|| {
            failed("its row groups are not those of the old shard without the rows".to_owned())
        })?;
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
        Ok(left)
    }

    /// A new shard that was checked; one that failed its check is removed.
    fn ready(&self, job: &Job, new: NewShard, rows_left: Result<u64>) -> Result<Outcome> {
        let dataset = &self.site.dataset;
        let rows_left = rows_left.inspect_err(|_| {
            // The error of the check is the one to report.
            let _ignored = dataset.table.discard(std::slice::from_ref(&new.staged));
        })?;
        let is_gone = dataset.config.empty_shards == EmptyShards::Remove
            && rows_left == 0
            && !job.remove.is_empty();
        let swap = Swap {
            path: job.shard.path.clone(),
            before: new.before.hash,
            after: (!is_gone).then_some(new.after.hash),
            of_request: job.of_request.clone(),
            of_subject: job.of_subject.clone(),
            suppressed: job.suppressed,
            report: new.report,
        };
        Ok(Outcome::Swap(Box::new(Ready {
            replacement: Replacement {
                old: job.shard.clone(),
                new: (!is_gone).then(|| new.staged.clone()),
            },
            staged: new.staged,
            swap,
            footer_hash: new.after.footer_hash,
        })))
    }

    /// Takes what came of tasks, and commits what is complete. Gives the tasks that are to be done again.
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
        let staged = self.ready.drain(..).map(|ready| ready.staged);
        let staged: Vec<String> = staged.collect();
        let _ignored = self.site.dataset.table.discard(&staged);
    }

    fn take_each(&mut self, outcomes: Vec<(String, Result<Outcome>)>) -> Result<Vec<ShardTask>> {
        let mut again = Vec::new();
        let mut unused = Vec::new();
        let mut failed = Ok(());
        for (path, outcome) in outcomes {
            match outcome {
                Ok(Outcome::Nothing) => drop(self.outstanding.remove(&path)),
                Ok(Outcome::Lost) => again.extend(self.jobs.get(&path).map(|job| self.task(job))),
                Ok(Outcome::Swap(ready)) => {
                    // Of two results at a time the first one counts.
                    if self.ready.iter().any(|ready| ready.swap.path == path) {
                        unused.push(ready.staged);
                    } else {
                        self.ready.push(*ready);
                    }
                }
                // The others are known all the same, so that none of their files is forgotten.
                Err(error) if failed.is_ok() => match self.retry(&path, error) {
                    Ok(task) => again.extend(task),
                    Err(error) => failed = Err(error),
                },
                Err(_) => {}
            }
        }
        let discarded = self.site.dataset.table.discard(&unused);
        failed.and(discarded)?;
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
        if table.commit_unit() == CommitUnit::WholeTable && !committed.changed.is_empty() {
            // Nothing was committed: the others wait for those that are done again.
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

    /// What is to be done after `error`: the same shard again, from its new content, or nothing.
    pub(super) fn retry(&mut self, path: &str, error: Error) -> Result<Option<ShardTask>> {
        match error {
            Error::ShardChanged { .. } => match self.again(path) {
                Ok(task) => Ok(task),
                Err(error) => self.fail(path, error).map(|()| None),
            },
            error => self.fail(path, error).map(|()| None),
        }
    }

    /// What is to be done with a shard that another process replaced.
    fn again(&mut self, path: &str) -> Result<Option<ShardTask>> {
        let attempt = self.attempts.entry(path.to_owned()).or_default();
        *attempt += 1;
        if *attempt > ATTEMPTS_MAX {
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
        let mut job = Job::new(now, shard.footer.hash);
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

/// The row groups of `new` whose rows the job changed, or `None` if its row groups are not those of `old` without the
/// rows that the job removes.
fn changed_groups(old: &Shard, new: &Shard, job: &Job) -> Option<Vec<u32>> {
    let touched = job.rows();
    let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    let count = |rows: &RoaringBitmap, start: u64, end: u64| {
        if start == end {
            0
        } else {
            rows.range_cardinality(row(start)..=row(end - 1))
        }
    };
    let mut left = (0_u32..).zip(new.footer.row_groups());
    let mut changed = Vec::new();
    let mut start = 0;
    for group in old.footer.row_groups() {
        let end = start + group.rows;
        let removed = count(&job.remove, start, end);
        let is_touched = count(&touched, start, end) > 0;
        start = end;
        if is_touched && removed == group.rows {
            continue;
        }
        let (number, of_new) = left.next()?;
        if of_new.rows != group.rows - removed {
            return None;
        }
        if is_touched {
            changed.push(number);
        }
    }
    left.next().is_none().then_some(changed)
}
