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
use crate::storage::{ReadAt, Sink, Storage};

/// A hash and a row group.
pub(super) type Pair = (u64, u32);

/// Bytes of a pair in a run.
pub(super) const RUN_PAIR_BYTES: usize = 12;
/// Pairs written at a time.
const WRITE_PAIRS: usize = 4 << 10;

/// A sorted run on disk: pairs of 12 bytes, little-endian.
pub(super) struct Run<'a> {
    file: Temporary<'a>,
    pub(super) pairs: u64,
}

/// Writes ascending pairs as a new run.
pub(super) struct RunWriter<'a> {
    sink: Box<dyn Sink>,
    run: Run<'a>,
    bytes: Vec<u8>,
}

impl<'a> RunWriter<'a> {
    /// Begins the run in the temporary file `path`.
    pub(super) fn create(storage: &'a dyn Storage, path: String) -> Result<Self> {
        Ok(Self {
            sink: storage.create(&path, None)?,
            run: Run {
                file: Temporary { storage, path },
                pairs: 0,
            },
            bytes: Vec::new(),
        })
    }

    /// Appends pairs.
    pub(super) fn write(&mut self, pairs: &[Pair]) -> Result<()> {
        for part in pairs.chunks(WRITE_PAIRS) {
            self.bytes.clear();
            for (hash, row_group) in part {
                self.bytes.extend_from_slice(&hash.to_le_bytes());
                self.bytes.extend_from_slice(&row_group.to_le_bytes());
            }
            self.sink
                .write_all(&self.bytes)
                .map_err(Error::io("write", &self.run.file.path))?;
        }
        self.run.pairs += pairs.len() as u64;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Run<'a>> {
        self.sink
            .flush()
            .map_err(Error::io("write", &self.run.file.path))?;
        Ok(self.run)
    }
}

/// Reads a run from its start, and removes it when dropped.
pub(super) struct RunReader<'a> {
    run: Run<'a>,
    file: Arc<dyn ReadAt>,
    read_pairs: usize,
    read: u64,
    bytes: Vec<u8>,
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
        })
    }

    /// Replaces `pairs` by the next ones; by none at the end.
    pub(super) fn read(&mut self, pairs: &mut Vec<Pair>) -> Result<()> {
        let count = (self.run.pairs - self.read).min(self.read_pairs as u64);
        self.bytes.resize(to_usize(count) * RUN_PAIR_BYTES, 0);
        self.file
            .read_at(self.read * RUN_PAIR_BYTES as u64, &mut self.bytes)
            .map_err(Error::io("read", &self.run.file.path))?;
        self.read += count;
        pairs.clear();
        let read = self.bytes.chunks_exact(RUN_PAIR_BYTES);
        pairs.extend(read.filter_map(|pair| u64_at(pair, 0).zip(u32_at(pair, 8))));
        Ok(())
    }
}
