//! Encodings and layouts that the format has deprecated: read as their writers meant them, or refused where that
//! can't be told for certain. Never another row's values.

mod handmade;
mod oracle;

use std::path::Path;

use bytes::Bytes;
use efface::export::sink::{self, Format};
use efface::parquet_bytes::thrift::{Struct, Value};
use efface::request::subjects::Subjects;
use efface::{DeleteOptions, Engine, Error, ErrorKind, Request};
use handmade::{BYTE_ARRAY, Group, INT32, Leaf, Often, Page, file, numbers, texts, with_footer};
use oracle::Contents;
use parquet::basic::Encoding;

const IDS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

#[expect(deprecated, reason = "that is the point")]
const BIT_PACKED: Encoding = Encoding::BIT_PACKED;

fn dataset(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::io::Write::write_all(
        &mut std::fs::File::create(dir.path().join("shard.parquet")).unwrap(),
        bytes,
    )
    .unwrap();
    dir
}

fn request(id: &str) -> Request {
    let subjects = Subjects::new([id.to_owned()]).unwrap();
    let mut request = Request::delete(subjects, jiff::Timestamp::UNIX_EPOCH);
    request.max_match = 1.0;
    request
}

fn export(dir: &Path, id: &str) -> efface::Result<String> {
    let engine = Engine::open_dir(dir)?;
    let subjects = request(id).subjects;
    let plan = engine.plan(&Request::export(subjects, jiff::Timestamp::UNIX_EPOCH))?;
    let mut lines = Vec::new();
    sink::write(&mut engine.export(&plan)?, Format::Jsonl, &mut lines)?;
    Ok(String::from_utf8(lines).unwrap())
}

fn delete(dir: &Path, id: &str) -> efface::Result<u64> {
    let report = Engine::open_dir(dir)?.delete(&request(id), None, &DeleteOptions::default())?;
    Ok(report.rows_removed)
}

/// Neither an export nor a delete of a row in the file is carried out, both name the shard, and it stays as it was.
fn assert_refused(bytes: &[u8], id: &str, because: &str) {
    let dir = dataset(bytes);
    let is_said = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("shard.parquet") && text.contains(because),
            "{text}"
        );
    };
    is_said(export(dir.path(), id).unwrap_err());
    is_said(delete(dir.path(), id).unwrap_err());
    assert!(std::fs::read(dir.path().join("shard.parquet")).unwrap() == bytes);
}

/// Ten ids, and a column of numbers with these entries, levels and values.
fn with_levels(often: Often, entries: u32, levels: Vec<u8>, values: Vec<u8>) -> Vec<u8> {
    let leaves = [
        Leaf::new("distinct_id", BYTE_ARRAY, Often::Always),
        Leaf::new("v", INT32, often),
    ];
    let ids = Page::data(10, Encoding::PLAIN, BIT_PACKED, texts(&IDS));
    let page = Page::data(
        entries,
        Encoding::PLAIN,
        BIT_PACKED,
        [levels, values].concat(),
    );
    let group = Group {
        rows: 10,
        chunks: vec![vec![ids], vec![page]],
    };
    file(&leaves, 0, &[group])
}

#[test]
fn levels_that_are_packed_in_an_order_that_cannot_be_told_are_refused() {
    // Row 4 is null by the order that the format describes, row 3 by the one that Impala writes.
    let one = with_levels(
        Often::Perhaps,
        10,
        vec![0b1111_0111, 0b1100_0000],
        numbers(0..9),
    );
    // Two bits: 0 and 1 or 2 and 1 .. of a list.
    let many = with_levels(
        Often::Many,
        10,
        [vec![0, 0], vec![0b1101_1111, 0xFF, 0b1111_0000]].concat(),
        numbers(0..10),
    );
    for bytes in [one, many] {
        assert_refused(&bytes, "e", "BIT_PACKED");
    }
}

#[test]
fn repetition_levels_that_are_packed_in_an_unknown_order_are_refused() {
    // Ten rows of eleven elements: the second of a row is at 4, or at 3.
    let bytes = with_levels(
        Often::Many,
        11,
        [vec![0b0000_1000, 0], vec![0xFF, 0xFF, 0b1111_1100]].concat(),
        numbers(0..11),
    );
    assert_refused(&bytes, "e", "BIT_PACKED");
}

#[test]
fn packed_levels_that_are_the_same_in_either_order_are_read_and_written_as_runs() {
    // Rows 0, 7 and 8 to 9 are there, and so are 3 and 4.
    let bytes = with_levels(
        Often::Perhaps,
        10,
        vec![0b1001_1001, 0b1111_1111],
        numbers([0, 3, 4, 7, 8, 9]),
    );
    let dir = dataset(&bytes);
    assert_eq!(
        export(dir.path(), "d").unwrap(),
        "{\"distinct_id\":\"d\",\"v\":3}\n"
    );
    assert_eq!(delete(dir.path(), "d").unwrap(), 1);
    for (id, v) in [("e", ",\"v\":4"), ("c", ""), ("j", ",\"v\":9")] {
        assert_eq!(
            export(dir.path(), id).unwrap(),
            format!("{{\"distinct_id\":\"{id}\"{v}}}\n")
        );
    }
    let left = Contents::read(&dir.path().join("shard.parquet")).unwrap();
    assert_eq!(left.rows(), 9);
}

