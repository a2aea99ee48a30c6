//! The file of a waiting request.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::submission::{Submission, due_after, extended};
use crate::config::Config;
use crate::error::RequestFault;
use crate::receipts::{Cause, ENGINE, Ended, Extension, Outcome, Receipt, SubjectEvidence};
use crate::request::{
    Disclosure, Identity, Kind, Provenance, Regulation, Request, RequiredColumns, Subjects,
    Suppress, Unknown,
};
use crate::subject::{Form, KeyedHash, SubjectKey};
use crate::tracking::TrackingId;

/// The version of the file that is written.
const FORMAT: u32 = 3;
/// The earliest version that is read: 0.1 wrote no configuration; 2 had deletes only, and nothing of who asked.
const FORMAT_MIN: u32 = 1;

/// A request that waits. `Debug` prints no id.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its tracking id.
    pub tracking_id: TrackingId,
    /// When it was handed over.
    pub submitted_at: Timestamp,
    /// Its deadline.
    pub due: Timestamp,
    /// The request itself.
    pub request: Request,
    /// The configuration under which it was handed over, and is carried out; `None` stands for what is stored for the
    /// dataset. Version 0.1 wrote none.
    pub config: Option<Config>,
    /// Who asked, and how.
    pub by: Provenance,
    /// How its deadline was extended, if it was.
    pub extension: Option<Extension>,
}

/// An entry as JSON. It holds raw ids, so it isn't `Debug`.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    tracking_id: TrackingId,
    submitted_at: Timestamp,
    due: Timestamp,
    requested_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extension: Option<Extension>,
    #[serde(default)]
    by: Provenance,
    #[serde(flatten)]
    asked: Asked,
}

/// The fields by which two requests are the same.
#[derive(Serialize, Deserialize)]
struct Asked {
    regulation: Regulation,
    disclosure: Disclosure,
    identity: Identity,
    identity_cap: usize,
    unknown: Unknown,
    max_match: f64,
    required_columns: RequiredColumns,
    suppress: Option<Suppress>,
    /// The ids, each with its position.
    subjects: Vec<(usize, String)>,
}

impl Entry {
    /// What is handed over, to be carried out under `config`.
    pub fn new(submission: &Submission, config: Config) -> Self {
        let request = submission.request.clone();
        let due = due_after(request.regulation, request.requested_at);
        Self {
            tracking_id: submission.tracking_id,
            submitted_at: submission.submitted_at,
            due: submission.due.unwrap_or(due),
            request,
            config: Some(config),
            by: submission.by.clone(),
            extension: None,
        }
    }

    /// Extends the deadline, once.
    ///
    /// # Errors
    /// When it was extended before, or the new deadline would be no later one.
    pub(super) fn extend(
        &mut self,
        until: Option<Timestamp>,
        reason: &str,
        now: Timestamp,
    ) -> crate::error::Result<()> {
        let until = until.unwrap_or_else(|| extended(self.request.regulation, self.due));
        if self.extension.is_some() {
            return Err(RequestFault::ExtendedBefore.into());
        }
        if until <= self.due {
            return Err(RequestFault::NoLater { due: self.due }.into());
        }
        self.extension = Some(Extension {
            due_before: self.due,
            extended_at: now,
            reason: reason.to_owned(),
        });
        self.due = until;
        Ok(())
    }

    /// A hash of the question and of the configuration under which it is asked.
    pub(super) fn fingerprint(&self, key: &SubjectKey) -> KeyedHash {
        key.hash(Form::Text, &self.question())
    }

    /// What the hints of the same question may be called, also those that were made under earlier keys: version 0.1 knew
    /// of one configuration only.
    pub(super) fn fingerprints(&self, key: &SubjectKey) -> Vec<KeyedHash> {
        let (now, before) = (self.question(), self.asked());
        let hashes = |bytes: &[u8]| key.hashes(Form::Text, bytes).collect::<Vec<_>>();
        [hashes(&now), hashes(&before)].concat()
    }

