//! Datasets of many shapes: every subject type, every codec and encoding, both page versions, pages and row
//! groups from one row up, nulls everywhere, with and without statistics, page index and bloom filters.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::oracle::numbers::Numbers;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray,
    ListBuilder, MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use proptest::prelude::*;

/// Ids are small numbers, so that they repeat; each subject type spells them in its own way.
pub(crate) const IDS: u8 = 9;

/// A dataset.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// The type of the subject column.
    pub(crate) subject: SubjectType,
    /// Rows of each shard.
    pub(crate) rows: Vec<usize>,
    /// The ids that a request is about.
    pub(crate) wanted: Vec<u8>,
    row_group: usize,
    page_rows: usize,
    codec: usize,
    v2: bool,
    dictionary: bool,
    dictionary_limit: usize,
    encoding: usize,
    bloom: bool,
    statistics: usize,
    seed: u64,
}

/// The type of the subject column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubjectType {
    Text,
    LargeText,
    Categories,
    Signed,
    Unsigned,
    Decimal,
    Uuid,
    List,
    Field,
}

const SUBJECTS: [SubjectType; 9] = [
    SubjectType::Text,
    SubjectType::LargeText,
    SubjectType::Categories,
    SubjectType::Signed,
    SubjectType::Unsigned,
    SubjectType::Decimal,
    SubjectType::Uuid,
    SubjectType::List,
    SubjectType::Field,
];

/// Any shape.
pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let files = (
        proptest::sample::select(SUBJECTS.to_vec()),
        proptest::collection::vec(0_usize..200, 1..4),
        proptest::collection::vec(0..IDS, 1..4),
        1_usize..120,
        1_usize..60,
    );
    let style = (
        0_usize..7,
        any::<bool>(),
        any::<bool>(),
        proptest::sample::select(vec![16_usize, 64, 1 << 20]),
        0_usize..3,
        any::<bool>(),
        0_usize..3,
        any::<u64>(),
    );
    (files, style).prop_map(
        |(
            (subject, rows, mut wanted, row_group, page_rows),
            (codec, v2, dictionary, dictionary_limit, encoding, bloom, statistics, seed),
        )| {
            wanted.sort_unstable();
            wanted.dedup();
            Shape {
                subject,
                rows,
                wanted,
                row_group,
                page_rows,
                codec,
                v2,
                dictionary,
                dictionary_limit,
                encoding,
                bloom,
                statistics,
                seed,
            }
        },
    )
}

impl SubjectType {
    /// How the column is called in a configuration.
    pub(crate) fn column(self) -> &'static str {
        if self == Self::Field { "user.id" } else { "id" }
    }

    /// An id as a request spells it.
    pub(crate) fn id_text(self, id: u8) -> String {
        match self {
            Self::Signed => (i64::from(id) - 4).to_string(),
            Self::Unsigned => format!("0{}", 4_000_000_000_u32 + u32::from(id)),
            Self::Decimal => format!("{id}.50"),
            Self::Uuid => format!("00000000-0000-0000-0000-0000000000{id:02X}"),
            _ => format!("user {id} ü"),
        }
    }

    fn array(self, rows: &[Vec<u8>]) -> (Field, ArrayRef) {
        let one = |row: &Vec<u8>| row.first().copied();
        let text = || rows.iter().map(|row| one(row).map(|id| self.id_text(id)));
        let array: ArrayRef = match self {
            Self::Text => Arc::new(text().collect::<StringArray>()),
            Self::LargeText => Arc::new(text().collect::<LargeStringArray>()),
            Self::Categories => {
                let text: Vec<Option<String>> = text().collect();
                Arc::new(
                    text.iter()
                        .map(Option::as_deref)
                        .collect::<DictionaryArray<Int32Type>>(),
                )
            }
            Self::Signed => Arc::new(
                rows.iter()
                    .map(|row| one(row).map(|id| i64::from(id) - 4))
                    .collect::<Int64Array>(),
            ),
            Self::Unsigned => Arc::new(
                rows.iter()
                    .map(|row| one(row).map(|id| 4_000_000_000 + u32::from(id)))
                    .collect::<UInt32Array>(),
            ),
            Self::Decimal => Arc::new(
                rows.iter()
                    .map(|row| one(row).map(|id| i128::from(id) * 100 + 50))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(20, 2)
                    .unwrap(),
            ),
            Self::Uuid => {
                let bytes = rows
                    .iter()
                    .map(|row| one(row).map(|id| u128::from(id).to_be_bytes()));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 16).unwrap())
            }
            Self::List => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                for row in rows {
                    for id in row {
                        lists.values().append_value(self.id_text(*id));
                    }
                    lists.append(row.len() != 1 || row[0] % 2 == 0 || !row.is_empty());
                }
                Arc::new(lists.finish())
            }
            Self::Field => {
                let ids: ArrayRef = Arc::new(text().collect::<StringArray>());
                let field = Arc::new(Field::new("id", DataType::Utf8, true));
                let nulls: Vec<bool> = rows.iter().map(|row| !row.is_empty()).collect();
                Arc::new(StructArray::new(
                    vec![field].into(),
                    vec![ids],
                    Some(nulls.into()),
                ))
            }
        };
        let name = if self == Self::Field { "user" } else { "id" };
        (Field::new(name, array.data_type().clone(), true), array)
    }
}

