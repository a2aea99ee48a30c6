//! The codecs that pages are compressed with, and the page filter of each encoding, next to copying the same bytes.
//!
//! ```sh
//! cargo bench --bench codec                                  # on a dataset that it has generated first
//! EFFACE_BENCH_DATASET=DIR cargo bench --bench codec         # codecs: on the shards of a directory of your own
//! EFFACE_BENCH_FULL=1 cargo bench --bench codec              # the full size
//! cargo bench --bench codec -- filter                        # just the encodings
//! ```
//!
//! # Codecs
//! The first 64 MiB of page bodies (512 MiB in full) of the dataset that [`lake`] tells of, without compression, in
//! memory, on all cores.
//!
//! | figure | is |
//! |---|---|
//! | `copy` | the limit: each body copied |
//! | `compress/C`, `decompress/C` | each body compressed by codec `C` as a rewrite does, and back |
//!
//! Throughputs are of bytes without compression; the compressed share is printed as well. What a rewrite can't be faster
//! than is the sum of both for the pages that it edits (`codec/N` of the bench `rewrite`).
//!
//! # Encodings
//! One column chunk of 1 million rows (10 million in full) without nulls, in pages of 20,000 rows, not compressed, in
//! memory, on one thread. One row in a hundred goes, drawn evenly (seed 1), so every page is edited.
//!
//! | column | values |
//! |---|---|
//! | numbers | a random walk with steps below 1000 |
//! | floats | the same, a hundredth of it |
//! | text | `event-` and a number below 1000, drawn evenly |
//! | booleans | one in ten true, drawn evenly |
//!
//! | figure | is |
//! |---|---|
//! | `copy/E` | the limit: the bytes of the chunk copied |
//! | `decode/E` | the parquet crate reads all values into Arrow arrays |
//! | `filter/E` | the chunk without those rows, new statistics and page headers included |
//!
//! As a test (`cargo test --benches`) everything runs once, on `data-samples/` and 10,000 rows.
#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without docs"
)]

mod lake;

use std::cell::LazyCell;
use std::hint::black_box;
use std::io;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efface::file_system::FileSystem;
use efface::io::ReadAt;
use efface::parquet_bytes::codec::{Codec, Codecs};
use efface::parquet_bytes::page_walk::PageWalk;
use efface::shard::chunk::erasure::{Erasure, What};
use efface::shard::chunk::level::ZstdLevel;
use efface::shard::chunk::{Source, Tools, without};
use efface::{Disk, Shard};
use lake::Lake;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::properties::{WriterProperties, WriterVersion};
use rayon::prelude::*;

const MIB: usize = 1 << 20;
const PAGE_ROWS: usize = 20_000;
const BATCH_ROWS: usize = 8_192;

/// Name, codec, and the level, of zstd alone.
const CODECS: [(&str, Codec, i32); 7] = [
    ("snappy", Codec::Snappy, 0),
    ("lz4_raw", Codec::Lz4Raw, 0),
    ("lz4_hadoop", Codec::Lz4Hadoop, 0),
    ("zstd_1", Codec::Zstd, 1),
    ("zstd_3", Codec::Zstd, 3),
    ("gzip_6", Codec::Gzip, 0),
    ("brotli_5", Codec::Brotli, 0),
];

/// Page bodies without compression, up to `bytes` of them.
fn bodies(lake: &Lake, bytes: usize) -> Vec<Vec<u8>> {
    let disk = Disk::new(lake.root());
    let mut codecs = Codecs::default();
    let mut bodies = Vec::new();
    let mut left = bytes;
    for path in &lake.shards {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        let shard = Shard::new(name, disk.open(name).unwrap()).unwrap();
        for chunk in shard
            .footer
            .row_groups()
            .iter()
            .flat_map(|group| &group.chunks)
        {
            let mut walk = PageWalk::new(Arc::clone(&shard.file), chunk.range.clone());
            while let Some(header) = walk.peek().unwrap() {
                let mut body = Vec::new();
                let packed = walk.body(&header).unwrap();
                header
                    .decompress(packed, chunk.codec, &mut codecs, &mut body)
                    .unwrap();
                if body.len() > left {
                    return bodies;
                }
                left -= body.len();
                bodies.push(body);
                walk.skip(&header);
            }
        }
    }
    bodies
}

fn contexts(level: i32) -> (Codecs, Vec<u8>) {
    let mut codecs = Codecs::default();
    codecs.set_zstd_level(level);
    (codecs, Vec::new())
}

/// Each body compressed, and its length without.
fn packed(bodies: &[Vec<u8>], name: &str, codec: Codec, level: i32) -> Vec<(Vec<u8>, usize)> {
    let all: Vec<(Vec<u8>, usize)> = bodies
        .par_iter()
        .map_init(
            || contexts(level).0,
            |codecs, body| {
                let mut packed = Vec::new();
                codecs.compress(codec, body, &mut packed).unwrap();
                (packed, body.len())
            },
        )
        .collect();
    let bytes: usize = all.iter().map(|(packed, _)| packed.len()).sum();
    let plain_bytes: usize = all.iter().map(|(_, len)| len).sum();
    println!("{name}: {bytes} of {plain_bytes} bytes");
    all
}

