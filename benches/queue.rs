//! Receipts and requests that wait, many of each: what one request costs beside them.
//!
//! ```sh
//! cargo bench --bench queue                                  # 1,000,000 receipts, 100,000 waiting requests
//! QUEUE_RECEIPTS=10000 QUEUE_WAITING=1000 cargo bench --bench queue
//! ```
//!
//! Receipts are appended 1,000 at a time, each batch a pass of its own, by the library (no index is made behind its
//! back); each tells of one id and one shard, some 1.1 KB. Requests of one id each wait in files that are written
//! without syncs. Then the median and the slowest of [`RUNS`] calls are printed, each of another request and on a
//! dataset that is opened again, and the most memory during them. The files are in memory (page cache) by then; syncs
//! are real. `TMPDIR` says where.
//!
//! On 2 cores and a virtual disk: `status` of any request 0.3 to 0.4 ms, and 173 ms without an index; a page of 100
//! 48 to 72 ms; `submit` 1.9 ms in the median and 144 ms at most; `cancel` 3 ms; 13 MB of memory. The index of a million receipts is made again in 6.3 s, in steps of
//! at most 0.4 s.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use efface::queue::{self, Entry, Queue, RequestState, Submission, Submitted};
use efface::receipts::{
    self, Cause, Ended, Outcome, Receipt, Receipts, ShardEvidence, SubjectEvidence,
};
use efface::request::{Disclosure, Identity, Provenance, Regulation, Request, Subjects};
use efface::state::files::StateFiles;
use efface::state::{State, document};
use efface::subject::{SubjectId, SubjectKey};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Config, Disk};
use jiff::{SignedDuration, Timestamp};

#[path = "index/memory.rs"]
#[allow(
    dead_code,
    reason = "page faults and bytes read are of no interest here"
)]
mod memory;

const RUNS: usize = 5;
const RECEIPTS: u64 = 1_000_000;
const WAITING: u64 = 100_000;
const BATCH: u64 = 1000;
const PAGE: usize = 100;
const KEY: [u8; 32] = [7; 32];

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Done {
    let receipts = size("QUEUE_RECEIPTS", RECEIPTS);
    let waiting = size("QUEUE_WAITING", WAITING);
    let dir = tempfile::tempdir()?;
    let state = || StateFiles::new(Disk::new(dir.path()));
    let started = Instant::now();
    append(&state(), receipts)?;
    println!("{receipts} receipts appended in {:.1?}", started.elapsed());
    put_waiting(dir.path(), receipts, waiting)?;
    let sizes = |path: &str| -> Done<(usize, u64)> {
        let files = state().list(path)?;
        Ok((files.len(), files.iter().map(|file| file.bytes).sum()))
    };
    let index = format!("{}/index", receipts::DIRECTORY);
    println!(
        "receipts: {:?} files and bytes",
        sizes(receipts::DIRECTORY)?
    );
    println!("of these the index: {:?}", sizes(&index)?);

    let queue = || Queue::new(Arc::new(state()), SubjectKey::new(KEY), "a bench");
    let before = memory::reset_peak();
    let some = |run: usize, of: u64| (run as u64 * 7919 + 13) % of;
    measure("status of an ended request", |run| {
        let found = queue().status(id(some(run, receipts)), now())?;
        assert_eq!(found.state, RequestState::Success);
        Ok(())
    })?;
    measure("status of a waiting request", |run| {
        let found = queue().status(id(receipts + some(run, waiting)), now())?;
        assert_eq!(found.state, RequestState::Pending);
        Ok(())
    })?;
    measure("status of no request", |run| {
        let found = queue().status(id(u64::MAX / 2 + run as u64), now())?;
        assert_eq!(found.state, RequestState::NotFound);
        Ok(())
    })?;
    measure("a page of 100 that wait, the first", |_| {
        let page = queue().waiting_page(None, PAGE, now())?;
        assert_eq!(page.len(), PAGE.min(usize::try_from(waiting)?));
        Ok(())
    })?;
    measure("a page of 100 that wait, in the middle", |run| {
        let after = id(receipts + waiting / 2 + run as u64);
        let page = queue().waiting_page(Some(after), PAGE, now())?;
        assert!(page.first().is_some_and(|first| first.tracking_id > after));
        Ok(())
    })?;
    let submit = |run: usize| -> Result<Submitted, Box<dyn Error>> {
        let number = receipts + waiting + run as u64;
        let (request, config) = (request(number)?, Config::default());
        Ok(queue().submit(&Submission::new(id(number), request, now()), &config)?)
    };
    measure("submit", |run| {
        let submitted = submit(run)?;
        assert!(!submitted.joined);
        Ok(())
    })?;
    measure("submit of what waits", |run| {
        let submitted = submit(run)?;
        assert!(submitted.joined);
        Ok(())
    })?;
    measure("cancel", |run| {
        queue().cancel(id(receipts + waiting + run as u64), now())?;
        Ok(())
    })?;
    let taken = memory::peak().saturating_sub(before);
    println!("the most memory meanwhile: {:.1} MB", megabytes(taken));

    for file in state().list(&index)? {
        state().remove(&[file.path])?;
    }
    let started = Instant::now();
    let found = queue().status(id(some(1, receipts)), now())?;
    assert_eq!(found.state, RequestState::Success);
    println!("status without an index: {:.1?}", started.elapsed());
    make_index_again(&state(), receipts)
}