    /// What is asked, and under which configuration.
    fn question(&self) -> Vec<u8> {
        let mut bytes = self.asked();
        if let Some(config) = &self.config {
            // Plain values can always be written as JSON.
            bytes.extend(serde_json::to_vec(config).unwrap_or_default());
        }
        bytes.extend(self.by.subject_request_id.iter().flat_map(|id| id.bytes()));
        bytes
    }

    /// Whether `other` asks the same, under the same configuration. `stored` is what is stored for the dataset.
    pub(crate) fn is_same(&self, other: &Self, stored: &Config) -> bool {
        let config = |entry: &Self| entry.config.as_ref().unwrap_or(stored).carried_into(stored);
        // What the asker calls differently is not the same.
        self.asked() == other.asked()
            && config(self) == config(other)
            && self.by.subject_request_id == other.by.subject_request_id
    }

    fn asked(&self) -> Vec<u8> {
        let mut asked = Asked::of(self);
        asked.subjects.sort_by(|left, right| left.1.cmp(&right.1));
        asked.subjects.iter_mut().for_each(|subject| subject.0 = 0);
        // Plain values can always be written as JSON.
        serde_json::to_vec(&asked).unwrap_or_default()
    }

    /// Its receipt, as far as it is known without carrying it out.
    pub(crate) fn receipt(&self, key: &SubjectKey, state: Ended, ended_at: Timestamp) -> Receipt {
        let request = &self.request;
        let subjects = request
            .subjects
            .iter()
            .map(|(position, id)| SubjectEvidence {
                position,
                id: key.hash_of(id),
                outcome: Outcome::Untouched,
                rows: 0,
                merged_into: None,
            });
        Receipt {
            number: 0,
            previous: String::new(),
            tracking_id: self.tracking_id,
            cause: Cause::Delete,
            pass: None,
            state,
            reason: None,
            reason_kind: None,
            regulation: request.regulation,
            disclosure: request.disclosure,
            identity: request.identity,
            requested_at: request.requested_at,
            submitted_at: self.submitted_at,
            started_at: None,
            ended_at,
            due: self.due,
            rows_removed: 0,
            rows_cleared: 0,
            alias_rows_removed: 0,
            alias_other_names: 0,
            left_out: 0,
            suppressed: false,
            digest: None,
            shards: Vec::new(),
            key: Some(key.id()),
            subjects: subjects.collect(),
            by: self.by.clone(),
            extension: self.extension.clone(),
            engine: ENGINE.to_owned(),
        }
    }
}

impl Asked {
    fn of(entry: &Entry) -> Self {
        let request = &entry.request;
        let subjects = request.subjects.iter();
        Self {
            regulation: request.regulation,
            disclosure: request.disclosure,
            identity: request.identity,
            identity_cap: request.identity_cap,
            unknown: request.unknown,
            max_match: request.max_match,
            required_columns: request.required_columns,
            suppress: request.suppress,
            subjects: subjects
                .map(|(position, id)| (position, id.reveal().to_owned()))
                .collect(),
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = Stored {
            format: FORMAT,
            tracking_id: self.tracking_id,
            submitted_at: self.submitted_at,
            due: self.due,
            requested_at: self.request.requested_at,
            config: self.config.clone(),
            extension: self.extension.clone(),
            by: self.by.clone(),
            asked: Asked::of(self),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let stored = Stored::deserialize(deserializer)?;
        if !(FORMAT_MIN..=FORMAT).contains(&stored.format) {
            return Err(D::Error::custom("another version of efface wrote it"));
        }
        let asked = stored.asked;
        let subjects = Subjects::restore(asked.subjects)
            .ok_or_else(|| D::Error::custom("its ids are no request's"))?;
        Ok(Self {
            tracking_id: stored.tracking_id,
            submitted_at: stored.submitted_at,
            due: stored.due,
            config: stored.config,
            by: stored.by,
            extension: stored.extension,
            request: Request {
                kind: Kind::Delete,
                regulation: asked.regulation,
                disclosure: asked.disclosure,
                identity: asked.identity,
                unknown: asked.unknown,
                subjects,
                requested_at: stored.requested_at,
                since: None,
                max_match: asked.max_match,
                identity_cap: asked.identity_cap,
                required_columns: asked.required_columns,
                suppress: asked.suppress,
            },
        })
    }
}
