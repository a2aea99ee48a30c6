//! Requests that wait, carried out together; suppressed ids that come back; tasks that others run.

#[path = "faults/lake.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use efface::config::Config;
use efface::engine::Engine;
use efface::erase::CompactOptions;
use efface::erase::delete::DeleteOptions;
use efface::erase::task::{ShardTask, TaskResult};
use efface::queue::RequestState;
use efface::receipts::{Cause, Outcome, Receipt};
use efface::request::{Disclosure, Identity, Request, Subjects, Suppress, Unknown};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Error, ErrorKind, SubjectId};
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use lake::{engine, ids_of, shard_of};

const PEOPLE: [&str; 6] = ["ada", "bob", "cyd", "dan", "eve", "fay"];

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn delete_of(ids: &[&str]) -> Request {
    Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new(ids.iter().copied()).unwrap(), now())
    }
}

fn submit(engine: &Engine, request: &Request) -> TrackingId {
    // Ids of one millisecond would be in no order.
    static SUBMITTED: AtomicU64 = AtomicU64::new(0);
    let number = SUBMITTED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number);
    let id = TrackingId::new(now(), random);
    engine.submit(id, request, now(), None).unwrap().tracking_id
}

fn state(engine: &Engine, id: TrackingId) -> RequestState {
    engine.status(id, now()).unwrap().state
}

fn receipts(engine: &Engine) -> Vec<Receipt> {
    let mut all = Vec::new();
    engine.receipts(|receipt| all.push(receipt)).unwrap();
    all
}

/// Three shards of 30 rows, whose ids go round.
fn lake() -> (Sim, Engine) {
    let sim = Sim::new(1);
    for (number, name) in ["a.parquet", "b.parquet", "c.parquet"]
        .into_iter()
        .enumerate()
    {
        // Each shard lacks one of the last three.
        let ids: Vec<&str> = (0..30)
            .map(|row| PEOPLE[row % 6])
            .map(|id| if id == PEOPLE[3 + number] { "ada" } else { id })
            .collect();
        sim.put(name, shard_of(&ids));
    }
    let engine = engine(&sim, &Config::default());
    (sim, engine)
}

fn read(sim: &Sim, path: &str) -> Vec<u8> {
    sim.all().remove(path).unwrap()
}

/// The events of a shard: id, number (0 if it is null) and text (empty if it is null).
fn rows_of(shard: &[u8]) -> Vec<(String, i64, String)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(shard));
    let mut rows = Vec::new();
    for batch in reader.unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let strings = |name| {
            let column = batch.column_by_name(name).unwrap();
            column.as_string::<i32>().clone()
        };
        let (ids, texts) = (strings("distinct_id"), strings("text"));
        let numbers = batch.column_by_name("number").unwrap();
        let numbers = numbers.as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let text = if texts.is_null(row) {
                ""
            } else {
                texts.value(row)
            };
            let number = if numbers.is_null(row) {
                0
            } else {
                numbers.value(row)
            };
            rows.push((ids.value(row).to_owned(), number, text.to_owned()));
        }
    }
    rows
}

/// Rows of each id.
fn held(sim: &Sim) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for (path, bytes) in sim.all() {
        if path.ends_with(".parquet") {
            for id in ids_of(&bytes) {
                *rows.entry(id).or_default() += 1;
            }
        }
    }
    rows
}

/// No file of efface's own holds one of the ids.
fn assert_no_trace(engine: &Engine, ids: &[&str]) {
    let ids: Vec<SubjectId> = ids.iter().map(|id| SubjectId::new(*id)).collect();
    let found = engine.verify(&ids).unwrap();
    assert!(found.clean, "{:?}", found.findings);
}

