//! Which row groups of a shard a rewrite touched: what an index of the shard needs to follow it.

use serde::{Deserialize, Serialize};

/// What became of the row groups of a shard. Those that are in neither list are as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The hash of the old shard's footer.
    pub old_footer_hash: u64,
    /// The hash of the new shard's footer.
    pub footer_hash: u64,
    /// Row groups that were rebuilt, by their ascending numbers in the old shard.
    pub touched: Vec<u32>,
    /// Row groups that were left out, likewise.
    pub dropped: Vec<u32>,
}

impl Lineage {
    /// This rewrite and then a `later` one of the shard that it wrote.
    #[must_use]
    pub fn then(mut self, later: &Self) -> Self {
        self.touched = self.with(&self.touched, &later.touched);
        self.dropped = self.with(&self.dropped, &later.dropped);
        self.touched.retain(|number| !self.dropped.contains(number));
        self.footer_hash = later.footer_hash;
        self
    }

    /// `own` and the `later` ones, which are counted without those that were left out here.
    fn with(&self, own: &[u32], later: &[u32]) -> Vec<u32> {
        let in_old = |number: &u32| {
            let mut number = *number;
            for dropped in &self.dropped {
                number += u32::from(*dropped <= number);
            }
            number
        };
        let mut all: Vec<u32> = own
            .iter()
            .copied()
            .chain(later.iter().map(in_old))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rewrites_are_told_as_one() {
        let first = Lineage {
            old_footer_hash: 1,
            footer_hash: 2,
            touched: vec![0, 3, 6],
            dropped: vec![1, 4],
        };
        // Of 0 2 3 5 6 the second and the last are touched, the third and the fourth left out.
        let second = Lineage {
            old_footer_hash: 2,
            footer_hash: 3,
            touched: vec![1, 4],
            dropped: vec![2, 3],
        };
        assert_eq!(
            first.then(&second),
            Lineage {
                old_footer_hash: 1,
                footer_hash: 3,
                touched: vec![0, 2, 6],
                dropped: vec![1, 3, 4, 5],
            }
        );
    }
}
