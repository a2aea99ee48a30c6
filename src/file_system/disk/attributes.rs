//! What goes with a file besides its bytes: owner, group, mode, access control lists, extended attributes.
//!
//! A file that takes another one's place gets all of it while it is empty, and before that nobody but us can open it.
//! So who couldn't read the old file can't read the new one at any moment.
//!
//! | attribute | in the new file |
//! |---|---|
//! | owner, group, mode, ACLs, labels, `user.*` | the same, or the old file isn't replaced |
//! | of the content: checksums, `security.ima`, `security.evm`, `security.capability` | left out, and reported |
//! | all others: `trusted.*`, those of file systems | the same where the system lets us, else reported |

use std::ffi::{CStr, CString};
use std::fs::File;

use rustix::fs::{
    FileType, Gid, Mode, Uid, XattrFlags, fchmod, fchown, fgetxattr, fgetxattr_query, flistxattr,
    flistxattr_query, fremovexattr, fsetxattr, fstat,
};
use rustix::io::Errno;

use crate::error::{Error, PlaceFault, Result};

const ACL: &str = "system.posix_acl_access";

/// The list of access that a directory gives to what is made in it.
const ACL_BY_DEFAULT: &str = "system.posix_acl_default";

/// Bits of a mode that are about access.
const MODE: u32 = 0o7777;

/// Words in the names of `user.*` attributes that say something of the content: a new content makes them wrong.
const OF_CONTENT: [&str; 24] = [
    "checksum",
    "checksums",
    "cksum",
    "md5",
    "md5sum",
    "sha",
    "sha1",
    "sha1sum",
    "sha224",
    "sha256",
    "sha256sum",
    "sha384",
    "sha512",
    "sha512sum",
    "crc",
    "crc32",
    "crc32c",
    "xxh3",
    "xxhash",
    "blake2b",
    "blake3",
    "hash",
    "digest",
    "etag",
];

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The new file has it, or isn't made.
    Kept,
    /// The new file has it where the system lets us.
    Offered,
    /// It was about the old content.
    LeftOut,
}

/// What goes with a file.
pub(super) struct Attributes {
    owner: Uid,
    group: Gid,
    mode: u32,
    extended: Vec<(CString, Vec<u8>)>,
    left_out: Vec<String>,
}

impl Attributes {
    /// Those of a file.
    pub(super) fn of(file: &File, path: &str) -> Result<Self> {
        let failed = |errno: Errno| Error::io("look at the attributes of", path)(errno.into());
        let found = fstat(file).map_err(failed)?;
        let mut extended = Vec::new();
        let mut left_out = Vec::new();
        for name in names(file).map_err(failed)? {
            if fate(&name.to_string_lossy()) == Fate::LeftOut {
                left_out.push(name.to_string_lossy().into_owned());
            } else if let Some(value) = value(file, &name).map_err(failed)? {
                extended.push((name, value));
            }
        }
        // A file takes no `user.*` attributes any more once its mode is that of one that can't be written.
        extended.sort_by_key(|(name, _)| is_acl(name));
        Ok(Self {
            owner: Uid::from_raw(found.st_uid),
            group: Gid::from_raw(found.st_gid),
            mode: found.st_mode & MODE,
            extended,
            left_out,
        })
    }

    /// Gives them to an empty file, which only we can open yet. Gives the names of those that it lacks.
    ///
    /// # Errors
    /// [`PlaceFault::Attribute`] when it can't get one that it must have; `path` is the old file.
    pub(super) fn give(&self, to: &File, path: &str) -> Result<Vec<String>> {
        let refused = |attribute: &str, errno: Errno| Error::Place {
            path: path.to_owned(),
            fault: PlaceFault::Attribute {
                attribute: attribute.to_owned(),
                source: errno.into(),
            },
        };
        let now = fstat(to).map_err(|errno| refused("mode", errno))?;
        if now.st_gid != self.group.as_raw() {
            fchown(to, None, Some(self.group)).map_err(|errno| refused("group", errno))?;
        }
        if now.st_uid != self.owner.as_raw() {
            fchown(to, Some(self.owner), None).map_err(|errno| refused("owner", errno))?;
        }
        let mut left_out = self.left_out.clone();
        if !self.extended.iter().any(|(name, _)| is_acl(name)) {
            // One that the directory gives to every new file lets others in as soon as the mode does.
            remove(to, ACL).map_err(|errno| refused(ACL, errno))?;
        }
        for (name, bytes) in &self.extended {
            if value(to, name).is_ok_and(|value| value.as_ref() == Some(bytes)) {
                continue;
            }
            let text = name.to_string_lossy();
            match fsetxattr(to, &**name, bytes, XattrFlags::empty()) {
                Ok(()) => {}
                Err(_) if fate(&text) == Fate::Offered => left_out.push(text.into_owned()),
                Err(errno) => return Err(refused(&text, errno)),
            }
        }
        set_mode(to, self.mode).map_err(|errno| refused("mode", errno))?;
        let now = fstat(to).map_err(|errno| refused("mode", errno))?;
        // The system drops bits that it doesn't let us set.
        if now.st_mode & MODE != self.mode {
            return Err(refused("mode", Errno::PERM));
        }
        left_out.sort_unstable();
        Ok(left_out)
    }
}

