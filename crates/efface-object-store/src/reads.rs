//! One object in one version, read by ranges.
//!
//! ```text
//!   ranges ── sorted, joined where less than 1 MiB lies between, cut at 8 MiB ──> GETs, some at a time ──> bytes
//! ```
//!
//! A short read gets the block around it, of which the last few are kept: page headers are read one behind the other.
//!
//! Memory: what is asked for, and what lies between; at most 4 MiB for each open object.

use std::any::Any;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use efface::io::ReadAt;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use crate::store::Store;

/// Ranges with fewer bytes than this between them are read by one request.
const GAP_BYTES: u64 = 1 << 20;

/// Longer ranges are read by several requests.
const REQUEST_BYTES_MAX: u64 = 8 << 20;

/// Requests of one call that are under way at a time.
const AT_A_TIME: usize = 16;

/// So many bytes take about as long as the request itself.
const REQUEST_BYTES_MIN: u64 = 256 << 10;

/// A shorter object is read whole: its footer, its page headers and its pages would take a request each.
const WHOLE_BYTES_MAX: u64 = 2 << 20;

/// Blocks of [`REQUEST_BYTES_MIN`] that are kept of each open object, for reads of less than that.
const BLOCKS: usize = 16;

/// An object in one version.
pub struct ObjectReads {
    store: Store,
    key: Path,
    tag: String,
    len: u64,
    /// The number of each block with its bytes; the one that was used last stands last.
    blocks: Mutex<Vec<(u64, Bytes)>>,
}

impl ObjectReads {
    /// The object `key` of `len` bytes in the version `tag`.
    pub(crate) fn new(store: Store, key: Path, tag: String, len: u64) -> Arc<Self> {
        Arc::new(Self {
            store,
            key,
            tag,
            len,
            blocks: Mutex::default(),
        })
    }

    fn block(&self, number: u64) -> io::Result<Bytes> {
        let blocks = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let mut blocks = blocks();
            let place = blocks.iter().position(|(other, _)| *other == number);
            place.map(|place| blocks.remove(place).1)
        };
        let bytes = if let Some(bytes) = known {
            bytes
        } else {
            let start = number * REQUEST_BYTES_MIN;
            let range = start..self.len.min(start + REQUEST_BYTES_MIN);
            let read = self.read_ranges(std::slice::from_ref(&range))?.pop();
            read.unwrap_or_default()
        };
        let mut blocks = blocks();
        if blocks.len() >= BLOCKS {
            blocks.remove(0);
        }
        blocks.push((number, bytes.clone()));
        Ok(bytes)
    }

    fn get(&self, ranges: Vec<Range<u64>>) -> io::Result<Vec<Bytes>> {
        let (store, key, tag) = (self.store.clone(), self.key.clone(), self.tag.clone());
        let gets = stream::iter(ranges)
            .map(move |range| store.clone().range(key.clone(), tag.clone(), range))
            .buffered(AT_A_TIME);
        self.store.runtime().wait(gets.try_collect())
    }
}

impl ReadAt for ObjectReads {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = offset..offset.saturating_add(buffer.len() as u64);
        if range.end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if range.end - range.start < REQUEST_BYTES_MIN {
            let (mut at, mut left) = (offset, buffer);
            while !left.is_empty() {
                let block = self.block(at / REQUEST_BYTES_MIN)?;
                let from = usize::try_from(at % REQUEST_BYTES_MIN).unwrap_or(usize::MAX);
                let found = block.get(from..).unwrap_or_default();
                let len = found.len().min(left.len());
                let (now, later) = left.split_at_mut(len);
                match found.get(..len) {
                    Some(found) if len > 0 => now.copy_from_slice(found),
                    _ => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
                at += len as u64;
                left = later;
            }
            return Ok(());
        }
        let read = self.read_ranges(&[range])?.pop().unwrap_or_default();
        buffer.copy_from_slice(&read);
        Ok(())
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let is_inside = |range: &Range<u64>| range.start <= range.end && range.end <= self.len;
        if !ranges.iter().all(is_inside) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let joined = joined(ranges);
        let requests = joined.iter().flat_map(cut).collect();
        let mut read = self.get(requests)?.into_iter();
        let read: Vec<Bytes> = joined.iter().map(|range| whole(range, &mut read)).collect();
        let part = |range: &Range<u64>| {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            let place = joined.partition_point(|other| other.end < range.end);
            let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let (of, bytes) = joined.get(place).zip(read.get(place)).ok_or_else(missing)?;
            let at = |at: u64| usize::try_from(at - of.start).unwrap_or(usize::MAX);
            let part = at(range.start)..at(range.end);
            bytes.get(part.clone()).ok_or_else(missing)?;
            Ok(bytes.slice(part))
        };
        ranges.iter().map(part).collect()
    }

