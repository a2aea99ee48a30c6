//! A delete that is cut off at each of its changes of the disk in turn, and run again.

mod lake;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use efface::config::{Config, EmptyShards};
use efface::delete::DeleteOptions;
use efface::engine::{Engine, EngineOptions, IndexState};
use efface::request::{Disclosure, Request, RequiredColumns, Subjects, Unknown};
use efface::storage::disk::Disk;
use efface::storage::{Storage, TEMPORARY_SUFFIX};
use efface::{DeleteReport, ErrorKind, Result};

use lake::{Failing, ids_of, put, write_shard};

const VICTIMS: [&str; 3] = ["ada", "laptop", "eve"];

/// Four shards, of which the deletes touch three and empty one; an alias table; a summary.
fn write_lake(root: &Path, config: &Config) {
    let shard = |victim: &'static str, every: usize| {
        let id = move |row: usize| {
            if row.is_multiple_of(every) {
                victim
            } else {
                ["bob", "cyd"][row % 2]
            }
        };
        (0..35).map(id).collect::<Vec<_>>()
    };
    write_shard(&root.join("a.parquet"), &shard("ada", 7));
    write_shard(&root.join("b.parquet"), &shard("bob", 2));
    write_shard(&root.join("c.parquet"), &shard("eve", 1)[..15]);
    std::fs::create_dir(root.join("d=1")).unwrap();
    write_shard(&root.join("d=1/d.parquet"), &shard("laptop", 12));
    let aliases = "alias,distinct_id\nlaptop,ada\nphone,bob\n";
    put(&root.join("aliases.csv"), aliases);
    put(&root.join("_metadata"), "stale soon");
    config.store(&Disk::new(root)).unwrap();
}

fn delete(
    storage: impl Storage + 'static,
    config: &Config,
    disclosure: Disclosure,
    unknown: Unknown,
) -> Result<DeleteReport> {
    let engine = Engine::open(Arc::new(storage), config.clone(), EngineOptions::default())?;
    let request = Request {
        disclosure,
        required_columns: RequiredColumns::Default,
        unknown,
        max_match: 1.0,
        ..Request::delete(
            Subjects::new(VICTIMS)?,
            "2026-01-31T12:00:00Z".parse().unwrap(),
        )
    };
    engine.delete(&request, None, &DeleteOptions::default())
}

/// Every file with its bytes, but for efface's own (index, receipts with their times, ..).
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let listed = Disk::new(root).list("").unwrap();
    listed
        .into_iter()
        .filter(|file| !file.path.starts_with("_efface/") || file.path == Config::PATH)
        .map(|file| {
            let bytes = std::fs::read(root.join(&file.path)).unwrap();
            (file.path, bytes)
        })
        .collect()
}

fn run_cut_off_at_every_change(config: &Config, disclosure: Disclosure, is_indexed: bool) {
    let prepare = |root: &Path| {
        write_lake(root, config);
        if is_indexed {
            let disk = Arc::new(Disk::new(root));
            let engine = Engine::open(disk, config.clone(), EngineOptions::default()).unwrap();
            engine.refresh().unwrap();
        }
    };
    let whole = tempfile::tempdir().unwrap();
    prepare(whole.path());
    let old = files(whole.path());
    let undisturbed = delete(Disk::new(whole.path()), config, disclosure, Unknown::Refuse).unwrap();
    if disclosure == Disclosure::Data {
        assert_eq!(undisturbed.rows_removed, 5 + 15 + 3);
        assert_eq!(undisturbed.alias_rows_removed, 1);
    } else {
        assert_eq!(undisturbed.rows_removed, 0);
        assert!(undisturbed.values_cleared > 0);
    }
    let new = files(whole.path());

    let mut cuts = 0;
    let mut states = BTreeSet::new();
    loop {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let outcome = delete(
            Failing::new(dir.path(), cuts),
            config,
            disclosure,
            Unknown::Refuse,
        );
        let found = files(dir.path());
        let temporary = |path: &String| path.ends_with(TEMPORARY_SUFFIX);
        for (path, bytes) in found.iter().filter(|(path, _)| !temporary(path)) {
            let is_whole = Some(bytes) == old.get(path) || Some(bytes) == new.get(path);
            assert!(is_whole, "cut {cuts}: {path} is neither old nor new");
            if path.ends_with(".parquet") {
                ids_of(&dir.path().join(path));
            }
        }
        for path in new.keys() {
            assert!(found.contains_key(path), "cut {cuts}: {path} is gone");
        }
        states.insert(
            found
                .iter()
                .filter(|(path, bytes)| new.get(*path) == Some(*bytes))
                .count(),
        );
        if outcome.is_ok() {
            break;
        }
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Io);
        // Ids whose rows are all gone already are no mistake of the second run.
        delete(Disk::new(dir.path()), config, disclosure, Unknown::Report).unwrap();
        assert_eq!(files(dir.path()), new, "after cut {cuts} and a second run");
        let listed = Disk::new(dir.path()).list("").unwrap();
        assert!(
            listed.iter().all(|file| !temporary(&file.path)),
            "cut {cuts}"
        );
        let is_pending =
            |path: &str| path.starts_with("_efface/queue/") || path.starts_with("_efface/pass/");
        assert!(
            listed.iter().all(|file| !is_pending(&file.path)),
            "cut {cuts}"
        );
        let disk = Arc::new(Disk::new(dir.path()));
        let engine = Engine::open(disk, config.clone(), EngineOptions::default()).unwrap();
        assert_eq!(
            engine.inspect().unwrap().index,
            IndexState::Fresh,
            "cut {cuts}"
        );
        cuts += 1;
    }
    assert!(cuts > 40, "{cuts} cuts");
    assert!(
        states.len() > 3,
        "too few states between old and new: {states:?}"
    );
}

fn config() -> Config {
    Config {
        aliases: Some("aliases.csv".to_owned()),
        ..Config::default()
    }
}

#[test]
fn a_rerun_ends_what_a_crash_cut_off() {
    run_cut_off_at_every_change(&config(), Disclosure::Data, true);
}

#[test]
fn a_rerun_ends_what_a_crash_cut_off_without_an_index_and_with_shards_removed() {
    let config = Config {
        empty_shards: EmptyShards::Remove,
        ..config()
    };
    run_cut_off_at_every_change(&config, Disclosure::Data, false);
}

#[test]
fn a_rerun_ends_a_clear_that_a_crash_cut_off() {
    run_cut_off_at_every_change(&config(), Disclosure::Categories, true);
}
