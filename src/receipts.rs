//! Receipts: the evidence that requests were carried out, as a chain of hashes. They hold no subject id.
//!
//! ```text
//! _efface/receipts/000000000001.jsonl      receipts 1 to 3, ended together
//! _efface/receipts/000000000004.jsonl      receipts 4 to ..
//! _efface/receipts/head.json               how many there are, and the hash of the last
//!
//! a line:  {"receipt":{"number":4,"previous":"<hash of receipt 3>",..},"hash":"<hash of receipt 4>"}
//!          hash = BLAKE3(the bytes of the object behind "receipt":)
//! ```
//!
//! # Invariants
//! * A file of receipts is never changed. A receipt holds the hash of the one before it (of the first: 64 zeros),
//!   so a changed, missing, added or moved receipt breaks the chain; the head shows when the last ones are gone.
//!   Who can write all of the directory can forge all of it: keep the head's hash elsewhere to notice that.
//!
//! # Crash behaviour
//! The file comes first, then the ended requests leave the queue, then the head follows. So a head that lags tells
//! of requests that may still be there: whoever has the queue's lock next takes them out, and moves the head.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::request::{Disclosure, Identity, Regulation};
use crate::state::{self, Expect, State, document};
use crate::subject::KeyedHash;
use crate::tracking::TrackingId;

/// Where receipts lie, relative to the dataset.
pub const DIRECTORY: &str = "_efface/receipts";

/// The program and its version, as receipts name it.
pub(crate) const ENGINE: &str = concat!("efface ", env!("CARGO_PKG_VERSION"));

/// Bytes of one file of receipts.
const FILE_BYTES_MAX: u64 = 4 << 30;
const HEAD_BYTES_MAX: u64 = 1 << 12;
/// What the first receipt holds as the hash of the one before it.
const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ended {
    /// It was carried out.
    Success,
    /// It was not, or not in every shard: the reason says why.
    Failure,
    /// It was cancelled before anything was touched.
    Revoked,
}

/// Why rows were removed or cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A request asked for it.
    Delete,
    /// They are of ids on the suppression list, and came in later.
    Suppression,
}

/// What became of one submitted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its rows were deleted, or cleared.
    Deleted,
    /// There was no row and no alias of it.
    NotFound,
    /// An earlier request that was carried out at the same time names it too, and counts its rows.
    Merged,
    /// Nothing was done about it.
    Untouched,
}

/// What became of one submitted id, as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectEvidence {
    /// Its position in the request, counted from 1.
    pub position: usize,
    /// Its hash under the dataset's key.
    pub id: KeyedHash,
    /// What became of it.
    pub outcome: Outcome,
    /// Rows of it that were deleted or cleared.
    pub rows: u64,
    /// The request that counts its rows, if it was merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<TrackingId>,
}

/// A shard that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEvidence {
    /// Relative to the dataset.
    pub path: String,
    /// Rows of the request that were removed from it, or cleared in it.
    pub rows: u64,
    /// BLAKE3 of the whole file before.
    pub before: String,
    /// BLAKE3 of the whole file after; `None` when it had no rows left and was removed.
    pub after: Option<String>,
}

/// The evidence of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its place in the chain, counted from 1.
    #[serde(default)]
    pub number: u64,
    /// The hash of the receipt before it.
    #[serde(default)]
    pub previous: String,
    /// The request; of suppressed rows the pass.
    pub tracking_id: TrackingId,
    /// Why it was done.
    pub cause: Cause,
    /// The pass that it was carried out in, together with others.
    pub pass: Option<TrackingId>,
    /// How it ended.
    pub state: Ended,
    /// Why it failed.
    pub reason: Option<String>,
    /// The law that it was made under.
    pub regulation: Regulation,
    /// What was deleted.
    pub disclosure: Disclosure,
    /// How its ids were expanded.
    pub identity: Identity,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When it was handed over.
    pub submitted_at: Timestamp,
    /// When it was carried out; `None` if it was not begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its deadline.
    pub due: Timestamp,
    /// Rows that were removed.
    pub rows_removed: u64,
    /// Rows in which values were cleared.
    pub rows_cleared: u64,
    /// Rows of the alias table that were removed, for all requests of the pass together.
    pub alias_rows_removed: u64,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// Whether the covered ids were put on the suppression list.
    pub suppressed: bool,
    /// The digest of the plan that was carried out.
    pub digest: Option<String>,
    /// The rewritten shards that held rows of it.
    pub shards: Vec<ShardEvidence>,
    /// Its ids.
    pub subjects: Vec<SubjectEvidence>,
    /// The program and its version.
    pub engine: String,
}

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many receipts there are.
    pub receipts: u64,
    /// The hash of the last one.
    pub hash: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    receipt: Box<RawValue>,
    hash: String,
}

