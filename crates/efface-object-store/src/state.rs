//! efface's own files as objects.
//!
//! ```text
//!   put      one conditional PUT                 create, publish   local file ── PUT, or parts ──> object
//!   map      a local copy (see [`Cache`])        lease             an object that is renewed
//! ```
//!
//! # Invariants
//! Nothing is written or removed once a lease that was taken through this state is lost; what is under way then is
//! given up.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use efface::error::{Error, Result, is_replaced};
use efface::io::{Mapped, ReadAt, Sink};
use efface::state::{Draft, Expect, Lease, State, StateFile, Stored, Version};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Attribute, Attributes, PutPayload};
use uuid::Uuid;

use crate::cache::Cache;
use crate::lease::{Hold, Holds, LASTS};
use crate::reads::ObjectReads;
use crate::spool::{PART_BYTES, Spool};
use crate::store::{SCRATCH, Store};
use crate::upload::Upload;
use crate::version::{Expected, Found};

/// Shorter files are held in memory, not copied to a local file.
const IN_MEMORY_BYTES_MAX: u64 = 256 << 10;

/// Objects that are removed at a time.
const REMOVALS_AT_A_TIME: usize = 16;

/// Whatever probes the store is done with its scratch object after this time.
const SCRATCH_MS: i64 = 3_600_000;

/// Of an object: which write it comes from. Azure takes letters and digits only.
const WRITE: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("effacewrite"));

/// A state in a store.
#[derive(Clone)]
pub struct ObjectState {
    store: Store,
    cache: Cache,
    lasts: Duration,
    holds: Arc<Mutex<Vec<Weak<Hold>>>>,
}

impl ObjectState {
    /// The state below the prefix of `store`.
    pub fn new(store: Store, cache: Cache) -> Self {
        Self {
            store,
            cache,
            lasts: LASTS,
            holds: Arc::default(),
        }
    }

    /// The same, with leases that run out after `lasts` if they aren't renewed.
    #[must_use]
    pub fn with_lease_of(self, lasts: Duration) -> Self {
        Self { lasts, ..self }
    }

    fn holds(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Hold>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leases that are held, none of which is lost.
    fn held(&self) -> Result<Holds> {
        let mut holds = self.holds();
        holds.retain(|hold| hold.strong_count() > 0);
        let held = Holds::new(holds.iter().filter_map(Weak::upgrade).collect());
        drop(holds);
        held.confirm().map(|()| held)
    }

    /// Changes something, as long as no lease is lost.
    fn change<T: Send + 'static>(
        &self,
        work: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> Result<io::Result<T>> {
        let held = self.held()?;
        let under = held.clone();
        let done = self
            .store
            .runtime()
            .wait(async move { under.under(work).await });
        if done.is_err() {
            held.confirm()?;
        }
        Ok(done)
    }

    fn key(&self, path: &str) -> Result<Path> {
        self.store.key(path).map_err(Error::io("name", path))
    }
}

impl State for ObjectState {
    fn name(&self) -> String {
        self.store.name().to_owned()
    }

    fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Stored>> {
        let get = self.store.clone().get(self.key(path)?, bytes_max);
        let read = self.store.runtime().wait(get);
        let Some((found, _, bytes)) = read.map_err(Error::io("read", path))? else {
            return Ok(None);
        };
        let too_long = || Error::State {
            path: path.to_owned(),
            reason: format!(
                "has {} bytes, more than the limit of {bytes_max}",
                found.bytes
            ),
        };
        Ok(Some(Stored {
            bytes: bytes.ok_or_else(too_long)?.to_vec(),
            version: Version(found.tag),
        }))
    }

    fn put(&self, path: &str, bytes: &[u8], expect: Expect<'_>) -> Result<Version> {
        let expected = match expect {
            Expect::Any => Expected::Anything,
            Expect::Absent => Expected::Nothing,
            Expect::Version(version) => Expected::Tag(version.0.clone()),
        };
        let (store, key) = (self.store.clone(), self.key(path)?);
        let payload = PutPayload::from(bytes.to_vec());
        let write = Uuid::new_v4().to_string();
        let attributes = Attributes::from_iter([(WRITE, write.clone())]);
        let put = async move {
            let put = store
                .clone()
                .put(key.clone(), payload, attributes, expected)
                .await;
            match put {
                Err(error) if is_replaced(&error) => {
                    // The first attempt of a request that was repeated may have been the one that changed it.
                    let found = store.head(key).await?;
                    let ours = found.filter(|(_, attributes)| {
                        attributes.get(&WRITE).is_some_and(|by| **by == *write)
                    });
                    ours.map(|(found, _)| found.tag).ok_or(error)
                }
                put => put,
            }
        };
        match self.change(put)? {
            Ok(tag) => Ok(Version(tag)),
            Err(error) if is_replaced(&error) => Err(Error::StateChanged {
                path: path.to_owned(),
            }),
            Err(error) => Err(Error::io("write", path)(error)),
        }
    }

    fn has(&self, path: &str) -> Result<bool> {
        let head = self.store.clone().head(self.key(path)?);
        let found = self.store.runtime().wait(head);
        Ok(found.map_err(Error::io("look at", path))?.is_some())
    }

