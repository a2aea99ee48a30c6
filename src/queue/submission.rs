//! What is handed over to the queue.

use jiff::{SignedDuration, Timestamp};

use crate::error::Result;
use crate::request::{Provenance, Regulation, Request};
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
}

impl Submission {
    /// A request with nothing else said of it.
    pub fn new(tracking_id: TrackingId, request: Request, submitted_at: Timestamp) -> Self {
        Self {
            tracking_id,
            request,
            submitted_at,
            due: None,
            by: Provenance::default(),
        }
    }

    /// Checks that it can wait.
    ///
    /// # Errors
    /// The refusals of [`Request::check`] and [`Provenance::check`].
    pub fn check(&self) -> Result<()> {
        self.request.check()?;
        self.by.check()
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
