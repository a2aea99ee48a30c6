//! Writes product-analytics events as Parquet shards: a dataset of any size for benchmarks and
//! tests, the same bytes for the same arguments.
//!
//! ```text
//! args -> world -> for each shard, one on each thread:  sessions -> row -> columns -> shard
//!           |                                                        |
//!        aliases --------------------------------------------> counts -> tables
//! ```
//!
//! * `args`: the command line
//! * `world`: everything that the events follow from
//! * `people`, `aliases`, `ids`: who the users are and the names they go by
//! * `timeline`, `sessions`: when they come and how long they stay
//! * `vocabulary`, `words`, `row`, `columns`: what an event says
//! * `shard`, `tables`: the files
//! * `counts`: who occurs how often
//! * `rng`: random numbers that stay the same

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "every number that is cast is bounded: by the command line's ranges or by a table"
)]
#![allow(
    clippy::indexing_slicing,
    reason = "indexes are drawn below the length of the table they go into"
)]

mod aliases;
mod args;
mod columns;
mod counts;
mod ids;
mod people;
mod rng;
mod row;
mod sessions;
mod shard;
mod tables;
mod timeline;
mod vocabulary;
mod words;
mod world;

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::args::Args;
use crate::counts::Counts;
use crate::shard::{ShardFormat, write_shard};
use crate::tables::{write_aliases, write_ids};
use crate::world::World;

/// Why nothing came of it, in words for the user.
type Problem = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let result = run(&Args::parse());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // Nobody is left to be told if standard error is closed.
            writeln!(io::stderr(), "error: {problem}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Problem> {
    let started = Instant::now();
    let world = World::new(args)?;
    let format = ShardFormat::new(args)?;
    let shards = args.out_dir.join("events");
    create_empty(&shards)?;

    let counts = Counts::new(&world);
    let threads = args.threads.map_or(0, usize::from);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
    let bytes = pool.install(|| {
        (0..args.shards)
            .into_par_iter()
            .map(|number| write_shard(&world, &format, number, &shards, &counts))
            .try_reduce(|| 0, |sum, bytes| Ok(sum + bytes))
    })?;
    write_aliases(&world, args.aliases_format, &args.out_dir)?;
    write_ids(&world, &counts, &args.out_dir)?;

    let summary = serde_json::json!({
        "rows": args.shards * args.rows_per_shard,
        "bytes": bytes,
        "users": counts.people(),
        "seconds": started.elapsed().as_millis() as f64 / 1_000.0,
    });
    writeln!(io::stdout(), "{summary}")?;
    Ok(())
}

/// Makes the directory of the shards. One that holds anything is refused: shards of an earlier run
/// would mix with the new ones.
fn create_empty(directory: &Path) -> Result<(), Problem> {
    fs::create_dir_all(directory).map_err(about(directory))?;
    let mut entries = fs::read_dir(directory).map_err(about(directory))?;
    if entries.next().is_some() {
        let directory = directory.display();
        return Err(format!("{directory} isn't empty: remove it or name another OUT_DIR").into());
    }
    Ok(())
}

/// Says which file an error is about.
fn about<E: Into<Problem>>(path: &Path) -> impl FnOnce(E) -> Problem {
    move |error| format!("{}: {}", path.display(), error.into()).into()
}
