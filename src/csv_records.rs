//! CSV as it comes from users: records with their place in the file, and a bound on each.
//!
//! The `csv` crate reads leniently: it takes CRLF, LF and CR, skips blank lines, a UTF-8 BOM and
//! keeps ragged records. What it also lets through is refused here: a quoted field that is never
//! closed swallows all records after it.
//!
//! # Invariants
//! [`SENTINEL`] is fed after the last byte of the file. It comes back as a record of its own if and
//! only if every quote was closed.
//!
//! Memory is bounded by the length that one record may have, plus a constant.

use std::io::{self, Read};
use std::ops::Range;

use csv::ByteRecord;

const BUFFER_BYTES: usize = 64 << 10;

const SENTINEL: &[u8] = b"\n\0\n";

/// Why the next record can't be had.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Reading failed.
    Io(io::Error),
    /// The bytes make no sense.
    Record {
        /// Counted from 1; blank lines are no records.
        number: u64,
        /// What is wrong.
        reason: String,
    },
}

/// The records of a CSV.
pub(crate) struct Records<R> {
    reader: csv::Reader<Bounded<R>>,
    fields: ByteRecord,
    number: u64,
    record_bytes_max: u64,
}

/// One record.
pub(crate) struct Record<'a> {
    /// Counted from 1; blank lines are no records.
    pub(crate) number: u64,
    /// Unquoted.
    pub(crate) fields: &'a ByteRecord,
    /// Its bytes in the file with its terminator, of a CRLF only the CR. Before it stands what is
    /// left of the terminator of the record before, and blank lines.
    pub(crate) span: Range<u64>,
}

impl<R: Read> Records<R> {
    /// Reads from the beginning of a file; no record may be much longer than `record_bytes_max`.
    pub(crate) fn new(file: R, record_bytes_max: u64) -> Self {
        let bounded = Bounded {
            file,
            delivered: 0,
            left: 0,
            overrun: false,
            sentinel: None,
        };
        Self {
            reader: csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .buffer_capacity(BUFFER_BYTES)
                .from_reader(bounded),
            fields: ByteRecord::new(),
            number: 0,
            record_bytes_max,
        }
    }

    /// The next record, `None` after the last one.
    ///
    /// # Errors
    /// [`Fault`]; nothing can be read after it.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Fault> {
        self.number += 1;
        self.reader.get_mut().left = self.record_bytes_max;
        let start = self.reader.position().byte();
        let there_is_one = self.reader.read_byte_record(&mut self.fields);
        let bounded = self.reader.get_ref();
        let fault = |reason: String| Fault::Record {
            number: self.number,
            reason,
        };
        let there_is_one = match there_is_one.map_err(csv::Error::into_kind) {
            Ok(there_is_one) => there_is_one,
            Err(_) if bounded.overrun => {
                let limit = self.record_bytes_max;
                return Err(fault(format!("it has more than {limit} bytes")));
            }
            Err(csv::ErrorKind::Io(error)) => return Err(Fault::Io(error)),
            Err(_) => return Err(fault("it is not CSV".to_owned())),
        };
        let end = self.reader.position().byte();
        let sentinel_end = bounded.delivered + SENTINEL.len() as u64;
        if !there_is_one || (bounded.sentinel.is_some() && end == sentinel_end) {
            let closed = self.fields.len() == 1 && self.fields.get(0) == Some(b"\0".as_slice());
            if there_is_one && !closed {
                return Err(fault("a quoted field is never closed".to_owned()));
            }
            return Ok(None);
        }
        Ok(Some(Record {
            number: self.number,
            fields: &self.fields,
            span: start..end.min(bounded.delivered.max(start)),
        }))
    }
}

/// Counts what one record reads, and ends in [`SENTINEL`].
struct Bounded<R> {
    file: R,
    delivered: u64,
    left: u64,
    overrun: bool,
    /// What of it is still to come, once the file has ended.
    sentinel: Option<&'static [u8]>,
}

impl<R: Read> Read for Bounded<R> {
    /// Fills `buffer` whole where it can: the BOM is only known for one in the first read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.overrun = true;
            return Err(io::Error::other("the record is too long"));
        }
        let mut filled = 0;
        while self.sentinel.is_none()
            && let Some(rest) = buffer.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.file.read(rest) {
                Ok(0) => self.sentinel = Some(SENTINEL),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.delivered += filled as u64;
        if let (Some(sentinel), Some(mut rest)) = (&mut self.sentinel, buffer.get_mut(filled..)) {
            let count = io::Write::write(&mut rest, sentinel)?;
            *sentinel = sentinel.get(count..).unwrap_or_default();
            filled += count;
        }
        self.left = self.left.saturating_sub(filled as u64);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that hands out one byte at a time.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    fn records(bytes: &[u8]) -> Result<Vec<Vec<String>>, String> {
        let mut records = Records::new(Dripping(bytes), 1 << 20);
        let mut all = Vec::new();
        loop {
            match records.next() {
                Ok(None) => return Ok(all),
                Ok(Some(record)) => {
                    let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
                    all.push(record.fields.iter().map(text).collect());
                }
                Err(Fault::Io(error)) => panic!("{error}"),
                Err(Fault::Record { number, reason }) => return Err(format!("{number}: {reason}")),
            }
        }
    }

    #[test]
    fn every_way_to_end_a_file_gives_the_same_records() {
        for text in [
            "a,b\nc",
            "a,b\nc\n",
            "a,b\r\nc\r\n",
            "a,b\rc\r",
            "\u{feff}a,b\n\n\r\n\nc\n\n\n",
            "\n\na,b\n\"c\"",
            "a,\"b\"\n\"c\"\n",
        ] {
            assert_eq!(
                records(text.as_bytes()).unwrap(),
                [vec!["a", "b"], vec!["c"]],
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_file_without_records_has_none() {
        for text in ["", "\n", "\r\n\r\n", "\u{feff}", "\u{feff}\n"] {
            assert_eq!(
                records(text.as_bytes()).unwrap(),
                Vec::<Vec<String>>::new(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_quoted_empty_field_is_a_record_and_a_blank_line_is_not() {
        assert_eq!(records(b"a\n\"\"\n\nb").unwrap(), [["a"], [""], ["b"]]);
    }

    #[test]
    fn a_record_that_looks_like_the_sentinel_is_a_record() {
        for text in ["\0", "\0\n", "\n\0\n", "\"\0\"", "\0\n\n"] {
            assert_eq!(records(text.as_bytes()).unwrap(), [["\0"]], "{text:?}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_is_refused() {
        for text in [
            "a\n\"b\nc\nd\n",
            "a\n\"",
            "a\n\"b\"\"",
            "a\n\"b\"\"\n",
            "a\nb,\"\0\n",
        ] {
            let error = records(text.as_bytes()).unwrap_err();
            assert_eq!(error, "2: a quoted field is never closed", "{text:?}");
        }
    }

    #[test]
    fn a_record_of_endless_length_is_refused_before_it_fills_the_memory() {
        let mut records = Records::new(io::repeat(b'x'), 1 << 20);
        assert!(matches!(
            records.next(),
            Err(Fault::Record { number: 1, .. })
        ));
    }

    #[test]
    fn spans_follow_one_another_and_cover_the_file() {
        let text = b"\xef\xbb\xbfa,b\r\n\n\"c\nc\",d\ne";
        let mut records = Records::new(text.as_slice(), 1 << 20);
        let mut end = 0;
        while let Some(record) = records.next().unwrap() {
            assert_eq!(record.span.start, end);
            end = record.span.end;
        }
        assert_eq!(end, text.len() as u64);
    }
}
