//! Requests from keyword arguments, with the names of the command's options.

use std::str::FromStr;

use efface::request::{Kind, Request, Subjects, Suppress};
use efface::shard::chunk::level::ZstdLevel;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::fault::{OrRaise, usage};

/// What a call says besides the ids. Each `take_*` removes what it reads.
pub(crate) struct Words<'py> {
    py: Python<'py>,
    left: Bound<'py, PyDict>,
}

impl<'py> Words<'py> {
    /// # Errors
    /// When the interpreter has no memory left.
    pub(crate) fn new(py: Python<'py>, given: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        let left = match given {
            Some(given) => given.copy()?,
            None => PyDict::new(py),
        };
        Ok(Self { py, left })
    }

    /// What `read` makes of the keywords. A keyword that it leaves is a mistake.
    ///
    /// # Errors
    /// Those of `read`; `UsageError` that names a keyword which nobody read.
    pub(crate) fn read<T>(
        py: Python<'py>,
        given: Option<&Bound<'py, PyDict>>,
        read: impl FnOnce(&Self) -> PyResult<T>,
    ) -> PyResult<T> {
        let words = Self::new(py, given)?;
        let found = read(&words)?;
        match words.left.keys().iter().next() {
            None => Ok(found),
            Some(name) => Err(usage(py, &format!("there is no keyword {name}"))),
        }
    }

    /// The value of a keyword; `None` where it isn't given, or is `None`.
    pub(crate) fn take(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = self.left.get_item(name)?;
        if value.is_some() {
            self.left.del_item(name)?;
        }
        Ok(value.filter(|value| !value.is_none()))
    }

    /// # Errors
    /// `UsageError` when it has another type.
    pub(crate) fn take_as<T>(&self, name: &str, what: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        let value = self.take(name)?;
        value
            .map(|value| {
                value
                    .extract::<T>()
                    .map_err(|_| usage(self.py, &format!("{name}: it is no {what}")))
            })
            .transpose()
    }

    /// # Errors
    /// `UsageError` with the words that it can be.
    pub(crate) fn take_choice<T: FromStr<Err = efface::Error>>(
        &self,
        name: &str,
    ) -> PyResult<Option<T>> {
        let word = self.take_as::<String>(name, "text")?;
        word.map(|word| word.parse().or_raise(self.py)).transpose()
    }

    /// An instant: a `datetime` with a zone, or text of RFC 3339; or a day, which stands for its first instant in UTC.
    ///
    /// # Errors
    /// `UsageError` when it is none.
    pub(crate) fn take_instant(&self, name: &str) -> PyResult<Option<Timestamp>> {
        let Some(value) = self.take(name)? else {
            return Ok(None);
        };
        let wrong = |reason: &str| usage(self.py, &format!("{name}: {reason}"));
        let text: String = if value.is_instance_of::<PyString>() {
            value.extract()?
        } else if value.hasattr("isoformat")? {
            value.call_method0("isoformat")?.extract()?
        } else {
            return Err(wrong("it is neither a datetime nor text"));
        };
        if let Ok(instant) = text.parse() {
            return Ok(Some(instant));
        }
        let day: Date = text
            .parse()
            .map_err(|_| wrong("expected a day such as 2026-01-31, or an instant with a zone such as 2026-01-31T12:00:00Z"))?;
        if text.len() > "2026-01-31".len() {
            return Err(wrong(
                "it has no time zone: say which, for instance with tzinfo=datetime.timezone.utc",
            ));
        }
        let midnight = day.to_zoned(TimeZone::UTC);
        Ok(Some(
            midnight
                .map_err(|error| wrong(&error.to_string()))?
                .timestamp(),
        ))
    }

    /// # Errors
    /// `UsageError` when it is neither a level nor `auto`.
    pub(crate) fn take_level(&self) -> PyResult<ZstdLevel> {
        let Some(value) = self.take("zstd_level")? else {
            return Ok(ZstdLevel::default());
        };
        if value.eq("auto")? {
            return Ok(ZstdLevel::Auto);
        }
        let level = value.extract::<i32>().ok();
        level
            .filter(|level| (-7..=22).contains(level))
            .map(ZstdLevel::Fixed)
            .ok_or_else(|| {
                usage(
                    self.py,
                    "zstd_level: expected 'auto' or a level from -7 to 22",
                )
            })
    }

    /// What nobody has read yet.
    pub(crate) fn rest(&self) -> Bound<'py, PyDict> {
        self.left.clone()
    }

    /// The request for `subjects`.
    ///
    /// # Errors
    /// `UsageError` for a word that means nothing; the refusals of [`Request::check`].
    pub(crate) fn request(&self, kind: Kind, subjects: Subjects) -> PyResult<Request> {
        let asked = self
            .take_instant("requested_at")?
            .unwrap_or_else(Timestamp::now);
        let defaults = match kind {
            Kind::Export => Request::export(subjects, asked),
            Kind::Delete => Request::delete(subjects, asked),
        };
        let since = self.take_instant("since")?;
        let before = self.take_instant("suppress_before")?;
        let is_suppressed = self.take_as::<bool>("suppress", "bool")?;
        let request = Request {
            regulation: self
                .take_choice("regulation")?
                .unwrap_or(defaults.regulation),
            disclosure: self
                .take_choice("disclosure")?
                .unwrap_or(defaults.disclosure),
            identity: self.take_choice("identity")?.unwrap_or(defaults.identity),
            unknown: self.take_choice("unknown")?.unwrap_or(defaults.unknown),
            required_columns: self
                .take_choice("required_columns")?
                .unwrap_or(defaults.required_columns),
            max_match: self
                .take_as("max_match", "number")?
                .unwrap_or(defaults.max_match),
            identity_cap: self
                .take_as("identity_cap", "whole number")?
                .unwrap_or(defaults.identity_cap),
            since,
            suppress: (is_suppressed.unwrap_or(false) || before.is_some())
                .then_some(Suppress { before }),
            ..defaults
        };
        request.check().or_raise(self.py)?;
        Ok(request)
    }
}
