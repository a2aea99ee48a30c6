//! Any bytes as an index segment whose checks hold: look-ups and the complete check end in an answer or an
//! error. (With checks that don't hold, hardly any input would come further than the first one.)
#![no_main]

use efface::index::format::{BLOCK_BYTES, Check, PAYLOAD_BYTES, RECORD_HEAD_BYTES, Tail};
use efface::index::segment::Segment;
use efface::io::Mapped;
use efface::subject::SubjectHash;
use libfuzzer_sys::fuzz_target;
use roaring::RoaringBitmap;

/// Bytes of the input that say what the tail does.
const TAIL_BYTES: usize = 18;
const SEED: u64 = 7;
const NUMBER: u32 = 1;
const BLOCKS_MAX: u64 = 64;

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A segment with this tail, filled from `data`, each check as it must be.
fn segment(mut tail: Tail, data: &[u8]) -> Vec<u8> {
    let check = Check::new(SEED, NUMBER);
    let [entries, directory, heap] = tail.sections();
    let mut bytes = Vec::new();
    let mut data = data.chunks(PAYLOAD_BYTES);
    for block in 0..entries + directory {
        let mut payload = data.next().unwrap_or_default().to_vec();
        payload.resize(PAYLOAD_BYTES, 0);
        let check = check.block(&payload, block);
        tail.content = tail.content.wrapping_add(check);
        bytes.extend(payload);
        bytes.extend(check.to_le_bytes());
    }
    let mut records: Vec<u8> = data.flatten().copied().collect();
    records.resize(usize::try_from(heap).unwrap() * BLOCK_BYTES, 0);
    let mut offset = 0;
    while let Some(head) = records.get(offset..offset + RECORD_HEAD_BYTES) {
        let len = usize::try_from(number(&head[..4])).unwrap();
        let start = offset + RECORD_HEAD_BYTES;
        let Some(bitmap) = records.get(start..start + len) else {
            break;
        };
        let check = check.record(bitmap, offset as u64);
        records[offset + 4..start].copy_from_slice(&check.to_le_bytes());
        if (offset as u64) < tail.heap_bytes {
            tail.content = tail.content.wrapping_add(check.into());
        }
        offset = start + len;
    }
    bytes.extend(records);
    bytes.extend(tail.to_block().0);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let path = "segment";
    let _raw = Segment::open(Mapped::new(data.to_vec()), path, SEED);
    let Some((head, data)) = data.split_at_checked(TAIL_BYTES) else {
        return;
    };
    let tail = Tail {
        number: NUMBER,
        seed: SEED,
        hashes: number(&head[..4]),
        postings: number(&head[4..8]),
        heap_bytes: number(&head[8..12]),
        directory_bits: u32::from(head[12]),
        row_group_end: u32::try_from(number(&head[13..17])).unwrap(),
        content: 0,
    };
    if tail.directory_bits > 30 || tail.file_bytes() > BLOCKS_MAX * BLOCK_BYTES as u64 {
        return;
    }
    let Ok(segment) = Segment::open(Mapped::new(segment(tail, data)), path, SEED) else {
        return;
    };
    let mut row_groups = RoaringBitmap::new();
    for chunk in data.chunks_exact(16).take(300) {
        let _found = segment.lookup(SubjectHash(number(&chunk[..8])), &mut row_groups);
    }
    let is_whole = segment.verify().is_ok();
    let mut groups = segment.groups();
    let mut of_hash = Vec::new();
    let mut previous = None;
    loop {
        match groups.next_group(&mut of_hash) {
            Ok(Some(hash)) => {
                assert!(previous < Some(hash), "hashes ascend");
                assert!(of_hash.iter().all(|group| *group < tail.row_group_end));
                let mut found = RoaringBitmap::new();
                // Only a whole segment has a directory that leads to every entry.
                if is_whole {
                    assert!(segment.lookup(hash, &mut found).unwrap());
                    assert!(found.iter().eq(of_hash.iter().copied()));
                }
                previous = Some(hash);
            }
            Ok(None) => break,
            Err(_) => {
                assert!(!is_whole, "a whole segment reads to its end");
                break;
            }
        }
    }
});