    fn list(&self, directory: &str) -> Result<Vec<StateFile>> {
        let list = self.store.clone().list(directory.to_owned(), |path, meta| {
            let bytes = meta.size;
            Ok(Some(StateFile { path, bytes }))
        });
        let listed = self.store.runtime().wait(list);
        let mut files = listed.map_err(Error::io("list", directory))?;
        files.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        Ok(files)
    }

    fn names(&self, directory: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        let (below, behind) = (directory.to_owned(), after.to_owned());
        let names = self.store.clone().names(below, behind, limit);
        let names = self.store.runtime().wait(names);
        names.map_err(Error::io("list", directory))
    }

    fn remove(&self, paths: &[String]) -> Result<()> {
        let keys: Vec<Path> = paths
            .iter()
            .map(|path| self.key(path))
            .collect::<Result<_>>()?;
        let store = self.store.clone();
        let removals = stream::iter(keys)
            .map(move |key| store.clone().delete(key))
            .buffer_unordered(REMOVALS_AT_A_TIME);
        let removed = self.change(removals.try_collect::<()>())?;
        let name = paths.first().map_or("", String::as_str);
        removed.map_err(Error::io("remove", name))
    }

    fn create(&self, path: &str) -> Result<Box<dyn Draft + '_>> {
        self.held()?;
        Ok(Box::new(ObjectDraft {
            state: self,
            key: self.key(path)?,
            path: path.to_owned(),
            spool: Spool::new().map_err(Error::io("create a temporary file for", path))?,
        }))
    }

    fn map(&self, path: &str) -> Result<Mapped> {
        let key = self.key(path)?;
        let get = self.store.clone().get(key.clone(), IN_MEMORY_BYTES_MAX);
        let read = self.store.runtime().wait(get);
        let missing = || Error::io("open", path)(io::ErrorKind::NotFound.into());
        let (found, _, bytes) = read.map_err(Error::io("read", path))?.ok_or_else(missing)?;
        if let Some(bytes) = bytes {
            return Ok(Mapped::new(bytes));
        }
        let place = format!("{} {path}", self.store.name());
        let may_keep = path.starts_with("_efface/index/");
        let file = ObjectReads::new(self.store.clone(), key, found.tag.clone(), found.bytes);
        self.cache.map((&place, &found.tag), may_keep, &*file)
    }

    fn lease(&self, path: &str, holder: &str) -> Result<Box<dyn Lease>> {
        let lease = Hold::take(&self.store, path, holder, self.lasts)?;
        self.holds().push(Arc::downgrade(&lease.hold));
        Ok(Box::new(lease))
    }

    /// Drafts have no names in the store; what it was probed with has.
    fn clean_up(&self, directory: &str) -> Result<()> {
        let below = format!("{directory}/");
        if !directory.is_empty() && !format!("{SCRATCH}/").starts_with(&below) {
            return Ok(());
        }
        let list = self.store.clone().list(SCRATCH.to_owned(), {
            let store = self.store.clone();
            move |path, meta| {
                let Found { written_ms, .. } = store.found(meta)?;
                Ok(Some((path, written_ms)))
            }
        });
        let listed = self.store.runtime().wait(list);
        let mut left = listed.map_err(Error::io("list", SCRATCH))?;
        if left.is_empty() {
            return Ok(());
        }
        let now = self.store.runtime().wait(self.store.clone().clock());
        let now = now.map_err(Error::io("ask for the time in", SCRATCH))?;
        left.retain(|(_, written_ms)| now.saturating_sub(*written_ms) > SCRATCH_MS);
        let left: Vec<String> = left.into_iter().map(|(path, _)| path).collect();
        self.remove(&left)
    }
}

/// A long file that is still in a local one.
struct ObjectDraft<'a> {
    state: &'a ObjectState,
    key: Path,
    path: String,
    spool: Spool,
}

impl Write for ObjectDraft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spool.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spool.flush()
    }
}

impl Sink for ObjectDraft<'_> {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        self.spool.copy(source, range)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.spool.flush()
    }
}

impl Draft for ObjectDraft<'_> {
    fn path(&self) -> &str {
        &self.path
    }

    fn read_back(&mut self) -> Result<Arc<dyn ReadAt>> {
        let spooled = self.spool.so_far();
        Ok(Arc::new(spooled.map_err(Error::io("write", &self.path))?))
    }

    fn publish(mut self: Box<Self>) -> Result<()> {
        let path = self.path.clone();
        let failed = || Error::io("write", &path);
        let spooled = self.spool.so_far().map_err(failed())?;
        let (store, key) = (self.state.store.clone(), self.key.clone());
        let published = if spooled.len() <= PART_BYTES {
            let payload: io::Result<PutPayload> = spooled.parts().collect();
            let payload = payload.map_err(failed())?;
            let put = store.put(key, payload, Attributes::new(), Expected::Anything);
            self.state.change(put)?.map(drop)
        } else {
            let held = self.state.held()?;
            let under = held.clone();
            let runtime = Arc::clone(store.runtime());
            let published = runtime.wait(async move {
                let mut upload = Upload::send(store, key, spooled.parts()).await?;
                let completed = under.under(upload.complete()).await;
                if completed.is_err() {
                    upload.abort().await;
                }
                completed
            });
            if published.is_err() {
                held.confirm()?;
            }
            published
        };
        published.map_err(failed())
    }
}
