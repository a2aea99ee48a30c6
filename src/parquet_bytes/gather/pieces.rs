//! Which entries of a page belong to wanted rows.

use std::ops::Range;

use super::wanted::Piece;
use super::{Gather, Result};
use crate::error::FormatError;
use crate::parquet_bytes::levels::Levels;
use crate::parquet_bytes::page::PageHeader;
use crate::parquet_bytes::page_places::Place;

/// Entries of a column that can't repeat that are copied at a time.
const PIECE: usize = 256;

/// Pieces of a page; then the next wanted row, the next row, and whether the last one goes on if it is wanted.
pub(super) type Walked = (Vec<Piece>, (usize, u64, bool));

impl Gather {
    /// The wanted entries of a page whose entries are rows, and where that leads to.
    pub(super) fn flat_pieces(
        &self,
        place: &Place,
        header: &PageHeader,
        entries: usize,
        levels: &Levels,
    ) -> Result<Walked> {
        let rows = place.rows.clone().unwrap_or_default();
        self.check_rows(header, &rows, entries as u64)?;
        let max = self.column.max_def_level();
        let (mut next, mut at, mut value) = (self.next, 0, 0);
        let mut pieces = Vec::new();
        while let Some(row) = self.rows.get(next).map(|row| u64::from(*row))
            && row < rows.end
        {
            let run = self.rows.get(next..).unwrap_or_default();
            let len = run
                .iter()
                .zip(row..rows.end)
                .take(PIECE)
                .take_while(|(found, expected)| u64::from(**found) == *expected)
                .count();
            let first = usize::try_from(row - rows.start).unwrap_or(usize::MAX);
            value += levels.values(at..first, max);
            at = first + len;
            let values = levels.values(first..at, max);
            pieces.push(Piece {
                entries: first..at,
                values: value..value + values,
                rows: len,
            });
            value += values;
            next += len;
        }
        Ok((pieces, (next, rows.end, false)))
    }

    /// The wanted entries of a page whose rows may have several, and where that leads to.
    pub(super) fn repeated_pieces(
        &self,
        place: &Place,
        header: &PageHeader,
        entries: usize,
        levels: &Levels,
    ) -> Result<Walked> {
        let max = self.column.max_def_level();
        let (mut next, mut continues) = (self.next, self.continues);
        let mut row = place.rows.as_ref().map_or(self.row, |rows| rows.start);
        let before = row;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut value = 0;
        for at in 0..entries {
            let begins = levels.repetition.get(at) == Some(&0);
            if begins {
                continues = self.rows.get(next).map(|row| u64::from(*row)) == Some(row);
                next += usize::from(continues);
                row += 1;
            }
            let is_value = i64::from(levels.definition_of(at, max)) == i64::from(max);
            if continues {
                match pieces.last_mut() {
                    Some(piece) if !begins && piece.entries.end == at => {
                        piece.entries.end += 1;
                        piece.values.end += usize::from(is_value);
                    }
                    _ => pieces.push(Piece {
                        entries: at..at + 1,
                        values: value..value + usize::from(is_value),
                        rows: usize::from(begins),
                    }),
                }
            }
            value += usize::from(is_value);
        }
        if let Some(rows) = &place.rows {
            // Where rows are claimed, each page begins with one.
            if levels.repetition.first().is_some_and(|level| *level > 0) {
                return Err(self.miscounted(header, Some(rows), row - before));
            }
            self.check_rows(header, rows, row - before)?;
        }
        Ok((pieces, (next, row, continues)))
    }

    fn check_rows(&self, header: &PageHeader, rows: &Range<u64>, counted: u64) -> Result<()> {
        if rows.end - rows.start == counted {
            return Ok(());
        }
        Err(self.miscounted(header, Some(rows), counted))
    }

    /// A page that holds other rows than was claimed.
    pub(super) fn miscounted(
        &self,
        header: &PageHeader,
        claimed: Option<&Range<u64>>,
        counted: u64,
    ) -> FormatError {
        FormatError::Contradiction {
            what: format!(
                "rows of the page at offset {} of column {}",
                header.offset,
                self.column.path()
            ),
            claimed: claimed.map_or(0, |rows| rows.end - rows.start),
            counted,
        }
    }
}
