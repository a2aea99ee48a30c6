//! The alias table: a Parquet or CSV file with a column of aliases and one of the ids that they map to.
//!
//! The content tells which it is, not the name: Parquet begins with `PAR1`. A CSV needs a header.
//! A column of a Parquet table holds text, binary (UTF-8), integers or 16-byte UUIDs, plain or
//! dictionary-encoded. A row with a null or an empty string on either side is no link.
//!
//! # Errors
//! Reading a table ends in [`Error::MissingColumn`] or [`Error::ColumnType`] when it is not such a
//! table, and in [`Error::State`] or [`Error::Shard`], naming the record but not its content, when
//! it is damaged: a link that can't be read would leave a person's data in place.
//!
//! # Memory
//! One batch of a Parquet row group's pages, or one record of a CSV.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, LargeStringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;

use super::spelling::{Spelling, uuid_text};
use crate::csv_records::{Fault, Records};
use crate::error::{Error, FormatError, Result};
use crate::io::ReadAt;
use crate::limits;
use crate::parquet_bytes::batches::{Batches, arrow_schema};
use crate::parquet_bytes::footer::Footer;

const ROLE: &str = "alias";

/// Bytes of one record of a CSV.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// Where an alias table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasTable {
    /// The file, as seen from the dataset.
    pub path: String,
    /// The column of the aliases.
    pub alias_column: String,
    /// The column of the ids that they map to.
    pub distinct_id_column: String,
}

/// What an alias table is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// A Parquet file.
    Parquet,
    /// Comma-separated text with a header.
    Csv,
}

impl AliasTable {
    /// A table with the columns `alias` and `distinct_id`.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            alias_column: "alias".to_owned(),
            distinct_id_column: "distinct_id".to_owned(),
        }
    }

    /// What `file` is stored as.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn format_of(&self, file: &dyn ReadAt) -> Result<TableFormat> {
        let mut magic = [0; 4];
        if file.len() >= magic.len() as u64 {
            file.read_at(0, &mut magic)
                .map_err(Error::io("read", &self.path))?;
        }
        Ok(match &magic {
            // The second is that of an encrypted footer, which the Parquet reader refuses.
            b"PAR1" | b"PARE" => TableFormat::Parquet,
            _ => TableFormat::Csv,
        })
    }

    /// An [`Error::State`] about this file.
    pub(super) fn damaged(&self, reason: String) -> Error {
        Error::State {
            path: self.path.clone(),
            reason,
        }
    }

    fn missing(&self, column: &str, columns: Vec<String>) -> Error {
        Error::MissingColumn {
            path: self.path.clone(),
            role: ROLE,
            column: column.to_owned(),
            columns,
        }
    }
}

/// One side of a row.
pub(super) struct Cell<'a> {
    /// `None` for null and for the empty string.
    pub(super) text: Option<&'a str>,
    /// How the column spells its ids.
    pub(super) spelling: Spelling,
}

impl<'a> Cell<'a> {
    fn new(text: Option<&'a str>, spelling: Spelling) -> Self {
        let text = text.filter(|text| !text.is_empty());
        Self { text, spelling }
    }
}

/// One row of an alias table.
pub(super) struct Row<'a> {
    pub(super) alias: Cell<'a>,
    pub(super) distinct_id: Cell<'a>,
    /// In Parquet the number of the row, in CSV the bytes as in [`Record::span`](crate::csv_records::Record).
    pub(super) place: Range<u64>,
}

