//! Planning a pass: which requests can be carried out, and which rows of which shards are theirs.
//!
//! ```text
//!   requests ── identity graph ──> classes (all that do the same to their rows are one) ── plan::search ──> jobs
//!        ^                                                                                     │
//!        └── again without those that are refused: unknown ids, too many rows; and without shards that can't be read ┘
//! ```
//!
//! # Invariants
//! * What is wrong with a request refuses it, whole, and before anything is touched.
//! * What is wrong with the dataset never ends a request. If a shard can't be read or replaced, the requests that have
//!   or could have rows in it are carried out in the other shards, and held: all except those for which the index, built
//!   while the shard was as it is now, nominates no row group of it. A request whose guards can't be judged without that
//!   shard is put off whole.

use std::collections::BTreeMap;
use std::io;

use super::class::{Class, Count, Job, Member, classes, merge, share_found};
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, FormatError, PlaceFault, Result};
use crate::find::search::{self, Knowledge};
use crate::find::upkeep::{Upkeep, is_damage};
use crate::identity::Expansion;
use crate::index::Index;

use crate::plan::{Plan, check_match};
use crate::request::{Request, Unknown};
use crate::subject::{Form, SubjectHash, SubjectId};
use crate::table::{ShardRef, Snapshot};

/// Plans a pass.
pub(super) struct Staging<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) upkeep: Upkeep<'a>,
    /// The first fault is an error: the pass has one request.
    pub(super) is_strict: bool,
    /// The pass was started before: its requests were checked then.
    pub(super) is_resumed: bool,
    pub(super) snapshot: &'a mut Snapshot,
    /// Shards that can't be read, with the reason.
    pub(super) failed: BTreeMap<String, Error>,
}

/// The plan of a pass.
pub(super) struct Staged {
    /// The requests that are carried out.
    pub(super) classes: Vec<Class>,
    /// The jobs, by path.
    pub(super) jobs: BTreeMap<String, Job>,
    /// Shards that can't be read, with the reason.
    pub(super) failed: BTreeMap<String, Error>,
}

