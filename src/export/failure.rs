//! Errors of writing an export.

use arrow::error::ArrowError;

use crate::error::Error;

/// An error that was met while writing.
pub(super) fn written(error: ArrowError) -> Error {
    Error::arrow("writing the export")(error)
}
