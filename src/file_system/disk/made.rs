//! Making files and directories that nobody else can get hold of.
//!
//! # Invariants
//! A new file has a name that nobody can foresee, is never one that was there, and can be opened by nobody else before
//! it has the owner, group and mode that it is to have. While its writer lives, it is locked: so what a process that
//! died left behind differs from what a living one is writing.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, fchown, flock, fstat, mkdirat,
    openat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::attributes::{Attributes, has_acl, remove_acls, set_mode};
use super::file::FileSink;
use super::held::{Held, READ, is_absent, is_outside, split};
use super::walk::Walker;
use super::{Disk, info_of};
use crate::error::{Error, Result};
use crate::file_system::{Access, NewFile, Walk, temporary_path};

/// The operation of errors of [`Disk::create_file`].
const CREATE: &str = "create a file beside";

/// Bits of a mode that say what the group and others may do.
const OTHERS: u32 = 0o077;

impl Access<'_> {
    /// The mode of a file, unless it is that of another one.
    fn file_mode(self) -> u32 {
        match self {
            Self::Of(_) | Self::State(None) => 0o600,
            Self::State(Some(_)) => 0o640,
            Self::Maker(mode) => mode & 0o777,
        }
    }

    /// The mode of a directory: who may read in it may enter it.
    fn directory_mode(self) -> u32 {
        let mode = self.file_mode();
        0o700 | mode & OTHERS | (mode & 0o044) >> 2
    }

    fn group(self) -> Option<Gid> {
        match self {
            Self::State(group) => group.map(Gid::from_raw),
            Self::Of(_) | Self::Maker(_) => None,
        }
    }
}

impl Disk {
    pub(super) fn create_file(&self, beside: &str, access: Access<'_>) -> Result<NewFile> {
        let failed = |errno: Errno| Error::io(CREATE, beside)(errno.into());
        let attributes = match access {
            Access::Of(like) => {
                let opened = self.open_file("open", &like.path)?;
                let now = fstat(&opened).map_err(failed)?;
                if !like.is_same(&info_of(like.path.clone(), &now, false)) {
                    return Err(Error::ShardChanged {
                        path: like.path.clone(),
                    });
                }
                Some(Attributes::of(&opened, &like.path)?)
            }
            Access::State(_) | Access::Maker(_) => None,
        };
        let held = self.hold_or_make(beside, access)?;
        let (path, file) = loop {
            let path = temporary_path(beside, RandomState::new().hash_one(beside));
            match Self::create_new(&held, split(&path).1) {
                Ok(Some(file)) => break (path, file),
                Ok(None) => {}
                Err(errno) => return Err(failed(errno)),
            }
        };
        let given = match &attributes {
            Some(attributes) => attributes.give(&file, beside),
            None => give(access, &held.directory, &file)
                .map(|()| Vec::new())
                .map_err(failed),
        };
        match given {
            Ok(left_out) => Ok(NewFile {
                path,
                sink: Box::new(FileSink::new(file)),
                left_out,
            }),
            Err(error) => {
                // The first error is the one to report.
                let _ignored = unlinkat(&held.directory, split(&path).1, AtFlags::empty());
                Err(error)
            }
        }
    }

