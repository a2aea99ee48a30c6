//! How a pass begins: with all requests that wait, with one request, or where a run that died left it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::batch::check_room;
use super::class::{Action, Job, Member};
use super::published::{self, HandedIn};
use super::round::Round;
use super::running::{Compaction, Start};
use super::staging::{Staged, Staging, unreadable};
use super::{CompactOptions, Purpose, Site};
use crate::error::{Error, ErrorKind, PassFault, Result};
use crate::pass::{Pass, Progress, ProgressLog, Stage, Swap};
use crate::plan::Plan;
use crate::queue::{Entry, Held, Queue};
use crate::receipts::Receipts;
use crate::shard::readback;
use crate::state::Lease;
use crate::suppression::{Checked, Suppression};
use crate::table::Snapshot;
use crate::tracking::TrackingId;

/// A pass that is being planned. Nothing of the dataset was touched for it, unless it is resumed.
struct Planning {
    site: Site,
    options: CompactOptions,
    pass: Pass,
    snapshot: Snapshot,
    members: Vec<Member>,
    suppression: Suppression,
    checked: Checked,
    lease: Box<dyn Lease>,
}

/// How a pass is planned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A request that can't be carried out is refused, and the others go on.
    Each,
    /// The pass is that of one request: the first thing that is wrong is an error.
    Strict,
    /// The pass was started before: its requests were checked then.
    Resumed,
}

impl Compaction {
    /// The pass that was started and not finished, if there is one. One that was not started is dropped. What other
    /// machines did for it is committed.
    pub(crate) fn unfinished(
        site: Site,
        options: &CompactOptions,
        purpose: Purpose,
    ) -> Result<Option<Self>> {
        options.check()?;
        if !Pass::has_files(&*site.dataset.state)? {
            return Ok(None);
        }
        let (lease, mut snapshot) = site.open()?;
        let state = &*site.dataset.state;
        let queue = site.queue();
        // The lease is held now: it is as whoever had it before left it.
        let is_open = |pass: &Pass| match pass.stage {
            Stage::Staging => Ok(false),
            Stage::Started => Receipts::new(state).has_pass(pass.id).map(|ended| !ended),
        };
        let mut pass = match Pass::load(state)? {
            Some(pass) if is_open(&pass)? => pass,
            _ => {
                site.discard(&mut snapshot)?;
                // Under its lease the queue has no request that has ended.
                let _queue_lease = queue.lease()?;
                Pass::remove(state)?;
                return Ok(None);
            }
        };
        let handed_in = if pass.elsewhere {
            published::results(state)?
        } else {
            Vec::new()
        };
        match purpose {
            Purpose::HandOut if pass.elsewhere => return Err(PassFault::Open.of(pass.id)),
            Purpose::TakeIn(id) if id != pass.id || !pass.elsewhere => {
                let open = pass.elsewhere.then_some(pass.id);
                return Err(PassFault::NotOpen { open }.of(id));
            }
            // Tasks may be running just now: what they stage goes when the pass ends.
            Purpose::TakeIn(_) => snapshot.leftovers.clear(),
            Purpose::RunHere | Purpose::HandOut => {
                let kept: BTreeSet<&str> = handed_in.iter().filter_map(HandedIn::staged).collect();
                let leftovers = &mut snapshot.leftovers;
                leftovers.retain(|name| !kept.contains(name.as_str()));
                site.discard(&mut snapshot)?;
            }
        }
        let mut options = options.clone();
        options.zstd_level = pass.zstd_level.unwrap_or(options.zstd_level);
        pass.trouble = None;
        let mut members = Vec::new();
        let mut kept = Vec::new();
        for (id, planned) in pass.requests.iter().zip(pass.planned) {
            // A request that isn't there was not yet durable when the pass was cut off: nothing was done.
            if let Some(entry) = queue.entry(*id)? {
                let mut before = queue.held(*id)?;
                if let Some(held) = &mut before {
                    // Its progress says what this pass did.
                    held.done.retain(|part| part.pass != pass.id);
                }
                members.push(Member {
                    planned,
                    ..Member::new(entry, before)
                });
                kept.push(*id);
            }
        }
        pass.planned = Vec::new();
        if members.is_empty() && !pass.requests.is_empty() {
            Pass::remove(state)?;
            return Ok(None);
        }
        pass.requests = kept;
        tracing::info!(pass = %pass.id, "an unfinished pass is carried on");
        let site = match pass.config.clone() {
            Some(config) => {
                let config = config.carried_into(&site.dataset.config);
                site.with_config(config)
            }
            None => site,
        }
        .with_key(pass.key)?;
        let progress = ProgressLog::read(&*site.dataset.state, pass.id)?;
        let announced: Vec<String> = progress
            .iter()
            .filter_map(|step| match step {
                Progress::Swap(swap) => Some(swap.path.clone()),
                Progress::AliasRows(_) => None,
            })
            .collect();
        site.dataset.table.recover(&snapshot, &announced)?;
        // Alias rows go when all events of the requests that end are done.
        let is_aliases = |step: &Progress| matches!(step, Progress::AliasRows(_));
        let are_events_done = progress.iter().any(is_aliases);
        let mut planning = Planning::new(site, options, pass, snapshot, members, lease)?;
        let (swaps, alias_rows) = planning.take_up(progress)?;
        let staged = planning.plan(&mut |_| Ok(()), Manner::Resumed)?;
        for member in &mut planning.members {
            let is_new = |before: &Held| before.reason.is_none();
            if are_events_done && member.before.as_ref().is_none_or(is_new) {
                // The shard that can't be read came later, or was done.
                member.trouble = None;
            }
        }
        let mut this = planning.start(staged, purpose)?;
        this.swaps = swaps;
        this.alias_rows = alias_rows;
        this.take_in(handed_in)?;
        if this.pass.elsewhere && purpose == Purpose::RunHere {
            this.check_room()?;
        }
        Ok(Some(this))
    }

