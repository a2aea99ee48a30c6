use std::path::Path;

use jiff::Timestamp;

use super::chain::NONE;
use super::*;
use crate::file_system::disk::Disk;
use crate::request::{Disclosure, Identity, Provenance, Regulation};
use crate::state::{self, files::StateFiles};
use crate::subject::{SubjectId, SubjectKey};

mod index;

fn receipt(number: u8) -> Receipt {
    let time: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    Receipt {
        number: 0,
        previous: String::new(),
        tracking_id: TrackingId::new(time, [number; 10]),
        cause: Cause::Delete,
        pass: Some(TrackingId::new(time, [number / 2; 10])),
        state: Ended::Success,
        reason: None,
        reason_kind: None,
        regulation: Regulation::Gdpr,
        disclosure: Disclosure::Data,
        identity: Identity::Forward,
        requested_at: time,
        submitted_at: time,
        started_at: Some(time),
        ended_at: time,
        due: time,
        rows_removed: number.into(),
        rows_cleared: 0,
        alias_rows_removed: 0,
        left_out: 0,
        suppressed: false,
        digest: None,
        alias_other_names: 0,
        shards: vec![ShardEvidence {
            other_names: 0,
            path: "a.parquet".to_owned(),
            rows: number.into(),
            before: NONE.to_owned(),
            after: None,
        }],
        key: Some(SubjectKey::new([1; 32]).id()),
        subjects: vec![SubjectEvidence {
            position: 1,
            id: SubjectKey::new([1; 32]).hash_of(&SubjectId::new("ada")),
            outcome: Outcome::Deleted,
            rows: number.into(),
            merged_into: None,
        }],
        by: Provenance::default(),
        extension: None,
        engine: "efface".to_owned(),
    }
}

/// Five receipts in three files.
fn chain(root: &Path) -> (StateFiles, Head) {
    let disk = StateFiles::new(Disk::new(root));
    let receipts = Receipts::new(&disk);
    receipts
        .append(vec![receipt(1), receipt(2)], || Ok(()))
        .unwrap();
    receipts.append(vec![receipt(3)], || Ok(())).unwrap();
    let head = receipts
        .append(vec![receipt(4), receipt(5)], || Ok(()))
        .unwrap();
    (disk, head)
}

fn overwrite(root: &Path, name: &str, bytes: &[u8]) {
    let disk = StateFiles::new(Disk::new(root));
    disk.put(&format!("{DIRECTORY}/{name}"), bytes, Expect::Any)
        .unwrap();
}

#[test]
fn a_whole_chain_is_listed_in_order_and_found_by_tracking_id() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, head) = chain(dir.path());
    let receipts = Receipts::new(&disk);
    let mut seen = Vec::new();
    let checked = receipts.check(|receipt| seen.push(receipt.rows_removed));
    assert_eq!(checked.unwrap(), head);
    assert_eq!((head.receipts, seen), (5, vec![1, 2, 3, 4, 5]));
    let found = receipts.find(receipt(3).tracking_id).unwrap().unwrap();
    assert_eq!((found.number, found.rows_removed), (3, 3));
    assert_eq!(receipts.find(receipt(9).tracking_id).unwrap(), None);
    assert!(receipts.has_pass(receipt(5).pass.unwrap()).unwrap());
    assert!(receipts.has_pass(receipt(1).pass.unwrap()).unwrap());
}

#[test]
fn nothing_is_a_chain_of_no_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    assert_eq!(Receipts::new(&disk).check(|_| {}).unwrap().receipts, 0);
}

#[test]
fn any_changed_byte_any_gap_and_any_reorder_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, head) = chain(dir.path());
    let receipts = Receipts::new(&disk);
    let mut names: Vec<String> = disk
        .list(DIRECTORY)
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        // The index is no part of the chain.
        .filter(|path| !path.contains("/index/"))
        .collect();
    names.sort();
    let read = |path: &str| state::read(&disk, path, 1 << 20).unwrap();
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    for path in &names {
        let bytes = read(path);
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            overwrite(dir.path(), &name(path), &changed);
            assert!(receipts.check(|_| {}).is_err(), "{path} at {place}");
        }
        disk.remove(std::slice::from_ref(path)).unwrap();
        assert!(receipts.check(|_| {}).is_err(), "without {path}");
        overwrite(dir.path(), &name(path), &bytes);
        assert_eq!(receipts.check(|_| {}).unwrap(), head);
    }
    let first = read(&names[0]);
    let at = first.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let reordered = [&first[at..], &first[..at]].concat();
    for changed in [&first[at..], &first[..at], &reordered] {
        overwrite(dir.path(), &name(&names[0]), changed);
        assert!(receipts.check(|_| {}).is_err());
    }
    overwrite(dir.path(), &name(&names[0]), &first);
    let (second, third) = (read(&names[1]), read(&names[2]));
    overwrite(dir.path(), &name(&names[1]), &third);
    overwrite(dir.path(), &name(&names[2]), &second);
    assert!(receipts.check(|_| {}).is_err());
}

#[test]
fn a_head_that_a_crash_left_behind_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = chain(dir.path());
    let head = format!("{DIRECTORY}/head.json");
    let before = state::read(&disk, &head, 1 << 10).unwrap();
    let receipts = Receipts::new(&disk);
    receipts.append(vec![receipt(6)], || Ok(())).unwrap();
    disk.put(&head, &before, Expect::Any).unwrap();
    assert_eq!(receipts.check(|_| {}).unwrap().receipts, 6);
    assert!(receipts.append(vec![receipt(7)], || Ok(())).is_err());
    let mut left = Vec::new();
    let mut leave = |id| {
        left.push(id);
        Ok(())
    };
    receipts.catch_up(&mut leave).unwrap();
    receipts.catch_up(&mut leave).unwrap();
    assert_eq!(
        left,
        [receipt(6).tracking_id],
        "once, and before the head has moved"
    );
    assert_eq!(
        receipts
            .append(vec![receipt(7)], || Ok(()))
            .unwrap()
            .receipts,
        7
    );
    assert_eq!(receipts.check(|_| {}).unwrap().receipts, 7);
}
