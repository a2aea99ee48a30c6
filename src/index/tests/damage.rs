//! Damage of each kind: noticed, and no more rebuilt than what it hit.

use super::super::format::BLOCK_BYTES;
use super::*;

/// An index of two segments: one of the large shard `a`, one of the small shard `b`.
fn two_segments() -> (tempfile::TempDir, StateFiles, Lake, [String; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    lake.put("a", vec![(0..3000).map(|id| id + 100).chain([3]).collect()]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    lake.put("b", vec![vec![1, 2]]);
    let (index, _) = lake.refresh(&disk, 1 << 20).unwrap();
    let paths: Vec<String> = index
        .manifest
        .segments
        .iter()
        .map(|entry| segment_path(entry.number))
        .collect();
    (dir, disk, lake, paths.try_into().unwrap())
}

/// The damage must be noticed, and just the shards `scanned` are scanned again.
fn check_mended(disk: &StateFiles, lake: &Lake, scanned: &[&str], what: &str) {
    let opened = Index::open(disk, "distinct_id")
        .and_then(|index| index.map(|index| index.verify()).transpose());
    assert!(matches!(opened, Err(Error::State { .. })), "{what}");
    let part = Index::open_undamaged(disk, "distinct_id").unwrap();
    let (index, report) = lake.refresh_from(disk, part, 1 << 20).unwrap();
    assert_eq!(lake.scanned(), scanned, "{what}");
    assert_eq!(
        report.unchanged,
        lake.shards.len() - scanned.len(),
        "{what}"
    );
    drop(index);
    let index = Index::open(disk, "distinct_id").unwrap().unwrap();
    index.verify().unwrap();
    for id in (0..IDS).chain(100..3100) {
        assert_eq!(found(&index, &[id]).unwrap(), lake.truth(id), "{what}");
    }
}

#[test]
fn of_a_damaged_index_the_segments_that_are_whole_stay() {
    type Damage = fn(&mut Vec<u8>);
    let kinds: [(&str, Damage); 6] = [
        ("a flipped bit", |bytes| bytes[50] ^= 4),
        ("cut short", |bytes| bytes.truncate(bytes.len() - 1)),
        ("cut to whole blocks", |bytes| {
            bytes.drain(..BLOCK_BYTES).for_each(drop);
        }),
        ("empty", Vec::clear),
        ("another version", |bytes| {
            let tail = bytes.len() - BLOCK_BYTES;
            bytes[tail + 8] += 1;
        }),
        ("another dataset's seed", |bytes| {
            let other = two_segments_of_another_seed();
            bytes.clone_from(&other);
        }),
    ];
    for (what, damage) in kinds {
        for (position, scanned) in ["a", "b"].into_iter().enumerate() {
            let (_dir, disk, lake, paths) = two_segments();
            let mut bytes = state::read(&disk, &paths[position], 1 << 20).unwrap();
            damage(&mut bytes);
            overwrite(&disk, &paths[position], &bytes);
            check_mended(&disk, &lake, &[scanned], what);
        }
    }
    let (_dir, disk, lake, paths) = two_segments();
    disk.remove(&[paths[1].clone()]).unwrap();
    check_mended(&disk, &lake, &["b"], "a missing segment");
}

fn two_segments_of_another_seed() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let path = segment_path(1);
    let mut writer = writer::SegmentWriter::create(&disk, &path, SEED + 1, 1, 1).unwrap();
    writer.append(hash_of(1, SEED + 1), &[0]).unwrap();
    writer.finish().unwrap();
    state::read(&disk, &path, 1 << 20).unwrap()
}

#[test]
fn segments_in_each_others_place_are_both_rebuilt() {
    let (_dir, disk, lake, paths) = two_segments();
    let [first, second] = paths
        .each_ref()
        .map(|path| state::read(&disk, path, 1 << 20).unwrap());
    overwrite(&disk, &paths[0], &second);
    overwrite(&disk, &paths[1], &first);
    check_mended(&disk, &lake, &["a", "b"], "swapped");
}

#[test]
fn a_damaged_or_missing_manifest_means_that_all_is_scanned() {
    let path = manifest::manifest_path();
    for what in ["flipped", "cut", "missing"] {
        let (_dir, disk, lake, _) = two_segments();
        let mut bytes = state::read(&disk, &path, 1 << 20).unwrap();
        match what {
            "flipped" => bytes[70] ^= 1,
            _ => bytes.truncate(30),
        }
        if what == "missing" {
            disk.remove(std::slice::from_ref(&path)).unwrap();
        } else {
            overwrite(&disk, &path, &bytes);
        }
        check_mended(&disk, &lake, &["a", "b"], what);
    }
}

#[test]
fn a_manifest_of_before_a_refresh_is_not_believed_of_what_came_after() {
    let manifest = manifest::manifest_path();
    // The refresh after it merged its small segment away.
    let (_dir, disk, mut lake, _) = two_segments();
    let old = state::read(&disk, &manifest, 1 << 20).unwrap();
    lake.put("c", vec![(100..600).chain([1, 5]).collect()]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    overwrite(&disk, &manifest, &old);
    check_mended(&disk, &lake, &["b", "c"], "a merged segment");

    // It named the same segments, and another state of a shard.
    let (_dir, disk, mut lake, _) = two_segments();
    let old = state::read(&disk, &manifest, 1 << 20).unwrap();
    lake.put("b", vec![vec![7], vec![1]]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    overwrite(&disk, &manifest, &old);
    check_mended(&disk, &lake, &["b"], "a changed shard");

    // All was rebuilt since, with segments of the same numbers and sizes, but other numbers of row groups.
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut lake = Lake::default();
    lake.put("a", vec![vec![1]]);
    lake.put("b", vec![vec![2]]);
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    let old = state::read(&disk, &manifest, 1 << 20).unwrap();
    for file in disk.list(DIRECTORY).unwrap() {
        disk.remove(&[file.path]).unwrap();
    }
    let shards = lake.shards.clone();
    lake.shards.remove("a");
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    lake.shards = shards;
    drop(lake.refresh(&disk, 1 << 20).unwrap());
    let bytes = state::read(&disk, &segment_path(2), 1 << 20).unwrap();
    let mut same = writer::SegmentWriter::create(&disk, &segment_path(1), SEED, 1, 2).unwrap();
    let segment = Segment::open(crate::io::Mapped::new(bytes), "", SEED).unwrap();
    let (mut groups, mut numbers) = (segment.groups(), Vec::new());
    while let Some(hash) = groups.next_group(&mut numbers).unwrap() {
        same.append(hash, &numbers).unwrap();
    }
    same.finish().unwrap();
    overwrite(&disk, &manifest, &old);
    check_mended(&disk, &lake, &["a", "b"], "the same numbers and sizes");
}

#[test]
fn a_damaged_segment_whose_shards_are_gone_is_forgotten() {
    let (_dir, disk, mut lake, paths) = two_segments();
    overwrite(&disk, &paths[1], b"damaged");
    lake.shards.remove("b");
    check_mended(&disk, &lake, &[], "a damaged segment");
}
