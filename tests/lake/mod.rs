//! Small shards of events, in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

/// Rows of a row group of [`shard_of`].
pub(crate) const ROW_GROUP_ROWS: usize = 10;

/// A shard with one event for each id.
pub(crate) fn shard_of(ids: &[&str]) -> Vec<u8> {
    let numbers = 0..i64::try_from(ids.len()).unwrap();
    let texts = numbers.clone().map(|number| format!("event {number}"));
    let columns: [(&str, ArrayRef); 3] = [
        (
            "distinct_id",
            Arc::new(StringArray::from_iter_values(ids.iter())),
        ),
        ("number", Arc::new(Int64Array::from_iter_values(numbers))),
        ("text", Arc::new(StringArray::from_iter_values(texts))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// The ids of a shard, row by row, read with a reader that has nothing in common with efface.
pub(crate) fn ids_of(shard: &[u8]) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(shard));
    ids_in(reader.unwrap().build().unwrap().map(|batch| batch.unwrap()))
}

/// The ids of some batches, row by row.
pub(crate) fn ids_in(batches: impl Iterator<Item = RecordBatch>) -> Vec<String> {
    let mut ids = Vec::new();
    for batch in batches {
        let column = batch.column_by_name("distinct_id").unwrap();
        let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap();
        let column = column.as_any().downcast_ref::<StringArray>().unwrap();
        ids.extend(column.iter().map(|id| id.unwrap().to_owned()));
    }
    ids
}
