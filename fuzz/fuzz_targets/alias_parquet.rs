//! Any bytes as an alias table in Parquet: the links of as many rows as its footer claims, or an error.
#![no_main]

use std::sync::Arc;

use efface::identity::removal::rows_naming;
use efface::identity::{AliasTable, IdentityGraph};
use efface::io::{Mapped, ReadAt};
use efface::parquet_bytes::footer::Footer;
use efface::subject::SubjectId;
use efface_fuzz::forgive_other_crates;
use libfuzzer_sys::fuzz_target;

const PATH: &str = "aliases.parquet";

/// Footers can claim billions of rows; so many are enough to try.
const ROWS_MAX: u64 = 1 << 16;

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    let file: Arc<dyn ReadAt> = Arc::new(Mapped::new(data.to_vec()));
    let Ok(footer) = Footer::read(&*file) else {
        return;
    };
    if footer.rows() > ROWS_MAX {
        return;
    }
    // The events that the corpus begins with have these columns.
    let table = AliasTable {
        alias_column: "user_id".to_owned(),
        ..AliasTable::new(PATH)
    };
    let Ok(graph) = IdentityGraph::load(Arc::clone(&file), &table) else {
        assert!(rows_naming(file, &table, &[]).is_err(), "both or none");
        return;
    };
    assert!(graph.ids() as u64 <= 2 * footer.rows());
    let ids: Vec<SubjectId> = ["u224xoglc", "0", ""].map(SubjectId::new).into();
    let named = rows_naming(file, &table, &ids).expect("it was read");
    assert!(named.iter().all(|row| u64::from(row) < footer.rows()));
});
