//! Files that fuzzing found to be mishandled, built again: each is refused, or rewritten into what the naive filter
//! leaves.

mod oracle;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use efface::Shard;
use efface::file_system::{Access, FileSystem};
use efface::parquet_bytes::footer::{Footer, MAGIC, chunk, column, file, row_group, statistics};
use efface::parquet_bytes::page::{PageHeader, PageKind};
use efface::parquet_bytes::thrift::{List, Struct, Value};
use efface::shard::clear::{Cleared, Clearing};
use efface::shard::rewrite::{RewriteOptions, clear, is_clear, rewrite};
use efface::testing::sim::Sim;
use oracle::Contents;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use roaring::RoaringBitmap;

/// A file of one column of texts, in one row group.
fn texts(texts: &[&str]) -> Vec<u8> {
    let schema = parse_message_type("message rows { required binary id (STRING); }").unwrap();
    let properties = Arc::new(WriterProperties::default());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, Arc::new(schema), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
    let ColumnWriter::ByteArrayColumnWriter(values) = column.untyped() else {
        panic!("a column of byte arrays");
    };
    values.write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}

fn footer(bytes: &[u8]) -> Footer {
    let sim = Sim::new(0);
    sim.put("file", bytes);
    Footer::read(&*sim.open("file").unwrap()).unwrap()
}

fn with_footer(mut bytes: Vec<u8>, footer: &Struct) -> Vec<u8> {
    let footer = footer.to_bytes();
    bytes.extend_from_slice(&footer);
    bytes.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&MAGIC);
    bytes
}

/// Rewrites a file without its first row, and compares.
fn assert_first_row_goes(old: Vec<u8>) {
    let sim = Sim::new(0);
    sim.put("old", old.clone());
    let shard = Shard::new("old", sim.open("old").unwrap()).unwrap();
    let mut new = sim.create("new", Access::State(None)).unwrap();
    let rows = RoaringBitmap::from_iter([0]);
    rewrite(&shard, &rows, &mut *new.sink, &RewriteOptions::default()).unwrap();
    new.sink.flush().unwrap();
    sim.rename(&new.path, "new").unwrap();
    let before = Contents::of(Bytes::from(old)).unwrap();
    let expected = before.without(|row| row == 0);
    let found = Contents::of(Bytes::from(sim.bytes("new").unwrap())).unwrap();
    assert_eq!(expected.row_groups, found.row_groups);
}

/// Some writers give the data pages of a chunk without values no place, but its dictionary one. Its bytes were left
/// behind and its place was moved as if they had been at 0, so that no reader could read the new file.
#[test]
fn a_row_group_of_no_rows_with_nothing_but_a_dictionary_moves_with_the_others() {
    let whole = texts(&["ada", "bob", "ada", "cyd"]);
    let footer = footer(&whole);
    let of = footer.chunk_tree(0, 0).unwrap();
    let meta = of.structure(chunk::META_DATA).unwrap();
    let dictionary = meta.i64(column::DICTIONARY_PAGE_OFFSET).unwrap();
    let data = meta.i64(column::DATA_PAGE_OFFSET).unwrap();
    let page = usize::try_from(dictionary).unwrap()..usize::try_from(data).unwrap();
    let mut bytes = whole[..usize::try_from(footer.offset).unwrap()].to_vec();
    let at = Value::I64(i64::try_from(bytes.len()).unwrap());
    bytes.extend_from_slice(&whole[page]);

    let len = Value::I64(data - dictionary);
    let mut empty = of.clone();
    for field in [
        chunk::OFFSET_INDEX_OFFSET,
        chunk::OFFSET_INDEX_LENGTH,
        chunk::COLUMN_INDEX_OFFSET,
        chunk::COLUMN_INDEX_LENGTH,
    ] {
        empty.remove(field);
    }
    let meta = empty.structure_mut(chunk::META_DATA).unwrap();
    meta.set(column::NUM_VALUES, Value::I64(0));
    meta.set(column::DATA_PAGE_OFFSET, Value::I64(0));
    meta.set(column::DICTIONARY_PAGE_OFFSET, at);
    meta.set(column::TOTAL_COMPRESSED_SIZE, len.clone());
    meta.set(column::TOTAL_UNCOMPRESSED_SIZE, len);
    for field in [
        column::STATISTICS,
        column::ENCODING_STATS,
        column::SIZE_STATISTICS,
    ] {
        meta.remove(field);
    }
    let mut group = footer.row_group_tree(0).unwrap().clone();
    let full = group.clone();
    group.set(row_group::NUM_ROWS, Value::I64(0));
    group.set(row_group::COLUMNS, Value::List(List::of_structs([empty])));
    group.remove(row_group::FILE_OFFSET);
    let mut tree = footer.tree().clone();
    tree.set(
        file::ROW_GROUPS,
        Value::List(List::of_structs([full, group])),
    );
    assert_first_row_goes(with_footer(bytes, &tree));
}

