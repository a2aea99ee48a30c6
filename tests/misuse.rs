//! The most natural calls of the library are the right ones, and what a caller can get wrong is an error.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use efface::engine::{Configuration, Engine, EngineOptions};
use efface::erase::CompactOptions;
use efface::erase::delete::{DeleteOptions, DeleteReport};
use efface::erase::task::TaskResult;
use efface::error::RequestFault;
use efface::index::Index;
use efface::queue::RequestState;
use efface::request::{Request, Subjects};
use efface::state::files::StateFiles;
use efface::table::throttled::{Clock, Rate};
use efface::tracking::TrackingId;
use efface::{Config, Disk, Error, ErrorKind};
use jiff::Timestamp;
use tempfile::TempDir;

/// The first alias of the samples, and the id that it stands for.
const ALIAS: &str = "anon-306bjrwl";
const PERSON: &str = "u224xoglc";
/// Another id that an alias stands for.
const OTHER: &str = "u0bnaeqrh";

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// A copy of the samples whose stored configuration names the alias table.
fn samples() -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-samples");
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("events");
    fs::create_dir(&events).unwrap();
    for entry in fs::read_dir(from.join("events")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), events.join(entry.file_name())).unwrap();
    }
    fs::copy(from.join("aliases.csv"), dir.path().join("aliases.csv")).unwrap();
    config().store(&state(&dir)).unwrap();
    dir
}

fn config() -> Config {
    Config {
        aliases: Some("../aliases.csv".to_owned()),
        ..Config::default()
    }
}

fn events(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("events")
}

fn state(dir: &TempDir) -> StateFiles {
    StateFiles::new(Disk::new(events(dir)))
}

fn export_of(id: &str) -> Request {
    Request::export(Subjects::new([id]).unwrap(), now())
}

/// The samples with a delete of the alias that waits.
fn submitted() -> (TempDir, Engine, TrackingId) {
    let dir = samples();
    let engine = Engine::open_dir(events(&dir)).unwrap();
    let id = TrackingId::new(now(), [1; 10]);
    let request = Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new([ALIAS]).unwrap(), now())
    };
    engine.submit(id, &request, now(), None).unwrap();
    (dir, engine, id)
}

fn rows_left(engine: &Engine) -> u64 {
    engine.plan(&export_of(PERSON)).unwrap().rows
}

#[test]
fn a_dataset_is_opened_with_what_is_stored_for_it() {
    let dir = samples();
    let stored = Engine::open_dir(events(&dir)).unwrap();
    assert_eq!(stored.plan(&export_of(ALIAS)).unwrap().rows, 257);
    let options = EngineOptions::overriding(Config::default());
    let without = Engine::open_dir_with(events(&dir), options).unwrap();
    assert_eq!(without.plan(&export_of(ALIAS)).unwrap().rows, 129);
}

