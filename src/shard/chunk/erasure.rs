//! The values that leave a chunk, and the entries of a page that stay.
//!
//! ```text
//!   Rows       the rows go, with all their entries
//!   Null       each instance of a node becomes null (empty, if it is a repeated one without a list around it):
//!              its first entry stays, at the level at which the node is not there; the others go
//!   Elements   some elements of a map go; one of which all go becomes empty
//!   Replace    values become others
//! ```
//!
//! # Invariants
//! An erasure that was done once finds nothing to do: a page in which it has no effect is reported as unchanged.

use std::collections::HashMap;
use std::ops::Range;

use super::faults::{outside, unlike_keys};
use super::survey::PageAt;
use crate::error::FormatError;
use crate::parquet_bytes::dictionary::Dictionary;
use crate::parquet_bytes::levels::Levels;
use crate::parquet_bytes::values::PageValues;

type Result<T> = std::result::Result<T, FormatError>;

/// What goes from a chunk.
#[derive(Clone, Copy)]
pub struct Erasure<'a> {
    /// The rows that it goes from, ascending, counted in the row group.
    pub rows: &'a [u32],
    /// What goes from them.
    pub what: What<'a>,
}

/// What goes from rows.
#[derive(Clone, Copy)]
pub enum What<'a> {
    /// All of them.
    Rows,
    /// The instances of a node.
    Null {
        /// The largest repetition level outside of the node.
        repetition: u32,
        /// The definition level at which the node is the first that is not there.
        definition: u32,
    },
    /// Elements of a map.
    Elements(&'a Elements),
    /// Values, where this says so; others take their places.
    Replace(Replacement<'a>),
}

/// Which elements of a map go.
pub struct Elements {
    /// The repetition level of the map's elements.
    pub(super) repetition: u32,
    /// The definition level from which on there is an element.
    pub(super) definition: u32,
    /// What becomes of the elements, for each row that loses some.
    pub(super) rows: HashMap<u32, Vec<ElementFate>>,
    /// By the offset of a page that begins inside a row: elements of that row in the pages before.
    pub(super) before: HashMap<u64, usize>,
}

/// What becomes of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementFate {
    /// Nothing.
    Kept,
    /// It is the first of its map now, and begins with this repetition level.
    First(u32),
    /// It goes.
    Gone,
    /// It goes as the last one, and its first entry says that the map is empty.
    Empty,
}

/// The value that takes the place of one that goes; `None` for one that stays. What takes a place stays.
pub type Replacement<'a> = &'a (dyn Fn(&[u8]) -> Option<Replaced> + Send + Sync);

/// What takes the place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The new value.
    pub value: Vec<u8>,
    /// Whether nothing is left of a value of which a part should go, since it can't be taken apart.
    pub is_whole: bool,
}

impl Erasure<'_> {
    /// Nothing.
    pub const NONE: Self = Self {
        rows: &[],
        what: What::Rows,
    };

    /// What goes from a page.
    pub(super) fn of_page(&self, page: &PageAt) -> Self {
        Self {
            rows: page.among(self.rows),
            what: self.what,
        }
    }

    /// Whether rows go, rather than values.
    pub(super) fn takes_rows(&self) -> bool {
        matches!(self.what, What::Rows)
    }
}

/// By how much counts change.
#[derive(Debug, Default, Clone)]
pub(super) struct Change {
    /// Entries: values and nulls.
    pub(super) entries: i64,
    /// Entries that are no value.
    pub(super) nulls: i64,
    /// Bytes of byte arrays, without lengths.
    pub(super) data_bytes: i64,
    /// Values of which nothing is left, since they can't be taken apart.
    pub(super) whole: u64,
    /// Entries by repetition level.
    pub(super) repetition: Vec<i64>,
    /// Entries by definition level.
    pub(super) definition: Vec<i64>,
}

impl Change {
    /// Adds the change of one more page.
    pub(super) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.nulls += other.nulls;
        self.data_bytes += other.data_bytes;
        self.whole += other.whole;
        for (sums, counts) in [
            (&mut self.repetition, &other.repetition),
            (&mut self.definition, &other.definition),
        ] {
            sums.resize(sums.len().max(counts.len()), 0);
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
}

/// The entries and values of a page that stay, go, or are new. Values are named by their places.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// Values of the page as it will be, in order, those that were added among them.
    pub(super) kept: Vec<Range<usize>>,
    /// Values that go.
    pub(super) gone: Vec<Range<usize>>,
    /// Values that were added.
    pub(super) added: Vec<Range<usize>>,
    /// The levels of the page as it will be.
    pub(super) levels: Levels,
    /// Its entries.
    pub(super) entries: usize,
    /// How counts change.
    pub(super) change: Change,
    /// Whether anything goes.
    pub(super) is_changed: bool,
}

