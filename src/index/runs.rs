//! Sorted runs: postings that did not fit into memory, in temporary files.
//!
//! # Crash behaviour
//! A run is of one process: it goes when it is dropped, or with the next refresh. It has no
//! checks, for nobody reads it after a crash.

use std::io::Write;
use std::sync::Arc;

use super::format::{to_usize, u32_at, u64_at};
use super::writer::Temporary;
use crate::error::{Error, Result};
use crate::storage::{ReadAt, Storage};

/// A hash and a row group.
pub(super) type Pair = (u64, u32);

/// Bytes of a pair in a run.
pub(super) const RUN_PAIR_BYTES: usize = 12;

/// A sorted run on disk: pairs of 12 bytes, little-endian.
pub(super) struct Run<'a> {
    file: Temporary<'a>,
    pub(super) pairs: u64,
}

/// Writes ascending pairs as a new run, the temporary file `path`.
pub(super) fn write_run(
    storage: &dyn Storage,
    path: String,
    mut next: impl FnMut() -> Result<Option<Pair>>,
) -> Result<Run<'_>> {
    let mut sink = storage.create(&path, None)?;
    let mut run = Run {
        file: Temporary { storage, path },
        pairs: 0,
    };
    while let Some((hash, row_group)) = next()? {
        let mut bytes = [0; RUN_PAIR_BYTES];
        let (left, right) = bytes.split_at_mut(8);
        left.copy_from_slice(&hash.to_le_bytes());
        right.copy_from_slice(&row_group.to_le_bytes());
        sink.write_all(&bytes)
            .map_err(Error::io("write", &run.file.path))?;
        run.pairs += 1;
    }
    sink.flush().map_err(Error::io("write", &run.file.path))?;
    Ok(run)
}

/// Reads a run from its start, and removes it when dropped.
pub(super) struct RunReader<'a> {
    run: Run<'a>,
    file: Arc<dyn ReadAt>,
    read_pairs: usize,
    read: u64,
    bytes: Vec<u8>,
    position: usize,
}

impl<'a> RunReader<'a> {
    pub(super) fn open(run: Run<'a>, read_pairs: usize) -> Result<Self> {
        let file = run.file.storage.open(&run.file.path)?;
        Ok(Self {
            run,
            file,
            read_pairs,
            read: 0,
            bytes: Vec::new(),
            position: 0,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Pair>> {
        if self.position == self.bytes.len() {
            let pairs = (self.run.pairs - self.read).min(self.read_pairs as u64);
            self.bytes.resize(to_usize(pairs) * RUN_PAIR_BYTES, 0);
            self.position = 0;
            self.file
                .read_at(self.read * RUN_PAIR_BYTES as u64, &mut self.bytes)
                .map_err(Error::io("read", &self.run.file.path))?;
            self.read += pairs;
        }
        let Some(bytes) = self.bytes.get(self.position..) else {
            return Ok(None);
        };
        self.position += bytes.len().min(RUN_PAIR_BYTES);
        let hash = u64_at(bytes, 0);
        Ok(hash.zip(u32_at(bytes, 8)))
    }
}
