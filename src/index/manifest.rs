//! The manifest: which segments are live, and which shards they were made from.
//!
//! All numbers are little-endian; a text is its length (`u32`) and its UTF-8 bytes.
//!
//! ```text
//! magic [u8; 8]   format u32   next row group u32   seed u64   configuration text
//! segments u32    { number u32   bytes u64   tail check u64 } ..
//! shards u32      { path text   size u64   stamp i64 i64   footer hash u64   rows u64
//!                   first u32   end u32   segment u32   settled u32   dead u32 { number u32 } .. } ..
//! check u64       XXH3-64 of everything before it
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

use xxhash_rust::xxh3::xxh3_64;

use super::DIRECTORY;
use super::format::{ROW_GROUPS_MAX, to_usize};
use super::numbers::RowGroupNumbers;
use super::source::ShardFooter;
use crate::error::{Error, Result};
use crate::state::{Expect, State};
use crate::table::ShardRef;

/// The version that this code writes, and the only one that it reads.
pub const FORMAT: u32 = 2;
/// Bytes of a manifest. One of a million shards has some 100 MiB.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 30;

const NAME: &str = "manifest";
const MAGIC: [u8; 8] = *b"EFFACEMF";
const CHECK_BYTES: usize = 8;
/// Bytes of a segment's entry, and the fewest of a shard's.
const SEGMENT_BYTES: usize = 20;
const SHARD_BYTES_MIN: usize = 64;

/// The parts of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The seed of the hashes.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardEntry {
    /// Relative to the dataset, as [`stored`](crate::subject::names::stored): an index holds no raw id.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// The version, as [`ShardVersion::stamp`](crate::table::ShardVersion::stamp) has it.
    pub stamp: (i64, i64),
    /// Hash of the footer's bytes.
    pub footer_hash: u64,
    /// The dataset-wide numbers of its row groups.
    pub numbers: RowGroupNumbers,
    /// Its rows.
    pub rows: u64,
    /// The segment that holds its postings.
    pub segment: u32,
    /// Whether any later change must show in the stamp.
    pub settled: bool,
}

impl ShardEntry {
    /// Whether the shard is still as it was, as far as can be told without reading it.
    pub fn is_like(&self, file: &ShardRef) -> bool {
        self.size == file.bytes && self.stamp == file.version.stamp()
    }

    /// Whether the shard is still as it was, for certain, without reading it.
    pub fn is_surely_like(&self, file: &ShardRef) -> bool {
        self.settled && self.is_like(file)
    }

    /// What its footer said.
    pub fn footer(&self) -> ShardFooter {
        ShardFooter {
            hash: self.footer_hash,
            row_groups: self.numbers.count(),
            rows: self.rows,
        }
    }
}

