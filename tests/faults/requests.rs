//! Everything that a service asks of a dataset, cut off at each change of the disk and with each operation failing
//! once: submit, cancel, suppress, compact, delete, export. The service then asks again for what it was not told to
//! be done. In the end all is as if there had been no fault: the same shards, and one receipt for each request.

use std::collections::{BTreeMap, BTreeSet};

use efface::config::Config;
use efface::engine::{Engine, IndexState};
use efface::erase::CompactOptions;
use efface::erase::delete::DeleteOptions;
use efface::queue::RequestState;
use efface::request::{Disclosure, Request, RequiredColumns, Subjects, Suppress, Unknown};
use efface::state::files::StateFiles;
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Error, ErrorKind, Result};
use jiff::Timestamp;
use rayon::prelude::*;
use serde_json::Value;

use crate::lake::{
    Files, config, engine, files, holds_mark, ids_in, ids_of, is_pending, is_queue_free,
    is_temporary, shard_of,
};

/// One thing that the service asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Submit(u8),
    Cancel(u8),
    /// Put an id on the suppression list.
    Suppress,
    /// Carry out what waits: these requests.
    Compact(&'static [u8]),
    /// Delete at once.
    Delete(u8),
}

/// Five requests: one that shares an id with another, one that is cancelled, one that is refused, one that clears;
/// rows of a suppressed id; then a request that suppresses, and a delete at once.
const STEPS: [Step; 11] = [
    Step::Submit(1),
    Step::Submit(2),
    Step::Submit(3),
    Step::Submit(4),
    Step::Submit(5),
    Step::Cancel(2),
    Step::Suppress,
    Step::Compact(&[1, 3, 4, 5]),
    Step::Submit(6),
    Step::Compact(&[6]),
    Step::Delete(7),
];

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn tracking_id(number: u8) -> TrackingId {
    TrackingId::new(now(), [number; 10])
}

fn request(number: u8) -> Request {
    let ids: &[&str] = match number {
        1 => &["ada@gone"],
        3 => &["laptop@gone", "ada@gone", "fay@gone"],
        4 => &["nobody@gone"],
        5 => &["cyd"],
        2 | 6 => &["eve@gone"],
        _ => &["dee@gone"],
    };
    let plain = Request {
        max_match: 1.0,
        required_columns: RequiredColumns::Default,
        ..Request::delete(Subjects::new(ids.iter().copied()).unwrap(), now())
    };
    match number {
        3 | 7 => Request {
            unknown: Unknown::Report,
            ..plain
        },
        5 => Request {
            disclosure: Disclosure::Categories,
            ..plain
        },
        6 => Request {
            suppress: Some(Suppress { before: None }),
            ..plain
        },
        _ => plain,
    }
}

/// Three shards of few rows, of which two are touched by everything, and an alias table.
fn service_lake() -> Sim {
    let sim = Sim::new(0);
    sim.put(
        "a.parquet",
        shard_of(&[
            "bob",
            "ada@gone",
            "cyd",
            "laptop@gone",
            "eve@gone",
            "bob",
            "zed@gone",
            "bob",
            "cyd",
            "bob",
            "dee@gone",
            "bob",
        ]),
    );
    sim.put(
        "d=1/b.parquet",
        shard_of(&["ada@gone", "eve@gone", "dee@gone"]),
    );
    sim.put("d=1/c.parquet", shard_of(&["bob"; 4]));
    sim.put(
        "aliases.csv",
        "alias,distinct_id\nlaptop@gone,ada@gone\nphone,bob\n",
    );
    sim.put("_metadata", "stale soon");
    sim.put("_efface/key", "0123456789abcdef".repeat(4));
    config().store(&StateFiles::new(sim.clone())).unwrap();
    sim
}

fn options(pass: u8) -> CompactOptions {
    CompactOptions {
        pass: tracking_id(pass),
        max_match: 1.0,
        ..CompactOptions::at(now())
    }
}

