//! The requests of a pass, grouped by what they do to their rows, and how rows are counted for each.

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringBitmap;

use super::task::Cleared;
use crate::error::{Error, ErrorKind};
use crate::find::search::wanted;
use crate::identity::{Cover, Expansion};
use crate::pass::{Planned, PlannedSubject};
use crate::plan::{Plan, ShardPlan};
use crate::queue::{Entry, Held};
use crate::request::{Identity, Request};
use crate::shard::select::Wanted;
use crate::subject::SubjectId;
use crate::table::ShardRef;
use crate::tracking::TrackingId;

/// What a request does to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Action {
    /// Values in them are cleared.
    Clear(Cleared),
    /// They are removed.
    Remove,
}

/// A request of a pass.
pub(super) struct Member {
    pub(super) entry: Entry,
    pub(super) planned: Planned,
    pub(super) expansion: Expansion,
    /// What earlier passes found out and did.
    pub(super) before: Option<Held>,
    /// What keeps it from ending: trouble of the dataset, not of the request.
    pub(super) trouble: Option<Trouble>,
    /// Whether nothing of it is carried out in this pass.
    pub(super) is_put_off: bool,
}

/// What keeps a request from ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: String,
    pub(super) kind: ErrorKind,
}

/// Requests that do the same to their rows.
pub(super) struct Class {
    pub(super) action: Action,
    /// Their places in the pass.
    pub(super) members: Vec<usize>,
    pub(super) wanted: Wanted,
    /// Stands for all of them.
    pub(super) request: Request,
    pub(super) expansion: Expansion,
    /// The meaning of each cover of the expansion.
    pub(super) counts: Vec<Count>,
}

/// A subject or a request that rows are counted for.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// A subject, by the places of its request and of itself there.
    Subject(usize, usize),
    /// A whole request: a row of two of its subjects counts once.
    Request(usize),
}

/// The work on one shard, and how its rows are counted.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) shard: ShardRef,
    pub(super) footer_hash: u64,
    /// Rows of the shard.
    pub(super) total_rows: u64,
    /// Rows in which values are cleared. Some of them may be removed as well.
    pub(super) clear: BTreeMap<Cleared, RoaringBitmap>,
    /// Rows that are removed.
    pub(super) remove: RoaringBitmap,
    pub(super) of_request: Vec<(usize, u64)>,
    pub(super) of_subject: Vec<(usize, usize, u64)>,
    /// Rows that go because their ids are suppressed.
    pub(super) suppressed: u64,
}

impl Job {
    /// Nothing to do with this version of a shard.
    pub(super) fn new(shard: ShardRef, footer_hash: u64, total_rows: u64) -> Self {
        Self {
            shard,
            footer_hash,
            total_rows,
            clear: BTreeMap::new(),
            remove: RoaringBitmap::new(),
            of_request: Vec::new(),
            of_subject: Vec::new(),
            suppressed: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.clear.values().all(RoaringBitmap::is_empty)
    }

    /// Bytes of the files that are staged for it at a time. A step reads what the one before it staged, so two steps
    /// have two files at a time.
    pub(super) fn room(&self) -> u64 {
        let cleared = self.clear.values().filter(|rows| !rows.is_empty());
        let steps = cleared.count() + usize::from(!self.remove.is_empty());
        self.shard.bytes.saturating_mul(steps.min(2) as u64)
    }

    /// All rows that are removed or cleared.
    pub(super) fn rows(&self) -> RoaringBitmap {
        let mut rows = self.remove.clone();
        self.clear.values().for_each(|cleared| rows |= cleared);
        rows
    }
}

impl Member {
    /// A request that was not planned yet in this pass; `before` is what earlier ones found out and did.
    pub(super) fn new(entry: Entry, before: Option<Held>) -> Self {
        let was_found = |at: usize| {
            let mut parts = before.iter().flat_map(|held| &held.done);
            parts.any(|part| part.subjects.get(at).is_some_and(|(found, _)| *found))
        };
        let subjects = entry.request.subjects.iter().enumerate();
        let subjects = subjects.map(|(at, (position, _))| PlannedSubject {
            position,
            found: was_found(at),
            merged_into: None,
        });
        Self {
            planned: Planned {
                refused: None,
                refused_kind: None,
                left_out: 0,
                digest: None,
                subjects: subjects.collect(),
            },
            entry,
            expansion: Expansion {
                ids: Vec::new(),
                covers: Vec::new(),
                left_out: 0,
            },
            before,
            trouble: None,
            is_put_off: false,
        }
    }

