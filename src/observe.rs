//! Progress of long work, for whoever wants to show it.

/// Learns how far a long piece of work is. All methods do nothing unless they are overridden.
pub trait Observer: Send + Sync {
    /// A stage with `total` steps begins; the one before has ended.
    fn begin(&self, stage: &'static str, total: u64) {
        let (_, _) = (stage, total);
    }

    /// `amount` more steps of the stage are done. Called from several threads.
    fn advance(&self, amount: u64) {
        let _ = amount;
    }

    /// The last stage has ended.
    fn end(&self) {}
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
