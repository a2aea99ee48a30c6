//! One page without some rows.

use std::iter::once;
use std::ops::Range;

use parquet::basic::Encoding;

use super::Source;
use super::level::{self, ZstdLevel};
use super::survey::PageAt;
use crate::error::FormatError;
use crate::limits::PAGE_BYTES_MAX;
use crate::parquet_bytes::codec::{Codec, Codecs};
use crate::parquet_bytes::dictionary::Dictionary;
use crate::parquet_bytes::levels::{self, Levels};
use crate::parquet_bytes::order::{Bound, Extremes, ValueOrder};
use crate::parquet_bytes::page::{PageHeader, PageKind};
use crate::parquet_bytes::thrift::Struct;
use crate::parquet_bytes::values::{PageValues, Physical};

type Result<T> = std::result::Result<T, FormatError>;

/// A decoded page, with what of it stays and what goes.
#[derive(Debug)]
pub(super) struct OpenPage {
    values: PageValues,
    /// Values that stay, by their place among the page's values.
    kept: Vec<Range<usize>>,
    /// Values that go.
    gone: Vec<Range<usize>>,
    /// The levels of the entries that stay.
    levels: Levels,
    /// Entries that stay.
    entries: usize,
    /// Rows that begin in the page and stay.
    rows: usize,
    /// What went.
    pub(super) lost: Lost,
}

/// What went from a page, or from a chunk.
#[derive(Debug, Default, Clone)]
pub(super) struct Lost {
    /// Entries: values and nulls.
    pub(super) entries: u64,
    /// Entries that are no value.
    pub(super) nulls: u64,
    /// Bytes of byte arrays, without lengths.
    pub(super) data_bytes: u64,
    /// Entries by repetition level.
    pub(super) repetition: Vec<u64>,
    /// Entries by definition level.
    pub(super) definition: Vec<u64>,
}

impl Lost {
    /// Adds what went from one more page.
    pub(super) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.nulls += other.nulls;
        self.data_bytes += other.data_bytes;
        for (sums, counts) in [
            (&mut self.repetition, &other.repetition),
            (&mut self.definition, &other.definition),
        ] {
            sums.resize(sums.len().max(counts.len()), 0);
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
}

/// Buffers and codec contexts that are used from page to page and from chunk to chunk, on one thread at a time.
#[derive(Default)]
pub struct Tools {
    pub(super) codecs: Codecs,
    /// The level of new zstd pages.
    pub(super) zstd_level: ZstdLevel,
    raw: Vec<u8>,
    body: Vec<u8>,
    encoded: Vec<u8>,
    packed: Vec<u8>,
}

impl Tools {
    /// Reads and decompresses a page.
    pub(super) fn decompressed(&mut self, source: &Source<'_>, page: &PageAt) -> Result<Vec<u8>> {
        let offset = page.header.body_offset();
        let len = page.header.compressed_len as usize;
        // It only ever grows, so that no byte is zeroed twice.
        let mut raw = std::mem::take(&mut self.raw);
        raw.resize(raw.len().max(len), 0);
        let (bytes, _) = raw.split_at_mut(len);
        source
            .file
            .read_at(offset, bytes)
            .map_err(|source| FormatError::Read { offset, source })?;
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        page.header
            .decompress(bytes, source.chunk.codec, &mut self.codecs, &mut body)?;
        self.raw = raw;
        Ok(body)
    }

    /// Takes back the memory of a page that is done.
    pub(super) fn recycle(&mut self, page: OpenPage) {
        self.body = page.values.into_buffer();
    }
}

impl OpenPage {
    /// Decodes a page; `dropped` are the rows that go, ascending, counted in the row group.
    ///
    /// # Errors
    /// When it is damaged.
    pub(super) fn read(
        source: &Source<'_>,
        page: &PageAt,
        dropped: &[u32],
        tools: &mut Tools,
    ) -> Result<Self> {
        let (max_repetition, max_definition) = source.max_levels();
        let body = tools.decompressed(source, page)?;
        let mut levels = Levels::default();
        let values = levels.read(&page.header, &body, max_repetition, max_definition)?;
        let at = body.len() - values.len();
        let entries = page.header.kind.data_values().unwrap_or(0) as usize;
        let max = u32::try_from(max_definition).unwrap_or(0);
        let present = |range: Range<usize>| {
            if max == 0 {
                return range.len();
            }
            let levels = levels.definition.get(range).unwrap_or_default();
            levels.iter().filter(|level| **level == max).count()
        };
        let values = PageValues::read(
            &page.header,
            Physical::of(source.descriptor),
            body,
            at,
            present(0..entries),
        )?;
        let kept_entries = kept_entries(page, &levels, entries, dropped);
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        let (mut lost_entries, mut at, mut value) = (0, 0, 0);
        let mut left = 0;
        for range in kept_entries.iter().cloned().chain(once(entries..entries)) {
            let between = present(at..range.start);
            if between > 0 {
                gone.push(value..value + between);
            }
            lost_entries += range.start - at;
            value += between;
            let inside = present(range.clone());
            if inside > 0 {
                kept.push(value..value + inside);
            }
            value += inside;
            left += range.len();
            at = range.end;
        }
        let lost_values: usize = gone.iter().map(Range::len).sum();
        let lost = Lost {
            entries: lost_entries as u64,
            nulls: (lost_entries - lost_values) as u64,
            data_bytes: 0,
            repetition: histogram(&levels.repetition, &kept_entries, max_repetition),
            definition: histogram(&levels.definition, &kept_entries, max_definition),
        };
        let levels = Levels {
            repetition: kept_of(&levels.repetition, &kept_entries),
            definition: kept_of(&levels.definition, &kept_entries),
        };
        let rows = if max_repetition == 0 {
            left
        } else {
            levels
                .repetition
                .iter()
                .filter(|level| **level == 0)
                .count()
        };
        Ok(Self {
            values,
            kept,
            gone,
            levels,
            entries: left,
            rows,
            lost,
        })
    }

