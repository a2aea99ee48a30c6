//! The dictionary of a chunk, as far as its pages need it.

use super::scratch::{Front, Scratch, body_of, read_page};
use super::wanted::{Piece, Values, Wanted};
use super::{Gather, Result};
use crate::error::FormatError;
use crate::limits::PAGE_VALUES_MAX;
use crate::parquet_bytes::page::{PageHeader, PageKind};
use crate::parquet_bytes::values::PageValues;

impl Gather {
    /// Reads the dictionary as far as the entry `last`.
    pub(super) fn reach_entry(
        &mut self,
        last: u32,
        page: &PageHeader,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let held = self.dictionary.as_ref().map_or(0, |(_, entries)| *entries);
        if held > last as usize {
            return Ok(());
        }
        let missing = |found: String| FormatError::Invalid {
            structure: "dictionary indices",
            offset: page.offset,
            found,
            expected: "an entry of the chunk's dictionary page",
        };
        let mut bytes = std::mem::take(&mut scratch.dictionary);
        let mut at = self.front.clone();
        let (header, values) = loop {
            if at.is_empty() {
                return Err(missing("no dictionary page before them".into()));
            }
            let header = read_page(&*self.file, at.clone(), &mut bytes)?;
            if let PageKind::Dictionary { values, .. } = header.kind {
                break (header, values);
            }
            at.start = header.end();
        };
        if values <= last || values > PAGE_VALUES_MAX {
            return Err(missing(format!("index {last} of {values} entries")));
        }
        // Who needs more a second time gets all of it.
        let needed = match self.dictionary.take() {
            None => last + 1,
            Some((before, _)) => {
                scratch.give_back(before);
                values
            }
        };
        let mut front = Front {
            header: &header,
            body: body_of(&header, &bytes)?,
            codec: self.chunk.codec,
        };
        let physical = self.physical;
        let count = needed as usize;
        let entries = front.read(needed.into(), values.into(), scratch, |plain, scratch| {
            if !physical.is_byte_array() {
                let all = PageValues::read(&header, physical, plain, 0, count, Vec::new())?;
                return Ok(Values::All(all));
            }
            let all = Wanted {
                header: &header,
                pieces: &[Piece {
                    entries: 0..count,
                    values: 0..count,
                    rows: 0,
                }],
            };
            let mut spans = scratch.take_spans();
            all.spans(&plain, 0, &mut spans)?;
            Ok(Values::Spans(plain, spans))
        })?;
        scratch.dictionary = bytes;
        self.dictionary = Some((entries, count));
        Ok(())
    }
}
