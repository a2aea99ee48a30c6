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

use crate::error::{Error, Result};
use crate::state::{Expect, State, document};
use crate::subject::{Form, KeyedHash, SubjectId, SubjectKey};

pub mod filter;
pub(crate) mod rows;
#[cfg(test)]
mod tests;

const LIST_PATH: &str = "_efface/suppression.json";
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
    /// The list of a dataset, which is empty if there is none.
    ///
    /// # Errors
    /// [`Error::State`] when it is damaged.
    pub fn load(state: &dyn State) -> Result<Self> {
        let stored: Option<Stored> = document::load(state, LIST_PATH, BYTES_MAX)?;
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
        stored
            .entries
            .into_iter()
            .for_each(|entry| list.insert(entry));
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
        document::store(state, LIST_PATH, &stored, Expect::Any)
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
            let known = self.entries.get(&key.hash_of(id));
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
            let others = [Form::Number, Form::Uuid].into_iter();
            let others = others.filter_map(|form| Some(key.hash(form, &id.canonical(form)?)));
            self.insert(Suppressed {
                id: key.hash_of(id),
                before: later,
                added_at,
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
        let removed = ids
            .into_iter()
            .filter(|id| self.entries.remove(&key.hash_of(id)).is_some());
        let removed = removed.count() as u64;
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
        let mut found = forms
            .iter()
            .filter_map(|form| self.by_hash.get(&key.hash(*form, canonical)).copied());
        found.next()
    }

    /// BLAKE3 of who is on it, and until when.
    fn fingerprint(&self) -> String {
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
            *cut_off = cut_off.zip(entry.before).map(|(one, other)| one.max(other));
        }
        self.entries.insert(entry.id, entry);
    }
}

impl Checked {
    /// The shards that were checked against `list`; none if they were checked against another one.
    pub(crate) fn load(state: &dyn State, list: &Suppression) -> Result<Self> {
        let nothing = Self {
            list: list.fingerprint(),
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
