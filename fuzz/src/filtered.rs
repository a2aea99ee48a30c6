//! Whether a rewritten file is what the naive filter makes of the old one.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use efface::Result;
use efface::parquet_bytes::page::{PageHeader, PageKind};
use efface::parquet_bytes::page_walk::PageWalk;
use efface::shard::Shard;
use efface::shard::chunk::level::ZstdLevel;
use efface::shard::residue::{Place, Sought, SoughtColumn, residue};
use efface::shard::rewrite::{RewriteOptions, RewriteReport, rewrite};
use roaring::RoaringBitmap;

use crate::oracle::bounds::{check_page_index, check_statistics};
use crate::oracle::{Contents, same_styles};
use crate::{Bytes, Written};

/// How the targets rewrite: with little memory, so that its bounds are met.
pub const OPTIONS: RewriteOptions = RewriteOptions {
    memory: 1 << 20,
    zstd_level: ZstdLevel::Fixed(1),
};

/// A file as a shard.
///
/// # Errors
/// Those of [`Shard::new`].
pub fn shard(file: &bytes::Bytes) -> Result<Shard> {
    Shard::new("shard", Arc::new(Bytes(file.clone())))
}

/// The shard without `rows`.
///
/// # Errors
/// Those of [`rewrite`].
pub fn without(shard: &Shard, rows: &RoaringBitmap) -> Result<(bytes::Bytes, RewriteReport)> {
    let mut written = Written::default();
    let report = rewrite(shard, rows, &mut written, &OPTIONS)?;
    assert_eq!(report.rows_removed, rows.len());
    Ok((written.0.into(), report))
}

/// Whether the pages of a file claim so little that the naive reader, which believes them, has room for it.
fn is_modest(file: &bytes::Bytes) -> bool {
    const BYTES_MAX: u32 = 16 << 20;
    const ENTRIES_MAX: u32 = 1 << 20;
    let is_modest = |page: &PageHeader| {
        let entries = match page.kind {
            PageKind::Dictionary { values, .. } => values,
            kind => kind.data_values().unwrap_or(0),
        };
        page.uncompressed_len <= BYTES_MAX && entries <= ENTRIES_MAX
    };
    let Ok(shard) = shard(file) else {
        return false;
    };
    let groups = shard.footer.row_groups().iter();
    groups.flat_map(|group| &group.chunks).all(|chunk| {
        let mut walk = PageWalk::new(Arc::clone(&shard.file), chunk.range.clone());
        loop {
            match walk.peek() {
                Ok(Some(page)) if is_modest(&page) => walk.skip(&page),
                Ok(None) => return true,
                _ => return false,
            }
        }
    })
}

/// What the naive reader sees in a file that may be damaged.
fn contents(file: &bytes::Bytes) -> std::result::Result<Contents, String> {
    let read = AssertUnwindSafe(|| Contents::of(file.clone()));
    catch_unwind(read).unwrap_or_else(|_| Err("the reader panicked".to_owned()))
}

/// Asserts that `new` is `old` without `rows`, if the naive reader can read `old` at all. Gives what is in both.
fn filtered(
    old: &bytes::Bytes,
    rows: &RoaringBitmap,
    new: &bytes::Bytes,
    report: &RewriteReport,
) -> Option<[Contents; 2]> {
    let before = is_modest(old).then(|| contents(old).ok()).flatten()?;
    let found = contents(new).expect("what was written can be read, as the old one can");
    let expected = before
        .clone()
        .without(|row| rows.contains(u32::try_from(row).unwrap()));
    assert_eq!(expected.schema, found.schema);
    if report.dropped_key_values.is_empty() {
        assert_eq!(expected.about, found.about);
    }
    let groups = |of: &Contents| of.row_groups.len();
    assert_eq!(groups(&expected), groups(&found), "row groups");
    for (expected, found) in expected.row_groups.iter().zip(&found.row_groups) {
        assert_eq!(expected.sorting, found.sorting);
        assert!(expected.leaves == found.leaves, "rows differ");
        let styles = (&expected.styles, &found.styles);
        assert!(same_styles(styles.0, styles.1), "{styles:?}");
    }
    Some([before, found])
}

/// Asserts that `new` is `old` without `rows`, if the naive reader can read `old` at all: it may be damaged.
pub fn assert_filtered(
    old: &bytes::Bytes,
    rows: &RoaringBitmap,
    new: &bytes::Bytes,
    report: &RewriteReport,
) {
    drop(filtered(old, rows, new, report));
}

/// The same for a file that is whole, as its writer left it: then also every bound and count of `new` holds, and
/// no value is left anywhere that only `rows` had.
pub fn assert_filtered_whole(
    old: &bytes::Bytes,
    rows: &RoaringBitmap,
    new: &bytes::Bytes,
    report: &RewriteReport,
) {
    let [before, found] = filtered(old, rows, new, report).expect("the old file is whole");
    check_statistics(new.clone(), &found);
    check_page_index(new, &found);
    let shard = shard(new).expect("what was written is a shard");
    for leaf in 0..shard.footer.schema().num_columns() {
        let mut values: HashSet<Vec<u8>> = before.values(leaf).into_keys().collect();
        for value in found.values(leaf).keys() {
            values.remove(value);
        }
        // A bound of 0 is spelled with the sign that holds for both zeros.
        values.retain(|value| value.iter().any(|byte| !matches!(byte, 0 | 0x80)));
        let column = SoughtColumn {
            kind: None,
            values: Arc::new(values),
        };
        let sought = Sought {
            columns: [(leaf, column)].into(),
            texts: Arc::default(),
        };
        let is_text =
            shard.footer.schema().column(leaf).physical_type() == parquet::basic::Type::BYTE_ARRAY;
        let mut findings =
            residue(&shard, &sought).expect("what was written can be looked through");
        // A bound that was cut may be the front of a value that stayed, too.
        findings.retain(|finding| {
            !is_text
                || matches!(
                    finding.place,
                    Place::Page | Place::DictionaryEntry | Place::BloomFilter
                )
        });
        assert!(findings.is_empty(), "{findings:?}");
    }
}
