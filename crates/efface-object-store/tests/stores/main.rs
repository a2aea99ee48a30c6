//! The public rules for tables and states, kept on a store in memory; and what these rules don't know of: leases that
//! run out, other programs above the prefix, requests that hang.

mod leases;
mod troubled;

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use efface::error::Error;
use efface::state::{Expect, State};
use efface::table::{Replacement, Snapshot, Table};
use efface_object_store::{Cache, ObjectState, ObjectTable, Store, Versioning};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const PREFIX: &str = "a lake/events";

fn store(objects: &Arc<InMemory>) -> Store {
    store_at(Arc::clone(objects) as _, PREFIX)
}

fn store_at(objects: Arc<dyn ObjectStore>, prefix: &str) -> Store {
    Store::new(objects, Path::from(prefix), "memory", Versioning::Tags).unwrap()
}

fn state(objects: &Arc<InMemory>) -> ObjectState {
    ObjectState::new(store(objects), Cache::temporary().unwrap())
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

fn put(objects: &Arc<InMemory>, key: &str, bytes: impl Into<Bytes>) {
    let key = Path::parse(key).unwrap();
    wait(objects.put(&key, bytes.into().into())).unwrap();
}

fn get(objects: &Arc<InMemory>, key: &str) -> Option<Bytes> {
    let key = Path::parse(key).unwrap();
    let read = async { objects.get(&key).await.ok()?.bytes().await.ok() };
    wait(read)
}

#[test]
fn a_state_keeps_every_rule() {
    let objects = Arc::new(InMemory::new());
    let state = state(&objects);
    efface::testing::state::check(&state).unwrap();
    assert_eq!(state.name(), "memory");
}

#[test]
fn a_state_with_copies_in_a_directory_keeps_every_rule() {
    let directory = tempfile::tempdir().unwrap();
    let objects = Arc::new(InMemory::new());
    let cache = Cache::in_directory(directory.path()).unwrap();
    efface::testing::state::check(&ObjectState::new(store(&objects), cache)).unwrap();
}

#[test]
fn a_table_keeps_every_rule() {
    let objects = Arc::new(InMemory::new());
    for (place, name) in [
        "d=1/a b.parquet",
        "d=1/é.parquet",
        "d=2/%2F.pq",
        "x.parquet",
        "y.parquet",
    ]
    .into_iter()
    .enumerate()
    {
        let bytes: Vec<u8> = (0..=255)
            .cycle()
            .skip(place)
            .take(100_000 * place + 10)
            .collect();
        put(&objects, &format!("a lake/events/{name}"), bytes);
    }
    put(&objects, "a lake/events-beside/z.parquet", "another table");
    put(&objects, "a lake/events/_temporary/z.parquet", "no shard");
    let table = ObjectTable::new(store(&objects), Cache::temporary().unwrap());
    assert_eq!(table.snapshot().unwrap().shards.len(), 5);
    efface::testing::table::check(&table).unwrap();
}

#[test]
fn copies_are_of_one_version_and_stay_in_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let objects = Arc::new(InMemory::new());
    let state = || {
        let cache = Cache::in_directory(directory.path()).unwrap();
        ObjectState::new(store(&objects), cache)
    };
    let path = "_efface/index/segment";
    let first = vec![1; 1 << 20];
    let second = vec![2; 1 << 20];
    state().put(path, &first, Expect::Any).unwrap();
    assert!(state().map(path).unwrap()[..] == first[..]);
    let fetched_again = {
        let store = store(&objects);
        let cache = Cache::in_directory(directory.path()).unwrap();
        let state = ObjectState::new(store.clone(), cache);
        assert!(state.map(path).unwrap()[..] == first[..]);
        store.counts().fetched
    };
    assert_eq!(fetched_again, 0);
    state().put(path, &second, Expect::Any).unwrap();
    assert!(state().map(path).unwrap()[..] == second[..]);
    let copies = std::fs::read_dir(directory.path().join("_efface/objects")).unwrap();
    assert_eq!(copies.count(), 1);
}

/// A table of one shard of 200,000 bytes, what it is to be replaced by, and its list.
fn staged(objects: &Arc<InMemory>) -> (ObjectTable, Vec<u8>, Snapshot, Replacement) {
    put(objects, &format!("{PREFIX}/x.parquet"), vec![1; 200_000]);
    let table = ObjectTable::new(store(objects), Cache::temporary().unwrap());
    let base = table.snapshot().unwrap();
    let new = vec![2; 150_000];
    let mut staging = table.stage(&base.shards[0]).unwrap();
    staging.write_all(&new).unwrap();
    let replacement = Replacement {
        old: base.shards[0].clone(),
        new: Some(staging.name().to_owned()),
    };
    table.settle(&mut [staging]).unwrap();
    (table, new, base, replacement)
}

