//! A file of one column (and a number for each row), as an input describes it, written by the `parquet` crate.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use roaring::RoaringBitmap;

/// Rows of a file at most.
const ROWS_MAX: usize = 600;
/// Row groups, and pages of one, at most, or most of the time goes into beginning and ending them.
const GROUPS_MAX: usize = 3;
const PAGES_MAX: usize = 12;

/// What is in the file, and what is to go.
#[derive(Debug)]
pub struct Column<'a> {
    kind: Kind,
    shape: Shape,
    encoding: u8,
    codec: u8,
    style: Style,
    page_rows: u8,
    group_rows: u16,
    dictionary_limit: u16,
    /// How often each row is repeated.
    repeat: u8,
    /// The values are cut from these bytes.
    pool: &'a [u8],
    /// A byte for each row: what it holds.
    rows: &'a [u8],
    /// A bit for each row, again and again: whether it goes.
    goes: &'a [u8],
}

/// The physical type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Kind {
    Boolean,
    Int32,
    Int64,
    Int96,
    Float,
    Double,
    Bytes,
    Fixed(u8),
}

/// What is around each value.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Shape {
    Required,
    Optional,
    List,
    ListOfLists,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Style {
    version_2: bool,
    dictionary: bool,
    statistics: Option<bool>,
    header_statistics: bool,
    bloom: bool,
    is_unsigned: bool,
    no_offset_index: bool,
}

/// Levels and values of some rows.
#[derive(Default)]
struct Cells {
    repetition: Vec<i16>,
    definition: Vec<i16>,
    /// The value of each entry at the largest definition level, as a place in the pool.
    places: Vec<usize>,
}

impl<'a> Arbitrary<'a> for Column<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self {
            kind: u.arbitrary()?,
            shape: u.arbitrary()?,
            encoding: u.arbitrary()?,
            codec: u.arbitrary()?,
            style: u.arbitrary()?,
            page_rows: u.arbitrary()?,
            group_rows: u.arbitrary()?,
            dictionary_limit: u.arbitrary()?,
            repeat: u.arbitrary()?,
            pool: {
                let len = u.int_in_range(1..=64)?;
                u.bytes(len)?
            },
            goes: {
                let len = u.int_in_range(1..=16)?;
                u.bytes(len)?
            },
            rows: u.bytes(u.len())?,
        })
    }
}

impl Kind {
    fn spelled(self, is_unsigned: bool) -> String {
        match self {
            Self::Boolean => "boolean v".to_owned(),
            Self::Int32 if is_unsigned => "int32 v (INTEGER(32,false))".to_owned(),
            Self::Int32 => "int32 v".to_owned(),
            Self::Int64 if is_unsigned => "int64 v (INTEGER(64,false))".to_owned(),
            Self::Int64 => "int64 v".to_owned(),
            Self::Int96 => "int96 v".to_owned(),
            Self::Float => "float v".to_owned(),
            Self::Double => "double v".to_owned(),
            Self::Bytes => "binary v".to_owned(),
            Self::Fixed(len) => format!("fixed_len_byte_array({}) v", Self::fixed_len(len)),
        }
    }

    fn fixed_len(len: u8) -> usize {
        1 + usize::from(len % 20)
    }

    fn encodings(self) -> &'static [Encoding] {
        match self {
            Self::Boolean => &[Encoding::PLAIN, Encoding::RLE],
            Self::Int32 | Self::Int64 => &[
                Encoding::PLAIN,
                Encoding::DELTA_BINARY_PACKED,
                Encoding::BYTE_STREAM_SPLIT,
            ],
            Self::Int96 => &[Encoding::PLAIN],
            Self::Float | Self::Double => &[Encoding::PLAIN, Encoding::BYTE_STREAM_SPLIT],
            Self::Bytes => &[
                Encoding::PLAIN,
                Encoding::DELTA_LENGTH_BYTE_ARRAY,
                Encoding::DELTA_BYTE_ARRAY,
            ],
            Self::Fixed(_) => &[
                Encoding::PLAIN,
                Encoding::BYTE_STREAM_SPLIT,
                Encoding::DELTA_BYTE_ARRAY,
            ],
        }
    }
}

