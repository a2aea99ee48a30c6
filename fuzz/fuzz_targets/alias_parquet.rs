//! Any bytes as an alias table in Parquet: the links of as many rows as its footer claims, or an error.
#![no_main]

use efface::identity::removal::rows_naming;
use efface::identity::{AliasTable, IdentityGraph};
use efface::parquet_bytes::footer::Footer;
use efface::storage::Storage;
use efface::storage::sim::Sim;
use efface::subject::SubjectId;
use efface_fuzz::forgive_other_crates;
use libfuzzer_sys::fuzz_target;

const PATH: &str = "aliases.parquet";

/// Footers can claim billions of rows; so many are enough to try.
const ROWS_MAX: u64 = 1 << 16;

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    let sim = Sim::new(0);
    sim.put(PATH, data);
    let file = sim.open(PATH).expect("it is there");
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
    let Ok(graph) = IdentityGraph::load(&sim, &table) else {
        assert!(rows_naming(&sim, &table, &[]).is_err(), "both or none");
        return;
    };
    assert!(graph.ids() as u64 <= 2 * footer.rows());
    let ids: Vec<SubjectId> = ["u224xoglc", "0", ""].map(SubjectId::new).into();
    let named = rows_naming(&sim, &table, &ids).expect("it was read");
    assert!(named.iter().all(|row| u64::from(row) < footer.rows()));
});
