//! Column index and offset index of a chunk, as trees.
//!
//! ```text
//!   OffsetIndex { 1: [PageLocation { 1: offset, 2: size with header, 3: first row }], 2: [unencoded bytes] }
//!   ColumnIndex { 1: [null page], 2: [min], 3: [max], 4: order, 5: [null count], 6, 7: level histograms }
//! ```
//!
//! Source: `PageIndex.md` in the `parquet-format` repository.

use std::ops::Range;

use super::order::ValueOrder;
use super::thrift::{List, Struct, Value};
use crate::error::FormatError;
use crate::io::ReadAt;

type Result<T> = std::result::Result<T, FormatError>;

const LOCATIONS: i16 = 1;
const UNENCODED: i16 = 2;
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
        tree.set_or_remove(
            UNENCODED,
            unencoded.map(|bytes| Value::List(List::of_i64(bytes))),
        );
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

    /// Bytes of the byte arrays of each of `pages` pages, where the index has them.
    pub fn page_bytes(&self, pages: usize) -> Option<Vec<i64>> {
        let bytes: Vec<i64> = self.0.list(UNENCODED)?.i64s().collect();
        (bytes.len() == pages).then_some(bytes)
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

/// A column index, to edit page by page.
#[derive(Debug)]
pub struct ColumnIndex {
    tree: Struct,
    /// The data pages, in order.
    pub pages: Vec<PageEntry>,
}

/// What a column index says of one page.
#[derive(Debug, Clone, Default)]
pub struct PageEntry {
    /// Smallest and largest value; `None` when the page has no value.
    pub bounds: Option<(Vec<u8>, Vec<u8>)>,
    /// Nulls, where the index counts them.
    pub nulls: Option<i64>,
    /// How many entries have each repetition level, where the index counts them.
    pub repetition: Option<Vec<i64>>,
    /// The same of definition levels.
    pub definition: Option<Vec<i64>>,
}

const NULL_PAGES: i16 = 1;
const MIN_VALUES: i16 = 2;
const MAX_VALUES: i16 = 3;
const BOUNDARY_ORDER: i16 = 4;
const NULL_COUNTS: i16 = 5;
const REPETITION_HISTOGRAMS: i16 = 6;
const DEFINITION_HISTOGRAMS: i16 = 7;
const UNORDERED: i32 = 0;
const ASCENDING: i32 = 1;

impl ColumnIndex {
    /// Reads the column index in `range` of `file`; `None` when it does not describe `pages` pages.
    ///
    /// # Errors
    /// When its bytes are damaged.
    pub fn read(file: &dyn ReadAt, range: &Range<u64>, pages: usize) -> Result<Option<Self>> {
        let bytes = read_bytes(file, range)?;
        let (tree, _) = Struct::read(&bytes, "column index", range.start)?;
        Ok(Self::parse(tree, pages))
    }

    fn parse(tree: Struct, pages: usize) -> Option<Self> {
        let is_null: Vec<bool> = tree.list(NULL_PAGES)?.bools().collect();
        let min: Vec<&[u8]> = tree.list(MIN_VALUES)?.binaries().collect();
        let max: Vec<&[u8]> = tree.list(MAX_VALUES)?.binaries().collect();
        let numbers = |id| tree.list(id).map(|list| list.i64s().collect::<Vec<_>>());
        let nulls = numbers(NULL_COUNTS);
        let histograms = [REPETITION_HISTOGRAMS, DEFINITION_HISTOGRAMS].map(|id| {
            let all = numbers(id)?;
            let levels = all.len().checked_div(pages)?;
            (levels > 0 && levels * pages == all.len()).then(|| {
                let pages = all.chunks_exact(levels);
                pages.map(<[i64]>::to_vec).collect::<Vec<_>>()
            })
        });
        let [repetition, definition] = histograms;
        let lens = [is_null.len(), min.len(), max.len()];
        if lens != [pages; 3] || nulls.as_ref().is_some_and(|nulls| nulls.len() != pages) {
            return None;
        }
        let of = |all: &Option<Vec<Vec<i64>>>, page: usize| all.as_ref()?.get(page).cloned();
        let entries = is_null.iter().zip(min.iter().zip(&max)).enumerate();
        let pages = entries
            .map(|(page, (is_null, (min, max)))| PageEntry {
                bounds: (!is_null).then(|| (min.to_vec(), max.to_vec())),
                nulls: nulls.as_ref().and_then(|nulls| nulls.get(page).copied()),
                repetition: of(&repetition, page),
                definition: of(&definition, page),
            })
            .collect();
        Some(Self { tree, pages })
    }

    /// The index's bytes with the pages as they are now; `order` is that of the column.
    pub fn into_bytes(self, order: Option<ValueOrder>) -> Vec<u8> {
        let Self { mut tree, pages } = self;
        let boundary_order = match (tree.i32(BOUNDARY_ORDER), order) {
            (Some(UNORDERED) | None, _) | (_, None) => UNORDERED,
            (Some(claimed), Some(order)) => {
                let bounds = || pages.iter().filter_map(|page| page.bounds.as_ref());
                let is_kept = bounds().zip(bounds().skip(1)).all(|(left, right)| {
                    let by_min = order.compare(&left.0, &right.0);
                    let by_max = order.compare(&left.1, &right.1);
                    if claimed == ASCENDING {
                        by_min.is_le() && by_max.is_le()
                    } else {
                        by_min.is_ge() && by_max.is_ge()
                    }
                });
                if is_kept { claimed } else { UNORDERED }
            }
        };
        let numbers = |of: &dyn Fn(&PageEntry) -> Option<Vec<i64>>| {
            let all: Option<Vec<Vec<i64>>> = pages.iter().map(of).collect();
            all.map(|all| Value::List(List::of_i64(all.concat())))
        };
        let nulls = numbers(&|page| page.nulls.map(|nulls| vec![nulls]));
        let repetition = numbers(&|page| page.repetition.clone());
        let definition = numbers(&|page| page.definition.clone());
        let is_null = List::of_bool(pages.iter().map(|page| page.bounds.is_none()));
        let (min, max): (Vec<_>, Vec<_>) = pages
            .into_iter()
            .map(|page| page.bounds.unwrap_or_default())
            .unzip();
        tree.set(NULL_PAGES, Value::List(is_null));
        tree.set(MIN_VALUES, Value::List(List::of_binary(min)));
        tree.set(MAX_VALUES, Value::List(List::of_binary(max)));
        tree.set(BOUNDARY_ORDER, Value::I32(boundary_order));
        tree.set_or_remove(NULL_COUNTS, nulls);
        tree.set_or_remove(REPETITION_HISTOGRAMS, repetition);
        tree.set_or_remove(DEFINITION_HISTOGRAMS, definition);
        tree.to_bytes()
    }
}
