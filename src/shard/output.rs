//! The new shard as it is written: row groups in order, then bloom filters' places, page index and footer.

use std::ops::Range;

use self::edits::{cut_sorting, int64, set_bloom, set_file_offset, set_place, shift};
use super::Shard;
use super::chunk::{Bloom, NewChunk, Piece};
use super::fate::Fate;
use super::lineage::Lineage;
use super::rewrite::report::{Copied, RewriteReport};
use super::rewrite::task::ChunkTask;
use crate::error::{Error, FormatError, Result};
use crate::io::Sink;
use crate::parquet_bytes::bloom::BloomHeader;
use crate::parquet_bytes::footer::{
    Chunk, Footer, MAGIC, RowGroup, chunk, column, file, row_group,
};
use crate::parquet_bytes::page_index::{OffsetIndex, read_bytes};
use crate::parquet_bytes::thrift::{List, Struct, Value};

mod edits;
pub(super) mod key_values;

/// Bytes of the page index of one chunk.
#[derive(Default)]
struct Indexes {
    column: Option<Vec<u8>>,
    offset: Option<Vec<u8>>,
}

/// A new shard in the making.
pub(super) struct Output<'a> {
    shard: &'a Shard,
    sink: &'a mut dyn Sink,
    /// Bytes so far, `pending` included.
    at: u64,
    /// Bytes of the source that are to be copied next.
    pending: Range<u64>,
    /// What becomes of each row group.
    fates: &'a [Fate],
    /// Row groups of the source that are done.
    groups_done: usize,
    /// The row group that is being rebuilt.
    current: Option<Group>,
    row_groups: Vec<Struct>,
    /// The page indexes of every chunk of `row_groups`, in order.
    indexes: Vec<Indexes>,
    /// Row groups that were rebuilt, and those that were left out.
    touched: Vec<u32>,
    dropped: Vec<u32>,
    report: RewriteReport,
}

/// A row group of which some chunks are written.
struct Group {
    tree: Struct,
    chunks: Vec<Struct>,
    written: usize,
    /// Pages that were rebuilt.
    pages: u64,
    /// By column: whether it has such pages.
    changed: Vec<bool>,
    blooms: Vec<Bloom>,
    compressed: u64,
    uncompressed: u64,
}

impl<'a> Output<'a> {
    /// Begins the new shard.
    pub(super) fn new(shard: &'a Shard, sink: &'a mut dyn Sink, fates: &'a [Fate]) -> Result<Self> {
        let mut output = Self {
            shard,
            sink,
            at: 0,
            pending: 0..0,
            fates,
            groups_done: 0,
            current: None,
            row_groups: Vec::new(),
            indexes: Vec::new(),
            touched: Vec::new(),
            dropped: Vec::new(),
            report: RewriteReport::default(),
        };
        output.write(&MAGIC)?;
        Ok(output)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.copy_pending()?;
        self.sink
            .write_all(bytes)
            .map_err(Error::io("write the new version of", &self.shard.path))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn write_new(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.at + bytes.len() as u64;
        self.report.bytes_encoded += bytes.len() as u64;
        match self.report.new_ranges.last_mut() {
            Some(last) if last.end == self.at => last.end = end,
            _ => self.report.new_ranges.push(self.at..end),
        }
        self.write(bytes)
    }

    /// Copies with the next write, so that ranges that follow each other are one copy.
    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        match self.report.copied.last_mut() {
            Some(last) if last.from + last.bytes == from && last.to + last.bytes == self.at => {
                last.bytes += to - from;
            }
            _ => self.report.copied.push(Copied {
                from,
                to: self.at,
                bytes: to - from,
            }),
        }
        self.at += to - from;
        self.report.bytes_copied += to - from;
        if self.pending.end == from && !self.pending.is_empty() {
            self.pending.end = to;
            return Ok(());
        }
        self.copy_pending()?;
        self.pending = from..to;
        Ok(())
    }

    fn copy_pending(&mut self) -> Result<()> {
        let range = std::mem::take(&mut self.pending);
        if range.is_empty() {
            return Ok(());
        }
        self.sink
            .copy_from(&*self.shard.file, range)
            .map_err(Error::io("copy to the new version of", &self.shard.path))
    }