/// Whether a step has been taken, by what the dataset says.
fn is_done(engine: &Engine, step: Step) -> Result<bool> {
    let state = |number: u8| Ok::<_, Error>(engine.status(tracking_id(number), now())?.state);
    let has_ended = |number: u8| {
        let state = state(number)?;
        Ok::<_, Error>(matches!(
            state,
            RequestState::Success | RequestState::Failure
        ))
    };
    Ok(match step {
        Step::Submit(number) => state(number)? != RequestState::NotFound,
        Step::Cancel(number) => state(number)? == RequestState::Revoked,
        Step::Suppress => !engine.suppression()?.is_empty(),
        Step::Compact(requests) => {
            let ended = requests.iter().map(|number| has_ended(*number));
            ended
                .collect::<Result<Vec<bool>>>()?
                .into_iter()
                .all(|is| is)
        }
        Step::Delete(number) => has_ended(number)?,
    })
}

fn take(engine: &Engine, step: Step) -> Result<()> {
    match step {
        Step::Submit(number) => {
            let submitted = engine.submit(tracking_id(number), &request(number), now(), None)?;
            assert_eq!(submitted.tracking_id, tracking_id(number));
        }
        Step::Cancel(number) => engine.cancel(tracking_id(number), now())?,
        Step::Suppress => {
            let zed = Request::delete(Subjects::new(["zed@gone"])?, now());
            engine.suppress(&zed, Suppress { before: None }, now())?;
        }
        Step::Compact(requests) => drop(engine.compact(&options(100 + requests[0]))?),
        Step::Delete(number) => {
            let options = DeleteOptions {
                tracking_id: Some(tracking_id(number)),
                now: Some(now()),
                ..DeleteOptions::default()
            };
            engine.delete(&request(number), None, &options)?;
        }
    }
    Ok(())
}

/// Takes all steps that are not yet taken; `told` are those that the service was told to be done.
fn serve(sim: &Sim, told: &mut Vec<Step>) -> Result<()> {
    let engine = engine(sim, &config());
    for step in STEPS {
        if !is_done(&engine, step)? {
            take(&engine, step)?;
        }
        told.push(step);
    }
    // Whoever opens the dataset for writing next removes what is left over.
    engine.compact(&options(200)).map(drop)
}

/// What is left of a dataset that can be compared: shards, alias table and configuration, the suppression list, and
/// the receipts without what says when and in which order they came.
#[derive(PartialEq)]
struct End {
    files: Files,
    suppression: Option<Vec<u8>>,
    receipts: BTreeMap<String, Value>,
}

impl End {
    fn of(sim: &Sim) -> Self {
        let mut receipts = BTreeMap::new();
        let head = engine(sim, &config()).receipts(|receipt| {
            let mut value = serde_json::to_value(&receipt).unwrap();
            let fields = value.as_object_mut().unwrap();
            for name in ["number", "previous", "pass"] {
                fields.remove(name);
            }
            let twice = receipts.insert(receipt.tracking_id.to_string(), value);
            assert!(
                twice.is_none(),
                "a second receipt of {}",
                receipt.tracking_id
            );
        });
        assert_eq!(head.unwrap().receipts, receipts.len() as u64);
        Self {
            files: files(sim),
            suppression: sim.bytes("_efface/suppression.json"),
            receipts,
        }
    }
}

#[track_caller]
fn assert_ended_like(sim: &Sim, undisturbed: &End, fault: &str) {
    // Nothing of what was told may be lost even now.
    let sim = sim.reboot();
    let end = End::of(&sim);
    for (path, bytes) in &undisturbed.files {
        assert!(
            end.files.get(path) == Some(bytes),
            "{fault}: {path} differs"
        );
    }
    for (id, receipt) in &undisturbed.receipts {
        for (field, value) in receipt.as_object().unwrap() {
            let found = &end.receipts[id][field];
            assert_eq!(found, value, "{fault}: {field} of the receipt of {id}");
        }
    }
    assert!(
        end == *undisturbed,
        "{fault}: other files or suppressed ids"
    );
    for (path, bytes) in sim.all() {
        assert!(
            !is_temporary(&path) && !is_pending(&path),
            "{fault}: {path} is left"
        );
        assert!(
            !holds_mark(&bytes),
            "{fault}: an erased id is left in {path}"
        );
    }
    let inspected = engine(&sim, &config()).inspect().unwrap();
    assert_eq!(inspected.index, IndexState::Fresh, "{fault}");
}