    fn request_bytes_min(&self) -> u64 {
        REQUEST_BYTES_MIN
    }

    fn whole_bytes_max(&self) -> u64 {
        WHOLE_BYTES_MAX
    }

    fn origin(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// The ranges in ascending order, joined with their neighbours.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .cloned()
        .collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start < last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The requests for one range.
fn cut(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let end = range.end;
    let step = usize::try_from(REQUEST_BYTES_MAX).unwrap_or(usize::MAX);
    range
        .clone()
        .step_by(step)
        .map(move |start| start..end.min(start.saturating_add(REQUEST_BYTES_MAX)))
}

/// The bytes of one range, of the answers that come next.
fn whole(range: &Range<u64>, read: &mut impl Iterator<Item = Bytes>) -> Bytes {
    let requests = cut(range).count();
    if requests <= 1 {
        return read.next().unwrap_or_default();
    }
    let len = usize::try_from(range.end - range.start).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(len);
    for part in read.take(requests) {
        bytes.extend_from_slice(&part);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{Attributes, PutPayload};

    use super::*;
    use crate::version::{Expected, Versioning};

    fn object(bytes: &[u8]) -> (Store, Arc<ObjectReads>) {
        let store = Store::new(
            Arc::new(InMemory::new()),
            Path::from("lake"),
            "memory",
            Versioning::Tags,
        )
        .unwrap();
        let key = store.key("a.parquet").unwrap();
        let payload = PutPayload::from(bytes.to_vec());
        let put = store
            .clone()
            .put(key.clone(), payload, Attributes::new(), Expected::Nothing);
        let tag = store.runtime().wait(put).unwrap();
        let reads = ObjectReads::new(store.clone(), key, tag, bytes.len() as u64);
        (store, reads)
    }

    #[test]
    fn neighbours_are_joined_and_ranges_come_back_in_their_order() {
        const MIB: u64 = 1 << 20;
        let bytes: Vec<u8> = (0..20 * MIB).map(|at| (at * 7 % 251) as u8).collect();
        let (store, reads) = object(&bytes);
        let before = store.counts().requests;
        let ranges = [
            12 * MIB..12 * MIB + 10,
            5..9,
            MIB..MIB + 1,
            3..3,
            7..8,
            9 * MIB..19 * MIB,
        ];
        let read = reads.read_ranges(&ranges).unwrap();
        for (range, read) in ranges.iter().zip(&read) {
            let at = |at| usize::try_from(at).unwrap();
            let expected = &bytes[at(range.start)..at(range.end)];
            assert!(read[..] == *expected, "{range:?}");
        }
        // One for what lies below 2 MiB, two for 10 MiB.
        assert_eq!(store.counts().requests - before, 3);
        let fetched = MIB + 1 - 5 + 10 * MIB;
        assert_eq!(store.counts().fetched, fetched);
        assert!(reads.read_at(20 * MIB, &mut [0]).is_err());
    }

    #[test]
    fn a_version_that_is_gone_is_told_as_such_and_nothing_else_is_read() {
        let (store, reads) = object(b"before");
        let key = store.key("a.parquet").unwrap();
        let put = store.clone().put(
            key.clone(),
            PutPayload::from_static(b"behind"),
            Attributes::new(),
            Expected::Anything,
        );
        store.runtime().wait(put).unwrap();
        let error = reads.read_at(0, &mut [0; 6]).unwrap_err();
        assert!(efface::error::is_replaced(&error), "{error}");
        store.runtime().wait(store.clone().delete(key)).unwrap();
        let error = reads.read_at(0, &mut [0; 6]).unwrap_err();
        assert!(efface::error::is_replaced(&error), "{error}");
    }

    #[test]
    fn short_reads_share_the_requests_of_their_blocks() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
        let (store, reads) = object(&bytes);
        let before = store.counts().requests;
        for start in (0..2_999_000).step_by(1000) {
            let mut buffer = [0; 999];
            reads.read_at(start as u64, &mut buffer).unwrap();
            assert!(buffer[..] == bytes[start..start + 999], "{start}");
        }
        assert_eq!(store.counts().requests - before, 12);
    }

    #[test]
    fn a_wait_works_inside_of_another_runtime() {
        let (_, reads) = object(b"bytes");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut buffer = [0; 5];
            reads.read_at(0, &mut buffer).unwrap();
            assert_eq!(&buffer, b"bytes");
            drop(reads);
        });
    }
}
