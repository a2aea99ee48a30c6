//! Counts that a file claims, in the pages of an alias table: each is checked before anything, also in the crates that
//! read it, makes room for it. No panic comes of one, not even one that is caught. (Its own process: it counts panics.)

mod handmade;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use efface::identity::{AliasTable, IdentityGraph};
use efface::io::Mapped;
use efface::parquet_bytes::varint;
use handmade::{BYTE_ARRAY, Group, INT32, Leaf, Often, Page, file, numbers, texts};
use parquet::basic::Encoding;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Lengths of delta-encoded values: so many are claimed, each of no bytes.
fn lengths(claimed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [128, 4, claimed, 0] {
        varint::write(&mut bytes, number);
    }
    bytes.extend_from_slice(&[0; 5]);
    bytes
}

/// What reading a table of one alias, whose values are in those pages, ends in.
fn read(physical: i32, alias: Vec<Page>) -> Result<usize, String> {
    let leaf = |name, physical| Leaf::new(name, physical, Often::Always);
    let id = Page::data(1, Encoding::PLAIN, Encoding::RLE, texts(&["ada"]));
    let group = Group {
        rows: 1,
        chunks: vec![alias, vec![id]],
    };
    let leaves = [leaf("alias", physical), leaf("distinct_id", BYTE_ARRAY)];
    let bytes = file(&leaves, 0, &[group]);
    let table = AliasTable::new("aliases.parquet");
    let graph = IdentityGraph::load(Arc::new(Mapped::new(bytes)), &table);
    graph
        .map(|graph| graph.ids())
        .map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))
}

fn data(encoding: Encoding, body: Vec<u8>) -> Page {
    Page::data(1, encoding, Encoding::RLE, body)
}

#[test]
fn pages_that_claim_more_than_they_hold_are_refused() {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        silent(panic);
    }));
    let one = [lengths(1), b"x".to_vec()].concat();
    assert_eq!(
        read(BYTE_ARRAY, vec![data(Encoding::PLAIN, texts(&["x"]))]),
        Ok(2)
    );
    assert!(
        read(
            BYTE_ARRAY,
            vec![data(Encoding::DELTA_LENGTH_BYTE_ARRAY, one)]
        )
        .is_ok()
    );
    for claimed in [2, 1 << 20, 1 << 33, 1 << 45, u64::MAX] {
        let of_prefixes = lengths(claimed);
        let of_suffixes = [lengths(1), lengths(claimed)].concat();
        for (physical, page) in [
            (
                BYTE_ARRAY,
                data(Encoding::DELTA_LENGTH_BYTE_ARRAY, lengths(claimed)),
            ),
            (BYTE_ARRAY, data(Encoding::DELTA_BYTE_ARRAY, of_prefixes)),
            (BYTE_ARRAY, data(Encoding::DELTA_BYTE_ARRAY, of_suffixes)),
            (INT32, data(Encoding::DELTA_BINARY_PACKED, lengths(claimed))),
        ] {
            let error = read(physical, vec![page]).unwrap_err();
            assert!(error.contains("aliases.parquet"), "{error}");
        }
    }
    for entries in [2, 1 << 20, i32::MAX.cast_unsigned()] {
        for (physical, body) in [(BYTE_ARRAY, texts(&["x"])), (INT32, numbers([7]))] {
            let pages = vec![
                Page::dictionary(entries, Encoding::PLAIN, body),
                data(Encoding::RLE_DICTIONARY, vec![0, 2, 0]),
            ];
            assert!(read(physical, pages).is_err(), "{entries}");
        }
    }
    for width in [33, 64, 255] {
        let pages = vec![
            Page::dictionary(1, Encoding::PLAIN, texts(&["x"])),
            data(Encoding::RLE_DICTIONARY, vec![width, 2, 0]),
        ];
        assert!(read(BYTE_ARRAY, pages).is_err(), "{width}");
    }
    let beyond = vec![
        Page::dictionary(1, Encoding::PLAIN, texts(&["x"])),
        data(Encoding::RLE_DICTIONARY, vec![1, 2, 1]),
    ];
    assert!(read(BYTE_ARRAY, beyond).is_err());
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
