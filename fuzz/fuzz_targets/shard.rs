//! Any bytes as a whole Parquet file: a rewrite without some rows ends in an error, or in a file that reads as the
//! naive filter of the old one and from which nothing more is taken by taking nothing. The same with all values of
//! these rows cleared, or just the sources among them, which leaves nothing to clear.
#![no_main]

use std::collections::BTreeSet;

use efface::shard::Shard;
use efface::shard::clear::{Cleared, Clearing};
use efface::shard::json::json_leaves;
use efface::shard::rewrite::{clear, is_clear};
use efface::shard::sources::Sources;
use efface_fuzz::filtered::{OPTIONS, assert_filtered, shard, without};
use efface_fuzz::{Written, forgive_other_crates};
use libfuzzer_sys::fuzz_target;
use roaring::RoaringBitmap;

/// Footers can claim billions of rows; so many are enough to try.
const ROWS_MAX: u64 = 1 << 16;

fn cleared(old: &Shard, rows: &RoaringBitmap, cleared: Cleared<'_>) {
    let clearing = Clearing::of(old, cleared, &BTreeSet::new());
    let mut written = Written::default();
    let Ok(report) = clear(old, rows, &clearing, &mut written, &OPTIONS) else {
        return;
    };
    assert_eq!(report.rows_removed, 0);
    let new = shard(&written.0.into()).expect("what was written reads back");
    assert_eq!(new.footer.rows(), old.footer.rows());
    assert!(is_clear(&new, rows, &clearing).expect("what was written can be read"));
}

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    let file = bytes::Bytes::copy_from_slice(data);
    let Ok(old) = shard(&file) else {
        return;
    };
    let total = old.footer.rows();
    if total > ROWS_MAX {
        return;
    }
    // The footer decides which rows go: about one of three, so that some row groups lose none or all.
    let pattern = old.footer.hash;
    let all = 0..u32::try_from(total).unwrap();
    let goes = |row: &u32| (pattern.rotate_left(*row) ^ u64::from(*row)).is_multiple_of(3);
    let rows: RoaringBitmap = all.filter(goes).collect();
    cleared(&old, &rows, Cleared::All);
    if let Ok(json) = json_leaves(&old, &[]) {
        cleared(&old, &rows, Cleared::Sources(&Sources::default(), &json));
    }
    let Ok((new, report)) = without(&old, &rows) else {
        return;
    };
    assert_filtered(&file, &rows, &new, &report);
    let new = shard(&new).expect("what was written reads back");
    assert_eq!(new.footer.rows(), total - rows.len());
    let (again, _) =
        without(&new, &RoaringBitmap::new()).expect("what was written can be rewritten");
    let again = shard(&again).expect("what was written again reads back");
    assert_eq!(again.footer.rows(), new.footer.rows());
});
