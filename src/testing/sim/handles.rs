//! What is open: a file that is read, one that is written, a lock.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use super::faults::power_is_off;
use super::files::Id;
use super::{Operation, Sim};
use crate::file_system::Lock;
use crate::io::{ReadAt, Sink};

/// Bytes that a sink holds back until it is flushed.
const BUFFER_BYTES: usize = 4 << 10;

pub(super) struct SimFile {
    pub(super) sim: Sim,
    pub(super) bytes: Arc<Vec<u8>>,
}

impl ReadAt for SimFile {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.sim.step(Operation::Read)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let found = self.bytes.get(start..end);
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Lets a [`Mapped`] hold shared bytes.
pub(super) struct SharedBytes(pub(super) Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Holds back what isn't flushed; what it holds when it is dropped is lost.
pub(super) struct SimSink {
    sim: Sim,
    id: Id,
    buffer: Vec<u8>,
}

impl SimSink {
    pub(super) fn new(sim: Sim, id: Id) -> Self {
        let buffer = Vec::new();
        Self { sim, id, buffer }
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        if self.sim.is_off() {
            return Err(power_is_off());
        }
        self.append_buffer()
    }

    fn append_buffer(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        if self.sim.files().append(self.id, &buffer) {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    fn hold(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush_buffer()
    }

    /// Writes `bytes`; half of them, if the operation is the one that fails.
    fn append(&mut self, operation: Operation, bytes: &[u8]) -> io::Result<()> {
        let was_on = !self.sim.is_off();
        if let Err(error) = self.sim.step(operation) {
            if was_on {
                let (half, _) = bytes.split_at(bytes.len() / 2);
                self.buffer.extend_from_slice(half);
                // The simulated error is the one to report.
                let _ignored = self.append_buffer();
            }
            return Err(error);
        }
        self.hold(bytes)
    }
}

impl Write for SimSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(Operation::Write, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_buffer()
    }
}

impl Sink for SimSink {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let len = len.min(usize::try_from(source.len()).unwrap_or(usize::MAX));
        let mut bytes = vec![0; len];
        source.read_at(range.start, &mut bytes)?;
        self.append(Operation::Copy, &bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush_buffer()?;
        self.sim.step(Operation::Sync)?;
        self.sim.files().sync(self.id);
        Ok(())
    }
}

pub(super) struct SimLock {
    pub(super) sim: Sim,
    pub(super) path: String,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.sim.unlock(&self.path);
    }
}
