//! The naive way: read every leaf of a whole file with the `parquet` crate's own file reader, keep the
//! rows that should be kept in a `Vec`, and compare bit by bit.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod bounds;
pub(crate) mod bytes;
pub(crate) mod numbers;
pub(crate) mod rows;
pub(crate) mod split;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{AsBytes, DataType};
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

/// One value or null of a leaf: repetition level, definition level, bytes.
pub(crate) type Cell = (i16, i16, Option<Vec<u8>>);

/// A file as the naive reader sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contents {
    /// The schema as text, with field ids and logical types.
    pub(crate) schema: String,
    /// `created_by` and key-values.
    pub(crate) about: (Option<String>, Vec<(String, Option<String>)>),
    /// The type of each leaf, with the highest levels that it has.
    pub(crate) leaf_types: Vec<String>,
    /// Row groups: per leaf, per row, its cells.
    pub(crate) row_groups: Vec<RowGroup>,
}

/// One row group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowGroup {
    /// Per leaf: codec, encodings of pages, page version.
    pub(crate) styles: Vec<String>,
    /// Per leaf, per row, its cells.
    pub(crate) leaves: Vec<Vec<Vec<Cell>>>,
    /// Sorting columns.
    pub(crate) sorting: String,
}

impl Contents {
    /// Reads `path` in full.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::of(File::open(path).unwrap())
    }

    /// Reads `file` in full.
    pub(crate) fn of(file: impl ChunkReader + 'static) -> Result<Self, String> {
        let reader = SerializedFileReader::new(file).map_err(|e| e.to_string())?;
        let file = reader.metadata().file_metadata();
        let mut schema = Vec::new();
        parquet::schema::printer::print_schema(&mut schema, file.schema());
        let pairs = file.key_value_metadata().cloned().unwrap_or_default();
        let mut row_groups = Vec::new();
        for number in 0..reader.num_row_groups() {
            let group = reader.get_row_group(number).map_err(|e| e.to_string())?;
            let mut leaves = Vec::new();
            let mut styles = Vec::new();
            for leaf in 0..group.num_columns() {
                let meta = group.metadata().column(leaf);
                styles.push(format!(
                    "{:?} {:?}",
                    meta.compression(),
                    data_encodings(&*group, leaf)?
                ));
                let max = meta.column_descr().max_def_level();
                let column = group.get_column_reader(leaf).map_err(|e| e.to_string())?;
                let cells = rows(column, max)?;
                // The reader takes the pages' word, but rows are counted by what the footer claims.
                let claimed = group.metadata().num_rows();
                if i64::try_from(cells.len()) != Ok(claimed) {
                    return Err(format!("{} rows, where {claimed} are claimed", cells.len()));
                }
                leaves.push(cells);
            }
            row_groups.push(RowGroup {
                styles,
                leaves,
                sorting: format!("{:?}", group.metadata().sorting_columns()),
            });
        }
        Ok(Self {
            schema: String::from_utf8(schema).unwrap(),
            about: (
                file.created_by().map(str::to_owned),
                pairs
                    .into_iter()
                    .map(|pair| (pair.key, pair.value))
                    .collect(),
            ),
            leaf_types: file
                .schema_descr()
                .columns()
                .iter()
                .map(|leaf| leaf_type(leaf))
                .collect(),
            row_groups,
        })
    }

    /// The cells of a leaf, row by row.
    pub(crate) fn cells(&self, leaf: usize) -> impl Iterator<Item = &Vec<Cell>> {
        self.row_groups
            .iter()
            .flat_map(move |group| &group.leaves[leaf])
    }

    /// Without the rows for which `drop` says so (counted in the file); row groups without rows are gone.
    pub(crate) fn without(mut self, drop: impl Fn(usize) -> bool) -> Self {
        let mut base = 0;
        self.row_groups.retain_mut(|group| {
            let rows = group.leaves.first().map_or(0, Vec::len);
            for leaf in &mut group.leaves {
                let mut at = base;
                leaf.retain(|_| {
                    at += 1;
                    !drop(at - 1)
                });
            }
            base += rows;
            rows == 0 || group.leaves.first().is_some_and(|leaf| !leaf.is_empty())
        });
        self
    }

    /// Rows of the file.
    pub(crate) fn rows(&self) -> usize {
        self.row_groups
            .iter()
            .map(|group| group.leaves.first().map_or(0, Vec::len))
            .sum()
    }

    /// Rows (counted in the file) in which some cell of `leaf` is `value`.
    pub(crate) fn rows_with(&self, leaf: usize, value: &[u8]) -> Vec<usize> {
        self.row_groups
            .iter()
            .flat_map(|group| &group.leaves[leaf])
            .enumerate()
            .filter(|(_, cells)| cells.iter().any(|cell| cell.2.as_deref() == Some(value)))
            .map(|(row, _)| row)
            .collect()
    }

    /// How often each value of `leaf` occurs, by rows.
    pub(crate) fn values(&self, leaf: usize) -> BTreeMap<Vec<u8>, usize> {
        let mut values = BTreeMap::new();
        let rows = self.row_groups.iter().flat_map(|group| &group.leaves[leaf]);
        for value in rows.flatten().filter_map(|cell| cell.2.clone()) {
            *values.entry(value).or_default() += 1;
        }
        values
    }
}

