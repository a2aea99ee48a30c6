//! The ids that a request names, checked once: none empty, none twice, not too many.
//!
//! # CSV
//! One id a record. With a header, the ids are in its column `distinct_id` (or `$distinct_id`,
//! `mp_distinct_id`); without one, they are in the first column. The first record is a header if
//! and only if one of its fields is exactly such a name. A file that is headed by anything else,
//! `user_id` for instance, has that word as its first id: a real id is never taken for a
//! header and left out, and a header that is taken for an id comes back as an unknown id at
//! position 1.
//!
//! Delimited by commas; an id that holds a comma, a quote or a line end is quoted. Ids keep their
//! blanks. Blank lines are skipped; a quoted empty field is an empty id, and is refused.
//!
//! # Memory
//! Bounded whatever is read: [`SUBJECTS_MAX`] ids of at most [`ID_BYTES_MAX`] each, and beyond
//! that only a hash of each id, for the count that the error tells.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::Read;

use xxhash_rust::xxh3::xxh3_64;

use crate::csv_records::{Fault, Record, Records};
use crate::error::{Error, Result};
use crate::limits::SUBJECTS_MAX;
use crate::subject::SubjectId;

/// Bytes of one id in a CSV.
pub const ID_BYTES_MAX: usize = 64 << 10;

/// Bytes of one record of a CSV of ids.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// Ids over the limit that are counted; nothing is read after that, and the count that the error
/// tells is what was found until then.
const EXCESS_COUNTED_MAX: usize = 4 << 20;

/// The names of the column that holds the ids, the best one first.
const HEADERS: [&[u8]; 3] = [b"distinct_id", b"$distinct_id", b"mp_distinct_id"];

/// The subject ids of a request: at least one, at most [`SUBJECTS_MAX`], none empty, none twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Subjects(Vec<(usize, SubjectId)>);

impl Subjects {
    /// Checks submitted ids and keeps the first of equal ones.
    ///
    /// # Errors
    /// [`Error::EmptySubject`], [`Error::TooManySubjects`] and [`Error::NoSubjects`].
    pub fn new(ids: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let mut collector = Collector::default();
        for id in ids {
            collector.push(&id.into())?;
        }
        collector.finish()
    }

    /// Checks the ids of a CSV, as the [module's doc](self) says. Positions count its ids, not its
    /// header.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); [`Error::IdsFile`] when the CSV makes no sense; [`Error::Io`]
    /// when it can't be read.
    pub fn from_csv(file: impl Read) -> Result<Self> {
        let mut collector = Collector::default();
        let mut records = Records::new(file, RECORD_BYTES_MAX);
        let mut column = 0;
        while let Some(record) = records.next().map_err(ids_fault)? {
            if record.number == 1
                && let Some(named) = header_column(&record)
            {
                column = named;
            } else {
                collector.push(id_in(&record, column)?)?;
            }
        }
        collector.finish()
    }

    /// The subjects that [`iter`](Self::iter) told, from a file of efface's own; `None` if they are none.
    pub(crate) fn restore(listed: Vec<(usize, String)>) -> Option<Self> {
        let subjects = Self::new(listed.iter().map(|(_, id)| id.as_str())).ok()?;
        let mut last = 0;
        let ascending = listed.iter().all(|(position, _)| {
            let is_next = *position > last;
            last = *position;
            is_next
        });
        let positions = listed.into_iter().map(|(position, _)| position);
        let listed: Vec<_> = positions
            .zip(subjects.0.iter().map(|(_, id)| id.clone()))
            .collect();
        (ascending && listed.len() == subjects.len()).then_some(Self(listed))
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each id with its position among the ids that were submitted, counted from 1, in that order.
    ///
    /// Positions have gaps where an id was submitted again.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (usize, &SubjectId)> {
        self.0.iter().map(|(position, id)| (*position, id))
    }
}

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subjects({})", self.len())
    }
}

/// Takes ids one by one, and never holds more than a request may name.
#[derive(Default)]
struct Collector {
    positions: HashMap<Box<str>, usize>,
    excess: HashSet<u64>,
    submitted: usize,
}

