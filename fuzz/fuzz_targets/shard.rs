//! Any bytes as a whole Parquet file: a rewrite without some rows ends in an error, or in a file that has
//! just the other rows and from which nothing more is taken by taking nothing.
#![no_main]

use std::sync::Arc;

use efface::shard::Shard;
use efface::shard::chunk::level::ZstdLevel;
use efface::shard::rewrite::{RewriteOptions, rewrite};
use efface_fuzz::{Bytes, Written, forgive_other_crates};
use libfuzzer_sys::fuzz_target;
use roaring::RoaringBitmap;

/// Footers can claim billions of rows; so many are enough to try.
const ROWS_MAX: u64 = 1 << 16;

fn without(shard: &Shard, rows: &RoaringBitmap) -> Option<Shard> {
    let mut written = Written::default();
    let options = RewriteOptions {
        memory: 1 << 20,
        zstd_level: ZstdLevel::Fixed(1),
    };
    let report = rewrite(shard, rows, &mut written, &options).ok()?;
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
    let Some(new) = without(&shard, &rows) else {
        return;
    };
    assert_eq!(new.footer.rows(), total - rows.len());
    let again = without(&new, &RoaringBitmap::new()).expect("what was written can be rewritten");
    assert_eq!(again.footer.rows(), new.footer.rows());
});
