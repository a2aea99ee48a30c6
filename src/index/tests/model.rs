//! Random sequences of changes, refreshes, reopenings and damage.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Put(u8, Vec<Vec<u64>>),
    /// A size, time or nothing but the footer changes; `(shard, which, new content)`.
    Change(u8, u8, Vec<Vec<u64>>),
    Remove(u8),
    Refresh(usize),
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
    disk: &Disk,
    indexed: &Lake,
    whole: &mut BTreeMap<String, Vec<u8>>,
    file: usize,
    change: impl FnOnce(&mut Vec<u8>),
) {
    let files = disk.list(DIRECTORY).unwrap();
    let Some(position) = file.checked_rem(files.len()) else {
        return;
    };
    let path = &files[position].path;
    let mut bytes = read_all(disk, path, u64::MAX - 1).unwrap();
    let before = whole.entry(path.clone()).or_insert_with(|| bytes.clone());
    change(&mut bytes);
    overwrite(disk, path, &bytes);
    let is_whole = bytes == *before;
    if let Ok(index) = Index::open(disk, "distinct_id") {
        let index = index.unwrap();
        for id in 0..IDS {
            if let Ok(found) = found(&index, &[id]) {
                assert_eq!(found, indexed.truth(id), "id {id}");
            }
        }
        assert!(
            is_whole || index.verify().is_err(),
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
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
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
                Op::Refresh(memory) => {
                    let result = lake.refresh(&disk, memory);
                    // Damage that only the merge comes across.
                    let result = match result {
                        Err(Error::State { .. }) if is_damaged => lake.refresh_from(&disk, None, memory),
                        other => other,
                    };
                    let (index, report) = result.unwrap();
                    // Damage of a segment that was not merged stays for a look-up to find.
                    if is_damaged && index.verify().is_err() {
                        drop(index);
                        drop(lake.refresh_from(&disk, None, memory).unwrap());
                    } else {
                        prop_assert_eq!(index.stats().unwrap(), report.stats);
                        drop(index);
                    }
                    let index = Index::open(&disk, "distinct_id").unwrap().unwrap();
                    lake.check(&disk, &index);
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
