//! A table whose shards are the objects below a prefix: every key with a shard's name is live, and a conditional PUT
//! under the same key is the commit.
//!
//! ```text
//!   stage ──> local file      share ──> an object with a hidden name, for commits by other processes
//!   commit:   per shard: PUT If-Match: the tag of the old object ──> done, or 412: changed
//! ```
//!
//! # Crash behaviour
//! A PUT is done or not done. Nothing that is staged is visible to readers. Local files go with the process; what was
//! shared is listed as left over.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efface::error::{Error, Result, is_replaced};
use efface::file_system::{is_temporary, is_temporary_of, temporary_path};
use efface::io::{Mapped, ReadAt};
use efface::state::State;
use efface::table::directory::{FileKind, is_shard, kind_of, sidecars};
use efface::table::{
    CommitUnit, Committed, Replacement, ShardRef, ShardVersion, Snapshot, Staging, Table,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, PutPayload};
use uuid::Uuid;

use crate::above::Above;
use crate::cache::Cache;
use crate::reads::ObjectReads;
use crate::spool::{PART_BYTES, parts};
use crate::staged::{ObjectStaging, Staged, Waiting};
use crate::store::Store;
use crate::version::{Expected, Found};

/// Replacements that are done at a time.
const COMMITS_AT_A_TIME: usize = 8;

/// Longer objects are sent from a mapped file, not from memory.
const IN_MEMORY_BYTES_MAX: u64 = PART_BYTES;

/// Bytes at the end of two objects that are compared first: the footer, or most of it.
const END_BYTES: u64 = 64 << 10;

/// The shards below a prefix.
#[derive(Clone)]
pub struct ObjectTable {
    store: Store,
    above: Above,
    cache: Cache,
    waiting: Waiting,
    /// Files that were listed last and may describe the bytes of single shards.
    sidecars: Arc<Mutex<BTreeSet<String>>>,
    /// The only shard, if the table is that of one object.
    only: Option<String>,
}

impl ObjectTable {
    /// All shards below the prefix of `store`. What is long and about to be sent lies in `cache` for as long.
    pub fn new(store: Store, cache: Cache) -> Self {
        Self {
            above: Above::new(store.clone()),
            store,
            cache,
            waiting: Waiting::default(),
            sidecars: Arc::default(),
            only: None,
        }
    }

    fn key(&self, path: &str) -> Result<Path> {
        self.store.key(path).map_err(Error::io("name", path))
    }

    fn sidecars(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.sidecars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self, name: &str) -> bool {
        match &self.only {
            Some(path) => is_temporary_of(name, path),
            None => is_temporary(name),
        }
    }

    /// What a staged shard is sent as.
    fn payload(&self, file: Arc<dyn ReadAt>, name: &str) -> Result<PutPayload> {
        if file.len() <= IN_MEMORY_BYTES_MAX {
            let payload: io::Result<PutPayload> = parts(file).collect();
            return payload.map_err(Error::io("read", name));
        }
        let scratch = self.cache.scratch();
        let mut copy = scratch.create(name)?;
        for part in parts(file) {
            let copied = part.and_then(|part| copy.write_all(&part));
            copied.map_err(Error::io("write", name))?;
        }
        copy.publish()?;
        let mapped = scratch.map(name)?;
        scratch.remove(&[name.to_owned()])?;
        Ok(bytes::Bytes::from_owner(MappedBytes(mapped)).into())
    }

    /// What was listed that describes the bytes of the object at `path`.
    fn sidecars_of(&self, path: &str) -> Vec<String> {
        let listed = self.sidecars();
        sidecars(path)
            .filter(|sidecar| listed.contains(sidecar))
            .collect()
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let removed = self.store.clone().delete(self.key(path)?).await;
        removed.map_err(Error::io("remove", path))
    }

    async fn is_as_before(&self, old: &ShardRef) -> Result<bool> {
        let head = self.store.clone().head(self.key(&old.path)?).await;
        let found = head.map_err(Error::io("look at", &old.path))?;
        Ok(found.is_some_and(|(found, _)| ShardVersion::Tag(found.tag) == old.version))
    }