#[test]
fn an_object_that_only_ends_as_the_new_shard_does_is_not_taken_for_it() {
    let objects = Arc::new(InMemory::new());
    let (table, mut theirs, base, replacement) = staged(&objects);
    theirs[0] = 3;
    put(&objects, &format!("{PREFIX}/x.parquet"), theirs);
    let replacements = std::slice::from_ref(&replacement);
    let done = table.commit(&base, replacements).unwrap();
    assert_eq!(done.changed, [0]);
    // The one that is the same to its first byte is.
    let (table, new, base, replacement) = staged(&objects);
    put(&objects, &format!("{PREFIX}/x.parquet"), new);
    let done = table.commit(&base, &[replacement]).unwrap();
    assert_eq!(done.changed, [0; 0]);
}

#[test]
fn sidecars_go_with_what_they_describe_and_stay_beside_what_somebody_else_has_written() {
    let objects = Arc::new(InMemory::new());
    let (sidecar, summary) = (
        format!("{PREFIX}/.x.parquet.crc"),
        format!("{PREFIX}/_metadata"),
    );
    let of_summary = format!("{PREFIX}/._metadata.crc");
    put(&objects, &sidecar, "theirs");
    put(&objects, &summary, "all");
    put(&objects, &of_summary, "of all");
    let (table, _, base, replacement) = staged(&objects);
    put(&objects, &format!("{PREFIX}/x.parquet"), "theirs");
    let done = table.commit(&base, &[replacement]).unwrap();
    assert_eq!(done.changed, [0]);
    assert_eq!(get(&objects, &sidecar).unwrap(), "theirs");
    assert_eq!(get(&objects, &summary), None);
    assert_eq!(get(&objects, &of_summary), None);
    assert_eq!(done.sidecars, ["._metadata.crc"]);
    let (table, new, base, replacement) = staged(&objects);
    let done = table.commit(&base, &[replacement]).unwrap();
    assert_eq!(done.sidecars, [".x.parquet.crc"]);
    assert_eq!(get(&objects, &sidecar), None);
    assert!(get(&objects, &format!("{PREFIX}/x.parquet")).unwrap() == new);
}

#[test]
fn a_list_above_the_prefix_is_found_and_one_of_a_neighbour_is_not() {
    for (prefix, keys, is_managed) in [
        ("t/d=1", vec!["t/_delta_log/0.json"], true),
        ("t/d=1", vec!["t/_metadata"], true),
        ("t/a/d=1", vec!["t/_common_metadata"], true),
        ("t/delta_0000001_0000001/b", vec![], true),
        ("t/delta_0000001_0000001", vec![], true),
        ("t/data", vec!["t/metadata/v1.metadata.json"], true),
        ("t/data", vec!["t/metadata/x/v1.metadata.json"], false),
        ("t/data", vec!["t/metadata/x/_delta_log/0.json"], false),
        (
            "t/data",
            vec!["t/data2/_delta_log/0.json", "_metadata2"],
            false,
        ),
    ] {
        let objects = Arc::new(InMemory::new());
        for key in &keys {
            put(&objects, key, "list");
        }
        let table = ObjectTable::new(
            store_at(Arc::clone(&objects) as _, prefix),
            Cache::temporary().unwrap(),
        );
        let checked = table.check_changeable();
        let is_refused = matches!(checked, Err(Error::ManagedTable { .. }));
        assert_eq!(is_refused, is_managed, "{prefix} {keys:?}: {checked:?}");
        let snapshot = table.snapshot().unwrap();
        assert_eq!(
            snapshot.managed_by.is_some(),
            is_managed,
            "{prefix} {keys:?}"
        );
    }
}

#[test]
fn a_table_that_has_found_nothing_above_it_does_not_look_for_it_in_each_snapshot() {
    let objects = Arc::new(InMemory::new());
    put(&objects, &format!("{PREFIX}/x.parquet"), "x");
    let store = store(&objects);
    let table = ObjectTable::new(store.clone(), Cache::temporary().unwrap());
    table.check_changeable().unwrap();
    let before = store.counts().requests;
    for _ in 0..5 {
        assert_eq!(table.snapshot().unwrap().shards.len(), 1);
    }
    assert_eq!(store.counts().requests - before, 5);
}

#[test]
fn a_list_is_found_behind_more_files_than_one_page_has() {
    let objects = Arc::new(InMemory::new());
    for number in 0..1200 {
        put(&objects, &format!("t/metadata/snap-{number}.avro"), "x");
    }
    put(&objects, "t/metadata/v1.metadata.json", "x");
    let table = ObjectTable::new(store_at(objects, "t/data"), Cache::temporary().unwrap());
    let checked = table.check_changeable();
    assert!(
        matches!(checked, Err(Error::ManagedTable { .. })),
        "{checked:?}"
    );
}
