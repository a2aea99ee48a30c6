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

pub mod config;
mod csv_records;
pub mod dataset;
pub mod delete;
pub mod engine;
pub mod error;
pub mod export;
pub mod identity;
pub mod index;
pub mod limits;
pub mod observe;
pub mod parquet_bytes;
pub mod plan;
pub mod request;
pub mod shard;
pub mod storage;
pub mod subject;

pub use config::Config;
pub use delete::{DeleteOptions, DeleteReport};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, ErrorKind, FormatError, Result};
pub use plan::Plan;
pub use request::Request;
pub use storage::disk::Disk;
pub use subject::SubjectId;