fn codecs(criterion: &mut Criterion) {
    let lake = Lake::new();
    let bodies = bodies(&lake, if lake::is_full() { 512 } else { 64 } * MIB);
    let plain_bytes: usize = bodies.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group("codec");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(plain_bytes as u64));
    let each = |codec: Codec, level: i32| -> usize {
        let lengths = bodies.par_iter().map_init(
            || contexts(level),
            |(codecs, out), body| {
                out.clear();
                codecs.compress(codec, body, out).unwrap();
                black_box(&out).len()
            },
        );
        lengths.sum()
    };
    group.bench_function("copy", |bencher| {
        bencher.iter(|| each(Codec::Uncompressed, 0));
    });
    for (name, codec, level) in CODECS {
        group.bench_function(BenchmarkId::new("compress", name), |bencher| {
            bencher.iter(|| each(codec, level));
        });
        let packed = LazyCell::new(|| packed(&bodies, name, codec, level));
        group.bench_function(BenchmarkId::new("decompress", name), |bencher| {
            let packed = &*packed;
            bencher.iter(|| {
                packed.par_iter().for_each_init(
                    || contexts(level),
                    |(codecs, out), (packed, len)| {
                        out.clear();
                        codecs.decompress(codec, packed, *len, out, 0).unwrap();
                        black_box(&out);
                    },
                );
            });
        });
    }
    group.finish();
}

/// A file in memory.
struct Memory(Bytes);

impl ReadAt for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = self.0.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Random numbers: the upper bits of a linear congruential generator (Knuth, MMIX).
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn walk(rows: usize) -> impl Iterator<Item = i64> {
    let mut draws = Draws(1);
    let steps = std::iter::repeat_with(move || i64::try_from(draws.below(1000)).unwrap());
    steps.take(rows).scan(0, |sum, step| {
        *sum += step;
        Some(*sum)
    })
}

fn numbers(rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(walk(rows)))
}

#[expect(clippy::cast_precision_loss, reason = "any float will do")]
fn floats(rows: usize) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(
        walk(rows).map(|number| number as f64 / 100.0),
    ))
}

fn text(rows: usize) -> ArrayRef {
    let mut draws = Draws(1);
    let values = (0..rows).map(|_| format!("event-{}", draws.below(1000)));
    Arc::new(StringArray::from_iter_values(values))
}

fn booleans(rows: usize) -> ArrayRef {
    let mut draws = Draws(1);
    let values = (0..rows).map(|_| Some(draws.below(10) == 0));
    Arc::new(values.collect::<BooleanArray>())
}

/// A file of one column chunk.
fn file(column: ArrayRef, encoding: Encoding) -> Bytes {
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(None)
        .set_dictionary_enabled(encoding == Encoding::RLE_DICTIONARY);
    let properties = match encoding {
        Encoding::RLE_DICTIONARY => properties,
        encoding => properties.set_encoding(encoding),
    };
    let batch = RecordBatch::try_from_iter([("column", column)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

/// Whether all data pages have an encoding.
fn is_all(source: &Source<'_>, encoding: Encoding) -> bool {
    let mut walk = PageWalk::new(Arc::clone(source.file), source.chunk.range.clone());
    while let Some(header) = walk.peek().unwrap() {
        if header
            .kind
            .data_encoding()
            .is_some_and(|its| its != encoding)
        {
            return false;
        }
        walk.skip(&header);
    }
    true
}

fn decode(file: &Bytes) -> usize {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let batches = reader.with_batch_size(BATCH_ROWS).build().unwrap();
    batches
        .map(|batch| black_box(batch.unwrap()).num_rows())
        .sum()
}

fn encodings(criterion: &mut Criterion) {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let rows = match (is_measured, lake::is_full()) {
        (false, _) => 10_000,
        (true, false) => 1_000_000,
        (true, true) => 10_000_000,
    };
    let mut draws = Draws(1);
    let gone: Vec<u32> = (0..u32::try_from(rows).unwrap())
        .filter(|_| draws.below(100) == 0)
        .collect();
    let columns: [(&str, ArrayRef, Encoding); 9] = [
        ("plain_numbers", numbers(rows), Encoding::PLAIN),
        ("plain_text", text(rows), Encoding::PLAIN),
        ("plain_booleans", booleans(rows), Encoding::PLAIN),
        ("rle_booleans", booleans(rows), Encoding::RLE),
        ("dictionary_text", text(rows), Encoding::RLE_DICTIONARY),
        (
            "delta_numbers",
            numbers(rows),
            Encoding::DELTA_BINARY_PACKED,
        ),
        (
            "delta_length_text",
            text(rows),
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
        ),
        ("delta_text", text(rows), Encoding::DELTA_BYTE_ARRAY),
        (
            "byte_stream_split_floats",
            floats(rows),
            Encoding::BYTE_STREAM_SPLIT,
        ),
    ];
    let mut group = criterion.benchmark_group("encoding");
    group.sample_size(10);
    group.throughput(Throughput::Elements(rows as u64));
    let mut tools = Tools::default();
    for (name, column, encoding) in columns {
        let bytes = file(column, encoding);
        let shard = Shard::new("memory", Arc::new(Memory(bytes.clone()))).unwrap();
        let source = Source::of(&shard, 0, 0).unwrap();
        assert!(is_all(&source, encoding), "{name}: another encoding");
        let range = source.chunk.range.clone();
        let chunk =
            bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
        println!("{name}: {} bytes", chunk.len());
        group.bench_function(BenchmarkId::new("copy", name), |bencher| {
            bencher.iter(|| black_box(chunk.to_vec()));
        });
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| assert_eq!(decode(&bytes), rows));
        });
        let erasure = Erasure {
            rows: &gone,
            what: What::Rows,
        };
        group.bench_function(BenchmarkId::new("filter", name), |bencher| {
            bencher.iter(|| {
                let new = without(&source, &erasure, false, ZstdLevel::Auto, &mut tools).unwrap();
                assert_eq!(new.values_gone, gone.len() as u64);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codecs, encodings);
criterion_main!(benches);
