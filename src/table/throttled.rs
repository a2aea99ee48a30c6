//! A table that moves so many bytes a second: whatever else uses the disk or the network keeps its share.
//!
//! ```text
//!   read, write, copy ── bytes ──> what was moved so far is paid off at a time ── is it in the future? sleep until then
//! ```
//! All threads and all files of the table share the rate. What is moved inside the kernel or the store counts once.
//! efface's own files don't count.

use std::any::Any;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{CommitUnit, Committed, Replacement, ShardRef, Snapshot, Staging, Table};
use crate::error::Result;
use crate::io::{ReadAt, Sink};

/// A copy goes in pieces, so that it doesn't stop all others at the end of a long one.
const COPY_BYTES: u64 = 4 << 20;

/// Shorter waits are put off until they are worth a call of the system.
const WAIT_MIN: Duration = Duration::from_millis(2);

/// How time passes, for a [`Rate`].
pub trait Clock: Send + Sync {
    /// The time since some moment in the past. It never goes back.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The clock of the system.
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// Bytes a second that are read and written together. Clones share them.
#[derive(Clone)]
pub struct Rate(Arc<Pace>);

struct Pace {
    bytes_per_second: NonZeroU64,
    clock: Arc<dyn Clock>,
    /// When all that was moved so far is paid off.
    paid: Mutex<Duration>,
}

impl Rate {
    /// So many bytes a second.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self::with_clock(bytes_per_second, Arc::new(SystemClock(Instant::now())))
    }

    /// The same, by another clock.
    pub fn with_clock(bytes_per_second: NonZeroU64, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Pace {
            bytes_per_second,
            clock,
            paid: Mutex::default(),
        }))
    }

    /// Waits as long as it takes to move `bytes`.
    fn take(&self, bytes: u64) {
        let Pace {
            bytes_per_second,
            clock,
            paid,
        } = &*self.0;
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.get());
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let now = clock.now();
        let wait = {
            let mut paid = paid.lock().unwrap_or_else(PoisonError::into_inner);
            // Time in which nothing was moved is not saved up.
            *paid = (*paid).max(now).saturating_add(cost);
            paid.saturating_sub(now)
        };
        if wait >= WAIT_MIN {
            clock.sleep(wait);
        }
    }
}

/// A table whose files are read and written at a rate.
pub struct Throttled {
    table: Arc<dyn Table>,
    rate: Rate,
}

impl Throttled {
    /// The same table, at this rate.
    pub fn new(table: Arc<dyn Table>, rate: Rate) -> Self {
        Self { table, rate }
    }

    fn file(&self, file: Arc<dyn ReadAt>) -> Arc<dyn ReadAt> {
        let rate = self.rate.clone();
        Arc::new(ThrottledFile { file, rate })
    }
}

impl Table for Throttled {
    fn name(&self) -> String {
        self.table.name()
    }

    fn snapshot(&self) -> Result<Snapshot> {
        self.table.snapshot()
    }

    fn check_changeable(&self) -> Result<()> {
        self.table.check_changeable()
    }

    fn find(&self, path: &str) -> Result<Option<ShardRef>> {
        self.table.find(path)
    }

    fn open(&self, shard: &ShardRef) -> Result<Arc<dyn ReadAt>> {
        self.table.open(shard).map(|file| self.file(file))
    }

    fn clock_ns(&self) -> Result<Option<i64>> {
        self.table.clock_ns()
    }

    fn check_replaceable(&self, shard: &ShardRef) -> Result<()> {
        self.table.check_replaceable(shard)
    }

    fn stage(&self, of: &ShardRef) -> Result<Box<dyn Staging>> {
        let staging = self.table.stage(of)?;
        let rate = self.rate.clone();
        Ok(Box::new(ThrottledStaging { staging, rate }))
    }

    fn settle(&self, staged: &mut [Box<dyn Staging>]) -> Result<()> {
        self.table.settle(staged)
    }