    /// Carries out one replacement; says whether the shard was still the same, and which sidecars went.
    async fn replace(self, replacement: Replacement) -> Result<(bool, Vec<String>)> {
        let sidecars = self.sidecars_of(&replacement.old.path);
        // They stay beside what somebody else has written.
        if !sidecars.is_empty() && !self.is_as_before(&replacement.old).await? {
            return Ok((false, Vec::new()));
        }
        for sidecar in &sidecars {
            self.remove(sidecar).await?;
        }
        Ok((self.replace_one(replacement).await?, sidecars))
    }

    async fn replace_one(&self, replacement: Replacement) -> Result<bool> {
        let Replacement { old, new } = replacement;
        let failed = |what| Error::io(what, &old.path);
        let ShardVersion::Tag(tag) = &old.version else {
            return Ok(false);
        };
        let key = self.key(&old.path)?;
        let Some(name) = new else {
            if !self.is_as_before(&old).await? {
                return Ok(false);
            }
            return self.remove(&old.path).await.map(|()| true);
        };
        let staged = self.staged(&name).await?;
        let (this, of, file) = (self.clone(), name.clone(), Arc::clone(&staged.file));
        // It may have to be read from the store, which blocks.
        let payload = tokio::task::spawn_blocking(move || this.payload(file, &of)).await;
        let payload = payload
            .map_err(io::Error::other)
            .map_err(failed("read"))??;
        let expected = Expected::Tag(tag.clone());
        let (store, attributes) = (self.store.clone(), staged.attributes.clone());
        let put = store.put(key.clone(), payload, attributes, expected).await;
        let is_done = match put {
            Ok(_) => true,
            // The first attempt of a request that was repeated may have been the one that changed it.
            Err(error) if is_replaced(&error) => self
                .is_there(key, &staged)
                .await
                .map_err(failed("read back"))?,
            Err(error) => return Err(failed("write")(error)),
        };
        if is_done {
            self.forget(&name)
                .await
                .map_err(failed("clean up behind"))?;
        }
        Ok(is_done)
    }

