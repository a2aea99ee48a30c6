//! How many rows a page holds is claimed by headers of version 2 and by the offset index. Some writers count values
//! there. The levels tell the truth: an export gives each row its own values, as a delete does.

mod handmade;

use std::ops::Range;
use std::path::Path;

use efface::export::sink::{self, Format};
use efface::parquet_bytes::levels::{self, Levels};
use efface::parquet_bytes::page::PageKind;
use efface::parquet_bytes::page_index::{OffsetIndex, PageLocation};
use efface::parquet_bytes::page_places::Places;
use efface::parquet_bytes::thrift::{Struct, Value};
use efface::request::subjects::Subjects;
use efface::shard::Shard;
use efface::{DeleteOptions, Disk, Engine, Request};
use handmade::{BYTE_ARRAY, Group, INT32, Leaf, Often, Page, file, numbers, texts, with_more};
use parquet::basic::Encoding;

/// The rows that the header of a page claims, by its number, rows and entries.
type Claim = fn(usize, u32, u32) -> u32;

/// The elements of each row.
type Lists = Vec<Vec<i32>>;

fn lists(lens: &[usize]) -> Lists {
    let elements = |(row, len): (i32, &usize)| (0..).take(*len).map(|at| row * 100 + at).collect();
    (0..).zip(lens).map(elements).collect()
}

fn id(row: usize) -> String {
    format!("r{row:02}")
}

/// Levels and values of a page, and how many entries it has. It may leave out the front of its first row.
fn entries(rows: &[Vec<i32>], from: usize) -> (Levels, Vec<i32>) {
    let mut found = Levels::default();
    let mut values = Vec::new();
    for row in rows {
        if row.is_empty() {
            found.repetition.push(0);
            found.definition.push(1);
        }
        for (at, value) in row.iter().enumerate() {
            found.repetition.push(u32::from(at > 0));
            found.definition.push(3);
            values.push(*value);
        }
    }
    found.repetition.drain(..from);
    found.definition.drain(..from);
    values.drain(..from);
    (found, values)
}

/// A page of some rows, of version 2 if it claims a number of them.
fn page(rows: &[Vec<i32>], claims: Option<u32>) -> Page {
    let (found, values) = entries(rows, 0);
    page_of(&found, &values, claims)
}

fn page_of(found: &Levels, values: &[i32], claims: Option<u32>) -> Page {
    let count = found.repetition.len();
    let narrow = |count: usize| u32::try_from(count).unwrap();
    let Page { mut kind, .. } =
        Page::data(narrow(count), Encoding::PLAIN, Encoding::RLE, Vec::new());
    if let Some(rows) = claims {
        kind = PageKind::V2 {
            values: narrow(count),
            nulls: narrow(count - values.len()),
            rows,
            encoding: Encoding::PLAIN,
            definition_len: 0,
            repetition_len: 0,
            compressed: false,
        };
    }
    let mut body = Vec::new();
    let lens = levels::write(found, count, kind, 1, 3, &mut body);
    if let PageKind::V2 {
        definition_len,
        repetition_len,
        ..
    } = &mut kind
    {
        *repetition_len = narrow(lens.0);
        *definition_len = narrow(lens.1);
    }
    body.extend(numbers(values.iter().copied()));
    Page { kind, body }
}

fn leaves() -> [Leaf; 2] {
    [
        Leaf::new("distinct_id", BYTE_ARRAY, Often::Always),
        Leaf::new("v", INT32, Often::Many),
    ]
}

