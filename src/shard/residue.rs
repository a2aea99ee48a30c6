//! Is a value left anywhere in this shard?
//!
//! ```text
//!   pages:       every value and every dictionary entry, also those that no row refers to
//!   statistics:  of chunks, in page headers, in the column index
//!   bloom filter, if it claims to hold a value: rebuilt from the chunk's values, and compared
//!   key-values of the footer, and bytes that belong to no structure: searched for the text of the ids
//! ```
//! Values are compared whole; text is searched for as a part of what is there. Nothing that is found is shown:
//! a [`Finding`] names the place.
//!
//! Memory: one page, one dictionary, and one bloom filter a thread; gaps in pieces.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::basic::Type;
use rayon::prelude::*;
use serde::Serialize;

use super::Shard;
use super::chunk::Source;
use super::chunk::reader::{Seen, read};
use super::output::key_values::ARROW_SCHEMA;
use super::roles::{SubjectColumn, SubjectKind};
use crate::error::{FormatError, Result};
use crate::io::ReadAt;
use crate::limits::READ_BYTES;
use crate::parquet_bytes::bloom::{BloomBuilder, BloomHeader};
use crate::parquet_bytes::footer::{
    Footer, MAGIC, TAIL_BYTES, column, file, meta_data, statistics,
};
use crate::parquet_bytes::page_index::ColumnIndex;
use crate::parquet_bytes::thrift::{List, Struct};
use crate::subject::SubjectId;

/// Text shorter than this is only found where it stands alone, not inside a longer word.
pub const PART_BYTES_MIN: usize = 8;
/// A bound this long may have been cut from a longer value.
const CUT_BOUND_BYTES_MIN: usize = 16;

/// Where something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Place {
    /// A value of a row.
    Page,
    /// A dictionary entry that no row refers to.
    DictionaryEntry,
    /// The statistics of a column chunk.
    Statistics,
    /// The statistics in the header of a page.
    PageStatistics,
    /// The column index.
    ColumnIndex,
    /// A bloom filter that holds more than the values of its chunk.
    BloomFilter,
    /// A key-value of the footer or of a column chunk.
    KeyValue,
    /// Bytes that belong to no structure.
    Gap,
    /// A file of efface's own.
    State,
    /// The archive that an export became.
    Archive,
    /// A row of the alias table.
    AliasTable,
    /// A temporary file that was left over.
    Leftover,
}

/// Something of what was looked for is left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, relative to the dataset.
    pub path: String,
    /// The row group, counted from 0.
    pub row_group: Option<usize>,
    /// The column, by its dotted path.
    pub column: Option<String>,
    /// The kind of place.
    pub place: Place,
    /// How often: values, entries, bounds.
    pub count: u64,
}

/// What is looked for in one leaf column.
#[derive(Debug, Clone, Default)]
pub struct SoughtColumn {
    /// How values become canonical bytes; `None` compares them as they are in the file (`PLAIN`, without a
    /// length).
    pub kind: Option<SubjectKind>,
    /// The values.
    pub values: Arc<HashSet<Vec<u8>>>,
}

/// What is looked for.
#[derive(Clone, Default)]
pub struct Sought {
    /// By leaf column.
    pub columns: BTreeMap<usize, SoughtColumn>,
    /// Text that may stand anywhere.
    pub texts: Arc<Vec<Vec<u8>>>,
}

impl std::fmt::Debug for Sought {
    /// Prints nothing of what is looked for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sought({} texts)", self.texts.len())
    }
}

impl SoughtColumn {
    fn has(&self, value: &[u8], scratch: &mut Vec<u8>) -> bool {
        match self.kind {
            Some(kind) => self.values.contains(kind.canonical(value, scratch)),
            None => self.values.contains(value),
        }
    }

    /// Whether a bound is such a value, or the front of one.
    fn has_bound(&self, bound: &[u8], scratch: &mut Vec<u8>) -> bool {
        let is_cut =
            |value: &Vec<u8>| bound.len() >= CUT_BOUND_BYTES_MIN && value.starts_with(bound);
        let is_text = matches!(self.kind, None | Some(SubjectKind::Bytes));
        self.has(bound, scratch) || is_text && self.values.iter().any(is_cut)
    }
}

impl Sought {
    /// What of `ids` could be left in `shard`, whose subject columns are `columns`: their canonical bytes there,
    /// and their text as a value of any other column of bytes, or anywhere outside of values.
    pub fn of_ids(shard: &Shard, ids: &[SubjectId], columns: &[SubjectColumn]) -> Self {
        let texts: Vec<Vec<u8>> = ids.iter().map(|id| id.reveal().into()).collect();
        let as_text = SoughtColumn {
            kind: None,
            values: Arc::new(texts.iter().cloned().collect()),
        };
        let leaves = shard.footer.schema().columns().iter().enumerate();
        let of_bytes = leaves.filter(|(_, leaf)| {
            let kind = leaf.physical_type();
            matches!(kind, Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY)
        });
        let mut sought: BTreeMap<_, _> =
            of_bytes.map(|(leaf, _)| (leaf, as_text.clone())).collect();
        for column in columns {
            let forms = column.forms().iter();
            let values = forms.flat_map(|form| ids.iter().filter_map(|id| id.canonical(*form)));
            let of_role = SoughtColumn {
                kind: Some(column.kind),
                values: Arc::new(values.collect()),
            };
            sought.insert(column.leaf, of_role);
        }
        Self {
            columns: sought,
            texts: Arc::new(texts),
        }
    }