/// The receipts of a dataset.
pub struct Receipts<'a> {
    state: &'a dyn State,
}

impl<'a> Receipts<'a> {
    /// Those that lie in `state`. Reads nothing yet.
    pub fn new(state: &'a dyn State) -> Self {
        Self { state }
    }

    /// Appends receipts, in one durable step, and gives the new head; `leave` takes what has ended out of the
    /// queue. The caller holds the queue's lock.
    ///
    /// # Errors
    /// When the end of the chain is damaged, or writing fails. Then none was appended, unless `leave` or the head
    /// was what failed: see the module's crash behaviour.
    pub fn append(
        &self,
        receipts: Vec<Receipt>,
        leave: impl FnOnce() -> Result<()>,
    ) -> Result<Head> {
        let mut head = self.stored_head()?;
        if receipts.is_empty() {
            leave()?;
            return Ok(head);
        }
        let path = file_path(head.receipts + 1);
        let unwritten = |error: serde_json::Error| Error::io("write", &path)(error.into());
        let mut bytes = Vec::new();
        for mut receipt in receipts {
            receipt.number = head.receipts + 1;
            receipt.previous = head.hash;
            let receipt = serde_json::value::to_raw_value(&receipt).map_err(unwritten)?;
            head = Head {
                receipts: head.receipts + 1,
                hash: hash_of(&receipt),
            };
            let line = Line {
                receipt,
                hash: head.hash.clone(),
            };
            serde_json::to_writer(&mut bytes, &line).map_err(unwritten)?;
            bytes.push(b'\n');
        }
        let written = self.state.put(&path, &bytes, Expect::Absent);
        written.map_err(|error| match error {
            Error::StateChanged { path } => broken(&path, "it is there before its time"),
            error => error,
        })?;
        leave()?;
        document::store(self.state, &head_path(), &head, Expect::Any)?;
        Ok(head)
    }

    /// Brings a head up to date that an interrupted run left behind, once `leave` has taken each request out of the
    /// queue that ended then. The caller holds the queue's lock.
    ///
    /// # Errors
    /// When the end of the chain is damaged, those of `leave`, and failures of the state.
    pub fn catch_up(&self, mut leave: impl FnMut(TrackingId) -> Result<()>) -> Result<()> {
        let mut head = self.stored_head()?;
        let before = head.receipts;
        let mut ended = Vec::new();
        while let Some(path) = self.file_after(head.receipts)? {
            self.follow(&path, &mut head, &mut |receipt, _| {
                ended.push(receipt.tracking_id);
            })?;
        }
        if head.receipts > before {
            ended.into_iter().try_for_each(&mut leave)?;
            document::store(self.state, &head_path(), &head, Expect::Any)?;
        }
        Ok(())
    }

    /// Reads the whole chain and checks it, showing each receipt to `see`. Gives the head.
    ///
    /// # Errors
    /// [`Error::State`] that names the first file and receipt at which the chain is broken.
    pub fn check(&self, mut see: impl FnMut(Receipt)) -> Result<Head> {
        let mut head = Head {
            receipts: 0,
            hash: NONE.to_owned(),
        };
        let stored = self.stored_head()?;
        let files = self.files()?;
        // Only the very first file can be there without a head.
        let mut is_head_met = stored.receipts == 0 && files.len() <= 1;
        for path in files.into_values() {
            if path != file_path(head.receipts + 1) {
                let found = head.receipts;
                return Err(broken(
                    &path,
                    &format!("receipts are missing or moved: {found} lead up to this file"),
                ));
            }
            self.follow(&path, &mut head, &mut |receipt, head| {
                is_head_met |= *head == stored;
                see(receipt);
            })?;
        }
        if !is_head_met {
            return Err(broken(
                &head_path(),
                &format!(
                    "it stands for {} receipts, but the chain has {} or other ones",
                    stored.receipts, head.receipts
                ),
            ));
        }
        Ok(head)
    }

