//! The files of the chain: where each line lies, and what makes it a link.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::evidence::Receipt;
use crate::error::{Error, Result};
use crate::io::{Access, Mapped};
use crate::state::{State, document};

/// Where receipts lie, relative to the dataset.
pub const DIRECTORY: &str = "_efface/receipts";

/// Bytes of one file of receipts.
const FILE_BYTES_MAX: usize = 4 << 30;
/// What the first receipt holds as the hash of the one before it.
pub(super) const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many receipts there are.
    pub receipts: u64,
    /// The hash of the last one.
    pub hash: String,
}

impl Head {
    /// That of no receipts.
    pub(super) fn none() -> Self {
        Self {
            receipts: 0,
            hash: NONE.to_owned(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    receipt: Box<RawValue>,
    hash: String,
}

/// Where the line of a receipt lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, by the number of its first receipt.
    pub(super) file: u64,
    /// The position of the line in bytes.
    pub(super) offset: u64,
    /// The length of the line in bytes, without its end.
    pub(super) len: u32,
}

impl Place {
    pub(super) fn new(file: u64, offset: usize, len: usize) -> Self {
        Self {
            file,
            offset: offset as u64,
            // A line that is longer is not found where the index says, and is looked for then.
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }
}

/// Appends the line of the receipt that follows `head` to `bytes`, and moves `head` there.
pub(super) fn write_line(
    mut receipt: Receipt,
    head: &mut Head,
    bytes: &mut Vec<u8>,
) -> serde_json::Result<()> {
    receipt.number = head.receipts + 1;
    receipt.previous.clone_from(&head.hash);
    let receipt = serde_json::value::to_raw_value(&receipt)?;
    *head = Head {
        receipts: head.receipts + 1,
        hash: hash_of(&receipt),
    };
    let line = Line {
        receipt,
        hash: head.hash.clone(),
    };
    serde_json::to_writer(&mut *bytes, &line)?;
    bytes.push(b'\n');
    Ok(())
}

/// Goes on with the chain from `head` through the file of the receipt that follows, line by line.
pub(super) fn follow(
    state: &dyn State,
    head: &mut Head,
    see: &mut dyn FnMut(Receipt, Place, &Head),
) -> Result<()> {
    let file = head.receipts + 1;
    let path = &file_path(file);
    let bytes = map(state, path)?;
    bytes.advise(Access::Sequential);
    let Some(lines) = bytes.strip_suffix(b"\n") else {
        return Err(broken(path, "it does not end with a line"));
    };
    let mut offset = 0;
    for line in lines.split(|byte| *byte == b'\n') {
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
        see(receipt, Place::new(file, offset, line.len()), head);
        offset += line.len() + 1;
    }
    Ok(())
}

/// The receipt at a place, and its hash. No other line is read.
pub(super) fn read_line(state: &dyn State, place: Place) -> Result<(Receipt, String)> {
    let path = file_path(place.file);
    let bytes = map(state, &path)?;
    bytes.advise(Access::Random);
    let line = usize::try_from(place.offset)
        .ok()
        .zip(usize::try_from(place.len).ok())
        .and_then(|(offset, len)| bytes.get(offset..offset.checked_add(len)?));
    let line = line.ok_or_else(|| broken(&path, "it ends before a receipt that it had"))?;
    parse(&path, line)
}

pub(super) fn map(state: &dyn State, path: &str) -> Result<Mapped> {
    let bytes = state.map(path)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Error::State {
            path: path.to_owned(),
            reason: format!(
                "has {} bytes, more than the limit of {FILE_BYTES_MAX}",
                bytes.len()
            ),
        });
    }
    Ok(bytes)
}

pub(super) fn parse(path: &str, line: &[u8]) -> Result<(Receipt, String)> {
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

pub(super) fn broken(path: &str, reason: &str) -> Error {
    Error::State {
        path: path.to_owned(),
        reason: format!("the chain of receipts is broken: {reason}"),
    }
}

/// The file whose first receipt has this number.
pub(super) fn file_path(first: u64) -> String {
    format!("{DIRECTORY}/{first:012}.jsonl")
}
