//! The index of receipts beside a `Vec`: whatever becomes of it, the answers are those of the chain.

use super::super::segment::{Name, directory};
use super::*;
use crate::testing::sim::{Operation, Sim};

type Oracle = Vec<(TrackingId, Option<TrackingId>)>;

fn id(number: u64) -> TrackingId {
    let time: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let mut random = [0; 10];
    // Ids of receipts that follow each other don't.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    random[..8].copy_from_slice(&spread);
    TrackingId::new(time, random)
}

fn of(id: TrackingId, pass: Option<TrackingId>) -> Receipt {
    Receipt {
        tracking_id: id,
        pass,
        ..receipt(0)
    }
}

fn open(sim: &Sim) -> StateFiles {
    StateFiles::new(sim.clone())
}

fn append(sim: &Sim, some: &[(TrackingId, Option<TrackingId>)]) -> Result<Head> {
    let receipts = some.iter().map(|(id, pass)| of(*id, *pass)).collect();
    Receipts::new(&open(sim)).append(receipts, || Ok(()))
}

fn catch_up(sim: &Sim) {
    Receipts::new(&open(sim)).catch_up(|_| Ok(())).unwrap();
}

fn segments(sim: &Sim) -> Vec<String> {
    let paths = sim.all().into_keys();
    paths.filter(|path| Name::of(path).is_some()).collect()
}

#[track_caller]
fn assert_answers(sim: &Sim, oracle: &Oracle, number: usize, context: &str) {
    let state = open(sim);
    let receipts = Receipts::new(&state);
    let (id, pass) = oracle[number];
    let found = receipts.find(id).unwrap();
    let found = found.unwrap_or_else(|| panic!("{context}: receipt {number} is missing"));
    assert_eq!(
        (found.number, found.tracking_id),
        (number as u64 + 1, id),
        "{context}"
    );
    if let Some(pass) = pass {
        assert!(receipts.has_pass(pass).unwrap(), "{context}: {number}");
    }
}

#[track_caller]
fn assert_no_others(sim: &Sim, oracle: &Oracle, context: &str) {
    let state = open(sim);
    let receipts = Receipts::new(&state);
    assert_eq!(receipts.find(id(u64::MAX)).unwrap(), None, "{context}");
    assert!(!receipts.has_pass(id(u64::MAX)).unwrap(), "{context}");
    // An id of a request is none of a pass, and the other way round.
    if let Some((first, pass)) = oracle.first() {
        assert!(!receipts.has_pass(*first).unwrap(), "{context}");
        if let Some(pass) = pass {
            assert_eq!(receipts.find(*pass).unwrap(), None, "{context}");
        }
    }
}

#[track_caller]
fn assert_all_answers(sim: &Sim, oracle: &Oracle, context: &str) {
    for number in 0..oracle.len() {
        assert_answers(sim, oracle, number, context);
    }
    assert_no_others(sim, oracle, context);
}

/// A history of 12 receipts in 5 files.
fn history() -> (Sim, Oracle) {
    let sim = Sim::new(1);
    let mut oracle = Oracle::new();
    for (pass, count) in [3, 1, 5, 2, 1].into_iter().enumerate() {
        let pass = (count > 1).then(|| id(1000 + pass as u64));
        let first = oracle.len() as u64;
        let some: Oracle = (first..first + count)
            .map(|number| (id(number), pass))
            .collect();
        append(&sim, &some).unwrap();
        oracle.extend(some);
    }
    (sim, oracle)
}

#[test]
fn generated_histories_are_answered_as_by_a_list_whatever_becomes_of_the_index() {
    for seed in 0..24_u64 {
        let sim = Sim::new(seed);
        let mut oracle = Oracle::new();
        let mut drawn = seed;
        let mut draw = |below: u64| {
            drawn = drawn
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (drawn >> 33) % below
        };
        for step in 0..30 {
            let context = format!("seed {seed}, step {step}");
            let some = segments(&sim);
            match draw(8) {
                0..4 => {
                    let count = if draw(6) == 0 { 150 } else { 1 + draw(12) };
                    let pass = (draw(4) > 0).then(|| id(1_000_000 + step));
                    let first = oracle.len() as u64;
                    let new: Oracle = (first..first + count)
                        .map(|number| (id(number), pass))
                        .collect();
                    append(&sim, &new).unwrap();
                    oracle.extend(new);
                }
                4 => catch_up(&sim),
                lost if !some.is_empty() => {
                    let path = &some[usize::try_from(draw(some.len() as u64)).unwrap()];
                    let bytes = sim.bytes(path).unwrap();
                    match lost {
                        5 => assert!(sim.vanish(path)),
                        6 => sim.put(path, &bytes[..bytes.len() / 2]),
                        _ => {
                            let at = usize::try_from(draw(bytes.len() as u64)).unwrap();
                            assert!(sim.flip(path, at, 1 << draw(8)));
                        }
                    }
                }
                _ => {}
            }
            for _ in 0..4_usize.min(oracle.len()) {
                let number = usize::try_from(draw(oracle.len() as u64)).unwrap();
                assert_answers(&sim, &oracle, number, &context);
            }
            assert_no_others(&sim, &oracle, &context);
        }
        catch_up(&sim);
        assert_all_answers(&sim, &oracle, &format!("seed {seed}"));
    }
}