#[test]
fn all_that_waits_is_carried_out_in_one_pass() {
    let (sim, engine) = lake();
    let first = submit(&engine, &delete_of(&["ada"]));
    let second = submit(&engine, &delete_of(&["bob", "ada"]));
    let third = submit(&engine, &delete_of(&["dan"]));
    assert_eq!(state(&engine, first), RequestState::Pending);
    assert_eq!(engine.waiting(now()).unwrap().len(), 3);
    let done = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(done.shards_rewritten, 3, "each once");
    assert_eq!(done.rows_removed, 30 + 15 + 10);
    assert_eq!(
        held(&sim),
        BTreeMap::from(
            [("cyd", 15), ("eve", 10), ("fay", 10)].map(|(id, rows)| (id.to_owned(), rows))
        )
    );
    let status = engine.status(second, now()).unwrap();
    assert_eq!(
        (status.state, status.rows_removed),
        (RequestState::Success, 15)
    );
    let outcomes: Vec<_> = status
        .outcomes
        .iter()
        .map(|subject| {
            (
                subject.position,
                subject.outcome,
                subject.rows,
                subject.merged_into,
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            (1, Outcome::Deleted, 15, None),
            (2, Outcome::Merged, 0, Some(first))
        ]
    );
    let all = receipts(&engine);
    assert_eq!(all.len(), 3);
    let of_third = all
        .iter()
        .find(|receipt| receipt.tracking_id == third)
        .unwrap();
    let shards: Vec<_> = of_third
        .shards
        .iter()
        .map(|shard| (shard.path.as_str(), shard.rows))
        .collect();
    assert_eq!(shards, [("b.parquet", 5), ("c.parquet", 5)]);
    for shard in &of_third.shards {
        let bytes = read(&sim, &shard.path);
        let hash = blake3::hash(&bytes).to_hex().to_string();
        assert_eq!(shard.after.as_ref(), Some(&hash));
    }
    assert!(engine.waiting(now()).unwrap().is_empty());
    assert_no_trace(&engine, &["ada", "bob", "dan"]);
    let again = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!((again.tracking_id, again.shards_rewritten), (None, 0));
}

#[test]
fn the_same_asked_again_while_it_waits_joins_and_something_else_does_not() {
    let (_sim, engine) = lake();
    let id = submit(&engine, &delete_of(&["ada", "bob"]));
    assert_eq!(
        submit(&engine, &delete_of(&["bob", "ada"])),
        id,
        "in another order"
    );
    let exact = Request {
        identity: Identity::Exact,
        ..delete_of(&["ada", "bob"])
    };
    assert_ne!(submit(&engine, &exact), id);
    assert_ne!(submit(&engine, &delete_of(&["ada"])), id);
    engine.compact(&CompactOptions::at(now())).unwrap();
    let later = Request {
        unknown: Unknown::Report,
        ..delete_of(&["ada", "bob"])
    };
    assert_eq!(
        state(&engine, submit(&engine, &later)),
        RequestState::Pending,
        "that one has ended"
    );
}

#[test]
fn a_delete_at_once_carries_out_the_same_that_waits() {
    let (_sim, engine) = lake();
    let id = submit(&engine, &delete_of(&["ada"]));
    let done = engine
        .delete(&delete_of(&["ada"]), None, &DeleteOptions::default())
        .unwrap();
    assert_eq!((done.tracking_id, done.rows_removed), (id, 30));
    assert_eq!(state(&engine, id), RequestState::Success);
    assert!(engine.waiting(now()).unwrap().is_empty());
}

#[test]
fn a_request_can_be_cancelled_until_it_is_started() {
    let (sim, engine) = lake();
    let id = submit(&engine, &delete_of(&["ada"]));
    engine.cancel(id, now()).unwrap();
    assert_eq!(state(&engine, id), RequestState::Revoked);
    assert_no_trace_in_state(&sim, "ada");
    let refused = engine.cancel(id, now()).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::NotCancellable {
                state: "REVOKED",
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(refused.kind(), ErrorKind::Refused);
    engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(held(&sim)["ada"], 30);

    let id = submit(&engine, &delete_of(&["bob"]));
    let pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    assert_eq!(state(&engine, id), RequestState::Started);
    let refused = engine.cancel(id, now()).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::NotCancellable {
                state: "STARTED",
                ..
            }
        ),
        "{refused}"
    );
    drop(pass);
    let unknown = TrackingId::draw(now());
    assert_eq!(state(&engine, unknown), RequestState::NotFound);
    assert!(engine.cancel(unknown, now()).is_err());
}

