//! A column chunk without some rows: decoded, filtered and encoded again leaf by leaf.
//!
//! ```text
//!   ChunkPages ──> leaf reader ──> values, levels ──> rows kept ──> leaf writer ──> ChunkWriter ──> NewChunk
//! ```
//! There is no Arrow in between: INT96, decimals in any physical type, list names and the like come
//! through as they were. Dictionary, statistics, page index and bloom filter are made from the values
//! that survive, and from nothing else.
//!
//! Memory: one page, one batch of [`BATCH_RECORDS`] records, and the new chunk.

use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl, get_column_writer};
use parquet::data_type::DataType;
use parquet::schema::types::ColumnDescPtr;

use crate::error::FormatError;
use crate::limits::BATCH_RECORDS;
use crate::parquet_bytes::bloom::{BloomBuilder, BloomHeader};
use crate::parquet_bytes::chunk_reader::{ChunkPages, guarded};
use crate::parquet_bytes::chunk_style::ChunkStyle;
use crate::parquet_bytes::chunk_writer::{ChunkWriter, NewChunk};
use crate::parquet_bytes::codec::Codecs;
use crate::parquet_bytes::footer::Chunk;
use crate::parquet_bytes::thrift::Struct;
use crate::storage::ReadAt;

type Result<T> = std::result::Result<T, FormatError>;

/// A chunk of a shard.
pub struct Source<'a> {
    /// The shard's bytes.
    pub file: &'a Arc<dyn ReadAt>,
    /// The chunk.
    pub chunk: &'a Chunk,
    /// Its `ColumnMetaData`.
    pub meta: &'a Struct,
    /// Its column.
    pub descriptor: &'a ColumnDescPtr,
    /// Rows of its row group, as the footer claims.
    pub rows: u64,
}

/// A new chunk and its bloom filter, if the old one had one.
pub struct Filtered {
    /// The chunk.
    pub chunk: NewChunk,
    /// Header and bitset.
    pub bloom: Option<Vec<u8>>,
}

/// Makes the chunk anew without the rows in `dropped` (ascending, counted in the row group).
///
/// # Errors
/// When a page is damaged, or the pages hold another number of rows or values than the footer claims.
pub fn without_rows(source: &Source<'_>, dropped: &[u32], zstd_level: i32) -> Result<Filtered> {
    let style = ChunkStyle::of(source.file, source.chunk, source.meta)?;
    let bloom = match source.chunk.bloom_filter {
        Some(offset) => Some(BloomHeader::read(&**source.file, offset)?),
        None => None,
    };
    let mut filter = Filter {
        dropped,
        row: 0,
        max_definition: source.descriptor.max_def_level(),
        has_repetition: source.descriptor.max_rep_level() > 0,
        // A filter with an unknown hash can't be made anew; without one, readers read the pages.
        bloom: bloom
            .filter(BloomHeader::is_known)
            .map(|header| BloomBuilder::like(&header)),
    };
    let path = source.descriptor.path().string();
    let properties = Arc::new(style.properties());
    let pages = ChunkWriter::new(style, source.descriptor, Codecs::new(zstd_level));
    let result = guarded(&path, || {
        let reader = ChunkPages::new(Arc::clone(source.file), source.chunk, &path);
        let reader = get_column_reader(source.descriptor.clone(), Box::new(reader));
        let mut writer = get_column_writer(
            source.descriptor.clone(),
            properties,
            Box::new(pages.clone()),
        );
        filter.run(reader, &mut writer)?;
        writer.close()
    })?;
    if u64::from(filter.row) != source.rows {
        return Err(FormatError::Contradiction {
            what: format!("rows of a chunk of column {path}"),
            claimed: source.rows,
            counted: u64::from(filter.row),
        });
    }
    Ok(Filtered {
        chunk: pages.finish(source.meta, &result)?,
        bloom: filter.bloom.map(BloomBuilder::finish).transpose()?,
    })
}

struct Filter<'a> {
    /// Rows to drop that are not behind `row` yet.
    dropped: &'a [u32],
    /// Rows that began so far.
    row: u32,
    max_definition: i16,
    has_repetition: bool,
    bloom: Option<BloomBuilder>,
}

