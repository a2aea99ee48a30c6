//! The command line, and what its words mean.
//!
//! What holds a request's ids is not `Debug`.

#![expect(
    clippy::doc_markdown,
    reason = "the docs of options are the help that the command prints"
)]

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{ArgGroup, Parser, Subcommand};
use efface::config::{Config, EmptyShards};
use efface::limits;
use efface::request::{Disclosure, Identity, Kind, Regulation, RequiredColumns, Unknown};
use efface::shard::chunk::level::ZstdLevel;
use efface::shard::time::UnitName;
use jiff::Timestamp;

mod submitted;
mod suppressed;
mod values;
mod written;

pub(crate) use submitted::SubmitArgs;
pub(crate) use suppressed::{SuppressedIds, Suppression, SuppressionArgs};
pub(crate) use values::Rows;
use values::{date_or_time, empty_shards, rate, size, storage_option, zstd_level};
pub(crate) use written::{Form, Written};

/// Exports or erases every row of a person from Parquet event shards.
///
/// Exit status: 0 done; 1 I/O or internal; 2 usage; 3 request refused; 4 conflict or lock, try
/// again; 5 damaged or unsupported data.
#[derive(Parser)]
#[command(name = "efface", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print exactly one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Threads to work with [default: one for each core]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Memory to stay within, such as 512MiB or 2GiB [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = size, global = true)]
    memory: Option<u64>,

    /// Bytes of shards to read and write in a second, such as 50MiB, so that others keep their share of the disk
    /// [default: as many as can be]
    #[arg(long, value_name = "SIZE", value_parser = rate, global = true)]
    pub(crate) rate: Option<NonZeroU64>,

    /// An option of the object store, as the object_store crate calls it (region, endpoint, allow_http, ...); may be
    /// repeated. The environment's count as well (AWS_REGION, ...). A secret is safer there than here, where `ps` shows it
    #[arg(long, value_name = "KEY=VALUE", value_parser = storage_option, global = true)]
    pub(crate) storage_option: Vec<(String, String)>,

    /// Keep local copies of the index of a dataset in an object store in this directory
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) cache: Option<PathBuf>,

    /// Work in an object store that ignores conditions of writes, where nobody else writes meanwhile
    #[arg(long, global = true)]
    pub(crate) single_writer: bool,

    /// Accept that an object store keeps old versions of its objects, in which erased rows stay
    #[arg(long, value_name = "keep", global = true)]
    pub(crate) history: Option<History>,

    /// Log what is done to standard error; twice for more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// What becomes of old versions.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum History {
    /// The store keeps them.
    Keep,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write down what the columns of a dataset are for, in _efface/dataset.toml
    Init {
        #[command(flatten)]
        dataset: Dataset,
    },
    /// Build or refresh the index of subject ids
    Index {
        #[command(flatten)]
        dataset: Dataset,
        /// Compare it with every id of every shard as well, and rebuild it if it differs
        #[arg(long)]
        verify: bool,
    },
    /// Show shards, row groups, rows, roles, and whether the index is fresh
    Inspect {
        #[command(flatten)]
        dataset: Dataset,
    },
    /// Say what an export or a delete would touch, and touch nothing
    Plan {
        #[command(flatten)]
        dataset: Dataset,
        #[command(flatten)]
        request: RequestArgs,
        #[command(flatten)]
        guard: Guard,
        /// What to plan: delete or export
        #[arg(long, default_value = "delete")]
        kind: Kind,
    },
    /// Stream out every row of the subjects
    Export {
        #[command(flatten)]
        dataset: Dataset,
        #[command(flatten)]
        request: RequestArgs,
        #[command(flatten)]
        written: Written,
    },
    /// Rewrite the shards without any row of the subjects
    Delete {
        #[command(flatten)]
        dataset: Dataset,
        #[command(flatten)]
        request: RequestArgs,
        #[command(flatten)]
        guard: Guard,
        #[command(flatten)]
        suppression: SuppressionArgs,
        #[command(flatten)]
        compression: Compression,
    },
    /// Hand a delete over to the next compaction; says its tracking id
    Submit(SubmitArgs),
    /// Extend the deadline of a request that has not ended, once
    Extend {
        #[command(flatten)]
        dataset: Dataset,
        /// What `submit` said
        #[arg(value_name = "TRACKING_ID")]
        tracking_id: String,
        /// Why: it is told to whoever asked, and stays in the receipt
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The new deadline: a date (UTC) or an RFC 3339 time [default: 60 days after the one before under the GDPR, 45
        /// under the CCPA]
        #[arg(long, value_name = "DATE", value_parser = date_or_time)]
        until: Option<Timestamp>,
    },
    /// Say how a request stands, or all that have not ended
    Status {
        #[command(flatten)]
        dataset: Dataset,
        /// What `submit` or `delete` said
        #[arg(value_name = "TRACKING_ID", conflicts_with_all = ["after", "limit"])]
        tracking_id: Option<String>,
        /// Only those that were asked after this request: the last one of the page before
        #[arg(long, value_name = "TRACKING_ID")]
        after: Option<String>,
        /// At most so many, those that were asked first
        #[arg(long, value_name = "N")]
        limit: Option<NonZeroUsize>,
    },
    /// Cancel a request that was not begun
    Cancel {
        #[command(flatten)]
        dataset: Dataset,
        /// What `submit` said
        #[arg(value_name = "TRACKING_ID")]
        tracking_id: String,
    },
    /// Carry out every delete that waits, and what an interrupted run left, each touched shard rewritten once
    Compact {
        #[command(flatten)]
        dataset: Dataset,
        /// The part of the dataset's rows, from 0 to 1, that may go because their ids are suppressed
        #[arg(long, value_name = "FRACTION", default_value_t = limits::MAX_MATCH)]
        max_match: f64,
        /// Only plan it, and write it down as numbered tasks for other processes and machines: `efface task` runs
        /// one, `efface commit` ends it
        #[arg(long)]
        tasks: bool,
        #[command(flatten)]
        compression: Compression,
    },
    /// Run one task of a pass that `compact --tasks` began, on whatever machine; print what came of it as JSON
    ///
    /// It needs no lock. A task can be run any number of times, also at a time: the first good result counts.
    Task {
        #[command(flatten)]
        dataset: Dataset,
        /// The pass, as `compact --tasks` said it
        #[arg(value_name = "PASS")]
        pass: String,
        /// The number of the task, from 1 to as many as `compact --tasks` said
        #[arg(value_name = "N")]
        number: String,
    },
    /// Check and commit what the tasks of a pass did, and end it; exit status 4 while tasks are outstanding
    ///
    /// Tasks whose shard another process changed meanwhile are to be done again: they get new numbers, which are
    /// told. If a plain `compact` ended the pass before, its receipts are printed.
    Commit {
        #[command(flatten)]
        dataset: Dataset,
        /// The pass, as `compact --tasks` said it
        #[arg(value_name = "PASS")]
        pass: String,
    },
    /// List the receipts of ended requests, and check that none was changed, removed or moved
    Receipts {
        #[command(flatten)]
        dataset: Dataset,
        /// Only check them
        #[arg(long)]
        check: bool,
    },
    /// Keep rows of opted-out or erased ids from coming back
    Suppress {
        #[command(subcommand)]
        what: Suppression,
    },
    /// Look for any trace of the ids in every structure of every shard; exit status 6 when there is one
    Verify {
        #[command(flatten)]
        dataset: Dataset,
        #[command(flatten)]
        ids: Ids,
    },
    /// Write one Parquet file without some rows, for catalogs of your own
    Rewrite {
        /// The Parquet file to read
        #[arg(value_name = "IN")]
        input: PathBuf,
        /// The Parquet file to write; it must be another one
        #[arg(value_name = "OUT")]
        output: PathBuf,
        /// The rows to leave out, counted from 0 over the whole file; ranges include both ends: 1,5,9-20
        #[arg(long, value_name = "ROWS")]
        rows: Rows,
        #[command(flatten)]
        compression: Compression,
    },
    /// Show an export and a delete on a copy of the sample data
    Demo,
}

