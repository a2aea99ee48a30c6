//! The rows of an export as bytes of a format.
//!
//! Memory: one batch, and for Parquet one row group in the making (at most [`ROW_GROUP_BYTES`] encoded).
//!
//! JSON Lines: nulls are left out, as are the keys of missing values; integers and decimals are exact;
//! instants are RFC 3339 in UTC (local timestamps the same without a zone); binary is
//! base64; NaN and the infinities, which JSON lacks, are `null`.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
};
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::error::{Error, Result};

/// Encoded bytes after which a row group of a Parquet export ends.
pub const ROW_GROUP_BYTES: usize = 64 << 20;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Parquet, compressed with Zstandard, with a page index.
    Parquet,
    /// One JSON object per row and line.
    Jsonl,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "parquet" => Ok(Self::Parquet),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(Error::Option {
                option: "--format",
                reason: format!("{name:?} is no format; there are parquet and jsonl"),
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
    let mut out = Counting {
        out,
        bytes: 0,
        failed: None,
    };
    let result = match format {
        Format::Parquet => write_parquet(export, &mut out),
        Format::Jsonl => write_jsonl(export, &mut out),
    };
    let flushed = result.and_then(|rows| {
        let flushed = out
            .flush()
            .map_err(|source| arrow_error(ArrowError::from(source)));
        flushed.map(|()| rows)
    });
    match out.failed {
        Some(source) => Err(Error::Io {
            operation: "write",
            path: "the export".to_owned(),
            source,
        }),
        None => flushed.map(|rows| Written {
            rows,
            bytes: out.bytes,
        }),
    }
}

fn write_parquet(export: &mut dyn RecordBatchReader, out: &mut Counting<'_>) -> Result<u64> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build();
    let mut writer =
        ArrowWriter::try_new(out, export.schema(), Some(properties)).map_err(parquet_error)?;
    let rows = each(export, |batch| writer.write(batch).map_err(parquet_error))?;
    writer.close().map_err(parquet_error)?;
    Ok(rows)
}

fn write_jsonl(export: &mut dyn RecordBatchReader, out: &mut Counting<'_>) -> Result<u64> {
    for field in export.schema().fields() {
        if let Some(reason) = unwritable(field.data_type()) {
            return Err(Error::Option {
                option: "--format",
                reason: format!(
                    "jsonl can't hold column {:?}: {reason}; parquet can",
                    field.name()
                ),
            });
        }
    }
    let mut writer = WriterBuilder::new()
        .with_encoder_factory(Arc::new(Encoders))
        .build::<_, LineDelimited>(out);
    let rows = each(export, |batch| writer.write(batch).map_err(arrow_error))?;
    writer.finish().map_err(arrow_error)?;
    Ok(rows)
}

fn each(
    export: &mut dyn RecordBatchReader,
    mut write: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<u64> {
    let mut rows = 0;
    for batch in export {
        let batch = batch.map_err(arrow_error)?;
        write(&batch)?;
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}

/// This crate's error that went through Arrow's iterator, or Arrow's own.
fn arrow_error(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(source) => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => wrapped(ArrowError::ExternalError(source)),
        },
        source => wrapped(source),
    }
}

fn parquet_error(source: ParquetError) -> Error {
    wrapped(ArrowError::from(source))
}

fn wrapped(source: ArrowError) -> Error {
    Error::Arrow {
        context: "writing the export".to_owned(),
        source,
    }
}

/// Why JSON can't hold a type, if it can't.
fn unwritable(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Union(..) => Some("it is a union".to_owned()),
        DataType::Map(entry, _) => {
            let DataType::Struct(fields) = entry.data_type() else {
                return Some("it is a map without entries".to_owned());
            };
            let key = fields.first().map(|key| key.data_type());
            match key {
                Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => fields
                    .iter()
                    .find_map(|field| unwritable(field.data_type())),
                Some(key) => Some(format!("the keys of its map are {key}, not strings")),
                None => Some("it is a map without entries".to_owned()),
            }
        }
        DataType::Struct(fields) => fields
            .iter()
            .find_map(|field| unwritable(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::RunEndEncoded(_, item) => unwritable(item.data_type()),
        DataType::Dictionary(_, values) => unwritable(values),
        _ => None,
    }
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

/// What this crate writes differently from `arrow-json`: binary as base64 (not hex), and timestamps without a
/// time zone database and without its error text (which holds quotes) where the calendar ends.
#[derive(Debug)]
struct Encoders;

impl EncoderFactory for Encoders {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Timestamp(unit, zone) => Box::new(Instants {
                values: cast(array, &DataType::Int64)?,
                unit: *unit,
                local: zone.is_none(),
            }),
            DataType::Binary => Box::new(Base64(make_array(array.to_data()))),
            DataType::LargeBinary | DataType::FixedSizeBinary(_) | DataType::BinaryView => {
                Box::new(Base64(cast(array, &DataType::LargeBinary)?))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Instants {
    values: ArrayRef,
    unit: TimeUnit,
    /// Whether the timestamps are of no zone.
    local: bool,
}

impl Encoder for Instants {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.values.as_primitive::<Int64Type>().value(row);
        let instant = match self.unit {
            TimeUnit::Second => Timestamp::from_second(value),
            TimeUnit::Millisecond => Timestamp::from_millisecond(value),
            TimeUnit::Microsecond => Timestamp::from_microsecond(value),
            TimeUnit::Nanosecond => Timestamp::from_nanosecond(i128::from(value)),
        };
        let text = match instant {
            Ok(instant) if self.local => {
                format!("\"{}\"", instant.to_zoned(TimeZone::UTC).datetime())
            }
            Ok(instant) => format!("\"{instant}\""),
            // Beyond the year 9999 there is no RFC 3339: the number as it is stored.
            Err(_) => value.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// A `Binary` or `LargeBinary` array.
struct Base64(ArrayRef);

impl Encoder for Base64 {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let bytes = match self.0.as_binary_opt::<i32>() {
            Some(array) => array.value(row),
            None => self.0.as_binary::<i64>().value(row),
        };
        out.push(b'"');
        push_base64(bytes, out);
        out.push(b'"');
    }
}

/// Base64 with padding (RFC 4648, section 4).
fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS.get((bits >> shift & 63) as usize).copied();
            out.push(if place <= group.len() {
                digit.unwrap_or(b'=')
            } else {
                b'='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, Float64Array, Int64Array, TimestampMillisecondArray};
    use arrow::datatypes::{Field, Schema, UnionFields};
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
            "{\"i\":9223372036854775807,\"f\":null,\"b\":\"/wAi\",\"t\":\"1970-01-01T00:00:01.5Z\",\"l\":\"1970-01-01T00:00:01.5\"}\n\
             {\"f\":null,\"b\":\"\",\"t\":9223372036854775807,\"l\":\"1970-01-01T00:00:00\"}\n"
        );
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, expected) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            push_base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, expected.as_bytes());
        }
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
        assert!(error.contains("parquet and jsonl"), "{error}");
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
        for format in [Format::Parquet, Format::Jsonl] {
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
