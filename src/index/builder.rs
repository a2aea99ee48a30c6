//! Segments for services that keep their own catalog: made of a shard or of the batches that are written to it,
//! merged, and asked, with no dataset directory.
//!
//! ```text
//!   RecordBatch ── shard::batch_ids ──┐
//!   shard file ─── shard::ids ────────┴─> hash, row group ──> sorted ──┐
//!   other segments, without their dead row groups ─────────────────────┴─ merge ──> one segment
//! ```
//! Row groups have the numbers that the caller gives them: its catalog knows which shard each one belongs to.
//! The same ids in the same row groups make the same segment, byte for byte, wherever they come from.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow::array::{ArrayRef, RecordBatch, StringArray};
//! use efface::index::builder::SegmentBuilder;
//! use efface::index::segment::Segment;
//! use efface::shard::{batch_ids::BatchColumns, roles::Roles};
//! use efface::file_system::FileSystem;
//! use efface::state::{State, files::StateFiles};
//! use efface::subject::SubjectHash;
//! use efface::{Disk, Shard};
//! use parquet::arrow::ArrowWriter;
//! use roaring::RoaringBitmap;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let disk = Disk::new(dir.path());
//! let state = StateFiles::new(disk.clone());
//! let (seed, memory) = (0x5eed, 1 << 20);
//! let roles = Roles::default(); // the column `distinct_id`
//!
//! // While the shard "day-1" is written: its two row groups have the numbers 0 and 1.
//! let batch = |ids: [&str; 2]| {
//!     let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
//!     RecordBatch::try_from_iter([("distinct_id", ids)])
//! };
//! let batches = [batch(["ada", "bob"])?, batch(["cyd", "ada"])?];
//! let columns = BatchColumns::of(&batches[0].schema(), &roles, "day-1")?;
//! let builder = SegmentBuilder::new(&state, "segments/1", seed, memory);
//! let file = std::fs::File::create(dir.path().join("day-1"))?;
//! let mut writer = ArrowWriter::try_new(file, batches[0].schema(), None)?;
//! for (row_group, batch) in (0..).zip(&batches) {
//!     writer.write(batch)?;
//!     writer.flush()?; // ends the row group
//!     builder.add_batch(row_group, batch, &columns)?;
//! }
//! writer.close()?;
//! builder.finish(1, Vec::new())?;
//!
//! // A shard that is there already, with the numbers 2 and 3.
//! std::fs::copy(dir.path().join("day-1"), dir.path().join("day-2"))?;
//! let shard = Shard::new("day-2", disk.open("day-2")?)?;
//! let builder = SegmentBuilder::new(&state, "segments/2", seed, memory);
//! builder.add_shard(2, &shard, &roles.subjects(&shard)?)?;
//! builder.finish(2, Vec::new())?;
//!
//! // Both in one segment; the row group 0 is no more.
//! let open = |path| Segment::open(state.map(path)?, path, seed);
//! let (first, second) = (open("segments/1")?, open("segments/2")?);
//! let alive: RoaringBitmap = (1..4).collect();
//! let builder = SegmentBuilder::new(&state, "segments/3", seed, memory);
//! builder.finish(3, vec![(&first, Some(alive)), (&second, None)])?;
//!
//! let mut found = RoaringBitmap::new();
//! open("segments/3")?.lookup(SubjectHash::of(b"ada", seed), &mut found)?;
//! assert_eq!(found.iter().collect::<Vec<_>>(), [1, 2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! Memory: that of sorting ([`build`](super::build)).

use arrow::array::RecordBatch;
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::build::PostingSorter;
use super::manifest::SegmentEntry;
use super::merge::write_merged;
use super::segment::Segment;
use crate::error::Result;
use crate::shard::batch_ids::BatchColumns;
use crate::shard::roles::SubjectColumn;
use crate::shard::{Shard, ids};
use crate::state::State;
use crate::subject::SubjectHash;

/// Makes one segment. Batches and shards may be added from several threads.
pub struct SegmentBuilder<'a> {
    state: &'a dyn State,
    path: String,
    seed: u64,
    sorter: PostingSorter<'a>,
}

impl<'a> SegmentBuilder<'a> {
    /// Begins the segment `path`. Hashes have this `seed`, which all segments that are merged or asked together
    /// share. Postings beyond some `memory` bytes wait in temporary files of the directory `path.runs`, which is
    /// this builder's alone.
    pub fn new(state: &'a dyn State, path: &str, seed: u64, memory: usize) -> Self {
        Self {
            state,
            path: path.to_owned(),
            seed,
            sorter: PostingSorter::new(state, &format!("{path}.runs"), memory),
        }
    }

    /// Adds the ids of a batch that goes into the row group of this number.
    ///
    /// # Errors
    /// When the batch is not of the schema of `columns`, or a temporary file can't be written.
    pub fn add_batch(
        &self,
        row_group: u32,
        batch: &RecordBatch,
        columns: &BatchColumns,
    ) -> Result<()> {
        let mut buffer = self.sorter.buffer();
        let mut pushed = Ok(());
        columns.each(batch, &mut |_, value| {
            if pushed.is_ok() {
                pushed = buffer.push(SubjectHash::of(value, self.seed), row_group);
            }
        })?;
        pushed.and_then(|()| buffer.finish())
    }

    /// Adds the ids of a shard, whose row groups have the numbers from `first_row_group` on. If a chunk is
    /// dictionary-encoded throughout, only its dictionary is read.
    ///
    /// # Errors
    /// When the shard is damaged, or a temporary file can't be written.
    pub fn add_shard(
        &self,
        first_row_group: u32,
        shard: &Shard,
        columns: &[SubjectColumn],
    ) -> Result<()> {
        let groups = u32::try_from(shard.footer.row_groups().len()).unwrap_or(u32::MAX);
        (0..groups).into_par_iter().try_for_each(|group| {
            let mut buffer = self.sorter.buffer();
            let mut pushed = Ok(());
            let one = RoaringBitmap::from_iter([group]);
            ids::distinct_in(shard, columns, &one, &mut |group, value| {
                if pushed.is_ok() {
                    let number = first_row_group.saturating_add(group);
                    pushed = buffer.push(SubjectHash::of(value, self.seed), number);
                }
            })?;
            pushed.and_then(|()| buffer.finish())
        })
    }

    /// Merges the added ids with `others` (from each only the row groups that are given, or all) into the segment, and
    /// makes it durable. `number` distinguishes it from the caller's other segments.
    ///
    /// # Errors
    /// When one of `others` is damaged, a row group is not below 2^31, or reading or writing fails.
    pub fn finish(
        self,
        number: u32,
        others: Vec<(&Segment, Option<RoaringBitmap>)>,
    ) -> Result<SegmentEntry> {
        let sorted = self.sorter.finish()?;
        write_merged(self.state, &self.path, (self.seed, number), sorted, others)
    }
}
