//! What a pass was decided with, changed between its crash and its resumption: roles, alias table, key, suppression list.
//! Whatever is changed, a request never ends in success with rows of its ids left, and once the change is taken back, it
//! ends with none.

use std::collections::BTreeSet;

use efface::config::{Config, EmptyShards};
use efface::engine::{Engine, EngineOptions};
use efface::erase::CompactOptions;
use efface::queue::RequestState;
use efface::receipts::{Cause, Ended, Receipt};
use efface::request::{Request, Subjects, Suppress};
use efface::state::files::StateFiles;
use efface::subject::SubjectKey;
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use jiff::Timestamp;
use rayon::prelude::*;

use crate::lake::{ONE_BY_ONE, config, ids_of, is_pending, lake};

const KEY: &str = "_efface/key";
const TABLE: &str = "aliases.csv";

/// What others change while nobody is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Roles,
    NoAliasTable,
    EmptyShards,
    LinkGone,
    OtherLink,
    TableGone,
    TableDamaged,
    KeyGone,
    OtherKey,
    KeyRotated,
    MoreSuppressed,
    LessSuppressed,
}

const CHANGES: [Change; 12] = [
    Change::Roles,
    Change::NoAliasTable,
    Change::EmptyShards,
    Change::LinkGone,
    Change::OtherLink,
    Change::TableGone,
    Change::TableDamaged,
    Change::KeyGone,
    Change::OtherKey,
    Change::KeyRotated,
    Change::MoreSuppressed,
    Change::LessSuppressed,
];

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn id() -> TrackingId {
    TrackingId::new(now(), [1; 10])
}

/// With the stored configuration.
fn engine(sim: &Sim) -> Engine {
    let options = EngineOptions {
        memory: ONE_BY_ONE,
        seed_if_new: 7,
        ..EngineOptions::default()
    };
    Engine::open_files(sim.clone(), options).unwrap()
}

fn delete_of(ids: &[&str]) -> Request {
    Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new(ids.iter().copied()).unwrap(), now())
    }
}

fn compact(sim: &Sim) -> efface::Result<()> {
    let options = CompactOptions {
        pass: TrackingId::new(now(), [2; 10]),
        max_match: 1.0,
        ..CompactOptions::at(now())
    };
    engine(sim).compact(&options).map(drop)
}

/// A request that waits, for an alias and for an id, beside rows of a suppressed id.
fn waiting() -> Sim {
    let sim = lake(&config(), true);
    let engine = engine(&sim);
    let suppressed = delete_of(&["cyd"]);
    engine
        .suppress(&suppressed, Suppress::default(), now())
        .unwrap();
    let request = delete_of(&["laptop@gone", "eve@gone"]);
    engine.submit(id(), &request, now(), None).unwrap();
    sim
}

/// The ids that have rows.
fn people(sim: &Sim) -> BTreeSet<String> {
    let shards = sim.all().into_iter();
    let shards = shards.filter(|(path, _)| path.ends_with(".parquet"));
    shards.flat_map(|(_, bytes)| ids_of(&bytes)).collect()
}

fn make(sim: &Sim, change: Change) {
    let configure = |config: Config| config.store(&StateFiles::new(sim.clone())).unwrap();
    match change {
        Change::Roles => configure(Config {
            subject: vec!["text".to_owned()],
            ..config()
        }),
        Change::NoAliasTable => configure(Config::default()),
        Change::EmptyShards => configure(Config {
            empty_shards: EmptyShards::Remove,
            ..config()
        }),
        Change::LinkGone => sim.put(TABLE, "alias,distinct_id\nphone,bob\n"),
        Change::OtherLink => sim.put(TABLE, "alias,distinct_id\nlaptop@gone,nobody@gone\n"),
        Change::TableGone => drop(sim.vanish(TABLE)),
        Change::TableDamaged => sim.put(TABLE, "alias,distinct_id\nlaptop@gone,\"ada"),
        Change::KeyGone => drop(sim.vanish(KEY)),
        Change::OtherKey => sim.put(KEY, "f".repeat(64)),
        Change::KeyRotated => {
            let rotated = engine(sim).replace_key(&SubjectKey::new([9; 32]));
            drop(rotated.unwrap());
        }
        Change::MoreSuppressed => {
            let more = delete_of(&["bob"]);
            let added = engine(sim).suppress(&more, Suppress::default(), now());
            assert_eq!(added.unwrap(), 1);
        }
        Change::LessSuppressed => {
            engine(sim).unsuppress(&delete_of(&["cyd"])).unwrap();
        }
    }
}

