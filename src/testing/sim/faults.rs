//! Which operation fails, and how.

use std::io;

use super::{Operation, Sim};

/// What is run before an operation.
type Hook = Box<dyn FnOnce(&Sim) + Send>;

/// Operations that were counted, and what is to become of those to come.
#[derive(Default)]
pub(super) struct Faults {
    counts: [u64; Operation::COUNT],
    /// The change, counted over all, at which the power goes.
    cut_at: Option<u64>,
    /// The operation, counted over all, that fails.
    fail_at: Option<u64>,
    hooks: Vec<(u64, Hook)>,
    pub(super) is_off: bool,
    pub(super) is_read_only: bool,
}

impl Faults {
    pub(super) fn count(&self, operation: Operation) -> u64 {
        self.counts.get(operation.slot()).copied().unwrap_or(0)
    }

    pub(super) fn operations(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn changes(&self) -> u64 {
        let changes = Operation::ALL.iter().filter(|each| each.is_change());
        changes.map(|each| self.count(*each)).sum()
    }

    pub(super) fn cut_at(&mut self, change: u64) {
        self.cut_at = Some(self.changes() + change);
    }

    pub(super) fn fail_at(&mut self, operation: u64) {
        self.fail_at = Some(self.operations() + operation);
    }

    pub(super) fn run_at(&mut self, operation: u64, hook: Hook) {
        self.hooks.push((self.operations() + operation, hook));
    }

    /// The hooks of the operation that comes next.
    pub(super) fn due(&mut self) -> Vec<Hook> {
        let next = self.operations();
        let (due, later) = std::mem::take(&mut self.hooks)
            .into_iter()
            .partition(|(at, _)| *at <= next);
        self.hooks = later;
        due.into_iter().map(|(_, hook)| hook).collect()
    }

    /// Counts an operation, and says why it fails if it does.
    pub(super) fn step(&mut self, operation: Operation) -> io::Result<()> {
        let (number, change) = (self.operations(), self.changes());
        if let Some(count) = self.counts.get_mut(operation.slot()) {
            *count += 1;
        }
        if operation.is_change() && self.cut_at.is_some_and(|cut| change >= cut) {
            self.is_off = true;
        }
        if self.is_off {
            Err(power_is_off())
        } else if self.is_read_only && operation.is_change() {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        } else if self.fail_at == Some(number) {
            Err(io::Error::other("a simulated failure"))
        } else {
            Ok(())
        }
    }
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}
