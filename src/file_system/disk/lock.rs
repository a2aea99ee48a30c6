//! Locks, which go with their process.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, OFlags, flock, fstat, fsync};
use rustix::io::Errno;

use super::Disk;
use super::held::split;
use super::walk::Walker;
use crate::error::{Error, Result};
use crate::file_system::{Access, Lock, Walk};

/// More of what a holder wrote is of no use in a message.
const HOLDER_BYTES_MAX: u64 = 4096;

/// The lock goes with the file: the system releases it when the process ends, however it ends.
struct DiskLock {
    file: File,
    is_doubtful: Arc<AtomicBool>,
}

impl Lock for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        if !self.is_doubtful.load(Ordering::Relaxed) {
            // A file that still names its holder only costs the next one a sync of directories.
            let _ignored = self.file.set_len(0);
        }
    }
}

impl Disk {
    pub(super) fn take_lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        let held = self.hold_or_make(path, Access::State(None))?;
        let failed = |errno: Errno| Error::io("open", path)(errno.into());
        let made = held.open("open", OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
        // Who made the directory may not have lived to see it durable.
        let is_first = made.is_ok();
        let mut file = match made {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                held.open("open", OFlags::RDWR)?
            }
            made => made?,
        };
        let names = fstat(&file).map_err(failed)?.st_nlink;
        if names > 1 {
            // Whoever gave it the other one would have us write there.
            return Err(Error::State {
                path: path.to_owned(),
                reason: format!("has {names} names (hard links), but a lock has one: remove it"),
            });
        }
        if is_first {
            super::made::give_to_owner_of(&held.directory, &file).map_err(failed)?;
        }
        let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
        if !matches!(taken, Ok(()) | Err(Errno::WOULDBLOCK)) {
            taken.map_err(|error| Error::io("lock", path)(error.into()))?;
        }
        let mut left = String::new();
        // What can't be read is only missing from the message, or was left by a holder that did not end well.
        let is_read = (&file)
            .take(HOLDER_BYTES_MAX)
            .read_to_string(&mut left)
            .is_ok();
        if taken.is_err() {
            return Err(Error::Locked {
                path: path.to_owned(),
                // Between taking the lock and writing into it.
                holder: match left.trim() {
                    "" => "just begun".to_owned(),
                    holder => holder.to_owned(),
                },
            });
        }
        if is_first || !is_read || !left.is_empty() {
            self.sync_below(split(path).0)?;
            self.is_doubtful.store(false, Ordering::Relaxed);
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(Error::io("write", path))?;
        Ok(Box::new(DiskLock {
            file,
            is_doubtful: Arc::clone(&self.is_doubtful),
        }))
    }

    /// Syncs a directory and all below it, but not those behind links.
    fn sync_below(&self, directory: &str) -> Result<()> {
        let walk = Walk {
            wants: &|_| false,
            ..Walk::ALL
        };
        Walker::inside(walk).walk(self, directory, &mut |directory, path| {
            fsync(directory).map_err(|errno| Error::io("sync the directory", path)(errno.into()))
        })
    }
}
