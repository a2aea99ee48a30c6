//! Whether the page index of a file holds for the values of each page, as the naive reader sees them.

use parquet::basic::SortOrder;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

use super::{Cell, Contents};

/// Checks every page of every chunk that has a column index; says how many pages that were.
pub(crate) fn check_page_index(file: &impl ChunkReader, contents: &Contents) -> usize {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = reader.parse_and_finish(file).unwrap();
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

/// Bounds hold for every value and are attained, null counts are those of the values.
pub(crate) fn check_statistics(file: impl ChunkReader + 'static, contents: &Contents) {
    let reader = SerializedFileReader::new(file).unwrap();
    for (number, group) in contents.row_groups.iter().enumerate() {
        for (leaf, rows) in group.leaves.iter().enumerate() {
            let meta = reader.metadata().row_group(number).column(leaf);
            check_sizes(meta, rows);
            let Some(statistics) = meta.statistics() else {
                continue;
            };
            let cells = || rows.iter().flatten();
            let nulls = cells().filter(|cell| cell.2.is_none()).count();
            assert_eq!(
                statistics.null_count_opt(),
                Some(nulls as u64),
                "{}",
                meta.column_path()
            );
            let values: Vec<&Vec<u8>> = cells().filter_map(|cell| cell.2.as_ref()).collect();
            let least = |of: &[i64]| (of.iter().min().copied(), of.iter().max().copied());
            match statistics {
                Statistics::Int64(found)
                    if meta.column_descr().sort_order() == SortOrder::SIGNED =>
                {
                    let of: Vec<i64> = values
                        .iter()
                        .map(|value| i64::from_le_bytes(value.as_slice().try_into().unwrap()))
                        .collect();
                    assert_eq!(
                        (found.min_opt().copied(), found.max_opt().copied()),
                        least(&of)
                    );
                }
                Statistics::ByteArray(_) => {
                    let (min, max) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
                    let exact = (
                        values.iter().min().map(|v| v.as_slice()),
                        values.iter().max().map(|v| v.as_slice()),
                    );
                    if statistics.min_is_exact() {
                        assert_eq!(min, exact.0, "{}", meta.column_path());
                    }
                    if statistics.max_is_exact() {
                        assert_eq!(max, exact.1, "{}", meta.column_path());
                    }
                    assert!(min <= exact.0 && max >= exact.1, "{}", meta.column_path());
                }
                _ => {}
            }
        }
    }
}

/// Bytes and levels are counted right, where they are.
fn check_sizes(meta: &ColumnChunkMetaData, rows: &[Vec<Cell>]) {
    let what = meta.column_path();
    if let Some(bytes) = meta.unencoded_byte_array_data_bytes() {
        let values = rows.iter().flatten().filter_map(|cell| cell.2.as_ref());
        let found: usize = values.map(Vec::len).sum();
        assert_eq!(bytes, i64::try_from(found).unwrap(), "{what}");
    }
    let levels = [
        meta.repetition_level_histogram(),
        meta.definition_level_histogram(),
    ];
    for (is_definition, histogram) in [false, true].into_iter().zip(levels) {
        let level = |cell: &Cell| if is_definition { cell.1 } else { cell.0 };
        for (at, count) in histogram
            .iter()
            .flat_map(|histogram| histogram.values())
            .enumerate()
        {
            let found = rows
                .iter()
                .flatten()
                .filter(|cell| usize::try_from(level(cell)) == Ok(at));
            assert_eq!(
                *count,
                i64::try_from(found.count()).unwrap(),
                "{what}, level {at}"
            );
        }
    }
}
