//! The values of one data page: decoded as far as leaving some of them out needs it, and encoded again
//! as they were.
//!
//! | encoding | decoded to |
//! |---|---|
//! | `PLAIN` | where each value is in the page; nothing is copied |
//! | `RLE_DICTIONARY`, `PLAIN_DICTIONARY` | indices |
//! | `RLE`, `PLAIN` of booleans | a number per value |
//! | `DELTA_BINARY_PACKED`, `BYTE_STREAM_SPLIT` | fixed-width values |
//! | `DELTA_LENGTH_BYTE_ARRAY` | where each value is in the page |
//! | `DELTA_BYTE_ARRAY` | the values |
//!
//! Source: `Encodings.md` in the `parquet-format` repository.

use std::ops::Range;

use parquet::basic::{Encoding, Type};
use parquet::schema::types::ColumnDescriptor;

use super::delta::{self, Blocks, Spans};
use super::page::PageHeader;
use super::rle::{self, RleDecoder};
use crate::error::FormatError;

type Result<T> = std::result::Result<T, FormatError>;

/// Values by their places among those of the page; they are shown and written in this order.
pub type Ranges = [Range<usize>];

/// The physical type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Physical {
    kind: Type,
    /// Bytes of a value; 0 for byte arrays and booleans.
    width: usize,
}

impl Physical {
    /// That of `descriptor`.
    pub fn of(descriptor: &ColumnDescriptor) -> Self {
        let kind = descriptor.physical_type();
        let width = match kind {
            Type::BOOLEAN | Type::BYTE_ARRAY => 0,
            Type::INT32 | Type::FLOAT => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(descriptor.type_length()).unwrap_or(0),
        };
        Self { kind, width }
    }

    /// Whether values have lengths of their own.
    pub fn is_byte_array(self) -> bool {
        self.kind == Type::BYTE_ARRAY
    }
}

/// The values of one page.
#[derive(Debug)]
pub struct PageValues {
    /// What the layout points into: the page's decompressed body, or what was decoded from it.
    bytes: Vec<u8>,
    layout: Layout,
    count: usize,
    blocks: Blocks,
    physical: Physical,
    /// Whether dictionary indices were added, which may need more bits.
    is_extended: bool,
}

#[derive(Debug)]
enum Layout {
    /// One behind the other from here on.
    Fixed(usize),
    Spans(Spans),
    Booleans(Vec<u32>),
    Indices {
        width: u8,
        indices: Vec<u32>,
    },
}

impl PageValues {
    /// Decodes the `count` values in the decompressed `body` of a page, which begin at `at`. Dictionary indices
    /// are put into `indices`, whose memory is used again.
    ///
    /// # Errors
    /// When they are damaged, or in an encoding that the column's type can't have.
    pub fn read(
        page: &PageHeader,
        physical: Physical,
        body: Vec<u8>,
        at: usize,
        count: usize,
        indices: Vec<u32>,
    ) -> Result<Self> {
        let input = Input {
            physical,
            offset: page.offset,
            count,
        };
        // A dictionary's entries are `PLAIN`, whatever it is called.
        let encoding = page.kind.data_encoding().unwrap_or(Encoding::PLAIN);
        let (bytes, layout, blocks) = input.decode(encoding, body, at, indices)?;
        Ok(Self {
            bytes,
            layout,
            count,
            blocks,
            physical,
            is_extended: false,
        })
    }

    /// Adds a value (as `PLAIN` has it, without a length) behind the others and returns its place; not to a
    /// page of indices.
    ///
    /// # Errors
    /// When the page would be too long.
    pub fn push(&mut self, value: &[u8]) -> Result<usize> {
        let place = self.count;
        match &mut self.layout {
            Layout::Fixed(start) => {
                // Behind the values there may be bytes that are none.
                self.bytes.truncate(*start + place * self.physical.width);
                self.bytes.extend_from_slice(value);
            }
            Layout::Spans(spans) => {
                let narrow = |at: usize| {
                    u32::try_from(at).map_err(|_| FormatError::Unsupported {
                        feature: "a page of more than 4 GiB".into(),
                    })
                };
                let len = narrow(value.len())?;
                let from = self.bytes.len() + 4;
                spans.push((narrow(from)?, narrow(from + value.len())?));
                self.bytes.extend_from_slice(&len.to_le_bytes());
                self.bytes.extend_from_slice(value);
            }
            Layout::Booleans(values) => values.push(value.first().copied().unwrap_or(0).into()),
            Layout::Indices { .. } => {}
        }
        self.count += 1;
        Ok(place)
    }

