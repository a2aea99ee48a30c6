//! Every value of a chunk, and every dictionary entry, also those that no row refers to.

use super::dictionary::DictionaryEdit;
use super::erasure::Erasure;
use super::faults::outside;
use super::page::{OpenPage, Tools};
use super::survey::survey;
use super::{Result, Source};
use crate::parquet_bytes::dictionary::Dictionary;
use crate::parquet_bytes::thrift::Struct;

/// What [`read`] sees.
pub enum Seen<'a> {
    /// A page header; its statistics, if it has some.
    Header(Option<&'a Struct>),
    /// A value as `PLAIN` has it, without a length, and how many entries of rows have it. That is 0 for a
    /// dictionary entry that none refers to.
    Value(&'a [u8], u64),
}

/// Shows the chunk to `see`; says how many data pages it has. Values of pages without a dictionary are shown
/// one by one, entries of the dictionary once.
///
/// # Errors
/// When a page is damaged, or the pages hold another number of rows or values than the footer claims.
pub fn read(source: &Source<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Result<usize> {
    let pages = survey(source)?;
    let mut tools = Tools::default();
    let mut dictionary = DictionaryEdit::default();
    dictionary.load(source, &pages, &mut tools)?;
    let mut counts = vec![0_u64; dictionary.entries().map_or(0, Dictionary::len)];
    for page in &pages {
        see(Seen::Header(page.statistics()));
        if !page.is_data() {
            continue;
        }
        let open = OpenPage::read(source, page, &Erasure::NONE, None, &mut tools)?;
        if page.uses_dictionary() {
            for index in open.kept_indices().flatten() {
                match counts.get_mut(*index as usize) {
                    Some(count) => *count += 1,
                    None => return Err(outside(page, *index)),
                }
            }
        } else {
            open.each_kept(None, &mut |value| see(Seen::Value(value, 1)));
        }
        tools.recycle(open);
    }
    if let Some(entries) = dictionary.entries() {
        for (index, count) in (0..).zip(counts) {
            if let Some(value) = entries.get(index) {
                see(Seen::Value(value, count));
            }
        }
    }
    Ok(pages.iter().filter(|page| page.is_data()).count())
}

/// The first values of a chunk, `count` at most: those of the first page that has some.
///
/// # Errors
/// Those of [`read`].
pub fn sample(source: &Source<'_>, count: usize) -> Result<Vec<Vec<u8>>> {
    let pages = survey(source)?;
    let mut tools = Tools::default();
    let mut dictionary = DictionaryEdit::default();
    dictionary.load(source, &pages, &mut tools)?;
    for page in pages.iter().filter(|page| page.is_data()) {
        let open = OpenPage::read(source, page, &Erasure::NONE, None, &mut tools)?;
        let value = |at| match dictionary.entries_of(page) {
            Some(entries) => entries.get(open.index(at)?),
            None => open.value(at),
        };
        let values: Vec<Vec<u8>> = (0..count).map_while(value).map(<[u8]>::to_vec).collect();
        if !values.is_empty() {
            return Ok(values);
        }
        tools.recycle(open);
    }
    Ok(Vec::new())
}
