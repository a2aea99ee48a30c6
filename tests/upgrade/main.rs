//! Datasets whose state efface 0.1 wrote (`state_0_1/`, where the README says how): the efface of today opens them,
//! carries on what was begun, and finishes it as 0.1 would have done. It refuses state of a version to come.

use std::collections::BTreeMap;
use std::fs;

use efface::config::Config;
use efface::erase::delete::DeleteOptions;
use efface::queue::RequestState;
use efface::receipts::Cause;
use efface::tracking::TrackingId;
use efface::{Error, ErrorKind};

use case::{Case, delete_of, now};
use events::read;

mod case;
mod events;

#[test]
fn a_request_that_waits_is_carried_out() {
    let case = Case::new("waiting");
    let before = [
        ("cancelled", RequestState::Revoked),
        ("deleted and suppressed", RequestState::Success),
        ("laptop", RequestState::Pending),
        ("unknown", RequestState::Failure),
    ];
    assert_eq!(case.states(), BTreeMap::from(before));
    case.check_events_are_as_0_1_left_them();

    let report = case.compact().unwrap();
    assert_eq!((report.rows_removed, report.rows_suppressed), (28, 4));
    let laptop = case.status("laptop");
    assert_eq!(
        (laptop.state, laptop.rows_removed),
        (RequestState::Success, 24)
    );
    let causes = case
        .new_receipts()
        .into_iter()
        .map(|receipt| receipt.cause)
        .collect::<Vec<_>>();
    assert_eq!(causes, [Cause::Delete, Cause::Suppression]);
    let gone = ["ada@gone", "eve@gone", "laptop@gone"];
    case.check_events(&gone, &[]);
    assert_eq!(case.aliases(), ["phone,bob", "tablet@gone,fay@gone"]);
    case.check_is_settled(&gone);
}

#[test]
fn a_request_asked_again_joins_the_one_that_waits() {
    let case = Case::new("waiting");
    let asked = delete_of(&["laptop@gone"]);
    let engine = case.open().unwrap();
    let id = TrackingId::draw(now());
    let submitted = engine.submit(id, &asked, now(), None).unwrap();
    assert!(submitted.joined);
    assert_eq!(submitted.tracking_id, case.id("laptop"));
    assert_eq!(engine.waiting(now()).unwrap().len(), 1);
}

#[test]
fn a_request_that_waits_can_be_cancelled() {
    let case = Case::new("waiting");
    let engine = case.open().unwrap();
    engine.cancel(case.id("laptop"), now()).unwrap();
    assert_eq!(case.status("laptop").state, RequestState::Revoked);
    assert_eq!(case.new_receipts().len(), 1);
    case.compact().unwrap();
    case.check_events(&["eve@gone"], &[]);
}

#[test]
fn a_pass_that_was_being_planned_is_planned_again() {
    let case = Case::new("staging");
    for request in ["laptop", "sources", "unknown too", "ada and fay"] {
        assert_eq!(
            case.status(request).state,
            RequestState::Staging,
            "{request}"
        );
    }
    case.check_events_are_as_0_1_left_them();
    case.compact().unwrap();
    case.check_four_are_done();
}

#[test]
fn a_pass_half_way_is_carried_on_to_its_end() {
    let case = Case::new("half_way");
    for request in ["laptop", "sources", "unknown too", "ada and fay"] {
        assert_eq!(
            case.status(request).state,
            RequestState::Started,
            "{request}"
        );
    }
    let first = read(&case.events().join("a.parquet"));
    assert!(first.iter().all(|event| !event.0.ends_with("@gone")));
    let second = read(&case.events().join("b.parquet"));
    assert!(second.iter().any(|event| event.0.ends_with("@gone")));
    for left in [
        ".b.parquet.0.1.efface-tmp",
        "day=1/.c.parquet.0.1.efface-tmp",
    ] {
        assert!(case.events().join(left).exists(), "{left}");
    }

    let engine = case.open().unwrap();
    let error = engine.cancel(case.id("laptop"), now()).unwrap_err();
    assert!(matches!(error, Error::NotCancellable { .. }), "{error}");
    case.compact().unwrap();
    case.check_four_are_done();
}

#[test]
fn alias_rows_that_were_announced_are_removed() {
    let case = Case::new("aliases_announced");
    assert_eq!(case.aliases().len(), 3);
    let report = case.compact().unwrap();
    assert_eq!(report.alias_rows_removed, 2);
    case.check_four_are_done();
}

