//! Exports that wait, become archives, and are removed by a delete of their ids: cut off at each change of the disk, and
//! with each operation failing once. Nobody ever sees half an archive, and in the end there is one receipt for each
//! request, and nothing of the ids.

use std::collections::BTreeMap;

use efface::engine::Engine;
use efface::erase::CompactOptions;
use efface::export::sink::Format;
use efface::queue::{Contents, RequestState, Submission};
use efface::request::{Request, Subjects};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{ErrorKind, Result};
use jiff::Timestamp;
use rayon::prelude::*;

use crate::lake::{config, engine, holds_mark, is_pending, is_temporary, lake};

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn id(number: u8) -> TrackingId {
    TrackingId::new(now(), [number; 10])
}

fn options() -> CompactOptions {
    CompactOptions {
        max_match: 1.0,
        ..CompactOptions::at(now())
    }
}

fn submission(number: u8) -> Submission {
    let ids = Subjects::new(["ada@gone", "eve@gone", "laptop@gone"]).unwrap();
    let request = match number {
        1 => Request::export(ids, now()),
        _ => Request {
            max_match: 1.0,
            ..Request::delete(ids, now())
        },
    };
    Submission {
        contents: Contents::per_subject(Format::Jsonl),
        ..Submission::new(id(number), request, now())
    }
}

/// What is not yet done of: an export, fetched, and a delete of the same ids.
fn serve(engine: &Engine) -> Result<()> {
    let state = |number| engine.status(id(number), now()).map(|status| status.state);
    for number in [1, 2] {
        if state(number)? == RequestState::NotFound {
            engine.submit_with(&submission(number))?;
        }
    }
    engine.compact(&options())?;
    if state(1)? != RequestState::Success {
        // What stood in its way is over.
        engine.compact(&options())?;
    }
    if state(2)? != RequestState::Success {
        engine.archive_fetched(id(1), now())?;
        engine.compact(&options())?;
    }
    // Whoever opens the dataset for writing next removes what is left over.
    engine.compact(&options()).map(drop)
}

/// An archive that can be seen is the whole one.
#[track_caller]
fn assert_whole(sim: &Sim, whole: &[u8], fault: &str) {
    for (path, bytes) in sim.all() {
        if path.ends_with(".zip") {
            assert!(bytes == whole, "{fault}: half an archive");
        }
    }
    if let Some(seen) = engine(sim, &config()).archive(id(1), now()).unwrap() {
        assert!(*seen == *whole, "{fault}: half an archive was given out");
    }
}

#[track_caller]
fn assert_ended(sim: &Sim, fault: &str) {
    let sim = sim.reboot();
    let engine = engine(&sim, &config());
    let mut receipts = BTreeMap::new();
    engine
        .receipts(|receipt| {
            let twice = receipts.insert(receipt.tracking_id, receipt);
            assert!(twice.is_none(), "{fault}: a second receipt");
        })
        .unwrap();
    let rows: Vec<u64> = receipts[&id(1)].subjects.iter().map(|of| of.rows).collect();
    assert_eq!(rows, [8, 15, 8], "{fault}");
    assert!(receipts[&id(1)].archive.is_some(), "{fault}");
    assert_eq!(receipts[&id(2)].archives_removed, [id(1)], "{fault}");
    for (path, bytes) in sim.all() {
        assert!(
            !is_temporary(&path) && !is_pending(&path),
            "{fault}: {path}"
        );
        assert!(!path.starts_with("_efface/archives/"), "{fault}: {path}");
        assert!(!holds_mark(&bytes), "{fault}: an id in {path}");
    }
}

#[test]
fn an_archive_is_whole_or_not_there_and_goes_with_a_delete_whatever_happens() {
    let before = lake(&config(), true);
    let made = before.fork(0);
    let maker = engine(&made, &config());
    maker.submit_with(&submission(1)).unwrap();
    maker.compact(&options()).unwrap();
    let whole = maker.archive(id(1), now()).unwrap().unwrap().to_vec();
    let undisturbed = before.fork(0);
    serve(&engine(&undisturbed, &config())).unwrap();
    assert_ended(&undisturbed, "undisturbed");
    let cuts = undisturbed.changes() - before.fork(0).changes();
    for reopen in [Sim::reboot, Sim::restart] {
        (0..cuts).into_par_iter().for_each(|cut| {
            let fault = format!("cut {cut}");
            let sim = before.fork(cut);
            sim.cut_at(cut);
            let error = serve(&engine(&sim, &config())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{fault}: {error}");
            let sim = reopen(&sim);
            assert_whole(&sim, &whole, &fault);
            serve(&engine(&sim, &config())).unwrap_or_else(|error| panic!("{fault}: {error}"));
            assert_ended(&sim, &fault);
        });
    }
    let operations = undisturbed.operations() - before.fork(0).operations();
    (0..operations).into_par_iter().for_each(|number| {
        let fault = format!("failure {number}");
        let sim = before.fork(number);
        sim.fail_at(number);
        let told = serve(&engine(&sim, &config()));
        if let Err(error) = told {
            assert_eq!(error.kind(), ErrorKind::Io, "{fault}: {error}");
        }
        assert_whole(&sim, &whole, &fault);
        serve(&engine(&sim, &config())).unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_ended(&sim, &fault);
    });
}
