//! A chunk's pages as the `parquet` crate's leaf column readers take them.
//!
//! Headers, lengths, CRCs and decompression are this crate's own ([`page`](super::page),
//! [`codec`](super::codec)), so that a damaged page is an error with an offset, and so that the values
//! that the pages hold are counted and compared with what the footer claims.
//!
//! The crate makes room for as many values as a dictionary, or the front of delta-encoded values, claims. So each page
//! is decoded here first, unless its values are plain: what passes holds as many values as it says.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescPtr;

use super::codec::{Codec, Codecs};
use super::footer::Chunk;
use super::guard::FirstFailure;
use super::levels::Levels;
use super::page::{PageHeader, PageKind};
use super::page_walk::PageWalk;
use super::values::{PageValues, Physical};
use crate::error::FormatError;
use crate::io::ReadAt;
use crate::limits::PAGE_VALUES_MAX;

/// The pages of one chunk, decompressed one by one.
pub(crate) struct ChunkPages {
    walk: PageWalk,
    codec: Codec,
    codecs: Codecs,
    seen: u64,
    claimed: u64,
    column: ColumnDescPtr,
    levels: Levels,
    indices: Vec<u32>,
    failure: FirstFailure,
}

impl ChunkPages {
    /// The pages of `chunk`; `column` is its leaf. An error is kept in `failure`.
    pub(crate) fn new(
        file: Arc<dyn ReadAt>,
        chunk: &Chunk,
        column: &ColumnDescPtr,
        failure: FirstFailure,
    ) -> Self {
        Self {
            walk: PageWalk::new(file, chunk.range.clone()),
            codec: chunk.codec,
            codecs: Codecs::default(),
            seen: 0,
            claimed: chunk.values,
            column: Arc::clone(column),
            levels: Levels::default(),
            indices: Vec::new(),
            failure,
        }
    }

    /// The next page that holds values or a dictionary.
    fn peek(&mut self) -> Result<Option<PageHeader>, FormatError> {
        while let Some(page) = self.walk.peek()? {
            if page.kind != PageKind::Other {
                self.check_values(&page)?;
                return Ok(Some(page));
            }
            self.walk.skip(&page);
        }
        if self.seen == self.claimed {
            return Ok(None);
        }
        Err(self.contradiction(self.seen))
    }

    /// Refuses a page that holds more values than the footer leaves for it.
    fn check_values(&self, page: &PageHeader) -> Result<(), FormatError> {
        let counted = self.seen + u64::from(page.kind.data_values().unwrap_or(0));
        if counted > self.claimed {
            return Err(self.contradiction(counted));
        }
        Ok(())
    }

    fn contradiction(&self, counted: u64) -> FormatError {
        FormatError::Contradiction {
            what: format!("values of a chunk of column {}", self.column.path()),
            claimed: self.claimed,
            counted,
        }
    }

    /// The decompressed `bytes` of a page, if they hold as many levels and values as its header says.
    fn checked(&mut self, page: &PageHeader, bytes: Vec<u8>) -> Result<Vec<u8>, FormatError> {
        let (definition, repetition) = (self.column.max_def_level(), self.column.max_rep_level());
        let (at, values) = if let PageKind::Dictionary { values, .. } = page.kind {
            (0, values as usize)
        } else {
            let levels = &mut self.levels;
            let rest = levels.read(page, &bytes, repetition, definition)?.len();
            let entries = page.kind.data_values().unwrap_or(0) as usize;
            (bytes.len() - rest, levels.values(0..entries, definition))
        };
        let encoding = page.kind.data_encoding();
        if values > PAGE_VALUES_MAX as usize {
            return Err(FormatError::Unsupported {
                feature: format!("a page of {values} values"),
            });
        }
        if encoding == Some(Encoding::PLAIN) {
            return Ok(bytes);
        }
        let physical = Physical::of(&self.column);
        let indices = std::mem::take(&mut self.indices);
        // What is decoded may be other bytes than those of the page.
        let copy = bytes.clone();
        let read = PageValues::read(page, physical, copy, at, values, indices)?;
        (_, self.indices) = read.into_buffers();
        Ok(bytes)
    }

    fn next_page(&mut self) -> Result<Option<Page>, FormatError> {
        let Some(page) = self.peek()? else {
            return Ok(None);
        };
        self.seen += u64::from(page.kind.data_values().unwrap_or(0));
        let mut bytes = Vec::new();
        let body = self.walk.body(&page)?;
        page.decompress(body, self.codec, &mut self.codecs, &mut bytes)?;
        let bytes = self.checked(&page, bytes)?;
        let buf = Bytes::from(bytes);
        Ok(match page.kind {
            PageKind::Dictionary {
                values,
                encoding: _,
                sorted,
            } => Some(Page::DictionaryPage {
                buf,
                num_values: values,
                encoding: Encoding::PLAIN,
                is_sorted: sorted,
            }),
            PageKind::V1 {
                values,
                encoding,
                definition,
                repetition,
            } => Some(Page::DataPage {
                buf,
                num_values: values,
                encoding,
                def_level_encoding: definition,
                rep_level_encoding: repetition,
                statistics: None,
            }),
            PageKind::V2 {
                values,
                nulls,
                rows,
                encoding,
                definition_len,
                repetition_len,
                ..
            } => Some(Page::DataPageV2 {
                buf,
                num_values: values,
                encoding,
                num_nulls: nulls,
                num_rows: rows,
                def_levels_byte_len: definition_len,
                rep_levels_byte_len: repetition_len,
                is_compressed: false,
                statistics: None,
            }),
            PageKind::Other => None,
        })
    }
}

impl Iterator for ChunkPages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.next_page();
        self.failure.keep(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        let page = self.peek();
        let page = self.failure.keep(page)?;
        Ok(page.map(|page| PageMetadata {
            num_rows: match page.kind {
                PageKind::V2 { rows, .. } => Some(rows as usize),
                _ => None,
            },
            num_levels: page.kind.data_values().map(|values| values as usize),
            is_dict: matches!(page.kind, PageKind::Dictionary { .. }),
        }))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        let page = self.peek();
        if let Some(page) = self.failure.keep(page)? {
            self.seen += u64::from(page.kind.data_values().unwrap_or(0));
            self.walk.skip(&page);
        }
        Ok(())
    }
}
