//! Any bytes as a Thrift structure: what was read is emitted again as it was, in memory that is a small multiple of
//! the input's.
#![no_main]

use efface::parquet_bytes::thrift::Struct;
use efface_fuzz::memory::{Counting, peak_of};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A struct of two bytes is a value of 32 bytes in a list that grows to twice its size, with room for four fields.
const BYTES_PER_BYTE: usize = 192;
const BYTES_BESIDES: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let (read, peak) = peak_of(|| Struct::read(data, "footer", 0));
    let limit = data.len() * BYTES_PER_BYTE + BYTES_BESIDES;
    assert!(peak <= limit, "{} bytes took {peak}", data.len());
    let Ok((tree, used)) = read else {
        return;
    };
    // The two spellings that are normalised are longer; once they are, the bytes stay.
    let bytes = tree.to_bytes();
    assert!(bytes.len() <= used, "{} bytes became {}", used, bytes.len());
    let (again, all) = Struct::read(&bytes, "footer", 0).expect("what was emitted reads back");
    assert_eq!(all, bytes.len());
    assert_eq!(again.to_bytes(), bytes);
    if bytes.len() == used {
        assert_eq!(bytes, data[..used]);
    }
});