/// A live segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub fn load(state: &dyn State) -> Result<Option<Vec<u8>>> {
        let stored = state.get(&manifest_path(), MANIFEST_BYTES_MAX)?;
        Ok(stored.map(|stored| stored.bytes))
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
    pub fn store(&self, state: &dyn State) -> Result<u64> {
        let bytes = self.to_bytes();
        state.put(&manifest_path(), &bytes, Expect::Any)?;
        Ok(bytes.len() as u64)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.next_row_group.to_le_bytes());
        bytes.extend_from_slice(&self.seed.to_le_bytes());
        put_text(&mut bytes, &self.configuration);
        put_len(&mut bytes, self.segments.len());
        for segment in &self.segments {
            bytes.extend_from_slice(&segment.number.to_le_bytes());
            bytes.extend_from_slice(&segment.bytes.to_le_bytes());
            bytes.extend_from_slice(&segment.tail_check.to_le_bytes());
        }
        put_len(&mut bytes, self.shards.len());
        for shard in &self.shards {
            put_text(&mut bytes, &shard.path);
            bytes.extend_from_slice(&shard.size.to_le_bytes());
            bytes.extend_from_slice(&shard.stamp.0.to_le_bytes());
            bytes.extend_from_slice(&shard.stamp.1.to_le_bytes());
            bytes.extend_from_slice(&shard.footer_hash.to_le_bytes());
            bytes.extend_from_slice(&shard.rows.to_le_bytes());
            bytes.extend_from_slice(&shard.numbers.first().to_le_bytes());
            bytes.extend_from_slice(&shard.numbers.end().to_le_bytes());
            bytes.extend_from_slice(&shard.segment.to_le_bytes());
            bytes.extend_from_slice(&u32::from(shard.settled).to_le_bytes());
            put_len(&mut bytes, shard.numbers.dead().len());
            for number in shard.numbers.dead() {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn parse_or_reason(bytes: &[u8]) -> Result<Self, String> {
        let parts = bytes.split_last_chunk::<CHECK_BYTES>();
        let (body, check) = parts.ok_or_else(|| format!("has only {} bytes", bytes.len()))?;
        let Some(rest) = body.strip_prefix(&MAGIC) else {
            return Err("is no manifest: the magic is missing".to_owned());
        };
        let mut reader = Reader(rest);
        let format = reader.u32().unwrap_or(0);
        if format != FORMAT {
            return Err(format!(
                "has format version {format}, and this efface reads version {FORMAT}"
            ));
        }
        let (found, check) = (xxh3_64(body), u64::from_le_bytes(*check));
        if found != check {
            return Err(format!(
                "says that its check is {check:016x}, but its bytes have {found:016x}"
            ));
        }
        let manifest = reader
            .manifest()
            .filter(|_| reader.0.is_empty())
            .ok_or("its lengths contradict each other")?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let mut ranges = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            ranges.push((shard.numbers.first(), shard.numbers.end()));
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

fn put_len(bytes: &mut Vec<u8>, len: usize) {
    // What is counted here has a path or a number of 32 bits each.
    bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_len(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left to read; `None` when it ends too soon.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn manifest(&mut self) -> Option<Manifest> {
        Some(Manifest {
            next_row_group: self.u32()?,
            seed: self.u64()?,
            configuration: self.text()?.to_owned(),
            segments: self.list(SEGMENT_BYTES, Self::segment)?,
            shards: self.list(SHARD_BYTES_MIN, Self::shard)?,
        })
    }

    fn segment(&mut self) -> Option<SegmentEntry> {
        Some(SegmentEntry {
            number: self.u32()?,
            bytes: self.u64()?,
            tail_check: self.u64()?,
        })
    }

    fn shard(&mut self) -> Option<ShardEntry> {
        let path = self.text()?.to_owned();
        let size = self.u64()?;
        let stamp = (self.u64()?.cast_signed(), self.u64()?.cast_signed());
        let (footer_hash, rows) = (self.u64()?, self.u64()?);
        let (first, end, segment) = (self.u32()?, self.u32()?, self.u32()?);
        let settled = self.u32()? == 1;
        let dead = self.list(4, Self::u32)?;
        Some(ShardEntry {
            path,
            size,
            stamp,
            footer_hash,
            numbers: RowGroupNumbers::from_parts(first, end, dead)?,
            rows,
            segment,
            settled,
        })
    }

    /// A count and so many items, each of at least `bytes_min` bytes.
    fn list<T>(
        &mut self,
        bytes_min: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = to_usize(self.u32()?.into());
        if count > self.0.len() / bytes_min {
            return None;
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = to_usize(self.u32()?.into());
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::disk::Disk;
    use crate::state::files::StateFiles;

    fn example() -> Manifest {
        let shard = |path: &str, first, count, segment| ShardEntry {
            path: path.to_owned(),
            size: 1000,
            stamp: (-5, -5),
            footer_hash: u64::MAX,
            numbers: RowGroupNumbers::new(first, count).without(&[1]),
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
        let disk = StateFiles::new(Disk::new(dir.path()));
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
        let changes: [fn(&mut Manifest); 6] = [
            |manifest| manifest.next_row_group = 14,
            |manifest| manifest.next_row_group = u32::MAX,
            |manifest| manifest.shards[0].numbers = RowGroupNumbers::new(9, 5),
            |manifest| manifest.shards[0].numbers = RowGroupNumbers::new(10, u32::MAX),
            |manifest| manifest.shards.swap(0, 1),
            |manifest| manifest.segments.truncate(1),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let disk = StateFiles::new(Disk::new(dir.path()));
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
    fn a_manifest_of_another_version_is_told_as_such() {
        let mut bytes = example().to_bytes();
        bytes[8] = 3;
        let error = Manifest::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains("version 3"), "{error}");
    }

    #[test]
    fn only_the_names_of_segments_have_numbers() {
        assert_eq!(segment_number(&segment_path(7)), Some(7));
        assert_eq!(segment_number("_efface/index/segment-7"), None);
        assert_eq!(segment_number("_efface/index/manifest"), None);
        assert_eq!(segment_number("segment-0000000007"), None);
    }
}
