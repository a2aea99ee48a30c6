//! What becomes of a dataset when something goes wrong in the middle of the work.
//!
//! * [`lake`]: a small dataset in memory, and a delete from it;
//! * [`cuts`]: power cut, process killed, operation failed, at each place;
//! * [`requests`]: the same for all that a service asks, through the queue;
//! * [`mishaps`]: full disk, read-only disk, shards that vanish or are replaced, clocks that are set back;
//! * [`archives`]: the same for an export of a file for each subject;
//! * `command`: the built command on a lake whose shards tell how far it has come;
//! * `kills`: that command killed at random moments, on the real disk;
//! * `mounts`: that command on disks that are full or read-only, and beside another one;
//! * [`beside`]: an index that other processes left behind in any state.

mod archives;
mod beside;
#[cfg(feature = "cli")]
mod command;
mod cuts;
#[cfg(feature = "cli")]
mod kills;
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;
mod mishaps;
#[cfg(feature = "cli")]
mod mounts;
mod requests;
mod suppressed;
