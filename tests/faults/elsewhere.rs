//! Tasks of a pass that are run on other machines: cut off, run twice, paused while another run of the same task is
//! committed. Whatever happens, a shard is the old one or the right one, and the pass can be ended.

use std::collections::BTreeMap;

use efface::erase::{CompactOptions, PassEnd};
use efface::error::PassFault;
use efface::request::{Request, RequiredColumns, Subjects};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Engine, Error, Result};
use jiff::Timestamp;
use rayon::prelude::*;

use crate::lake::{
    Files, VICTIMS, config, engine, files, holds_mark, is_pending, is_temporary, lake,
};

/// Shards that hold a victim.
pub(crate) const TASKS: u32 = 3;

pub(crate) fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

pub(crate) fn pass_id() -> TrackingId {
    TrackingId::new(now(), [9; 10])
}

pub(crate) fn options(pass: u8) -> CompactOptions {
    CompactOptions {
        pass: TrackingId::new(now(), [pass; 10]),
        max_match: 1.0,
        ..CompactOptions::at(now())
    }
}

pub(crate) fn open(sim: &Sim) -> Engine {
    engine(sim, &config())
}

/// The small lake, with a request that waits.
fn waiting() -> Sim {
    let sim = lake(&config(), true);
    let request = Request {
        max_match: 1.0,
        required_columns: RequiredColumns::Default,
        ..Request::delete(Subjects::new(VICTIMS).unwrap(), now())
    };
    let id = TrackingId::new(now(), [1; 10]);
    open(&sim).submit(id, &request, now(), None).unwrap();
    sim
}

/// The same with a pass whose tasks are to be run elsewhere.
fn handed_out() -> Sim {
    let sim = waiting();
    let published = open(&sim).publish_tasks(&options(9)).unwrap().unwrap();
    assert_eq!((published.pass, published.tasks), (pass_id(), TASKS));
    sim
}

fn run(sim: &Sim, number: u32) -> Result<()> {
    open(sim).run_numbered_task(pass_id(), number).map(drop)
}

/// Runs what is outstanding until the pass has ended.
fn end(sim: &Sim) -> Result<()> {
    let engine = open(sim);
    for _ in 0..4 {
        match engine.commit_pass(pass_id(), &options(8)) {
            Err(Error::Pass {
                fault: PassFault::Outstanding { numbers, .. },
                ..
            }) => {
                for number in numbers {
                    engine.run_numbered_task(pass_id(), number)?;
                }
            }
            ended => return ended.map(drop),
        }
    }
    panic!("the tasks are outstanding for ever")
}

/// From a request that waits to the end of its pass, from wherever it was left.
fn carry_out(sim: &Sim) -> Result<()> {
    match open(sim).publish_tasks(&options(9)) {
        Ok(Some(published)) => assert_eq!(published.tasks, TASKS),
        Ok(None) => {}
        Err(Error::Pass {
            pass,
            fault: PassFault::Open,
        }) => assert_eq!(pass, pass_id()),
        Err(error) => return Err(error),
    }
    end(sim)
}

/// What is there before, and what must be there in the end.
struct Known {
    before: Files,
    after: Files,
}

impl Known {
    /// What a compaction that runs its tasks itself makes of it.
    fn of(before: &Sim) -> Self {
        let sim = before.fork(0);
        open(&sim).compact(&options(9)).unwrap();
        let after = files(&sim);
        assert!(after["a.parquet"] != files(before)["a.parquet"]);
        Self {
            before: files(before),
            after,
        }
    }

    #[track_caller]
    fn assert_no_half_shard(&self, sim: &Sim, fault: &str) {
        let found = files(sim);
        for (path, old) in &self.before {
            if path.ends_with(".parquet") {
                let found = found
                    .get(path)
                    .unwrap_or_else(|| panic!("{fault}: {path} is gone"));
                let is_known = found == old || found == &self.after[path];
                assert!(is_known, "{fault}: {path} is neither the old one nor right");
            }
        }
    }