    /// Counts the bytes of the byte arrays that went.
    pub(super) fn weigh(&mut self, dictionary: Option<&Dictionary>) {
        self.lost.data_bytes = self.values.data_bytes(&self.gone, dictionary);
    }

    /// Rows that begin in the page and stay.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether nothing of the page is left.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether no value is left, but perhaps nulls.
    pub(super) fn is_null(&self) -> bool {
        self.kept.is_empty()
    }

    /// Shows `bounds` the values that go, and those that stay as long as a bound is open.
    pub(super) fn watch(&self, bounds: &mut [&mut Bound], dictionary: Option<&Dictionary>) {
        self.values.each(&self.gone, dictionary, &mut |value| {
            for bound in bounds.iter_mut() {
                bound.suspect(value);
            }
            true
        });
        if bounds.iter().any(|bound| bound.is_open()) {
            self.values.each(&self.kept, dictionary, &mut |value| {
                let open = bounds.iter_mut().filter(|bound| bound.is_open());
                open.for_each(|bound| bound.attain(value));
                bounds.iter().any(|bound| bound.is_open())
            });
        }
    }

    /// Smallest and largest of the values that stay.
    pub(super) fn extremes(&self, order: ValueOrder, dictionary: Option<&Dictionary>) -> Extremes {
        let mut extremes = Extremes::default();
        self.each_kept(dictionary, &mut |value| extremes.see(order, value));
        extremes
    }

    /// Shows the values that stay; each entry of the dictionary once.
    pub(super) fn each_kept(&self, dictionary: Option<&Dictionary>, see: &mut dyn FnMut(&[u8])) {
        self.values.each(&self.kept, dictionary, &mut |value| {
            see(value);
            true
        });
    }

    /// The dictionary indices of values that go, range by range.
    pub(super) fn gone_indices(&self) -> impl Iterator<Item = &[u32]> {
        self.indices(&self.gone)
    }

    /// The dictionary indices of values that stay, range by range.
    pub(super) fn kept_indices(&self) -> impl Iterator<Item = &[u32]> {
        self.indices(&self.kept)
    }

    fn indices<'a>(&'a self, ranges: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u32]> {
        let indices = self.values.indices().unwrap_or_default();
        ranges
            .iter()
            .map(|range| indices.get(range.clone()).unwrap_or_default())
    }

    /// Encodes what is left as the page was, with dictionary indices as `remap` says, and appends header
    /// and body to `out`. `mend` edits the statistics of the header, if it has some.
    ///
    /// # Errors
    /// When it can't be compressed, or would be too long.
    pub(super) fn write(
        &self,
        source: &Source<'_>,
        page: &PageAt,
        remap: Option<&[u32]>,
        tools: &mut Tools,
        mend: impl FnOnce(&mut Struct),
    ) -> Result<NewPage> {
        let (max_repetition, max_definition) = source.max_levels();
        let mut body = std::mem::take(&mut tools.encoded);
        body.clear();
        let (repetition_len, definition_len) = levels::write(
            &self.levels,
            page.header.kind,
            max_repetition,
            max_definition,
            &mut body,
        );
        let levels_len = repetition_len + definition_len;
        let encoding = page.header.kind.data_encoding().unwrap_or(Encoding::PLAIN);
        self.values.write(encoding, &self.kept, remap, &mut body);
        let mut kind = page.header.kind;
        let narrow = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        match &mut kind {
            PageKind::V1 { values, .. } => *values = narrow(self.entries),
            PageKind::V2 {
                values,
                nulls,
                rows,
                definition_len: definition,
                repetition_len: repetition,
                compressed,
                ..
            } => {
                *values = narrow(self.entries);
                *nulls = narrow(self.entries - self.kept.iter().map(Range::len).sum::<usize>());
                *rows = narrow(self.rows);
                *definition = narrow(definition_len);
                *repetition = narrow(repetition_len);
                // Readers disagree on what no bytes are when they are compressed.
                *compressed = *compressed && body.len() > levels_len;
            }
            PageKind::Dictionary { .. } | PageKind::Other => {}
        }
        let new = NewPage::pack(source, page, kind, &body, levels_len, tools, mend)?;
        tools.encoded = body;
        Ok(new)
    }
}

