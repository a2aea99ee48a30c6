//! A shard without some of its rows.
//!
//! ```text
//!   row group without such a row:  its chunks' bytes are copied (inside the kernel where it can)
//!   row group with some:           its chunks are made anew (shard::filter), columns in parallel
//!   row group with nothing else:   left out (a row group of 0 rows breaks other readers)
//!   page index, footer:            emitted from the old trees with the offsets moved
//! ```
//!
//! # Invariants
//! * Gaps between chunks are not copied, so nothing is kept that no footer field points to.
//! * What the footer holds and this does not know is kept, but for what holds record keys
//!   ([`RECORD_KEYS`]), which is left out and reported.
//!
//! Memory: the new chunks of as many row groups as fit the budget, but of one row group at least, and
//! the page index of the shard.

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::Shard;
use super::filter::{Filtered, Source, without_rows};
use crate::error::{Error, FormatError, Result};
use crate::limits;
use crate::parquet_bytes::bloom::BloomHeader;
use crate::parquet_bytes::codec::ZSTD_LEVEL;
use crate::parquet_bytes::footer::{
    Chunk, MAGIC, RowGroup, chunk, column, file, meta_data, row_group,
};
use crate::parquet_bytes::page_index::{OffsetIndex, read_bytes};
use crate::parquet_bytes::thrift::{List, Struct, Value};
use crate::storage::Sink;

/// Keys of the footer's key-values that hold record keys: what other rows' keys were can't be told
/// from them, so they go as soon as any row goes.
pub const RECORD_KEYS: [&str; 4] = [
    "hoodie_min_record_key",
    "hoodie_max_record_key",
    "org.apache.hudi.bloomfilter",
    "hoodie_bloom_filter_type_code",
];

/// How to rewrite.
#[derive(Debug, Clone, Copy)]
pub struct RewriteOptions {
    /// Memory that new chunks may take, in bytes.
    pub memory: u64,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: i32,
}

impl Default for RewriteOptions {
    fn default() -> Self {
        Self {
            memory: limits::MEMORY_BYTES,
            zstd_level: ZSTD_LEVEL,
        }
    }
}

/// What a rewrite did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RewriteReport {
    /// Rows that are gone.
    pub rows_removed: u64,
    /// Row groups that were made anew.
    pub row_groups_rewritten: u64,
    /// Row groups that lost all their rows and were left out.
    pub row_groups_dropped: u64,
    /// Pages of the chunks that were made anew, as they are now.
    pub pages_rewritten: u64,
    /// Bytes that were copied as they were.
    pub bytes_copied: u64,
    /// Bytes that were encoded anew: pages, bloom filters, page index, footer.
    pub bytes_encoded: u64,
    /// Keys of footer key-values that were left out since they held record keys.
    pub dropped_key_values: Vec<String>,
}

/// Writes `shard` without `rows` (counted in the shard) to `sink`. The sink is not synced.
///
/// # Errors
/// When a row is not in the shard, something is damaged, or writing fails. What was written so far is
/// then of no use.
pub fn rewrite(
    shard: &Shard,
    rows: &RoaringBitmap,
    sink: &mut dyn Sink,
    options: &RewriteOptions,
) -> Result<RewriteReport> {
    if let Some(last) = rows.max()
        && u64::from(last) >= shard.footer.rows()
    {
        return Err(Error::Option {
            option: "rows",
            reason: format!(
                "row {last} is not in {}, which has {} rows (counted from 0)",
                shard.path,
                shard.footer.rows()
            ),
        });
    }
    let mut output = Output {
        shard,
        sink,
        at: 0,
        row_groups: Vec::new(),
        indexes: Vec::new(),
        report: RewriteReport::default(),
    };
    output.write(&MAGIC)?;
    let work = fates(shard, rows);
    let mut next = work.as_slice();
    while let Some((first, _)) = next.split_first() {
        // As many row groups at once as the budget holds; the old chunk and the new one are both there.
        let mut budget = options.memory / 4;
        let mut taken = 0;
        for (_, group, fate) in next {
            let cost = match fate {
                Fate::Without(_) => group.bytes(),
                Fate::Kept | Fate::Dropped => 0,
            };
            if taken > 0 && cost > budget {
                break;
            }
            budget = budget.saturating_sub(cost);
            taken += 1;
        }
        debug_assert!(taken > 0, "row group {} fits no budget", first.0);
        let (now, later) = next.split_at(taken);
        output.row_groups(now, options.zstd_level)?;
        next = later;
    }
    output.finish()
}

/// What becomes of a row group.
enum Fate {
    Kept,
    Dropped,
    /// These rows go, counted in the row group.
    Without(Vec<u32>),
}