/// Whether each leaf's codec, page version and encodings are as they were. A chunk that mixed dictionary
/// and other pages may need just one of them now.
pub(crate) fn same_styles(before: &[String], after: &[String]) -> bool {
    let parts = |style: &str| -> (String, Vec<String>) {
        let (codec, pages) = style.split_once(' ').unwrap();
        let pages = pages
            .split('"')
            .filter(|part| part.contains("PAGE"))
            .map(str::to_owned)
            .collect();
        (codec.to_owned(), pages)
    };
    before.iter().zip(after).all(|(before, after)| {
        let ((codec_before, pages_before), (codec_after, pages_after)) =
            (parts(before), parts(after));
        codec_before == codec_after && pages_after.iter().all(|page| pages_before.contains(page))
    })
}

/// What an old annotation stands for, by LogicalTypes.md of the format.
fn modern(converted: ConvertedType, leaf: &ColumnDescriptor) -> Option<LogicalType> {
    Some(match converted {
        ConvertedType::UTF8 => LogicalType::String,
        ConvertedType::ENUM => LogicalType::Enum,
        ConvertedType::BSON => LogicalType::Bson,
        ConvertedType::JSON => LogicalType::Json,
        ConvertedType::DATE => LogicalType::Date,
        ConvertedType::DECIMAL => LogicalType::decimal(leaf.type_scale(), leaf.type_precision()),
        ConvertedType::TIME_MILLIS => LogicalType::time(true, TimeUnit::MILLIS),
        ConvertedType::TIME_MICROS => LogicalType::time(true, TimeUnit::MICROS),
        ConvertedType::TIMESTAMP_MILLIS => LogicalType::timestamp(true, TimeUnit::MILLIS),
        ConvertedType::TIMESTAMP_MICROS => LogicalType::timestamp(true, TimeUnit::MICROS),
        ConvertedType::INT_8 => LogicalType::integer(8, true),
        ConvertedType::INT_16 => LogicalType::integer(16, true),
        ConvertedType::UINT_8 => LogicalType::integer(8, false),
        ConvertedType::UINT_16 => LogicalType::integer(16, false),
        ConvertedType::UINT_32 => LogicalType::integer(32, false),
        ConvertedType::UINT_64 => LogicalType::integer(64, false),
        _ => return None,
    })
}

fn leaf_type(leaf: &ColumnDescriptor) -> String {
    // Of old annotations, what they stand for.
    let annotation = match (leaf.logical_type_ref(), leaf.converted_type()) {
        (Some(logical), _) => format!("{logical:?}"),
        (None, ConvertedType::INT_32 | ConvertedType::INT_64) => "NONE".to_owned(),
        (None, converted) => match modern(converted, leaf) {
            Some(logical) => format!("{logical:?}"),
            None => format!("{converted:?}"),
        },
    };
    let length = match leaf.physical_type() {
        PhysicalType::FIXED_LEN_BYTE_ARRAY => leaf.type_length(),
        _ => 0,
    };
    format!(
        "{:?}({length}) {annotation} {} {}",
        leaf.physical_type(),
        leaf.max_rep_level(),
        leaf.max_def_level()
    )
}

/// The page version and encodings of a chunk's data pages, as a set.
fn data_encodings(
    group: &dyn parquet::file::reader::RowGroupReader,
    leaf: usize,
) -> Result<String, String> {
    let mut found = std::collections::BTreeSet::new();
    for page in group
        .get_column_page_reader(leaf)
        .map_err(|e| e.to_string())?
    {
        let page = page.map_err(|e| e.to_string())?;
        found.insert(format!("{:?} {:?}", page.page_type(), page.encoding()));
    }
    Ok(format!("{found:?}"))
}

fn rows(column: ColumnReader, max_definition: i16) -> Result<Vec<Vec<Cell>>, String> {
    match column {
        ColumnReader::BoolColumnReader(reader) => typed(reader, max_definition),
        ColumnReader::Int32ColumnReader(reader) => typed(reader, max_definition),
        ColumnReader::Int64ColumnReader(reader) => typed(reader, max_definition),
        ColumnReader::Int96ColumnReader(reader) => typed(reader, max_definition),
        ColumnReader::FloatColumnReader(reader) => typed(reader, max_definition),
        ColumnReader::DoubleColumnReader(reader) => typed(reader, max_definition),
        ColumnReader::ByteArrayColumnReader(reader) => typed(reader, max_definition),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => typed(reader, max_definition),
    }
}

fn typed<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    max_definition: i16,
) -> Result<Vec<Vec<Cell>>, String> {
    let (mut definition, mut repetition, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    loop {
        definition.clear();
        repetition.clear();
        values.clear();
        let (_, _, levels) = reader
            .read_records(
                1000,
                Some(&mut definition),
                Some(&mut repetition),
                &mut values,
            )
            .map_err(|e| e.to_string())?;
        if levels == 0 {
            return Ok(rows);
        }
        let mut values = values.iter();
        for at in 0..levels {
            let level = definition.get(at).copied().unwrap_or(max_definition);
            let value = if level == max_definition {
                let value = values.next().ok_or("a value is missing")?;
                Some(value.as_bytes().to_vec())
            } else {
                None
            };
            let repeat = repetition.get(at).copied().unwrap_or(0);
            if repeat == 0 {
                rows.push(Vec::new());
            }
            let row = rows
                .last_mut()
                .ok_or("the first entry is inside of a row")?;
            row.push((repeat, level, value));
        }
    }
}
