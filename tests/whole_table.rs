//! Passes over a table that changes as a whole: either every shard is replaced by one commit, or none is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use efface::engine::{Engine, EngineOptions};
use efface::erase::task::TaskResult;
use efface::erase::{CompactOptions, Compaction};
use efface::io::ReadAt;
use efface::request::{Request, Subjects};
use efface::state::files::StateFiles;
use efface::table::directory::Directory;
use efface::table::{CommitUnit, Committed, Replacement, ShardRef, Snapshot, Staging, Table};
use efface::testing::sim::Sim;
use efface::testing::table;
use efface::tracking::TrackingId;
use efface::{Error, Result};
use jiff::Timestamp;

/// Somebody with rows in several shards.
const PERSON: &str = "u224xoglc";

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// A directory of shards that takes all replacements of a commit or none.
struct Whole {
    table: Directory,
    /// The commits that changed something.
    commits: AtomicUsize,
    /// A shard that another process replaces directly before the next commit, with the bytes that it puts there.
    rival: Mutex<Option<(String, Vec<u8>)>>,
    sim: Sim,
}

impl Table for Whole {
    fn name(&self) -> String {
        self.table.name()
    }
    fn snapshot(&self) -> Result<Snapshot> {
        self.table.snapshot()
    }
    fn find(&self, path: &str) -> Result<Option<ShardRef>> {
        self.table.find(path)
    }
    fn open(&self, shard: &ShardRef) -> Result<Arc<dyn ReadAt>> {
        self.table.open(shard)
    }
    fn clock_ns(&self) -> Result<Option<i64>> {
        Table::clock_ns(&self.table)
    }
    fn stage(&self, of: &ShardRef) -> Result<Box<dyn Staging>> {
        self.table.stage(of)
    }
    fn settle(&self, staged: &mut [Box<dyn Staging>]) -> Result<()> {
        self.table.settle(staged)
    }
    fn open_staged(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        self.table.open_staged(name)
    }
    fn discard(&self, names: &[String]) -> Result<()> {
        self.table.discard(names)
    }
    fn commit(&self, base: &Snapshot, replacements: &[Replacement]) -> Result<Committed> {
        if let Some((path, bytes)) = self.rival.lock().unwrap().take() {
            self.sim.put(&path, bytes);
        }
        let mut committed = Committed::default();
        for (position, replacement) in replacements.iter().enumerate() {
            let now = self.table.find(&replacement.old.path)?;
            if !now.is_some_and(|now| now.is_same(&replacement.old)) {
                committed.changed.push(position);
            }
        }
        if committed.changed.is_empty() {
            committed = self.table.commit(base, replacements)?;
            assert!(committed.changed.is_empty(), "nobody else was here");
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(committed)
    }
    fn commit_unit(&self) -> CommitUnit {
        CommitUnit::WholeTable
    }
    fn recover(&self, base: &Snapshot, announced: &[String]) -> Result<()> {
        self.table.recover(base, announced)
    }
    fn room(&self) -> Result<Option<u64>> {
        self.table.room()
    }
    fn neighbour(&self, path: &str) -> Result<Arc<dyn Table>> {
        self.table.neighbour(path)
    }
    fn resolve(&self, path: &str) -> Result<Option<String>> {
        self.table.resolve(path)
    }
}

/// The samples in a simulated directory, with a delete that waits.
struct Fixture {
    table: Arc<Whole>,
    engine: Engine,
    rows: u64,
}

fn whole(sim: &Sim) -> Arc<Whole> {
    Arc::new(Whole {
        table: Directory::new(sim.clone()),
        commits: AtomicUsize::new(0),
        rival: Mutex::default(),
        sim: sim.clone(),
    })
}

fn fixture() -> Fixture {
    let sim = Sim::new(3);
    for (path, bytes) in samples() {
        sim.put(&path, bytes);
    }
    let table = whole(&sim);
    let state = Arc::new(StateFiles::new(sim.clone()));
    let engine = Engine::open(Arc::clone(&table) as _, state, EngineOptions::default()).unwrap();
    let request = Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new([PERSON]).unwrap(), now())
    };
    let id = TrackingId::new(now(), [1; 10]);
    engine.submit(id, &request, now(), None).unwrap();
    let rows = rows_left(&engine);
    Fixture {
        table,
        engine,
        rows,
    }
}

fn samples() -> BTreeMap<String, Vec<u8>> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-samples/events");
    let entries = fs::read_dir(from).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

fn rows_left(engine: &Engine) -> u64 {
    // An export beside a delete of the same ids is refused.
    let request = Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new([PERSON]).unwrap(), now())
    };
    engine.plan(&request).unwrap().rows
}

impl Fixture {
    fn begin(&self) -> Compaction {
        let begun = self.engine.begin(&CompactOptions::at(now())).unwrap();
        begun.unwrap()
    }

