//! Strings, each stored once and named by a number.
//!
//! # Memory
//! The text, 8 bytes for its end, and a slot of 4 bytes in a table that is between 3/8 and 3/4 full.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Distinct strings, numbered from 0 in the order of their first insertion.
#[derive(Default)]
pub(super) struct Strings {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<usize>,
    /// Open addressing with linear probing; its length is a power of two, or 0.
    slots: Vec<u32>,
    /// Ids come from end users, so nobody may be able to choose colliding ones.
    hasher: RandomState,
}

const VACANT: u32 = u32::MAX;

impl Strings {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string of a number that [`intern`](Self::intern) gave.
    pub(super) fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let start = number
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or_default();
        let end = self.ends.get(number).copied().unwrap_or_default();
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.probe(text).ok()
    }

    /// The number of `text`, a new one if need be; `None` when the numbers are used up.
    pub(super) fn intern(&mut self, text: &str) -> Option<u32> {
        if self.slots.len() * 3 <= (self.len() + 1) * 4 {
            self.grow();
        }
        let slot = match self.probe(text) {
            Ok(number) => return Some(number),
            Err(slot) => slot,
        };
        let number = u32::try_from(self.len())
            .ok()
            .filter(|number| *number != VACANT)?;
        self.text.push_str(text);
        self.ends.push(self.text.len());
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = number;
        }
        Some(number)
    }

    /// The number of `text`, or the vacant slot where it belongs.
    fn probe(&self, text: &str) -> Result<u32, usize> {
        let mut slot = self.first_slot(text);
        loop {
            match self.slots.get(slot).copied() {
                None | Some(VACANT) => return Err(slot),
                Some(number) if self.get(number) == text => return Ok(number),
                Some(_) => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn first_slot(&self, text: &str) -> usize {
        let mask = (self.slots.len() as u64).saturating_sub(1);
        usize::try_from(self.hasher.hash_one(text) & mask).unwrap_or_default()
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(16);
        // The old table goes first: both at once would be the peak of the memory that is used.
        self.slots = Vec::new();
        self.slots = vec![VACANT; slots];
        for number in 0..u32::try_from(self.len()).unwrap_or(VACANT) {
            let mut slot = self.first_slot(self.get(number));
            while self.slots.get(slot).is_some_and(|number| *number != VACANT) {
                slot = (slot + 1) & (slots - 1);
            }
            if let Some(slot) = self.slots.get_mut(slot) {
                *slot = number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn each_string_has_one_number_and_is_found_by_it() {
        let mut strings = Strings::default();
        assert_eq!(strings.find("x"), None);
        let mut oracle = HashMap::new();
        for round in 0..3 {
            for value in 0..10_000_u32 {
                let text = format!("é{}", value / 2 * (round + 1));
                let next = u32::try_from(oracle.len()).unwrap();
                let expected = *oracle.entry(text.clone()).or_insert(next);
                assert_eq!(strings.intern(&text), Some(expected));
            }
        }
        assert_eq!(strings.len(), oracle.len());
        for (text, number) in oracle {
            assert_eq!(strings.find(&text), Some(number));
            assert_eq!(strings.get(number), text);
        }
        assert_eq!(strings.find("x"), None);
        assert_eq!(strings.intern(""), strings.intern(""));
    }
}
