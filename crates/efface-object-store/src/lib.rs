//! efface on object stores: S3 and what speaks it, Azure, Google Cloud Storage.
//!
//! ```text
//!   Store (one prefix of one bucket, requests counted and bounded)
//!     ├── ObjectTable: Table       shards by key; replaced by a conditional PUT
//!     ├── ObjectState: State       efface's own files, and leases that are renewed
//!     └── ObjectReads: ReadAt      ranges of one object in one version
//! ```
//!
//! The calls block; the requests run on a small runtime of the crate's own, so that they can be made from any thread,
//! also from one of an async runtime.
//!
//! # Invariants
//! * No secret and no signature is in an error or in `Debug`: of what a store or a client says, only its code, its
//!   status and the system's own error are repeated.
//! * Before the first conditional write, the store is seen to refuse one whose condition fails.
//! * An object is read in the version in which it was listed (`If-Match`), or not at all.

mod above;
mod cache;
mod counts;
mod failure;
mod lease;
mod open;
mod probe;
mod reads;
mod runtime;
mod spool;
mod staged;
mod state;
mod store;
mod table;
mod upload;
mod version;

pub use cache::Cache;
pub use counts::Counts;
pub use open::{Location, OpenError, open};
pub use reads::ObjectReads;
pub use state::ObjectState;
pub use store::Store;
pub use table::ObjectTable;
pub use version::Versioning;
