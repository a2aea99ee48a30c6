//! The command line.

#![expect(
    clippy::doc_markdown,
    reason = "the docs are help texts, which aren't Markdown"
)]

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterVersion;

/// Most people there can be; their rows are counted in four bytes each.
const USERS_MAX: u64 = 1_000_000_000;
/// Shard numbers have five digits.
const SHARDS_MAX: u64 = 100_000;
const ROWS_PER_SHARD_MAX: u64 = 1 << 31;

/// Writes product-analytics events as Parquet shards, with an alias table and lists of ids to try.
///
/// The same arguments write the same bytes on any machine and any number of threads. Memory: one
/// row group for each thread, 8 to 12 bytes for each user, and with --sort user about 110 bytes for
/// each row of a shard and thread.
///
/// OUT_DIR/events/part-00000.parquet...  the dataset, 2025-01-01 to 2026-06-30, shards in time order
/// OUT_DIR/aliases.parquet (or .csv)     columns alias, distinct_id
/// OUT_DIR/ids-1.csv                     the id of a user with the median number of rows
/// OUT_DIR/ids-20.csv, ids-2000.csv      ids drawn evenly from those that occur
/// OUT_DIR/ids.csv                       a few ids that show what aliases do
///
/// Ends with one line of JSON: rows, bytes of the shards, users that occur, seconds.
#[derive(Parser)]
#[command(name = "events", verbatim_doc_comment)]
pub(crate) struct Args {
    /// Where to write; the subdirectory events/ must be empty or absent
    pub(crate) out_dir: PathBuf,

    /// Another seed gives other events
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Parquet files to write
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u64).range(1..=SHARDS_MAX))]
    pub(crate) shards: u64,

    /// Rows of each shard
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=ROWS_PER_SHARD_MAX))]
    pub(crate) rows_per_shard: u64,

    /// Row groups of each shard
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=32_767))]
    pub(crate) row_groups: u64,

    /// Size of the population; with few rows for each, some never occur
    #[arg(long, value_name = "N", default_value_t = 400_000,
          value_parser = clap::value_parser!(u64).range(1..=USERS_MAX))]
    pub(crate) users: u64,

    /// Rows after which a data page ends
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) page_rows: u32,

    /// Bytes after which a data page ends
    #[arg(long, value_name = "N", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) page_bytes: u32,

    /// How pages are compressed
    #[arg(long, value_enum, default_value_t = Codec::Zstd)]
    pub(crate) codec: Codec,

    /// The level of --codec zstd
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-50..=22))]
    pub(crate) zstd_level: i32,

    /// Form of distinct_ids and aliases
    #[arg(long, value_enum, default_value_t = IdForm::Short)]
    pub(crate) ids: IdForm,

    /// Order of the rows of a shard
    #[arg(long, value_enum, default_value_t = Order::Time)]
    pub(crate) sort: Order,

    /// Version of the data pages, and the encodings that go with it
    #[arg(long, value_name = "1|2", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) page_version: u8,

    /// Write bloom filters of distinct_id
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) bloom: bool,

    /// Put each shard under month=YYYY-MM/, the month of its first event
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) partitioned: bool,

    /// Links in the alias table, at most one for each user [default: a twentieth of --users]
    #[arg(long, value_name = "N")]
    pub(crate) aliases: Option<u64>,

    /// Form of the alias table
    #[arg(long, value_enum, default_value_t = TableForm::Parquet)]
    pub(crate) aliases_format: TableForm,

    /// Shards to write at a time [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Codec {
    None,
    Snappy,
    Gzip,
    Zstd,
    Lz4,
    Brotli,
}

/// How identifiers look.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum IdForm {
    /// u and eight characters for people; aliases have a speaking prefix
    Short,
    /// UUIDs of version 4 for all
    Uuid,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// As it happened
    Time,
    /// By distinct_id, then by time; nulls first
    User,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum TableForm {
    Parquet,
    Csv,
}

impl Args {
    /// Links in the alias table.
    ///
    /// # Errors
    /// More links than users were asked for.
    pub(crate) fn links(&self) -> Result<u64, String> {
        match self.aliases {
            None => Ok(self.users / 20),
            Some(links) if links <= self.users => Ok(links),
            Some(links) => Err(format!(
                "--aliases {links} is more than --users {}",
                self.users
            )),
        }
    }

    /// Row groups of each shard.
    ///
    /// # Errors
    /// There are more of them than rows.
    pub(crate) fn row_groups(&self) -> Result<u64, String> {
        if self.row_groups <= self.rows_per_shard {
            return Ok(self.row_groups);
        }
        let Self {
            row_groups,
            rows_per_shard,
            ..
        } = self;
        Err(format!(
            "--row-groups {row_groups} is more than --rows-per-shard {rows_per_shard}"
        ))
    }

    pub(crate) fn compression(&self) -> Result<Compression, ParquetError> {
        Ok(match self.codec {
            Codec::None => Compression::UNCOMPRESSED,
            Codec::Snappy => Compression::SNAPPY,
            Codec::Gzip => Compression::GZIP(GzipLevel::default()),
            Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(self.zstd_level)?),
            Codec::Lz4 => Compression::LZ4_RAW,
            Codec::Brotli => Compression::BROTLI(BrotliLevel::default()),
        })
    }

    pub(crate) fn writer_version(&self) -> WriterVersion {
        if self.page_version == 1 {
            WriterVersion::PARQUET_1_0
        } else {
            WriterVersion::PARQUET_2_0
        }
    }
}
