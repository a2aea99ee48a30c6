//! Segments of batches that are being written, against those of the files that they became; and what building
//! reads of a file.

use crate::file_system::FileSystem;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Int64Array, LargeListArray, ListArray,
    ListViewArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::super::builder::SegmentBuilder;
use super::*;
use crate::io::ReadAt;
use crate::shard::Shard;
use crate::shard::batch_ids::BatchColumns;
use crate::shard::roles::Roles;

/// Values of a leaf; a row group has as many.
const VALUES: usize = 24;

/// What the arrays of one row group are made of.
#[derive(Debug, Clone)]
struct Rough {
    numbers: Vec<Option<i8>>,
    valid: Vec<bool>,
    lengths: Vec<usize>,
}

fn rough() -> impl Strategy<Value = Rough> {
    let numbers = prop::collection::vec(prop::option::weighted(0.8, any::<i8>()), VALUES);
    let valid = prop::collection::vec(prop::bool::weighted(0.8), VALUES);
    let lengths = prop::collection::vec(0..4_usize, VALUES / 4);
    (numbers, valid, lengths).prop_map(|(numbers, valid, lengths)| Rough {
        numbers,
        valid,
        lengths,
    })
}

/// Every type of a subject column.
fn leaves() -> Vec<DataType> {
    use DataType::*;
    let dictionary = |keys, values| Dictionary(Box::new(keys), Box::new(values));
    vec![
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(4),
        dictionary(Int32, Utf8),
        dictionary(UInt16, LargeUtf8),
        dictionary(Int16, Int64),
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Decimal32(7, 2),
        Decimal64(15, 1),
        Decimal128(5, 1),
        Decimal128(18, 3),
        Decimal128(30, 2),
        Decimal256(50, 4),
    ]
}

