//! Filing a request, by form or by API: the same checks, the same order of durable steps.
//!
//! ```text
//!   row in the database (hashes of ids, who, the client's key) ─> the queue of the dataset ─> the answer
//! ```
//!
//! # Crash behaviour
//! A row without an entry in the queue was never answered: the next comparison takes it out. An entry without a row
//! is one of the command, and is listed by the next comparison. So what was answered is there once. When handing over
//! fails after the entry was written, the row stays, too: nobody got an answer, but it is listed, and whoever asks
//! again learns of it by the conflict.

use efface::queue::{RequestState, Submission, due_after};
use efface::request::{Kind, Provenance};
use efface::tracking::TrackingId;
use jiff::{SignedDuration, Timestamp};

use crate::app::App;
use crate::error::{Error, Result};
use crate::project::Project;
use crate::secrets::Hash;
use crate::store::audit::{self, Note};
use crate::store::people::Person;
use crate::store::requests::{self, Listed};
use crate::wish::Wish;

/// How long the answer to a client's key is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// Where a wish comes from.
pub(crate) struct Filer<'a> {
    pub(crate) person: &'a Person,
    /// `api` or `form`.
    pub(crate) origin: &'static str,
    /// What the client drew, so that asking again changes nothing.
    pub(crate) key: Option<&'a str>,
}

/// Why a wish was not filed.
pub(crate) enum NotFiled {
    /// Deletes that have not ended name some of the ids: those at these places, counted from 0.
    Conflict {
        at: Vec<usize>,
        tracking_ids: Vec<String>,
    },
    /// The client used its key for another wish.
    OtherKeyed,
    /// Another request has the client's id.
    IdTaken,
    /// Too many wait.
    Full,
    /// The service ends.
    Ending,
    /// It can't be carried out.
    Failed(Error),
}

