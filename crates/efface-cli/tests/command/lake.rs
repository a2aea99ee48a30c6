//! A small dataset, and the command run on it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::array::{StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use tempfile::TempDir;

/// Is part of every subject id, and of nothing else that could be printed.
pub(crate) const MARK: &str = "person~";

/// Rows in each shard of [`Lake::new`], in row groups of [`GROUP_ROWS`].
pub(crate) const SHARD_ROWS: usize = 80;

/// Rows in each row group.
pub(crate) const GROUP_ROWS: usize = 40;

/// Shards of [`Lake::new`].
pub(crate) const SHARDS: [&str; 3] = ["day=1/a.parquet", "day=1/b.parquet", "day=2/a.parquet"];

/// Different people of [`Lake::new`]; each has a row in every shard.
pub(crate) const PEOPLE: usize = 20;

/// When [`Lake::new`]'s first event was: 2026-01-01.
const FIRST_US: i64 = 1_767_225_600_000_000;

/// The id of one of the people.
pub(crate) fn person(number: usize) -> String {
    format!("{MARK}{number:02}")
}

/// A dataset directory, with room beside it.
pub(crate) struct Lake {
    room: TempDir,
    /// The dataset, below it.
    dataset: String,
    environment: Vec<(&'static str, String)>,
}

/// What one run of the command did.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit status.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: String,
}

/// One event: whose, on which device, and when. The row's number is its amount.
pub(crate) struct Event {
    /// The subject column.
    pub(crate) who: Option<String>,
    /// Another column that could be one.
    pub(crate) device: String,
    /// Microseconds since 1970.
    pub(crate) time_us: Option<i64>,
}

impl Run {
    /// What a process did that has ended; checks that no subject id is on standard error.
    #[track_caller]
    pub(crate) fn of(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            !stderr.contains(MARK),
            "a subject id was printed to standard error: {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self {
            status: output.status.code().expect("no signal ends the command"),
            stdout: output.stdout,
            stderr,
        }
    }
}

impl Lake {
    /// Three shards of two row groups; row `n` is of person `n % PEOPLE`, an hour after row `n - 1`.
    pub(crate) fn new() -> Self {
        let lake = Self::without_shards();
        let mut row = 0;
        for shard in SHARDS {
            let events = (0..SHARD_ROWS).map(|_| {
                row += 1;
                Event {
                    who: Some(person((row - 1) % PEOPLE)),
                    device: format!("{MARK}device-{}", row % 3),
                    time_us: Some(FIRST_US + i64::try_from(row).unwrap() * 3_600_000_000),
                }
            });
            lake.add_shard(shard, &events.collect::<Vec<_>>());
        }
        lake
    }

    /// A directory with nothing in it.
    pub(crate) fn without_shards() -> Self {
        let room = tempfile::tempdir().unwrap();
        fs::create_dir(room.path().join("lake")).unwrap();
        Self {
            room,
            dataset: "lake".to_owned(),
            environment: Vec::new(),
        }
    }

    /// The dataset.
    pub(crate) fn path(&self) -> PathBuf {
        self.room.path().join(&self.dataset)
    }

    /// Takes something that lies in the dataset for the dataset.
    pub(crate) fn enter(&mut self, path: &str) {
        self.dataset = format!("{}/{path}", self.dataset);
    }

    /// Something in the dataset.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// Something beside the dataset.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// Moves something out of the dataset, to a place beside it.
    #[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
    pub(crate) fn move_out(&self, path: &str, to: &str) {
        fs::rename(self.at(path), self.beside(to)).unwrap();
    }

    /// Writes a file beside the dataset and gives its path as an argument.
    pub(crate) fn note(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.beside(name);
        put(&path, bytes);
        path.to_str().unwrap().to_owned()
    }