impl Split {
    /// What `erasure` leaves of `page`, which has `levels` for its `entries` entries; values that are new are
    /// added to `values`, or to `dictionary` if the page has indices.
    ///
    /// # Errors
    /// When an index has no entry, or a map's columns contradict each other.
    pub(super) fn of(
        page: &PageAt,
        (levels, entries): (&Levels, usize),
        (max_repetition, max_definition): (i16, i16),
        erasure: &Erasure<'_>,
        values: &mut PageValues,
        mut dictionary: Option<&mut Dictionary>,
    ) -> Result<Self> {
        let of_max = |max: i16| vec![0; usize::try_from(max).unwrap_or(0) + 1];
        let mut splitter = Splitter {
            old: levels,
            max_definition,
            value: 0,
            split: Self {
                levels: Levels {
                    repetition: Vec::with_capacity(levels.repetition.len()),
                    definition: Vec::with_capacity(levels.definition.len()),
                },
                change: Change {
                    repetition: of_max(max_repetition),
                    definition: of_max(max_definition),
                    ..Change::default()
                },
                ..Self::default()
            },
        };
        let mut at = 0;
        for (row, victim) in victims(page, &levels.repetition, entries, erasure.rows) {
            splitter.keep(at..victim.start);
            at = victim.end;
            match erasure.what {
                What::Rows => splitter.drop(victim),
                What::Null {
                    repetition,
                    definition,
                } => {
                    for entry in victim {
                        let old = splitter.levels_of(entry);
                        if old.0 > repetition {
                            splitter.drop(entry..entry + 1);
                        } else {
                            splitter.relevel(entry, (old.0, old.1.min(definition)));
                        }
                    }
                }
                What::Elements(elements) => splitter.elements(page, row, victim, elements)?,
                What::Replace(replacement) => {
                    for entry in victim {
                        let dictionary = dictionary.as_deref_mut();
                        splitter.replace(page, entry, replacement, values, dictionary)?;
                    }
                }
            }
        }
        splitter.keep(at..entries);
        Ok(splitter.split)
    }
}

/// The rows of `rows` that have an entry in the page, with their entries.
pub(super) fn victims(
    page: &PageAt,
    repetition: &[u32],
    entries: usize,
    rows: &[u32],
) -> Vec<(u32, Range<usize>)> {
    if repetition.is_empty() {
        let entry = |row: &u32| {
            let at = row.saturating_sub(page.rows.start) as usize;
            (at < entries).then_some((*row, at..at + 1))
        };
        return rows.iter().filter_map(entry).collect();
    }
    let mut found = Vec::with_capacity(rows.len());
    let mut rows = rows.iter().copied().peekable();
    let (mut row, mut begin) = (page.rows.start, 0);
    while begin < repetition.len() && rows.peek().is_some() {
        let later = repetition.get(begin + 1..).unwrap_or_default();
        let next = later.iter().position(|level| *level == 0);
        let end = next.map_or(repetition.len(), |next| begin + 1 + next);
        if rows.next_if(|victim| *victim <= row).is_some() {
            found.push((row, begin..end));
        }
        row += 1;
        begin = end;
    }
    found
}

struct Splitter<'a> {
    old: &'a Levels,
    max_definition: i16,
    /// Values of the entries so far.
    value: usize,
    split: Split,
}

