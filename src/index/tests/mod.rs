//! The index against a naive model: a map of shards to the ids of each row group.
//!
//! * [`segments`]: one segment, byte by byte
//! * [`batches`]: segments of batches, and what building reads
//! * [`damage`]: what is kept of a damaged index
//! * [`crashes`]: a crash between any two changes of the disk
//! * [`model`]: random sequences of changes, refreshes and damage

mod batches;
mod crashes;
mod damage;
mod model;
mod segments;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::changes::RewrittenShard;
use super::format::ROW_GROUPS_MAX;
use super::refresh::{RefreshOptions, RefreshReport, SEGMENTS_MAX, refresh};
use super::source::{ShardFooter, ShardSource};
use super::*;
use crate::file_system::disk::Disk;
use crate::shard::lineage::Lineage;
use crate::state::files::StateFiles;
use crate::state::{self, Expect};
use crate::table::{ShardRef, ShardVersion};
use crate::testing::sim::Sim;

const SEED: u64 = 0x5eed;
const IDS: u64 = 40;

fn hash_of(id: u64, seed: u64) -> SubjectHash {
    SubjectHash::of(&id.to_le_bytes(), seed)
}

#[derive(Debug, Clone)]
struct FakeShard {
    row_groups: Vec<Vec<u64>>,
    footer_hash: u64,
    size: u64,
    modified_ns: i64,
    changed_ns: i64,
}

/// Shards that are only in memory, and a log of which were scanned.
#[derive(Default)]
struct Lake {
    shards: BTreeMap<String, FakeShard>,
    changes: u64,
    scanned: Mutex<Vec<String>>,
    footers_read: Mutex<Vec<String>>,
    row_groups_scanned: AtomicU64,
    /// What deletes did since the last refresh.
    rewritten: Vec<RewrittenShard>,
}

impl Lake {
    fn put(&mut self, path: &str, row_groups: Vec<Vec<u64>>) {
        self.changes += 1;
        let shard = FakeShard {
            row_groups,
            footer_hash: self.changes,
            size: 100,
            modified_ns: 7,
            // Unknown, long ago and different each time, or just now.
            changed_ns: match self.changes % 3 {
                0 => 0,
                1 => i64::try_from(self.changes).unwrap(),
                _ => i64::MAX - 8,
            },
        };
        self.shards.insert(path.to_owned(), shard);
    }

