//! What is wrong with the place of a file.

use std::io;

/// Why a file can't be used, or replaced, where it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceFault {
    /// Something else is where a file is expected.
    #[error("is {found}, not a file: move it away")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },

    /// Something else is where a directory is expected.
    #[error("is {found}, not a directory: move it away")]
    NotADirectory {
        /// What it is.
        found: &'static str,
    },

    /// A shard or the alias table is a link, so replacing it would leave the bytes behind it untouched.
    #[error(
        "is a symbolic link: replacing the link would leave the rows in the file that it points to; open the dataset where the file is"
    )]
    Link,

    /// A shard or the alias table has a second name, so replacing the one would leave the bytes under the other.
    #[error(
        "has {names} names (hard links): replacing this one would leave the rows under the others; remove them, or copy the file and put the copy in its place, or let `hard_links` of the configuration keep them"
    )]
    HardLinks {
        /// How many names it has.
        names: u64,
    },

    /// A new file can't get an attribute of the one whose place it is to take, which decides who may read it.
    #[error(
        "can't be replaced: a new file can't get its {attribute} ({source}); nothing of it was touched, run as its owner or as root"
    )]
    Attribute {
        /// `owner`, `group`, `mode` or the name of an extended attribute.
        attribute: String,
        /// The system's own error.
        source: io::Error,
    },
}
