//! The peak memory of building an index of more postings than its budget holds. (Its own process: the peak that the
//! system reports is the process's.)
#![cfg(target_os = "linux")]

mod peak;

use efface::Disk;
use efface::index::build::PostingSorter;
use efface::index::writer::SegmentWriter;
use efface::state::files::StateFiles;
use efface::subject::SubjectHash;

use peak::peak;

const MEMORY: usize = 8 << 20;
const IDS: u64 = 1_000_000;
const ROW_GROUPS: u32 = 5;

#[test]
fn an_index_of_many_postings_is_built_in_the_memory_that_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let before = peak();
    let sorter = PostingSorter::new(&disk, "runs", MEMORY);
    for row_group in 0..ROW_GROUPS {
        let mut buffer = sorter.buffer();
        for id in 0..IDS {
            let hash = SubjectHash::of(&id.to_le_bytes(), 1);
            buffer.push(hash, row_group).unwrap();
        }
        buffer.finish().unwrap();
    }
    let mut postings = sorter.finish().unwrap();
    let mut writer =
        SegmentWriter::create(&disk, "segment", 1, 1, postings.pairs_at_most()).unwrap();
    let mut row_groups = Vec::new();
    while let Some(hash) = postings.next_group(&mut row_groups).unwrap() {
        writer.append(hash, &row_groups).unwrap();
    }
    let (tail, _) = writer.finish().unwrap();
    assert_eq!(tail.hashes, IDS);
    assert_eq!(tail.postings, IDS * u64::from(ROW_GROUPS));

    let taken = peak() - before;
    let whole = tail.postings * 16;
    eprintln!("{taken} bytes more than before, for {whole} bytes of postings");
    // The budget; a buffer of a scan, the writer's buffers and directory.
    let bound = MEMORY as u64 + (12 << 20);
    assert!(bound < whole / 3);
    assert!(taken < bound, "{taken} bytes");
}
