//! The options of `filter`.

use super::Dataset;

/// Events that come in.
#[derive(clap::Args)]
pub(crate) struct FilterArgs {
    #[command(flatten)]
    pub(crate) dataset: Dataset,
    /// What comes on standard input, and goes to standard output
    #[arg(long, value_enum, default_value_t = EventFormat::Jsonl)]
    pub(crate) format: EventFormat,
    /// What becomes of events that can't be judged: stop (exit status 3), drop or pass
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    pub(crate) on_error: OnError,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EventFormat {
    /// A JSON object a line
    Jsonl,
    /// One Parquet file
    Parquet,
    /// An Arrow IPC stream
    Arrow,
}

/// What becomes of an event that can't be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnError {
    /// Nothing more is written
    Stop,
    /// It is left out
    Drop,
    /// It is passed on
    Pass,
}
