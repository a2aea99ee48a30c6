//! What becomes of a dataset when something goes wrong in the middle of the work.
//!
//! * [`lake`]: a small dataset in memory, and a delete from it;
//! * [`cuts`]: power cut, process killed, operation failed, at each place;
//! * [`mishaps`]: full disk, read-only disk, shards that vanish or are replaced, clocks that are set back;
//! * [`beside`]: an index that other processes left behind in any state.

mod beside;
mod cuts;
mod lake;
mod mishaps;
