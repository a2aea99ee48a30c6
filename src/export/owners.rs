//! Whose the exported rows are.
//!
//! ```text
//!   ShardRows ── row group by row group: the id columns alone ──> per row, the subjects that it belongs to
//! ```
//!
//! In the order of the export: shard, row group, row. Memory: twelve bytes for each selected row of two row groups a
//! thread, and each set of subjects that share a row once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use super::decode::group_ranges;
use super::{ShardRows, open_unchanged};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::shard::Shard;
use crate::shard::roles::SubjectColumn;
use crate::shard::select::{Wanted, hits};
use crate::table::Table;

/// Subjects that share a row, by their place in the request; sorted, each once.
pub type Subjects = Arc<[u32]>;

/// The subjects of each selected row, in the order of the export.
pub(super) struct Owners {
    table: Arc<dyn Table>,
    config: Config,
    wanted: Arc<Wanted>,
    shards: VecDeque<ShardRows>,
    open: Option<Open>,
    /// Rows that were not yet asked for.
    ready: VecDeque<Subjects>,
    /// The subjects of each combination of ids that was seen.
    known: HashMap<Vec<u32>, Subjects>,
}

/// The shard that is looked at.
struct Open {
    shard: Shard,
    rows: ShardRows,
    columns: Vec<SubjectColumn>,
    next_group: usize,
}

impl Owners {
    pub(super) fn new(
        table: Arc<dyn Table>,
        config: Config,
        wanted: Arc<Wanted>,
        shards: Vec<ShardRows>,
    ) -> Self {
        Self {
            table,
            config,
            wanted,
            shards: shards.into(),
            open: None,
            ready: VecDeque::new(),
            known: HashMap::new(),
        }
    }

    /// The subjects of the next `rows` rows.
    ///
    /// # Errors
    /// When an id column can't be read, or there are fewer rows.
    pub(super) fn next_rows(&mut self, rows: usize) -> Result<Vec<Subjects>> {
        while self.ready.len() < rows {
            self.look_further()?;
        }
        Ok(self.ready.drain(..rows).collect())
    }

    /// Looks into some more row groups.
    fn look_further(&mut self) -> Result<()> {
        if self.open.is_none() {
            let Some(rows) = self.shards.pop_front() else {
                return Err(Error::CheckFailed {
                    path: "the export".to_owned(),
                    reason: "it has more rows than were selected".to_owned(),
                });
            };
            let shard = open_unchanged(&*self.table, &rows, None)?;
            let columns = self.config.roles().subjects(&shard)?;
            self.open = Some(Open {
                shard,
                rows,
                columns,
                next_group: 0,
            });
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let ranges: Vec<_> = group_ranges(&open.shard.footer)
            .enumerate()
            .skip(open.next_group)
            .filter_map(|(group, range)| Some((group, range?)))
            .filter(|(_, range)| open.rows.rows.range_cardinality(range.clone()) > 0)
            .take(2 * rayon::current_num_threads())
            .collect();
        let Some((last, _)) = ranges.last() else {
            self.open = None;
            return Ok(());
        };
        open.next_group = last + 1;
        let (shard, columns, wanted) = (&open.shard, &open.columns, &*self.wanted);
        let found: Vec<Result<Vec<(u32, u32)>>> = ranges
            .par_iter()
            .map(|(group, _)| hits(shard, *group, columns, wanted))
            .collect();
        for ((_, range), found) in ranges.into_iter().zip(found) {
            let found = found?;
            let base = *range.start();
            let mut of_rows = found.chunk_by(|left, right| left.0 == right.0).peekable();
            for row in open.rows.rows.range(range) {
                let row = row - base;
                let is_before = |hits: &&[(u32, u32)]| hits.first().is_some_and(|hit| hit.0 < row);
                while of_rows.next_if(is_before).is_some() {}
                let hits = of_rows.next_if(|hits| hits.first().is_some_and(|hit| hit.0 == row));
                let Some(hits) = hits else {
                    // A row that was selected and is nobody's: another file under the same name.
                    return Err(open.rows.shard.changed());
                };
                let ordinals: Vec<u32> = hits.iter().map(|(_, ordinal)| *ordinal).collect();
                let subjects = self.known.entry(ordinals).or_insert_with_key(|ordinals| {
                    let all = ordinals
                        .iter()
                        .flat_map(|ordinal| wanted.subjects_of(*ordinal));
                    let mut all: Vec<u32> = all.copied().collect();
                    all.sort_unstable();
                    all.dedup();
                    all.into()
                });
                self.ready.push_back(Arc::clone(subjects));
            }
        }
        Ok(())
    }
}

/// The rows (counted in the batch, in order) of each set of subjects, in the order of their first rows.
pub(super) fn rows_by_subjects(owners: &[Subjects]) -> Vec<(Subjects, Vec<usize>)> {
    let mut places: HashMap<*const u32, usize> = HashMap::new();
    let mut sets: Vec<(Subjects, Vec<usize>)> = Vec::new();
    for (row, subjects) in owners.iter().enumerate() {
        // Equal sets that aren't the same allocation are only listed apart.
        let place = *places.entry(subjects.as_ptr()).or_insert(sets.len());
        match sets.get_mut(place) {
            Some((_, rows)) => rows.push(row),
            None => sets.push((Arc::clone(subjects), vec![row])),
        }
    }
    sets
}
