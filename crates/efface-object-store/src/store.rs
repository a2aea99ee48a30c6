//! One prefix of one bucket: names, requests, and how many of them there were.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutOptions, PutPayload, PutResult,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::counts::{Counters, Counts};
use crate::failure::{self, Action};
use crate::probe::{Probe, Scratch};
use crate::runtime::Runtime;
use crate::version::{Expected, Found, Versioning};

/// Requests of one store that are under way at a time.
const REQUESTS_AT_A_TIME: usize = 64;

/// Where objects lie that are needed for a moment. Who dies in that moment leaves one behind.
pub(crate) const SCRATCH: &str = "_efface/scratch";

/// One prefix of one bucket.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    turns: Arc<Semaphore>,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    name: String,
    versioning: Versioning,
    runtime: Arc<Runtime>,
    counters: Counters,
    probe: Probe,
}

impl Store {
    /// The objects of `objects` below `prefix`; `name` names the place in messages.
    ///
    /// # Errors
    /// When no thread can be started for the requests.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        prefix: Path,
        name: impl Into<String>,
        versioning: Versioning,
    ) -> io::Result<Self> {
        let inner = Inner {
            objects,
            prefix,
            name: name.into(),
            versioning,
            runtime: Arc::new(Runtime::new()?),
            counters: Counters::default(),
            probe: Probe::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            turns: Arc::new(Semaphore::new(REQUESTS_AT_A_TIME)),
        })
    }

    /// The same, for requests that must not wait behind the others: a lease is lost if it isn't renewed in time.
    pub(crate) fn ahead(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            turns: Arc::new(Semaphore::new(REQUESTS_AT_A_TIME)),
        }
    }

    /// Believes that nobody else writes below the prefix: a store that ignores conditions will do.
    #[must_use]
    pub fn with_single_writer(self) -> Self {
        self.inner.probe.accept_single_writer();
        self
    }

    /// Accepts that the store keeps old versions of objects, and with them what was erased.
    #[must_use]
    pub fn with_history(self) -> Self {
        self.inner.probe.accept_history();
        self
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What was requested so far.
    pub fn counts(&self) -> Counts {
        self.inner.counters.so_far()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.inner.runtime
    }

    /// The key of a path below the prefix.
    pub(crate) fn key(&self, path: &str) -> io::Result<Path> {
        let prefix = self.inner.prefix.as_ref();
        let key = if prefix.is_empty() {
            Path::parse(path)
        } else {
            Path::parse(format!("{prefix}/{path}"))
        };
        let is_clean = !path.is_empty() && !path.starts_with('/') && !path.ends_with('/');
        key.ok().filter(|_| is_clean).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no object can have this name")
        })
    }

    /// The path below the prefix of a key.
    pub(crate) fn path(&self, key: &Path) -> Option<String> {
        let key = key.as_ref();
        let prefix = self.inner.prefix.as_ref();
        if prefix.is_empty() {
            return Some(key.to_owned());
        }
        let path = key.strip_prefix(prefix)?.strip_prefix('/')?;
        Some(path.to_owned())
    }

    pub(crate) fn failed(&self, action: Action) -> impl Fn(object_store::Error) -> io::Error {
        let this = self.clone();
        move |error| failure::of(&error, action, this.name())
    }

    /// Waits for its turn, and counts a request.
    async fn turn(&self) -> io::Result<tokio::sync::SemaphorePermit<'_>> {
        let turn = self.turns.acquire().await.map_err(io::Error::other)?;
        self.inner.counters.request();
        Ok(turn)
    }

    /// What tells the version of an object from others.
    pub(crate) fn found(&self, meta: &ObjectMeta) -> io::Result<Found> {
        self.inner.versioning.found(meta)
    }

    /// Looks at an object; `None` if it isn't there.
    pub(crate) async fn head(self, key: Path) -> io::Result<Option<(Found, Attributes)>> {
        let _turn = self.turn().await?;
        let options = GetOptions::new().with_head(true);
        match self.inner.objects.get_opts(&key, options).await {
            Ok(result) => Ok(Some((self.found(&result.meta)?, result.attributes))),
            Err(error) => absent_or(self.failed(Action::Read)(error)),
        }
    }

    /// Reads a whole object that has no more than `bytes_max` bytes; of a longer one only its length is known.
    pub(crate) async fn get(
        self,
        key: Path,
        bytes_max: u64,
    ) -> io::Result<Option<(Found, Attributes, Option<Bytes>)>> {
        let _turn = self.turn().await?;
        let result = match self.inner.objects.get_opts(&key, GetOptions::new()).await {
            Ok(result) => result,
            Err(error) => return absent_or(self.failed(Action::Read)(error)),
        };
        let found = self.found(&result.meta)?;
        let attributes = result.attributes.clone();
        if found.bytes > bytes_max {
            return Ok(Some((found, attributes, None)));
        }
        let bytes = result.bytes().await.map_err(self.failed(Action::Read))?;
        self.fetched(bytes.len() as u64, found.bytes)?;
        Ok(Some((found, attributes, Some(bytes))))
    }

    /// Reads a range of an object in one version.
    pub(crate) async fn range(
        self,
        key: Path,
        tag: String,
        range: Range<u64>,
    ) -> io::Result<Bytes> {
        let _turn = self.turn().await?;
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
        let options = self.inner.versioning.only(options, tag);
        let read = self.inner.objects.get_opts(&key, options).await;
        let read = read.map_err(self.failed(Action::Read)).map_err(|error| {
            // What was listed and isn't there was removed.
            if error.kind() == io::ErrorKind::NotFound {
                efface::error::replaced()
            } else {
                error
            }
        })?;
        let bytes = read.bytes().await.map_err(self.failed(Action::Read))?;
        self.fetched(bytes.len() as u64, range.end - range.start)?;
        Ok(bytes)
    }

    fn fetched(&self, found: u64, expected: u64) -> io::Result<()> {
        self.inner.counters.fetched(found);
        if found == expected {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the store sent {found} bytes instead of {expected}"),
        ))
    }

    /// Puts an object, if what is there is as expected, after a look at whether the store honours this at all. The
    /// error of a condition that fails is `replaced`, also where something is that nobody expected.
    pub(crate) async fn put(
        self,
        key: Path,
        payload: PutPayload,
        attributes: Attributes,
        expected: Expected,
    ) -> io::Result<String> {
        self.probe().await?;
        let put = self.put_unprobed(&key, payload, attributes, expected);
        self.inner.versioning.put(put.await?)
    }

    /// Sees once that the store may be written to.
    async fn probe(&self) -> io::Result<()> {
        let scratch = ScratchObject {
            key: self.scratch()?,
            store: self,
        };
        self.inner.probe.pass(self.inner.versioning, scratch).await
    }

    /// The key of an object that is removed by whoever puts it.
    fn scratch(&self) -> io::Result<Path> {
        self.key(&format!("{SCRATCH}/{}", Uuid::new_v4()))
    }

    async fn put_unprobed(
        &self,
        key: &Path,
        payload: PutPayload,
        attributes: Attributes,
        expected: Expected,
    ) -> io::Result<PutResult> {
        let _turn = self.turn().await?;
        let sent = payload.content_length() as u64;
        let options = PutOptions {
            mode: expected.mode(),
            attributes,
            ..PutOptions::default()
        };
        let put = self.inner.objects.put_opts(key, payload, options).await;
        self.inner.counters.sent(sent);
        match put {
            Ok(result) => Ok(result),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Err(efface::error::replaced()),
            Err(error) => {
                let error = self.failed(Action::Write)(error);
                if error.kind() == io::ErrorKind::NotFound && error.get_ref().is_none() {
                    // A condition on an object that isn't there.
                    return Err(efface::error::replaced());
                }
                Err(error)
            }
        }
    }

    /// The time by the store's clock, in milliseconds since 1970: that of an object that was just written.
    pub(crate) async fn clock(self) -> io::Result<i64> {
        let key = self.scratch()?;
        let (payload, attributes) = (PutPayload::from_static(b"clock"), Attributes::new());
        let put = self
            .clone()
            .put(key.clone(), payload, attributes, Expected::Anything);
        put.await?;
        let found = self.clone().head(key.clone()).await;
        self.delete(key).await?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        Ok(found?.ok_or_else(gone)?.0.written_ms)
    }

    /// Removes an object. One that isn't there is no error.
    pub(crate) async fn delete(self, key: Path) -> io::Result<()> {
        let _turn = self.turn().await?;
        match self.inner.objects.delete(&key).await {
            Ok(()) => Ok(()),
            Err(error) => absent_or::<()>(self.failed(Action::Delete)(error)).map(|_| ()),
        }
    }

    /// The objects below a path (`""`: all) that `wants` something of, in the order of their keys. Only what is wanted
    /// is kept in memory.
    pub(crate) async fn list<T: Send>(
        self,
        below: String,
        wants: impl Fn(String, &ObjectMeta) -> io::Result<Option<T>> + Send,
    ) -> io::Result<Vec<T>> {
        let prefix = if below.is_empty() {
            self.inner.prefix.clone()
        } else {
            self.key(&below)?
        };
        let _turn = self.turn().await?;
        let mut listed = self
            .inner
            .objects
            .list(Some(&prefix))
            .map_err(self.failed(Action::List));
        let mut wanted = Vec::new();
        while let Some(meta) = listed.next().await {
            let meta = meta?;
            // The object of the prefix itself is none below it.
            let Some(path) = self.path(&meta.location) else {
                continue;
            };
            wanted.extend(wants(path, &meta)?);
        }
        Ok(wanted)
    }

    /// The names of the first `limit` objects directly below `directory` behind `after`.
    pub(crate) async fn names(
        self,
        directory: String,
        after: String,
        limit: usize,
    ) -> io::Result<Vec<String>> {
        let below = self.key(&directory)?;
        let _turn = self.turn().await?;
        let objects = &self.inner.objects;
        let listed = if after.is_empty() {
            objects.list(Some(&below))
        } else {
            let offset = self.key(&format!("{directory}/{after}"))?;
            objects.list_with_offset(Some(&below), &offset)
        };
        let mut listed = listed.map_err(self.failed(Action::List));
        let mut names = Vec::new();
        while names.len() < limit
            && let Some(meta) = listed.next().await
        {
            let location = meta?.location;
            let name = location.as_ref().strip_prefix(below.as_ref());
            let name = name.and_then(|name| name.strip_prefix('/'));
            let direct = name.filter(|name| !name.contains('/') && **name > *after);
            names.extend(direct.map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The prefix, without a slash at its ends.
    pub(crate) fn prefix(&self) -> &str {
        self.inner.prefix.as_ref()
    }

    /// The directories above the prefix, from the nearest to the bucket (`""`).
    pub(crate) fn above(&self) -> Vec<String> {
        let mut above = Vec::new();
        let mut next = self.inner.prefix.as_ref();
        while !next.is_empty() {
            next = next.rsplit_once('/').map_or("", |(front, _)| front);
            above.push(next.to_owned());
        }
        above
    }

    /// The first thing that `finds` makes of the path below there of an object in a directory of the bucket.
    pub(crate) async fn find_in<T>(
        self,
        directory: String,
        finds: impl Fn(&str) -> Option<T> + Send,
    ) -> io::Result<Option<T>> {
        let below = Path::parse(directory).map_err(io::Error::other)?;
        let _turn = self.turn().await?;
        let listed = self.inner.objects.list(Some(&below));
        let mut listed = listed.map_err(self.failed(Action::List));
        while let Some(meta) = listed.next().await {
            let location = meta?.location;
            let path = location.as_ref().strip_prefix(below.as_ref());
            let path = path.and_then(|path| path.strip_prefix('/'));
            if let Some(found) = path.and_then(&finds) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Begins an object of several parts.
    pub(crate) async fn begin_upload(&self, key: &Path) -> io::Result<Box<dyn MultipartUpload>> {
        self.probe().await?;
        self.inner.counters.request();
        let begun = self.inner.objects.put_multipart(key).await;
        begun.map_err(self.failed(Action::Write))
    }
}

/// An object to probe the store with.
struct ScratchObject<'a> {
    store: &'a Store,
    key: Path,
}

impl Scratch for ScratchObject<'_> {
    async fn put(&self, expected: Expected) -> io::Result<PutResult> {
        let (payload, attributes) = (PutPayload::from_static(b"probe"), Attributes::new());
        let put = self
            .store
            .put_unprobed(&self.key, payload, attributes, expected);
        put.await
    }

    async fn delete(&self) -> io::Result<()> {
        self.store.clone().delete(self.key.clone()).await
    }
}

/// An object that isn't there is no error. A bucket that isn't there is one: its error has a text.
fn absent_or<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.kind() == io::ErrorKind::NotFound && error.get_ref().is_none() {
        return Ok(None);
    }
    Err(error)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.name).finish()
    }
}
