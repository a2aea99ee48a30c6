use std::io::Write;

use super::*;
use crate::file_system::{Access, NewFile, Walk};
use crate::io::Sink;
use crate::state::files::StateFiles;
use crate::state::{Expect, State};

const SEEDS: u64 = 200;

fn write(sim: &Sim, path: &str, bytes: &[u8]) -> Result<Box<dyn Sink>> {
    let NewFile {
        path: at, mut sink, ..
    } = sim.create(path, Access::State(None))?;
    sim.rename(&at, path)?;
    sink.write_all(bytes)
        .and_then(|()| sink.flush())
        .map_err(Error::io("write", path))?;
    Ok(sink)
}

fn publish(sim: &Sim, path: &str, bytes: &[u8]) -> Result<()> {
    let state = StateFiles::new(sim.clone());
    state.put(path, bytes, Expect::Any).map(drop)
}

/// A durable rename over what is there.
fn replace(sim: &Sim, from: &str, to: &str) -> Result<()> {
    sim.rename(from, to)?;
    sim.sync_directories(&[to])
}

/// A durable removal.
fn remove(sim: &Sim, path: &str) -> Result<()> {
    StateFiles::new(sim.clone()).remove(&[path.to_owned()])
}

/// What a file may be after a power cut that comes when `work` is done, over many seeds.
fn ends(path: &str, work: impl Fn(&Sim)) -> BTreeSet<Option<Vec<u8>>> {
    let end = |seed| {
        let sim = Sim::new(seed);
        sim.put("old", "old");
        work(&sim);
        sim.reboot().bytes(path)
    };
    (0..SEEDS).map(end).collect()
}

#[test]
fn what_was_never_synced_may_be_anything_after_a_power_cut() {
    let ends = ends("a", |sim| drop(write(sim, "a", b"0123456789").unwrap()));
    for end in [None, Some(&b""[..]), Some(b"0123456789"), Some(b"012")] {
        let end = end.map(<[u8]>::to_vec);
        assert!(ends.contains(&end), "{end:?} never happened");
    }
    assert!(ends.iter().flatten().any(|end| end.ends_with(b"\0")));
    let garbage = |end: &Vec<u8>| end.len() == 10 && end[9] != b'9' && end[9] != 0;
    assert!(ends.iter().flatten().any(garbage));
}

#[test]
fn a_sync_keeps_the_content_and_a_replacement_the_name() {
    let synced = |sim: &Sim| write(sim, "a", b"new").unwrap().sync().unwrap();
    let found = ends("a", synced);
    assert_eq!(found, BTreeSet::from([None, Some(b"new".to_vec())]));
    let found = ends("old", |sim| {
        synced(sim);
        replace(sim, "a", "old").unwrap();
    });
    assert_eq!(found, BTreeSet::from([Some(b"new".to_vec())]));
    let found = ends("old", |sim| remove(sim, "old").unwrap());
    assert_eq!(found, BTreeSet::from([None]));
}

#[test]
fn a_change_of_a_name_that_was_under_way_is_done_or_not() {
    let new = Some(b"new".to_vec());
    let old = Some(b"old".to_vec());
    for cut in 0..2 {
        let replaced = ends("old", |sim| {
            write(sim, "a", b"new").unwrap().sync().unwrap();
            sim.cut_at(cut);
            replace(sim, "a", "old").unwrap_err();
        });
        let removed = ends("old", |sim| {
            sim.cut_at(cut);
            remove(sim, "old").unwrap_err();
        });
        if cut == 0 {
            assert_eq!(replaced, BTreeSet::from([old.clone()]));
            assert_eq!(removed, BTreeSet::from([old.clone()]));
        } else {
            assert_eq!(replaced, BTreeSet::from([old.clone(), new.clone()]));
            assert_eq!(removed, BTreeSet::from([old.clone(), None]));
        }
    }
}

/// The canary: code that forgets the sync must be found out.
#[test]
fn a_rename_without_a_sync_is_caught() {
    let wrong = |sim: &Sim| {
        drop(write(sim, ".old.tmp", b"new").unwrap());
        replace(sim, ".old.tmp", "old").unwrap();
    };
    let right = |sim: &Sim| publish(sim, "old", b"new").unwrap();
    let new = BTreeSet::from([Some(b"new".to_vec())]);
    assert_eq!(ends("old", right), new);
    let torn = ends("old", wrong);
    assert!(torn.len() > 3, "{torn:?}");
}

