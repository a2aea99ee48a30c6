//! Parquet tables that are damaged or lie.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::parquet_bytes::footer::{Footer, MAGIC, chunk, column, file, row_group};
use crate::parquet_bytes::thrift::{Struct, Value};

#[test]
fn a_parquet_table_cut_at_any_place_is_refused() {
    let texts = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
    let whole = parquet(vec![("alias", texts()), ("distinct_id", texts())]);
    for length in 0..whole.len() {
        let _error = refused(&whole[..length]);
    }
}

#[test]
fn damage_to_a_parquet_table_never_ends_in_a_panic() {
    let ids = |name: &str| {
        (0..40)
            .map(|id| format!("{name}{}", id % 9))
            .collect::<Vec<_>>()
    };
    let numbers = Int64Array::from_iter_values((0..40).map(|id| id * id));
    let texts = StringArray::from(ids("a"));
    let columns: [Vec<(&str, ArrayRef)>; 2] = [
        vec![
            ("alias", Arc::new(texts.clone())),
            ("distinct_id", Arc::new(numbers)),
        ],
        vec![
            ("alias", Arc::new(BinaryArray::from_iter_values(ids("b")))),
            ("distinct_id", Arc::new(texts)),
        ],
    ];
    let table = AliasTable::new("aliases");
    let mut refused = 0;
    for whole in columns.map(parquet) {
        for at in 0..whole.len() {
            for mask in [0x01, 0x10, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= mask;
                let file: Arc<dyn ReadAt> = Arc::new(Mapped::new(damaged));
                let load = || IdentityGraph::load(Arc::clone(&file), &table).map(drop);
                let read = catch_unwind(AssertUnwindSafe(load));
                let read = read.unwrap_or_else(|_| panic!("byte {at} xor {mask:#x}"));
                refused += usize::from(read.is_err());
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn a_parquet_table_whose_footer_counts_less_or_more_than_its_pages_hold_is_refused() {
    let texts = || Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef;
    let whole = parquet(vec![("alias", texts()), ("distinct_id", texts())]);
    assert_eq!(load(&recounted(&whole, 3)).unwrap().ids(), 3);
    for rows in [1, 2, 4] {
        let error = refused(&recounted(&whole, rows)).to_string();
        assert!(error.contains(&format!("says {rows}")), "{rows}: {error}");
    }
}

/// The same table with a footer that says it has `rows` rows.
fn recounted(table: &[u8], rows: i64) -> Vec<u8> {
    let footer = Footer::read(&Mapped::new(table.to_vec())).unwrap();
    let mut tree = footer.tree().clone();
    tree.set(file::NUM_ROWS, Value::I64(rows));
    for group in structs(&mut tree, file::ROW_GROUPS) {
        group.set(row_group::NUM_ROWS, Value::I64(rows));
        for chunk in structs(group, row_group::COLUMNS) {
            let meta = chunk.structure_mut(chunk::META_DATA).unwrap();
            meta.set(column::NUM_VALUES, Value::I64(rows));
        }
    }
    let bytes = tree.to_bytes();
    let mut table = table[..usize::try_from(footer.offset).unwrap()].to_vec();
    table.extend_from_slice(&bytes);
    table.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
    table.extend_from_slice(&MAGIC);
    table
}

fn structs(of: &mut Struct, field: i16) -> impl Iterator<Item = &mut Struct> {
    let items = &mut of.list_mut(field).unwrap().items;
    items.iter_mut().filter_map(|item| match item {
        Value::Struct(item) => Some(item),
        _ => None,
    })
}
