//! What is wrong with the bytes of a Parquet file.

use std::io;

use parquet::errors::ParquetError;

use super::kind::of_io;
use super::{Error, ErrorKind, is_replaced};

/// What is wrong with the bytes of a Parquet file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Reading the file failed.
    #[error("cannot read at offset {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// The system's own error.
        source: io::Error,
    },

    /// A structure ends before it should.
    #[error("{structure} at offset {offset} needs {needed} bytes, but only {available} are left")]
    Truncated {
        /// What was being read.
        structure: &'static str,
        /// Where.
        offset: u64,
        /// How many bytes it needs.
        needed: u64,
        /// How many there are.
        available: u64,
    },

    /// A structure holds something that it must not hold.
    #[error("{structure} at offset {offset}: found {found}, expected {expected}")]
    Invalid {
        /// What was being read.
        structure: &'static str,
        /// Where.
        offset: u64,
        /// What was there.
        found: String,
        /// What should have been there.
        expected: &'static str,
    },

    /// Two structures of the file disagree, so neither can be believed.
    #[error("{what}: the metadata says {claimed}, but there are {counted}")]
    Contradiction {
        /// What is counted.
        what: String,
        /// What the metadata claims.
        claimed: u64,
        /// What was counted.
        counted: u64,
    },

    /// A page's bytes do not have the checksum that its header holds.
    #[error(
        "page at offset {offset}: its header says CRC {expected:08x}, its bytes have {found:08x}"
    )]
    Checksum {
        /// Where the page begins.
        offset: u64,
        /// The checksum in the header.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },

    /// The file uses something that this version can't handle.
    #[error("{feature} is not supported")]
    Unsupported {
        /// What it uses.
        feature: String,
    },

    /// The `parquet` crate could not decode something.
    #[error("{context}: {source}")]
    Parquet {
        /// What was being decoded.
        context: String,
        /// The crate's own error.
        source: ParquetError,
    },
}

impl FormatError {
    /// What the caller can do about it.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => of_io(source),
            Self::Unsupported { .. }
            | Self::Parquet {
                source: ParquetError::NYI(_),
                ..
            } => ErrorKind::Unsupported,
            _ => ErrorKind::Damaged,
        }
    }

    /// Names the shard that these bytes are of.
    pub fn in_shard(self, path: &str) -> Error {
        let path = path.to_owned();
        match self {
            Self::Read { source, .. } if is_replaced(&source) => Error::ShardChanged { path },
            source => Error::Shard { path, source },
        }
    }

    /// A [`FormatError::Parquet`] for `map_err`.
    pub fn parquet(context: impl Into<String>) -> impl FnOnce(ParquetError) -> Self {
        move |source| Self::Parquet {
            context: context.into(),
            source,
        }
    }
}
