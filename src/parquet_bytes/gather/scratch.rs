//! What is used again from page to page, and reading a page as far as it is needed.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::made::Made;
use super::wanted::Values;
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::parquet_bytes::codec::{Codec, Codecs};
use crate::parquet_bytes::levels::Levels;
use crate::parquet_bytes::page::PageHeader;

type Result<T> = std::result::Result<T, FormatError>;

/// Bodies and spans that are kept: those of a page and of a dictionary.
const KEPT: usize = 2;

/// Contexts and memory that are used again, from page to page and from column to column.
#[derive(Default)]
pub struct Scratch {
    codecs: Codecs,
    /// A data page as it was read.
    pub(super) compressed: Vec<u8>,
    /// A dictionary page as it was read.
    pub(super) dictionary: Vec<u8>,
    bodies: Vec<Vec<u8>>,
    spans: Vec<Vec<(u32, u32)>>,
    pub(super) indices: Vec<u32>,
    pub(super) levels: Levels,
    pub(super) made: Made,
}

/// A scratch that the columns of a row group share.
pub type SharedScratch = Arc<Mutex<Scratch>>;

pub(super) fn lock(scratch: &SharedScratch) -> MutexGuard<'_, Scratch> {
    scratch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scratch {
    fn take_body(&mut self) -> Vec<u8> {
        let mut body = self.bodies.pop().unwrap_or_default();
        body.clear();
        body
    }

    /// Decompresses the body of a page to the end of `plain`.
    pub(super) fn decompress(
        &mut self,
        header: &PageHeader,
        body: &[u8],
        codec: Codec,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        header.decompress(body, codec, &mut self.codecs, plain)
    }

    pub(super) fn take_spans(&mut self) -> Vec<(u32, u32)> {
        self.spans.pop().unwrap_or_default()
    }

    /// Takes back the memory of values that are not needed any more.
    pub(super) fn give_back(&mut self, values: Values) {
        let body = match values {
            Values::Spans(body, spans) => {
                if self.spans.len() < KEPT {
                    self.spans.push(spans);
                }
                body
            }
            Values::Indices(body, indices) => {
                self.indices = indices;
                body
            }
            Values::All(values) => values.into_buffers().0,
        };
        if self.bodies.len() < KEPT {
            self.bodies.push(body);
        }
    }
}

/// A page's body, to be decompressed as far as it is needed.
pub(super) struct Front<'a> {
    pub(super) header: &'a PageHeader,
    pub(super) body: &'a [u8],
    pub(super) codec: Codec,
}

impl Front<'_> {
    /// Gives `decode` the front of the body that should hold the first `needed` of `of` parts of it, and if that
    /// was too short, all of it.
    pub(super) fn read<T>(
        &mut self,
        needed: u64,
        of: u64,
        scratch: &mut Scratch,
        mut decode: impl FnMut(Vec<u8>, &mut Scratch) -> Result<T>,
    ) -> Result<T> {
        /// What lies before the values, and what makes up for parts that are longer than others.
        const SPARE_BYTES: u64 = 64 << 10;
        let len = u64::from(self.header.uncompressed_len);
        let part = len.saturating_mul(needed) / of.max(1) + SPARE_BYTES;
        // To decompress in parts has a price of its own.
        if part < len - len / 4 {
            let part = usize::try_from(part).unwrap_or(usize::MAX);
            let mut plain = scratch.take_body();
            let codecs = &mut scratch.codecs;
            if self
                .header
                .decompress_front(self.body, self.codec, codecs, part, &mut plain)?
            {
                match decode(plain, scratch) {
                    Err(FormatError::Truncated { .. }) => {}
                    result => return result,
                }
            }
        }
        let mut plain = scratch.take_body();
        self.header
            .decompress(self.body, self.codec, &mut scratch.codecs, &mut plain)?;
        decode(plain, scratch)
    }
}

/// Reads the page at the front of `range` to the front of `bytes`.
pub(super) fn read_page(
    file: &dyn ReadAt,
    range: Range<u64>,
    bytes: &mut Vec<u8>,
) -> Result<PageHeader> {
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    // What is there already need not be zeroed again.
    if bytes.len() < len {
        bytes.resize(len, 0);
    }
    let (page, _) = bytes.split_at_mut(len);
    file.read_at(range.start, page)
        .map_err(|source| FormatError::Read {
            offset: range.start,
            source,
        })?;
    let header = PageHeader::read(page, range.start)?;
    if header.end() > range.end {
        return Err(FormatError::Truncated {
            structure: "page",
            offset: header.offset,
            needed: header.end() - header.offset,
            available: len as u64,
        });
    }
    Ok(header)
}

/// The body of a page that was read so.
pub(super) fn body_of<'a>(header: &PageHeader, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let start = header.header_len as usize;
    bytes
        .get(start..start + header.compressed_len as usize)
        .ok_or(FormatError::Truncated {
            structure: "page",
            offset: header.offset,
            needed: header.end() - header.offset,
            available: bytes.len() as u64,
        })
}