#[test]
fn another_configuration_than_the_stored_one_is_refused_unless_it_is_said_to_override_it() {
    let dir = samples();
    let with = |configuration| {
        let options = EngineOptions {
            configuration,
            ..EngineOptions::default()
        };
        Engine::open_dir_with(events(&dir), options)
    };
    let error = with(Configuration::Given(Config::default())).err().unwrap();
    assert!(matches!(error, Error::OtherConfig { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Usage);
    with(Configuration::Given(config())).unwrap();
    with(Configuration::Overriding(Config::default())).unwrap();
}

#[test]
fn no_two_new_indexes_have_the_same_seed() {
    let seed = || {
        let dir = samples();
        let engine = Engine::open_dir(events(&dir)).unwrap();
        engine.refresh().unwrap();
        // An index of no named subject column.
        let configuration = "every column of a name\n";
        let index = Index::open(&state(&dir), configuration).unwrap().unwrap();
        index.seed()
    };
    let (one, other) = (seed(), seed());
    assert!(one != other && one != 0 && other != 0);
}

#[test]
fn a_pass_is_not_finished_while_a_task_is_outstanding() {
    let (_dir, engine, id) = submitted();
    let options = CompactOptions::at(now());
    let mut pass = engine.begin(&options).unwrap().unwrap();
    let shards: Vec<String> = pass
        .tasks()
        .into_iter()
        .map(|task| task.shard.path)
        .collect();
    assert!(!shards.is_empty());
    match pass.finish().unwrap_err() {
        Error::Outstanding { shards: named } => assert_eq!(named, shards),
        other => panic!("{other}"),
    }
    assert_eq!(
        engine.status(id, now()).unwrap().state,
        RequestState::Started
    );
    // Nothing was ended: the tasks can still be run.
    let results: Vec<TaskResult> = pass
        .tasks()
        .iter()
        .map(|task| engine.run_task(task).unwrap())
        .collect();
    assert!(pass.commit(results).unwrap().is_empty());
    let done = pass.finish().unwrap();
    assert_eq!(done.rows_removed, 257);
    drop(pass);
    assert_eq!(
        engine.status(id, now()).unwrap().state,
        RequestState::Success
    );
    assert_eq!(rows_left(&engine), 0);
}

#[test]
fn what_is_carried_on_is_carried_on_with_the_configuration_that_it_was_planned_with() {
    let (dir, engine, id) = submitted();
    drop(engine.begin(&CompactOptions::at(now())).unwrap().unwrap());
    // Whoever comes next knows no alias table.
    Config::default().store(&state(&dir)).unwrap();
    let other = Engine::open_dir(events(&dir)).unwrap();
    let done = other.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(done.rows_removed, 257);
    assert_eq!(done.alias_rows_removed, 2);
    assert_eq!(
        other.status(id, now()).unwrap().state,
        RequestState::Success
    );
    assert_eq!(rows_left(&other), 0);
}

/// A worker that says there was nothing to do, one that tells of fewer rows, and one that rewrote another shard.
#[test]
fn no_figure_of_a_worker_is_believed_that_can_be_checked() {
    type Lie = fn(&mut Vec<TaskResult>);
    let lies: [(&str, Lie); 5] = [
        ("nothing to do", |results| results[0].written = None),
        ("fewer rows", |results| {
            results[0].written.as_mut().unwrap().report.rows_removed -= 1;
        }),
        ("another file", |results| {
            let other = results[1].written.as_ref().unwrap().staged.clone();
            results[0].written.as_mut().unwrap().staged = other;
        }),
        ("another length", |results| {
            results[0].written.as_mut().unwrap().after.bytes += 1;
        }),
        ("another shard", |results| {
            results[0].written.as_mut().unwrap().before.footer_hash ^= 1;
        }),
    ];
    for (what, lie) in lies {
        let (_dir, engine, id) = submitted();
        let mut pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
        let tasks = pass.tasks();
        let run = tasks.iter().map(|task| engine.run_task(task).unwrap());
        let mut results: Vec<TaskResult> = run.collect();
        lie(&mut results);
        // It counts for nothing, and neither does a result whose file went with it.
        let again = pass.commit(results).unwrap();
        assert!(!again.is_empty(), "{what}");
        let run = again.iter().map(|task| engine.run_task(task).unwrap());
        let again = pass.commit(run.collect()).unwrap();
        assert!(again.is_empty(), "{what}");
        let done = pass.finish().unwrap();
        assert!(done.shards_failed.is_empty(), "{what}");
        drop(pass);
        let status = engine.status(id, now()).unwrap();
        assert_eq!(status.state, RequestState::Success, "{what}");
        assert_eq!(rows_left(&engine), 0, "{what}");
    }
}

#[test]
fn a_task_whose_every_result_lies_leaves_the_old_shard_and_the_request_waits() {
    let (_dir, engine, id) = submitted();
    let mut pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    let mut tasks = pass.tasks();
    for _ in 0..20 {
        let run = tasks.iter().map(|task| engine.run_task(task).unwrap());
        let mut results: Vec<TaskResult> = run.collect();
        if let Some(new) = &mut results[0].written {
            new.report.rows_removed -= 1;
        }
        tasks = pass.commit(results).unwrap();
        if tasks.is_empty() {
            break;
        }
    }
    let done = pass.finish().unwrap();
    assert_eq!(done.shards_failed.len(), 1);
    drop(pass);
    let status = engine.status(id, now()).unwrap();
    assert_eq!(status.state, RequestState::Started);
    assert!(status.reason.is_some());
    let error = engine.plan(&export_of(ALIAS)).unwrap_err();
    assert!(matches!(error, Error::Underway { .. }), "{error}");
    engine.compact(&CompactOptions::at(now())).unwrap();
    let status = engine.status(id, now()).unwrap();
    assert_eq!(
        (status.state, status.rows_removed),
        (RequestState::Success, 257)
    );
    assert_eq!(rows_left(&engine), 0);
}

#[test]
fn a_result_of_another_pass_or_version_is_refused() {
    let (_dir, engine, _) = submitted();
    let mut pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    let task = pass.tasks().remove(0);
    let result = engine.run_task(&task).unwrap();
    let of_another = TaskResult {
        pass: TrackingId::new(now(), [9; 10]),
        ..result.clone()
    };
    let newer = TaskResult {
        format: result.format + 1,
        ..result.clone()
    };
    for result in [of_another, newer] {
        let error = pass.commit(vec![result]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    }
    let mut newer = task;
    newer.format += 1;
    assert_eq!(
        engine.run_task(&newer).unwrap_err().kind(),
        ErrorKind::Damaged
    );
    pass.commit(vec![result]).unwrap();
}

#[track_caller]
fn assert_is_taken<T: std::fmt::Debug>(outcome: Result<T, Error>, taken: TrackingId) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let fault = match &error {
        Error::Request { fault } => *fault,
        error => panic!("{error}"),
    };
    let expected = RequestFault::TrackingIdTaken { tracking_id: taken };
    assert_eq!(fault, expected, "{error}");
}

fn delete_of(id: &str) -> Request {
    Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new([id]).unwrap(), now())
    }
}