    /// Makes a file that is ours alone; `None` if this name didn't do.
    fn create_new(held: &Held<'_>, name: &str) -> Result<Option<File>, Errno> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&held.directory, name, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => return Ok(None),
            file => File::from(file?),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Somebody who cleans up took it for a dead one before it was locked, and removes it.
            Err(Errno::WOULDBLOCK) => Ok(None),
            Ok(()) if fstat(&file)?.st_nlink == 0 => Ok(None),
            // Without locks nobody cleans up beside us.
            _ => Ok(Some(file)),
        }
    }

    pub(super) fn try_attributes(&self, path: &str) -> Result<()> {
        let file = match self.open_file("open", path) {
            // It went meanwhile; whoever replaces it finds that out.
            Err(error) if is_absent(&error) => return Ok(()),
            file => file?,
        };
        let attributes = Attributes::of(&file, path)?;
        let held = self.hold(CREATE, path)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match openat(&held.directory, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => attributes.give(&file.into(), path).map(drop),
            // Not every file system has files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let found =
                    fstat(&file).map_err(|errno| Error::io("look at", path)(errno.into()))?;
                let like = info_of(path.to_owned(), &found, false);
                let new = self.create_file(path, Access::Of(&like))?;
                self.unlink_at(&new.path).map(drop)
            }
            Err(errno) => Err(Error::io(CREATE, path)(errno.into())),
        }
    }

    pub(super) fn unlink_at(&self, path: &str) -> Result<bool> {
        let held = match self.hold("remove", path) {
            Err(error) if is_absent(&error) => return Ok(false),
            held => held?,
        };
        match unlinkat(&held.directory, held.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io("remove", path)(errno.into())),
        }
    }

    pub(super) fn unlink_if_dead(&self, path: &str) -> Result<bool> {
        let failed = |errno: Errno| Error::io("remove", path)(errno.into());
        let held = match self.hold("remove", path) {
            Err(error) if is_absent(&error) => return Ok(false),
            held => held?,
        };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |access| openat(&held.directory, held.name, flags | access, Mode::empty());
        // Network file systems lock only what is open for writing.
        let file = match open(OFlags::RDWR).or_else(|errno| match errno {
            Errno::ACCESS | Errno::ROFS => open(OFlags::RDONLY),
            errno => Err(errno),
        }) {
            Ok(file) => file,
            // What isn't ours to read isn't ours to remove; we leave neither links nor pipes.
            Err(Errno::NOENT | Errno::ACCESS | Errno::LOOP | Errno::NXIO) => return Ok(false),
            Err(errno) => return Err(failed(errno)),
        };
        let found = fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile
            || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            return Ok(false);
        }
        match statat(&held.directory, held.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) if is_same(&now, &found) => {
                match unlinkat(&held.directory, held.name, AtFlags::empty()) {
                    Ok(()) => Ok(true),
                    Err(Errno::NOENT) => Ok(false),
                    Err(errno) => Err(failed(errno)),
                }
            }
            // It got its name meanwhile.
            Ok(_) | Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Holds the directory of `path`. Those that aren't there are made, durably.
    pub(super) fn hold_or_make<'p>(&self, path: &'p str, access: Access<'_>) -> Result<Held<'p>> {
        match self.hold(CREATE, path) {
            Err(error) if is_absent(&error) && !is_outside(path) => {}
            held => return held,
        }
        let failed = |errno: Errno| Error::io("make the directory of", path)(errno.into());
        self.make_root(access).map_err(failed)?;
        let mut above = self.root_directory().map_err(failed)?;
        for (name, _) in super::held::parts(split(path).0) {
            above = make_directory(&above, name, access).map_err(failed)?;
        }
        self.hold(CREATE, path)
    }

    pub(super) fn make_directory_private(&self, dir: &str, group: Option<u32>) -> Result<()> {
        let access = Access::State(group);
        let failed = |errno: Errno| Error::io("make private", dir)(errno.into());
        let held = self.hold_or_make(dir, access)?;
        let directory = match held.look()? {
            None => {
                make_directory(&held.directory, held.name, access).map_err(failed)?;
                return Ok(());
            }
            Some(_) => self.directory("make private", dir)?,
        };
        let found = fstat(&directory).map_err(failed)?;
        let above = fstat(&held.directory).map_err(failed)?;
        let (us, owner) = (geteuid(), found.st_uid);
        // What root writes there is read by whoever owns the directory.
        if us.is_root() && owner != 0 && owner != above.st_uid {
            return Err(Error::State {
                path: dir.to_owned(),
                reason: format!(
                    "belongs to user {owner}, who owns neither what it lies in nor this process: run as that user, or \
                     change its owner"
                ),
            });
        }
        // Who may not read in it can't have its lists of access either.
        let readable = openat(&directory, ".", READ, Mode::empty()).map(File::from);
        let has_acl = readable.as_ref().is_ok_and(has_acl);
        let has_group = access
            .group()
            .is_none_or(|group| group.as_raw() == found.st_gid);
        if found.st_mode & 0o777 == access.directory_mode() && has_group && !has_acl {
            return Ok(());
        }
        let is_wide = has_acl || found.st_mode & OTHERS & !access.directory_mode() != 0;
        if !us.is_root() && us.as_raw() != owner {
            if is_wide {
                tracing::warn!(
                    path = dir,
                    owner,
                    "others may read it: only its owner can change that"
                );
            }
            return Ok(());
        }
        // The directory comes first: behind it nobody finds the rest.
        let directory = readable.map_err(failed)?;
        restrict(&directory, access.directory_mode(), access.group()).map_err(failed)?;
        if is_wide {
            tracing::warn!(
                path = dir,
                was = %format_args!("{:04o}", found.st_mode & 0o7777),
                now = %format_args!("{:04o}", access.directory_mode()),
                "others could read it: its access is now narrowed"
            );
        }
        let mut below = Walker::inside(Walk::ALL);
        below.walk(self, dir, &mut |directory, path| {
            let directory: File = openat(directory, ".", READ, Mode::empty())
                .map_err(failed)?
                .into();
            restrict(&directory, access.directory_mode(), access.group())
                .map_err(|errno| Error::io("make private", path)(errno.into()))
        })?;
        // A file that has another name elsewhere may be anybody's.
        let ours = |file: &&crate::file_system::FileInfo| file.is_file && !file.is_link;
        for file in below.files.iter().filter(ours) {
            let held = self.hold("make private", &file.path)?;
            let opened = match held.open("make private", OFlags::RDONLY) {
                Err(error) if is_absent(&error) => continue,
                opened => opened?,
            };
            if fstat(&opened).map_err(failed)?.st_nlink > 1 {
                continue;
            }
            restrict(&opened, access.file_mode(), access.group())
                .map_err(|errno| Error::io("make private", &file.path)(errno.into()))?;
        }
        Ok(())
    }

    fn make_root(&self, access: Access<'_>) -> Result<(), Errno> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(access.directory_mode())
            .create(self.at(""));
        made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// Opens the directory `name`, which is made, durably, if it isn't there.
fn make_directory(above: &OwnedFd, name: &str, access: Access<'_>) -> Result<OwnedFd, Errno> {
    let made = mkdirat(above, name, Mode::RWXU);
    if let Err(errno) = made
        && errno != Errno::EXIST
    {
        return Err(errno);
    }
    let directory = openat(above, name, READ | OFlags::NOFOLLOW, Mode::empty())?;
    if made.is_ok() {
        let directory = File::from(directory.try_clone().map_err(|_| Errno::MFILE)?);
        restrict(&directory, access.directory_mode(), access.group())?;
        if matches!(access, Access::State(_)) {
            give_to_owner_of(above, &directory)?;
        }
        rustix::fs::fsync(openat(above, ".", READ, Mode::empty())?)?;
    }
    Ok(directory)
}

/// Gives a new file the access that it is to have in `directory`.
fn give(access: Access<'_>, directory: &OwnedFd, file: &File) -> Result<(), Errno> {
    if matches!(access, Access::State(_)) {
        give_to_owner_of(directory, file)?;
    }
    restrict(file, access.file_mode(), access.group())
}

/// What root makes in somebody's directory belongs to that one, who couldn't read it otherwise.
pub(super) fn give_to_owner_of(directory: &impl AsFd, file: &File) -> Result<(), Errno> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = fstat(directory)?;
    if owner.st_uid == 0 {
        return Ok(());
    }
    fchown(
        file,
        Some(Uid::from_raw(owner.st_uid)),
        Some(Gid::from_raw(owner.st_gid)),
    )
}

/// Gives a file or directory of ours its mode, and lets nobody in whom that doesn't name: a directory gives the lists of
/// access that it has by default to all that is made in it.
fn restrict(file: &File, mode: u32, group: Option<Gid>) -> Result<(), Errno> {
    remove_acls(file)?;
    if group.is_some() {
        fchown(file, None, group)?;
    }
    set_mode(file, mode)
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
