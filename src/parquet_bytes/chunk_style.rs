//! How a chunk was written, so that a new chunk of other rows is written the same way.
//!
//! The footer says it in part; the rest (page version, where the dictionary gave way to another
//! encoding, CRCs, sizes) stands in the page headers alone. They are walked without reading bodies.

use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use super::codec::Codec;
use super::footer::{Chunk, column, statistics};
use super::page::{PageKind, PageWalk};
use super::thrift::{List, Struct};
use crate::error::FormatError;
use crate::storage::ReadAt;

type Result<T> = std::result::Result<T, FormatError>;

/// Bytes that one read of a walk over headers alone asks for.
const HEADER_READ_BYTES: u64 = 512;
/// Bounds of strings are cut to this length, as most writers do.
const BOUND_BYTES_MAX: usize = 64;

/// How a chunk was written.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about how a chunk was written"
)]
pub struct ChunkStyle {
    /// Page compression.
    pub codec: Codec,
    /// Whether the data pages are of version 2.
    pub is_v2: bool,
    /// The encodings of the dictionary page and of the pages that use it, if there are such pages.
    pub dictionary: Option<(Encoding, Encoding)>,
    /// The encoding of the pages that don't use a dictionary, if there are such pages.
    pub plain: Option<Encoding>,
    /// Bytes of the dictionary without compression.
    pub dictionary_len: u32,
    /// Whether pages have a CRC.
    pub has_crc: bool,
    /// Whether page headers hold statistics.
    pub has_page_statistics: bool,
    /// Bytes of the largest data page without compression.
    pub page_len: u32,
    /// Values and nulls of the largest data page.
    pub page_values: u32,
    /// What the chunk's statistics hold; `None` when it has none.
    pub statistics: Option<StatisticsStyle>,
    /// Whether the footer holds page encoding stats.
    pub has_encoding_stats: bool,
    /// Whether the footer holds size statistics.
    pub has_size_statistics: bool,
    /// The encodings that the footer lists, in its order.
    pub encodings: Vec<i32>,
    /// Data pages and dictionary pages.
    pub pages: u64,
}

/// Which fields of `Statistics` a writer filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatisticsStyle {
    /// `min` and `max`, deprecated.
    pub deprecated: bool,
    /// `min_value` and `max_value`.
    pub bounds: bool,
    /// `null_count`.
    pub nulls: bool,
}

impl StatisticsStyle {
    /// Which fields `tree` has.
    pub fn of(tree: &Struct) -> Self {
        Self {
            deprecated: tree.get(statistics::MIN).is_some() || tree.get(statistics::MAX).is_some(),
            bounds: tree.get(statistics::MIN_VALUE).is_some()
                || tree.get(statistics::MAX_VALUE).is_some(),
            nulls: tree.get(statistics::NULL_COUNT).is_some(),
        }
    }
}

impl ChunkStyle {
    /// Finds out how `chunk` was written; `meta` is its `ColumnMetaData`.
    ///
    /// # Errors
    /// When a page header is damaged.
    pub fn of(file: &Arc<dyn ReadAt>, chunk: &Chunk, meta: &Struct) -> Result<Self> {
        let mut style = Self {
            codec: chunk.codec,
            is_v2: false,
            dictionary: None,
            plain: None,
            dictionary_len: 0,
            has_crc: false,
            has_page_statistics: false,
            page_len: 0,
            page_values: 0,
            statistics: meta.structure(column::STATISTICS).map(StatisticsStyle::of),
            has_encoding_stats: meta.get(column::ENCODING_STATS).is_some(),
            has_size_statistics: meta.get(column::SIZE_STATISTICS).is_some(),
            encodings: meta
                .list(column::ENCODINGS)
                .map(|list| list.i32s().collect())
                .unwrap_or_default(),
            pages: 0,
        };
        let mut dictionary_page = Encoding::PLAIN;
        let mut walk =
            PageWalk::with_read_len(Arc::clone(file), chunk.range.clone(), HEADER_READ_BYTES);
        while let Some(page) = walk.peek()? {
            walk.skip(&page);
            style.has_crc |= page.crc.is_some();
            style.has_page_statistics |= page.has_statistics;
            style.is_v2 |= matches!(page.kind, PageKind::V2 { .. });
            style.pages += u64::from(page.kind != PageKind::Other);
            if let PageKind::Dictionary { encoding, .. } = page.kind {
                dictionary_page = encoding;
                style.dictionary_len = page.uncompressed_len;
            }
            if let Some(encoding) = page.kind.data_encoding() {
                style.page_len = style.page_len.max(page.uncompressed_len);
                style.page_values = style.page_values.max(page.kind.data_values().unwrap_or(0));
                match encoding {
                    Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                        style.dictionary = Some((dictionary_page, encoding));
                    }
                    other => style.plain = Some(other),
                }
            }
        }
        Ok(style)
    }

    /// Properties with which the `parquet` crate's column writer encodes values this way.
    ///
    /// Pages come out as version 2 and without compression: [`chunk_writer`](super::chunk_writer) makes
    /// of them what this style says (the crate has dictionaries of fixed-length values in version 2 only).
    pub fn properties(&self) -> WriterProperties {
        WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_dictionary_enabled(self.dictionary.is_some())
            .set_encoding(self.plain.unwrap_or(Encoding::PLAIN))
            .set_data_page_size_limit((self.page_len as usize).max(1))
            .set_data_page_row_count_limit((self.page_values as usize).max(1))
            .set_dictionary_page_size_limit(match self.plain {
                // Some pages did without the dictionary: it was full at this size.
                Some(_) => (self.dictionary_len as usize).max(1),
                None => usize::MAX,
            })
            .set_statistics_truncate_length(Some(BOUND_BYTES_MAX))
            .set_column_index_truncate_length(Some(BOUND_BYTES_MAX))
            .set_write_page_header_statistics(true)
            .set_statistics_enabled(EnabledStatistics::Page)
            .build()
    }
}

/// The encodings that a new footer lists: those of the source that still occur, then new ones.
pub fn listed_encodings(source: &[i32], used: &[i32]) -> List {
    // Kept whether or not a level is stored: writers list the encoding of levels regardless.
    const LEVELS: [i32; 2] = [Encoding::RLE as i32, 4];
    let kept = source
        .iter()
        .copied()
        .filter(|code| used.contains(code) || LEVELS.contains(code));
    let new = used.iter().copied().filter(|code| !source.contains(code));
    List::of_i32(kept.chain(new))
}
