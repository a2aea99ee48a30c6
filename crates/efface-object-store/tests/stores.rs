//! The public rules for tables and states, kept on a store in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use efface::error::Error;
use efface::state::{Expect, State};
use efface::table::Table;
use efface_object_store::{Cache, ObjectState, ObjectTable, Store, Versioning};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

fn store(objects: &Arc<InMemory>) -> Store {
    let objects: Arc<dyn ObjectStore> = Arc::clone(objects) as _;
    Store::new(
        objects,
        Path::from("a lake/events"),
        "memory",
        Versioning::Tags,
    )
    .unwrap()
}

fn state(objects: &Arc<InMemory>) -> ObjectState {
    ObjectState::new(store(objects), Cache::temporary().unwrap())
}

fn put(objects: &Arc<InMemory>, key: &str, bytes: impl Into<Bytes>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let key = Path::parse(key).unwrap();
    runtime
        .block_on(objects.put(&key, bytes.into().into()))
        .unwrap();
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

#[test]
fn a_lease_that_is_not_renewed_runs_out_and_its_holder_writes_no_more() {
    let objects = Arc::new(InMemory::new());
    let lasts = Duration::from_millis(200);
    let dead = state(&objects).with_lease_of(lasts);
    let lease = dead.lease("_efface/lock", "the first").unwrap();
    std::thread::sleep(lasts * 3);
    lease.confirm().unwrap();
    // Somebody whose clock is far ahead, or an operator, takes it away.
    put(
        &objects,
        "a lake/events/_efface/lock",
        r#"{"epoch":2,"holder":"another","nonce":"n","milliseconds":100,"free":false}"#,
    );
    std::thread::sleep(lasts);
    assert!(matches!(lease.confirm(), Err(Error::Locked { .. })));
    let refused = dead.put("_efface/x", b"late", Expect::Any);
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    let refused = dead.remove(&["_efface/x".to_owned()]);
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    drop(lease);
    // That one dies without giving it up.
    let next = state(&objects);
    let error = next
        .lease("_efface/lock", "the second")
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("another"), "{error}");
    std::thread::sleep(Duration::from_millis(2500));
    let lease = next.lease("_efface/lock", "the second").unwrap();
    lease.confirm().unwrap();
    let stored = next.get("_efface/lock", 1 << 10).unwrap().unwrap();
    let text = String::from_utf8(stored.bytes).unwrap();
    assert!(text.contains(r#""epoch":3"#), "{text}");
}
