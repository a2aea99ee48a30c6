//! submit, status, cancel, compact, receipts, suppress.

use serde_json::Value;

use crate::lake::{Lake, PEOPLE, Run, SHARDS, alter, contains, person};

fn submit(lake: &Lake, ids: &[String]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for id in ids {
        words.extend(["--id", id]);
    }
    let submitted = lake.json("submit", &words);
    submitted["tracking_id"].as_str().unwrap().to_owned()
}

#[test]
fn what_waits_is_told_in_pages_that_lead_from_one_to_the_next() {
    let lake = Lake::new();
    let ids: Vec<String> = (3..8)
        .map(|number| submit(&lake, &[person(number)]))
        .collect();
    let told = |words: &[&str]| {
        let page = lake.json("status", words);
        let requests = page["requests"].as_array().unwrap().iter();
        let ids: Vec<String> = requests
            .map(|request| request["tracking_id"].as_str().unwrap().to_owned())
            .collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    let (all, next) = told(&[]);
    assert_eq!((all.len(), next), (ids.len(), None));
    assert!(ids.iter().all(|id| all.contains(id)));
    assert_eq!(
        told(&["--limit", "2"]),
        (all[..2].to_vec(), Some(all[1].clone()))
    );
    assert_eq!(
        told(&["--limit", "2", "--after", &all[1]]),
        (all[2..4].to_vec(), Some(all[3].clone()))
    );
    assert_eq!(
        told(&["--limit", "2", "--after", &all[3]]),
        (all[4..].to_vec(), None)
    );
    assert_eq!(told(&["--after", &all[0]]), (all[1..].to_vec(), None));
}

#[test]
fn a_request_goes_from_pending_to_success_and_leaves_a_receipt() {
    let lake = Lake::new();
    let id = submit(&lake, &[person(3), person(4)]);
    assert_eq!(lake.json("status", &[&id])["state"], "PENDING");
    let again = lake.json("submit", &["--id", &person(4), "--id", &person(3)]);
    assert_eq!(
        (&again["tracking_id"], &again["joined"]),
        (&Value::from(id.as_str()), &Value::from(true))
    );
    let waiting = lake.json("status", &[]);
    assert_eq!(
        (&waiting["pending"], &waiting["overdue"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        lake.json("inspect", &[])["pending"][0]["tracking_id"],
        id.as_str()
    );

    let done = lake.json("compact", &[]);
    for key in [
        "tracking_id",
        "rows_removed",
        "shards_rewritten",
        "row_groups_rewritten",
        "pages_rewritten",
        "bytes_copied",
        "bytes_encoded",
        "seconds",
    ] {
        assert!(!done[key].is_null(), "{key}");
    }
    assert_eq!(done["shards_rewritten"], SHARDS.len());
    assert_eq!(lake.people().len(), PEOPLE - 2);
    let status = lake.json("status", &[&id]);
    assert_eq!(status["state"], "SUCCESS");
    assert_eq!(status["rows_removed"], done["rows_removed"]);
    let receipts = lake.json("receipts", &[]);
    assert_eq!(
        (&receipts["count"], &receipts["intact"]),
        (&1.into(), &true.into())
    );
    assert_eq!(receipts["receipts"][0]["tracking_id"], id.as_str());
    for (path, bytes) in lake.state() {
        assert!(!contains(&bytes, &person(3)), "{}", path.display());
    }
    assert_eq!(lake.json("compact", &[])["tracking_id"], Value::Null);
}

#[test]
fn a_cancelled_request_is_not_carried_out() {
    let lake = Lake::new();
    let before = lake.snapshot();
    let id = submit(&lake, &[person(3)]);
    assert_eq!(lake.json("cancel", &[&id])["state"], "REVOKED");
    lake.json("compact", &[]);
    assert!(lake.snapshot() == before);
    let again = lake.run("cancel", &[&id]);
    assert_eq!(again.status, 3, "{again:?}");
    assert!(again.stderr.contains("REVOKED"), "{}", again.stderr);
}

#[test]
fn an_unknown_tracking_id_is_not_found_and_what_is_none_is_a_usage_error_that_does_not_repeat_it() {
    let lake = Lake::new();
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(lake.json("status", &[unknown])["state"], "NOT_FOUND");
    assert_eq!(lake.run("cancel", &[unknown]).status, 3);
    for command in ["status", "cancel"] {
        // Each run checks that no subject id is printed.
        let run = lake.run(command, &[&person(3)]);
        assert_eq!(run.status, 2, "{run:?}");
        assert!(run.stderr.contains("tracking id"), "{}", run.stderr);
    }
}

#[test]
fn a_damaged_request_is_named_with_what_to_do_and_the_others_are_carried_out() {
    const ADVICE: &str = "submit that request again";
    let lake = Lake::new();
    let bad = submit(&lake, &[person(3)]);
    let good = submit(&lake, &[person(4)]);
    alter(&lake.at(&format!("_efface/queue/{bad}.json")), |bytes| {
        bytes[20] ^= 1;
    });
    for command in ["status", "inspect"] {
        let run = lake.run(command, &["--json"]);
        assert_eq!(run.status, 5, "{run:?}");
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(told.contains(ADVICE) && told.contains(&good), "{told}");
    }

    let run = lake.run("compact", &[]);
    assert_eq!(run.status, 5, "{run:?}");
    assert!(String::from_utf8_lossy(&run.stdout).contains(ADVICE));
    assert_eq!(lake.json("status", &[&good])["state"], "SUCCESS");
    assert_eq!(lake.people().len(), PEOPLE - 1);

    let run = lake.run("compact", &["--json"]);
    assert_eq!(run.status, 5, "it still waits: {run:?}");
    let done: Value = serde_json::from_slice(&run.stdout).unwrap();
    let damaged = done["requests_damaged"][0].as_str().unwrap();
    assert!(damaged.contains(&bad), "{damaged}");
}

#[test]
fn a_request_of_an_unknown_id_fails_and_the_others_are_carried_out() {
    let lake = Lake::new();
    let good = submit(&lake, &[person(1)]);
    let bad = submit(&lake, &[person(2), person(99)]);
    let run = lake.run("compact", &["--json"]);
    assert_eq!(run.status, 3, "{run:?}");
    let done: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(done["requests"].as_array().unwrap().len(), 2);
    assert_eq!(lake.json("status", &[&good])["state"], "SUCCESS");
    let failed = lake.json("status", &[&bad]);
    assert_eq!(failed["state"], "FAILURE");
    assert_eq!(failed["reason_kind"], "refused");
    let receipt = &lake.json("receipts", &[])["receipts"][1];
    assert_eq!(receipt["reason_kind"], "refused");
    // What is stored is read by others than users of the command.
    let reason = failed["reason"].as_str().unwrap();
    assert!(
        reason.contains("position 2") && reason.contains("unknown = report"),
        "{reason}"
    );
    assert!(!reason.contains("--"), "{reason}");
    assert_eq!(lake.people().len(), PEOPLE - 1);
}

#[test]
fn a_damaged_shard_is_told_with_exit_status_5_and_left_alone() {
    let lake = Lake::new();
    let id = submit(&lake, &[person(1)]);
    let whole = std::fs::read(lake.at(SHARDS[1])).unwrap();
    alter(&lake.at(SHARDS[1]), |bytes| bytes.truncate(100));
    let run = lake.run("compact", &["--json"]);
    assert_eq!(run.status, 5, "{run:?}");
    let done: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(done["shards_failed"][0]["path"], SHARDS[1]);
    let status = lake.json("status", &[&id]);
    assert_eq!(status["state"], "STARTED");
    assert!(status["reason"].as_str().unwrap().contains(SHARDS[1]));
    crate::lake::put(&lake.at(SHARDS[1]), whole);
    let export = lake.run("export", &["--id", &person(1), "-o", "rows.jsonl"]);
    assert_eq!(export.status, 4, "{export:?}");
    lake.json("compact", &[]);
    assert_eq!(lake.json("status", &[&id])["state"], "SUCCESS");
    assert!(!lake.people().contains(&person(1)));
}

#[test]
fn a_changed_receipt_is_found() {
    let lake = Lake::new();
    lake.json("delete", &["--id", &person(3)]);
    lake.json("receipts", &["--check"]);
    alter(&lake.at("_efface/receipts/000000000001.jsonl"), |bytes| {
        let place = bytes
            .windows(7)
            .position(|part| part == b"SUCCESS")
            .unwrap();
        bytes[place] = b'X';
    });
    let run = lake.run("receipts", &["--check"]);
    assert_eq!(run.status, 5, "{run:?}");
    assert!(run.stderr.contains("chain of receipts"), "{}", run.stderr);
}

#[test]
fn suppressed_rows_are_removed_when_they_come_back() {
    let lake = Lake::new();
    let shard = std::fs::read(lake.at(SHARDS[0])).unwrap();
    lake.json("delete", &["--id", &person(3), "--suppress"]);
    assert_eq!(suppress(&lake, "list", &[])["suppressed"], 1);
    crate::lake::put(&lake.at("day=1/restored.parquet"), &shard);
    assert!(lake.people().contains(&person(3)));
    let done = lake.json("compact", &[]);
    assert_eq!(done["rows_suppressed"], done["rows_removed"]);
    assert!(!lake.people().contains(&person(3)));
    assert_eq!(
        suppress(&lake, "remove", &["--id", &person(3)])["removed"],
        1
    );
    assert_eq!(suppress(&lake, "list", &[])["suppressed"], 0);
    let added = suppress(
        &lake,
        "add",
        &["--id", &person(4), "--before", "2026-01-01"],
    );
    assert_eq!(added["added"], 1);
    let entry = suppress(&lake, "list", &[])["entries"][0].clone();
    assert_eq!(entry["before"], "2026-01-01T00:00:00Z");
    assert_eq!(
        lake.json("compact", &[])["rows_removed"],
        0,
        "all rows are later"
    );
}

#[test]
fn a_request_keeps_the_roles_that_it_was_submitted_with() {
    let lake = Lake::new();
    let device = format!("{}device-1", crate::lake::MARK);
    let id = lake.json("submit", &["--subject", "device_id", "--id", &device]);
    let id = id["tracking_id"].as_str().unwrap().to_owned();
    let plan = lake.json("plan", &["--subject", "device_id", "--id", &device]);
    let done = lake.json("compact", &[]);
    assert_eq!(done["rows_removed"], plan["rows"]);
    assert_eq!(lake.json("status", &[&id])["state"], "SUCCESS");
}

#[test]
fn flags_that_differ_from_those_of_a_waiting_request_are_a_usage_error() {
    let lake = Lake::new();
    submit(&lake, &[person(3)]);
    let run = lake.run("compact", &["--subject", "device_id"]);
    assert_eq!(run.status, 2, "{run:?}");
    assert!(run.stderr.contains("(subject differ)"), "{}", run.stderr);
    lake.json("compact", &[]);
    assert!(!lake.people().contains(&person(3)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test loses the key")]
fn a_lost_key_is_an_error_and_no_other_one_is_made() {
    let lake = Lake::new();
    lake.json("delete", &["--id", &person(3), "--suppress"]);
    let key = std::fs::read(lake.at("_efface/key")).unwrap();
    std::fs::remove_file(lake.at("_efface/key")).unwrap();
    let run = lake.run("compact", &[]);
    assert_eq!(run.status, 5, "{run:?}");
    assert!(run.stderr.contains("restore that key"), "{}", run.stderr);
    assert!(!lake.at("_efface/key").exists());
    crate::lake::put(&lake.at("_efface/key"), key);
    lake.json("compact", &[]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test loses evidence")]
fn evidence_that_was_removed_is_missed() {
    let lake = Lake::new();
    lake.json("delete", &["--id", &person(3), "--suppress"]);
    let list = lake.at("_efface/suppression.json");
    let bytes = std::fs::read(&list).unwrap();
    std::fs::remove_file(&list).unwrap();
    let run = lake.run("compact", &[]);
    assert_eq!(run.status, 5, "{run:?}");
    assert!(run.stderr.contains("suppression.json"), "{}", run.stderr);
    crate::lake::put(&list, bytes);
    lake.json("compact", &[]);
    std::fs::remove_dir_all(lake.at("_efface/receipts")).unwrap();
    for command in ["receipts", "compact", "delete"] {
        let id = person(4);
        let options: &[&str] = if command == "delete" {
            &["--id", &id]
        } else {
            &[]
        };
        let run = lake.run(command, options);
        assert_eq!(run.status, 5, "{command}: {run:?}");
        assert!(run.stderr.contains("receipts"), "{}", run.stderr);
    }
}

fn suppress(lake: &Lake, what: &str, options: &[&str]) -> Value {
    let mut words = vec![
        "suppress".into(),
        what.into(),
        lake.path().into(),
        "--json".into(),
    ];
    words.extend(options.iter().map(Into::into));
    let run = lake.run_words(&words);
    assert_eq!(run.status, 0, "{run:?}");
    crate::lake::one_document(&run.stdout)
}

#[test]
fn what_is_said_of_a_request_is_in_its_status_and_its_receipt_and_its_deadline_is_extended_once() {
    let lake = Lake::new();
    let one = person(3);
    let words = [
        "--id",
        &one,
        "--regulation",
        "ccpa",
        "--requested-at",
        "2026-01-31T12:00:00Z",
        "--requested-by",
        "Ada Admin <ada@example.org>",
        "--subject-request-id",
        "a7551968-d5d6-44b2-9831-815ac9017798",
    ];
    let submitted = lake.json("submit", &words);
    assert_eq!(submitted["due"], "2026-03-17T12:00:00Z", "45 days");
    let id = submitted["tracking_id"].as_str().unwrap();
    let under_gdpr = lake.json(
        "submit",
        &["--id", &one, "--requested-at", "2026-01-31T12:00:00Z"],
    );
    assert_eq!(under_gdpr["due"], "2026-02-28T12:00:00Z", "28 days");
    lake.json("cancel", &[under_gdpr["tracking_id"].as_str().unwrap()]);

    let sooner = ["--until", "2026-03-01", "--reason", "many files"];
    refused(
        &lake.run("extend", &[&[id][..], &sooner].concat()),
        2,
        "is 2026-03-17T12:00:00Z already",
    );
    let reason = ["--reason", "a court has the files"];
    let extended = lake.json("extend", &[&[id][..], &reason].concat());
    assert_eq!(extended["due"], "2026-05-01T12:00:00Z", "45 days more");
    refused(
        &lake.run("extend", &[&[id][..], &reason].concat()),
        3,
        "once only",
    );

    let said = |told: &Value| {
        assert_eq!(told["requested_by"], "Ada Admin <ada@example.org>");
        assert_eq!(
            told["subject_request_id"],
            "a7551968-d5d6-44b2-9831-815ac9017798"
        );
        assert_eq!(told["origin"], "cli");
        assert_eq!(told["extension"]["due_before"], "2026-03-17T12:00:00Z");
        assert_eq!(told["extension"]["reason"], "a court has the files");
        assert_eq!(told["due"], "2026-05-01T12:00:00Z");
    };
    said(&lake.json("status", &[id]));
    said(&lake.json("status", &[])["requests"][0]);
    lake.json("compact", &[]);
    said(&lake.json("status", &[id]));
    said(&lake.json("receipts", &[])["receipts"][1]);
    refused(
        &lake.run("extend", &[&[id][..], &reason].concat()),
        3,
        "SUCCESS",
    );
}

#[test]
fn a_text_of_evidence_is_a_line() {
    let lake = Lake::new();
    let one = person(3);
    refused(
        &lake.run("submit", &["--id", &one, "--requested-by", "two\nlines"]),
        2,
        "--requested-by: it must be a line of at most 512 bytes",
    );
}

#[track_caller]
fn refused(run: &Run, status: i32, message: &str) {
    assert_eq!(run.status, status, "{}", run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
}
