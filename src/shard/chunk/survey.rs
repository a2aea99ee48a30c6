//! Which rows each page of a chunk holds, counted from the pages themselves.
//!
//! A page of a column that can't repeat holds as many rows as entries. Where it can, the repetition levels
//! are counted: of version 2 without decompressing anything, of version 1 the page is decompressed for it. The
//! offset index and the row counts of headers are claims, and a row that is looked for in the wrong page would
//! stay.

use std::ops::Range;
use std::sync::Arc;

use super::Source;
use crate::error::FormatError;
use crate::limits::PAGE_VALUES_MAX;
use crate::parquet_bytes::codec::Codecs;
use crate::parquet_bytes::levels::Levels;
use crate::parquet_bytes::page::{PageHeader, PageKind};
use crate::parquet_bytes::page_walk::PageWalk;
use crate::parquet_bytes::thrift::Struct;

type Result<T> = std::result::Result<T, FormatError>;

/// Bytes that one read of a walk over headers asks for.
const HEADER_READ_BYTES: u64 = 512;

/// A page of a chunk.
#[derive(Debug)]
pub(super) struct PageAt {
    /// Its header, checked.
    pub(super) header: PageHeader,
    /// Its header as it is in the file.
    pub(super) tree: Struct,
    /// Rows of the row group that have an entry in it; empty for a page that holds no data.
    pub(super) rows: Range<u32>,
    /// Whether its first entry belongs to a row that began in the page before.
    pub(super) begins_inside: bool,
}

impl PageAt {
    /// The page's bytes in the file, header included.
    pub(super) fn range(&self) -> Range<u64> {
        self.header.offset..self.header.end()
    }

    /// Whether the page holds dictionary indices.
    pub(super) fn uses_dictionary(&self) -> bool {
        self.header.kind.uses_dictionary()
    }

    /// The statistics of the page's header, if it has some.
    pub(super) fn statistics(&self) -> Option<&Struct> {
        PageHeader::statistics_in(&self.tree)
    }

    /// Whether the page holds data.
    pub(super) fn is_data(&self) -> bool {
        self.header.kind.data_values().is_some()
    }

    /// Those of `rows` (ascending) that have an entry in it.
    pub(super) fn among<'a>(&self, rows: &'a [u32]) -> &'a [u32] {
        let from = rows.partition_point(|row| *row < self.rows.start);
        let to = rows.partition_point(|row| *row < self.rows.end);
        rows.get(from..to).unwrap_or_default()
    }
}

/// Walks the pages of a chunk.
///
/// # Errors
/// When a header is damaged, or the pages hold another number of rows or values than the footer claims.
pub(super) fn survey(source: &Source<'_>) -> Result<Vec<PageAt>> {
    let chunk = source.chunk;
    let has_repetition = source.descriptor.max_rep_level() > 0;
    let mut walk = PageWalk::with_read_len(
        Arc::clone(source.file),
        chunk.range.clone(),
        HEADER_READ_BYTES,
    );
    let mut codecs = Codecs::default();
    let (mut levels, mut body) = (Levels::default(), Vec::new());
    let mut pages = Vec::new();
    let (mut rows, mut values) = (0_u32, 0_u64);
    while let Some(header) = walk.peek()? {
        let (tree, _) = Struct::read(walk.header(&header)?, "page header", header.offset)?;
        let entries = header.kind.data_values().unwrap_or(0);
        values += u64::from(entries);
        if entries > PAGE_VALUES_MAX || values > chunk.values {
            return Err(contradiction(source, "values", chunk.values, values));
        }
        let mut begun = entries;
        let mut begins_inside = false;
        if has_repetition && entries > 0 {
            if let PageKind::V2 { repetition_len, .. } = header.kind {
                let bytes = walk.front(&header, repetition_len)?;
                levels.read_repetition(&header, bytes, max(source))?;
            } else {
                let bytes = walk.body(&header)?;
                body.clear();
                header.decompress(bytes, chunk.codec, &mut codecs, &mut body)?;
                levels.read(
                    &header,
                    &body,
                    max(source),
                    source.descriptor.max_def_level(),
                )?;
            }
            let starts = levels
                .repetition
                .iter()
                .filter(|level| **level == 0)
                .count();
            begun = u32::try_from(starts).unwrap_or(u32::MAX);
            begins_inside = levels.repetition.first() != Some(&0);
        }
        walk.skip(&header);
        if begins_inside && rows == 0 {
            return Err(FormatError::Invalid {
                structure: "page levels",
                offset: header.offset,
                found: "a chunk that begins inside a row".into(),
                expected: "a repetition level of 0 first",
            });
        }
        let first = rows - u32::from(begins_inside);
        rows = rows
            .checked_add(begun)
            .ok_or_else(|| contradiction(source, "rows", source.rows, u64::from(u32::MAX)))?;
        pages.push(PageAt {
            header,
            tree,
            rows: if entries > 0 { first..rows } else { rows..rows },
            begins_inside,
        });
    }
    if values != chunk.values {
        return Err(contradiction(source, "values", chunk.values, values));
    }
    if u64::from(rows) != source.rows {
        return Err(contradiction(source, "rows", source.rows, u64::from(rows)));
    }
    Ok(pages)
}

fn max(source: &Source<'_>) -> i16 {
    source.descriptor.max_rep_level()
}

fn contradiction(source: &Source<'_>, of: &str, claimed: u64, counted: u64) -> FormatError {
    FormatError::Contradiction {
        what: format!("{of} of a chunk of column {}", source.descriptor.path()),
        claimed,
        counted,
    }
}
