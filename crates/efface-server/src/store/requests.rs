//! What the lists show of requests, and whose they are.
//!
//! The queue and the receipts of a dataset are the truth. A row here is written before its request is handed over and
//! is brought up to date from there, also for requests that the command handed over.

use efface::tracking::TrackingId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{Store, micros, number, time};
use crate::error::Result;
use crate::secrets::Hash;

/// How a request stands, as the lists show it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) tracking_id: String,
    pub(crate) project: u64,
    pub(crate) kind: String,
    pub(crate) regulation: String,
    pub(crate) disclosure: String,
    pub(crate) subjects: u64,
    pub(crate) suppress: bool,
    pub(crate) requested_by: String,
    pub(crate) approved_by: Option<String>,
    pub(crate) origin: String,
    pub(crate) subject_request_id: Option<String>,
    pub(crate) requested_at: Timestamp,
    pub(crate) due: Timestamp,
    pub(crate) state: String,
    pub(crate) ended_at: Option<Timestamp>,
}

/// Which requests are wanted. Empty texts stand for all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) projects: Vec<u64>,
    pub(crate) regulation: String,
    pub(crate) state: String,
    /// Only those that are due before this time and have not ended.
    pub(crate) due_before: Option<Timestamp>,
    /// Only those whose tracking id begins so.
    pub(crate) tracking_id: String,
    /// Only those of one of these subjects, hashed.
    pub(crate) subjects: Option<Vec<Hash>>,
}

const COLUMNS: &str =
    "tracking_id, project, kind, regulation, disclosure, subjects, suppress, requested_by,
    approved_by, origin, subject_request_id, requested_at, due, state, ended_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        tracking_id: row.get(0)?,
        project: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
        kind: row.get(2)?,
        regulation: row.get(3)?,
        disclosure: row.get(4)?,
        subjects: u64::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
        suppress: row.get(6)?,
        requested_by: row.get(7)?,
        approved_by: row.get(8)?,
        origin: row.get(9)?,
        subject_request_id: row.get(10)?,
        requested_at: time(row.get(11)?),
        due: time(row.get(12)?),
        state: row.get(13)?,
        ended_at: row.get::<_, Option<i64>>(14)?.map(time),
    })
}

/// Enters a request, with the hashes of its subjects and their positions.
pub(crate) fn enter(
    db: &Connection,
    request: &Listed,
    subjects: impl Iterator<Item = (usize, Hash)>,
) -> Result<()> {
    let mut insert = db.prepare_cached(&format!(
        "INSERT INTO request ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
    ))?;
    insert.execute(params![
        request.tracking_id,
        number(request.project),
        request.kind,
        request.regulation,
        request.disclosure,
        number(request.subjects),
        request.suppress,
        request.requested_by,
        request.approved_by,
        request.origin,
        request.subject_request_id,
        micros(request.requested_at),
        micros(request.due),
        request.state,
        request.ended_at.map(micros),
    ])?;
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO request_subject (hash, tracking_id, position) VALUES (?1, ?2, ?3)",
    )?;
    for (position, hash) in subjects {
        insert.execute(params![
            hash,
            request.tracking_id,
            i64::try_from(position).unwrap_or(i64::MAX)
        ])?;
    }
    Ok(())
}

/// Takes out a request that was never handed over.
pub(crate) fn forget(db: &Connection, tracking_id: &str) -> Result<()> {
    take_back(db, tracking_id)?;
    db.execute("DELETE FROM request WHERE tracking_id = ?1", [tracking_id])?;
    Ok(())
}

/// Notes how a request stands now.
pub(crate) fn set_state(
    db: &Connection,
    tracking_id: &str,
    state: &str,
    due: Option<Timestamp>,
    ended_at: Option<Timestamp>,
) -> Result<()> {
    let mut update = db.prepare_cached(
        "UPDATE request SET state = ?2, due = coalesce(?3, due), ended_at = ?4 WHERE tracking_id = ?1
         AND (state <> ?2 OR due <> ?3 OR ended_at IS NOT ?4)",
    )?;
    update.execute(params![
        tracking_id,
        state,
        due.map(micros),
        ended_at.map(micros)
    ])?;
    Ok(())
}

