//! Exports that wait: what they become, what comes before what, who approves, and what is left of them.

#[path = "faults/lake.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;

use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;

use efface::config::{Config, OnUnfetched};
use efface::engine::Engine;
use efface::erase::CompactOptions;
use efface::erase::delete::DeleteOptions;
use efface::export::sink::Format;
use efface::queue::{Contents, RequestState, Submission};
use efface::receipts::{Cause, Outcome, Receipt};
use efface::request::{Provenance, Regulation, Request, Subjects, Unknown};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Error, ErrorKind, SubjectId};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use zip::ZipArchive;

use lake::{config, engine, lake};

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn after(days: i64) -> Timestamp {
    now()
        .checked_add(SignedDuration::from_hours(24 * days))
        .unwrap()
}

fn id(number: u8) -> TrackingId {
    TrackingId::new(now(), [number; 10])
}

fn export(ids: &[&str]) -> Request {
    Request::export(Subjects::new(ids.iter().copied()).unwrap(), now())
}

fn delete(ids: &[&str]) -> Request {
    Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new(ids.iter().copied()).unwrap(), now())
    }
}

fn submit(engine: &Engine, number: u8, request: Request) -> Submission {
    let submission = Submission::new(id(number), request, now());
    engine.submit_with(&submission).unwrap();
    submission
}

fn compact(engine: &Engine, at: Timestamp) {
    engine.compact(&CompactOptions::at(at)).unwrap();
}

fn state(engine: &Engine, number: u8) -> RequestState {
    engine.status(id(number), now()).unwrap().state
}

fn receipt(engine: &Engine, number: u8) -> Receipt {
    let mut found = None;
    engine
        .receipts(|receipt| {
            if receipt.tracking_id == id(number) {
                found = Some(receipt);
            }
        })
        .unwrap();
    found.unwrap()
}

