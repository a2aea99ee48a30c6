//! One bad shard of each kind, at each moment: no request ends for it, the others are carried out, the report and the
//! status say so, and the next run after the shard is whole again ends what was left.

#[path = "hooked/mod.rs"]
mod hooked;
#[path = "faults/lake.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use efface::engine::{Engine, EngineOptions};
use efface::erase::{CompactOptions, CompactReport};
use efface::file_system::disk::Disk;
use efface::queue::RequestState;
use efface::request::{Request, Subjects};
use efface::tracking::TrackingId;
use efface::{Error, Result};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use hooked::{Hook, Hooked};
use lake::{ONE_BY_ONE, ids_of, shard_of};

const SHARDS: [&str; 3] = ["a.parquet", "b.parquet", "c.parquet"];
const BAD: &str = "c.parquet";

/// What is wrong with a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Empty,
    HalfCopied,
    OneByteShort,
    WithoutTheColumn,
    Encrypted,
    Unreadable,
    Link,
    LinkToNowhere,
    LinkToItself,
    Pipe,
    Socket,
    Device,
}

const KINDS: [Kind; 12] = [
    Kind::Empty,
    Kind::HalfCopied,
    Kind::OneByteShort,
    Kind::WithoutTheColumn,
    Kind::Encrypted,
    Kind::Unreadable,
    Kind::Link,
    Kind::LinkToNowhere,
    Kind::LinkToItself,
    Kind::Pipe,
    Kind::Socket,
    Kind::Device,
];

/// When it becomes bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeSubmit,
    BeforeCompact,
    BetweenBatches,
    BeforeResumption,
}

const MOMENTS: [Moment; 4] = [
    Moment::BeforeSubmit,
    Moment::BeforeCompact,
    Moment::BetweenBatches,
    Moment::BeforeResumption,
];

/// What is done at the creation of this number.
type Due = (usize, Box<dyn FnOnce() + Send>);

/// Makes the shard bad when the second new shard is begun, and refuses to open it where permissions don't (root).
#[derive(Default)]
struct Mishap {
    creates: AtomicUsize,
    at_create: Mutex<Option<Due>>,
    denied: Mutex<Option<&'static str>>,
}

impl Hook for Mishap {
    fn before(&self, operation: &'static str, paths: &[&str]) -> Result<()> {
        let is_shard = paths.iter().any(|path| SHARDS.contains(path));
        if operation == "create" && is_shard {
            let number = self.creates.fetch_add(1, Ordering::SeqCst);
            let mut at = self.at_create.lock().unwrap();
            if at.as_ref().is_some_and(|(at, _)| *at == number)
                && let Some((_, mishap)) = at.take()
            {
                mishap();
            }
        }
        let denied = *self.denied.lock().unwrap();
        match denied.filter(|denied| operation == "open" && paths.contains(denied)) {
            Some(path) => Err(Error::io("open", path)(
                io::ErrorKind::PermissionDenied.into(),
            )),
            None => Ok(()),
        }
    }

    fn after(&self, _: &'static str) {}
}

struct Case {
    dir: tempfile::TempDir,
    mishap: Arc<Mishap>,
    what: String,
}

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "what others write beside us")]
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "what others do beside us")]
fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "what others do beside us")]
fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn without_the_column() -> Vec<u8> {
    let other: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let batch = RecordBatch::try_from_iter([("other", other)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Puts something bad in the place of the shard; the good one lies beside the lake until it is put back.
fn spoil(room: &Path, kind: Kind, mishap: &Mishap) {
    let (bad, kept) = (room.join("lake").join(BAD), room.join("kept"));
    if kind == Kind::Unreadable {
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o000)).unwrap();
        *mishap.denied.lock().unwrap() = Some(BAD);
        return;
    }
    let whole = fs::read(&bad).unwrap();
    rename(&bad, &kept);
    let make = |kind| {
        mknodat(CWD, &bad, kind, Mode::from_raw_mode(0o600), 0x0103).unwrap();
    };
    match kind {
        Kind::Empty => write(&bad, b""),
        Kind::HalfCopied => write(&bad, &whole[..whole.len() / 2]),
        Kind::OneByteShort => write(&bad, &whole[..whole.len() - 1]),
        Kind::WithoutTheColumn => write(&bad, &without_the_column()),
        Kind::Encrypted => {
            let end = whole.len() - 4;
            write(&bad, &[b"PARE", &whole[4..end], b"PARE"].concat());
        }
        Kind::Link => symlink(&kept, &bad).unwrap(),
        Kind::LinkToNowhere => symlink("nowhere", &bad).unwrap(),
        Kind::LinkToItself => symlink(BAD, &bad).unwrap(),
        Kind::Pipe => make(FileType::Fifo),
        // Its file stays when it is closed.
        Kind::Socket => drop(UnixListener::bind(&bad).unwrap()),
        // The null device.
        Kind::Device => make(FileType::CharacterDevice),
        Kind::Unreadable => unreachable!("done above"),
    }
}

fn heal(room: &Path, kind: Kind, mishap: &Mishap) {
    let (bad, kept) = (room.join("lake").join(BAD), room.join("kept"));
    if kind == Kind::Unreadable {
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o600)).unwrap();
        *mishap.denied.lock().unwrap() = None;
        return;
    }
    remove(&bad);
    rename(&kept, &bad);
}

impl Case {
    fn new(what: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lake")).unwrap();
        let case = Self {
            dir,
            mishap: Arc::default(),
            what,
        };
        for name in &SHARDS[..2] {
            let rows = ["ada", "bob", "cyd", "ada", "bob", "cyd"];
            write(&case.lake().join(name), &shard_of(&rows));
        }
        let rows = ["ada", "bob", "cyd", "dee", "bob", "cyd"];
        write(&case.lake().join(BAD), &shard_of(&rows));
        case
    }

    fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    fn engine(&self) -> Engine {
        let options = EngineOptions {
            // Each shard is a batch of its own.
            memory: ONE_BY_ONE,
            ..EngineOptions::default()
        };
        let hooked = Hooked::new(Disk::new(self.lake()), Arc::clone(&self.mishap) as _);
        Engine::open_files(hooked, options).unwrap()
    }

    fn submit(&self, number: u8, id: &str) -> TrackingId {
        let request = Request::delete(Subjects::new([id]).unwrap(), now());
        let id = TrackingId::new(now(), [number; 10]);
        let submitted = self.engine().submit(id, &request, now(), None);
        submitted.unwrap().tracking_id
    }

    fn compact(&self) -> CompactReport {
        let done = self.engine().compact(&CompactOptions::at(now()));
        done.unwrap_or_else(|error| panic!("{}: {error}", self.what))
    }

    fn state(&self, id: TrackingId) -> (RequestState, String) {
        let status = self.engine().status(id, now()).unwrap();
        (status.state, status.reason.unwrap_or_default())
    }

    /// Rows of each id in the shards that can be read.
    fn rows(&self, shards: &[&str]) -> BTreeMap<String, usize> {
        let mut rows = BTreeMap::new();
        for shard in shards {
            for id in ids_of(&fs::read(self.lake().join(shard)).unwrap()) {
                *rows.entry(id).or_default() += 1;
            }
        }
        rows
    }
}

/// Whether this user may make it.
fn can_make(kind: Kind) -> bool {
    kind != Kind::Device || rustix::process::geteuid().is_root()
}

fn check(kind: Kind, moment: Moment) {
    let case = Case::new(format!("{kind:?} {moment:?}"));
    let what = &case.what;
    let room = case.dir.path().to_owned();
    if moment == Moment::BeforeSubmit {
        spoil(&room, kind, &case.mishap);
    }
    let in_all = case.submit(1, "ada");
    let in_it_alone = case.submit(2, "dee");
    match moment {
        Moment::BeforeSubmit => {}
        Moment::BeforeCompact => spoil(&room, kind, &case.mishap),
        Moment::BetweenBatches => {
            let mishap = Arc::downgrade(&case.mishap);
            let room = room.clone();
            let spoil = move || spoil(&room, kind, &mishap.upgrade().unwrap());
            // The second batch is written while the first one is committed.
            *case.mishap.at_create.lock().unwrap() = Some((1, Box::new(spoil)));
        }
        Moment::BeforeResumption => {
            let engine = case.engine();
            let options = CompactOptions::at(now());
            let mut pass = engine.begin(&options).unwrap().unwrap();
            let first = engine.run_task(&pass.tasks()[0]).unwrap();
            assert_eq!(pass.commit(vec![first]).unwrap(), []);
            drop(pass);
            spoil(&room, kind, &case.mishap);
        }
    }
    // Once with the mishap, once more with what it left.
    for _ in 0..2 {
        let done = case.compact();
        assert!(!done.troubles.is_empty(), "{what}");
        let failed: Vec<&str> = done
            .shards_failed
            .iter()
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(failed, [BAD], "{what}");
        assert_eq!(case.rows(&SHARDS[..2]).get("ada"), None, "{what}");
        let (state, reason) = case.state(in_all);
        assert_eq!(state, RequestState::Started, "{what}");
        assert!(reason.contains(BAD), "{what}: {reason}");
        let (state, reason) = case.state(in_it_alone);
        assert_eq!(state, RequestState::Pending, "{what}");
        assert!(reason.contains(BAD), "{what}: {reason}");
        let mut receipts = 0;
        case.engine().receipts(|_| receipts += 1).unwrap();
        assert_eq!(receipts, 0, "{what}");
    }
    heal(&room, kind, &case.mishap);
    let done = case.compact();
    assert!(
        done.troubles.is_empty() && done.shards_failed.is_empty(),
        "{what}"
    );
    for id in [in_all, in_it_alone] {
        assert_eq!(case.state(id).0, RequestState::Success, "{what}");
    }
    let left = case.rows(&SHARDS);
    assert_eq!(
        left,
        [("bob".to_owned(), 6), ("cyd".to_owned(), 6)].into(),
        "{what}"
    );
}

#[test]
fn a_bad_shard_of_any_kind_at_any_moment_ends_no_request_and_the_next_run_does() {
    let mut skipped = 0;
    for kind in KINDS {
        if !can_make(kind) {
            skipped += 1;
            continue;
        }
        for moment in MOMENTS {
            check(kind, moment);
        }
    }
    if skipped > 0 {
        eprintln!("skipped: devices can be made by root only");
    }
    assert!(skipped <= 1);
}

#[test]
fn a_directory_that_is_called_like_a_shard_is_walked_through() {
    let case = Case::new("directory".to_owned());
    let nested = case.lake().join("x.parquet");
    fs::create_dir(&nested).unwrap();
    let id = case.submit(1, "ada");
    write(
        &nested.join("part-0.parquet"),
        &shard_of(&["ada", "bob", "cyd"]),
    );
    fs::create_dir(case.lake().join("y.parquet")).unwrap();
    let done = case.compact();
    assert_eq!((done.rows_removed, done.shards_failed.len()), (6, 0));
    assert_eq!(case.state(id).0, RequestState::Success);
    let left = ids_of(&fs::read(nested.join("part-0.parquet")).unwrap());
    assert_eq!(left, ["bob", "cyd"]);
}