    /// That the pass has ended once, and that nothing is left behind when the next one has looked.
    #[track_caller]
    fn assert_ended(&self, sim: &Sim, fault: &str) {
        let sim = sim.reboot();
        let engine = open(&sim);
        engine.compact(&options(7)).unwrap();
        let mut ended = Vec::new();
        engine
            .receipts(|receipt| ended.push((receipt.tracking_id, receipt.rows_removed)))
            .unwrap();
        let [(id, rows)] = ended[..] else {
            panic!("{fault}: {} receipts", ended.len());
        };
        assert_eq!(id, TrackingId::new(now(), [1; 10]), "{fault}");
        assert_eq!(rows, 5 + 15 + 3, "{fault}");
        let left = files(&sim);
        for (path, bytes) in &self.after {
            assert!(left.get(path) == Some(bytes), "{fault}: {path} differs");
        }
        for (path, bytes) in sim.all() {
            let is_left = is_temporary(&path) || is_pending(&path);
            assert!(!is_left, "{fault}: {path} is left");
            let holds_mark = holds_mark(&bytes);
            assert!(!holds_mark, "{fault}: an erased id is left in {path}");
        }
    }
}

#[test]
fn tasks_that_are_run_elsewhere_end_as_those_that_are_run_here() {
    let before = waiting();
    let known = Known::of(&before);
    let sim = before.fork(0);
    carry_out(&sim).unwrap();
    let temporary = sim.all().into_keys().filter(|path| is_temporary(path));
    assert_eq!(temporary.count(), 0);
    let late = open(&sim).commit_pass(pass_id(), &options(8));
    assert!(
        matches!(&late, Ok(PassEnd::Before(receipts)) if receipts.len() == 1),
        "{late:?}"
    );
    known.assert_ended(&sim, "no fault");
}

type Reopen = fn(&Sim) -> Sim;
type Set = fn(&Sim, u64);

const FAULTS: [(&str, Set, Reopen); 3] = [
    ("power cut", Sim::cut_at, Sim::reboot),
    ("kill", Sim::cut_at, Sim::restart),
    ("failure", Sim::fail_at, Sim::clone),
];

/// Does `what` with each fault at each place of it, then `after` without one.
fn with_every_fault(
    before: &Sim,
    known: &Known,
    what: impl Fn(&Sim) -> Result<()> + Sync,
    after: impl Fn(&Sim) -> Result<()> + Sync,
) {
    let whole = before.fork(0);
    what(&whole).unwrap();
    for (name, set, reopen) in FAULTS {
        let places = if name == "failure" {
            whole.operations()
        } else {
            whole.changes()
        };
        let told = (0..places).into_par_iter().filter(|place| {
            let fault = format!("{name} {place}");
            let sim = before.fork(*place);
            set(&sim, *place);
            let outcome = what(&sim);
            let sim = reopen(&sim);
            known.assert_no_half_shard(&sim, &fault);
            after(&sim).unwrap_or_else(|error| panic!("{fault}: {error}"));
            known.assert_ended(&sim, &fault);
            outcome.is_err()
        });
        let told = told.count() as u64;
        println!("{told} of {places} times: {name}");
        assert!(told * 2 > places, "{told} of {places} times: {name}");
    }
}

#[test]
fn a_pass_that_is_cut_off_anywhere_between_its_begin_and_its_end_is_carried_on_and_ended() {
    let before = waiting();
    let known = Known::of(&before);
    with_every_fault(&before, &known, carry_out, carry_out);
}

#[test]
fn a_run_of_a_task_that_is_cut_off_anywhere_is_replaced_by_another_one() {
    let before = handed_out();
    let known = Known::of(&waiting());
    with_every_fault(&before, &known, |sim| run(sim, 1), end);
}

#[test]
fn a_commit_that_is_cut_off_anywhere_is_taken_up_by_a_compaction_here() {
    let before = handed_out();
    // Two of them twice.
    for number in [1, 2, 3, 1, 3] {
        run(&before, number).unwrap();
    }
    let known = Known::of(&waiting());
    let compact = |sim: &Sim| open(sim).compact(&options(6)).map(drop);
    with_every_fault(&before, &known, end, compact);
}

