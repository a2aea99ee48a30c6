//! Which entries of a page are wanted, and where their values are.

use std::ops::Range;

use crate::error::FormatError;
use crate::parquet_bytes::page::PageHeader;
use crate::parquet_bytes::rle::RleDecoder;
use crate::parquet_bytes::values::PageValues;

type Result<T> = std::result::Result<T, FormatError>;

/// The values of a page.
pub(super) enum Values {
    /// Where each wanted one is in the body.
    Spans(Vec<u8>, Vec<(u32, u32)>),
    /// The dictionary index of each wanted one.
    Indices(Vec<u8>, Vec<u32>),
    /// All of them.
    All(PageValues),
}

/// Wanted entries of a page that follow each other.
pub(super) struct Piece {
    pub(super) entries: Range<usize>,
    pub(super) values: Range<usize>,
    /// Rows that begin in it.
    pub(super) rows: usize,
}

impl Values {
    /// The value that is number `at` of the page and number `kept` of the wanted ones; not of an index.
    pub(super) fn get(&self, at: usize, kept: usize) -> Option<&[u8]> {
        match self {
            Self::Spans(body, spans) => {
                let (from, to) = spans.get(kept)?;
                body.get(*from as usize..*to as usize)
            }
            Self::Indices(..) => None,
            Self::All(values) => values.get(at),
        }
    }
}

/// What is wanted of a page.
pub(super) struct Wanted<'a> {
    pub(super) header: &'a PageHeader,
    pub(super) pieces: &'a [Piece],
}

impl Wanted<'_> {
    /// The indices of the wanted values among those in `values`.
    pub(super) fn indices(&self, values: &[u8], out: &mut Vec<u32>) -> Result<()> {
        out.clear();
        if self.pieces.iter().all(|piece| piece.values.is_empty()) {
            return Ok(());
        }
        let (width, packed) = values
            .split_first()
            .ok_or_else(|| self.truncated("dictionary indices"))?;
        let mut decoder = RleDecoder::new(packed, *width, self.header.offset)?;
        let mut at = 0;
        for piece in self.pieces {
            decoder.skip(piece.values.start - at)?;
            match piece.values.len() {
                1 => out.push(decoder.one()?),
                len => decoder.read(len, out)?,
            }
            at = piece.values.end;
        }
        Ok(())
    }

    /// Where the wanted ones are of the byte arrays that stand, each behind its length, in `body` from `start` on.
    pub(super) fn spans(&self, body: &[u8], start: usize, out: &mut Vec<(u32, u32)>) -> Result<()> {
        out.clear();
        let truncated = || self.truncated("PLAIN values");
        let end_of = |start: usize| {
            let len = body.get(start..).and_then(<[u8]>::first_chunk::<4>);
            len.map(|len| start + 4 + u32::from_le_bytes(*len) as usize)
        };
        // A page is shorter than 2 GiB.
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let (mut at, mut value) = (start, 0);
        for piece in self.pieces {
            while value < piece.values.start {
                at = end_of(at).ok_or_else(truncated)?;
                value += 1;
            }
            while value < piece.values.end {
                let end = end_of(at).filter(|end| *end <= body.len());
                let end = end.ok_or_else(truncated)?;
                out.push((narrow(at + 4), narrow(end)));
                at = end;
                value += 1;
            }
        }
        Ok(())
    }

    fn truncated(&self, structure: &'static str) -> FormatError {
        FormatError::Truncated {
            structure,
            offset: self.header.offset,
            needed: 1,
            available: 0,
        }
    }
}
