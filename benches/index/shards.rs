//! What planning costs in a dataset of 1000, 10,000 and 100,000 shards.
//!
//! The shards are faked: each is a copy of one small file in which the ids are overwritten, made when it is opened.
//! What a disk takes for its list and its reads is so left out, and what is left is efface's own.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use efface::file_system::{Access, FileInfo, FileSystem, Lock, NewFile, Walk};
use efface::index::Index;
use efface::io::{Mapped, ReadAt};
use efface::state::files::StateFiles;
use efface::subject::SubjectHash;
use efface::{Disk, Engine, EngineOptions, Request, Result, Subjects};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{SEED, median, memory};

/// Row groups of a shard, and ids of a row group; each id is in one row group of its shard.
const ROW_GROUPS: usize = 2;
const IDS: usize = 4;
const ID_BYTES: usize = 12;

/// The dataset: the shards are made up, all else is on a disk.
#[derive(Clone)]
struct Faked {
    disk: Disk,
    shards: usize,
    template: Vec<u8>,
    /// Where the ids are in the template.
    places: Vec<usize>,
}

fn id(number: usize) -> String {
    format!("u{number:011}")
}

impl Faked {
    fn new(disk: Disk, shards: usize) -> Self {
        let properties = WriterProperties::builder()
            .set_statistics_enabled(EnabledStatistics::None)
            .set_max_row_group_row_count(Some(IDS))
            .build();
        let ids: Vec<String> = (0..ROW_GROUPS * IDS).map(id).collect();
        let column: ArrayRef = Arc::new(StringArray::from(ids.clone()));
        let batch = RecordBatch::try_from_iter([("distinct_id", column)]).unwrap();
        let mut template = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut template, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let place = |id: &String| {
            let mut found = template.windows(ID_BYTES).enumerate();
            let (at, _) = found.find(|(_, bytes)| *bytes == id.as_bytes()).unwrap();
            at
        };
        Self {
            disk,
            shards,
            places: ids.iter().map(place).collect(),
            template,
        }
    }

    fn path(number: usize) -> String {
        format!("day={:04}/part-{number:06}.parquet", number / 100)
    }

    fn number(path: &str) -> Option<usize> {
        let (_, number) = path.strip_suffix(".parquet")?.rsplit_once("part-")?;
        number.parse().ok()
    }

    fn file(&self, path: String) -> FileInfo {
        FileInfo {
            path,
            size: self.template.len() as u64,
            modified_ns: 1,
            changed_ns: 1,
            is_link: false,
            is_file: true,
            names: 1,
        }
    }
}

struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}

impl FileSystem for Faked {
    fn root(&self) -> String {
        self.disk.root()
    }
    fn list(&self, dir: &str, walk: Walk<'_>) -> Result<Vec<FileInfo>> {
        let mut files = self.disk.list(dir, walk)?;
        if dir.is_empty() {
            files.extend((0..self.shards).map(|number| self.file(Self::path(number))));
            files.sort_by(|left, right| left.path.cmp(&right.path));
        }
        Ok(files)
    }
    fn info(&self, path: &str) -> Result<Option<FileInfo>> {
        match Self::number(path) {
            Some(_) => Ok(Some(self.file(path.to_owned()))),
            None => self.disk.info(path),
        }
    }
    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        let Some(number) = Self::number(path) else {
            return self.disk.open(path);
        };
        let mut bytes = self.template.clone();
        for (at, place) in self.places.iter().enumerate() {
            let id = id(number * self.places.len() + at);
            bytes[*place..place + ID_BYTES].copy_from_slice(id.as_bytes());
        }
        Ok(Arc::new(Bytes(bytes)))
    }
    fn create(&self, beside: &str, access: Access<'_>) -> Result<NewFile> {
        self.disk.create(beside, access)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.disk.rename(from, to)
    }
    fn rename_new(&self, from: &str, to: &str) -> Result<bool> {
        self.disk.rename_new(from, to)
    }
    fn unlink(&self, path: &str) -> Result<bool> {
        self.disk.unlink(path)
    }
    fn sync_directories(&self, files: &[&str]) -> Result<()> {
        self.disk.sync_directories(files)
    }
    fn room(&self) -> Result<Option<u64>> {
        self.disk.room()
    }
    fn clock_ns(&self) -> Result<Option<i64>> {
        self.disk.clock_ns()
    }
    fn map(&self, path: &str) -> Result<Mapped> {
        self.disk.map(path)
    }
    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        self.disk.lock(path, holder)
    }
}

/// The median time of some runs.
fn timed(rounds: usize, mut run: impl FnMut()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    median((0..rounds).map(time).collect())
}

/// Prints the curve.
pub(super) fn curve(is_measured: bool) {
    let (sizes, rounds, asked): (&[usize], _, _) = if is_measured {
        (&[1000, 10_000, 100_000], 5, 2000)
    } else {
        (&[20], 1, 20)
    };
    for shards in sizes {
        let dir = tempfile::tempdir().unwrap();
        let files = Faked::new(Disk::new(dir.path()), *shards);
        let options = EngineOptions {
            seed_if_new: SEED,
            ..EngineOptions::default()
        };
        let engine = Engine::open_files(files.clone(), options).unwrap();
        let state = StateFiles::new(files.clone());
        let built = timed(1, || drop(engine.refresh().unwrap()));
        let all = shards * ROW_GROUPS * IDS;
        let ids: Vec<String> = (0..asked)
            .map(|number| id(number * (all / asked)))
            .collect();
        let subjects = Subjects::new(ids.iter().map(String::as_str)).unwrap();
        let request = Request::export(subjects, "2026-01-31T12:00:00Z".parse().unwrap());
        let listed = timed(rounds, || drop(files.list("", Walk::ALL).unwrap()));
        let refreshed = timed(rounds, || drop(engine.refresh().unwrap()));
        let opened = timed(rounds, || {
            drop(Index::open(&state, "").unwrap().unwrap());
        });
        let index = Index::open(&state, "").unwrap().unwrap();
        let hashes: Vec<SubjectHash> = ids
            .iter()
            .map(|id| SubjectHash::of(id.as_bytes(), index.seed()))
            .collect();
        let looked_up = timed(rounds, || {
            let candidates = index.candidates(&hashes).unwrap();
            assert_eq!(candidates.len(), asked.min(*shards));
        });
        let bytes = index.stats().unwrap().bytes;
        drop(index);
        let before = memory::reset_peak();
        let mut planned = Vec::new();
        for _ in 0..rounds {
            planned.push(timed(1, || {
                assert_eq!(engine.plan(&request).unwrap().rows, asked as u64);
            }));
        }
        let peak = memory::peak() - before;
        println!(
            "shards/{shards}: built {built:.1?}; list {listed:.1?}, open the index ({bytes} bytes) {opened:.1?}, look {asked} ids up {looked_up:.1?}, refresh {refreshed:.1?}; plan {asked} ids {:.1?}, {} KiB more memory",
            median(planned),
            peak >> 10,
        );
    }
}
