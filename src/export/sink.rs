//! The rows of an export as bytes of a format.
//!
//! * `json`: values as JSON, for JSON Lines and for the cells of CSV; `csv`: rows as CSV
//!
//! Memory: one batch, and for Parquet one row group in the making (at most [`ROW_GROUP_BYTES`] encoded).
//!
//! | format | what becomes of values |
//! |---|---|
//! | Parquet | Zstandard, page index; the types of the shards with their annotations (UUID, JSON, ENUM, ..) and field ids. INT96 becomes a timestamp (an error if it can't tell one), decimals get the physical type of their precision |
//! | Arrow | an IPC stream of the Arrow types; Parquet's intervals are of months, days and nanoseconds |
//! | JSON Lines | columns and fields of structs that are null are left out; integers and decimals are exact; instants are RFC 3339 in UTC (local timestamps the same without a zone), durations and Parquet's intervals ISO 8601; a date or time beyond the calendar is text such as `2932897 days since 1970-01-01`; binary is base64, but UUIDs are text; a map is an object with all of its entries, or where keys aren't text or come twice, a list of `{"key": .., "value": ..}`; NaN and the infinities, which JSON lacks, are the strings `NaN`, `Infinity` and `-Infinity` |
//! | CSV | RFC 4180, with a header; text as it is, other values as in JSON Lines without quotes, nested ones as JSON; null and empty text are both empty |

use std::io::{self, BufWriter, Write};
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::record_batch::{RecordBatch, RecordBatchOptions, RecordBatchReader};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::arrow_types::{parquet_schema, stream_schema};
use super::conform::conform_array;
use super::csv::CsvRows;
use super::failure::written;
use super::json::{Encoders, unwritable};
use crate::error::{Error, FormatError, Result};
use crate::limits::WRITE_BYTES;

/// Encoded bytes after which a row group of a Parquet export ends.
pub const ROW_GROUP_BYTES: usize = 64 << 20;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Parquet, compressed with Zstandard, with a page index.
    Parquet,
    /// One JSON object per row and line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv {
        /// Whether text that a spreadsheet would take for a formula gets a `'` in front.
        safe: bool,
    },
    /// An Arrow IPC stream.
    Arrow,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Format {
    /// The ending of file names.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
            Self::Csv { .. } => "csv",
            Self::Arrow => "arrow",
        }
    }

    /// Whether it is nothing for a terminal.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "parquet" => Ok(Self::Parquet),
            "jsonl" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv { safe: false }),
            "arrow" => Ok(Self::Arrow),
            _ => Err(Error::Choice {
                field: "format",
                found: name.to_owned(),
                choices: &["parquet", "jsonl", "csv", "arrow"],
            }),
        }
    }
}