    /// The receipt of a request; `None` when there is none. Later files are looked through first.
    ///
    /// # Errors
    /// When a file can't be read, or its line is damaged.
    pub fn find(&self, id: TrackingId) -> Result<Option<Receipt>> {
        let text = format!("\"tracking_id\":\"{id}\"");
        let finder = memmem::Finder::new(text.as_bytes());
        for path in self.files()?.into_values().rev() {
            let bytes = state::read(self.state, &path, FILE_BYTES_MAX)?;
            let lines = bytes.split(|byte| *byte == b'\n');
            if let Some(line) = lines.into_iter().find(|line| finder.find(line).is_some()) {
                let (receipt, _) = parse(&path, line)?;
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    /// Whether receipts of this pass are there: they are written all at once. Later files are looked through first.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn has_pass(&self, pass: TrackingId) -> Result<bool> {
        let text = format!("\"pass\":\"{pass}\"");
        let finder = memmem::Finder::new(text.as_bytes());
        for path in self.files()?.into_values().rev() {
            let bytes = state::read(self.state, &path, FILE_BYTES_MAX)?;
            if finder.find(&bytes).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The receipts of this pass, in their order: they are written all at once. Later files are looked through first.
    ///
    /// # Errors
    /// When a file can't be read, or a line of the pass is damaged.
    pub fn of_pass(&self, pass: TrackingId) -> Result<Vec<Receipt>> {
        let text = format!("\"pass\":\"{pass}\"");
        let finder = memmem::Finder::new(text.as_bytes());
        for path in self.files()?.into_values().rev() {
            let bytes = state::read(self.state, &path, FILE_BYTES_MAX)?;
            let lines = bytes.split(|byte| *byte == b'\n');
            let of_pass: Result<Vec<Receipt>> = lines
                .filter(|line| finder.find(line).is_some())
                .map(|line| parse(&path, line).map(|(receipt, _)| receipt))
                .collect();
            let of_pass = of_pass?;
            if !of_pass.is_empty() {
                return Ok(of_pass);
            }
        }
        Ok(Vec::new())
    }

    fn file_after(&self, receipts: u64) -> Result<Option<String>> {
        let path = file_path(receipts + 1);
        Ok(self.state.has(&path)?.then_some(path))
    }

    fn stored_head(&self) -> Result<Head> {
        let head = document::load(self.state, &head_path(), HEAD_BYTES_MAX)?;
        Ok(head.unwrap_or_else(|| Head {
            receipts: 0,
            hash: NONE.to_owned(),
        }))
    }

    /// Goes on with the chain from `head` through the file at `path`.
    fn follow(
        &self,
        path: &str,
        head: &mut Head,
        see: &mut dyn FnMut(Receipt, &Head),
    ) -> Result<()> {
        let bytes = state::read(self.state, path, FILE_BYTES_MAX)?;
        let Some(bytes) = bytes.strip_suffix(b"\n") else {
            return Err(broken(path, "it does not end with a line"));
        };
        for line in bytes.split(|byte| *byte == b'\n') {
            let number = head.receipts + 1;
            let (receipt, hash) = parse(path, line)?;
            if receipt.number != number || receipt.previous != head.hash {
                return Err(broken(
                    path,
                    &format!("receipt {number} does not follow the one before it"),
                ));
            }
            *head = Head {
                receipts: number,
                hash,
            };
            see(receipt, head);
        }
        Ok(())
    }

    /// The files, by the number of their first receipt.
    fn files(&self) -> Result<BTreeMap<u64, String>> {
        let files = self.state.list(DIRECTORY)?;
        let numbered = files.into_iter().filter_map(|file| {
            let name = file.path.strip_prefix(DIRECTORY)?.strip_prefix('/')?;
            let number = name.strip_suffix(".jsonl")?.parse().ok()?;
            (file_path(number) == file.path).then_some((number, file.path))
        });
        Ok(numbered.collect())
    }
}

fn parse(path: &str, line: &[u8]) -> Result<(Receipt, String)> {
    let fault = |reason: String| broken(path, &format!("a receipt {reason}"));
    let Line { receipt, hash } = document::parse(line).map_err(fault)?;
    if hash_of(&receipt) != hash {
        return Err(fault("has not the hash of its bytes".to_owned()));
    }
    let receipt = document::parse(receipt.get().as_bytes()).map_err(fault)?;
    Ok((receipt, hash))
}

fn hash_of(receipt: &RawValue) -> String {
    blake3::hash(receipt.get().as_bytes()).to_hex().to_string()
}

fn broken(path: &str, reason: &str) -> Error {
    Error::State {
        path: path.to_owned(),
        reason: format!("the chain of receipts is broken: {reason}"),
    }
}

fn file_path(first: u64) -> String {
    format!("{DIRECTORY}/{first:012}.jsonl")
}

fn head_path() -> String {
    format!("{DIRECTORY}/head.json")
}

#[cfg(test)]
mod tests;
