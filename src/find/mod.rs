//! The half of the engine that reads: which rows of which shards belong to a request, and what is left of an id.
//!
//! * [`upkeep`]: the index of a dataset, kept up to date
//! * [`inspect`]: what there is in a dataset
//! * `search`: from covered ids to a [`Plan`](crate::plan::Plan); `price`: what it costs to carry it out
//! * [`verify`]: whether anything of a set of ids is left anywhere

mod archived;
pub mod inspect;
pub(crate) mod price;
pub(crate) mod search;
pub mod upkeep;
pub mod verify;
