//! Running code of the `parquet` crate on bytes from a file.
//!
//! Errors of this crate go through it as `external` ones, and `guarded` gives them back. The crate has assertions
//! that damaged bytes can reach: a panic ends in an error too.
//!
//! Its Arrow readers turn every error into a string on the way out: a `FirstFailure` keeps it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::errors::ParquetError;

use crate::error::FormatError;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would become an error: a program's panic hook need say nothing of it.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// An error on its way through the `parquet` crate.
pub(crate) fn external(error: FormatError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Runs code of the `parquet` crate on bytes from a file: its errors keep their evidence, and a panic
/// (it has assertions that damaged bytes can reach) becomes an error.
///
/// # Errors
/// What `run` returns, or that it panicked.
pub(crate) fn guarded<T>(
    context: &str,
    run: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, FormatError> {
    let is_inner = IS_GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(run));
    IS_GUARDED.set(is_inner);
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ParquetError::External(source))) => match source.downcast::<FormatError>() {
            Ok(error) => Err(*error),
            Err(source) => Err(FormatError::Parquet {
                context: context.to_owned(),
                source: ParquetError::External(source),
            }),
        },
        Ok(Err(source)) => Err(FormatError::Parquet {
            context: context.to_owned(),
            source,
        }),
        Err(_) => Err(FormatError::Invalid {
            structure: "column chunk",
            offset: 0,
            found: format!("pages that the decoder gave up on ({context})"),
            expected: "values in the encoding that the page headers say",
        }),
    }
}

/// The first failure of any page reader of an Arrow reader.
#[derive(Clone, Default)]
pub(crate) struct FirstFailure(Arc<Mutex<Option<FormatError>>>);

impl FirstFailure {
    /// The failure behind `error`, if there was one.
    pub(crate) fn cause(&self, error: FormatError) -> FormatError {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.take().unwrap_or(error)
    }

    /// Keeps the error of a page reader, and gives its text to the `parquet` crate.
    pub(crate) fn keep<T>(&self, result: Result<T, FormatError>) -> Result<T, ParquetError> {
        result.map_err(|error| {
            let text = error.to_string();
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            ParquetError::General(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_becomes_an_error_is_guarded() {
        assert!(!is_guarded());
        guarded("outer", || {
            assert!(is_guarded());
            let inner = guarded("inner", || -> Result<(), ParquetError> {
                panic!("on purpose")
            });
            assert!(inner.is_err());
            assert!(is_guarded());
            Ok(())
        })
        .unwrap();
        assert!(!is_guarded());
    }
}