/// The answer since then to a key that a client drew, with the hash of what it asked. Older ones are forgotten.
pub(crate) fn answered(
    db: &Connection,
    (project, person): (u64, i64),
    key: &Hash,
    since: Timestamp,
) -> Result<Option<(Hash, String)>> {
    db.execute("DELETE FROM answered WHERE at < ?1", [micros(since)])?;
    let mut found = db.prepare_cached(
        "SELECT asked, tracking_id FROM answered WHERE project = ?1 AND person = ?2 AND key = ?3",
    )?;
    let found = found.query_row(params![number(project), person, key], |row| {
        Ok((row.get(0)?, row.get(1)?))
    });
    Ok(found.optional()?)
}

/// Remembers an answer.
pub(crate) fn remember(
    db: &Connection,
    (project, person): (u64, i64),
    (key, asked): (&Hash, &Hash),
    tracking_id: &str,
    now: Timestamp,
) -> Result<()> {
    db.execute(
        "INSERT INTO answered (project, person, key, asked, tracking_id, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![number(project), person, key, asked, tracking_id, micros(now)],
    )?;
    Ok(())
}

/// The positions in `subjects` that a delete names which has not ended, and these deletes.
pub(crate) fn conflicts(
    db: &Connection,
    project: u64,
    subjects: &[Hash],
) -> Result<(Vec<usize>, Vec<String>)> {
    let mut found = db.prepare_cached(
        "SELECT request.tracking_id FROM request_subject JOIN request USING (tracking_id)
         WHERE hash = ?1 AND project = ?2 AND kind = 'delete' AND ended_at IS NULL",
    )?;
    let (mut at, mut tracking_ids) = (Vec::new(), Vec::new());
    for (index, hash) in subjects.iter().enumerate() {
        let ids = found.query_map(params![hash, number(project)], |row| row.get(0))?;
        let before = tracking_ids.len();
        for id in ids {
            tracking_ids.push(id?);
        }
        if tracking_ids.len() > before {
            at.push(index);
        }
    }
    tracking_ids.sort();
    tracking_ids.dedup();
    Ok((at, tracking_ids))
}