#[test]
fn a_cut_or_a_failure_at_any_operation_of_an_append_leaves_every_answer_right() {
    let (before, oracle) = history();
    let pass = Some(id(2000));
    let new: Oracle = vec![(id(100), pass), (id(101), pass)];
    let all: Oracle = oracle.iter().chain(&new).copied().collect();
    let next: Oracle = vec![(id(102), None)];
    let counted = before.fork(0);
    append(&counted, &new).unwrap();
    let check = |sim: &Sim, context: &str| {
        let head = Receipts::new(&open(sim)).check(|_| {}).unwrap();
        let is_there = match head.receipts {
            12 => false,
            14 => true,
            other => panic!("{context}: {other} receipts"),
        };
        let expected = if is_there { &all } else { &oracle };
        assert_all_answers(sim, expected, context);
        catch_up(sim);
        assert_all_answers(sim, expected, context);
        append(sim, &next).unwrap();
        let expected: Oracle = expected.iter().chain(&next).copied().collect();
        assert_all_answers(sim, &expected, context);
        catch_up(sim);
        let found: Vec<Name> = segments(sim)
            .iter()
            .filter_map(|path| Name::of(path))
            .collect();
        let covered: u64 = found.iter().map(|name| name.last + 1 - name.first).sum();
        assert_eq!(covered, expected.len() as u64, "{context}: {found:?}");
    };
    for cut in 0..counted.changes() {
        let sim = before.fork(cut);
        sim.cut_at(cut);
        let _outcome = append(&sim, &new);
        assert!(sim.is_off());
        check(&sim.reboot(), &format!("cut at {cut}"));
    }
    for failing in 0..counted.operations() {
        let sim = before.fork(failing);
        sim.fail_at(failing);
        let _outcome = append(&sim, &new);
        check(&sim.restart(), &format!("failure at {failing}"));
    }
}

#[test]
fn a_cut_at_any_change_while_the_index_is_made_from_the_chain_leaves_every_answer_right() {
    let (before, oracle) = history();
    for path in segments(&before) {
        before.vanish(&path);
    }
    let counted = before.fork(0);
    catch_up(&counted);
    assert!(counted.changes() > 3);
    for cut in 0..counted.changes() {
        let sim = before.fork(cut);
        sim.cut_at(cut);
        catch_up(&sim);
        let sim = sim.reboot();
        assert_all_answers(&sim, &oracle, &format!("cut at {cut}"));
        catch_up(&sim);
        assert_eq!(segments(&sim), segments(&counted));
    }
}

#[test]
fn an_append_beside_a_reader_never_hides_a_receipt() {
    let (before, oracle) = history();
    let counted = before.fork(0);
    assert_answers(&counted, &oracle, 0, "alone");
    for operation in 0..counted.operations() {
        for number in 0..oracle.len() {
            let sim = before.fork(operation);
            // It is merged with all that there is.
            let new: Oracle = (50..90).map(|number| (id(number), None)).collect();
            sim.run_at(operation, move |sim| drop(append(sim, &new).unwrap()));
            assert_answers(&sim, &oracle, number, &format!("append at {operation}"));
        }
    }
}

#[test]
fn no_flipped_bit_and_no_missing_end_of_a_segment_changes_an_answer() {
    let (before, oracle) = history();
    for path in segments(&before) {
        let bytes = before.bytes(&path).unwrap();
        for (place, byte) in bytes.iter().enumerate() {
            // Zeros that fill a block are all the same.
            if *byte == 0 && place % 61 != 0 {
                continue;
            }
            let sim = before.fork(0);
            assert!(sim.flip(&path, place, 1 << (place % 8)));
            for number in [place % oracle.len(), (place + 5) % oracle.len()] {
                assert_answers(&sim, &oracle, number, &format!("{path} at {place}"));
            }
            assert_no_others(&sim, &oracle, &format!("{path} at {place}"));
        }
        for len in [0, 1, 4095, 4096, bytes.len() - 1] {
            let sim = before.fork(0);
            sim.put(&path, &bytes[..len]);
            assert_all_answers(&sim, &oracle, &format!("{path} of {len} bytes"));
            catch_up(&sim);
            assert_ne!(sim.bytes(&path).as_deref(), Some(&bytes[..len]));
            assert_all_answers(&sim, &oracle, "written again");
        }
    }
}

