//! Which evidence a dataset has, and under which keys its ids were hashed: said apart from the evidence, so that a list or
//! a chain that was removed is missed, and a lost key isn't replaced by one that finds nothing.
//!
//! ```text
//! _efface/witness.json     {"format":1,"keys":["<id of a key>",..],"files":["_efface/suppression.json",..]}
//! ```
//!
//! # Invariants
//! What is said once stays said: nobody takes a key or a file out again.
//!
//! # Crash behaviour
//! It follows the evidence. After a crash it may say less, until the next piece of evidence is written, but never more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::state::{Expect, State, document};
use crate::subject::KeyId;

/// The suppression list, relative to the dataset.
pub(crate) const SUPPRESSION: &str = "_efface/suppression.json";
/// The first file of receipts, which is there as long as any of them is.
pub(crate) const RECEIPTS: &str = "_efface/receipts/000000000001.jsonl";

const PATH: &str = "_efface/witness.json";
const FORMAT: u32 = 1;
const BYTES_MAX: u64 = 1 << 20;

/// The evidence that a dataset has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Witness {
    format: u32,
    /// The keys under which ids were hashed.
    keys: BTreeSet<KeyId>,
    /// The files that hold such hashes.
    files: BTreeSet<String>,
}

impl Witness {
    fn load(state: &dyn State) -> Result<Self> {
        let damage = |reason: String| Error::State {
            path: PATH.to_owned(),
            reason,
        };
        let stored = match document::load::<Self>(state, PATH, BYTES_MAX) {
            Err(Error::State { reason, .. }) => Err(damage(format!(
                "{reason}: look whether {SUPPRESSION} and the receipts are there, then remove it; it is written again"
            ))),
            loaded => loaded,
        };
        match stored? {
            Some(stored) if stored.format != FORMAT => {
                Err(damage("another version of efface wrote it".to_owned()))
            }
            Some(stored) => Ok(stored),
            None => Ok(Self {
                format: FORMAT,
                keys: BTreeSet::new(),
                files: BTreeSet::new(),
            }),
        }
    }

    /// What the dataset has, once it is seen that it is still there. Evidence of version 0.1, which wrote no witness,
    /// counts as well.
    ///
    /// # Errors
    /// [`Error::State`] that names evidence which is gone.
    pub(crate) fn check(state: &dyn State) -> Result<Self> {
        let mut witness = Self::load(state)?;
        for path in [SUPPRESSION, RECEIPTS] {
            if state.has(path)? {
                witness.files.insert(path.to_owned());
            } else if witness.files.contains(path) {
                return Err(Error::State {
                    path: path.to_owned(),
                    reason: format!(
                        "it was there, and is gone: restore it from a backup; to go on without it, remove {PATH} too"
                    ),
                });
            }
        }
        Ok(witness)
    }

    /// Says that the file at `path` holds hashes under `keys`. The caller holds the queue's lease.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub(crate) fn note(
        state: &dyn State,
        path: &str,
        keys: impl IntoIterator<Item = KeyId>,
    ) -> Result<()> {
        let before = Self::load(state)?;
        let mut after = before.clone();
        after.files.insert(path.to_owned());
        after.keys.extend(keys);
        if after == before {
            return Ok(());
        }
        document::store(state, PATH, &after, Expect::Any)
    }

    /// A file that holds hashes.
    pub(crate) fn file(&self) -> Option<&str> {
        self.files.first().map(String::as_str)
    }

    /// The keys under which ids were hashed.
    pub(crate) fn keys(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().copied()
    }
}
