//! What becomes of a dataset when something goes wrong in the middle of the work.
//!
//! * [`lake`]: a small dataset in memory, and a delete from it;
//! * [`cuts`]: power cut, process killed, operation failed, at each place;
//! * [`requests`]: the same for all that a service asks, through the queue;
//! * [`elsewhere`]: the same for tasks that are run on other machines, twice, too late, or not at all;
//! * [`forged`]: tasks and results that somebody changed;
//! * [`mishaps`]: full disk, read-only disk, shards that vanish or are replaced, clocks that are set back;
//! * [`archives`]: the same for an export of a file for each subject;
//! * [`changed`]: what a pass was decided with, changed before it is carried on;
//! * [`exported`]: the same for exports that wait and become archives, and for deletes that remove these;
//! * [`beside`]: an index that other processes left behind in any state.
//!
//! The tests of `crates/efface-cli` do it to the built command, on real disks.

mod archives;
mod beside;
mod changed;
mod cuts;
mod elsewhere;
mod exported;
mod forged;
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;
mod mishaps;
mod requests;
mod suppressed;