impl Column<'_> {
    fn row_count(&self) -> usize {
        (self.rows.len() * self.repeated()).min(ROWS_MAX)
    }

    fn repeated(&self) -> usize {
        1 + usize::from(self.repeat % 12)
    }

    /// The rows that are to go.
    pub fn dropped(&self) -> RoaringBitmap {
        let goes = |row: &u32| {
            let bit = *row as usize;
            let byte = self.goes[bit / 8 % self.goes.len()];
            byte >> (bit % 8) & 1 == 1
        };
        let rows = 0..u32::try_from(self.row_count()).unwrap();
        rows.filter(goes).collect()
    }

    fn schema(&self) -> String {
        let value = self.kind.spelled(self.style.is_unsigned);
        let column = match self.shape {
            Shape::Required => format!("required {value};"),
            Shape::Optional => format!("optional {value};"),
            Shape::List => {
                format!("optional group l (LIST) {{ repeated group list {{ optional {value}; }} }}")
            }
            Shape::ListOfLists => format!(
                "optional group l (LIST) {{ repeated group list {{ optional group m (LIST) {{ repeated group list {{ optional {value}; }} }} }} }}"
            ),
        };
        format!("message rows {{ {column} required int64 number; }}")
    }

    /// What some rows hold.
    fn cells(&self, rows: std::ops::Range<usize>) -> Cells {
        let mut cells = Cells::default();
        for row in rows {
            let byte = self.rows[row / self.repeated()];
            let place = usize::from(byte >> 2);
            match (self.shape, byte & 3) {
                (Shape::Required, _) => cells.push(0, 0, Some(place)),
                (Shape::Optional, 0) => cells.push(0, 0, None),
                (Shape::Optional, _) => cells.push(0, 1, Some(place)),
                (Shape::List | Shape::ListOfLists, 0) => {
                    cells.push(0, i16::from(byte & 4 != 0), None);
                }
                (Shape::List, count) => {
                    for at in 0..i16::from(count) {
                        let value = (byte as i16 + at) % 5 != 0;
                        let repetition = at.min(1);
                        if value {
                            cells.push(repetition, 3, Some(place + at as usize));
                        } else {
                            cells.push(repetition, 2, None);
                        }
                    }
                }
                (Shape::ListOfLists, count) => {
                    for outer in 0..i16::from(count) {
                        match (byte as i16 + outer) % 4 {
                            0 => cells.push(outer.min(1), 2, None),
                            1 => cells.push(outer.min(1), 3, None),
                            inner => {
                                for at in 0..inner {
                                    let repetition = if at > 0 { 2 } else { outer.min(1) };
                                    if (byte as i16 + at) % 5 == 0 {
                                        cells.push(repetition, 4, None);
                                    } else {
                                        let place = place + (outer + at) as usize;
                                        cells.push(repetition, 5, Some(place));
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        cells
    }

    fn bytes_at<const N: usize>(&self, place: usize) -> [u8; N] {
        std::array::from_fn(|at| self.pool[(place + at) % self.pool.len()])
    }

    fn bytes_of(&self, place: usize, len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| self.pool[(place + at) % self.pool.len()])
            .collect()
    }

    /// A value of some length, of which the front is that of many others.
    fn text(&self, place: usize) -> Vec<u8> {
        let [head] = self.bytes_at(place);
        let mut text = self.bytes_of(0, usize::from(head % 4) * 3);
        text.extend(self.bytes_of(place, usize::from(head / 4 % 32)));
        text
    }

    /// The file.
    pub fn file(&self) -> bytes::Bytes {
        let schema = Arc::new(parse_message_type(&self.schema()).expect("a schema"));
        let mut file = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut file, schema, Arc::new(self.properties())).unwrap();
        let total = self.row_count();
        let group = (1 + usize::from(self.group_rows)).max(total.div_ceil(GROUPS_MAX));
        for from in (0..total).step_by(group) {
            let rows = from..total.min(from + group);
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().expect("the column");
            self.write(column.untyped(), &self.cells(rows.clone()));
            column.close().unwrap();
            let mut column = group.next_column().unwrap().expect("the number");
            if let ColumnWriter::Int64ColumnWriter(numbers) = column.untyped() {
                let all: Vec<i64> = rows.map(|row| row as i64).collect();
                numbers.write_batch(&all, None, None).unwrap();
            }
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        file.into()
    }

    fn properties(&self) -> WriterProperties {
        // Those that are slow are tried less often.
        let codec = match self.codec % 16 {
            0..5 => Compression::UNCOMPRESSED,
            5..8 => Compression::SNAPPY,
            8..10 => Compression::LZ4,
            10..12 => Compression::LZ4_RAW,
            12..14 => Compression::ZSTD(ZstdLevel::try_new(1).unwrap()),
            14 => Compression::GZIP(GzipLevel::try_new(1).unwrap()),
            _ => Compression::BROTLI(BrotliLevel::try_new(1).unwrap()),
        };
        let encodings = self.kind.encodings();
        let least = self.row_count() / GROUPS_MAX / PAGES_MAX;
        let page_rows = (1 + usize::from(self.page_rows)).max(least);
        let version = if self.style.version_2 {
            WriterVersion::PARQUET_2_0
        } else {
            WriterVersion::PARQUET_1_0
        };
        WriterProperties::builder()
            .set_compression(codec)
            .set_writer_version(version)
            .set_encoding(encodings[usize::from(self.encoding) % encodings.len()])
            .set_column_encoding("number".into(), Encoding::PLAIN)
            .set_dictionary_enabled(self.style.dictionary)
            .set_dictionary_page_size_limit(1 + usize::from(self.dictionary_limit))
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size(page_rows.min(32))
            .set_statistics_enabled(match self.style.statistics {
                None => EnabledStatistics::None,
                Some(false) => EnabledStatistics::Chunk,
                Some(true) => EnabledStatistics::Page,
            })
            .set_write_page_header_statistics(self.style.header_statistics)
            .set_offset_index_disabled(self.style.no_offset_index)
            .set_bloom_filter_enabled(self.style.bloom)
            .set_bloom_filter_max_ndv(100)
            .build()
    }

    fn write(&self, writer: &mut ColumnWriter<'_>, cells: &Cells) {
        let levels = (cells.definition.as_slice(), cells.repetition.as_slice());
        let places = cells.places.iter().copied();
        macro_rules! write {
            ($writer:expr, $value:expr) => {{
                let values: Vec<_> = places.map($value).collect();
                $writer
                    .write_batch(&values, Some(levels.0), Some(levels.1))
                    .unwrap();
            }};
        }
        match writer {
            ColumnWriter::BoolColumnWriter(of) => {
                write!(of, |place| self.bytes_at::<1>(place)[0] & 1 == 1)
            }
            ColumnWriter::Int32ColumnWriter(of) => {
                write!(of, |place| i32::from_le_bytes(self.bytes_at(place)))
            }
            ColumnWriter::Int64ColumnWriter(of) => {
                write!(of, |place| i64::from_le_bytes(self.bytes_at(place)))
            }
            ColumnWriter::Int96ColumnWriter(of) => write!(of, |place| {
                let number = |at: usize| u32::from_le_bytes(self.bytes_at(place + at * 4));
                let mut value = Int96::new();
                value.set_data(number(0), number(1), number(2));
                value
            }),
            ColumnWriter::FloatColumnWriter(of) => {
                write!(of, |place| f32::from_le_bytes(self.bytes_at(place)))
            }
            ColumnWriter::DoubleColumnWriter(of) => {
                write!(of, |place| f64::from_le_bytes(self.bytes_at(place)))
            }
            ColumnWriter::ByteArrayColumnWriter(of) => {
                write!(of, |place| ByteArray::from(self.text(place)))
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(of) => {
                let Kind::Fixed(len) = self.kind else {
                    unreachable!("the schema says so");
                };
                let len = Kind::fixed_len(len);
                write!(of, |place| FixedLenByteArray::from(
                    self.bytes_of(place, len)
                ))
            }
        }
    }
}

impl Cells {
    fn push(&mut self, repetition: i16, definition: i16, place: Option<usize>) {
        self.repetition.push(repetition);
        self.definition.push(definition);
        self.places.extend(place);
    }
}
