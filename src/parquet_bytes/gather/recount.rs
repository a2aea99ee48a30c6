//! Where rows are, when what claims it turns out to be wrong.
//!
//! Headers of version 2 and the offset index claim how many rows a page holds, and some writers count values there.
//! The levels of a page tell the truth (of a column that can't repeat, the number of its entries).
//!
//! ```text
//!   a page holds other rows than was claimed
//!     nothing was found yet:  all pages again, by their levels
//!     some rows were found:   all are counted; the pages that they came from must begin where they were claimed to;
//!                             then on by the levels behind these pages
//! ```

use std::sync::Arc;

use super::scratch::{Scratch, body_of, read_page};
use super::{Gather, Result};
use crate::error::FormatError;
use crate::parquet_bytes::levels::Levels;
use crate::parquet_bytes::page::PageHeader;
use crate::parquet_bytes::page_places::{By, HEADER_READ_BYTES, Place, Places};
use crate::parquet_bytes::page_walk::PageWalk;

impl Gather {
    /// Whether the offset index claims values as rows, though the page with this header could hold as many rows as it
    /// claims.
    ///
    /// # Errors
    /// When the last page can't be read.
    pub(super) fn counts_values(&mut self, place: &Place, header: &PageHeader) -> Result<bool> {
        let Some(rows) = &place.rows else {
            return Ok(false);
        };
        let values = u64::from(header.kind.data_values().unwrap_or(0));
        let is_index = self.by == By::Index && !self.is_flat();
        if !is_index || rows.end - rows.start != values || self.chunk.values == self.group_rows {
            return Ok(false);
        }
        if std::mem::replace(&mut self.is_index_checked, true) {
            return Ok(false);
        }
        let places = self.places.as_ref();
        let last = places.and_then(|places| places.as_slice().last());
        let Some((last, rows)) = last.and_then(|last| Some((last, last.rows.as_ref()?))) else {
            return Ok(false);
        };
        let bytes = last.bytes.clone();
        let header =
            PageWalk::with_read_len(Arc::clone(&self.file), bytes, HEADER_READ_BYTES).peek()?;
        let held = header.map_or(0, |page| page.kind.data_values().unwrap_or(0));
        // What lies before the last page has as many values as rows are claimed of it.
        let before = self.chunk.values.checked_sub(u64::from(held));
        Ok(u64::from(held) != rows.end - rows.start && before == Some(rows.start))
    }

    /// Finds the wanted rows that are left by what pages hold, since the one at `place` is not what was claimed.
    ///
    /// # Errors
    /// `found`, if rows that were given out may be others, or an error of a page.
    pub(super) fn recount(
        &mut self,
        place: &Place,
        found: FormatError,
        scratch: &mut Scratch,
    ) -> Result<()> {
        tracing::warn!(
            column = %self.column.path(),
            page = place.bytes.start,
            "rows are counted by the levels of pages, since their headers or the offset index count others"
        );
        let places = Places::by_entries(&self.file, &self.chunk, self.is_flat())?;
        self.by = places.by;
        self.front = places.front;
        let mut pages = places.pages.into_iter();
        let read = std::mem::take(&mut self.read);
        (self.row, self.continues) = (0, false);
        if let Some((last, _)) = read.last().filter(|_| self.next > 0) {
            let begin = self.rows_before(pages.as_slice(), scratch)?;
            let offsets = pages.as_slice().iter().map(|page| page.bytes.start);
            let begin: Vec<(u64, u64)> = offsets.zip(begin).collect();
            if !read.iter().all(|page| begin.binary_search(page).is_ok()) {
                return Err(found);
            }
            let is_behind = |(offset, _): &&(u64, u64)| offset > last;
            self.row = begin
                .iter()
                .find(is_behind)
                .map_or(self.group_rows, |(_, row)| *row);
            let last_found = self
                .next
                .checked_sub(1)
                .and_then(|last| self.rows.get(last));
            self.continues = last_found.is_some_and(|row| u64::from(*row) + 1 == self.row);
            let is_read = |page: &Place| page.bytes.start <= *last;
            let unread = pages.as_slice().partition_point(is_read);
            pages.by_ref().take(unread).for_each(drop);
        }
        self.places = Some(pages);
        Ok(())
    }

    /// How many rows begin before each page.
    fn rows_before(&self, pages: &[Place], scratch: &mut Scratch) -> Result<Vec<u64>> {
        let mut begun = 0;
        let mut before = Vec::with_capacity(pages.len());
        let (mut bytes, mut plain) = (Vec::new(), Vec::new());
        let mut levels = Levels::default();
        for page in pages {
            before.push(begun);
            if let Some(rows) = &page.rows {
                begun = rows.end;
                continue;
            }
            let header = read_page(&*self.file, page.bytes.clone(), &mut bytes)?;
            plain.clear();
            let body = body_of(&header, &bytes)?;
            scratch.decompress(&header, body, self.chunk.codec, &mut plain)?;
            let (max_repetition, max_definition) =
                (self.column.max_rep_level(), self.column.max_def_level());
            levels.read(&header, &plain, max_repetition, max_definition)?;
            begun += levels
                .repetition
                .iter()
                .filter(|level| **level == 0)
                .count() as u64;
        }
        Ok(before)
    }
}
