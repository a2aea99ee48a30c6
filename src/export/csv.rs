//! Rows as CSV (RFC 4180): a header, then a line a row.

use std::borrow::Cow;
use std::io::Write;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::json::writer::EncoderOptions;
use arrow::record_batch::RecordBatch;

use super::cells::Cells;
use super::failure::written;
use super::json::encoder_options;
use crate::error::{Error, Result};
use crate::limits::WRITE_BYTES;

/// Writes batches as CSV.
pub(super) struct CsvRows<W: Write> {
    out: csv::Writer<W>,
    options: EncoderOptions,
    is_safe: bool,
}

impl<W: Write> CsvRows<W> {
    /// Begins with the header. With `is_safe`, text that a spreadsheet would take for a formula gets a `'` in front.
    ///
    /// # Errors
    /// When `out` fails.
    pub(super) fn new(out: W, schema: &Schema, is_safe: bool) -> Result<Self> {
        let mut out = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .buffer_capacity(WRITE_BYTES)
            .from_writer(out);
        for field in schema.fields() {
            let name = Cow::Borrowed(field.name().as_str());
            let name = if is_safe { neutral(name) } else { name };
            out.write_field(name.as_bytes()).map_err(failed)?;
        }
        end_record(&mut out)?;
        Ok(Self {
            out,
            options: encoder_options(),
            is_safe,
        })
    }

    /// # Errors
    /// When `out` fails.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut cells = Cells::of(batch, &self.options).map_err(written)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for column in 0..batch.num_columns() {
                text.clear();
                let is_text = cells.push(row, column, &mut text);
                let cell = Cow::Borrowed(text.as_str());
                let cell = if self.is_safe && is_text {
                    neutral(cell)
                } else {
                    cell
                };
                self.out.write_field(cell.as_bytes()).map_err(failed)?;
            }
            end_record(&mut self.out)?;
        }
        Ok(())
    }

    /// # Errors
    /// When `out` fails.
    pub(super) fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(|error| written(error.into()))
    }
}

fn end_record(out: &mut csv::Writer<impl Write>) -> Result<()> {
    out.write_record(None::<&[u8]>).map_err(failed)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "map_err passes errors by value"
)]
fn failed(error: csv::Error) -> Error {
    written(ArrowError::CsvError(error.to_string()))
}

/// Text that no spreadsheet takes for a formula.
fn neutral(text: Cow<'_, str>) -> Cow<'_, str> {
    // Spreadsheets take the full-width forms for the same, and leave blanks and line ends at the front out.
    const STARTS: [char; 12] = [
        '=', '+', '-', '@', '\t', '\r', '\n', '\0', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ];
    let first =
        text.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '\u{feff}');
    if text.starts_with(STARTS) || first.starts_with(STARTS) {
        Cow::Owned(format!("'{text}"))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn no_text_is_taken_for_a_formula() {
        for start in [
            "=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠",
        ] {
            for front in ["", " ", "\u{feff}", "\u{3000}\n"] {
                let cell = format!("{front}{start}1+1");
                assert_eq!(neutral(Cow::Borrowed(&cell)), format!("'{cell}"));
            }
        }
        for plain in ["", "a=1", " a", "1-2"] {
            assert_eq!(neutral(Cow::Borrowed(plain)), plain);
        }
    }

    fn text(batch: &RecordBatch, is_safe: bool) -> String {
        let mut out = Vec::new();
        let mut rows = CsvRows::new(&mut out, &batch.schema(), is_safe).unwrap();
        rows.write(batch).unwrap();
        rows.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_they_must_be_and_nested_values_are_json() {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a,\"b\"\r\nc"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, -0.5]));
        let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"\xff", b""]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
        ]));
        let columns = [
            ("n", names),
            ("i", numbers),
            ("f", floats),
            ("b", bytes),
            ("l", lists),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(
            text(&batch, false),
            "n,i,f,b,l\r\n\"a,\"\"b\"\"\r\nc\",-9223372036854775808,NaN,/w==,\"[1,null]\"\r\n\
             ,9223372036854775807,-0.5,,\r\n"
        );
    }

    #[test]
    fn formulas_are_neutralised_only_in_text_and_only_when_asked() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["=1+1", "\t=x", "a=b"]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![-1, 0, 1]));
        let batch = RecordBatch::try_from_iter([("@t", texts), ("n", numbers)]).unwrap();
        assert_eq!(
            text(&batch, false),
            "@t,n\r\n=1+1,-1\r\n\t=x,0\r\na=b,1\r\n"
        );
        assert_eq!(
            text(&batch, true),
            "'@t,n\r\n'=1+1,-1\r\n'\t=x,0\r\na=b,1\r\n"
        );
    }
}