/// Pauses `what` at each of its operations, does `meanwhile`, and lets it go on.
fn paused_everywhere(
    before: &Sim,
    known: &Known,
    what: impl Fn(&Sim) -> Result<()> + Sync,
    meanwhile: fn(&Sim),
) -> BTreeMap<&'static str, u64> {
    let whole = before.fork(0);
    what(&whole).unwrap();
    let outcomes: Vec<&str> = (0..whole.operations())
        .into_par_iter()
        .map(|place| {
            let fault = format!("paused at {place}");
            let sim = before.fork(place);
            sim.run_at(place, meanwhile);
            let outcome = what(&sim);
            known.assert_no_half_shard(&sim, &fault);
            let ended = end(&sim);
            assert!(ended.is_ok(), "{fault}: {ended:?}");
            known.assert_ended(&sim, &fault);
            match outcome {
                Ok(()) => "ok",
                Err(Error::Pass {
                    fault: PassFault::NotOpen { .. },
                    ..
                }) => "not open",
                Err(Error::Pass {
                    fault: PassFault::Outstanding { .. },
                    ..
                }) => "outstanding",
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    "not found"
                }
                Err(error) => panic!("{fault}: {error}"),
            }
        })
        .collect();
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome).or_default() += 1;
    }
    println!("{counts:?}");
    counts
}

#[test]
fn a_run_that_goes_on_after_another_one_was_committed_changes_nothing() {
    let before = handed_out();
    let known = Known::of(&waiting());
    let counts = paused_everywhere(&before, &known, |sim| run(sim, 1), |sim| end(sim).unwrap());
    // It finds out that the pass has ended, unless it had already looked for the last time.
    assert!(counts["not open"] > 50, "{counts:?}");
    assert!(counts["not open"] > 5 * counts["ok"], "{counts:?}");
    assert_eq!(counts.len(), 2, "{counts:?}");
}

#[test]
fn a_run_that_goes_on_after_another_one_of_the_same_task_has_ended_counts_once() {
    let before = handed_out();
    let known = Known::of(&waiting());
    let counts = paused_everywhere(
        &before,
        &known,
        |sim| run(sim, 1),
        |sim| run(sim, 1).unwrap(),
    );
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), ["ok"]);
}

#[test]
fn a_run_that_goes_on_after_a_commit_that_came_too_early_is_not_in_vain() {
    let before = handed_out();
    let known = Known::of(&waiting());
    let too_early = |sim: &Sim| {
        let outcome = open(sim).commit_pass(pass_id(), &options(8));
        let is_outstanding = matches!(
            outcome,
            Err(Error::Pass {
                fault: PassFault::Outstanding { .. },
                ..
            })
        );
        assert!(is_outstanding, "{outcome:?}");
    };
    let counts = paused_everywhere(&before, &known, |sim| run(sim, 1), too_early);
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), ["ok"]);
}

#[test]
fn a_run_that_goes_on_after_a_compaction_here_did_its_task_changes_nothing() {
    let before = handed_out();
    let known = Known::of(&waiting());
    let compact = |sim: &Sim| drop(open(sim).compact(&options(6)).unwrap());
    let counts = paused_everywhere(&before, &known, |sim| run(sim, 1), compact);
    assert!(counts["not open"] > 5 * counts["ok"], "{counts:?}");
    assert_eq!(counts.len(), 2, "{counts:?}");
}

#[test]
fn a_duplicate_that_ends_while_results_are_committed_changes_nothing() {
    let before = handed_out();
    for number in 1..=TASKS {
        run(&before, number).unwrap();
    }
    let known = Known::of(&waiting());
    let commit = |sim: &Sim| {
        let done = open(sim).commit_pass(pass_id(), &options(8));
        done.map(drop)
    };
    let duplicate = |sim: &Sim| match run(sim, 1) {
        Ok(())
        | Err(
            Error::Pass {
                fault: PassFault::NotOpen { .. },
                ..
            }
            | Error::ShardChanged { .. },
        ) => {}
        Err(error) => panic!("{error}"),
    };
    let counts = paused_everywhere(&before, &known, commit, duplicate);
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), ["ok"]);
}