    fn damaged(&self) -> impl Fn(FormatError) -> Error + use<> {
        let path = self.shard.path.clone();
        move |error| error.in_shard(&path)
    }

    /// The trees of a row group and of its chunks.
    fn trees(&self, position: usize) -> Result<(Struct, Vec<Struct>)> {
        let Some(tree) = self.shard.footer.row_group_tree(position) else {
            return Err(Error::Internal {
                path: self.shard.path.clone(),
                invariant: "a row group that was to be written is not in the footer",
            });
        };
        let chunks = tree
            .list(row_group::COLUMNS)
            .map(|chunks| chunks.structs().cloned().collect())
            .unwrap_or_default();
        Ok((tree.clone(), chunks))
    }

    /// Writes a chunk that was rebuilt, and the row groups before it.
    pub(super) fn chunk(&mut self, task: &ChunkTask<'_>, new: NewChunk) -> Result<()> {
        self.up_to(task.group)?;
        let mut group = match self.current.take() {
            Some(group) => group,
            None => self.begin(task.group)?,
        };
        self.put(task, &mut group, new)?;
        if group.written == group.chunks.len() {
            self.end(task.group, group)
        } else {
            self.current = Some(group);
            Ok(())
        }
    }

    /// Copies or leaves out the row groups before `end` that are not done.
    fn up_to(&mut self, end: usize) -> Result<()> {
        while self.groups_done < end {
            let position = self.groups_done;
            let group = self.shard.footer.row_groups().get(position);
            match (group, self.fates.get(position)) {
                (Some(group), Some(Fate::Dropped)) => {
                    self.report.rows_removed += group.rows;
                    self.report.row_groups_dropped += 1;
                    self.dropped.extend(u32::try_from(position));
                }
                (Some(group), _) => {
                    let (tree, chunks) = self.trees(position)?;
                    self.kept(group, tree, chunks)?;
                }
                (None, _) => {}
            }
            self.groups_done += 1;
        }
        Ok(())
    }

    fn begin(&self, position: usize) -> Result<Group> {
        let (tree, chunks) = self.trees(position)?;
        Ok(Group {
            tree,
            chunks,
            written: 0,
            pages: 0,
            changed: Vec::new(),
            blooms: Vec::new(),
            compressed: 0,
            uncompressed: 0,
        })
    }

    fn put(&mut self, task: &ChunkTask<'_>, group: &mut Group, new: NewChunk) -> Result<()> {
        let (at, len) = (self.at, new.bytes());
        for piece in new.pieces {
            match piece {
                Piece::Copied(range) => self.copy(range.start, range.end)?,
                Piece::New(bytes) => self.write_new(&bytes)?,
            }
        }
        self.report.pages_rewritten += new.pages_rewritten;
        self.report.pages_copied += new.pages_copied;
        group.compressed += len;
        group.uncompressed += new.uncompressed;
        group.written += 1;
        group.pages += new.pages_rewritten;
        group.changed.push(new.pages_rewritten > 0);
        let is_cleared = matches!(self.fates.get(task.group), Some(Fate::Cleared(_)));
        if is_cleared {
            self.report.values_cleared += new.values_gone;
            self.report.values_cleared_whole += new.values_whole;
        }
        let delta = i64::try_from(at).unwrap_or(i64::MAX);
        if let Some(tree) = group.chunks.get_mut(task.leaf) {
            if tree
                .i64(chunk::FILE_OFFSET)
                .is_some_and(|offset| offset != 0)
            {
                tree.set(chunk::FILE_OFFSET, int64(at));
            }
            let mut meta = new.meta;
            for field in [column::DATA_PAGE_OFFSET, column::DICTIONARY_PAGE_OFFSET] {
                if let Some(relative) = meta.i64(field) {
                    meta.set(field, Value::I64(relative.saturating_add(delta)));
                }
            }
            tree.set(chunk::META_DATA, Value::Struct(meta));
        }
        group.blooms.push(new.bloom);
        self.indexes.push(Indexes {
            column: new.column_index,
            offset: new.offset_index.map(|mut index| {
                index.shift(delta);
                index.0.to_bytes()
            }),
        });
        Ok(())
    }

