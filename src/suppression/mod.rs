//! The suppression list: keyed hashes of opted-out or erased subject ids, whose rows must not come back.
//!
//! ```text
//! _efface/suppression.json           the list
//! _efface/suppression-checked.json   shards in which no suppressed row is left, by path and footer hash
//! ```
//! A compaction removes rows of these ids from every shard that it has not checked yet: late events, re-imports,
//! restored backups. With a cut-off, rows of that time or later stay; a row whose time is null can't be shown to
//! be later, and goes.
//!
//! * `rows`: the suppressed rows of a shard
//! * [`lines`]: judging events that are lines of JSON
//! * [`filter`]: taking suppressed rows out of record batches on their way in
//!
//! # Invariants
//! No file holds a subject id. An id is hashed in each of its forms (text, number, UUID), so that it is met in
//! whatever column. Another list makes every shard unchecked.
//!
//! Memory: about 200 bytes for each id, and the paths of the shards.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::state::{Expect, State, document};
use crate::subject::{Form, KeyId, KeyedHash, SubjectId, SubjectKey};
use crate::witness::{SUPPRESSION as LIST_PATH, Witness};

pub mod filter;
pub mod lines;
pub(crate) mod rows;
#[cfg(test)]
mod tests;

const CHECKED_PATH: &str = "_efface/suppression-checked.json";
const FORMAT: u32 = 1;
const BYTES_MAX: u64 = 4 << 30;

/// From when on rows of an id may come in again; `None`: never.
pub type CutOff = Option<Timestamp>;

/// A suppressed id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// The hash of its text: what it is known by.
    pub id: KeyedHash,
    /// From when on its rows may come in again.
    pub before: CutOff,
    /// When it was put on the list.
    pub added_at: Timestamp,
    /// The key of the hashes. Version 0.1 wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    /// The hashes of its other forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<KeyedHash>,
}

/// The list of suppressed ids.
#[derive(Debug, Clone, Default)]
pub struct Suppression {
    entries: BTreeMap<KeyedHash, Suppressed>,
    by_hash: HashMap<KeyedHash, CutOff>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    entries: Vec<Suppressed>,
}

/// The shards that were scanned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checked {
    /// Stands for the list.
    list: String,
    /// The footer hash of each, by its path.
    pub(crate) shards: BTreeMap<String, u64>,
}

impl Suppression {
    /// The list of a dataset, which is empty if there is none. `key` is that of the dataset.
    ///
    /// # Errors
    /// [`Error::State`] when it is damaged; [`Error::KeyLost`] when some of its ids were hashed under a key that `key`
    /// doesn't know, so that they would never be met.
    pub fn load(state: &dyn State, key: &SubjectKey) -> Result<Self> {
        let stored: Option<Stored> = match document::load(state, LIST_PATH, BYTES_MAX) {
            Err(Error::State { path, reason }) => Err(Error::State {
                path,
                reason: format!(
                    "{reason}: restore it from a backup, or remove it and its mention in _efface/witness.json and \
                     put the ids on the list again; until then suppressed ids can come back"
                ),
            }),
            loaded => loaded,
        }?;
        let Some(stored) = stored else {
            return Ok(Self::default());
        };
        if stored.format != FORMAT {
            return Err(Error::State {
                path: LIST_PATH.to_owned(),
                reason: "another version of efface wrote it".to_owned(),
            });
        }
        let mut list = Self::default();
        for entry in stored.entries {
            if entry.key.is_some_and(|id| !key.knows(id)) {
                return Err(Error::KeyLost {
                    path: "the key of the dataset".to_owned(),
                    is_there: true,
                    file: LIST_PATH.to_owned(),
                });
            }
            list.insert(entry);
        }
        Ok(list)
    }