    /// Adds an index after the others and returns its place. The page must be one of indices.
    pub fn push_index(&mut self, index: u32) -> usize {
        let place = self.count;
        if let Layout::Indices { indices, .. } = &mut self.layout {
            indices.push(index);
            self.count += 1;
            self.is_extended = true;
        }
        place
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Gives back the memory, for the next page.
    pub fn into_buffers(self) -> (Vec<u8>, Vec<u32>) {
        match self.layout {
            Layout::Indices { indices, .. } => (self.bytes, indices),
            _ => (self.bytes, Vec::new()),
        }
    }

    /// The dictionary indices, where the page has some.
    pub fn indices(&self) -> Option<&[u32]> {
        match &self.layout {
            Layout::Indices { indices, .. } => Some(indices),
            _ => None,
        }
    }

    /// The value at `at`, as `PLAIN` has it but without a length; not of an index.
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        match &self.layout {
            Layout::Fixed(start) => {
                let width = self.physical.width;
                let from = start + at * width;
                self.bytes.get(from..from + width)
            }
            Layout::Spans(spans) => {
                let (from, to) = spans.get(at)?;
                self.bytes.get(*from as usize..*to as usize)
            }
            Layout::Booleans(values) => Some(if *values.get(at)? == 0 { &[0] } else { &[1] }),
            Layout::Indices { .. } => None,
        }
    }

    /// Appends the values in `kept` to `out`, in the encoding of the page; indices as `remap` says.
    pub fn write(
        &self,
        encoding: Encoding,
        kept: &Ranges,
        remap: Option<&[u32]>,
        out: &mut Vec<u8>,
    ) {
        let ranges = || kept.iter().cloned();
        match &self.layout {
            Layout::Indices { width, indices } => {
                let mut left: Vec<u32> = Vec::with_capacity(indices.len());
                for range in ranges() {
                    left.extend_from_slice(indices.get(range).unwrap_or_default());
                }
                if let Some(remap) = remap {
                    for index in &mut left {
                        *index = remap.get(*index as usize).copied().unwrap_or(*index);
                    }
                }
                let mut width = *width;
                if self.is_extended {
                    let most = rle::largest(&left);
                    width = width.max(u8::try_from(u32::BITS - most.leading_zeros()).unwrap_or(0));
                }
                out.push(width);
                rle::encode(&left, width, out);
            }
            Layout::Booleans(values) => {
                let left: Vec<u32> = ranges()
                    .flat_map(|range| values.get(range).unwrap_or_default())
                    .copied()
                    .collect();
                if encoding == Encoding::RLE {
                    let at = out.len();
                    out.extend_from_slice(&[0; 4]);
                    rle::encode(&left, 1, out);
                    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
                    if let Some(slot) = out.get_mut(at..at + 4) {
                        slot.copy_from_slice(&len.to_le_bytes());
                    }
                } else {
                    rle::pack(&left, 1, out);
                }
            }
            Layout::Fixed(start) => self.write_fixed(encoding, *start, kept, out),
            Layout::Spans(spans) => match encoding {
                Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                    let values = ranges().flatten().filter_map(|at| self.get(at));
                    delta::write_lengths(values, self.blocks, out);
                }
                Encoding::DELTA_BYTE_ARRAY => {
                    let values = ranges().flatten().filter_map(|at| self.get(at));
                    delta::write_prefixed(values, self.blocks, out);
                }
                _ => {
                    for range in ranges() {
                        let first = spans.get(range.start).map_or(0, |span| span.0 as usize);
                        let last = spans
                            .get(range.end.wrapping_sub(1))
                            .map_or(0, |span| span.1);
                        // Values follow each other, each after its length.
                        let bytes = self.bytes.get(first.wrapping_sub(4)..last as usize);
                        out.extend_from_slice(bytes.unwrap_or_default());
                    }
                }
            },
        }
    }

    fn write_fixed(&self, encoding: Encoding, start: usize, kept: &Ranges, out: &mut Vec<u8>) {
        let width = self.physical.width;
        let slice = |range: &Range<usize>| {
            let bytes = start + range.start * width..start + range.end * width;
            self.bytes.get(bytes).unwrap_or_default()
        };
        match encoding {
            Encoding::DELTA_BINARY_PACKED => {
                let values: Vec<i64> = kept
                    .iter()
                    .flat_map(|range| slice(range).chunks_exact(width.max(1)))
                    .map(signed)
                    .collect();
                delta::write_binary_packed(&values, width == 4, self.blocks, out);
            }
            Encoding::BYTE_STREAM_SPLIT => {
                for stream in 0..width {
                    for range in kept {
                        let values = slice(range).chunks_exact(width);
                        out.extend(values.filter_map(|value| value.get(stream)));
                    }
                }
            }
            _ => kept
                .iter()
                .for_each(|range| out.extend_from_slice(slice(range))),
        }
    }
}

fn signed(bytes: &[u8]) -> i64 {
    match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(bytes), _) => i64::from_le_bytes(*bytes),
        (None, Some(bytes)) => i64::from(i32::from_le_bytes(*bytes)),
        (None, None) => 0,
    }
}

struct Input {
    physical: Physical,
    offset: u64,
    count: usize,
}

impl Input {
    fn truncated(&self, needed: usize, available: usize) -> FormatError {
        FormatError::Truncated {
            structure: "values of a page",
            offset: self.offset,
            needed: needed as u64,
            available: available as u64,
        }
    }

