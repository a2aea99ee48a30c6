//! Sessions, one-time links and tokens. Each is a random text, of which only the hash is stored.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::people::{self, Person};
use super::{Store, micros, time};
use crate::error::Result;
use crate::secrets::{Hash, draw, hash};

/// How long a login lasts.
pub(crate) const SESSION: SignedDuration = SignedDuration::from_hours(12);
/// How long a token lasts.
pub(crate) const TOKEN: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a one-time link lasts.
pub(crate) const INVITATION: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Before how long the end of a token is warned of.
pub(crate) const WARNED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How exactly the last use of a token is known.
const USE_TICK: SignedDuration = SignedDuration::from_mins(1);
/// Marks our tokens, so that scanners of secrets find them.
const TOKEN_PREFIX: &str = "efx_";

/// Who is logged in.
pub(crate) struct Session {
    pub(crate) hash: Hash,
    pub(crate) person: Person,
}

/// Who calls the API.
pub(crate) struct Caller {
    pub(crate) token: i64,
    pub(crate) person: Person,
}

/// A token, as its owner sees it.
pub(crate) struct Token {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
}

/// Begins a session. Gives its text, for the cookie.
pub(crate) fn begin_session(db: &Connection, person: i64, now: Timestamp) -> Result<String> {
    let text = draw()?;
    db.execute("DELETE FROM session WHERE expires_at <= ?1", [micros(now)])?;
    db.execute(
        "INSERT INTO session (hash, person, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
        params![hash(&text), person, micros(now), micros(now + SESSION)],
    )?;
    db.execute(
        "UPDATE person SET failures = 0, locked_until = 0 WHERE id = ?1",
        [person],
    )?;
    Ok(text)
}

/// Ends a session.
pub(crate) fn end_session(db: &Connection, session: &Hash) -> Result<()> {
    db.execute("DELETE FROM session WHERE hash = ?1", [session])?;
    Ok(())
}

/// Makes a one-time link by which a person sets a password; earlier ones end. Gives its text.
pub(crate) fn invite(db: &Connection, person: i64, now: Timestamp) -> Result<String> {
    let text = draw()?;
    db.execute("DELETE FROM invitation WHERE person = ?1", [person])?;
    db.execute(
        "INSERT INTO invitation (hash, person, expires_at) VALUES (?1, ?2, ?3)",
        params![hash(&text), person, micros(now + INVITATION)],
    )?;
    Ok(text)
}

/// Takes a one-time link away. Gives whether it was there: of two who use it at the same time, only one finds it.
pub(crate) fn take_invitation(db: &Connection, text: &str) -> Result<bool> {
    let taken = db.execute("DELETE FROM invitation WHERE hash = ?1", [hash(text)])?;
    Ok(taken == 1)
}

/// Makes a token. Gives its text, which is never shown again.
pub(crate) fn make_token(
    db: &Connection,
    person: i64,
    name: &str,
    now: Timestamp,
) -> Result<(i64, String)> {
    let text = format!("{TOKEN_PREFIX}{}", draw()?);
    db.execute(
        "INSERT INTO token (hash, person, name, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![hash(&text), person, name, micros(now), micros(now + TOKEN)],
    )?;
    Ok((db.last_insert_rowid(), text))
}

/// Ends a token of a person. Gives whether there was one.
pub(crate) fn revoke_token(db: &Connection, person: i64, id: i64, now: Timestamp) -> Result<bool> {
    let ended = db.execute(
        "UPDATE token SET revoked_at = ?3 WHERE id = ?1 AND person = ?2 AND revoked_at IS NULL",
        params![id, person, micros(now)],
    )?;
    Ok(ended == 1)
}

impl Store {
    /// Who is logged in by the text of a cookie.
    pub(crate) fn session(&self, text: &str, now: Timestamp) -> Result<Option<Session>> {
        let hash = hash(text);
        let db = self.db();
        let mut found =
            db.prepare_cached("SELECT person FROM session WHERE hash = ?1 AND expires_at > ?2")?;
        let id = found.query_row(params![hash, micros(now)], |row| row.get(0));
        let Some(id) = id.optional()? else {
            return Ok(None);
        };
        let person = people::person(&db, id)?.filter(|person| !person.is_disabled);
        Ok(person.map(|person| Session { hash, person }))
    }

    /// Whom a one-time link is for.
    pub(crate) fn invited(&self, text: &str, now: Timestamp) -> Result<Option<Person>> {
        let db = self.db();
        let found = db.query_row(
            "SELECT person FROM invitation WHERE hash = ?1 AND expires_at > ?2",
            params![hash(text), micros(now)],
            |row| row.get(0),
        );
        match found.optional()? {
            Some(id) => people::person(&db, id),
            None => Ok(None),
        }
    }

    /// Who calls with a token.
    pub(crate) fn caller(&self, text: &str, now: Timestamp) -> Result<Option<Caller>> {
        let db = self.db();
        let mut found = db.prepare_cached(
            "SELECT id, person, last_used_at FROM token WHERE hash = ?1 AND expires_at > ?2 AND revoked_at IS NULL",
        )?;
        let found = found.query_row(params![hash(text), micros(now)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?))
        });
        let Some((token, person, used)) = found.optional()? else {
            return Ok(None);
        };
        let Some(person) = people::person(&db, person)?.filter(|person| !person.is_disabled) else {
            return Ok(None);
        };
        // A write for each call would make every call wait for the disk.
        if used.is_none_or(|used| time(used) + USE_TICK <= now) {
            db.execute(
                "UPDATE token SET last_used_at = ?2 WHERE id = ?1",
                params![token, micros(now)],
            )?;
        }
        Ok(Some(Caller { token, person }))
    }

    /// The tokens of a person, the newest first.
    pub(crate) fn tokens(&self, person: i64) -> Result<Vec<Token>> {
        let db = self.db();
        let mut found = db.prepare_cached(
            "SELECT id, name, created_at, expires_at, last_used_at, revoked_at FROM token
             WHERE person = ?1 ORDER BY id DESC",
        )?;
        let tokens = found.query_map([person], |row| {
            Ok(Token {
                id: row.get(0)?,
                name: row.get(1)?,
                created_at: time(row.get(2)?),
                expires_at: time(row.get(3)?),
                last_used_at: row.get::<_, Option<i64>>(4)?.map(time),
                revoked_at: row.get::<_, Option<i64>>(5)?.map(time),
            })
        })?;
        Ok(tokens.collect::<rusqlite::Result<_>>()?)
    }

    /// Tokens that will end soon.
    pub(crate) fn tokens_ending(&self, now: Timestamp) -> Result<u64> {
        let ending: i64 = self.db().query_row(
            "SELECT count(*) FROM token WHERE revoked_at IS NULL AND expires_at > ?1 AND expires_at <= ?2",
            params![micros(now), micros(now + WARNED)],
            |row| row.get(0),
        )?;
        Ok(u64::try_from(ending).unwrap_or(0))
    }
}
