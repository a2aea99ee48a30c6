//! Small JSON documents of efface's own, sealed with a checksum.
//!
//! ```text
//! {"format":1,..}\n
//! xxh3 0123456789abcdef\n           over everything before this line
//! ```
//!
//! # Invariants
//! A document is only ever replaced as a whole. No error repeats the content of a document: it may be subject ids.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::{Expect, State};
use crate::error::{Error, Result};

const CHECK_PREFIX: &str = "xxh3 ";
/// The prefix, 16 digits and the end of the line.
const CHECK_LINE_BYTES: usize = CHECK_PREFIX.len() + 16 + 1;

/// Reads a document; `None` when there is none.
///
/// # Errors
/// [`Error::State`] when it is damaged, is no such document, or has more than `limit` bytes.
pub fn load<T: DeserializeOwned>(state: &dyn State, path: &str, limit: u64) -> Result<Option<T>> {
    let Some(stored) = state.get(path, limit)? else {
        return Ok(None);
    };
    match unseal(&stored.bytes).and_then(|body| parse(body)) {
        Ok(document) => Ok(Some(document)),
        Err(reason) => Err(Error::State {
            path: path.to_owned(),
            reason,
        }),
    }
}

/// Puts a document at `path`, in one durable step.
///
/// # Errors
/// When writing or replacing fails; the old one is then still in place.
pub fn store(
    state: &dyn State,
    path: &str,
    document: &impl Serialize,
    expect: Expect<'_>,
) -> Result<()> {
    state.put(path, &sealed(path, document)?, expect).map(drop)
}

/// Parses one line of JSON. Errors do not repeat its content.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> std::result::Result<T, String> {
    serde_json::from_slice(text).map_err(|error| {
        format!(
            "is not the JSON that it should be (line {}, column {})",
            error.line(),
            error.column()
        )
    })
}

fn sealed(path: &str, document: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec(document).map_err(|error| Error::io("write", path)(error.into()))?;
    bytes.push(b'\n');
    let line = format!("{CHECK_PREFIX}{:016x}\n", xxh3_64(&bytes));
    bytes.extend_from_slice(line.as_bytes());
    Ok(bytes)
}

/// The bytes before the last line, if that line is their checksum.
fn unseal(bytes: &[u8]) -> std::result::Result<&[u8], String> {
    let (body, line) = bytes
        .len()
        .checked_sub(CHECK_LINE_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or_else(|| format!("has only {} bytes", bytes.len()))?;
    if line == format!("{CHECK_PREFIX}{:016x}\n", xxh3_64(body)).as_bytes() {
        Ok(body)
    } else {
        Err("its bytes have not the checksum of its last line".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::disk::Disk;
    use crate::state::files::StateFiles;
    use crate::state::read;

    #[test]
    fn a_document_reads_back_and_any_changed_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let disk = StateFiles::new(Disk::new(dir.path()));
        let load = || load::<Vec<String>>(&disk, "a/document.json", 1 << 10);
        assert_eq!(load().unwrap(), None);
        let document = vec!["ada".to_owned(), "bob".to_owned()];
        store(&disk, "a/document.json", &document, Expect::Absent).unwrap();
        assert_eq!(load().unwrap(), Some(document));
        let bytes = read(&disk, "a/document.json", 1 << 10).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            disk.put("a/document.json", &changed, Expect::Any).unwrap();
            let error = load().unwrap_err();
            assert!(matches!(error, Error::State { .. }), "{place}");
            assert!(!error.to_string().contains("ada"), "{error}");
        }
        disk.put("a/document.json", &bytes[..20], Expect::Any)
            .unwrap();
        assert!(load().is_err());
    }
}
