//! What is asked: kind, regulation, disclosure, subject ids, time of asking.
//!
//! A [`Request`] is plain data; [`Subjects`] are checked when they are made, and
//! [`Request::check`] says whether the other fields go together.
//!
//! * [`provenance`]: who asked, and how.
//! * [`subjects`]: the checked list of ids, given one by one or as CSV.
//! * [`words`]: the choices, and how they are spelled.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{RequestFault, Result};
use crate::limits;

pub mod provenance;
pub mod subjects;
pub mod words;

pub use provenance::Provenance;
pub use subjects::Subjects;
pub use words::{Disclosure, Identity, Kind, Regulation, RequiredColumns, Unknown};

/// What is asked of a dataset.
#[derive(Debug, Clone)]
pub struct Request {
    /// Export or delete.
    pub kind: Kind,
    /// The law that it is asked under.
    pub regulation: Regulation,
    /// How much of the rows it is about.
    pub disclosure: Disclosure,
    /// How submitted ids are expanded.
    pub identity: Identity,
    /// What becomes of ids that are nowhere.
    pub unknown: Unknown,
    /// Whom it is about.
    pub subjects: Subjects,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// A look-back beyond the year that a CCPA export covers.
    pub since: Option<Timestamp>,
    /// The part of the dataset's rows, between 0 and 1, that a delete may match.
    pub max_match: f64,
    /// Ids that one submitted id may expand to.
    pub identity_cap: usize,
    /// What becomes of columns that a delete must clear but that can't hold null.
    pub required_columns: RequiredColumns,
    /// Whether a delete also puts the covered ids on the suppression list.
    pub suppress: Option<Suppress>,
}

/// How ids are suppressed: their rows are removed from shards that come in later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppress {
    /// The cut-off: rows of this time or later stay. `None`: no row stays.
    pub before: Option<Timestamp>,
}

impl Request {
    /// An export of all data that is held, with every other choice at its default.
    pub fn export(subjects: Subjects, requested_at: Timestamp) -> Self {
        Self::new(Kind::Export, subjects, requested_at)
    }

    /// A delete of all data that is held, with every other choice at its default.
    pub fn delete(subjects: Subjects, requested_at: Timestamp) -> Self {
        Self::new(Kind::Delete, subjects, requested_at)
    }

    fn new(kind: Kind, subjects: Subjects, requested_at: Timestamp) -> Self {
        Self {
            kind,
            regulation: Regulation::default(),
            disclosure: Disclosure::default(),
            identity: Identity::default(),
            unknown: Unknown::default(),
            subjects,
            requested_at,
            since: None,
            max_match: limits::MAX_MATCH,
            identity_cap: limits::IDENTITY_CAP,
            required_columns: RequiredColumns::default(),
            suppress: None,
        }
    }

    /// Checks that the fields go together.
    ///
    /// # Errors
    /// Those of [`window_start`](Self::window_start), and [`Error::Request`](crate::Error::Request) for a `max_match` that
    /// is no fraction, an `identity_cap` of 0, or a `suppress` that isn't with a delete of data.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.max_match) {
            return Err(RequestFault::NotAFraction {
                found: self.max_match,
            }
            .into());
        }
        if self.identity_cap == 0 {
            return Err(RequestFault::NoIdentity.into());
        }
        if self.suppress.is_some() && (self.kind != Kind::Delete || self.clears()) {
            return Err(RequestFault::NothingToSuppress.into());
        }
        self.window_start().map(|_| ())
    }

    /// Whether the request leaves the rows and clears values in them.
    pub fn clears(&self) -> bool {
        self.kind == Kind::Delete && self.disclosure != Disclosure::Data
    }

    /// The first instant of the window that the request covers, or `None` when it covers
    /// everything that is held: under the GDPR, and for every delete.
    ///
    /// A CCPA export goes back one calendar year in UTC, at the same time of day; from
    /// 29 February to 28 February. `since` takes its place when it reaches back further.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) when `since` would make the window shorter, or is given for a request that
    /// has no window, or when the year before `requested_at` can't be represented.
    pub fn window_start(&self) -> Result<Option<Timestamp>> {
        if self.kind == Kind::Delete || self.regulation == Regulation::Gdpr {
            return match (self.since, self.kind) {
                (None, _) => Ok(None),
                (Some(_), Kind::Delete) => Err(RequestFault::LookBackOfDelete.into()),
                (Some(_), Kind::Export) => Err(RequestFault::LookBackUnderGdpr.into()),
            };
        }
        let year_before = year_before(self.requested_at)?;
        match self.since {
            Some(since) if since > year_before => Err(RequestFault::LookBackTooShort {
                since,
                latest: year_before,
            }
            .into()),
            Some(since) => Ok(Some(since)),
            None => Ok(Some(year_before)),
        }
    }
}