fn assert_no_trace_in_state(sim: &Sim, id: &str) {
    // As requests hold it: hashes have such letters by chance.
    let text = format!("\"{id}\"");
    for (path, bytes) in sim.all() {
        let is_there = bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes());
        assert!(!path.starts_with("_efface/") || !is_there, "{path}");
    }
}

#[test]
fn a_refused_request_fails_alone() {
    let (sim, engine) = lake();
    let unknown = submit(&engine, &delete_of(&["zoe", "ada"]));
    let cautious = Request {
        max_match: 0.1,
        ..delete_of(&["bob"])
    };
    let too_many = submit(&engine, &cautious);
    let good = submit(&engine, &delete_of(&["cyd"]));
    engine.compact(&CompactOptions::at(now())).unwrap();
    let status = engine.status(unknown, now()).unwrap();
    assert_eq!(
        (status.state, status.rows_removed),
        (RequestState::Failure, 0)
    );
    assert_eq!(status.reason_kind, Some(ErrorKind::Refused));
    let reason = status.reason.unwrap();
    assert!(
        reason.contains("position 1") && !reason.contains("zoe"),
        "{reason}"
    );
    assert_eq!(state(&engine, too_many), RequestState::Failure);
    let done = engine.status(good, now()).unwrap();
    assert_eq!(
        (done.state, done.reason_kind),
        (RequestState::Success, None)
    );
    let left = held(&sim);
    assert_eq!((left["ada"], left["bob"], left.get("cyd")), (30, 15, None));
    assert_no_trace_in_state(&sim, "zoe");
}

#[test]
fn a_damaged_shard_holds_just_the_requests_that_could_have_rows_in_it() {
    let (sim, engine) = lake();
    engine.refresh().unwrap();
    let mut bytes = read(&sim, "c.parquet");
    // The first page, so that its footer still reads.
    bytes[4..40].fill(0xff);
    sim.put("c.parquet", bytes.clone());
    // fay has no row in c.parquet; but that could only be known of the content that the index was made of.
    let [of_c, not_of_c] = [["ada"], ["fay"]].map(|ids| submit(&engine, &delete_of(&ids)));
    let done = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(done.shards_failed.len(), 1);
    assert_eq!(done.shards_failed[0].0, "c.parquet");
    for id in [of_c, not_of_c] {
        let status = engine.status(id, now()).unwrap();
        assert_eq!(status.state, RequestState::Started);
        assert_eq!(status.reason_kind, Some(ErrorKind::Damaged));
        assert!(status.reason.unwrap().contains("c.parquet"));
    }
    assert_eq!(read(&sim, "c.parquet"), bytes);
}