impl Rough {
    fn leaf(&self, of: &DataType) -> ArrayRef {
        let numbers = self.numbers.iter();
        let text = numbers
            .clone()
            .map(|number| number.map(|n| format!("{n:04}")));
        match of {
            DataType::FixedSizeBinary(_) => {
                let values = text.map(|text| text.map(|text| text.into_bytes()[..4].to_vec()));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 4).unwrap())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                let values = numbers.map(|number| number.map(|n| i64::from(n.unsigned_abs())));
                cast(&values.collect::<Int64Array>(), of).unwrap()
            }
            DataType::Dictionary(_, values) if **values == DataType::Int64 => {
                let values = numbers.map(|number| number.map(i64::from));
                cast(&values.collect::<Int64Array>(), of).unwrap()
            }
            of if of.is_numeric() => {
                let values = numbers.map(|number| number.map(i64::from));
                cast(&values.collect::<Int64Array>(), of).unwrap()
            }
            of => cast(&text.collect::<StringArray>(), of).unwrap(),
        }
    }

    fn nulls(&self, rows: usize) -> NullBuffer {
        NullBuffer::from(self.valid[..rows].to_vec())
    }

    fn offsets(&self) -> Vec<i32> {
        let mut end = 0;
        let ends = self.lengths.iter().map(|length| {
            end += i32::try_from(*length).unwrap();
            end
        });
        std::iter::once(0).chain(ends.collect::<Vec<_>>()).collect()
    }

    /// A column around a leaf, and the path to it.
    fn column(&self, of: &DataType, shape: usize) -> (ArrayRef, &'static str) {
        let leaf = self.leaf(of);
        let rows = self.lengths.len();
        let item = Arc::new(Field::new("item", leaf.data_type().clone(), true));
        let in_struct = |inner: ArrayRef, nulls: Option<NullBuffer>| -> ArrayRef {
            let other: ArrayRef = Arc::new(Int64Array::from(vec![7; inner.len()]));
            let fields = Fields::from(vec![
                Field::new("other", DataType::Int64, true),
                Field::new("x", inner.data_type().clone(), true),
            ]);
            Arc::new(StructArray::new(fields, vec![other, inner], nulls))
        };
        match shape {
            0 => (leaf, "id"),
            1 => (in_struct(leaf, Some(self.nulls(VALUES))), "id.x"),
            2 => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets()));
                let nulls = Some(self.nulls(rows));
                (Arc::new(ListArray::new(item, offsets, leaf, nulls)), "id")
            }
            3 => {
                let offsets: Vec<i64> = self.offsets().into_iter().map(i64::from).collect();
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let list = LargeListArray::new(item, offsets, leaf, Some(self.nulls(rows)));
                (in_struct(Arc::new(list), Some(self.nulls(rows))), "id.x")
            }
            4 => {
                let nulls = Some(self.nulls(VALUES / 2));
                (
                    Arc::new(FixedSizeListArray::new(item, 2, leaf, nulls)),
                    "id",
                )
            }
            5 => {
                // Views that overlap, or leave values out.
                let offsets: Vec<i32> = self.offsets().into_iter().rev().take(rows).collect();
                let sizes: Vec<i32> = self.lengths.iter().map(|_| 2).collect();
                let list = ListViewArray::new(
                    item,
                    ScalarBuffer::from(offsets),
                    ScalarBuffer::from(sizes),
                    leaf,
                    Some(self.nulls(rows)),
                );
                (Arc::new(list), "id")
            }
            _ => {
                let inner = in_struct(leaf, Some(self.nulls(VALUES)));
                let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
                let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets()));
                let nulls = Some(self.nulls(rows));
                let list = ListArray::new(item, offsets, inner, nulls);
                (Arc::new(list), "id.list.item.x")
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_segment_of_batches_is_that_of_the_file_which_they_are_written_to(
        row_groups in prop::collection::vec(rough(), 1..4),
        shape in 0..7_usize,
        cut in 0..3_usize,
        has_dictionary in any::<bool>(),
        memory in prop_oneof![Just(256), Just(1 << 20)],
    ) {
        for (number, of) in leaves().into_iter().enumerate() {
            // Each type in another shape, so that all pairs come up.
            let shape = (shape + number) % 7;
            let (mut batches, mut path) = (Vec::new(), "");
            for rough in &row_groups {
                let (column, at) = rough.column(&of, shape);
                path = at;
                let second = StringArray::from_iter_values(
                    (0..column.len()).map(|row| format!("second {}", row % 3)),
                );
                let columns: [(&str, ArrayRef, bool); 2] =
                    [("id", column, true), ("second", Arc::new(second), true)];
                let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
                batches.push(batch.slice(cut, batch.num_rows() - cut));
            }
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::new(dir.path());
    let state = StateFiles::new(disk.clone());
            let roles = Roles {
                subjects: vec![path.to_owned(), "second".to_owned()],
                ..Roles::default()
            };
            let properties = WriterProperties::builder()
                .set_dictionary_enabled(has_dictionary)
                .build();
            let file = File::create(dir.path().join("shard")).unwrap();
            let schema = batches[0].schema();
            let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).unwrap();
            let columns = BatchColumns::of(&schema, &roles, "shard").unwrap();
            let written = SegmentBuilder::new(&state, "written", SEED, memory);
            for (row_group, batch) in (5..).zip(&batches) {
                writer.write(batch).unwrap();
                writer.flush().unwrap();
                written.add_batch(row_group, batch, &columns).unwrap();
            }
            writer.close().unwrap();
            let read = SegmentBuilder::new(&state, "read", SEED, memory);
            let shard = Shard::new("shard", disk.open("shard").unwrap()).unwrap();
            read.add_shard(5, &shard, &roles.subjects(&shard).unwrap()).unwrap();
            let (written, read) = (written.finish(1, vec![]).unwrap(), read.finish(1, vec![]).unwrap());
            prop_assert_eq!(written, read, "{} in shape {}", of, shape);
            let bytes = |path| state::read(&state, path, 1 << 20).unwrap();
            prop_assert_eq!(bytes("written"), bytes("read"), "{} in shape {}", of, shape);
            prop_assert_eq!(state.list("").unwrap().len(), 3, "no run is left");
        }
    }
}

