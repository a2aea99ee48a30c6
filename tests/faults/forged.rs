//! Tasks and results in a state that others can write to: whatever is changed in one, each shard ends as it should,
//! and no receipt says more than was done.

use std::collections::BTreeMap;

use efface::erase::task::{ShardTask, TaskResult};
use efface::error::PassFault;
use efface::receipts::{Ended, Receipt};
use efface::request::{Disclosure, Request, RequiredColumns, Subjects};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Engine, Error};
use rayon::prelude::*;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::elsewhere::{TASKS, now, open, options, pass_id};
use crate::lake::{Files, VICTIMS, config, files, is_pending, is_temporary, lake};

/// A pass whose tasks were handed out, and what becomes of the shards.
struct Case {
    before: Sim,
    after: Files,
    /// The receipt that it has then.
    receipt: Receipt,
    /// Whether the tasks were run, too.
    is_run: bool,
}

impl Case {
    fn of(disclosure: Disclosure, is_run: bool) -> Self {
        let before = lake(&config(), true);
        let request = Request {
            disclosure,
            max_match: 1.0,
            required_columns: RequiredColumns::Default,
            ..Request::delete(Subjects::new(VICTIMS).unwrap(), now())
        };
        let id = TrackingId::new(now(), [1; 10]);
        let engine = open(&before);
        engine.submit(id, &request, now(), None).unwrap();
        let here = before.fork(0);
        let engine_here = open(&here);
        engine_here.compact(&options(9)).unwrap();
        engine.publish_tasks(&options(9)).unwrap().unwrap();
        for number in (1..=TASKS).take_while(|_| is_run) {
            engine.run_numbered_task(pass_id(), number).unwrap();
        }
        Self {
            before,
            after: files(&here),
            receipt: only_receipt(&engine_here, "here"),
            is_run,
        }
    }

    fn paths(&self, directory: &str) -> Vec<String> {
        let directory = format!("_efface/pass/{directory}/");
        let paths = self.before.all().into_keys();
        paths.filter(|path| path.starts_with(&directory)).collect()
    }

    /// Puts the pass to its end with `bytes` in the place of `path`, and checks that all is as it should be.
    fn check(&self, path: &str, bytes: &[u8], what: &str) {
        let sim = self.before.fork(0);
        sim.put(path, bytes);
        self.check_ends(&sim, &format!("{path}: {what}"));
    }

    fn check_ends(&self, sim: &Sim, what: &str) {
        let engine = open(sim);
        if !self.is_run {
            run_all(&engine, 1..=TASKS);
        }
        end(&engine);
        let receipt = only_receipt(&engine, what);
        assert_eq!(receipt.state, Ended::Success, "{what}");
        let said = |receipt: &Receipt| {
            let (removed, cleared) = (receipt.rows_removed, receipt.rows_cleared);
            (
                removed,
                cleared,
                receipt.shards.clone(),
                receipt.subjects.clone(),
            )
        };
        assert_eq!(said(&receipt), said(&self.receipt), "{what}");
        let found = files(sim);
        for (path, bytes) in &self.after {
            assert!(found.get(path) == Some(bytes), "{what}: {path} differs");
        }
        let (old, all) = (files(&self.before), sim.all());
        let hash = |bytes: &Vec<u8>| blake3::hash(bytes).to_hex().to_string();
        for shard in &receipt.shards {
            assert_eq!(shard.before, hash(&old[&shard.path]), "{what}");
            assert_eq!(shard.after, all.get(&shard.path).map(hash), "{what}");
        }
        let left = all
            .keys()
            .find(|path| is_temporary(path) || is_pending(path));
        assert_eq!(left, None, "{what}");
        let (_, compared) = engine.verify_index().unwrap();
        assert_eq!((compared.missing, compared.surplus), (0, 0), "{what}");
    }
}