fn delete_as(engine: &Engine, id: TrackingId, subject: &str) -> Result<DeleteReport, Error> {
    let options = DeleteOptions {
        tracking_id: Some(id),
        ..DeleteOptions::default()
    };
    engine.delete(&delete_of(subject), None, &options)
}

/// Its file would be overwritten, and the request in it forgotten.
#[test]
fn the_id_of_a_request_that_waits_is_taken_for_every_other_request() {
    let (_dir, engine, id) = submitted();
    let submit = |subject: &str| engine.submit(id, &delete_of(subject), now(), None);
    assert_is_taken(submit(PERSON), id);
    assert_is_taken(delete_as(&engine, id, PERSON), id);
    assert!(submit(ALIAS).unwrap().joined, "the same request joins it");
    assert_eq!(engine.waiting(now()).unwrap().len(), 1);
    assert!(rows_left(&engine) > 0);
    let pass = CompactOptions {
        pass: id,
        ..CompactOptions::at(now())
    };
    let done = engine.compact(&pass).unwrap();
    assert_ne!(done.tracking_id, Some(id), "the pass gets an id of its own");
    assert_eq!(
        engine.status(id, now()).unwrap().state,
        RequestState::Success
    );
    assert_eq!(engine.plan(&export_of(ALIAS)).unwrap().rows, 0);
}

/// `status` would tell of the old receipt.
#[test]
fn the_id_of_a_request_or_a_pass_that_has_ended_is_taken() {
    let (_dir, engine, id) = submitted();
    let cancelled = TrackingId::new(now(), [2; 10]);
    engine
        .submit(cancelled, &delete_of(OTHER), now(), None)
        .unwrap();
    engine.cancel(cancelled, now()).unwrap();
    let pass = CompactOptions::at(now());
    engine.compact(&pass).unwrap();
    let rows = engine.plan(&export_of(OTHER)).unwrap().rows;
    for taken in [id, cancelled, pass.pass] {
        let request = delete_of(OTHER);
        assert_is_taken(engine.submit(taken, &request, now(), None), taken);
        assert_is_taken(delete_as(&engine, taken, OTHER), taken);
    }
    assert!(engine.waiting(now()).unwrap().is_empty());
    assert_eq!(engine.plan(&export_of(OTHER)).unwrap().rows, rows);
    let new = TrackingId::new(now(), [3; 10]);
    engine.submit(new, &delete_of(OTHER), now(), None).unwrap();
    let again = engine.begin(&pass).unwrap().unwrap();
    assert_ne!(again.id(), pass.pass, "the id of a call that ended before");
    drop(again);
    let done = engine.compact(&pass).unwrap();
    assert_eq!(done.rows_removed, rows);
}