fn fates<'a>(shard: &'a Shard, rows: &RoaringBitmap) -> Vec<(usize, &'a RowGroup, Fate)> {
    let mut base = 0;
    let mut fates = Vec::new();
    for (position, group) in shard.footer.row_groups().iter().enumerate() {
        let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
        let end = base + group.rows;
        let dropped: Vec<u32> = if end > base {
            rows.range(row(base)..=row(end - 1))
                .map(|at| row(u64::from(at) - base))
                .collect()
        } else {
            Vec::new()
        };
        let fate = match dropped.len() as u64 {
            0 => Fate::Kept,
            all if all == group.rows => Fate::Dropped,
            _ => Fate::Without(dropped),
        };
        fates.push((position, group, fate));
        base = end;
    }
    fates
}

/// Bytes of the page index of one chunk.
#[derive(Default)]
struct Indexes {
    column: Option<Vec<u8>>,
    offset: Option<Vec<u8>>,
}

struct Output<'a> {
    shard: &'a Shard,
    sink: &'a mut dyn Sink,
    at: u64,
    row_groups: Vec<Struct>,
    /// Of every chunk of `row_groups`, in order.
    indexes: Vec<Indexes>,
    report: RewriteReport,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink
            .write_all(bytes)
            .map_err(Error::io("write the new version of", &self.shard.path))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        self.sink
            .copy_from(&*self.shard.file, from..to)
            .map_err(Error::io("copy to the new version of", &self.shard.path))?;
        self.at += to - from;
        self.report.bytes_copied += to - from;
        Ok(())
    }

    fn damaged(&self) -> impl Fn(FormatError) -> Error + use<> {
        let path = self.shard.path.clone();
        move |error| error.in_shard(&path)
    }

    /// The trees of a row group and of its chunks.
    fn trees(&self, position: usize) -> Result<(Struct, Vec<Struct>)> {
        let tree = self
            .shard
            .footer
            .tree()
            .list(file::ROW_GROUPS)
            .and_then(|groups| groups.structs().nth(position));
        let Some(tree) = tree else {
            return Err(Error::ShardChanged {
                path: self.shard.path.clone(),
            });
        };
        let chunks = tree
            .list(row_group::COLUMNS)
            .map(|chunks| chunks.structs().cloned().collect())
            .unwrap_or_default();
        Ok((tree.clone(), chunks))
    }

    fn row_groups(&mut self, work: &[(usize, &RowGroup, Fate)], zstd_level: i32) -> Result<()> {
        let shard = self.shard;
        let mut trees = Vec::new();
        for (position, ..) in work {
            trees.push(self.trees(*position)?);
        }
        let mut sources = Vec::new();
        for ((_, group, fate), (_, chunks)) in work.iter().zip(&trees) {
            let Fate::Without(dropped) = fate else {
                continue;
            };
            for ((chunk, tree), descriptor) in group
                .chunks
                .iter()
                .zip(chunks)
                .zip(shard.footer.schema().columns())
            {
                let Some(meta) = meta_data(tree) else {
                    continue;
                };
                let source = Source {
                    file: &shard.file,
                    chunk,
                    meta,
                    descriptor,
                    rows: group.rows,
                };
                sources.push((source, dropped));
            }
        }
        let filtered: Vec<Filtered> = sources
            .par_iter()
            .map(|(source, dropped)| without_rows(source, dropped, zstd_level))
            .collect::<std::result::Result<_, _>>()
            .map_err(self.damaged())?;
        let mut filtered = filtered.into_iter();
        for ((_, group, fate), (tree, chunks)) in work.iter().zip(trees) {
            match fate {
                Fate::Kept => self.kept(group, tree, chunks)?,
                Fate::Dropped => {
                    self.report.rows_removed += group.rows;
                    self.report.row_groups_dropped += 1;
                }
                Fate::Without(dropped) => {
                    let new: Vec<_> = filtered.by_ref().take(chunks.len()).collect();
                    self.made_anew(group, dropped.len() as u64, tree, chunks, new)?;
                }
            }
        }
        Ok(())
    }

    fn kept(&mut self, group: &RowGroup, mut tree: Struct, mut chunks: Vec<Struct>) -> Result<()> {
        // Chunks that follow each other in the file are copied as one span.
        let mut order: Vec<usize> = (0..group.chunks.len()).collect();
        let start = |at: &usize| group.chunks.get(*at).map_or(0, |chunk| chunk.range.start);
        order.sort_by_key(start);
        let mut moved_to = vec![0; group.chunks.len()];
        let mut span: Option<(u64, u64)> = None;
        for at in order {
            let Some(chunk) = group.chunks.get(at) else {
                continue;
            };
            let range = chunk.range.clone();
            span = match span {
                Some((from, to)) if to == range.start => Some((from, range.end)),
                Some((from, to)) => {
                    self.copy(from, to)?;
                    Some((range.start, range.end))
                }
                None => Some((range.start, range.end)),
            };
            if let (Some(slot), Some((from, _))) = (moved_to.get_mut(at), span) {
                *slot = self.at + (range.start - from);
            }
        }
        if let Some((from, to)) = span {
            self.copy(from, to)?;
        }
        for ((chunk, tree), to) in group.chunks.iter().zip(&mut chunks).zip(moved_to) {
            let delta = to.cast_signed() - chunk.range.start.cast_signed();
            self.move_chunk(chunk, tree, delta)?;
        }
        set_file_offset(&mut tree, &chunks);
        self.push(tree, chunks);
        Ok(())
    }

    /// Moves what `tree` says of a copied chunk, and copies its bloom filter and page index.
    fn move_chunk(&mut self, chunk: &Chunk, tree: &mut Struct, delta: i64) -> Result<()> {
        if let Some(meta) = tree.structure_mut(chunk::META_DATA) {
            for field in [
                column::DATA_PAGE_OFFSET,
                column::DICTIONARY_PAGE_OFFSET,
                column::INDEX_PAGE_OFFSET,
            ] {
                shift(meta, field, delta);
            }
        }
        shift(tree, chunk::FILE_OFFSET, delta);
        let file = &*self.shard.file;
        if let Some(offset) = chunk.bloom_filter {
            let range = BloomHeader::read(file, offset)
                .map_err(self.damaged())?
                .range();
            let to = self.at;
            self.copy(range.start, range.end)?;
            set_bloom(tree, Some((to, range.end - range.start)));
        }
        let column = chunk
            .column_index
            .as_ref()
            .map(|range| read_bytes(file, range));
        let offset = chunk.offset_index.as_ref().map(|range| {
            let mut index = OffsetIndex::read(file, range)?;
            index.shift(delta);
            Ok(index.0.to_bytes())
        });
        let indexes = Indexes {
            column: column.transpose().map_err(self.damaged())?,
            offset: offset.transpose().map_err(self.damaged())?,
        };
        self.indexes.push(indexes);
        Ok(())
    }

    fn made_anew(
        &mut self,
        group: &RowGroup,
        dropped: u64,
        mut tree: Struct,
        mut chunks: Vec<Struct>,
        new: Vec<Filtered>,
    ) -> Result<()> {
        let (mut compressed, mut uncompressed) = (0, 0);
        let mut blooms = Vec::new();
        for ((chunk, tree), new) in group.chunks.iter().zip(&mut chunks).zip(new) {
            let at = self.at;
            self.write(&new.chunk.bytes)?;
            let len = new.chunk.bytes.len() as u64;
            self.report.bytes_encoded += len;
            self.report.pages_rewritten += new.chunk.pages;
            compressed += len;
            uncompressed += new.chunk.uncompressed;
            if tree
                .i64(chunk::FILE_OFFSET)
                .is_some_and(|offset| offset != 0)
            {
                tree.set(chunk::FILE_OFFSET, int64(at));
            }
            tree.set(chunk::META_DATA, Value::Struct(new.chunk.meta_at(at)));
            blooms.push(new.bloom);
            self.indexes.push(Indexes {
                offset: chunk
                    .offset_index
                    .as_ref()
                    .map(|_| new.chunk.offset_index_at(at)),
                // A column index is of no use without the offset index.
                column: new
                    .chunk
                    .column_index
                    .filter(|_| chunk.column_index.is_some() && chunk.offset_index.is_some()),
            });
        }
        for (tree, bloom) in chunks.iter_mut().zip(blooms) {
            let at = self.at;
            if let Some(bytes) = &bloom {
                self.write(bytes)?;
                self.report.bytes_encoded += bytes.len() as u64;
            }
            set_bloom(tree, bloom.map(|bytes| (at, bytes.len() as u64)));
        }
        tree.set(row_group::NUM_ROWS, int64(group.rows - dropped));
        tree.set(row_group::TOTAL_BYTE_SIZE, int64(uncompressed));
        if tree.get(row_group::TOTAL_COMPRESSED_SIZE).is_some() {
            tree.set(row_group::TOTAL_COMPRESSED_SIZE, int64(compressed));
        }
        set_file_offset(&mut tree, &chunks);
        self.push(tree, chunks);
        self.report.rows_removed += dropped;
        self.report.row_groups_rewritten += 1;
        Ok(())
    }

    fn push(&mut self, mut tree: Struct, chunks: Vec<Struct>) {
        tree.set(row_group::COLUMNS, Value::List(List::of_structs(chunks)));
        if tree.get(row_group::ORDINAL).is_some() {
            let ordinal = i16::try_from(self.row_groups.len()).ok();
            tree.set_or_remove(row_group::ORDINAL, ordinal.map(Value::I16));
        }
        self.row_groups.push(tree);
    }

    /// Writes page index and footer.
    fn finish(mut self) -> Result<RewriteReport> {
        let mut groups = std::mem::take(&mut self.row_groups);
        let indexes = std::mem::take(&mut self.indexes);
        let mut places = vec![(None, None); indexes.len()];
        for (place, index) in places.iter_mut().zip(&indexes) {
            place.0 = self.index(index.column.as_deref())?;
        }
        for (place, index) in places.iter_mut().zip(&indexes) {
            place.1 = self.index(index.offset.as_deref())?;
        }
        let mut places = places.into_iter();
        for group in &mut groups {
            let chunks = group.list_mut(row_group::COLUMNS).into_iter();
            for tree in chunks.flat_map(|chunks| &mut chunks.items) {
                let (Value::Struct(tree), Some((column, offset))) = (tree, places.next()) else {
                    continue;
                };
                set_place(
                    tree,
                    chunk::COLUMN_INDEX_OFFSET,
                    chunk::COLUMN_INDEX_LENGTH,
                    column,
                );
                set_place(
                    tree,
                    chunk::OFFSET_INDEX_OFFSET,
                    chunk::OFFSET_INDEX_LENGTH,
                    offset,
                );
            }
        }
        let mut tree = self.shard.footer.tree().clone();
        tree.set(
            file::NUM_ROWS,
            int64(self.shard.footer.rows() - self.report.rows_removed),
        );
        tree.set(file::ROW_GROUPS, Value::List(List::of_structs(groups)));
        if self.report.rows_removed > 0 {
            self.report.dropped_key_values = drop_record_keys(&mut tree);
        }
        let mut footer = tree.to_bytes();
        let len = u32::try_from(footer.len()).map_err(|_| {
            FormatError::Unsupported {
                feature: "a footer of more than 4 GiB".into(),
            }
            .in_shard(&self.shard.path)
        })?;
        footer.extend_from_slice(&len.to_le_bytes());
        footer.extend_from_slice(&MAGIC);
        self.write(&footer)?;
        self.report.bytes_encoded += footer.len() as u64 + MAGIC.len() as u64;
        self.sink
            .flush()
            .map_err(Error::io("write the new version of", &self.shard.path))?;
        Ok(self.report)
    }

    fn index(&mut self, bytes: Option<&[u8]>) -> Result<Option<(u64, u64)>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let at = self.at;
        self.write(bytes)?;
        self.report.bytes_encoded += bytes.len() as u64;
        Ok(Some((at, bytes.len() as u64)))
    }
}

