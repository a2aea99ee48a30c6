//! The values of some rows of a chunk, as pages that hold nothing else.
//!
//! ```text
//!   places ──> pages with such rows ── read, decompressed as far as the last such row ──> levels, values
//!                                            dictionary, as far as the last such entry ──┘
//!        ──> pages of version 2, PLAIN, of just those rows ──> any leaf reader of the `parquet` crate
//! ```
//! A leaf reader has then nothing to skip, and knows every type that there is.
//!
//! * `pieces`: which entries of a page; `wanted`: where their values are; `dictionary`: the front of it that they need;
//!   `made`: the page that is made; `scratch`: reading; `recount`: where rows are when that is claimed wrongly
//!
//! # Invariants
//! If there is an offset index, no page without a wanted row is read; without one, only its header. (Where a column can
//! repeat, the page behind a wanted row is read too: the row might go on there.) A page's rows are counted and compared
//! with the index or the header that located them. If these are wrong, what pages hold is counted: no row gets another's
//! value.
//!
//! Memory: one page and the dictionary, and the pages made, which end after [`ROWS`] rows or [`BYTES`] bytes (or one row).

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescPtr;

use self::made::Made;
use self::scratch::{Front, Scratch, body_of, lock, read_page};
use self::wanted::{Piece, Values, Wanted};
use super::footer::Chunk;
use super::guard::external;
use super::levels::Levels;
use super::page::PageHeader;
use super::page_places::{By, Place, Places};
use super::rle;
use super::values::{PageValues, Physical};
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::limits::PAGE_VALUES_MAX;

pub use self::scratch::SharedScratch;

mod dictionary;
mod made;
mod pieces;
mod recount;
mod scratch;
mod wanted;

type Result<T> = std::result::Result<T, FormatError>;

/// Rows of a page that is made, at most.
pub const ROWS: usize = 8192;
/// Bytes of values after which a page that is made ends.
pub const BYTES: usize = 1 << 20;

/// The pages that hold some rows of one chunk.
pub struct Gather {
    file: Arc<dyn ReadAt>,
    chunk: Chunk,
    column: ColumnDescPtr,
    physical: Physical,
    group_rows: u64,
    /// Those rows, ascending, counted in the row group.
    rows: Arc<[u32]>,
    scratch: SharedScratch,
    /// The data pages that are left, once they were looked for.
    places: Option<std::vec::IntoIter<Place>>,
    /// What says where rows are.
    by: By,
    is_index_checked: bool,
    /// Where the pages that were read by a claim begin, and their first rows.
    read: Vec<(u64, u64)>,
    front: Range<u64>,
    /// The dictionary's entries, and how many of them were read.
    dictionary: Option<(Values, usize)>,
    source: Option<Source>,
    /// Where in `rows` the first row is that was not found yet.
    next: usize,
    /// The row that begins next, where pages don't say it.
    row: u64,
    /// Whether the entries at the front of the next page belong to a row that is wanted.
    continues: bool,
    /// Rows of the pages that were given out.
    given: usize,
    ready: Option<Page>,
}

/// A page with wanted rows, decoded.
struct Source {
    levels: Levels,
    values: Values,
    pieces: std::vec::IntoIter<Piece>,
    /// Wanted values that were copied.
    copied: usize,
}

impl Gather {
    /// The `rows` (ascending, counted in the row group, which has `group_rows`) of `chunk`.
    pub fn new(
        file: Arc<dyn ReadAt>,
        chunk: &Chunk,
        column: ColumnDescPtr,
        group_rows: u64,
        rows: Arc<[u32]>,
        scratch: SharedScratch,
    ) -> Self {
        Self {
            file,
            chunk: chunk.clone(),
            physical: Physical::of(&column),
            column,
            group_rows,
            rows,
            scratch,
            places: None,
            by: By::Entries,
            is_index_checked: false,
            read: Vec::new(),
            front: 0..0,
            dictionary: None,
            source: None,
            next: 0,
            row: 0,
            continues: false,
            given: 0,
            ready: None,
        }
    }

    /// The next page.
    ///
    /// # Errors
    /// When a page or an index is damaged, they contradict each other, or reading fails.
    pub fn pop(&mut self) -> Result<Option<Page>> {
        match self.ready.take() {
            Some(page) => Ok(Some(page)),
            None => self.next_page(),
        }
    }

