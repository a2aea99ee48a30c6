//! A delete that is cut off at each of its changes of the disk in turn, or in which one operation fails, and
//! that is run again.

use std::collections::BTreeSet;

use efface::config::{Config, EmptyShards};
use efface::engine::IndexState;
use efface::erase::CompactOptions;
use efface::request::{Disclosure, Unknown};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{DeleteReport, ErrorKind, Result, limits};
use rayon::prelude::*;

use crate::lake::{
    Files, ONE_BY_ONE, SIDECARS, config, delete_with, described, engine, files, holds_mark, ids_of,
    is_pending, is_temporary, lake,
};

/// A lake before and after a delete that nothing disturbed.
struct Undisturbed {
    config: Config,
    disclosure: Disclosure,
    memory: u64,
    before: Sim,
    old: Files,
    new: Files,
    changes: u64,
    operations: u64,
}

impl Undisturbed {
    fn new(config: &Config, disclosure: Disclosure, is_indexed: bool, memory: u64) -> Self {
        let before = lake(config, is_indexed);
        assert_eq!(
            files(&before)
                .values()
                .filter(|bytes| holds_mark(bytes))
                .count(),
            4
        );
        let whole = before.fork(0);
        let done = delete_with(&whole, config, disclosure, Unknown::Refuse, memory).unwrap();
        if disclosure == Disclosure::Data {
            assert_eq!(
                done.sidecars_removed,
                [".a.parquet.crc", "c.parquet.sha256", ".aliases.csv.crc"]
            );
            let left = files(&whole);
            let mut stay = SIDECARS.iter().filter(|path| left.contains_key(**path));
            assert_eq!((stay.next(), stay.next()), (Some(&".b.parquet.crc"), None));
            assert_eq!(done.rows_removed, 5 + 15 + 3);
            assert_eq!(done.alias_rows_removed, 1);
        } else {
            assert_eq!(done.rows_removed, 0);
            assert!(done.values_cleared > 0);
        }
        Self {
            config: config.clone(),
            disclosure,
            memory,
            old: files(&before),
            new: files(&whole),
            before,
            changes: whole.changes(),
            operations: whole.operations(),
        }
    }

    fn delete(&self, sim: &Sim, unknown: Unknown) -> Result<DeleteReport> {
        delete_with(sim, &self.config, self.disclosure, unknown, self.memory)
    }

    /// Each shard is as before or as after; says how many files are as after.
    fn check_every_file(&self, sim: &Sim, fault: u64) -> usize {
        let found = files(sim);
        for (path, bytes) in found.iter().filter(|(path, _)| !is_temporary(path)) {
            let is_whole = Some(bytes) == self.old.get(path) || Some(bytes) == self.new.get(path);
            assert!(is_whole, "fault {fault}: {path} is neither old nor new");
            if path.ends_with(".parquet") {
                ids_of(bytes);
            }
        }
        for sidecar in SIDECARS.iter().filter(|path| found.contains_key(**path)) {
            let path = described(sidecar);
            let is_true = found.get(&path) == self.old.get(&path);
            assert!(is_true, "fault {fault}: {sidecar} is stale");
        }
        for path in self.new.keys() {
            assert!(found.contains_key(path), "fault {fault}: {path} is gone");
        }
        let as_after = |(path, bytes): &(&String, &Vec<u8>)| self.new.get(*path) == Some(*bytes);
        found.iter().filter(as_after).count()
    }

    /// Runs the delete again, after which nothing shows that there was a fault, not even when the power is cut.
    fn check_rerun(&self, sim: &Sim, fault: u64) {
        // Ids whose rows are all gone already are no mistake of the second run.
        self.delete(sim, Unknown::Report).unwrap();
        self.check_done(sim, fault);
    }

    fn check_done(&self, sim: &Sim, fault: u64) {
        let sim = sim.reboot();
        let (found, all) = (files(&sim), sim.all());
        for path in found.keys().chain(self.new.keys()) {
            let is_same = found.get(path) == self.new.get(path);
            assert!(is_same, "after fault {fault}: {path} differs");
        }
        // A delete doesn't fail with the index of receipts, so what is left of one is the next run's.
        let is_of_index = |path: &String| path.starts_with("_efface/receipts/index/");
        let is_left = |path: &String| is_temporary(path) && !is_of_index(path) || is_pending(path);
        assert_eq!(
            all.keys().find(|path| is_left(path)),
            None,
            "after fault {fault}"
        );
        if self.disclosure == Disclosure::Data {
            let residue = all.iter().find(|(_, bytes)| holds_mark(bytes));
            assert_eq!(residue.map(|(path, _)| path), None, "after fault {fault}");
        }
        let index = engine(&sim, &self.config).inspect().unwrap().index;
        assert_eq!(index, IndexState::Fresh, "fault {fault}");
        self.compact(&sim);
        let left = sim.all().into_keys().find(|path| is_temporary(path));
        assert_eq!(left, None, "after fault {fault} and a compaction");
    }