/// The files of an archive, by name.
fn files(zip: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = ZipArchive::new(Cursor::new(zip)).unwrap();
    (0..zip.len())
        .map(|place| {
            let mut file = zip.by_index(place).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

fn opened() -> (Sim, Engine) {
    let sim = lake(&config(), true);
    let engine = engine(&sim, &config());
    (sim, engine)
}

#[test]
fn an_export_becomes_an_archive_with_pages_and_a_manifest_of_true_hashes() {
    let (sim, engine) = opened();
    let asked = Submission {
        by: Provenance {
            requested_by: Some("admin 7".to_owned()),
            ..Provenance::default()
        },
        ..Submission::new(id(1), export(&["laptop@gone", "eve@gone"]), now())
    };
    assert!(!engine.submit_with(&asked).unwrap().joined);
    let again = Submission {
        tracking_id: id(2),
        ..asked.clone()
    };
    let joined = engine.submit_with(&again).unwrap();
    assert!(joined.joined && joined.tracking_id == id(1));
    let other = Submission {
        tracking_id: id(3),
        contents: Contents::rows(Format::Parquet),
        ..asked
    };
    assert!(
        !engine.submit_with(&other).unwrap().joined,
        "another format"
    );
    assert_eq!(state(&engine, 1), RequestState::Pending);
    engine.cancel(id(3), now()).unwrap();
    assert_eq!(receipt(&engine, 3).cause, Cause::Export);
    assert_eq!(state(&engine, 3), RequestState::Revoked);

    let done = engine
        .carry_out_exports(&CompactOptions::at(now()))
        .unwrap();
    assert_eq!(done.requests.len(), 1);
    let told = receipt(&engine, 1);
    let archive = told.archive.clone().unwrap();
    let zip = engine.archive(id(1), now()).unwrap().unwrap();
    assert_eq!(archive.blake3, blake3::hash(&zip).to_hex().as_str());
    assert_eq!(archive.bytes, zip.len() as u64);
    assert_eq!(archive.expires_at, after(30));
    let outcomes: Vec<_> = told
        .subjects
        .iter()
        .map(|of| (of.outcome, of.rows))
        .collect();
    assert_eq!(outcomes, [(Outcome::Exported, 8), (Outcome::Exported, 15)]);
    assert_eq!(told.by.requested_by.as_deref(), Some("admin 7"));

    let files = files(&zip);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "subject-0001.csv",
            "subject-0001.html",
            "subject-0002.csv",
            "subject-0002.html",
            "index.html",
            "manifest.json"
        ]
    );
    let manifest: Value = serde_json::from_slice(&files[5].1).unwrap();
    for (place, (name, bytes)) in files[..5].iter().enumerate() {
        let told = &manifest["files"][place];
        assert_eq!(told["name"], name.as_str());
        assert_eq!(told["bytes"], bytes.len());
        assert_eq!(told["blake3"], blake3::hash(bytes).to_hex().as_str());
    }
    assert_eq!(archive.files, 5);
    // No id outlives the request but in the archive itself.
    for (path, bytes) in sim.all() {
        let is_ours = path.starts_with("_efface/") && !path.ends_with(".zip");
        assert!(!is_ours || !lake::holds_mark(&bytes), "{path}");
    }
}

#[test]
fn a_window_a_format_and_unknown_ids_count_when_it_is_carried_out() {
    let (_, engine) = opened();
    let asked = |number, request, contents| {
        let submission = Submission {
            contents,
            ..Submission::new(id(number), request, now())
        };
        engine.submit_with(&submission).unwrap();
    };
    asked(1, export(&["eve@gone"]), Contents::rows(Format::Jsonl));
    asked(
        2,
        export(&["nobody@gone", "eve@gone"]),
        Contents::rows(Format::Jsonl),
    );
    let reported = Request {
        unknown: Unknown::Report,
        ..export(&["nobody@gone", "eve@gone"])
    };
    asked(3, reported, Contents::rows(Format::Jsonl));
    let ccpa = Request {
        regulation: Regulation::Ccpa,
        ..export(&["eve@gone"])
    };
    asked(4, ccpa, Contents::rows(Format::Jsonl));
    compact(&engine, now());
    let zip = engine.archive(id(1), now()).unwrap().unwrap();
    let rows = files(&zip);
    assert_eq!(rows[0].0, "rows.jsonl");
    assert_eq!(rows[0].1.iter().filter(|byte| **byte == b'\n').count(), 15);
    let refused = engine.status(id(2), now()).unwrap();
    assert_eq!(refused.state, RequestState::Failure);
    assert!(refused.reason.unwrap().contains("position 1"));
    assert!(engine.archive(id(2), now()).unwrap().is_none());
    assert_eq!(receipt(&engine, 3).subjects[0].outcome, Outcome::NotFound);
    let no_time = engine.status(id(4), now()).unwrap();
    assert_eq!(
        no_time.state,
        RequestState::Failure,
        "there is no time column"
    );
    assert_eq!(no_time.reason_kind, Some(ErrorKind::Usage));
    assert_eq!(engine.archives().unwrap().len(), 2);
}

#[test]
fn a_delete_comes_after_the_exports_of_its_ids_and_removes_their_archives() {
    let (sim, engine) = opened();
    submit(&engine, 1, export(&["laptop@gone"]));
    // By the alias it covers what was exported.
    submit(&engine, 2, delete(&["ada@gone"]));
    submit(&engine, 3, delete(&["eve@gone"]));
    let at_once = engine.delete(
        &delete(&["ada@gone"]),
        None,
        &DeleteOptions {
            tracking_id: Some(id(9)),
            ..DeleteOptions::default()
        },
    );
    assert!(matches!(
        at_once,
        Err(Error::ExportFirst {
            kept_until: None,
            ..
        })
    ));
    compact(&engine, now());
    assert_eq!(state(&engine, 1), RequestState::Success);
    assert_eq!(
        state(&engine, 3),
        RequestState::Success,
        "nobody exported that one"
    );
    let waits = engine.status(id(2), now()).unwrap();
    assert_eq!(waits.state, RequestState::Pending);
    let reason = waits.reason.unwrap();
    assert!(reason.contains(&id(1).to_string()), "{reason}");
    let found = engine.verify(&[SubjectId::new("ada@gone")]).unwrap();
    assert!(
        found
            .findings
            .iter()
            .any(|found| found.path.ends_with(".zip"))
    );

    assert!(engine.archive_fetched(id(1), now()).unwrap());
    compact(&engine, now());
    assert_eq!(state(&engine, 2), RequestState::Success);
    assert_eq!(receipt(&engine, 2).archives_removed, [id(1)]);
    assert!(engine.archive(id(1), now()).unwrap().is_none());
    assert!(
        !engine
            .status(id(1), now())
            .unwrap()
            .archive
            .unwrap()
            .is_kept
    );
    assert!(!sim.all().keys().any(|path| path.ends_with(".zip")));
    let ids = ["ada@gone", "laptop@gone"].map(SubjectId::new);
    let left = engine.verify(&ids).unwrap();
    assert!(left.clean, "{:?}", left.findings);
}

#[test]
fn an_archive_that_nobody_fetches_goes_when_its_time_is_over_or_when_the_owner_says_so() {
    let (_, engine) = opened();
    submit(&engine, 1, export(&["eve@gone"]));
    submit(&engine, 2, delete(&["eve@gone"]));
    compact(&engine, now());
    compact(&engine, after(29));
    assert_eq!(state(&engine, 2), RequestState::Pending);
    assert!(
        engine.archive(id(1), after(30)).unwrap().is_none(),
        "expired"
    );
    compact(&engine, after(30));
    assert_eq!(state(&engine, 2), RequestState::Success);
    assert!(engine.archives().unwrap().is_empty());

    let (sim, engine) = opened();
    submit(&engine, 1, export(&["eve@gone"]));
    submit(&engine, 2, delete(&["eve@gone"]));
    compact(&engine, now());
    let removes = Config {
        on_unfetched: OnUnfetched::Remove,
        ..config()
    };
    let engine = lake::engine(&sim, &removes);
    compact(&engine, now());
    assert_eq!(receipt(&engine, 2).archives_removed, [id(1)]);
}

#[test]
fn a_held_request_waits_for_somebody_else() {
    let (_, engine) = opened();
    for (number, request) in [(1, export(&["eve@gone"])), (2, delete(&["ada@gone"]))] {
        let held = Submission {
            needs_approval: true,
            by: Provenance {
                requested_by: Some("ann".to_owned()),
                ..Provenance::default()
            },
            ..Submission::new(id(number), request, now())
        };
        engine.submit_with(&held).unwrap();
    }
    let other = submit(&engine, 3, delete(&["ada@gone"]));
    assert_eq!(
        other.tracking_id,
        id(3),
        "what nobody has to approve is not the same"
    );
    engine.cancel(id(3), now()).unwrap();
    compact(&engine, now());
    for number in [1, 2] {
        let status = engine.status(id(number), now()).unwrap();
        assert!(status.needs_approval && status.state == RequestState::Pending);
    }
    let same = engine.approve(id(1), "ann").unwrap_err();
    assert_eq!(same.kind(), ErrorKind::Refused);
    engine.approve(id(1), "bea").unwrap();
    assert!(engine.approve(id(1), "bea").is_err(), "it was approved");
    engine.deny(id(2), "bea", "a contract runs", now()).unwrap();
    assert!(engine.deny(id(1), "bea", "too late", now()).is_err());
    compact(&engine, now());
    let told = receipt(&engine, 1);
    assert_eq!(told.by.approved_by.as_deref(), Some("bea"));
    let denied = engine.status(id(2), now()).unwrap();
    assert_eq!(denied.state, RequestState::Revoked);
    assert_eq!(denied.reason.unwrap(), "bea denied it: a contract runs");
    assert!(engine.plan(&export(&["ada@gone"])).unwrap().rows > 0);
}

#[test]
fn archives_in_a_directory_of_their_own_can_be_read_by_nobody_else() {
    let (_, engine) = opened();
    let directory = tempfile::tempdir().unwrap();
    submit(&engine, 1, export(&["eve@gone"]));
    let elsewhere = CompactOptions {
        archives: Some(directory.path().to_str().unwrap().to_owned()),
        ..CompactOptions::at(now())
    };
    engine.compact(&elsewhere).unwrap();
    let path = directory.path().join(format!("{}.zip", id(1)));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let status = engine.status(id(1), now()).unwrap().archive.unwrap();
    assert_eq!(status.path.as_deref(), path.to_str());
    engine.archive_fetched(id(1), now()).unwrap();
    // Whoever deletes need not know the directory.
    submit(&engine, 2, delete(&["eve@gone"]));
    compact(&engine, now());
    assert_eq!(state(&engine, 2), RequestState::Success);
    assert!(!path.exists());
}

#[test]
fn verify_finds_an_id_within_every_format_of_archive() {
    for format in [
        Format::Parquet,
        Format::Jsonl,
        Format::Csv { safe: true },
        Format::Arrow,
    ] {
        let (_, engine) = opened();
        let asked = Submission {
            contents: Contents::rows(format),
            ..Submission::new(id(1), export(&["eve@gone"]), now())
        };
        engine.submit_with(&asked).unwrap();
        compact(&engine, now());
        let found = engine.verify(&[SubjectId::new("eve@gone")]).unwrap();
        let in_archive = found
            .findings
            .iter()
            .find(|found| found.path.ends_with(".zip"));
        assert_eq!(in_archive.unwrap().count, 15, "{format:?}");
        let other = engine
            .verify(&[SubjectId::new("nobody-else@gone")])
            .unwrap();
        assert!(other.clean, "{format:?}: {:?}", other.findings);
    }
}