/// A count of nulls in one byte is read alike as any integer, until it becomes a number of two bytes: the `parquet`
/// crate went by the field's number, the tree by its type, and after an edit no reader understood the footer.
#[test]
fn a_field_of_the_footer_with_another_type_is_refused() {
    let whole = texts(&["ada", "bob"]);
    let footer = footer(&whole);
    let mut tree = footer.tree().clone();
    let groups = tree.list_mut(file::ROW_GROUPS).unwrap();
    let Some(Value::Struct(group)) = groups.items.first_mut() else {
        panic!("a row group");
    };
    let chunks = group.list_mut(row_group::COLUMNS).unwrap();
    let Some(Value::Struct(of)) = chunks.items.first_mut() else {
        panic!("a chunk");
    };
    let meta = of.structure_mut(chunk::META_DATA).unwrap();
    let bounds = meta.structure_mut(column::STATISTICS).unwrap();
    bounds.set(statistics::NULL_COUNT, Value::I8(0));
    let pages = whole[..usize::try_from(footer.offset).unwrap()].to_vec();
    let sim = Sim::new(0);
    sim.put("odd", with_footer(pages, &tree));
    let refused = Shard::new("odd", sim.open("odd").unwrap())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("field 3 of Statistics"), "{refused}");
}

/// A file of one chunk of optional 32-bit integers, whose footer claims so many rows, and one of these pages
/// after the other: an encoding, how many values, and their bytes.
fn numbers(claimed: i64, pages: &[(Encoding, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (encoding, values, body) in pages {
        // Levels: so many ones.
        let run = u8::try_from(values << 1).unwrap();
        let body = [&[2, 0, 0, 0, run, 1], *body].concat();
        let len = u32::try_from(body.len()).unwrap();
        let header = PageHeader {
            offset: 0,
            header_len: 0,
            compressed_len: len,
            uncompressed_len: len,
            crc: None,
            kind: PageKind::V1 {
                values: *values,
                encoding: *encoding,
                definition: Encoding::RLE,
                repetition: Encoding::RLE,
            },
        };
        bytes.extend_from_slice(&header.to_tree(Struct::default()).to_bytes());
        bytes.extend_from_slice(&body);
    }
    let start = i64::try_from(MAGIC.len()).unwrap();
    let len = Value::I64(i64::try_from(bytes.len()).unwrap() - start);
    let meta = Struct::default()
        .with(column::TYPE, Value::I32(1))
        .with(column::ENCODINGS, Value::List(List::of_i32([0])))
        .with(3, Value::List(List::of_binary([b"v".to_vec()])))
        .with(column::CODEC, Value::I32(0))
        .with(column::NUM_VALUES, Value::I64(claimed))
        .with(column::TOTAL_UNCOMPRESSED_SIZE, len.clone())
        .with(column::TOTAL_COMPRESSED_SIZE, len.clone())
        .with(column::DATA_PAGE_OFFSET, Value::I64(start));
    let of = Struct::default()
        .with(chunk::FILE_OFFSET, Value::I64(0))
        .with(chunk::META_DATA, Value::Struct(meta));
    let group = Struct::default()
        .with(row_group::COLUMNS, Value::List(List::of_structs([of])))
        .with(row_group::TOTAL_BYTE_SIZE, len)
        .with(row_group::NUM_ROWS, Value::I64(claimed));
    let root = Struct::default()
        .with(4, Value::Binary(b"rows".to_vec()))
        .with(5, Value::I32(1));
    let leaf = Struct::default()
        .with(1, Value::I32(1))
        .with(3, Value::I32(1))
        .with(4, Value::Binary(b"v".to_vec()));
    let tree = Struct::default()
        .with(1, Value::I32(1))
        .with(2, Value::List(List::of_structs([root, leaf])))
        .with(file::NUM_ROWS, Value::I64(claimed))
        .with(file::ROW_GROUPS, Value::List(List::of_structs([group])));
    with_footer(bytes, &tree)
}

/// Clearing looks at a dictionary only where a page that it touches refers to it. The check behind it asked for one
/// regardless, and called what had been cleared damaged.
#[test]
fn what_was_cleared_beside_pages_without_their_dictionary_is_clear() {
    let pages: [(_, _, &[u8]); 2] = [
        (Encoding::PLAIN, 1, &[7, 0, 0, 0]),
        (Encoding::RLE_DICTIONARY, 1, &[1, 2, 0]),
    ];
    let sim = Sim::new(0);
    sim.put("old", numbers(2, &pages));
    let old = Shard::new("old", sim.open("old").unwrap()).unwrap();
    let clearing = Clearing::of(&old, Cleared::All, &BTreeSet::new());
    let rows = RoaringBitmap::from_iter([0]);
    assert!(!is_clear(&old, &rows, &clearing).unwrap());
    let mut new = sim.create("new", Access::State(None)).unwrap();
    clear(
        &old,
        &rows,
        &clearing,
        &mut *new.sink,
        &RewriteOptions::default(),
    )
    .unwrap();
    new.sink.flush().unwrap();
    sim.rename(&new.path, "new").unwrap();
    let new = Shard::new("new", sim.open("new").unwrap()).unwrap();
    assert!(is_clear(&new, &rows, &clearing).unwrap());
    // The one that is needed is still missed.
    let other = RoaringBitmap::from_iter([1]);
    is_clear(&new, &other, &clearing).unwrap_err();
}

/// Rows are counted by the footer: a row group that loses all it claims is left out, whatever its pages hold. To
/// the naive reader, which goes by the pages, such a file is damaged.
#[test]
fn a_row_group_that_claims_less_rows_than_its_pages_hold_is_damaged_to_the_oracle() {
    let pages: [(_, _, &[u8]); 1] = [(Encoding::PLAIN, 2, &[7, 0, 0, 0, 8, 0, 0, 0])];
    Contents::of(Bytes::from(numbers(2, &pages))).unwrap();
    Contents::of(Bytes::from(numbers(1, &pages))).unwrap_err();
}

/// The values of a column split into streams were sought by how many there should be, where other readers go by the
/// length of the streams.
#[test]
fn streams_with_a_value_too_many_are_read_by_their_length() {
    let split = |bytes: &[u8]| numbers(2, &[(Encoding::BYTE_STREAM_SPLIT, 2, bytes)]);
    assert_first_row_goes(split(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
    let sim = Sim::new(0);
    sim.put("torn", split(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    let torn = Shard::new("torn", sim.open("torn").unwrap()).unwrap();
    let rows = RoaringBitmap::from_iter([0]);
    let mut new = sim.create("new", Access::State(None)).unwrap();
    rewrite(&torn, &rows, &mut *new.sink, &RewriteOptions::default()).unwrap_err();
}
