//! The file metadata: a lossless tree, and beside it what of it was checked and understood.
//!
//! ```text
//!   Footer::read ──> tree (every byte's meaning, for re-emission)
//!               └──> RowGroup { rows, chunks: [Chunk { range, codec, values, .. }] } (checked)
//!               └──> ParquetMetaData (the schema as the `parquet` crate understands it)
//! ```
//!
//! # Invariants
//! What [`Footer::read`] returns has passed these checks: every chunk's bytes lie between the
//! leading magic and the footer; known fields have their types; no two chunks overlap; the rows of
//! the row groups add up to the file's; a chunk that can't repeat holds as many values as its row
//! group has rows. A footer that lies about them is an error that names both numbers.

use std::sync::Arc;

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescriptor;
use xxhash_rust::xxh3::xxh3_64;

use super::guard::guarded;
use super::order::ValueOrder;
use super::thrift::{List, Struct, Value};
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::limits::FOOTER_BYTES_MAX;

pub use self::chunks::{Chunk, RowGroup};
pub use self::fields::{chunk, column, file, row_group, statistics};

mod chunks;
mod elements;
mod fields;
mod shapes;

type Result<T> = std::result::Result<T, FormatError>;

/// Begins and ends every Parquet file.
pub const MAGIC: [u8; 4] = *b"PAR1";
const MAGIC_ENCRYPTED: [u8; 4] = *b"PARE";
/// Length of the footer and magic, at the end of the file.
pub const TAIL_BYTES: u64 = 8;

/// A file's metadata, checked.
pub struct Footer {
    tree: Struct,
    metadata: Arc<ParquetMetaData>,
    row_groups: Vec<RowGroup>,
    /// Where the footer's bytes begin in the file.
    pub offset: u64,
    /// Length of the whole file.
    pub file_len: u64,
    /// XXH3-64 of the footer's bytes: stands for the content of the file.
    pub hash: u64,
}

impl Footer {
    /// Reads and checks the footer of `file`.
    ///
    /// # Errors
    /// When the file isn't Parquet, is encrypted, or its footer is damaged or contradicts itself.
    pub fn read(file: &dyn ReadAt) -> Result<Self> {
        let (bytes, offset) = footer_bytes(file)?;
        let hash = Self::hash_of(&bytes);
        let (mut tree, metadata) = if let Some(read) = as_it_is(&bytes, offset)? {
            read
        } else {
            let metadata = understood(&bytes, offset)?;
            (Struct::read(&bytes, "footer", offset)?.0, metadata)
        };
        edit_chunks(&mut tree, drop_meaningless);
        let row_groups =
            chunks::row_groups(&tree, metadata.file_metadata().schema_descr(), offset)?;
        let footer = Self {
            tree,
            metadata: Arc::new(metadata),
            row_groups,
            offset,
            file_len: file.len(),
            hash,
        };
        footer.check()?;
        Ok(footer)
    }

    /// The hash of the footer's bytes, without understanding them: what [`Footer::hash`] holds.
    ///
    /// # Errors
    /// When the file is too short or has no Parquet footer.
    pub fn read_hash(file: &dyn ReadAt) -> Result<u64> {
        Ok(Self::hash_of(&footer_bytes(file)?.0))
    }

    /// The hash of a footer's bytes, without their length and the magic.
    pub fn hash_of(bytes: &[u8]) -> u64 {
        xxh3_64(bytes)
    }

    /// The whole tree, to edit a copy of.
    pub fn tree(&self) -> &Struct {
        &self.tree
    }

    /// The tree of a row group.
    pub fn row_group_tree(&self, position: usize) -> Option<&Struct> {
        match self.tree.list(file::ROW_GROUPS)?.items.get(position)? {
            Value::Struct(group) => Some(group),
            _ => None,
        }
    }

    /// The tree of a column chunk.
    pub fn chunk_tree(&self, row_group: usize, leaf: usize) -> Option<&Struct> {
        let chunks = self.row_group_tree(row_group)?.list(row_group::COLUMNS)?;
        match chunks.items.get(leaf)? {
            Value::Struct(chunk) => Some(chunk),
            _ => None,
        }
    }

    /// The order of a leaf's bounds, if it has one.
    pub fn order(&self, leaf: usize) -> Option<ValueOrder> {
        let descriptor = self.schema().columns().get(leaf)?;
        ValueOrder::of(descriptor, self.metadata.file_metadata().column_order(leaf))
    }