    /// What the next page holds.
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop).
    pub fn coming(&mut self) -> Result<Option<PageMetadata>> {
        if self.ready.is_none() {
            self.ready = self.next_page()?;
        }
        Ok(self.ready.as_ref().map(|page| PageMetadata {
            num_rows: match page {
                Page::DataPageV2 { num_rows, .. } => Some(*num_rows as usize),
                _ => None,
            },
            num_levels: Some(page.num_values() as usize),
            is_dict: false,
        }))
    }

    /// The name of the column.
    pub fn column_path(&self) -> String {
        self.column.path().string()
    }

    fn is_flat(&self) -> bool {
        self.column.max_rep_level() == 0
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        let shared = Arc::clone(&self.scratch);
        let mut scratch = lock(&shared);
        let mut made = std::mem::take(&mut scratch.made);
        let page = self.fill(&mut made, &mut scratch);
        if page.is_ok() {
            scratch.made = made;
        }
        page
    }

    /// Fills the page in the making; `None` when there is nothing left for one.
    fn fill(&mut self, made: &mut Made, scratch: &mut Scratch) -> Result<Option<Page>> {
        loop {
            self.copy(made, scratch);
            if self.source.is_some() {
                break;
            }
            let Some(place) = self.next_place()? else {
                break;
            };
            self.source = self.load(&place, scratch)?;
        }
        if self.is_used_up()
            && let Some((dictionary, _)) = self.dictionary.take()
        {
            // For the next column; this one may not be dropped until the whole row group is read.
            scratch.give_back(dictionary);
        }
        if made.entries > 0 {
            self.given += made.rows;
            return Ok(Some(made.page(&self.column)));
        }
        if self.given == self.rows.len() {
            return Ok(None);
        }
        Err(FormatError::Contradiction {
            what: format!("wanted rows of a chunk of column {}", self.column.path()),
            claimed: self.rows.len() as u64,
            counted: self.given as u64,
        })
    }

    /// Whether no page that is left can hold a wanted entry.
    fn is_used_up(&self) -> bool {
        self.source.is_none() && self.next == self.rows.len() && !self.continues
    }

    /// The next page that holds a wanted row, or may.
    fn next_place(&mut self) -> Result<Option<Place>> {
        let places = match &mut self.places {
            Some(places) => places,
            none => {
                let is_flat = self.column.max_rep_level() == 0;
                let places = Places::find(&self.file, &self.chunk, is_flat, self.group_rows)?;
                self.front = places.front;
                self.by = places.by;
                none.insert(places.pages.into_iter())
            }
        };
        if self.continues {
            return Ok(places.next());
        }
        let wanted = self.rows.get(self.next).copied();
        Ok(match wanted.map(u64::from) {
            Some(row) => places.find(|place| {
                let rows = place.rows.as_ref();
                rows.is_none_or(|rows| rows.contains(&row))
            }),
            None => None,
        })
    }

    /// Reads the page at `place`; `None` when it turns out to hold no wanted row, or other rows than was claimed.
    fn load(&mut self, place: &Place, scratch: &mut Scratch) -> Result<Option<Source>> {
        let mut bytes = std::mem::take(&mut scratch.compressed);
        let header = read_page(&*self.file, place.bytes.clone(), &mut bytes)?;
        let result = if self.counts_values(place, &header)? {
            Err(self.miscounted(&header, place.rows.as_ref(), 0))
        } else {
            self.decode(place, &header, &bytes, scratch)
        };
        scratch.compressed = bytes;
        match result {
            Err(found @ FormatError::Contradiction { .. }) if self.by != By::Entries => {
                self.recount(place, found, scratch)?;
                Ok(None)
            }
            result => {
                if let Some(rows) = place.rows.as_ref().filter(|_| self.by != By::Entries) {
                    self.read.push((place.bytes.start, rows.start));
                }
                result
            }
        }
    }

    fn decode(
        &mut self,
        place: &Place,
        header: &PageHeader,
        bytes: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Option<Source>> {
        let entries = header.kind.data_values().unwrap_or(0);
        if entries > PAGE_VALUES_MAX || header.kind.data_values().is_none() {
            return Err(FormatError::Invalid {
                structure: "page header",
                offset: header.offset,
                found: format!("a page of {entries} values"),
                expected: "a data page",
            });
        }
        let body = body_of(header, bytes)?;
        let mut front = Front {
            header,
            body,
            codec: self.chunk.codec,
        };
        let (needed, of) = match &place.rows {
            Some(rows) => {
                let end = self.rows.partition_point(|row| u64::from(*row) < rows.end);
                let last = end.checked_sub(1).and_then(|last| self.rows.get(last));
                let last = last.map_or(rows.end, |last| u64::from(*last) + 1);
                (last.saturating_sub(rows.start), rows.end - rows.start)
            }
            None => (1, 1),
        };
        let is_ordered = matches!(
            header.kind.data_encoding(),
            Some(Encoding::PLAIN | Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY)
        );
        let (needed, of) = if is_ordered { (needed, of) } else { (1, 1) };
        front.read(needed, of, scratch, |plain, scratch| {
            self.decode_front(place, header, plain, scratch)
        })
    }

    /// Decodes a page as far as the last wanted row, from the front of its body (or all of it).
    fn decode_front(
        &mut self,
        place: &Place,
        header: &PageHeader,
        plain: Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<Option<Source>> {
        let (max_repetition, max_definition) =
            (self.column.max_rep_level(), self.column.max_def_level());
        let mut levels = std::mem::take(&mut scratch.levels);
        let values = levels.read(header, &plain, max_repetition, max_definition)?;
        let at = plain.len() - values.len();
        let entries = header.kind.data_values().unwrap_or(0) as usize;
        let walked = if self.is_flat() {
            self.flat_pieces(place, header, entries, &levels)?
        } else {
            self.repeated_pieces(place, header, entries, &levels)?
        };
        let (pieces, after) = walked;
        let wanted = Wanted {
            header,
            pieces: &pieces,
        };
        let is_plain = header.kind.data_encoding() == Some(Encoding::PLAIN);
        let values = if header.kind.uses_dictionary() {
            let mut indices = std::mem::take(&mut scratch.indices);
            wanted.indices(plain.get(at..).unwrap_or_default(), &mut indices)?;
            if !indices.is_empty() {
                self.reach_entry(rle::largest(&indices), header, scratch)?;
            }
            Values::Indices(plain, indices)
        } else if is_plain && self.physical.is_byte_array() {
            let mut spans = scratch.take_spans();
            wanted.spans(&plain, at, &mut spans)?;
            Values::Spans(plain, spans)
        } else {
            let count = match pieces.last() {
                None => 0,
                Some(last) if is_plain => last.values.end,
                Some(_) => levels.values(0..entries, max_definition),
            };
            let physical = self.physical;
            Values::All(PageValues::read(
                header,
                physical,
                plain,
                at,
                count,
                Vec::new(),
            )?)
        };
        (self.next, self.row, self.continues) = after;
        if pieces.is_empty() {
            scratch.give_back(values);
            scratch.levels = levels;
            return Ok(None);
        }
        Ok(Some(Source {
            levels,
            values,
            pieces: pieces.into_iter(),
            copied: 0,
        }))
    }

    /// Copies wanted entries until the page in the making is full or the source is used up.
    fn copy(&mut self, made: &mut Made, scratch: &mut Scratch) {
        let Some(source) = &mut self.source else {
            return;
        };
        let max = self.column.max_def_level();
        let max_level = u32::try_from(max).unwrap_or(0);
        let is_repeated = self.column.max_rep_level() > 0;
        let physical = self.column.physical_type();
        while let Some(piece) = source.pieces.as_slice().first() {
            let is_full = made.rows >= ROWS || made.values.len() >= BYTES;
            // A row is never cut in two.
            if is_full && piece.rows > 0 {
                return;
            }
            let entries = piece.entries.clone();
            let len = entries.len();
            if is_repeated {
                let levels = source.levels.repetition.get(entries.clone());
                made.levels.repetition.extend(levels.unwrap_or_default());
            }
            if max > 0 {
                let definition = &mut made.levels.definition;
                if let Some(levels) = source.levels.definition.get(entries) {
                    definition.extend_from_slice(levels);
                } else {
                    definition.resize(definition.len() + len, max_level);
                }
            }
            for at in piece.values.clone() {
                let value = match (&source.values, &self.dictionary) {
                    (Values::Indices(_, indices), Some((dictionary, _))) => indices
                        .get(source.copied)
                        .map(|index| *index as usize)
                        .and_then(|index| dictionary.get(index, index)),
                    (values, _) => values.get(at, source.copied),
                };
                source.copied += 1;
                // All that is wanted was found when the page was decoded.
                made.push(value.unwrap_or_default(), physical);
            }
            made.entries += len;
            made.nulls += len - piece.values.len();
            made.rows += piece.rows;
            source.pieces.next();
        }
        if let Some(source) = self.source.take() {
            scratch.give_back(source.values);
            scratch.levels = source.levels;
        }
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        if let Some((dictionary, _)) = self.dictionary.take() {
            lock(&self.scratch).give_back(dictionary);
        }
    }
}

impl Iterator for Gather {
    type Item = std::result::Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Gather {
    fn get_next_page(&mut self) -> std::result::Result<Option<Page>, ParquetError> {
        self.pop().map_err(external)
    }

    fn peek_next_page(&mut self) -> std::result::Result<Option<PageMetadata>, ParquetError> {
        self.coming().map_err(external)
    }

    fn skip_next_page(&mut self) -> std::result::Result<(), ParquetError> {
        self.get_next_page().map(drop)
    }
}