    /// Whether it is carried out in this pass.
    pub(super) fn is_live(&self) -> bool {
        self.planned.refused.is_none() && !self.is_put_off
    }

    /// Whether it ends with this pass.
    pub(super) fn ends(&self) -> bool {
        self.planned.refused.is_some() || (self.trouble.is_none() && !self.is_put_off)
    }

    /// Whether it ends with this pass because all of it was carried out.
    pub(super) fn is_done(&self) -> bool {
        self.planned.refused.is_none() && self.ends()
    }

    /// Whether an earlier pass carried it out in some shard.
    pub(super) fn is_begun(&self) -> bool {
        self.before.as_ref().is_some_and(Held::is_begun)
    }

    /// Why it isn't done.
    fn what_is_left(&self) -> Trouble {
        let refused = self.planned.refused.as_ref();
        self.trouble.clone().unwrap_or_else(|| Trouble {
            reason: refused.cloned().unwrap_or_default(),
            kind: self.planned.refused_kind.unwrap_or(ErrorKind::Refused),
        })
    }

    /// Something is wrong with the dataset: the request can't be ended in this pass.
    pub(super) fn hold(&mut self, error: &Error) {
        if self.trouble.is_none() {
            self.trouble = Some(Trouble {
                reason: self.told(error),
                kind: error.kind(),
            });
        }
    }

    /// What an error says, without ids in paths: it is kept.
    fn told(&self, error: &Error) -> String {
        let config = self.entry.config.clone().unwrap_or_default();
        error.told(&config.names_of(&self.expansion))
    }

    /// The action on its rows.
    pub(super) fn action(&self) -> Action {
        let request = &self.entry.request;
        if request.clears() {
            Action::Clear(Cleared {
                disclosure: request.disclosure,
                required_columns: request.required_columns,
            })
        } else {
            Action::Remove
        }
    }

    pub(super) fn refuse(&mut self, error: &Error) {
        if self.planned.refused.is_none() {
            self.planned.refused = Some(self.told(error));
            self.planned.refused_kind = Some(error.kind());
        }
    }
}

impl Class {
    pub(super) fn add_jobs(&self, plan: Plan, jobs: &mut BTreeMap<String, Job>) {
        for shard in plan.shards {
            let job = jobs
                .entry(shard.path().to_owned())
                .or_insert_with(|| Job::new(shard.shard, shard.footer_hash, shard.total_rows));
            self.add_to(job, shard.rows, &shard.of_subject);
        }
    }

    /// Adds rows that were found for this class; `found` counts them by cover.
    pub(super) fn add_to(&self, job: &mut Job, rows: RoaringBitmap, found: &[(usize, u64)]) {
        if let [only] = self.members.as_slice() {
            job.of_request.push((*only, rows.len()));
        }
        for (cover, rows) in found {
            match self.counts.get(*cover) {
                Some(Count::Subject(member, subject)) => {
                    job.of_subject.push((*member, *subject, *rows));
                }
                Some(Count::Request(member)) => job.of_request.push((*member, *rows)),
                None => {}
            }
        }
        match self.action {
            Action::Clear(cleared) => *job.clear.entry(cleared).or_default() |= rows,
            Action::Remove => job.remove |= rows,
        }
    }

