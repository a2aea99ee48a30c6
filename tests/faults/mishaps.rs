//! Everything that can go wrong beside a crash, at each place in a delete where it can: the outcome is right, or a
//! clear error after which a rerun makes it right.

use std::collections::BTreeSet;
use std::io;

use efface::request::{Disclosure, Unknown};
use efface::testing::sim::Sim;
use efface::{DeleteReport, Error, ErrorKind, Result};
use rayon::prelude::*;

use crate::lake::{
    VICTIMS, config, delete, engine, files, holds_mark, ids_of, is_queue_free, is_temporary, lake,
    shard_of,
};

const DAY_NS: i64 = 86_400_000_000_000;

fn delete_data(sim: &Sim) -> Result<DeleteReport> {
    delete(sim, &config(), Disclosure::Data, Unknown::Report)
}

/// How many operations a delete has, and what it leaves.
fn undisturbed(before: &Sim) -> (u64, Sim) {
    let sim = before.fork(0);
    delete_data(&sim).unwrap();
    (sim.operations(), sim)
}

/// Runs a delete for each of its operations, with `mishap` just before that operation.
fn for_each_place<T: Send>(
    before: &Sim,
    mishap: fn(&Sim),
    check: impl Fn(&Sim, Result<DeleteReport>) -> T + Sync,
) -> Vec<T> {
    let (operations, _) = undisturbed(before);
    assert!(operations > 100, "{operations}");
    let run = |place| {
        let sim = before.fork(place);
        sim.run_at(place, mishap);
        let outcome = delete_data(&sim);
        check(&sim, outcome)
    };
    (0..operations).into_par_iter().map(run).collect()
}

/// No erased id is left in any byte, nor any temporary file.
#[track_caller]
fn assert_clean(sim: &Sim) {
    for (path, bytes) in sim.all() {
        assert!(!holds_mark(&bytes), "an erased id is left in {path}");
        assert!(!is_temporary(&path), "{path} is left over");
    }
}

#[track_caller]
fn assert_rerun_is_like(sim: &Sim, after: &Sim) {
    delete_data(sim).unwrap();
    assert_eq!(
        files(sim).keys().collect::<Vec<_>>(),
        files(after).keys().collect::<Vec<_>>()
    );
    assert!(files(sim) == files(after));
    assert_clean(sim);
}

#[test]
fn on_a_full_disk_a_delete_is_done_or_an_error_that_says_so_and_a_rerun_ends_it() {
    let before = lake(&config(), true);
    let (_, after) = undisturbed(&before);
    let used: usize = before.all().values().map(Vec::len).sum();
    let failed = (0..60_u64).into_par_iter().filter(|part| {
        let sim = before.fork(*part);
        sim.set_limit_bytes(used as u64 + part * 600);
        let outcome = delete_data(&sim);
        if let Err(error) = &outcome {
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            match error {
                // Found out before the first new shard was written.
                Error::NoRoom { needed, available } => assert!(needed > available),
                Error::Io { source, .. } => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
                other => panic!("{other}"),
            }
            let is_left = files(&sim).keys().any(|path| is_temporary(path));
            assert!(!is_left, "room is given back");
        }
        sim.set_limit_bytes(u64::MAX);
        assert_rerun_is_like(&sim, &after);
        outcome.is_err()
    });
    let failed = failed.count();
    assert!(failed > 5 && failed < 60, "{failed}");
}

#[test]
fn a_disk_that_becomes_read_only_anywhere_stops_a_delete_with_an_error_and_a_rerun_ends_it() {
    let before = lake(&config(), true);
    let (_, after) = undisturbed(&before);
    let failed = for_each_place(
        &before,
        |sim| sim.set_read_only(true),
        |sim, outcome| {
            if let Err(error) = &outcome {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                assert!(error.to_string().contains("read-only"), "{error}");
            }
            sim.set_read_only(false);
            assert_rerun_is_like(sim, &after);
            outcome.is_err()
        },
    );
    assert!(failed.iter().filter(|failed| **failed).count() > 100);
}

#[test]
fn a_shard_that_vanishes_anywhere_stays_away_and_is_no_reason_to_leave_others_undone() {
    let before = lake(&config(), true);
    let kinds = for_each_place(
        &before,
        |sim| assert!(sim.vanish("a.parquet")),
        |sim, outcome| {
            let kind = outcome.map_err(|error| {
                assert!(error.to_string().contains("a.parquet"), "{error}");
                error.kind()
            });
            delete_data(sim).unwrap();
            assert_clean(sim);
            let is_back = sim.bytes("a.parquet").is_some();
            (kind.err(), is_back)
        },
    );
    let told: BTreeSet<String> = kinds.iter().map(|(kind, _)| format!("{kind:?}")).collect();
    assert!(
        told.is_subset(
            &["None", "Some(Io)", "Some(Conflict)"]
                .map(str::to_owned)
                .into()
        ),
        "{told:?}"
    );
    assert!(told.len() > 1);
    // A rename can't be told to replace only what is there: just before it is too late to see that.
    let back = kinds.iter().filter(|(_, is_back)| *is_back).count();
    assert!(back <= 1, "{back} came back");
}