    /// Takes rows of `ids` out of a shard, as a delete would, and row groups that have none left; but some that
    /// hold none may be rebuilt as well.
    fn erase(&mut self, path: &str, ids: &[u64], also_touched: u32) {
        let old = self.shards[path].clone();
        let (mut kept, mut touched, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for (number, mut row_group) in (0_u32..).zip(old.row_groups) {
            let rows = row_group.len();
            row_group.retain(|id| !ids.contains(id));
            let is_less = row_group.len() < rows;
            if is_less && row_group.is_empty() {
                dropped.push(number);
                continue;
            }
            if is_less || number == also_touched {
                touched.push(number);
            }
            kept.push(row_group);
        }
        if touched.is_empty() && dropped.is_empty() {
            return;
        }
        self.put(path, kept);
        let lineage = Lineage {
            old_footer_hash: old.footer_hash,
            footer_hash: self.shards[path].footer_hash,
            touched,
            dropped,
        };
        let path = path.to_owned();
        self.rewritten.push(RewrittenShard { path, lineage });
    }

    fn files(&self) -> Vec<ShardRef> {
        let file = |(path, shard): (&String, &FakeShard)| ShardRef {
            path: path.clone(),
            bytes: shard.size,
            version: ShardVersion::Times {
                modified_ns: shard.modified_ns,
                changed_ns: shard.changed_ns,
            },
            obstacle: None,
        };
        self.shards.iter().map(file).collect()
    }

    fn truth(&self, id: u64) -> BTreeSet<(String, u32)> {
        let mut truth = BTreeSet::new();
        for (path, shard) in &self.shards {
            for (number, ids) in (0..).zip(&shard.row_groups) {
                if ids.contains(&id) {
                    truth.insert((path.clone(), number));
                }
            }
        }
        truth
    }

    fn refresh(&self, state: &dyn State, memory: usize) -> Result<(Index, RefreshReport)> {
        // As the engine does, on damage that shows when the index is opened.
        let existing = Index::open(state, "distinct_id")
            .or_else(|_| Index::open_undamaged(state, "distinct_id"))
            .unwrap();
        self.refresh_from(state, existing, memory)
    }

    fn refresh_from(
        &self,
        state: &dyn State,
        existing: Option<Index>,
        memory: usize,
    ) -> Result<(Index, RefreshReport)> {
        self.scanned.lock().unwrap().clear();
        self.row_groups_scanned.store(0, Ordering::Relaxed);
        let options = RefreshOptions {
            configuration: "distinct_id",
            seed_if_new: SEED,
            memory,
            rewritten: &self.rewritten,
        };
        refresh(state, existing, &self.files(), &options, self)
    }

    fn scanned(&self) -> Vec<String> {
        let mut scanned = self.scanned.lock().unwrap().clone();
        scanned.sort();
        scanned
    }

    /// Everything that must hold after a refresh.
    fn check(&self, state: &dyn State, index: &Index) {
        index.verify().unwrap();
        let (mut subjects, mut postings) = (0, 0);
        for id in 0..IDS {
            let truth = self.truth(id);
            subjects += u64::from(!truth.is_empty());
            postings += truth.len() as u64;
            assert_eq!(found(index, &[id]).unwrap(), truth, "id {id}");
            if truth.is_empty() {
                assert!(
                    !is_anywhere(state, hash_of(id, index.seed())),
                    "residue of id {id}"
                );
            }
        }
        let all: Vec<_> = (0..IDS).collect();
        let truth = (0..IDS).flat_map(|id| self.truth(id)).collect();
        assert_eq!(found(index, &all).unwrap(), truth);
        let held = index.stats().unwrap();
        assert_eq!((held.subjects, held.postings), (subjects, postings));
        assert!(held.segments <= SEGMENTS_MAX);
        let bytes: u64 = state
            .list(DIRECTORY)
            .unwrap()
            .iter()
            .map(|file| file.bytes)
            .sum();
        assert_eq!(held.bytes, bytes);
    }
}

impl ShardSource for Lake {
    fn clock_ns(&self) -> Result<Option<i64>> {
        Ok(Some(1 << 60))
    }

    fn footer(&self, file: &ShardRef) -> Result<ShardFooter> {
        self.footers_read.lock().unwrap().push(file.path.clone());
        let shard = &self.shards[&file.path];
        Ok(ShardFooter {
            hash: shard.footer_hash,
            row_groups: u32::try_from(shard.row_groups.len()).unwrap(),
            rows: shard.row_groups.iter().map(|ids| ids.len() as u64).sum(),
        })
    }

    fn scan(
        &self,
        file: &ShardRef,
        row_groups: &RoaringBitmap,
        seed: u64,
        emit: &mut dyn FnMut(SubjectHash, u32),
    ) -> Result<ShardFooter> {
        self.scanned.lock().unwrap().push(file.path.clone());
        self.row_groups_scanned
            .fetch_add(row_groups.len(), Ordering::Relaxed);
        for (number, ids) in (0..).zip(&self.shards[&file.path].row_groups) {
            for id in ids.iter().filter(|_| row_groups.contains(number)) {
                emit(hash_of(*id, seed), number);
            }
        }
        self.footer(file)
    }
}

fn found(index: &Index, ids: &[u64]) -> Result<BTreeSet<(String, u32)>> {
    let hashes: Vec<_> = ids.iter().map(|id| hash_of(*id, index.seed())).collect();
    let mut found = BTreeSet::new();
    for (position, row_groups) in index.candidates(&hashes)? {
        let path = &index.shards()[position].path;
        found.extend(row_groups.iter().map(|number| (path.clone(), number)));
    }
    Ok(found)
}

fn is_anywhere(state: &dyn State, hash: SubjectHash) -> bool {
    let files = state.list(DIRECTORY).unwrap();
    files.iter().any(|file| {
        let bytes = state::read(state, &file.path, u64::MAX - 1).unwrap();
        let is_in = |needle: &[u8]| bytes.windows(8).any(|window| window == needle);
        is_in(&hash.0.to_le_bytes()) || is_in(&hash.0.to_be_bytes())
    })
}

/// The state in a simulated system of files.
fn state_in(sim: &Sim) -> StateFiles {
    StateFiles::new(sim.clone())
}

fn overwrite(state: &dyn State, path: &str, bytes: &[u8]) {
    state.put(path, bytes, Expect::Any).unwrap();
}

#[test]
fn only_what_is_new_or_changed_is_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    assert!(Index::open(&disk, "distinct_id").unwrap().is_none());
    for (path, id) in [("a", 1), ("b", 2), ("c", 3)] {
        lake.put(path, vec![vec![id, 0], vec![id]]);
    }
    let (index, report) = lake.refresh(&disk, 1 << 20).unwrap();
    assert_eq!((report.added, report.unchanged), (3, 0));
    let stats = index.stats().unwrap();
    assert_eq!((stats.rows, stats.subjects, stats.postings), (9, 4, 9));
    let before = disk.list("").unwrap();
    let (_, report) = lake.refresh_from(&disk, Some(index), 1 << 20).unwrap();
    assert_eq!((report.unchanged, lake.scanned().len()), (3, 0));
    assert_eq!(disk.list("").unwrap(), before, "nothing was written");