    /// Whether the object is the staged one, to its last byte. What is another mostly differs at its end.
    async fn is_there(&self, key: Path, staged: &Staged) -> io::Result<bool> {
        let len = staged.file.len();
        let Some((found, _)) = self.store.clone().head(key.clone()).await? else {
            return Ok(false);
        };
        if found.bytes != len {
            return Ok(false);
        }
        let (mut end, mut bytes) = (len, END_BYTES);
        while end > 0 {
            let range = end.saturating_sub(bytes)..end;
            (end, bytes) = (range.start, PART_BYTES);
            let (file, at) = (Arc::clone(&staged.file), range.clone());
            let read = tokio::task::spawn_blocking(move || file.read_ranges(&[at]));
            let ours = read.await.map_err(io::Error::other)??;
            let range = self
                .store
                .clone()
                .range(key.clone(), found.tag.clone(), range);
            match range.await {
                Ok(theirs) if ours.first() == Some(&theirs) => {}
                Err(error) if !is_replaced(&error) => return Err(error),
                Ok(_) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A new shard that waits here, or that another process shared.
    async fn staged(&self, name: &str) -> Result<Arc<Staged>> {
        if !is_temporary(name) {
            return Err(Error::State {
                path: name.to_owned(),
                reason: "is no name of a staged file".to_owned(),
            });
        }
        if let Some(staged) = self.waiting.find(name) {
            return Ok(staged);
        }
        let failed = || Error::io("open", name);
        let key = self.key(name)?;
        let found = self.store.clone().head(key.clone()).await;
        let (found, attributes) = found
            .and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(failed())?;
        let file = ObjectReads::new(self.store.clone(), key, found.tag, found.bytes);
        Ok(Arc::new(Staged { file, attributes }))
    }

    /// The same, for callers that wait.
    fn wait_staged(&self, name: &str) -> Result<Arc<Staged>> {
        let (this, of) = (self.clone(), name.to_owned());
        let staged = async move { Ok(this.staged(&of).await) };
        let staged = self.store.runtime().wait(staged);
        staged.map_err(Error::io("open", name))?
    }

    /// Removes what waits here, and what was shared.
    async fn forget(&self, name: &str) -> io::Result<()> {
        if self.waiting.remove(name) {
            return Ok(());
        }
        self.store.clone().delete(self.store.key(name)?).await
    }

    fn listed(&self, path: String, meta: &ObjectMeta) -> io::Result<ShardRef> {
        self.store.found(meta).map(|found| shard_of(path, found))
    }
}

/// An object below the prefix that a table has to do with.
struct Listed {
    shard: ShardRef,
    kind: FileKind,
}

fn shard_of(path: String, found: Found) -> ShardRef {
    ShardRef {
        path,
        bytes: found.bytes,
        version: ShardVersion::Tag(found.tag),
        obstacle: None,
    }
}

struct MappedBytes(Mapped);

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Table for ObjectTable {
    fn name(&self) -> String {
        self.store.name().to_owned()
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let left = self.waiting.left().into_iter();
        let mut snapshot = Snapshot {
            leftovers: left.filter(|name| self.is_ours(name)).collect(),
            ..Snapshot::default()
        };
        if let Some(path) = &self.only {
            snapshot.shards.extend(self.find(path)?);
            return Ok(snapshot);
        }
        let this = self.clone();
        let list = self.store.clone().list(String::new(), move |path, meta| {
            let kind = kind_of(&path);
            if kind == FileKind::default() {
                return Ok(None);
            }
            let shard = this.listed(path, meta)?;
            Ok(Some(Listed { shard, kind }))
        });
        let listed = self.store.runtime().wait(list);
        let mut sidecars = BTreeSet::new();
        for Listed { shard, kind } in listed.map_err(Error::io("list", &self.name()))? {
            if let Some(catalog) = kind.catalog {
                snapshot.managed_by.get_or_insert(catalog);
            }
            if kind.is_shard {
                snapshot.shards.push(shard);
            } else if kind.is_summary {
                snapshot.summaries.push(shard.path);
            } else if kind.is_leftover {
                snapshot.leftovers.push(shard.path);
            } else if kind.is_sidecar {
                sidecars.insert(shard.path);
            }
        }
        *self.sidecars() = sidecars;
        if snapshot.managed_by.is_none() {
            snapshot.managed_by = self.above.list()?;
        }
        snapshot
            .shards
            .sort_unstable_by(|left, right| left.path.cmp(&right.path));
        Ok(snapshot)
    }

    fn check_changeable(&self) -> Result<()> {
        self.above
            .list()?
            .map_or(Ok(()), |catalog| Err(Error::ManagedTable { catalog }))
    }

    fn find(&self, path: &str) -> Result<Option<ShardRef>> {
        let head = self.store.clone().head(self.key(path)?);
        let found = self.store.runtime().wait(head);
        let found = found.map_err(Error::io("look at", path))?;
        Ok(found.map(|(found, _)| shard_of(path.to_owned(), found)))
    }

    fn open(&self, shard: &ShardRef) -> Result<Arc<dyn ReadAt>> {
        let ShardVersion::Tag(tag) = &shard.version else {
            return Err(shard.changed());
        };
        // Each read says which version it is of.
        let key = self.key(&shard.path)?;
        Ok(ObjectReads::new(
            self.store.clone(),
            key,
            tag.clone(),
            shard.bytes,
        ))
    }

    fn clock_ns(&self) -> Result<Option<i64>> {
        Ok(None)
    }

    fn stage(&self, of: &ShardRef) -> Result<Box<dyn Staging>> {
        let head = self.store.clone().head(self.key(&of.path)?);
        let found = self.store.runtime().wait(head);
        let found = found.map_err(Error::io("look at", &of.path))?;
        // If it has changed meanwhile, the commit notices.
        let attributes = found.map(|(_, attributes)| attributes).unwrap_or_default();
        let (_, number) = Uuid::new_v4().as_u64_pair();
        let name = temporary_path(&of.path, number);
        let staging = ObjectStaging::new(name, self.waiting.clone(), attributes);
        let staging = staging.map_err(Error::io("create a temporary file for", &of.path))?;
        Ok(Box::new(staging))
    }

    fn settle(&self, staged: &mut [Box<dyn Staging>]) -> Result<()> {
        for staged in staged {
            let flushed = staged.flush();
            flushed.map_err(Error::io("write", staged.name()))?;
        }
        Ok(())
    }

    fn share(&self, names: &[String]) -> Result<()> {
        for name in names {
            let staged = self.wait_staged(name)?;
            let payload = self.payload(Arc::clone(&staged.file), name)?;
            let (key, attributes) = (self.key(name)?, staged.attributes.clone());
            let store = self.store.clone();
            let put = store.put(key, payload, attributes, Expected::Anything);
            let put = self.store.runtime().wait(put);
            put.map_err(Error::io("write", name))?;
            self.waiting.shared(name);
        }
        Ok(())
    }

    fn open_staged(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        Ok(Arc::clone(&self.wait_staged(name)?.file))
    }

    fn discard(&self, names: &[String]) -> Result<()> {
        let ours = names.iter().filter(|name| self.is_ours(name));
        let names: Vec<String> = ours.cloned().collect();
        let this = self.clone();
        let forgotten = stream::iter(names)
            .map(move |name| {
                let this = this.clone();
                async move { this.forget(&name).await }
            })
            .buffered(COMMITS_AT_A_TIME);
        let forgotten = self.store.runtime().wait(forgotten.try_collect::<()>());
        forgotten.map_err(Error::io("remove staged files of", &self.name()))
    }

    fn commit(&self, base: &Snapshot, replacements: &[Replacement]) -> Result<Committed> {
        base.check_changeable()?;
        let runtime = self.store.runtime();
        let mut committed = Committed::default();
        for path in &base.summaries {
            committed.sidecars.extend(self.sidecars_of(path));
        }
        let removals = base.summaries.iter().chain(&committed.sidecars);
        let removals: Vec<String> = removals.cloned().collect();
        let this = self.clone();
        let removed = runtime.wait(async move {
            for path in removals {
                if let Err(error) = this.remove(&path).await {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        });
        removed.map_err(Error::io("write", &self.name()))??;
        let this = self.clone();
        let replacements: Vec<Replacement> = replacements.to_vec();
        let work = stream::iter(replacements)
            .map(move |replacement| this.clone().replace(replacement))
            .buffered(COMMITS_AT_A_TIME)
            .collect::<Vec<Result<(bool, Vec<String>)>>>();
        let done = runtime.wait(async move { Ok(work.await) });
        let done = done.map_err(Error::io("write", &self.name()))?;
        let mut first = Ok(());
        for (position, done) in done.into_iter().enumerate() {
            match done {
                Ok((is_done, sidecars)) => {
                    committed.sidecars.extend(sidecars);
                    if !is_done {
                        committed.changed.push(position);
                    }
                }
                Err(error) => first = first.and(Err(error)),
            }
        }
        first.map(|()| committed)
    }

    fn commit_unit(&self) -> CommitUnit {
        CommitUnit::EachShard
    }

    fn recover(&self, base: &Snapshot, _: &[String]) -> Result<()> {
        self.discard(&base.leftovers)
    }

    fn room(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn neighbour(&self, path: &str) -> Result<Arc<dyn Table>> {
        self.key(path)?;
        Ok(Arc::new(Self {
            only: Some(path.to_owned()),
            ..self.clone()
        }))
    }

    fn resolve(&self, path: &str) -> Result<Option<String>> {
        Ok(is_shard(path).then(|| path.to_owned()))
    }
}
