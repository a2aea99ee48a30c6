//! A new chunk page by page, and what is said of it: `ColumnMetaData`, page index, bloom filter.

use std::collections::BTreeMap;

use parquet::basic::Encoding;

use super::dictionary::DictionaryEdit;
use super::erasure::{Change, Erasure};
use super::page::{NewPage, OpenPage, Tools};
use super::survey::PageAt;
use super::{Bloom, NewChunk, Piece, Result, Source};
use crate::parquet_bytes::bloom::{BloomBuilder, BloomHeader};
use crate::parquet_bytes::dictionary::Dictionary;
use crate::parquet_bytes::footer::{column, statistics as field};
use crate::parquet_bytes::order::{Bound, Extremes};
use crate::parquet_bytes::page::PageKind;
use crate::parquet_bytes::page_index::{ColumnIndex, OffsetIndex, PageEntry, PageLocation};
use crate::parquet_bytes::statistics::{
    Watched, change, changed, cut, histogram_changed, sizes_changed,
};
use crate::parquet_bytes::thrift::{List, Struct, Value};

/// A chunk in the making.
pub(super) struct Edit {
    pieces: Vec<Piece>,
    at: u64,
    uncompressed: u64,
    pages_rewritten: u64,
    pages_copied: u64,
    dictionary_at: Option<u64>,
    data_at: Option<u64>,
    /// Pages by type and encoding.
    encodings: BTreeMap<(i32, i32), i32>,
    locations: Vec<PageLocation>,
    /// Rows that began in the data pages so far.
    rows: u64,
    /// The column index as it was, from the next data page on, and what became of the pages before.
    index: Option<(ColumnIndex, Vec<PageEntry>)>,
    /// Bytes of byte arrays by page, as they were.
    page_bytes: Option<Vec<i64>>,
    new_page_bytes: Vec<i64>,
    /// Data pages seen so far, also those that are gone.
    seen: usize,
    bloom: Option<BloomEdit>,
    watched: Watched,
    /// By page: the extremes of what is left, where they are known.
    extremes: BTreeMap<usize, Extremes>,
    change: Change,
    values_gone: u64,
    counts_bytes: bool,
    /// Whether a page has levels as runs that it had in another encoding.
    has_new_runs: bool,
}

/// The bloom filter, as it was and as it will be.
struct BloomEdit {
    header: BloomHeader,
    builder: BloomBuilder,
    /// Every value is in the dictionary.
    is_dictionary: bool,
}

/// How the statistics in the header of a page are mended.
#[derive(Default)]
pub(super) struct PageMend {
    watched: Watched,
    extremes: Extremes,
    nulls: i64,
}

impl Edit {
    /// Nothing of the chunk yet.
    pub(super) fn new(source: &Source<'_>, pages: &[PageAt]) -> Result<Self> {
        let chunk = source.chunk;
        let file = &**source.file;
        let data_pages = pages.iter().filter(|page| page.is_data()).count();
        let header = match chunk.bloom_filter {
            Some(offset) => Some(BloomHeader::read(file, offset)?),
            None => None,
        };
        // A filter with an unknown hash can't be rebuilt; without one, readers read the pages.
        let bloom = header
            .filter(BloomHeader::is_known)
            .map(|header| BloomEdit {
                builder: BloomBuilder::like(&header),
                header,
                is_dictionary: pages
                    .iter()
                    .all(|page| !page.is_data() || page.uses_dictionary()),
            });
        // A column index is of no use without the offset index.
        let index = match (&chunk.column_index, &chunk.offset_index) {
            (Some(range), Some(_)) => ColumnIndex::read(file, range, data_pages)?,
            _ => None,
        };
        let page_bytes = match &chunk.offset_index {
            Some(range) => OffsetIndex::read(file, range)?.page_bytes(data_pages),
            None => None,
        };
        let empty = Struct::default();
        let statistics = source.meta.structure(column::STATISTICS).unwrap_or(&empty);
        Ok(Self {
            pieces: Vec::new(),
            at: 0,
            uncompressed: 0,
            pages_rewritten: 0,
            pages_copied: 0,
            dictionary_at: None,
            data_at: None,
            encodings: BTreeMap::new(),
            locations: Vec::new(),
            rows: 0,
            index: index.map(|index| (index, Vec::new())),
            counts_bytes: page_bytes.is_some()
                || source.meta.get(column::SIZE_STATISTICS).is_some(),
            page_bytes,
            new_page_bytes: Vec::new(),
            seen: 0,
            bloom,
            watched: Watched::new(statistics, source.order),
            extremes: BTreeMap::new(),
            change: Change::default(),
            values_gone: 0,
            has_new_runs: false,
        })
    }

