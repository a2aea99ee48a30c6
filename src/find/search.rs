//! From covered ids to a [`Plan`]: the index nominates row groups, the exact match decides.
//!
//! ```text
//!   covered ids ── index ──> candidate row groups ── shard::select ──> rows of each shard ──> Plan
//!                            (all row groups of a shard that the index doesn't know as it is)
//! ```

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::price;
use crate::config::partition_names;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::identity::Expansion;
use crate::index::Index;
use crate::index::manifest::ShardEntry;
use crate::plan::{KnownSubject, Plan, Price, SelectedShard};
use crate::request::{Disclosure, Kind, Request};
use crate::shard::Shard;
use crate::shard::clear::Clearing;
use crate::shard::held::Holder;
use crate::shard::schema::{column_names, find};
use crate::shard::select::{Selection, Wanted, select};
use crate::shard::sources::Sources;
use crate::shard::time::is_all_before;
use crate::subject::SubjectHash;
use crate::table::{ShardRef, Snapshot};

/// What is known of where ids are, before any shard is read.
#[derive(Clone, Copy)]
pub(crate) enum Knowledge<'a> {
    /// The index, refreshed under the lock that is still held.
    Fresh(&'a Index),
    /// The index as it lay there, if any: every shard is compared with it by its footer.
    AsFound(Option<&'a Index>),
}

/// A shard with the row groups that may hold wanted ids.
struct Candidate {
    shard: ShardRef,
    /// Hash of the footer that the row groups are counted in.
    footer_hash: u64,
    row_groups: Vec<u32>,
    /// Rows of the whole shard.
    rows: u64,
}

/// The rows that were found in one shard.
struct Found {
    selected: SelectedShard,
    unknown: Vec<Unknown>,
    /// Candidate row groups that were not scanned, because all of their rows are too old.
    old: Vec<u32>,
}

/// What an index says of the shards.
struct Nominations<'a> {
    by_path: HashMap<&'a str, (usize, &'a ShardEntry)>,
    row_groups: BTreeMap<usize, RoaringBitmap>,
    is_fresh: bool,
}

/// Finds out what `request`, expanded to `expansion`, touches.
pub(crate) fn plan(
    dataset: &Dataset,
    request: &Request,
    expansion: &Expansion,
    snapshot: &Snapshot,
    knowledge: Knowledge<'_>,
) -> Result<Plan> {
    let shows_sources = request.kind == Kind::Export && request.disclosure == Disclosure::Sources;
    if let Some(name) = dataset
        .config
        .empty_source()
        .filter(|_| request.clears() || shows_sources)
    {
        return Err(Error::SourceName {
            name: name.to_owned(),
        });
    }
    let window = request.window_start()?;
    let wanted = wanted(expansion);
    let nominations = Nominations::of(knowledge, &wanted)?;
    let candidates: Vec<Candidate> = snapshot
        .shards
        .par_iter()
        .map(|file| nominations.candidate(dataset, file, window.is_some()))
        .collect::<Vec<Result<_>>>()
        .into_iter()
        .collect::<Result<_>>()?;
    let dataset_rows = candidates.iter().map(|candidate| candidate.rows).sum();
    let candidates: Vec<Candidate> = candidates
        .into_iter()
        .filter(|candidate| !candidate.row_groups.is_empty())
        .collect();
    // Those with a candidate are looked at below; a dataset without a time column must show without one too.
    if let (true, Some(first)) = (
        window.is_some() && candidates.is_empty(),
        snapshot.shards.first(),
    ) {
        dataset.config.check_roles(&dataset.open(first)?, true)?;
    }
    dataset.observer.begin("selecting", candidates.len() as u64);
    let holder = Holder::default();
    let mut found: Vec<Found> = candidates
        .into_par_iter()
        .map(|candidate| {
            let of = candidate.shard.clone();
            let shard = dataset.open(&of)?;
            let (old, groups) = split_by_age(dataset, &shard, candidate.groups_of(&shard), window)?;
            let selection = in_shard(dataset, &shard, groups, &wanted, window)?;
            let clearing = (request.clears() && !selection.rows.is_empty())
                .then(|| {
                    dataset
                        .config
                        .clearing(&shard, request.disclosure, request.required_columns)
                })
                .transpose()?;
            let price = (request.kind == Kind::Delete)
                .then(|| price::of_pages(&shard, &selection.rows, clearing.as_ref()))
                .transpose()?;
            // An export is not refused what a delete is: columns that can't be null.
            let clearing = match clearing {
                None if shows_sources && !selection.rows.is_empty() => {
                    Some(dataset.config.would_clear(&shard, Disclosure::Sources)?)
                }
                clearing => clearing,
            };
            let unknown = match &clearing {
                Some(clearing) => unknown_columns(dataset, &shard, clearing),
                None => Vec::new(),
            };
            dataset.observer.advance(1);
            Ok(Found {
                selected: as_planned(of, &shard, selection, price, &holder),
                unknown,
                old,
            })
        })
        // All of them are searched, so that the error is that of the first shard, whichever thread is faster.
        .collect::<Vec<Result<_>>>()
        .into_iter()
        .collect::<Result<_>>()?;
    if request.disclosure == Disclosure::Sources {
        refuse_unknown_columns(dataset, &found)?;
    }
    look_for_older_rows(dataset, expansion, &wanted, window, &mut found)?;
    let selected = found.into_iter().map(|found| found.selected).collect();
    dataset.observer.end();
    let subjects: Vec<KnownSubject> = expansion
        .covers
        .iter()
        .map(|cover| KnownSubject {
            position: cover.position,
            is_linked: cover.linked,
        })
        .collect();
    Ok(Plan::new(
        request,
        window,
        &subjects,
        selected,
        dataset_rows,
        expansion.left_out,
        &dataset.config.cleared(request),
    ))
}