impl Filter<'_> {
    fn run(
        &mut self,
        reader: ColumnReader,
        writer: &mut ColumnWriter<'_>,
    ) -> parquet::errors::Result<()> {
        match (reader, writer) {
            (ColumnReader::BoolColumnReader(reader), ColumnWriter::BoolColumnWriter(writer)) => {
                self.typed(reader, writer)
            }
            (ColumnReader::Int32ColumnReader(reader), ColumnWriter::Int32ColumnWriter(writer)) => {
                self.typed(reader, writer)
            }
            (ColumnReader::Int64ColumnReader(reader), ColumnWriter::Int64ColumnWriter(writer)) => {
                self.typed(reader, writer)
            }
            (ColumnReader::Int96ColumnReader(reader), ColumnWriter::Int96ColumnWriter(writer)) => {
                self.typed(reader, writer)
            }
            (ColumnReader::FloatColumnReader(reader), ColumnWriter::FloatColumnWriter(writer)) => {
                self.typed(reader, writer)
            }
            (
                ColumnReader::DoubleColumnReader(reader),
                ColumnWriter::DoubleColumnWriter(writer),
            ) => self.typed(reader, writer),
            (
                ColumnReader::ByteArrayColumnReader(reader),
                ColumnWriter::ByteArrayColumnWriter(writer),
            ) => self.typed(reader, writer),
            (
                ColumnReader::FixedLenByteArrayColumnReader(reader),
                ColumnWriter::FixedLenByteArrayColumnWriter(writer),
            ) => self.typed(reader, writer),
            // Both were made from the same descriptor.
            _ => Err(parquet::errors::ParquetError::General(
                "reader and writer of different types".into(),
            )),
        }
    }

    fn typed<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        writer: &mut ColumnWriterImpl<'_, T>,
    ) -> parquet::errors::Result<()> {
        let (mut definition, mut repetition, mut values) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            definition.clear();
            repetition.clear();
            values.clear();
            let (records, _, levels) = reader.read_records(
                BATCH_RECORDS,
                Some(&mut definition),
                Some(&mut repetition),
                &mut values,
            )?;
            if records == 0 && levels == 0 {
                return Ok(());
            }
            self.keep(levels, &mut definition, &mut repetition, &mut values);
            if let Some(bloom) = &mut self.bloom {
                bloom.insert(&values);
            }
            let definition = (self.max_definition > 0).then_some(definition.as_slice());
            let repetition = self.has_repetition.then_some(repetition.as_slice());
            writer.write_batch(&values, definition, repetition)?;
        }
    }

    /// Compacts one batch in place to what is not dropped.
    fn keep<V>(
        &mut self,
        levels: usize,
        definition: &mut Vec<i16>,
        repetition: &mut Vec<i16>,
        values: &mut Vec<V>,
    ) {
        let mut kept_levels = 0;
        let (mut value, mut kept_values) = (0, 0);
        let mut dropping = false;
        for at in 0..levels {
            if !self.has_repetition || repetition.get(at) == Some(&0) {
                dropping = match self.dropped {
                    [next, rest @ ..] if *next == self.row => {
                        self.dropped = rest;
                        true
                    }
                    _ => false,
                };
                self.row += 1;
            } else if at == 0 {
                // `read_records` ends a batch at the end of a record, so this is a chunk that begins inside one.
                dropping = false;
            }
            let is_value =
                self.max_definition == 0 || definition.get(at) == Some(&self.max_definition);
            if !dropping {
                if self.max_definition > 0 && definition.len() > at {
                    definition.swap(kept_levels, at);
                }
                if self.has_repetition && repetition.len() > at {
                    repetition.swap(kept_levels, at);
                }
                kept_levels += 1;
                if is_value && values.len() > value {
                    values.swap(kept_values, value);
                    kept_values += 1;
                }
            }
            value += usize::from(is_value);
        }
        definition.truncate(kept_levels);
        repetition.truncate(kept_levels);
        values.truncate(kept_values);
    }
}
