//! Receipts: the evidence that requests were carried out, as a chain of hashes. They hold no subject id.
//!
//! ```text
//! _efface/receipts/000000000001.jsonl      receipts 1 to 3, ended together
//! _efface/receipts/000000000004.jsonl      receipts 4 to ..
//! _efface/receipts/head.json               how many there are, and the hash of the last
//! _efface/receipts/index/                  where the receipt of each request lies
//!
//! a line:  {"receipt":{"number":4,"previous":"<hash of receipt 3>",..},"hash":"<hash of receipt 4>"}
//!          hash = BLAKE3(the bytes of the object behind "receipt":)
//! ```
//!
//! * `evidence`: what a receipt says
//! * `chain`: the files and lines of the chain
//! * `index`, `segment`: which line is whose
//!
//! # Invariants
//! * A file of receipts is never changed. A receipt holds the hash of the one before it (of the first: 64 zeros),
//!   so a changed, missing, added or moved receipt breaks the chain; the head shows when the last ones are gone.
//!   Who can write all of the directory can forge all of it: keep the head's hash elsewhere to notice that.
//!
//! # Crash behaviour
//! The file comes first, then the ended requests leave the queue, then the head follows. So a head that lags tells
//! of requests that may still be there: whoever has the queue's lock next takes them out, and moves the head. The
//! index follows last, and is only ever a hint.
//!
//! Memory: of a file the lines in hand; it is mapped.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use memchr::{memchr, memmem, memrchr};

use self::chain::{broken, file_path, follow};
use self::index::{Batch, Index, keys_of};
use self::segment::{Key, Segment};
use crate::error::{Error, Result};
use crate::io::Access;
use crate::state::{Expect, State, document};
use crate::subject::KeyId;
use crate::tracking::TrackingId;
use crate::witness::{RECEIPTS, Witness};

mod chain;
mod evidence;
mod index;
mod segment;

pub use chain::{DIRECTORY, Head};
pub use evidence::{Cause, Ended, Extension, Outcome, Receipt, ShardEvidence, SubjectEvidence};

/// The program and its version, as receipts name it.
pub(crate) const ENGINE: &str = concat!("efface ", env!("CARGO_PKG_VERSION"));

