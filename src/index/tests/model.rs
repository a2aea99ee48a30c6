//! Random sequences of changes, deletes, refreshes, reopenings, crashes and damage.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Put(u8, Vec<Vec<u64>>),
    /// A size, time or nothing but the footer changes; `(shard, which, new content)`.
    Change(u8, u8, Vec<Vec<u64>>),
    Remove(u8),
    /// `(shard, ids, a row group that is rebuilt as well)`: rows go, and row groups keep their numbers.
    Erase(u8, Vec<u64>, u32),
    Refresh(usize),
    /// A refresh with this much memory that is cut off at so many changes of the disk.
    Crash(u64, usize),
    /// `(file, position, bit)`
    Flip(usize, usize, u8),
    Cut(usize, usize),
}

fn row_groups() -> impl Strategy<Value = Vec<Vec<u64>>> {
    let ids = prop::collection::vec(0..IDS, 0..6);
    prop_oneof![
        4 => prop::collection::vec(ids.clone(), 0..5),
        1 => prop::collection::vec(ids, 50..120),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (any::<u8>(), row_groups()).prop_map(|(name, ids)| Op::Put(name % 12, ids)),
        2 => (any::<u8>(), any::<u8>(), row_groups())
            .prop_map(|(name, which, ids)| Op::Change(name, which, ids)),
        2 => any::<u8>().prop_map(Op::Remove),
        4 => (any::<u8>(), prop::collection::vec(0..IDS, 1..12), 0..6_u32)
            .prop_map(|(name, ids, also)| Op::Erase(name, ids, also)),
        2 => (0..60_u64, prop_oneof![Just(256), Just(1 << 20)])
            .prop_map(|(cut, memory)| Op::Crash(cut, memory)),
        4 => prop_oneof![Just(100), Just(5_000), Just(1 << 20)].prop_map(Op::Refresh),
        1 => (any::<usize>(), any::<usize>(), 0..8_u8).prop_map(|(f, p, b)| Op::Flip(f, p, b)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(file, len)| Op::Cut(file, len)),
    ]
}

fn nth_path(lake: &Lake, number: u8) -> Option<String> {
    let position = usize::from(number).checked_rem(lake.shards.len())?;
    lake.shards.keys().nth(position).cloned()
}