impl Staging<'_> {
    /// Plans `members`: writes into each what was found, or why it is refused, and returns the classes and jobs of
    /// the others.
    ///
    /// # Errors
    /// A fault that concerns the whole pass; if it is strict, any fault.
    pub(super) fn stage(
        &mut self,
        members: &mut [Member],
        mut agreed: impl FnMut(&Plan) -> Result<()>,
    ) -> Result<Staged> {
        let graph = self.dataset.identities()?;
        for member in members.iter_mut() {
            let request = &member.entry.request;
            let expanded = graph.expand(&request.subjects, request.identity, request.identity_cap);
            // Links that led to more ids may be gone by now.
            let covered = member.before.as_ref().map(|before| &before.covered);
            match (expanded, covered) {
                (Ok(expansion), covered) => {
                    if !self.is_resumed {
                        member.planned.left_out = expansion.left_out;
                    }
                    member.expansion = match covered {
                        Some(covered) => expansion.joined_with(covered),
                        None => expansion,
                    };
                }
                (Err(_), Some(covered)) => member.expansion = covered.clone(),
                (Err(error), None) if self.is_strict => return Err(error),
                (Err(error), None) => member.refuse(&error),
            }
        }
        drop(graph);
        // Opened now, because a refresh forgets the shards that can't be read.
        let state = &*self.dataset.state;
        let before = Index::open(state, &self.dataset.config.index_key()).unwrap_or(None);
        loop {
            if !self.is_resumed {
                merge(members);
            }
            let classes = classes(members);
            let plans = self.upkeep.with_index(self.snapshot, |index| {
                let plan = |class: &Class| {
                    match self.plan(&class.request, &class.expansion, index) {
                        // Then the index is rebuilt and everything is planned again. Other errors concern one class.
                        Err(error) if is_damage(&error) => Err(error),
                        plan => Ok(plan),
                    }
                };
                classes
                    .iter()
                    .map(plan)
                    .collect::<Result<Vec<Result<Plan>>>>()
            });
            let plans = match plans {
                Ok(plans) => plans,
                Err(error) => {
                    self.exclude(error, members, before.as_ref())?;
                    continue;
                }
            };
            let mut planned = Vec::new();
            let mut is_settled = true;
            for (class, plan) in classes.iter().zip(plans) {
                match plan {
                    Ok(plan) => {
                        is_settled &= self.judge(class, &plan, members)?;
                        planned.push(plan);
                    }
                    Err(error) if !self.is_strict && error.kind() == ErrorKind::Refused => {
                        self.refuse_some(class, members, error)?;
                        is_settled = false;
                    }
                    Err(error) => {
                        self.exclude(error, members, before.as_ref())?;
                        is_settled = false;
                    }
                }
                if !is_settled {
                    break;
                }
            }
            if !is_settled {
                continue;
            }
            planned.iter().try_for_each(&mut agreed)?;
            let mut jobs = BTreeMap::new();
            for (class, plan) in classes.iter().zip(planned) {
                class.add_jobs(plan, &mut jobs);
            }
            self.leave_irreplaceable(&mut jobs, members)?;
            return Ok(Staged {
                classes,
                jobs,
                failed: std::mem::take(&mut self.failed),
            });
        }
    }

    /// Leaves shards alone that the table can't replace, and holds the requests that have rows there.
    fn leave_irreplaceable(
        &mut self,
        jobs: &mut BTreeMap<String, Job>,
        members: &mut [Member],
    ) -> Result<()> {
        let mut left = Vec::new();
        for (path, job) in &*jobs {
            match self.replaceable(&job.shard) {
                Ok(()) => {}
                Err(error) if self.is_strict || !is_of_shard(&error) => return Err(error),
                Err(error) => left.push((path.clone(), error)),
            }
        }
        for (path, error) in left {
            let job = jobs.remove(&path);
            for (place, _) in job.iter().flat_map(|job| &job.of_request) {
                if let Some(member) = members.get_mut(*place) {
                    member.hold(&error);
                }
            }
            self.failed.insert(path, error);
        }
        Ok(())
    }

    fn replaceable(&self, shard: &ShardRef) -> Result<()> {
        let table = &*self.dataset.table;
        self.dataset.check_replaceable(table, shard)
    }

    fn plan(&self, request: &Request, expansion: &Expansion, index: &Index) -> Result<Plan> {
        let knowledge = Knowledge::Fresh(index);
        search::plan(self.dataset, request, expansion, self.snapshot, knowledge)
    }

    /// Writes down what was found, and refuses the requests that the guards forbid. True if there were none.
    fn judge(&self, class: &Class, plan: &Plan, members: &mut [Member]) -> Result<bool> {
        for place in &class.members {
            let mut touched = plan.shards.iter();
            let blocked = touched.find_map(|hit| {
                let is_touched = class.rows_of(*place, hit) > 0;
                let check = || self.replaceable(&hit.shard).err();
                is_touched.then(check).flatten()
            });
            let Some(error) = blocked else {
                continue;
            };
            // A table that can't tell says nothing of the shard.
            if self.is_strict || !is_of_shard(&error) {
                return Err(error);
            }
            if let Some(member) = members.get_mut(*place) {
                member.hold(&error);
            }
        }
        if self.is_resumed {
            return Ok(true);
        }
        let mut rows: BTreeMap<usize, u64> = BTreeMap::new();
        for (count, found) in class.counts.iter().zip(&plan.subjects) {
            match *count {
                Count::Subject(member, subject) => {
                    let planned = members.get_mut(member).map(|member| &mut member.planned);
                    let subject = planned.and_then(|planned| planned.subjects.get_mut(subject));
                    if let Some(subject) = subject {
                        subject.found |= found.found;
                    }
                }
                Count::Request(member) => drop(rows.insert(member, found.rows)),
            }
        }
        if let [only] = class.members.as_slice() {
            rows.insert(*only, plan.rows);
        }
        share_found(class, members);
        let mut is_settled = true;
        for place in &class.members {
            let Some(member) = members.get_mut(*place) else {
                continue;
            };
            let rows = rows.get(place).copied().unwrap_or(0);
            match check(member, rows, plan.dataset_rows) {
                Ok(()) => {}
                Err(error) if self.is_strict => return Err(error),
                // What can't be read may hold the rows that are missed.
                Err(_) if member.trouble.is_some() => {
                    member.is_put_off = true;
                    is_settled = false;
                }
                Err(error) => {
                    member.refuse(&error);
                    is_settled = false;
                }
            }
            if class.members.len() == 1 {
                member.planned.digest = Some(plan.digest.clone());
            }
        }
        Ok(is_settled)
    }

    /// After the plan of a class failed: refuses the requests whose own plans fail.
    fn refuse_some(&self, class: &Class, members: &mut [Member], error: Error) -> Result<()> {
        let mut refused = Vec::new();
        for place in &class.members {
            let Some(member) = members.get(*place) else {
                continue;
            };
            let request = &member.entry.request;
            let plan = |index: &Index| self.plan(request, &member.expansion, index);
            match self.upkeep.with_index(self.snapshot, plan) {
                Err(error) if error.kind() == ErrorKind::Refused => refused.push((*place, error)),
                result => drop(result?),
            }
        }
        if refused.is_empty() {
            return Err(error);
        }
        for (place, error) in refused {
            if let Some(member) = members.get_mut(place) {
                member.refuse(&error);
            }
        }
        Ok(())
    }

    /// Continues without the shard that `error` concerns, and holds the requests that could have rows in it.
    fn exclude(
        &mut self,
        error: Error,
        members: &mut [Member],
        before: Option<&Index>,
    ) -> Result<()> {
        let path = unreadable(&error).map(str::to_owned);
        let Some(path) = path.filter(|_| !self.is_strict) else {
            return Err(error);
        };
        let shards = &mut self.snapshot.shards;
        let Some(at) = shards.iter().position(|file| file.path == path) else {
            return Err(error);
        };
        let file = shards.remove(at);
        let known = before.and_then(|index| {
            let shards = index.shards().iter();
            let mut places = (0..).zip(shards);
            let (place, _) =
                places.find(|(_, shard)| shard.path == path && shard.is_like(&file))?;
            Some((index, place))
        });
        for member in members.iter_mut() {
            let could = match known {
                Some((index, shard)) => nominates(index, shard, &member.expansion.ids)?,
                None => true,
            };
            if could {
                member.hold(&error);
            }
        }
        self.failed.insert(path, error);
        Ok(())
    }
}

