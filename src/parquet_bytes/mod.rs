//! The Parquet file format below Arrow; knows nothing of subjects.
//!
//! ```text
//!   PAR1 | row group 0: chunk, chunk, .. | row group 1 .. | bloom filters | page index | footer | len | PAR1
//!                        └─ dictionary page?, data page, data page, ..
//! ```
//!
//! * [`thrift`]: a lossless tree of any Thrift-compact structure, edited by field id
//! * [`footer`]: the file metadata over such a tree; row groups, chunks and what they point to
//! * [`page`], [`page_walk`]: page headers, and walking the pages of a chunk
//! * [`codec`]: compressing and decompressing pages
//! * `hint`: the Arrow schema that a writer left, where it can be taken
//! * [`rle`], [`levels`]: the hybrid run-length encoding, and the levels that it encodes
//! * [`values`], [`delta`], [`dictionary`]: the values of a page, decoded as far as leaving some out needs it
//! * [`order`], [`statistics`]: how values compare, and bounds after some went
//! * `batches`: whole columns as Arrow batches; `chunk_reader`: a chunk's pages as the `parquet` crate's leaf column
//!   readers take them; [`gather`]: the same of some rows only; `guard`: errors and panics of that crate
//! * [`page_index`], [`bloom`]: what the footer points to besides pages; [`page_places`]: where the pages are
//!
//! Numbers of fields and enums are those of `parquet.thrift` in the `parquet-format` repository.

pub(crate) mod batches;
pub mod bloom;
mod chunk_reader;
pub mod codec;
pub mod delta;
pub mod dictionary;
pub mod footer;
pub mod gather;
pub mod guard;
pub(crate) mod hint;
pub mod levels;
pub mod order;
pub mod page;
pub mod page_index;
pub mod page_places;
pub mod page_walk;
pub mod rle;
pub mod statistics;
pub mod thrift;
pub mod values;
pub mod varint;
