//! A column chunk without some rows or values, at the cost of the pages that hold them.
//!
//! ```text
//!   page headers ──> survey: which rows each page holds
//!   page without such a row:   its bytes are copied, header, CRC and all
//!   page with some:            decoded as far as its encoding needs, compressed again by the same codec
//!   page with nothing else:    left out
//!   dictionary:                entries that only those rows referred to are taken out (dictionary); the
//!                              pages that refer to an entry that moved get new indices
//!   statistics, page index,    rebuilt from what is left where they may stem from those rows, otherwise
//!   bloom filter, sizes:       unchanged (meta)
//! ```
//! No value that stays is materialised, except in `DELTA_BYTE_ARRAY`, where each depends on the one before.
//! There is no Arrow in between: INT96, decimals in any physical type, list names and the like come through
//! as they were.
//!
//! # Invariants
//! * What is not copied was encoded from values that stay, and from nothing else.
//! * A page keeps its encoding, version, codec, and whether it has a CRC and statistics.
//!
//! Memory: one page and its new form; the indices of pages that lose rows, up to [`CACHED_VALUES_MAX`] a
//! chunk; the dictionary; the new pages.

use std::ops::Range;
use std::sync::Arc;

use parquet::schema::types::ColumnDescPtr;

use self::dictionary::{DictionaryEdit, DictionaryFate};
use self::erasure::Erasure;
use self::level::ZstdLevel;
use self::meta::{Edit, PageMend};
use self::page::OpenPage;
pub use self::page::Tools;
use self::survey::survey;
use super::Shard;
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::parquet_bytes::bloom::BloomHeader;
use crate::parquet_bytes::footer::{Chunk, column, meta_data};
use crate::parquet_bytes::order::ValueOrder;
use crate::parquet_bytes::page::PageKind;
use crate::parquet_bytes::page_index::{OffsetIndex, read_bytes};
use crate::parquet_bytes::thrift::{Struct, Value};

mod dictionary;
pub mod elements;
pub mod erasure;
mod faults;
pub mod level;
mod meta;
mod page;
pub mod reader;
mod survey;

type Result<T> = std::result::Result<T, FormatError>;

/// Dictionary indices that are kept decoded between finding orphans and writing pages; those of larger chunks
/// are decoded twice.
pub const CACHED_VALUES_MAX: u64 = 4 << 20;

/// A chunk of a shard.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The shard's bytes.
    pub file: &'a Arc<dyn ReadAt>,
    /// The chunk.
    pub chunk: &'a Chunk,
    /// Its `ColumnMetaData`.
    pub meta: &'a Struct,
    /// Its column.
    pub descriptor: &'a ColumnDescPtr,
    /// The order of its column's bounds, if they have one.
    pub order: Option<ValueOrder>,
    /// Rows of its row group, as the footer claims.
    pub rows: u64,
}

impl<'a> Source<'a> {
    /// The chunk of a column in a row group of `shard`, if there is one.
    pub fn of(shard: &'a Shard, group: usize, leaf: usize) -> Option<Self> {
        let footer = &shard.footer;
        let row_group = footer.row_groups().get(group)?;
        Some(Self {
            file: &shard.file,
            chunk: row_group.chunks.get(leaf)?,
            meta: footer.chunk_tree(group, leaf).and_then(meta_data)?,
            descriptor: footer.schema().columns().get(leaf)?,
            order: footer.order(leaf),
            rows: row_group.rows,
        })
    }

    /// The largest repetition level and the largest definition level.
    fn max_levels(&self) -> (i16, i16) {
        (
            self.descriptor.max_rep_level(),
            self.descriptor.max_def_level(),
        )
    }
}

/// A part of a new chunk.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the source, as they are.
    Copied(Range<u64>),
    /// New bytes.
    New(Vec<u8>),
}

impl Piece {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Copied(range) => range.end - range.start,
            Self::New(bytes) => bytes.len() as u64,
        }
    }
}

/// What becomes of the chunk's bloom filter.
#[derive(Debug)]
pub enum Bloom {
    /// There is none (any more).
    None,
    /// Header and bitset as they are in the source.
    Copied(Range<u64>),
    /// New header and bitset.
    New(Vec<u8>),
}

/// A chunk without some rows, not yet at its place in a file.
#[derive(Debug)]
pub struct NewChunk {
    /// Its bytes, in order.
    pub pieces: Vec<Piece>,
    /// `ColumnMetaData`; offsets count from the start of the chunk.
    pub meta: Struct,
    /// The column index, where there was one that can be kept.
    pub column_index: Option<Vec<u8>>,
    /// The offset index, where there was one; offsets count from the start of the chunk.
    pub offset_index: Option<OffsetIndex>,
    /// The bloom filter.
    pub bloom: Bloom,
    /// Bytes of the pages without compression, headers included.
    pub uncompressed: u64,
    /// Pages that were rebuilt.
    pub pages_rewritten: u64,
    /// Pages that were copied.
    pub pages_copied: u64,
    /// Values that went, or became others.
    pub values_gone: u64,
    /// Those of which nothing is left, since they can't be taken apart.
    pub values_whole: u64,
    /// The zstd level that was used, if it was decided here.
    pub zstd_level: ZstdLevel,
}

impl NewChunk {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(Piece::bytes).sum()
    }
}

