//! Shards and alias tables that have other names (hard links), under which rows would stay.

#[path = "faults/lake.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;

use std::fs;
use std::path::Path;

use efface::config::{Config, HardLinks};
use efface::engine::{Engine, EngineOptions};
use efface::erase::delete::DeleteOptions;
use efface::erase::{CompactOptions, CompactReport};
use efface::file_system::FileSystem;
use efface::file_system::disk::Disk;
use efface::queue::RequestState;
use efface::receipts::Receipt;
use efface::request::{Request, Subjects, Suppress};
use efface::subject::SubjectId;
use efface::tracking::TrackingId;
use efface::{Error, ErrorKind};
use jiff::Timestamp;

use lake::{ids_of, shard_of};

const SHARDS: [&str; 2] = ["a.parquet", "b.parquet"];
const ALIASES: &str = "alias,distinct_id\nlaptop,ada\nphone,bob\n";

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// Two shards and an alias table; beside the dataset a backup that shares the files of `linked`.
fn lake(linked: &[&str], config: &Config) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("lake")).unwrap();
    fs::create_dir(path("backup")).unwrap();
    for name in SHARDS {
        write(
            &path("lake").join(name),
            &shard_of(&["ada", "bob", "cyd", "bob", "cyd"]),
        );
    }
    write(&path("lake/aliases.csv"), ALIASES.as_bytes());
    for name in linked {
        fs::hard_link(path("lake").join(name), path("backup").join(name)).unwrap();
    }
    let engine = Engine::open_dir_with(path("lake"), EngineOptions::overriding(config.clone()));
    engine.unwrap().store_configuration().unwrap();
    dir
}

#[expect(clippy::disallowed_methods, reason = "what others write beside us")]
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

fn config(hard_links: HardLinks) -> Config {
    Config {
        aliases: Some("aliases.csv".to_owned()),
        hard_links,
        ..Config::default()
    }
}

fn open(dir: &tempfile::TempDir) -> Engine {
    Engine::open_dir(dir.path().join("lake")).unwrap()
}

fn delete_of(id: &str) -> Request {
    Request::delete(Subjects::new([id]).unwrap(), now())
}

fn rows_in(dir: &tempfile::TempDir, shard: &str, id: &str) -> usize {
    let bytes = fs::read(dir.path().join("lake").join(shard)).unwrap();
    ids_of(&bytes).iter().filter(|found| *found == id).count()
}

fn submit(engine: &Engine, id: &str) -> TrackingId {
    let tracking_id = TrackingId::draw(now());
    let submitted = engine.submit(tracking_id, &delete_of(id), now(), None);
    submitted.unwrap().tracking_id
}

fn compact(engine: &Engine) -> CompactReport {
    engine.compact(&CompactOptions::at(now())).unwrap()
}

fn receipt(engine: &Engine, id: TrackingId) -> Receipt {
    let mut found = None;
    engine
        .receipts(|receipt| {
            if receipt.tracking_id == id {
                found = Some(receipt);
            }
        })
        .unwrap();
    found.unwrap()
}

#[test]
fn a_shard_with_another_name_waits_until_that_is_gone_and_plan_status_and_verify_say_so() {
    let dir = lake(&["b.parquet"], &config(HardLinks::Wait));
    let engine = open(&dir);
    let plan = engine.plan(&delete_of("ada")).unwrap();
    let report = engine.report(&plan).unwrap();
    let refused = report.refused.unwrap();
    assert!(
        refused.contains("b.parquet") && refused.contains("2 names"),
        "{refused}"
    );
    assert_eq!(report.refused_kind, Some(ErrorKind::Unsupported));
    let names: Vec<u64> = report
        .per_shard
        .iter()
        .map(|shard| shard.other_names)
        .collect();
    assert_eq!(names, [0, 1]);
    let found = engine.verify(&[SubjectId::new("ada")]).unwrap();
    assert_eq!(found.other_names, [("b.parquet".to_owned(), 1)]);

    let error = engine
        .delete(&delete_of("ada"), None, &DeleteOptions::default())
        .unwrap_err();
    assert!(matches!(error, Error::Place { .. }), "{error}");
    assert_eq!(rows_in(&dir, "a.parquet", "ada"), 1, "nothing was touched");

    let id = submit(&engine, "ada");
    for _ in 0..2 {
        let done = compact(&engine);
        assert_eq!(done.troubles.len(), 2);
        let status = engine.status(id, now()).unwrap();
        assert_eq!(status.state, RequestState::Started);
        assert!(status.reason.unwrap().contains("2 names"));
        let left = SHARDS.map(|shard| rows_in(&dir, shard, "ada"));
        assert_eq!(left, [0, 1]);
    }
    assert!(Disk::new(dir.path()).unlink("backup/b.parquet").unwrap());
    let done = compact(&engine);
    assert_eq!(done.shards_rewritten, 1);
    assert_eq!(
        engine.status(id, now()).unwrap().state,
        RequestState::Success
    );
    assert!(engine.verify(&[SubjectId::new("ada")]).unwrap().clean);
    assert_eq!(engine.status(id, now()).unwrap().other_names, 0);
}