    pub(super) fn rows_of(&self, place: usize, shard: &ShardPlan) -> u64 {
        if self.members.len() == 1 {
            return shard.rows.len();
        }
        let mut counted = shard.of_subject.iter().filter(|(cover, _)| {
            matches!(self.counts.get(*cover), Some(Count::Request(member)) if *member == place)
        });
        counted.next().map_or(0, |(_, rows)| *rows)
    }
}

/// If an earlier request of the class already names an id, its rows are counted for that request. One that an earlier
/// pass began covers what it covered then, so its ids are its own.
pub(super) fn merge(members: &mut [Member]) {
    let mut first: HashMap<(Action, Identity, SubjectId), TrackingId> = HashMap::new();
    for member in members.iter_mut() {
        if !member.is_live() {
            continue;
        }
        let (action, id) = (member.action(), member.entry.tracking_id);
        let (identity, is_begun) = (member.entry.request.identity, member.before.is_some());
        let ids = member.entry.request.subjects.iter();
        for ((_, subject), planned) in ids.zip(&mut member.planned.subjects) {
            let named = first.entry((action, identity, subject.clone()));
            let counted = *named.or_insert(id);
            let counted = if is_begun { id } else { counted };
            planned.merged_into = (counted != id).then_some(counted);
        }
    }
}

/// A request can't end before those do that its ids were merged into: their rows are its own.
pub(super) fn share_trouble(members: &mut [Member]) {
    loop {
        let left = members.iter().filter(|member| !member.is_done());
        let left: HashMap<TrackingId, Trouble> = left
            .map(|member| (member.entry.tracking_id, member.what_is_left()))
            .collect();
        let mut is_shared = true;
        for member in members.iter_mut().filter(|member| member.is_done()) {
            let mut merged = member.planned.subjects.iter();
            let trouble = merged.find_map(|subject| left.get(&subject.merged_into?));
            if let Some(trouble) = trouble {
                member.trouble = Some(trouble.clone());
                is_shared = false;
            }
        }
        if is_shared {
            return;
        }
    }
}

/// A merged id counts as found if the id it was merged into was found.
pub(super) fn share_found(class: &Class, members: &mut [Member]) {
    let mut found: HashMap<(Identity, SubjectId), bool> = HashMap::new();
    for place in &class.members {
        let Some(member) = members.get_mut(*place) else {
            continue;
        };
        let identity = member.entry.request.identity;
        let ids = member.entry.request.subjects.iter();
        for ((_, id), planned) in ids.zip(&mut member.planned.subjects) {
            let id = (identity, id.clone());
            match planned.merged_into {
                None => *found.entry(id).or_default() |= planned.found,
                Some(_) => planned.found = found.get(&id).copied().unwrap_or(false),
            }
        }
    }
}

/// The requests that are carried out, by what they do.
pub(super) fn classes(members: &[Member]) -> Vec<Class> {
    let mut by_action: BTreeMap<Action, Vec<usize>> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        if member.is_live() {
            by_action.entry(member.action()).or_default().push(place);
        }
    }
    let class = |(action, places): (Action, Vec<usize>)| {
        let mut all = Expansion {
            ids: Vec::new(),
            covers: Vec::new(),
            left_out: 0,
        };
        let mut counts = Vec::new();
        let mut known: HashMap<SubjectId, u32> = HashMap::new();
        for place in &places {
            let Some(member) = members.get(*place) else {
                continue;
            };
            let expansion = &member.expansion;
            all.left_out += expansion.left_out;
            let mut number = |id: &SubjectId| {
                *known.entry(id.clone()).or_insert_with(|| {
                    all.ids.push(id.clone());
                    u32::try_from(all.ids.len() - 1).unwrap_or(u32::MAX)
                })
            };
            let numbers: Vec<u32> = expansion.ids.iter().map(&mut number).collect();
            let translated = |cover: &Cover| -> Vec<u32> {
                let ids = cover.ids.iter();
                ids.filter_map(|id| numbers.get(*id as usize).copied())
                    .collect()
            };
            let mut whole = Vec::new();
            let subjects = expansion.covers.iter().zip(&member.planned.subjects);
            for (subject, (cover, planned)) in subjects.enumerate() {
                if planned.merged_into.is_some() {
                    continue;
                }
                let ids = translated(cover);
                whole.extend_from_slice(&ids);
                all.covers.push(Cover {
                    ids,
                    ..cover.clone()
                });
                counts.push(Count::Subject(*place, subject));
            }
            if places.len() > 1 && !whole.is_empty() {
                whole.sort_unstable();
                whole.dedup();
                all.covers.push(Cover {
                    position: 0,
                    ids: whole,
                    linked: false,
                });
                counts.push(Count::Request(*place));
            }
        }
        let first = members.get(*places.first()?)?;
        Some(Class {
            action,
            wanted: wanted(&all),
            request: first.entry.request.clone(),
            members: places,
            expansion: all,
            counts,
        })
    };
    by_action.into_iter().filter_map(class).collect()
}
