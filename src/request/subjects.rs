//! The ids that a request names, checked once: none empty, none twice, not too many.
//!
//! # CSV
//! Either one id a line, or a column with a header: `distinct_id` (or `$distinct_id`, `mp_distinct_id`), in
//! whatever case and with blanks around it, or the one that the caller names. The first record is a header
//! if and only if one of its fields is such a name.
//!
//! No column is ever guessed, because the wrong one erases the wrong people. A file of several columns without such
//! a header is refused, and so are records with another number of fields than the first one, and files that look
//! separated by something else than commas. A file of one column that is headed by anything else, `user_id` for
//! instance, has that word as its first id, which comes back as an unknown id at position 1.
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
const HEADERS: [&str; 3] = ["distinct_id", "$distinct_id", "mp_distinct_id"];

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
        Self::read_csv(file, None)
    }

    /// As [`from_csv`](Self::from_csv), with the ids in the column `column`.
    ///
    /// # Errors
    /// As there, and when the first record has no field of this name.
    pub fn from_csv_column(file: impl Read, column: &str) -> Result<Self> {
        Self::read_csv(file, Some(column))
    }

    fn read_csv(file: impl Read, column: Option<&str>) -> Result<Self> {
        let mut collector = Collector::default();
        let mut records = Records::new(file, RECORD_BYTES_MAX);
        let mut layout: Option<Layout> = None;
        let mut separators = Separators::default();
        while let Some(record) = records.next().map_err(ids_fault)? {
            let Some(known) = &layout else {
                let first = Layout::of(&record, column)?;
                if !first.has_header {
                    separators.see(&record);
                    collector.push(first.id_in(&record)?)?;
                }
                layout = Some(first);
                continue;
            };
            if !known.has_header {
                separators.see(&record);
            }
            collector.push(known.id_in(&record)?)?;
        }
        if let Some(name) = separators.likely() {
            return Err(Error::IdsFile {
                record: 1,
                reason: format!(
                    "the file seems to be separated by {name}, and only commas are understood (if these are whole ids, put the header distinct_id above them)"
                ),
            });
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

/// Where the ids are in the records of a CSV.
struct Layout {
    has_header: bool,
    column: usize,
    /// Fields of every record.
    fields: usize,
}

impl Layout {
    /// The layout that the first record says.
    fn of(first: &Record<'_>, column: Option<&str>) -> Result<Self> {
        let fields = first.fields.len();
        let refused = |reason: String| Error::IdsFile {
            record: first.number,
            reason,
        };
        let headers: Vec<&str> = match column {
            Some(column) => vec![column],
            None => HEADERS.to_vec(),
        };
        let names: Vec<String> = first
            .fields
            .iter()
            .map(|field| String::from_utf8_lossy(field).into_owned())
            .collect();
        if let Some(column) = header_column(&names, &headers).map_err(refused)? {
            return Ok(Self {
                has_header: true,
                column,
                fields,
            });
        }
        // A first line of one field that holds the header among other words is separated by something else.
        for (separator, name) in OTHER_SEPARATORS {
            let parts: Vec<String> = names
                .iter()
                .flat_map(|name| name.split(separator))
                .map(str::to_owned)
                .collect();
            if parts.len() > fields && !matches!(header_column(&parts, &headers), Ok(None)) {
                return Err(refused(format!(
                    "the file seems to be separated by {name}, and only commas are understood"
                )));
            }
        }
        if let Some(column) = column {
            return Err(refused(format!(
                "none of its {fields} fields is {column:?}"
            )));
        }
        if fields > 1 {
            return Err(refused(format!(
                "the file has {fields} columns, and none is called distinct_id: name the one with the ids (no column is guessed; an id that holds a comma is quoted)"
            )));
        }
        Ok(Self {
            has_header: false,
            column: 0,
            fields,
        })
    }

    fn id_in<'a>(&self, record: &Record<'a>) -> Result<&'a str> {
        let fault = |reason: String| Error::IdsFile {
            record: record.number,
            reason,
        };
        let there = record.fields.len();
        let Some(field) = record
            .fields
            .get(self.column)
            .filter(|_| there == self.fields)
        else {
            return Err(fault(format!(
                "it has {there} fields, and the first record has {}: a field that holds a comma must be quoted",
                self.fields
            )));
        };
        if field.len() > ID_BYTES_MAX {
            return Err(fault(format!("the id has more than {ID_BYTES_MAX} bytes")));
        }
        std::str::from_utf8(field).map_err(|_| fault("the id is not UTF-8 text".to_owned()))
    }
}

/// What separates the columns of files that are called CSV all the same. Ids that hold a bar are usual.
const OTHER_SEPARATORS: [(char, &str); 3] =
    [(';', "semicolons"), ('\t', "tabs"), ('|', "vertical bars")];