    /// A compaction for which nothing waits.
    fn compact(&self, sim: &Sim) {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let options = CompactOptions {
            pass: TrackingId::new(now, [2; 10]),
            max_match: 1.0,
            ..CompactOptions::at(now)
        };
        engine(sim, &self.config).compact(&options).unwrap();
    }

    /// One delete that is cut off at its change number `cut`: how many files were as after it, once reopened.
    fn check_cut(&self, cut: u64, reopen: fn(&Sim) -> Sim) -> Option<usize> {
        let sim = self.before.fork(cut);
        sim.cut_at(cut);
        match self.delete(&sim, Unknown::Refuse) {
            // Threads take turns in another order, so that it had a change less to do than the counted one.
            Ok(_) => return None,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "cut {cut}: {error}"),
        }
        let sim = reopen(&sim);
        let as_after = self.check_every_file(&sim, cut);
        self.check_rerun(&sim, cut);
        Some(as_after)
    }

    /// One delete that is cut off, and a compaction for which nothing waits: whether the delete was done.
    fn check_compacted(&self, cut: u64, reopen: fn(&Sim) -> Sim) -> bool {
        let sim = self.before.fork(cut);
        sim.cut_at(cut);
        let _cut_off = self.delete(&sim, Unknown::Refuse);
        let sim = reopen(&sim);
        self.compact(&sim);
        let found = files(&sim);
        if found == self.old {
            let mut all = sim.all().into_keys();
            let left = all.find(|path| is_temporary(path) || is_pending(path));
            assert_eq!(left, None, "cut {cut}");
            return false;
        }
        self.check_done(&sim, cut);
        true
    }

    /// One delete of which the operation number `number` fails: whether it did too.
    fn check_failure(&self, number: u64) -> bool {
        let sim = self.before.fork(number);
        sim.fail_at(number);
        let outcome = self.delete(&sim, Unknown::Refuse);
        self.check_every_file(&sim, number);
        match outcome {
            Ok(_) => self.check_done(&sim, number),
            Err(ref error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "failure {number}: {error}");
                self.check_rerun(&sim, number);
            }
        }
        outcome.is_err()
    }
}

/// Every fault of a delete that commits its shards together, and of one that commits them one by one.
fn run_with_every_fault(config: &Config, disclosure: Disclosure, is_indexed: bool) {
    for (memory, states_min) in [(limits::MEMORY_BYTES, 3), (ONE_BY_ONE, 4)] {
        run_with(config, disclosure, is_indexed, memory, states_min);
    }
}

fn run_with(
    config: &Config,
    disclosure: Disclosure,
    is_indexed: bool,
    memory: u64,
    states_min: usize,
) {
    let undisturbed = Undisturbed::new(config, disclosure, is_indexed, memory);
    for reopen in [Sim::reboot, Sim::restart] {
        let cuts = (0..undisturbed.changes).into_par_iter();
        let cuts: Vec<_> = cuts
            .filter_map(|cut| undisturbed.check_cut(cut, reopen))
            .collect();
        assert!(cuts.len() > 40, "{} cuts", cuts.len());
        let states: BTreeSet<usize> = cuts.into_iter().collect();
        assert!(
            states.len() >= states_min,
            "too few states between old and new: {states:?}"
        );
    }
    let numbers = (0..undisturbed.operations).into_par_iter();
    let failed = numbers.filter(|number| undisturbed.check_failure(*number));
    let failed = failed.count() as u64;
    assert!(failed * 2 > undisturbed.operations, "{failed} failed");
}

#[test]
fn a_rerun_ends_what_a_crash_cut_off() {
    run_with_every_fault(&config(), Disclosure::Data, true);
}

#[test]
fn a_rerun_ends_what_a_crash_cut_off_without_an_index_and_with_shards_removed() {
    let config = Config {
        empty_shards: EmptyShards::Remove,
        ..config()
    };
    run_with_every_fault(&config, Disclosure::Data, false);
}

#[test]
fn a_rerun_ends_a_clear_that_a_crash_cut_off() {
    run_with_every_fault(&config(), Disclosure::Categories, true);
}

#[test]
fn a_compaction_for_which_nothing_waits_ends_what_a_crash_cut_off() {
    let undisturbed = Undisturbed::new(&config(), Disclosure::Data, true, limits::MEMORY_BYTES);
    for reopen in [Sim::reboot, Sim::restart] {
        let cuts = (0..undisturbed.changes).into_par_iter();
        let done = cuts.filter(|cut| undisturbed.check_compacted(*cut, reopen));
        let done = done.count() as u64;
        assert!(done * 2 > undisturbed.changes, "{done} were ended");
    }
}
