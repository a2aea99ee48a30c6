//! Any bytes as an alias table: the links, or an error. Without the records of some ids every other byte is as it
//! was, and the table names those ids no more.
#![no_main]

use std::collections::BTreeSet;

use efface::identity::removal::{csv_without, rows_naming};
use efface::identity::{AliasTable, IdentityGraph, TableFormat};
use efface::request::{Identity, Subjects};
use efface::storage::sim::Sim;
use efface::subject::SubjectId;
use libfuzzer_sys::fuzz_target;

const PATH: &str = "aliases.csv";

/// The `count` first words of the table.
fn words(data: &[u8], count: usize) -> Vec<SubjectId> {
    let words = data.split(|byte| matches!(byte, b',' | b'\n' | b'\r' | b'"'));
    let words: BTreeSet<&str> = words
        .skip(2)
        .filter_map(|word| std::str::from_utf8(word).ok())
        .filter(|word| !word.is_empty())
        .take(count)
        .collect();
    words.into_iter().map(SubjectId::new).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else {
        return;
    };
    let sim = Sim::new(0);
    sim.put(PATH, data);
    let table = AliasTable::new(PATH);
    if table.format(&sim).expect("it is there") == TableFormat::Parquet {
        return;
    }
    let erased = words(data, usize::from(count % 8));
    let mut left = Vec::new();
    let removed = match csv_without(&sim, &table, &erased, &mut left) {
        Ok(removed) => removed,
        Err(_) => {
            assert!(IdentityGraph::load(&sim, &table).is_err(), "both or none");
            return;
        }
    };
    let named = rows_naming(&sim, &table, &erased).expect("it was read");
    assert_eq!(named.len(), removed);
    if erased.is_empty() {
        assert_eq!(left, data);
    }
    sim.put(PATH, left.clone());
    let named = rows_naming(&sim, &table, &erased).expect("what is left can be read");
    assert!(named.is_empty(), "an erased id is left");
    let graph = IdentityGraph::load(&sim, &table).expect("what is left can be read");
    if let Ok(subjects) = Subjects::new(erased.iter().map(SubjectId::reveal)) {
        let expansion = graph.expand(&subjects, Identity::Cluster, 10_000);
        let expansion = expansion.expect("each stands alone");
        assert!(expansion.covers.iter().all(|cover| !cover.linked));
        assert_eq!(expansion.ids.len(), erased.len());
    }
    let mut again = Vec::new();
    csv_without(&sim, &table, &[], &mut again).expect("what is left can be read");
    assert_eq!(again, left);
});
