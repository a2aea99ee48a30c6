//! The built command on a lake whose shards tell how far it has come.
//!
//! People are erased in the order of their numbers, two at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use efface::file_system::TEMPORARY_SUFFIX;

use crate::lake::{ids_of, shard_of};

/// The shards of the lake.
pub(crate) const SHARDS: [&str; 5] = [
    "a.parquet",
    "b.parquet",
    "d=1/c.parquet",
    "d=1/d.parquet",
    "d=2/e.parquet",
];
/// Events of each person in each shard.
pub(crate) const EVENTS: usize = 3;
/// People that one delete erases.
pub(crate) const ERASED_AT_ONCE: usize = 2;
/// Is part of every id, and of nothing else.
pub(crate) const MARK: &str = "person~";

/// The id of one of the people.
pub(crate) fn person(number: usize) -> String {
    format!("{MARK}{number:05}")
}

/// The first of the people in a shard, if it holds all events of all people from there to `people`.
pub(crate) fn first_person(shard: &[u8], people: usize) -> Option<usize> {
    let mut events = BTreeMap::<String, usize>::new();
    for id in ids_of(shard) {
        *events.entry(id).or_default() += 1;
    }
    let first = people.checked_sub(events.len())?;
    let is_whole = (first..people).all(|number| events.get(&person(number)) == Some(&EVENTS));
    (is_whole && first.is_multiple_of(ERASED_AT_ONCE)).then_some(first)
}

/// Writes a lake in which everybody's events are spread over every shard.
fn write_lake(root: &Path, people: usize) {
    for (number, shard) in SHARDS.iter().enumerate() {
        let path = root.join(shard);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A step that has no divisor in common with the number of events visits each.
        let (events, step) = (people * EVENTS, 7919);
        assert_ne!(events % step, 0);
        let ids: Vec<String> = (0..events)
            .map(|row| person((row * step + number) % events / EVENTS))
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        File::create(path)
            .unwrap()
            .write_all(&shard_of(&ids))
            .unwrap();
    }
}

/// The built command, on one lake.
pub(crate) struct Efface {
    pub(crate) root: PathBuf,
}

impl Efface {
    /// The command on a new lake.
    pub(crate) fn with_lake(root: &Path, people: usize) -> Self {
        write_lake(root, people);
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn spawn(&self, command: &str, options: &[String]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_efface"))
            .args([command, self.root.to_str().unwrap()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn run(&self, command: &str, options: &[String]) -> Output {
        self.spawn(command, options).wait_with_output().unwrap()
    }

    /// Runs a command that must succeed, and says how long it took.
    #[track_caller]
    pub(crate) fn finish(&self, command: &str, options: &[String]) -> Duration {
        let began = Instant::now();
        let output = self.run(command, options);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "efface {command}: {stderr}");
        began.elapsed()
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, files);
                } else {
                    files.push(path);
                }
            }
        }
        let mut files = Vec::new();
        collect(&self.root, &mut files);
        files
    }

    pub(crate) fn leftovers(&self) -> usize {
        let files = self.files().into_iter();
        files
            .filter(|path| path.to_string_lossy().ends_with(TEMPORARY_SUFFIX))
            .count()
    }
}

/// The options of a delete of these people.
pub(crate) fn delete_of(people: impl Iterator<Item = usize>) -> Vec<String> {
    let mut options: Vec<String> = ["--unknown", "report", "--max-match", "1"]
        .map(str::to_owned)
        .into();
    options.extend(people.flat_map(|number| ["--id".to_owned(), person(number)]));
    options
}
