//! The manifest: which segments are live, and which shards they were made from.
//!
//! ```text
//! {"format":1,"seed":..,"configuration":"..",..,"shards":[..],"segments":[..]}\n
//! xxh3 0123456789abcdef\n                           over everything before this line
//! ```
//!
//! # Invariants
//! A [`Manifest`] that was loaded keeps them all, whoever wrote the file:
//! * shards ascend by path; their row-group ranges don't overlap and end before `next_row_group`;
//! * a row-group number is given out once, so none that died is still in a live segment;
//! * all postings of a shard are in one segment, the one that its entry names;
//! * segments ascend by number and every one has at least one shard.
//!
//! # Crash behaviour
//! Replaced as a whole and durably, after the segments that it names are durable. That swap is the
//! commit point of a refresh.
//!
//! Memory: some 150 bytes for each shard.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::DIRECTORY;
use super::format::ROW_GROUPS_MAX;
use crate::error::{Error, Result};
use crate::storage::{self, FileInfo, Storage};

/// The version that this code writes, and the only one that it reads.
pub const FORMAT: u32 = 1;
/// Bytes of a manifest. One of a million shards has some 200 MiB.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 30;

const NAME: &str = "manifest.json";
const CHECK_PREFIX: &str = "xxh3 ";
/// The prefix, 16 digits and the end of the line.
const CHECK_LINE_BYTES: usize = CHECK_PREFIX.len() + 16 + 1;

/// What the index is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// Of the hashes.
    pub seed: u64,
    /// The caller's key of what was indexed (its subject columns); another one means a rebuild.
    pub configuration: String,
    /// The first row-group number that was never given out.
    pub next_row_group: u32,
    /// The shards as they were when they were scanned, by path.
    pub shards: Vec<ShardEntry>,
    /// The live segments, by number.
    pub segments: Vec<SegmentEntry>,
}

/// A shard as it was when it was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Relative to the dataset.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Time of the last modification, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change that can't be set back, in nanoseconds since 1970.
    pub changed_ns: i64,
    /// Hash of the footer's bytes.
    pub footer_hash: u64,
    /// The dataset-wide number of its first row group; the others follow.
    pub first_row_group: u32,
    /// Its row groups.
    pub row_groups: u32,
    /// Its rows.
    pub rows: u64,
    /// The segment that holds its postings.
    pub segment: u32,
    /// Whether it was last changed so long before it was read that any later change shows in `changed_ns`.
    #[serde(default)]
    pub settled: bool,
}

impl ShardEntry {
    /// Whether the file is still as it was, as far as can be told without reading it.
    pub fn is_like(&self, file: &FileInfo) -> bool {
        self.size == file.size
            && self.modified_ns == file.modified_ns
            && self.changed_ns == file.changed_ns
    }

    /// Whether the file is still as it was, for certain, without reading it.
    pub fn is_surely_like(&self, file: &FileInfo) -> bool {
        self.settled && self.is_like(file)
    }

    /// One more than the number of its last row group.
    pub fn row_group_end(&self) -> u32 {
        self.first_row_group.saturating_add(self.row_groups)
    }
}

/// A live segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// Gives its file name, see [`segment_path`].
    pub number: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// The check of its tail.
    pub tail_check: u64,
}

/// The file of a segment.
pub fn segment_path(number: u32) -> String {
    format!("{DIRECTORY}/segment-{number:010}")
}

/// The number of a segment's file; `None` for any other file.
pub(super) fn segment_number(path: &str) -> Option<u32> {
    let number = path.strip_prefix(DIRECTORY)?.strip_prefix("/segment-")?;
    let number = number.parse().ok()?;
    (segment_path(number) == path).then_some(number)
}

/// The manifest's file.
pub fn manifest_path() -> String {
    format!("{DIRECTORY}/{NAME}")
}

impl Manifest {
    /// The bytes of the manifest's file; `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read, or is larger than [`MANIFEST_BYTES_MAX`].
    pub fn load(storage: &dyn Storage) -> Result<Option<Vec<u8>>> {
        let path = manifest_path();
        if storage.info(&path)?.is_none() {
            return Ok(None);
        }
        storage::read_all(storage, &path, MANIFEST_BYTES_MAX).map(Some)
    }

