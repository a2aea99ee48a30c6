//! Open files: read at positions, and written in order.

use std::any::Any;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::copy_file_range;

use crate::io::{ReadAt, Sink};
use crate::limits;

/// A file that is read at positions.
pub struct PositionedFile {
    file: File,
    len: u64,
}

impl PositionedFile {
    /// Reads `file`, which must not change while it is read.
    ///
    /// # Errors
    /// When its length can't be had.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl ReadAt for PositionedFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn origin(&self) -> Option<&dyn Any> {
        Some(&self.file)
    }
}

/// A shorter copy costs less through the buffer than the system calls that a copy in the kernel takes.
const KERNEL_COPY_BYTES_MIN: u64 = 64 << 10;

/// A file that is written in order, through a buffer.
pub struct FileSink {
    file: File,
    buffer: Vec<u8>,
}

impl FileSink {
    /// Writes to `file` from where it stands on.
    pub fn new(file: File) -> Self {
        let buffer = Vec::new();
        Self { file, buffer }
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// What waits for its sync holds no buffer.
    fn release_buffer(&mut self) -> io::Result<()> {
        self.flush_buffer()?;
        self.buffer = Vec::new();
        Ok(())
    }
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > limits::WRITE_BYTES {
            self.flush_buffer()?;
        }
        if bytes.len() >= limits::WRITE_BYTES {
            return self.file.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.release_buffer()
    }
}

impl Sink for FileSink {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        let mut offset = range.start;
        if let Some(file) = source
            .origin()
            .and_then(|origin| origin.downcast_ref::<File>())
            && range.end - range.start >= KERNEL_COPY_BYTES_MIN
        {
            self.flush_buffer()?;
            while offset < range.end {
                let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
                match copy_file_range(file, Some(&mut offset), &self.file, None, left) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    // Not every file system can: those bytes are read and written below.
                    Err(_) => break,
                }
            }
            self.file.seek(io::SeekFrom::End(0))?;
        }
        while offset < range.end {
            if self.buffer.len() >= limits::WRITE_BYTES {
                self.flush_buffer()?;
            }
            let have = self.buffer.len();
            let len = usize::try_from(range.end - offset)
                .unwrap_or(usize::MAX)
                .min(limits::WRITE_BYTES - have);
            self.buffer.resize(have + len, 0);
            let (_, part) = self.buffer.split_at_mut(have);
            if let Err(error) = source.read_at(offset, part) {
                self.buffer.truncate(have);
                return Err(error);
            }
            offset += len as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush_buffer()?;
        self.file.sync_all()
    }
}