    fn decode(
        &self,
        encoding: Encoding,
        body: Vec<u8>,
        at: usize,
        indices: Vec<u32>,
    ) -> Result<(Vec<u8>, Layout, Blocks)> {
        let Physical { kind, width } = self.physical;
        let count = self.count;
        let blocks = Blocks::default();
        let values = body
            .get(at..)
            .ok_or_else(|| self.truncated(at, body.len()))?;
        let is_number = matches!(kind, Type::INT32 | Type::INT64);
        let is_bytes = matches!(kind, Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY);
        let has_lengths = self.physical.is_byte_array();
        Ok(match encoding {
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                let mut indices = indices;
                indices.clear();
                let Some((width, packed)) = values.split_first() else {
                    if count > 0 {
                        return Err(self.truncated(1, 0));
                    }
                    return Ok((body, Layout::Indices { width: 0, indices }, blocks));
                };
                let width = *width;
                RleDecoder::new(packed, width, self.offset)?.read(count, &mut indices)?;
                (body, Layout::Indices { width, indices }, blocks)
            }
            Encoding::PLAIN if kind == Type::BOOLEAN => {
                if values.len() < count.div_ceil(8) {
                    return Err(self.truncated(count.div_ceil(8), values.len()));
                }
                let mut booleans = Vec::with_capacity(count);
                rle::unpack(values, 0, count, 1, &mut booleans);
                (body, Layout::Booleans(booleans), blocks)
            }
            Encoding::RLE if kind == Type::BOOLEAN => {
                let mut booleans = Vec::with_capacity(count);
                let (len, rest) = values
                    .split_first_chunk::<4>()
                    .ok_or_else(|| self.truncated(4, values.len()))?;
                let len = u32::from_le_bytes(*len) as usize;
                let runs = rest
                    .get(..len)
                    .ok_or_else(|| self.truncated(len, rest.len()))?;
                RleDecoder::new(runs, 1, self.offset)?.read(count, &mut booleans)?;
                (body, Layout::Booleans(booleans), blocks)
            }
            Encoding::PLAIN if has_lengths => {
                let spans = self.plain_spans(&body, at)?;
                (body, Layout::Spans(spans), blocks)
            }
            Encoding::PLAIN => {
                if values.len() / width.max(1) < count {
                    return Err(self.truncated(count.saturating_mul(width), values.len()));
                }
                (body, Layout::Fixed(at), blocks)
            }
            Encoding::BYTE_STREAM_SPLIT if kind != Type::BOOLEAN && !has_lengths => {
                // Streams are as long as the page says, also where they hold more values than its levels: so
                // others read them.
                let stream = values.len().div_ceil(width.max(1)).max(count);
                if values.len() < stream.saturating_mul(width) {
                    return Err(self.truncated(stream.saturating_mul(width), values.len()));
                }
                let joined = join_streams(values, stream, width, count);
                (joined, Layout::Fixed(0), blocks)
            }
            Encoding::DELTA_BINARY_PACKED if is_number => {
                let mut numbers = Vec::new();
                let (blocks, _) =
                    delta::read_binary_packed(values, count, self.offset, &mut numbers)?;
                let bytes = numbers
                    .iter()
                    .flat_map(|number| number.to_le_bytes().into_iter().take(width))
                    .collect();
                (bytes, Layout::Fixed(0), blocks)
            }
            Encoding::DELTA_LENGTH_BYTE_ARRAY if has_lengths => {
                let (spans, blocks, data) = delta::read_lengths(values, count, self.offset)?;
                (data.to_vec(), Layout::Spans(spans), blocks)
            }
            Encoding::DELTA_BYTE_ARRAY if is_bytes => {
                let (bytes, spans, blocks) = delta::read_prefixed(values, count, self.offset)?;
                (bytes, Layout::Spans(spans), blocks)
            }
            other => {
                return Err(FormatError::Unsupported {
                    feature: format!("encoding {other} of a column of type {kind}"),
                });
            }
        })
    }

    /// Where the values are that stand behind their lengths.
    fn plain_spans(&self, body: &[u8], at: usize) -> Result<Spans> {
        // Each value takes four bytes at least, so the claim is bounded by the body.
        let mut spans = Vec::with_capacity(self.count.min(body.len() / 4));
        let mut at = at;
        for _ in 0..self.count {
            let rest = body.get(at..).unwrap_or_default();
            let Some((len, data)) = rest.split_first_chunk::<4>() else {
                return Err(self.truncated(4, rest.len()));
            };
            let len = u32::from_le_bytes(*len) as usize;
            if len > data.len() {
                return Err(self.truncated(len, data.len()));
            }
            let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            spans.push((narrow(at + 4), narrow(at + 4 + len)));
            at += 4 + len;
        }
        Ok(spans)
    }
}

fn join_streams(streams: &[u8], len: usize, width: usize, count: usize) -> Vec<u8> {
    let mut values = vec![0; width * count];
    for (number, stream) in streams.chunks_exact(len.max(1)).take(width).enumerate() {
        let places = values.iter_mut().skip(number).step_by(width.max(1));
        for (place, byte) in places.zip(stream) {
            *place = *byte;
        }
    }
    values
}
