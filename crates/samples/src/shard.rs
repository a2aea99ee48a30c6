//! Writing one shard.
//!
//! Memory: one row group, encoded, and one batch of rows; sorted by user, the keys of the shard too.

use std::fs::{self, File};
use std::io::{BufWriter, IntoInnerError, Seek as _};
use std::path::Path;

use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::args::{Args, Order};
use crate::columns::{Columns, DISTINCT_ID, INSERT_ID, TIME, schema};
use crate::counts::Counts;
use crate::row::{Row, distinct_id};
use crate::sessions::{Key, keys};
use crate::timeline::month_name;
use crate::world::World;
use crate::{Problem, about};

const BATCH_ROWS: u64 = 8_192;
/// What the parquet crate writes at a time; page limits hold only between such batches.
const WRITE_BATCH_ROWS: u32 = 1_024;
const FILE_BUFFER_BYTES: usize = 1 << 20;

/// How shards are written.
pub(crate) struct ShardFormat {
    properties: WriterProperties,
    row_groups: u64,
    order: Order,
    partitioned: bool,
}

impl ShardFormat {
    /// # Errors
    /// The arguments contradict each other.
    pub(crate) fn new(args: &Args) -> Result<Self, Problem> {
        let row_groups = args.row_groups()?;
        let mut properties = WriterProperties::builder()
            .set_compression(args.compression()?)
            .set_writer_version(args.writer_version())
            .set_data_page_row_count_limit(args.page_rows as usize)
            .set_data_page_size_limit(args.page_bytes as usize)
            .set_write_batch_size(args.page_rows.min(WRITE_BATCH_ROWS) as usize)
            .set_max_row_group_row_count(None)
            .set_sorting_columns(Some(sorting_columns(args.sort)))
            // Their values hardly repeat: a dictionary would be as long as the column.
            .set_column_dictionary_enabled(TIME.into(), false)
            .set_column_dictionary_enabled(INSERT_ID.into(), false);
        if args.bloom {
            let rows_of_group = args.rows_per_shard.div_ceil(row_groups);
            properties = with_bloom_filter(properties, rows_of_group);
        }
        Ok(Self {
            properties: properties.build(),
            row_groups,
            order: args.sort,
            partitioned: args.partitioned,
        })
    }
}

/// Writes shard `number` below `directory`, counts its rows, and returns its length in bytes.
///
/// # Errors
/// The file can't be written.
pub(crate) fn write_shard(
    world: &World,
    format: &ShardFormat,
    number: u64,
    directory: &Path,
    counts: &Counts,
) -> Result<u64, Problem> {
    let mut keys = keys(world, number).peekable();
    let mut directory = directory.to_owned();
    if let (true, Some(first)) = (format.partitioned, keys.peek()) {
        directory.push(format!("month={}", month_name(first.time_us)));
        fs::create_dir_all(&directory).map_err(about(&directory))?;
    }
    let path = directory.join(format!("part-{number:05}.parquet"));

    let mut sorted = Vec::new();
    if format.order == Order::User {
        sorted.reserve_exact(world.rows_per_shard as usize);
        sorted.extend(keys.by_ref());
        sort_by_user(world, number, &mut sorted);
    }
    let keys = sorted.into_iter().chain(keys);

    let file = File::create_new(&path).map_err(about(&path))?;
    write_rows(world, format, number, keys, counts, file).map_err(about(&path))
}

fn write_rows(
    world: &World,
    format: &ShardFormat,
    number: u64,
    mut keys: impl Iterator<Item = Key>,
    counts: &Counts,
    file: File,
) -> Result<u64, ParquetError> {
    let sink = BufWriter::with_capacity(FILE_BUFFER_BYTES, file);
    let mut writer = ArrowWriter::try_new(sink, schema(), Some(format.properties.clone()))?;
    let mut columns = Columns::new();
    let mut seen = counts.nobody_seen();
    let mut done = 0;
    for group in 1..=format.row_groups {
        let group_end = (u128::from(world.rows_per_shard) * u128::from(group)
            / u128::from(format.row_groups)) as u64;
        while done < group_end {
            let batch_rows = BATCH_ROWS.min(group_end - done);
            for key in keys.by_ref().take(batch_rows as usize) {
                let row = Row::new(world, number, key);
                counts.add(row.distinct_id, &mut seen);
                columns.push(row);
            }
            writer.write(&columns.finish()?)?;
            done += batch_rows;
        }
        writer.flush()?;
    }
    // Writes the footer too.
    let mut file = writer
        .into_inner()?
        .into_inner()
        .map_err(IntoInnerError::into_error)?;
    Ok(file.stream_position()?)
}

/// Sorts by the bytes of `distinct_id`, nulls first, then by time.
fn sort_by_user(world: &World, shard: u64, keys: &mut [Key]) {
    keys.sort_by_cached_key(|key| {
        let name = distinct_id(key, &mut key.rng(world, shard));
        (name.map(|name| world.ids.sort_key(name)), *key)
    });
}

/// The columns that [`Order`] sorts by, as the footer declares them.
fn sorting_columns(order: Order) -> Vec<SortingColumn> {
    let names: &[&str] = match order {
        Order::Time => &[TIME],
        Order::User => &[DISTINCT_ID, TIME],
    };
    let schema = schema();
    names
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .map(|index| SortingColumn {
            column_idx: index as i32,
            descending: false,
            nulls_first: true,
        })
        .collect()
}

fn with_bloom_filter(
    properties: WriterPropertiesBuilder,
    rows_of_group: u64,
) -> WriterPropertiesBuilder {
    let column = ColumnPath::from(DISTINCT_ID);
    properties
        .set_column_bloom_filter_enabled(column.clone(), true)
        .set_column_bloom_filter_max_ndv(column, rows_of_group)
}
