//! Passwords: argon2id with the parameters that its crate recommends.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use crate::error::{Error, Result};

/// Characters that a password must have.
pub(crate) const LEN_MIN: usize = 12;
/// Bytes that one may have: a longer one only costs time.
pub(crate) const LEN_MAX: usize = 800;

/// What is stored of a password.
pub(crate) fn hash(password: &str) -> Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    let hash =
        hash.map_err(|error| Error::Usage(format!("the password can't be used: {error}")))?;
    Ok(hash.to_string())
}

/// Whether a password is the one that was stored. Without a stored one it takes as long, and isn't.
pub(crate) fn is_right(password: &str, stored: Option<&str>) -> bool {
    // Of no password that anybody could type.
    const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let parsed = PasswordHash::new(stored.unwrap_or(NOBODYS));
    let is_it = parsed.is_ok_and(|parsed| {
        let verified = Argon2::default().verify_password(password.as_bytes(), &parsed);
        verified.is_ok()
    });
    is_it && stored.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_is_right() {
        let stored = hash("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$"));
        assert!(is_right("correct horse battery", Some(&stored)));
        assert!(!is_right("correct horse batterz", Some(&stored)));
        assert!(!is_right("", None));
        assert!(!is_right("x", Some("no hash")));
    }

    #[test]
    fn a_person_who_is_not_there_takes_as_long_as_one_who_is() {
        // The made-up hash must parse, or no time would pass.
        let started = std::time::Instant::now();
        assert!(!is_right("some password", None));
        assert!(started.elapsed() > std::time::Duration::from_millis(5));
    }
}
