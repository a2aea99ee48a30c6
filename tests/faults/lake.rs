//! A small lake in memory, and a delete from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use efface::config::Config;
use efface::engine::{Engine, EngineOptions};
use efface::erase::delete::DeleteOptions;
use efface::file_system::{FileSystem, TEMPORARY_SUFFIX};
use efface::request::{Disclosure, Request, RequiredColumns, Subjects, Unknown};
use efface::state::files::StateFiles;
use efface::testing::sim::Sim;
use efface::{DeleteReport, Result, limits};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

/// Is part of every id that is erased, and of nothing else.
pub(crate) const MARK: &[u8] = b"@gone";

/// Who is erased.
pub(crate) const VICTIMS: [&str; 3] = ["ada@gone", "laptop@gone", "eve@gone"];

/// Checksums of a shard that is rewritten, of one that is emptied, of one that stays, and of the alias table.
pub(crate) const SIDECARS: [&str; 4] = [
    ".a.parquet.crc",
    "c.parquet.sha256",
    ".b.parquet.crc",
    ".aliases.csv.crc",
];

/// What [`SIDECARS`] hold.
pub(crate) const OF_OLD_BYTES: &str = "a checksum of the old bytes";

/// The file that a checksum describes.
pub(crate) fn described(sidecar: &str) -> String {
    let name = sidecar.trim_start_matches('.');
    name.rsplit_once('.').unwrap().0.to_owned()
}

/// Bytes by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Four shards, of which the deletes touch three and empty one; an alias table; a summary.
pub(crate) fn lake(config: &Config, is_indexed: bool) -> Sim {
    let sim = Sim::new(0);
    let shard = |victim: &'static str, every: usize| {
        let id = move |row: usize| {
            if row.is_multiple_of(every) {
                victim
            } else {
                ["bob", "cyd"][row % 2]
            }
        };
        (0..35).map(id).collect::<Vec<_>>()
    };
    sim.put("a.parquet", shard_of(&shard("ada@gone", 7)));
    sim.put("b.parquet", shard_of(&shard("bob", 2)));
    sim.put("c.parquet", shard_of(&shard("eve@gone", 1)[..15]));
    sim.put("d=1/d.parquet", shard_of(&shard("laptop@gone", 12)));
    sim.put(
        "aliases.csv",
        "alias,distinct_id\nlaptop@gone,ada@gone\nphone,bob\n",
    );
    sim.put("_metadata", "stale soon");
    for path in SIDECARS {
        sim.put(path, OF_OLD_BYTES);
    }
    sim.put("_efface/key", "0123456789abcdef".repeat(4));
    config.store(&StateFiles::new(sim.clone())).unwrap();
    if is_indexed {
        engine(&sim, config).refresh().unwrap();
    }
    sim
}

/// The dataset on `sim`.
pub(crate) fn engine(sim: &Sim, config: &Config) -> Engine {
    engine_with(sim, config, limits::MEMORY_BYTES)
}

/// The same, with so much memory.
pub(crate) fn engine_with(sim: &Sim, config: &Config, memory: u64) -> Engine {
    let options = EngineOptions {
        memory,
        // What one thread does is the same in every run.
        seed_if_new: 7,
        ..EngineOptions::overriding(config.clone())
    };
    Engine::open_files(sim.clone(), options).unwrap()
}

/// Deletes the [`VICTIMS`].
pub(crate) fn delete(
    sim: &Sim,
    config: &Config,
    disclosure: Disclosure,
    unknown: Unknown,
) -> Result<DeleteReport> {
    delete_with(sim, config, disclosure, unknown, limits::MEMORY_BYTES)
}

/// The same, with so much memory.
pub(crate) fn delete_with(
    sim: &Sim,
    config: &Config,
    disclosure: Disclosure,
    unknown: Unknown,
    memory: u64,
) -> Result<DeleteReport> {
    let request = Request {
        disclosure,
        required_columns: RequiredColumns::Default,
        unknown,
        max_match: 1.0,
        ..Request::delete(
            Subjects::new(VICTIMS)?,
            "2026-01-31T12:00:00Z".parse().unwrap(),
        )
    };
    engine_with(sim, config, memory).delete(&request, None, &DeleteOptions::default())
}

/// So little memory that each shard is a batch of its own.
pub(crate) const ONE_BY_ONE: u64 = 1 << 14;

/// Every file with its bytes, except efface's own (index, receipts with their times, ..).
pub(crate) fn files(sim: &Sim) -> Files {
    let mut files = sim.all();
    files.retain(|path, _| !path.starts_with("_efface/") || path == Config::PATH);
    files
}

/// Whether it is one of efface's temporary files.
pub(crate) fn is_temporary(path: &str) -> bool {
    path.ends_with(TEMPORARY_SUFFIX)
}

/// Whether it belongs to a request that waits, or to a pass that is under way.
pub(crate) fn is_pending(path: &str) -> bool {
    path.starts_with("_efface/queue/") || path.starts_with("_efface/pass/")
}

/// Whether nobody changes the queue just now: who comes then waits, which a hook of that very run can't.
pub(crate) fn is_queue_free(sim: &Sim) -> bool {
    sim.lock("_efface/queue.lock", "a test").is_ok()
}

/// Whether an erased id is in these bytes.
pub(crate) fn holds_mark(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|part| part == MARK)
}

/// The configuration of [`lake`].
pub(crate) fn config() -> Config {
    Config {
        aliases: Some("aliases.csv".to_owned()),
        ..Config::default()
    }
}

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
