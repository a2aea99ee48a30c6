//! Keys and random texts.
//!
//! One secret of 32 bytes lies in the data directory, readable by its owner alone. Every key is derived from it for one
//! purpose. What people and programs hold (sessions, tokens, one-time links) is 256 random bits, of which only a hash is stored.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};

/// A hash under a key, or of a random text.
pub(crate) type Hash = [u8; 32];

/// The keys of the service.
pub(crate) struct Keys {
    /// Hashes subject ids, so that a person's requests are found.
    subjects: [u8; 32],
    /// Binds a form to a session.
    forms: [u8; 32],
    /// Seals the lines of the audit log.
    pub(crate) audit: [u8; 32],
}

impl Keys {
    /// Those of a data directory; draws the secret if there is none.
    pub(crate) fn load_or_make(data: &Path) -> Result<Self> {
        let path = data.join("secret");
        let secret = match fs::read(&path) {
            Ok(bytes) => {
                let mode = fs::metadata(&path).map_err(Error::io("look at", &path))?;
                if mode.permissions().mode() & 0o077 != 0 {
                    return Err(Error::Usage(format!(
                        "{} can be read by others: change its mode to 600",
                        path.display()
                    )));
                }
                bytes
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(data, &path)?,
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        if secret.len() != 32 {
            return Err(Error::Usage(format!(
                "{} is damaged: it must have 32 bytes; restore it from a backup",
                path.display()
            )));
        }
        let derive = |purpose: &str| blake3::derive_key(purpose, &secret);
        Ok(Self {
            subjects: derive("efface-server 2026 subject ids"),
            forms: derive("efface-server 2026 forms"),
            audit: derive("efface-server 2026 audit log"),
        })
    }

    /// Stands for a subject id in the database and in the audit log.
    pub(crate) fn subject(&self, project: u64, id: &str) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.subjects);
        hasher.update(&project.to_le_bytes()).update(id.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// What every form of a session must send along.
    pub(crate) fn form(&self, session: &Hash) -> String {
        encode(blake3::keyed_hash(&self.forms, session).as_bytes())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the directory is the service's own, and is synced below"
)]
fn make(data: &Path, path: &Path) -> Result<Vec<u8>> {
    let secret = random::<32>()?.to_vec();
    let draft = path.with_extension("draft");
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        fs::File::open(data)?.sync_all()
    };
    write().map_err(Error::io("write", path))?;
    Ok(secret)
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Io {
        doing: "read",
        what: "random bytes of the system".to_owned(),
        source: io::Error::other(error.to_string()),
    })?;
    Ok(bytes)
}

/// A text that nobody guesses.
pub(crate) fn draw() -> Result<String> {
    Ok(encode(&random::<32>()?))
}

/// What is stored of such a text.
pub(crate) fn hash(text: &str) -> Hash {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// Bytes as text that fits into a URL.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whether two texts are the same, in a time that says nothing of where they differ.
pub(crate) fn is_same(left: &str, right: &str) -> bool {
    // Comparing hashes of BLAKE3 takes the same time wherever they differ.
    blake3::hash(left.as_bytes()) == blake3::hash(right.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_stays_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::load_or_make(dir.path()).unwrap();
        let again = Keys::load_or_make(dir.path()).unwrap();
        assert_eq!(first.subject(1, "ada"), again.subject(1, "ada"));
        assert_ne!(first.subject(1, "ada"), first.subject(2, "ada"));
        let path = dir.path().join("secret");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Keys::load_or_make(dir.path()).is_err());
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own files needn't be durable"
    )]
    #[test]
    fn a_secret_that_was_cut_short_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Keys::load_or_make(dir.path()).unwrap();
        fs::write(dir.path().join("secret"), b"short").unwrap();
        assert!(Keys::load_or_make(dir.path()).is_err());
    }
}
