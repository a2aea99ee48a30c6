//! A chunk whose pages hold anything, walked and rewritten: an error, or what the naive filter makes of it.
#![no_main]

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use efface::shard::chunk::Source;
use efface::shard::chunk::reader::read;
use efface::shard::clear::{Cleared, Clearing};
use efface::shard::rewrite::{clear, is_clear};
use efface_fuzz::filtered::{OPTIONS, assert_filtered, shard, without};
use efface_fuzz::pages::Pages;
use efface_fuzz::{Written, forgive_other_crates};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    let Ok(pages) = Pages::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let old = pages.file();
    let Ok(shard_of_old) = shard(&old) else {
        return;
    };
    let rows = pages.dropped(shard_of_old.footer.rows().min(1 << 16));
    if let Some(source) = Source::of(&shard_of_old, 0, 0) {
        let mut values = 0;
        let _walked = read(&source, &mut |_| values += 1);
    }
    let clearing = Clearing::of(&shard_of_old, Cleared::All, &BTreeSet::new());
    let mut written = Written::default();
    if clear(&shard_of_old, &rows, &clearing, &mut written, &OPTIONS).is_ok() {
        let new = shard(&written.0.into()).expect("what was written reads back");
        assert!(is_clear(&new, &rows, &clearing).expect("what was written can be read"));
    }
    if let Ok((new, report)) = without(&shard_of_old, &rows) {
        assert_filtered(&old, &rows, &new, &report);
    }
});
