//! A refresh that is cut off at each of its changes of the disk in turn.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::storage::{Lock, Mapped, ReadAt, Sink};

/// A disk that fails everything from the n-th change on, as after a crash. The change at which
/// it stops is half done.
struct Crashing {
    disk: Disk,
    left: Arc<AtomicUsize>,
}

fn crash() -> io::Error {
    io::Error::other("crashed")
}

fn step(left: &AtomicUsize) -> io::Result<()> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    })
    .map(drop)
    .map_err(|_| crash())
}

impl Crashing {
    fn step(&self, path: &str) -> Result<()> {
        step(&self.left).map_err(Error::io("reach", path))
    }
}

impl Storage for Crashing {
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
        Ok(Box::new(CrashingSink { sink, left }))
    }
    fn replace(&self, from: &str, to: &str) -> Result<()> {
        self.step(to)?;
        self.disk.replace(from, to)
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.step(path)?;
        self.disk.remove(path)
    }
    fn map(&self, path: &str) -> Result<Mapped> {
        self.disk.map(path)
    }
    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        self.disk.lock(path, holder)
    }
}

struct CrashingSink {
    sink: Box<dyn Sink>,
    left: Arc<AtomicUsize>,
}

impl Write for CrashingSink {
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

impl Sink for CrashingSink {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        step(&self.left)?;
        self.sink.copy_from(source, range)
    }
    fn sync(&mut self) -> io::Result<()> {
        step(&self.left)?;
        self.sink.sync()
    }
}

#[test]
fn a_crash_between_any_two_steps_leaves_the_old_index_or_the_new_one() {
    let many = |id: u64| {
        (0..90)
            .map(|number| vec![id, number % 2 + 30])
            .collect::<Vec<_>>()
    };
    for crash_at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        let mut old = Lake::default();
        for (path, id) in [("a", 1), ("b", 2), ("c", 3)] {
            old.put(path, many(id));
            if path != "c" {
                drop(old.refresh(&disk, 1 << 20).unwrap());
            }
        }
        old.shards.remove("c");
        let mut new = Lake {
            shards: old.shards.clone(),
            changes: old.changes,
            ..Lake::default()
        };
        new.shards.remove("b");
        new.put("d", many(4));
        let crashing = Crashing {
            disk: disk.clone(),
            left: Arc::new(AtomicUsize::new(crash_at)),
        };
        // So little memory that runs are spilled.
        let outcome = new.refresh(&crashing, 256);
        let is_done = outcome.is_ok();
        drop(outcome);
        let index = Index::open(&disk, "distinct_id").unwrap().unwrap();
        index.verify().unwrap();
        let is_new = index.shards().iter().any(|shard| shard.path == "d");
        let lake = if is_new { &new } else { &old };
        for id in 0..IDS {
            assert_eq!(
                found(&index, &[id]).unwrap(),
                lake.truth(id),
                "crash at {crash_at}"
            );
        }
        drop(index);
        let (index, _) = new.refresh(&disk, 1 << 20).unwrap();
        new.check(&disk, &index);
        if is_done {
            assert!(crash_at > 20, "{crash_at}");
            break;
        }
    }
}
