//! What the `parquet` crate's leaf column writers emit, as the pages of a new chunk in the style of
//! another.
//!
//! ```text
//!   values ──> column writer (V2 pages, no compression) ──> ChunkWriter (this style's version, codec,
//!              CRC, encodings' names) ──> bytes ──> NewChunk { bytes, ColumnMetaData, page index }
//! ```
//! Offsets in a [`NewChunk`] count from the start of its bytes; [`NewChunk::meta_at`] and
//! [`NewChunk::offset_index_at`] move them to where the bytes are put.
//!
//! Memory: the new chunk's bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use parquet::basic::{Encoding, PageType, SortOrder, Type};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

use super::chunk_style::{ChunkStyle, StatisticsStyle, listed_encodings};
use super::codec::Codecs;
use super::footer::{column, statistics};
use super::page::{PageHeader, PageKind};
use super::page_index::{OffsetIndex, PageBounds, PageLocation, column_index};
use super::thrift::{List, Struct, Value};
use crate::error::FormatError;

/// A new chunk, not yet at its place in a file.
#[derive(Debug)]
pub struct NewChunk {
    /// The pages.
    pub bytes: Vec<u8>,
    /// `ColumnMetaData`, with offsets from the start of `bytes`.
    meta: Struct,
    /// The column index, if it could be made.
    pub column_index: Option<Vec<u8>>,
    offset_index: OffsetIndex,
    /// Bytes of the pages without compression, headers included.
    pub uncompressed: u64,
    /// Dictionary and data pages.
    pub pages: u64,
}

impl NewChunk {
    /// The `ColumnMetaData` of the chunk at `offset` of a file.
    pub fn meta_at(&self, offset: u64) -> Struct {
        let mut meta = self.meta.clone();
        for field in [column::DATA_PAGE_OFFSET, column::DICTIONARY_PAGE_OFFSET] {
            if let Some(relative) = meta.i64(field) {
                meta.set(field, int64(offset.saturating_add_signed(relative)));
            }
        }
        meta
    }

    /// The offset index of the chunk at `offset` of a file.
    pub fn offset_index_at(&self, offset: u64) -> Vec<u8> {
        let mut index = self.offset_index.clone();
        index.shift(i64::try_from(offset).unwrap_or(i64::MAX));
        index.0.to_bytes()
    }
}

/// Takes the pages of one column writer.
#[derive(Clone)]
pub struct ChunkWriter(Arc<Mutex<Pages>>);

struct Pages {
    style: ChunkStyle,
    has_repetition: bool,
    has_definition: bool,
    signed_order: bool,
    codecs: Codecs,
    bytes: Vec<u8>,
    uncompressed: u64,
    dictionary_end: Option<u64>,
    locations: Vec<PageLocation>,
    bounds: Option<Vec<PageBounds>>,
    rows: u64,
    /// Pages by type and encoding.
    encodings: BTreeMap<(i32, i32), i32>,
    scratch: Vec<u8>,
}

impl ChunkWriter {
    /// A writer of pages in `style`.
    pub fn new(style: ChunkStyle, descriptor: &ColumnDescriptor, codecs: Codecs) -> Self {
        Self(Arc::new(Mutex::new(Pages {
            style,
            has_repetition: descriptor.max_rep_level() > 0,
            has_definition: descriptor.max_def_level() > 0,
            signed_order: has_signed_order(descriptor),
            codecs,
            bytes: Vec::new(),
            uncompressed: 0,
            dictionary_end: None,
            locations: Vec::new(),
            bounds: Some(Vec::new()),
            rows: 0,
            encodings: BTreeMap::new(),
            scratch: Vec::new(),
        })))
    }

    /// The chunk, when the column writer has been closed with `result`; `source` is the `ColumnMetaData`
    /// of the chunk that this one replaces.
    ///
    /// # Errors
    /// When the writer was not closed.
    pub fn finish(
        self,
        source: &Struct,
        result: &ColumnCloseResult,
    ) -> Result<NewChunk, FormatError> {
        let pages = Arc::try_unwrap(self.0)
            .ok()
            .and_then(|pages| pages.into_inner().ok())
            .ok_or_else(|| FormatError::Invalid {
                structure: "new chunk",
                offset: 0,
                found: "a column writer that is still open".into(),
                expected: "a closed one",
            })?;
        Ok(pages.finish(source, result))
    }
}