/// Writes all rows of `export` to `out`.
///
/// # Errors
/// When a column has a type that the format can't hold (before anything is written), when `export` fails, or when
/// `out` does: that is an [`Error::Io`] with `out`'s own error, so a broken pipe can be told apart.
pub fn write(
    export: &mut dyn RecordBatchReader,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<Written> {
    write_batches(&export.schema(), export, format, out)
}

/// Writes `batches` of one schema to `out`.
///
/// # Errors
/// Those of [`write()`].
pub fn write_batches(
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, ArrowError>>,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<Written> {
    let mut out = Counting {
        out,
        bytes: 0,
        failed: None,
    };
    let mut rows = 0;
    let fill = || -> Result<()> {
        let mut writer = RowWriter::new(format, schema, &mut out)?;
        for batch in batches {
            let batch = batch.map_err(written)?;
            writer.write(&batch)?;
            rows += batch.num_rows() as u64;
        }
        writer.finish()
    };
    let filled = fill();
    match out.failed {
        Some(source) => Err(Error::Io {
            operation: "write",
            path: "the export".to_owned(),
            source,
        }),
        None => filled.map(|()| Written {
            rows,
            bytes: out.bytes,
        }),
    }
}

/// Writes batches in one of the formats.
enum RowWriter<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    Jsonl(arrow::json::Writer<W, LineDelimited>),
    Csv(Box<CsvRows<W>>),
    Arrow(Box<StreamWriter<BufWriter<W>>>, SchemaRef),
}

impl<W: Write + Send> RowWriter<W> {
    fn new(format: Format, schema: &SchemaRef, out: W) -> Result<Self> {
        Ok(match format {
            Format::Parquet => {
                refuse_unwritable(schema, "parquet", parquet_lacks)?;
                let options = ArrowWriterOptions::new()
                    .with_properties(parquet_properties())
                    .with_parquet_schema(parquet_schema(schema).map_err(unreadable)?);
                let schema = Arc::clone(schema);
                let writer = ArrowWriter::try_new_with_options(out, schema, options);
                Self::Parquet(Box::new(writer.map_err(parquet_error)?))
            }
            Format::Jsonl => {
                refuse_unwritable(schema, "jsonl", unwritable)?;
                let writer = WriterBuilder::new().with_encoder_factory(Arc::new(Encoders));
                Self::Jsonl(writer.build::<_, LineDelimited>(out))
            }
            Format::Csv { safe } => {
                refuse_unwritable(schema, "csv", unwritable)?;
                Self::Csv(Box::new(CsvRows::new(out, schema, safe)?))
            }
            Format::Arrow => {
                // Each message is written in many small pieces.
                let out = BufWriter::with_capacity(WRITE_BYTES, out);
                let schema: SchemaRef = Arc::new(stream_schema(schema));
                let writer = StreamWriter::try_new(out, &schema).map_err(written)?;
                Self::Arrow(Box::new(writer), schema)
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(batch).map_err(parquet_error),
            Self::Jsonl(writer) => writer.write(batch).map_err(written),
            Self::Csv(writer) => writer.write(batch),
            Self::Arrow(writer, schema) => {
                let batch = streamed(batch, schema)?;
                writer.write(&batch).map_err(written)
            }
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.close().map(drop).map_err(parquet_error),
            Self::Jsonl(mut writer) => {
                writer.finish().map_err(written)?;
                flush(&mut writer.into_inner())
            }
            Self::Csv(writer) => writer.finish(),
            Self::Arrow(mut writer, _) => {
                writer.finish().map_err(written)?;
                flush(writer.get_mut())
            }
        }
    }
}

/// A batch in the schema of an Arrow stream.
fn streamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let fields = batch.schema_ref().fields().iter().zip(schema.fields());
    let columns = batch.columns().iter().zip(fields);
    let columns = columns.map(|(column, (from, field))| {
        conform_array(column, from, field).map_err(|error| {
            let feature = format!("column {:?} as Arrow ({error})", field.name());
            FormatError::Unsupported { feature }.in_shard("the export")
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(written)
}

fn flush(out: &mut impl Write) -> Result<()> {
    out.flush()
        .map_err(|source| written(ArrowError::from(source)))
}

fn parquet_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build()
}

/// Why Parquet can't hold a type, if it can't.
fn parquet_lacks(data_type: &DataType) -> Option<String> {
    if *data_type == DataType::Interval(IntervalUnit::MonthDayNano) {
        return Some("it is an interval of nanoseconds".to_owned());
    }
    let schema = Schema::new(vec![Field::new("column", data_type.clone(), true)]);
    parquet_schema(&schema)
        .is_err()
        .then(|| format!("its type is {data_type}"))
}

fn refuse_unwritable(
    schema: &Schema,
    format: &'static str,
    lacks: impl Fn(&DataType) -> Option<String>,
) -> Result<()> {
    for field in schema.fields() {
        if let Some(reason) = lacks(field.data_type()) {
            return Err(Error::FormatLacks {
                format,
                column: field.name().clone(),
                reason,
            });
        }
    }
    Ok(())
}

fn unreadable(source: FormatError) -> Error {
    written(ArrowError::ExternalError(Box::new(source)))
}

fn parquet_error(source: ParquetError) -> Error {
    written(ArrowError::from(source))
}

/// Counts what is written, and keeps the error that the writers above would turn into a string.
struct Counting<'a> {
    out: &'a mut (dyn Write + Send),
    bytes: u64,
    failed: Option<io::Error>,
}

impl Counting<'_> {
    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            // `write_all` and its like try again after an interruption.
            if kind != io::ErrorKind::Interrupted {
                self.failed.get_or_insert(error);
            }
            kind.into()
        })
    }
}

