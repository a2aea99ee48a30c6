//! Exports that wait, approval, and events that are filtered on their way in.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;

use crate::lake::{Lake, Run, person, strings, write_parquet};

fn submitted(lake: &Lake, words: &[&str]) -> String {
    let told = lake.json("submit", words);
    told["tracking_id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(run: &Run, status: i32, message: &str) {
    assert_eq!(run.status, status, "{}", run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
}

#[test]
fn an_export_waits_becomes_an_archive_and_goes_with_a_delete() {
    let lake = Lake::new();
    let one = person(3);
    let words = [
        "--id",
        one.as_str(),
        "--kind",
        "export",
        "--format",
        "jsonl",
    ];
    let id = submitted(&lake, &words);
    let status = lake.json("status", &[&id]);
    assert_eq!(
        (&status["kind"], &status["state"]),
        (&"export".into(), &"PENDING".into())
    );
    let delete = submitted(&lake, &["--id", &one]);
    let archives = lake.beside("archives");
    fs::create_dir(&archives).unwrap();
    let place = archives.to_str().unwrap();
    let done = lake.json("compact", &["--exports", "--archives", place]);
    assert_eq!(done["requests"][0]["kind"], "export");
    let status = lake.json("status", &[&id]);
    assert_eq!(status["state"], "SUCCESS");
    let archive = &status["archive"];
    assert_eq!(
        (&archive["rows"], &archive["is_kept"]),
        (&12.into(), &true.into())
    );
    let path = archives.join(format!("{id}.zip"));
    assert_eq!(archive["path"], path.to_str().unwrap());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let hash = blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
    assert_eq!(archive["blake3"], hash);
    assert_eq!(
        lake.json("receipts", &[])["receipts"][0]["archive"]["blake3"],
        hash
    );

    // It waits for the archive to be fetched, which is nothing wrong.
    let waits = lake.json("compact", &[]);
    assert_eq!(waits["rows_removed"], 0);
    let status = lake.json("status", &[&delete]);
    assert_eq!(status["state"], "PENDING");
    assert!(status["reason"].as_str().unwrap().contains(&id));
    refused(
        &lake.run("delete", &["--id", &one]),
        4,
        "efface fetch DATASET",
    );
    let copy = lake.beside("copy.zip");
    lake.json("fetch", &[&id, "-o", copy.to_str().unwrap()]);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&path).unwrap());
    assert_eq!(lake.run("verify", &["--id", &one]).status, 6);
    assert_eq!(lake.json("compact", &[])["rows_removed"], 12);
    assert!(!path.exists());
    assert_eq!(lake.json("verify", &["--id", &one])["clean"], true);
    let again = ["-o", copy.to_str().unwrap(), &id];
    refused(&lake.run("fetch", &again), 3, "its archive was removed");
}

#[test]
fn options_of_archives_go_with_exports_alone() {
    let lake = Lake::new();
    let one = person(3);
    refused(
        &lake.run("submit", &["--id", &one, "--format", "csv"]),
        2,
        "--kind",
    );
    let suppressing = ["--id", one.as_str(), "--kind", "export", "--suppress"];
    refused(&lake.run("submit", &suppressing), 2, "--suppress");
    refused(
        &lake.run("compact", &["--exports", "--tasks"]),
        2,
        "--tasks",
    );
}

#[test]
fn a_held_request_is_approved_by_somebody_else_or_denied() {
    let lake = Lake::new();
    let one = person(3);
    let held = ["--id", one.as_str(), "--hold", "--requested-by", "ann"];
    let id = submitted(&lake, &held);
    assert_eq!(lake.json("compact", &[])["rows_removed"], 0);
    assert_eq!(lake.json("status", &[&id])["needs_approval"], true);
    refused(
        &lake.run("approve", &[&id, "--by", "ann"]),
        3,
        "can't be who approves",
    );
    assert_eq!(
        lake.json("approve", &[&id, "--by", "bea"])["approved_by"],
        "bea"
    );
    assert_eq!(lake.json("compact", &[])["rows_removed"], 12);
    let two = person(4);
    let other = submitted(&lake, &["--id", &two, "--hold"]);
    let denied = lake.json(
        "deny",
        &[&other, "--by", "bea", "--reason", "a contract runs"],
    );
    assert_eq!(denied["state"], "REVOKED");
    assert_eq!(denied["reason"], "bea denied it: a contract runs");
    refused(&lake.run("approve", &[&other, "--by", "bea"]), 3, "REVOKED");
}