    /// Reads what [`store`](Self::store) wrote.
    ///
    /// # Errors
    /// [`Error::State`] when anything about it is odd.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::parse_or_reason(bytes).map_err(|reason| Error::State {
            path: manifest_path(),
            reason,
        })
    }

    /// Replaces the manifest's file durably. Returns its bytes.
    ///
    /// # Errors
    /// When writing or replacing fails.
    pub fn store(&self, storage: &dyn Storage) -> Result<u64> {
        let path = manifest_path();
        let write = |error: serde_json::Error| Error::io("write", &path)(error.into());
        let mut bytes = serde_json::to_vec(self).map_err(write)?;
        bytes.push(b'\n');
        let line = format!("{CHECK_PREFIX}{:016x}\n", xxh3_64(&bytes));
        bytes.extend_from_slice(line.as_bytes());
        storage::publish(storage, &path, &bytes)?;
        Ok(bytes.len() as u64)
    }

    fn parse_or_reason(bytes: &[u8]) -> Result<Self, String> {
        /// Read first, so that a later version is told as such.
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let (body, line) = bytes
            .len()
            .checked_sub(CHECK_LINE_BYTES)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or_else(|| format!("has only {} bytes", bytes.len()))?;
        if line != format!("{CHECK_PREFIX}{:016x}\n", xxh3_64(body)).as_bytes() {
            return Err("its bytes have not the checksum of its last line".to_owned());
        }
        let json = |error: serde_json::Error| {
            // The error's own text could repeat what the file holds.
            format!(
                "is not the JSON that it should be (line {}, column {})",
                error.line(),
                error.column()
            )
        };
        let Versioned { format } = serde_json::from_slice(body).map_err(json)?;
        if format != FORMAT {
            return Err(format!(
                "has format version {format}, and this efface reads version {FORMAT}"
            ));
        }
        let manifest: Self = serde_json::from_slice(body).map_err(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let mut ranges = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let end = shard.first_row_group.checked_add(shard.row_groups);
            ranges.push((shard.first_row_group, end.unwrap_or(u32::MAX)));
        }
        ranges.sort_unstable();
        let overlap = ranges.is_sorted_by(|left, right| left.1 <= right.0);
        let end = ranges.iter().map(|range| range.1).max().unwrap_or(0);
        if !overlap || end > self.next_row_group || self.next_row_group > ROW_GROUPS_MAX {
            return Err("its row-group ranges overlap or are out of bounds".to_owned());
        }
        if !self
            .shards
            .is_sorted_by(|left, right| left.path < right.path)
        {
            return Err("its shards are not in order".to_owned());
        }
        if !self
            .segments
            .is_sorted_by(|left, right| left.number < right.number)
        {
            return Err("its segments are not in order".to_owned());
        }
        let mut used: Vec<u32> = self.shards.iter().map(|shard| shard.segment).collect();
        used.sort_unstable();
        used.dedup();
        if !used
            .iter()
            .eq(self.segments.iter().map(|segment| &segment.number))
        {
            return Err("its shards and segments don't belong together".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Disk;

    fn example() -> Manifest {
        let shard = |path: &str, first_row_group, row_groups, segment| ShardEntry {
            path: path.to_owned(),
            size: 1000,
            modified_ns: -5,
            changed_ns: -5,
            footer_hash: u64::MAX,
            first_row_group,
            row_groups,
            rows: 7,
            segment,
            settled: true,
        };
        let segment = |number| SegmentEntry {
            number,
            bytes: 12_288,
            tail_check: u64::MAX - 1,
        };
        Manifest {
            format: FORMAT,
            seed: u64::MAX,
            configuration: "distinct_id".to_owned(),
            next_row_group: 30,
            shards: vec![
                shard("a", 10, 5, 2),
                shard("b", 0, 10, 1),
                shard("c", 10, 0, 2),
            ],
            segments: vec![segment(1), segment(2)],
        }
    }

    #[test]
    fn a_manifest_comes_back_and_no_byte_of_it_can_change() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        assert_eq!(Manifest::load(&disk).unwrap(), None);
        let length = example().store(&disk).unwrap();
        let bytes = Manifest::load(&disk).unwrap().unwrap();
        assert_eq!(bytes.len() as u64, length);
        assert_eq!(Manifest::parse(&bytes).unwrap(), example());
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            assert!(Manifest::parse(&flipped).is_err(), "byte {position}");
            assert!(
                Manifest::parse(&bytes[..position]).is_err(),
                "cut at {position}"
            );
        }
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused_although_its_checksum_holds() {
        let changes: [fn(&mut Manifest); 7] = [
            |manifest| manifest.format = 2,
            |manifest| manifest.next_row_group = 14,
            |manifest| manifest.next_row_group = u32::MAX,
            |manifest| manifest.shards[0].first_row_group = 9,
            |manifest| manifest.shards[0].row_groups = u32::MAX,
            |manifest| manifest.shards.swap(0, 1),
            |manifest| manifest.segments.truncate(1),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::new(dir.path());
            let mut manifest = example();
            change(&mut manifest);
            manifest.store(&disk).unwrap();
            let bytes = Manifest::load(&disk).unwrap().unwrap();
            assert!(
                matches!(Manifest::parse(&bytes), Err(Error::State { .. })),
                "change {number}"
            );
        }
    }

    #[test]
    fn only_the_names_of_segments_have_numbers() {
        assert_eq!(segment_number(&segment_path(7)), Some(7));
        assert_eq!(segment_number("_efface/index/segment-7"), None);
        assert_eq!(segment_number("_efface/index/manifest.json"), None);
        assert_eq!(segment_number("segment-0000000007"), None);
    }
}
