//! What waits, group by group: requests that were decided under different configurations are carried out in a pass each.
//!
//! # Invariants
//! * A request is tried once in a round. One that could not be started is written down with the reason, and waits on.
//! * Before the first of several groups begins, the covered ids of all requests are written down: the links that lead to
//!   them may go with the requests of another group.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::class::{Member, Trouble};
use super::precedence::Precedence;
use super::report::CompactReport;
use super::{CompactOptions, Site};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::identity::Expansion;
use crate::queue::{Entry, Held, Queue, Status};
use crate::request::Kind;
use crate::shard::chunk::level::ZstdLevel;
use crate::suppression::Suppression;
use crate::tracking::TrackingId;

/// One run over all that waits.
#[derive(Default)]
pub(crate) struct Round {
    tried: BTreeSet<TrackingId>,
    /// Whether a pass of this round took on the rows of suppressed ids.
    has_suppressed: bool,
    passes: u32,
    /// What became of what was tried so far.
    pub(crate) report: CompactReport,
    /// What kept a group from being planned.
    error: Option<Error>,
}

/// Requests that are carried out in one pass.
pub(super) struct Group {
    pub(super) site: Site,
    pub(super) options: CompactOptions,
    pub(super) pass: TrackingId,
    pub(super) members: Vec<Member>,
    /// Whether rows of suppressed ids go with it.
    pub(super) suppresses: bool,
}

/// A request that waits, with all that it is decided with.
struct Waiting {
    entry: Entry,
    held: Option<Held>,
    config: Config,
    /// The level of the pass that began with it, or of this call.
    zstd_level: ZstdLevel,
}

impl Round {
    /// These requests were tried in a pass that was carried on.
    pub(crate) fn tried(&mut self, requests: impl Iterator<Item = TrackingId>) {
        self.tried.extend(requests);
    }

    /// The next requests that go together. The caller holds both leases.
    pub(super) fn next(&mut self, site: &Site, options: &CompactOptions) -> Result<Option<Group>> {
        let queue = site.queue();
        let current = &site.dataset.config;
        let mut waiting = Vec::new();
        let mut precedence = Precedence::of(site, options.now)?;
        let mut put_off = Vec::new();
        // A damaged one must not keep the others from their deadline: it stays, and the report names it.
        for entry in queue.entries()?.into_iter().flatten() {
            let id = entry.tracking_id;
            if self.tried.contains(&id) || !entry.is_ready(Kind::Delete) {
                continue;
            }
            let held = match queue.held(id) {
                Err(Error::State { .. }) => continue,
                held => held?,
            };
            if let Some((first, covered)) = precedence.before(&entry, held.as_ref()) {
                self.tried.insert(id);
                put_off.push((entry, held, first, covered));
                continue;
            }
            let config = entry.config.as_ref().unwrap_or(current);
            let level = |held: &Held| held.done.last().map(|part| part.zstd_level);
            waiting.push(Waiting {
                config: config.carried_into(current),
                zstd_level: held.as_ref().and_then(level).unwrap_or(options.zstd_level),
                entry,
                held,
            });
        }
        self.wait_for_exports(&queue, put_off, options.now)?;
        check_override(site, &waiting)?;
        let (config, zstd_level) = match waiting.first() {
            Some(first) => (first.config.clone(), first.zstd_level),
            None => (current.clone(), options.zstd_level),
        };
        let is_listed =
            || Ok::<_, Error>(!Suppression::load(&*site.dataset.state, &site.key)?.is_empty());
        let suppresses = !self.has_suppressed && config == *current && is_listed()?;
        if waiting.is_empty() && !suppresses {
            return Ok(None);
        }
        if waiting.iter().any(|other| other.config != config) {
            cover(site, &queue, &mut waiting)?;
        }
        self.has_suppressed |= suppresses;
        let ours = |other: &Waiting| other.config == config && other.zstd_level == zstd_level;
        let members: Vec<Member> = waiting
            .into_iter()
            .filter(ours)
            .map(|waiting| Member::new(waiting.entry, waiting.held))
            .collect();
        self.tried(members.iter().map(|member| member.entry.tracking_id));
        self.passes += 1;
        // The options of a call that was cut off may be used again, after the pass has ended.
        let id = match queue.check_is_new(options.pass) {
            Ok(()) if self.passes == 1 => options.pass,
            Ok(()) | Err(Error::Request { .. }) => TrackingId::draw(options.now),
            Err(error) => return Err(error),
        };
        Ok(Some(Group {
            site: site.clone().with_config(config),
            options: CompactOptions {
                zstd_level,
                ..options.clone()
            },
            pass: id,
            members,
            suppresses,
        }))
    }

