//! Row groups that share a dictionary with one that loses rows.
//!
//! Writers of Arrow dictionary arrays put the whole dictionary into every row group: an entry that only the
//! rows of one row group refer to stands in all of them. Where two chunks of a column have a dictionary of the
//! same bytes, and one of them loses entries, the entries that nothing refers to are taken out of both.
//!
//! Dictionaries of different lengths are never read, so this costs nothing where nothing is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Shard;
use super::chunk::{Source, Tools, has_orphans};
use super::clear::Clearing;
use super::fate::Fate;
use super::rewrite::task::with_erasure;
use crate::error::FormatError;
use crate::parquet_bytes::footer::{column, meta_data};
use crate::parquet_bytes::page_index::read_bytes;

type Result<T> = std::result::Result<T, FormatError>;

/// The chunks (row group, leaf) whose dictionary must lose what nothing refers to, besides what the rows
/// or values that go leave behind.
pub(super) fn to_scrub(
    shard: &Shard,
    fates: &[Fate],
    clearing: Option<&Clearing>,
) -> Result<BTreeSet<(usize, usize)>> {
    let mut found = BTreeSet::new();
    let mut tools = Tools::default();
    for leaf in 0..shard.footer.schema().num_columns() {
        if clearing.is_some_and(|clearing| clearing.action(leaf).is_none()) {
            continue;
        }
        let mut by_len: BTreeMap<u64, Vec<(usize, Range<u64>)>> = BTreeMap::new();
        for group in 0..fates.len() {
            if let Some(range) = dictionary(shard, group, leaf) {
                let same = by_len.entry(range.end - range.start).or_default();
                same.push((group, range));
            }
        }
        for mut same in by_len.into_values() {
            let is_touched = |group: usize| !matches!(fates.get(group), Some(Fate::Kept) | None);
            // A shard that shares nothing is not read here.
            while let Some(at) = same.iter().position(|(group, _)| is_touched(*group)) {
                if same.len() < 2 {
                    break;
                }
                let (first, range) = same.swap_remove(at);
                let bytes = read_bytes(&*shard.file, &range)?;
                let mut sharing = vec![first];
                let mut others = Vec::new();
                for (group, range) in same {
                    if read_bytes(&*shard.file, &range)? == bytes {
                        sharing.push(group);
                    } else {
                        others.push((group, range));
                    }
                }
                same = others;
                if sharing.len() < 2 {
                    continue;
                }
                for group in sharing.iter().filter(|group| is_touched(**group)) {
                    if loses_entries(shard, *group, leaf, fates, clearing, &mut tools)? {
                        found.extend(sharing.iter().map(|group| (*group, leaf)));
                        break;
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Where the dictionary page of a chunk is, by its footer.
fn dictionary(shard: &Shard, group: usize, leaf: usize) -> Option<Range<u64>> {
    let meta = shard.footer.chunk_tree(group, leaf).and_then(meta_data)?;
    let offset = |field| meta.i64(field).and_then(|at| u64::try_from(at).ok());
    let chunk = &shard
        .footer
        .row_groups()
        .get(group)?
        .chunks
        .get(leaf)?
        .range;
    let range = offset(column::DICTIONARY_PAGE_OFFSET)?..offset(column::DATA_PAGE_OFFSET)?;
    let is_inside = chunk.start <= range.start && range.end <= chunk.end;
    (is_inside && !range.is_empty()).then_some(range)
}

fn loses_entries(
    shard: &Shard,
    group: usize,
    leaf: usize,
    fates: &[Fate],
    clearing: Option<&Clearing>,
    tools: &mut Tools,
) -> Result<bool> {
    let Some(Fate::Without(rows) | Fate::Cleared(rows)) = fates.get(group) else {
        // It goes as a whole, with every entry that it refers to.
        return Ok(true);
    };
    let Some(source) = Source::of(shard, group, leaf) else {
        return Ok(false);
    };
    with_erasure(
        shard,
        (group, leaf),
        rows,
        clearing,
        tools,
        |erasure, tools| has_orphans(&source, erasure, tools),
    )
}
