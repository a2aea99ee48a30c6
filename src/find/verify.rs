//! Is anything of a set of ids left anywhere in a dataset?
//!
//! ```text
//!   ids ──> every shard, every structure (shard::residue)
//!      ──> the files below `_efface`, the hashes of the index
//!      ──> the archives that exports became (`archived`)
//!      ──> the alias table;  temporary files that were left over
//! ```
//! Ids are looked for as they are given: the alias rows that a delete has removed can't lead anywhere any more.
//! In subject columns values are compared as a request compares them, in other columns of bytes with the id's
//! text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::archived::in_archives;
use crate::archives::is_archive;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::file_system::TEMPORARY_SUFFIX;
use crate::identity::removal;
use crate::index::{DIRECTORY, Index};
use crate::queue;
use crate::shard::residue::{Finding, PART_BYTES_MIN, Place, Sought, residue};
use crate::shard::roles::SubjectColumn;
use crate::state;
use crate::subject::{Form, SubjectHash, SubjectId};

/// The result of a search for traces.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Whether nothing was found.
    pub clean: bool,
    /// The traces, by path, row group, column and place.
    pub findings: Vec<Finding>,
    /// Shards that were searched.
    pub shards: u64,
    /// Those of them with traces that have other names (hard links), and how many: the same traces lie there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_names: Vec<(String, u64)>,
}

/// Looks for `ids` in the whole dataset.
///
/// # Errors
/// When there are no shards, one is damaged, or something can't be read.
pub(crate) fn verify(dataset: &Dataset, ids: &[SubjectId]) -> Result<Verification> {
    let search = Search {
        dataset,
        ids,
        texts: ids.iter().map(|id| id.reveal().into()).collect(),
    };
    let snapshot = dataset.snapshot()?;
    dataset
        .observer
        .begin("verifying", snapshot.shards.len() as u64);
    let mut findings = Vec::new();
    let mut other_names = Vec::new();
    let mut forms = BTreeSet::new();
    for file in &snapshot.shards {
        let shard = dataset.open(file)?;
        let columns = dataset.config.subject_columns(&shard)?;
        forms.extend(columns.iter().flat_map(SubjectColumn::forms));
        let found = residue(&shard, &Sought::of_ids(&shard, ids, &columns))?;
        if file.other_names() > 0 && !found.is_empty() {
            other_names.push((file.path.clone(), file.other_names()));
        }
        findings.extend(found);
        dataset.observer.advance(1);
    }
    dataset.observer.end();
    for leftover in snapshot.leftovers {
        findings.push(finding(leftover, Place::Leftover, 1));
    }
    findings.extend(search.state(&forms)?);
    findings.extend(search.alias_table(ids)?);
    findings.extend(in_archives(dataset, ids)?);
    findings.sort_unstable();
    Ok(Verification {
        clean: findings.is_empty(),
        findings,
        shards: snapshot.shards.len() as u64,
        other_names,
    })
}

struct Search<'a> {
    dataset: &'a Dataset,
    ids: &'a [SubjectId],
    texts: Vec<Vec<u8>>,
}

impl Search<'_> {
    /// efface's own files, byte for byte, and the hashes of the index, which was made of ids in these forms.
    fn state(&self, forms: &BTreeSet<Form>) -> Result<Vec<Finding>> {
        let state = &*self.dataset.state;
        let of = |texts: Vec<Vec<u8>>| Sought {
            columns: BTreeMap::new(),
            texts: Arc::new(texts),
        };
        // These files hold hashes, numbers, times and paths: a short id would be met by chance.
        let long = self
            .texts
            .iter()
            .filter(|text| text.len() >= PART_BYTES_MIN);
        let everywhere = of(long.cloned().collect());
        // A waiting request holds its ids as whole strings.
        let whole = |id: &SubjectId| serde_json::to_vec(id.reveal()).unwrap_or_default();
        let in_queue = of(self.ids.iter().map(whole).collect());
        let mut findings = Vec::new();
        for file in state.list(state::DIRECTORY)? {
            if file.path.ends_with(TEMPORARY_SUFFIX) {
                findings.push(finding(file.path.clone(), Place::Leftover, 1));
            }
            if is_archive(&file.path) {
                continue;
            }
            let bytes = state.map(&file.path)?;
            let sought = if file.path.starts_with(queue::DIRECTORY) {
                &in_queue
            } else {
                &everywhere
            };
            let count = sought
                .count_in_file(&bytes, 0..file.bytes)
                .map_err(Error::io("read", &file.path))?;
            if count > 0 {
                findings.push(finding(file.path, Place::State, count));
            }
        }
        if let Some(index) = Index::open(state, &self.dataset.config.index_key())? {
            let mut count = 0;
            let canonical = forms
                .iter()
                .flat_map(|form| self.ids.iter().filter_map(|id| id.canonical(*form)));
            for canonical in canonical {
                let hash = SubjectHash::of(&canonical, index.seed());
                count += u64::from(!index.candidates(&[hash])?.is_empty());
            }
            if count > 0 {
                let path = DIRECTORY.to_owned();
                findings.push(finding(path, Place::State, count));
            }
        }
        Ok(findings)
    }

    fn alias_table(&self, ids: &[SubjectId]) -> Result<Option<Finding>> {
        let Some(table) = self.dataset.config.alias_table() else {
            return Ok(None);
        };
        let file = self.dataset.open_aliases(&table)?.open()?;
        let rows = removal::rows_naming(file, &table, ids)?;
        Ok((!rows.is_empty()).then(|| finding(table.path, Place::AliasTable, rows.len())))
    }
}

fn finding(path: String, place: Place, count: u64) -> Finding {
    Finding {
        path,
        row_group: None,
        column: None,
        place,
        count,
    }
}