#[test]
fn a_shard_that_is_replaced_anywhere_keeps_its_new_rows_and_loses_those_that_must_go() {
    let theirs = ["new", VICTIMS[0], "newer", VICTIMS[2], "newest"];
    let before = lake(&config(), true);
    let outcomes = for_each_place(
        &before,
        |sim| {
            sim.put(
                "a.parquet",
                shard_of(&["new", VICTIMS[0], "newer", VICTIMS[2], "newest"]),
            );
        },
        |sim, outcome| {
            if let Err(error) = &outcome {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            }
            let found = ids_of(&sim.bytes("a.parquet").unwrap());
            let is_lost = found.contains(&"bob".to_owned());
            let is_done = !found.contains(&VICTIMS[0].to_owned());
            assert!(is_lost || is_done || found == theirs);
            delete_data(sim).unwrap();
            assert_clean(sim);
            if !is_lost {
                let found = ids_of(&sim.bytes("a.parquet").unwrap());
                assert_eq!(found, ["new", "newer", "newest"]);
            }
            (outcome.is_err(), is_done, is_lost)
        },
    );
    let count =
        |is: fn(&(bool, bool, bool)) -> bool| outcomes.iter().filter(|each| is(each)).count();
    assert!(
        count(|(is_error, is_done, _)| !is_error && *is_done) > 20,
        "retried from the new content"
    );
    assert!(count(|(_, is_done, _)| !is_done) > 20, "came later");
    // The operation of the rename itself: nothing can look and rename in one step.
    let lost = count(|(_, _, is_lost)| *is_lost);
    assert!(lost <= 1, "{lost} were lost");
}

#[test]
fn a_second_deleter_is_told_that_there_is_another_at_any_time() {
    let before = lake(&config(), true);
    let (_, after) = undisturbed(&before);
    let second = |sim: &Sim| {
        if is_queue_free(sim)
            && let Err(error) = delete_data(sim)
        {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
    };
    for_each_place(&before, second, |sim, outcome| {
        outcome.unwrap();
        assert!(files(sim) == files(&after));
        assert_clean(sim);
    });
}

#[test]
fn a_clock_that_is_set_back_anywhere_changes_nothing() {
    let before = lake(&config(), true);
    let (_, after) = undisturbed(&before);
    let set_back = |sim: &Sim| sim.set_clock_ns(sim.clock_ns() - DAY_NS);
    for_each_place(&before, set_back, |sim, outcome| {
        outcome.unwrap();
        assert!(files(sim) == files(&after));
        assert_clean(sim);
    });
}

#[test]
fn a_shard_that_was_replaced_while_the_clock_was_back_is_not_believed_to_be_as_it_was() {
    let before = lake(&config(), true);
    // Left alone for so long that the index knows the shards by their times.
    before.set_clock_ns(before.clock_ns() + DAY_NS);
    engine(&before, &config()).refresh().unwrap();
    let old = before.bytes("b.parquet").unwrap();
    for back_ns in [DAY_NS / 2, DAY_NS, 2 * DAY_NS] {
        let sim = before.fork(0);
        sim.set_clock_ns(sim.clock_ns() - back_ns);
        let rows = ids_of(&old).len();
        let mut ids = vec!["bob"; rows];
        ids[3] = VICTIMS[0];
        sim.put("b.parquet", shard_of(&ids));
        delete_data(&sim).unwrap();
        assert_clean(&sim);
        assert_eq!(
            ids_of(&sim.bytes("b.parquet").unwrap()),
            vec!["bob"; rows - 1]
        );
    }
}

#[test]
fn an_index_with_a_damaged_byte_anywhere_is_mended_by_the_delete_that_meets_it() {
    let before = lake(&config(), true);
    let (_, after) = undisturbed(&before);
    let index = before.all().into_iter();
    let places: Vec<(String, usize)> = index
        .filter(|(path, _)| path.starts_with("_efface/index/"))
        .flat_map(|(path, bytes)| {
            let offsets = (0..bytes.len()).step_by(61);
            offsets.map(move |offset| (path.clone(), offset))
        })
        .collect();
    assert!(places.len() > 50, "{}", places.len());
    places.into_par_iter().for_each(|(path, offset)| {
        let sim = before.fork(0);
        assert!(sim.flip(&path, offset, 0x10));
        let outcome = delete_data(&sim);
        outcome.unwrap_or_else(|error| panic!("{path} at {offset}: {error}"));
        assert!(files(&sim) == files(&after), "{path} at {offset}");
        assert_clean(&sim);
    });
}
