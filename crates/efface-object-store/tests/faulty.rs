//! Deletes and compactions on a store of which every single request fails once, before or after it was carried out, and
//! on which another writer steps in at every request: no row is lost, no object is half, no request is forgotten.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path as Directory;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use efface::engine::{Configuration, EngineOptions};
use efface::erase::CompactOptions;
use efface::queue::RequestState;
use efface::request::Unknown;
use efface::tracking::TrackingId;
use efface::{Config, DeleteOptions, Engine, ErrorKind, Request, Subjects};
use efface_object_store::{Cache, ObjectState, ObjectTable, Store, Versioning};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

const PREFIX: &str = "lake/events";

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is not carried out.
    Before,
    /// It is carried out, but no answer comes.
    After,
    /// No answer comes to it, the client repeats it, and only the second answer is seen.
    Repeated,
    /// Somebody else writes the shard `first` before it is carried out.
    Rival,
    /// Conditions of writes are ignored, at every request.
    Conditions,
}

/// A store that counts requests, and of which one is faulty.
#[derive(Debug)]
struct Faulty {
    inner: Arc<InMemory>,
    fault: Option<(Fault, u64)>,
    requests: Arc<AtomicU64>,
    theirs: Bytes,
}

impl Faulty {
    fn new(inner: &Arc<InMemory>, fault: Option<(Fault, u64)>) -> Self {
        Self {
            inner: Arc::clone(inner),
            fault,
            requests: Arc::default(),
            theirs: Bytes::new(),
        }
    }

    /// Another process writes a shard.
    fn step_in(&self) {
        let key = Path::from(format!("{PREFIX}/first.parquet"));
        let put = self.inner.put(&key, self.theirs.clone().into());
        // It never waits.
        futures::executor::block_on(put).unwrap();
    }

    /// Counts a request; what is to happen to it.
    fn next(&self) -> Result<Option<Fault>> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let Some((fault, _)) = self.fault.filter(|(_, at)| *at == number) else {
            return Ok(None);
        };
        match fault {
            Fault::Before => Err(cut()),
            Fault::After | Fault::Repeated => Ok(Some(fault)),
            Fault::Rival => {
                self.step_in();
                Ok(None)
            }
            Fault::Conditions => Ok(None),
        }
    }
}

fn cut() -> Error {
    Error::Generic {
        store: "faulty",
        source: "status 503 Service Unavailable".into(),
    }
}