impl PageWriter for ChunkWriter {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec, ParquetError> {
        let mut pages = self
            .0
            .lock()
            .map_err(|_| ParquetError::General("a writer of this chunk panicked".into()))?;
        pages
            .write(page.compressed_page())
            .map_err(|error| ParquetError::External(Box::new(error)))
    }

    fn close(&mut self) -> Result<(), ParquetError> {
        Ok(())
    }
}

impl Pages {
    fn write(&mut self, page: &Page) -> Result<PageWriteSpec, FormatError> {
        let offset = self.bytes.len() as u64;
        self.scratch.clear();
        let mut body = std::mem::take(&mut self.scratch);
        let (kind, uncompressed) = match page {
            Page::DictionaryPage {
                buf, num_values, ..
            } => {
                self.codecs.compress(self.style.codec, buf, &mut body)?;
                let encoding = self
                    .style
                    .dictionary
                    .map_or(Encoding::PLAIN, |(page, _)| page);
                let kind = PageKind::Dictionary {
                    values: *num_values,
                    encoding,
                    sorted: false,
                };
                (kind, buf.len())
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                let (levels, values) = buf.split_at_checked(levels).unwrap_or((buf, &[]));
                let (repetition, definition) = levels
                    .split_at_checked(*rep_levels_byte_len as usize)
                    .unwrap_or((levels, &[]));
                let encoding = self.data_encoding(*encoding);
                if self.style.is_v2 {
                    body.extend_from_slice(levels);
                    let compressed = self.compress_values(values, &mut body)?;
                    let kind = PageKind::V2 {
                        values: *num_values,
                        nulls: *num_nulls,
                        rows: *num_rows,
                        encoding,
                        definition_len: *def_levels_byte_len,
                        repetition_len: *rep_levels_byte_len,
                        compressed,
                    };
                    (kind, buf.len())
                } else {
                    let flat = self.flat(repetition, definition, values)?;
                    self.codecs.compress(self.style.codec, &flat, &mut body)?;
                    let kind = PageKind::V1 {
                        values: *num_values,
                        encoding,
                        definition: Encoding::RLE,
                        repetition: Encoding::RLE,
                    };
                    (kind, flat.len())
                }
            }
            Page::DataPage { .. } => {
                return Err(FormatError::Invalid {
                    structure: "new chunk",
                    offset,
                    found: "a page of version 1".into(),
                    expected: "version 2, which was asked of the column writer",
                });
            }
        };
        let header = PageHeader {
            offset,
            header_len: 0,
            compressed_len: page_len(body.len())?,
            uncompressed_len: page_len(uncompressed)?,
            crc: self.style.has_crc.then(|| crc32fast::hash(&body)),
            kind,
            has_statistics: false,
        };
        let page_statistics = page
            .statistics()
            .filter(|_| self.style.has_page_statistics)
            .map(|statistics| self.statistics(statistics));
        let header_bytes = header.to_bytes(page_statistics);
        self.bytes.extend_from_slice(&header_bytes);
        self.bytes.extend_from_slice(&body);
        self.scratch = body;
        self.uncompressed += (header_bytes.len() + uncompressed) as u64;
        let end = self.bytes.len() as u64;
        self.record(page, kind, offset, end);
        Ok(PageWriteSpec {
            page_type: page.page_type(),
            uncompressed_size: header_bytes.len() + uncompressed,
            compressed_size: header_bytes.len() + self.scratch.len(),
            num_values: page.num_values(),
            offset,
            bytes_written: end - offset,
        })
    }

    /// The body of a page of version 1, from the parts of one of version 2.
    fn flat(
        &self,
        repetition: &[u8],
        definition: &[u8],
        values: &[u8],
    ) -> Result<Vec<u8>, FormatError> {
        let mut flat = Vec::with_capacity(repetition.len() + definition.len() + values.len() + 8);
        if self.has_repetition {
            flat.extend_from_slice(&page_len(repetition.len())?.to_le_bytes());
            flat.extend_from_slice(repetition);
        }
        if self.has_definition {
            flat.extend_from_slice(&page_len(definition.len())?.to_le_bytes());
            flat.extend_from_slice(definition);
        }
        flat.extend_from_slice(values);
        Ok(flat)
    }

