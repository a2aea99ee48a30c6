//! A compaction whose tasks run elsewhere: what an engine that already distributes work needs to write.
//!
//! ```text
//!   coordinator   begin ──> tasks ──────────────┐                    ┌── commit, all that is there ──> finish
//!                                               v                    │
//!   workers                        a task as JSON ──> run ──> its result as JSON
//! ```
//! Here the workers are threads that share nothing with the coordinator except the text of a task and the file system.
//! Neither a task nor its result holds a subject id. A task may be run twice: the first result counts, and the file of
//! the second one goes. `finish` refuses while a result is missing. A coordinator that gives up drops the pass, and
//! whoever compacts next carries it on.
//!
//! ```sh
//! cargo run --release --example shared_compaction
//! ```

use std::error::Error;
use std::path::Path;
use std::{fs, thread};

use efface::erase::CompactOptions;
use efface::erase::task::{ShardTask, TaskResult};
use efface::tracking::TrackingId;
use efface::{Engine, Request, SubjectId, Subjects};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a worker does. It needs no lease, which the coordinator has, and no configuration, which the task holds.
fn work(dataset: &Path, task: &str) -> Outcome<String> {
    let task: ShardTask = serde_json::from_str(task)?;
    let result = Engine::open_dir(dataset)?.run_task(&task)?;
    Ok(serde_json::to_string(&result)?)
}

/// Hands each task to a worker of its own, and gives what they answer.
fn distribute(dataset: &Path, tasks: &[ShardTask]) -> Outcome<Vec<TaskResult>> {
    let texts = tasks
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<Vec<_>, _>>()?;
    let answers: Vec<Outcome<String>> = thread::scope(|scope| {
        let workers = texts.iter().map(|text| scope.spawn(|| work(dataset, text)));
        let workers: Vec<_> = workers.collect();
        let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|answer| answer.unwrap_or_else(|_| Err("a worker panicked".into())))
            .collect()
    });
    answers
        .into_iter()
        .map(|answer| Ok(serde_json::from_str(&answer?)?))
        .collect()
}

fn main() -> Outcome<()> {
    let copy = tempfile::tempdir()?;
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-samples");
    for shard in fs::read_dir(samples.join("events"))? {
        let shard = shard?;
        fs::copy(shard.path(), copy.path().join(shard.file_name()))?;
    }

    // Requests come in over the day; each is durable once it is submitted.
    let engine = Engine::open_dir(copy.path())?; // with the configuration that is stored for it, if one is
    let now: jiff::Timestamp = "2026-07-01T02:17:00Z".parse()?; // the library never reads a clock
    for ids in [vec!["u224xoglc", "u0bnaeqrh"], vec!["u2duwgc6f"]] {
        let request = Request::delete(Subjects::new(ids)?, now);
        engine.submit(TrackingId::draw(now), &request, now, None)?;
    }

    let mut pass = engine
        .begin(&CompactOptions::at(now))?
        .ok_or("nothing waits")?;
    let mut tasks = pass.tasks();
    while !tasks.is_empty() {
        println!("{} shards to rewrite", tasks.len());
        let results = distribute(copy.path(), &tasks)?;
        // A shard that another process replaced in the meantime is a task again.
        tasks = pass.commit(results)?;
    }
    let done = pass.finish()?;
    println!(
        "{} rows of {} requests are gone",
        done.rows_removed,
        done.requests.len()
    );
    let verdict = engine.verify(&[SubjectId::new("u224xoglc")])?;
    if done.rows_removed == 0 || !verdict.clean {
        return Err("something is left".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tasks_of_a_pass_run_elsewhere() {
        super::main().unwrap();
    }
}