    /// Whether the values of `page` must be seen although it stays as it is.
    pub(super) fn wants_values_of(&self, page: &PageAt) -> bool {
        self.bloom.is_some() && !page.uses_dictionary()
    }

    /// Sees what is left of a page that is decoded.
    pub(super) fn see(&mut self, page: &PageAt, open: &OpenPage) {
        if let Some(bloom) = self.bloom.as_mut().filter(|_| !page.uses_dictionary()) {
            open.each_kept(None, &mut |value| bloom.builder.insert(value));
        }
    }

    /// Takes into account what went from page `number`, whose indices refer to `entries`.
    pub(super) fn lose(
        &mut self,
        source: &Source<'_>,
        number: usize,
        page: &PageAt,
        open: &mut OpenPage,
        entries: Option<&Dictionary>,
    ) -> PageMend {
        if self.counts_bytes {
            open.weigh(entries);
        }
        self.change.add(open.change());
        self.values_gone += open.gone_values();
        let order = source.order;
        let statistics = page.statistics().cloned().unwrap_or_default();
        let mut mend = PageMend {
            watched: Watched::new(&statistics, order),
            extremes: Extremes::default(),
            nulls: open.change().nulls,
        };
        let entry = self
            .index
            .as_mut()
            .and_then(|(index, _)| index.pages.get_mut(self.seen));
        let mut of_index: Vec<Bound> = entry
            .as_ref()
            .and_then(|entry| entry.bounds.as_ref())
            .map(|(min, max)| {
                let bound = |bytes, is_max| Bound::new(bytes, is_max, order);
                vec![bound(min, false), bound(max, true)]
            })
            .unwrap_or_default();
        let mut all: Vec<&mut Bound> = self
            .watched
            .bounds_mut()
            .chain(mend.watched.bounds_mut())
            .chain(&mut of_index)
            .collect();
        open.watch(&mut all, entries);
        if let Some(order) = order
            && (all.iter().any(|bound| bound.is_open()))
        {
            mend.extremes = open.extremes(order, entries);
            self.extremes.insert(number, mend.extremes.clone());
        }
        if let Some(entry) = entry {
            match mend.entry(source, entry, open, &of_index) {
                Some(mended) => *entry = mended,
                None => self.index = None,
            }
        }
        if let Some(bytes) = self
            .page_bytes
            .as_mut()
            .and_then(|all| all.get_mut(self.seen))
        {
            match changed(*bytes, open.change().data_bytes) {
                Some(left) => *bytes = left,
                None => self.page_bytes = None,
            }
        }
        mend
    }

    /// Puts a page of the source next, as it is.
    pub(super) fn copy(&mut self, page: &PageAt) {
        let header = &page.header;
        self.uncompressed += u64::from(header.header_len) + u64::from(header.uncompressed_len);
        self.pages_copied += 1;
        self.put(page, header.kind, Piece::Copied(page.range()));
    }

    /// Adds a page that was rebuilt from one of the source.
    pub(super) fn add(&mut self, page: &PageAt, new: NewPage) {
        self.uncompressed += new.uncompressed;
        self.pages_rewritten += 1;
        self.has_new_runs |= new.kind.level_encodings() != page.header.kind.level_encodings();
        self.put(page, new.kind, Piece::New(new.bytes));
    }