#[test]
fn a_publication_that_is_cut_off_anywhere_leaves_the_old_file_or_the_new_one() {
    let prepared = Sim::new(0);
    prepared.put("a", "old");
    let counted = prepared.fork(0);
    publish(&counted, "a", b"new").unwrap();
    assert_eq!(
        (counted.changes(), counted.operations()),
        (5, 5),
        "create, write, sync, rename, directory"
    );
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let sim = prepared.fork(seed);
        sim.cut_at(seed % 5);
        publish(&sim, "a", b"new").unwrap_err();
        assert!(sim.is_off());
        assert!(
            sim.list("", Walk::ALL).is_err() && sim.info("a").is_err() && sim.open("a").is_err()
        );
        found.insert(sim.reboot().bytes("a").unwrap());
    }
    let both = BTreeSet::from([b"old".to_vec(), b"new".to_vec()]);
    assert_eq!(found, both);
}

#[test]
fn one_operation_fails_and_the_next_does_not() {
    let sim = Sim::new(0);
    sim.put("a", "old");
    sim.fail_at(1);
    publish(&sim, "a", b"new").unwrap_err();
    assert_eq!(sim.bytes("a").unwrap(), b"old");
    assert_eq!(sim.all().len(), 1, "the temporary file was removed");
    assert_eq!(sim.operations_of(Operation::Write), 1);
    publish(&sim, "a", b"new").unwrap();
    assert_eq!(sim.bytes("a").unwrap(), b"new");

    let file = sim.open("a").unwrap();
    sim.fail_at(0);
    assert!(file.read_at(0, &mut [0; 3]).is_err());
    let mut bytes = [0; 3];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"new");
    assert!(file.read_at(1, &mut bytes).is_err(), "past the end");
}

#[test]
fn half_of_a_write_that_fails_is_there_and_nothing_after_a_cut() {
    let sim = Sim::new(0);
    let NewFile { path, mut sink, .. } = sim.create("a", Access::State(None)).unwrap();
    sim.rename(&path, "a").unwrap();
    sim.fail_at(0);
    assert!(sink.write_all(b"0123").is_err());
    assert_eq!(sim.bytes("a").unwrap(), b"01");
    sim.cut_at(0);
    assert!(sink.write_all(b"4567").is_err());
    assert!(sink.write_all(b"89").is_err());
    assert!(sink.flush().is_err() && sink.sync().is_err());
    assert_eq!(sim.bytes("a").unwrap(), b"0145");
}

#[test]
fn what_is_not_flushed_is_lost_and_a_copy_lies_between_the_writes() {
    let sim = Sim::new(0);
    sim.put("source", "0123456789");
    let source = sim.open("source").unwrap();
    let like = sim.info("source").unwrap().unwrap();
    let NewFile { path, mut sink, .. } = sim.create("a", Access::Of(&like)).unwrap();
    sim.rename(&path, "a").unwrap();
    sink.write_all(b"<").unwrap();
    sink.copy_from(&*source, 2..5).unwrap();
    sink.write_all(b">").unwrap();
    assert_eq!(sim.bytes("a").unwrap(), b"");
    sink.flush().unwrap();
    sink.write_all(b"never flushed").unwrap();
    drop(sink);
    assert_eq!(sim.bytes("a").unwrap(), b"<234>");
    assert!(sim.vanish("source"));
    assert!(sim.create("b", Access::Of(&like)).is_err());
}

#[test]
fn an_open_file_keeps_its_content() {
    let sim = Sim::new(0);
    sim.put("a", "old");
    let (file, map) = (sim.open("a").unwrap(), sim.map("a").unwrap());
    publish(&sim, "a", b"newer").unwrap();
    sim.vanish("a");
    let mut bytes = [0; 3];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!((&bytes, &*map, file.len()), (b"old", &b"old"[..], 3));
    assert!(sim.open("a").is_err() && sim.map("a").is_err());
}

#[test]
fn a_full_disk_takes_what_fits_and_room_that_is_made_is_used() {
    let sim = Sim::new(0);
    sim.put("a", "0123456789");
    sim.set_limit_bytes(15);
    let Err(Error::Io { source, .. }) = publish(&sim, "b", b"0123456789") else {
        panic!("there was room");
    };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert_eq!(sim.all().len(), 1);
    remove(&sim, "a").unwrap();
    publish(&sim, "b", b"0123456789").unwrap();
}

