//! Previews: what a wish would touch, counted before it is sent. They are kept in memory only, because they hold ids.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efface::plan::PlanReport;
use jiff::{SignedDuration, Timestamp};

use crate::error::Result;
use crate::secrets::draw;
use crate::wish::Wish;

/// How long a preview is kept.
const KEPT: SignedDuration = SignedDuration::from_mins(30);
/// Previews that one person may have.
const EACH_MAX: usize = 10;

/// All previews.
#[derive(Default)]
pub(crate) struct Previews {
    kept: Mutex<HashMap<String, Arc<Preview>>>,
}

/// How far the count is.
pub(crate) enum Counted {
    NotYet,
    Done(PlanReport),
    /// It can't be counted, in words for people.
    Failed(String),
}

/// One preview. Holds raw ids, so it isn't `Debug`.
pub(crate) struct Preview {
    pub(crate) project: u64,
    pub(crate) person: i64,
    pub(crate) wish: Wish,
    made_at: Timestamp,
    counted: Mutex<Counted>,
}

impl Preview {
    pub(crate) fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Previews {
    /// Keeps a wish of a person, to be counted. The person's oldest goes if there are too many.
    pub(crate) fn add(
        &self,
        person: i64,
        project: u64,
        wish: Wish,
        now: Timestamp,
    ) -> Result<(String, Arc<Preview>)> {
        let id = draw()?;
        let preview = Arc::new(Preview {
            project,
            person,
            wish,
            made_at: now,
            counted: Mutex::new(Counted::NotYet),
        });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own: Vec<(Timestamp, String)> = kept
            .iter()
            .filter(|(_, preview)| preview.person == person)
            .map(|(id, preview)| (preview.made_at, id.clone()))
            .collect();
        own.sort();
        let excess = (own.len() + 1).saturating_sub(EACH_MAX);
        for (_, id) in own.into_iter().take(excess) {
            kept.remove(&id);
        }
        kept.insert(id.clone(), Arc::clone(&preview));
        Ok((id, preview))
    }

    /// A preview of a person.
    pub(crate) fn get(&self, id: &str, person: i64, now: Timestamp) -> Option<Arc<Preview>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let preview = kept.get(id)?;
        let is_own = preview.person == person && preview.made_at + KEPT > now;
        is_own.then(|| Arc::clone(preview))
    }

    /// Forgets a preview that was sent or dropped.
    pub(crate) fn forget(&self, id: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(id);
    }

    /// Forgets previews that nobody sent.
    pub(crate) fn forget_old(&self, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, preview| preview.made_at + KEPT > now);
    }
}
