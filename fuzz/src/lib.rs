//! What the fuzz targets share.
//!
//! * [`column`]: a file of one column as an input describes it
//! * [`filtered`]: whether a rewritten file is the naive filter of the old one
//! * [`pages`]: a file made of damaged pages whose footer holds
//! * [`story`]: what a service asks of a dataset, and what must be true after each step
//! * [`memory`]: how much memory a piece of work takes

use std::io::{self, Write};
use std::ops::Range;
use std::panic;

use efface::io::{ReadAt, Sink};

pub mod column;
pub mod filtered;
pub mod memory;
pub mod pages;
pub mod story;

#[path = "../../tests/faults/lake.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod lake;
#[path = "../../tests/oracle/mod.rs"]
mod oracle;

/// A file in memory.
#[derive(Clone)]
pub struct Bytes(pub bytes::Bytes);

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = start
            .checked_add(buffer.len())
            .and_then(|end| self.0.get(start..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}

/// A file in memory that is being written.
#[derive(Default)]
pub struct Written(pub Vec<u8>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Written {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        if range.end > source.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        source.read_at(range.start, &mut bytes)?;
        self.write_all(&bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets panics of other crates pass, since efface turns those of the `parquet` crate into errors; libFuzzer's
/// own hook would end the process before it can. One that is not turned into an error is still a find (it
/// unwinds to libFuzzer), and so is every panic in efface's own code. `SHOW_PANICS` in the environment has all told.
pub fn forgive_other_crates() {
    let find = panic::take_hook();
    panic::set_hook(Box::new(move |about| {
        let is_theirs = about.location().is_some_and(|at| {
            at.file().contains("/registry/src/") || at.file().contains("/rustc/")
        });
        if is_theirs && std::env::var_os("SHOW_PANICS").is_some() {
            eprintln!("forgiven: {about}");
        }
        if !is_theirs {
            find(about);
        }
    }));
}