fn make_index_again(state: &StateFiles, receipts: u64) -> Done {
    let before = memory::reset_peak();
    let started = Instant::now();
    let mut steps = Vec::new();
    while steps.len() as u64 <= receipts >> 15 {
        let step = Instant::now();
        Receipts::new(state).catch_up(|_| Ok(()))?;
        steps.push(step.elapsed());
    }
    let longest = steps.iter().max().copied().unwrap_or_default();
    println!(
        "the index made again: {:.1?} in {} steps, the longest {longest:.1?}; {:.1} MB more memory",
        started.elapsed(),
        steps.len(),
        megabytes(memory::peak().saturating_sub(before)),
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn size(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn measure(what: &str, mut call: impl FnMut(usize) -> Done) -> Done {
    let mut times: Vec<Duration> = Vec::new();
    for run in 0..RUNS {
        let started = Instant::now();
        call(run)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!(
        "{what}: {:.2?}, at most {:.2?}",
        times[RUNS / 2],
        times[RUNS - 1]
    );
    Ok(())
}

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().expect("a time")
}

/// The id of a request, a hundred of them asked each second.
fn id(number: u64) -> TrackingId {
    let millis = i64::try_from(number % (1 << 32)).unwrap_or(0) * 10;
    let time = "2020-01-01T00:00:00Z".parse::<Timestamp>().expect("a time");
    let time = time + SignedDuration::from_millis(millis);
    let mut random = [0; 10];
    let drawn = blake3::hash(&number.to_le_bytes());
    random.copy_from_slice(&drawn.as_bytes()[..10]);
    TrackingId::new(time, random)
}

fn request(number: u64) -> Done<Request> {
    let subjects = Subjects::new([format!("subject-{number}")])?;
    Ok(Request::delete(subjects, now()))
}

fn append(state: &StateFiles, count: u64) -> Done {
    let key = SubjectKey::new(KEY);
    let receipts = Receipts::new(state);
    for first in (0..count).step_by(usize::try_from(BATCH)?) {
        let pass = id(u64::MAX - first);
        let some = (first..count.min(first + BATCH)).map(|number| receipt(number, pass, &key));
        receipts.append(some.collect(), || Ok(()))?;
    }
    Ok(())
}

fn receipt(number: u64, pass: TrackingId, key: &SubjectKey) -> Receipt {
    let hash = || blake3::hash(&number.to_be_bytes()).to_hex().to_string();
    Receipt {
        number: 0,
        previous: String::new(),
        tracking_id: id(number),
        cause: Cause::Delete,
        pass: Some(pass),
        state: Ended::Success,
        reason: None,
        reason_kind: None,
        regulation: Regulation::Gdpr,
        disclosure: Disclosure::Data,
        identity: Identity::Forward,
        requested_at: now(),
        submitted_at: now(),
        started_at: Some(now()),
        ended_at: now(),
        due: now(),
        rows_removed: number,
        rows_cleared: 0,
        alias_rows_removed: 0,
        left_out: 0,
        suppressed: false,
        digest: Some(hash()),
        alias_other_names: 0,
        shards: vec![ShardEvidence {
            other_names: 0,
            path: format!("day={}/events.parquet", number % 365),
            rows: number,
            before: hash(),
            after: Some(hash()),
        }],
        subjects: vec![SubjectEvidence {
            position: 1,
            id: key.hash_of(&SubjectId::new(format!("subject-{number}"))),
            outcome: Outcome::Deleted,
            rows: number,
            merged_into: None,
        }],
        key: None,
        by: Provenance::default(),
        extension: None,
        engine: "efface".to_owned(),
    }
}

/// Writes the files of requests as the queue would, without the syncs: its own bytes, from a file system in memory.
#[expect(clippy::disallowed_methods, reason = "100,000 syncs are left out")]
fn put_waiting(root: &Path, first: u64, count: u64) -> Done {
    let hints = root.join(queue::DIRECTORY).join("same");
    fs::create_dir_all(&hints)?;
    for number in first..first + count {
        let entry = Entry {
            config: None,
            ..Entry::new(
                &Submission::new(id(number), request(number)?, now()),
                Config::default(),
            )
        };
        let sim = Sim::new(0);
        let memory = StateFiles::new(sim.clone());
        document::store(&memory, "entry", &entry, efface::state::Expect::Absent)?;
        let bytes = sim.bytes("entry").ok_or("the entry was not written")?;
        let name = format!("{}.json", entry.tracking_id);
        fs::write(root.join(queue::DIRECTORY).join(name), bytes)?;
        // As many hints, of names as long.
        let hint = blake3::hash(&number.to_le_bytes()).to_hex();
        fs::write(hints.join(hint.as_str()), entry.tracking_id.to_string())?;
    }
    Ok(())
}
