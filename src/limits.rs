//! Every bound in one place.
//!
//! A length that comes from a file is compared with one of these, and with what is left of the
//! file, before anything is allocated for it.

/// Subject ids that one request may name, after de-duplication.
pub const SUBJECTS_MAX: usize = 2000;

/// Ids that one submitted id may expand to, unless configured otherwise.
pub const IDENTITY_CAP: usize = 10_000;

/// Bytes of a footer. Real ones of files with 10,000 columns stay under 100 MiB.
pub const FOOTER_BYTES_MAX: u64 = 256 << 20;

/// Bytes of the footers that are kept between a plan and its export. In memory they take some 20 times as much.
pub const FOOTERS_HELD_BYTES: u64 = 2 << 20;

/// Nesting depth of Thrift structures. Parquet's own are at most 7 deep.
pub const THRIFT_DEPTH_MAX: usize = 32;

/// Values of one Thrift structure. A footer of 10,000 columns and 20 row groups stays below; each takes
/// 32 bytes and more in memory.
pub const THRIFT_VALUES_MAX: usize = 12 << 20;

/// Levels of a schema's groups. Each takes some of the stack while a schema is read.
pub const SCHEMA_DEPTH_MAX: usize = 100;

/// Bytes of a value of a type whose values all have one length: each takes that memory, also where it is null.
pub const FIXED_BYTES_MAX: u64 = 64 << 20;

/// Bytes of one page header. Large ones hold untruncated statistics of long strings.
pub const PAGE_HEADER_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one page, compressed or not. The format's own limit is an `i32`.
pub const PAGE_BYTES_MAX: u64 = i32::MAX as u64;

/// Values and nulls of one page. A run-length encoding can claim billions in a few bytes.
pub const PAGE_VALUES_MAX: u32 = 1 << 26;

/// Bytes that the values of one page may take where each repeats a part of the one before it: a short page
/// could claim terabytes.
pub const PAGE_DECODED_BYTES_MAX: usize = 512 << 20;

/// Bytes that one read of a chunk's pages asks for at least.
pub const READ_BYTES: u64 = 1 << 20;

/// Bytes of a write buffer.
pub const WRITE_BYTES: usize = 1 << 20;

/// Records that are decoded, filtered and encoded at a time.
pub const BATCH_RECORDS: usize = 8192;

/// Memory that a delete or an export may use, unless configured otherwise.
pub const MEMORY_BYTES: u64 = 1 << 30;

/// Memory that building an index may use, unless configured otherwise.
pub const INDEX_MEMORY_BYTES: usize = 256 << 20;

/// Bytes of the shards that are rewritten at a time, if there are several: what their footers and files take besides
/// the memory of the rewrites stays small.
pub const BATCH_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a bloom filter's bitset. The format's own limit.
pub const BLOOM_BYTES_MAX: u64 = 128 << 20;

/// Bytes of the file of a waiting request: 2000 ids of 64 KiB, escaped.
pub const QUEUE_ENTRY_BYTES_MAX: u64 = 1 << 30;

/// Days after which the archive of an export is removed.
pub const ARCHIVE_DAYS: i64 = 30;

/// Bytes of a text that a request brings along as evidence: who asked, and why.
pub const EVIDENCE_TEXT_BYTES_MAX: usize = 512;

/// Bytes of the file of a pass, which names every request and the position of every id of it.
pub const PASS_BYTES_MAX: u64 = 4 << 30;

/// Bytes of the file of one task, or of what came of it: the rows of a shard, and its configuration.
pub const TASK_BYTES_MAX: u64 = 1 << 30;

/// The part of the dataset's rows that a delete may match, unless raised.
pub const MAX_MATCH: f64 = 0.5;

const _: () = assert!(PAGE_HEADER_BYTES_MAX < PAGE_BYTES_MAX);
const _: () = assert!(READ_BYTES < MEMORY_BYTES / 64);
const _: () = assert!(INDEX_MEMORY_BYTES as u64 <= MEMORY_BYTES);
