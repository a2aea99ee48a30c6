//! The options around the suppression list.

use clap::{ArgGroup, Subcommand};
use efface::request::{Identity, Suppress};
use jiff::Timestamp;

use super::{Dataset, Ids, date_or_time};

/// Whether the ids are suppressed as well.
#[derive(clap::Args)]
#[command(next_help_heading = "Request")]
pub(crate) struct SuppressionArgs {
    /// Also put the covered ids on the suppression list, so that their rows can't come back
    #[arg(long)]
    suppress: bool,

    /// With --suppress: rows of this time or later may come in again: a date (UTC) or an RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = date_or_time, requires = "suppress")]
    suppress_before: Option<Timestamp>,
}

/// What is done with the suppression list.
#[derive(Subcommand)]
pub(crate) enum Suppression {
    /// Put ids on the list; the next compaction removes their rows, also those that come in later
    Add {
        #[command(flatten)]
        dataset: Dataset,
        #[command(flatten)]
        ids: SuppressedIds,
        /// The cut-off: rows of this time or later stay: a date (UTC) or an RFC 3339 time
        #[arg(long, value_name = "DATE", value_parser = date_or_time)]
        before: Option<Timestamp>,
    },
    /// Take ids off the list
    Remove {
        #[command(flatten)]
        dataset: Dataset,
        #[command(flatten)]
        ids: SuppressedIds,
    },
    /// Show the list: hashes of ids, and cut-offs
    List {
        #[command(flatten)]
        dataset: Dataset,
    },
}

/// What is done with the key under which ids are hashed.
#[derive(Subcommand)]
pub(crate) enum Key {
    /// Draw a new key at random, which hashes from now on; the earlier ones stay in the key file, so that older
    /// hashes are still found. Copy the file to where its copies are kept afterwards
    Rotate {
        #[command(flatten)]
        dataset: Dataset,
    },
}

/// Whose ids are suppressed.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("who").args(["id", "ids"]).required(true).multiple(true))]
pub(crate) struct SuppressedIds {
    #[command(flatten)]
    pub(crate) ids: Ids,

    /// Which ids a submitted id covers: forward (what it maps to), cluster (all that is linked) or exact
    #[arg(long, default_value_t)]
    pub(crate) identity: Identity,
}

impl SuppressionArgs {
    /// What they ask for.
    pub(crate) fn suppress(&self) -> Option<Suppress> {
        self.suppress.then_some(Suppress {
            before: self.suppress_before,
        })
    }
}
