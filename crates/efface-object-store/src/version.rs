//! Versions of objects: by what a store tells them apart, and which one a write expects.

use std::io;

use object_store::{GetOptions, ObjectMeta, PutMode, PutResult, UpdateVersion};

/// By what a store tells versions of an object apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// By entity tags: S3, Azure.
    Tags,
    /// By generations: Google Cloud Storage.
    Generations,
}

/// An object in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) bytes: u64,
    /// What tells this content from any other. On S3 it may be a hash of the content: who writes the same bytes again
    /// changes no tag.
    pub(crate) tag: String,
    /// When it was written, by the store's clock, in milliseconds since 1970.
    pub(crate) written_ms: i64,
}

/// What must be there for an object to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Anything,
    Nothing,
    Tag(String),
}

impl Versioning {
    /// What a store says of an object.
    pub(crate) fn found(self, meta: &ObjectMeta) -> io::Result<Found> {
        let tag = match self {
            Self::Tags => meta.e_tag.as_ref(),
            Self::Generations => meta.version.as_ref().or(meta.e_tag.as_ref()),
        };
        Ok(Found {
            bytes: meta.size,
            tag: tag.cloned().ok_or_else(no_tag)?,
            written_ms: meta.last_modified.timestamp_millis(),
        })
    }

    /// The tag of an object that was just put.
    pub(crate) fn put(self, result: PutResult) -> io::Result<String> {
        let tag = match self {
            Self::Tags => result.e_tag,
            Self::Generations => result.version.or(result.e_tag),
        };
        tag.ok_or_else(no_tag)
    }

    /// A read of the version with this tag only.
    pub(crate) fn only(self, options: GetOptions, tag: String) -> GetOptions {
        match self {
            Self::Tags => options.with_if_match(Some(tag)),
            Self::Generations => options.with_version(Some(tag)),
        }
    }

    /// A tag that no object has.
    pub(crate) fn no_tag(self) -> String {
        match self {
            Self::Tags => format!("\"{:032x}\"", 0),
            Self::Generations => "1".to_owned(),
        }
    }

    /// Whether a store keeps the version that was just put when the object is put again.
    pub(crate) fn is_kept(self, put: &PutResult) -> bool {
        // A generation is always told.
        self == Self::Tags
            && put
                .version
                .as_ref()
                .is_some_and(|version| version != "null")
    }
}

impl Expected {
    pub(crate) fn mode(self) -> PutMode {
        match self {
            Self::Anything => PutMode::Overwrite,
            Self::Nothing => PutMode::Create,
            Self::Tag(tag) => PutMode::Update(UpdateVersion {
                e_tag: Some(tag.clone()),
                version: Some(tag),
            }),
        }
    }
}

fn no_tag() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the store tells no version of its objects (no ETag), so a change by another process would not be noticed",
    )
}
