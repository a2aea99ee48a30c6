//! Reading a new shard back, before anybody believes it.
//!
//! ```text
//!   old shard ── whole ──> BLAKE3          spans that were copied: the same bytes in both?
//!   new shard ── whole ──> BLAKE3          pages that were encoded: can they be decompressed, do they add up?
//! ```
//!
//! Memory: three buffers of [`WRITE_BYTES`](limits::WRITE_BYTES), and one page for each thread.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::Shard;
use super::rewrite::report::Copied;
use crate::error::{Error, FormatError, Result};
use crate::io::ReadAt;
use crate::limits;
use crate::parquet_bytes::codec::Codecs;
use crate::parquet_bytes::footer::Chunk;
use crate::parquet_bytes::page_walk::PageWalk;

/// What two versions of a shard are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// BLAKE3 of the old file, as `b3sum` prints it.
    pub old_hash: String,
    /// BLAKE3 of the new file.
    pub new_hash: String,
    /// Whether every span that was copied has the bytes that it has in the old file.
    pub is_copied_right: bool,
}

/// Reads both files whole.
///
/// # Errors
/// When one can't be read.
pub fn compare(old: &dyn ReadAt, new: &dyn ReadAt, copied: &[Copied]) -> io::Result<Compared> {
    Ok(Compared {
        is_copied_right: compare_copied(old, new, copied)?,
        old_hash: hash(old)?,
        new_hash: hash(new)?,
    })
}

/// Whether every span that was copied has the bytes that it has in the old file.
///
/// # Errors
/// When a span can't be read.
pub fn compare_copied(old: &dyn ReadAt, new: &dyn ReadAt, copied: &[Copied]) -> io::Result<bool> {
    let longest = copied.iter().map(|span| span.bytes).max().unwrap_or(0);
    let len = usize::try_from(longest).unwrap_or(usize::MAX);
    let mut buffers = [(); 2].map(|()| vec![0; len.min(limits::WRITE_BYTES)]);
    for span in copied {
        let mut done = 0;
        while done < span.bytes {
            let left = usize::try_from(span.bytes - done).unwrap_or(usize::MAX);
            let len = left.min(limits::WRITE_BYTES);
            let [of_old, of_new] = &mut buffers;
            let (of_old, of_new) = (of_old.split_at_mut(len).0, of_new.split_at_mut(len).0);
            old.read_at(span.from + done, of_old)?;
            new.read_at(span.to + done, of_new)?;
            if of_old != of_new {
                return Ok(false);
            }
            done += len as u64;
        }
    }
    Ok(true)
}

/// The error that a copied span is not what it was.
pub fn copied_wrong(path: &str) -> Error {
    Error::CheckFailed {
        path: path.to_owned(),
        reason: "bytes that were copied differ from the old shard's".to_owned(),
    }
}

/// BLAKE3 of a whole file, as `b3sum` prints it.
///
/// # Errors
/// When it can't be read.
pub fn hash(file: &dyn ReadAt) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let whole = usize::try_from(file.len()).unwrap_or(usize::MAX);
    let mut buffer = vec![0; whole.min(limits::WRITE_BYTES)];
    let mut offset = 0;
    while offset < file.len() {
        let left = usize::try_from(file.len() - offset).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let (part, _) = buffer.split_at_mut(len);
        file.read_at(offset, part)?;
        hasher.update(part);
        offset += len as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Walks the pages of every chunk that overlaps the ascending ranges `fresh`, and decompresses those that do.
///
/// # Errors
/// The first thing that is wrong with one.
pub fn check_pages(shard: &Shard, fresh: &[Range<u64>]) -> Result<()> {
    let groups = shard.footer.row_groups().iter();
    let chunks: Vec<&Chunk> = groups
        .filter(|group| {
            let mut chunks = group.chunks.iter();
            chunks.any(|chunk| overlaps(fresh, chunk.range.clone()))
        })
        .flat_map(|group| &group.chunks)
        .collect();
    chunks
        .into_par_iter()
        .try_for_each(|chunk| check_chunk(shard, chunk, fresh))
        .map_err(|error| error.in_shard(&shard.path))
}

fn check_chunk(
    shard: &Shard,
    chunk: &Chunk,
    fresh: &[Range<u64>],
) -> std::result::Result<(), FormatError> {
    let range = chunk.range.clone();
    let read_len = shard.file.request_bytes_min();
    let mut walk = PageWalk::with_read_len(Arc::clone(&shard.file), range, read_len);
    let mut codecs = Codecs::default();
    let mut body = Vec::new();
    let mut values = 0;
    while let Some(page) = walk.peek()? {
        values += u64::from(page.kind.data_values().unwrap_or(0));
        if overlaps(fresh, page.offset..page.end()) {
            body.clear();
            page.decompress(walk.body(&page)?, chunk.codec, &mut codecs, &mut body)?;
        }
        walk.skip(&page);
    }
    if values == chunk.values {
        return Ok(());
    }
    Err(FormatError::Contradiction {
        what: "values of a new chunk".into(),
        claimed: chunk.values,
        counted: values,
    })
}

/// Whether one of the ascending `ranges` overlaps `range`.
fn overlaps(ranges: &[Range<u64>], range: Range<u64>) -> bool {
    let next = ranges.partition_point(|other| other.end <= range.start);
    ranges
        .get(next)
        .is_some_and(|other| other.start < range.end)
}