    /// Version 2 may leave values as they are where compressing them does not pay.
    fn compress_values(&mut self, values: &[u8], body: &mut Vec<u8>) -> Result<bool, FormatError> {
        let before = body.len();
        self.codecs.compress(self.style.codec, values, body)?;
        let pays = body.len() - before < values.len();
        if !pays {
            body.truncate(before);
            body.extend_from_slice(values);
        }
        Ok(pays)
    }

    fn data_encoding(&self, encoding: Encoding) -> Encoding {
        match (encoding, self.style.dictionary) {
            (Encoding::RLE_DICTIONARY, Some((_, name))) => name,
            _ => encoding,
        }
    }

    fn record(&mut self, page: &Page, kind: PageKind, offset: u64, end: u64) {
        let (page_type, encoding) = match kind {
            PageKind::Dictionary { encoding, .. } => (PageType::DICTIONARY_PAGE, encoding),
            PageKind::V1 { encoding, .. } => (PageType::DATA_PAGE, encoding),
            PageKind::V2 { encoding, .. } => (PageType::DATA_PAGE_V2, encoding),
            PageKind::Other => return,
        };
        *self
            .encodings
            .entry((page_type as i32, encoding as i32))
            .or_default() += 1;
        let Page::DataPageV2 {
            num_values,
            num_nulls,
            num_rows,
            statistics,
            ..
        } = page
        else {
            self.dictionary_end = Some(end);
            return;
        };
        self.locations.push(PageLocation {
            offset,
            len: end - offset,
            first_row: self.rows,
        });
        self.rows += u64::from(*num_rows);
        let bounds = statistics
            .as_ref()
            .and_then(|statistics| statistics.min_bytes_opt().zip(statistics.max_bytes_opt()))
            .map(|(min, max)| (min.to_vec(), max.to_vec()));
        // A page with values but without bounds (all NaN, say) leaves no way to make a column index.
        if bounds.is_none() && num_nulls < num_values {
            self.bounds = None;
        }
        if let Some(pages) = &mut self.bounds {
            pages.push(PageBounds {
                bounds: bounds.filter(|_| num_nulls < num_values),
                nulls: i64::from(*num_nulls),
            });
        }
    }

    fn statistics(&self, source: &Statistics) -> Struct {
        let style = self.style.statistics.unwrap_or(StatisticsStyle {
            deprecated: false,
            bounds: true,
            nulls: true,
        });
        statistics_tree(source, style, self.signed_order)
    }

    fn finish(self, source: &Struct, result: &ColumnCloseResult) -> NewChunk {
        let mut meta = source.clone();
        let used: Vec<i32> = self
            .encodings
            .keys()
            .map(|(_, encoding)| *encoding)
            .collect();
        meta.set(
            column::ENCODINGS,
            Value::List(listed_encodings(&self.style.encodings, &used)),
        );
        meta.set(column::NUM_VALUES, Value::I64(result.metadata.num_values()));
        meta.set(column::TOTAL_UNCOMPRESSED_SIZE, int64(self.uncompressed));
        meta.set(
            column::TOTAL_COMPRESSED_SIZE,
            int64(self.bytes.len() as u64),
        );
        meta.set(
            column::DATA_PAGE_OFFSET,
            int64(self.dictionary_end.unwrap_or(0)),
        );
        meta.set_or_remove(
            column::DICTIONARY_PAGE_OFFSET,
            self.dictionary_end.map(|_| Value::I64(0)),
        );
        meta.set_or_remove(
            column::STATISTICS,
            self.style.statistics.map(|style| {
                let fresh = result.metadata.statistics();
                Value::Struct(fresh.map_or_else(Struct::default, |fresh| {
                    statistics_tree(fresh, style, self.signed_order)
                }))
            }),
        );
        if self.style.has_encoding_stats {
            let stats = self.encodings.iter().map(|((page, encoding), count)| {
                Struct::default()
                    .with(1, Value::I32(*page))
                    .with(2, Value::I32(*encoding))
                    .with(3, Value::I32(*count))
            });
            meta.set(column::ENCODING_STATS, Value::List(List::of_structs(stats)));
        }
        meta.set_or_remove(
            column::SIZE_STATISTICS,
            self.style
                .has_size_statistics
                .then(|| Value::Struct(size_statistics(result))),
        );
        // Neither can be kept right: they are of rows that may be gone, or point at nothing now.
        for field in [
            column::GEOSPATIAL_STATISTICS,
            column::INDEX_PAGE_OFFSET,
            column::BLOOM_FILTER_OFFSET,
            column::BLOOM_FILTER_LENGTH,
        ] {
            meta.remove(field);
        }
        let order = result
            .column_index
            .as_ref()
            .and_then(|index| index.get_boundary_order().map(|order| order as i32));
        let column_index = self.bounds.zip(order).map(|(pages, order)| {
            let histograms = |of: &dyn Fn(usize) -> Option<Vec<i64>>| {
                let all: Option<Vec<_>> = (0..pages.len()).map(of).collect();
                all.map(|pages| pages.concat())
                    .filter(|all| self.style.has_size_statistics && !all.is_empty())
            };
            let index = result.column_index.as_ref();
            let repetition =
                histograms(&|page| Some(index?.repetition_level_histogram(page)?.to_vec()));
            let definition =
                histograms(&|page| Some(index?.definition_level_histogram(page)?.to_vec()));
            column_index(pages, order, repetition, definition).to_bytes()
        });
        let unencoded = result
            .offset_index
            .as_ref()
            .and_then(|index| index.unencoded_byte_array_data_bytes().cloned())
            .filter(|_| self.style.has_size_statistics);
        NewChunk {
            pages: self
                .encodings
                .values()
                .map(|count| u64::from(count.cast_unsigned()))
                .sum(),
            offset_index: OffsetIndex::new(self.locations, unencoded),
            bytes: self.bytes,
            meta,
            column_index,
            uncompressed: self.uncompressed,
        }
    }
}

