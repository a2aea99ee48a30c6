//! A column of any type, encoding, codec and page version, written by the `parquet` crate: without some rows it is
//! what the naive filter leaves, with bounds and counts that hold and nothing of a value that went.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use efface_fuzz::column::Column;
use efface_fuzz::filtered::{assert_filtered_whole, shard, without};
use efface_fuzz::forgive_other_crates;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    let Ok(column) = Column::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let old = column.file();
    let rows = column.dropped();
    let shard = shard(&old).expect("a file of the parquet crate is a shard");
    let (new, report) = without(&shard, &rows).expect("it can be rewritten");
    assert_filtered_whole(&old, &rows, &new, &report);
});