#[test]
fn what_a_plan_says_is_one_document_with_the_keys_that_others_rely_on() {
    let dir = samples();
    let engine = Engine::open_dir(events(&dir)).unwrap();
    let plan = engine
        .plan(&Request::delete(
            Subjects::new([ALIAS, "nobody"]).unwrap(),
            now(),
        ))
        .unwrap();
    let report = serde_json::to_value(engine.report(&plan).unwrap()).unwrap();
    assert_eq!(report["kind"], "delete");
    assert_eq!(report["rows"], 257);
    assert_eq!(report["digest"], plan.digest);
    assert_eq!(report["refused_kind"], "refused");
    assert!(report["refused"].as_str().unwrap().contains("position 2"));
    let of_second = serde_json::json!({"position": 2, "found": false, "rows": 0});
    assert_eq!(report["subjects"][1], of_second);
    let shards = report["per_shard"].as_array().unwrap();
    assert_eq!(report["shards"], shards.len());
    for key in ["rows", "row_groups", "pages", "bytes"] {
        let sum: u64 = shards
            .iter()
            .map(|shard| shard[key].as_u64().unwrap())
            .sum();
        assert!(sum > 0, "{key}");
        assert_eq!(report[key], sum, "{key}");
    }
}

/// Counts what would be waited.
#[derive(Default)]
struct Waits(Mutex<(Duration, u64)>);

impl Clock for Waits {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn sleep(&self, time: Duration) {
        let mut waits = self.0.lock().unwrap();
        waits.0 += time;
        waits.1 += 1;
    }
}

#[test]
fn at_a_rate_the_same_is_done_and_what_is_read_and_written_is_waited_for() {
    const RATE: u64 = 1 << 20;
    let shards = |dir: &TempDir| {
        let files = fs::read_dir(events(dir)).unwrap().map(Result::unwrap);
        let shards = files.filter(|file| file.file_type().unwrap().is_file());
        let shards = shards.map(|file| (file.file_name(), fs::read(file.path()).unwrap()));
        shards.collect::<BTreeMap<_, _>>()
    };
    let delete = |clock: Option<Arc<Waits>>| {
        let dir = samples();
        let rate = clock.map(|clock| Rate::with_clock(NonZeroU64::new(RATE).unwrap(), clock));
        let options = EngineOptions {
            rate,
            seed_if_new: 1,
            ..EngineOptions::default()
        };
        let engine = Engine::open_dir_with(events(&dir), options).unwrap();
        let of_export = engine.plan(&export_of(OTHER)).unwrap();
        let rows = engine
            .export(&of_export)
            .unwrap()
            .map(|batch| batch.unwrap().num_rows());
        let rows: usize = rows.sum();
        let options = DeleteOptions::default();
        let done = engine.delete(&delete_of(ALIAS), None, &options).unwrap();
        (shards(&dir), rows, done.bytes_copied + done.bytes_encoded)
    };
    let clock = Arc::new(Waits::default());
    let (at_once, at_a_rate) = (delete(None), delete(Some(Arc::clone(&clock))));
    assert!(at_once == at_a_rate);
    let (waited, times) = *clock.0.lock().unwrap();
    // What is written is read back, beside the old shard.
    let (_, _, written) = at_a_rate;
    let least = Duration::from_secs(3 * written) / u32::try_from(RATE).unwrap();
    assert!(
        waited >= least && waited < 20 * least,
        "{waited:?}, {least:?}"
    );
    assert!(times > 10, "{times}");
}

/// Retries, speculative copies and workers that come back from the dead.
#[test]
fn two_runs_of_a_task_and_one_that_comes_too_late_leave_the_right_shard() {
    let (dir, engine, _) = submitted();
    let mut pass = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    let tasks = pass.tasks();
    let run = |task| engine.run_task(task).unwrap();
    let (first, second, late) = (run(&tasks[0]), run(&tasks[0]), run(&tasks[0]));
    let staged = |result: &TaskResult| result.written.as_ref().unwrap().staged.clone();
    assert!(staged(&first) != staged(&second) && staged(&second) != staged(&late));
    pass.commit(vec![first, second]).unwrap();
    let rest: Vec<TaskResult> = tasks[1..].iter().map(run).collect();
    pass.commit(rest.clone()).unwrap();
    // All of them were committed before.
    pass.commit(vec![late]).unwrap();
    pass.commit(rest).unwrap();
    assert_eq!(pass.finish().unwrap().rows_removed, 257);
    drop(pass);
    // The shard is another one now, so a zombie finds nothing to do.
    let error = engine.run_task(&tasks[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(rows_left(&engine), 0);
    for entry in fs::read_dir(events(&dir)).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_string_lossy();
        assert!(!name.ends_with(".efface-tmp"), "{name} is left");
    }
}