    fn put(&mut self, page: &PageAt, kind: PageKind, piece: Piece) {
        let (at, len) = (self.at, piece.bytes());
        self.at += len;
        let (of_type, encoding) = match kind {
            PageKind::Dictionary { encoding, .. } => (2, encoding),
            PageKind::V1 { encoding, .. } => (0, encoding),
            PageKind::V2 { encoding, .. } => (3, encoding),
            PageKind::Other => (1, Encoding::PLAIN),
        };
        *self
            .encodings
            .entry((of_type, encoding as i32))
            .or_default() += 1;
        if page.is_data() {
            self.data_at.get_or_insert(at);
            self.locations.push(PageLocation {
                offset: at,
                len,
                first_row: self.rows,
            });
        } else {
            self.dictionary_at.get_or_insert(at);
        }
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::Copied(last)), Piece::Copied(range)) if last.end == range.start => {
                last.end = range.end;
            }
            (_, piece) => self.pieces.push(piece),
        }
    }

    /// Whether all of `pages` were copied, except those that hold neither data nor a dictionary.
    pub(super) fn is_copy(&self, pages: &[PageAt]) -> bool {
        let is_other = |page: &&PageAt| page.header.kind == PageKind::Other;
        let others = pages.iter().filter(is_other).count();
        self.pages_copied == (pages.len() - others) as u64
    }

    /// Goes on to the next data page; of the last one `rows` rows that began in it are left, if any of it is.
    pub(super) fn next_page(&mut self, rows: Option<u64>) {
        if let Some(rows) = rows {
            self.rows += rows;
            if let Some((index, new)) = &mut self.index {
                new.extend(index.pages.get(self.seen).cloned());
            }
            let bytes = self.page_bytes.as_ref().and_then(|all| all.get(self.seen));
            self.new_page_bytes.extend(bytes);
        }
        self.seen += 1;
    }

    /// The chunk, when all pages are put.
    pub(super) fn finish(
        mut self,
        source: &Source<'_>,
        pages: &[PageAt],
        erasure: &Erasure<'_>,
        dictionary: &mut DictionaryEdit,
        tools: &mut Tools,
    ) -> Result<NewChunk> {
        let mut meta = source.meta.clone();
        if let Some(statistics) = meta.structure_mut(column::STATISTICS) {
            let left = if self.watched.is_open() {
                self.all_extremes(source, pages, erasure, dictionary, tools)?
            } else {
                Extremes::default()
            };
            self.watched.mend(statistics, source.order, &left);
            mend_counts(statistics, self.change.nulls);
        }
        self.describe(source, &mut meta);
        let offset_index = source.chunk.offset_index.as_ref().map(|_| {
            let bytes = self.page_bytes.is_some().then_some(self.new_page_bytes);
            OffsetIndex::new(self.locations, bytes)
        });
        let bloom = match self.bloom {
            None => Bloom::None,
            Some(bloom) if bloom.is_dictionary && !dictionary.is_changed() => {
                Bloom::Copied(bloom.header.range())
            }
            Some(mut bloom) => {
                dictionary.load(source, pages, tools)?;
                dictionary.each_left(&mut |value| bloom.builder.insert(value));
                Bloom::New(bloom.builder.finish()?)
            }
        };
        Ok(NewChunk {
            pieces: self.pieces,
            meta,
            column_index: self.index.map(|(mut index, new)| {
                index.pages = new;
                index.into_bytes(source.order)
            }),
            offset_index,
            bloom,
            uncompressed: self.uncompressed,
            pages_rewritten: self.pages_rewritten,
            pages_copied: self.pages_copied,
            values_gone: self.values_gone,
            values_whole: self.change.whole,
            zstd_level: tools.zstd_level,
        })
    }

    /// The extremes of all that is left of the chunk.
    fn all_extremes(
        &mut self,
        source: &Source<'_>,
        pages: &[PageAt],
        erasure: &Erasure<'_>,
        dictionary: &mut DictionaryEdit,
        tools: &mut Tools,
    ) -> Result<Extremes> {
        let mut all = Extremes::default();
        let Some(order) = source.order else {
            return Ok(all);
        };
        dictionary.load(source, pages, tools)?;
        for (number, page) in pages.iter().enumerate().filter(|(_, page)| page.is_data()) {
            if let Some(known) = self.extremes.get(&number) {
                all.merge(order, known);
                continue;
            }
            let open = OpenPage::read(source, page, erasure, dictionary.entries_mut(), tools)?;
            all.merge(order, &open.extremes(order, dictionary.entries_of(page)));
            tools.recycle(open);
        }
        Ok(all)
    }

    /// Writes into `meta` what follows from the pages.
    fn describe(&self, source: &Source<'_>, meta: &mut Struct) {
        let mut used: Vec<i32> = self
            .encodings
            .keys()
            .map(|(_, encoding)| *encoding)
            .collect();
        if self.has_new_runs {
            used.push(Encoding::RLE as i32);
        }
        if let Some(encodings) = meta.list(column::ENCODINGS) {
            let listed = listed_encodings(&encodings.i32s().collect::<Vec<_>>(), &used);
            meta.set(column::ENCODINGS, Value::List(listed));
        }
        let values = source
            .chunk
            .values
            .saturating_add_signed(self.change.entries);
        meta.set(column::NUM_VALUES, int64(values));
        meta.set(column::TOTAL_UNCOMPRESSED_SIZE, int64(self.uncompressed));
        meta.set(column::TOTAL_COMPRESSED_SIZE, int64(self.at));
        meta.set(column::DATA_PAGE_OFFSET, int64(self.data_at.unwrap_or(0)));
        // Some writers have a dictionary page that the footer does not point to.
        if meta.get(column::DICTIONARY_PAGE_OFFSET).is_some() {
            meta.set_or_remove(
                column::DICTIONARY_PAGE_OFFSET,
                self.dictionary_at.map(int64),
            );
        } else if let Some(at) = self.dictionary_at {
            meta.set(column::DATA_PAGE_OFFSET, int64(at));
        }
        if meta.get(column::ENCODING_STATS).is_some() {
            let stats = self.encodings.iter().map(|((page, encoding), count)| {
                Struct::default()
                    .with(1, Value::I32(*page))
                    .with(2, Value::I32(*encoding))
                    .with(3, Value::I32(*count))
            });
            meta.set(column::ENCODING_STATS, Value::List(List::of_structs(stats)));
        }
        let sizes = meta.structure(column::SIZE_STATISTICS).and_then(|sizes| {
            let Change {
                data_bytes,
                repetition,
                definition,
                ..
            } = &self.change;
            sizes_changed(sizes, *data_bytes, repetition, definition)
        });
        meta.set_or_remove(column::SIZE_STATISTICS, sizes.map(Value::Struct));
        // Neither can be kept right: they are of rows that may be gone, or point at nothing now.
        for field in [
            column::GEOSPATIAL_STATISTICS,
            column::INDEX_PAGE_OFFSET,
            column::BLOOM_FILTER_OFFSET,
            column::BLOOM_FILTER_LENGTH,
        ] {
            meta.remove(field);
        }
    }
}