impl Collector {
    fn push(&mut self, id: &str) -> Result<()> {
        self.submitted += 1;
        if id.is_empty() {
            return Err(Error::EmptySubject {
                position: self.submitted,
            });
        }
        if self.positions.contains_key(id) {
            return Ok(());
        }
        if self.positions.len() < SUBJECTS_MAX {
            self.positions.insert(id.into(), self.submitted);
            return Ok(());
        }
        self.excess.insert(xxh3_64(id.as_bytes()));
        if self.excess.len() == EXCESS_COUNTED_MAX {
            return Err(self.too_many());
        }
        Ok(())
    }

    fn finish(self) -> Result<Subjects> {
        if !self.excess.is_empty() {
            return Err(self.too_many());
        }
        if self.positions.is_empty() {
            return Err(Error::NoSubjects);
        }
        let mut subjects: Vec<_> = self
            .positions
            .into_iter()
            .map(|(id, position)| (position, SubjectId::new(id)))
            .collect();
        subjects.sort_unstable();
        Ok(Subjects(subjects))
    }

    fn too_many(&self) -> Error {
        Error::TooManySubjects {
            found: self.positions.len() + self.excess.len(),
        }
    }
}

fn header_column(record: &Record<'_>) -> Option<usize> {
    HEADERS
        .iter()
        .find_map(|name| record.fields.iter().position(|field| field == *name))
}

fn id_in<'a>(record: &Record<'a>, column: usize) -> Result<&'a str> {
    let fault = |reason: String| Error::IdsFile {
        record: record.number,
        reason,
    };
    let Some(field) = record.fields.get(column) else {
        let (there, needed) = (record.fields.len(), column + 1);
        return Err(fault(format!(
            "the id is field {needed}, but there are only {there} fields"
        )));
    };
    if field.len() > ID_BYTES_MAX {
        return Err(fault(format!("the id has more than {ID_BYTES_MAX} bytes")));
    }
    std::str::from_utf8(field).map_err(|_| fault("the id is not UTF-8 text".to_owned()))
}