    /// Of what waits and was not yet tried in this round, the next requests that were decided under one configuration,
    /// planned and started; `None` when nothing is left. What could not be started is in the round.
    pub(crate) fn of_pending(
        site: &Site,
        options: &CompactOptions,
        round: &mut Round,
        purpose: Purpose,
    ) -> Result<Option<Self>> {
        loop {
            match Self::next_group(site, options, round, purpose)? {
                Next::Started(started) => return Ok(Some(*started)),
                Next::PutOff => {}
                Next::NoneLeft => return Ok(None),
            }
        }
    }

    fn next_group(
        site: &Site,
        options: &CompactOptions,
        round: &mut Round,
        purpose: Purpose,
    ) -> Result<Next> {
        let (lease, mut snapshot) = site.open_new()?;
        let state = &*site.dataset.state;
        let queue = site.queue();
        let (group, pass) = {
            let _queue_lease = queue.lease()?;
            let Some(group) = round.next(site, options)? else {
                return Ok(Next::NoneLeft);
            };
            let requests = group.members.iter();
            let requests = requests.map(|member| member.entry.tracking_id).collect();
            let decided = group.site.decided(&group.options);
            let pass = Pass::staging(group.pass, requests, options.now, decided);
            pass.store(state)?;
            (group, pass)
        };
        // The alias table is no shard, but another one may be.
        if group.site.dataset.config.aliases != site.dataset.config.aliases {
            snapshot = group.site.dataset.snapshot()?;
        }
        let suppression = if group.suppresses {
            Suppression::load(state, &site.key)?
        } else {
            Suppression::default()
        };
        let mut planning = Planning {
            checked: Checked::load(state, &suppression, &group.site.dataset.config)?,
            suppression,
            site: group.site,
            options: group.options,
            pass,
            snapshot,
            members: group.members,
            lease,
        };
        loop {
            let staged = match planning.plan(&mut |_| Ok(()), Manner::Each) {
                Ok(staged) => staged,
                Err(error) => {
                    // The error says why; a record that stays is dropped by the next run.
                    let _ignored = Pass::remove(state);
                    if !is_of_group(&error) || planning.members.is_empty() {
                        return Err(error);
                    }
                    let _queue_lease = queue.lease()?;
                    planning.members.iter_mut().for_each(|member| {
                        member.hold(&error);
                        member.is_put_off = true;
                    });
                    round.put_off(&queue, planning.members, options.now)?;
                    round.failed(error);
                    return Ok(Next::PutOff);
                }
            };
            let _queue_lease = queue.lease()?;
            let waiting = queue.waiting_ids()?;
            let before = planning.members.len();
            planning
                .members
                .retain(|member| waiting.contains(&member.entry.tracking_id));
            let (put_off, live): (Vec<Member>, Vec<Member>) = planning
                .members
                .into_iter()
                .partition(|member| member.is_put_off);
            planning.members = live;
            round.put_off(&queue, put_off, options.now)?;
            if planning.members.is_empty() && staged.jobs.is_empty() {
                Pass::remove(state)?;
                planning.store_checked(&staged.failed)?;
                round.shards_failed(staged.failed);
                return Ok(Next::PutOff);
            }
            if planning.members.len() == before {
                planning.keep_covered(&queue)?;
                let started = planning.start(staged, purpose)?;
                return Ok(Next::Started(Box::new(started)));
            }
            // Some were cancelled in the meantime, or can't be judged: planned again without them.
            let again = planning.members.into_iter();
            planning.members = again
                .map(|member| Member::new(member.entry, member.before))
                .collect();
        }
    }