    // The footer alone shows this change.
    lake.put("b", vec![vec![5]]);
    lake.shards.remove("c");
    lake.put("d", vec![]);
    lake.shards.get_mut("a").unwrap().modified_ns += 1;
    let (index, report) = lake.refresh(&disk, 1 << 20).unwrap();
    assert_eq!(lake.scanned(), ["a", "b", "d"]);
    assert_eq!(
        (
            report.added,
            report.changed,
            report.removed,
            report.unchanged
        ),
        (1, 2, 1, 0)
    );
    lake.check(&disk, &index);

    // Pages that were replaced under the same size, time and footer show in the time of the change.
    lake.shards.get_mut("a").unwrap().changed_ns += 1;
    let (index, report) = lake.refresh(&disk, 1 << 20).unwrap();
    assert_eq!((lake.scanned(), report.changed), (vec!["a".to_owned()], 1));
    lake.check(&disk, &index);

    lake.shards.clear();
    let (index, report) = lake.refresh(&disk, 1 << 20).unwrap();
    assert_eq!((report.removed, index.segments.len()), (3, 0));
    lake.check(&disk, &index);
    assert_eq!(disk.list(DIRECTORY).unwrap().len(), 1, "the manifest");
}

#[test]
fn a_shard_that_was_left_alone_for_long_is_known_by_its_times() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    for path in ["a", "b", "c", "d"] {
        lake.put(path, vec![vec![1]]);
    }
    for (path, changed_ns) in [("a", 1), ("b", 2), ("c", 0), ("d", i64::MAX - 8)] {
        lake.shards.get_mut(path).unwrap().changed_ns = changed_ns;
    }
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    lake.footers_read.lock().unwrap().clear();
    let (_, report) = lake.refresh(&disk, 1 << 20).unwrap();
    assert_eq!(report.unchanged, 4);
    let mut read = lake.footers_read.lock().unwrap().clone();
    read.sort();
    assert_eq!(read, ["c", "d"], "those that may have changed unseen");
}

#[test]
fn a_delete_takes_postings_away_and_scans_just_the_row_groups_that_it_touched() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    // The id 9 is in no row that goes by its own right: its last row of a row group goes with that of 1.
    lake.put(
        "a",
        vec![vec![2, 3], vec![1], vec![1, 4], vec![1, 9, 5], vec![6]],
    );
    lake.put("b", vec![vec![1, 2], vec![9], vec![2]]);
    lake.put("c", vec![vec![7]; 40]);
    let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
    let numbers = |index: &Index, position: usize| -> Vec<u32> {
        index.shards()[position].numbers.alive().collect()
    };
    let before = numbers(&index, 0);
    lake.erase("a", &[1, 9], u32::MAX);
    lake.erase("b", &[1], u32::MAX);
    let (index, report) = lake.refresh_from(&disk, Some(index), 1 << 20).unwrap();
    assert_eq!((report.changed, report.unchanged), (2, 1));
    let scanned = lake.row_groups_scanned.load(Ordering::Relaxed);
    assert_eq!(scanned, 3, "two of a, one of b");
    let kept: Vec<u32> = [0, 2, 3, 4].map(|at: usize| before[at]).to_vec();
    assert_eq!(numbers(&index, 0), kept);
    lake.check(&disk, &index);
    assert!(!is_anywhere(&disk, hash_of(1, index.seed())));

    // Once more, the numbers of before being dead already; and all that is left of a shard.
    lake.rewritten.clear();
    lake.erase("a", &[4], u32::MAX);
    lake.erase("b", &[2, 9], u32::MAX);
    let (index, _) = lake.refresh_from(&disk, Some(index), 1 << 20).unwrap();
    assert_eq!(lake.row_groups_scanned.load(Ordering::Relaxed), 0);
    assert_eq!(numbers(&index, 0), [kept[0], kept[2], kept[3]]);
    assert!(numbers(&index, 1).is_empty());
    lake.check(&disk, &index);
}