fn ids_fault(fault: Fault) -> Error {
    match fault {
        Fault::Io(source) => Error::io("read", "the ids file")(source),
        Fault::Record { number, reason } => Error::IdsFile {
            record: number,
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;

    fn listed(subjects: &Subjects) -> Vec<(usize, &str)> {
        subjects
            .iter()
            .map(|(position, id)| (position, id.reveal()))
            .collect()
    }

    fn ids_in(csv: impl AsRef<[u8]>) -> Vec<String> {
        let subjects = Subjects::from_csv(csv.as_ref()).unwrap();
        subjects
            .iter()
            .map(|(_, id)| id.reveal().to_owned())
            .collect()
    }

    fn refused(csv: impl AsRef<[u8]>) -> Error {
        Subjects::from_csv(csv.as_ref()).unwrap_err()
    }

    #[test]
    fn the_first_of_equal_ids_is_kept_with_its_position() {
        let subjects = Subjects::new(["b", "a", "b", "A", " a", "a"]).unwrap();
        assert_eq!(listed(&subjects), [(1, "b"), (2, "a"), (4, "A"), (5, " a")]);
        assert_eq!(subjects.len(), 4);
    }

    #[test]
    fn an_empty_id_is_refused_by_its_position() {
        let error = Subjects::new(["a", "a", ""]).unwrap_err();
        assert!(matches!(error, Error::EmptySubject { position: 3 }));
    }

    #[test]
    fn a_request_without_ids_is_refused() {
        assert!(matches!(
            Subjects::new(Vec::<String>::new()),
            Err(Error::NoSubjects)
        ));
        for csv in ["", "\n\r\n", "\u{feff}", "distinct_id\n"] {
            assert!(matches!(refused(csv), Error::NoSubjects), "{csv:?}");
        }
    }

    #[test]
    fn the_limit_counts_distinct_ids() {
        let ids = |count: usize| (0..count).chain(0..count).map(|id| id.to_string());
        assert_eq!(Subjects::new(ids(2000)).unwrap().len(), 2000);
        for count in [2001, 5000] {
            let error = Subjects::new(ids(count)).unwrap_err();
            assert!(matches!(error, Error::TooManySubjects { found } if found == count));
            let csv: String = ids(count).map(|id| id + "\n").collect();
            assert!(matches!(refused(csv), Error::TooManySubjects { found } if found == count));
        }
    }

    #[test]
    fn an_endless_list_is_refused_in_bounded_memory() {
        let error = Subjects::new((0_u64..).map(|id| id.to_string())).unwrap_err();
        let counted = SUBJECTS_MAX + EXCESS_COUNTED_MAX;
        assert!(matches!(error, Error::TooManySubjects { found } if found == counted));
        assert!(matches!(
            Subjects::from_csv(io::repeat(b'x')),
            Err(Error::IdsFile { record: 1, .. })
        ));
    }

    #[test]
    fn debug_prints_nothing_of_the_ids() {
        let subjects = Subjects::new(["ada", "bob"]).unwrap();
        assert_eq!(format!("{subjects:?}"), "Subjects(2)");
    }

    #[test]
    fn a_plain_list_has_one_id_a_line_however_lines_end() {
        for csv in [
            "a\nb c",
            "a\nb c\n",
            "a\r\nb c\r\n",
            "\u{feff}a\n\n\r\nb c\n\n",
            "\"a\"\n\"b c\"",
        ] {
            assert_eq!(ids_in(csv), ["a", "b c"], "{csv:?}");
        }
    }

    #[test]
    fn the_ids_are_in_the_column_of_the_header() {
        assert_eq!(ids_in("\u{feff}\"distinct_id\"\r\na\r\n"), ["a"]);
        assert_eq!(ids_in("name,$distinct_id\nAda,a\nBob,b,more\n"), ["a", "b"]);
        assert_eq!(ids_in("mp_distinct_id,distinct_id\nx,a\n"), ["a"]);
    }

    #[test]
    fn a_first_record_that_is_no_header_is_an_id() {
        assert_eq!(ids_in("user_id,name\na,Ada\n"), ["user_id", "a"]);
        assert_eq!(ids_in("Distinct_Id\na\n"), ["Distinct_Id", "a"]);
    }

    #[test]
    fn only_the_first_record_can_be_a_header() {
        assert_eq!(ids_in("a\ndistinct_id\n"), ["a", "distinct_id"]);
    }

    #[test]
    fn ids_keep_blanks_quotes_commas_and_line_ends() {
        assert_eq!(
            ids_in(" a \n\"b,\"\"c\"\"\r\nd\"\n"),
            [" a ", "b,\"c\"\r\nd"]
        );
    }

    #[test]
    fn positions_count_ids_and_not_the_header() {
        let subjects = Subjects::from_csv("distinct_id\na\na\n\nb\n".as_bytes()).unwrap();
        assert_eq!(listed(&subjects), [(1, "a"), (3, "b")]);
        assert!(matches!(
            refused("distinct_id\na\n\"\"\n"),
            Error::EmptySubject { position: 2 }
        ));
        assert!(matches!(
            refused("a\n,x\n"),
            Error::EmptySubject { position: 2 }
        ));
    }

    #[test]
    fn a_record_that_makes_no_sense_is_named_without_its_content() {
        for (csv, expected) in [
            (b"name,distinct_id\nAda,a\nBob\n".as_slice(), 3),
            (b"ada\n\xff\xfebob\n", 2),
            (b"\xff\xfea\0d\0a\0", 1),
            (b"ada\n\"bob\ncid\n", 2),
        ] {
            let error = refused(csv);
            assert!(
                matches!(error, Error::IdsFile { record, .. } if record == expected),
                "{error}"
            );
            let told = error.to_string();
            assert!(!told.contains("ob") && !told.contains("ada"), "{told}");
        }
        let long = format!("ada\n{}\n", "x".repeat(ID_BYTES_MAX + 1));
        assert!(matches!(refused(long), Error::IdsFile { record: 2, .. }));
    }

    proptest! {
        #[test]
        fn what_a_csv_writer_wrote_is_read_back(ids in prop::collection::vec("[ab,\"\r\n é]{1,4}", 1..20)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for id in &ids {
                writer.write_record([id]).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            prop_assert_eq!(Subjects::from_csv(bytes.as_slice()).unwrap(), Subjects::new(ids).unwrap());
        }
    }
}
