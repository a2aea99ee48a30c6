//! A new shard that is not yet an object: what is fresh lies in a local file.
//!
//! Memory: a buffer for each; the bytes are on the local disk, in files without a name, which go with the process.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efface::io::{ReadAt, Sink};
use efface::table::Staging;
use object_store::Attributes;

use crate::spool::Spool;

/// The new shards of one table that wait.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<BTreeMap<String, Entry>>>);

struct Entry {
    staged: Option<Arc<Staged>>,
    /// Whether it is still being written, or may be.
    is_open: bool,
    /// Whether it is an object, too.
    is_shared: bool,
}

/// A new shard, as far as it is written.
pub(crate) struct Staged {
    pub(crate) file: Arc<dyn ReadAt>,
    /// What the old object has besides its bytes.
    pub(crate) attributes: Attributes,
}

impl Waiting {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Staged>> {
        self.entries().get(name)?.staged.clone()
    }

    /// Forgets one; says whether it was known, and had not been shared.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let entry = self.entries().remove(name);
        entry.is_some_and(|entry| !entry.is_shared)
    }

    pub(crate) fn shared(&self, name: &str) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.is_shared = true;
        }
    }

    /// Those that nobody is writing.
    pub(crate) fn left(&self) -> Vec<String> {
        let entries = self.entries();
        let left = entries.iter().filter(|(_, entry)| !entry.is_open);
        left.map(|(name, _)| name.clone()).collect()
    }
}

/// A new shard that is being written.
pub(crate) struct ObjectStaging {
    name: String,
    waiting: Waiting,
    spool: Spool,
    attributes: Attributes,
}

impl ObjectStaging {
    pub(crate) fn new(name: String, waiting: Waiting, attributes: Attributes) -> io::Result<Self> {
        let entry = Entry {
            staged: None,
            is_open: true,
            is_shared: false,
        };
        waiting.entries().insert(name.clone(), entry);
        Ok(Self {
            name,
            waiting,
            spool: Spool::new()?,
            attributes,
        })
    }
}

impl Write for ObjectStaging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spool.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let staged = Staged {
            file: Arc::new(self.spool.so_far()?),
            attributes: self.attributes.clone(),
        };
        if let Some(entry) = self.waiting.entries().get_mut(&self.name) {
            entry.staged = Some(Arc::new(staged));
        }
        Ok(())
    }
}

impl Sink for ObjectStaging {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        self.spool.copy(source, range)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Staging for ObjectStaging {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for ObjectStaging {
    fn drop(&mut self) {
        if let Some(entry) = self.waiting.entries().get_mut(&self.name) {
            entry.is_open = false;
        }
    }
}