fn filtered(lake: &Lake, words: &[&str], events: Vec<u8>) -> Output {
    let mut command: Command = lake.command(&lake.words("filter", words));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || drop(input.write_all(&events)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[test]
fn events_of_suppressed_ids_do_not_come_in_and_what_cannot_be_judged_stops() {
    let lake = Lake::new();
    let (gone, kept) = (person(3), person(4));
    let suppress = [
        "suppress",
        "add",
        lake.path().to_str().unwrap(),
        "--id",
        &gone,
    ]
    .map(Into::into);
    assert_eq!(lake.run_words(&suppress).status, 0);
    let line =
        |id: &str| format!("{{\"event\":\"x\",\"properties\":{{\"distinct_id\":\"{id}\"}}}}\n");
    let events = [line(&gone), line(&kept), line(&gone)].concat();
    let done = filtered(&lake, &["--json"], events.into_bytes());
    assert_eq!(String::from_utf8(done.stdout).unwrap(), line(&kept));
    let told: Value = serde_json::from_slice(&done.stderr).unwrap();
    assert_eq!((&told["kept"], &told["dropped"]), (&1.into(), &2.into()));

    let unclear = [line(&kept), "{\"user\":\"x\"}\n".to_owned(), line(&kept)].concat();
    let stopped = filtered(&lake, &[], unclear.clone().into_bytes());
    assert_eq!(stopped.status.code(), Some(3));
    assert_eq!(String::from_utf8(stopped.stdout).unwrap(), line(&kept));
    let message = String::from_utf8(stopped.stderr).unwrap();
    assert!(message.contains("event 2 can't be judged"), "{message}");
    for (choice, lines) in [("drop", 2), ("pass", 3)] {
        let done = filtered(&lake, &["--on-error", choice], unclear.clone().into_bytes());
        assert_eq!(done.status.code(), Some(0));
        assert_eq!(
            done.stdout.iter().filter(|byte| **byte == b'\n').count(),
            lines
        );
    }
}

#[test]
fn parquet_and_arrow_are_filtered_row_by_row() {
    let lake = Lake::new();
    let gone = person(3);
    let suppress = [
        "suppress",
        "add",
        lake.path().to_str().unwrap(),
        "--id",
        &gone,
    ]
    .map(Into::into);
    assert_eq!(lake.run_words(&suppress).status, 0);
    for format in ["parquet", "arrow"] {
        let ids = [person(3), person(4)];
        let rows = lake.beside(&format!("in.{format}"));
        let words = [
            "--id",
            &ids[0],
            "--id",
            &ids[1],
            "-o",
            rows.to_str().unwrap(),
        ];
        assert_eq!(lake.run("export", &words).status, 0);
        let done = filtered(
            &lake,
            &["--format", format, "--json"],
            fs::read(&rows).unwrap(),
        );
        let told: Value = serde_json::from_slice(&done.stderr).unwrap();
        assert_eq!((&told["kept"], &told["dropped"]), (&12.into(), &12.into()));
        if format == "parquet" {
            let out = lake.beside("out.parquet");
            File::create(&out).unwrap().write_all(&done.stdout).unwrap();
            assert_eq!(strings(&out, "distinct_id"), vec![Some(person(4)); 12]);
        }
    }
    let other = lake.beside("other.parquet");
    let names: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::StringArray::from(vec!["x"]));
    let batch = arrow::array::RecordBatch::try_from_iter([("user", names)]).unwrap();
    write_parquet(&other, &batch);
    let stopped = filtered(&lake, &["--format", "parquet"], fs::read(&other).unwrap());
    assert_eq!(
        stopped.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&stopped.stderr)
    );
}
