//! Files that fuzzing found to be mishandled, made anew: each is rewritten into what the naive filter leaves.

mod oracle;

use std::sync::Arc;

use bytes::Bytes;
use efface::Shard;
use efface::parquet_bytes::footer::{Footer, MAGIC, chunk, column, file, row_group};
use efface::parquet_bytes::thrift::{List, Struct, Value};
use efface::shard::rewrite::{RewriteOptions, rewrite};
use efface::storage::Storage;
use efface::storage::sim::Sim;
use oracle::Contents;
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
    let shard = Shard::open(&sim, "old").unwrap();
    let mut sink = sim.create("new", None).unwrap();
    let rows = RoaringBitmap::from_iter([0]);
    rewrite(&shard, &rows, &mut *sink, &RewriteOptions::default()).unwrap();
    sink.flush().unwrap();
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
