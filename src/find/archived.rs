//! Is anything of a set of ids left in an archive that an export became?
//!
//! ```text
//!   record of the archive: is it of one of the ids?
//!   the zip: each file is unpacked and searched; a Parquet file is looked at as a shard, where it lies
//! ```
//!
//! Memory: what [`residue`] takes, and a piece of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor};
use std::ops::Range;
use std::sync::Arc;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::archives::{Archive, Archives};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::io::{Mapped, ReadAt};
use crate::key_file;
use crate::shard::Shard;
use crate::shard::residue::{Finding, PART_BYTES_MIN, Place, Sought, residue};
use crate::subject::{KeyedHash, SubjectId};

/// Looks into every archive of a dataset, wherever it lies.
pub(super) fn in_archives(dataset: &Dataset, ids: &[SubjectId]) -> Result<Vec<Finding>> {
    let archives = Archives::new(&*dataset.state);
    let all = archives.all()?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let key = key_file::load(&*dataset.state, &dataset.config)?;
    let hashes: BTreeSet<KeyedHash> = key
        .iter()
        .flat_map(|key| ids.iter().flat_map(|id| key.hashes_of(id)))
        .collect();
    let mut findings = Vec::new();
    for archive in all {
        let mut count = match archives.open(&archive)? {
            Some(zip) => in_zip(dataset, &archive, &zip, ids)?,
            None => 0,
        };
        if archive.is_of(&hashes) {
            count = count.max(1);
        }
        if count > 0 {
            findings.push(Finding {
                path: archive.path(),
                row_group: None,
                column: None,
                place: Place::Archive,
                count,
            });
        }
    }
    Ok(findings)
}

fn in_zip(dataset: &Dataset, archive: &Archive, bytes: &Mapped, ids: &[SubjectId]) -> Result<u64> {
    let failed = |error: ZipError| match error {
        ZipError::Io(source) => Error::io("read", &archive.path())(source),
        other => Error::State {
            path: archive.path(),
            reason: format!("{other}: remove it"),
        },
    };
    let mut zip = ZipArchive::new(Cursor::new(&**bytes)).map_err(failed)?;
    // The pages and numbers around rows would meet a short id by chance; its archive is known by its hash.
    let texts = ids.iter().map(|id| id.reveal().as_bytes().to_vec());
    let sought = Sought {
        columns: BTreeMap::new(),
        texts: Arc::new(texts.filter(|text| text.len() >= PART_BYTES_MIN).collect()),
    };
    let mut count = 0;
    for place in 0..zip.len() {
        let file = zip.by_index(place).map_err(failed)?;
        let within = file.name().map_err(failed)?.into_owned();
        let name = format!("{}, {within}", archive.path());
        match file.data_start() {
            Some(start) if within.ends_with(".parquet") => {
                let range = start..start.saturating_add(file.size());
                drop(file);
                let part = Part {
                    whole: bytes.clone(),
                    range,
                };
                count += in_parquet(dataset, name, part, ids)?;
            }
            _ => {
                let found = sought.count_in_stream(file);
                count += found.map_err(Error::io("read", &name))?;
            }
        }
    }
    Ok(count)
}

fn in_parquet(dataset: &Dataset, name: String, file: Part, ids: &[SubjectId]) -> Result<u64> {
    let shard = Shard::new(&name, Arc::new(file))?;
    // Headers have no subject column; their text is searched all the same.
    let columns = dataset.config.subject_columns(&shard).unwrap_or_default();
    let found = residue(&shard, &Sought::of_ids(&shard, ids, &columns))?;
    Ok(found.iter().map(|finding| finding.count).sum())
}

/// A file that lies within another one, as it is.
struct Part {
    whole: Mapped,
    range: Range<u64>,
}

impl ReadAt for Part {
    fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        let found = end.filter(|end| *end <= self.len()).and_then(|end| {
            let at = |offset: u64| usize::try_from(self.range.start.checked_add(offset)?).ok();
            self.whole.get(at(offset)?..at(end)?)
        });
        match found {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