impl Shape {
    /// The ids of every row of every shard.
    pub(crate) fn ids(&self) -> Vec<Vec<Vec<u8>>> {
        let mut numbers = Numbers(self.seed);
        let mut id = || u8::try_from(numbers.next(u64::from(IDS) + 3)).unwrap();
        let several = self.subject == SubjectType::List;
        let mut row = || {
            let count = if several { id() % 4 } else { 1 };
            // The highest numbers stand for null.
            (0..count).map(|_| id()).filter(|id| *id < IDS).collect()
        };
        self.rows
            .iter()
            .map(|rows| (0..*rows).map(|_| row()).collect())
            .collect()
    }

    /// Entries of the pages that the files are to have, which begin inside of rows then.
    pub(crate) fn split(&self) -> Option<usize> {
        (self.codec == 0 && !self.v2 && !self.seed.is_multiple_of(3))
            .then_some(1 + self.page_rows % 7)
    }

    /// Writes the shards into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Vec<PathBuf> {
        let write = |(number, ids): (usize, Vec<Vec<u8>>)| {
            let path = dir.join(format!("part-{number}.parquet"));
            let batch = self.batch(&ids, self.seed ^ number as u64);
            let file = std::fs::File::create(&path).unwrap();
            let options = ArrowWriterOptions::new().with_properties(self.properties());
            let mut writer =
                ArrowWriter::try_new_with_options(file, batch.schema(), options).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            path
        };
        self.ids().into_iter().enumerate().map(write).collect()
    }

    fn properties(&self) -> WriterProperties {
        let codec = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::try_new(1).unwrap()),
            Compression::LZ4,
            Compression::ZSTD(ZstdLevel::default()),
            Compression::LZ4_RAW,
        ][self.codec];
        let statistics = [
            EnabledStatistics::None,
            EnabledStatistics::Chunk,
            EnabledStatistics::Page,
        ][self.statistics];
        let mut builder = WriterProperties::builder()
            .set_compression(codec)
            .set_writer_version(if self.v2 {
                WriterVersion::PARQUET_2_0
            } else {
                WriterVersion::PARQUET_1_0
            })
            .set_dictionary_enabled(self.dictionary)
            .set_dictionary_page_size_limit(self.dictionary_limit)
            .set_max_row_group_row_count(Some(self.row_group))
            .set_data_page_row_count_limit(self.page_rows)
            .set_write_batch_size(self.page_rows.min(8))
            .set_statistics_enabled(statistics)
            .set_write_page_header_statistics(self.seed.is_multiple_of(2))
            .set_bloom_filter_enabled(self.bloom)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "owner".into(),
                "tests".to_owned(),
            )]))
            .set_sorting_columns(Some(vec![SortingColumn {
                column_idx: 1,
                descending: false,
                nulls_first: true,
            }]))
            .set_encoding(Encoding::PLAIN);
        let choices = [
            (
                "number",
                [
                    Encoding::PLAIN,
                    Encoding::DELTA_BINARY_PACKED,
                    Encoding::BYTE_STREAM_SPLIT,
                ],
            ),
            (
                "text",
                [
                    Encoding::PLAIN,
                    Encoding::DELTA_LENGTH_BYTE_ARRAY,
                    Encoding::DELTA_BYTE_ARRAY,
                ],
            ),
            ("id", [Encoding::PLAIN, Encoding::PLAIN, Encoding::PLAIN]),
            (
                "double",
                [
                    Encoding::PLAIN,
                    Encoding::BYTE_STREAM_SPLIT,
                    Encoding::BYTE_STREAM_SPLIT,
                ],
            ),
            ("flag", [Encoding::PLAIN, Encoding::RLE, Encoding::RLE]),
            (
                "fixed",
                [
                    Encoding::PLAIN,
                    Encoding::BYTE_STREAM_SPLIT,
                    Encoding::DELTA_BYTE_ARRAY,
                ],
            ),
        ];
        for (column, encodings) in choices {
            builder = builder.set_column_encoding(column.into(), encodings[self.encoding]);
        }
        if matches!(self.subject, SubjectType::Text | SubjectType::LargeText) {
            let encoding = [
                Encoding::PLAIN,
                Encoding::DELTA_LENGTH_BYTE_ARRAY,
                Encoding::DELTA_BYTE_ARRAY,
            ];
            builder = builder.set_column_encoding("id".into(), encoding[self.encoding]);
        }
        builder.build()
    }

    fn batch(&self, ids: &[Vec<u8>], seed: u64) -> RecordBatch {
        let mut numbers = Numbers(seed);
        let rows = ids.len();
        let mut some = |below: u64| -> Vec<Option<u64>> {
            let draw =
                |_| Some(numbers.next(below + below / 4 + 1)).filter(|number| *number < below);
            (0..rows).map(draw).collect()
        };
        let int = |number: u64| i64::try_from(number).unwrap();
        let (subject_field, subject) = self.subject.array(ids);
        let floats = [
            f64::NAN,
            -0.0,
            0.0,
            f64::INFINITY,
            1.5,
            f64::from_bits(0x7FF8_0000_0000_BEEF),
            -2.0,
        ];
        let number: ArrayRef = column::<_, Int64Array>(some(1000), int);
        let text: ArrayRef = column::<_, StringArray>(some(50), |n| format!("value {n}"));
        let double: ArrayRef =
            column::<_, Float64Array>(some(7), |n| floats[usize::try_from(n).unwrap()]);
        #[expect(clippy::cast_precision_loss, reason = "any float does")]
        let float: ArrayRef = column::<_, Float32Array>(some(90), |n| int(n) as f32 / 3.0);
        let flag: ArrayRef = column::<_, BooleanArray>(some(2), |n| n == 1);
        let small: ArrayRef = column::<_, Int32Array>(some(5), |n| i32::try_from(n).unwrap());
        let time: ArrayRef = Arc::new(
            some(1 << 40)
                .into_iter()
                .map(|n| n.map(int))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        );
        let date: ArrayRef = column::<_, Date32Array>(some(20_000), |n| i32::try_from(n).unwrap());
        let binary = some(30);
        let binary: Vec<Option<Vec<u8>>> = binary
            .into_iter()
            .map(|n| n.map(|n| vec![0xFF; usize::try_from(n).unwrap()]))
            .collect();
        let binary: ArrayRef =
            Arc::new(binary.iter().map(Option::as_deref).collect::<BinaryArray>());
        let fixed = some(9).into_iter().map(|n| n.map(u64::to_be_bytes));
        let fixed: ArrayRef =
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 8).unwrap());
        let required: ArrayRef =
            Arc::new((0..i64::try_from(rows).unwrap()).collect::<Int64Array>());
        let lists = nested_lists(&some(4));
        let maps = maps(&some(3));
        let columns = [
            ("number", number),
            ("text", text),
            ("double", double),
            ("float", float),
            ("flag", flag),
            ("small", small),
            ("time", time),
            ("date", date),
            ("binary", binary),
            ("fixed", fixed),
            ("lists", lists),
            ("maps", maps),
        ];
        let mut fields = vec![
            subject_field,
            Field::new("required", DataType::Int64, false),
        ];
        let mut arrays = vec![subject, required];
        for (name, array) in columns {
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }
}

