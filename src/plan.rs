//! The rows that a request touches. Pure: same shards, same request, same plan, same digest.
//!
//! [`find`](crate::find) makes plans.

use std::sync::Arc;

use jiff::Timestamp;
use roaring::RoaringBitmap;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::parquet_bytes::footer::Footer;
use crate::request::{Disclosure, Kind, Request, Unknown};
use crate::shard::select::{Selection, Wanted};
use crate::subject::names::Names;
use crate::table::{ShardRef, is_zero};

#[cfg(test)]
mod tests;

/// What a request touches.
#[derive(Debug, Clone)]
pub struct Plan {
    /// BLAKE3 of all that the plan says of the request's subjects: how they were expanded, which were found,
    /// and which rows of which shards are theirs. Holds no subject id. What other subjects' shards bring to
    /// the size of the dataset is not in it, so that a plan outlives new events.
    pub digest: String,
    /// Rows that match.
    pub rows: u64,
    /// Row groups with matching rows.
    pub row_groups: u64,
    /// Rows of the whole dataset.
    pub dataset_rows: u64,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// The shards with matching rows, in the order of their paths.
    pub shards: Vec<ShardPlan>,
    /// The subjects, in the order of the request.
    pub subjects: Vec<SubjectPlan>,
    unknown: Unknown,
    kind: Kind,
    disclosure: Disclosure,
    max_match: f64,
    wanted: Option<Arc<Wanted>>,
    names: Names,
}

/// The rows that a request touches in one shard.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    /// The shard.
    pub shard: ShardRef,
    /// Stands for the content that the plan was made for.
    pub footer_hash: u64,
    /// Matching rows, counted in the shard.
    pub rows: RoaringBitmap,
    /// Row groups with matching rows.
    pub row_groups: u64,
    /// Rows of the shard.
    pub total_rows: u64,
    /// Matching rows of each subject that has some here, by its place in [`Plan::subjects`].
    pub of_subject: Vec<(usize, u64)>,
    /// What a delete costs here.
    pub(crate) price: Option<Price>,
    /// The footer, where it is kept for whoever carries the plan out.
    pub(crate) footer: Option<Arc<Footer>>,
}

/// Data pages that an export reads or a delete encodes, on top of the dictionaries that they use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Price {
    /// Their number. A page whose rows can't be counted without decompressing it always counts.
    pub pages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a plan says to people and programs: what it touches, what that costs, and whether it would be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// What is planned.
    pub kind: Kind,
    /// Rows that match.
    pub rows: u64,
    /// Shards with matching rows.
    pub shards: u64,
    /// Row groups with matching rows.
    pub row_groups: u64,
    /// The price of all shards: pages.
    pub pages: u64,
    /// The price of all shards: bytes.
    pub bytes: u64,
    /// Rows of the whole dataset.
    pub dataset_rows: u64,
    /// See [`Plan::digest`].
    pub digest: String,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// Why a guard refuses it, if one does.
    pub refused: Option<String>,
    /// The kind of that error.
    pub refused_kind: Option<ErrorKind>,
    /// The subjects, in the order of the request.
    pub subjects: Vec<SubjectPlan>,
    /// The shards, in the order of their paths.
    pub per_shard: Vec<ShardReport>,
}

/// What a plan says of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    /// The shard, relative to the dataset.
    pub path: String,
    /// Rows that match.
    pub rows: u64,
    /// Row groups with matching rows.
    pub row_groups: u64,
    /// Other names of the file (hard links), under which the rows would stay.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_names: u64,
    /// What carrying the plan out costs here.
    #[serde(flatten)]
    pub price: Price,
}

impl PlanReport {
    /// The report of `plan`, with the price of each of its shards, and the error by which it would be refused.
    pub(crate) fn new(plan: &Plan, prices: &[Price], refused: Option<&Error>) -> Self {
        let shards = plan.shards.iter().zip(prices);
        let per_shard = shards.map(|(shard, price)| ShardReport {
            path: plan.names.shown(shard.path()).into_owned(),
            rows: shard.rows.len(),
            row_groups: shard.row_groups,
            other_names: shard.shard.other_names(),
            price: *price,
        });
        Self {
            kind: plan.kind,
            rows: plan.rows,
            shards: plan.shards.len() as u64,
            row_groups: plan.row_groups,
            pages: prices.iter().map(|price| price.pages).sum(),
            bytes: prices.iter().map(|price| price.bytes).sum(),
            dataset_rows: plan.dataset_rows,
            digest: plan.digest.clone(),
            left_out: plan.left_out,
            refused: refused.map(ToString::to_string),
            refused_kind: refused.map(Error::kind),
            subjects: plan.subjects.clone(),
            per_shard: per_shard.collect(),
        }
    }
}

impl ShardPlan {
    /// The shard, relative to the dataset.
    pub fn path(&self) -> &str {
        &self.shard.path
    }
}

/// What was found of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SubjectPlan {
    /// Its position in the request, counted from 1.
    pub position: usize,
    /// Whether it has rows (also outside the time window) or an alias link.
    pub found: bool,
    /// Rows that match.
    pub rows: u64,
}

/// A shard with its selection, as the plan is made from.
#[derive(Debug)]
pub struct SelectedShard {
    /// The shard.
    pub shard: ShardRef,
    /// Stands for its content.
    pub footer_hash: u64,
    /// What was selected.
    pub selection: Selection,
    /// Row groups with selected rows.
    pub row_groups: u64,
    /// Rows of the shard.
    pub total_rows: u64,
    /// What a delete costs here.
    pub(crate) price: Option<Price>,
    /// The footer, where it is kept for whoever carries the plan out.
    pub(crate) footer: Option<Arc<Footer>>,
}