/// How often the records hold what may separate them, as long as all hold it equally often.
#[derive(Default)]
struct Separators(Option<[usize; 2]>);

impl Separators {
    fn see(&mut self, record: &Record<'_>) {
        let bytes = || record.fields.iter().flatten();
        let count = |of: u8| bytes().filter(|byte| **byte == of).count();
        let counts = [count(b';'), count(b'\t')];
        let before = self.0.get_or_insert(counts);
        for (before, now) in before.iter_mut().zip(counts) {
            if *before != now {
                *before = 0;
            }
        }
    }

    fn likely(&self) -> Option<&'static str> {
        let [semicolons, tabs] = self.0?;
        match (semicolons, tabs) {
            (0, 0) => None,
            (0, _) => Some("tabs"),
            _ => Some("semicolons"),
        }
    }
}

/// The field that is the first of `headers` to be there: exactly, else by ignoring case and blanks.
fn header_column(names: &[String], headers: &[&str]) -> Result<Option<usize>, String> {
    let plain = |name: &str| name.trim().to_lowercase();
    for header in headers {
        let exact: Vec<usize> = (0..names.len())
            .filter(|at| names.get(*at).is_some_and(|name| name == header))
            .collect();
        let alike: Vec<usize> = (0..names.len())
            .filter(|at| {
                names
                    .get(*at)
                    .is_some_and(|name| plain(name) == plain(header))
            })
            .collect();
        match (exact.as_slice(), alike.as_slice()) {
            ([one], _) | ([], [one]) => return Ok(Some(*one)),
            ([], []) => {}
            _ => {
                return Err(format!("{} columns are called {header:?}", alike.len()));
            }
        }
    }
    Ok(None)
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
        assert_eq!(ids_in("name,$distinct_id\nAda,a\nBob,b\n"), ["a", "b"]);
        assert_eq!(ids_in("mp_distinct_id,distinct_id\nx,a\n"), ["a"]);
        assert_eq!(ids_in("manager, distinct_id\nboss,a\n"), ["a"]);
        assert_eq!(ids_in("Distinct_Id\na\n"), ["a"]);
        assert_eq!(ids_in("\tDISTINCT_ID ,name\na,Ada\n"), ["a"]);
        assert_eq!(ids_in("Distinct_ID,distinct_id\nx,a\n"), ["a"]);
        // With a header of one column, ids may look like anything.
        assert_eq!(ids_in("distinct_id\na;b\nc\td\n"), ["a;b", "c\td"]);
    }

    #[test]
    fn the_ids_are_in_the_column_that_the_caller_names() {
        let column = |csv: &str, name| Subjects::from_csv_column(csv.as_bytes(), name);
        for csv in [
            "distinct_id,user\nx,a\n",
            "distinct_id, User \nx,a\n",
            "user\na\n",
        ] {
            assert_eq!(listed(&column(csv, "user").unwrap()), [(1, "a")], "{csv:?}");
        }
        for csv in [
            "distinct_id\na\n",
            "User,USER\na,b\n",
            "user;x\na;b\n",
            "user,user\na,b\n",
        ] {
            let error = column(csv, "user").unwrap_err();
            assert!(matches!(error, Error::IdsFile { record: 1, .. }), "{error}");
        }
    }

    #[test]
    fn no_column_is_guessed() {
        for (csv, because) in [
            ("user_id,name\na,Ada\n", "2 columns"),
            ("a,Ada\nb,Bob\n", "2 columns"),
            ("Ada,a,x", "3 columns"),
            ("manager;distinct_id\nboss;a\n", "semicolons"),
            ("distinct_id\tname\na\tAda\n", "tabs"),
            ("name| Distinct_Id\nAda|a\n", "vertical bars"),
            ("x;a\ny;b\n", "semicolons"),
            ("x\ta\ny\tb\n", "tabs"),
            ("distinct_id,Distinct_Id,distinct_id\na,b,c\n", "3 columns"),
            ("name,distinct_id\nAda,a\nSmith, Bob,b\n", "3 fields"),
            ("a\nb,c\n", "2 fields"),
        ] {
            let error = refused(csv);
            assert!(matches!(error, Error::IdsFile { .. }), "{csv:?}");
            let told = error.to_string();
            assert!(told.contains(because), "{csv:?}: {told}");
            assert!(!told.contains("Ada") && !told.contains("boss"), "{told}");
        }
        // Bars are usual in ids, and so is a semicolon here and there.
        assert_eq!(ids_in("auth0|a\nauth0|b\n"), ["auth0|a", "auth0|b"]);
        assert_eq!(ids_in("a;b\nc\n"), ["a;b", "c"]);
    }

    #[test]
    fn a_first_line_that_is_no_header_is_an_id() {
        assert_eq!(ids_in("user_id\na\n"), ["user_id", "a"]);
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
            refused("distinct_id,x\na,b\n,x\n"),
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
