//! An index is never believed more than it deserves: beside other processes, when it is damaged, and when
//! the roles change.

mod lake;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use efface::config::Config;
use efface::engine::{Engine, EngineOptions, IndexState};
use efface::index;
use efface::request::{Regulation, Request, Subjects};
use efface::storage::disk::Disk;
use efface::storage::{Lock, Storage};
use efface::{Error, Result};

use lake::{Failing, ids_in, ids_of, put, write_shard};

fn engine(storage: impl Storage + 'static, config: Config) -> Engine {
    Engine::open(Arc::new(storage), config, EngineOptions::default()).unwrap()
}

fn export_of(id: &str) -> Request {
    let asked = "2026-01-31T12:00:00Z".parse().unwrap();
    Request::export(Subjects::new([id]).unwrap(), asked)
}

fn exported(engine: &Engine, id: &str) -> Vec<String> {
    let plan = engine.plan(&export_of(id)).unwrap();
    let rows = ids_in(engine.export(&plan).unwrap().map(Result::unwrap));
    assert_eq!(plan.rows, rows.len() as u64);
    rows
}

fn index_files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let listed = Disk::new(root).list(index::DIRECTORY).unwrap();
    let read = |path: &str| std::fs::read(root.join(path)).unwrap();
    listed
        .into_iter()
        .map(|file| (file.path.clone(), read(&file.path)))
        .collect()
}

/// A lake whose index is stale in every way: a shard came, one went, one changed, one changed without a
/// change of its size and time.
fn stale_lake(root: &Path) {
    write_shard(&root.join("changed.parquet"), &["ada"; 25]);
    write_shard(&root.join("gone.parquet"), &["ada"; 25]);
    write_shard(&root.join("kept.parquet"), &["ada", "bob"]);
    let sly = root.join("sly.parquet");
    write_shard(&sly, &["bob"; 25]);
    engine(Disk::new(root), Config::default())
        .refresh()
        .unwrap();

    write_shard(&root.join("changed.parquet"), &["ada", "eve", "bob", "eve"]);
    write_shard(&root.join("added.parquet"), &["eve"; 12]);
    Disk::new(root).remove("gone.parquet").unwrap();
    let before = std::fs::metadata(&sly).unwrap();
    write_shard(&sly, &["eve"; 25]);
    let file = File::options().write(true).open(&sly).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = std::fs::metadata(&sly).unwrap();
    assert_eq!(
        (before.len(), before.modified().unwrap()),
        (after.len(), after.modified().unwrap())
    );
    assert_eq!(ids_of(&sly), ["eve"; 25]);
}

#[test]
fn beside_another_process_an_export_is_complete_whatever_the_index_knows() {
    let dir = tempfile::tempdir().unwrap();
    stale_lake(dir.path());
    let before = index_files(dir.path());
    let _held: Box<dyn Lock> = Disk::new(dir.path())
        .lock("_efface/lock", "another")
        .unwrap();
    let engine = engine(Disk::new(dir.path()), Config::default());
    assert!(matches!(engine.refresh(), Err(Error::Locked { .. })));
    assert_eq!(exported(&engine, "eve").len(), 2 + 12 + 25);
    assert_eq!(exported(&engine, "ada").len(), 2);
    assert_eq!(
        engine.plan(&export_of("ada")).unwrap().dataset_rows,
        4 + 12 + 2 + 25
    );
    assert_eq!(index_files(dir.path()), before);
}

#[test]
fn where_nothing_can_be_written_an_export_is_complete_whatever_the_index_knows() {
    let dir = tempfile::tempdir().unwrap();
    stale_lake(dir.path());
    let before = index_files(dir.path());
    let engine = engine(Failing::new(dir.path(), 0), Config::default());
    assert_eq!(exported(&engine, "eve").len(), 2 + 12 + 25);
    assert_eq!(exported(&engine, "ada").len(), 2);
    assert_eq!(index_files(dir.path()), before);

    for path in before.keys() {
        put(&dir.path().join(path), "no index");
    }
    assert_eq!(exported(&engine, "eve").len(), 2 + 12 + 25);
}

#[test]
fn an_index_that_is_damaged_anywhere_is_built_anew_and_nothing_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..900).map(|id| format!("user {id}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    write_shard(&dir.path().join("a.parquet"), &ids);
    let engine = engine(Disk::new(dir.path()), Config::default());
    engine.refresh().unwrap();
    let (segment, whole) = index_files(dir.path())
        .into_iter()
        .max_by_key(|(_, bytes)| bytes.len())
        .unwrap();
    let mut offsets: Vec<usize> = (0..whole.len()).step_by(1021).collect();
    offsets.push(whole.len() - 1);
    assert!(offsets.len() > 15, "{}", whole.len());
    for offset in offsets {
        let (path, bytes) = index_files(dir.path())
            .into_iter()
            .max_by_key(|(_, bytes)| bytes.len())
            .unwrap();
        let mut damaged = bytes;
        damaged[offset] ^= 0x10;
        put(&dir.path().join(path), &damaged);
        for id in ["user 0", "user 451", "user 899"] {
            assert_eq!(exported(&engine, id), [id], "byte {offset} of {segment}");
        }
    }
}

/// Counts what is logged on this thread.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl tracing::Subscriber for Counter {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn roles_that_do_not_fit_leave_the_index_as_it_is_and_say_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    write_shard(&dir.path().join("a.parquet"), &["ada", "bob"]);
    write_shard(&dir.path().join("b.parquet"), &["ada", "bob"]);
    let with = |config: Config| engine(Disk::new(dir.path()), config);
    with(Config::default()).refresh().unwrap();
    let before = index_files(dir.path());
    let ccpa = Request {
        regulation: Regulation::Ccpa,
        ..export_of("ada")
    };
    let log = Counter::default();
    tracing::subscriber::with_default(log.clone(), || {
        let subject = |name: &str| Config {
            subject: vec![name.to_owned()],
            ..Config::default()
        };
        let error = with(subject("nobody")).plan(&export_of("ada")).unwrap_err();
        assert!(matches!(error, Error::MissingColumn { .. }), "{error}");
        // This column could be a subject, but then the time column is missing.
        let error = with(subject("text")).plan(&ccpa).unwrap_err();
        assert!(matches!(error, Error::NoTimeColumn { .. }), "{error}");
        let config = Config {
            time: Some("text".to_owned()),
            ..subject("text")
        };
        let error = with(config).plan(&ccpa).unwrap_err();
        assert!(matches!(error, Error::ColumnType { .. }), "{error}");
        assert_eq!(log.0.load(Ordering::Relaxed), 0);
        assert_eq!(index_files(dir.path()), before);
        let index = with(Config::default()).inspect().unwrap().index;
        assert_eq!(index, IndexState::Fresh);

        with(subject("text")).plan(&export_of("ada")).unwrap();
        assert_eq!(log.0.load(Ordering::Relaxed), 1);
    });
}