    fn share(&self, names: &[String]) -> Result<()> {
        self.table.share(names)
    }

    fn open_staged(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        self.table.open_staged(name).map(|file| self.file(file))
    }

    fn discard(&self, names: &[String]) -> Result<()> {
        self.table.discard(names)
    }

    fn commit(&self, base: &Snapshot, replacements: &[Replacement]) -> Result<Committed> {
        self.table.commit(base, replacements)
    }

    fn commit_unit(&self) -> CommitUnit {
        self.table.commit_unit()
    }

    fn recover(&self, base: &Snapshot, announced: &[String]) -> Result<()> {
        self.table.recover(base, announced)
    }

    fn room(&self) -> Result<Option<u64>> {
        self.table.room()
    }

    fn open_files_max(&self) -> Option<u64> {
        self.table.open_files_max()
    }

    fn neighbour(&self, path: &str) -> Result<Arc<dyn Table>> {
        let table = self.table.neighbour(path)?;
        Ok(Arc::new(Self::new(table, self.rate.clone())))
    }

    fn resolve(&self, path: &str) -> Result<Option<String>> {
        self.table.resolve(path)
    }
}

struct ThrottledFile {
    file: Arc<dyn ReadAt>,
    rate: Rate,
}

impl ReadAt for ThrottledFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.rate.take(buffer.len() as u64);
        self.file.read_at(offset, buffer)
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let lengths = ranges
            .iter()
            .map(|range| range.end.saturating_sub(range.start));
        self.rate.take(lengths.fold(0, u64::saturating_add));
        self.file.read_ranges(ranges)
    }

    fn request_bytes_min(&self) -> u64 {
        self.file.request_bytes_min()
    }

    fn whole_bytes_max(&self) -> u64 {
        self.file.whole_bytes_max()
    }

    fn origin(&self) -> Option<&dyn Any> {
        self.file.origin()
    }
}

struct ThrottledStaging {
    staging: Box<dyn Staging>,
    rate: Rate,
}

impl Write for ThrottledStaging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.staging.write(bytes)?;
        self.rate.take(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.staging.flush()
    }
}

impl Sink for ThrottledStaging {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(COPY_BYTES));
            self.rate.take(end - start);
            self.staging.copy_from(source, start..end)?;
            start = end;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.staging.sync()
    }
}

impl Staging for ThrottledStaging {
    fn name(&self) -> &str {
        self.staging.name()
    }

    fn left_out(&self) -> &[String] {
        self.staging.left_out()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that only sleeping moves.
    #[derive(Default)]
    struct Fake {
        now: Mutex<Duration>,
        waits: Mutex<u32>,
    }

    impl Clock for Fake {
        fn now(&self) -> Duration {
            *self.now.lock().unwrap()
        }

        fn sleep(&self, time: Duration) {
            *self.now.lock().unwrap() += time;
            *self.waits.lock().unwrap() += 1;
        }
    }

    #[test]
    fn what_is_moved_takes_its_time_and_idle_time_is_not_saved_up() {
        let clock = Arc::new(Fake::default());
        let rate = Rate::with_clock(NonZeroU64::new(1000).unwrap(), Arc::clone(&clock) as _);
        rate.take(500);
        assert_eq!(clock.now(), Duration::from_millis(500));
        // One byte is a millisecond: every second one waits.
        for _ in 0..10 {
            rate.take(1);
        }
        assert_eq!(clock.now(), Duration::from_millis(510));
        assert_eq!(*clock.waits.lock().unwrap(), 6);
        clock.sleep(Duration::from_mins(1));
        rate.take(100);
        assert_eq!(clock.now(), Duration::from_millis(60_610));
        let all = Rate::with_clock(NonZeroU64::MAX, Arc::clone(&clock) as _);
        all.take(u64::MAX);
        rate.take(u64::MAX);
        assert!(clock.now() > Duration::from_secs(1 << 33));
    }
}