    /// Writes down which exports come before these deletes. The caller holds the queue's lease.
    fn wait_for_exports(
        &mut self,
        queue: &Queue,
        deletes: Vec<(Entry, Option<Held>, Error, Option<Expansion>)>,
        now: Timestamp,
    ) -> Result<()> {
        let mut held = Vec::new();
        for (entry, known, first, covered) in deletes {
            let mut known = match (known, covered) {
                (Some(known), _) => known,
                (None, Some(covered)) => Held::new(None, covered),
                // What stands in the way of telling what it covers is told when it is carried out.
                (None, None) => continue,
            };
            known.reason = Some(first.to_string());
            known.kind = Some(first.kind());
            let status = Status::waiting(&entry, Some(&known), None, now);
            self.report.requests.push(status);
            held.push((entry.tracking_id, known));
        }
        queue.hold(held)
    }

    /// Writes down why requests wait on. The caller holds the queue's lease.
    pub(super) fn put_off(
        &mut self,
        queue: &Queue,
        members: Vec<Member>,
        now: Timestamp,
    ) -> Result<()> {
        let mut held = Vec::new();
        for member in members {
            let Some(Trouble { reason, kind }) = member.trouble else {
                continue;
            };
            let mut known = member
                .before
                .unwrap_or_else(|| Held::new(None, member.expansion.clone()));
            known.reason = Some(reason);
            known.kind = Some(kind);
            if !member.expansion.ids.is_empty() {
                known.covered = member.expansion;
            }
            self.report.troubles.push(kind);
            let status = Status::waiting(&member.entry, Some(&known), None, now);
            self.report.requests.push(status);
            held.push((member.entry.tracking_id, known));
        }
        queue.hold(held)
    }

    /// A group could not be planned.
    pub(super) fn failed(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Nothing was begun, and these shards are why.
    pub(super) fn shards_failed(&mut self, failed: impl IntoIterator<Item = (String, Error)>) {
        for (path, error) in failed {
            self.report.troubles.push(error.kind());
            self.report.shards_failed.push((path, error.to_string()));
        }
    }

    /// What became of all; the error that kept everything from being begun, if one did.
    pub(crate) fn end(self) -> Result<CompactReport> {
        match self.error {
            Some(error) if self.report.tracking_id.is_none() => Err(error),
            _ => Ok(self.report),
        }
    }
}

/// A configuration that overrides the stored one is not silently passed over: each request has its own.
fn check_override(site: &Site, waiting: &[Waiting]) -> Result<()> {
    let config = &site.dataset.config;
    let stored = Config::load(&*site.dataset.state)?.unwrap_or_default();
    let mut others = waiting.iter().filter(|other| other.config != *config);
    match others.next() {
        Some(other) if stored != *config => Err(Error::OtherRoles {
            tracking_id: other.entry.tracking_id,
            keys: other.config.differences(config),
        }),
        _ => Ok(()),
    }
}

/// Writes down what requests cover that was not written down yet, as far as alias tables can be read.
fn cover(site: &Site, queue: &Queue, waiting: &mut [Waiting]) -> Result<()> {
    let mut configs: Vec<Config> = Vec::new();
    for other in waiting.iter().filter(|other| other.held.is_none()) {
        if other.config.aliases.is_some() && !configs.contains(&other.config) {
            configs.push(other.config.clone());
        }
    }
    let mut covered = Vec::new();
    for config in configs {
        // Whoever needs a table that can't be read says so.
        let Ok(graph) = site
            .clone()
            .with_config(config.clone())
            .dataset
            .identities()
        else {
            continue;
        };
        let theirs = waiting.iter_mut().filter(|other| other.config == config);
        for other in theirs.filter(|other| other.held.is_none()) {
            let request = &other.entry.request;
            let expanded = graph.expand(&request.subjects, request.identity, request.identity_cap);
            if let Ok(expansion) = expanded {
                let held = Held::new(None, expansion);
                covered.push((other.entry.tracking_id, held.clone()));
                other.held = Some(held);
            }
        }
    }
    queue.hold(covered)
}