/// How many requests of a project have not ended.
pub(crate) fn count_open(db: &Connection, project: u64) -> Result<usize> {
    let count: i64 = db.query_row(
        "SELECT count(*) FROM request WHERE project = ?1 AND ended_at IS NULL",
        [number(project)],
        |row| row.get(0),
    )?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Whether a client used an id for another request of the project.
pub(crate) fn is_taken(db: &Connection, project: u64, subject_request_id: &str) -> Result<bool> {
    let mut found =
        db.prepare_cached("SELECT 1 FROM request WHERE project = ?1 AND subject_request_id = ?2")?;
    Ok(found.exists(params![number(project), subject_request_id])?)
}

/// Whether a request is listed.
pub(crate) fn is_listed(db: &Connection, tracking_id: &str) -> Result<bool> {
    let mut found = db.prepare_cached("SELECT 1 FROM request WHERE tracking_id = ?1")?;
    Ok(found.exists([tracking_id])?)
}

/// Takes an answer back that was not given.
pub(crate) fn take_back(db: &Connection, tracking_id: &str) -> Result<()> {
    db.execute("DELETE FROM answered WHERE tracking_id = ?1", [tracking_id])?;
    Ok(())
}

impl Store {
    /// Whether a request is listed.
    pub(crate) fn is_listed(&self, tracking_id: &str) -> Result<bool> {
        is_listed(&self.db(), tracking_id)
    }

    /// Requests of a project that have not ended, behind the request `after` and up to `last`.
    pub(crate) fn open_requests(
        &self,
        project: u64,
        after: Option<TrackingId>,
        last: Option<TrackingId>,
    ) -> Result<Vec<String>> {
        let db = self.db();
        let mut found = db.prepare_cached(
            "SELECT tracking_id FROM request WHERE project = ?1 AND ended_at IS NULL
             AND tracking_id > ?2 AND (?3 IS NULL OR tracking_id <= ?3)",
        )?;
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let last = last.map(|id| id.to_string());
        let ids = found.query_map(params![number(project), after, last], |row| row.get(0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    /// One request.
    pub(crate) fn request(&self, tracking_id: &str) -> Result<Option<Listed>> {
        let db = self.db();
        let mut found = db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM request WHERE tracking_id = ?1"
        ))?;
        Ok(found.query_row([tracking_id], read).optional()?)
    }

    /// A page of requests, the newest first, and how many there are in all.
    pub(crate) fn requests(
        &self,
        wanted: &Wanted,
        offset: u64,
        limit: u64,
    ) -> Result<(Vec<Listed>, u64)> {
        let (condition, values) = wanted.condition();
        let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value).collect();
        let db = self.db();
        let count = format!("SELECT count(*) FROM request WHERE {condition}");
        let count: i64 = db.query_row(&count, &*values, |row| row.get(0))?;
        let mut found = db.prepare(&format!(
            "SELECT {COLUMNS} FROM request WHERE {condition} ORDER BY tracking_id DESC LIMIT {limit} OFFSET {offset}"
        ))?;
        let requests = found.query_map(&*values, read)?;
        let requests = requests.collect::<rusqlite::Result<_>>()?;
        Ok((requests, u64::try_from(count).unwrap_or(0)))
    }

    /// How many requests of a project there are by kind and state, with the earliest deadline of those.
    pub(crate) fn counts(&self, project: u64) -> Result<Vec<(String, String, u64, Timestamp)>> {
        let db = self.db();
        let mut found = db.prepare_cached(
            "SELECT kind, state, count(*), min(due) FROM request WHERE project = ?1 GROUP BY kind, state",
        )?;
        let counts = found.query_map([number(project)], |row| {
            let count: i64 = row.get(2)?;
            let count = u64::try_from(count).unwrap_or(0);
            Ok((row.get(0)?, row.get(1)?, count, time(row.get(3)?)))
        })?;
        Ok(counts.collect::<rusqlite::Result<_>>()?)
    }

    /// How many requests of a project are open and due before a time.
    pub(crate) fn due_before(&self, project: u64, before: Timestamp) -> Result<u64> {
        let count: i64 = self.db().query_row(
            "SELECT count(*) FROM request WHERE project = ?1 AND ended_at IS NULL AND due < ?2",
            params![number(project), micros(before)],
            |row| row.get(0),
        )?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The earliest deadline of a project's open requests.
    pub(crate) fn next_due(&self, project: u64) -> Result<Option<Timestamp>> {
        let due: Option<i64> = self.db().query_row(
            "SELECT min(due) FROM request WHERE project = ?1 AND ended_at IS NULL",
            [number(project)],
            |row| row.get(0),
        )?;
        Ok(due.map(time))
    }
}

impl Wanted {
    /// The condition of a query, and its values. Only our own words stand in the text.
    fn condition(&self) -> (String, Vec<Box<dyn ToSql>>) {
        let mut conditions = Vec::new();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        // Numbers of our own configuration.
        let projects: Vec<String> = self.projects.iter().map(u64::to_string).collect();
        conditions.push(format!("project IN ({})", projects.join(",")));
        let mut is = |column: &str, value: &str| {
            if !value.is_empty() {
                values.push(Box::new(value.to_owned()));
                conditions.push(format!("{column} = ?{}", values.len()));
            }
        };
        is("regulation", &self.regulation);
        is("state", &self.state);
        if let Some(before) = self.due_before {
            values.push(Box::new(micros(before)));
            conditions.push(format!("ended_at IS NULL AND due < ?{}", values.len()));
        }
        if !self.tracking_id.is_empty() {
            values.push(Box::new(self.tracking_id.clone()));
            let at = values.len();
            conditions.push(format!("substr(tracking_id, 1, length(?{at})) = ?{at}"));
        }
        if let Some(subjects) = &self.subjects {
            let mut marks = Vec::new();
            for hash in subjects {
                values.push(Box::new(*hash));
                marks.push(format!("?{}", values.len()));
            }
            conditions.push(format!(
                "tracking_id IN (SELECT tracking_id FROM request_subject WHERE hash IN ({}))",
                marks.join(",")
            ));
        }
        (conditions.join(" AND "), values)
    }
}
