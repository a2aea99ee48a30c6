//! Compressing and decompressing pages.
//!
//! | codec | library | note |
//! |---|---|---|
//! | snappy | snap | raw format |
//! | gzip | flate2 | several members are read, one is written |
//! | brotli | brotli | |
//! | lz4 | `lz4_flex` | Hadoop's framing; the LZ4 frame and raw blocks of other old writers are read too |
//! | zstd | zstd | contexts are reused |
//! | `lz4_raw` | `lz4_flex` | block format |
//!
//! Source: `Compression.md` in the `parquet-format` repository.

use std::io::{Cursor, Read, Write};

use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective, get_error_name};

use crate::error::FormatError;
use crate::limits::PAGE_BYTES_MAX;

type Result<T> = std::result::Result<T, FormatError>;

/// How the pages of a chunk are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of parquet.thrift")]
pub enum Codec {
    Uncompressed,
    Snappy,
    Gzip,
    Brotli,
    Lz4Hadoop,
    Zstd,
    Lz4Raw,
}

impl Codec {
    /// How many bytes can come out of `compressed` at most, so that no room is made for a claim of more. Of a codec
    /// whose room grows with what comes out that isn't asked.
    fn bytes_max_of(self, compressed: &[u8]) -> usize {
        let of_each = match self {
            // Three bytes copy 64 at most.
            Self::Snappy => 22,
            // A byte of a length stands for 255 at most.
            Self::Lz4Raw | Self::Lz4Hadoop => 255,
            // A block has four bytes at least and makes 128 KiB at most.
            Self::Zstd => 32 << 10,
            Self::Uncompressed | Self::Gzip | Self::Brotli => return usize::MAX,
        };
        compressed.len().saturating_mul(of_each)
    }
}

impl TryFrom<i32> for Codec {
    type Error = FormatError;

    fn try_from(code: i32) -> Result<Self> {
        Ok(match code {
            0 => Self::Uncompressed,
            1 => Self::Snappy,
            2 => Self::Gzip,
            4 => Self::Brotli,
            5 => Self::Lz4Hadoop,
            6 => Self::Zstd,
            7 => Self::Lz4Raw,
            3 => {
                return Err(FormatError::Unsupported {
                    feature: "the codec LZO".into(),
                });
            }
            code => {
                return Err(FormatError::Unsupported {
                    feature: format!("codec {code}"),
                });
            }
        })
    }
}

/// Codec contexts that are used again for page after page, on one thread.
#[derive(Default)]
pub struct Codecs {
    from_zstd: Option<zstd::bulk::Decompressor<'static>>,
    /// For what is not decompressed to its end.
    from_zstd_front: Option<DCtx<'static>>,
    to_zstd: Option<zstd::bulk::Compressor<'static>>,
    zstd_level: i32,
}

const GZIP_LEVEL: u32 = 6;
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW: u32 = 22;

impl Codecs {
    /// Compresses zstd at `level` from now on; before, at the default of its library.
    pub fn set_zstd_level(&mut self, level: i32) {
        if self.zstd_level != level {
            self.zstd_level = level;
            let context = self.to_zstd.take();
            // A context that can't change its level is created again when it is needed.
            self.to_zstd = context.and_then(|mut context| {
                context.set_compression_level(level).ok()?;
                Some(context)
            });
        }
    }

    /// Appends `len` decompressed bytes to `out`; `offset` of the page is for messages.
    ///
    /// # Errors
    /// When the bytes can't be decompressed to exactly that many.
    pub fn decompress(
        &mut self,
        codec: Codec,
        bytes: &[u8],
        len: usize,
        out: &mut Vec<u8>,
        offset: u64,
    ) -> Result<()> {
        if len as u64 > PAGE_BYTES_MAX || len > codec.bytes_max_of(bytes) {
            let from = bytes.len();
            let found = format!("a claim of {len} bytes from {from}");
            return Err(damaged(codec, offset, found));
        }
        let before = out.len();
        self.expand(codec, bytes, len, out)
            .map_err(|found| damaged(codec, offset, found))?;
        if out.len() - before == len {
            Ok(())
        } else {
            Err(FormatError::Contradiction {
                what: format!("bytes of the decompressed page at offset {offset}"),
                claimed: len as u64,
                counted: (out.len() - before) as u64,
            })
        }
    }

