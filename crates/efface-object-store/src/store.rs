//! One prefix of one bucket: names, requests, and how many of them there were.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use efface::error::is_replaced;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, PutResult, UpdateVersion,
};
use tokio::sync::{OnceCell, Semaphore};
use uuid::Uuid;

use crate::failure::{self, Action};
use crate::runtime::Runtime;

/// Requests of one store that are under way at a time.
const REQUESTS_AT_A_TIME: usize = 64;

/// By what a store tells versions of an object apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// By entity tags: S3, Azure.
    Tags,
    /// By generations: Google Cloud Storage.
    Generations,
}

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

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    fetched: AtomicU64,
    sent: AtomicU64,
}

/// One prefix of one bucket.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    name: String,
    versioning: Versioning,
    runtime: Arc<Runtime>,
    turns: Semaphore,
    counters: Counters,
    /// Whether it was seen that the store may be written to.
    probed: OnceCell<()>,
    has_single_writer: AtomicBool,
    keeps_history: AtomicBool,
}

/// An object in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) bytes: u64,
    /// What tells this content from any other.
    pub(crate) tag: String,
    /// When it was written, by the store's clock, in milliseconds since 1970.
    pub(crate) written_ms: i64,
}

/// What must be there for an object to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Anything,
    Nothing,
    Tag(String),
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
        Ok(Self(Arc::new(Inner {
            objects,
            prefix,
            name: name.into(),
            versioning,
            runtime: Arc::new(Runtime::new()?),
            turns: Semaphore::new(REQUESTS_AT_A_TIME),
            counters: Counters::default(),
            probed: OnceCell::new(),
            has_single_writer: AtomicBool::new(false),
            keeps_history: AtomicBool::new(false),
        })))
    }

    /// Believes that nobody else writes below the prefix: a store that ignores conditions will do.
    #[must_use]
    pub fn with_single_writer(self) -> Self {
        self.0.has_single_writer.store(true, Ordering::Relaxed);
        self
    }

    /// Accepts that the store keeps old versions of objects, and with them what was erased.
    #[must_use]
    pub fn with_history(self) -> Self {
        self.0.keeps_history.store(true, Ordering::Relaxed);
        self
    }

    pub(crate) fn has_single_writer(&self) -> bool {
        self.0.has_single_writer.load(Ordering::Relaxed)
    }

    pub(crate) fn keeps_history(&self) -> bool {
        self.0.keeps_history.load(Ordering::Relaxed)
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What was requested so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.0.counters;
        Counts {
            requests: counters.requests.load(Ordering::Relaxed),
            fetched: counters.fetched.load(Ordering::Relaxed),
            sent: counters.sent.load(Ordering::Relaxed),
            copied: 0,
        }
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.0.runtime
    }

    /// The key of a path below the prefix.
    pub(crate) fn key(&self, path: &str) -> io::Result<Path> {
        let prefix = self.0.prefix.as_ref();
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
        let prefix = self.0.prefix.as_ref();
        if prefix.is_empty() {
            return Some(key.to_owned());
        }
        let path = key.strip_prefix(prefix)?.strip_prefix('/')?;
        Some(path.to_owned())
    }

    fn failed(&self, action: Action) -> impl Fn(object_store::Error) -> io::Error {
        let this = self.clone();
        move |error| failure::of(&error, action, this.name())
    }

    /// A tag that no object has.
    pub(crate) fn no_tag(&self) -> String {
        match self.0.versioning {
            Versioning::Tags => format!("\"{:032x}\"", 0),
            Versioning::Generations => "1".to_owned(),
        }
    }

    /// Waits for its turn, and counts a request.
    async fn turn(&self) -> io::Result<tokio::sync::SemaphorePermit<'_>> {
        let turn = self.0.turns.acquire().await.map_err(io::Error::other)?;
        self.0.counters.requests.fetch_add(1, Ordering::Relaxed);
        Ok(turn)
    }

    fn found(&self, meta: &ObjectMeta) -> io::Result<Found> {
        let tag = match self.0.versioning {
            Versioning::Tags => meta.e_tag.as_ref(),
            Versioning::Generations => meta.version.as_ref().or(meta.e_tag.as_ref()),
        };
        let tag = tag.cloned().ok_or_else(no_tag)?;
        Ok(Found {
            bytes: meta.size,
            tag,
            written_ms: meta.last_modified.timestamp_millis(),
        })
    }

    /// Looks at an object; `None` if it isn't there.
    pub(crate) async fn head(self, key: Path) -> io::Result<Option<(Found, Attributes)>> {
        let _turn = self.turn().await?;
        let options = GetOptions::new().with_head(true);
        match self.0.objects.get_opts(&key, options).await {
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
        let result = match self.0.objects.get_opts(&key, GetOptions::new()).await {
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
        tag: Option<String>,
        range: Range<u64>,
    ) -> io::Result<Bytes> {
        let _turn = self.turn().await?;
        let mut options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
        match self.0.versioning {
            Versioning::Tags => options = options.with_if_match(tag),
            Versioning::Generations => options = options.with_version(tag),
        }
        let read = self.0.objects.get_opts(&key, options).await;
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
        self.0.counters.fetched.fetch_add(found, Ordering::Relaxed);
        if found == expected {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the store sent {found} bytes instead of {expected}"),
        ))
    }

    /// Puts an object, if what is there is as expected, after a look at whether the store honours this at all. The error of a condition that fails is `replaced`, also
    /// where something is that nobody expected.
    pub(crate) async fn put(
        self,
        key: Path,
        payload: PutPayload,
        attributes: Attributes,
        expected: Expected,
    ) -> io::Result<String> {
        let probed = self.0.probed.get_or_try_init(|| probe(&self));
        probed.await?;
        let put = self.put_unprobed(key, payload, attributes, expected);
        self.tag(put.await?)
    }

    pub(crate) async fn put_unprobed(
        &self,
        key: Path,
        payload: PutPayload,
        attributes: Attributes,
        expected: Expected,
    ) -> io::Result<PutResult> {
        let _turn = self.turn().await?;
        let sent = payload.content_length() as u64;
        let mode = match expected {
            Expected::Anything => PutMode::Overwrite,
            Expected::Nothing => PutMode::Create,
            Expected::Tag(tag) => PutMode::Update(UpdateVersion {
                e_tag: Some(tag.clone()),
                version: Some(tag),
            }),
        };
        let options = PutOptions {
            mode,
            attributes,
            ..PutOptions::default()
        };
        let put = self.0.objects.put_opts(&key, payload, options).await;
        self.0.counters.sent.fetch_add(sent, Ordering::Relaxed);
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

    /// The old version that a store keeps of an object when it is put again, if it keeps any.
    pub(crate) fn kept_version(&self, put: &PutResult) -> Option<String> {
        let version = put.version.clone().filter(|version| version != "null");
        // A generation is always told.
        version.filter(|_| self.0.versioning == Versioning::Tags)
    }

    fn tag(&self, result: PutResult) -> io::Result<String> {
        let tag = match self.0.versioning {
            Versioning::Tags => result.e_tag,
            Versioning::Generations => result.version.or(result.e_tag),
        };
        tag.ok_or_else(no_tag)
    }

    /// Removes an object. One that isn't there is no error.
    pub(crate) async fn delete(self, key: Path) -> io::Result<()> {
        let _turn = self.turn().await?;
        match self.0.objects.delete(&key).await {
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
            self.0.prefix.clone()
        } else {
            self.key(&below)?
        };
        let _turn = self.turn().await?;
        let mut listed = self
            .0
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
        let objects = &self.0.objects;
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

    /// The directories above the prefix, from the nearest to the bucket (`""`).
    pub(crate) fn above(&self) -> Vec<String> {
        let mut above = Vec::new();
        let mut next = self.0.prefix.as_ref();
        while !next.is_empty() {
            next = next.rsplit_once('/').map_or("", |(front, _)| front);
            above.push(next.to_owned());
        }
        above
    }

    /// Names of objects directly in a directory of the bucket, from the first page of its list.
    pub(crate) async fn first_names(self, directory: String) -> io::Result<Vec<String>> {
        const PAGE: usize = 1000;
        let below = Path::parse(directory).map_err(io::Error::other)?;
        let _turn = self.turn().await?;
        let listed = self.0.objects.list(Some(&below)).take(PAGE);
        let listed: Vec<ObjectMeta> = listed
            .try_collect()
            .await
            .map_err(self.failed(Action::List))?;
        let names = listed.iter().filter_map(|meta| meta.location.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// Puts a long object in parts, whatever is there.
    pub(crate) async fn put_parts(
        self,
        key: Path,
        parts: impl Iterator<Item = io::Result<Bytes>> + Send,
    ) -> io::Result<()> {
        let failed = self.failed(Action::Write);
        let count = || self.0.counters.requests.fetch_add(1, Ordering::Relaxed);
        count();
        self.0.probed.get_or_try_init(|| probe(&self)).await?;
        let mut upload = self.0.objects.put_multipart(&key).await.map_err(&failed)?;
        for part in parts {
            let sent = match part {
                Ok(part) => {
                    count();
                    let bytes = part.len() as u64;
                    self.0.counters.sent.fetch_add(bytes, Ordering::Relaxed);
                    upload.put_part(part.into()).await.map_err(&failed)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                // The error of the part is the one to report.
                let _ignored = upload.abort().await;
                return Err(error);
            }
        }
        count();
        upload.complete().await.map(drop).map_err(&failed)
    }

    /// What tells the version of a listed object from others.
    pub(crate) fn listed(&self, meta: &ObjectMeta) -> io::Result<Found> {
        self.found(meta)
    }
}

fn no_tag() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the store tells no version of its objects (no ETag), so a change by another process would not be noticed",
    )
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
        f.debug_tuple("Store").field(&self.0.name).finish()
    }
}

// Whether a store may be written to: it honours the conditions of writes, as one that ignores them would hide lost updates,
// and keeps no old versions, in which rows would stay.
//
//   PUT If-None-Match: *  ──> done, without a version      again ──> must be refused
//   PUT If-Match: another ──> must be refused        DELETE

/// Looks at a scratch object beside efface's own files.
async fn probe(store: &Store) -> io::Result<()> {
    let key = store.key(&format!("_efface/probe-{}", Uuid::new_v4()))?;
    let honoured = conditions(store, &key).await;
    let removed = store.clone().delete(key).await;
    honoured.and(removed)
}

async fn conditions(store: &Store, key: &Path) -> io::Result<()> {
    let put = async |expected| {
        let payload = PutPayload::from_static(b"probe");
        store
            .put_unprobed(key.clone(), payload, Attributes::new(), expected)
            .await
    };
    let first = put(Expected::Nothing).await?;
    if store.kept_version(&first).is_some() && !store.keeps_history() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the bucket keeps old versions of its objects, in which erased rows would stay, and efface does not purge them yet: switch versioning off, or accept that history is kept",
        ));
    }
    if store.has_single_writer() {
        return Ok(());
    }
    for (condition, expected) in [
        ("If-None-Match", Expected::Nothing),
        ("If-Match", Expected::Tag(store.no_tag())),
    ] {
        match put(expected).await {
            Err(error) if is_replaced(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "the store ignores {condition}, so changes by others would be lost without a word: use a store that honours it, or see to it that nobody else writes there and say so"
                    ),
                ));
            }
        }
    }
    Ok(())
}
