//! What is handed over to the queue.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{RequestFault, Result};
use crate::export::per_subject::Layout;
use crate::export::sink::Format;
use crate::request::{Kind, Provenance, Regulation, Request};
use crate::tracking::TrackingId;

/// A request that is handed over, with all that is said of it.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What it is known by from now on.
    pub tracking_id: TrackingId,
    /// What is asked.
    pub request: Request,
    /// The time of handing it over.
    pub submitted_at: Timestamp,
    /// The deadline; `None` stands for that of the [regulation](due_after).
    pub due: Option<Timestamp>,
    /// Who asked, and how.
    pub by: Provenance,
    /// What the archive of an export holds. A delete has none.
    pub contents: Contents,
    /// Whether it waits until somebody else approves it.
    pub needs_approval: bool,
}

/// What the archive of an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The format of its data files.
    pub format: Format,
    /// Whether there is a data file for each submitted id, and not one for all.
    pub per_subject: bool,
    /// Whether there is a page for each submitted id as well, for people to read. It takes a file for each.
    pub pages: bool,
}

impl Submission {
    /// A request with nothing else said of it. An export becomes an archive for people.
    pub fn new(tracking_id: TrackingId, request: Request, submitted_at: Timestamp) -> Self {
        Self {
            tracking_id,
            request,
            submitted_at,
            due: None,
            by: Provenance::default(),
            contents: Contents::default(),
            needs_approval: false,
        }
    }

    /// Checks that it can wait.
    ///
    /// # Errors
    /// The refusals of [`Request::check`] and [`Provenance::check`], and pages without a file for each id.
    pub fn check(&self) -> Result<()> {
        self.request.check()?;
        self.by.check()?;
        let contents = &self.contents;
        if self.request.kind == Kind::Export && contents.pages && !contents.per_subject {
            return Err(RequestFault::PagesOfAll.into());
        }
        Ok(())
    }
}

impl Contents {
    /// Data files of this format: one for all ids.
    pub fn rows(format: Format) -> Self {
        Self {
            format,
            per_subject: false,
            pages: false,
        }
    }

    /// A data file of this format for each id.
    pub fn per_subject(format: Format) -> Self {
        Self {
            per_subject: true,
            ..Self::rows(format)
        }
    }
}

impl Default for Contents {
    /// For people: pages, and CSV that spreadsheets can be trusted with.
    fn default() -> Self {
        Self {
            pages: true,
            ..Self::per_subject(Layout::report().format)
        }
    }
}

/// The deadline of what was asked at `time`: 28 days later under the GDPR, 45 under the CCPA.
pub fn due_after(regulation: Regulation, time: Timestamp) -> Timestamp {
    later(
        time,
        match regulation {
            Regulation::Gdpr => 28,
            Regulation::Ccpa => 45,
        },
    )
}

/// The deadline of a request whose deadline `due` is extended once: by 60 days under the GDPR, by 45 under the CCPA.
pub fn extended(regulation: Regulation, due: Timestamp) -> Timestamp {
    later(
        due,
        match regulation {
            Regulation::Gdpr => 60,
            Regulation::Ccpa => 45,
        },
    )
}

fn later(time: Timestamp, days: i64) -> Timestamp {
    let days = SignedDuration::from_hours(24 * days);
    time.checked_add(days).unwrap_or(Timestamp::MAX)
}
