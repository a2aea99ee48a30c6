//! Any bytes as a whole Parquet file: a rewrite without some rows ends in an error, or in a file that has
//! just the other rows and from which nothing more is taken by taking nothing. The same with all values of these
//! rows cleared, or just the sources among them, which leaves nothing to clear.
#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;

use efface::shard::Shard;
use efface::shard::chunk::level::ZstdLevel;
use efface::shard::clear::{Cleared, Clearing};
use efface::shard::json::json_leaves;
use efface::shard::rewrite::{RewriteOptions, clear, is_clear, rewrite};
use efface::shard::sources::Sources;
use efface_fuzz::{Bytes, Written, forgive_other_crates};
use libfuzzer_sys::fuzz_target;
use roaring::RoaringBitmap;

/// Footers can claim billions of rows; so many are enough to try.
const ROWS_MAX: u64 = 1 << 16;

const OPTIONS: RewriteOptions = RewriteOptions {
    memory: 1 << 20,
    zstd_level: ZstdLevel::Fixed(1),
};

fn cleared(shard: &Shard, rows: &RoaringBitmap, cleared: Cleared<'_>) {
    let clearing = Clearing::of(shard, cleared, &BTreeSet::new());
    let mut written = Written::default();
    let Ok(report) = clear(shard, rows, &clearing, &mut written, &OPTIONS) else {
        return;
    };
    assert_eq!(report.rows_removed, 0);
    let new = Shard::new("new", Arc::new(Bytes(written.0))).expect("what was written reads back");
    assert_eq!(new.footer.rows(), shard.footer.rows());
    assert!(is_clear(&new, rows, &clearing).expect("what was written can be read"));
}

fn without(shard: &Shard, rows: &RoaringBitmap) -> Option<Shard> {
    let mut written = Written::default();
    let report = rewrite(shard, rows, &mut written, &OPTIONS).ok()?;
    assert_eq!(report.rows_removed, rows.len());
    Some(Shard::new("new", Arc::new(Bytes(written.0))).expect("what was written reads back"))
}

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    let Ok(shard) = Shard::new("old", Arc::new(Bytes(data.to_vec()))) else {
        return;
    };
    let total = shard.footer.rows();
    if total > ROWS_MAX {
        return;
    }
    // The footer decides which rows go: about one of three, so that some row groups lose none or all.
    let pattern = shard.footer.hash;
    let all = 0..u32::try_from(total).unwrap();
    let goes = |row: &u32| (pattern.rotate_left(*row) ^ u64::from(*row)).is_multiple_of(3);
    let rows: RoaringBitmap = all.filter(goes).collect();
    cleared(&shard, &rows, Cleared::All);
    if let Ok(json) = json_leaves(&shard, &[]) {
        cleared(&shard, &rows, Cleared::Sources(&Sources::default(), &json));
    }
    let Some(new) = without(&shard, &rows) else {
        return;
    };
    assert_eq!(new.footer.rows(), total - rows.len());
    let again = without(&new, &RoaringBitmap::new()).expect("what was written can be rewritten");
    assert_eq!(again.footer.rows(), new.footer.rows());
});