#[test]
fn a_storage_that_is_read_only_refuses_every_change_and_can_be_read() {
    let sim = Sim::new(0);
    sim.put("d/a", "old");
    sim.set_read_only(true);
    assert!(publish(&sim, "d/a", b"new").is_err());
    assert!(remove(&sim, "d/a").is_err() && sim.lock("lock", "me").is_err());
    assert_eq!(sim.list("d", Walk::ALL).unwrap().len(), 1);
    assert_eq!(sim.list("", Walk::ALL).unwrap()[0].path, "d/a");
    assert_eq!(
        sim.list("d/", Walk::ALL).unwrap().len() + sim.list("e", Walk::ALL).unwrap().len(),
        0
    );
    sim.open("d/a").unwrap();
    sim.set_read_only(false);
    publish(&sim, "d/a", b"new").unwrap();
}

#[test]
fn a_second_lock_is_refused_until_the_first_is_dropped_or_the_power_was_off() {
    let sim = Sim::new(0);
    let first = sim.lock("lock", "pid 1").unwrap();
    match sim.clone().lock("lock", "pid 2").err() {
        Some(Error::Locked { holder, .. }) => assert_eq!(holder, "pid 1"),
        other => panic!("{other:?}"),
    }
    drop(first);
    let _second = sim.lock("lock", "pid 2").unwrap();
    drop(sim.reboot().lock("lock", "pid 3").unwrap());
    drop(sim.restart().lock("lock", "pid 3").unwrap());
}

#[test]
fn what_a_killed_process_left_undecided_is_durable_under_the_next_lock() {
    let is_lost = |seed, locks: bool| {
        let sim = Sim::new(seed);
        sim.put("a", "old");
        let _lock = sim.lock("lock", "pid 1").unwrap();
        sim.cut_at(4);
        publish(&sim, "a", b"new").unwrap_err();
        let sim = sim.restart();
        assert_eq!(sim.bytes("a").unwrap(), b"new");
        if locks {
            drop(sim.lock("lock", "pid 2").unwrap());
        }
        sim.reboot().bytes("a").unwrap() != b"new"
    };
    assert!((0..SEEDS).any(|seed| is_lost(seed, false)));
    assert!(!(0..SEEDS).any(|seed| is_lost(seed, true)));
}

#[test]
fn what_a_sync_of_a_directory_failed_to_keep_is_durable_under_the_next_lock() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed);
        sim.put("a", "old");
        let lock = sim.lock("lock", "pid 1").unwrap();
        sim.fail_at(4);
        publish(&sim, "a", b"new").unwrap_err();
        assert_eq!(sim.bytes("a").unwrap(), b"new");
        drop(lock);
        drop(sim.lock("lock", "pid 2").unwrap());
        assert_eq!(sim.reboot().bytes("a").unwrap(), b"new");
    }
}

#[test]
fn another_process_comes_between_two_operations() {
    let sim = Sim::new(0);
    sim.put("a", "old");
    sim.run_at(2, |sim| sim.put("a", "theirs"));
    publish(&sim, "b", b"mine").unwrap();
    assert_eq!(sim.bytes("a").unwrap(), b"theirs");
    let infos = sim.list("", Walk::ALL).unwrap();
    assert!(infos[0].modified_ns < infos[1].changed_ns);
}

#[test]
fn the_clock_goes_on_with_each_operation_and_can_be_set_back() {
    let sim = Sim::new(0);
    let start = sim.clock_ns();
    publish(&sim, "a", b"1").unwrap();
    assert!(sim.clock_ns() > start);
    sim.set_clock_ns(start - 10_000_000_000);
    publish(&sim, "b", b"1").unwrap();
    let info = |path| sim.info(path).unwrap().unwrap();
    assert!(info("b").changed_ns < info("a").changed_ns);
    assert!(sim.set_modified_ns("b", 7) && !sim.set_modified_ns("c", 7));
    assert_eq!(info("b").modified_ns, 7);
    assert!(info("b").changed_ns > 7);
}

#[test]
fn a_flipped_byte_is_in_place_and_everything_is_as_the_seed_says() {
    let sim = Sim::new(3);
    sim.put("a", "abc");
    assert!(sim.flip("a", 1, 0x20) && !sim.flip("a", 3, 1) && !sim.flip("b", 0, 1));
    assert_eq!(sim.bytes("a").unwrap(), b"aBc");
    drop(write(&sim, "b", &[7; 100]).unwrap());
    let again = sim.fork(3);
    let infos = sim.list("", Walk::ALL).unwrap();
    assert_eq!(again.list("", Walk::ALL).unwrap(), infos);
    assert_eq!(sim.reboot().all(), again.reboot().all());
}
