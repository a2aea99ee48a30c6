//! How many requests there were, and the bytes that they moved.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many requests there were, and the bytes that they moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Bytes that came from the store.
    pub fetched: u64,
    /// Bytes that went to the store.
    pub sent: u64,
    /// Bytes that the store copied itself.
    pub copied: u64,
}

/// What is counted while requests run.
#[derive(Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    fetched: AtomicU64,
    sent: AtomicU64,
}

impl Counters {
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn so_far(&self) -> Counts {
        Counts {
            requests: self.requests.load(Ordering::Relaxed),
            fetched: self.fetched.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            copied: 0,
        }
    }
}
