//! What the values of options mean.

use std::num::NonZeroU64;
use std::str::FromStr;

use efface::config::EmptyShards;
use efface::shard::chunk::level::ZstdLevel;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use roaring::RoaringBitmap;

/// Numbers of rows, counted from 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows(pub(crate) RoaringBitmap);

pub(super) fn zstd_level(text: &str) -> Result<ZstdLevel, String> {
    if text == "auto" {
        return Ok(ZstdLevel::Auto);
    }
    text.parse()
        .ok()
        .filter(|level| (-7..=22).contains(level))
        .map(ZstdLevel::Fixed)
        .ok_or_else(|| "expected auto or a level from -7 to 22".to_owned())
}

impl FromStr for Rows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rows = RoaringBitmap::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let row = |number: &str| {
                number.trim().parse::<u32>().map_err(|_| {
                    format!("{part:?} is no row or range of rows; expected something like 1,5,9-20")
                })
            };
            let (first, last) = (row(first)?, row(last)?);
            if first > last {
                return Err(format!("the range {part} ends before it begins"));
            }
            rows.insert_range(first..=last);
        }
        Ok(Self(rows))
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a number of bytes, or one with KiB, MiB or GiB behind it";
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(EXPECTED.to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| EXPECTED.to_owned())
}

/// Bytes a second.
pub(super) fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bytes = NonZeroU64::new(size(text)?);
    bytes.ok_or_else(|| "at no bytes a second nothing would ever end".to_owned())
}

/// What is wrong with an option is said without its value, which may be a secret.
pub(super) fn storage_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

pub(super) fn empty_shards(text: &str) -> Result<EmptyShards, String> {
    match text {
        "keep" => Ok(EmptyShards::Keep),
        "remove" => Ok(EmptyShards::Remove),
        _ => Err("expected keep or remove".to_owned()),
    }
}

pub(crate) fn date_or_time(text: &str) -> Result<Timestamp, String> {
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
    text.parse::<Timestamp>()
        .or_else(|_| text.parse::<Date>().and_then(midnight))
        .map_err(|_| "expected a date such as 2024-01-31, or 2024-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbers_and_ranges_that_include_both_ends() {
        let rows: Rows = "1,5, 9-11,10".parse().unwrap();
        assert_eq!(rows.0.iter().collect::<Vec<_>>(), [1, 5, 9, 10, 11]);
        for wrong in ["", "1,", "x", "-1", "5-", "9-3", "4294967296"] {
            assert!(wrong.parse::<Rows>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("1", 1),
            ("512MiB", 512 << 20),
            ("2 GiB", 2 << 30),
            ("3g", 3 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "0", "MiB", "1.5GiB", "1TB", "99999999999GiB", "1\u{e9}"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_a_size_and_not_nothing() {
        assert_eq!(rate("2MiB").map(NonZeroU64::get), Ok(2 << 20));
        assert!(rate("0").is_err() && rate("x").is_err());
    }

    #[test]
    fn since_is_a_day_or_an_instant() {
        let instant: Timestamp = "2024-01-31T00:00:00Z".parse().unwrap();
        assert_eq!(date_or_time("2024-01-31"), Ok(instant));
        assert_eq!(date_or_time("2024-01-31T01:00:00+01:00"), Ok(instant));
        assert!(date_or_time("yesterday").is_err());
    }
}
