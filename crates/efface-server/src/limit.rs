//! How many requests a token may make in a project: one bucket of drops for each pair.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::config::Limits;

/// Buckets that are kept; full ones are forgotten before more are.
const BUCKETS_MAX: usize = 10_000;

/// The buckets.
pub(crate) struct Limiter {
    rate: f64,
    burst: f64,
    buckets: Mutex<HashMap<(i64, u64), Bucket>>,
}

struct Bucket {
    drops: f64,
    at: Timestamp,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            rate: limits.rate,
            burst: f64::from(limits.burst),
            buckets: Mutex::default(),
        }
    }

    /// Takes a drop of a token in a project. If there is none, says after how many seconds there is.
    pub(crate) fn take(&self, token: i64, project: u64, now: Timestamp) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| self.drops(bucket, now) < self.burst);
        }
        let bucket = buckets.entry((token, project)).or_insert(Bucket {
            drops: self.burst,
            at: now,
        });
        bucket.drops = self.drops(bucket, now);
        bucket.at = now;
        if bucket.drops < 1.0 {
            let seconds = (1.0 - bucket.drops) / self.rate;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is positive, and a cast of what is too large stops at the largest"
            )]
            return Err(seconds.ceil().max(1.0) as u64);
        }
        bucket.drops -= 1.0;
        Ok(())
    }

    /// What is in a bucket now.
    fn drops(&self, bucket: &Bucket, now: Timestamp) -> f64 {
        // A clock that was set back adds nothing.
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        (bucket.drops + passed * self.rate).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_a_second() {
        let limiter = Limiter::new(&Limits::default());
        let start = Timestamp::UNIX_EPOCH;
        for _ in 0..10 {
            assert_eq!(limiter.take(1, 1, start), Ok(()));
        }
        assert_eq!(limiter.take(1, 1, start), Err(1));
        assert_eq!(limiter.take(2, 1, start), Ok(()), "another token");
        assert_eq!(limiter.take(1, 2, start), Ok(()), "another project");
        let later = start + SignedDuration::from_secs(1);
        assert_eq!(limiter.take(1, 1, later), Ok(()));
        assert_eq!(limiter.take(1, 1, later), Err(1));
        assert_eq!(limiter.take(1, 1, start), Err(1), "a clock that goes back");
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let limiter = Limiter::new(&Limits::default());
        let start = Timestamp::UNIX_EPOCH;
        for token in 0..10_000 {
            limiter.take(token, 1, start).unwrap();
        }
        let later = start + SignedDuration::from_secs(60);
        limiter.take(-1, 1, later).unwrap();
        assert_eq!(limiter.buckets.lock().unwrap().len(), 1);
    }
}
