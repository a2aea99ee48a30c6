//! Requests and options that are refused: each has its exit status and a message that helps, and leaves
//! everything as it was.

use std::fs::{self, File};

use rustix::fs::{FlockOperation, flock};

use crate::lake::{Event, Lake, MARK, person, put};

pub(crate) const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const CONFLICT: i32 = 4;
pub(crate) const BAD_DATA: i32 = 5;

/// One command for each thing that can be done to a dataset.
pub(crate) const ON_ANY: [&str; 5] = ["init", "index", "inspect", "export", "delete"];

/// Those that carry out a request.
pub(crate) const ON_REQUESTS: [&str; 2] = ["export", "delete"];

/// Runs each command with and without `--json` and checks that it is refused as it should be.
#[track_caller]
pub(crate) fn refused(
    lake: &Lake,
    commands: &[&str],
    options: &[&str],
    status: i32,
    says: &[&str],
) {
    let before = lake.snapshot();
    let config = fs::read(lake.at("_efface/dataset.toml")).ok();
    for command in commands {
        for json in [&[][..], &["--json"]] {
            let mut words = options.to_vec();
            let is_request = matches!(*command, "plan" | "export" | "delete");
            let names_ids = |option: &&str| matches!(*option, "--id" | "--ids");
            if is_request && !options.iter().any(names_ids) {
                words.extend(["--id", "person~07"]);
            }
            words.extend(json);
            // Even rows that an export should not have written would be seen here.
            let run = lake.run(command, &words);
            let what = format!("efface {command} {words:?}: {}", run.stderr);
            assert_eq!(run.status, status, "{what}");
            assert!(run.stdout.is_empty(), "output in spite of an error: {what}");
            let message = run.stderr.lines().find(|line| line.starts_with("error: "));
            assert!(message.is_some(), "{what}");
            for part in says {
                assert!(run.stderr.contains(part), "no {part:?} in {what}");
            }
        }
    }
    assert!(lake.snapshot() == before, "{commands:?} changed a file");
    let config_after = fs::read(lake.at("_efface/dataset.toml")).ok();
    assert!(config == config_after, "{commands:?} changed dataset.toml");
}

fn csv(header: &str, ids: impl IntoIterator<Item = String>) -> String {
    ids.into_iter()
        .fold(format!("{header}\n"), |text, id| text + &id + "\n")
}

#[test]
fn an_empty_id_is_refused_by_its_position() {
    let lake = Lake::new();
    refused(
        &lake,
        &ON_REQUESTS,
        &["--id", ""],
        REFUSED,
        &["subject id 1 is empty"],
    );
    let second = ["--id", &person(1), "--id", ""];
    refused(
        &lake,
        &ON_REQUESTS,
        &second,
        REFUSED,
        &["subject id 2 is empty"],
    );
    let quoted = lake.note("ids.csv", "distinct_id\nperson~01\n\"\"\nperson~02\n");
    refused(
        &lake,
        &ON_REQUESTS,
        &["--ids", &quoted],
        REFUSED,
        &["empty"],
    );
}

#[test]
fn a_request_without_an_id_is_refused() {
    let lake = Lake::new();
    let path = lake.note("ids.csv", "distinct_id\n\n\n");
    refused(
        &lake,
        &ON_REQUESTS,
        &["--ids", &path],
        REFUSED,
        &["names no subject id"],
    );
    for command in ON_REQUESTS {
        let run = lake.run(command, &[]);
        assert_eq!(run.status, USAGE, "{}", run.stderr);
        assert!(run.stderr.contains("--id"), "{}", run.stderr);
    }
}

#[test]
fn two_thousand_and_one_ids_are_refused_and_two_thousand_are_not() {
    let lake = Lake::new();
    let path = lake.note("ids.csv", csv("distinct_id", (0..2001).map(person)));
    refused(
        &lake,
        &ON_REQUESTS,
        &["--ids", &path],
        REFUSED,
        &["2001", "2000"],
    );
    let twice = (0..2000).chain(0..2000).map(person);
    let twice = lake.note("ids.csv", csv("distinct_id", twice));
    let plan = lake.json("plan", &["--ids", &twice]);
    assert_eq!(plan["subjects"].as_array().unwrap().len(), 2000);
    assert_eq!(plan["subjects"][1999]["found"], false);
}

#[test]
fn unknown_ids_refuse_the_whole_request_and_are_named_by_position() {
    let lake = Lake::new();
    let [known, unknown] = [person(3), format!("{MARK}nobody")];
    let ids = [
        "--id",
        &unknown,
        "--id",
        &known,
        "--id",
        &format!("{MARK}nobody else"),
    ];
    refused(
        &lake,
        &ON_REQUESTS,
        &ids,
        REFUSED,
        &["2 of", "position 1, 3", "hint: --unknown report"],
    );
    let path = lake.note("ids.csv", csv("distinct_id", [known.clone(), unknown]));
    refused(
        &lake,
        &ON_REQUESTS,
        &["--ids", &path],
        REFUSED,
        &["position 2"],
    );
    // No trimming, no case folding, no prefix.
    for other in [" person~03", "Person~03", "person~0", "person~030"] {
        let run = lake.run("delete", &["--id", other]);
        assert_eq!(run.status, REFUSED, "{}", run.stderr);
    }
    assert!(lake.people().contains(&known));
}