    /// Appends the first `wanted` decompressed bytes to `out`. Returns whether it did, because not every codec can stop
    /// before the end. The bytes after them are not checked.
    ///
    /// # Errors
    /// When the bytes can't be decompressed, or to fewer.
    pub fn decompress_front(
        &mut self,
        codec: Codec,
        bytes: &[u8],
        wanted: usize,
        out: &mut Vec<u8>,
        offset: u64,
    ) -> Result<bool> {
        if wanted as u64 > PAGE_BYTES_MAX || wanted > codec.bytes_max_of(bytes) {
            return Ok(false);
        }
        match codec {
            Codec::Uncompressed => match bytes.get(..wanted) {
                Some(front) => out.extend_from_slice(front),
                None => return Ok(false),
            },
            Codec::Zstd => {
                let context = self.from_zstd_front.get_or_insert_with(DCtx::create);
                zstd_front(context, bytes, grow(out, wanted))
                    .map_err(|found| damaged(codec, offset, found))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn expand(
        &mut self,
        codec: Codec,
        bytes: &[u8],
        len: usize,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        match codec {
            Codec::Uncompressed => out.extend_from_slice(bytes),
            Codec::Snappy => {
                let claimed = snap::raw::decompress_len(bytes).map_err(text)?;
                if claimed != len {
                    return Err(format!("{claimed} bytes where the header says {len}"));
                }
                let target = grow(out, len);
                snap::raw::Decoder::new()
                    .decompress(bytes, target)
                    .map_err(text)?;
            }
            Codec::Gzip => {
                let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(len as u64 + 1);
                reader.read_to_end(out).map_err(text)?;
            }
            Codec::Brotli => {
                let mut reader = brotli::Decompressor::new(bytes, 4096).take(len as u64 + 1);
                reader.read_to_end(out).map_err(text)?;
            }
            Codec::Zstd => {
                let context = match &mut self.from_zstd {
                    Some(context) => context,
                    none => none.insert(zstd::bulk::Decompressor::new().map_err(text)?),
                };
                let mut target = behind(out, len);
                context
                    .decompress_to_buffer(bytes, &mut target)
                    .map_err(text)?;
            }
            Codec::Lz4Raw => {
                let before = out.len();
                let target = grow(out, len);
                let got = lz4_flex::block::decompress_into(bytes, target).map_err(text)?;
                out.truncate(before + got);
            }
            Codec::Lz4Hadoop => {
                let before = out.len();
                if hadoop_lz4(bytes, len, out).is_some() {
                    return Ok(());
                }
                out.truncate(before);
                let framed = lz4_flex::frame::FrameDecoder::new(bytes)
                    .take(len as u64 + 1)
                    .read_to_end(out);
                if framed.is_ok() && out.len() - before == len {
                    return Ok(());
                }
                out.truncate(before);
                let target = grow(out, len);
                let got = lz4_flex::block::decompress_into(bytes, target).map_err(text)?;
                out.truncate(before + got);
            }
        }
        Ok(())
    }

    /// Appends `bytes`, compressed, to `out`.
    ///
    /// # Errors
    /// When the codec's library refuses, for instance for want of memory.
    pub fn compress(&mut self, codec: Codec, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.shrink(codec, bytes, out)
            .map_err(|found| damaged(codec, 0, found))
    }

    fn shrink(
        &mut self,
        codec: Codec,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        match codec {
            Codec::Uncompressed => out.extend_from_slice(bytes),
            Codec::Snappy => {
                let before = out.len();
                let target = grow(out, snap::raw::max_compress_len(bytes.len()));
                let got = snap::raw::Encoder::new()
                    .compress(bytes, target)
                    .map_err(text)?;
                out.truncate(before + got);
            }
            Codec::Gzip => {
                let mut writer =
                    flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                writer.write_all(bytes).map_err(text)?;
                writer.finish().map_err(text)?;
            }
            Codec::Brotli => {
                let mut writer =
                    brotli::CompressorWriter::new(out, 4096, BROTLI_QUALITY, BROTLI_WINDOW);
                writer.write_all(bytes).map_err(text)?;
                writer.flush().map_err(text)?;
            }
            Codec::Zstd => {
                let level = self.zstd_level;
                let context = match &mut self.to_zstd {
                    Some(context) => context,
                    none => none.insert(zstd::bulk::Compressor::new(level).map_err(text)?),
                };
                let mut target = behind(out, zstd::zstd_safe::compress_bound(bytes.len()));
                context
                    .compress_to_buffer(bytes, &mut target)
                    .map_err(text)?;
            }
            Codec::Lz4Raw => lz4_block(bytes, out)?,
            Codec::Lz4Hadoop => {
                let before = out.len();
                let len = u32::try_from(bytes.len()).map_err(text)?;
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(&[0; 4]);
                lz4_block(bytes, out)?;
                let got = u32::try_from(out.len() - before - 8).map_err(text)?;
                if let Some(slot) = out.get_mut(before + 4..before + 8) {
                    slot.copy_from_slice(&got.to_be_bytes());
                }
            }
        }
        Ok(())
    }
}

/// Fills `out` with the first bytes of what `bytes` decompress to.
fn zstd_front(
    context: &mut DCtx<'_>,
    bytes: &[u8],
    out: &mut [u8],
) -> std::result::Result<(), String> {
    let name = |code| get_error_name(code).to_owned();
    context.reset(ResetDirective::SessionOnly).map_err(name)?;
    let wanted = out.len();
    let mut input = InBuffer::around(bytes);
    let mut output = OutBuffer::around(out);
    while output.pos() < wanted {
        let before = (input.pos(), output.pos());
        context
            .decompress_stream(&mut output, &mut input)
            .map_err(name)?;
        if (input.pos(), output.pos()) == before {
            return Err(format!("{} bytes", output.pos()));
        }
    }
    Ok(())
}

fn lz4_block(bytes: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), String> {
    let before = out.len();
    let target = grow(out, lz4_flex::block::get_maximum_output_size(bytes.len()));
    let got = lz4_flex::block::compress_into(bytes, target).map_err(text)?;
    out.truncate(before + got);
    Ok(())
}

/// Hadoop's framing: blocks of (bytes without compression, bytes with, both big-endian; an LZ4 block).
fn hadoop_lz4(mut bytes: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    while !bytes.is_empty() {
        let (expected, rest) = bytes.split_first_chunk::<4>()?;
        let (compressed, rest) = rest.split_first_chunk::<4>()?;
        let expected = u32::from_be_bytes(*expected) as usize;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*compressed) as usize)?;
        if expected > len - (out.len() - start) {
            return None;
        }
        let target = grow(out, expected);
        if lz4_flex::block::decompress_into(block, target).ok()? != expected {
            return None;
        }
        bytes = rest;
    }
    (out.len() - start == len).then_some(())
}

/// Room for at least `len` more bytes behind `out`, which are not zeroed first.
fn behind(out: &mut Vec<u8>, len: usize) -> Cursor<&mut Vec<u8>> {
    out.reserve(len);
    let mut cursor = Cursor::new(out);
    cursor.set_position(cursor.get_ref().len() as u64);
    cursor
}

/// `len` more bytes at the end of `out`.
fn grow(out: &mut Vec<u8>, len: usize) -> &mut [u8] {
    let before = out.len();
    out.resize(before + len, 0);
    out.split_at_mut(before).1
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
fn text(error: impl ToString) -> String {
    error.to_string()
}

fn damaged(codec: Codec, offset: u64, found: String) -> FormatError {
    FormatError::Invalid {
        structure: match codec {
            Codec::Uncompressed => "uncompressed page",
            Codec::Snappy => "snappy page",
            Codec::Gzip => "gzip page",
            Codec::Brotli => "brotli page",
            Codec::Lz4Hadoop => "lz4 page",
            Codec::Zstd => "zstd page",
            Codec::Lz4Raw => "lz4_raw page",
        },
        offset,
        found,
        expected: "bytes that decompress to the length in the page's header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 7] = [
        Codec::Uncompressed,
        Codec::Snappy,
        Codec::Gzip,
        Codec::Brotli,
        Codec::Lz4Hadoop,
        Codec::Zstd,
        Codec::Lz4Raw,
    ];

    #[test]
    fn every_codec_gives_back_what_it_was_given() {
        let mut codecs = Codecs::default();
        let long: Vec<u8> = (0..100_000_u32)
            .flat_map(|i| (i.wrapping_mul(i) / 7).to_le_bytes())
            .collect();
        for input in [&b""[..], b"a", &long] {
            for codec in ALL {
                let (mut small, mut back) = (vec![1], vec![2]);
                codecs.compress(codec, input, &mut small).unwrap();
                codecs
                    .decompress(codec, &small[1..], input.len(), &mut back, 0)
                    .unwrap();
                assert_eq!(&back[1..], input, "{codec:?}");
            }
        }
    }

    #[test]
    fn no_room_is_made_for_more_than_can_come_out_and_all_that_can_does() {
        let mut codecs = Codecs::default();
        let zeros = vec![0; 4 << 20];
        for codec in ALL {
            let (mut small, mut out) = (Vec::new(), Vec::new());
            codecs.compress(codec, b"a few bytes", &mut small).unwrap();
            let claim = usize::try_from(i32::MAX).unwrap();
            let result = codecs.decompress(codec, &small, claim, &mut out, 0);
            assert!(result.is_err(), "{codec:?}");
            assert!(out.capacity() < 1 << 20, "{codec:?}: {}", out.capacity());

            let (mut small, mut back) = (Vec::new(), Vec::new());
            codecs.compress(codec, &zeros, &mut small).unwrap();
            codecs
                .decompress(codec, &small, zeros.len(), &mut back, 0)
                .unwrap();
            assert!(back == zeros, "{codec:?}");
        }
    }

    #[test]
    fn a_front_is_the_front_of_the_whole() {
        let mut codecs = Codecs::default();
        let long: Vec<u8> = (0..200_000_u32)
            .flat_map(|i| (i.wrapping_mul(i) / 7).to_le_bytes())
            .collect();
        for codec in ALL {
            let mut small = Vec::new();
            codecs.compress(codec, &long, &mut small).unwrap();
            for wanted in [0, 1, 131_072, 200_001, long.len()] {
                let mut front = vec![9];
                let can = codecs
                    .decompress_front(codec, &small, wanted, &mut front, 0)
                    .unwrap();
                assert_eq!(can, matches!(codec, Codec::Uncompressed | Codec::Zstd));
                if can {
                    assert_eq!(&front[1..], &long[..wanted]);
                }
            }
            if codec == Codec::Zstd {
                let too_much = long.len() + 1;
                let result = codecs.decompress_front(codec, &small, too_much, &mut Vec::new(), 0);
                assert!(result.is_err());
            }
        }
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let mut codecs = Codecs::default();
        for codec in ALL {
            let mut small = Vec::new();
            codecs.compress(codec, &[7; 1000], &mut small).unwrap();
            for len in [0, 999, 1001] {
                let result = codecs.decompress(codec, &small, len, &mut Vec::new(), 0);
                assert!(result.is_err(), "{codec:?} {len}");
            }
        }
    }
}
