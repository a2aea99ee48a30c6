//! What a rewrite did.

use std::ops::Range;

use crate::shard::lineage::Lineage;

/// Keys of the footer's key-values that hold record keys: what other rows' keys were can't be told
/// from them, so they go as soon as any row goes.
pub const RECORD_KEYS: [&str; 4] = [
    "hoodie_min_record_key",
    "hoodie_max_record_key",
    "org.apache.hudi.bloomfilter",
    "hoodie_bloom_filter_type_code",
];

/// A span of bytes that was copied as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Where it begins in the old shard.
    pub from: u64,
    /// Where it begins in the new one.
    pub to: u64,
    /// How long it is.
    pub bytes: u64,
}

/// The figures of a rewrite.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RewriteReport {
    /// Rows that are gone.
    pub rows_removed: u64,
    /// Values that were cleared, or that lost JSON members.
    pub values_cleared: u64,
    /// Those of them of which nothing is left, since they are no JSON object though their column holds these.
    #[serde(default)]
    pub values_cleared_whole: u64,
    /// Row groups that were rebuilt.
    pub row_groups_rewritten: u64,
    /// Row groups that lost all their rows and were left out.
    pub row_groups_dropped: u64,
    /// Which row groups these were.
    #[serde(default)]
    pub lineage: Option<Lineage>,
    /// Dictionary and data pages that were rebuilt.
    pub pages_rewritten: u64,
    /// Pages of row groups that lost rows that were copied as they were.
    pub pages_copied: u64,
    /// Bytes that were copied as they were.
    pub bytes_copied: u64,
    /// Bytes that were encoded again: pages, bloom filters, page index, footer.
    pub bytes_encoded: u64,
    /// The ranges of the new shard that were not copied, ascending and apart from each other.
    #[serde(skip)]
    pub new_ranges: Vec<Range<u64>>,
    /// The spans that were copied, in the order of the new shard.
    #[serde(skip)]
    pub copied: Vec<Copied>,
    /// Keys of footer key-values that were left out because they were made of rows, or `KEY: MEMBER` where a member of
    /// their JSON was.
    pub dropped_key_values: Vec<String>,
    /// Columns that have the name of a usual source, and were left.
    #[serde(default)]
    pub sources_left: Vec<String>,
}

impl RewriteReport {
    /// Adds the figures of the next rewrite, which read the output of this one.
    pub fn follow(&mut self, mut next: Self) {
        self.lineage = match (self.lineage.take(), next.lineage.take()) {
            (Some(earlier), Some(later)) => Some(earlier.then(&later)),
            (earlier, later) => later.or(earlier),
        };
        self.new_ranges = std::mem::take(&mut next.new_ranges);
        self.copied = std::mem::take(&mut next.copied);
        self.add(next);
    }

    /// Adds what another rewrite did. Its spans and its lineage are those of another file, and are left out.
    pub fn add(&mut self, other: Self) {
        // Figures may come from other machines, and no sum of theirs may be a panic.
        let add = |total: &mut u64, more: u64| *total = total.saturating_add(more);
        add(&mut self.rows_removed, other.rows_removed);
        add(&mut self.values_cleared, other.values_cleared);
        add(&mut self.values_cleared_whole, other.values_cleared_whole);
        self.sources_left.extend(other.sources_left);
        add(&mut self.row_groups_rewritten, other.row_groups_rewritten);
        add(&mut self.row_groups_dropped, other.row_groups_dropped);
        add(&mut self.pages_rewritten, other.pages_rewritten);
        add(&mut self.pages_copied, other.pages_copied);
        add(&mut self.bytes_copied, other.bytes_copied);
        add(&mut self.bytes_encoded, other.bytes_encoded);
        self.dropped_key_values.extend(other.dropped_key_values);
    }
}