/// Takes back what can be: the list stays as it is, and so does a key that was rotated.
fn take_back(sim: &Sim, change: Change, before: &Sim) {
    let again = |path: &str| sim.put(path, before.bytes(path).unwrap());
    match change {
        Change::Roles | Change::NoAliasTable | Change::EmptyShards => {
            again(Config::PATH);
        }
        Change::LinkGone | Change::OtherLink | Change::TableGone | Change::TableDamaged => {
            again(TABLE);
        }
        Change::KeyGone | Change::OtherKey => again(KEY),
        Change::KeyRotated | Change::MoreSuppressed | Change::LessSuppressed => {}
    }
}

fn receipts_of_it(sim: &Sim) -> Vec<Receipt> {
    let mut found = Vec::new();
    let see = |receipt: Receipt| {
        if receipt.cause == Cause::Delete {
            found.push(receipt);
        }
    };
    engine(sim).receipts(see).unwrap();
    found
}

/// If the request has ended in success, none of its ids has a row.
fn check_evidence(sim: &Sim, covered: &[&str], what: &str) {
    for receipt in receipts_of_it(sim) {
        assert_eq!(
            receipt.state,
            Ended::Success,
            "{what}: {:?}",
            receipt.reason
        );
        let left = people(sim);
        let left: Vec<&&str> = covered.iter().filter(|id| left.contains(**id)).collect();
        assert!(
            left.is_empty(),
            "{what}: in spite of success, {} are left",
            left.len()
        );
    }
}

/// A compaction that is cut off at a change, and carried on after something else was changed. Says whether it was started
/// when it was cut off.
fn check(before: &Sim, cut: u64, change: Change) -> bool {
    let what = format!("{change:?} after the cut at {cut}");
    let sim = before.fork(cut);
    sim.cut_at(cut);
    let outcome = compact(&sim);
    let sim = if cut.is_multiple_of(2) {
        sim.reboot()
    } else {
        sim.restart()
    };
    let record = sim.bytes("_efface/pass/pass.json").unwrap_or_default();
    let has = |text: &str| {
        record
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    let is_started = has("\"stage\":\"started\"");
    let has_ended = outcome.is_ok() || !receipts_of_it(&sim).is_empty();
    make(&sim, change);
    // Links that were changed before anything was begun count as they are now.
    let covered: &[&str] = if is_started || has_ended {
        &["ada@gone", "laptop@gone", "eve@gone"]
    } else {
        &["laptop@gone", "eve@gone"]
    };
    for _ in 0..2 {
        // It may well be refused.
        let _outcome = compact(&sim);
        check_evidence(&sim, covered, &what);
    }
    take_back(&sim, change, before);
    compact(&sim).unwrap_or_else(|error| panic!("{what}, taken back: {error}"));
    check_evidence(&sim, covered, &what);
    assert_eq!(receipts_of_it(&sim).len(), 1, "{what}");
    let status = engine(&sim).status(id(), now()).unwrap();
    assert_eq!(status.state, RequestState::Success, "{what}");
    let left = sim.all().into_keys().find(|path| is_pending(path));
    assert_eq!(left, None, "{what}");
    is_started
}

#[test]
fn whatever_is_changed_between_a_crash_and_the_next_run_no_request_succeeds_with_rows_left() {
    let before = waiting();
    let undisturbed = before.fork(0);
    compact(&undisturbed).unwrap();
    assert_eq!(people(&undisturbed), BTreeSet::from(["bob".to_owned()]));
    let cuts = undisturbed.changes();
    assert!(cuts > 40, "{cuts}");
    for change in CHANGES {
        let started = (0..cuts).into_par_iter();
        let started = started.filter(|cut| check(&before, *cut, change));
        let started = started.count();
        assert!(started > 20, "{change:?}: {started}");
    }
}
