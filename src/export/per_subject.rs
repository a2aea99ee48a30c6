//! An export as a directory: a file for each submitted id, named by its position, and a manifest.
//!
//! ```text
//!   subject-0001.jsonl  subject-0002.jsonl ...  manifest.json      (and with pages: subject-0001.html ... index.html)
//! ```
//!
//! A row that belongs to several subjects (by ids that share an alias) goes to each. No name holds an id.
//!
//! # Crash behaviour
//! Each file is written under a temporary name, synced and renamed; the manifest comes last. A directory without
//! one is of an export that didn't end. A directory that holds anything but an earlier export of this kind is
//! refused; the earlier one is replaced file by file, and what it had more is removed.
//!
//! Memory: see [`spool`](super::spool::SPOOL_BYTES), and what one file of the format takes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use arrow::record_batch::RecordBatch;

use super::disclosed::BySubject;
use super::report::{self, Facts, Page};
use super::sink::{self, Format, Written};
use super::spool::{SPOOL_BYTES, Spool};
use super::when::When;
use crate::error::{Error, Result};
use crate::file_system::TEMPORARY_SUFFIX;
use crate::plan::SubjectPlan;
use crate::state::{Expect, State};

pub use self::manifest::{Entry, FileEntry, Manifest};

pub(super) mod manifest;

/// The name of the manifest.
pub const MANIFEST: &str = "manifest.json";

/// How a directory is made.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The format of the files.
    pub format: Format,
    /// Whether there is a page for each subject as well, for people to read.
    pub has_pages: bool,
    /// Decoded bytes that are gathered before they are written to a temporary file.
    pub spool_bytes: usize,
}

impl Layout {
    /// Files of this format, without pages.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            has_pages: false,
            spool_bytes: SPOOL_BYTES,
        }
    }

    /// An archive for people: pages, and CSV that spreadsheets can be trusted with.
    pub fn report() -> Self {
        Self {
            has_pages: true,
            ..Self::new(Format::Csv { safe: true })
        }
    }
}

/// Checks that `out` is empty, or holds nothing but an earlier export of this kind.
///
/// # Errors
/// [`Error::ForeignFile`] when it holds something else.
pub fn check(out: &dyn State) -> Result<()> {
    let files = out.list("")?;
    match files.iter().find(|file| !is_ours(&file.path)) {
        None => Ok(()),
        Some(other) => Err(Error::ForeignFile {
            path: other.path.clone(),
        }),
    }
}

/// Writes the directory `out`; `subjects` are the plan's.
///
/// # Errors
/// Those of [`check`] and [`sink::write`], and when a file can't be written.
pub fn write(
    export: BySubject,
    subjects: &[SubjectPlan],
    out: &dyn State,
    layout: &Layout,
) -> Result<Manifest> {
    check(out)?;
    // What writers that died left behind; those of other exports that live stay.
    out.clean_up("")?;
    let before: BTreeSet<String> = out
        .list("")?
        .into_iter()
        .map(|file| file.path)
        .filter(|path| !is_draft(path))
        .collect();
    // Until there is one again, the directory isn't whole.
    out.remove(&[MANIFEST.to_owned()])?;
    let manifest = write_files(export, subjects, out, &mut Directory { out }, layout)?;
    let mut kept: BTreeSet<String> = [MANIFEST.to_owned()].into();
    kept.extend(manifest.files.iter().map(|file| file.name.clone()));
    let stale: Vec<String> = before.difference(&kept).cloned().collect();
    out.remove(&stale)?;
    out.put(MANIFEST, &manifest.text()?, Expect::Any)?;
    Ok(manifest)
}

/// Where the files of an export go, one after the other.
pub(super) trait Files {
    /// Makes a file of what `fill` writes.
    fn put<T>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<T>,
    ) -> Result<(T, FileEntry)>;
}

/// Writes all files but the manifest, which it gives; temporary files go to `spools`.
pub(super) fn write_files(
    mut export: BySubject,
    subjects: &[SubjectPlan],
    spools: &dyn State,
    files: &mut impl Files,
    layout: &Layout,
) -> Result<Manifest> {
    let mut spool = Spool::new(spools, export.schema(), subjects.len(), layout.spool_bytes);
    export.by_ref().try_for_each(|owned| spool.add(&owned?))?;
    let pieces = spool.finish()?;
    let about = export.about();
    let when = When::of(pieces.schema(), &about.roles);
    let mut manifest = Manifest {
        table: about.table.clone(),
        disclosure: about.disclosure.to_string(),
        subjects: Vec::with_capacity(subjects.len()),
        files: Vec::new(),
    };
    let mut columns = about.columns(pieces.schema());
    for (place, subject) in subjects.iter().enumerate() {
        let name = |ending: &str| format!("subject-{:04}.{ending}", subject.position);
        let file = name(layout.format.ending());
        let mut facts = Facts::default();
        let rows = pieces.of(place).map(|batch| {
            let batch: RecordBatch = batch?;
            facts.add(&batch, &mut columns, when.as_ref(), layout.has_pages)?;
            Ok(batch)
        });
        let (written, put) = files.put(&file, |to| {
            sink::write_batches(pieces.schema(), rows, layout.format, to)
        })?;
        let Written { rows, bytes } = written;
        let mut entry = Entry {
            position: subject.position,
            found: subject.found,
            file,
            rows,
            bytes,
            blake3: put.blake3.clone(),
            time: facts.time,
            columns: facts.held_columns(&columns),
            page: None,
        };
        manifest.files.push(put);
        if layout.has_pages {
            let page = name("html");
            let of = subjects.len();
            let ((), put) = files.put(&page, |to| {
                let page = Page {
                    about: &about,
                    entry: &entry,
                    of,
                    facts: &facts,
                    columns: &columns,
                    schema: pieces.schema(),
                };
                page.write(to, pieces.of(place))
            })?;
            manifest.files.push(put);
            entry.page = Some(page);
        }
        manifest.subjects.push(entry);
    }
    if layout.has_pages {
        let ((), put) = files.put(report::INDEX, |to| report::index(to, &manifest))?;
        manifest.files.push(put);
    }
    Ok(manifest)
}

/// A directory, in which each file is whole or isn't there.
struct Directory<'a> {
    out: &'a dyn State,
}

impl Files for Directory<'_> {
    fn put<T>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<T>,
    ) -> Result<(T, FileEntry)> {
        let mut draft = self.out.create(name)?;
        let mut hashing = Hashing::new(&mut draft);
        let filled = fill(&mut hashing)?;
        let file = hashing.file(name);
        draft.publish()?;
        Ok((filled, file))
    }
}

/// Hashes and counts what is written.
pub(crate) struct Hashing<W: Write> {
    out: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    /// What was written, as a file of this name.
    pub(crate) fn file(&self, name: &str) -> FileEntry {
        FileEntry {
            name: name.to_owned(),
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..taken).unwrap_or_default());
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn is_draft(path: &str) -> bool {
    path.starts_with('.') && path.ends_with(TEMPORARY_SUFFIX) && !path.contains('/')
}

/// Whether a file of this name is one that [`write`] makes.
fn is_ours(path: &str) -> bool {
    if is_draft(path) || path == MANIFEST || path == report::INDEX {
        return true;
    }
    let parts = path
        .strip_prefix("subject-")
        .and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(number, ending)| {
        number.len() >= 4
            && number.bytes().all(|digit| digit.is_ascii_digit())
            && ["parquet", "jsonl", "csv", "arrow", "html"].contains(&ending)
    })
}