    /// One request, planned and started; `expected_digest` is what the caller agreed to. `None` if a queued request
    /// was cancelled in the meantime.
    pub(crate) fn of_one(
        site: Site,
        options: CompactOptions,
        one: &One,
        expected_digest: Option<&str>,
    ) -> Result<Option<Self>> {
        let (lease, snapshot) = site.open_new()?;
        let (One::New(entry) | One::Waiting(entry)) = one;
        let requests = vec![entry.tracking_id];
        let mut options = options;
        let before = site.queue().held(entry.tracking_id)?;
        if let Some(part) = before.as_ref().and_then(|held| held.done.last()) {
            options.zstd_level = part.zstd_level;
        }
        let decided = site.decided(&options);
        let pass = Pass::staging(entry.tracking_id, requests, options.now, decided);
        let members = vec![Member::new(entry.clone(), before)];
        let mut planning = Planning::new(site, options, pass, snapshot, members, lease)?;
        let mut agreed = |plan: &Plan| match expected_digest {
            Some(expected) if expected != plan.digest => Err(Error::PlanChanged {
                expected: expected.to_owned(),
                found: plan.digest.clone(),
            }),
            _ => Ok(()),
        };
        let staged = planning.plan(&mut agreed, Manner::Strict)?;
        let queue = planning.site.queue();
        let _queue_lease = queue.lease()?;
        match one {
            One::Waiting(entry) if queue.entry(entry.tracking_id)?.is_none() => return Ok(None),
            One::Waiting(_) => {}
            One::New(entry) => queue.check_is_new(entry.tracking_id)?,
        }
        if let One::Waiting(_) = one {
            planning.keep_covered(&queue)?;
        }
        let this = planning.start(staged, Purpose::RunHere)?;
        if let One::New(entry) = one {
            // Nothing of the dataset is touched before the request, too, is durable.
            queue.enter(entry)?;
            queue.hint(entry)?;
            queue.hold(covered(&this.members))?;
        }
        Ok(Some(this))
    }
}

/// What requests cover beyond their own ids, where that isn't written down yet.
fn covered(members: &[Member]) -> Vec<(TrackingId, Held)> {
    let covered = members.iter().filter(|member| member.is_live());
    let covered = covered.filter_map(|member| {
        let ids = member.expansion.ids.len();
        let known = match &member.before {
            Some(before) => before.covered.ids.len(),
            None => member.entry.request.subjects.len(),
        };
        let covered = member.expansion.clone();
        let held = match member.before.clone() {
            Some(mut held) => {
                held.covered = covered;
                held
            }
            None => Held::new(None, covered),
        };
        (ids > known).then_some((member.entry.tracking_id, held))
    });
    covered.collect()
}

/// Whether what kept a group from being planned may keep only that group: its roles or its alias table. What is wrong
/// with the machine is wrong for all.
fn is_of_group(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Damaged | ErrorKind::Unsupported | ErrorKind::Usage
    ) || unreadable(error).is_some()
        || matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// What came of planning the next requests.
enum Next {
    /// They were planned and started.
    Started(Box<Compaction>),
    /// None of them could be started: the round knows why.
    PutOff,
    /// There are none.
    NoneLeft,
}

/// A request that is carried out on its own.
pub(crate) enum One {
    /// It is new: it was never in the queue.
    New(Entry),
    /// It waits in the queue.
    Waiting(Entry),
}

impl Planning {
    fn new(
        site: Site,
        options: CompactOptions,
        pass: Pass,
        snapshot: Snapshot,
        members: Vec<Member>,
        lease: Box<dyn Lease>,
    ) -> Result<Self> {
        let state = &*site.dataset.state;
        // A delete at once leaves rows of suppressed ids to a compaction, also when it is resumed: its pass has the
        // id of its request, so a receipt for these rows would be a second one for that request.
        let nobody = Suppression::default();
        let suppression = if pass.requests.contains(&pass.id) {
            nobody
        } else {
            let list = Suppression::load(state, &site.key)?;
            // What came on the list since is for the next pass, which is guarded.
            let planned = pass.suppression.as_ref();
            if planned.is_none_or(|planned| *planned == list.fingerprint()) {
                list
            } else {
                nobody
            }
        };
        Ok(Self {
            checked: Checked::load(state, &suppression, &site.dataset.config)?,
            suppression,
            site,
            options,
            pass,
            snapshot,
            members,
            lease,
        })
    }

