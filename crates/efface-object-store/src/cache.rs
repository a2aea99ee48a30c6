//! Local copies of objects, to be mapped into memory.
//!
//! ```text
//!   objects/<hash of the place and key>-<hash of the version>      whole objects, published as a whole
//! ```
//! A copy of another version is never taken, and goes when a newer one is fetched. What an index segment holds is
//! checked block by block by its reader, so a damaged copy is noticed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use efface::Disk;
use efface::error::Result;
use efface::io::{Mapped, ReadAt};
use efface::state::files::StateFiles;
use efface::state::{DIRECTORY, State};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_128;

/// Where local copies of objects lie.
#[derive(Clone)]
pub struct Cache {
    kept: Option<StateFiles>,
    temporary: StateFiles,
    _directory: Arc<TempDir>,
}

impl Cache {
    /// Copies that go with the process.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn temporary() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("efface-").tempdir()?;
        Ok(Self {
            kept: None,
            temporary: StateFiles::new(Disk::new(directory.path())),
            _directory: Arc::new(directory),
        })
    }

    /// Copies of the index's files that stay in a directory, for the next process.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn in_directory(directory: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            kept: Some(StateFiles::new(Disk::new(directory.as_ref()))),
            ..Self::temporary()?
        })
    }

    /// The bytes of a file, through a copy of it. `place` is the object's and `version` that of its content.
    pub(crate) fn map(
        &self,
        (place, version): (&str, &str),
        may_keep: bool,
        file: &dyn ReadAt,
    ) -> Result<Mapped> {
        let kept = self.kept.as_ref().filter(|_| may_keep);
        let files = kept.unwrap_or(&self.temporary);
        let directory = format!("{DIRECTORY}/objects");
        let front = format!("{:032x}-", xxh3_128(place.as_bytes()));
        let name = format!("{front}{:032x}", xxh3_128(version.as_bytes()));
        let path = format!("{directory}/{name}");
        if kept.is_some()
            && files.has(&path)?
            && let Ok(map) = files.map(&path)
            && ReadAt::len(&map) == file.len()
        {
            return Ok(map);
        }
        let mut copy = files.create(&path)?;
        let copied = copy.copy_from(file, 0..file.len());
        copied.map_err(efface::Error::io("fetch", place))?;
        copy.publish()?;
        let map = files.map(&path)?;
        let names = files.names(&directory, &front, usize::MAX)?;
        let is_old = |other: &&String| {
            // What is mapped stays readable without a name.
            other.starts_with(&front) && (kept.is_none() || **other != name)
        };
        let old = names.iter().filter(is_old);
        let old: Vec<String> = old.map(|name| format!("{directory}/{name}")).collect();
        files.remove(&old)?;
        Ok(map)
    }

    /// A place for files that are needed in this process alone.
    pub(crate) fn scratch(&self) -> &StateFiles {
        &self.temporary
    }
}
