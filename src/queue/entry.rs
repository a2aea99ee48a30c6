//! The file of a waiting request.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Config;
use crate::receipts::{Cause, ENGINE, Ended, Outcome, Receipt, SubjectEvidence};
use crate::request::{
    Disclosure, Identity, Kind, Regulation, Request, RequiredColumns, Subjects, Suppress, Unknown,
};
use crate::subject::{Form, KeyedHash, SubjectKey};
use crate::tracking::TrackingId;

/// The version of the file that is written.
const FORMAT: u32 = 2;
/// The earliest version that is read: 0.1 wrote no configuration.
const FORMAT_MIN: u32 = 1;

/// A delete request that waits. `Debug` prints no id.
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
    /// A hash of the question: the same whenever it is asked, in whatever order the ids come, and under whatever
    /// configuration.
    fn question(&self, key: &SubjectKey) -> KeyedHash {
        key.hash(Form::Text, &self.asked())
    }

    /// A hash of the question and of the configuration under which it is asked.
    pub(super) fn fingerprint(&self, key: &SubjectKey) -> KeyedHash {
        let mut bytes = self.asked();
        if let Some(config) = &self.config {
            // Plain values can always be written as JSON.
            bytes.extend(serde_json::to_vec(config).unwrap_or_default());
        }
        key.hash(Form::Text, &bytes)
    }

    /// What the hints of the same question may be called: version 0.1 knew of one configuration only.
    pub(super) fn fingerprints(&self, key: &SubjectKey) -> [KeyedHash; 2] {
        [self.fingerprint(key), self.question(key)]
    }

    /// Whether `other` asks the same, under the same configuration. `stored` is what is stored for the dataset.
    pub(crate) fn is_same(&self, other: &Self, stored: &Config) -> bool {
        let config = |entry: &Self| entry.config.as_ref().unwrap_or(stored).carried_into(stored);
        self.asked() == other.asked() && config(self) == config(other)
    }

    fn asked(&self) -> Vec<u8> {
        let mut asked = Asked::of(&self.request);
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
            engine: ENGINE.to_owned(),
        }
    }
}

impl Asked {
    fn of(request: &Request) -> Self {
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
            asked: Asked::of(&self.request),
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
