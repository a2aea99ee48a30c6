//! One segment: what goes in comes out, and no byte can change unseen.

use super::super::format::BLOCK_BYTES;
use super::super::writer::SegmentWriter;
use super::*;
use crate::io::Mapped;

/// A segment with slots of all kinds, and a directory of several bits.
fn segment_bytes() -> (Vec<u8>, BTreeMap<u64, Vec<u32>>) {
    let mut model = BTreeMap::new();
    for id in 0..700_u64 {
        let row_groups = match id % 5 {
            0 => vec![7],
            1 => vec![3, 900],
            2 => (4..30).collect(),
            3 => vec![1, 60, 2000, ROW_GROUPS_MAX - 1],
            _ => (0..9000)
                .step_by(3)
                .take(usize::try_from(id).unwrap())
                .collect(),
        };
        model.insert(hash_of(id, SEED).0, row_groups);
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut writer = SegmentWriter::create(&disk, "segment", SEED, 9, 100_000).unwrap();
    for (hash, row_groups) in &model {
        writer.append(SubjectHash(*hash), row_groups).unwrap();
    }
    writer.finish().unwrap();
    let paths: Vec<_> = disk
        .list("")
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect();
    assert_eq!(paths, ["segment"]);
    (disk.map("segment").unwrap().to_vec(), model)
}

fn answers(segment: &Segment, hash: u64) -> Result<Vec<u32>> {
    let mut row_groups = RoaringBitmap::new();
    let is_there = segment.lookup(SubjectHash(hash), &mut row_groups)?;
    assert_eq!(is_there, !row_groups.is_empty());
    Ok(row_groups.iter().collect())
}

#[test]
fn a_segment_gives_back_what_was_appended() {
    let (bytes, model) = segment_bytes();
    let segment = Segment::open(Mapped::new(bytes.clone()), "segment", SEED).unwrap();
    segment.verify().unwrap();
    assert!(segment.tail().directory_bits > 2);
    for (hash, row_groups) in &model {
        assert_eq!(&answers(&segment, *hash).unwrap(), row_groups);
        assert!(answers(&segment, hash ^ 1).unwrap().is_empty());
    }
    let (mut iter, mut row_groups) = (segment.groups(), Vec::new());
    for (hash, expected) in &model {
        assert_eq!(
            iter.next_group(&mut row_groups).unwrap(),
            Some(SubjectHash(*hash))
        );
        assert_eq!(&row_groups, expected);
    }
    assert_eq!(iter.next_group(&mut row_groups).unwrap(), None);
    let other = Segment::open(Mapped::new(bytes), "segment", SEED + 1);
    assert!(other.unwrap_err().to_string().contains("another dataset"));
}

#[test]
fn an_empty_segment_is_whole_and_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    SegmentWriter::create(&disk, "segment", SEED, 1, 0)
        .unwrap()
        .finish()
        .unwrap();
    let segment = Segment::open(disk.map("segment").unwrap(), "segment", SEED).unwrap();
    segment.verify().unwrap();
    assert_eq!(segment.len_bytes(), 2 * BLOCK_BYTES as u64);
    assert!(answers(&segment, 0).unwrap().is_empty());
    assert!(answers(&segment, u64::MAX).unwrap().is_empty());
    assert!(Segment::open(Mapped::new(Vec::new()), "segment", SEED).is_err());
}

#[test]
fn a_writer_refuses_what_does_not_ascend_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let mut writer = SegmentWriter::create(&disk, "segment", SEED, 1, 10).unwrap();
    writer.append(SubjectHash(5), &[1, 2]).unwrap();
    assert!(writer.append(SubjectHash(5), &[1]).is_err());
    assert!(writer.append(SubjectHash(6), &[2, 2]).is_err());
    assert!(writer.append(SubjectHash(6), &[]).is_err());
    assert!(writer.append(SubjectHash(6), &[ROW_GROUPS_MAX]).is_err());
    drop(writer);
    assert_eq!(disk.list("").unwrap(), []);
}

#[test]
fn no_byte_of_a_segment_can_change_unseen() {
    let (bytes, model) = segment_bytes();
    // Every byte of the first and last block of each section, and a stride through the rest.
    let near_edge = |position: usize| (position % BLOCK_BYTES) > BLOCK_BYTES - 40;
    for position in (0..bytes.len()).filter(|at| at % 7 == 0 || near_edge(*at)) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        let Ok(segment) = Segment::open(Mapped::new(damaged), "segment", SEED) else {
            continue;
        };
        // A lookup is right or an error. A few hashes do: each takes other blocks.
        for (hash, row_groups) in model.iter().skip(position % 50).step_by(97) {
            if let Ok(answer) = answers(&segment, *hash) {
                assert_eq!(&answer, row_groups, "byte {position}");
            }
        }
        assert!(segment.verify().is_err(), "byte {position}");
    }
    for len in (0..bytes.len())
        .step_by(509)
        .chain([bytes.len() - BLOCK_BYTES])
    {
        let cut = Mapped::new(bytes[..len].to_vec());
        assert!(Segment::open(cut, "segment", SEED).is_err(), "cut at {len}");
    }
}

#[test]
fn blocks_in_each_others_place_are_seen() {
    let (bytes, model) = segment_bytes();
    let mut swapped = bytes.clone();
    let (first, second) = swapped.split_at_mut(BLOCK_BYTES);
    first.swap_with_slice(&mut second[..BLOCK_BYTES]);
    let segment = Segment::open(Mapped::new(swapped), "segment", SEED).unwrap();
    assert!(answers(&segment, *model.keys().next().unwrap()).is_err());
}

#[test]
fn subjects_of_several_segments_are_estimated_from_the_least_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let segments: Vec<_> = [0..40_000_u64, 20_000..60_000]
        .into_iter()
        .map(|ids| {
            let hashes: BTreeSet<_> = ids.map(|id| hash_of(id, SEED)).collect();
            let path = format!("segment-{}", hashes.len());
            let mut writer = SegmentWriter::create(&disk, &path, SEED, 1, 40_000).unwrap();
            for hash in hashes {
                writer.append(hash, &[1]).unwrap();
            }
            writer.finish().unwrap();
            Segment::open(disk.map(&path).unwrap(), &path, SEED).unwrap()
        })
        .collect();
    assert_eq!(distinct(&segments, 1 << 20).unwrap(), 60_000);
    let estimate = distinct(&segments, 10_000).unwrap();
    assert!(estimate.abs_diff(60_000) < 2_400, "{estimate}");
}
