//! One page without what goes from it.

use std::ops::Range;

use parquet::basic::Encoding;

use super::Source;
use super::erasure::{Change, Erasure, Split};
use super::level::{self, OldPage, ZstdLevel};
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
    split: Split,
    /// Rows that begin in the page and stay.
    rows: usize,
}

/// Buffers and codec contexts that are used from page to page and from chunk to chunk, on one thread at a time.
#[derive(Default)]
pub struct Tools {
    pub(super) codecs: Codecs,
    /// The level of new zstd pages.
    pub(super) zstd_level: ZstdLevel,
    raw: Vec<u8>,
    /// Buffers of finished pages, for the next ones.
    bodies: Vec<Vec<u8>>,
    indices: Vec<Vec<u32>>,
    levels: Levels,
    encoded: Vec<u8>,
    packed: Vec<u8>,
}

/// Buffers of pages that are kept for the next ones.
const SPARE_BUFFERS_MAX: usize = 8;
/// Larger ones are not kept.
const SPARE_BYTES_MAX: usize = 4 << 20;

impl Tools {
    /// Reads and decompresses a page.
    pub(super) fn decompressed(&mut self, source: &Source<'_>, page: &PageAt) -> Result<Vec<u8>> {
        let body = self.bodies.pop().unwrap_or_default();
        decompressed(source, page, &mut self.codecs, &mut self.raw, body)
    }

    /// Takes back the memory of a page that is done.
    pub(super) fn recycle(&mut self, page: OpenPage) {
        let (body, indices) = page.values.into_buffers();
        if self.bodies.len() < SPARE_BUFFERS_MAX && body.capacity() < SPARE_BYTES_MAX {
            self.bodies.push(body);
        }
        let is_spare = (1..SPARE_BYTES_MAX / 4).contains(&indices.capacity());
        if self.indices.len() < SPARE_BUFFERS_MAX && is_spare {
            self.indices.push(indices);
        }
    }
}

/// Reads a page into `raw` and decompresses it into `body`.
fn decompressed(
    source: &Source<'_>,
    page: &PageAt,
    codecs: &mut Codecs,
    raw: &mut Vec<u8>,
    mut body: Vec<u8>,
) -> Result<Vec<u8>> {
    let offset = page.header.body_offset();
    let len = page.header.compressed_len as usize;
    // It only ever grows, so that no byte is zeroed twice.
    raw.resize(raw.len().max(len), 0);
    let (bytes, _) = raw.split_at_mut(len);
    source
        .file
        .read_at(offset, bytes)
        .map_err(|source| FormatError::Read { offset, source })?;
    body.clear();
    page.header
        .decompress(bytes, source.chunk.codec, codecs, &mut body)?;
    Ok(body)
}

impl OpenPage {
    /// Decodes a page and splits it as `erasure` says; `dictionary` is what its indices refer to, which is only
    /// needed where values are replaced.
    ///
    /// # Errors
    /// When it is damaged.
    pub(super) fn read(
        source: &Source<'_>,
        page: &PageAt,
        erasure: &Erasure<'_>,
        dictionary: Option<&mut Dictionary>,
        tools: &mut Tools,
    ) -> Result<Self> {
        let (max_repetition, max_definition) = source.max_levels();
        let body = tools.decompressed(source, page)?;
        let mut levels = std::mem::take(&mut tools.levels);
        let values = levels.read(&page.header, &body, max_repetition, max_definition)?;
        let at = body.len() - values.len();
        let entries = page.header.kind.data_values().unwrap_or(0) as usize;
        let present = levels.values(0..entries, max_definition);
        let physical = Physical::of(source.descriptor);
        let indices = tools.indices.pop().unwrap_or_default();
        let mut values = PageValues::read(&page.header, physical, body, at, present, indices)?;
        let split = Split::of(
            page,
            (&levels, entries),
            source.max_levels(),
            &erasure.of_page(page),
            &mut values,
            dictionary,
        )?;
        tools.levels = levels;
        let begins = |levels: &[u32]| levels.iter().filter(|level| **level == 0).count();
        let rows = match max_repetition {
            0 => split.entries,
            _ => begins(&split.levels.repetition),
        };
        Ok(Self {
            values,
            split,
            rows,
        })
    }