    /// The work of earlier runs of the pass, as far as the shards show it: the swaps, and the rows that the alias
    /// table lost.
    fn take_up(&self, progress: Vec<Progress>) -> Result<(Vec<Swap>, u64)> {
        let table = &*self.site.dataset.table;
        let mut alias_rows = 0;
        let mut swaps: BTreeMap<String, Vec<Swap>> = BTreeMap::new();
        for step in progress {
            match step {
                Progress::Swap(swap) => swaps.entry(swap.path.clone()).or_default().push(*swap),
                Progress::AliasRows(rows) => alias_rows = rows.max(alias_rows),
            }
        }
        let mut done = Vec::new();
        for (path, announced) in swaps {
            let hash = || {
                let Some(shard) = table.find(&path)? else {
                    return Ok(None);
                };
                let file = table.open(&shard)?;
                let hash = readback::hash(&*file).map_err(Error::io("read", &path))?;
                Ok(Some(hash))
            };
            let now = match hash() {
                // Whether it was swapped can't be told. Its requests are held, since it can't be planned either.
                Err(error) if unreadable(&error).is_some() => {
                    tracing::warn!(%path, %error, "whether this shard was rewritten before can't be told");
                    continue;
                }
                now => now?,
            };
            // A later swap is announced only after the earlier one was given up.
            done.extend(announced.into_iter().rev().find(|swap| swap.after == now));
        }
        Ok((done, alias_rows))
    }

    /// Plans the requests, and adds the rows of suppressed ids.
    fn plan(
        &mut self,
        agreed: &mut dyn FnMut(&Plan) -> Result<()>,
        manner: Manner,
    ) -> Result<Staged> {
        let is_resumed = manner == Manner::Resumed;
        let aliases = self.site.dataset.config.alias_table();
        let removes = |member: &Member| member.action() == Action::Remove;
        if let Some(table) = aliases.filter(|_| self.members.iter().any(removes))
            && let Ok(file) = self.site.dataset.open_aliases(&table)
        {
            file.snapshot.check_changeable()?;
            let dataset = &self.site.dataset;
            dataset.check_replaceable(&*file.files, &file.shard)?;
            if !is_resumed {
                self.pass.alias_other_names = file.shard.other_names();
            }
        }
        // Planned again, it meets again what can't be read.
        let mut snapshot = self.snapshot.clone();
        let mut staging = Staging {
            dataset: &self.site.dataset,
            upkeep: self.site.upkeep(),
            is_strict: manner == Manner::Strict,
            is_resumed,
            snapshot: &mut snapshot,
            failed: BTreeMap::new(),
        };
        let mut staged = staging.stage(&mut self.members, agreed)?;
        self.plan_suppression(&snapshot, &mut staged, is_resumed)?;
        Ok(staged)
    }

    fn plan_suppression(
        &mut self,
        snapshot: &Snapshot,
        staged: &mut Staged,
        is_resumed: bool,
    ) -> Result<()> {
        let max_match = (!is_resumed).then_some(self.options.max_match);
        super::suppressing::add_suppressed(
            &self.site,
            (&self.suppression, &mut self.checked),
            &snapshot.shards,
            staged,
            max_match,
        )
    }

    /// Writes down what the requests cover: the links that lead there may be gone when the pass is carried on. The caller
    /// holds the queue's lease.
    fn keep_covered(&self, queue: &Queue) -> Result<()> {
        queue.hold(covered(&self.members))
    }

    fn store_checked(&mut self, failed: &BTreeMap<String, Error>) -> Result<()> {
        if self.suppression.is_empty() {
            return Ok(());
        }
        let shards = &mut self.checked.shards;
        shards.retain(|path, _| !failed.contains_key(path));
        self.checked.store(&*self.site.dataset.state)
    }

    /// The point of no return: what is planned is written down.
    fn start(mut self, staged: Staged, purpose: Purpose) -> Result<Compaction> {
        // What other machines wrote already needs no room.
        if !self.pass.elsewhere {
            let jobs: Vec<&Job> = staged.jobs.values().collect();
            let memory = (purpose == Purpose::RunHere).then_some(self.site.memory);
            check_room(&*self.site.dataset.table, &jobs, memory)?;
        }
        let members = self.members.iter();
        self.pass.requests = members.map(|member| member.entry.tracking_id).collect();
        let members = self.members.iter();
        self.pass.planned = members.map(|member| member.planned.clone()).collect();
        self.pass.stage = Stage::Started;
        let list = self.suppression.fingerprint();
        self.pass.suppression.get_or_insert(list);
        self.pass.store(&*self.site.dataset.state)?;
        let log = ProgressLog::begin(&*self.site.dataset.state, self.pass.id)?;
        Ok(Compaction::started(Start {
            site: self.site,
            options: self.options,
            pass: self.pass,
            snapshot: self.snapshot,
            members: self.members,
            suppression: self.suppression,
            checked: self.checked,
            staged,
            log,
            lease: self.lease,
        }))
    }
}
