//! The zstd level of new pages.
//!
//! A file does not say at which level it was compressed. [`ZstdLevel::Auto`] compresses the first new page of a
//! column at one level after the other, fastest first, until it is as small as the old page was for its bytes, give or take
//! 2 %: files don't grow, and no time goes into a level that buys nothing.

use crate::error::FormatError;
use crate::parquet_bytes::codec::{Codec, Codecs};

type Result<T> = std::result::Result<T, FormatError>;

/// At which level zstd pages are compressed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZstdLevel {
    /// As small as they were, as fast as can be.
    #[default]
    Auto,
    /// This one.
    Fixed(i32),
}

/// The levels that are tried, fastest first.
const TRIED: [i32; 7] = [-3, 1, 3, 6, 9, 13, 19];
/// How much larger than before a page may be, in percent.
const SLACK_PERCENT: usize = 2;
/// A page of less bytes says little of a column; it is compressed at [`SMALL_PAGE_LEVEL`].
const SAMPLE_BYTES_MIN: usize = 2048;
const SMALL_PAGE_LEVEL: i32 = 1;

/// Compresses the values of a page and appends them to `out`; the old page had `old` bytes, compressed and
/// uncompressed. Where `level` is still open this decides it.
///
/// # Errors
/// When the codec's library refuses.
pub fn compress(
    codecs: &mut Codecs,
    level: &mut ZstdLevel,
    codec: Codec,
    values: &[u8],
    old: [usize; 2],
    out: &mut Vec<u8>,
) -> Result<()> {
    match *level {
        ZstdLevel::Auto if codec == Codec::Zstd => {}
        ZstdLevel::Fixed(fixed) => {
            codecs.set_zstd_level(fixed);
            return codecs.compress(codec, values, out);
        }
        ZstdLevel::Auto => return codecs.compress(codec, values, out),
    }
    if values.len() < SAMPLE_BYTES_MIN {
        codecs.set_zstd_level(SMALL_PAGE_LEVEL);
        return codecs.compress(codec, values, out);
    }
    let [compressed, uncompressed] = old;
    let expected = compressed * values.len() / uncompressed.max(1);
    let enough = expected + expected * SLACK_PERCENT / 100;
    let start = out.len();
    let mut best: Option<(i32, usize)> = None;
    for tried in TRIED {
        out.truncate(start);
        codecs.set_zstd_level(tried);
        codecs.compress(codec, values, out)?;
        let len = out.len() - start;
        if len <= enough {
            *level = ZstdLevel::Fixed(tried);
            return Ok(());
        }
        // A level that saves next to nothing is not worth its time.
        if best.is_none_or(|(_, best)| len < best - best / 100) {
            best = Some((tried, len));
        }
    }
    let best = best.map_or(SMALL_PAGE_LEVEL, |(level, _)| level);
    *level = ZstdLevel::Fixed(best);
    codecs.set_zstd_level(best);
    out.truncate(start);
    codecs.compress(codec, values, out)
}