    /// Writes the list, in one durable step. The caller took the queue's lock before it loaded the list, and still
    /// holds it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn store(&self, state: &dyn State) -> Result<()> {
        let stored = Stored {
            format: FORMAT,
            entries: self.entries.values().cloned().collect(),
        };
        document::store(state, LIST_PATH, &stored, Expect::Any)?;
        let keys = self.entries.values().filter_map(|entry| entry.key);
        Witness::note(state, LIST_PATH, keys)
    }

    /// Puts ids on the list; of one that is there the later cut-off counts. Gives how many are new.
    pub fn add<'i>(
        &mut self,
        key: &SubjectKey,
        ids: impl IntoIterator<Item = &'i SubjectId>,
        before: CutOff,
        added_at: Timestamp,
    ) -> u64 {
        let mut new = 0;
        for id in ids {
            let known = self.find(key, id);
            let later = match (known.map(|entry| entry.before), before) {
                (Some(Some(known)), Some(before)) => Some(known.max(before)),
                (Some(None), _) | (_, None) => None,
                (None, before) => before,
            };
            if known.is_some_and(|entry| entry.before == later) {
                continue;
            }
            new += u64::from(known.is_none());
            let added_at = known.map_or(added_at, |entry| entry.added_at);
            let before_now = known.map(|entry| entry.id);
            before_now.and_then(|hash| self.entries.remove(&hash));
            let others = [Form::Number, Form::Uuid].into_iter();
            let others = others.filter_map(|form| Some(key.hash(form, &id.canonical(form)?)));
            self.insert(Suppressed {
                id: key.hash_of(id),
                before: later,
                added_at,
                key: Some(key.id()),
                others: others.collect(),
            });
        }
        new
    }

    /// Takes ids off the list. Gives how many were on it.
    pub fn remove<'i>(
        &mut self,
        key: &SubjectKey,
        ids: impl IntoIterator<Item = &'i SubjectId>,
    ) -> u64 {
        let mut removed = 0;
        for id in ids {
            let known = self.find(key, id).map(|entry| entry.id);
            removed += u64::from(known.is_some());
            known.and_then(|hash| self.entries.remove(&hash));
        }
        // Another id may share a form with one that is gone: 7 and 007.
        let kept = std::mem::take(&mut self.entries);
        self.by_hash.clear();
        for entry in kept.into_values() {
            self.insert(entry);
        }
        removed
    }

    /// The suppressed ids, by their hashes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Suppressed> {
        self.entries.values()
    }

    /// Whether nobody is suppressed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a value with these canonical bytes is suppressed, and from when on it no longer is.
    pub fn cut_off(&self, key: &SubjectKey, forms: &[Form], canonical: &[u8]) -> Option<CutOff> {
        let found = forms
            .iter()
            .flat_map(|form| key.hashes(*form, canonical))
            .filter_map(|hash| self.by_hash.get(&hash).copied());
        found.reduce(longer)
    }

    fn find(&self, key: &SubjectKey, id: &SubjectId) -> Option<&Suppressed> {
        let text = id.reveal().as_bytes();
        let mut found = key
            .hashes(Form::Text, text)
            .filter_map(|hash| self.entries.get(&hash));
        found.next()
    }

    /// BLAKE3 of who is on it, and until when.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for entry in self.entries.values() {
            hasher.update(format!("{} {:?}\n", entry.id, entry.before).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    fn insert(&mut self, entry: Suppressed) {
        for hash in entry.others.iter().chain([&entry.id]) {
            let cut_off = self.by_hash.entry(*hash).or_insert(entry.before);
            // Of two ids that share a form the one that is suppressed for longer counts.
            *cut_off = longer(*cut_off, entry.before);
        }
        self.entries.insert(entry.id, entry);
    }
}

/// Of two cut-offs the one that suppresses for longer.
fn longer(one: CutOff, other: CutOff) -> CutOff {
    one.zip(other).map(|(one, other)| one.max(other))
}

impl Checked {
    /// The shards that were checked against `list` by the columns of `config`; none if they were checked otherwise.
    pub(crate) fn load(state: &dyn State, list: &Suppression, config: &Config) -> Result<Self> {
        let by = blake3::hash(format!("{config:?}").as_bytes()).to_hex();
        let nothing = Self {
            list: format!("{} {by}", list.fingerprint()),
            shards: BTreeMap::new(),
        };
        match document::load::<Self>(state, CHECKED_PATH, BYTES_MAX) {
            Ok(Some(checked)) if checked.list == nothing.list => Ok(checked),
            // A damaged one says nothing: everything is scanned again.
            Ok(_) | Err(Error::State { .. }) => Ok(nothing),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn store(&self, state: &dyn State) -> Result<()> {
        document::store(state, CHECKED_PATH, self, Expect::Any)
    }

    pub(crate) fn holds(&self, path: &str, footer_hash: u64) -> bool {
        self.shards.get(path) == Some(&footer_hash)
    }
}