impl From<Error> for NotFiled {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<efface::Error> for NotFiled {
    fn from(error: efface::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Files a wish. Gives how it is listed; of a client's key that came before, as it was listed then.
pub(crate) fn file(
    app: &App,
    project: &Project,
    wish: &Wish,
    from: &Filer<'_>,
) -> Result<Listed, NotFiled> {
    if app.is_ending() {
        return Err(NotFiled::Ending);
    }
    let now = app.now();
    let id = project.id();
    let request = wish.request(&project.config, now);
    request.check()?;
    let hashes = wish.hashes(&app.keys, id);
    let asked = wish.digest(&hashes);
    let key = from.key.map(crate::secrets::hash);
    let tracking_id = TrackingId::draw(now);
    let listed = listed(tracking_id, id, wish, from, now);
    let _alone = project.submitting();
    let engine = project.engine()?;
    let whose = (id, from.person.id);
    let mut refused = None;
    let earlier = app.store.change(|db| {
        if let Some(key) = &key
            && let Some((before, earlier)) = requests::answered(db, whose, key, now - REMEMBERED)?
        {
            if before != asked {
                refused = Some(NotFiled::OtherKeyed);
            }
            return Ok(Some(earlier));
        }
        if let Some(of_client) = &wish.subject_request_id
            && requests::is_taken(db, id, of_client)?
        {
            refused = Some(NotFiled::IdTaken);
            return Ok(None);
        }
        if requests::count_open(db, id)? >= app.config.limits.waiting {
            refused = Some(NotFiled::Full);
            return Ok(None);
        }
        let ids: Vec<Hash> = hashes.iter().map(|(_, hash)| *hash).collect();
        let (at, tracking_ids) = requests::conflicts(db, id, &ids)?;
        if !at.is_empty() {
            refused = Some(NotFiled::Conflict { at, tracking_ids });
            return Ok(None);
        }
        requests::enter(db, &listed, hashes.iter().copied())?;
        if let Some(key) = &key {
            requests::remember(db, whose, (key, &asked), &listed.tracking_id, now)?;
        }
        note_filed(db, app, &listed)?;
        Ok(None)
    })?;
    if let Some(refused) = refused {
        return Err(refused);
    }
    if let Some(earlier) = earlier {
        let earlier = app.store.request(&earlier)?;
        return earlier.ok_or_else(|| Error::Usage("the request is gone".to_owned()).into());
    }
    let submission = Submission {
        due: Some(listed.due),
        by: Provenance {
            requested_by: Some(from.person.email.clone()),
            origin: Some(from.origin.to_owned()),
            subject_request_id: wish.subject_request_id.clone(),
            ..Provenance::default()
        },
        ..Submission::new(tracking_id, request, now)
    };
    match engine.submit_with(&submission) {
        Ok(submitted) if submitted.tracking_id == tracking_id => Ok(listed),
        Ok(submitted) => {
            // The command handed the same over, and it has not been listed yet.
            forget(app, &listed)?;
            let at = (0..hashes.len()).collect();
            let tracking_ids = vec![submitted.tracking_id.to_string()];
            Err(NotFiled::Conflict { at, tracking_ids })
        }
        Err(error) => {
            not_handed_over(app, project, tracking_id, &listed)?;
            Err(error.into())
        }
    }
}

/// After handing over has failed: takes the row out, unless the entry was written all the same, or nobody can tell.
fn not_handed_over(app: &App, project: &Project, id: TrackingId, listed: &Listed) -> Result<()> {
    if let Ok(None) = project.entry(id) {
        return forget(app, listed);
    }
    app.store
        .change(|db| requests::take_back(db, &listed.tracking_id))
}

/// How a new request is listed.
fn listed(id: TrackingId, project: u64, wish: &Wish, from: &Filer<'_>, now: Timestamp) -> Listed {
    Listed {
        tracking_id: id.to_string(),
        project,
        kind: Kind::Delete.as_str().to_owned(),
        regulation: wish.regulation.as_str().to_owned(),
        disclosure: wish.disclosure.as_str().to_owned(),
        subjects: wish.subjects.len() as u64,
        suppress: wish.suppress,
        requested_by: from.person.email.clone(),
        approved_by: None,
        origin: from.origin.to_owned(),
        subject_request_id: wish.subject_request_id.clone(),
        requested_at: now,
        due: due_after(wish.regulation, now),
        state: RequestState::Pending.as_str().to_owned(),
        ended_at: None,
    }
}

fn note_filed(db: &rusqlite::Connection, app: &App, listed: &Listed) -> Result<()> {
    let detail = format!(
        "{} under {}, {}, ids: {}",
        listed.kind,
        listed.regulation.to_uppercase(),
        listed.disclosure,
        listed.subjects
    );
    let note = Note {
        at: listed.requested_at,
        who: &listed.requested_by,
        what: "request filed",
        project: Some(listed.project),
        about: &listed.tracking_id,
        detail: &detail,
    };
    audit::note(db, &app.keys.audit, &note)
}

/// Takes out a row whose request was not handed over, and says so in the audit log.
fn forget(app: &App, listed: &Listed) -> Result<()> {
    app.store.change(|db| {
        requests::forget(db, &listed.tracking_id)?;
        let note = Note {
            at: app.now(),
            who: &listed.requested_by,
            what: "request not handed over",
            project: Some(listed.project),
            about: &listed.tracking_id,
            detail: "",
        };
        audit::note(db, &app.keys.audit, &note)
    })
}

/// Cancels a request.
pub(crate) fn cancel(app: &App, project: &Project, id: TrackingId, who: &str) -> Result<()> {
    let engine = project.engine()?;
    let now = app.now();
    engine.cancel(id, now)?;
    let status = engine.status(id, now)?;
    app.store.change(|db| {
        crate::project::note_status(db, &status)?;
        let note = Note {
            at: now,
            who,
            what: "request cancelled",
            project: Some(project.id()),
            about: &id.to_string(),
            detail: "",
        };
        audit::note(db, &app.keys.audit, &note)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use efface::request::{Disclosure, Regulation, Subjects};

    use super::*;
    use crate::config::Config;
    use crate::store::people;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own files needn't be durable"
    )]
    #[test]
    fn what_was_written_though_handing_over_failed_stays_listed() {
        let dir = tempfile::tempdir().unwrap();
        let events = dir.path().join("events");
        fs::create_dir(&events).unwrap();
        let sample = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../data-samples/events/part-00000.parquet"
        );
        fs::copy(sample, events.join("part.parquet")).unwrap();
        fs::write(
            dir.path().join("serve.toml"),
            "data = \"data\"\npublic_url = \"https://a.example\"\n[[project]]\nid = 7\nname = \"Shop\"\n\
             token = \"0123456789abcdef\"\ndataset = \"events\"\n",
        )
        .unwrap();
        let config = Config::load(&dir.path().join("serve.toml")).unwrap();
        let app = App::open(config, Arc::new(Timestamp::now)).unwrap();
        let project = app.project(7).unwrap();
        app.store
            .change(|db| people::add(db, "ada@example.com", "Ada", app.now()))
            .unwrap();
        let person = app
            .store
            .person_by_email("ada@example.com")
            .unwrap()
            .unwrap();
        let wish = Wish {
            regulation: Regulation::default(),
            disclosure: Disclosure::default(),
            subjects: Subjects::new(["u1"]).unwrap(),
            suppress: false,
            subject_request_id: None,
        };
        let from = Filer {
            person: &person,
            origin: "api",
            key: Some("k1"),
        };
        let Ok(listed) = file(&app, project, &wish, &from) else {
            panic!("not filed");
        };
        let id = listed.tracking_id.parse().unwrap();
        not_handed_over(&app, project, id, &listed).unwrap();
        // The entry is there: it is listed, and nobody is told that all went well.
        match file(&app, project, &wish, &from) {
            Err(NotFiled::Conflict { tracking_ids, .. }) => {
                assert_eq!(tracking_ids, std::slice::from_ref(&listed.tracking_id));
            }
            _ => panic!("no conflict"),
        }
        let entry = format!("_efface/queue/{}.json", listed.tracking_id);
        fs::remove_file(events.join(entry)).unwrap();
        not_handed_over(&app, project, id, &listed).unwrap();
        assert!(!app.store.is_listed(&listed.tracking_id).unwrap());
    }
}