#[test]
fn kinds_of_deletes_are_mixed_in_one_rewrite() {
    let (sim, _) = lake();
    let with = |disclosure, ids: &[&str]| Request {
        disclosure,
        required_columns: efface::request::RequiredColumns::Default,
        ..delete_of(ids)
    };
    let config_of_sources = Config {
        source: vec!["text".to_owned()],
        ..Config::default()
    };
    let engine_of_sources = engine(&sim, &config_of_sources);
    let engine = engine_of_sources;
    let removed = submit(&engine, &with(Disclosure::Data, &["ada"]));
    let cleared = submit(&engine, &with(Disclosure::Categories, &["bob", "ada"]));
    let sources = submit(&engine, &with(Disclosure::Sources, &["cyd"]));
    let done = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!((done.shards_rewritten, done.rows_removed), (3, 30));
    for id in [removed, cleared, sources] {
        assert_eq!(state(&engine, id), RequestState::Success);
    }
    assert_eq!(engine.status(cleared, now()).unwrap().rows_cleared, 15 + 30);
    for name in ["a.parquet", "b.parquet", "c.parquet"] {
        for (id, number, text) in rows_of(&read(&sim, name)) {
            match id.as_str() {
                "ada" => panic!("a row of ada is left"),
                "bob" => assert_eq!((number, text), (0, String::new())),
                "cyd" => assert!(number > 0 && text.is_empty()),
                _ => assert_eq!(text, format!("event {number}")),
            }
        }
    }
    let leftovers = sim
        .all()
        .into_keys()
        .filter(|path| lake::is_temporary(path));
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn a_cancelled_compaction_is_carried_on_by_the_next_one() {
    let (sim, engine) = lake();
    let id = submit(&engine, &delete_of(&["ada"]));
    let cancel = Arc::new(AtomicBool::new(true));
    let options = CompactOptions {
        cancel: Some(Arc::clone(&cancel)),
        ..CompactOptions::at(now())
    };
    assert!(matches!(engine.compact(&options), Err(Error::Cancelled)));
    assert_eq!(state(&engine, id), RequestState::Started);
    cancel.store(false, Ordering::Relaxed);
    let late = submit(&engine, &delete_of(&["bob"]));
    let done = engine.compact(&options).unwrap();
    assert_eq!(done.rows_removed, 45);
    assert_eq!(
        [id, late].map(|id| state(&engine, id)),
        [RequestState::Success; 2]
    );
    assert!(!held(&sim).contains_key("ada"));
    assert_eq!(receipts(&engine).len(), 2);
}

#[test]
fn suppressed_ids_do_not_come_back() {
    let (sim, engine) = lake();
    let backup = read(&sim, "a.parquet");
    let request = Request {
        suppress: Some(Suppress::default()),
        ..delete_of(&["ada"])
    };
    engine
        .delete(&request, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!(engine.suppression().unwrap().iter().len(), 1);
    sim.put("restored.parquet", backup.clone());
    assert_eq!(held(&sim)["ada"], 10);
    let done = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!((done.rows_removed, done.rows_suppressed), (10, 10));
    assert_eq!(done.shards_rewritten, 1);
    assert!(!held(&sim).contains_key("ada"));
    let last = receipts(&engine).pop().unwrap();
    assert_eq!((last.cause, last.rows_removed), (Cause::Suppression, 10));
    assert_no_trace(&engine, &["ada"]);
    let idle = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!((idle.tracking_id, idle.shards_rewritten), (None, 0));

    assert_eq!(engine.unsuppress(&delete_of(&["ada"])).unwrap(), 1);
    sim.put("restored.parquet", backup.clone());
    engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(held(&sim)["ada"], 10, "no longer suppressed");
}

#[test]
fn rows_of_the_cut_off_or_later_stay() {
    let sim = Sim::new(1);
    sim.put("a.parquet", shard_of(&["ada", "ada", "bob", "ada"]));
    // The rows' numbers are their times, in seconds since 1970.
    let config = Config {
        time: Some("number".to_owned()),
        time_unit: Some("s".parse().unwrap()),
        ..Config::default()
    };
    let engine = engine(&sim, &config);
    let suppress = Suppress {
        before: Some(Timestamp::from_second(1).unwrap()),
    };
    assert_eq!(
        engine
            .suppress(&delete_of(&["ada"]), suppress, now())
            .unwrap(),
        1
    );
    let done = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(done.rows_suppressed, 1);
    assert_eq!(ids_of(&read(&sim, "a.parquet")), ["ada", "bob", "ada"]);
    let done = engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(done.tracking_id, None);
}

#[test]
fn suppression_that_matches_too_much_is_refused() {
    let (sim, engine) = lake();
    engine
        .suppress(&delete_of(&PEOPLE), Suppress::default(), now())
        .unwrap();
    let refused = engine.compact(&CompactOptions::at(now())).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::OverMatch {
                matched: 90,
                rows: 90,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(held(&sim).values().sum::<usize>(), 90);
    let options = CompactOptions {
        max_match: 1.0,
        ..CompactOptions::at(now())
    };
    assert_eq!(engine.compact(&options).unwrap().rows_suppressed, 90);
}

#[test]
fn tasks_go_through_json_and_can_be_run_again() {
    let (sim, engine) = lake();
    submit(&engine, &delete_of(&["ada"]));
    let other = lake::engine(&sim, &Config::default());
    let mut pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    let tasks = pass.tasks();
    assert_eq!(tasks.len(), 3);
    for task in tasks {
        let text = serde_json::to_string(&task).unwrap();
        assert!(!text.contains("ada"));
        let task: ShardTask = serde_json::from_str(&text).unwrap();
        let first = other.run_task(&task).unwrap();
        let again = other.run_task(&task).unwrap();
        assert_eq!(first.shard, again.shard);
        let result: TaskResult =
            serde_json::from_str(&serde_json::to_string(&again).unwrap()).unwrap();
        assert!(pass.commit(vec![result]).unwrap().is_empty());
    }
    let done = pass.finish().unwrap();
    assert_eq!((done.rows_removed, done.shards_rewritten), (30, 3));
    assert!(!held(&sim).contains_key("ada"));
}

#[test]
fn a_shard_that_was_replaced_meanwhile_is_done_again() {
    let (sim, engine) = lake();
    submit(&engine, &delete_of(&["ada"]));
    let mut pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    let tasks = pass.tasks();
    let results: Vec<_> = tasks
        .iter()
        .map(|task| engine.run_task(task).unwrap())
        .collect();
    sim.put("a.parquet", shard_of(&["ada", "gil", "ada"]));
    assert!(sim.vanish("b.parquet"));
    let mut again: Vec<ShardTask> = Vec::new();
    for result in results {
        again.extend(pass.commit(vec![result]).unwrap());
    }
    let paths: Vec<_> = again.iter().map(|task| task.shard.path.as_str()).collect();
    assert_eq!(paths, ["a.parquet"]);
    for task in again {
        let result = engine.run_task(&task).unwrap();
        assert!(pass.commit(vec![result]).unwrap().is_empty());
    }
    let done = pass.finish().unwrap();
    assert_eq!(done.rows_removed, 2 + 10);
    assert_eq!(ids_of(&read(&sim, "a.parquet")), ["gil"]);
    assert!(!held(&sim).contains_key("ada"));
}

#[test]
fn a_request_is_overdue_when_its_deadline_has_passed() {
    let (_sim, engine) = lake();
    let id = submit(&engine, &delete_of(&["ada"]));
    let at = |time: &str| engine.status(id, time.parse().unwrap()).unwrap().overdue;
    assert!(!at("2026-02-28T12:00:00Z"));
    assert!(at("2026-02-28T12:00:01Z"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However requests are spread over passes, each row of a deleted id goes and each other one stays.
    #[test]
    fn any_spread_of_requests_over_passes_leaves_the_same(
        requests in prop::collection::vec((prop::collection::btree_set(0..8_usize, 1..4), any::<bool>()), 1..6),
    ) {
        let (sim, engine) = lake();
        let mut expected = held(&sim);
        let mut asked = BTreeSet::new();
        let mut submitted = 0;
        for (people, is_compacted) in &requests {
            // The last two are nobody.
            let mut ids: Vec<&str> = people
                .iter()
                .map(|place| *PEOPLE.get(*place).unwrap_or(&"nobody"))
                .collect();
            ids.dedup();
            let request = Request { unknown: Unknown::Report, ..delete_of(&ids) };
            submitted += usize::from(asked.insert(ids.clone()));
            submit(&engine, &request);
            expected.retain(|id, _| !ids.contains(&id.as_str()));
            if *is_compacted {
                engine.compact(&CompactOptions::at(now())).unwrap();
                asked.clear();
            }
        }
        engine.compact(&CompactOptions::at(now())).unwrap();
        prop_assert_eq!(held(&sim), expected);
        let all = receipts(&engine);
        prop_assert_eq!(all.len(), submitted);
        let counted: u64 = all.iter().map(|receipt| receipt.rows_removed).sum();
        let left: usize = held(&sim).values().sum();
        prop_assert_eq!(counted, 90 - left as u64);
    }
}
