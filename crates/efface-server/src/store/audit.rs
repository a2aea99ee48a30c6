//! Who did what: lines that are never changed, each sealed together with the one before.
//!
//! The seal is a hash under a key that the database doesn't hold, so who can write the database alone can't forge it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, micros, time};
use crate::error::Result;
use crate::secrets::{Hash, encode};

/// What is noted. Never a subject id.
#[derive(Debug, Clone)]
pub(crate) struct Note<'a> {
    pub(crate) at: Timestamp,
    /// The e-mail address of a person, or `console`.
    pub(crate) who: &'a str,
    pub(crate) what: &'a str,
    pub(crate) project: Option<u64>,
    /// A tracking id, an e-mail address, or the number of a token.
    pub(crate) about: &'a str,
    pub(crate) detail: &'a str,
}

/// A line of the log.
pub(crate) struct Line {
    pub(crate) number: i64,
    pub(crate) at: Timestamp,
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) project: Option<u64>,
    pub(crate) about: String,
    pub(crate) detail: String,
}

/// How far the chain holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// All of it, up to this line with this seal.
    Whole { lines: i64, head: String },
    /// It is broken at this line.
    Broken { line: i64 },
}

fn seal(key: &Hash, previous: &Hash, number: i64, note: &Note<'_>) -> Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(previous).update(&number.to_le_bytes());
    hasher.update(&micros(note.at).to_le_bytes());
    let project = note.project.map_or(-1, super::number);
    hasher.update(&project.to_le_bytes());
    for text in [note.who, note.what, note.about, note.detail] {
        // The length keeps fields apart.
        hasher
            .update(&text.len().to_le_bytes())
            .update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Appends a line, within the change that it tells of.
pub(crate) fn note(db: &Connection, key: &Hash, note: &Note<'_>) -> Result<()> {
    let mut last =
        db.prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?;
    let last = last.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
    let (last, previous): (i64, Hash) = last.optional()?.unwrap_or((0, [0; 32]));
    let number = last + 1;
    let hash = seal(key, &previous, number, note);
    let mut insert = db.prepare_cached(
        "INSERT INTO audit (number, at, who, what, project, about, detail, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let project = note.project.map(super::number);
    insert.execute(params![
        number,
        micros(note.at),
        note.who,
        note.what,
        project,
        note.about,
        note.detail,
        hash
    ])?;
    Ok(())
}

impl Store {
    /// The lines about some projects and about none, before line `before`, the newest first.
    pub(crate) fn audit(&self, projects: &[u64], before: i64, limit: u32) -> Result<Vec<Line>> {
        let db = self.db();
        let projects: Vec<String> = projects.iter().map(u64::to_string).collect();
        let mut found = db.prepare_cached(
            "SELECT number, at, who, what, project, about, detail FROM audit
             WHERE number < ?1 AND (project IS NULL OR instr(?2, ',' || project || ',') > 0)
             ORDER BY number DESC LIMIT ?3",
        )?;
        let among = format!(",{},", projects.join(","));
        let lines = found.query_map(params![before, among, limit], line)?;
        Ok(lines.collect::<rusqlite::Result<_>>()?)
    }

    /// Checks every seal. Others use the database between every thousand of them.
    pub(crate) fn check_audit(&self, key: &Hash) -> Result<Chain> {
        let (mut lines, mut previous) = (0, [0; 32]);
        loop {
            let before = lines;
            if let Some(line) = self.check_lines(key, &mut lines, &mut previous)? {
                return Ok(Chain::Broken { line });
            }
            if lines == before {
                let head = encode(&previous);
                return Ok(Chain::Whole { lines, head });
            }
        }
    }

    /// Checks the seals of the next lines. Gives the line at which the chain is broken.
    fn check_lines(&self, key: &Hash, lines: &mut i64, previous: &mut Hash) -> Result<Option<i64>> {
        let db = self.db();
        let mut next = db.prepare_cached(
            "SELECT number, at, who, what, project, about, detail, hash FROM audit
             WHERE number > ?1 ORDER BY number LIMIT 1000",
        )?;
        // A line before the first is none of ours.
        let after = if *lines == 0 { i64::MIN } else { *lines };
        let mut rows = next.query([after])?;
        while let Some(row) = rows.next()? {
            let stored: Hash = row.get(7)?;
            let line = line(row)?;
            let note = Note {
                at: line.at,
                who: &line.who,
                what: &line.what,
                project: line.project,
                about: &line.about,
                detail: &line.detail,
            };
            if line.number != *lines + 1 || seal(key, previous, line.number, &note) != stored {
                return Ok(Some(*lines + 1));
            }
            (*lines, *previous) = (line.number, stored);
        }
        Ok(None)
    }
}

fn line(row: &rusqlite::Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        number: row.get(0)?,
        at: time(row.get(1)?),
        who: row.get(2)?,
        what: row.get(3)?,
        project: row
            .get::<_, Option<i64>>(4)?
            .and_then(|id| u64::try_from(id).ok()),
        about: row.get(5)?,
        detail: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_changed_moved_or_removed_breaks_the_chain() {
        for damage in [
            "UPDATE audit SET detail = 'other' WHERE number = 2",
            "DELETE FROM audit WHERE number = 2",
            "UPDATE audit SET number = 9999 WHERE number = 3",
            "UPDATE audit SET who = 'ab', what = 'c' WHERE number = 2",
            "INSERT INTO audit SELECT 0, at, who, what, project, about, detail, hash FROM audit WHERE number = 1",
            "UPDATE audit SET detail = 'other' WHERE number = 2500",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let key = [7; 32];
            let line = Note {
                at: Timestamp::UNIX_EPOCH,
                who: "a",
                what: "logged in",
                project: Some(1),
                about: "",
                detail: "",
            };
            let all = store.change(|db| (0..2500).try_for_each(|_| note(db, &key, &line)));
            all.unwrap();
            let whole = store.check_audit(&key).unwrap();
            assert!(
                matches!(whole, Chain::Whole { lines: 2500, .. }),
                "{whole:?}"
            );
            store.db().execute_batch(damage).unwrap();
            let broken = store.check_audit(&key).unwrap();
            assert!(
                matches!(broken, Chain::Broken { .. }),
                "{damage}: {broken:?}"
            );
        }
    }
}
