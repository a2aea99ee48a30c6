//! The database of people: `serve.db` in the data directory.
//!
//! * `people`: who there is, and in which project each has which role
//! * `access`: sessions, one-time links and tokens
//! * `requests`: what the lists show; the queue of each dataset is the truth
//! * `audit`: who did what, as a chain of hashes
//!
//! # Invariants
//! * No raw subject id is stored: only hashes under the service's key.
//! * What people and programs hold is stored as a hash.
//! * Losing the file loses logins and the audit log, but no request and no evidence.
//! * A newer version's database is refused, and nothing is changed.
//!
//! One connection, behind a lock: a call takes some microseconds, and one that writes waits for the disk.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::{Error, Result};

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod people;
pub(crate) mod requests;

/// The steps that made the tables; each is run once, in this order. Never change one that was released: add one.
const MIGRATIONS: [&str; 1] = [include_str!("1.sql")];

/// The database.
pub(crate) struct Store {
    db: Mutex<Connection>,
}

impl Store {
    /// Opens the database of a data directory, and brings it up to date.
    pub(crate) fn open(data: &Path) -> Result<Self> {
        let path = data.join("serve.db");
        let mut db = Connection::open(&path)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        // An answer that was given survives a power cut.
        db.pragma_update(None, "synchronous", "full")?;
        db.pragma_update(None, "foreign_keys", true)?;
        // What is removed leaves no trace in free pages.
        db.pragma_update(None, "secure_delete", true)?;
        db.set_prepared_statement_cache_capacity(64);
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        if found > MIGRATIONS.len() {
            return Err(Error::Usage(format!(
                "{} was written by a newer version of efface: use that one",
                path.display()
            )));
        }
        for (number, step) in (1_i64..).zip(MIGRATIONS).skip(found) {
            let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            change.execute_batch(step)?;
            change.pragma_update(None, "user_version", number)?;
            change.commit()?;
        }
        Ok(Self { db: Mutex::new(db) })
    }

    /// The connection, for reads and for single changes.
    fn db(&self) -> MutexGuard<'_, Connection> {
        // A call that panicked left no open transaction: dropping it rolled it back.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several changes, of which all are durable when this returns, or none was made.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut db = self.db();
        let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let made = work(&change)?;
        change.commit()?;
        Ok(made)
    }

    /// Whether it can be written.
    pub(crate) fn check(&self) -> Result<()> {
        let mut db = self.db();
        let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute("UPDATE written SET at = at + 1", [])?;
        change.rollback()?;
        Ok(())
    }
}

/// A project's number, as the database holds it. The configuration has checked that it fits.
pub(crate) fn number(project: u64) -> i64 {
    i64::try_from(project).unwrap_or(i64::MAX)
}

/// A time, as the database holds it.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The time that the database holds.
pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}