impl Write for Counting<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let result = self.out.write(buffer);
        let written = self.keep(result)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.keep(result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Float64Array, Int64Array, TimestampMillisecondArray,
    };
    use arrow::datatypes::{DataType, Field, UnionFields};
    use arrow::record_batch::RecordBatchIterator;

    use super::*;

    fn lines(columns: Vec<(&str, ArrayRef)>) -> String {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let schema = batch.schema();
        let mut out = Vec::new();
        let mut export = RecordBatchIterator::new([Ok(batch)], schema);
        let written = write(&mut export, Format::Jsonl, &mut out).unwrap();
        assert_eq!(written.bytes, out.len() as u64);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_lines_are_exact_and_never_broken() {
        let text = lines(vec![
            ("i", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
            (
                "f",
                Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY])),
            ),
            (
                "b",
                Arc::new(BinaryArray::from_vec(vec![b"\xff\x00\"", b""])),
            ),
            (
                "t",
                Arc::new(
                    TimestampMillisecondArray::from(vec![1_500, i64::MAX])
                        .with_timezone("Europe/Paris"),
                ),
            ),
            (
                "l",
                Arc::new(TimestampMillisecondArray::from(vec![1_500, 0])),
            ),
        ]);
        assert_eq!(
            text,
            "{\"i\":9223372036854775807,\"f\":\"NaN\",\"b\":\"/wAi\",\"t\":\"1970-01-01T00:00:01.5Z\",\"l\":\"1970-01-01T00:00:01.5\"}\n\
             {\"f\":\"Infinity\",\"b\":\"\",\"t\":\"9223372036854775807 ms since 1970-01-01\",\"l\":\"1970-01-01T00:00:00\"}\n"
        );
    }

    #[test]
    fn a_type_that_json_lacks_is_refused_by_name_before_anything_is_written() {
        let union = UnionFields::from_fields(vec![Field::new("a", DataType::Int32, true)]);
        let union = DataType::Union(union, arrow::datatypes::UnionMode::Sparse);
        let schema = Arc::new(Schema::new(vec![Field::new("u", union, true)]));
        let none: [Result<RecordBatch, ArrowError>; 0] = [];
        let mut out = Vec::new();
        let error = write(
            &mut RecordBatchIterator::new(none, schema),
            Format::Jsonl,
            &mut out,
        )
        .unwrap_err();
        assert!(error.to_string().contains("\"u\""), "{error}");
        assert!(out.is_empty());
    }

    #[test]
    fn an_unknown_format_says_which_there_are() {
        let error = "xml".parse::<Format>().unwrap_err().to_string();
        assert!(error.contains("parquet, jsonl, csv, arrow"), "{error}");
        assert_eq!("jsonl".parse::<Format>().unwrap(), Format::Jsonl);
    }

    #[test]
    fn a_broken_pipe_keeps_its_kind() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for format in [
            Format::Parquet,
            Format::Jsonl,
            Format::Csv { safe: false },
            Format::Arrow,
        ] {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
            let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
            let schema = batch.schema();
            let error = write(
                &mut RecordBatchIterator::new([Ok(batch)], schema),
                format,
                &mut Closed,
            )
            .unwrap_err();
            assert!(
                matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
            );
        }
    }
}
