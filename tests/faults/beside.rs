//! An index is never believed more than it deserves: beside other processes, when it is damaged, and when
//! the roles change.

use std::cell::Cell;
use std::collections::BTreeMap;

use efface::config::Config;
use efface::engine::{Engine, IndexState};
use efface::file_system::FileSystem;
use efface::index;
use efface::request::{Regulation, Request, Subjects};
use efface::testing::sim::{Operation, Sim};
use efface::{Error, Result};

use crate::lake::{ROW_GROUP_ROWS, engine, ids_in, ids_of, shard_of};

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

fn index_files(sim: &Sim) -> BTreeMap<String, Vec<u8>> {
    let mut files = sim.all();
    files.retain(|path, _| path.starts_with(index::DIRECTORY));
    files
}

/// A lake whose index is stale in every way: a shard came, one went, one changed, one changed without a
/// change of its size and time.
fn stale_lake() -> Sim {
    let sim = Sim::new(0);
    let start = sim.clock_ns();
    sim.put("changed.parquet", shard_of(&["ada"; 25]));
    sim.put("gone.parquet", shard_of(&["ada"; 25]));
    sim.put("kept.parquet", shard_of(&["ada", "bob"]));
    sim.put("sly.parquet", shard_of(&["bob"; 25]));
    engine(&sim, &Config::default()).refresh().unwrap();

    sim.put("changed.parquet", shard_of(&["ada", "eve", "bob", "eve"]));
    sim.put("added.parquet", shard_of(&["eve"; 12]));
    assert!(sim.vanish("gone.parquet"));
    let before = sim.info("sly.parquet").unwrap().unwrap();
    sim.put("sly.parquet", shard_of(&["eve"; 25]));
    assert!(sim.set_modified_ns("sly.parquet", start));
    let after = sim.info("sly.parquet").unwrap().unwrap();
    assert_eq!(
        (before.size, before.modified_ns),
        (after.size, after.modified_ns)
    );
    assert_eq!(ids_of(&sim.bytes("sly.parquet").unwrap()), ["eve"; 25]);
    sim
}

#[test]
fn beside_another_process_an_export_is_complete_whatever_the_index_knows() {
    let sim = stale_lake();
    let before = index_files(&sim);
    let _held = sim.lock("_efface/lock", "another").unwrap();
    let engine = engine(&sim, &Config::default());
    assert!(matches!(engine.refresh(), Err(Error::Locked { .. })));
    assert_eq!(exported(&engine, "eve").len(), 2 + 12 + 25);
    assert_eq!(exported(&engine, "ada").len(), 2);
    assert_eq!(
        engine.plan(&export_of("ada")).unwrap().dataset_rows,
        4 + 12 + 2 + 25
    );
    assert_eq!(index_files(&sim), before);
}

#[test]
fn where_nothing_can_be_written_an_export_is_complete_whatever_the_index_knows() {
    let sim = stale_lake();
    let before = index_files(&sim);
    sim.set_read_only(true);
    let engine = engine(&sim, &Config::default());
    assert_eq!(exported(&engine, "eve").len(), 2 + 12 + 25);
    assert_eq!(exported(&engine, "ada").len(), 2);
    assert_eq!(index_files(&sim), before);
    assert!(sim.operations_of(Operation::Lock) > 0, "it was tried");

    for path in before.keys() {
        sim.put(path, "no index");
    }
    assert_eq!(exported(&engine, "eve").len(), 2 + 12 + 25);
}

#[test]
fn a_shard_that_is_replaced_while_a_plan_is_made_is_not_looked_into_where_the_old_one_had_the_ids()
{
    let shard = |ids: &[&str]| {
        let rows = ids.iter().flat_map(|id| [*id; ROW_GROUP_ROWS]);
        shard_of(&rows.collect::<Vec<_>>())
    };
    let before = Sim::new(0);
    before.put("a.parquet", shard(&["bob", "bob", "ada"]));
    let plan = |sim: &Sim| engine(sim, &Config::default()).plan(&export_of("ada"));
    engine(&before, &Config::default()).refresh().unwrap();
    let undisturbed = before.fork(0);
    plan(&undisturbed).unwrap();
    // In another row group, and in a shard that has no such row group.
    for new in [&["ada", "bob", "bob"][..], &["bob", "ada"]] {
        let new = shard(new);
        for place in 0..undisturbed.operations() {
            let (sim, new) = (before.fork(place), new.clone());
            sim.run_at(place, move |sim| sim.put("a.parquet", new));
            match plan(&sim) {
                Ok(plan) => assert_eq!(plan.rows, ROW_GROUP_ROWS as u64, "{place}"),
                Err(error) => assert!(matches!(error, Error::ShardChanged { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn an_index_that_is_damaged_anywhere_is_rebuilt_and_nothing_is_missed() {
    let sim = Sim::new(0);
    let ids: Vec<String> = (0..900).map(|id| format!("user {id}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    sim.put("a.parquet", shard_of(&ids));
    let engine = engine(&sim, &Config::default());
    engine.refresh().unwrap();
    let segment = || {
        let files = index_files(&sim).into_iter();
        files.max_by_key(|(_, bytes)| bytes.len()).unwrap()
    };
    let (path, whole) = segment();
    let mut offsets: Vec<usize> = (0..whole.len()).step_by(1021).collect();
    offsets.push(whole.len() - 1);
    assert!(offsets.len() > 15, "{}", whole.len());
    for offset in offsets {
        assert!(sim.flip(&segment().0, offset, 0x10));
        for id in ["user 0", "user 451", "user 899"] {
            assert_eq!(exported(&engine, id), [id], "byte {offset} of {path}");
        }
    }
}

thread_local! {
    /// What was logged on this thread.
    static LOGGED: Cell<usize> = const { Cell::new(0) };
}

/// Counts what is logged, by thread. It stays installed: one that comes and goes misses what other tests log first.
struct Counter;

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
        LOGGED.set(LOGGED.get() + 1);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn roles_that_do_not_fit_leave_the_index_as_it_is_and_say_nothing_of_it() {
    let sim = Sim::new(0);
    sim.put("a.parquet", shard_of(&["ada", "bob"]));
    sim.put("b.parquet", shard_of(&["ada", "bob"]));
    let with = |config: Config| engine(&sim, &config);
    with(Config::default()).refresh().unwrap();
    let before = index_files(&sim);
    let ccpa = Request {
        regulation: Regulation::Ccpa,
        ..export_of("ada")
    };
    tracing::subscriber::set_global_default(Counter).unwrap();
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
    assert_eq!(LOGGED.get(), 0);
    assert_eq!(index_files(&sim), before);
    let index = with(Config::default()).inspect().unwrap().index;
    assert_eq!(index, IndexState::Fresh);

    with(subject("text")).plan(&export_of("ada")).unwrap();
    assert_eq!(LOGGED.get(), 1);
}
