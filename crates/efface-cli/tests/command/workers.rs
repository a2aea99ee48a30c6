//! A compaction whose tasks run in other processes.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use efface::Engine;
use efface::erase::CompactOptions;
use efface::erase::task::{ShardTask, TaskResult};
use jiff::Timestamp;

use crate::lake::{Lake, PEOPLE, SHARDS, person, put};

/// Begins a process that runs the task.
fn begin(lake: &Lake, task: &ShardTask) -> Child {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = lake.beside(&format!("task-{number}.json"));
    put(&file, serde_json::to_vec(task).unwrap());
    let words = ["task".into(), lake.path().into(), file.into()];
    let mut command = lake.command(&words);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(worker: Child) -> TaskResult {
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn several_workers_do_the_tasks_of_a_pass_and_one_that_is_killed_is_replaced() {
    let lake = Lake::new();
    let submitted = lake.json("submit", &["--id", &person(3), "--id", &person(4)]);
    let id = submitted["tracking_id"].as_str().unwrap();
    let engine = Engine::open_dir(lake.path()).unwrap();
    let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let mut pass = engine.begin(&CompactOptions::at(now)).unwrap().unwrap();
    assert_eq!(lake.json("status", &[id])["state"], "STARTED");

    let tasks = pass.tasks();
    assert_eq!(tasks.len(), SHARDS.len());
    let mut workers: Vec<Child> = tasks.iter().map(|task| begin(&lake, task)).collect();
    workers[0].kill().unwrap();
    workers.remove(0).wait().unwrap();
    // Each run stages a file of its own, so two of one task are in nobody's way.
    workers.extend([begin(&lake, &tasks[0]), begin(&lake, &tasks[0])]);
    let results = workers.into_iter().map(end).collect();
    assert!(pass.commit(results).unwrap().is_empty());
    let done = pass.finish().unwrap();
    assert_eq!(done.shards_rewritten, SHARDS.len() as u64);
    assert_eq!(lake.people().len(), PEOPLE - 2);
    let status = lake.json("status", &[id]);
    assert_eq!(status["state"], "SUCCESS");
    assert_eq!(status["rows_removed"], done.rows_removed);
    assert_eq!(lake.json("receipts", &["--check"])["count"], 1);
    // What the killed one left is removed by whoever works next.
    lake.json("compact", &[]);
    lake.json("delete", &["--id", &person(5)]);
    let found = lake.json("verify", &["--id", &person(3), "--id", &person(4)]);
    assert_eq!(found["clean"], true, "{found}");
}
