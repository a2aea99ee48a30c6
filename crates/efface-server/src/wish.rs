//! What somebody wants: the question, before it is a request of a project.

use efface::request::{Disclosure, Regulation, Request, Subjects, Suppress};
use jiff::Timestamp;

use crate::config::ProjectConfig;
use crate::secrets::{Hash, Keys};

/// What somebody wants to be deleted. Holds raw ids, so it isn't `Debug`.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) regulation: Regulation,
    pub(crate) disclosure: Disclosure,
    pub(crate) subjects: Subjects,
    pub(crate) suppress: bool,
    pub(crate) subject_request_id: Option<String>,
}

impl Wish {
    /// The request that it stands for in a project.
    pub(crate) fn request(&self, project: &ProjectConfig, now: Timestamp) -> Request {
        let subjects = self.subjects.clone();
        Request {
            regulation: self.regulation,
            disclosure: self.disclosure,
            identity: project.identity,
            unknown: project.unknown,
            max_match: project.max_match,
            suppress: self.suppress.then(Suppress::default),
            ..Request::delete(subjects, now)
        }
    }

    /// The hash of each id, with its position.
    pub(crate) fn hashes(&self, keys: &Keys, project: u64) -> Vec<(usize, Hash)> {
        let ids = self.subjects.iter();
        ids.map(|(position, id)| (position, keys.subject(project, id.reveal())))
            .collect()
    }

    /// What is compared when a client's key comes again.
    pub(crate) fn digest(&self, hashes: &[(usize, Hash)]) -> Hash {
        let mut digest = blake3::Hasher::new();
        for word in [
            self.regulation.as_str(),
            self.disclosure.as_str(),
            if self.suppress { "suppress" } else { "" },
            self.subject_request_id.as_deref().unwrap_or_default(),
        ] {
            digest
                .update(&word.len().to_le_bytes())
                .update(word.as_bytes());
        }
        for (_, hash) in hashes {
            digest.update(hash);
        }
        *digest.finalize().as_bytes()
    }
}