    /// The footer as the `parquet` crate understands it.
    pub fn metadata(&self) -> &Arc<ParquetMetaData> {
        &self.metadata
    }

    /// The leaf columns.
    pub fn schema(&self) -> &SchemaDescriptor {
        self.metadata.file_metadata().schema_descr()
    }

    /// The row groups, in the order of the file.
    pub fn row_groups(&self) -> &[RowGroup] {
        &self.row_groups
    }

    /// Rows of the file.
    pub fn rows(&self) -> u64 {
        self.row_groups.iter().map(|group| group.rows).sum()
    }

    fn check(&self) -> Result<()> {
        let claimed = self.tree.i64(file::NUM_ROWS).unwrap_or(0);
        let claimed = u64::try_from(claimed).map_err(|_| FormatError::Invalid {
            structure: "footer",
            offset: self.offset,
            found: format!("{claimed} rows"),
            expected: "a number that is not negative",
        })?;
        if claimed != self.rows() {
            return Err(FormatError::Contradiction {
                what: "rows of the file (the sum over its row groups)".into(),
                claimed,
                counted: self.rows(),
            });
        }
        let mut ranges = Vec::new();
        for (position, group) in self.row_groups.iter().enumerate() {
            for (chunk, descriptor) in group.chunks.iter().zip(self.schema().columns()) {
                let agrees = if descriptor.max_rep_level() == 0 {
                    chunk.values == group.rows
                } else {
                    chunk.values >= group.rows
                };
                if !agrees {
                    return Err(FormatError::Contradiction {
                        what: format!(
                            "rows of row group {position} (by the values of column {})",
                            descriptor.path()
                        ),
                        claimed: group.rows,
                        counted: chunk.values,
                    });
                }
                ranges.push(chunk.range.clone());
            }
        }
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        for pair in ranges.windows(2) {
            if let [left, right] = pair
                && left.end > right.start
            {
                return Err(FormatError::Invalid {
                    structure: "footer",
                    offset: self.offset,
                    found: format!("column chunks that overlap at offset {}", right.start),
                    expected: "chunks that lie apart",
                });
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Footer {
    /// Statistics hold values of rows, so the tree is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Footer")
            .field("offset", &self.offset)
            .field("row_groups", &self.row_groups.len())
            .finish_non_exhaustive()
    }
}

/// The `ColumnMetaData` of a `ColumnChunk`.
pub fn meta_data(chunk: &Struct) -> Option<&Struct> {
    chunk.structure(chunk::META_DATA)
}

/// The footer as a tree and as the `parquet` crate understands it, where that needs no help: most often.
fn as_it_is(bytes: &[u8], offset: u64) -> Result<Option<(Struct, ParquetMetaData)>> {
    let (tree, used) = Struct::read(bytes, "footer", offset)?;
    let is_plain = used == bytes.len()
        && tree.get(file::ENCRYPTION_ALGORITHM).is_none()
        && !is_odd(&tree)
        && shapes::check(&tree, offset).is_ok();
    if is_plain {
        elements::check(&tree, offset)?;
    } else {
        return Ok(None);
    }
    let metadata = guarded("footer", || ParquetMetaDataReader::decode_metadata(bytes));
    Ok(metadata.ok().map(|metadata| (tree, metadata)))
}

/// Whether a footer has fields that are there but mean nothing.
fn is_odd(tree: &Struct) -> bool {
    let is_odd = |chunk: &Struct| {
        let meta = chunk.structure(chunk::META_DATA);
        let has_half = |offset, length| chunk.get(offset).is_some() != chunk.get(length).is_some();
        meta.and_then(|meta| meta.i64(column::DICTIONARY_PAGE_OFFSET)) == Some(0)
            || has_half(chunk::OFFSET_INDEX_OFFSET, chunk::OFFSET_INDEX_LENGTH)
            || has_half(chunk::COLUMN_INDEX_OFFSET, chunk::COLUMN_INDEX_LENGTH)
    };
    let groups = tree.list(file::ROW_GROUPS).into_iter();
    groups
        .flat_map(List::structs)
        .filter_map(|group| group.list(row_group::COLUMNS))
        .flat_map(List::structs)
        .any(is_odd)
}

/// The footer as the `parquet` crate understands it. Its tree is gone when this returns: one of a wide file
/// takes hundreds of megabytes.
fn understood(bytes: &[u8], offset: u64) -> Result<ParquetMetaData> {
    let (mut tree, used) = Struct::read(bytes, "footer", offset)?;
    if used != bytes.len() {
        return Err(FormatError::Invalid {
            structure: "footer",
            offset: offset + used as u64,
            found: format!("{} bytes behind its end", bytes.len() - used),
            expected: "none",
        });
    }
    if tree.get(file::ENCRYPTION_ALGORITHM).is_some() {
        return Err(encrypted());
    }
    edit_chunks(&mut tree, drop_meaningless);
    // Some writers used fields before they were given a meaning; what is not needed for reading goes.
    edit_chunks(&mut tree, |chunk| {
        for (offset, length) in [
            (chunk::OFFSET_INDEX_OFFSET, chunk::OFFSET_INDEX_LENGTH),
            (chunk::COLUMN_INDEX_OFFSET, chunk::COLUMN_INDEX_LENGTH),
        ] {
            if chunk.i64(offset).is_none() || chunk.i32(length).is_none() {
                chunk.remove(offset);
                chunk.remove(length);
            }
        }
        if let Some(meta) = chunk.structure_mut(chunk::META_DATA) {
            meta.remove(column::SIZE_STATISTICS);
            meta.remove(column::GEOSPATIAL_STATISTICS);
            if meta.i32(column::BLOOM_FILTER_LENGTH).is_none() {
                meta.remove(column::BLOOM_FILTER_LENGTH);
            }
        }
    });
    shapes::check(&tree, offset)?;
    elements::check(&tree, offset)?;
    let readable = tree.to_bytes();
    drop(tree);
    guarded("footer", || {
        ParquetMetaDataReader::decode_metadata(&readable)
    })
}

/// Old parquet-mr writes 0 for "no dictionary page"; at offset 0 is the magic, so it means nothing else.
fn drop_meaningless(chunk: &mut Struct) {
    if let Some(meta) = chunk.structure_mut(chunk::META_DATA)
        && meta.i64(column::DICTIONARY_PAGE_OFFSET) == Some(0)
    {
        meta.remove(column::DICTIONARY_PAGE_OFFSET);
    }
}

fn encrypted() -> FormatError {
    FormatError::Unsupported {
        feature: "an encrypted file".into(),
    }
}

fn footer_bytes(file: &dyn ReadAt) -> Result<(Vec<u8>, u64)> {
    let len = file.len();
    let smallest = MAGIC.len() as u64 + TAIL_BYTES;
    if len < smallest {
        return Err(FormatError::Truncated {
            structure: "Parquet file",
            offset: 0,
            needed: smallest,
            available: len,
        });
    }
    let tail_offset = len - TAIL_BYTES;
    let mut tail = [0; 8];
    read(file, tail_offset, &mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    if magic == MAGIC_ENCRYPTED {
        return Err(encrypted());
    }
    if magic != MAGIC {
        return Err(FormatError::Invalid {
            structure: "magic",
            offset: len - MAGIC.len() as u64,
            found: format!("{magic:02x?}"),
            expected: "\"PAR1\" (is the file truncated?)",
        });
    }
    let footer_len = u64::from(u32::from_le_bytes([a, b, c, d]));
    let most = (tail_offset - MAGIC.len() as u64).min(FOOTER_BYTES_MAX);
    if footer_len > most {
        return Err(FormatError::Truncated {
            structure: "footer",
            offset: tail_offset,
            needed: footer_len,
            available: most,
        });
    }
    let offset = tail_offset - footer_len;
    let mut bytes = vec![0; usize::try_from(footer_len).unwrap_or(0)];
    read(file, offset, &mut bytes)?;
    Ok((bytes, offset))
}

fn read(file: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> Result<()> {
    file.read_at(offset, buffer)
        .map_err(|source| FormatError::Read { offset, source })
}

/// Edits the `ColumnChunk` of every chunk.
fn edit_chunks(tree: &mut Struct, edit: impl Fn(&mut Struct)) {
    let groups = tree.list_mut(file::ROW_GROUPS).into_iter();
    for group in groups.flat_map(|groups| &mut groups.items) {
        let Value::Struct(group) = group else {
            continue;
        };
        let chunks = group.list_mut(row_group::COLUMNS).into_iter();
        for chunk in chunks.flat_map(|chunks| &mut chunks.items) {
            if let Value::Struct(chunk) = chunk {
                edit(chunk);
            }
        }
    }
}