/// The dataset, and the roles of its columns.
#[derive(clap::Args)]
pub(crate) struct Dataset {
    /// The directory of Parquet shards, or its URL: s3://, gs://, az://, abfss:// or file://
    #[arg(value_name = "DATASET")]
    pub(crate) path: PathBuf,

    #[command(
        flatten,
        next_help_heading = "Roles (these override _efface/dataset.toml)"
    )]
    roles: Roles,
}

#[derive(clap::Args)]
struct Roles {
    /// A column that says whose row it is; may be repeated [default: distinct_id]
    #[arg(long, value_name = "COLUMN")]
    subject: Vec<String>,

    /// The column that says when [default: time]
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,

    /// The unit of an integer time column: s, ms, us or ns
    #[arg(long, value_name = "UNIT")]
    time_unit: Option<UnitName>,

    /// A column that says how the data was collected; may be repeated
    #[arg(long, value_name = "COLUMN")]
    source: Vec<String>,

    /// A string column that holds JSON objects; may be repeated
    #[arg(long, value_name = "COLUMN")]
    json_column: Vec<String>,

    /// The alias table, Parquet or CSV; the path is absolute or relative to the dataset
    #[arg(long, value_name = "FILE")]
    aliases: Option<String>,

    /// The alias table's column of aliases [default: alias]
    #[arg(long, value_name = "COLUMN")]
    alias_column: Option<String>,

