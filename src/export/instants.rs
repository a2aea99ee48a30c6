//! Looking at INT96 instants before their type is decided.
//!
//! ```text
//!   selected rows of the INT96 leaves ── survey ──> Instants of those that need another type ── arrow_types
//! ```

use std::sync::Arc;

use arrow::datatypes::{Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use roaring::RoaringBitmap;

use super::arrow_types::int96_units;
use super::decode::{group_ranges, values_of};
use super::int96::{Instants, Told, tells_all};
use crate::error::{FormatError, Result};
use crate::parquet_bytes::gather::{Gather, SharedScratch};
use crate::shard::Shard;

/// Looks at the selected `rows` (counted in the shard) of the INT96 leaves among `shown`, whose Arrow schema is that of
/// the whole shard.
///
/// # Errors
/// When a page is damaged.
pub(super) fn survey(
    shard: &Shard,
    schema: &Schema,
    shown: &ProjectionMask,
    rows: &RoaringBitmap,
) -> Result<Instants> {
    let mut instants = Instants::new();
    for (leaf, unit) in int96_units(schema, &shard.footer).into_iter().enumerate() {
        let Some(unit) = unit.filter(|_| shown.leaf_included(leaf)) else {
            continue;
        };
        let told = told(shard, leaf, unit, rows).map_err(|error| error.in_shard(&shard.path))?;
        if told != Told::By(unit) {
            instants.insert(leaf, told);
        }
    }
    Ok(instants)
}

fn told(
    shard: &Shard,
    leaf: usize,
    unit: TimeUnit,
    rows: &RoaringBitmap,
) -> std::result::Result<Told, FormatError> {
    let mut units = vec![unit, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let scratch = SharedScratch::default();
    let groups = shard.footer.row_groups().iter();
    for (group, range) in groups.zip(group_ranges(&shard.footer)) {
        let column = shard.footer.schema().columns().get(leaf);
        let (Some(range), Some(chunk), Some(column)) = (range, group.chunks.get(leaf), column)
        else {
            continue;
        };
        let base = *range.start();
        let rows: Arc<[u32]> = rows.range(range).map(|row| row - base).collect();
        if rows.is_empty() {
            continue;
        }
        let mut pages = Gather::new(
            Arc::clone(&shard.file),
            chunk,
            column.clone(),
            group.rows,
            rows,
            Arc::clone(&scratch),
        );
        while let Some(page) = pages.pop()? {
            units.retain(|unit| tells_all(*unit, values_of(&page)));
        }
    }
    Ok(units.first().map_or(Told::AsText, |unit| Told::By(*unit)))
}
