//! Rows told apart by subject in one pass over an export, with bounded memory.
//!
//! ```text
//!   batches with owners ── gathered up to SPOOL_BYTES ── a piece for each subject ──> one temporary file
//!      then, subject by subject: its pieces, and what is still gathered ──> batches
//! ```
//!
//! # Crash behaviour
//! The temporary file loses its name as soon as it is whole; a crash before leaves it under a name that readers skip
//! and the next run removes.
//!
//! Memory: [`SPOOL_BYTES`] of decoded rows, twice while they are written out; eight bytes for each of these rows and
//! subject, and sixteen for each piece.

use std::io::{self, Cursor, Write};
use std::ops::Range;
use std::sync::Arc;

use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

use super::disclosed::Owned;
use super::failure::written;
use crate::error::{Error, Result};
use crate::io::ReadAt;
use crate::limits::{BATCH_RECORDS, PAGE_BYTES_MAX};
use crate::state::{Draft, State};

/// How messages name the temporary file.
const NAME: &str = "subjects";

/// Decoded bytes that are gathered before they are written out.
pub const SPOOL_BYTES: usize = 64 << 20;

/// Rows of different subjects, to be told apart.
pub(super) struct Spool<'a> {
    out: &'a dyn State,
    schema: SchemaRef,
    budget: usize,
    file: Option<Box<dyn Draft + 'a>>,
    len: u64,
    gathered: Gathered,
    /// The pieces of each subject, as places in the file.
    pieces: Vec<Vec<Range<u64>>>,
}

/// Batches, and which of their rows are whose.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    bytes: usize,
    /// For each subject the batch and the row in it.
    rows: Vec<Vec<(u32, u32)>>,
}

/// The rows of each subject.
pub(super) struct Pieces {
    schema: SchemaRef,
    file: Option<Arc<dyn ReadAt>>,
    gathered: Gathered,
    /// Places in the file.
    places: Vec<Vec<Range<u64>>>,
}

impl<'a> Spool<'a> {
    /// A spool in the directory `out` for this many subjects.
    pub(super) fn new(
        out: &'a dyn State,
        schema: SchemaRef,
        subjects: usize,
        budget: usize,
    ) -> Self {
        Self {
            out,
            schema,
            budget,
            file: None,
            len: 0,
            gathered: Gathered::new(subjects),
            pieces: vec![Vec::new(); subjects],
        }
    }

    /// # Errors
    /// When the temporary file can't be written.
    pub(super) fn add(&mut self, owned: &Owned) -> Result<()> {
        self.gathered.add(owned);
        let rows: usize = self.gathered.rows.iter().map(Vec::len).sum();
        if self.gathered.bytes + 8 * rows > self.budget {
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        let subjects = self.pieces.len();
        let gathered = std::mem::replace(&mut self.gathered, Gathered::new(subjects));
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.out.create(NAME)?),
        };
        for (subject, pieces) in self.pieces.iter_mut().enumerate() {
            let mut bytes = Vec::new();
            let mut writer = StreamWriter::try_new(&mut bytes, &self.schema).map_err(written)?;
            let mut is_empty = true;
            for batch in gathered.of(subject) {
                writer.write(&batch.map_err(written)?).map_err(written)?;
                is_empty = false;
            }
            writer.finish().map_err(written)?;
            drop(writer);
            if is_empty {
                continue;
            }
            file.write_all(&bytes).map_err(Error::io("write", NAME))?;
            pieces.push(self.len..self.len + bytes.len() as u64);
            self.len += bytes.len() as u64;
        }
        Ok(())
    }

    /// All rows, told apart.
    ///
    /// # Errors
    /// When the temporary file can't be written or opened.
    pub(super) fn finish(self) -> Result<Pieces> {
        // The draft loses its name when it is dropped; who has it open goes on reading.
        let open = |mut file: Box<dyn Draft + '_>| file.read_back();
        Ok(Pieces {
            schema: self.schema,
            file: self.file.map(open).transpose()?,
            gathered: self.gathered,
            places: self.pieces,
        })
    }
}

impl Gathered {
    fn new(subjects: usize) -> Self {
        Self {
            rows: vec![Vec::new(); subjects],
            ..Self::default()
        }
    }

    fn add(&mut self, owned: &Owned) {
        let batch = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        self.bytes += owned.batch.get_array_memory_size();
        self.batches.push(owned.batch.clone());
        for (row, subjects) in (0..).zip(&owned.subjects) {
            for subject in subjects.iter() {
                if let Some(rows) = self.rows.get_mut(*subject as usize) {
                    rows.push((batch, row));
                }
            }
        }
    }

    /// The rows of a subject, batch by batch.
    fn of(&self, subject: usize) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = self.rows.get(subject).map_or(&[][..], Vec::as_slice);
        rows.chunks(BATCH_RECORDS).map(move |rows| {
            // Only the batches that hold these rows: for few rows out of many, the rest only costs time.
            let mut used: Vec<u32> = rows.iter().map(|(batch, _)| *batch).collect();
            used.dedup();
            let of = |number: &u32| batches.get(*number as usize).copied();
            let picked: Vec<&RecordBatch> = used.iter().filter_map(of).collect();
            let place =
                |(batch, row): &(u32, u32)| (used.binary_search(batch).unwrap_or(0), *row as usize);
            let places: Vec<(usize, usize)> = rows.iter().map(place).collect();
            interleave_record_batch(&picked, &places)
        })
    }
}

impl Pieces {
    /// The schema of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of a subject, by its place in the plan, in the order of the export.
    pub(super) fn of(
        &self,
        subject: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        let pieces = self.places.get(subject).map_or(&[][..], Vec::as_slice);
        let written = pieces.iter().flat_map(|piece| match self.read(piece) {
            Ok(reader) => Box::new(reader) as Box<dyn Iterator<Item = _>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        written.chain(self.gathered.of(subject))
    }

    fn read(&self, piece: &Range<u64>) -> Result<StreamReader<Cursor<Vec<u8>>>, ArrowError> {
        let len = piece.end - piece.start;
        let len = usize::try_from(len.min(PAGE_BYTES_MAX)).unwrap_or(0);
        let mut bytes = vec![0; len];
        match &self.file {
            Some(file) => file.read_at(piece.start, &mut bytes)?,
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
        StreamReader::try_new(Cursor::new(bytes), None)
    }
}
