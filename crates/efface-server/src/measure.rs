//! Figures about the service itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What was counted since the start.
#[derive(Default)]
pub(crate) struct Measures {
    answers: Mutex<BTreeMap<(String, u16), u64>>,
}

impl Measures {
    /// Counts an answer of a route, by its pattern: a path could hold anything.
    pub(crate) fn answered(&self, route: &str, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((route.to_owned(), status)).or_default() += 1;
    }

    /// The answers of each route by status.
    pub(crate) fn answers(&self) -> BTreeMap<(String, u16), u64> {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