    fn results(&self, pass: &Compaction) -> Vec<TaskResult> {
        let tasks = pass.tasks();
        assert!(tasks.len() > 2, "{} shards are touched", tasks.len());
        let run = tasks.iter().map(|task| self.engine.run_task(task).unwrap());
        run.collect()
    }

    fn commits(&self) -> usize {
        self.table.commits.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn nothing_is_staged(&self) {
        let left = self.table.snapshot().unwrap().leftovers;
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_table_that_changes_as_a_whole_keeps_every_rule() {
    let sim = Sim::new(7);
    for number in 0..5_u8 {
        let bytes = vec![number; 1000 + usize::from(number)];
        sim.put(&format!("{number}.parquet"), bytes);
    }
    table::check(&*whole(&sim)).unwrap();
}

#[test]
fn nothing_changes_before_the_last_result_and_then_all_does_at_once() {
    let fixture = fixture();
    let mut pass = fixture.begin();
    for result in fixture.results(&pass) {
        assert_eq!(fixture.commits(), 0);
        assert_eq!(rows_left(&fixture.engine), fixture.rows);
        assert!(pass.commit(vec![result]).unwrap().is_empty());
    }
    assert_eq!(fixture.commits(), 1);
    assert_eq!(pass.finish().unwrap().rows_removed, fixture.rows);
    drop(pass);
    assert_eq!(rows_left(&fixture.engine), 0);
    fixture.nothing_is_staged();
}

#[test]
fn what_waits_is_committed_when_the_last_task_fails() {
    for fails_first in [true, false] {
        let fixture = fixture();
        let mut pass = fixture.begin();
        let mut results = fixture.results(&pass);
        let failed = results.pop().unwrap();
        let error = || Error::CheckFailed {
            path: failed.shard.path.clone(),
            reason: "of a test".to_owned(),
        };
        if fails_first {
            pass.fail(&failed.shard.path, error()).unwrap();
        }
        assert!(pass.commit(results).unwrap().is_empty());
        if !fails_first {
            pass.fail(&failed.shard.path, error()).unwrap();
        }
        let removed = pass.finish().unwrap().rows_removed;
        assert_eq!(fixture.commits(), 1, "{fails_first}");
        drop(pass);
        assert!(removed > 0, "{fails_first}");
        assert_eq!(rows_left(&fixture.engine), fixture.rows - removed);
    }
}

/// The results of a shard that can't be believed come last, with results of others that wait for it.
#[test]
fn what_waits_is_committed_when_the_last_result_is_a_failure() {
    let fixture = fixture();
    let mut pass = fixture.begin();
    let mut results = fixture.results(&pass);
    let mut last = results.pop();
    for result in results {
        assert!(pass.commit(vec![result]).unwrap().is_empty());
    }
    while let Some(mut lie) = last {
        assert_eq!(fixture.commits(), 0);
        lie.written.as_mut().unwrap().report.rows_removed += 1;
        let again = pass.commit(vec![lie]).unwrap();
        let task = again.first();
        last = task.map(|task| fixture.engine.run_task(task).unwrap());
    }
    assert_eq!(fixture.commits(), 1);
    let done = pass.finish().unwrap();
    assert_eq!(done.shards_failed.len(), 1);
    drop(pass);
    assert_eq!(rows_left(&fixture.engine), fixture.rows - done.rows_removed);
}

#[test]
fn a_shard_that_another_process_replaced_holds_back_the_whole_commit_until_it_is_done_again() {
    for here in [true, false] {
        let fixture = fixture();
        let mut pass = fixture.begin();
        let path = pass.tasks().remove(0).shard.path;
        // The others' version: one row group of another shard more, whatever the name.
        let other = samples().into_values().next_back().unwrap();
        *fixture.table.rival.lock().unwrap() = Some((path.clone(), other));
        if here {
            pass.run_all().unwrap();
        } else {
            let results = fixture.results(&pass);
            let again = pass.commit(results).unwrap();
            assert_eq!(fixture.commits(), 0);
            let paths: Vec<&str> = again.iter().map(|task| task.shard.path.as_str()).collect();
            assert_eq!(paths, [path.as_str()]);
            let result = fixture.engine.run_task(&again[0]).unwrap();
            assert!(pass.commit(vec![result]).unwrap().is_empty());
        }
        assert_eq!(fixture.commits(), 1, "{here}");
        pass.finish().unwrap();
        drop(pass);
        assert_eq!(rows_left(&fixture.engine), 0, "{here}");
        fixture.nothing_is_staged();
    }
}

#[test]
fn a_pass_that_was_cut_off_is_carried_on_with_one_commit() {
    let fixture = fixture();
    let mut pass = fixture.begin();
    let mut results = fixture.results(&pass);
    results.pop();
    pass.commit(results).unwrap();
    drop(pass);
    let done = fixture.engine.compact(&CompactOptions::at(now())).unwrap();
    assert_eq!(done.rows_removed, fixture.rows);
    assert_eq!(fixture.commits(), 1);
    assert_eq!(rows_left(&fixture.engine), 0);
    fixture.nothing_is_staged();
}
