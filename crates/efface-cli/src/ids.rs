//! The subject ids of a request, from options and a CSV.

use std::io::{self, Read};
use std::path::Path;

use efface::Result;
use efface::request::Subjects;

use crate::args::Ids;
use crate::output;

/// The subjects that are named: those of `--id`, then those of `--ids`.
///
/// # Errors
/// Those of [`Subjects`], and when the file can't be opened.
pub(crate) fn subjects(ids: &Ids) -> Result<Subjects> {
    let Some(path) = &ids.file else {
        return Subjects::new(ids.id.iter().map(String::as_str));
    };
    let file = open(path)?;
    let listed = match &ids.column {
        Some(column) => Subjects::from_csv_column(file, column)?,
        None => Subjects::from_csv(file)?,
    };
    if ids.id.is_empty() {
        return Ok(listed);
    }
    let listed = listed.iter().map(|(_, id)| id.reveal());
    Subjects::new(ids.id.iter().map(String::as_str).chain(listed))
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(output::open(path)?))
}
