//! Postings that did not fit into memory, in a temporary file.
//!
//! # Crash behaviour
//! The file is of one process: it goes when it is dropped, or with the next refresh. It has no
//! checks, for nobody reads it after a crash.

use std::io::Write;
use std::sync::Arc;

use super::format::{to_usize, u64_at};
use super::partition::{PARTITIONS, Partition, WORD_BYTES};
use crate::error::{Error, Result};
use crate::io::ReadAt;
use crate::state::{Draft, State};

/// Bytes written at a time.
const BUFFER_BYTES: usize = 128 << 10;

/// The words of a partition that were spilled together.
struct Section {
    offset: u64,
    words: u64,
}

/// Sections of each partition.
type Sections = Vec<Vec<Section>>;

/// Appends partitions to the file: words of 8 bytes, little-endian.
pub(super) struct SpillWriter<'a> {
    draft: Box<dyn Draft + 'a>,
    sections: Sections,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a> SpillWriter<'a> {
    /// Begins the file, which messages name `path`.
    pub(super) fn create(state: &'a dyn State, path: &str) -> Result<Self> {
        Ok(Self {
            draft: state.create(path)?,
            sections: std::iter::repeat_with(Vec::new).take(PARTITIONS).collect(),
            offset: 0,
            bytes: Vec::new(),
        })
    }

    /// Appends what the partition `number` held.
    pub(super) fn write(&mut self, number: usize, partition: &Partition) -> Result<()> {
        let words = partition.words() as u64;
        let Some(sections) = self.sections.get_mut(number).filter(|_| words > 0) else {
            return Ok(());
        };
        sections.push(Section {
            offset: self.offset,
            words,
        });
        self.offset += words * WORD_BYTES as u64;
        for piece in partition.pieces() {
            for word in piece {
                self.bytes.extend_from_slice(&word.to_le_bytes());
            }
            if self.bytes.len() >= BUFFER_BYTES {
                self.write_buffer()?;
            }
        }
        Ok(())
    }

    /// Ends the file, to be read.
    pub(super) fn finish(mut self) -> Result<Spilled<'a>> {
        self.write_buffer()?;
        Ok(Spilled {
            source: self.draft.read_back()?,
            draft: self.draft,
            sections: self.sections,
        })
    }

    fn write_buffer(&mut self) -> Result<()> {
        let written = self.draft.write_all(&self.bytes);
        self.bytes.clear();
        written.map_err(Error::io("write", self.draft.path()))
    }
}

/// What was spilled. The file is removed when this is dropped.
pub(super) struct Spilled<'a> {
    source: Arc<dyn ReadAt>,
    draft: Box<dyn Draft + 'a>,
    sections: Sections,
}

impl Spilled<'_> {
    /// Words of a partition.
    pub(super) fn words(&self, number: usize) -> u64 {
        let sections = self.sections.get(number).map(Vec::as_slice);
        let sections = sections.unwrap_or_default();
        sections.iter().map(|section| section.words).sum()
    }

    /// Shows the sections of a partition to `see`, which returns whether each is one.
    pub(super) fn read(&self, number: usize, mut see: impl FnMut(&[u64]) -> bool) -> Result<()> {
        let (mut bytes, mut words) = (Vec::new(), Vec::new());
        for section in self.sections.get(number).into_iter().flatten() {
            bytes.resize(to_usize(section.words) * WORD_BYTES, 0);
            self.source
                .read_at(section.offset, &mut bytes)
                .map_err(Error::io("read", self.draft.path()))?;
            words.clear();
            let read = bytes.chunks_exact(WORD_BYTES);
            words.extend(read.filter_map(|word| u64_at(word, 0)));
            if !see(&words) {
                return Err(Error::State {
                    path: self.draft.path().to_owned(),
                    reason: "was changed while it was in use".to_owned(),
                });
            }
        }
        Ok(())
    }
}