#[test]
fn a_damaged_receipt_is_an_error_and_not_a_missing_one() {
    let (sim, oracle) = history();
    let path = file_path(5);
    let bytes = sim.bytes(&path).unwrap();
    let at = memmem::find(&bytes, b"\"cause\"").unwrap();
    assert!(sim.flip(&path, at + 2, 1));
    let find = |number: usize| Receipts::new(&open(&sim)).find(oracle[number].0);
    let error = find(4).unwrap_err();
    assert!(error.to_string().contains(&path), "{error}");
    assert_eq!(find(5).unwrap().unwrap().number, 6);
    assert!(sim.vanish(&path));
    find(5).unwrap_err();
    assert_eq!(find(11).unwrap().unwrap().number, 12);
}

#[test]
fn receipts_without_an_index_are_found_and_get_one_from_whoever_takes_the_lease() {
    let (sim, oracle) = history();
    for path in segments(&sim) {
        sim.vanish(&path);
    }
    assert_all_answers(&sim, &oracle, "no index");
    assert_eq!(segments(&sim), [""; 0], "a reader writes nothing");
    catch_up(&sim);
    let [only] = &segments(&sim)[..] else {
        panic!("one segment covers them: {:?}", segments(&sim));
    };
    assert_eq!(Name::of(only), Some(Name { first: 1, last: 12 }));
    assert_all_answers(&sim, &oracle, "with an index");
}

#[test]
fn an_index_of_another_chain_is_not_believed() {
    let (sim, oracle) = history();
    let index: Vec<(String, Vec<u8>)> = segments(&sim)
        .into_iter()
        .map(|path| (path.clone(), sim.bytes(&path).unwrap()))
        .collect();
    let other = Sim::new(2);
    let others: Oracle = (500..512).map(|number| (id(number), None)).collect();
    for one in &others {
        append(&other, std::slice::from_ref(one)).unwrap();
    }
    for path in segments(&other) {
        other.vanish(&path);
    }
    for (path, bytes) in index {
        other.put(&path, bytes);
    }
    assert_all_answers(&other, &others, "the index of another chain");
    let state = open(&other);
    assert_eq!(Receipts::new(&state).find(oracle[0].0).unwrap(), None);
    // A chain that was put back from a copy, and its index not.
    let all = sim.all();
    let long: Oracle = (600..640).map(|number| (id(number), None)).collect();
    append(&sim, &long).unwrap();
    let beyond = segments(&sim);
    sim.vanish(&file_path(13));
    for (path, bytes) in all {
        if !path.starts_with(&directory()) {
            sim.put(&path, bytes);
        }
    }
    assert_all_answers(&sim, &oracle, "an older chain");
    catch_up(&sim);
    assert!(segments(&sim).iter().all(|path| !beyond.contains(path)));
    assert_all_answers(&sim, &oracle, "caught up");
}

#[test]
fn many_appends_make_few_segments_and_an_answer_takes_few_operations() {
    let sim = Sim::new(1);
    let mut oracle = Oracle::new();
    let mut most = 0;
    for number in 0..700 {
        let one = (id(number), Some(id(10_000 + number / 2)));
        append(&sim, &[one]).unwrap();
        oracle.push(one);
        if number % 10 == 0 {
            most = most.max(segments(&sim).len());
        }
    }
    // Each is twice as large as all after it, so three times as large as all after the next.
    assert!(most <= 7, "{most} segments of 700 receipts");
    for number in [0, 1, 350, 698, 699] {
        assert_answers(&sim, &oracle, number, "many files");
    }
    let sim = sim.fork(0);
    let state = open(&sim);
    assert!(Receipts::new(&state).find(id(3)).unwrap().is_some());
    let found = sim.operations();
    assert!(Receipts::new(&state).find(id(u64::MAX)).unwrap().is_none());
    let missing = sim.operations() - found;
    assert!(
        found <= 20 && missing <= 20,
        "{found}, {missing} operations"
    );
    assert_eq!(
        sim.operations_of(Operation::List),
        2,
        "only the segments are listed"
    );
}
