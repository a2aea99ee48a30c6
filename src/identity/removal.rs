//! The rows of an alias table that name an erased id: after a delete they have to go too, last.
//!
//! For Parquet, [`rows_naming`] says which rows those are; the rewrite is that of any shard. For
//! CSV, [`csv_without`] writes the table without them, every other byte as it was.

use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::spelling::Spelling;
use super::table::{self, AliasTable, Cell, Row, TableFormat};
use crate::error::{Error, FormatError, Result};
use crate::io::ReadAt;
use crate::limits;
use crate::subject::SubjectId;

/// The numbers of the rows, counted from 0, that name one of `erased` on either side.
///
/// The rows of a CSV are its records after the header.
///
/// # Errors
/// Those of reading the table, see [`table`], and [`FormatError::Unsupported`] when it
/// has more rows than a `u32` counts.
pub fn rows_naming(
    file: Arc<dyn ReadAt>,
    table: &AliasTable,
    erased: &[SubjectId],
) -> Result<RoaringBitmap> {
    let erased = Erased::new(erased);
    let mut rows = RoaringBitmap::new();
    let mut number = 0_u64;
    table::visit(file, table, |row| {
        let row_number = u32::try_from(number).map_err(|_| {
            let feature = "an alias table with more than 4,294,967,296 rows".to_owned();
            FormatError::Unsupported { feature }.in_shard(&table.path)
        })?;
        number += 1;
        if erased.are_named_in(&row) {
            rows.insert(row_number);
        }
        Ok(())
    })?;
    Ok(rows)
}

/// Writes a CSV table to `sink` without the records that name one of `erased` on either side, and
/// says how many those were.
///
/// # Errors
/// Those of reading the table, see [`table`]; [`Error::Io`] when writing fails;
/// [`FormatError::Unsupported`] when the table is Parquet.
pub fn csv_without(
    file: &Arc<dyn ReadAt>,
    table: &AliasTable,
    erased: &[SubjectId],
    sink: &mut dyn Write,
) -> Result<u64> {
    if table.format_of(&**file)? == TableFormat::Parquet {
        let feature = "removing records of a CSV from a Parquet file".to_owned();
        return Err(FormatError::Unsupported { feature }.in_shard(&table.path));
    }
    let erased = Erased::new(erased);
    let mut kept_from = 0;
    let mut removed = 0;
    table::visit_csv(Arc::clone(file), table, |row| {
        if erased.are_named_in(&row) {
            let record =
                whole_record(&**file, row.place).map_err(Error::io("read", &table.path))?;
            copy(&**file, kept_from..record.start, table, sink)?;
            kept_from = record.end;
            removed += 1;
        }
        Ok(())
    })?;
    copy(&**file, kept_from..file.len(), table, sink)?;
    Ok(removed)
}

/// A record's bytes and the whole of its terminator: the line ends before it stay where they are,
/// and the LF of its CRLF goes with it.
fn whole_record(file: &dyn ReadAt, span: Range<u64>) -> io::Result<Range<u64>> {
    let byte_at = |offset: u64| {
        let mut byte = [0];
        file.read_at(offset, &mut byte).map(|()| byte)
    };
    let Range { mut start, mut end } = span;
    while start < end && matches!(&byte_at(start)?, b"\r" | b"\n") {
        start += 1;
    }
    if start < end && end < file.len() && byte_at(end - 1)? == *b"\r" && byte_at(end)? == *b"\n" {
        end += 1;
    }
    Ok(start..end)
}

fn copy(
    file: &dyn ReadAt,
    range: Range<u64>,
    table: &AliasTable,
    sink: &mut dyn Write,
) -> Result<()> {
    let mut buffer = Vec::new();
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        buffer.resize(left.min(limits::WRITE_BYTES), 0);
        file.read_at(offset, &mut buffer)
            .map_err(Error::io("read", &table.path))?;
        sink.write_all(&buffer)
            .map_err(Error::io("write", &table.path))?;
        offset += buffer.len() as u64;
    }
    Ok(())
}

/// Erased ids as each kind of column spells them.
struct Erased {
    texts: HashSet<String>,
    numbers: HashSet<String>,
    uuids: HashSet<String>,
}

impl Erased {
    fn new(ids: &[SubjectId]) -> Self {
        let spelled = |spelling: Spelling| {
            ids.iter()
                .filter_map(|id| spelling.of(id.reveal()))
                .collect()
        };
        Self {
            texts: spelled(Spelling::Text),
            numbers: spelled(Spelling::Number),
            uuids: spelled(Spelling::Uuid),
        }
    }

    fn are_named_in(&self, row: &Row<'_>) -> bool {
        let names = |cell: &Cell<'_>| {
            let spelled = match cell.spelling {
                Spelling::Text => &self.texts,
                Spelling::Number => &self.numbers,
                Spelling::Uuid => &self.uuids,
            };
            cell.text.is_some_and(|text| spelled.contains(text))
        };
        names(&row.alias) || names(&row.distinct_id)
    }
}
