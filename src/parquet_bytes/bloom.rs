//! Split-block bloom filters: finding one, and rebuilding it in the same size.
//!
//! ```text
//!   BloomFilterHeader { 1: numBytes, 2: algorithm, 3: hash, 4: compression }, bitset
//! ```
//!
//! Source: `BloomFilter.md` in the `parquet-format` repository.

use std::ops::Range;

use parquet::bloom_filter::Sbbf;

use super::thrift::Struct;
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::limits::BLOOM_BYTES_MAX;

type Result<T> = std::result::Result<T, FormatError>;

/// Bytes of a split block: the smallest filter.
const BLOCK_BYTES: u64 = 32;
/// No header of a bloom filter is longer than this.
const HEADER_BYTES_MAX: u64 = 64;

/// A bloom filter in a file.
#[derive(Debug)]
pub struct BloomHeader {
    tree: Struct,
    bitset: Range<u64>,
    offset: u64,
}

impl BloomHeader {
    /// Reads the header at `offset`.
    ///
    /// # Errors
    /// When there is none, or its bitset can't be.
    pub fn read(file: &dyn ReadAt, offset: u64) -> Result<Self> {
        let available = HEADER_BYTES_MAX.min(file.len().saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(available).unwrap_or(0)];
        file.read_at(offset, &mut bytes)
            .map_err(|source| FormatError::Read { offset, source })?;
        let (tree, used) = Struct::read(&bytes, "bloom filter header", offset)?;
        let len = tree
            .i32(1)
            .and_then(|len| u64::try_from(len).ok())
            .unwrap_or(0);
        let start = offset + used as u64;
        if len == 0
            || !len.is_multiple_of(BLOCK_BYTES)
            || len > BLOOM_BYTES_MAX
            || start + len > file.len()
        {
            return Err(FormatError::Invalid {
                structure: "bloom filter header",
                offset,
                found: format!("a bitset of {len} bytes"),
                expected: "a multiple of 32 bytes, at most 128 MiB, inside the file",
            });
        }
        Ok(Self {
            tree,
            bitset: start..start + len,
            offset,
        })
    }

    /// Header and bitset, in the file.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.bitset.end
    }

    /// How many of `values` the filter in the file claims to hold although `known`, a filter of the same size,
    /// does not.
    ///
    /// # Errors
    /// When the filter can't be read.
    pub fn unexplained<'a>(
        &self,
        file: &dyn ReadAt,
        known: &BloomBuilder,
        values: impl Iterator<Item = &'a Vec<u8>>,
    ) -> Result<u64> {
        let mut bitset = vec![0; usize::try_from(self.bitset.end - self.bitset.start).unwrap_or(0)];
        let offset = self.bitset.start;
        file.read_at(offset, &mut bitset)
            .map_err(|source| FormatError::Read { offset, source })?;
        let filter = Sbbf::new(&bitset);
        let is_unexplained = |value: &&Vec<u8>| {
            let value = value.as_slice();
            filter.check(value) && !known.filter.check(value)
        };
        Ok(values.filter(is_unexplained).count() as u64)
    }

    /// Whether its hash, algorithm and compression are those that the format defines so far (1 each).
    pub fn is_known(&self) -> bool {
        [2, 3, 4].into_iter().all(|field| {
            self.tree
                .structure(field)
                .is_some_and(|union| union.structure(1).is_some())
        })
    }
}

/// A new filter, with the same header and size as one in a file.
pub struct BloomBuilder {
    header: Vec<u8>,
    filter: Sbbf,
}

impl BloomBuilder {
    /// An empty filter of the same size as `source`.
    pub fn like(source: &BloomHeader) -> Self {
        let len = usize::try_from(source.bitset.end - source.bitset.start).unwrap_or(0);
        Self {
            header: source.tree.to_bytes(),
            filter: Sbbf::new(&vec![0; len]),
        }
    }

    /// Adds a value of the column, as `PLAIN` has it but without a length.
    pub fn insert(&mut self, value: &[u8]) {
        self.filter.insert(value);
    }

    /// Header and bitset.
    ///
    /// # Errors
    /// When the `parquet` crate can't write it to memory.
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut bytes = self.header;
        self.filter
            .write_bitset(&mut bytes)
            .map_err(FormatError::parquet("bloom filter"))?;
        Ok(bytes)
    }
}
