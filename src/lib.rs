//! Exports or erases every row of a person from Parquet event shards, copying every byte that needn't change.
//!
//! **The promise.** After a delete, no row of the covered ids that was there when it began is left in any
//! shard, also in shards that no index knew; every other row is what it was, bit for bit; and at each instant
//! in between, a reader saw each shard as it was before or as it is after. What can't be done so is refused
//! with an [`Error`] before anything is touched.
//!
//! ```text
//!   Request ──> identity ──> covered ids ──> index ──> candidate row groups
//!   (subjects)  (aliases)                   (hash -> row groups)   │
//!                                                                  v
//!                                                   shard::select: exact rows ──> Plan (a dry run, a digest)
//!                           ┌──────────────────────────────────────────────────────┤
//!                           v                                                      v
//!                export: rows, headers or pages    delete: shard::rewrite (pages without them copied, the
//!                as Parquet, CSV, JSON, Arrow      others edited) ─> read back ─> rename ─> index ─> aliases
//! ```
//!
//! ```
//! use std::{fs::File, sync::Arc};
//!
//! use arrow::array::{ArrayRef, RecordBatch, StringArray};
//! use efface::{DeleteOptions, Engine, Request, Subjects};
//! use parquet::arrow::ArrowWriter;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A dataset is a directory of Parquet files.
//! let dir = tempfile::tempdir()?;
//! let ids: ArrayRef = Arc::new(StringArray::from(vec!["ada", "bob", "ada", "cyd", "bob"]));
//! let pages: ArrayRef = Arc::new(StringArray::from(vec!["/", "/", "/buy", "/", "/help"]));
//! let events = RecordBatch::try_from_iter([("distinct_id", ids), ("page", pages)])?;
//! let file = File::create(dir.path().join("day-1.parquet"))?;
//! let mut writer = ArrowWriter::try_new(file, events.schema(), None)?;
//! writer.write(&events)?;
//! writer.close()?;
//!
//! let engine = Engine::open_dir(dir.path())?; // with the configuration that is stored for it, if one is
//! let asked: jiff::Timestamp = "2026-01-31T12:00:00Z".parse()?; // the library never reads a clock
//! let ada = Subjects::new(["ada"])?;
//!
//! // What is held of ada?
//! let plan = engine.plan(&Request::export(ada.clone(), asked))?;
//! assert_eq!((plan.rows, plan.dataset_rows), (2, 5));
//! let batches = engine.export(&plan)?.collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
//!
//! // Delete exactly what the plan says.
//! let request = Request::delete(ada.clone(), asked);
//! let digest = engine.plan(&request)?.digest;
//! let done = engine.delete(&request, Some(&digest), &DeleteOptions::default())?;
//! assert_eq!(done.rows_removed, 2);
//!
//! let plan = engine.plan(&Request::export(ada, asked))?;
//! assert_eq!((plan.rows, plan.dataset_rows), (0, 3));
//! # Ok(())
//! # }
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | dataset | a set of event shards with one configuration: a directory tree of Parquet files ([`dataset`], [`config`]) |
//! | shard | one Parquet file: row groups of column chunks of pages, described by the footer ([`mod@shard`]) |
//! | subject | the person a request is about; a subject id ([`SubjectId`]) is one identifier of a subject |
//! | alias | an identifier that maps to one or more subject ids; the identity graph is all of these links ([`identity`]) |
//! | role | what a column is for: subject, time, source, or plain data ([`shard::roles`]) |
//! | request | what is asked: kind, regulation, disclosure, subject ids, time of asking ([`Request`]) |
//! | plan | which rows of which shards a request touches, and what that will cost; touches nothing ([`Plan`]) |
//! | index, segment | hash of a subject id to row-group numbers; a segment is one immutable file of it ([`index`]) |
//! | rewrite | making a new shard without some rows ([`shard::rewrite`]) |
//! | receipt | the evidence that a request was carried out; holds no subject id ([`receipts`]) |
//! | compaction | carrying out all deletes that wait, in one pass ([`erase`], [`queue`], [`mod@pass`]) |
//! | suppression list | keyed hashes of ids whose rows must not come back ([`suppression`]) |
//! | residue | any trace of an erased subject that is left anywhere after an erasure |
//!
//! # Layers
//!
//! Each imports only from those before it; `tests/layers` holds them to it, module by module.
//!
//! 1. [`error`], [`limits`], [`tracking`], [`observe`] (progress), [`io`] (bytes at positions, bytes in order)
//! 2. [`parquet_bytes`]: the file format below Arrow; knows nothing of subjects
//! 3. [`file_system`] (what a directory and a disk are to the rest), [`state`] (efface's own small files), [`table`]
//!    (which shards are live, and how that changes)
//! 4. [`subject`], [`mod@shard`]: for services with a catalog of their own: [`select`](shard::select::select) rows of a
//!    shard, [`rewrite`](shard::rewrite::rewrite) it without them, from any [`ReadAt`](io::ReadAt) to any
//!    [`Sink`](io::Sink)
//! 5. [`request`], [`identity`], [`config`], [`key_file`], [`dataset`], [`index`]
//! 6. [`plan`], [`export`], [`receipts`], [`archives`], [`mod@pass`], [`queue`], [`suppression`]
//! 7. [`find`] (the half that reads), [`erase`] (the half that writes), and over them [`engine`]: what most users call
//! 8. [`testing`]: checks for those who implement a table or a state
//!
//! Work runs on the rayon pool in which the caller is. Nothing is printed, and there is no global state.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    unsafe_code
)]

pub mod archives;
pub mod config;
mod csv_records;
pub mod dataset;
pub mod engine;
pub mod erase;
pub mod error;
pub mod export;
pub mod file_system;
pub mod find;
pub mod identity;
pub mod index;
pub mod io;
pub mod key_file;
pub mod limits;
pub mod observe;
pub mod parquet_bytes;
pub mod pass;
pub mod plan;
pub mod queue;
pub mod receipts;
pub mod request;
pub mod shard;
pub mod state;
pub mod subject;
pub mod suppression;
pub mod table;
pub mod testing;
pub mod tracking;
mod witness;

pub use config::Config;
pub use engine::{Configuration, Engine, EngineOptions};
pub use erase::delete::{DeleteOptions, DeleteReport};
pub use error::{Error, ErrorKind, FormatError, Result};
pub use export::Export;
pub use file_system::disk::Disk;
pub use plan::Plan;
pub use request::{Request, Subjects};
pub use shard::Shard;
pub use subject::SubjectId;

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