/// Whether a file or directory has a list of access, or a directory has one for what is made in it.
pub(super) fn has_acl(file: &File) -> bool {
    let mut lists = [ACL, ACL_BY_DEFAULT].into_iter();
    lists.any(|list| fgetxattr_query(file, list).is_ok())
}

/// Removes these lists.
pub(super) fn remove_acls(file: &File) -> Result<(), Errno> {
    remove(file, ACL)?;
    if FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory {
        remove(file, ACL_BY_DEFAULT)?;
    }
    Ok(())
}

fn remove(file: &File, name: &str) -> Result<(), Errno> {
    match fremovexattr(file, name) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        removed => removed,
    }
}

/// Sets the bits of a mode that are about access.
pub(super) fn set_mode(file: &File, mode: u32) -> Result<(), Errno> {
    fchmod(file, Mode::from_raw_mode(mode & MODE))
}

fn fate(name: &str) -> Fate {
    match name {
        "security.ima" | "security.evm" | "security.capability" => Fate::LeftOut,
        ACL | "system.nfs4_acl" | "system.richacl" | "security.selinux" => Fate::Kept,
        _ if name.starts_with("security.SMACK64") => Fate::Kept,
        _ => match name.strip_prefix("user.") {
            Some(name) if is_of_content(name) => Fate::LeftOut,
            Some(_) => Fate::Kept,
            None => Fate::Offered,
        },
    }
}

fn is_acl(name: &CStr) -> bool {
    name.to_bytes() == ACL.as_bytes()
}

fn is_of_content(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| OF_CONTENT.contains(&word))
}

/// The names of a file's extended attributes.
fn names(file: &File) -> Result<Vec<CString>, Errno> {
    loop {
        let bytes = match flistxattr_query(file) {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let mut names = vec![0; bytes];
        match flistxattr(file, &mut names[..]) {
            // One came meanwhile.
            Err(Errno::RANGE) => {}
            length => {
                names.truncate(length?);
                let names = names
                    .split(|byte| *byte == 0)
                    .filter(|name| !name.is_empty());
                return Ok(names.filter_map(|name| CString::new(name).ok()).collect());
            }
        }
    }
}

/// The value of an extended attribute; `None` when the file hasn't got it.
fn value(file: &File, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    loop {
        let bytes = match fgetxattr_query(file, name) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            bytes => bytes?,
        };
        let mut value = vec![0; bytes];
        match fgetxattr(file, name, &mut value[..]) {
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA) => return Ok(None),
            length => {
                value.truncate(length?);
                return Ok(Some(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_describe_the_content_are_told_from_others_by_their_names() {
        for name in [
            "user.checksum",
            "user.md5",
            "user.MD5Sum",
            "user.shatag.sha256",
            "user.xdg.etag",
            "user.file-crc32c",
            "security.ima",
            "security.evm",
            "security.capability",
        ] {
            assert_eq!(fate(name), Fate::LeftOut, "{name}");
        }
        for name in [
            ACL,
            "security.selinux",
            "user.owner",
            "user.dash",
            "user.hashtag",
            "user.retention",
        ] {
            assert_eq!(fate(name), Fate::Kept, "{name}");
        }
        for name in ["trusted.x", "btrfs.compression", "lustre.lov"] {
            assert_eq!(fate(name), Fate::Offered, "{name}");
        }
    }
}