/// Rows with ids, and the lists in these pages.
fn shard(rows: usize, pages: Vec<Page>) -> Vec<u8> {
    let ids: Vec<String> = (0..rows).map(id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let count = u32::try_from(rows).unwrap();
    let ids = Page::data(count, Encoding::PLAIN, Encoding::RLE, texts(&ids));
    let group = Group {
        rows: count.into(),
        chunks: vec![vec![ids], pages],
    };
    file(&leaves(), 0, &[group])
}

/// The shard with an offset index of a leaf that says that its pages begin with these rows.
fn with_index(bytes: &[u8], leaf: usize, first_rows: &[u64]) -> Vec<u8> {
    let dir = dataset(bytes);
    let file = efface::file_system::FileSystem::open(&Disk::new(dir.path()), "shard.parquet");
    let shard = Shard::new("shard.parquet", file.unwrap()).unwrap();
    let group = &shard.footer.row_groups()[0];
    let is_flat = leaf == 0;
    let places = Places::find(&shard.file, &group.chunks[leaf], is_flat, group.rows).unwrap();
    assert_eq!(places.pages.len(), first_rows.len());
    let locations = places.pages.iter().zip(first_rows);
    let index = OffsetIndex::new(
        locations.map(|(page, first_row)| PageLocation {
            offset: page.bytes.start,
            len: page.bytes.end - page.bytes.start,
            first_row: *first_row,
        }),
        None,
    );
    let index = index.0.to_bytes();
    with_more(bytes, &index, |footer: &mut Struct, at| {
        let Value::Struct(group) = &mut footer.list_mut(4).unwrap().items[0] else {
            panic!("a row group");
        };
        let Value::Struct(chunk) = &mut group.list_mut(1).unwrap().items[leaf] else {
            panic!("a chunk");
        };
        chunk.set(4, Value::I64(i64::try_from(at).unwrap()));
        chunk.set(5, Value::I32(i32::try_from(index.len()).unwrap()));
    })
}

fn dataset(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(dir.path().join("shard.parquet")).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    dir
}

fn request(rows: impl IntoIterator<Item = usize>) -> Request {
    let subjects = Subjects::new(rows.into_iter().map(id)).unwrap();
    let mut request = Request::delete(subjects, jiff::Timestamp::UNIX_EPOCH);
    request.max_match = 1.0;
    request
}

fn export(dir: &Path, request: &Request) -> efface::Result<String> {
    let engine = Engine::open_dir(dir)?;
    let export = Request::export(request.subjects.clone(), jiff::Timestamp::UNIX_EPOCH);
    let plan = engine.plan(&export)?;
    let mut lines = Vec::new();
    sink::write(&mut engine.export(&plan)?, Format::Jsonl, &mut lines)?;
    Ok(String::from_utf8(lines).unwrap())
}

fn lines(rows: impl IntoIterator<Item = usize>, lists: &Lists) -> String {
    let line = |row: usize| {
        let values: Vec<String> = lists[row].iter().map(i32::to_string).collect();
        format!(
            "{{\"distinct_id\":\"{}\",\"v\":[{}]}}\n",
            id(row),
            values.join(",")
        )
    };
    rows.into_iter().map(line).collect()
}

/// Exports of one row, of neighbours and of rows far from each other, then a delete of each.
fn assert_each_row_has_its_values(bytes: &[u8], lists: &Lists, what: &str) {
    let all = 0..lists.len();
    let dir = dataset(bytes);
    let exported = |rows: &[usize]| {
        let found = export(dir.path(), &request(rows.iter().copied()));
        let found = found.unwrap_or_else(|error| panic!("{what}, rows {rows:?}: {error}"));
        assert_eq!(
            found,
            lines(rows.iter().copied(), lists),
            "{what}, rows {rows:?}"
        );
    };
    for row in all.clone() {
        exported(&[row]);
        let others = [row + 1, row + 2, row + 5].into_iter();
        for other in others.filter(|other| *other < lists.len()) {
            exported(&[row, other]);
        }
    }
    exported(&all.clone().collect::<Vec<_>>());
    let row = lists.len() / 2;
    let engine = Engine::open_dir(dir.path()).unwrap();
    let report = engine.delete(&request([row]), None, &DeleteOptions::default());
    let report = report.unwrap_or_else(|error| panic!("{what}, row {row}: {error}"));
    assert_eq!(report.rows_removed, 1, "{what}, row {row}");
    let left = all.filter(|other| *other != row);
    let found = export(dir.path(), &request(left.clone())).unwrap();
    assert_eq!(found, lines(left, lists), "{what}, without row {row}");
}

fn three_pages(lens: &[usize]) -> (Lists, [Range<usize>; 3]) {
    (lists(lens), [0..3, 3..6, 6..lens.len()])
}

const LENS: [&[usize]; 4] = [
    &[3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    &[0, 1, 2, 2, 1, 1, 1, 0, 2],
    &[1, 1, 1, 2, 2, 2, 1, 1, 1, 3],
    &[2, 2, 2, 2, 2, 2, 2],
];

#[test]
fn headers_that_count_values_as_rows_are_not_believed() {
    for lens in LENS {
        let (lists, ranges) = three_pages(lens);
        let claims: [(&str, Claim); 5] = [
            ("values", |_, _, values| values),
            ("none", |_, _, _| 0),
            ("many", |_, _, _| i32::MAX as u32),
            ("one of the next page", |page, rows, _| match page {
                0 => rows + 1,
                1 => rows - 1,
                _ => rows,
            }),
            ("one of the page before", |page, rows, _| match page {
                1 => rows + 1,
                2 => rows - 1,
                _ => rows,
            }),
        ];
        for (what, claim) in claims {
            let page_of = |(number, rows): (usize, &Range<usize>)| {
                let held = &lists[rows.clone()];
                let entries = entries(held, 0).0.repetition.len();
                let narrow = |count: usize| u32::try_from(count).unwrap();
                page(
                    held,
                    Some(claim(number, narrow(held.len()), narrow(entries))),
                )
            };
            let pages = ranges.iter().enumerate().map(page_of).collect();
            let bytes = shard(lists.len(), pages);
            assert_each_row_has_its_values(&bytes, &lists, &format!("{lens:?}, {what}"));
        }
    }
}

#[test]
fn an_offset_index_that_counts_values_as_rows_is_not_believed() {
    for lens in LENS {
        let (lists, ranges) = three_pages(lens);
        for version_2 in [false, true] {
            let page_of = |rows: &Range<usize>| {
                let count = u32::try_from(rows.len()).unwrap();
                page(&lists[rows.clone()], version_2.then_some(count))
            };
            let bytes = shard(lists.len(), ranges.iter().map(page_of).collect());
            let count = |rows: Range<usize>| entries(&lists[rows], 0).0.repetition.len() as u64;
            for first_rows in [
                [0, count(0..3), count(0..6)],
                [0, 2, 6],
                [0, 4, 6],
                [0, 3, 5],
                [0, 1, 2],
                [0, 3, 6],
            ] {
                let what = format!("{lens:?}, {first_rows:?}");
                let bytes = with_index(&bytes, 1, &first_rows);
                assert_each_row_has_its_values(&bytes, &lists, &what);
            }
        }
    }
}

#[test]
fn an_offset_index_of_a_flat_column_that_is_wrong_is_not_believed() {
    let leaves = [
        Leaf::new("distinct_id", BYTE_ARRAY, Often::Always),
        Leaf::new("v", INT32, Often::Always),
    ];
    let ids: Vec<String> = (0..9).map(id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let flat = |rows: Range<i32>| {
        let count = u32::try_from(rows.len()).unwrap();
        Page::data(count, Encoding::PLAIN, Encoding::RLE, numbers(rows))
    };
    let group = Group {
        rows: 9,
        chunks: vec![
            vec![Page::data(9, Encoding::PLAIN, Encoding::RLE, texts(&ids))],
            vec![flat(0..3), flat(3..5), flat(5..9)],
        ],
    };
    let bytes = file(&leaves, 0, &[group]);
    for first_rows in [[0, 2, 5], [0, 4, 5], [0, 3, 6], [0, 3, 4]] {
        let bytes = with_index(&bytes, 1, &first_rows);
        let dir = dataset(&bytes);
        for row in 0..9 {
            for other in row..9 {
                let line = |row| format!("{{\"distinct_id\":\"{}\",\"v\":{row}}}\n", id(row));
                let mut expected = line(row);
                if other > row {
                    expected.push_str(&line(other));
                }
                let found = export(dir.path(), &request([row, other])).unwrap();
                assert_eq!(found, expected, "{first_rows:?}, rows {row} and {other}");
            }
        }
    }
}

#[test]
fn rows_that_go_on_in_the_next_page_are_whole_whatever_claims_them() {
    let lists = lists(&[2, 3, 1, 3, 2]);
    // Row 1 goes on after its first element, row 3 after its second.
    let front = |rows: Range<usize>, keep: usize| {
        let (mut found, mut values) = entries(&lists[rows], 0);
        let keep = found.repetition.len() - keep;
        found.repetition.truncate(keep);
        found.definition.truncate(keep);
        values.truncate(keep);
        (found, values)
    };
    let pages = |version_2: bool| {
        let (second, mut values) = entries(&lists[1..4], 1);
        let keep = second.repetition.len() - 1;
        let mut second = second;
        second.repetition.truncate(keep);
        second.definition.truncate(keep);
        values.truncate(keep);
        let first = front(0..2, 2);
        let third = entries(&lists[3..5], 2);
        let rows = |count: u32| version_2.then_some(count);
        vec![
            page_of(&first.0, &first.1, rows(2)),
            page_of(&second, &values, rows(2)),
            page_of(&third.0, &third.1, rows(1)),
        ]
    };
    for version_2 in [false, true] {
        let bytes = shard(5, pages(version_2));
        assert_each_row_has_its_values(&bytes, &lists, &format!("version 2: {version_2}"));
        for first_rows in [[0, 2, 4], [0, 1, 3]] {
            let bytes = with_index(&bytes, 1, &first_rows);
            assert_each_row_has_its_values(&bytes, &lists, &format!("{first_rows:?}"));
        }
    }
}
