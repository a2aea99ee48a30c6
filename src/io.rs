//! Bytes that are read at positions, and bytes that are written in order. Everything below the tables and the state
//! uses only these.
//!
//! ```text
//!   ReadAt ── read_at, read_ranges ──> bytes      (positioned; shared between threads)
//!   Sink <── write, copy_from(ReadAt, range)      (in order; durable once `sync` returns)
//!   Mapped                                        (an immutable file as bytes)
//! ```
//!
//! # Invariants
//! A published file is never modified, only replaced, so a [`ReadAt`] or a [`Mapped`] keeps its content for as long
//! as it lives, whatever happens to the path that it was opened by. Where a store can't keep the old content, reading
//! ends in the error [`replaced`](crate::error::replaced), and never in other bytes.

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

/// A local read of fewer bytes costs as much as its system call.
const LOCAL_REQUEST_BYTES_MIN: u64 = 512;

/// Copying so many bytes costs less than the system calls of reading them page after page.
const LOCAL_WHOLE_BYTES_MAX: u64 = 64 << 10;

/// A file that is read at positions.
#[expect(
    clippy::len_without_is_empty,
    reason = "no caller treats an empty file differently from one that is too short"
)]
pub trait ReadAt: Send + Sync {
    /// The length of the file in bytes.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// When the file ends too early, or reading fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Reads several ranges, in their order. The default reads one by one; a remote file joins neighbours and asks
    /// for all of them at once.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at).
    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let read = |range: &Range<u64>| {
            let len = usize::try_from(range.end.saturating_sub(range.start))
                .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            let mut buffer = vec![0; len];
            self.read_at(range.start, &mut buffer)?;
            Ok(buffer.into())
        };
        ranges.iter().map(read).collect()
    }

    /// Fewer bytes than this aren't worth a request of their own: 512 on a disk, some 256 KiB on an object store.
    fn request_bytes_min(&self) -> u64 {
        LOCAL_REQUEST_BYTES_MIN
    }

    /// A file of no more bytes than this is best read whole, by one request.
    fn whole_bytes_max(&self) -> u64 {
        LOCAL_WHOLE_BYTES_MAX.max(self.request_bytes_min())
    }

    /// A value by which a [`Sink`] of the same table recognises the file, to copy spans of it without moving the
    /// bytes through this process: on a disk, the open [`std::fs::File`].
    fn origin(&self) -> Option<&dyn Any> {
        None
    }
}

/// Gives a file back with its bytes in memory if it is short, as it is otherwise.
///
/// # Errors
/// When it can't be read.
pub(crate) fn short_in_memory(file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    let len = file.len();
    if len > file.whole_bytes_max() {
        return Ok(file);
    }
    let whole = std::iter::once(0..len).collect::<Vec<_>>();
    let bytes = file.read_ranges(&whole)?.pop().unwrap_or_default();
    Ok(Arc::new(ShortFile { bytes, file }))
}

/// A short file, with its bytes.
struct ShortFile {
    bytes: Bytes,
    file: Arc<dyn ReadAt>,
}

impl ShortFile {
    fn part(&self, start: u64, len: u64) -> io::Result<Range<usize>> {
        let end = start.checked_add(len).filter(|end| *end <= self.len());
        let place = |at: u64| usize::try_from(at).ok();
        match (place(start), end.and_then(place)) {
            (Some(start), Some(end)) => Ok(start..end),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl ReadAt for ShortFile {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let part = self.part(offset, buffer.len() as u64)?;
        let bytes = self.bytes.get(part).unwrap_or_default();
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let read = |range: &Range<u64>| {
            let len = range.end.saturating_sub(range.start);
            Ok(self.bytes.slice(self.part(range.start, len)?))
        };
        ranges.iter().map(read).collect()
    }

    fn request_bytes_min(&self) -> u64 {
        self.file.request_bytes_min()
    }

    fn whole_bytes_max(&self) -> u64 {
        0
    }

    fn origin(&self) -> Option<&dyn Any> {
        self.file.origin()
    }
}

/// A file that is being written.
pub trait Sink: Write + Send {
    /// Appends `range` of `source`, inside the kernel or the store if that is possible.
    ///
    /// # Errors
    /// When reading or writing fails.
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()>;

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// When writing or the sync fails.
    fn sync(&mut self) -> io::Result<()>;
}

/// How the bytes of a [`Mapped`] will be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// At scattered places: reading ahead is of no use.
    Random,
    /// In order: reading ahead helps.
    Sequential,
}

/// A holder of the bytes of a file.
pub trait Mapping: AsRef<[u8]> + Send + Sync {
    /// Takes note of how the bytes will be read from now on. This changes only the speed.
    fn advise(&self, access: Access);
}

/// An immutable file as bytes.
pub struct Mapped(Arc<dyn Mapping>);

impl Mapped {
    /// Wraps bytes that are in memory.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::of(InMemory(bytes))
    }

    /// Wraps any holder of the bytes.
    pub fn of(mapping: impl Mapping + 'static) -> Self {
        Self(Arc::new(mapping))
    }

    /// Says how the bytes will be read from now on.
    pub fn advise(&self, access: Access) {
        self.0.advise(access);
    }
}

struct InMemory<B>(B);

impl<B: AsRef<[u8]>> AsRef<[u8]> for InMemory<B> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<B: AsRef<[u8]> + Send + Sync> Mapping for InMemory<B> {
    fn advise(&self, _: Access) {}
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.len())
    }
}

impl ReadAt for Mapped {
    fn len(&self) -> u64 {
        self.deref().len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.deref().get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
