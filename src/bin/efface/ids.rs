//! The subject ids of a request, from options and a CSV.

use std::io::{self, Read};
use std::path::Path;

use efface::Result;
use efface::request::Subjects;

use crate::args::RequestArgs;
use crate::output;

/// The subjects that a request names: those of `--id`, then those of `--ids`.
///
/// # Errors
/// Those of [`Subjects`], and when the file can't be opened.
pub(crate) fn subjects(request: &RequestArgs) -> Result<Subjects> {
    let Some(path) = &request.ids else {
        return Subjects::new(request.id.iter().map(String::as_str));
    };
    let listed = Subjects::from_csv(open(path)?)?;
    if request.id.is_empty() {
        return Ok(listed);
    }
    let listed = listed.iter().map(|(_, id)| id.reveal());
    Subjects::new(request.id.iter().map(String::as_str).chain(listed))
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(output::open(path)?))
}