    /// How often the texts occur in `bytes`.
    fn count_in(&self, bytes: &[u8]) -> u64 {
        self.count_begun(bytes, bytes.len())
    }

    /// How often they occur and begin before `end`.
    fn count_begun(&self, bytes: &[u8], end: usize) -> u64 {
        let found = self.texts.iter().map(|text| {
            let at = memchr::memmem::find_iter(bytes, text).take_while(|at| *at < end);
            at.filter(|at| text.len() >= PART_BYTES_MIN || stands_alone(bytes, *at, text.len()))
                .count() as u64
        });
        found.sum()
    }

    /// How often the texts occur in what a reader gives.
    ///
    /// # Errors
    /// When reading fails.
    pub fn count_in_stream(&self, mut bytes: impl Read) -> io::Result<u64> {
        let overlap = self.texts.iter().map(Vec::len).max().unwrap_or(0);
        let piece = usize::try_from(READ_BYTES).unwrap_or(usize::MAX);
        let (mut found, mut held) = (0, Vec::new());
        loop {
            let wanted = (piece + overlap - held.len()) as u64;
            let read = bytes.by_ref().take(wanted).read_to_end(&mut held)?;
            // What begins in the overlap is counted with the next piece.
            found += self.count_begun(&held, piece);
            if (read as u64) < wanted {
                let rest = held.get(piece..).unwrap_or_default();
                return Ok(found + self.count_begun(rest, rest.len()));
            }
            held.drain(..piece);
        }
    }

    /// How often the texts stand in a range of a file.
    ///
    /// # Errors
    /// When reading fails.
    pub fn count_in_file(&self, file: &dyn ReadAt, range: Range<u64>) -> io::Result<u64> {
        let overlap = self.texts.iter().map(Vec::len).max().unwrap_or(0) as u64;
        let (mut found, mut at) = (0, range.start);
        let mut bytes = Vec::new();
        while at < range.end {
            let end = range.end.min(at + READ_BYTES + overlap);
            bytes.resize(usize::try_from(end - at).unwrap_or(0), 0);
            file.read_at(at, &mut bytes)?;
            // What begins in the overlap is counted with the next piece.
            found += self.count_begun(&bytes, usize::try_from(READ_BYTES).unwrap_or(usize::MAX));
            at += READ_BYTES;
        }
        Ok(found)
    }
}

fn stands_alone(bytes: &[u8], at: usize, len: usize) -> bool {
    let is_word = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    !is_word(at.checked_sub(1)) && !is_word(Some(at + len))
}

/// Looks for `sought` in every structure of `shard`.
///
/// # Errors
/// When a page or an index is damaged.
pub fn residue(shard: &Shard, sought: &Sought) -> Result<Vec<Finding>> {
    let footer = &shard.footer;
    let leaves = footer.schema().num_columns();
    let mut findings: Vec<Finding> = (0..footer.row_groups().len() * leaves)
        .into_par_iter()
        .map(|at| in_chunk(shard, at / leaves, at % leaves, sought))
        .collect::<std::result::Result<Vec<_>, FormatError>>()
        .map_err(|error| error.in_shard(&shard.path))?
        .concat();
    let mut add = |place, count| {
        if count > 0 {
            findings.push(Finding {
                path: shard.path.clone(),
                row_group: None,
                column: None,
                place,
                count,
            });
        }
    };
    add(
        Place::KeyValue,
        key_values(footer.tree().list(file::KEY_VALUES), sought),
    );
    add(
        Place::Gap,
        gaps(shard, sought).map_err(|error| error.in_shard(&shard.path))?,
    );
    findings.sort_unstable();
    Ok(findings)
}

