//! The suppressed rows of a shard.
//!
//! ```text
//!   distinct ids of each row group ── keyed hash ──> those on the list ── select ──> rows ── cut-off ──> rows to remove
//! ```
//! Memory: the distinct suppressed ids of one shard, and its rows as a bitmap.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::{CutOff, Suppression};
use crate::config::Config;
use crate::error::Result;
use crate::shard::select::{Wanted, select};
use crate::shard::{Shard, ids, time};
use crate::subject::{Form, SubjectKey};

/// Suppressed values, by the form in which they are compared.
type Values = BTreeSet<(Form, Vec<u8>)>;

/// The rows of `shard` that must go because their ids are on `list`.
///
/// # Errors
/// When a page is damaged, or the shard lacks a column that has a role.
pub(crate) fn suppressed_rows(
    config: &Config,
    shard: &Shard,
    list: &Suppression,
    key: &SubjectKey,
) -> Result<RoaringBitmap> {
    let columns = config.subject_columns(shard)?;
    let groups = (0_u32..).zip(shard.footer.row_groups());
    let groups: Vec<_> = groups.collect();
    let rows: Vec<RoaringBitmap> = groups
        .into_par_iter()
        .map(|(number, group)| {
            let mut found: BTreeMap<CutOff, Values> = BTreeMap::new();
            for column in &columns {
                let Some(chunk) = group.chunks.get(column.leaf) else {
                    continue;
                };
                let forms = column.forms();
                ids::distinct(&shard.file, chunk, column, &mut |value| {
                    if let Some(cut_off) = list.cut_off(key, forms, value) {
                        let values = found.entry(cut_off).or_default();
                        values.extend(forms.iter().map(|form| (*form, value.to_vec())));
                    }
                })
                .map_err(|error| error.in_shard(&shard.path))?;
            }
            let mut rows = RoaringBitmap::new();
            for (cut_off, values) in found {
                let wanted = Wanted::of_values(values);
                let theirs = select(shard, [number], &columns, &wanted, None)?.rows;
                rows |= match cut_off {
                    None => theirs,
                    Some(cut_off) => before(config, shard, number, theirs, cut_off)?,
                };
            }
            Ok(rows)
        })
        .collect::<Result<_>>()?;
    Ok(rows
        .into_iter()
        .fold(RoaringBitmap::new(), |all, rows| all | rows))
}

/// Those of `rows` that are of a time before `cut_off`, or of none.
fn before(
    config: &Config,
    shard: &Shard,
    group: u32,
    rows: RoaringBitmap,
    cut_off: Timestamp,
) -> Result<RoaringBitmap> {
    let Some(column) = config.roles().time(shard)? else {
        return Ok(rows);
    };
    let bases = shard.row_bases();
    let base = bases.get(group as usize).copied().unwrap_or(0);
    let base = u32::try_from(base).unwrap_or(u32::MAX);
    let inside: Vec<u32> = rows.iter().map(|row| row.saturating_sub(base)).collect();
    let later = |start| time::inside(shard, group as usize, &column, &inside, start);
    // `time::inside` counts a null time as later than any instant, so this asks for exactly the nulls.
    let (later, nulls) = (later(cut_off)?, later(Timestamp::MAX)?);
    let back =
        |rows: Vec<u32>| -> RoaringBitmap { rows.into_iter().map(|row| row + base).collect() };
    Ok((rows - back(later)) | back(nulls))
}
