//! The zstd level of new pages.
//!
//! A file does not say at which level it was compressed. [`ZstdLevel::Auto`] decides with the first new page of a column
//! that is long enough: at the fastest level at which it is as small as the old page was for its bytes, give or take
//! 2 %. Files don't grow, and no time goes into a level that buys nothing.
//!
//! ```text
//!   new page, at the fast levels ── small enough? ──────────────────────────────────────────> that level
//!                                        │ no
//!   old page, at one level after the other ── as small as it was? ── new page at that level ─> that level
//! ```
//! A short page that lost a row is rarely as small for its bytes as the one before it, at whatever level. The old page
//! is: at its own level it has its own length again.

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

/// The levels that are tried with the new page, fastest first.
const TRIED_NEW: [i32; 2] = [-3, 1];
/// The levels that are tried with the old page if none of those is enough.
const TRIED_OLD: [i32; 6] = [1, 3, 6, 9, 13, 19];
/// How much larger than before a page may be, in percent.
const SLACK_PERCENT: usize = 2;
/// A page of less bytes says little of a column; it is compressed at [`SMALL_PAGE_LEVEL`].
const SAMPLE_BYTES_MIN: usize = 2048;
const SMALL_PAGE_LEVEL: i32 = 1;

/// The old page: the lengths of its values and, if they are needed, the values themselves.
pub(super) struct OldPage<F> {
    pub(super) compressed: usize,
    pub(super) uncompressed: usize,
    pub(super) values: F,
}

/// Compresses the values of a page and appends them to `out`. Where `level` is still open this decides it.
///
/// # Errors
/// When the codec's library refuses, or the old page is damaged.
pub(super) fn compress<F>(
    codecs: &mut Codecs,
    level: &mut ZstdLevel,
    codec: Codec,
    values: &[u8],
    old: OldPage<F>,
    out: &mut Vec<u8>,
) -> Result<()>
where
    F: FnOnce(&mut Codecs) -> Result<Vec<u8>>,
{
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
    let expected = old.compressed * values.len() / old.uncompressed.max(1);
    let start = out.len();
    for tried in TRIED_NEW {
        out.truncate(start);
        codecs.set_zstd_level(tried);
        codecs.compress(codec, values, out)?;
        if out.len() - start <= with_slack(expected) {
            *level = ZstdLevel::Fixed(tried);
            return Ok(());
        }
    }
    let old_values = (old.values)(codecs)?;
    let found = level_of(codecs, codec, &old_values, old.compressed)?;
    *level = ZstdLevel::Fixed(found);
    codecs.set_zstd_level(found);
    out.truncate(start);
    codecs.compress(codec, values, out)
}

/// The fastest level at which `values` have no more than `compressed` bytes; the best of all if none is enough.
fn level_of(codecs: &mut Codecs, codec: Codec, values: &[u8], compressed: usize) -> Result<i32> {
    let mut best: Option<(i32, usize)> = None;
    let mut packed = Vec::new();
    for tried in TRIED_OLD {
        packed.clear();
        codecs.set_zstd_level(tried);
        codecs.compress(codec, values, &mut packed)?;
        if packed.len() <= with_slack(compressed) {
            return Ok(tried);
        }
        // A level that saves next to nothing is not worth its time.
        if best.is_none_or(|(_, best)| packed.len() < best - best / 100) {
            best = Some((tried, packed.len()));
        }
    }
    Ok(best.map_or(SMALL_PAGE_LEVEL, |(level, _)| level))
}

fn with_slack(bytes: usize) -> usize {
    bytes + bytes * SLACK_PERCENT / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a log, of which each begins with its number.
    fn lines(count: u32) -> Vec<u8> {
        let line = |number: u32| {
            let mixed = number.wrapping_mul(2_654_435_761);
            format!("{number:06} GET /item/{:x}?v={}\n", mixed >> 12, mixed % 7)
        };
        (0..count).map(line).collect::<String>().into_bytes()
    }

    fn packed(level: i32, values: &[u8]) -> Vec<u8> {
        let mut codecs = Codecs::default();
        codecs.set_zstd_level(level);
        let mut out = Vec::new();
        codecs.compress(Codec::Zstd, values, &mut out).unwrap();
        out
    }

    /// The level that is found for a page that lost its first values.
    fn found(level: i32, values: &[u8], lost: usize) -> i32 {
        let old = packed(level, values);
        let mut found = ZstdLevel::Auto;
        let mut out = Vec::new();
        let page = OldPage {
            compressed: old.len(),
            uncompressed: values.len(),
            values: |_: &mut Codecs| Ok(values.to_vec()),
        };
        let codecs = &mut Codecs::default();
        let left = &values[lost..];
        compress(codecs, &mut found, Codec::Zstd, left, page, &mut out).unwrap();
        let ZstdLevel::Fixed(found) = found else {
            panic!("nothing was decided")
        };
        assert_eq!(out, packed(found, left), "the page is of the level found");
        found
    }

    #[test]
    fn no_level_above_that_of_the_old_page_is_chosen_however_short_the_page() {
        for level in [1, 3, 6, 9, 13, 19] {
            for count in [180, 300, 1000, 20_000] {
                let values = lines(count);
                for part in [2, 10, 50] {
                    let found = found(level, &values, values.len() / part);
                    assert!(
                        found <= level,
                        "{found} for {level}, {count} lines, 1/{part} lost"
                    );
                }
            }
        }
    }
}