fn only_receipt(engine: &Engine, what: &str) -> Receipt {
    let mut receipts: Vec<Receipt> = Vec::new();
    engine.receipts(|receipt| receipts.push(receipt)).unwrap();
    assert_eq!(receipts.len(), 1, "{what}");
    receipts.remove(0)
}

/// Runs tasks as far as that goes.
fn run_all(engine: &Engine, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        // Whoever runs a task learns what is wrong with it.
        let _told = engine.run_numbered_task(pass_id(), number);
    }
}

/// Runs what is outstanding as far as that goes, and does the rest here.
fn end(engine: &Engine) {
    for _ in 0..3 {
        match engine.commit_pass(pass_id(), &options(8)) {
            Err(Error::Pass {
                fault: PassFault::Outstanding { numbers, .. },
                ..
            }) => run_all(engine, numbers),
            _ => break,
        }
    }
    engine.compact(&options(7)).unwrap();
}

/// A sealed document as JSON.
fn json_of(bytes: &[u8]) -> Value {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    serde_json::from_slice(line).unwrap()
}

fn sealed(line: &[u8]) -> Vec<u8> {
    let mut bytes = [line, b"\n"].concat();
    let seal = format!("xxh3 {:016x}\n", xxh3_64(&bytes));
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

/// The places of all values in `value`, outer ones first.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(value, &format!("{at}/{name}"), all);
            }
        }
        Value::Array(elements) => {
            for (number, value) in elements.iter().enumerate() {
                places(value, &format!("{at}/{number}"), all);
            }
        }
        _ => {}
    }
}

/// What a value is replaced with.
fn others(value: &Value, texts: &[String]) -> Vec<Value> {
    let mut others = vec![
        json!(null),
        json!(0),
        json!("x"),
        json!([]),
        json!({}),
        json!(true),
    ];
    match value {
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or(0);
            others.extend([
                json!(number.wrapping_add(1)),
                json!(number.wrapping_sub(1)),
                json!(u64::MAX),
                json!(u32::MAX),
                json!(-1),
                json!(0.5),
            ]);
        }
        Value::String(text) => {
            others.extend(texts.iter().map(|text| json!(text)));
            others.extend([
                json!(format!("{text}x")),
                json!(format!("../{text}")),
                json!(format!("/{text}")),
                json!(text.get(1..)),
                json!("a.parquet"),
                json!("aliases.csv"),
                json!("_efface/key"),
            ]);
        }
        Value::Array(elements) if !elements.is_empty() => {
            others.push(json!(&elements[1..]));
            others.push(json!([elements.as_slice(), elements.as_slice()].concat()));
        }
        Value::Array(_) => others.push(json!([0, 1])),
        _ => {}
    }
    others.retain(|other| other != value);
    others
}

/// Every document of `directory` with one value replaced by others, removed, or with one byte changed.
fn with_every_change(case: &Case, directory: &str) {
    let paths = case.paths(directory);
    assert_eq!(paths.len(), TASKS as usize);
    let all: BTreeMap<&String, Value> = paths
        .iter()
        .map(|path| (path, json_of(&case.before.bytes(path).unwrap())))
        .collect();
    let mut changed: Vec<(&String, String, Vec<u8>)> = Vec::new();
    for (path, value) in &all {
        let mut at = Vec::new();
        places(value, "", &mut at);
        // The texts of the others make sense there, and not here.
        let mut texts = Vec::new();
        for other in all.values() {
            let mut at = Vec::new();
            places(other, "", &mut at);
            let found = at.iter().filter_map(|at| other.pointer(at)?.as_str());
            texts.extend(found.map(str::to_owned));
        }
        texts.sort();
        texts.dedup();
        for at in &at {
            for other in others(value.pointer(at).unwrap(), &texts) {
                let mut value = value.clone();
                *value.pointer_mut(at).unwrap() = other.clone();
                let bytes = sealed(&serde_json::to_vec(&value).unwrap());
                changed.push((path, format!("{at} is {other}"), bytes));
            }
            if let Some((of, name)) = at.rsplit_once('/') {
                let mut value = value.clone();
                if let Some(fields) = value.pointer_mut(of).unwrap().as_object_mut() {
                    fields.remove(name);
                    let bytes = sealed(&serde_json::to_vec(&value).unwrap());
                    changed.push((path, format!("without {at}"), bytes));
                }
            }
        }
    }
    let path = &paths[0];
    let bytes = case.before.bytes(path).unwrap();
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    for place in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        changed.push((path, format!("byte {place}"), bytes));
    }
    for place in (0..line.len()).step_by(5) {
        let mut line = line.to_vec();
        line[place] ^= 1 << (place % 7);
        changed.push((path, format!("byte {place}, sealed"), sealed(&line)));
    }
    for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        changed.push((path, format!("cut at {len}"), bytes[..len].to_vec()));
    }
    println!("{} changes of {directory}", changed.len());
    changed
        .par_iter()
        .for_each(|(path, what, bytes)| case.check(path, bytes, what));
}