    /// The alias table's column of ids [default: distinct_id]
    #[arg(long, value_name = "COLUMN")]
    alias_distinct_id_column: Option<String>,

    /// What becomes of a shard that lost all its rows: keep (without rows) or remove [default: keep]
    #[arg(long, value_name = "CHOICE", value_parser = empty_shards)]
    empty_shards: Option<EmptyShards>,
}

/// Whom a request is about, and what is asked.
#[derive(clap::Args)]
#[command(next_help_heading = "Request")]
#[command(group = ArgGroup::new("whom").args(["id", "ids"]).required(true).multiple(true))]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) ids: Ids,

    /// The law that it is asked under: gdpr, or ccpa (an export then covers the last year)
    #[arg(long, default_value_t)]
    pub(crate) regulation: Regulation,

    /// How much of the rows it is about: data, categories or sources
    ///
    /// An export of categories lists the columns and keys that hold a value, one of sources shows how the data was
    /// collected; a delete of categories clears all columns but subject and time, one of sources those that say how
    /// the data was collected.
    #[arg(long, default_value_t)]
    pub(crate) disclosure: Disclosure,

    /// Which ids a submitted id covers: forward (what it maps to), cluster (all that is linked) or exact
    #[arg(long, default_value_t)]
    pub(crate) identity: Identity,

    /// Ids that one submitted id may expand to
    #[arg(long, value_name = "N", default_value_t = limits::IDENTITY_CAP)]
    pub(crate) identity_cap: usize,

    /// What becomes of a request with ids that are nowhere: refuse it, or report them
    #[arg(long, default_value_t)]
    pub(crate) unknown: Unknown,

    /// When it was asked, as in 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339")]
    pub(crate) requested_at: Option<Timestamp>,

    /// A look-back longer than the year of a CCPA export: a date (UTC) or an RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = date_or_time)]
    pub(crate) since: Option<Timestamp>,

    /// Go on only if the plan still has this digest
    #[arg(long = "plan", value_name = "DIGEST")]
    pub(crate) expected_plan: Option<String>,
}

/// The subject ids.
#[derive(clap::Args)]
#[command(next_help_heading = "Request")]
pub(crate) struct Ids {
    /// A subject id; may be repeated. Other users of the machine can see it while this runs: --ids is safer
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) id: Vec<String>,

    /// A CSV of subject ids, one a line or in a column with the header distinct_id; - is standard input
    ///
    /// Together with --id, the ids of --id come first when positions are counted.
    #[arg(long = "ids", id = "ids", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The column of the ids in the file of --ids, if its header is another one
    #[arg(long = "ids-column", value_name = "NAME", requires = "ids")]
    pub(crate) column: Option<String>,
}

