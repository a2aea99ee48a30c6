//! Any bytes as a footer: parsing ends in a footer or an error, and a footer's counts agree with one another.
#![no_main]

use efface::parquet_bytes::footer::{Footer, MAGIC};
use efface_fuzz::{Bytes, forgive_other_crates};
use libfuzzer_sys::fuzz_target;

/// Room for what the footer points to.
const BODY_BYTES: usize = 1 << 16;

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    let mut file = vec![0; BODY_BYTES];
    file[..4].copy_from_slice(&MAGIC);
    file.extend_from_slice(data);
    file.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
    file.extend_from_slice(&MAGIC);
    let file = Bytes(file.into());
    if let Ok(footer) = Footer::read(&file) {
        let rows: u64 = footer.row_groups().iter().map(|group| group.rows).sum();
        assert_eq!(rows, footer.rows());
        assert_eq!(Footer::read_hash(&file).unwrap(), footer.hash);
        let chunks = footer.row_groups().iter().flat_map(|group| &group.chunks);
        for chunk in chunks {
            assert!(chunk.range.start <= chunk.range.end && chunk.range.end <= footer.offset);
        }
    }
});
