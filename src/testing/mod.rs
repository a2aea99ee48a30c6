//! For tests of implementations of [`Table`](crate::table::Table) and [`State`](crate::state::State), and of crashes,
//! full disks and other processes.
//!
//! * [`mod@table`], [`mod@state`]: the rules for every implementation, as checks that name the rule that is broken
//! * [`sim`]: a file system in memory; fails, loses power and runs out of space when a test says so

use std::fmt;

use crate::error::Error;

pub mod sim;
pub mod state;
pub mod table;

/// A rule that an implementation breaks.
#[derive(Debug)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What was found instead.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; found: {}", self.rule, self.found)
    }
}

impl std::error::Error for Violation {}

/// Checks that something holds.
fn rule(holds: bool, rule: &'static str, found: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds {
        return Ok(());
    }
    let found = found();
    Err(Violation { rule, found })
}

/// The value of something that must succeed.
fn works<T>(done: Result<T, Error>, rule: &'static str) -> Result<T, Violation> {
    done.map_err(|error| Violation {
        rule,
        found: error.to_string(),
    })
}

/// The error of something that must fail.
fn fails<T>(done: Result<T, Error>, rule: &'static str) -> Result<Error, Violation> {
    match done {
        Err(error) => Ok(error),
        Ok(_) => Err(Violation {
            rule,
            found: "it succeeded".to_owned(),
        }),
    }
}