/// The column of what `value` makes of each drawn number.
fn column<T, A: FromIterator<Option<T>> + Array + 'static>(
    drawn: Vec<Option<u64>>,
    value: impl Fn(u64) -> T,
) -> ArrayRef {
    Arc::new(drawn.into_iter().map(|n| n.map(&value)).collect::<A>())
}

/// Lists of lists, with nulls and empty ones at each level.
fn nested_lists(lengths: &[Option<u64>]) -> ArrayRef {
    let mut lists = ListBuilder::new(ListBuilder::new(arrow::array::Int64Builder::new()));
    for length in lengths {
        for inner in 0..length.unwrap_or(0) {
            for value in 0..inner {
                lists
                    .values()
                    .values()
                    .append_option((value > 0).then_some(i64::try_from(value).unwrap()));
            }
            lists.values().append(inner != 1);
        }
        lists.append(length.is_some());
    }
    Arc::new(lists.finish())
}

/// Maps with null values, empty and null maps.
fn maps(lengths: &[Option<u64>]) -> ArrayRef {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for length in lengths {
        for key in 0..length.unwrap_or(0) {
            maps.keys().append_value(format!("key {key}"));
            maps.values()
                .append_option((key != 1).then(|| format!("mapped {key}")));
        }
        maps.append(length.is_some()).unwrap();
    }
    Arc::new(maps.finish())
}
