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
use super::erasure::{ElementFate, Elements, Erasure, victims};
use super::page::{OpenPage, Tools};
use super::survey::{PageAt, survey};
use super::{Result, Source};
use crate::parquet_bytes::dictionary::Dictionary;

/// Whether an element goes, by its key.
pub type KeyTest<'a> = &'a (dyn Fn(&[u8]) -> bool + Send + Sync);

/// An element: its repetition level, and whether it goes.
type Element = (u32, bool);

/// The elements of `rows` whose key `is_gone`, to take them out of the column `source` of a map; `key` is
/// the chunk of its keys. An element has the levels `repetition` and `definition`.
///
/// # Errors
/// When a page of either chunk is damaged.
pub fn find(
    key: &Source<'_>,
    source: &Source<'_>,
    rows: &[u32],
    levels: (u32, u32),
    is_gone: KeyTest<'_>,
    tools: &mut Tools,
) -> Result<Elements> {
    let mut elements = decide(key, rows, levels, is_gone, tools)?;
    locate(&mut elements, source, &survey(source)?, tools)?;
    Ok(elements)
}

/// Decides by the keys of `rows`, without the pages of another column.
fn decide(
    key: &Source<'_>,
    rows: &[u32],
    (repetition, definition): (u32, u32),
    is_gone: KeyTest<'_>,
    tools: &mut Tools,
) -> Result<Elements> {
    let mut elements = Elements {
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
                resolve(&mut elements, &mut current);
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
    resolve(&mut elements, &mut current);
    Ok(elements)
}

/// Decides on the elements of a row, when all of them are known.
fn resolve(elements: &mut Elements, (row, found): &mut (u32, Vec<Element>)) {
    let found = std::mem::take(found);
    if found.iter().all(|(_, is_gone)| !is_gone) {
        return;
    }
    let mut fates = Vec::with_capacity(found.len());
    // A map of the row begins wherever something further out repeats.
    for map in found.chunk_by(|_, next| next.0 >= elements.repetition) {
        let begins = map.first().map_or(0, |first| first.0);
        let first_left = map.iter().position(|(_, is_gone)| !is_gone);
        fates.extend(map.iter().enumerate().map(|(at, (_, is_gone))| {
            match (is_gone, first_left) {
                (true, None) if at == 0 => ElementFate::Empty,
                (true, _) => ElementFate::Gone,
                (false, Some(first)) if at == first && at > 0 => ElementFate::First(begins),
                (false, _) => ElementFate::Kept,
            }
        }));
    }
    elements.rows.insert(*row, fates);
}

/// Counts, for the pages of a column of the map that begin inside a row that loses elements, how many
/// elements of it the pages before have.
fn locate(
    elements: &mut Elements,
    source: &Source<'_>,
    pages: &[PageAt],
    tools: &mut Tools,
) -> Result<()> {
    for (number, page) in pages.iter().enumerate() {
        let row = page.rows.start;
        if !page.begins_inside || !elements.rows.contains_key(&row) {
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
                        repetition <= elements.repetition
                            && levels.definition_of(*entry, max) >= elements.definition
                    })
                    .count();
            }
            let begins_here = !(earlier.begins_inside && earlier.rows.start == row);
            tools.recycle(open);
            if begins_here {
                break;
            }
        }
        elements.before.insert(page.header.offset, count);
    }
    Ok(())
}
