//! Edits of the footer's trees: moved offsets, and what no longer holds.

use crate::parquet_bytes::footer::{chunk, column, meta_data, row_group};
use crate::parquet_bytes::thrift::{Struct, Value};

pub(super) fn shift(tree: &mut Struct, field: i16, delta: i64) {
    if let Some(offset) = tree.i64(field).filter(|offset| *offset != 0) {
        tree.set(field, Value::I64(offset.saturating_add(delta)));
    }
}

pub(super) fn set_bloom(chunk: &mut Struct, place: Option<(u64, u64)>) {
    if let Some(meta) = chunk.structure_mut(chunk::META_DATA) {
        set_place(
            meta,
            column::BLOOM_FILTER_OFFSET,
            column::BLOOM_FILTER_LENGTH,
            place,
        );
    }
}

pub(super) fn set_place(tree: &mut Struct, offset: i16, length: i16, place: Option<(u64, u64)>) {
    tree.set_or_remove(offset, place.map(|(at, _)| int64(at)));
    let len = place.and_then(|(_, len)| i32::try_from(len).ok());
    tree.set_or_remove(length, len.map(Value::I32));
}

/// A row group's `file_offset`, where it is used, is that of its first page.
pub(super) fn set_file_offset(group: &mut Struct, chunks: &[Struct]) {
    if group
        .i64(row_group::FILE_OFFSET)
        .is_none_or(|offset| offset == 0)
    {
        return;
    }
    let first = chunks
        .iter()
        .filter_map(meta_data)
        .filter_map(|meta| {
            meta.i64(column::DICTIONARY_PAGE_OFFSET)
                .or(meta.i64(column::DATA_PAGE_OFFSET))
        })
        .min();
    group.set_or_remove(row_group::FILE_OFFSET, first.map(Value::I64));
}

/// Rows whose values of a column changed are no longer sorted by it, nor by those that come after it.
pub(super) fn cut_sorting(group: &mut Struct, changed: &[bool]) {
    const COLUMN: i16 = 1;
    let Some(sorting) = group.list_mut(row_group::SORTING_COLUMNS) else {
        return;
    };
    let is_changed = |column: &Value| {
        let Value::Struct(column) = column else {
            return false;
        };
        let column = column.i32(COLUMN).and_then(|at| usize::try_from(at).ok());
        column.is_none_or(|at| changed.get(at).copied().unwrap_or(true))
    };
    if let Some(first) = sorting.items.iter().position(is_changed) {
        sorting.items.truncate(first);
        if first == 0 {
            group.remove(row_group::SORTING_COLUMNS);
        }
    }
}

pub(super) fn int64(value: u64) -> Value {
    Value::I64(i64::try_from(value).unwrap_or(i64::MAX))
}