#[test]
fn a_shard_that_is_replaced_while_its_task_is_run_elsewhere_gets_a_task_of_another_number() {
    let sim = handed_out();
    for number in 1..=TASKS {
        run(&sim, number).unwrap();
    }
    let engine = open(&sim);
    sim.put("a.parquet", crate::lake::shard_of(&["ada@gone", "gil"]));
    let commit = || engine.commit_pass(pass_id(), &options(8));
    for _ in 0..2 {
        let told = commit();
        assert!(
            matches!(&told, Err(Error::Pass { fault: PassFault::Outstanding { numbers, .. }, .. }) if *numbers == [4]),
            "{told:?}"
        );
    }
    // The old number is of no use any more.
    let outcome = run(&sim, 1);
    assert!(
        matches!(outcome, Err(Error::ShardChanged { .. })),
        "{outcome:?}"
    );
    run(&sim, 4).unwrap();
    assert!(matches!(commit(), Ok(PassEnd::Now(done)) if done.rows_removed == 1 + 15 + 3));
    let shard = sim.bytes("a.parquet").unwrap();
    assert_eq!(crate::lake::ids_of(&shard), ["gil"]);
}

#[test]
fn what_is_suppressed_after_tasks_were_handed_out_is_for_the_next_pass() {
    let sim = handed_out();
    for number in 1..=TASKS {
        run(&sim, number).unwrap();
    }
    let engine = open(&sim);
    let also = Request::delete(Subjects::new(["cyd"]).unwrap(), now());
    let suppress = efface::request::Suppress { before: None };
    engine.suppress(&also, suppress, now()).unwrap();
    let ended = engine.commit_pass(pass_id(), &options(8));
    assert!(
        matches!(&ended, Ok(PassEnd::Now(done)) if done.rows_suppressed == 0),
        "{ended:?}"
    );
    let next = engine.compact(&options(9));
    assert!(
        matches!(&next, Ok(done) if done.rows_suppressed > 0),
        "{next:?}"
    );
    for (path, bytes) in sim.all() {
        let is_shard = path.ends_with(".parquet");
        let ids = if is_shard {
            crate::lake::ids_of(&bytes)
        } else {
            Vec::new()
        };
        assert!(!ids.iter().any(|id| id == "cyd"), "{path}");
        assert!(!holds_mark(&bytes), "{path}");
    }
}

#[test]
fn a_result_whose_new_shard_is_gone_or_that_is_damaged_counts_for_nothing() {
    let before = handed_out();
    for number in 1..=TASKS {
        run(&before, number).unwrap();
    }
    let results: Vec<String> = before
        .all()
        .into_keys()
        .filter(|path| path.starts_with("_efface/pass/results/"))
        .collect();
    assert_eq!(results.len(), TASKS as usize);
    let outstanding = |sim: &Sim| {
        let told = open(sim).commit_pass(pass_id(), &options(8));
        match told {
            Err(Error::Pass {
                fault: PassFault::Outstanding { numbers, again },
                ..
            }) if again.is_empty() => numbers,
            told => panic!("{told:?}"),
        }
    };
    let known = Known::of(&waiting());
    let gone = before.fork(0);
    for path in before.all().into_keys().filter(|path| is_temporary(path)) {
        assert!(gone.vanish(&path));
    }
    assert_eq!(outstanding(&gone), [1, 2, 3]);
    end(&gone).unwrap();
    known.assert_ended(&gone, "new shards gone");

    let damaged = before.fork(0);
    assert!(damaged.flip(&results[1], 20, 1));
    assert_eq!(outstanding(&damaged), [2]);
    end(&damaged).unwrap();
    known.assert_ended(&damaged, "a result damaged");
}

#[test]
fn another_pass_and_another_number_are_clear_errors() {
    let sim = handed_out();
    let engine = open(&sim);
    let other = TrackingId::new(now(), [5; 10]);
    let outcome = engine.run_numbered_task(other, 1);
    assert!(
        matches!(outcome, Err(Error::Pass { pass, fault: PassFault::NotOpen { open } }) if (pass, open) == (other, Some(pass_id())))
    );
    let outcome = engine.commit_pass(other, &options(8));
    assert!(
        matches!(outcome, Err(Error::Pass { pass, fault: PassFault::NotOpen { .. } }) if pass == other)
    );
    for number in [0, TASKS + 1, u32::MAX] {
        let outcome = engine.run_numbered_task(pass_id(), number);
        assert!(matches!(
            outcome,
            Err(Error::Pass {
                fault: PassFault::NoSuchTask { tasks: TASKS, .. },
                ..
            })
        ));
    }
    let outcome = engine.publish_tasks(&options(4));
    assert!(
        matches!(outcome, Err(Error::Pass { pass, fault: PassFault::Open }) if pass == pass_id())
    );
}