#[test]
fn levels_in_an_encoding_that_none_can_have_are_refused() {
    let leaves = [
        Leaf::new("distinct_id", BYTE_ARRAY, Often::Always),
        Leaf::new("v", INT32, Often::Perhaps),
    ];
    let ids = Page::data(10, Encoding::PLAIN, BIT_PACKED, texts(&IDS));
    let runs = [vec![2, 0, 0, 0, 20, 1], numbers(0..10)].concat();
    let page = Page::data(10, Encoding::PLAIN, Encoding::PLAIN, runs);
    let group = Group {
        rows: 10,
        chunks: vec![vec![ids], vec![page]],
    };
    assert_refused(&file(&leaves, 0, &[group]), "e", "levels");
}

#[test]
fn the_dictionary_of_old_writers_is_read_as_such() {
    let leaves = [Leaf::new("distinct_id", BYTE_ARRAY, Often::Always)];
    let dictionary = Page::dictionary(2, Encoding::PLAIN_DICTIONARY, texts(&["a", "b"]));
    // One run of bit-packed indices at one bit: a b a b a b a b.
    let data = Page::data(
        8,
        Encoding::PLAIN_DICTIONARY,
        BIT_PACKED,
        vec![1, 0b11, 0b1010_1010],
    );
    let group = Group {
        rows: 8,
        chunks: vec![vec![dictionary, data]],
    };
    for codec in [0, 1, 2, 5] {
        let dir = dataset(&file(&leaves, codec, std::slice::from_ref(&group)));
        assert_eq!(export(dir.path(), "b").unwrap().lines().count(), 4);
        assert_eq!(delete(dir.path(), "a").unwrap(), 4);
        let left = Contents::read(&dir.path().join("shard.parquet")).unwrap();
        assert_eq!(left.values(0).len(), 1);
        assert_eq!(left.rows(), 4);
    }
}

fn two_groups() -> Vec<u8> {
    let leaves = [
        Leaf::new("distinct_id", BYTE_ARRAY, Often::Always),
        Leaf::new("v", INT32, Often::Always),
    ];
    let group = |ids: &[&str], first: i32| {
        let count = u32::try_from(ids.len()).unwrap();
        let page = |body| vec![Page::data(count, Encoding::PLAIN, BIT_PACKED, body)];
        let numbers = numbers(first..first + i32::try_from(count).unwrap());
        Group {
            rows: count.into(),
            chunks: vec![page(texts(ids)), page(numbers)],
        }
    };
    file(
        &leaves,
        0,
        &[group(&["a", "b", "c"], 0), group(&["d", "a"], 10)],
    )
}

fn groups(footer: &mut Struct) -> &mut Vec<Value> {
    &mut footer.list_mut(4).unwrap().items
}

fn meta(footer: &mut Struct, group: usize, leaf: usize) -> &mut Struct {
    let Value::Struct(group) = &mut groups(footer)[group] else {
        panic!("a row group");
    };
    let Value::Struct(chunk) = &mut group.list_mut(1).unwrap().items[leaf] else {
        panic!("a chunk");
    };
    chunk.structure_mut(3).unwrap()
}

#[test]
fn row_groups_that_lie_in_another_order_than_the_footer_lists_them_are_read_by_the_footer() {
    let bytes = with_footer(&two_groups(), |footer| groups(footer).reverse());
    let dir = dataset(&bytes);
    assert_eq!(
        export(dir.path(), "a").unwrap(),
        "{\"distinct_id\":\"a\",\"v\":11}\n{\"distinct_id\":\"a\",\"v\":0}\n"
    );
    assert_eq!(delete(dir.path(), "d").unwrap(), 1);
    let expected = Contents::of(Bytes::from(bytes))
        .unwrap()
        .without(|row| row == 0);
    let found = Contents::read(&dir.path().join("shard.parquet")).unwrap();
    assert_eq!(expected.row_groups, found.row_groups);
}

#[test]
fn chunks_that_share_bytes_or_have_no_length_are_damage() {
    let field = |footer: &mut Struct, group, leaf, id| meta(footer, group, leaf).i64(id).unwrap();
    let shared = with_footer(&two_groups(), |footer| {
        let at = field(footer, 0, 0, 9);
        let len = field(footer, 0, 0, 7);
        meta(footer, 0, 1).set(9, Value::I64(at));
        meta(footer, 0, 1).set(7, Value::I64(len));
    });
    let overlapping = with_footer(&two_groups(), |footer| {
        let at = field(footer, 0, 1, 9);
        meta(footer, 0, 1).set(9, Value::I64(at - 4));
    });
    let endless = with_footer(&two_groups(), |footer| {
        meta(footer, 0, 1).remove(7);
    });
    for bytes in [shared, overlapping, endless] {
        let dir = dataset(&bytes);
        let error = delete(dir.path(), "a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert!(export(dir.path(), "a").is_err());
        assert!(std::fs::read(dir.path().join("shard.parquet")).unwrap() == bytes);
    }
}
