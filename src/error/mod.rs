//! What went wrong, with the evidence, and what the caller can do about it.
//!
//! [`Error`] holds the evidence (path, offset, found, expected, source);
//! [`ErrorKind`] says what to do with it. No error holds a subject id: an id is named
//! by its position in the request.
//!
//! * `kind`: what the caller can do.
//! * `catalog`: lists of files that something else keeps.
//! * `format`: what is wrong with the bytes of a Parquet file.
//! * `pass`: why a pass whose tasks are run elsewhere can't go on.
//! * `place`: what is wrong with the place of a file.
//! * `replaced`: files that were replaced while they were read.
//! * `request`: what is wrong with a request.
//! * `message`: parts of messages.
//!
//! A message says what can be done in the words of the configuration and of a [`Request`](crate::Request)'s fields. How
//! that is said on a command line or in a form is up to those who have one.

use std::io;

use arrow::error::ArrowError;

use crate::limits;
use crate::tracking::{self, TrackingId};
use message::{list, percent};

mod catalog;
mod format;
mod kind;
mod message;
mod pass;
mod place;
mod replaced;
mod request;

pub use catalog::{Catalog, Keeper};
pub use format::FormatError;
pub use kind::ErrorKind;
pub use pass::PassFault;
pub use place::PlaceFault;
pub use replaced::{is_replaced, replaced};
pub use request::{CannotClear, RequestFault};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, with its evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused an operation.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: String,
        /// The system's own error.
        source: io::Error,
    },

    /// A Parquet file is damaged or uses something that is not supported.
    #[error("{path}: {source}")]
    Shard {
        /// The shard, relative to the dataset.
        path: String,
        /// What is wrong with its bytes.
        source: FormatError,
    },

    /// A file of efface's own (index, configuration) does not hold what it should.
    #[error("{path}: {reason}")]
    State {
        /// The file, relative to the dataset.
        path: String,
        /// What was found.
        reason: String,
    },

    /// The configuration can't be understood.
    #[error("{path}: {source}")]
    Config {
        /// The configuration file.
        path: String,
        /// What the TOML parser says.
        source: Box<toml::de::Error>,
    },

    /// A dataset was opened with a configuration that isn't the one that is stored for it.
    #[error(
        "{path} holds another configuration than the given one: open the dataset with the stored one, or say that the given one overrides it"
    )]
    OtherConfig {
        /// The stored configuration.
        path: String,
    },

    /// A request waits that was handed over under another configuration than the one that overrides the stored one.
    #[error(
        "request {tracking_id} was handed over under another configuration ({} differ): open the dataset with the stored configuration, which carries out each request under its own; or cancel it and hand it over again",
        keys.join(", ")
    )]
    OtherRoles {
        /// The request.
        tracking_id: TrackingId,
        /// The keys of the configuration that differ.
        keys: Vec<String>,
    },

    /// A word is none of those that a field can have.
    #[error("{field}: {found:?} is none of {}", choices.join(", "))]
    Choice {
        /// The field.
        field: &'static str,
        /// The word.
        found: String,
        /// The words that it can have.
        choices: &'static [&'static str],
    },

    /// A field of a request makes no sense, or not together with the others.
    #[error("{}: {fault}", fault.field())]
    Request {
        /// What is wrong.
        fault: RequestFault,
    },

    /// A text is no tracking id.
    #[error(transparent)]
    TrackingId(#[from] tracking::ParseError),

    /// The configuration names a source that can't be one.
    #[error("source: {name:?} is the name of no column and of no key")]
    SourceName {
        /// The name.
        name: String,
    },

    /// The configuration names a key file that isn't there.
    #[error(
        "key_file: there is no {path}: make one of 64 random hexadecimal digits, or restore it"
    )]
    NoKey {
        /// The file, as it is configured.
        path: String,
    },

    /// Ids were hashed under a key that isn't there.
    #[error(
        "{path}: {}, but the ids in {file} were hashed under {}: restore that key from a backup (behind another one it stands in a line of its own)",
        if *is_there { "it holds a key" } else { "there is no key" },
        if *is_there { "another one" } else { "one" }
    )]
    KeyLost {
        /// The file of the key.
        path: String,
        /// Whether it holds another key.
        is_there: bool,
        /// A file that holds hashes.
        file: String,
    },

    /// A plan was put together by the caller, but the call needs one that knows whose its rows are.
    #[error("the plan doesn't say whose its rows are: have it made by `Engine::plan`")]
    PlanWithoutIds,

    /// An export can't be written in the format that it is to have.
    #[error("{format} can't hold column {column:?}: {reason}; arrow can")]
    FormatLacks {
        /// The format.
        format: &'static str,
        /// The column.
        column: String,
        /// What is so special about the column's type.
        reason: String,
    },

    /// The directory of an export holds something that no export wrote.
    #[error(
        "the directory holds {path}, which is no file of an earlier export per subject: name an empty directory"
    )]
    ForeignFile {
        /// The file, relative to the directory.
        path: String,
    },

    /// There is nothing to work on.
    #[error(
        "{path}: no Parquet shards here (looked for *.parquet, below directories not starting with '_' or '.')"
    )]
    NoShards {
        /// The dataset directory.
        path: String,
    },

    /// A shard lacks a column that has a role.
    #[error("{path}: no {role} column {column:?}; the columns are: {}", columns.join(", "))]
    MissingColumn {
        /// The shard.
        path: String,
        /// The role that the column should have.
        role: &'static str,
        /// The column that was looked for.
        column: String,
        /// The columns that there are.
        columns: Vec<String>,
    },

    /// The name of a column is that of none, and of several if case is ignored.
    #[error("{path}: no {role} column is called {column:?} exactly, and more than one is if case is ignored: {}; name one of them as it is spelled", columns.join(", "))]
    AmbiguousColumn {
        /// The shard.
        path: String,
        /// The role that the column should have.
        role: &'static str,
        /// The name that was looked for.
        column: String,
        /// The columns that it could be.
        columns: Vec<String>,
    },

    /// A column can't have the role that it was given.
    #[error("{path}: column {column:?} cannot be a {role} column: its type is {found}, {expected}")]
    ColumnType {
        /// The shard.
        path: String,
        /// The role that it was given.
        role: &'static str,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What would have done.
        expected: &'static str,
    },

    /// A value of one shard doesn't fit the type that the shards have in common.
    #[error(
        "column {column:?} is {left} because of {left_path}, which can't hold a value of {right_path}, where it is {right}: copy the shards of each type into a directory of their own, and export each directory"
    )]
    SchemaConflict {
        /// The column.
        column: String,
        /// The shard that the type comes from.
        left_path: String,
        /// The type.
        left: String,
        /// The shard of the value.
        right_path: String,
        /// Its type there.
        right: String,
    },

    /// The unit of a time column of plain integers is not known.
    #[error(
        "{path}: column {column:?} can't be a time column yet: its type is {found}, and its statistics don't tell its unit; say it as `time_unit` in the configuration (s, ms, us or ns)"
    )]
    NoTimeUnit {
        /// The shard.
        path: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },

    /// The call names a row that the shard doesn't have.
    #[error("row {row} is not in {path}, which has {rows} rows (they are counted from 0)")]
    NoSuchRow {
        /// The shard.
        path: String,
        /// The row, counted from 0.
        row: u32,
        /// How many rows the shard has.
        rows: u64,
    },

    /// The call names a row group that the shard doesn't have.
    #[error(
        "row group {row_group} is not in {path}, which has {row_groups} row groups (they are counted from 0)"
    )]
    NoSuchRowGroup {
        /// The shard.
        path: String,
        /// The row group, counted from 0.
        row_group: usize,
        /// How many row groups the shard has.
        row_groups: usize,
    },

    /// A CCPA export needs a time column and there is none.
    #[error("a CCPA export covers the last year, but {path} has no time column: name one as `time` in the configuration (the columns are: {})", columns.join(", "))]
    NoTimeColumn {
        /// The shard.
        path: String,
        /// The columns that there are.
        columns: Vec<String>,
    },

    /// More subjects than one request may name.
    #[error(
        "{found} subject ids after de-duplication, but a request may name at most {}: split it",
        limits::SUBJECTS_MAX
    )]
    TooManySubjects {
        /// How many there were.
        found: usize,
    },

    /// A request without subjects.
    #[error("the request names no subject id")]
    NoSubjects,

    /// An id that is the empty string.
    #[error("subject id {position} is empty")]
    EmptySubject {
        /// Its position in the request, counted from 1.
        position: usize,
    },

    /// The CSV of ids can't be read.
    #[error("ids file, record {record}: {reason}")]
    IdsFile {
        /// The record, counted from 1, header included.
        record: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// Ids that are nowhere in the dataset.
    #[error("{} of the request's {of} subject ids occur neither in the dataset nor in the alias table: position {}; nothing was touched (with unknown = report the rest is carried out)", positions.len(), list(positions))]
    UnknownSubjects {
        /// Their positions in the request, counted from 1.
        positions: Vec<usize>,
        /// How many ids the request has.
        of: usize,
    },

    /// One submitted id expands to too many ids.
    #[error(
        "subject id {position} expands to more than {cap} ids: the identity graph looks broken there (identity_cap raises the cap, and identity = exact expands no id)"
    )]
    IdentityCap {
        /// Its position in the request, counted from 1.
        position: usize,
        /// The cap.
        cap: usize,
    },

    /// A delete would remove more than the guard allows.
    #[error("the delete matches {matched} of {rows} rows ({:.1} %), more than the guard of {:.1} % allows: a wrong subject column or a shared id? (max_match raises the guard)", percent(*matched, *rows), max_match * 100.0)]
    OverMatch {
        /// Rows that match.
        matched: u64,
        /// Rows of the dataset.
        rows: u64,
        /// The guard, as a fraction of the rows.
        max_match: f64,
    },

    /// A column that must be cleared can't hold null.
    #[error("{path}: column {column:?} must be cleared, but {reason}; nothing was touched")]
    CannotBeNull {
        /// The shard.
        path: String,
        /// The column.
        column: String,
        /// Why it can't be cleared.
        reason: CannotClear,
    },

    /// The plan is no longer what the caller agreed to.
    #[error(
        "the plan's digest is now {found}, not {expected}: the data or the request changed; look at the new plan"
    )]
    PlanChanged {
        /// The digest that the caller gave.
        expected: String,
        /// The digest as it is now.
        found: String,
    },

    /// Something else keeps a list of the dataset's files, or of files among which it lies.
    #[error(
        "{} lists the files of {}, and a change of them would make that wrong: {}; nothing was touched",
        catalog.path, catalog.keeper, catalog.advice()
    )]
    ManagedTable {
        /// The list.
        catalog: Catalog,
    },

    /// A file can't be used, or replaced, where it is.
    #[error("{path} {fault}")]
    Place {
        /// The file.
        path: String,
        /// What is wrong with the place.
        #[source]
        fault: PlaceFault,
    },

    /// The configuration names a group that the system doesn't know.
    #[error("state_group: there is no group {name:?}: give its name in /etc/group, or its number")]
    NoGroup {
        /// The name.
        name: String,
    },

    /// Another process works on the dataset.
    #[error("{path} is held by another efface ({holder}): try again when it has ended")]
    Locked {
        /// The lock file.
        path: String,
        /// What the holder wrote into it.
        holder: String,
    },

    /// A file of efface's own was replaced by another process.
    #[error("{path} was changed by another process in the meantime: run again")]
    StateChanged {
        /// The file.
        path: String,
    },

    /// Something was to be changed about a request that doesn't wait.
    #[error("request {tracking_id} doesn't wait: its state is {state}")]
    NotWaiting {
        /// The request.
        tracking_id: TrackingId,
        /// Its state.
        state: &'static str,
    },

    /// There is no room for what is to be written.
    #[error(
        "the new shards need {needed} bytes at a time, but there is room for {available}: none was written; make room and run again"
    )]
    NoRoom {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },

    /// A shard was replaced by another process.
    #[error(
        "{path} was changed by another process meanwhile: nothing of it was replaced, run again"
    )]
    ShardChanged {
        /// The shard.
        path: String,
    },

    /// A request that was begun, has ended or never was can't be cancelled.
    #[error(
        "request {tracking_id} is {state}: only one that is PENDING or STAGING can be cancelled"
    )]
    NotCancellable {
        /// The request.
        tracking_id: TrackingId,
        /// Its state.
        state: &'static str,
    },

    /// A request could not be ended because of the data or the machine. It is not lost.
    #[error("{source}; request {tracking_id} is {state}: the next compaction goes on with it")]
    Held {
        /// The request.
        tracking_id: TrackingId,
        /// Its state.
        state: &'static str,
        /// What was in the way.
        source: Box<Error>,
    },

    /// Rows of the exported ids are being deleted.
    #[error(
        "request {tracking_id} deletes rows of these ids and is STARTED: an export would hold a part of them; run a compaction, then export again"
    )]
    Underway {
        /// The delete.
        tracking_id: TrackingId,
    },

    /// A rewritten shard did not read back as it was meant; the old one is still in place.
    #[error(
        "{path}: the rewritten shard failed its check ({reason}); the old shard was left in place"
    )]
    CheckFailed {
        /// The shard.
        path: String,
        /// What the check found.
        reason: String,
    },

    /// The Arrow layer failed on something that the format layer let through.
    #[error("{context}: {source}")]
    Arrow {
        /// What was being done.
        context: String,
        /// Arrow's own error.
        source: ArrowError,
    },

    /// Something that can't happen did.
    #[error("{path}: {invariant}, which can't be: this is a bug in efface, please report it")]
    Internal {
        /// The shard or the dataset that was worked on.
        path: String,
        /// What was found, as a statement that contradicts an invariant of the code.
        invariant: &'static str,
    },

    /// A pass can't be finished yet.
    #[error(
        "{} of the pass's tasks were neither committed nor failed, the first one that of {}: run and commit them before the pass is finished",
        shards.len(), shards.first().map_or("", String::as_str)
    )]
    Outstanding {
        /// The shards of these tasks.
        shards: Vec<String>,
    },

    /// A call about a pass whose tasks are run elsewhere can't be carried out.
    #[error("pass {pass} {fault}")]
    Pass {
        /// The pass.
        pass: TrackingId,
        /// What is wrong with it, or with the call.
        #[source]
        fault: PassFault,
    },

    /// The caller cancelled the operation.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// For `map_err`: this crate's error that went through Arrow's iterators, or an [`Error::Arrow`].
    pub fn arrow(context: &'static str) -> impl Fn(ArrowError) -> Self {
        let wrapped = move |source| Self::Arrow {
            context: context.to_owned(),
            source,
        };
        move |error| match error {
            ArrowError::ExternalError(source) => match source.downcast::<Self>() {
                Ok(error) => *error,
                Err(source) => wrapped(ArrowError::ExternalError(source)),
            },
            source => wrapped(source),
        }
    }

    /// An [`Error::Io`] for `map_err`; [`Error::ShardChanged`] if the file was [`replaced`].
    pub fn io(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            if is_replaced(&source) {
                return Self::ShardChanged { path };
            }
            Self::Io {
                operation,
                path,
                source,
            }
        }
    }
}
