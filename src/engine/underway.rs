//! Deletes that are under way: an export beside one of the same ids would hold a part of their rows.

use std::collections::BTreeSet;

use super::Engine;
use crate::error::{Error, Result};
use crate::identity::Expansion;
use crate::pass::{Pass, Stage};
use crate::queue::Held;
use crate::subject::{Form, SubjectId};
use crate::tracking::TrackingId;

impl Engine {
    /// Refuses an export of `covered` while a delete of one of these ids is started. Called after the shards are listed:
    /// a delete that starts later replaces shards of that list, and the export notices.
    pub(super) fn refuse_underway(&self, covered: &Expansion) -> Result<()> {
        let queue = self.reader();
        let pass = Pass::load(&*self.dataset.state)?;
        let pass = pass.filter(|pass| pass.stage == Stage::Started);
        let mut started: BTreeSet<TrackingId> = queue.held_ids()?;
        started.extend(pass.iter().flat_map(|pass| &pass.requests));
        if started.is_empty() {
            return Ok(());
        }
        let wanted: BTreeSet<(Form, Vec<u8>)> = covered.ids.iter().flat_map(forms).collect();
        for id in started {
            let Some(entry) = queue.entry(id)? else {
                continue;
            };
            let held = queue.held(id)?;
            let is_in_pass = pass
                .as_ref()
                .is_some_and(|pass| pass.requests.contains(&id));
            if !is_in_pass && !held.as_ref().is_some_and(Held::is_begun) {
                continue;
            }
            let mut dataset = self.dataset.clone();
            if let Some(config) = &entry.config {
                dataset.config = config.carried_into(&dataset.config);
            }
            let now = dataset.expand(&entry.request)?;
            let theirs = match held {
                Some(held) => now.joined_with(&held.covered),
                None => now,
            };
            if theirs
                .ids
                .iter()
                .flat_map(forms)
                .any(|form| wanted.contains(&form))
            {
                return Err(Error::Underway { tracking_id: id });
            }
        }
        Ok(())
    }
}

/// An id as columns of each form hold it.
fn forms(id: &SubjectId) -> impl Iterator<Item = (Form, Vec<u8>)> + '_ {
    let forms = Form::ALL.into_iter();
    forms.filter_map(|form| Some((form, id.canonical(form)?)))
}