    /// Counts the bytes of the byte arrays that went and came.
    pub(super) fn weigh(&mut self, dictionary: Option<&Dictionary>) {
        let bytes = |ranges| {
            let bytes = self.values.data_bytes(ranges, dictionary);
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        self.split.change.data_bytes = bytes(&self.split.added) - bytes(&self.split.gone);
    }

    /// Whether anything goes.
    pub(super) fn is_changed(&self) -> bool {
        self.split.is_changed
    }

    /// How counts change.
    pub(super) fn change(&self) -> &Change {
        &self.split.change
    }

    /// Values that go.
    pub(super) fn gone_values(&self) -> u64 {
        self.split.gone.iter().map(|range| range.len() as u64).sum()
    }

    /// The levels of the entries that stay.
    pub(super) fn levels(&self) -> &Levels {
        &self.split.levels
    }

    /// Entries that stay.
    pub(super) fn entries(&self) -> usize {
        self.split.entries
    }

    /// The value at a place, in a page without a dictionary.
    pub(super) fn value(&self, at: usize) -> Option<&[u8]> {
        self.values.get(at)
    }

    /// The index at a place, in a page with a dictionary.
    pub(super) fn index(&self, at: usize) -> Option<u32> {
        self.values.indices()?.get(at).copied()
    }

    /// Rows that begin in the page and stay.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether nothing of the page is left.
    pub(super) fn is_empty(&self) -> bool {
        self.split.entries == 0
    }

    /// Whether no value is left, but perhaps nulls.
    pub(super) fn is_null(&self) -> bool {
        self.split.kept.is_empty()
    }

    /// Shows `bounds` the values that go and come, and those that stay as long as a bound is open.
    pub(super) fn watch(&self, bounds: &mut [&mut Bound], dictionary: Option<&Dictionary>) {
        self.values
            .each(&self.split.gone, dictionary, &mut |value| {
                for bound in bounds.iter_mut() {
                    bound.suspect(value);
                }
                true
            });
        self.values
            .each(&self.split.added, dictionary, &mut |value| {
                for bound in bounds.iter_mut() {
                    bound.admit(value);
                }
                true
            });
        if bounds.iter().any(|bound| bound.is_open()) {
            self.values
                .each(&self.split.kept, dictionary, &mut |value| {
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
        self.values
            .each(&self.split.kept, dictionary, &mut |value| {
                see(value);
                true
            });
    }

    /// The dictionary indices of values that go, range by range.
    pub(super) fn gone_indices(&self) -> impl Iterator<Item = &[u32]> {
        self.indices(&self.split.gone)
    }

    /// The dictionary indices of values that stay, range by range.
    pub(super) fn kept_indices(&self) -> impl Iterator<Item = &[u32]> {
        self.indices(&self.split.kept)
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
            &self.split.levels,
            self.split.entries,
            page.header.kind,
            max_repetition,
            max_definition,
            &mut body,
        );
        let levels_len = repetition_len + definition_len;
        let encoding = page.header.kind.data_encoding().unwrap_or(Encoding::PLAIN);
        self.values
            .write(encoding, &self.split.kept, remap, &mut body);
        let mut kind = levels::kind_with_runs(page.header.kind, max_repetition, max_definition);
        let narrow = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        match &mut kind {
            PageKind::V1 { values, .. } => *values = narrow(self.split.entries),
            PageKind::V2 {
                values,
                nulls,
                rows,
                definition_len: definition,
                repetition_len: repetition,
                compressed,
                ..
            } => {
                *values = narrow(self.split.entries);
                *nulls = narrow(
                    self.split.entries - self.split.kept.iter().map(Range::len).sum::<usize>(),
                );
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

/// A page that was rebuilt.
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
            raw,
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
        let [compressed, uncompressed] = [page.header.compressed_len, page.header.uncompressed_len]
            .map(|len| len.saturating_sub(old_levels) as usize);
        let old = OldPage {
            compressed,
            uncompressed,
            values: |codecs: &mut Codecs| {
                let mut old = decompressed(source, page, codecs, raw, Vec::new())?;
                old.drain(..(old_levels as usize).min(old.len()));
                Ok(old)
            },
        };
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