#[test]
fn requests_that_have_receipts_leave_the_queue_without_second_ones() {
    let case = Case::new("receipts_before_queue");
    let before = case.receipts();
    case.compact().unwrap();
    assert_eq!(case.receipts(), before);
    case.check_four_are_done();
}

/// What holds when the delete of `delete_half_way` is finished, and a compaction has been run.
fn check_delete_is_done(case: &Case) {
    let done = case.status("at once");
    assert_eq!((done.state, done.rows_removed), (RequestState::Success, 36));
    let rows: Vec<u64> = done.outcomes.iter().map(|subject| subject.rows).collect();
    assert_eq!(rows, [12, 24]);
    assert_eq!(done.left_out, 1);
    assert!(done.digest.is_some());
    let causes: Vec<Cause> = case
        .new_receipts()
        .iter()
        .map(|receipt| receipt.cause)
        .collect();
    assert_eq!(causes, [Cause::Delete, Cause::Suppression]);
    let gone = ["ada@gone", "eve@gone", "fay@gone", "laptop@gone"];
    case.check_events(&gone, &[]);
    assert_eq!(case.aliases(), ["phone,bob"]);
    case.check_is_settled(&gone);
}

#[test]
fn a_delete_half_way_is_finished_by_a_compaction() {
    let case = Case::new("delete_half_way");
    assert_eq!(case.status("at once").state, RequestState::Started);
    case.compact().unwrap();
    check_delete_is_done(&case);
}

#[test]
fn a_delete_half_way_that_is_asked_again_takes_up_where_it_was() {
    let case = Case::new("delete_half_way");
    let engine = case.open().unwrap();
    let asked = delete_of(&["fay@gone", "laptop@gone"]);
    let report = engine
        .delete(&asked, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!(report.tracking_id, case.id("at once"));
    assert_eq!((report.rows_removed, report.shards_rewritten), (36, 3));
    // Suppressed rows are a compaction's.
    case.compact().unwrap();
    check_delete_is_done(&case);
}

#[test]
fn another_delete_ends_the_one_half_way_first() {
    let case = Case::new("delete_half_way");
    let engine = case.open().unwrap();
    let other = delete_of(&["gus"]);
    let report = engine
        .delete(&other, None, &DeleteOptions::default())
        .unwrap();
    assert_eq!(report.rows_removed, 16);
    assert_eq!(case.status("at once").state, RequestState::Success);
    assert_eq!(case.status("at once").rows_removed, 36);
    case.compact().unwrap();
    case.check_events(
        &["ada@gone", "eve@gone", "fay@gone", "gus", "laptop@gone"],
        &[],
    );
}

#[test]
fn a_pass_of_a_version_to_come_is_refused() {
    for name in ["staging", "half_way"] {
        let case = Case::new(name);
        case.change("_efface/pass/pass.json", "\"format\":1", "\"format\":999");
        let before = case.lasting_files();
        let error = case.compact().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains("another version"), "{error}");
        assert_eq!(case.lasting_files(), before);
    }
}

#[test]
fn a_suppression_list_of_a_version_to_come_is_refused() {
    let case = Case::new("waiting");
    case.change("_efface/suppression.json", "\"format\":1", "\"format\":999");
    let before = case.lasting_files();
    let error = case.compact().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("another version"), "{error}");
    assert_eq!(case.lasting_files(), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
fn a_configuration_of_a_version_to_come_is_refused() {
    let case = Case::new("waiting");
    let path = case.events().join(Config::PATH);
    let config = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("of_a_version_to_come = true\n{config}")).unwrap();
    let before = case.lasting_files();
    let error = case.compact().unwrap_err();
    assert!(
        error.to_string().contains("of_a_version_to_come"),
        "{error}"
    );
    assert_eq!(case.lasting_files(), before);
}

#[test]
fn a_request_of_a_version_to_come_keeps_waiting_and_is_told() {
    let case = Case::new("waiting");
    let path = format!("_efface/queue/{}.json", case.id("laptop"));
    case.change(&path, "\"format\":1", "\"format\":999");
    let report = case.compact().unwrap();
    let [told] = report.requests_damaged.as_slice() else {
        panic!("{:?}", report.requests_damaged);
    };
    assert!(told.contains(&path), "{told}");
    assert!(!told.contains("@gone"), "{told}");
    assert!(case.events().join(path).exists());
    // Of the suppressed id the late rows went.
    case.check_events(&["eve@gone"], &[]);
    assert_eq!(case.aliases().len(), 3);
}