/// A configured column that a shard lacks, with its role.
type Unknown = (&'static str, String);

/// The configured sources that are no column (of the file or its path), and can be no key, of `shard`, and the JSON
/// columns that it lacks.
fn unknown_columns(dataset: &Dataset, shard: &Shard, clearing: &Clearing) -> Vec<Unknown> {
    let schema = shard.footer.schema();
    let sources = dataset.config.source.iter();
    let json = dataset.config.json_column.iter();
    let is_directory = |name: &str| {
        let name = Sources::new(&[name.to_owned()]);
        partition_names(&shard.path).any(|part| name.column(part, part).is_some())
    };
    let sources = sources.filter(|name| !clearing.knows(name) && !is_directory(name));
    let is_unknown = |name: &&String| find(schema, name).is_ok_and(|found| found.is_empty());
    let json = json.filter(is_unknown);
    let text = dataset.config.text_column.iter().filter(is_unknown);
    sources
        .map(|name| ("source", name.clone()))
        .chain(json.map(|name| ("JSON", name.clone())))
        .chain(text.map(|name| ("text", name.clone())))
        .collect()
}

/// A configured column that no shard with matching rows has is a misspelt one.
fn refuse_unknown_columns(dataset: &Dataset, found: &[Found]) -> Result<()> {
    let is_hit = |shard: &&Found| !shard.selected.selection.rows.is_empty();
    let mut hit = found.iter().filter(is_hit);
    let Some(Found {
        selected: first,
        unknown,
        ..
    }) = hit.next()
    else {
        return Ok(());
    };
    let mut unknown: Vec<&Unknown> = unknown.iter().collect();
    hit.for_each(|other| unknown.retain(|name| other.unknown.contains(name)));
    match unknown.first() {
        None => Ok(()),
        Some((role, column)) => Err(Error::MissingColumn {
            path: first.shard.path.clone(),
            role,
            column: column.clone(),
            columns: column_names(dataset.open(&first.shard)?.footer.schema()),
        }),
    }
}

/// Of the row groups `groups`, those whose bounds show that all their rows are before `window`, and the others.
fn split_by_age(
    dataset: &Dataset,
    shard: &Shard,
    groups: Vec<u32>,
    window: Option<Timestamp>,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let Some(start) = window else {
        return Ok((Vec::new(), groups));
    };
    dataset.config.check_roles(shard, true)?;
    if dataset.config.subject_columns(shard)?.is_empty() {
        return Ok((Vec::new(), groups));
    }
    let Some(column) = dataset.config.roles().time(shard)? else {
        return Ok((Vec::new(), groups));
    };
    let is_old = |group: &u32| is_all_before(shard, *group as usize, &column, start);
    Ok(groups.into_iter().partition(is_old))
}

/// A subject of which nothing was found may still have rows in row groups that are too old: then it is known, with
/// no row. These row groups are scanned only for such subjects.
fn look_for_older_rows(
    dataset: &Dataset,
    expansion: &Expansion,
    wanted: &Wanted,
    window: Option<Timestamp>,
    found: &mut [Found],
) -> Result<()> {
    let is_held = |subject: usize| {
        let mut selections = found.iter().map(|shard| &shard.selected.selection);
        selections.any(|selection| selection.is_held.get(subject) == Some(&true))
    };
    let mut covers = expansion.covers.iter().enumerate();
    if covers.all(|(subject, cover)| cover.linked || is_held(subject)) {
        return Ok(());
    }
    let older: Vec<Result<()>> = found
        .par_iter_mut()
        .filter(|shard| !shard.old.is_empty())
        .map(|found| {
            let shard = dataset.open(&found.selected.shard)?;
            if shard.footer.hash != found.selected.footer_hash {
                return Err(Error::ShardChanged { path: shard.path });
            }
            let groups = std::mem::take(&mut found.old);
            let older = in_shard(dataset, &shard, groups, wanted, window)?;
            let newer = std::mem::take(&mut found.selected.selection);
            found.selected.selection = Selection::union([newer, older]);
            Ok(())
        })
        .collect();
    older.into_iter().collect()
}

/// The rows of one shard, from the row groups `groups` only.
pub(crate) fn in_shard(
    dataset: &Dataset,
    shard: &Shard,
    groups: Vec<u32>,
    wanted: &Wanted,
    window: Option<Timestamp>,
) -> Result<Selection> {
    let columns = dataset.config.subject_columns(shard)?;
    dataset.config.check_roles(shard, window.is_some())?;
    let time = match window {
        Some(_) if !columns.is_empty() => dataset.config.roles().time(shard)?,
        _ => None,
    };
    let window = time.as_ref().zip(window);
    let selections: Vec<Selection> = groups
        .into_par_iter()
        .map(|group| select(shard, [group], &columns, wanted, window))
        .collect::<Result<_>>()?;
    Ok(Selection::union(selections))
}

/// A selection as the plan takes it, with the footer if it will be needed again.
fn as_planned(
    of: ShardRef,
    shard: &Shard,
    selection: Selection,
    price: Option<Price>,
    holder: &Holder,
) -> SelectedShard {
    let row_groups = touched_row_groups(shard, &selection).len() as u64;
    SelectedShard {
        shard: of,
        footer_hash: shard.footer.hash,
        footer: Some(&shard.footer)
            .filter(|_| row_groups > 0)
            .and_then(|footer| holder.hold(footer)),
        selection,
        price,
        row_groups,
        total_rows: shard.footer.rows(),
    }
}

/// The ids to look for, with the subjects that each belongs to.
pub(crate) fn wanted(expansion: &Expansion) -> Wanted {
    let mut subjects = vec![Vec::new(); expansion.ids.len()];
    for (place, cover) in (0_u32..).zip(&expansion.covers) {
        for id in &cover.ids {
            if let Some(of) = subjects.get_mut(*id as usize) {
                of.push(place);
            }
        }
    }
    Wanted::new(&expansion.ids, subjects, expansion.covers.len())
}

/// The row groups of `shard` with selected rows.
pub(crate) fn touched_row_groups(shard: &Shard, selection: &Selection) -> Vec<usize> {
    let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    shard
        .row_bases()
        .windows(2)
        .enumerate()
        .filter_map(|(group, bounds)| match bounds {
            [base, end] if base < end => {
                (selection.rows.range_cardinality(row(*base)..=row(end - 1)) > 0).then_some(group)
            }
            _ => None,
        })
        .collect()
}

impl Candidate {
    /// The row groups to scan. If another process replaced the shard after they were nominated, they say nothing about
    /// the new one, and all of its row groups are scanned.
    fn groups_of(self, shard: &Shard) -> Vec<u32> {
        if shard.footer.hash == self.footer_hash {
            self.row_groups
        } else {
            (0..).take(shard.footer.row_groups().len()).collect()
        }
    }
}

impl<'a> Nominations<'a> {
    fn of(knowledge: Knowledge<'a>, wanted: &Wanted) -> Result<Self> {
        let nominated = |index: &Index| {
            let hashes: Vec<SubjectHash> = wanted
                .forms()
                .map(|form| SubjectHash::of(form, index.seed()))
                .collect();
            index.candidates(&hashes)
        };
        let (index, row_groups, is_fresh) = match knowledge {
            Knowledge::Fresh(index) => (Some(index), nominated(index)?, true),
            // An index that can't be rebuilt now nominates nothing: all shards are scanned.
            Knowledge::AsFound(index) => match index.map(nominated) {
                Some(Ok(row_groups)) => (index, row_groups, false),
                Some(Err(Error::State { .. })) | None => (None, BTreeMap::new(), false),
                Some(Err(error)) => return Err(error),
            },
        };
        let by_path = index
            .map_or(&[][..], Index::shards)
            .iter()
            .enumerate()
            .map(|(position, entry)| (entry.path.as_str(), (position, entry)))
            .collect();
        Ok(Self {
            by_path,
            row_groups,
            is_fresh,
        })
    }

    /// The row groups of a shard that may hold wanted ids: what the index nominates, or all of them if it
    /// does not know the shard as it is.
    fn candidate(&self, dataset: &Dataset, file: &ShardRef, needs_time: bool) -> Result<Candidate> {
        let known = self
            .by_path
            .get(file.path.as_str())
            .filter(|(_, entry)| entry.is_like(file));
        let of_index = |position: usize, entry: &ShardEntry| Candidate {
            shard: file.clone(),
            footer_hash: entry.footer_hash,
            row_groups: self
                .row_groups
                .get(&position)
                .map(|groups| groups.iter().collect())
                .unwrap_or_default(),
            rows: entry.rows,
        };
        if let Some((position, entry)) = known.filter(|_| self.is_fresh) {
            return Ok(of_index(*position, entry));
        }
        let shard = dataset.open(file)?;
        dataset.config.check_roles(&shard, needs_time)?;
        let footer = &shard.footer;
        Ok(match known {
            Some((position, entry)) if entry.footer_hash == footer.hash => {
                of_index(*position, entry)
            }
            _ => Candidate {
                shard: file.clone(),
                footer_hash: footer.hash,
                row_groups: (0..).take(footer.row_groups().len()).collect(),
                rows: footer.rows(),
            },
        })
    }
}
