//! All that the events follow from.

use crate::aliases::Aliases;
use crate::args::Args;
use crate::ids::Ids;
use crate::people::People;
use crate::timeline::Timeline;
use crate::words::Words;

/// The parts of a dataset, each a pure function of the arguments.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) shards: u64,
    pub(crate) rows_per_shard: u64,
    pub(crate) ids: Ids,
    pub(crate) people: People,
    pub(crate) aliases: Aliases,
    pub(crate) timeline: Timeline,
    pub(crate) words: Words,
}

impl World {
    /// # Errors
    /// The arguments contradict each other.
    pub(crate) fn new(args: &Args) -> Result<Self, String> {
        Ok(Self {
            seed: args.seed,
            shards: args.shards,
            rows_per_shard: args.rows_per_shard,
            ids: Ids::new(args.ids, args.seed),
            people: People::new(args.seed, args.users),
            aliases: Aliases::new(args.seed, args.links()?, args.users),
            timeline: Timeline::new(),
            words: Words::new(),
        })
    }
}