/// `Statistics` with the fields that `style` says, of values that survive.
///
/// Bounds are those that the `parquet` crate computes in the column's order. The deprecated pair is
/// written only where its order (signed) is the column's own, the distinct count never.
fn statistics_tree(source: &Statistics, style: StatisticsStyle, signed_order: bool) -> Struct {
    let mut tree = Struct::default();
    let bounds = source.min_bytes_opt().zip(source.max_bytes_opt());
    if let Some((min, max)) = bounds {
        let exact = source.min_is_exact() && source.max_is_exact();
        if style.deprecated && signed_order && exact {
            tree.set(statistics::MIN, Value::Binary(min.to_vec()));
            tree.set(statistics::MAX, Value::Binary(max.to_vec()));
        }
        if style.bounds {
            tree.set(statistics::MIN_VALUE, Value::Binary(min.to_vec()));
            tree.set(statistics::MAX_VALUE, Value::Binary(max.to_vec()));
            if !exact {
                tree.set(
                    statistics::IS_MIN_VALUE_EXACT,
                    Value::Bool(source.min_is_exact()),
                );
                tree.set(
                    statistics::IS_MAX_VALUE_EXACT,
                    Value::Bool(source.max_is_exact()),
                );
            }
        }
    }
    if style.nulls
        && let Some(nulls) = source.null_count_opt()
    {
        tree.set(statistics::NULL_COUNT, int64(nulls));
    }
    tree
}

fn size_statistics(result: &ColumnCloseResult) -> Struct {
    let meta = &result.metadata;
    let histogram = |histogram: &[i64]| Value::List(List::of_i64(histogram.iter().copied()));
    let mut tree = Struct::default();
    tree.set_or_remove(1, meta.unencoded_byte_array_data_bytes().map(Value::I64));
    tree.set_or_remove(
        2,
        meta.repetition_level_histogram()
            .map(|h| histogram(h.values())),
    );
    tree.set_or_remove(
        3,
        meta.definition_level_histogram()
            .map(|h| histogram(h.values())),
    );
    tree
}

fn has_signed_order(descriptor: &ColumnDescriptor) -> bool {
    let is_number = matches!(
        descriptor.physical_type(),
        Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE
    );
    is_number && descriptor.sort_order() == SortOrder::SIGNED
}

fn page_len(len: usize) -> Result<u32, FormatError> {
    match u32::try_from(len) {
        Ok(short) if u64::from(short) <= crate::limits::PAGE_BYTES_MAX => Ok(short),
        _ => Err(FormatError::Invalid {
            structure: "new page",
            offset: 0,
            found: format!("{len} bytes"),
            expected: "less than 2 GiB",
        }),
    }
}

fn int64(value: u64) -> Value {
    Value::I64(i64::try_from(value).unwrap_or(i64::MAX))
}
