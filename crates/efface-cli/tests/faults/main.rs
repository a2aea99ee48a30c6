//! What becomes of a dataset when something goes wrong in the middle of the command.
//!
//! * [`command`]: the built command on a lake whose shards tell how far it has come;
//! * [`kills`]: that command killed at random moments, on the real disk;
//! * [`mounts`]: that command on disks that are full or read-only, and beside another one;
//! * [`lake`]: shared with the tests of the library, as shards are made and read here.

mod command;
mod kills;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../../../../tests/faults/lake.rs"]
mod lake;
mod mounts;
