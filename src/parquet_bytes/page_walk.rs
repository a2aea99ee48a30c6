//! Walking the pages of a chunk.
//!
//! Memory: one window of the file, as large as the largest page read (at least [`READ_BYTES`], less for a
//! shorter chunk), or as small as the caller asks for headers alone.

use std::ops::Range;
use std::sync::Arc;

use super::page::PageHeader;
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::limits::{PAGE_BYTES_MAX, PAGE_HEADER_BYTES_MAX, READ_BYTES};

type Result<T> = std::result::Result<T, FormatError>;

/// A walk over the pages of one chunk, by positioned reads.
pub struct PageWalk {
    file: Arc<dyn ReadAt>,
    chunk: Range<u64>,
    /// Where the next header begins.
    at: u64,
    window: Vec<u8>,
    window_start: u64,
    read_len: u64,
}

impl PageWalk {
    /// A walk over the pages in `chunk`.
    pub fn new(file: Arc<dyn ReadAt>, chunk: Range<u64>) -> Self {
        Self::with_read_len(file, chunk, READ_BYTES)
    }

    /// The same, asking for at least `read_len` bytes a read.
    pub fn with_read_len(file: Arc<dyn ReadAt>, chunk: Range<u64>, read_len: u64) -> Self {
        Self {
            at: chunk.start,
            window: Vec::new(),
            window_start: chunk.start,
            file,
            chunk,
            read_len,
        }
    }

    /// The header of the next page, without moving on.
    ///
    /// # Errors
    /// When the bytes there are no page header, or the page does not fit the chunk.
    pub fn peek(&mut self) -> Result<Option<PageHeader>> {
        let left = self.chunk.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(None);
        }
        let mut wanted = 256;
        let header = loop {
            let available = left.min(wanted);
            let at = self.at;
            match PageHeader::read(self.bytes(at, available)?, at) {
                Err(FormatError::Truncated { .. })
                    if available < left && wanted < PAGE_HEADER_BYTES_MAX =>
                {
                    wanted *= 8;
                }
                result => break result?,
            }
        };
        if header.end() > self.chunk.end {
            return Err(FormatError::Truncated {
                structure: "page",
                offset: header.offset,
                needed: header.end() - header.offset,
                available: left,
            });
        }
        Ok(Some(header))
    }

    /// Moves on past a page that was peeked at, without reading its body.
    pub fn skip(&mut self, page: &PageHeader) {
        self.at = page.end();
    }

    /// The header of a page that was peeked at, as it is in the file.
    ///
    /// # Errors
    /// When reading fails.
    pub fn header(&mut self, page: &PageHeader) -> Result<&[u8]> {
        self.bytes(page.offset, u64::from(page.header_len))
    }

    /// The first `len` bytes of the body of a page that was peeked at.
    ///
    /// # Errors
    /// When reading fails, or the body is shorter.
    pub fn front(&mut self, page: &PageHeader, len: u32) -> Result<&[u8]> {
        if len > page.compressed_len {
            return Err(FormatError::Truncated {
                structure: "page",
                offset: page.offset,
                needed: u64::from(len),
                available: u64::from(page.compressed_len),
            });
        }
        self.bytes(page.body_offset(), u64::from(len))
    }

    /// Moves on to `offset`, where a page begins.
    pub fn seek(&mut self, offset: u64) {
        self.at = offset.clamp(self.chunk.start, self.chunk.end);
    }

    /// The body of a page that was peeked at; moves on past it.
    ///
    /// # Errors
    /// When reading fails.
    pub fn body(&mut self, page: &PageHeader) -> Result<&[u8]> {
        self.at = page.end();
        self.bytes(page.body_offset(), u64::from(page.compressed_len))
    }

    fn bytes(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        if len > PAGE_BYTES_MAX {
            return Err(FormatError::Invalid {
                structure: "page",
                offset,
                found: format!("{len} bytes"),
                expected: "less than 2 GiB",
            });
        }
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + len > window_end {
            let want = len
                .max(self.read_len)
                .min(self.chunk.end.saturating_sub(offset))
                .max(len);
            // What the window already holds of it is kept, so that no byte is read twice.
            let kept = if offset >= self.window_start && offset < window_end {
                usize::try_from(offset - self.window_start).unwrap_or(usize::MAX)
            } else {
                self.window.len()
            };
            self.window.drain(..kept.min(self.window.len()));
            let have = self.window.len();
            self.window_start = offset;
            self.window
                .resize(usize::try_from(want).unwrap_or(usize::MAX), 0);
            let (_, fresh) = self.window.split_at_mut(have);
            let from = offset + have as u64;
            self.file
                .read_at(from, fresh)
                .map_err(|source| FormatError::Read {
                    offset: from,
                    source,
                })?;
        }
        let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        self.window.get(start..end).ok_or(FormatError::Truncated {
            structure: "page",
            offset,
            needed: len,
            available: self.window.len() as u64,
        })
    }
}