/// The guards of a delete.
#[derive(clap::Args)]
#[command(next_help_heading = "Request")]
pub(crate) struct Guard {
    /// The part of the dataset's rows, from 0 to 1, that a delete may match
    #[arg(long, value_name = "FRACTION", default_value_t = limits::MAX_MATCH)]
    pub(crate) max_match: f64,

    /// What becomes of columns that must be cleared but can't be null: refuse the request, or write the
    /// type's empty value (default)
    #[arg(long, value_name = "CHOICE", default_value_t)]
    pub(crate) required_columns: RequiredColumns,
}

/// How rebuilt pages are compressed.
#[derive(clap::Args)]
pub(crate) struct Compression {
    /// The level at which zstd pages are compressed again, or auto
    #[arg(
        long,
        value_name = "N|auto",
        default_value = "auto",
        value_parser = zstd_level,
        allow_hyphen_values = true
    )]
    pub(crate) zstd_level: ZstdLevel,
}

impl Args {
    /// Memory to stay within, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.unwrap_or(limits::MEMORY_BYTES)
    }
}

impl Dataset {
    /// `config` with what the flags say instead.
    pub(crate) fn configure(&self, mut config: Config) -> Config {
        let roles = &self.roles;
        let several = [
            (&mut config.subject, &roles.subject),
            (&mut config.source, &roles.source),
            (&mut config.json_column, &roles.json_column),
        ];
        for (columns, given) in several {
            if !given.is_empty() {
                columns.clone_from(given);
            }
        }
        let single = [
            (&mut config.time, &roles.time),
            (&mut config.aliases, &roles.aliases),
            (&mut config.alias_column, &roles.alias_column),
            (
                &mut config.alias_distinct_id_column,
                &roles.alias_distinct_id_column,
            ),
        ];
        for (value, given) in single {
            if given.is_some() {
                value.clone_from(given);
            }
        }
        config.time_unit = roles.time_unit.or(config.time_unit);
        config.empty_shards = roles.empty_shards.unwrap_or(config.empty_shards);
        config
    }
}

/// Prints help, the version or a usage error, and gives the exit status.
pub(crate) fn explain(error: &clap::Error) -> u8 {
    let too_many = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => {
            error.kind() == clap::error::ErrorKind::UnknownArgument && !argument.starts_with('-')
        }
        _ => false,
    };
    let printed = if too_many {
        Args::print_too_many()
    } else {
        error.print()
    };
    // Nobody is left to be told when the output itself is gone.
    drop(printed);
    u8::from(error.use_stderr()) * 2
}

impl Args {
    /// In place of clap's own message, which would print an argument that may well be an id.
    fn print_too_many() -> std::io::Result<()> {
        use clap::CommandFactory;
        Self::command()
            .error(
                clap::error::ErrorKind::UnknownArgument,
                "an argument too many (it may be a subject id, so it isn't shown): \
                 ids are given with --id or --ids",
            )
            .print()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_id_may_look_like_an_option() {
        let args = Args::try_parse_from(["efface", "export", "data", "--id", "-1", "--id=--x"]);
        let Ok(Args {
            command: Command::Export { request, .. },
            ..
        }) = args
        else {
            panic!("not an export");
        };
        assert_eq!(request.ids.id, ["-1", "--x"]);
    }

    #[test]
    fn flags_override_the_configuration_and_leave_the_rest_of_it() {
        let stored = Config {
            subject: vec!["user_id".to_owned()],
            time: Some("at".to_owned()),
            ..Config::default()
        };
        let words = [
            "efface",
            "inspect",
            "data",
            "--subject",
            "a",
            "--subject",
            "b",
        ];
        let Ok(Args {
            command: Command::Inspect { dataset },
            ..
        }) = Args::try_parse_from(words)
        else {
            panic!("not an inspect");
        };
        let config = dataset.configure(stored.clone());
        assert_eq!(config.subject, ["a", "b"]);
        assert_eq!(config.time, stored.time);
    }
}
