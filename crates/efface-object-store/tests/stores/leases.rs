//! Leases that run out, requests that hang, and what a process that died leaves in a store.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use efface::error::Error;
use efface::state::{Expect, State};
use efface_object_store::{Cache, ObjectState};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::troubled::Troubled;
use crate::{PREFIX, get, put, state, store_at, wait};

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

#[test]
fn each_renewal_of_a_lease_changes_the_object_since_some_stores_tell_versions_by_their_content() {
    let objects = Arc::new(InMemory::new());
    let lasts = Duration::from_millis(200);
    let state = state(&objects).with_lease_of(lasts);
    let lease = state.lease("_efface/lock", "somebody").unwrap();
    let lock = format!("{PREFIX}/_efface/lock");
    let first = get(&objects, &lock).unwrap();
    std::thread::sleep(lasts * 2);
    let later = get(&objects, &lock).unwrap();
    assert_ne!(first, later);
    drop(lease);
    let free = get(&objects, &lock).unwrap();
    assert_ne!(free, later);
    std::thread::sleep(lasts);
    assert_eq!(get(&objects, &lock).unwrap(), free, "nobody renews it");
}

#[test]
fn a_write_that_hangs_until_the_lease_is_lost_never_arrives() {
    let inner = Arc::new(InMemory::new());
    let hangs = Arc::new(AtomicBool::new(false));
    let troubled = Troubled {
        inner: Arc::clone(&inner),
        hangs: Arc::clone(&hangs),
        ..Troubled::default()
    };
    let lasts = Duration::from_millis(400);
    let store = store_at(Arc::new(troubled), PREFIX);
    let state = ObjectState::new(store, Cache::temporary().unwrap()).with_lease_of(lasts);
    let lease = state.lease("_efface/lock", "somebody").unwrap();
    hangs.store(true, Ordering::SeqCst);
    let (done, came_back) = mpsc::channel();
    let writer = std::thread::spawn({
        let state = state.clone();
        move || {
            let put = state.put("_efface/put", b"late", Expect::Any);
            done.send(put.map(drop)).unwrap();
            // Nor does one that begins now.
            done.send(state.remove(&["_efface/x".to_owned()])).unwrap();
            // It runs out by itself.
            drop(lease);
            done.send(Ok(())).unwrap();
        }
    });
    let next = || came_back.recv_timeout(Duration::from_secs(20));
    let put = next();
    let removed = next();
    let dropped = next();
    hangs.store(false, Ordering::SeqCst);
    writer.join().unwrap();
    assert!(matches!(put, Ok(Err(Error::Locked { .. }))), "{put:?}");
    assert!(
        matches!(removed, Ok(Err(Error::Locked { .. }))),
        "{removed:?}"
    );
    assert!(matches!(dropped, Ok(Ok(()))), "{dropped:?}");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(get(&inner, &format!("{PREFIX}/_efface/put")), None);
}

#[test]
fn a_lease_is_renewed_however_many_other_requests_wait() {
    let troubled = Troubled::default();
    let waiting = Arc::clone(&troubled.waiting);
    let lasts = Duration::from_millis(400);
    let store = store_at(Arc::new(troubled), PREFIX);
    let state = ObjectState::new(store, Cache::temporary().unwrap()).with_lease_of(lasts);
    let lease = state.lease("_efface/lock", "somebody").unwrap();
    for _ in 0..200 {
        let state = state.clone();
        std::thread::spawn(move || state.get("_efface/x-endless", 10).map(drop));
    }
    std::thread::sleep(lasts * 4);
    // No more are let to the store.
    assert!((10..200).contains(&waiting.load(Ordering::SeqCst)));
    lease.confirm().unwrap();
}

#[test]
fn an_upload_that_can_not_be_completed_leaves_no_parts_behind() {
    let troubled = Troubled::default();
    let uploads = Arc::clone(&troubled.uploads);
    let store = store_at(Arc::new(troubled), PREFIX);
    let state = ObjectState::new(store, Cache::temporary().unwrap());
    let mut draft = state.create("_efface/index/segment").unwrap();
    draft.write_all(&vec![1; 9 << 20]).unwrap();
    let error = draft.publish().unwrap_err();
    assert!(error.to_string().contains("500"), "{error}");
    assert_eq!(uploads.load(Ordering::SeqCst), 0);
    assert!(!state.has("_efface/index/segment").unwrap());
}

#[test]
fn what_a_process_that_died_left_of_a_probe_is_cleaned_up_and_what_a_living_one_probes_with_stays()
{
    let inner = Arc::new(InMemory::new());
    for name in ["dead-old", "living"] {
        put(&inner, &format!("{PREFIX}/_efface/scratch/{name}"), "probe");
    }
    let troubled = Troubled {
        inner: Arc::clone(&inner),
        ..Troubled::default()
    };
    let store = store_at(Arc::new(troubled), PREFIX);
    let state = ObjectState::new(store, Cache::temporary().unwrap());
    state.put("_efface/x", b"x", Expect::Any).unwrap();
    state.clean_up("_efface").unwrap();
    let left = wait(inner.list(None).try_collect::<Vec<_>>()).unwrap();
    let left: Vec<&str> = left.iter().map(|meta| meta.location.as_ref()).collect();
    let living = format!("{PREFIX}/_efface/scratch/living");
    let other = format!("{PREFIX}/_efface/x");
    assert_eq!(left, [living.as_str(), other.as_str()]);
}
