//! Who there is, and in which project each has which role.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, micros, number};
use crate::error::Result;

/// Wrong passwords in a row before a person must wait.
const FAILURES_MAX: u32 = 5;
/// How long a person must wait then.
const LOCKED_FOR: SignedDuration = SignedDuration::from_mins(15);

/// What a person may do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Nothing but to be there.
    Member,
    /// Sees requests and evidence.
    Auditor,
    /// Also files and cancels requests.
    Admin,
    /// Also says who has which role.
    Owner,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Auditor, Self::Member];

    /// How it is spelled.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Member => "member",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// What it lets a person do, in words for people.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Owner => "files and cancels requests, and says who has which role",
            Self::Admin => "files and cancels requests",
            Self::Auditor => "sees requests, evidence and the audit log",
            Self::Member => "sees nothing here",
        }
    }

    /// Whether it lets a person file requests.
    pub(crate) fn may_request(self) -> bool {
        self >= Self::Admin
    }
}

/// A person who may log in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) is_disabled: bool,
    pub(crate) has_password: bool,
    /// The role in each project, those without one left out.
    pub(crate) roles: Vec<(u64, Role)>,
}

impl Person {
    /// The role in a project.
    pub(crate) fn role(&self, project: u64) -> Option<Role> {
        let role = self.roles.iter().find(|(id, _)| *id == project);
        role.map(|(_, role)| *role)
    }
}

/// What a login is checked against.
pub(crate) struct Credentials {
    pub(crate) person: i64,
    pub(crate) password: Option<String>,
    pub(crate) is_open: bool,
}

const COLUMNS: &str = "id, email, name, disabled_at IS NOT NULL, password IS NOT NULL";

fn read(db: &Connection, row: &Row<'_>) -> rusqlite::Result<Person> {
    let id = row.get(0)?;
    let mut roles =
        db.prepare_cached("SELECT project, role FROM role WHERE person = ?1 ORDER BY project")?;
    let roles = roles.query_map([id], |row| {
        let project: i64 = row.get(0)?;
        let role: String = row.get(1)?;
        Ok((u64::try_from(project).ok(), Role::parse(&role)))
    })?;
    let mut known = Vec::new();
    for role in roles {
        if let (Some(project), Some(role)) = role? {
            known.push((project, role));
        }
    }
    Ok(Person {
        id,
        email: row.get(1)?,
        name: row.get(2)?,
        is_disabled: row.get(3)?,
        has_password: row.get(4)?,
        roles: known,
    })
}

/// A person by the number.
pub(super) fn person(db: &Connection, id: i64) -> Result<Option<Person>> {
    let mut found = db.prepare_cached(&format!("SELECT {COLUMNS} FROM person WHERE id = ?1"))?;
    Ok(found.query_row([id], |row| read(db, row)).optional()?)
}

/// The person with an address, who is added if there is none. Gives the number.
pub(crate) fn add(db: &Connection, email: &str, name: &str, now: Timestamp) -> Result<i64> {
    db.execute(
        "INSERT INTO person (email, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT (email) DO NOTHING",
        params![email, name, micros(now)],
    )?;
    Ok(
        db.query_row("SELECT id FROM person WHERE email = ?1", [email], |row| {
            row.get(0)
        })?,
    )
}

/// Gives a person a role in a project.
pub(crate) fn set_role(db: &Connection, person: i64, project: u64, role: Role) -> Result<()> {
    db.execute(
        "INSERT INTO role (person, project, role) VALUES (?1, ?2, ?3)
         ON CONFLICT (person, project) DO UPDATE SET role = excluded.role",
        params![person, number(project), role.as_str()],
    )?;
    Ok(())
}

/// How many other people are owners of a project and aren't shut out.
pub(crate) fn other_owners(db: &Connection, person: i64, project: u64) -> Result<u32> {
    Ok(db.query_row(
        "SELECT count(*) FROM role JOIN person ON person.id = role.person
         WHERE project = ?1 AND role = 'owner' AND person <> ?2 AND disabled_at IS NULL",
        params![number(project), person],
        |row| row.get(0),
    )?)
}

/// Sets a password, and ends what was begun with the one before: sessions and one-time links.
pub(crate) fn set_password(db: &Connection, person: i64, password: &str) -> Result<()> {
    db.execute(
        "UPDATE person SET password = ?2, failures = 0, locked_until = 0 WHERE id = ?1",
        params![person, password],
    )?;
    db.execute("DELETE FROM session WHERE person = ?1", [person])?;
    db.execute("DELETE FROM invitation WHERE person = ?1", [person])?;
    Ok(())
}

impl Store {
    /// All people.
    pub(crate) fn people(&self) -> Result<Vec<Person>> {
        let db = self.db();
        let mut found =
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM person ORDER BY email"))?;
        let people = found.query_map([], |row| read(&db, row))?;
        Ok(people.collect::<rusqlite::Result<_>>()?)
    }

    /// The person with an address, who can log in.
    pub(crate) fn person_by_email(&self, email: &str) -> Result<Option<Person>> {
        let db = self.db();
        let mut found = db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM person WHERE email = ?1 AND disabled_at IS NULL"
        ))?;
        Ok(found.query_row([email], |row| read(&db, row)).optional()?)
    }

    /// What a login is checked against.
    pub(crate) fn credentials(&self, email: &str, now: Timestamp) -> Result<Option<Credentials>> {
        let db = self.db();
        let mut found = db.prepare_cached(
            "SELECT id, password, locked_until <= ?2 FROM person WHERE email = ?1 AND disabled_at IS NULL",
        )?;
        let found = found.query_row(params![email, micros(now)], |row| {
            Ok(Credentials {
                person: row.get(0)?,
                password: row.get(1)?,
                is_open: row.get(2)?,
            })
        });
        Ok(found.optional()?)
    }

    /// Counts a wrong password. After some in a row, no other is tried for a while.
    pub(crate) fn count_failure(&self, person: i64, now: Timestamp) -> Result<()> {
        self.db().execute(
            "UPDATE person SET
               locked_until = CASE WHEN failures + 1 >= ?2 THEN ?3 ELSE locked_until END,
               failures = CASE WHEN failures + 1 >= ?2 THEN 0 ELSE failures + 1 END
             WHERE id = ?1",
            params![person, FAILURES_MAX, micros(now + LOCKED_FOR)],
        )?;
        Ok(())
    }
}

/// Changes a person's name.
pub(crate) fn set_name(db: &Connection, person: i64, name: &str) -> Result<()> {
    db.execute(
        "UPDATE person SET name = ?2 WHERE id = ?1",
        params![person, name],
    )?;
    Ok(())
}

/// Shuts a person out, with all sessions and links, or lets the person in again.
pub(crate) fn set_disabled(db: &Connection, person: i64, at: Option<Timestamp>) -> Result<()> {
    db.execute(
        "UPDATE person SET disabled_at = ?2 WHERE id = ?1",
        params![person, at.map(micros)],
    )?;
    db.execute("DELETE FROM session WHERE person = ?1", [person])?;
    db.execute("DELETE FROM invitation WHERE person = ?1", [person])?;
    Ok(())
}
