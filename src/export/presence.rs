//! Whether rows hold a value.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

/// The array at a place, and whether the structs around it are there in each row.
pub(super) fn array_at(batch: &RecordBatch, place: &[usize]) -> (Option<ArrayRef>, Vec<bool>) {
    let mut is_there = vec![true; batch.num_rows()];
    let Some((first, fields)) = place.split_first() else {
        return (None, is_there);
    };
    let mut array = batch.columns().get(*first).cloned();
    for field in fields {
        let Some(around) = array.as_ref().and_then(|array| array.as_struct_opt()) else {
            return (None, is_there);
        };
        if let Some(nulls) = around.nulls() {
            is_there
                .iter_mut()
                .zip(nulls)
                .for_each(|(there, is_valid)| *there &= is_valid);
        }
        let inner = around.columns().get(*field).cloned();
        array = inner;
    }
    (array, is_there)
}

/// Whether each element of an array holds a value.
pub(super) fn has_value(array: &dyn Array) -> Vec<bool> {
    let len = array.len();
    let mut has = match array.data_type() {
        DataType::Struct(_) => {
            let mut any = vec![false; len];
            for column in array.as_struct().columns() {
                any.iter_mut()
                    .zip(has_value(column))
                    .for_each(|(any, has)| *any |= has);
            }
            any
        }
        DataType::List(_) => any_item::<i32>(array),
        DataType::LargeList(_) => any_item::<i64>(array),
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let items = has_value(list.values());
            let size = usize::try_from(list.value_length()).unwrap_or(0);
            let any = |row: usize| items.iter().skip(row * size).take(size).any(|has| *has);
            (0..len).map(any).collect()
        }
        DataType::Map(..) => {
            let offsets = array.as_map().offsets();
            offsets
                .windows(2)
                .map(|range| range.first() < range.last())
                .collect()
        }
        _ => vec![true; len],
    };
    if let Some(nulls) = array.logical_nulls() {
        has.iter_mut()
            .zip(&nulls)
            .for_each(|(has, is_valid)| *has &= is_valid);
    }
    has
}

fn any_item<O: OffsetSizeTrait>(array: &dyn Array) -> Vec<bool> {
    let list = array.as_list::<O>();
    let items = has_value(list.values());
    let any = |range: &[O]| match range {
        [start, end] => items
            .get(start.as_usize()..end.as_usize())
            .is_some_and(|items| items.contains(&true)),
        _ => false,
    };
    list.offsets().windows(2).map(any).collect()
}