fn year_before(instant: Timestamp) -> Result<Timestamp> {
    TimeZone::UTC
        .to_datetime(instant)
        .checked_sub(Span::new().years(1))
        .and_then(|before| TimeZone::UTC.to_timestamp(before))
        .map_err(|_| RequestFault::NoYearBefore.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn ccpa(requested_at: &str) -> Request {
        let subjects = Subjects::new(["ada"]).unwrap();
        Request {
            regulation: Regulation::Ccpa,
            ..Request::export(subjects, requested_at.parse().unwrap())
        }
    }

    fn refused_field(request: &Request) -> &'static str {
        match request.check() {
            Err(Error::Request { fault }) => fault.field(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_ccpa_export_covers_one_calendar_year() {
        for (asked, start) in [
            (
                "2023-06-15T13:14:15.123456789Z",
                "2022-06-15T13:14:15.123456789Z",
            ),
            ("2024-02-29T23:59:59Z", "2023-02-28T23:59:59Z"),
            ("2025-02-28T00:00:00Z", "2024-02-28T00:00:00Z"),
            ("2024-03-01T00:00:00Z", "2023-03-01T00:00:00Z"),
            ("2024-01-01T01:00:00+03:00", "2022-12-31T22:00:00Z"),
        ] {
            let window = ccpa(asked).window_start().unwrap();
            assert_eq!(window, Some(start.parse().unwrap()), "{asked}");
        }
    }

    #[test]
    fn gdpr_and_deletes_cover_everything() {
        let request = ccpa("2024-02-29T00:00:00Z");
        let gdpr = Request {
            regulation: Regulation::Gdpr,
            ..request.clone()
        };
        assert_eq!(gdpr.window_start().unwrap(), None);
        let delete = Request {
            kind: Kind::Delete,
            ..request
        };
        assert_eq!(delete.window_start().unwrap(), None);
    }

    #[test]
    fn since_only_makes_the_window_longer() {
        let with_since = |since: &str| Request {
            since: Some(since.parse().unwrap()),
            ..ccpa("2024-02-29T12:00:00Z")
        };
        for longer in ["2020-01-01T00:00:00Z", "2023-02-28T12:00:00Z"] {
            let start = with_since(longer).window_start().unwrap();
            assert_eq!(start, Some(longer.parse().unwrap()));
        }
        let shorter = with_since("2023-02-28T12:00:00.000000001Z");
        assert_eq!(refused_field(&shorter), "since");
    }

    #[test]
    fn since_is_refused_where_there_is_no_window() {
        let request = Request {
            since: Some("2020-01-01T00:00:00Z".parse().unwrap()),
            ..ccpa("2024-02-29T12:00:00Z")
        };
        let gdpr = Request {
            regulation: Regulation::Gdpr,
            ..request.clone()
        };
        assert_eq!(refused_field(&gdpr), "since");
        let delete = Request {
            kind: Kind::Delete,
            ..request
        };
        assert_eq!(refused_field(&delete), "since");
    }

    #[test]
    fn an_instant_without_a_year_before_it_is_refused() {
        let subjects = Subjects::new(["ada"]).unwrap();
        let request = Request {
            regulation: Regulation::Ccpa,
            ..Request::export(subjects, Timestamp::MIN)
        };
        assert_eq!(refused_field(&request), "requested_at");
    }

    #[test]
    fn a_guard_that_is_no_fraction_is_refused() {
        for max_match in [-0.1, 1.1, f64::NAN] {
            let request = Request {
                max_match,
                ..ccpa("2024-02-29T12:00:00Z")
            };
            assert_eq!(refused_field(&request), "max_match");
        }
        assert!(ccpa("2024-02-29T12:00:00Z").check().is_ok());
    }
}
