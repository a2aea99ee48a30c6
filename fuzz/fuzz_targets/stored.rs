//! Any bytes as what efface stores in `_efface/`: a waiting request, the record of a pass and its progress (also the
//! lines of version 0.1), the suppression list, the configuration, the manifest of the index. Each ends in a value that
//! reads back, or in an error that repeats no id.
#![no_main]

use std::fmt::Debug;

use efface::Result;
use efface::config::Config;
use efface::index::manifest::Manifest;
use efface::pass::{Pass, Progress, ProgressLog};
use efface::queue::Entry;
use efface::state::files::StateFiles;
use efface::state::{Expect, State, document};
use efface::subject::SubjectKey;
use efface::suppression::Suppression;
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

/// Is in every id of the seeds.
const MARK: &str = "@gone";
const LIMIT: u64 = 1 << 20;

/// A document whose checksum holds: with one that doesn't, hardly any input would come further.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.push(b'\n');
    let line = format!("xxh3 {:016x}\n", xxh3_64(&bytes));
    bytes.extend_from_slice(line.as_bytes());
    bytes
}

/// What was loaded, if its error repeats no id.
fn loaded<T>(loaded: Result<Option<T>>) -> Option<T> {
    loaded
        .inspect_err(|error| assert!(!error.to_string().contains(MARK), "{error}"))
        .unwrap_or_default()
}

/// Steps that were read are announced by a pass of their own and read back.
fn announced_reads_back(state: &dyn State, steps: &[Progress]) {
    let id = pass_id(2);
    let mut log = ProgressLog::begin(state, id).expect("it can be begun");
    log.announce(state, steps).expect("it can be written");
    assert_eq!(ProgressLog::read(state, id).unwrap(), steps);
}

fn pass_id(random: u8) -> TrackingId {
    let time = "2026-01-31T12:00:00Z".parse().expect("a time");
    TrackingId::new(time, [random; 10])
}

fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

fuzz_target!(|data: &[u8]| {
    let Some((which, data)) = data.split_first() else {
        return;
    };
    let sim = Sim::new(0);
    let state = &StateFiles::new(sim.clone());
    match which % 7 {
        0 => {
            let path = "_efface/queue/entry.json";
            sim.put(path, sealed(data));
            let load = || document::load::<Entry>(state, path, LIMIT);
            if let Some(entry) = loaded(load()) {
                assert!(!text(&entry).contains(MARK), "Debug prints an id");
                let _checked = entry.request.check();
                let bytes = serde_json::to_vec(&entry).expect("it can be written");
                document::store(state, path, &entry, Expect::Any).expect("it can be stored");
                let again = load().expect("it reads back").expect("it is there");
                assert_eq!(serde_json::to_vec(&again).unwrap(), bytes);
            }
        }
        1 => {
            sim.put("_efface/pass/pass.json", sealed(data));
            if let Some(pass) = loaded(Pass::load(state)) {
                pass.store(state).expect("it can be stored");
                assert_eq!(Pass::load(state).unwrap(), Some(pass));
            }
        }
        2 => {
            let id = pass_id(1);
            sim.put(&format!("_efface/pass/{id}-0001.jsonl"), data);
            let steps = ProgressLog::read(state, id).expect("a torn line ends it");
            announced_reads_back(state, &steps);
        }
        3 => {
            sim.put("_efface/suppression.json", sealed(data));
            let key = SubjectKey::new([7; 32]);
            if let Some(list) = loaded(Suppression::load(state, &key).map(Some)) {
                list.store(state).expect("it can be stored");
                let again = Suppression::load(state, &key).expect("it reads back");
                assert_eq!(text(&again), text(&list));
            }
        }
        4 => {
            sim.put(Config::PATH, data);
            if let Ok(Some(config)) = Config::load(state) {
                let _roles = (config.roles(), config.alias_table(), config.empty_source());
                config.store(state).expect("it can be stored");
                assert_eq!(Config::load(state).unwrap(), Some(config));
            }
        }
        5 => {
            let mut bytes = data.to_vec();
            bytes.extend_from_slice(&xxh3_64(data).to_le_bytes());
            if let Ok(manifest) = Manifest::parse(&bytes) {
                manifest.store(state).expect("it can be stored");
                let bytes = Manifest::load(state)
                    .expect("it is there")
                    .expect("it is there");
                assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
            }
        }
        _ => {
            let id = pass_id(1);
            sim.put(&format!("_efface/pass/{id}-000001.json"), sealed(data));
            if let Some(steps) = loaded(ProgressLog::read(state, id).map(Some)) {
                announced_reads_back(state, &steps);
            }
        }
    }
});
