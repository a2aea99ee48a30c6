//! How and where requests are carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::dataset::{Dataset, Files};
use crate::error::{Error, Result};
use crate::index::upkeep::Upkeep;
use crate::limits;
use crate::queue::Queue;
use crate::shard::chunk::level::ZstdLevel;
use crate::storage::Lock;
use crate::subject::SubjectKey;
use crate::tracking::TrackingId;

/// How requests are carried out.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// What time it is; the library never reads a clock.
    pub now: Timestamp,
    /// How the pass is to be known.
    pub pass: TrackingId,
    /// Memory that it may use, in bytes.
    pub memory: u64,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
    /// The part of the dataset's rows that may go since their ids are suppressed.
    pub max_match: f64,
    /// Set to end between two shards: the pass can be carried on later.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// Where deletes are carried out, and by whom.
#[derive(Clone)]
pub(crate) struct Site<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) key: SubjectKey,
    /// What others are told of who holds the lock.
    pub(crate) holder: &'a str,
    pub(crate) seed_if_new: u64,
}

impl CompactOptions {
    /// The defaults, at the time `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            pass: TrackingId::draw(now),
            memory: limits::MEMORY_BYTES,
            zstd_level: ZstdLevel::default(),
            max_match: limits::MAX_MATCH,
            cancel: None,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        let cancel = self.cancel.as_ref();
        cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

impl<'a> Site<'a> {
    pub(crate) fn queue(&self) -> Queue<'a> {
        Queue::new(&*self.dataset.storage, self.key.clone(), self.holder)
    }

    pub(super) fn upkeep(&self, memory: u64) -> Upkeep<'a> {
        Upkeep {
            dataset: self.dataset,
            seed_if_new: self.seed_if_new,
            memory,
            needs_time: false,
        }
    }

    /// Takes the lock of the dataset and lists its files; those that an interrupted run left behind go.
    pub(super) fn open(&self) -> Result<(Box<dyn Lock>, Files)> {
        let lock = self.dataset.lock(self.holder)?;
        let mut files = self.dataset.list()?;
        if let Some(path) = files.catalog {
            return Err(Error::ManagedTable { path });
        }
        let leftovers = std::mem::take(&mut files.leftovers);
        self.dataset.storage.remove_all(&leftovers)?;
        Ok((lock, files))
    }
}
