//! A compaction whose tasks run in other processes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::lake::{Lake, MARK, PEOPLE, Run, SHARDS, one_document, person};

/// Begins a process that runs a task.
fn begin(lake: &Lake, pass: &str, number: usize) -> Child {
    let words = lake.words("task", &[pass, &number.to_string()]);
    let mut command = lake.command(&words);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(worker: Child) -> Value {
    let run = Run::of(worker.wait_with_output().unwrap());
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert_eq!(run.stdout.split(|byte| *byte == b'\n').count(), 2);
    one_document(&run.stdout)
}

/// Submits a delete of two people and hands its tasks out; gives the request and the pass.
fn handed_out(lake: &Lake) -> (String, String) {
    let submitted = lake.json("submit", &["--id", &person(3), "--id", &person(4)]);
    let published = lake.json("compact", &["--tasks"]);
    assert_eq!(published["tasks"], SHARDS.len());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&submitted["tracking_id"]), text(&published["pass"]))
}

/// Files that runs staged beside the shards.
fn staged(lake: &Lake) -> Vec<PathBuf> {
    let files = lake.snapshot().into_keys();
    files
        .filter(|path| path.to_str().unwrap().ends_with(".efface-tmp"))
        .collect()
}

#[track_caller]
fn assert_ended(lake: &Lake, request: &str) {
    assert_eq!(lake.people().len(), PEOPLE - 2);
    assert_eq!(lake.json("status", &[request])["state"], "SUCCESS");
    assert_eq!(lake.json("receipts", &["--check"])["count"], 1);
    assert_eq!(staged(lake), [] as [PathBuf; 0]);
    let pass = lake.at("_efface/pass");
    let left = lake
        .state()
        .into_keys()
        .filter(|path| path.starts_with(&pass));
    assert_eq!(left.count(), 0);
    let found = lake.json("verify", &["--id", &person(3), "--id", &person(4)]);
    assert_eq!(found["clean"], true, "{found}");
}

#[test]
fn an_array_job_runs_the_tasks_of_a_pass_though_one_is_killed_and_one_is_run_twice() {
    let lake = Lake::new();
    let (request, pass) = handed_out(&lake);
    assert_eq!(lake.json("status", &[&request])["state"], "STARTED");
    assert_eq!(lake.run("cancel", &[&request]).status, 3);
    for (path, bytes) in lake.state() {
        let is_of_pass = path.starts_with(lake.at("_efface/pass"));
        assert!(!is_of_pass || !crate::lake::contains(&bytes, MARK));
    }

    let mut workers: Vec<Child> = (1..=SHARDS.len())
        .map(|number| begin(&lake, &pass, number))
        .collect();
    workers[0].kill().unwrap();
    workers.remove(0).wait().unwrap();
    // Each run stages a file of its own, so two of one task are in nobody's way.
    workers.extend([begin(&lake, &pass, 1), begin(&lake, &pass, 1)]);
    let reports: Vec<Value> = workers.into_iter().map(end).collect();
    assert_eq!(reports.len(), SHARDS.len() + 1);
    for report in &reports {
        let number = usize::try_from(report["task"].as_u64().unwrap()).unwrap();
        assert_eq!(report["path"], SHARDS[number - 1]);
        assert_eq!(report["rows_removed"], 8);
    }
    let done = lake.json("commit", &[&pass]);
    assert_eq!(done["shards_rewritten"], SHARDS.len());
    assert_eq!(done["rows_removed"], 8 * SHARDS.len());
    assert_eq!(done["tracking_id"], pass);
    assert_ended(&lake, &request);

    let too_late = lake.json("commit", &[&pass]);
    assert_eq!(too_late["receipts"][0]["tracking_id"], request);
    let too_late = lake.run("task", &[&pass, "1"]);
    assert_eq!(too_late.status, 2);
    assert!(too_late.stderr.contains("has ended"), "{}", too_late.stderr);
}

#[test]
fn a_commit_that_comes_too_early_says_what_is_outstanding_and_breaks_nothing() {
    let lake = Lake::new();
    let (request, pass) = handed_out(&lake);
    let early = lake.run("commit", &[&pass]);
    assert_eq!(early.status, 4);
    assert!(early.stderr.contains("3 tasks"), "{}", early.stderr);
    assert!(early.stderr.contains("1, 2, 3"), "{}", early.stderr);
    end(begin(&lake, &pass, 2));
    let early = lake.run("commit", &[&pass]);
    assert_eq!(early.status, 4);
    assert!(early.stderr.contains("number 1, 3"), "{}", early.stderr);
    end(begin(&lake, &pass, 1));
    end(begin(&lake, &pass, 3));
    assert_eq!(lake.json("commit", &[&pass])["rows_removed"], 24);
    assert_ended(&lake, &request);
}

#[test]
fn while_tasks_are_out_no_others_are_handed_out_and_the_open_pass_is_named() {
    let lake = Lake::new();
    let nothing = lake.json("compact", &["--tasks"]);
    assert_eq!(
        (&nothing["pass"], &nothing["tasks"]),
        (&Value::Null, &0.into())
    );
    let (_, pass) = handed_out(&lake);
    lake.json("submit", &["--id", &person(7)]);
    let second = lake.run("compact", &["--tasks"]);
    assert_eq!(second.status, 4);
    assert!(second.stderr.contains(&pass), "{}", second.stderr);
}

#[test]
fn a_plain_compaction_takes_up_what_other_processes_did_and_does_the_rest() {
    let lake = Lake::new();
    let (request, pass) = handed_out(&lake);
    end(begin(&lake, &pass, 1));
    let [new] = &staged(&lake)[..] else {
        panic!("not one file is staged");
    };
    let inode = fs::metadata(new).unwrap().ino();
    let done = lake.json("compact", &[]);
    assert_eq!(done["shards_rewritten"], SHARDS.len());
    assert_eq!(done["rows_removed"], 24);
    let first = fs::metadata(lake.at(SHARDS[0])).unwrap();
    assert_eq!(first.ino(), inode, "the task's result was not used");
    assert_ended(&lake, &request);
    let too_late = lake.run("commit", &[&pass]);
    assert_eq!(too_late.status, 0, "{}", too_late.stderr);
    assert!(crate::lake::contains(&too_late.stdout, "had ended before"));
    assert!(crate::lake::contains(&too_late.stdout, &request));
}

#[test]
fn another_pass_and_another_number_are_usage_errors_that_show_no_argument() {
    let lake = Lake::new();
    let (request, pass) = handed_out(&lake);
    let mark = person(1);
    for (command, words, says) in [
        ("task", &[&request[..], "1"][..], "the open one is"),
        ("task", &[&pass, "4"], "numbered from 1 to 3"),
        ("task", &[&pass, "0"], "numbered from 1 to 3"),
        ("task", &[&pass, &mark], "no number"),
        ("task", &[&mark, "1"], "no tracking id"),
        ("commit", &[&request], "the open one is"),
        ("commit", &[&mark], "no tracking id"),
    ] {
        let run = lake.run(command, words);
        assert_eq!(run.status, 2, "{}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
}
