//! How and where requests are carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::config::Config;
use crate::dataset::Dataset;
use crate::error::{Error, PassFault, RequestFault, Result};
use crate::find::upkeep::Upkeep;
use crate::pass::{self, Decided, Pass, Stage};
use crate::queue::Queue;
use crate::shard::chunk::level::ZstdLevel;
use crate::state::{DIRECTORY, Lease};
use crate::subject::{KeyId, SubjectKey};
use crate::table::Snapshot;
use crate::tracking::TrackingId;
use crate::{key_file, limits};

/// How requests are carried out.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// The current time; the library never reads a clock.
    pub now: Timestamp,
    /// The id of the pass. If it stands for something already, the pass gets a new one.
    pub pass: TrackingId,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
    /// The part of the dataset's rows, from 0 to 1, that may go because their ids are suppressed.
    pub max_match: f64,
    /// Set it to stop between two batches: the pass can be carried on later.
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

/// What a pass is begun or taken up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run its tasks in this process.
    RunHere,
    /// To hand its tasks out to other machines.
    HandOut,
    /// To take in what other machines did for this pass, and to end it.
    TakeIn(TrackingId),
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

    pub(super) fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.max_match) {
            return Ok(());
        }
        Err(RequestFault::NotAFraction {
            found: self.max_match,
        }
        .into())
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

    /// What a pass is decided with here.
    pub(super) fn decided(&self, options: &CompactOptions) -> Decided {
        Decided {
            config: self.dataset.config.clone(),
            zstd_level: options.zstd_level,
            key: self.key.id(),
        }
    }

    pub(super) fn upkeep(&self) -> Upkeep<'_> {
        Upkeep {
            dataset: &self.dataset,
            seed_if_new: self.seed_if_new,
            memory: self.memory,
            needs_time: false,
        }
    }

    /// The same place with another configuration: a pass continues with the one that it was planned with.
    pub(super) fn with_config(mut self, config: Config) -> Self {
        self.dataset.config = config;
        self
    }

    /// The same place, with the key under which a pass hashes ids.
    pub(super) fn with_key(mut self, id: Option<KeyId>) -> Result<Self> {
        if let Some(id) = id {
            let config = &self.dataset.config;
            self.key = self.key.as_of(id).ok_or_else(|| Error::KeyLost {
                path: key_file::path(config).to_owned(),
                is_there: true,
                file: pass::DIRECTORY.to_owned(),
            })?;
        }
        Ok(self)
    }

    /// Takes the lease of the dataset and lists its shards. What runs that died left in the state goes; what they
    /// staged is [`discarded`](Self::discard) once it is known whether it is wanted.
    pub(super) fn open(&self) -> Result<(Box<dyn Lease>, Snapshot)> {
        let lease = self.dataset.lease(&self.holder)?;
        let snapshot = self.dataset.snapshot()?;
        snapshot.check_changeable()?;
        // With both leases nobody alive is writing there, except tasks that are run elsewhere: they write what came
        // of them again.
        let _queue_lease = self.queue().lease()?;
        self.dataset.state.clean_up(DIRECTORY)?;
        Ok((lease, snapshot))
    }

    /// The same for a pass that is yet to begin: none may be open, and all that was staged goes.
    pub(super) fn open_new(&self) -> Result<(Box<dyn Lease>, Snapshot)> {
        let (lease, mut snapshot) = self.open()?;
        // Who left it did so after the caller looked for unfinished ones.
        match Pass::load(&*self.dataset.state)? {
            Some(pass) if pass.stage == Stage::Started => Err(PassFault::Open.of(pass.id)),
            _ => {
                self.discard(&mut snapshot)?;
                Ok((lease, snapshot))
            }
        }
    }

    /// Removes the leftovers of `snapshot`.
    pub(super) fn discard(&self, snapshot: &mut Snapshot) -> Result<()> {
        let leftovers = std::mem::take(&mut snapshot.leftovers);
        self.dataset.table.discard(&leftovers)
    }
}