/// Checks the guards of one request against its plan.
fn check(member: &Member, rows: u64, dataset_rows: u64) -> Result<()> {
    let request = &member.entry.request;
    let subjects = &member.planned.subjects;
    let unknown = subjects.iter().filter(|subject| !subject.found);
    let positions: Vec<usize> = unknown.map(|subject| subject.position).collect();
    if request.unknown == Unknown::Refuse && !positions.is_empty() {
        return Err(Error::UnknownSubjects {
            positions,
            of: subjects.len(),
        });
    }
    if member.is_begun() {
        return Ok(());
    }
    check_match(rows, dataset_rows, request.max_match)
}

/// Whether the index nominates a row group of a shard, by its place there, for one of `ids`.
fn nominates(index: &Index, shard: usize, ids: &[SubjectId]) -> Result<bool> {
    let forms = ids
        .iter()
        .flat_map(|id| Form::ALL.into_iter().filter_map(|form| id.canonical(form)));
    let hashes: Vec<SubjectHash> = forms
        .map(|form| SubjectHash::of(&form, index.seed()))
        .collect();
    match index.candidates(&hashes) {
        Ok(candidates) => Ok(candidates.contains_key(&shard)),
        // An index that is damaged says nothing.
        Err(Error::State { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The file that can't be read, if `error` says so, and the others may be all the same.
pub(super) fn unreadable(error: &Error) -> Option<&str> {
    match error {
        Error::Shard {
            path,
            source: FormatError::Read { source, .. },
        }
        | Error::Io { path, source, .. } => is_of_one_file(source).then_some(path),
        Error::Shard { path, .. }
        | Error::MissingColumn { path, .. }
        | Error::ColumnType { path, .. }
        | Error::NoTimeUnit { path, .. }
            if matches!(
                error.kind(),
                ErrorKind::Damaged | ErrorKind::Unsupported | ErrorKind::Usage
            ) =>
        {
            Some(path)
        }
        _ => None,
    }
}

/// Whether the system refuses just this file: its permissions, what it is, or its place on the disk.
fn is_of_one_file(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const ENXIO: i32 = 6;
    const ELOOP: i32 = 40;
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
    ) || matches!(error.raw_os_error(), Some(EIO | ENXIO | ELOOP))
}

/// Whether `error` concerns one shard, so that the others can still be done.
pub(super) fn is_of_shard(error: &Error) -> bool {
    unreadable(error).is_some()
        || matches!(
            error,
            Error::CannotBeNull { .. }
                | Error::MaybeJson { .. }
                | Error::CheckFailed { .. }
                | Error::Place {
                    fault: PlaceFault::Link
                        | PlaceFault::HardLinks { .. }
                        | PlaceFault::Attribute { .. },
                    ..
                }
                | Error::ShardChanged { .. }
        )
}
