//! What lies in the directory of an export.

use jiff::Timestamp;
use serde::Serialize;

use super::MANIFEST;
use crate::error::{Error, Result};

/// What is in the directory.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// What the rows are of.
    pub table: String,
    /// How much of them was asked for.
    pub disclosure: String,
    /// The files, in the order of the request.
    pub subjects: Vec<Entry>,
    /// All files besides the manifest, in the order in which they were written.
    pub files: Vec<FileEntry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its BLAKE3 hash.
    pub blake3: String,
}

impl Manifest {
    /// Its JSON.
    pub(in crate::export) fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::io("write", MANIFEST)(error.into()))
    }
}

/// The file of one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The position of the subject in the request, counted from 1.
    pub position: usize,
    /// Whether anything is known of it.
    pub found: bool,
    /// The name of its file.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its BLAKE3 hash.
    pub blake3: String,
    /// The first and the last time of its rows, where they have one.
    pub time: Option<[Timestamp; 2]>,
    /// The columns that hold a value.
    pub columns: Vec<String>,
    /// The name of its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}