#[test]
fn no_change_of_a_result_of_a_removal_makes_a_wrong_shard_or_a_wrong_receipt() {
    with_every_change(&Case::of(Disclosure::Data, true), "results");
}

#[test]
fn no_change_of_a_result_of_a_clear_makes_a_wrong_shard_or_a_wrong_receipt() {
    with_every_change(&Case::of(Disclosure::Categories, true), "results");
}

#[test]
fn no_change_of_a_task_that_removes_makes_a_wrong_shard_or_a_wrong_receipt() {
    with_every_change(&Case::of(Disclosure::Data, false), "tasks");
}

#[test]
fn no_change_of_a_task_that_clears_makes_a_wrong_shard_or_a_wrong_receipt() {
    with_every_change(&Case::of(Disclosure::Categories, false), "tasks");
}

#[test]
fn a_result_that_names_a_copy_of_the_old_shard_counts_for_nothing() {
    for disclosure in [Disclosure::Data, Disclosure::Categories] {
        let case = Case::of(disclosure, true);
        let path = &case.paths("results")[0];
        let mut result = json_of(&case.before.bytes(path).unwrap());
        let shard = result["shard"]["path"].as_str().unwrap().to_owned();
        let written = &mut result["written"];
        let staged = written["staged"].as_str().unwrap().to_owned();
        written["after"] = written["before"].clone();
        let old = case.before.bytes(&shard).unwrap();
        case.before.put(&staged, old);
        let bytes = sealed(&serde_json::to_vec(&result).unwrap());
        case.check(path, &bytes, "a copy of the old shard");
    }
}

#[test]
fn a_result_that_says_that_there_was_nothing_to_do_counts_for_nothing() {
    for disclosure in [Disclosure::Data, Disclosure::Categories] {
        let case = Case::of(disclosure, true);
        let path = &case.paths("results")[0];
        let mut result = json_of(&case.before.bytes(path).unwrap());
        result["written"] = json!(null);
        let bytes = sealed(&serde_json::to_vec(&result).unwrap());
        case.check(path, &bytes, "nothing to do");
    }
}

#[test]
fn a_path_that_leads_out_of_the_table_is_read_from_no_task_and_no_result() {
    let case = Case::of(Disclosure::Data, true);
    for path in ["../a.parquet", "/a.parquet", "d=1/../../a.parquet"] {
        let mut task = json_of(&case.before.bytes(&case.paths("tasks")[0]).unwrap());
        assert!(serde_json::from_value::<ShardTask>(task.clone()).is_ok());
        task["shard"]["path"] = json!(path);
        serde_json::from_value::<ShardTask>(task).unwrap_err();
        let mut result = json_of(&case.before.bytes(&case.paths("results")[0]).unwrap());
        assert!(serde_json::from_value::<TaskResult>(result.clone()).is_ok());
        result["written"]["staged"] = json!(path);
        serde_json::from_value::<TaskResult>(result).unwrap_err();
    }
}
