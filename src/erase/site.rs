//! How and where requests are carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::config::Config;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::find::upkeep::Upkeep;
use crate::limits;
use crate::queue::Queue;
use crate::shard::chunk::level::ZstdLevel;
use crate::state::{DIRECTORY, Lease};
use crate::subject::SubjectKey;
use crate::table::Snapshot;
use crate::tracking::TrackingId;

/// How requests are carried out.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// What time it is; the library never reads a clock.
    pub now: Timestamp,
    /// How the pass is to be known.
    pub pass: TrackingId,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
    /// The part of the dataset's rows that may go because their ids are suppressed.
    pub max_match: f64,
    /// Set to end between two batches: the pass can be carried on later.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// Where deletes are carried out, and by whom.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) dataset: Dataset,
    pub(crate) key: SubjectKey,
    /// What others learn of who holds the lease.
    pub(crate) holder: String,
    pub(crate) seed_if_new: u64,
    /// Memory that the work may take, in bytes.
    pub(crate) memory: u64,
}

impl CompactOptions {
    /// The defaults, at the time `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            pass: TrackingId::draw(now),
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

impl Site {
    pub(crate) fn queue(&self) -> Queue {
        Queue::new(
            Arc::clone(&self.dataset.state),
            self.key.clone(),
            &self.holder,
        )
    }

    pub(super) fn upkeep(&self) -> Upkeep<'_> {
        Upkeep {
            dataset: &self.dataset,
            seed_if_new: self.seed_if_new,
            memory: self.memory,
            needs_time: false,
        }
    }

    /// The same place, with the columns as `config` says: a pass goes on with what it was planned with.
    pub(super) fn with_config(mut self, config: Config) -> Self {
        self.dataset.config = config;
        self
    }

    /// Takes the lease of the dataset and lists its shards. What runs that died left behind goes.
    pub(super) fn open(&self) -> Result<(Box<dyn Lease>, Snapshot)> {
        let lease = self.dataset.lease(&self.holder)?;
        let mut snapshot = self.dataset.snapshot()?;
        if let Some(path) = snapshot.managed_by {
            return Err(Error::ManagedTable { path });
        }
        let table = &self.dataset.table;
        table.discard(&std::mem::take(&mut snapshot.leftovers))?;
        // With both leases nobody alive is writing there.
        let _queue_lease = self.queue().lease()?;
        self.dataset.state.clean_up(DIRECTORY)?;
        Ok((lease, snapshot))
    }
}
