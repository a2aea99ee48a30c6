//! The public rules for tables and states, kept on a store in memory; and what these rules don't know of: leases that
//! run out, other programs above the prefix, requests that hang.

mod leases;
mod troubled;

use std::sync::Arc;

use bytes::Bytes;
use efface::state::{Expect, State};
use efface::table::Table;
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