/// Each shard can be read, and holds what it held at the end of one of the steps.
#[track_caller]
fn assert_no_half_shard(sim: &Sim, known: &BTreeMap<String, BTreeSet<Vec<u8>>>, fault: &str) {
    for (path, versions) in known {
        let bytes = sim
            .bytes(path)
            .unwrap_or_else(|| panic!("{fault}: {path} is gone"));
        assert!(
            versions.contains(&bytes),
            "{fault}: {path} is no whole version"
        );
        ids_of(&bytes);
    }
}

/// Every content that a shard has when nothing disturbs.
fn versions(before: &Sim) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    let sim = before.fork(0);
    let mut versions: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut see = || {
        for (path, bytes) in sim.all() {
            if path.ends_with(".parquet") {
                versions.entry(path).or_default().insert(bytes);
            }
        }
    };
    see();
    for step in STEPS {
        take(&engine(&sim, &config()), step).unwrap();
        see();
    }
    versions
}

/// What came of a fault: whether the service was told of it.
fn check_fault(
    before: &Sim,
    undisturbed: &End,
    versions: &BTreeMap<String, BTreeSet<Vec<u8>>>,
    set: impl Fn(&Sim),
    reopen: impl Fn(&Sim) -> Sim,
    fault: &str,
    seed: u64,
) -> bool {
    let sim = before.fork(seed);
    set(&sim);
    let mut told = Vec::new();
    let outcome = serve(&sim, &mut told);
    if let Err(error) = &outcome {
        assert_eq!(error.kind(), ErrorKind::Io, "{fault}: {error}");
    }
    let sim = reopen(&sim);
    assert_no_half_shard(&sim, versions, fault);
    let engine = engine(&sim, &config());
    for step in told {
        assert!(
            is_done(&engine, step).unwrap(),
            "{fault}: {step:?} was forgotten"
        );
    }
    serve(&sim, &mut Vec::new()).unwrap_or_else(|error| panic!("{fault}: {error}"));
    assert_ended_like(&sim, undisturbed, fault);
    outcome.is_err()
}

fn undisturbed(before: &Sim) -> (u64, u64, End) {
    let sim = before.fork(0);
    serve(&sim, &mut Vec::new()).unwrap();
    let counts = (sim.changes(), sim.operations());
    let end = End::of(&sim.reboot());
    assert_ended_like(&sim, &end, "no fault");
    (counts.0, counts.1, end)
}

#[test]
fn without_a_fault_each_request_ends_as_it_should() {
    let (_, _, end) = undisturbed(&service_lake());
    let told =
        |number: u8, field: &str| end.receipts[&tracking_id(number).to_string()][field].clone();
    let states: Vec<Value> = (1..=7).map(|number| told(number, "state")).collect();
    let (success, failure) = ("SUCCESS", "FAILURE");
    assert_eq!(
        states,
        [
            success, "REVOKED", success, failure, success, success, success
        ]
    );
    let rows: Vec<Value> = (1..=7).map(|number| told(number, "rows_removed")).collect();
    assert_eq!(rows, [2, 0, 3, 0, 0, 2, 2]);
    assert_eq!(told(5, "rows_cleared"), 2);
    assert_eq!(told(101, "rows_removed"), 1, "the suppressed row");
    assert_eq!(end.receipts.len(), 8);
}

fn check_every_cut(reopen: fn(&Sim) -> Sim) {
    let before = service_lake();
    let versions = versions(&before);
    let (changes, _, end) = undisturbed(&before);
    let cuts = (0..changes).into_par_iter().filter(|cut| {
        let set = |sim: &Sim| sim.cut_at(*cut);
        let fault = format!("cut {cut}");
        check_fault(&before, &end, &versions, set, reopen, &fault, *cut)
    });
    let cuts = cuts.count() as u64;
    println!("{cuts} of {changes} cuts");
    assert!(cuts > 200 && cuts * 10 > changes * 9, "{cuts} of {changes}");
}

#[test]
fn a_power_cut_at_any_time_forgets_no_request_and_does_none_twice() {
    check_every_cut(Sim::reboot);
}

#[test]
fn a_process_killed_at_any_time_forgets_no_request_and_does_none_twice() {
    check_every_cut(Sim::restart);
}

