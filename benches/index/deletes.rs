//! The index's part of a delete: postings taken away, against the rewritten shards scanned in full.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use efface::observe::Observer;
use efface::{DeleteOptions, Engine, EngineOptions, Request, Subjects};

use super::lake::Lake;
use super::{SEED, median};

/// Takes the time of each stage.
#[derive(Default)]
struct Stages(Mutex<Vec<(&'static str, Instant, Duration)>>);

impl Observer for Stages {
    fn begin(&self, stage: &'static str, _: u64) {
        let now = Instant::now();
        self.0.lock().unwrap().push((stage, now, Duration::ZERO));
    }
    fn end(&self) {
        if let Some((_, began, took)) = self.0.lock().unwrap().last_mut() {
            *took = began.elapsed();
        }
    }
}

impl Stages {
    /// How long the last stage of this name took.
    fn last(&self, name: &str) -> Duration {
        let stages = self.0.lock().unwrap();
        let mut found = stages.iter().rev().filter(|(stage, ..)| *stage == name);
        found.next().unwrap().2
    }
}

fn copy_all(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Prints the figures.
pub(super) fn run(lake: &Lake, is_measured: bool) {
    let ids = lake.ids();
    let rounds = if is_measured { 3 } else { 1 };
    for count in [1, 20, 2000.min(ids.len() / 4)] {
        let step = ids.len() / count;
        let asked: Vec<&str> = (0..count)
            .map(|at| ids[at * step + step / 2].as_str())
            .collect();
        let (mut whole, mut taken, mut scanned) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let dataset = lake.dir.path().join("deleted");
            copy_all(&lake.root(), &dataset);
            let stages = Arc::new(Stages::default());
            let options = EngineOptions {
                observer: stages.clone(),
                seed_if_new: SEED,
                ..EngineOptions::default()
            };
            let engine = Engine::open_dir_with(&dataset, options).unwrap();
            engine.refresh().unwrap();
            let (index, old) = (dataset.join("_efface/index"), lake.dir.path().join("old"));
            copy_all(&index, &old);
            let subjects = Subjects::new(asked.iter().copied()).unwrap();
            let mut request = Request::delete(subjects, "2026-07-01T00:00:00Z".parse().unwrap());
            request.max_match = 1.0;
            let start = Instant::now();
            engine
                .delete(&request, None, &DeleteOptions::default())
                .unwrap();
            whole.push(start.elapsed());
            taken.push(stages.last("indexing"));
            // The index of before, which takes the rewritten shards for changed ones.
            copy_all(&old, &index);
            engine.refresh().unwrap();
            scanned.push(stages.last("indexing"));
        }
        println!(
            "delete/{count}: {:.0?} in all, of that {:.1?} for the index; {:.1?} with the rewritten shards scanned in full",
            median(whole),
            median(taken),
            median(scanned),
        );
    }
}
