//! The dataset-wide numbers of one shard's row groups.
//!
//! ```text
//!   given out:  40 41 42 43 44       dead: 42
//!   positions:   0  1  -  2  3       in the shard as it is now
//! ```
//! A rewrite that leaves a row group out makes its number dead; the others keep theirs, so their postings stay.
//!
//! # Invariants
//! The dead ones ascend and are all among those that were given out.

use super::format::ROW_GROUPS_MAX;

/// Consecutive numbers, except dead ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowGroupNumbers {
    first: u32,
    end: u32,
    dead: Vec<u32>,
}

impl RowGroupNumbers {
    /// `count` numbers from `first` on.
    pub fn new(first: u32, count: u32) -> Self {
        Self {
            first,
            end: first.saturating_add(count),
            dead: Vec::new(),
        }
    }

    /// Numbers that a file holds; `None` when they break an invariant.
    pub fn from_parts(first: u32, end: u32, dead: Vec<u32>) -> Option<Self> {
        let ascend = dead.is_sorted_by(|left, right| left < right);
        let inside = dead.iter().all(|number| (first..end).contains(number));
        (first <= end && end <= ROW_GROUPS_MAX && ascend && inside).then_some(Self {
            first,
            end,
            dead,
        })
    }

    /// The first that was given out.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// One more than the last that was given out.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Those that are dead, ascending.
    pub fn dead(&self) -> &[u32] {
        &self.dead
    }

    /// How many row groups the shard has.
    pub fn count(&self) -> u32 {
        let dead = u32::try_from(self.dead.len()).unwrap_or(u32::MAX);
        (self.end - self.first).saturating_sub(dead)
    }

    /// The numbers of the shard's row groups, in their order.
    pub fn alive(&self) -> impl Iterator<Item = u32> {
        let mut dead = self.dead.iter().peekable();
        (self.first..self.end).filter(move |number| dead.next_if_eq(&number).is_none())
    }

    /// The row group of a number, counted from 0 within the shard; `None` when it has no such number.
    pub fn position(&self, number: u32) -> Option<u32> {
        let among = number.checked_sub(self.first)?;
        match self.dead.binary_search(&number) {
            Err(dead_before) if number < self.end => {
                among.checked_sub(u32::try_from(dead_before).ok()?)
            }
            _ => None,
        }
    }

    /// What is left when the row groups at these ascending positions go.
    #[must_use]
    pub fn without(&self, positions: &[u32]) -> Self {
        let mut gone = positions.iter().peekable();
        let dead = (0_u32..)
            .zip(self.alive())
            .filter(|(position, _)| gone.next_if_eq(&position).is_some())
            .map(|(_, number)| number);
        let mut all: Vec<u32> = self.dead.iter().copied().chain(dead).collect();
        all.sort_unstable();
        Self { dead: all, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_groups_that_stay_keep_their_numbers() {
        let all = RowGroupNumbers::new(40, 6);
        let once = all.without(&[0, 2]);
        let twice = once.without(&[1, 3]);
        assert_eq!(once.alive().collect::<Vec<_>>(), [41, 43, 44, 45]);
        assert_eq!(twice.alive().collect::<Vec<_>>(), [41, 44]);
        assert_eq!(twice.dead(), [40, 42, 43, 45]);
        for numbers in [all, once, twice] {
            let alive: Vec<u32> = numbers.alive().collect();
            assert_eq!(alive.len(), numbers.count() as usize);
            for number in 38..48 {
                let expected = alive.iter().position(|other| *other == number);
                let position = numbers.position(number);
                assert_eq!(position.map(|at| at as usize), expected, "{number}");
            }
            let RowGroupNumbers { first, end, dead } = numbers.clone();
            assert_eq!(RowGroupNumbers::from_parts(first, end, dead), Some(numbers));
        }
    }

    #[test]
    fn numbers_that_break_an_invariant_are_refused() {
        for (first, end, dead) in [
            (5, 4, vec![]),
            (0, ROW_GROUPS_MAX + 1, vec![]),
            (5, 9, vec![4]),
            (5, 9, vec![9]),
            (5, 9, vec![7, 6]),
            (5, 9, vec![6, 6]),
        ] {
            assert_eq!(RowGroupNumbers::from_parts(first, end, dead), None);
        }
    }
}
