//! Locks, which go with their process.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, OFlags, flock, fsync};
use rustix::io::Errno;

use super::Disk;
use super::held::split;
use super::walk::Walker;
use crate::error::{Error, Result};
use crate::file_system::{Access, Lock, Walk};

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
        // Who made the directory may not have lived to see it durable.
        let is_first = held.look()?.is_none();
        let mut file = held.open("open", OFlags::RDWR | OFlags::CREATE)?;
        if is_first {
            super::made::give_to_owner_of(&held.directory, &file)
                .map_err(|errno| Error::io("open", path)(errno.into()))?;
        }
        let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
        if !matches!(taken, Ok(()) | Err(Errno::WOULDBLOCK)) {
            taken.map_err(|error| Error::io("lock", path)(error.into()))?;
        }
        let mut left = String::new();
        // What can't be read is only missing from the message, or was left by a holder that did not end well.
        let is_read = file.read_to_string(&mut left).is_ok();
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
        Walker::new(walk).walk(self, directory, &mut |directory, path| {
            fsync(directory).map_err(|errno| Error::io("sync the directory", path)(errno.into()))
        })
    }
}
