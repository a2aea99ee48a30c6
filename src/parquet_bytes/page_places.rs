//! Where the data pages of a chunk are, and which rows they hold: by the offset index, or by walking the page headers.
//!
//! An offset index can be wrong, and so can the rows that headers of version 2 claim. An index that isn't in order
//! inside of its chunk is not used, nor are headers that claim other rows than the row group has; who reads a page
//! compares the rows that it holds with [`Place::rows`].
//!
//! Memory: 40 bytes a page.

use std::ops::Range;
use std::sync::Arc;

use super::footer::Chunk;
use super::page::PageKind;
use super::page_index::{OffsetIndex, PageLocation};
use super::page_walk::PageWalk;
use crate::error::FormatError;
use crate::io::ReadAt;

type Result<T> = std::result::Result<T, FormatError>;

/// Bytes that a read asks for when only a header is wanted.
pub(super) const HEADER_READ_BYTES: u64 = 512;

/// Where the pages of a chunk are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What stands before the first data page: the dictionary page, if there is one.
    pub front: Range<u64>,
    /// The data pages, in order.
    pub pages: Vec<Place>,
    /// What says which rows they hold.
    pub by: By,
}

/// What says which rows a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The offset index, which is a claim.
    Index,
    /// Headers of version 2, which is a claim where the column can repeat.
    Headers,
    /// The number of its entries, or where the column can repeat, its levels.
    Entries,
}

/// Where a data page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its bytes in the file, with the header.
    pub bytes: Range<u64>,
    /// Its rows, counted in the row group; `None` when only the repetition levels of the chunk's pages can tell.
    pub rows: Option<Range<u64>>,
}

impl Places {
    /// Finds the data pages of `chunk`, a column of a row group of `rows` rows; `is_flat` says that it can't repeat.
    ///
    /// # Errors
    /// When there is no offset index that can be used and a page header is damaged, or the pages hold another number
    /// of values than the footer claims.
    pub fn find(file: &Arc<dyn ReadAt>, chunk: &Chunk, is_flat: bool, rows: u64) -> Result<Self> {
        if let Some(places) = Self::of_index(&**file, chunk, rows) {
            return Ok(places);
        }
        let mut places = Self::of_headers(file, chunk, is_flat)?;
        let last = places.pages.last().and_then(|page| page.rows.as_ref());
        // Some writers count values there.
        if places.by == By::Headers && last.is_some_and(|held| held.end != rows) {
            let chunk = chunk.range.start;
            tracing::warn!(
                chunk,
                rows,
                "page headers claim other rows than the row group has: not believed"
            );
            places.doubt();
        }
        Ok(places)
    }

    /// The data pages of `chunk` without what only claims which rows they hold.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    pub fn by_entries(file: &Arc<dyn ReadAt>, chunk: &Chunk, is_flat: bool) -> Result<Self> {
        let mut places = Self::of_headers(file, chunk, is_flat)?;
        if !is_flat {
            places.doubt();
        }
        Ok(places)
    }

    /// Forgets which rows pages are said to hold.
    fn doubt(&mut self) {
        self.by = By::Entries;
        self.pages.iter_mut().for_each(|page| page.rows = None);
    }

    /// The places of the offset index, if there is one that can be right.
    fn of_index(file: &dyn ReadAt, chunk: &Chunk, rows: u64) -> Option<Self> {
        let index = OffsetIndex::read(file, chunk.offset_index.as_ref()?).ok()?;
        let locations = index.locations(&chunk.range).ok()?;
        let first_rows = locations.iter().map(|page| page.first_row);
        let is_sound = locations.first().is_some_and(|page| page.first_row == 0)
            && first_rows.is_sorted_by(|left, right| left < right)
            && locations
                .last()
                .is_some_and(|page| page.first_row < rows && page.len > 0);
        if !is_sound {
            return None;
        }
        let ends = locations.iter().skip(1).map(|page| page.first_row);
        let place = |(page, end): (&PageLocation, u64)| Place {
            bytes: page.offset..page.offset + page.len,
            rows: Some(page.first_row..end),
        };
        Some(Self {
            front: chunk.range.start..locations.first()?.offset,
            pages: locations
                .iter()
                .zip(ends.chain([rows]))
                .map(place)
                .collect(),
            by: By::Index,
        })
    }

    /// The places that the page headers give.
    fn of_headers(file: &Arc<dyn ReadAt>, chunk: &Chunk, is_flat: bool) -> Result<Self> {
        let range = chunk.range.clone();
        let mut walk = PageWalk::with_read_len(Arc::clone(file), range, HEADER_READ_BYTES);
        let mut places = Self {
            front: chunk.range.start..chunk.range.end,
            pages: Vec::new(),
            by: if is_flat { By::Entries } else { By::Headers },
        };
        let (mut values, mut row) = (0, Some(0));
        while let Some(page) = walk.peek()? {
            walk.skip(&page);
            let Some(held) = page.kind.data_values() else {
                continue;
            };
            if places.pages.is_empty() {
                places.front.end = page.offset;
            }
            values += u64::from(held);
            let rows = match page.kind {
                _ if is_flat => Some(u64::from(held)),
                PageKind::V2 { rows, .. } => Some(u64::from(rows)),
                _ => None,
            };
            let end = row.zip(rows).map(|(row, rows)| row + rows);
            places.pages.push(Place {
                bytes: page.offset..page.end(),
                rows: row.zip(end).map(|(row, end)| row..end),
            });
            row = end;
        }
        if row.is_none() {
            places.doubt();
        }
        if values == chunk.values {
            return Ok(places);
        }
        Err(FormatError::Contradiction {
            what: format!("values of the chunk at offset {}", chunk.range.start),
            claimed: chunk.values,
            counted: values,
        })
    }
}
