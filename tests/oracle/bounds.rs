//! Whether the page index of a file holds for the values of each page, as the naive reader sees them.

use std::fs::File;
use std::path::Path;

use parquet::basic::SortOrder;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::Contents;

/// Checks every page of every chunk that has a column index; says how many pages that were.
pub(crate) fn check_page_index(path: &Path, contents: &Contents) -> usize {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = reader.parse_and_finish(&File::open(path).unwrap()).unwrap();
    let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else {
        return 0;
    };
    let mut checked = 0;
    for (number, group) in contents.row_groups.iter().enumerate() {
        for (leaf, rows) in group.leaves.iter().enumerate() {
            let index = &columns[number][leaf];
            if matches!(index, ColumnIndexMetaData::NONE) {
                continue;
            }
            let meta = metadata.row_group(number).column(leaf);
            let locations = offsets[number][leaf].page_locations();
            let starts = locations
                .iter()
                .map(|page| usize::try_from(page.first_row_index).unwrap());
            let starts: Vec<usize> = starts.chain([rows.len()]).collect();
            for (page, ends) in starts.windows(2).enumerate() {
                let cells = || rows[ends[0]..ends[1]].iter().flatten();
                let values: Vec<&[u8]> = cells().filter_map(|cell| cell.2.as_deref()).collect();
                let what = format!(
                    "page {page} of {} in row group {number}",
                    meta.column_path()
                );
                // The crate's writer takes a page of a repeated column for one of nulls when it has as many
                // nulls as rows.
                let is_repeated = meta.column_descr().max_rep_level() > 0;
                if is_repeated && index.is_null_page(page) && !values.is_empty() {
                    continue;
                }
                assert_eq!(index.is_null_page(page), values.is_empty(), "{what}");
                if let Some(nulls) = index.null_count(page) {
                    let found = cells().count() - values.len();
                    assert_eq!(nulls, i64::try_from(found).unwrap(), "{what}");
                }
                check_bounds(meta, index, page, &values, &what);
                checked += 1;
            }
        }
    }
    checked
}

fn check_bounds(
    meta: &ColumnChunkMetaData,
    index: &ColumnIndexMetaData,
    page: usize,
    values: &[&[u8]],
    what: &str,
) {
    let order = meta.column_descr().sort_order();
    match (index, order) {
        (ColumnIndexMetaData::INT64(index), SortOrder::SIGNED) => {
            let values = values
                .iter()
                .map(|value| i64::from_le_bytes((*value).try_into().unwrap()));
            let found = (
                index.min_value(page).copied(),
                index.max_value(page).copied(),
            );
            assert_eq!(found, (values.clone().min(), values.max()), "{what}");
        }
        (ColumnIndexMetaData::INT32(index), SortOrder::SIGNED) => {
            let values = values
                .iter()
                .map(|value| i32::from_le_bytes((*value).try_into().unwrap()));
            let found = (
                index.min_value(page).copied(),
                index.max_value(page).copied(),
            );
            assert_eq!(found, (values.clone().min(), values.max()), "{what}");
        }
        (ColumnIndexMetaData::DOUBLE(index), SortOrder::SIGNED) => {
            let values = values
                .iter()
                .map(|value| f64::from_le_bytes((*value).try_into().unwrap()));
            for value in values.filter(|value| !value.is_nan()) {
                assert!(
                    index.min_value(page).is_some_and(|min| *min <= value),
                    "{what}"
                );
                assert!(
                    index.max_value(page).is_some_and(|max| *max >= value),
                    "{what}"
                );
            }
        }
        (ColumnIndexMetaData::BYTE_ARRAY(index), SortOrder::UNSIGNED) => {
            for value in values {
                assert!(
                    index.min_value(page).is_some_and(|min| min <= *value),
                    "{what}"
                );
                assert!(
                    index.max_value(page).is_some_and(|max| max >= *value),
                    "{what}"
                );
            }
        }
        _ => {}
    }
}
