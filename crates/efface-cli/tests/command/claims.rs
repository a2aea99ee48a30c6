//! Shards whose footer claims more than there is, read by every command with 2 GiB of memory: each is refused, or read
//! as if the claim weren't there. Nothing is printed of a panic (every run checks that).

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray};
use efface::parquet_bytes::thrift::{List, Struct, Value};
use parquet::arrow::ArrowWriter;

use crate::lake::{self, Lake, SHARDS, alter, person};
use crate::limits::bounded;
use crate::refusals::{BAD_DATA, ON_ANY};

const MEMORY: &str = "-v 2097152";

/// Field numbers of `FileMetaData`, `SchemaElement` and `KeyValue`.
const SCHEMA: i16 = 2;
const ROW_GROUPS: i16 = 4;
const KEY_VALUES: i16 = 5;
const TYPE_LENGTH: i16 = 2;
const NUM_CHILDREN: i16 = 5;
const VALUE: i16 = 2;

fn edit_footer(bytes: &mut Vec<u8>, edit: impl FnOnce(&mut Struct)) {
    let tail = bytes.len() - 8;
    let len = u32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap());
    let at = tail - len as usize;
    let (mut footer, _) = Struct::read(&bytes[at..tail], "footer", 0).unwrap();
    edit(&mut footer);
    bytes.truncate(at);
    let footer = footer.to_bytes();
    bytes.extend_from_slice(&footer);
    bytes.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(b"PAR1");
}

fn items(footer: &mut Struct, field: i16) -> &mut Vec<Value> {
    &mut footer.list_mut(field).unwrap().items
}

/// Sets a field of an element of the schema; the root is element 0.
fn set_element(footer: &mut Struct, element: usize, field: i16, value: i32) {
    let Value::Struct(element) = &mut items(footer, SCHEMA)[element] else {
        panic!("a struct");
    };
    element.set(field, Value::I32(value));
}

/// Every command that reads the shard refuses it and names it.
#[track_caller]
fn refused(claim: impl Fn(&mut Struct)) {
    let lake = Lake::new();
    alter(&lake.at(SHARDS[1]), |bytes| edit_footer(bytes, claim));
    let before = lake.snapshot();
    for command in ON_ANY {
        let id = person(1);
        let mut options = vec!["--threads", "2"];
        if !matches!(command, "init" | "index" | "inspect") {
            options.extend(["--id", &id]);
        }
        let run = bounded(&lake, MEMORY, command, &options);
        assert_eq!(run.status, BAD_DATA, "{command}: {}", run.stderr);
        assert!(run.stderr.contains(SHARDS[1]), "{command}: {}", run.stderr);
    }
    assert!(lake.snapshot() == before);
}

#[test]
fn children_that_a_schema_claims_take_no_memory() {
    for claimed in [5, 1 << 20, i32::MAX, -1] {
        refused(|footer| set_element(footer, 0, NUM_CHILDREN, claimed));
        refused(|footer| set_element(footer, 1, NUM_CHILDREN, claimed));
    }
}

#[test]
fn a_schema_of_a_hundred_thousand_levels_takes_no_stack() {
    refused(|footer| {
        let group = Struct::default()
            .with(3, Value::I32(1))
            .with(4, Value::Binary(b"g".to_vec()))
            .with(NUM_CHILDREN, Value::I32(1));
        set_element(footer, 0, NUM_CHILDREN, 5);
        let groups = std::iter::repeat_n(Value::Struct(group), 100_000);
        let elements = items(footer, SCHEMA);
        let leaf = elements[1].clone();
        elements.extend(groups.chain([leaf]));
    });
}

#[test]
fn values_that_are_gigabytes_long_by_their_type_take_no_memory() {
    refused(|footer| {
        set_element(footer, 4, 1, 7);
        set_element(footer, 4, TYPE_LENGTH, i32::MAX);
    });
}

#[test]
fn row_groups_that_hold_no_columns_take_no_memory() {
    refused(|footer| {
        let group = Struct::default()
            .with(1, Value::List(List::of_structs([])))
            .with(2, Value::I64(0))
            .with(3, Value::I64(0));
        let groups = items(footer, ROW_GROUPS);
        groups.extend(std::iter::repeat_n(Value::Struct(group), 100_000));
    });
}

/// So many values of a type of 60 MiB are more than the memory.
const ROWS_OF_NULLS: usize = 40;

/// A dataset of one shard with a column of nulls, whose values have that length.
fn lake_of_nulls(length: i32) -> Lake {
    let lake = Lake::without_shards();
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values([person(1)]));
    let null: ArrayRef = Arc::new(FixedSizeBinaryArray::new_null(length, 1));
    let columns = [("distinct_id", ids, false), ("wide", null, true)];
    let row = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let path = lake.at("a.parquet");
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), row.schema(), None).unwrap();
    for _ in 0..ROWS_OF_NULLS {
        writer.write(&row).unwrap();
    }
    writer.close().unwrap();
    lake
}

#[test]
fn nulls_of_a_type_of_long_values_are_exported_in_short_batches() {
    let lake = lake_of_nulls(60 << 20);
    let id = person(1);
    for format in ["jsonl", "csv", "parquet", "arrow"] {
        let out = lake.beside(format);
        let out = out.to_str().unwrap();
        let options = ["--id", &id, "--format", format, "-o", out, "--threads", "1"];
        let run = bounded(&lake, MEMORY, "export", &options);
        assert_eq!(run.status, 0, "{format}: {}", run.stderr);
    }
    let exported = std::fs::read_to_string(lake.beside("jsonl")).unwrap();
    assert_eq!(exported.lines().count(), ROWS_OF_NULLS);
}

#[test]
fn an_arrow_schema_that_makes_the_reader_panic_is_left_aside() {
    let lake = Lake::new();
    let pristine = std::fs::read(lake.at(SHARDS[1])).unwrap();
    let id = person(1);
    let export = [
        "--id",
        &id,
        "--format",
        "jsonl",
        "-o",
        "-",
        "--threads",
        "1",
    ];
    let expected = lake.run_showing_rows("export", &export).stdout;
    assert!(!expected.is_empty());
    let mut taken = 0;
    // Numbers are at even places, their low byte first.
    for at in (0..600).step_by(2) {
        let mut bytes = pristine.clone();
        edit_footer(&mut bytes, |footer| change_hint(footer, at));
        lake::put(&lake.at(SHARDS[1]), bytes);
        let run = bounded(&lake, MEMORY, "export", &export);
        assert_eq!(run.status, 0, "{at}: {}", run.stderr);
        taken += usize::from(run.stdout == expected);
    }
    assert!(taken > 150, "{taken}");
}

/// Sets a byte of the writer's Arrow schema to a number that stands for nothing.
fn change_hint(footer: &mut Struct, at: usize) {
    use base64::Engine as _;
    let base64 = base64::prelude::BASE64_STANDARD;
    let Value::Struct(hint) = &mut items(footer, KEY_VALUES)[0] else {
        panic!("a struct");
    };
    let mut bytes = base64.decode(hint.binary(VALUE).unwrap()).unwrap();
    if let Some(byte) = bytes.get_mut(at) {
        *byte = 9;
    }
    hint.set(VALUE, Value::Binary(base64.encode(bytes).into_bytes()));
}