const HEAD_BYTES_MAX: u64 = 1 << 12;

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
        let file = head.receipts + 1;
        let path = file_path(file);
        let mut bytes = Vec::new();
        let mut batch = Batch::after(&head);
        let hashed_under: Vec<KeyId> = receipts.iter().filter_map(|receipt| receipt.key).collect();
        for receipt in receipts {
            let keys = keys_of(&receipt);
            let offset = bytes.len();
            chain::write_line(receipt, &mut head, &mut bytes)
                .map_err(|error| Error::io("write", &path)(error.into()))?;
            let len = bytes.len() - offset - 1;
            batch.push(&keys, chain::Place::new(file, offset, len), &head);
        }
        let written = self.state.put(&path, &bytes, Expect::Absent);
        written.map_err(|error| match error {
            Error::StateChanged { path } => broken(&path, "it is there before its time"),
            error => error,
        })?;
        leave()?;
        document::store(self.state, &head_path(), &head, Expect::Any)?;
        Witness::note(self.state, RECEIPTS, hashed_under)?;
        warn_of(Index::new(self.state).add(batch));
        Ok(head)
    }

    /// Brings a head up to date that an interrupted run left behind, once `leave` has taken each request out of the
    /// queue that ended then, and the index a step nearer to the head. The caller holds the queue's lock.
    ///
    /// # Errors
    /// When the end of the chain is damaged, those of `leave`, and failures of the state.
    pub fn catch_up(&self, mut leave: impl FnMut(TrackingId) -> Result<()>) -> Result<()> {
        let mut head = self.stored_head()?;
        let before = head.receipts;
        let (mut ended, mut hashed_under) = (Vec::new(), Vec::new());
        while self.state.has(&file_path(head.receipts + 1))? {
            follow(self.state, &mut head, &mut |receipt, _, _| {
                ended.push(receipt.tracking_id);
                hashed_under.extend(receipt.key);
            })?;
        }
        if head.receipts > before {
            ended.into_iter().try_for_each(&mut leave)?;
            document::store(self.state, &head_path(), &head, Expect::Any)?;
            Witness::note(self.state, RECEIPTS, hashed_under)?;
        }
        warn_of(Index::new(self.state).catch_up(&head));
        Ok(())
    }

    /// Reads the whole chain and checks it, showing each receipt to `see`. Gives the head.
    ///
    /// # Errors
    /// [`Error::State`] that names the first file and receipt at which the chain is broken.
    pub fn check(&self, mut see: impl FnMut(Receipt)) -> Result<Head> {
        let mut head = Head::none();
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
            follow(self.state, &mut head, &mut |receipt, _, head| {
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

    /// The receipt of a request; `None` when there is none. The index says where it lies; what that doesn't cover is
    /// looked through.
    ///
    /// # Errors
    /// When a file can't be read, or its line is damaged.
    pub fn find(&self, id: TrackingId) -> Result<Option<Receipt>> {
        let key = Key::request(id);
        let text = format!("\"tracking_id\":\"{id}\"");
        self.search(key, &text, &|receipt| receipt.tracking_id == id)
    }

    /// Whether receipts of this pass are there: they are written all at once.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn has_pass(&self, pass: TrackingId) -> Result<bool> {
        let key = Key::pass(pass);
        let text = format!("\"pass\":\"{pass}\"");
        let found = self.search(key, &text, &|receipt| receipt.pass == Some(pass))?;
        Ok(found.is_some())
    }

    /// The receipts of this pass, in their order.
    ///
    /// # Errors
    /// As [`find`](Self::find), and when a line of the pass is damaged.
    pub fn of_pass(&self, pass: TrackingId) -> Result<Vec<Receipt>> {
        let key = Key::pass(pass);
        let text = format!("\"pass\":\"{pass}\"");
        let is_of_pass = |receipt: &Receipt| receipt.pass == Some(pass);
        let Some(first) = self.search(key, &text, &is_of_pass)? else {
            return Ok(Vec::new());
        };
        // They were written all at once, so they are in one file.
        let files = self.files()?;
        let Some((_, path)) = files.range(..=first.number).next_back() else {
            return Ok(Vec::new());
        };
        let bytes = chain::map(self.state, path)?;
        bytes.advise(Access::Sequential);
        let finder = memmem::Finder::new(text.as_bytes());
        let mut of_pass = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            if finder.find(line).is_some() {
                let (receipt, _) = chain::parse(path, line)?;
                of_pass.extend(is_of_pass(&receipt).then_some(receipt));
            }
        }
        Ok(of_pass)
    }

    /// Looks through the index and what it leaves out, the latest receipts first.
    fn search(
        &self,
        key: Key,
        text: &str,
        is_meant: &dyn Fn(&Receipt) -> bool,
    ) -> Result<Option<Receipt>> {
        let segments = Index::new(self.state).open()?;
        let mut next = segments.last().map_or(0, |segment| segment.span().last);
        let mut found = None;
        if self.goes_on_behind(next)? {
            found = self.scan(next + 1..=u64::MAX, text)?;
        }
        for segment in segments.iter().rev() {
            let span = segment.span();
            if found.is_none() && span.last < next {
                found = self.scan(span.last + 1..=next, text)?;
            }
            if found.is_some() {
                return Ok(found);
            }
            found = self.look_up(segment, key, text, is_meant)?;
            next = span.first - 1;
        }
        if found.is_none() && next > 0 {
            found = self.scan(1..=next, text)?;
        }
        Ok(found)
    }

    /// Looks into a segment of the index, and through its receipts when it misleads.
    fn look_up(
        &self,
        segment: &Segment,
        key: Key,
        text: &str,
        is_meant: &dyn Fn(&Receipt) -> bool,
    ) -> Result<Option<Receipt>> {
        let span = segment.span();
        let misled = match segment.look_up(key) {
            Ok(None) => return Ok(None),
            Ok(Some(place)) => match chain::read_line(self.state, place) {
                Ok((receipt, _)) if is_meant(&receipt) => return Ok(Some(receipt)),
                Ok(_) => None,
                Err(error) => Some(error),
            },
            Err(_) => None,
        };
        let found = self.scan(span.first..=span.last, text)?;
        match misled {
            // It says that there is one, and that one can't be had.
            Some(error) if found.is_none() => Err(error),
            _ => {
                Index::new(self.state).discard(segment.name());
                Ok(found)
            }
        }
    }

    /// Whether there are receipts behind the one of this number.
    fn goes_on_behind(&self, number: u64) -> Result<bool> {
        // A file that is missing hides those behind it only from whoever doesn't look at the head.
        let is_at_end = matches!(self.stored_head(), Ok(head) if head.receipts <= number);
        Ok(!is_at_end || self.state.has(&file_path(number + 1))?)
    }

    /// Looks for a text through the files whose first receipts have these numbers, the latest first.
    fn scan(&self, numbers: RangeInclusive<u64>, text: &str) -> Result<Option<Receipt>> {
        let finder = memmem::Finder::new(text.as_bytes());
        for (_, path) in self.files()?.range(numbers).rev() {
            let bytes = chain::map(self.state, path)?;
            bytes.advise(Access::Sequential);
            let Some((before, after)) = finder
                .find(&bytes)
                .and_then(|place| bytes.split_at_checked(place))
            else {
                continue;
            };
            let start = memrchr(b'\n', before).map_or(0, |end| end + 1);
            let end = before.len() + memchr(b'\n', after).unwrap_or(after.len());
            let line = bytes.get(start..end).unwrap_or_default();
            return chain::parse(path, line).map(|(receipt, _)| Some(receipt));
        }
        Ok(None)
    }

    fn stored_head(&self) -> Result<Head> {
        let head = match document::load(self.state, &head_path(), HEAD_BYTES_MAX) {
            Err(Error::State { path, reason }) => Err(Error::State {
                path,
                reason: format!(
                    "{reason}: compare the receipts with a copy of the head that is kept elsewhere, then remove this \
                     file; it is written again"
                ),
            }),
            loaded => loaded,
        }?;
        Ok(head.unwrap_or_else(Head::none))
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

/// Without an index receipts are found all the same.
fn warn_of(indexed: Result<()>) {
    if let Err(error) = indexed {
        tracing::warn!(%error, "the index of receipts could not be brought up to date");
    }
}

fn head_path() -> String {
    format!("{DIRECTORY}/head.json")
}

#[cfg(test)]
mod tests;