/// A submitted id, as the plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct KnownSubject {
    /// Its position in the request, counted from 1.
    pub position: usize,
    /// Whether the alias table names it.
    pub is_linked: bool,
}

impl Plan {
    /// Makes the plan of `request` from what was selected (in the order of paths); `cleared` says which columns
    /// lose values, where rows stay.
    pub fn new(
        request: &Request,
        window: Option<Timestamp>,
        subjects: &[KnownSubject],
        selected: Vec<SelectedShard>,
        dataset_rows: u64,
        left_out: u64,
        cleared: &str,
    ) -> Self {
        let mut plans: Vec<SubjectPlan> = subjects
            .iter()
            .map(|subject| SubjectPlan {
                position: subject.position,
                found: subject.is_linked,
                rows: 0,
            })
            .collect();
        for shard in &selected {
            let of = shard
                .selection
                .of_subject
                .iter()
                .zip(&shard.selection.is_held);
            for (plan, (rows, is_held)) in plans.iter_mut().zip(of) {
                plan.rows += rows;
                plan.found |= is_held;
            }
        }
        let shards: Vec<ShardPlan> = selected
            .into_iter()
            .filter(|shard| !shard.selection.rows.is_empty())
            .map(|shard| ShardPlan {
                shard: shard.shard,
                footer_hash: shard.footer_hash,
                rows: shard.selection.rows,
                row_groups: shard.row_groups,
                total_rows: shard.total_rows,
                of_subject: shard
                    .selection
                    .of_subject
                    .into_iter()
                    .enumerate()
                    .filter(|(_, rows)| *rows > 0)
                    .collect(),
                price: shard.price,
                footer: shard.footer,
            })
            .collect();
        Self {
            digest: digest(request, window, &plans, left_out, &shards, cleared),
            rows: shards.iter().map(|shard| shard.rows.len()).sum(),
            row_groups: shards.iter().map(|shard| shard.row_groups).sum(),
            dataset_rows,
            left_out,
            shards,
            subjects: plans,
            unknown: request.unknown,
            kind: request.kind,
            disclosure: request.disclosure,
            wanted: None,
            names: Names::default(),
            max_match: request.max_match,
        }
    }

    /// The plan, with the ids that its rows were selected by.
    pub(crate) fn with_wanted(mut self, wanted: Wanted) -> Self {
        self.wanted = Some(Arc::new(wanted));
        self
    }

    /// The plan, with what finds its ids in paths.
    pub(crate) fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// What finds its ids in paths.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The ids that its rows were selected by; without, nobody can tell whose a row is.
    pub(crate) fn wanted(&self) -> Option<&Arc<Wanted>> {
        self.wanted.as_ref()
    }

    /// What is planned.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How much of the rows it is about.
    pub fn disclosure(&self) -> Disclosure {
        self.disclosure
    }

    /// Checks the guards: unknown ids, and a delete that matches too much.
    ///
    /// # Errors
    /// [`UnknownSubjects`](Error::UnknownSubjects), [`OverMatch`](Error::OverMatch).
    pub fn check(&self) -> Result<()> {
        if self.unknown == Unknown::Refuse {
            let positions: Vec<usize> = self
                .subjects
                .iter()
                .filter(|subject| !subject.found)
                .map(|subject| subject.position)
                .collect();
            if !positions.is_empty() {
                return Err(Error::UnknownSubjects {
                    positions,
                    of: self.subjects.len(),
                });
            }
        }
        match self.kind {
            Kind::Delete => check_match(self.rows, self.dataset_rows, self.max_match),
            Kind::Export => Ok(()),
        }
    }
}

/// The guard of a delete that matches `matched` of the dataset's `rows`.
pub(crate) fn check_match(matched: u64, rows: u64, max_match: f64) -> Result<()> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a guard that is a fraction needs no more than 52 bits"
    )]
    let is_over = matched as f64 > max_match * rows as f64;
    if is_over {
        return Err(Error::OverMatch {
            matched,
            rows,
            max_match,
        });
    }
    Ok(())
}

/// What [`Plan::digest`] says, hashed. The rows stand for the ids.
fn digest(
    request: &Request,
    window: Option<Timestamp>,
    subjects: &[SubjectPlan],
    left_out: u64,
    shards: &[ShardPlan],
    cleared: &str,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut text = |part: &str| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    };
    text("efface plan 2");
    text(request.kind.as_str());
    text(request.disclosure.as_str());
    text(request.identity.as_str());
    text(&window.map_or_else(String::new, |start| start.to_string()));
    text(&subjects.len().to_string());
    for subject in subjects {
        text(&subject.position.to_string());
        text(if subject.found { "found" } else { "not found" });
        text(&subject.rows.to_string());
    }
    text(&left_out.to_string());
    text(cleared);
    for shard in shards {
        text(shard.path());
        text(&shard.footer_hash.to_string());
        let mut rows = Vec::with_capacity(shard.rows.serialized_size());
        // Writing to a Vec can't fail.
        let _written = shard.rows.serialize_into(&mut rows);
        text(&blake3::hash(&rows).to_hex());
    }
    hasher.finalize().to_hex().to_string()
}
