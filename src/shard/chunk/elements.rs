//! Which elements of a map go, by their keys.
//!
//! The columns of a map (the key, and every leaf of the value) repeat alike: the n-th element of a row in one
//! of them is the n-th in all. So the key column says which go, and each column leaves out the same ones.
//!
//! ```text
//!   row {a: 1, b: 2, c: 3} without a and b:  c takes over the level at which the map began
//!   row {a: 1, b: 2}       without a and b:  the first entry stays, at the level of an empty map
//! ```

use std::collections::HashMap;

use super::dictionary::DictionaryEdit;
use super::erasure::{Erasure, victims};
use super::page::{OpenPage, Tools};
use super::survey::{PageAt, survey};
use super::{Result, Source};
use crate::error::FormatError;
use crate::parquet_bytes::dictionary::Dictionary;

/// Whether an element goes, by its key.
pub type KeyTest<'a> = &'a (dyn Fn(&[u8]) -> bool + Send + Sync);

/// Which elements of a map go.
pub struct Elements {
    /// The repetition level of the map's elements.
    pub(super) repetition: u32,
    /// The definition level from which on there is an element.
    pub(super) definition: u32,
    /// Of the rows that lose elements.
    rows: HashMap<u32, Vec<Fate>>,
    /// By the offset of a page that begins inside a row: elements of that row in the pages before.
    before: HashMap<u64, usize>,
}

/// What becomes of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Kept,
    /// It is the first of its map now, and begins with this repetition level.
    First(u32),
    /// It goes.
    Gone,
    /// It goes as the last one, and its first entry says that the map is empty.
    Empty,
}

/// An element: its repetition level, and whether it goes.
type Element = (u32, bool);

impl Elements {
    /// The elements of `rows` whose key `is_gone`, to take them out of the column `source` of a map; `key` is
    /// the chunk of its keys. An element has the levels `repetition` and `definition`.
    ///
    /// # Errors
    /// When a page of either chunk is damaged.
    pub fn of(
        key: &Source<'_>,
        source: &Source<'_>,
        rows: &[u32],
        levels: (u32, u32),
        is_gone: KeyTest<'_>,
        tools: &mut Tools,
    ) -> Result<Self> {
        let mut elements = Self::find(key, rows, levels, is_gone, tools)?;
        elements.locate(source, &survey(source)?, tools)?;
        Ok(elements)
    }

    fn find(
        key: &Source<'_>,
        rows: &[u32],
        (repetition, definition): (u32, u32),
        is_gone: KeyTest<'_>,
        tools: &mut Tools,
    ) -> Result<Self> {
        let mut elements = Self {
            repetition,
            definition,
            rows: HashMap::new(),
            before: HashMap::new(),
        };
        let pages = survey(key)?;
        let mut dictionary = DictionaryEdit::default();
        dictionary.load(key, &pages, tools)?;
        let entries = dictionary.entries();
        let gone_entries: Vec<bool> = (0..)
            .map_while(|entry| entries.and_then(|entries| entries.get(entry)))
            .map(is_gone)
            .collect();
        let max = key.descriptor.max_def_level();
        let mut current: (u32, Vec<Element>) = (0, Vec::new());
        for page in &pages {
            let among = page.among(rows);
            if among.is_empty() || !page.is_data() {
                continue;
            }
            let open = OpenPage::read(key, page, &Erasure::NONE, None, tools)?;
            let levels = open.levels();
            let mut value = 0;
            let mut at = 0;
            for (row, range) in victims(page, &levels.repetition, open.entries(), among) {
                if row != current.0 {
                    elements.resolve(&mut current);
                    current.0 = row;
                }
                value += levels.values(at..range.start, max);
                at = range.end;
                for entry in range {
                    let level = levels.definition_of(entry, max);
                    let is_value = i64::from(level) == i64::from(max);
                    if level >= definition {
                        let test = |entries: Option<&Dictionary>| match entries {
                            Some(_) => open
                                .index(value)
                                .and_then(|index| gone_entries.get(index as usize).copied()),
                            None => open.value(value).map(is_gone),
                        };
                        let entries = entries.filter(|_| page.uses_dictionary());
                        let is_gone = is_value && test(entries).unwrap_or(false);
                        let level = levels.repetition.get(entry).copied().unwrap_or(0);
                        current.1.push((level, is_gone));
                    }
                    value += usize::from(is_value);
                }
            }
            tools.recycle(open);
        }
        elements.resolve(&mut current);
        Ok(elements)
    }

    /// Decides on the elements of a row, when all of them are known.
    fn resolve(&mut self, (row, elements): &mut (u32, Vec<Element>)) {
        let elements = std::mem::take(elements);
        if elements.iter().all(|(_, is_gone)| !is_gone) {
            return;
        }
        let mut fates = Vec::with_capacity(elements.len());
        // A map of the row begins wherever something further out repeats.
        for map in elements.chunk_by(|_, next| next.0 >= self.repetition) {
            let begins = map.first().map_or(0, |first| first.0);
            let first_left = map.iter().position(|(_, is_gone)| !is_gone);
            fates.extend(map.iter().enumerate().map(|(at, (_, is_gone))| {
                match (is_gone, first_left) {
                    (true, None) if at == 0 => Fate::Empty,
                    (true, _) => Fate::Gone,
                    (false, Some(first)) if at == first && at > 0 => Fate::First(begins),
                    (false, _) => Fate::Kept,
                }
            }));
        }
        self.rows.insert(*row, fates);
    }

    /// Counts, for the pages of a column of the map that begin inside a row that loses elements, how many
    /// elements of it the pages before have.
    fn locate(&mut self, source: &Source<'_>, pages: &[PageAt], tools: &mut Tools) -> Result<()> {
        for (number, page) in pages.iter().enumerate() {
            let row = page.rows.start;
            if !page.begins_inside || !self.rows.contains_key(&row) {
                continue;
            }
            let mut count = 0;
            let earlier = pages.get(..number).unwrap_or_default().iter().rev();
            for earlier in earlier.filter(|page| page.is_data() && !page.rows.is_empty()) {
                if !earlier.rows.contains(&row) {
                    break;
                }
                let open = OpenPage::read(source, earlier, &Erasure::NONE, None, tools)?;
                let levels = open.levels();
                for (_, entries) in victims(earlier, &levels.repetition, open.entries(), &[row]) {
                    count += entries
                        .filter(|entry| {
                            let repetition = levels.repetition.get(*entry).copied().unwrap_or(0);
                            let max = source.descriptor.max_def_level();
                            repetition <= self.repetition
                                && levels.definition_of(*entry, max) >= self.definition
                        })
                        .count();
                }
                let begins_here = !(earlier.begins_inside && earlier.rows.start == row);
                tools.recycle(open);
                if begins_here {
                    break;
                }
            }
            self.before.insert(page.header.offset, count);
        }
        Ok(())
    }

    /// What becomes of the elements of a row, if it loses some.
    pub(super) fn of_row(&self, row: u32) -> Option<&[Fate]> {
        self.rows.get(&row).map(Vec::as_slice)
    }

    /// Elements of the first row of a page that begins inside it, in the pages before.
    pub(super) fn before(&self, page: &PageAt) -> usize {
        self.before.get(&page.header.offset).copied().unwrap_or(0)
    }
}

/// Two columns of a map have different numbers of elements.
pub(super) fn contradiction(page: &PageAt, keys: usize, found: usize) -> FormatError {
    FormatError::Contradiction {
        what: format!(
            "keys of a map in a row, beside its values in the page at offset {}",
            page.header.offset
        ),
        claimed: keys as u64,
        counted: found as u64,
    }
}