/// A page that was made anew.
#[derive(Debug)]
pub(super) struct NewPage {
    /// Header and body.
    pub(super) bytes: Vec<u8>,
    /// Bytes of the header and of the body without compression.
    pub(super) uncompressed: u64,
    /// What the header says.
    pub(super) kind: PageKind,
}

impl NewPage {
    /// Compresses `body` (whose first `levels` bytes are levels) and puts a header in front that says what
    /// that of `page` did, except for `kind`.
    pub(super) fn pack(
        source: &Source<'_>,
        page: &PageAt,
        kind: PageKind,
        body: &[u8],
        levels: usize,
        tools: &mut Tools,
        mend: impl FnOnce(&mut Struct),
    ) -> Result<Self> {
        let Tools {
            codecs,
            zstd_level,
            packed,
            ..
        } = tools;
        packed.clear();
        let (codec, levels) = match kind {
            PageKind::V2 {
                compressed: false, ..
            } => (Codec::Uncompressed, levels),
            PageKind::V2 { .. } => (source.chunk.codec, levels),
            _ => (source.chunk.codec, 0),
        };
        let (levels, values) = body.split_at_checked(levels).unwrap_or((body, &[]));
        packed.extend_from_slice(levels);
        let old_levels = page.header.kind.stored_levels();
        let old = [page.header.compressed_len, page.header.uncompressed_len]
            .map(|len| len.saturating_sub(old_levels) as usize);
        level::compress(codecs, zstd_level, codec, values, old, packed)?;
        let header = PageHeader {
            compressed_len: page_len(packed.len())?,
            uncompressed_len: page_len(body.len())?,
            crc: page.header.crc.map(|_| crc32fast::hash(packed)),
            kind,
            ..page.header
        };
        let mut tree = header.to_tree(page.tree.clone());
        if let Some(statistics) = PageHeader::statistics_in_mut(&mut tree) {
            mend(statistics);
        }
        let mut bytes = tree.to_bytes();
        let uncompressed = (bytes.len() + body.len()) as u64;
        bytes.reserve_exact(packed.len());
        bytes.extend_from_slice(packed);
        Ok(Self {
            bytes,
            uncompressed,
            kind,
        })
    }
}

fn page_len(len: usize) -> Result<u32> {
    match u32::try_from(len) {
        Ok(short) if u64::from(short) <= PAGE_BYTES_MAX => Ok(short),
        _ => Err(FormatError::Invalid {
            structure: "new page",
            offset: 0,
            found: format!("{len} bytes"),
            expected: "less than 2 GiB",
        }),
    }
}

/// The entries that stay, as ranges.
fn kept_entries(
    page: &PageAt,
    levels: &Levels,
    entries: usize,
    dropped: &[u32],
) -> Vec<Range<usize>> {
    let mut kept = Vec::new();
    let mut push = |range: Range<usize>| {
        if !range.is_empty() {
            kept.push(range);
        }
    };
    if levels.repetition.is_empty() {
        let mut at = 0;
        for row in dropped {
            let entry = row.saturating_sub(page.rows.start) as usize;
            push(at..entry.min(entries));
            at = entry + 1;
        }
        push(at..entries.max(at));
        return kept;
    }
    let mut dropped = dropped;
    let mut row = page.rows.start;
    let mut is_first = true;
    let mut start = None;
    for (at, level) in levels.repetition.iter().enumerate() {
        let begins = *level == 0;
        if !begins && !is_first {
            continue;
        }
        row += u32::from(begins && !is_first);
        is_first = false;
        while let [next, rest @ ..] = dropped
            && *next < row
        {
            dropped = rest;
        }
        let is_dropped = dropped.first() == Some(&row);
        match (is_dropped, start) {
            (true, Some(from)) => {
                push(from..at);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(from) = start {
        push(from..entries);
    }
    kept
}

fn kept_of(levels: &[u32], kept: &[Range<usize>]) -> Vec<u32> {
    let mut left = Vec::with_capacity(levels.len());
    for range in kept {
        left.extend_from_slice(levels.get(range.clone()).unwrap_or_default());
    }
    left
}

/// How many of the entries that go have each level.
fn histogram(levels: &[u32], kept: &[Range<usize>], max: i16) -> Vec<u64> {
    let mut counts = vec![0; usize::try_from(max).unwrap_or(0) + 1];
    let mut at = 0;
    for range in kept.iter().cloned().chain(once(levels.len()..levels.len())) {
        for level in levels.get(at..range.start).unwrap_or_default() {
            if let Some(count) = counts.get_mut(*level as usize) {
                *count += 1;
            }
        }
        at = range.end;
    }
    counts
}