impl PageMend {
    /// Mends the statistics of a page's header.
    pub(super) fn statistics(&self, source: &Source<'_>, tree: &mut Struct) {
        self.watched.mend(tree, source.order, &self.extremes);
        mend_counts(tree, self.nulls);
    }

    /// Mends what the column index says of the page; `None` when that can't be said.
    fn entry(
        &self,
        source: &Source<'_>,
        entry: &PageEntry,
        open: &OpenPage,
        bounds: &[Bound],
    ) -> Option<PageEntry> {
        let mut mended = PageEntry {
            bounds: entry.bounds.clone().filter(|_| !open.is_null()),
            nulls: match entry.nulls {
                Some(nulls) => Some(changed(nulls, self.nulls)?),
                None => None,
            },
            repetition: match &entry.repetition {
                Some(levels) => Some(histogram_changed(levels, &open.change().repetition)?),
                None => None,
            },
            definition: match &entry.definition {
                Some(levels) => Some(histogram_changed(levels, &open.change().definition)?),
                None => None,
            },
        };
        if let Some((min, max)) = &mut mended.bounds {
            for (bytes, bound, is_max) in
                [(min, bounds.first()?, false), (max, bounds.get(1)?, true)]
            {
                if bound.is_open() {
                    let order = source.order?;
                    let (least, most) = self.extremes.bounds(order)?;
                    *bytes = if is_max { most } else { least };
                    cut(bytes, order, is_max, bound);
                }
            }
        }
        Some(mended)
    }
}

/// There are more or less nulls; how many distinct values are left isn't known.
fn mend_counts(statistics: &mut Struct, nulls: i64) {
    change(statistics, field::NULL_COUNT, nulls);
    statistics.remove(field::DISTINCT_COUNT);
}

/// The encodings that a footer lists: those of the source that still occur, then new ones.
fn listed_encodings(source: &[i32], used: &[i32]) -> List {
    // Kept whether or not a level is stored: writers list the encoding of levels regardless.
    const LEVELS: [i32; 2] = [Encoding::RLE as i32, 4];
    let kept = source
        .iter()
        .copied()
        .filter(|code| used.contains(code) || LEVELS.contains(code));
    let new = used.iter().copied().filter(|code| !source.contains(code));
    List::of_i32(kept.chain(new))
}

fn int64(value: u64) -> Value {
    Value::I64(i64::try_from(value).unwrap_or(i64::MAX))
}
