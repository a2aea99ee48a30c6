//! A small dataset of events, and a disk that fails when it is told to.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use efface::error::{Error, Result};
use efface::storage::disk::Disk;
use efface::storage::{FileInfo, Lock, Mapped, ReadAt, Sink, Storage};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

/// Rows of a row group of [`write_shard`].
pub(crate) const ROW_GROUP_ROWS: usize = 10;

/// Writes a shard with one event for each id.
pub(crate) fn write_shard(path: &Path, ids: &[&str]) {
    let numbers = 0..i64::try_from(ids.len()).unwrap();
    let texts = numbers.clone().map(|number| format!("event {number}"));
    let columns: [(&str, ArrayRef); 3] = [
        (
            "distinct_id",
            Arc::new(StringArray::from_iter_values(ids.iter())),
        ),
        ("number", Arc::new(Int64Array::from_iter_values(numbers))),
        ("text", Arc::new(StringArray::from_iter_values(texts))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Overwrites a file in place, as only somebody else would.
pub(crate) fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes.as_ref()).unwrap();
}

/// The ids of a shard, row by row, read with a reader that has nothing in common with efface.
pub(crate) fn ids_of(path: &Path) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap());
    ids_in(reader.unwrap().build().unwrap().map(|batch| batch.unwrap()))
}

/// The ids of some batches, row by row.
pub(crate) fn ids_in(batches: impl Iterator<Item = RecordBatch>) -> Vec<String> {
    let mut ids = Vec::new();
    for batch in batches {
        let column = batch.column_by_name("distinct_id").unwrap();
        let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap();
        let column = column.as_any().downcast_ref::<StringArray>().unwrap();
        ids.extend(column.iter().map(|id| id.unwrap().to_owned()));
    }
    ids
}

/// A disk that fails every change from the n-th on, as after a crash, and can still be read. The write at
/// which it stops is half done; renames and removals stop before they are done, and after.
#[derive(Clone)]
pub(crate) struct Failing {
    disk: Disk,
    left: Arc<AtomicUsize>,
}

impl Failing {
    pub(crate) fn new(root: &Path, changes: usize) -> Self {
        Self {
            disk: Disk::new(root),
            left: Arc::new(AtomicUsize::new(changes)),
        }
    }

    fn step(&self, path: &str) -> Result<()> {
        step(&self.left).map_err(|source| Error::Io {
            operation: "reach",
            path: path.to_owned(),
            source,
        })
    }
}

fn step(left: &AtomicUsize) -> io::Result<()> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    })
    .map(drop)
    .map_err(|_| io::Error::other("the power is off"))
}

impl Storage for Failing {
    fn root(&self) -> String {
        self.disk.root()
    }
    fn list(&self, dir: &str) -> Result<Vec<FileInfo>> {
        self.disk.list(dir)
    }
    fn info(&self, path: &str) -> Result<Option<FileInfo>> {
        self.disk.info(path)
    }
    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        self.disk.open(path)
    }
    fn create(&self, path: &str, like: Option<&str>) -> Result<Box<dyn Sink>> {
        self.step(path)?;
        let sink = self.disk.create(path, like)?;
        let left = Arc::clone(&self.left);
        Ok(Box::new(FailingSink { sink, left }))
    }
    fn replace(&self, from: &str, to: &str) -> Result<()> {
        self.step(to)?;
        self.disk.replace(from, to)?;
        self.step(to)
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.step(path)?;
        self.disk.remove(path)?;
        self.step(path)
    }
    fn map(&self, path: &str) -> Result<Mapped> {
        self.disk.map(path)
    }
    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        self.step(path)?;
        self.disk.lock(path, holder)
    }
}

struct FailingSink {
    sink: Box<dyn Sink>,
    left: Arc<AtomicUsize>,
}

impl Write for FailingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = step(&self.left) {
            self.sink.write_all(&bytes[..bytes.len() / 2])?;
            self.sink.flush()?;
            return Err(error);
        }
        self.sink.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Sink for FailingSink {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        step(&self.left)?;
        self.sink.copy_from(source, range)
    }
    fn sync(&mut self) -> io::Result<()> {
        step(&self.left)?;
        self.sink.sync()
    }
}