/// Shows every row of the table to `each`, in order, and says what the table is stored as.
pub(super) fn visit(
    file: Arc<dyn ReadAt>,
    table: &AliasTable,
    each: impl FnMut(Row<'_>) -> Result<()>,
) -> Result<TableFormat> {
    let format = table.format_of(&*file)?;
    match format {
        TableFormat::Parquet => visit_parquet(&file, table, each)?,
        TableFormat::Csv => visit_csv(file, table, each)?,
    }
    Ok(format)
}

/// [`visit`] for an open CSV.
pub(super) fn visit_csv(
    file: Arc<dyn ReadAt>,
    table: &AliasTable,
    mut each: impl FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let fault = |fault| match fault {
        Fault::Io(error) => Error::io("read", &table.path)(error),
        Fault::Record { number, reason } => table.damaged(format!("record {number}: {reason}")),
    };
    let mut records = Records::new(Cursor { file, offset: 0 }, RECORD_BYTES_MAX);
    let header: Vec<String> = match records.next().map_err(fault)? {
        Some(record) => record
            .fields
            .iter()
            .map(|field| String::from_utf8_lossy(field).into_owned())
            .collect(),
        None => Vec::new(),
    };
    let [alias, distinct_id] = csv_columns(table, header)?;
    while let Some(record) = records.next().map_err(fault)? {
        let cell = |column: usize| {
            let reason = match record.fields.get(column).map(std::str::from_utf8) {
                Some(Ok(text)) => {
                    return Ok(Cell::new(Some(text), Spelling::Text));
                }
                Some(Err(_)) => "is not UTF-8 text",
                None => "is missing",
            };
            let (record, field) = (record.number, column + 1);
            Err(table.damaged(format!("record {record}: field {field} {reason}")))
        };
        each(Row {
            alias: cell(alias)?,
            distinct_id: cell(distinct_id)?,
            place: record.span.clone(),
        })?;
    }
    Ok(())
}

fn csv_columns(table: &AliasTable, header: Vec<String>) -> Result<[usize; 2]> {
    let find = |name: &str| header.iter().position(|column| column == name);
    let missing = match (find(&table.alias_column), find(&table.distinct_id_column)) {
        (Some(alias), Some(distinct_id)) => return Ok([alias, distinct_id]),
        (Some(_), None) => &table.distinct_id_column,
        (None, Some(_)) => &table.alias_column,
        (None, None) => {
            // Without a header these would be ids, and no message may hold one.
            let columns = header.len();
            let hidden = vec![format!(
                "{columns}, not shown since the file may have no header"
            )];
            return Err(table.missing(&table.alias_column, hidden));
        }
    };
    Err(table.missing(missing, header))
}

fn visit_parquet(
    file: &Arc<dyn ReadAt>,
    table: &AliasTable,
    mut each: impl FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let damaged = |error: FormatError| error.in_shard(&table.path);
    let footer = Footer::read(&**file).map_err(damaged)?;
    let schema = arrow_schema(&footer).map_err(damaged)?;
    let column = |name: &String| {
        let Some((root, field)) = schema.column_with_name(name) else {
            let columns = schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            return Err(table.missing(name, columns));
        };
        let spelling = spelling_of(field.data_type()).ok_or_else(|| Error::ColumnType {
            path: table.path.clone(),
            role: ROLE,
            column: name.clone(),
            found: field.data_type().to_string(),
            expected: "but text, binary, an integer or a 16-byte UUID is needed",
        })?;
        Ok((root, spelling))
    };
    let (alias_root, alias) = column(&table.alias_column)?;
    let (distinct_id_root, distinct_id) = column(&table.distinct_id_column)?;
    let roots = [alias_root, distinct_id_root];
    let mut batches =
        Batches::new(file, &footer, &schema, roots, limits::BATCH_RECORDS).map_err(damaged)?;
    let mut number = 0;
    while let Some(batch) = batches.next_batch().map_err(damaged)? {
        let text = |name: &str| {
            let column = batch.column_by_name(name);
            column.and_then(text_of).ok_or_else(|| {
                let end = number + batch.num_rows() as u64;
                table.damaged(format!(
                    "column {name:?}, rows {number} to {end}: a value is not UTF-8 text"
                ))
            })
        };
        let aliases = text(&table.alias_column)?;
        let distinct_ids = text(&table.distinct_id_column)?;
        for (alias_text, distinct_id_text) in aliases.iter().zip(&distinct_ids) {
            each(Row {
                alias: Cell::new(alias_text, alias),
                distinct_id: Cell::new(distinct_id_text, distinct_id),
                place: number..number + 1,
            })?;
            number += 1;
        }
    }
    Ok(())
}

/// How a column of this type spells its ids; `None` when it can't hold any.
fn spelling_of(data_type: &DataType) -> Option<Spelling> {
    match data_type {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => Some(Spelling::Text),
        DataType::FixedSizeBinary(16) => Some(Spelling::Uuid),
        DataType::Dictionary(_, values) => match **values {
            DataType::FixedSizeBinary(_) | DataType::Dictionary(..) => None,
            ref values => spelling_of(values),
        },
        integer if integer.is_integer() => Some(Spelling::Number),
        _ => None,
    }
}

/// The values of a column that has a [`Spelling`]; `None` when one is not UTF-8 text.
fn text_of(column: &ArrayRef) -> Option<LargeStringArray> {
    if let Some(uuids) = column.as_fixed_size_binary_opt() {
        return Some(uuids.iter().map(|uuid| uuid.map(uuid_text)).collect());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let text = cast_with_options(column, &DataType::LargeUtf8, &options).ok()?;
    text.as_string_opt().cloned()
}

/// The bytes of a file from its beginning to its end.
struct Cursor {
    file: Arc<dyn ReadAt>,
    offset: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len().saturating_sub(self.offset);
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let (now, _) = buffer.split_at_mut(count);
        self.file.read_at(self.offset, now)?;
        self.offset += count as u64;
        Ok(count)
    }
}
