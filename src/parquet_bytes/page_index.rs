//! Column index and offset index of a chunk, as trees.
//!
//! ```text
//!   OffsetIndex { 1: [PageLocation { 1: offset, 2: size with header, 3: first row }], 2: [unencoded bytes] }
//!   ColumnIndex { 1: [null page], 2: [min], 3: [max], 4: order, 5: [null count], 6, 7: level histograms }
//! ```
//!
//! Source: `PageIndex.md` in the `parquet-format` repository.

use std::ops::Range;

use super::thrift::{List, Struct, Value};
use crate::error::FormatError;
use crate::storage::ReadAt;

type Result<T> = std::result::Result<T, FormatError>;

const LOCATIONS: i16 = 1;
const LOCATION_OFFSET: i16 = 1;
const LOCATION_SIZE: i16 = 2;
const LOCATION_FIRST_ROW: i16 = 3;

/// Reads the bytes of a structure that the footer points to.
///
/// # Errors
/// When reading fails.
pub fn read_bytes(file: &dyn ReadAt, range: &Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    file.read_at(range.start, &mut bytes)
        .map_err(|source| FormatError::Read {
            offset: range.start,
            source,
        })?;
    Ok(bytes)
}

/// An offset index, to edit.
#[derive(Debug, Clone)]
pub struct OffsetIndex(pub Struct);

/// Where one page is and which rows it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLocation {
    /// Where its header begins, in the file.
    pub offset: u64,
    /// Bytes with the header.
    pub len: u64,
    /// Its first row, counted in the row group.
    pub first_row: u64,
}

impl OffsetIndex {
    /// Reads the offset index in `range` of `file`.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read(file: &dyn ReadAt, range: &Range<u64>) -> Result<Self> {
        let bytes = read_bytes(file, range)?;
        Ok(Self(Struct::read(&bytes, "offset index", range.start)?.0))
    }

    /// An offset index of new pages.
    pub fn new(
        locations: impl IntoIterator<Item = PageLocation>,
        unencoded: Option<Vec<i64>>,
    ) -> Self {
        let locations = locations.into_iter().map(|page| {
            let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            Struct::default()
                .with(LOCATION_OFFSET, Value::I64(int(page.offset)))
                .with(
                    LOCATION_SIZE,
                    Value::I32(i32::try_from(page.len).unwrap_or(i32::MAX)),
                )
                .with(LOCATION_FIRST_ROW, Value::I64(int(page.first_row)))
        });
        let mut tree = Struct::default().with(LOCATIONS, Value::List(List::of_structs(locations)));
        tree.set_or_remove(2, unencoded.map(|bytes| Value::List(List::of_i64(bytes))));
        Self(tree)
    }

    /// Where the data pages are.
    ///
    /// # Errors
    /// When they are not in order inside `chunk`, or hold rows out of order.
    pub fn locations(&self, chunk: &Range<u64>) -> Result<Vec<PageLocation>> {
        let mut locations: Vec<PageLocation> = Vec::new();
        for page in self.0.list(LOCATIONS).into_iter().flat_map(List::structs) {
            let field = |id| page.i64(id).and_then(|value| u64::try_from(value).ok());
            let size = page
                .i32(LOCATION_SIZE)
                .and_then(|size| u64::try_from(size).ok());
            let (Some(offset), Some(len), Some(first_row)) =
                (field(LOCATION_OFFSET), size, field(LOCATION_FIRST_ROW))
            else {
                return Err(invalid(chunk, "a page location with a missing field"));
            };
            let (after, row) = locations.last().map_or((chunk.start, 0), |last| {
                (last.offset + last.len, last.first_row)
            });
            if offset < after || first_row < row || offset + len > chunk.end {
                return Err(invalid(
                    chunk,
                    "page locations out of order or outside the chunk",
                ));
            }
            locations.push(PageLocation {
                offset,
                len,
                first_row,
            });
        }
        Ok(locations)
    }

    /// Moves every page by `delta` bytes.
    pub fn shift(&mut self, delta: i64) {
        let locations = self.0.list_mut(LOCATIONS).into_iter();
        for page in locations.flat_map(|list| &mut list.items) {
            if let Value::Struct(page) = page
                && let Some(offset) = page.i64(LOCATION_OFFSET)
            {
                page.set(LOCATION_OFFSET, Value::I64(offset.saturating_add(delta)));
            }
        }
    }
}

fn invalid(chunk: &Range<u64>, found: &str) -> FormatError {
    FormatError::Invalid {
        structure: "offset index",
        offset: chunk.start,
        found: found.to_owned(),
        expected: "the chunk's pages in order",
    }
}

/// What a column index says of one new page.
#[derive(Debug, Clone)]
pub struct PageBounds {
    /// Smallest and largest value; `None` when the page has no value.
    pub bounds: Option<(Vec<u8>, Vec<u8>)>,
    /// Nulls.
    pub nulls: i64,
}

/// The tree of a column index of new pages.
pub fn column_index(
    pages: Vec<PageBounds>,
    boundary_order: i32,
    repetition_histograms: Option<Vec<i64>>,
    definition_histograms: Option<Vec<i64>>,
) -> Struct {
    let list = |values: Vec<i64>| Value::List(List::of_i64(values));
    let null_pages = List::of_bool(pages.iter().map(|page| page.bounds.is_none()));
    let nulls = pages.iter().map(|page| page.nulls).collect();
    let (min, max): (Vec<_>, Vec<_>) = pages
        .into_iter()
        .map(|page| page.bounds.unwrap_or_default())
        .unzip();
    let mut tree = Struct::default()
        .with(1, Value::List(null_pages))
        .with(2, Value::List(List::of_binary(min)))
        .with(3, Value::List(List::of_binary(max)))
        .with(4, Value::I32(boundary_order))
        .with(5, list(nulls));
    tree.set_or_remove(6, repetition_histograms.map(list));
    tree.set_or_remove(7, definition_histograms.map(list));
    tree
}
