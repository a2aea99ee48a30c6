//! A refresh that is cut off at each of its changes of the disk in turn.

use super::*;

/// What is left of a refresh, and whether it was done.
struct Cut {
    sim: Sim,
    is_done: bool,
}

#[test]
fn a_power_cut_between_any_two_steps_leaves_the_old_index_or_the_new_one() {
    check_every_fault(Sim::changes, Sim::cut_at, Sim::reboot);
}

#[test]
fn a_kill_between_any_two_steps_leaves_the_old_index_or_the_new_one() {
    check_every_fault(Sim::changes, Sim::cut_at, Sim::restart);
}

#[test]
fn an_operation_that_fails_leaves_the_old_index_or_the_new_one() {
    let go_on = |sim: &Sim| sim.fork(0);
    check_every_fault(Sim::operations, Sim::fail_at, go_on);
}

/// Refreshes once counting, and then once for each fault.
fn check_every_fault(count: fn(&Sim) -> u64, set: fn(&Sim, u64), reopen: fn(&Sim) -> Sim) {
    let many = |id: u64| {
        (0..90)
            .map(|number| vec![id, number % 2 + 30])
            .collect::<Vec<_>>()
    };
    let prepared = Sim::new(0);
    let mut old = Lake::default();
    for (path, id) in [("a", 1), ("b", 2), ("c", 3)] {
        old.put(path, many(id));
        if path != "c" {
            drop(old.refresh(&state_in(&prepared), 1 << 20).unwrap());
        }
    }
    old.shards.remove("c");
    let mut new = Lake {
        shards: old.shards.clone(),
        changes: old.changes,
        ..Lake::default()
    };
    new.shards.remove("b");
    new.put("d", many(4));
    // So little memory that runs are spilled.
    let refresh = |sim: Sim| {
        let is_done = new.refresh(&state_in(&sim), 256).is_ok();
        Cut { sim, is_done }
    };
    let whole = refresh(prepared.fork(0));
    assert!(whole.is_done);
    let faults = count(&whole.sim);
    // A spill, a segment and a manifest, each created, written and named, and what was before removed.
    assert!(faults > 15, "{faults}");
    let mut failed = 0;
    for fault in 0..faults {
        let sim = prepared.fork(fault);
        set(&sim, fault);
        let cut = refresh(sim);
        failed += u64::from(!cut.is_done);
        let sim = reopen(&cut.sim);
        let index = Index::open(&state_in(&sim), "distinct_id")
            .unwrap()
            .unwrap();
        index.verify().unwrap();
        let is_new = index.shards().iter().any(|shard| shard.path == "d");
        assert!(is_new || !cut.is_done);
        let lake = if is_new { &new } else { &old };
        for id in 0..IDS {
            assert_eq!(
                found(&index, &[id]).unwrap(),
                lake.truth(id),
                "fault {fault}"
            );
        }
        drop(index);
        let (index, _) = new.refresh(&state_in(&sim), 1 << 20).unwrap();
        new.check(&state_in(&sim), &index);
    }
    assert!(failed * 2 > faults, "{failed} of {faults}");
}