#[test]
fn a_delete_of_too_much_is_refused() {
    let lake = Lake::new();
    // One of three devices: 80 of 240 rows.
    let device = format!("{MARK}device-1");
    let options = [
        "--subject",
        "device_id",
        "--id",
        &device,
        "--max-match",
        "0.3",
    ];
    refused(
        &lake,
        &["delete"],
        &options,
        REFUSED,
        &["80 of 240", "33.3 %", "--max-match"],
    );
    let both = [
        "--subject",
        "device_id",
        "--id",
        &device,
        "--id",
        &format!("{MARK}device-2"),
    ];
    refused(
        &lake,
        &["delete"],
        &both,
        REFUSED,
        &["160 of 240", "50.0 %"],
    );
    let says = lake.json("plan", &both)["refused"].to_string();
    for part in ["160 of 240", "--max-match"] {
        assert!(says.contains(part), "{says}");
    }
    for wrong in ["1.5", "-1", "NaN", "half"] {
        let options = ["--max-match", wrong].map(str::to_owned);
        let option = format!("{}={}", options[0], options[1]);
        refused(&lake, &["delete"], &[&option], USAGE, &["--max-match"]);
    }
}

#[test]
fn a_plan_that_changed_is_refused() {
    let lake = Lake::new();
    let id = person(4);
    let digest = lake.json("plan", &["--id", &id])["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let zeros = "0".repeat(digest.len());
    let wrong = ["--id", &id, "--plan", &zeros];
    let says = [&digest, &zeros, "look at the new plan"];
    refused(&lake, &["plan", "delete"], &wrong, REFUSED, &says);
    // That is the digest of a delete.
    let stale = ["--id", &id, "--plan", &digest];
    refused(&lake, &["export"], &stale, REFUSED, &[&digest]);
    lake.add_shard(
        "day=3/a.parquet",
        &[Event {
            who: Some(id.clone()),
            device: id.clone(),
            time_us: None,
        }],
    );
    refused(
        &lake,
        &["plan", "delete"],
        &stale,
        REFUSED,
        &[&digest, "digest"],
    );
}

#[test]
fn a_lock_that_another_process_holds_is_a_conflict_for_writers_only() {
    let lake = Lake::new();
    put(&lake.at("_efface/lock"), "pid 1 on elsewhere");
    let held = File::open(lake.at("_efface/lock")).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    refused(
        &lake,
        &["delete", "index"],
        &[],
        CONFLICT,
        &["_efface/lock", "pid 1 on elsewhere"],
    );
    assert_eq!(lake.json("plan", &["--id", &person(1)])["rows"], 12);
    let export = lake.json("export", &["--id", &person(1), "-o", "rows.jsonl"]);
    assert_eq!(export["rows"], 12);
    drop(held);
    assert_eq!(
        lake.json("delete", &["--id", &person(1)])["rows_removed"],
        12
    );
}

#[test]
fn an_option_that_means_nothing_is_a_usage_error() {
    let lake = Lake::new();
    for (command, options, says) in [
        (
            "export",
            vec!["--requested-at", "yesterday"],
            "--requested-at",
        ),
        (
            "export",
            vec!["--requested-at", "2026-02-30T00:00:00Z"],
            "--requested-at",
        ),
        ("export", vec!["--regulation", "hipaa"], "--regulation"),
        ("export", vec!["--identity", "fuzzy"], "--identity"),
        ("export", vec!["--since", "soon"], "--since"),
        ("export", vec!["--since", "2020-01-01"], "--since"),
        ("export", vec!["--since", "2020-01-01"], "--regulation ccpa"),
        ("delete", vec!["--since", "2020-01-01"], "--since"),
        ("delete", vec!["--unknown", "shrug"], "--unknown"),
        ("delete", vec!["--disclosure", "everything"], "--disclosure"),
        (
            "delete",
            vec!["--required-columns", "drop"],
            "--required-columns",
        ),
        ("delete", vec!["--zstd-level", "99"], "--zstd-level"),
        ("delete", vec!["--identity-cap", "0"], "--identity-cap"),
        ("delete", vec!["--memory", "lots"], "--memory"),
        ("delete", vec!["--threads", "0"], "--threads"),
        ("export", vec!["--format", "xml"], "--format"),
        ("export", vec!["-o", "rows"], "--format"),
        ("export", vec!["-o", "no/such/rows.jsonl"], "-o"),
        ("export", vec!["-o", "lake/rows.parquet"], "-o"),
        (
            "export",
            vec!["-o", "lake/day=1/rows.pq", "--format", "parquet"],
            "-o",
        ),
        ("export", vec!["-o", "lake", "--format", "jsonl"], "-o"),
    ] {
        refused(&lake, &[command], &options, USAGE, &[says]);
    }
}

#[test]
fn an_id_that_expands_too_far_is_refused() {
    let lake = Lake::new();
    let links = (0..30).map(|other| format!("{},{}", person(7), person(other)));
    let table = lake.note("aliases.csv", csv("alias,distinct_id", links));
    let options = ["--aliases", &table, "--identity-cap", "10"];
    refused(
        &lake,
        &ON_REQUESTS,
        &options,
        REFUSED,
        &["subject id 1", "--identity-cap", "--identity exact"],
    );
}

#[test]
fn an_ids_file_that_makes_no_sense_is_refused() {
    let lake = Lake::new();
    let unclosed = lake.note("ids.csv", "distinct_id\n\"person~01\nperson~02\n");
    refused(
        &lake,
        &ON_REQUESTS,
        &["--ids", &unclosed],
        REFUSED,
        &["record 2"],
    );
    let not_text = lake.note("ids.csv", b"distinct_id\nperson~\xff\n");
    refused(
        &lake,
        &ON_REQUESTS,
        &["--ids", &not_text],
        REFUSED,
        &["record 2"],
    );
    refused(
        &lake,
        &ON_REQUESTS,
        &["--ids", "nowhere.csv"],
        1,
        &["nowhere.csv"],
    );
}
