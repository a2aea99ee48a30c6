//! What becomes of the row groups of a shard.

use roaring::RoaringBitmap;

use super::Shard;

/// What becomes of a row group.
pub(super) enum Fate {
    /// Nothing, but perhaps entries of its dictionaries go.
    Kept,
    /// It loses all its rows.
    Dropped,
    /// These rows go, counted in the row group.
    Without(Vec<u32>),
    /// Values of these rows go.
    Cleared(Vec<u32>),
}

impl Fate {
    /// What becomes of the row groups of `shard` when `rows` go.
    pub(super) fn without_rows(shard: &Shard, rows: &RoaringBitmap) -> Vec<Self> {
        let groups = shard.footer.row_groups().iter();
        groups
            .zip(Self::cleared(shard, rows))
            .map(|(group, fate)| match fate {
                Self::Cleared(rows) if rows.len() as u64 == group.rows => Self::Dropped,
                Self::Cleared(rows) => Self::Without(rows),
                fate => fate,
            })
            .collect()
    }

    /// What becomes of the row groups of `shard` when values of `rows` go.
    pub(super) fn cleared(shard: &Shard, rows: &RoaringBitmap) -> Vec<Self> {
        let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
        let groups = shard.footer.row_groups().iter();
        groups
            .zip(shard.row_bases())
            .map(|(group, base)| {
                if group.rows == 0 {
                    return Self::Kept;
                }
                let range = row(base)..=row(base + group.rows - 1);
                let inside: Vec<u32> = rows
                    .range(range)
                    .map(|at| row(u64::from(at) - base))
                    .collect();
                if inside.is_empty() {
                    Self::Kept
                } else {
                    Self::Cleared(inside)
                }
            })
            .collect()
    }
}
