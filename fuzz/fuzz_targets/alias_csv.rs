//! Any bytes as an alias table: the links, or an error. Without the records of some ids every other byte is as it
//! was, and the table names those ids no more.
#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;

use efface::identity::removal::{csv_without, rows_naming};
use efface::identity::{AliasTable, IdentityGraph, TableFormat};
use efface::io::{Mapped, ReadAt};
use efface::request::{Identity, Subjects};
use efface::subject::SubjectId;
use libfuzzer_sys::fuzz_target;

fn file(data: &[u8]) -> Arc<dyn ReadAt> {
    Arc::new(Mapped::new(data.to_vec()))
}

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
    let table = AliasTable::new("aliases.csv");
    let old = file(data);
    if table.format_of(&*old).expect("it can be read") == TableFormat::Parquet {
        return;
    }
    let erased = words(data, usize::from(count % 8));
    let mut left = Vec::new();
    let removed = match csv_without(&old, &table, &erased, &mut left) {
        Ok(removed) => removed,
        Err(_) => {
            assert!(IdentityGraph::load(old, &table).is_err(), "both or none");
            return;
        }
    };
    let named = rows_naming(old, &table, &erased).expect("it was read");
    assert_eq!(named.len(), removed);
    if erased.is_empty() {
        assert_eq!(left, data);
    }
    let new = file(&left);
    let named = rows_naming(Arc::clone(&new), &table, &erased).expect("what is left can be read");
    assert!(named.is_empty(), "an erased id is left");
    let graph = IdentityGraph::load(Arc::clone(&new), &table).expect("what is left can be read");
    if let Ok(subjects) = Subjects::new(erased.iter().map(SubjectId::reveal)) {
        let expansion = graph.expand(&subjects, Identity::Cluster, 10_000);
        let expansion = expansion.expect("each stands alone");
        assert!(expansion.covers.iter().all(|cover| !cover.linked));
        assert_eq!(expansion.ids.len(), erased.len());
    }
    let mut again = Vec::new();
    csv_without(&new, &table, &[], &mut again).expect("what is left can be read");
    assert_eq!(again, left);
});
