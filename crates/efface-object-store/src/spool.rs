//! Bytes that wait in a local file without a name: they are gone with the process.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use efface::io::ReadAt;

/// Bytes of a part of a long object.
pub(crate) const PART_BYTES: u64 = 8 << 20;

/// Bytes are written when so many have come together.
const BUFFER_BYTES: usize = 256 << 10;

/// A local file that is being written.
pub(crate) struct Spool {
    file: Arc<File>,
    buffer: Vec<u8>,
    len: u64,
}

/// What was written to a spool so far.
#[derive(Clone)]
pub(crate) struct Spooled {
    file: Arc<File>,
    len: u64,
}

impl Spool {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(tempfile::tempfile()?),
            buffer: Vec::new(),
            len: 0,
        })
    }

    pub(crate) fn so_far(&mut self) -> io::Result<Spooled> {
        self.flush()?;
        Ok(Spooled {
            file: Arc::clone(&self.file),
            len: self.len,
        })
    }

    /// Appends a range of another file.
    pub(crate) fn copy(
        &mut self,
        source: &dyn ReadAt,
        range: std::ops::Range<u64>,
    ) -> io::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(PART_BYTES));
            let part = std::iter::once(start..end).collect::<Vec<_>>();
            for bytes in source.read_ranges(&part)? {
                self.write_all(&bytes)?;
            }
            start = end;
        }
        Ok(())
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut file = &*self.file;
        file.write_all(&self.buffer)?;
        self.buffer = Vec::new();
        Ok(())
    }
}

impl Spooled {
    /// All of it, part by part.
    pub(crate) fn parts(&self) -> impl Iterator<Item = io::Result<Bytes>> + use<> {
        parts(Arc::new(self.clone()))
    }
}

/// All of a file, part by part.
pub(crate) fn parts(file: Arc<dyn ReadAt>) -> impl Iterator<Item = io::Result<Bytes>> + Send {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = file.len().min(start + PART_BYTES);
        let part = (start < end).then_some(start..end)?;
        start = end;
        let read = file.read_ranges(std::slice::from_ref(&part));
        Some(read.map(|mut read| read.pop().unwrap_or_default()))
    })
}

impl ReadAt for Spooled {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, offset)
    }
}