#[test]
fn what_little_a_delete_did_not_touch_of_a_segment_is_scanned_too() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    lake.put("a", [vec![vec![1, 2]; 17], vec![vec![3]]].concat());
    lake.put("b", vec![vec![4]]);
    let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
    let numbers = |index: &Index| index.shards()[0].numbers.clone();
    let before = numbers(&index);
    lake.erase("a", &[1], u32::MAX);
    let (index, report) = lake.refresh_from(&disk, Some(index), 1 << 20).unwrap();
    assert_eq!((report.changed, report.unchanged), (1, 1));
    assert_eq!(lake.row_groups_scanned.load(Ordering::Relaxed), 17 + 1 + 1);
    assert_eq!(numbers(&index), before);
    lake.check(&disk, &index);
    assert!(!is_anywhere(&disk, hash_of(1, index.seed())));
}

#[test]
fn a_rewritten_shard_that_was_replaced_again_is_scanned_in_full() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    for path in ["a", "b"] {
        lake.put(path, vec![vec![1, 2], vec![3], vec![4]]);
    }
    let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
    lake.erase("a", &[1], u32::MAX);
    lake.put("a", vec![vec![2], vec![8], vec![4]]);
    // And one that was replaced before it was rewritten.
    lake.put("b", vec![vec![1, 2], vec![5], vec![4]]);
    lake.erase("b", &[1], u32::MAX);
    let (index, _) = lake.refresh_from(&disk, Some(index), 1 << 20).unwrap();
    assert_eq!(lake.row_groups_scanned.load(Ordering::Relaxed), 6);
    lake.check(&disk, &index);
}

#[test]
fn a_comparison_finds_what_is_missing_and_what_is_left_over() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    lake.put("a", vec![vec![1, 2], vec![3]]);
    lake.put("b", vec![vec![1]]);
    let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
    let options = RefreshOptions {
        configuration: "distinct_id",
        seed_if_new: SEED,
        memory: 1 << 20,
        rewritten: &[],
    };
    let compare = |lake: &Lake| {
        let compared = index.compare(&disk, &lake.files(), &options, lake).unwrap();
        (compared.postings, compared.missing, compared.surplus)
    };
    assert_eq!(compare(&lake), (4, 0, 0));
    // Behind its back, and the footer as it was.
    lake.shards.get_mut("a").unwrap().row_groups = vec![vec![2, 4], vec![3]];
    assert_eq!(compare(&lake), (3, 1, 1));
}

#[test]
fn a_removed_shard_leaves_no_hash_behind_although_nothing_was_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    for (path, id) in [("a", 1), ("b", 2), ("c", 3)] {
        lake.put(path, vec![vec![id, 0]; 50]);
    }
    let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
    let erased = hash_of(2, index.seed());
    assert!(is_anywhere(&disk, erased));
    lake.shards.remove("b");
    let (index, report) = lake.refresh_from(&disk, Some(index), 1 << 20).unwrap();
    assert_eq!((report.removed, report.unchanged), (1, 2));
    assert!(lake.scanned().is_empty());
    lake.check(&disk, &index);
    assert!(!is_anywhere(&disk, erased));
}