fn shift(tree: &mut Struct, field: i16, delta: i64) {
    if let Some(offset) = tree.i64(field).filter(|offset| *offset != 0) {
        tree.set(field, Value::I64(offset.saturating_add(delta)));
    }
}

fn set_bloom(chunk: &mut Struct, place: Option<(u64, u64)>) {
    if let Some(meta) = chunk.structure_mut(chunk::META_DATA) {
        set_place(
            meta,
            column::BLOOM_FILTER_OFFSET,
            column::BLOOM_FILTER_LENGTH,
            place,
        );
    }
}

fn set_place(tree: &mut Struct, offset: i16, length: i16, place: Option<(u64, u64)>) {
    tree.set_or_remove(offset, place.map(|(at, _)| int64(at)));
    let len = place.and_then(|(_, len)| i32::try_from(len).ok());
    tree.set_or_remove(length, len.map(Value::I32));
}

/// A row group's `file_offset`, where it is used, is that of its first page.
fn set_file_offset(group: &mut Struct, chunks: &[Struct]) {
    if group
        .i64(row_group::FILE_OFFSET)
        .is_none_or(|offset| offset == 0)
    {
        return;
    }
    let first = chunks
        .iter()
        .filter_map(meta_data)
        .filter_map(|meta| {
            meta.i64(column::DICTIONARY_PAGE_OFFSET)
                .or(meta.i64(column::DATA_PAGE_OFFSET))
        })
        .min();
    group.set_or_remove(row_group::FILE_OFFSET, first.map(Value::I64));
}

/// Removes the key-values that hold record keys and returns their keys.
fn drop_record_keys(footer: &mut Struct) -> Vec<String> {
    const KEY: i16 = 1;
    let mut dropped = Vec::new();
    if let Some(pairs) = footer.list_mut(file::KEY_VALUES) {
        pairs.items.retain(|pair| {
            let Value::Struct(pair) = pair else {
                return true;
            };
            let key = pair.binary(KEY).unwrap_or_default();
            let known = RECORD_KEYS.iter().find(|known| known.as_bytes() == key);
            dropped.extend(known.map(|known| (*known).to_owned()));
            known.is_none()
        });
    }
    dropped
}

fn int64(value: u64) -> Value {
    Value::I64(i64::try_from(value).unwrap_or(i64::MAX))
}
