//! Where a dataset's secret key lies: `_efface/key`, or where the configuration says.
//!
//! Whoever can read the key and the receipts can try whether an id is among them, so a key kept apart from the
//! dataset protects the erased ids better.
//!
//! ```text
//! 64 hexadecimal digits        the key, which hashes from now on
//! 64 hexadecimal digits        a key that it took the place of, under which older hashes are found
//! ```
//!
//! # Invariants
//! A key that is lost, or another one in its place, would find none of the hashed ids: the suppression list would be
//! without effect, and nothing would say so. So a key is made only where no id was hashed yet, and one that isn't known
//! to the `Witness` is refused.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::state::{Expect, State};
use crate::subject::SubjectKey;
use crate::witness::Witness;

/// Where it lies unless configured otherwise, relative to the dataset.
pub const PATH: &str = "_efface/key";

const KEY_BYTES_MAX: u64 = 1 << 16;

/// The dataset's key; `None` when it has none yet.
///
/// # Errors
/// When it can't be read or is no key, or when a configured one isn't there. [`KeyLost`](Error::KeyLost) when ids were
/// hashed under another key; [`State`](Error::State) when the hashes themselves are gone.
pub fn load(state: &dyn State, config: &Config) -> Result<Option<SubjectKey>> {
    let path = path(config);
    let witness = Witness::check(state)?;
    let lost = |is_there, file: &str| Error::KeyLost {
        path: path.to_owned(),
        is_there,
        file: file.to_owned(),
    };
    let Some(stored) = state.get(path, KEY_BYTES_MAX)? else {
        return match (witness.file(), &config.key_file) {
            (Some(file), _) => Err(lost(false, file)),
            (None, Some(path)) => Err(Error::NoKey { path: path.clone() }),
            (None, None) => Ok(None),
        };
    };
    let key = str::from_utf8(&stored.bytes).ok();
    let key = key.and_then(SubjectKey::from_hex);
    let key = key.ok_or_else(|| Error::State {
        path: path.to_owned(),
        reason: "it is no key, which has 64 hexadecimal digits: restore it from a backup"
            .to_owned(),
    })?;
    match witness.file() {
        Some(file) if !witness.keys().all(|id| key.knows(id)) => Err(lost(true, file)),
        _ => Ok(Some(key)),
    }
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

/// Puts `new` in the place of the dataset's key, which stays below it. Gives both. Who calls this holds a lock.
///
/// # Errors
/// Those of [`load`], and when it can't be written.
pub fn replace(state: &dyn State, config: &Config, new: &SubjectKey) -> Result<SubjectKey> {
    let key = match load(state, config)? {
        Some(key) => key.replaced_by(new),
        None => new.clone(),
    };
    let text = format!("{}\n", key.to_hex());
    state.put(path(config), text.as_bytes(), Expect::Any)?;
    Ok(key)
}

/// Where it lies by a configuration, relative to the dataset or absolute.
pub fn path(config: &Config) -> &str {
    config.key_file.as_deref().unwrap_or(PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::disk::Disk;
    use crate::state::files::StateFiles;
    use crate::witness::SUPPRESSION;

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

    #[test]
    fn no_key_but_the_one_that_hashed_is_taken_and_none_is_made_beside_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = StateFiles::new(Disk::new(dir.path()));
        let config = Config::default();
        let (first, second) = (SubjectKey::random(), SubjectKey::random());
        load_or_make(&disk, &config, &first).unwrap();
        disk.put(SUPPRESSION, b"a list", Expect::Any).unwrap();
        Witness::note(&disk, SUPPRESSION, [first.id()]).unwrap();
        load(&disk, &config).unwrap().unwrap();
        let put = |text: String| disk.put(PATH, text.as_bytes(), Expect::Any).unwrap();
        let refused = |is_there: bool| {
            for error in [
                load(&disk, &config).unwrap_err(),
                load_or_make(&disk, &config, &second).unwrap_err(),
                replace(&disk, &config, &second).unwrap_err(),
            ] {
                assert!(
                    matches!(&error, Error::KeyLost { is_there: found, .. } if *found == is_there),
                    "{error}"
                );
                assert_eq!(error.kind(), crate::ErrorKind::Damaged);
            }
        };
        put(second.to_hex());
        refused(true);
        disk.remove(&[PATH.to_owned()]).unwrap();
        refused(false);
        // Version 0.1 wrote no witness.
        disk.remove(&["_efface/witness.json".to_owned()]).unwrap();
        refused(false);
        put(first.to_hex());
        let key = replace(&disk, &config, &second).unwrap();
        assert!(key.id() == second.id() && key.knows(first.id()));
        let again = load(&disk, &config).unwrap().unwrap();
        assert_eq!(again.to_hex(), key.to_hex());
        disk.remove(&[SUPPRESSION.to_owned()]).unwrap();
        Witness::note(&disk, SUPPRESSION, [second.id()]).unwrap();
        let gone = load(&disk, &config).unwrap_err().to_string();
        assert!(
            gone.contains("suppression.json") && gone.contains("restore"),
            "{gone}"
        );
    }
}
