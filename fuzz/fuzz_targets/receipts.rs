//! A chain of receipts that somebody changed: it is never taken for whole, and reading it never panics.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use efface::receipts::{Cause, DIRECTORY, Ended, Receipt, Receipts};
use efface::request::{Disclosure, Identity, Provenance, Regulation};
use efface::state::files::StateFiles;
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

/// The chain, and what becomes of its files.
#[derive(Debug, Arbitrary)]
struct Tampered<'a> {
    /// How many receipts each file has.
    files: Vec<u8>,
    changes: Vec<Change<'a>>,
}

/// Files, lines and bytes are counted around and around.
#[derive(Debug, Arbitrary)]
enum Change<'a> {
    Byte(u8, u16, u8),
    Insert(u8, u16, &'a [u8]),
    Remove(u8, u16, u8),
    RemoveLine(u8, u8),
    RepeatLine(u8, u8),
    SwapLines(u8, u8, u8),
    MoveLine(u8, u8, u8),
    RemoveFile(u8),
    SwapFiles(u8, u8),
    RenameFile(u8, u8),
    JoinFiles(u8, u8),
}

type Files = BTreeMap<String, Vec<u8>>;

fn receipt(number: u8) -> Receipt {
    let time: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
    Receipt {
        number: 0,
        previous: String::new(),
        tracking_id: TrackingId::new(time, [number; 10]),
        cause: Cause::Delete,
        pass: None,
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
        alias_other_names: 0,
        alias_rows_removed: 0,
        left_out: 0,
        suppressed: false,
        digest: None,
        shards: Vec::new(),
        subjects: Vec::new(),
        by: Provenance::default(),
        extension: None,
        engine: "efface".to_owned(),
        key: None,
    }
}

fn name(files: &Files, which: u8) -> String {
    let mut names = files.keys();
    let which = usize::from(which) % names.len();
    names.nth(which).expect("there are files").clone()
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

impl Change<'_> {
    fn apply(&self, files: &mut Files) {
        if files.is_empty() {
            return;
        }
        match *self {
            Self::Byte(file, at, mask) => edit(files, file, |bytes| {
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= mask;
            }),
            Self::Insert(file, at, new) => edit(files, file, |bytes| {
                let at = usize::from(at) % bytes.len();
                bytes.splice(at..at, new.iter().copied());
            }),
            Self::Remove(file, at, len) => edit(files, file, |bytes| {
                let at = usize::from(at) % bytes.len();
                bytes.drain(at..bytes.len().min(at + usize::from(len)));
            }),
            Self::RemoveLine(file, line) => edit_lines(files, file, |lines| {
                lines.remove(usize::from(line) % lines.len());
            }),
            Self::RepeatLine(file, line) => edit_lines(files, file, |lines| {
                let at = usize::from(line) % lines.len();
                lines.insert(at, lines[at].clone());
            }),
            Self::SwapLines(file, one, other) => edit_lines(files, file, |lines| {
                let len = lines.len();
                lines.swap(usize::from(one) % len, usize::from(other) % len);
            }),
            Self::MoveLine(from, line, to) => {
                let mut moved = None;
                edit_lines(files, from, |lines| {
                    moved = Some(lines.remove(usize::from(line) % lines.len()));
                });
                edit(files, to, |bytes| bytes.extend(moved.unwrap_or_default()));
            }
            Self::RemoveFile(file) => drop(files.remove(&name(files, file))),
            Self::SwapFiles(one, other) => {
                let (one, other) = (name(files, one), name(files, other));
                let bytes = [files[&one].clone(), files[&other].clone()];
                files.extend([other, one].into_iter().zip(bytes));
            }
            Self::RenameFile(file, number) => {
                let bytes = files.remove(&name(files, file)).expect("it is there");
                files.insert(format!("{DIRECTORY}/{number:012}.jsonl"), bytes);
            }
            Self::JoinFiles(one, other) => {
                let (one, other) = (name(files, one), name(files, other));
                if one != other {
                    let bytes = files.remove(&other).expect("it is there");
                    files.get_mut(&one).expect("it is there").extend(bytes);
                }
            }
        }
    }
}

fn edit(files: &mut Files, file: u8, change: impl FnOnce(&mut Vec<u8>)) {
    let name = name(files, file);
    let bytes = files.get_mut(&name).expect("it is there");
    if !bytes.is_empty() {
        change(bytes);
    }
}

fn edit_lines(files: &mut Files, file: u8, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    edit(files, file, |bytes| {
        let mut lines = lines(bytes);
        change(&mut lines);
        *bytes = lines.concat();
    });
}

fuzz_target!(|tampered: Tampered<'_>| {
    let sim = Sim::new(0);
    let state = StateFiles::new(sim.clone());
    let mut number = 0;
    for count in tampered.files.iter().take(6) {
        let some = (0..=count % 4).map(|_| {
            number += 1;
            receipt(number)
        });
        let appended = Receipts::new(&state).append(some.collect(), || Ok(()));
        appended.expect("there is no fault");
    }
    let mut told = Vec::new();
    let head = Receipts::new(&state).check(|receipt| told.push(receipt));
    let head = head.expect("nobody has changed it yet");
    let mut files = sim.all();
    for change in tampered.changes.iter().take(8) {
        change.apply(&mut files);
    }
    let sim = Sim::new(0);
    for (path, bytes) in &files {
        sim.put(path, bytes.clone());
    }
    let state = StateFiles::new(sim);
    let receipts = Receipts::new(&state);
    let _found = receipts.find(receipt(1).tracking_id);
    let mut found = Vec::new();
    let taken_for_whole = receipts.check(|receipt| found.push(receipt));
    match taken_for_whole {
        // Without a head, what is left of the first file can be all that there ever was.
        Ok(_) if !files.contains_key(&format!("{DIRECTORY}/head.json")) => {
            assert!(told.starts_with(&found), "a changed receipt");
        }
        Ok(found_head) => {
            assert!(found == told, "a changed chain is taken for whole");
            assert_eq!(found_head, head);
        }
        Err(_) => {}
    }
    let _ended = receipts.catch_up(|_| Ok(()));
});