#[test]
fn names_that_the_owner_keeps_are_left_and_counted_in_report_status_and_receipt() {
    let dir = lake(&["a.parquet", "b.parquet"], &config(HardLinks::Keep));
    fs::hard_link(
        dir.path().join("lake/b.parquet"),
        dir.path().join("backup/older"),
    )
    .unwrap();
    let old = fs::read(dir.path().join("backup/b.parquet")).unwrap();
    let engine = open(&dir);
    let plan = engine.plan(&delete_of("ada")).unwrap();
    let report = engine.report(&plan).unwrap();
    assert_eq!(report.refused, None);
    let names: Vec<u64> = report
        .per_shard
        .iter()
        .map(|shard| shard.other_names)
        .collect();
    assert_eq!(names, [1, 2]);
    let done = engine
        .delete(&delete_of("ada"), None, &DeleteOptions::default())
        .unwrap();
    let names = [("a.parquet".to_owned(), 1), ("b.parquet".to_owned(), 2)];
    assert_eq!(done.other_names, names);
    assert_eq!(SHARDS.map(|shard| rows_in(&dir, shard, "ada")), [0, 0]);
    assert_eq!(fs::read(dir.path().join("backup/b.parquet")).unwrap(), old);
    let status = engine.status(done.tracking_id, now()).unwrap();
    assert_eq!(
        (status.state, status.other_names),
        (RequestState::Success, 3)
    );
    let receipt = receipt(&engine, done.tracking_id);
    let names: Vec<u64> = receipt
        .shards
        .iter()
        .map(|shard| shard.other_names)
        .collect();
    assert_eq!(names, [1, 2]);
}

#[test]
fn an_alias_table_with_another_name_is_treated_as_a_shard_is() {
    for hard_links in [HardLinks::Wait, HardLinks::Keep] {
        let dir = lake(&["aliases.csv"], &config(hard_links));
        let engine = open(&dir);
        let id = submit(&engine, "laptop");
        let done = engine.compact(&CompactOptions::at(now()));
        let kept = fs::read(dir.path().join("backup/aliases.csv")).unwrap();
        assert_eq!(kept, ALIASES.as_bytes());
        let table = fs::read_to_string(dir.path().join("lake/aliases.csv")).unwrap();
        let status = engine.status(id, now()).unwrap();
        if hard_links == HardLinks::Wait {
            assert_eq!(status.state, RequestState::Pending);
            assert!(status.reason.unwrap().contains("2 names"));
            assert_eq!(table, ALIASES);
            assert_eq!(rows_in(&dir, "a.parquet", "ada"), 1);
            continue;
        }
        assert_eq!(done.unwrap().other_names, [("aliases.csv".to_owned(), 1)]);
        assert_eq!(table, "alias,distinct_id\nphone,bob\n");
        assert_eq!(
            (status.state, status.other_names),
            (RequestState::Success, 1)
        );
        assert_eq!(receipt(&engine, id).alias_other_names, 1);
    }
}

#[test]
fn rows_of_suppressed_ids_stay_in_a_shard_with_another_name_and_the_report_says_so() {
    let dir = lake(&["b.parquet"], &config(HardLinks::Wait));
    let engine = open(&dir);
    engine
        .suppress(&delete_of("ada"), Suppress::default(), now())
        .unwrap();
    let done = compact(&engine);
    assert_eq!(SHARDS.map(|shard| rows_in(&dir, shard, "ada")), [0, 1]);
    assert_eq!(done.shards_failed.len(), 1);
    assert!(!done.troubles.is_empty());
    assert!(Disk::new(dir.path()).unlink("backup/b.parquet").unwrap());
    assert_eq!(compact(&engine).rows_suppressed, 1);
    assert_eq!(rows_in(&dir, "b.parquet", "ada"), 0);
}

#[test]
fn a_name_that_is_given_between_planning_and_the_swap_keeps_the_shard_as_it_is() {
    let dir = lake(&[], &config(HardLinks::Wait));
    let engine = open(&dir);
    let id = submit(&engine, "ada");
    let mut pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    let results: Vec<_> = pass
        .tasks()
        .iter()
        .map(|task| engine.run_task(task).unwrap())
        .collect();
    let (lake, backup) = (dir.path().join("lake"), dir.path().join("backup"));
    fs::hard_link(lake.join("b.parquet"), backup.join("b.parquet")).unwrap();
    assert_eq!(pass.commit(results).unwrap(), []);
    pass.finish().unwrap();
    assert_eq!(SHARDS.map(|shard| rows_in(&dir, shard, "ada")), [0, 1]);
    assert_eq!(
        engine.status(id, now()).unwrap().state,
        RequestState::Started
    );
}