    /// Writes a shard of these events.
    pub(crate) fn add_shard(&self, path: &str, events: &[Event]) {
        let who: StringArray = events.iter().map(|event| event.who.as_deref()).collect();
        let device = StringArray::from_iter_values(events.iter().map(|event| &event.device));
        let time: TimestampMicrosecondArray = events.iter().map(|event| event.time_us).collect();
        let amount: Float64Array = (0..events.len())
            .map(|row| Some(f64::from(u32::try_from(row).unwrap())))
            .collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("distinct_id", Arc::new(who)),
            ("device_id", Arc::new(device)),
            ("time", Arc::new(time.with_timezone("UTC"))),
            ("amount", Arc::new(amount)),
        ];
        write_parquet(
            &self.at(path),
            &RecordBatch::try_from_iter(columns).unwrap(),
        );
    }

    /// Sets a variable of the environment for the runs.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// Runs `efface COMMAND LAKE OPTIONS...` and checks that no subject id is printed.
    pub(crate) fn run(&self, command: &str, options: &[&str]) -> Run {
        let run = self.run_showing_rows(command, options);
        assert!(
            !contains(&run.stdout, MARK),
            "efface {command} printed a subject id to standard output"
        );
        run
    }

    /// Like [`run`](Self::run), for an export to standard output.
    pub(crate) fn run_showing_rows(&self, command: &str, options: &[&str]) -> Run {
        self.run_words(&self.words(command, options))
    }

    /// The words of `efface COMMAND LAKE OPTIONS...`.
    pub(crate) fn words(&self, command: &str, options: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![command.into(), self.path().into()];
        words.extend(options.iter().map(OsString::from));
        words
    }

    /// Runs `efface WORDS...` beside the dataset and checks that no subject id is on standard error.
    pub(crate) fn run_words(&self, words: &[OsString]) -> Run {
        Run::of(self.command(words).output().unwrap())
    }

    /// `efface WORDS...` beside the dataset, with nothing on standard input.
    pub(crate) fn command(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efface"));
        command
            .args(words)
            .current_dir(self.room.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed with `--json`, and gives its one document.
    pub(crate) fn json(&self, command: &str, options: &[&str]) -> Value {
        let mut options = options.to_vec();
        options.push("--json");
        let run = self.run(command, &options);
        assert_eq!(run.status, 0, "efface {command}: {}", run.stderr);
        one_document(&run.stdout)
    }

    /// Every file of the dataset but efface's own, and of what lies beside it, with its bytes.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.room.path(), &mut files);
        files.retain(|path, _| !path.starts_with(self.at("_efface")));
        files
    }

    /// Every file below `_efface`, with its bytes.
    pub(crate) fn state(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.at("_efface"), &mut files);
        files
    }

    /// The `distinct_id` of every row of the dataset, in order.
    pub(crate) fn subjects(&self) -> Vec<Option<String>> {
        let mut files = BTreeMap::new();
        collect(&self.path(), &mut files);
        files
            .keys()
            .filter(|path| path.extension().is_some_and(|ending| ending == "parquet"))
            .flat_map(|path| strings(path, "distinct_id"))
            .collect()
    }

    /// The people who have a row.
    pub(crate) fn people(&self) -> BTreeSet<String> {
        self.subjects().into_iter().flatten().collect()
    }
}

/// A lake in which one more shard, at `path`, holds four rows of one person, and another four rows each of others.
pub(crate) fn lake_of_one_each(path: &str, number: usize) -> Lake {
    let lake = Lake::without_shards();
    let events = |number: usize| -> Vec<Event> {
        let event = |row: usize| Event {
            who: Some(person(number)),
            device: "a device".to_owned(),
            time_us: Some(FIRST_US + i64::try_from(row).unwrap()),
        };
        (0..4).map(event).collect()
    };
    lake.add_shard(path, &events(number));
    for other in [4, 6, 7] {
        lake.add_shard(&format!("day=2/{other}.parquet"), &events(other));
    }
    lake
}

/// All values of a string column.
pub(crate) fn strings(path: &Path, column: &str) -> Vec<Option<String>> {
    let file = File::open(path).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .unwrap();
    let mut values = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let column = batch.column_by_name(column).unwrap().as_string::<i32>();
        values.extend(column.iter().map(|value| value.map(str::to_owned)));
    }
    values
}

/// Writes a Parquet file in row groups of [`GROUP_ROWS`].
pub(crate) fn write_parquet(path: &Path, batch: &RecordBatch) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Writes a file, with the directories that it needs.
#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
pub(crate) fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Reads a file, lets `change` change its bytes, and writes it.
pub(crate) fn alter(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    put(path, bytes);
}

/// The one JSON document that `bytes` are.
pub(crate) fn one_document(bytes: &[u8]) -> Value {
    let mut documents = serde_json::Deserializer::from_slice(bytes).into_iter();
    let first = documents.next().expect("a JSON document").unwrap();
    assert!(documents.next().is_none(), "more than one JSON document");
    first
}

/// Whether `text` occurs in `bytes`.
pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}