    /// Writes the bloom filters of a row group that was rebuilt.
    fn end(&mut self, position: usize, group: Group) -> Result<()> {
        let Group {
            mut tree,
            mut chunks,
            blooms,
            compressed,
            uncompressed,
            pages,
            changed,
            ..
        } = group;
        for (tree, bloom) in chunks.iter_mut().zip(blooms) {
            let at = self.at;
            match bloom {
                Bloom::None => {}
                Bloom::Copied(range) => self.copy(range.start, range.end)?,
                Bloom::New(bytes) => self.write_new(&bytes)?,
            }
            let len = self.at - at;
            set_bloom(tree, (len > 0).then_some((at, len)));
        }
        let rows = self
            .shard
            .footer
            .row_groups()
            .get(position)
            .map_or(0, |group| group.rows);
        let dropped = match self.fates.get(position) {
            Some(Fate::Without(dropped)) => dropped.len() as u64,
            _ => 0,
        };
        tree.set(row_group::NUM_ROWS, int64(rows - dropped));
        tree.set(row_group::TOTAL_BYTE_SIZE, int64(uncompressed));
        if tree.get(row_group::TOTAL_COMPRESSED_SIZE).is_some() {
            tree.set(row_group::TOTAL_COMPRESSED_SIZE, int64(compressed));
        }
        if matches!(self.fates.get(position), Some(Fate::Cleared(_))) {
            cut_sorting(&mut tree, &changed);
        }
        set_file_offset(&mut tree, &chunks);
        self.push(tree, chunks);
        self.report.rows_removed += dropped;
        // If its dictionaries were scanned and nothing was found, it is unchanged.
        if dropped + pages > 0 {
            self.report.row_groups_rewritten += 1;
            self.touched.extend(u32::try_from(position));
        }
        self.groups_done += 1;
        Ok(())
    }

    fn kept(&mut self, group: &RowGroup, mut tree: Struct, mut chunks: Vec<Struct>) -> Result<()> {
        // In the order of the file, so that chunks that follow each other are copied as one span.
        let mut order: Vec<(usize, &Chunk)> = group.chunks.iter().enumerate().collect();
        order.sort_by_key(|(_, chunk)| chunk.range.start);
        let mut moved_to = vec![0; group.chunks.len()];
        for (leaf, chunk) in order {
            if let Some(slot) = moved_to.get_mut(leaf) {
                *slot = self.at;
            }
            self.copy(chunk.range.start, chunk.range.end)?;
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

    fn push(&mut self, mut tree: Struct, chunks: Vec<Struct>) {
        tree.set(row_group::COLUMNS, Value::List(List::of_structs(chunks)));
        if tree.get(row_group::ORDINAL).is_some() {
            let ordinal = i16::try_from(self.row_groups.len()).ok();
            tree.set_or_remove(row_group::ORDINAL, ordinal.map(Value::I16));
        }
        self.row_groups.push(tree);
    }

    /// Writes the row groups that are left, page index and footer.
    pub(super) fn finish(mut self) -> Result<RewriteReport> {
        self.up_to(self.fates.len())?;
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
        if self.report.rows_removed + self.report.values_cleared > 0 {
            self.report.dropped_key_values = key_values::without_rows(&mut tree);
        }
        let mut footer = tree.to_bytes();
        self.report.lineage = Some(Lineage {
            old_footer_hash: self.shard.footer.hash,
            footer_hash: Footer::hash_of(&footer),
            touched: std::mem::take(&mut self.touched),
            dropped: std::mem::take(&mut self.dropped),
        });
        let len = u32::try_from(footer.len()).map_err(|_| {
            FormatError::Unsupported {
                feature: "a footer of more than 4 GiB".into(),
            }
            .in_shard(&self.shard.path)
        })?;
        footer.extend_from_slice(&len.to_le_bytes());
        footer.extend_from_slice(&MAGIC);
        self.write_new(&footer)?;
        self.sink
            .flush()
            .map_err(Error::io("write the new version of", &self.shard.path))?;
        Ok(self.report)
    }

    fn index(&mut self, bytes: Option<&[u8]>) -> Result<Option<(u64, u64)>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let at = self.at;
        self.write_new(bytes)?;
        Ok(Some((at, bytes.len() as u64)))
    }
}