impl Splitter<'_> {
    /// Repetition and definition level of an entry.
    fn levels_of(&self, entry: usize) -> (u32, u32) {
        let repetition = self.old.repetition.get(entry).copied().unwrap_or(0);
        (
            repetition,
            self.old.definition_of(entry, self.max_definition),
        )
    }

    fn is_value(&self, level: u32) -> bool {
        i64::from(level) == i64::from(self.max_definition)
    }

    /// How many of the entries are values.
    fn present(&self, entries: &Range<usize>) -> usize {
        self.old.values(entries.clone(), self.max_definition)
    }

    fn keep(&mut self, entries: Range<usize>) {
        let present = self.present(&entries);
        let split = &mut self.split;
        append(&mut split.kept, self.value..self.value + present);
        self.value += present;
        split.entries += entries.len();
        self.copy_levels(entries);
    }

    fn copy_levels(&mut self, entries: Range<usize>) {
        let new = &mut self.split.levels;
        let of = |levels: &'_ [u32]| -> Range<usize> {
            // None are stored where all are alike.
            if levels.is_empty() {
                0..0
            } else {
                entries.clone()
            }
        };
        let repetition = self.old.repetition.get(of(&self.old.repetition));
        new.repetition
            .extend_from_slice(repetition.unwrap_or_default());
        if !self.old.definition.is_empty() {
            let definition = self.old.definition.get(entries);
            new.definition
                .extend_from_slice(definition.unwrap_or_default());
        } else if !new.definition.is_empty() {
            let max = u32::try_from(self.max_definition).unwrap_or(0);
            new.definition
                .resize(new.definition.len() + entries.len(), max);
        }
    }

    fn drop(&mut self, entries: Range<usize>) {
        let present = self.present(&entries);
        let split = &mut self.split;
        split.is_changed |= !entries.is_empty();
        append(&mut split.gone, self.value..self.value + present);
        self.value += present;
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        split.change.entries -= signed(entries.len());
        split.change.nulls -= signed(entries.len() - present);
        for entry in entries {
            self.count(self.levels_of(entry), -1);
        }
    }

    /// Keeps an entry, at other levels.
    fn relevel(&mut self, entry: usize, new: (u32, u32)) {
        let old = self.levels_of(entry);
        if old == new {
            return self.keep(entry..entry + 1);
        }
        self.count(old, -1);
        self.count(new, 1);
        let was_value = self.is_value(old.1);
        let is_value = was_value && self.is_value(new.1);
        let split = &mut self.split;
        split.is_changed = true;
        if was_value {
            let ranges = if is_value {
                &mut split.kept
            } else {
                &mut split.gone
            };
            append(ranges, self.value..self.value + 1);
            split.change.nulls += i64::from(!is_value);
            self.value += 1;
        }
        if !self.old.repetition.is_empty() {
            split.levels.repetition.push(new.0);
        }
        if self.old.definition.is_empty() && split.levels.definition.is_empty() {
            let max = u32::try_from(self.max_definition).unwrap_or(0);
            split.levels.definition.resize(split.entries, max);
        }
        split.levels.definition.push(new.1);
        split.entries += 1;
    }

    fn count(&mut self, (repetition, definition): (u32, u32), by: i64) {
        let change = &mut self.split.change;
        for (counts, level) in [
            (&mut change.repetition, repetition),
            (&mut change.definition, definition),
        ] {
            if let Some(count) = counts.get_mut(level as usize) {
                *count += by;
            }
        }
    }

    /// Takes elements of a map out of a row.
    fn elements(
        &mut self,
        page: &PageAt,
        row: u32,
        entries: Range<usize>,
        elements: &Elements,
    ) -> Result<()> {
        let Some(fates) = elements.rows.get(&row) else {
            self.keep(entries);
            return Ok(());
        };
        let is_first = page.begins_inside && row == page.rows.start;
        let mut next = if is_first {
            let before = elements.before.get(&page.header.offset);
            before.copied().unwrap_or(0)
        } else {
            0
        };
        let mut fate = next
            .checked_sub(1)
            .and_then(|last| fates.get(last).copied());
        for entry in entries {
            let (repetition, definition) = self.levels_of(entry);
            let begins = repetition <= elements.repetition;
            if begins && definition >= elements.definition {
                fate = fates.get(next).copied();
                next += 1;
                match fate {
                    None => return Err(unlike_keys(page, fates.len(), next)),
                    Some(ElementFate::Kept) => self.keep(entry..entry + 1),
                    Some(ElementFate::First(first)) => self.relevel(entry, (first, definition)),
                    Some(ElementFate::Gone) => self.drop(entry..entry + 1),
                    Some(ElementFate::Empty) => {
                        self.relevel(entry, (repetition, elements.definition - 1));
                    }
                }
            } else if !begins && matches!(fate, Some(ElementFate::Gone | ElementFate::Empty)) {
                self.drop(entry..entry + 1);
            } else {
                self.keep(entry..entry + 1);
            }
        }
        Ok(())
    }

    /// Puts another value in the place of that of an entry, where `replacement` says so.
    fn replace(
        &mut self,
        page: &PageAt,
        entry: usize,
        replacement: Replacement<'_>,
        values: &mut PageValues,
        dictionary: Option<&mut Dictionary>,
    ) -> Result<()> {
        if self.present(&(entry..entry + 1)) == 0 {
            self.keep(entry..entry + 1);
            return Ok(());
        }
        let index = values
            .indices()
            .and_then(|all| all.get(self.value).copied());
        let old = match (index, &dictionary) {
            (Some(index), Some(dictionary)) => dictionary.get(index),
            _ => values.get(self.value),
        };
        let old = old.ok_or_else(|| outside(page, index.unwrap_or(0)))?;
        let Some(new) = replacement(old).filter(|new| new.value != old) else {
            self.keep(entry..entry + 1);
            return Ok(());
        };
        self.split.change.whole += u64::from(new.is_whole);
        let new = new.value;
        let place = match (index, dictionary) {
            (Some(_), Some(dictionary)) => values.push_index(dictionary.place_of(&new)?),
            _ => values.push(&new)?,
        };
        let split = &mut self.split;
        split.is_changed = true;
        append(&mut split.gone, self.value..self.value + 1);
        append(&mut split.added, place..place + 1);
        append(&mut split.kept, place..place + 1);
        self.value += 1;
        split.entries += 1;
        self.copy_levels(entry..entry + 1);
        Ok(())
    }
}

/// Adds a range, as a part of the last one where it follows that.
fn append(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}