/// Whether the chunk's dictionary has entries that only what goes refers to.
///
/// # Errors
/// Those of [`without`].
pub fn has_orphans(source: &Source<'_>, erasure: &Erasure<'_>, tools: &mut Tools) -> Result<bool> {
    let pages = survey(source)?;
    let dictionary = DictionaryEdit::new(source, &pages, erasure, false, tools)?;
    Ok(dictionary.has_orphans())
}

/// The chunk as it is.
fn copied(source: &Source<'_>) -> Result<NewChunk> {
    let (file, chunk) = (&**source.file, source.chunk);
    let start = i64::try_from(chunk.range.start).unwrap_or(i64::MAX);
    let mut meta = source.meta.clone();
    for field in [column::DATA_PAGE_OFFSET, column::DICTIONARY_PAGE_OFFSET] {
        if let Some(offset) = meta.i64(field) {
            meta.set(field, Value::I64(offset.saturating_sub(start)));
        }
    }
    meta.remove(column::INDEX_PAGE_OFFSET);
    let uncompressed = meta.i64(column::TOTAL_UNCOMPRESSED_SIZE).unwrap_or(0);
    let column_index = chunk
        .column_index
        .as_ref()
        .map(|range| read_bytes(file, range));
    let offset_index = chunk.offset_index.as_ref().map(|range| {
        let mut index = OffsetIndex::read(file, range)?;
        index.shift(-start);
        Ok(index)
    });
    Ok(NewChunk {
        pieces: vec![Piece::Copied(chunk.range.clone())],
        meta,
        column_index: column_index.transpose()?,
        offset_index: offset_index.transpose()?,
        bloom: match chunk.bloom_filter {
            Some(offset) => Bloom::Copied(BloomHeader::read(file, offset)?.range()),
            None => Bloom::None,
        },
        uncompressed: u64::try_from(uncompressed).unwrap_or(0),
        pages_rewritten: 0,
        pages_copied: 0,
        values_gone: 0,
        values_whole: 0,
        zstd_level: ZstdLevel::Auto,
    })
}

/// Rebuilds the chunk without what goes (not all of its rows); with `scrub`, also without the dictionary
/// entries that nothing referred to before.
///
/// # Errors
/// When a page is damaged, or the pages hold another number of rows or values than the footer claims.
pub fn without(
    source: &Source<'_>,
    erasure: &Erasure<'_>,
    scrub: bool,
    zstd: ZstdLevel,
    tools: &mut Tools,
) -> Result<NewChunk> {
    if erasure.rows.is_empty() && !scrub {
        return copied(source);
    }
    let pages = survey(source)?;
    tools.zstd_level = zstd;
    let mut edit = Edit::new(source, &pages)?;
    let mut dictionary = DictionaryEdit::new(source, &pages, erasure, scrub, tools)?;
    for (number, page) in pages.iter().enumerate() {
        match page.header.kind {
            // An index page may hold anything.
            PageKind::Other => {}
            PageKind::Dictionary { .. } => match dictionary.page(source, page, tools)? {
                DictionaryFate::Copied => edit.copy(page),
                DictionaryFate::New(new) => edit.add(page, new),
                DictionaryFate::Gone => {}
            },
            PageKind::V1 { .. } | PageKind::V2 { .. } => {
                let begun = page.rows.len() - usize::from(page.begins_inside);
                let cached = dictionary.take(number);
                let remap = dictionary.remap_of(number).is_some();
                let is_untouched = page.among(erasure.rows).is_empty();
                if is_untouched && !remap && !edit.wants_values_of(page) {
                    edit.copy(page);
                    edit.next_page(Some(begun as u64));
                    continue;
                }
                let mut open = match cached {
                    Some(open) => open,
                    None => OpenPage::read(source, page, erasure, dictionary.entries_mut(), tools)?,
                };
                edit.see(page, &open);
                let mend = if open.is_changed() {
                    edit.lose(source, number, page, &mut open, dictionary.entries_of(page))
                } else {
                    PageMend::default()
                };
                let remap = dictionary.remap_of(number);
                if !open.is_changed() && remap.is_none() {
                    edit.copy(page);
                } else if !open.is_empty() {
                    let mend = |statistics: &mut Struct| mend.statistics(source, statistics);
                    let new = open.write(source, page, remap, tools, mend)?;
                    edit.add(page, new);
                }
                edit.next_page((!open.is_empty()).then_some(open.rows() as u64));
                tools.recycle(open);
            }
        }
    }
    if edit.is_copy(&pages) {
        return copied(source);
    }
    edit.finish(source, &pages, erasure, &mut dictionary, tools)
}

/// Whether nothing is left in the chunk of what was to go.
///
/// # Errors
/// Those of [`without`].
pub fn is_without(source: &Source<'_>, erasure: &Erasure<'_>, tools: &mut Tools) -> Result<bool> {
    let pages = survey(source)?;
    let mut dictionary = DictionaryEdit::default();
    for page in pages.iter().filter(|page| page.is_data()) {
        if page.among(erasure.rows).is_empty() {
            continue;
        }
        // Where none of these refers to it, nothing of it was looked at before either.
        if page.uses_dictionary() {
            dictionary.load(source, &pages, tools)?;
        }
        let open = OpenPage::read(source, page, erasure, dictionary.entries_mut(), tools)?;
        if open.is_changed() {
            return Ok(false);
        }
        tools.recycle(open);
    }
    Ok(true)
}