/// Damages a file, and checks that opening, looking up or verifying notices before a row is missed.
///
/// `whole` keeps what the files held before: two flips of a bit are no damage.
fn damage(
    disk: &Sim,
    indexed: &Lake,
    whole: &mut BTreeMap<String, Vec<u8>>,
    file: usize,
    change: impl FnOnce(&mut Vec<u8>),
) {
    let state = state_in(disk);
    let files = state.list(DIRECTORY).unwrap();
    let Some(position) = file.checked_rem(files.len()) else {
        return;
    };
    let path = &files[position].path;
    let mut bytes = state::read(&state, path, u64::MAX - 1).unwrap();
    let before = whole.entry(path.clone()).or_insert_with(|| bytes.clone());
    change(&mut bytes);
    overwrite(&state, path, &bytes);
    let is_whole = bytes == *before;
    // There is none before the first refresh that is not cut off.
    if let Ok(Some(index)) = Index::open(&state, "distinct_id") {
        for id in 0..IDS {
            if let Ok(found) = found(&index, &[id]) {
                assert_eq!(found, indexed.truth(id), "id {id}");
            }
        }
        // Of what a crash left over nothing is read.
        let mut live = index.manifest.segments.iter();
        let is_live = *path == manifest::manifest_path()
            || live.any(|entry| segment_path(entry.number) == *path);
        assert!(
            is_whole || !is_live || index.verify().is_err(),
            "damage of {path} was not noticed"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_agrees_with_the_model(
        first in prop::collection::vec(row_groups(), 0..8),
        ops in prop::collection::vec(op(), 1..25),
    ) {
        let mut disk = Sim::new(0);
        let mut lake = Lake::default();
        let mut indexed = Lake::default();
        let mut is_damaged = false;
        let mut whole = BTreeMap::new();
        for (number, ids) in first.into_iter().enumerate() {
            lake.put(&format!("{number}"), ids);
        }
        for op in ops.into_iter().chain([Op::Refresh(1 << 20)]) {
            match op {
                Op::Put(name, ids) => lake.put(&format!("{name}"), ids),
                Op::Change(number, which, ids) => {
                    if let Some(path) = nth_path(&lake, number) {
                        let old = lake.shards[&path].clone();
                        lake.put(&path, ids);
                        let shard = lake.shards.get_mut(&path).unwrap();
                        shard.size = old.size + u64::from(which % 3 == 0);
                        shard.modified_ns = old.modified_ns + i64::from(which % 3 == 1);
                    }
                }
                Op::Remove(number) => {
                    if let Some(path) = nth_path(&lake, number) {
                        lake.shards.remove(&path);
                    }
                }
                Op::Erase(number, ids, also) => {
                    if let Some(path) = nth_path(&lake, number) {
                        lake.erase(&path, &ids, also);
                    }
                }
                // After damage a crash would leave nothing to compare with.
                Op::Crash(..) if is_damaged => {}
                Op::Crash(cut, memory) => {
                    let crashing = disk.fork(cut);
                    crashing.cut_at(cut);
                    let is_done = lake.refresh(&state_in(&crashing), memory).is_ok();
                    disk = crashing.reboot();
                    match Index::open(&state_in(&disk), "distinct_id") {
                        Ok(Some(index)) => {
                            index.verify().unwrap();
                            let answers: Vec<_> =
                                (0..IDS).map(|id| found(&index, &[id]).unwrap()).collect();
                            let truth = |lake: &Lake| -> Vec<_> {
                                (0..IDS).map(|id| lake.truth(id)).collect()
                            };
                            if answers == truth(&lake) {
                                indexed.shards.clone_from(&lake.shards);
                            } else {
                                prop_assert!(!is_done, "the refresh ended");
                                prop_assert_eq!(answers, truth(&indexed));
                            }
                        }
                        // The first refresh of all, cut off before its manifest.
                        Ok(None) | Err(Error::State { .. }) => {
                            prop_assert!(!is_done && Manifest::load(&state_in(&disk)).unwrap().is_none());
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                Op::Refresh(memory) => {
                    let result = lake.refresh(&state_in(&disk), memory);
                    // Damage that only the merge comes across.
                    let result = match result {
                        Err(Error::State { .. }) if is_damaged => {
                            let whole = Index::open_undamaged(&state_in(&disk), "distinct_id").unwrap();
                            lake.refresh_from(&state_in(&disk), whole, memory)
                        }
                        other => other,
                    };
                    let (index, _) = result.unwrap();
                    // Damage of a segment that was not merged stays for a look-up to find.
                    if is_damaged && index.verify().is_err() {
                        let whole = Index::open_undamaged(&state_in(&disk), "distinct_id").unwrap();
                        drop(lake.refresh_from(&state_in(&disk), whole, memory).unwrap());
                    }
                    drop(index);
                    lake.rewritten.clear();
                    let index = Index::open(&state_in(&disk), "distinct_id").unwrap().unwrap();
                    lake.check(&state_in(&disk), &index);
                    indexed.shards.clone_from(&lake.shards);
                    is_damaged = false;
                    whole.clear();
                }
                Op::Flip(file, position, bit) => {
                    is_damaged = true;
                    damage(&disk, &indexed, &mut whole, file, |bytes| {
                        let position = position % bytes.len().max(1);
                        if let Some(byte) = bytes.get_mut(position) {
                            *byte ^= 1 << bit;
                        }
                    });
                }
                Op::Cut(file, len) => {
                    is_damaged = true;
                    damage(&disk, &indexed, &mut whole, file, |bytes| {
                        bytes.truncate(len % bytes.len().max(1));
                    });
                }
            }
        }
    }
}
