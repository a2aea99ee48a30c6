//! The dictionary of a chunk without the entries that nothing refers to any more.
//!
//! ```text
//!   entries:  a b c d e f        c and e are orphans: the last entries take their places
//!         ->  a b f d            f: 5 -> 2; pages that refer to no moved entry stay as they are
//! ```
//! Writers number entries as they first meet them, so the last entries occur in the last pages alone, and
//! most pages need no other indices. A dictionary that claims to be sorted keeps its order instead, at the
//! price of new indices in most pages.
//!
//! An orphan is never overwritten with a copy of another entry: readers take entries to be distinct.

use std::collections::HashMap;

use parquet::basic::Encoding;

use super::values::{PageValues, Ranges};
use crate::error::FormatError;

/// The entries of a dictionary page.
#[derive(Debug)]
pub struct Dictionary {
    entries: PageValues,
    is_sorted: bool,
    /// Entries of the page; behind them are those that were added.
    original: usize,
    /// Places by value, once an entry was to be added.
    places: Option<HashMap<Vec<u8>, u32>>,
}

/// What becomes of a dictionary that loses entries.
#[derive(Debug)]
pub struct Shrunk {
    /// The new place of each entry; that of an orphan means nothing.
    pub places: Vec<u32>,
    /// Entries below this one stay where they are.
    pub first_moved: u32,
    /// Old places in the new order.
    order: Vec<u32>,
}

impl Shrunk {
    /// The old places of the entries that are left, in their new order.
    pub fn order(&self) -> &[u32] {
        &self.order
    }
}

impl Dictionary {
    /// A dictionary of decoded entries.
    pub fn new(entries: PageValues, is_sorted: bool) -> Self {
        Self {
            original: entries.count(),
            entries,
            is_sorted,
            places: None,
        }
    }

    /// The place of `value`, which is added if it is not there yet.
    ///
    /// # Errors
    /// When the dictionary would be too long.
    pub fn place_of(&mut self, value: &[u8]) -> Result<u32, FormatError> {
        let entries = &mut self.entries;
        let places = self.places.get_or_insert_with(|| {
            let all = (0..).take(entries.count());
            all.filter_map(|at| Some((entries.get(at as usize)?.to_vec(), at)))
                .collect()
        });
        if let Some(place) = places.get(value) {
            return Ok(*place);
        }
        let place = u32::try_from(entries.push(value)?).unwrap_or(u32::MAX);
        places.insert(value.to_vec(), place);
        // Nobody would look for the right place.
        self.is_sorted = false;
        Ok(place)
    }

    /// Whether entries were added.
    pub fn is_extended(&self) -> bool {
        self.len() > self.original
    }

    /// Whether the entries are in ascending order, as far as the page says so and nothing was added.
    pub fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry at `index`.
    pub fn get(&self, index: u32) -> Option<&[u8]> {
        self.entries.get(index as usize)
    }

    /// How the dictionary looks without `orphans`, one flag per entry.
    pub fn without(&self, orphans: &[bool]) -> Shrunk {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let is_orphan = |at: &u32| orphans.get(*at as usize).copied().unwrap_or(false);
        let len = narrow(self.len());
        let left = len - narrow((0..len).filter(is_orphan).count());
        let order: Vec<u32> = if self.is_sorted {
            (0..len).filter(|at| !is_orphan(at)).collect()
        } else {
            let mut movers = (left..len).filter(|at| !is_orphan(at));
            (0..left)
                .filter_map(|at| {
                    if is_orphan(&at) {
                        movers.next()
                    } else {
                        Some(at)
                    }
                })
                .collect()
        };
        let mut places = vec![0; self.len()];
        for (new, old) in order.iter().enumerate() {
            if let Some(place) = places.get_mut(*old as usize) {
                *place = narrow(new);
            }
        }
        let first_moved = if self.is_sorted {
            (0..len).find(is_orphan).unwrap_or(len)
        } else {
            left
        };
        Shrunk {
            places,
            first_moved,
            order,
        }
    }

    /// Appends the page body of the shrunk dictionary to `out`; says how many entries it has.
    pub fn write(&self, shrunk: &Shrunk, out: &mut Vec<u8>) -> u32 {
        for run in shrunk.order.chunk_by(|left, right| left + 1 == *right) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                let range = *first as usize..*last as usize + 1;
                self.entries.write(Encoding::PLAIN, &[range], None, out);
            }
        }
        u32::try_from(shrunk.order.len()).unwrap_or(u32::MAX)
    }
}

/// What needs the dictionary where the page holds indices of its entries.
impl PageValues {
    /// Shows the values in `ranges` to `see` until it returns `false`; each entry of the dictionary once.
    pub fn each(
        &self,
        ranges: &Ranges,
        dictionary: Option<&Dictionary>,
        see: &mut dyn FnMut(&[u8]) -> bool,
    ) {
        if let (Some(indices), Some(dictionary)) = (self.indices(), dictionary) {
            let mut is_seen = vec![false; dictionary.len()];
            for range in ranges {
                for index in indices.get(range.clone()).unwrap_or_default() {
                    let Some(slot) = is_seen.get_mut(*index as usize) else {
                        continue;
                    };
                    if !std::mem::replace(slot, true)
                        && let Some(entry) = dictionary.get(*index)
                        && !see(entry)
                    {
                        return;
                    }
                }
            }
            return;
        }
        for at in ranges.iter().cloned().flatten() {
            if let Some(value) = self.get(at)
                && !see(value)
            {
                return;
            }
        }
    }

    /// Bytes of the values in `ranges` without lengths, for columns of byte arrays.
    pub fn data_bytes(&self, ranges: &Ranges, dictionary: Option<&Dictionary>) -> u64 {
        let all = ranges.iter().cloned().flatten();
        let len = |value: Option<&[u8]>| value.map_or(0, |value| value.len() as u64);
        match (self.indices(), dictionary) {
            (Some(indices), Some(dictionary)) => all
                .filter_map(|at| indices.get(at))
                .map(|index| len(dictionary.get(*index)))
                .sum(),
            _ => all.map(|at| len(self.get(at))).sum(),
        }
    }
}
