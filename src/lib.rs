//! Exports or erases every row of a person from Parquet event shards.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    unsafe_code
)]

mod csv_records;
pub mod error;
pub mod identity;
pub mod index;
pub mod limits;
pub mod parquet_bytes;
pub mod request;
pub mod shard;
pub mod storage;
pub mod subject;

pub use error::{Error, ErrorKind, FormatError, Result};