#[test]
fn a_batch_that_no_file_could_hold_is_refused() {
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let roles = |name: &str| Roles {
        subjects: vec![name.to_owned()],
        ..Roles::default()
    };
    let missing = BatchColumns::of(&batch.schema(), &roles("other"), "shard");
    assert!(matches!(missing, Err(Error::MissingColumn { .. })));
    let seconds: ArrayRef = Arc::new(arrow::array::TimestampSecondArray::from(vec![1]));
    let timed = RecordBatch::try_from_iter([("id", seconds)]).unwrap();
    let wrong = BatchColumns::of(&timed.schema(), &roles("id"), "shard");
    assert!(matches!(wrong, Err(Error::ColumnType { .. })));
    // Columns of one schema, a batch of another.
    let columns = BatchColumns::of(&batch.schema(), &roles("id"), "shard").unwrap();
    let mut seen = 0;
    assert!(columns.each(&timed, &mut |_, _| seen += 1).is_err());
    assert_eq!(seen, 0);
}

/// A file that writes down what was read of it.
struct Counting {
    file: Arc<dyn ReadAt>,
    reads: Arc<Mutex<Vec<Range<u64>>>>,
}

impl ReadAt for Counting {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        self.reads.lock().unwrap().push(offset..end);
        self.file.read_at(offset, buffer)
    }
}

#[test]
fn data_pages_are_read_only_where_a_chunk_is_not_dictionary_encoded_throughout() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let state = StateFiles::new(disk.clone());
    let rows = 200_000;
    // 5000 ids in dictionaries; 36-character ids of which a dictionary can't hold all.
    let few =
        StringArray::from_iter_values((0..rows).map(|row| format!("{:x}", row * 7919 % 5000)));
    let many = StringArray::from_iter_values((0..rows).map(|row| format!("{row:036}")));
    let columns: [(&str, ArrayRef); 3] = [
        ("few", Arc::new(few.clone())),
        ("many", Arc::new(many)),
        ("also_few", Arc::new(few)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows / 2))
        .build();
    let file = File::create(dir.path().join("shard")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let reads = Arc::new(Mutex::new(Vec::new()));
    let counting = Counting {
        file: disk.open("shard").unwrap(),
        reads: Arc::clone(&reads),
    };
    let shard = Shard::new("shard", Arc::new(counting)).unwrap();
    let build = |names: &[&str]| {
        let roles = Roles {
            subjects: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Roles::default()
        };
        let columns = roles.subjects(&shard).unwrap();
        reads.lock().unwrap().clear();
        let builder = SegmentBuilder::new(&state, "segment", SEED, 1 << 20);
        builder.add_shard(0, &shard, &columns).unwrap();
        builder.finish(1, vec![]).unwrap();
        reads.lock().unwrap().clone()
    };
    let data_pages = |leaf: usize| {
        let groups = shard.footer.row_groups().iter();
        groups.map(move |group| {
            let chunk = &group.chunks[leaf];
            let dictionary_end = chunk.range.start + (96 << 10);
            dictionary_end..chunk.range.end
        })
    };
    let touches = |reads: &[Range<u64>], pages: &Range<u64>| {
        let read: u64 = reads
            .iter()
            .map(|read| {
                let (start, end) = (read.start.max(pages.start), read.end.min(pages.end));
                end.saturating_sub(start)
            })
            .sum();
        read > 0
    };
    // Both columns in one pass, and nothing but their dictionaries: 5000 short ids are below 96 KiB.
    let reads = build(&["few", "also_few"]);
    for leaf in 0..3 {
        for pages in data_pages(leaf) {
            assert!(
                pages.end - pages.start > 64 << 10,
                "there is something not to read"
            );
            assert!(!touches(&reads, &pages), "leaf {leaf}: {pages:?}");
        }
    }
    let reads = build(&["few", "many"]);
    for (leaf, is_read) in [(0, false), (1, true), (2, false)] {
        for pages in data_pages(leaf) {
            assert_eq!(touches(&reads, &pages), is_read, "leaf {leaf}: {pages:?}");
        }
    }
    // Whole and once: what overflowed the dictionary is there too.
    let segment = Segment::open(disk.map("segment").unwrap(), "segment", SEED).unwrap();
    assert_eq!(segment.tail().hashes, 5000 + rows as u64);
    let whole: u64 = data_pages(1).map(|pages| pages.end - pages.start).sum();
    let read: u64 = reads.iter().map(|read| read.end - read.start).sum();
    assert!(read < whole + whole / 4 + (2 << 20), "{read} of {whole}");
}