fn after<T>(fault: Option<Fault>, done: T) -> Result<T> {
    match fault {
        Some(Fault::After) => Err(cut()),
        _ => Ok(done),
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.next()?;
        if matches!(self.fault, Some((Fault::Conditions, _))) {
            options.mode = PutMode::Overwrite;
        }
        if fault == Some(Fault::Repeated) {
            let first = self
                .inner
                .put_opts(location, payload.clone(), options.clone());
            let _unseen = first.await;
        }
        after(
            fault,
            self.inner.put_opts(location, payload, options).await?,
        )
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.next()?;
        after(
            fault,
            self.inner.put_multipart_opts(location, options).await?,
        )
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.next()?;
        after(fault, self.inner.get_opts(location, options).await?)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.next()?;
        after(fault, self.inner.get_ranges(location, ranges).await?)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let fault = self.fault.filter(|(_, at)| *at == number);
        match fault {
            Some((Fault::Before, _)) => futures::stream::once(async { Err(cut()) }).boxed(),
            Some((Fault::After, _)) => {
                let deleted = self.inner.delete_stream(locations);
                deleted.and_then(|_| async { Err(cut()) }).boxed()
            }
            Some((Fault::Rival, _)) => {
                self.step_in();
                self.inner.delete_stream(locations)
            }
            Some((Fault::Repeated | Fault::Conditions, _)) | None => {
                self.inner.delete_stream(locations)
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        match self.fault.filter(|(_, at)| *at == number) {
            Some((Fault::Before | Fault::After, _)) => {
                futures::stream::once(async { Err(cut()) }).boxed()
            }
            Some((Fault::Rival, _)) => {
                self.step_in();
                self.inner.list(prefix)
            }
            Some((Fault::Repeated | Fault::Conditions, _)) | None => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(work)
}

fn sample(name: &str) -> Vec<u8> {
    let samples = Directory::new(env!("CARGO_MANIFEST_DIR")).join("../../data-samples/events");
    std::fs::read(samples.join(name)).unwrap()
}

/// Two shards.
fn lake() -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    for (name, of) in [
        ("first", "part-00000.parquet"),
        ("second", "part-00001.parquet"),
    ] {
        let key = Path::from(format!("{PREFIX}/{name}.parquet"));
        wait(objects.put(&key, sample(of).into())).unwrap();
    }
    objects
}

fn engine(objects: Faulty) -> Engine {
    let store = Store::new(
        Arc::new(objects),
        Path::from(PREFIX),
        "memory",
        Versioning::Tags,
    );
    let store = store.unwrap();
    let cache = Cache::temporary().unwrap();
    let config = Config {
        subject: vec!["distinct_id".to_owned()],
        ..Config::default()
    };
    let options = EngineOptions {
        configuration: Configuration::Overriding(config),
        ..EngineOptions::default()
    };
    let state = Arc::new(ObjectState::new(store.clone(), cache.clone()));
    Engine::open(Arc::new(ObjectTable::new(store, cache)), state, options).unwrap()
}

fn now() -> Timestamp {
    "2026-07-01T00:00:00Z".parse().unwrap()
}

fn request(id: &str) -> Request {
    let subjects = Subjects::new([id]).unwrap();
    Request {
        unknown: Unknown::Report,
        ..Request::delete(subjects, now())
    }
}

/// The shards, whole.
fn shards(objects: &Arc<InMemory>) -> BTreeMap<String, Bytes> {
    let read = async {
        let mut shards = BTreeMap::new();
        let listed: Vec<ObjectMeta> = objects.list(None).try_collect().await.unwrap();
        for meta in listed {
            if meta.location.as_ref().ends_with(".parquet") {
                let bytes = objects
                    .get(&meta.location)
                    .await
                    .unwrap()
                    .bytes()
                    .await
                    .unwrap();
                shards.insert(meta.location.to_string(), bytes);
            }
        }
        shards
    };
    wait(read)
}

/// The leases of a process that died run out.
fn leases_run_out(objects: &Arc<InMemory>) {
    for lock in ["lock", "queue.lock"] {
        let key = Path::from(format!("{PREFIX}/_efface/{lock}"));
        let _absent = wait(objects.delete(&key));
    }
}

/// An id that has rows in both shards.
fn someone() -> String {
    let engine = engine(Faulty::new(&lake(), None));
    let text = sample("part-00000.parquet");
    let text = String::from_utf8_lossy(&text);
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    let mut ids = words.filter(|word| word.starts_with("anon-") || word.starts_with("mail-"));
    let in_both = |id: &&str| {
        let plan = engine.plan(&request(id));
        plan.is_ok_and(|plan| plan.shards.len() == 2)
    };
    ids.find(in_both)
        .expect("somebody is in both shards")
        .to_owned()
}

/// What the lake is without the rows of the id, and how many requests that takes.
fn expected(
    id: &str,
    work: fn(&Engine, &str) -> efface::Result<()>,
) -> (BTreeMap<String, Bytes>, u64) {
    let objects = lake();
    let faulty = Faulty::new(&objects, None);
    let requests = Arc::clone(&faulty.requests);
    work(&engine(faulty), id).unwrap();
    let left = shards(&objects);
    assert_ne!(left, shards(&lake()));
    (left, requests.load(Ordering::SeqCst))
}

fn delete(engine: &Engine, id: &str) -> efface::Result<()> {
    let options = DeleteOptions {
        now: Some(now()),
        ..DeleteOptions::default()
    };
    engine.delete(&request(id), None, &options).map(drop)
}

#[test]
fn every_request_of_a_delete_can_fail_before_and_after_it_is_carried_out() {
    let id = someone();
    let before = shards(&lake());
    let (after, requests) = expected(&id, delete);
    assert!((20..150).contains(&requests), "{requests} requests");
    for number in 0..requests {
        for fault in [Fault::Before, Fault::After] {
            let objects = lake();
            let failed = delete(&engine(Faulty::new(&objects, Some((fault, number)))), &id);
            if let Err(error) = &failed {
                assert_ne!(
                    error.kind(),
                    ErrorKind::Internal,
                    "{fault:?} {number}: {error}"
                );
                assert!(!error.to_string().contains(&id));
            }
            for (path, bytes) in shards(&objects) {
                assert!(
                    bytes == before[&path] || bytes == after[&path],
                    "{fault:?} at request {number}: {path} is neither the old shard nor the new one"
                );
            }
            leases_run_out(&objects);
            delete(&engine(Faulty::new(&objects, None)), &id).unwrap();
            assert!(shards(&objects) == after, "{fault:?} at request {number}");
        }
    }
}

#[test]
fn a_request_that_the_client_had_to_repeat_is_no_trouble() {
    let id = someone();
    let (after, requests) = expected(&id, submit_and_compact);
    for number in 0..requests {
        let objects = lake();
        let repeating = engine(Faulty::new(&objects, Some((Fault::Repeated, number))));
        let done = submit_and_compact(&repeating, &id);
        assert!(done.is_ok(), "at request {number}: {done:?}");
        assert!(shards(&objects) == after, "at request {number}");
    }
}

fn submit_and_compact(engine: &Engine, id: &str) -> efface::Result<()> {
    engine.submit(tracking(), &request(id), now(), None)?;
    engine.compact(&CompactOptions::at(now())).map(drop)
}

fn tracking() -> TrackingId {
    "01980000-0000-7000-8000-000000000001".parse().unwrap()
}

#[test]
fn a_request_that_was_handed_over_is_carried_out_whatever_request_fails() {
    let id = someone();
    let (after, requests) = expected(&id, submit_and_compact);
    for number in 0..requests {
        for fault in [Fault::Before, Fault::After] {
            let objects = lake();
            let faulty = engine(Faulty::new(&objects, Some((fault, number))));
            let submitted = faulty.submit(tracking(), &request(&id), now(), None);
            if submitted.is_ok() {
                let _may_fail = faulty.compact(&CompactOptions::at(now()));
            }
            drop(faulty);
            leases_run_out(&objects);
            let engine = engine(Faulty::new(&objects, None));
            let known = engine.status(tracking(), now()).unwrap().state;
            if submitted.is_err() && known == RequestState::NotFound {
                engine
                    .submit(tracking(), &request(&id), now(), None)
                    .unwrap();
            }
            engine.compact(&CompactOptions::at(now())).unwrap();
            let status = engine.status(tracking(), now()).unwrap();
            assert_eq!(
                status.state,
                RequestState::Success,
                "{fault:?} at request {number}"
            );
            assert!(shards(&objects) == after, "{fault:?} at request {number}");
        }
    }
}

#[test]
fn another_writer_is_noticed_at_whatever_request_it_steps_in() {
    let id = someone();
    let (_, requests) = expected(&id, delete);
    // What the other writer puts there holds the id, too.
    let theirs = Bytes::from(sample("part-00001.parquet"));
    let right = {
        let objects = lake();
        let key = Path::from(format!("{PREFIX}/first.parquet"));
        wait(objects.put(&key, theirs.clone().into())).unwrap();
        delete(&engine(Faulty::new(&objects, None)), &id).unwrap();
        shards(&objects)
    };
    for number in 0..requests {
        let objects = lake();
        let faulty = Faulty {
            theirs: theirs.clone(),
            ..Faulty::new(&objects, Some((Fault::Rival, number)))
        };
        let done = delete(&engine(faulty), &id);
        if let Err(error) = &done {
            assert_eq!(
                error.kind(),
                ErrorKind::Conflict,
                "at request {number}: {error}"
            );
        }
        // A write behind the commit is not lost either, and the next delete finds its rows.
        let first = &shards(&objects)[&format!("{PREFIX}/first.parquet")];
        let clean = &right[&format!("{PREFIX}/first.parquet")];
        assert!(
            *first == theirs || first == clean,
            "their shard is lost at request {number}"
        );
        leases_run_out(&objects);
        delete(&engine(Faulty::new(&objects, None)), &id).unwrap();
        assert!(shards(&objects) == right, "at request {number}");
    }
}

#[test]
fn a_store_that_ignores_conditions_is_refused_before_anything_is_written() {
    let objects = lake();
    let before = shards(&objects);
    let ignoring = || Faulty::new(&objects, Some((Fault::Conditions, 0)));
    let error = delete(&engine(ignoring()), &someone()).unwrap_err();
    assert!(
        error.to_string().contains("ignores If-None-Match"),
        "{error}"
    );
    assert_eq!(shards(&objects), before);
    let left = wait(objects.list(None).try_collect::<Vec<_>>()).unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
}
