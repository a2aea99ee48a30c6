//! Where a dataset's secret key lies: `_efface/key`, or where the configuration says.
//!
//! Whoever can read the key and the receipts can try whether an id is among them, so a key kept apart from the
//! dataset protects the erased ids better. A key that is lost makes the receipts' hashes and the suppression list
//! worthless.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::state::{Expect, State};
use crate::subject::SubjectKey;

/// Where it lies unless configured otherwise, relative to the dataset.
pub const PATH: &str = "_efface/key";

const KEY_BYTES_MAX: u64 = 1 << 10;

/// The dataset's key; `None` when it has none yet.
///
/// # Errors
/// When it can't be read or is no key, or when a configured one isn't there.
pub fn load(state: &dyn State, config: &Config) -> Result<Option<SubjectKey>> {
    let path = config.key_file.as_deref().unwrap_or(PATH);
    let Some(stored) = state.get(path, KEY_BYTES_MAX)? else {
        return match &config.key_file {
            None => Ok(None),
            Some(path) => Err(Error::NoKey { path: path.clone() }),
        };
    };
    let key = str::from_utf8(&stored.bytes).ok().map(str::trim);
    let key = key.and_then(SubjectKey::from_hex);
    let damaged = || Error::State {
        path: path.to_owned(),
        reason: "it is no key, which has 64 hexadecimal digits".to_owned(),
    };
    key.map(Some).ok_or_else(damaged)
}

/// The dataset's key; if it has none yet, `if_new` becomes it. Who calls this holds a lock.
///
/// # Errors
/// Those of [`load`], and when it can't be written.
pub fn load_or_make(state: &dyn State, config: &Config, if_new: &SubjectKey) -> Result<SubjectKey> {
    if let Some(key) = load(state, config)? {
        return Ok(key);
    }
    let text = format!("{}\n", if_new.to_hex());
    state.put(PATH, text.as_bytes(), Expect::Absent)?;
    Ok(if_new.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::disk::Disk;
    use crate::state::files::StateFiles;

    #[test]
    fn a_key_is_made_once_and_a_configured_one_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let disk = StateFiles::new(Disk::new(dir.path()));
        let config = Config::default();
        assert!(load(&disk, &config).unwrap().is_none());
        let (first, second) = (SubjectKey::random(), SubjectKey::random());
        for if_new in [&first, &second] {
            let key = load_or_make(&disk, &config, if_new).unwrap();
            assert_eq!(key.to_hex(), first.to_hex());
        }
        let apart = Config {
            key_file: Some("../elsewhere".to_owned()),
            ..Config::default()
        };
        assert!(load(&disk, &apart).is_err());
        disk.put(PATH, b"no key", Expect::Any).unwrap();
        assert!(load(&disk, &config).is_err());
    }
}
