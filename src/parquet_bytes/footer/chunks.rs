//! Where the footer says that column chunks and what belongs to them lie, each place checked.

use std::ops::Range;

use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::{MAGIC, Result, chunk, column, file, meta_data, row_group};
use crate::error::FormatError;
use crate::parquet_bytes::codec::Codec;
use crate::parquet_bytes::thrift::{List, Struct};

/// One row group.
#[derive(Debug, Clone)]
pub struct RowGroup {
    /// Rows, as the footer claims (only the sums were checked).
    pub rows: u64,
    /// One chunk per leaf column, in the order of the schema.
    pub chunks: Vec<Chunk>,
}

/// One column chunk.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Its pages' bytes in the file.
    pub range: Range<u64>,
    /// How its pages are compressed.
    pub codec: Codec,
    /// Values and nulls, as the footer claims.
    pub values: u64,
    /// Whether all data pages are dictionary-encoded; `None` when the footer doesn't say.
    pub only_dictionary: Option<bool>,
    /// Whether the footer says where a dictionary page is.
    pub has_dictionary: bool,
    /// The column index's bytes, if there is one.
    pub column_index: Option<Range<u64>>,
    /// The offset index's bytes, if there is one.
    pub offset_index: Option<Range<u64>>,
    /// Where the bloom filter begins, if there is one.
    pub bloom_filter: Option<u64>,
}

impl RowGroup {
    /// Bytes of the chunks' pages.
    pub fn bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| chunk.range.end - chunk.range.start)
            .sum()
    }
}

pub(super) fn row_groups(
    tree: &Struct,
    schema: &SchemaDescriptor,
    limit: u64,
) -> Result<Vec<RowGroup>> {
    let Some(groups) = tree.list(file::ROW_GROUPS) else {
        return Ok(Vec::new());
    };
    groups
        .structs()
        .map(|group| {
            let chunks: Vec<_> = group
                .list(row_group::COLUMNS)
                .map(|chunks| chunks.structs().collect())
                .unwrap_or_default();
            if chunks.len() != schema.num_columns() {
                return Err(FormatError::Contradiction {
                    what: "columns of a row group (against the schema's leaves)".into(),
                    claimed: schema.num_columns() as u64,
                    counted: chunks.len() as u64,
                });
            }
            Ok(RowGroup {
                rows: count(group, row_group::NUM_ROWS, limit)?,
                chunks: chunks
                    .into_iter()
                    .zip(schema.columns())
                    .map(|(chunk, descriptor)| Chunk::parse(chunk, descriptor, limit))
                    .collect::<Result<_>>()?,
            })
        })
        .collect()
}

/// A field that counts something, so it is there and not negative.
fn count(tree: &Struct, id: i16, offset: u64) -> Result<u64> {
    let value = tree.i64(id);
    value
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(|| FormatError::Invalid {
            structure: "footer",
            offset,
            found: format!("{value:?} in field {id}"),
            expected: "a number that is not negative",
        })
}

/// The range that an offset field and a length field give, if both are there.
fn index_range(tree: &Struct, offset: i16, length: i16, limit: u64) -> Result<Option<Range<u64>>> {
    let (Some(start), Some(len)) = (tree.i64(offset), tree.i32(length)) else {
        return Ok(None);
    };
    if start == 0 || len == 0 {
        return Ok(None);
    }
    bounded(i128::from(start), i128::from(len), limit).map(Some)
}

fn bounded(start: i128, len: i128, limit: u64) -> Result<Range<u64>> {
    let end = start + len;
    match (u64::try_from(start), u64::try_from(end)) {
        (Ok(from), Ok(to)) if from >= MAGIC.len() as u64 && from <= to && to <= limit => {
            Ok(from..to)
        }
        _ => Err(FormatError::Invalid {
            structure: "footer",
            offset: limit,
            found: format!("a structure at {start}..{end}"),
            expected: "one between the leading magic and the footer",
        }),
    }
}

impl Chunk {
    fn parse(chunk: &Struct, descriptor: &ColumnDescPtr, limit: u64) -> Result<Self> {
        if chunk.get(chunk::CRYPTO_METADATA).is_some()
            || chunk.get(chunk::ENCRYPTED_COLUMN_METADATA).is_some()
        {
            return Err(FormatError::Unsupported {
                feature: format!("the encrypted column {}", descriptor.path()),
            });
        }
        if chunk
            .binary(chunk::FILE_PATH)
            .is_some_and(|path| !path.is_empty())
        {
            return Err(FormatError::Unsupported {
                feature: format!(
                    "column {}, whose pages are in another file,",
                    descriptor.path()
                ),
            });
        }
        let meta = meta_data(chunk).ok_or_else(|| FormatError::Invalid {
            structure: "footer",
            offset: limit,
            found: format!("column {} without metadata", descriptor.path()),
            expected: "its ColumnMetaData",
        })?;
        let data = count(meta, column::DATA_PAGE_OFFSET, limit)?;
        let values = count(meta, column::NUM_VALUES, limit)?;
        // A chunk without values may have a dictionary all the same, and give its data pages no place.
        let is_placeless = data == 0 && values == 0;
        let dictionary = meta
            .i64(column::DICTIONARY_PAGE_OFFSET)
            .and_then(|offset| u64::try_from(offset).ok())
            .filter(|offset| *offset < data || is_placeless && *offset > 0);
        let size = count(meta, column::TOTAL_COMPRESSED_SIZE, limit)?;
        let start = dictionary.unwrap_or(data);
        let range = match bounded(i128::from(start), i128::from(size), limit) {
            // Some writers give a chunk without values no place at all.
            Err(_) if values == 0 => 0..0,
            range => range?,
        };
        let bloom_filter = meta
            .i64(column::BLOOM_FILTER_OFFSET)
            .filter(|offset| *offset != 0)
            .map(|offset| bounded(i128::from(offset), 1, limit).map(|range| range.start))
            .transpose()?;
        Ok(Self {
            range,
            codec: Codec::try_from(meta.i32(column::CODEC).unwrap_or(0))?,
            values,
            only_dictionary: meta.list(column::ENCODING_STATS).and_then(only_dictionary),
            has_dictionary: dictionary.is_some(),
            column_index: index_range(
                chunk,
                chunk::COLUMN_INDEX_OFFSET,
                chunk::COLUMN_INDEX_LENGTH,
                limit,
            )?,
            offset_index: index_range(
                chunk,
                chunk::OFFSET_INDEX_OFFSET,
                chunk::OFFSET_INDEX_LENGTH,
                limit,
            )?,
            bloom_filter,
        })
    }
}

/// Whether page encoding stats say that every data page is dictionary-encoded.
fn only_dictionary(stats: &List) -> Option<bool> {
    const PAGE_TYPE: i16 = 1;
    const ENCODING: i16 = 2;
    const COUNT: i16 = 3;
    let mut any = false;
    for stat in stats.structs() {
        let is_data = matches!(stat.i32(PAGE_TYPE)?, 0 | 3);
        let is_dictionary = matches!(stat.i32(ENCODING)?, 2 | 8);
        if is_data && stat.i32(COUNT)? > 0 {
            any = true;
            if !is_dictionary {
                return Some(false);
            }
        }
    }
    any.then_some(true)
}
