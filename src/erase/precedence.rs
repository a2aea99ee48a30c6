//! What comes before a delete: exports of its ids that were asked before it, and archives of them that nobody fetched.
//!
//! An archive holds rows of its ids, so a delete of one of these removes it. Whoever asked for it is to have it before
//! that: until it is fetched or expires, the delete waits, unless the owner of the dataset decided otherwise.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Site;
use crate::archives::{Archive, Archives};
use crate::config::{Config, OnUnfetched};
use crate::error::{Error, Result};
use crate::identity::{Expansion, IdentityGraph};
use crate::queue::{Entry, Held};
use crate::request::Kind;
use crate::subject::{KeyedHash, SubjectId};
use crate::tracking::TrackingId;

/// What is there for deletes to wait for.
pub(super) struct Precedence<'a> {
    site: &'a Site,
    /// Exports that wait, with the hashes of what they cover.
    exports: BTreeMap<TrackingId, BTreeSet<KeyedHash>>,
    /// Archives that are still to be fetched.
    unfetched: Vec<Archive>,
    graphs: Graphs,
}

/// The identity graphs of the configurations that were met; `None` of one that can't be read.
#[derive(Default)]
struct Graphs(Vec<(Config, Option<IdentityGraph>)>);

impl<'a> Precedence<'a> {
    /// # Errors
    /// When the record of an archive can't be read: whose rows it holds is not known then.
    pub(super) fn of(site: &'a Site, now: Timestamp) -> Result<Self> {
        let queue = site.queue();
        let mut graphs = Graphs::default();
        let mut exports = BTreeMap::new();
        for entry in queue.entries()?.into_iter().flatten() {
            if entry.request.kind == Kind::Export {
                let covered = graphs.expanded(site, &entry);
                exports.insert(
                    entry.tracking_id,
                    hashes(site, &ids(&entry, covered.as_ref(), None)),
                );
            }
        }
        let waits = site.dataset.config.on_unfetched == OnUnfetched::Wait;
        let mut unfetched = Vec::new();
        if waits {
            unfetched = Archives::new(&*site.dataset.state).all()?;
            unfetched.retain(|archive| {
                archive.made.is_some() && archive.fetched_at.is_none() && !archive.is_expired(now)
            });
        }
        Ok(Self {
            site,
            exports,
            unfetched,
            graphs,
        })
    }

    /// What a delete has to wait for, as the error that says so, and what it covers now; `held` is what is known of it
    /// already.
    pub(super) fn before(
        &mut self,
        entry: &Entry,
        held: Option<&Held>,
    ) -> Option<(Error, Option<Expansion>)> {
        if self.exports.is_empty() && self.unfetched.is_empty() {
            return None;
        }
        let expansion = self.graphs.expanded(self.site, entry);
        let covered = hashes(self.site, &ids(entry, expansion.as_ref(), held));
        let first = self.first(entry.tracking_id, &covered)?;
        Some((first, expansion))
    }

    fn first(&self, delete: TrackingId, covered: &BTreeSet<KeyedHash>) -> Option<Error> {
        let mut earlier = self.exports.range(..delete);
        if let Some((id, _)) = earlier.find(|(_, theirs)| !theirs.is_disjoint(covered)) {
            return Some(Error::ExportFirst {
                tracking_id: *id,
                kept_until: None,
            });
        }
        let mut unfetched = self.unfetched.iter();
        let archive = unfetched.find(|archive| archive.is_of(covered))?;
        Some(Error::ExportFirst {
            tracking_id: archive.tracking_id,
            kept_until: archive.made.as_ref().map(|made| made.expires_at),
        })
    }
}

impl Graphs {
    /// What a request covers; `None` if that can't be told now. Whoever carries it out says why.
    fn expanded(&mut self, site: &Site, entry: &Entry) -> Option<Expansion> {
        let current = &site.dataset.config;
        let config = entry.config.as_ref().unwrap_or(current);
        let config = config.carried_into(current);
        let known = self.0.iter().position(|(other, _)| *other == config);
        let place = known.unwrap_or_else(|| {
            let mut dataset = site.dataset.clone();
            dataset.config.clone_from(&config);
            self.0.push((config, dataset.identities().ok()));
            self.0.len() - 1
        });
        let (_, graph) = self.0.get(place)?;
        let request = &entry.request;
        let (identity, cap) = (request.identity, request.identity_cap);
        let expanded = graph.as_ref()?.expand(&request.subjects, identity, cap);
        expanded.ok()
    }
}

/// The ids of a request: the submitted ones, what they cover, and what they covered before.
fn ids(entry: &Entry, expansion: Option<&Expansion>, held: Option<&Held>) -> Vec<SubjectId> {
    let submitted = entry.request.subjects.iter().map(|(_, id)| id);
    let covered = expansion.into_iter().chain(held.map(|held| &held.covered));
    let covered = covered.flat_map(|expansion| &expansion.ids);
    submitted.chain(covered).cloned().collect()
}

/// The archives that hold rows of what these requests cover, made or in the making.
pub(super) fn archives_of(site: &Site, covered: &[&Expansion]) -> Result<Vec<Vec<Archive>>> {
    let all = Archives::new(&*site.dataset.state).all()?;
    let of = |expansion: &&Expansion| {
        let covered = hashes(site, &expansion.ids);
        let theirs = all.iter().filter(|archive| archive.is_of(&covered));
        theirs.cloned().collect()
    };
    Ok(if all.is_empty() {
        vec![Vec::new(); covered.len()]
    } else {
        covered.iter().map(of).collect()
    })
}

fn hashes(site: &Site, ids: &[SubjectId]) -> BTreeSet<KeyedHash> {
    ids.iter().flat_map(|id| site.key.hashes_of(id)).collect()
}
