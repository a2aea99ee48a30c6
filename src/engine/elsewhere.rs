//! Passes whose tasks are run on other machines.

use super::Engine;
use crate::erase::task::TaskResult;
use crate::erase::{self, CompactOptions, Compaction, PassEnd, Published, Purpose};
use crate::error::{Error, PassFault, Result};
use crate::pass::Pass;
use crate::receipts::Receipts;
use crate::tracking::TrackingId;

impl Engine {
    /// Plans and starts a pass (of what an interrupted run left unfinished, if there is that, else of all requests
    /// that wait) and writes its tasks into the state, numbered from 1, to be run by whoever opens the dataset;
    /// `None` when nothing waits.
    ///
    /// ```text
    ///   publish_tasks ─> run_numbered_task, each number at least once, anywhere ─> commit_pass
    /// ```
    /// From then on the open pass is the lock, and this process can end. [`compact`](Self::compact) and
    /// [`delete`](Self::delete) take such a pass up: they commit what was done and do the rest.
    ///
    /// # Errors
    /// [`PassFault::Open`] when there is such a pass. As [`begin`](Self::begin), and
    /// [`NoRoom`](Error::NoRoom) when there is no room for all new shards at once.
    pub fn publish_tasks(&self, options: &CompactOptions) -> Result<Option<Published>> {
        let site = self.site(self.key()?);
        let begun = erase::begin(&site, options, Purpose::HandOut)?;
        begun.map(Compaction::hand_out).transpose()
    }

    /// Runs a task of a pass by its number and writes what came of it into the state. Any number of runs of one task,
    /// also at a time, are in nobody's way. What the task says counts, not the configuration of this engine.
    ///
    /// # Errors
    /// [`PassFault::NotOpen`] when the pass is not open (any more), [`PassFault::NoSuchTask`], those of
    /// [`run_task`](Self::run_task), and failures of the state. Nothing of the dataset has changed then.
    pub fn run_numbered_task(&self, pass: TrackingId, number: u32) -> Result<TaskResult> {
        erase::run_numbered(&self.dataset, pass, number)
    }

    /// Checks and commits all results of a pass, and ends it if no task is outstanding.
    ///
    /// # Errors
    /// [`PassFault::Outstanding`] with the numbers of the tasks that are to be run yet: the results
    /// that were there are committed (where the table takes each shard for itself), and new tasks are written for
    /// shards that changed meanwhile. [`PassFault::NotOpen`] when there is no such pass and no receipt of one. As
    /// [`compact`](Self::compact); the pass can be committed again then.
    pub fn commit_pass(&self, pass: TrackingId, options: &CompactOptions) -> Result<PassEnd> {
        let state = &*self.dataset.state;
        let open = Pass::load(state)?.filter(|pass| pass.elsewhere);
        let open = open.map(|pass| pass.id);
        if open == Some(pass) {
            let site = self.site(self.key()?);
            let purpose = Purpose::TakeIn(pass);
            match Compaction::unfinished(site, options, purpose) {
                Ok(Some(taken_up)) => {
                    return taken_up.end_or_tell().map(Box::new).map(PassEnd::Now);
                }
                // Somebody ended it before the lease was taken.
                Ok(None)
                | Err(Error::Pass {
                    fault: PassFault::NotOpen { .. },
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        let receipts = Receipts::new(state).of_pass(pass)?;
        if receipts.is_empty() {
            return Err(PassFault::NotOpen { open }.of(pass));
        }
        Ok(PassEnd::Before(receipts))
    }
}