#[test]
fn another_configuration_or_a_missing_manifest_means_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    lake.put("a", vec![vec![1]]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    assert!(matches!(
        Index::open(&disk, "user_id"),
        Err(Error::State { .. })
    ));
    disk.remove(&[manifest::manifest_path()]).unwrap();
    assert!(matches!(
        Index::open(&disk, "distinct_id"),
        Err(Error::State { .. })
    ));
    let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
    lake.check(&disk, &index);
    let live: Vec<_> = disk.list(DIRECTORY).unwrap();
    assert_eq!(live.len(), 2, "the segment of before is gone");
    drop(index);
    disk.remove(&[live[1].path.clone()]).unwrap();
    assert!(matches!(
        Index::open(&disk, "distinct_id"),
        Err(Error::State { .. })
    ));
}

#[test]
fn many_small_additions_stay_few_segments() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    // Each is less than half as large as the one before, so that only their number makes them merge.
    for step in 0..12_u64 {
        let ids: Vec<_> = (0..2_u64 << (16 - step)).map(|id| id << 8 | step).collect();
        lake.put(&format!("{step:02}"), vec![ids]);
        let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
        assert_eq!(lake.scanned().len(), 1);
        assert!(index.segments.len() <= SEGMENTS_MAX);
        let expected: usize = lake
            .shards
            .values()
            .map(|shard| shard.row_groups[0].len())
            .sum();
        assert_eq!(index.stats().unwrap().subjects, expected as u64);
        index.verify().unwrap();
    }
    for step in 0..12 {
        let index = Index::open(&disk, "distinct_id").unwrap().unwrap();
        assert_eq!(
            found(&index, &[3 << 8 | step]).unwrap(),
            lake.truth(3 << 8 | step)
        );
    }
}

#[test]
fn row_groups_are_numbered_again_when_the_numbers_run_out() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    lake.put("a", vec![vec![1], vec![2]]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    let bytes = Manifest::load(&disk).unwrap().unwrap();
    let mut manifest = Manifest::parse(&bytes).unwrap();
    manifest.next_row_group = ROW_GROUPS_MAX - 1;
    manifest.store(&disk).unwrap();
    lake.put("b", vec![vec![1], vec![3]]);
    let (index, report) = lake.refresh(&disk, 1 << 20).unwrap();
    assert_eq!((report.added, report.unchanged), (1, 1));
    assert_eq!(lake.scanned(), ["a", "b"]);
    assert_eq!(index.manifest.next_row_group, 4);
    lake.check(&disk, &index);
}

#[test]
fn a_reader_keeps_its_answers_while_the_index_changes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    lake.put("a", vec![vec![1, 2]]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    let reader = Index::open(&disk, "distinct_id").unwrap().unwrap();
    lake.put("a", vec![vec![2], vec![1]]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    assert_eq!(
        found(&reader, &[1]).unwrap(),
        BTreeSet::from([("a".to_owned(), 0)])
    );
    reader.verify().unwrap();
}

#[test]
fn a_scan_that_lies_about_its_row_groups_fails_the_refresh() {
    struct Liar(Lake);
    impl ShardSource for Liar {
        fn clock_ns(&self) -> Result<Option<i64>> {
            self.0.clock_ns()
        }
        fn footer(&self, file: &ShardRef) -> Result<ShardFooter> {
            self.0.footer(file)
        }
        fn scan(
            &self,
            file: &ShardRef,
            _: &RoaringBitmap,
            seed: u64,
            emit: &mut dyn FnMut(SubjectHash, u32),
        ) -> Result<ShardFooter> {
            if file.path == "outside" {
                emit(hash_of(1, seed), 1);
            }
            let footer = self.0.footer(file)?;
            let rows = footer.rows + 1;
            Ok(ShardFooter { rows, ..footer })
        }
    }
    for (path, message) in [("outside", "row groups"), ("changed", "changed by another")] {
        let dir = tempfile::tempdir().unwrap();
        let disk = StateFiles::new(Disk::new(dir.path()));
        let mut lake = Lake::default();
        lake.put(path, vec![vec![1]]);
        let files = lake.files();
        let options = RefreshOptions {
            configuration: "",
            seed_if_new: SEED,
            memory: 1 << 20,
            rewritten: &[],
        };
        let error = refresh(&disk, None, &files, &options, &Liar(lake)).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(disk.list("").unwrap(), []);
    }
}
