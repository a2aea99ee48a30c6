//! Tracking ids: what a request is known by after it was handed over.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

/// A UUID of version 7 (RFC 9562): the time of asking in milliseconds, then random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrackingId(Uuid);

impl TrackingId {
    /// The id of something asked at `time`, with these random bytes.
    pub fn new(time: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
        Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// A new id of something asked at `time`, with the randomness with which the standard library seeds its hash
    /// maps.
    pub fn draw(time: Timestamp) -> Self {
        let drawn = |number: u8| RandomState::new().hash_one(number).to_le_bytes();
        let mut random = [0; 10];
        let bytes = drawn(0).into_iter().chain(drawn(1));
        random
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        Self::new(time, random)
    }

    /// Its bytes, which sort as the ids do.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for TrackingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TrackingId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self).map_err(|_| ParseError)
    }
}

/// A text is no tracking id. It may be a subject id, so it isn't kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is no tracking id, which looks like 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct ParseError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ids_sort_behind_earlier_ones_and_read_back() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let first = TrackingId::draw(time("2026-01-31T12:00:00Z"));
        let second = TrackingId::draw(time("2026-01-31T12:00:00.001Z"));
        assert!(first < second);
        assert_ne!(first, TrackingId::draw(time("2026-01-31T12:00:00Z")));
        assert_eq!(first.to_string().parse::<TrackingId>().unwrap(), first);
        assert_eq!(first.to_string().as_bytes()[14], b'7');
        let error = "ada@example.org".parse::<TrackingId>().unwrap_err();
        assert!(!error.to_string().contains("ada"));
    }
}
