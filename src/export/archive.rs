//! An export as one file: a zip with the data files, the pages for people, and a manifest.
//!
//! ```text
//!   subject-0001.csv subject-0001.html .. index.html    or rows.jsonl    each with its BLAKE3 hash in:
//!   manifest.json
//! ```
//!
//! It is written in order, without going back. Text is deflated; Parquet and Arrow are stored, so that a Parquet file can
//! be read where it lies. Names hold no id, and all times are that of the format's beginning: the same rows give the
//! same bytes.
//!
//! Memory: that of [`per_subject`](super::per_subject), and a window of the compression.

use std::io::{self, Write};

use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::disclosed::{BySubject, Disclosed};
use super::per_subject::{FileEntry, Files, Hashing, Layout, MANIFEST, Manifest, write_files};
use super::sink::{self, Format};
use crate::error::{Error, Result};
use crate::plan::SubjectPlan;
use crate::state::State;

/// A zip that is being written.
pub struct Archive<W: Write> {
    zip: ZipWriter<StreamWriter<W>>,
}

/// What became an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Rows, or headers.
    pub rows: u64,
    /// Files besides the manifest.
    pub files: u64,
}

impl<W: Write + Send> Archive<W> {
    /// One that goes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            zip: ZipWriter::new_stream(out),
        }
    }

    /// A data file for each subject, and pages if the layout has them. Temporary files go to `spools`.
    ///
    /// # Errors
    /// Those of [`per_subject::write`](super::per_subject::write).
    pub fn write_subjects(
        mut self,
        export: BySubject,
        subjects: &[SubjectPlan],
        spools: &dyn State,
        layout: &Layout,
    ) -> Result<(W, Packed)> {
        let manifest = write_files(export, subjects, spools, &mut self, layout)?;
        let rows = manifest.subjects.iter().map(|entry| entry.rows).sum();
        self.finish(&manifest, rows)
    }

    /// One data file with the rows of all subjects.
    ///
    /// # Errors
    /// Those of [`sink::write`].
    pub fn write_rows(
        mut self,
        export: &mut Disclosed,
        (table, disclosure): (String, String),
        format: Format,
    ) -> Result<(W, Packed)> {
        let name = format!("rows.{}", format.ending());
        let (written, file) = self.put(&name, |to| sink::write(export, format, to))?;
        let manifest = Manifest {
            table,
            disclosure,
            subjects: Vec::new(),
            files: vec![file],
        };
        self.finish(&manifest, written.rows)
    }

    fn finish(mut self, manifest: &Manifest, rows: u64) -> Result<(W, Packed)> {
        let text = manifest.text()?;
        self.put(MANIFEST, |to| {
            to.write_all(&text).map_err(Error::io("write", MANIFEST))
        })?;
        let files = manifest.files.len() as u64;
        let out = self.zip.finish().map_err(failed(MANIFEST))?;
        Ok((out.into_inner(), Packed { rows, files }))
    }
}

impl<W: Write + Send> Files for Archive<W> {
    fn put<T>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<T>,
    ) -> Result<(T, FileEntry)> {
        let is_packed = [".parquet", ".arrow"].iter().any(|end| name.ends_with(end));
        let method = if is_packed {
            CompressionMethod::Stored
        } else {
            CompressionMethod::Deflated
        };
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o600)
            // How long it gets is not known yet.
            .large_file(true);
        self.zip.start_file(name, options).map_err(failed(name))?;
        let mut hashing = Hashing::new(&mut self.zip);
        let filled = fill(&mut hashing)?;
        Ok((filled, hashing.file(name)))
    }
}

fn failed(name: &str) -> impl FnOnce(zip::result::ZipError) -> Error {
    move |error| {
        let source = match error {
            zip::result::ZipError::Io(source) => source,
            other => io::Error::other(other),
        };
        Error::io("write", name)(source)
    }
}