#[test]
fn an_operation_that_fails_at_any_time_forgets_no_request_and_does_none_twice() {
    let before = service_lake();
    let versions = versions(&before);
    let (_, operations, end) = undisturbed(&before);
    let failed = (0..operations).into_par_iter().filter(|number| {
        let set = |sim: &Sim| sim.fail_at(*number);
        let fault = format!("failure {number}");
        check_fault(&before, &end, &versions, set, Sim::clone, &fault, *number)
    });
    let failed = failed.count() as u64;
    println!("{failed} of {operations} failures were told");
    assert!(failed * 2 > operations, "{failed} of {operations}");
}

#[test]
fn a_request_that_is_cancelled_while_a_delete_takes_it_over_ends_once() {
    let before = service_lake();
    take(&engine(&before, &config()), Step::Submit(7)).unwrap();
    let delete = |sim: &Sim| {
        let engine = engine(sim, &config());
        engine.delete(&request(7), None, &DeleteOptions::default())
    };
    let whole = before.fork(0);
    assert_eq!(delete(&whole).unwrap().tracking_id, tracking_id(7));
    let cancelled = (0..whole.operations()).into_par_iter().filter(|place| {
        let sim = before.fork(0);
        sim.run_at(*place, |sim| {
            if is_queue_free(sim) {
                let outcome = engine(sim, &config()).cancel(tracking_id(7), now());
                assert!(matches!(
                    outcome,
                    Ok(()) | Err(Error::NotCancellable { .. })
                ));
            }
        });
        delete(&sim).unwrap();
        let end = End::of(&sim);
        let state = &end.receipts[&tracking_id(7).to_string()]["state"];
        let is_cancelled = state == "REVOKED";
        assert!(is_cancelled || state == "SUCCESS", "{state}");
        assert_eq!(end.receipts.len(), 1 + usize::from(is_cancelled));
        assert!(end.files == files(&whole));
        is_cancelled
    });
    let cancelled = cancelled.count() as u64;
    assert!(
        cancelled > 10 && cancelled * 2 < whole.operations(),
        "{cancelled}"
    );
}

type Reopen = fn(&Sim) -> Sim;
type Set = fn(&Sim, u64);

/// Exports a person's rows and deletes them once that is done; gives what was exported, ever.
fn export_then_delete(sim: &Sim, exported: &mut Option<Vec<String>>) -> Result<()> {
    let engine = engine(sim, &Config::default());
    if exported.is_none() {
        let plan = engine.plan(&Request::export(Subjects::new(["eve@gone"])?, now()))?;
        let read = |error| Error::io("export", "the rows")(std::io::Error::other(error));
        let batches = engine
            .export(&plan)?
            .collect::<std::result::Result<Vec<_>, _>>();
        let batches = batches.map_err(read)?;
        *exported = Some(ids_in(batches.into_iter()));
    }
    let request = Request {
        unknown: Unknown::Report,
        ..request(6)
    };
    engine.delete(&request, None, &DeleteOptions::default())?;
    Ok(())
}

#[test]
fn an_export_then_delete_that_is_cut_off_anywhere_gives_every_row_once_and_leaves_none() {
    let before = service_lake();
    let whole = before.fork(0);
    let mut rows = None;
    export_then_delete(&whole, &mut rows).unwrap();
    assert_eq!(rows.unwrap(), ["eve@gone"; 2]);
    let after = files(&whole);
    let ways: [(u64, Set, Reopen); 3] = [
        (whole.changes(), Sim::cut_at, Sim::reboot),
        (whole.changes(), Sim::cut_at, Sim::restart),
        (whole.operations(), Sim::fail_at, Sim::clone),
    ];
    for (faults, set, reopen) in ways {
        assert!(faults > 50, "{faults}");
        (0..faults).into_par_iter().for_each(|fault| {
            let sim = before.fork(fault);
            set(&sim, fault);
            let mut rows = None;
            let first = export_then_delete(&sim, &mut rows);
            let sim = reopen(&sim);
            if first.is_err() {
                export_then_delete(&sim, &mut rows).unwrap();
            }
            assert_eq!(rows.unwrap(), ["eve@gone"; 2], "fault {fault}");
            let sim = sim.reboot();
            assert!(files(&sim) == after, "fault {fault}");
            let eve = b"eve@gone";
            for (path, bytes) in sim.all() {
                let is_left = bytes.windows(eve.len()).any(|part| part == eve);
                assert!(!is_left, "fault {fault}: an erased id is left in {path}");
            }
        });
    }
}
