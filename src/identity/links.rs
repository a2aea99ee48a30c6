//! Neighbours of nodes, in compressed sparse rows.
//!
//! # Memory
//! 4 bytes a node and 4 a link.

/// For each node the nodes that its links lead to, in the order of the links.
pub(super) struct Adjacency {
    /// `starts[node]..starts[node + 1]` are the node's places in `targets`.
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Adjacency {
    /// `links` between nodes below `nodes`; at most `u32::MAX` of them.
    #[expect(
        clippy::indexing_slicing,
        reason = "links are between nodes below `nodes`, and every place is below the count of links"
    )]
    pub(super) fn new(
        nodes: usize,
        links: impl DoubleEndedIterator<Item = (u32, u32)> + ExactSizeIterator + Clone,
    ) -> Self {
        debug_assert!(u32::try_from(links.len()).is_ok());
        let mut starts = vec![0_u32; nodes + 1];
        let mut targets = vec![0_u32; links.len()];
        for (from, _) in links.clone() {
            starts[from as usize] += 1;
        }
        let mut end = 0;
        for start in &mut starts {
            end += *start;
            *start = end;
        }
        // Each start is now the node's end; filling from behind moves it to the start.
        for (from, to) in links.rev() {
            let place = &mut starts[from as usize];
            *place -= 1;
            targets[*place as usize] = to;
        }
        Self { starts, targets }
    }

    /// The neighbours of `node`, one for each link.
    pub(super) fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        let (Some(start), Some(end)) = (self.starts.get(node), self.starts.get(node + 1)) else {
            return &[];
        };
        self.targets
            .get(*start as usize..*end as usize)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_stand_in_the_order_of_the_links() {
        let links = [(2, 0), (0, 3), (2, 1), (2, 0), (3, 3)];
        let adjacency = Adjacency::new(4, links.into_iter());
        assert_eq!(adjacency.of(0), [3]);
        assert_eq!(adjacency.of(1), [0_u32; 0]);
        assert_eq!(adjacency.of(2), [0, 1, 0]);
        assert_eq!(adjacency.of(3), [3]);
        assert_eq!(adjacency.of(4), [0_u32; 0]);
    }
}