/// Looks into one chunk and what belongs to it.
fn in_chunk(
    shard: &Shard,
    row_group: usize,
    leaf: usize,
    sought: &Sought,
) -> std::result::Result<Vec<Finding>, FormatError> {
    let footer = &shard.footer;
    let group = footer.row_groups().get(row_group);
    let chunk = group.and_then(|group| group.chunks.get(leaf));
    let tree = footer.chunk_tree(row_group, leaf).and_then(meta_data);
    let descriptor = footer.schema().columns().get(leaf);
    let (Some(chunk), Some(tree), Some(descriptor)) = (chunk, tree, descriptor) else {
        return Ok(Vec::new());
    };
    let mut counts: BTreeMap<Place, u64> = BTreeMap::new();
    let mut add = |place, count: u64| *counts.entry(place).or_default() += count;
    add(
        Place::KeyValue,
        key_values(tree.list(column::KEY_VALUES), sought),
    );
    if let Some(wanted) = sought.columns.get(&leaf) {
        let mut scratch = Vec::new();
        let bounds = |tree: &Struct, scratch: &mut Vec<u8>| {
            let fields = [
                statistics::MIN,
                statistics::MAX,
                statistics::MIN_VALUE,
                statistics::MAX_VALUE,
            ];
            let bounds = fields.into_iter().filter_map(|field| tree.binary(field));
            bounds
                .filter(|bound| wanted.has_bound(bound, scratch))
                .count() as u64
        };
        if let Some(statistics) = tree.structure(column::STATISTICS) {
            add(Place::Statistics, bounds(statistics, &mut scratch));
        }
        let header = match chunk.bloom_filter {
            Some(offset) => Some(BloomHeader::read(&*shard.file, offset)?),
            None => None,
        };
        let mut bloom = header
            .filter(BloomHeader::is_known)
            .map(|header| (BloomBuilder::like(&header), header));
        let source = Source {
            file: &shard.file,
            chunk,
            meta: tree,
            descriptor,
            order: None,
            rows: group.map_or(0, |group| group.rows),
        };
        let data_pages = read(&source, &mut |seen| match seen {
            Seen::Header(page_statistics) => {
                let found = page_statistics.map_or(0, |tree| bounds(tree, &mut scratch));
                add(Place::PageStatistics, found);
            }
            Seen::Value(value, rows) => {
                if wanted.has(value, &mut scratch) {
                    let place = if rows > 0 {
                        Place::Page
                    } else {
                        Place::DictionaryEntry
                    };
                    add(place, rows.max(1));
                }
                if let Some((bloom, _)) = bloom.as_mut().filter(|_| rows > 0) {
                    bloom.insert(value);
                }
            }
        })?;
        if let Some(range) = &chunk.column_index
            && let Some(index) = ColumnIndex::read(&*shard.file, range, data_pages)?
        {
            let bounds = index.pages.iter().filter_map(|page| page.bounds.as_ref());
            let found = bounds
                .flat_map(|(min, max)| [min, max])
                .filter(|bound| wanted.has_bound(bound, &mut scratch));
            add(Place::ColumnIndex, found.count() as u64);
        }
        if let Some((values, header)) = bloom
            && wanted.kind.is_none_or(|kind| kind == SubjectKind::Bytes)
        {
            let found = header.unexplained(&*shard.file, &values, wanted.values.iter())?;
            add(Place::BloomFilter, found);
        }
    }
    let column = descriptor.path().string();
    let found = counts.into_iter().filter(|(_, count)| *count > 0);
    Ok(found
        .map(|(place, count)| Finding {
            path: shard.path.clone(),
            row_group: Some(row_group),
            column: Some(column.clone()),
            place,
            count,
        })
        .collect())
}

fn key_values(pairs: Option<&List>, sought: &Sought) -> u64 {
    let pairs = pairs.into_iter().flat_map(List::structs);
    let in_pair = |pair: &Struct| {
        let [key, value] = [1, 2].map(|field| pair.binary(field).unwrap_or_default());
        // The Arrow schema, with the categories of its enums and a copy of other key-values.
        let decoded = match key {
            ARROW_SCHEMA => STANDARD.decode(value).unwrap_or_default(),
            _ => Vec::new(),
        };
        let texts = [key, value, &decoded];
        texts.map(|text| sought.count_in(text)).iter().sum::<u64>()
    };
    pairs.map(in_pair).sum()
}

/// Looks into the bytes that no structure of the footer claims.
fn gaps(shard: &Shard, sought: &Sought) -> std::result::Result<u64, FormatError> {
    let mut found = 0;
    for gap in unclaimed(shard)? {
        let offset = gap.start;
        found += sought
            .count_in_file(&*shard.file, gap)
            .map_err(|source| FormatError::Read { offset, source })?;
    }
    Ok(found)
}

/// The ranges of the file that belong to nothing.
fn unclaimed(shard: &Shard) -> std::result::Result<Vec<Range<u64>>, FormatError> {
    let footer: &Footer = &shard.footer;
    let mut claimed = vec![
        0..MAGIC.len() as u64,
        footer.offset..footer.file_len - TAIL_BYTES,
        footer.file_len - TAIL_BYTES..footer.file_len,
    ];
    for chunk in footer.row_groups().iter().flat_map(|group| &group.chunks) {
        claimed.push(chunk.range.clone());
        claimed.extend(chunk.column_index.clone());
        claimed.extend(chunk.offset_index.clone());
        if let Some(offset) = chunk.bloom_filter {
            claimed.push(BloomHeader::read(&*shard.file, offset)?.range());
        }
    }
    claimed.sort_unstable_by_key(|range| range.start);
    let mut gaps = Vec::new();
    let mut end = 0;
    for range in claimed {
        if range.start > end {
            gaps.push(end..range.start);
        }
        end = end.max(range.end);
    }
    Ok(gaps)
}
