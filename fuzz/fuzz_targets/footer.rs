//! Any bytes as a footer: parsing ends in a footer or an error, and what was read is emitted again as it was.
#![no_main]

use efface::parquet_bytes::footer::{Footer, MAGIC};
use efface::parquet_bytes::thrift::Struct;
use efface_fuzz::{Bytes, forgive_other_crates};
use libfuzzer_sys::fuzz_target;

/// Room for what the footer points to.
const BODY_BYTES: usize = 1 << 16;

fuzz_target!(init: forgive_other_crates(), |data: &[u8]| {
    if let Ok((tree, used)) = Struct::read(data, "footer", 0) {
        // The two spellings that are normalised are longer; once they are, the bytes stay.
        let bytes = tree.to_bytes();
        assert!(bytes.len() <= used, "{} bytes became {}", used, bytes.len());
        let (again, all) = Struct::read(&bytes, "footer", 0).expect("what was emitted reads back");
        assert_eq!(all, bytes.len());
        assert_eq!(again.to_bytes(), bytes);
        if bytes.len() == used {
            assert_eq!(bytes, data[..used]);
        }
    }
    let mut file = vec![0; BODY_BYTES];
    file[..4].copy_from_slice(&MAGIC);
    file.extend_from_slice(data);
    file.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
    file.extend_from_slice(&MAGIC);
    let file = Bytes(file);
    if let Ok(footer) = Footer::read(&file) {
        let rows: u64 = footer.row_groups().iter().map(|group| group.rows).sum();
        assert_eq!(rows, footer.rows());
        assert_eq!(Footer::read_hash(&file).unwrap(), footer.hash);
    }
});
