//! A second user, who may write in the directories of a dataset and plants something between any two operations of ours:
//! nothing outside of the dataset is opened, written or changed, nothing waits for what was planted, and at no moment can
//! anybody else read what we make of shards that only their owner can read.
//!
//! What is outside is watched by the kernel (inotify). As root, the planted files belong to another user and the links lead
//! to files of root; as a common user, all of it belongs to that user, so less is shown. `EFFACE_PLANTS=all` plants at
//! every operation, in every manner; otherwise each operation is met in some of them.

#[path = "hooked/mod.rs"]
mod hooked;
#[path = "faults/lake.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use efface::config::Config;
use efface::engine::{Engine, EngineOptions};
use efface::erase::CompactOptions;
use efface::erase::delete::DeleteOptions;
use efface::file_system::disk::Disk;
use efface::queue::RequestState;
use efface::request::{Request, Subjects, Suppress};
use efface::tracking::TrackingId;
use efface::{Error, Result};
use jiff::Timestamp;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use hooked::{Hook, Hooked};
use lake::shard_of;

/// The user that root plants as.
const OTHER: u32 = 4321;

/// Nothing waits longer than this: what takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the second user plants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    LinkToFile,
    LinkToDirectory,
    LinkToNowhere,
    HardLink,
    File,
    Directory,
    Pipe,
}

const PLANTS: [Plant; 7] = [
    Plant::LinkToFile,
    Plant::LinkToDirectory,
    Plant::LinkToNowhere,
    Plant::HardLink,
    Plant::File,
    Plant::Directory,
    Plant::Pipe,
];

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// In the place of what the operation is about.
    There,
    /// Beside it, under a name of a temporary file for it.
    Beside,
    /// In the place of its directory, which is moved away.
    Above,
}

const SPOTS: [Spot; 3] = [Spot::There, Spot::Beside, Spot::Above];

/// What we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Index,
    Export,
    Delete,
    Submit,
    Compact,
    Suppress,
}

const WORKS: [Work; 6] = [
    Work::Index,
    Work::Export,
    Work::Delete,
    Work::Submit,
    Work::Compact,
    Work::Suppress,
];

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "what others write beside us")]
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "what others do beside us")]
fn move_away(from: &Path, to: &Path) {
    // What isn't there needs no room made.
    let _ignored = fs::rename(from, to);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The second user, and all that they look at.
struct SecondUser {
    room: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    operations: usize,
    /// At which operation to plant what, and where.
    at: Option<(usize, Plant, Spot)>,
    /// Whether that was done.
    has_planted: bool,
    /// What can be opened by others and isn't theirs.
    readable: BTreeSet<String>,
}

impl SecondUser {
    fn lake(&self) -> PathBuf {
        self.room.join("lake")
    }

    /// What planted things lead to, by whether it is a directory.
    fn outside(&self) -> PathBuf {
        self.room.join("outside")
    }

    fn plant(&self, plant: Plant, at: &Path) {
        let outside = self.outside();
        match plant {
            Plant::LinkToFile => symlink(outside.join("victim"), at).unwrap(),
            Plant::LinkToDirectory => symlink(&outside, at).unwrap(),
            Plant::LinkToNowhere => symlink(outside.join("nothing"), at).unwrap(),
            Plant::HardLink => fs::hard_link(outside.join("victim"), at).unwrap(),
            Plant::File => write(at, b"theirs"),
            Plant::Directory => fs::create_dir(at).unwrap(),
            Plant::Pipe => {
                mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
            }
        }
        if is_root() && plant != Plant::HardLink {
            lchown(at, Some(OTHER), Some(OTHER)).unwrap();
        }
        if matches!(plant, Plant::File | Plant::Directory) {
            fs::set_permissions(at, Permissions::from_mode(0o777)).unwrap();
        }
    }

    /// Plants at the spot, if the second user could: not in what is private, and not in place of the lake itself.
    fn try_plant(&self, plant: Plant, spot: Spot, path: &str) -> bool {
        let lake = self.lake();
        let path = lake.join(path);
        let at = match spot {
            Spot::There => path,
            Spot::Beside => {
                let name = path.file_name().unwrap().to_str().unwrap();
                path.with_file_name(format!(".{name}.efface-tmp"))
            }
            Spot::Above => path.parent().unwrap().to_owned(),
        };
        let Some(directory) = at.parent().filter(|above| above.starts_with(&lake)) else {
            return false;
        };
        let may_write = fs::metadata(directory)
            .is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o002 != 0);
        if !may_write {
            return false;
        }
        let gone = self.room.join("moved");
        fs::create_dir_all(&gone).unwrap();
        let number = fs::read_dir(&gone).unwrap().count();
        move_away(&at, &gone.join(number.to_string()));
        self.plant(plant, &at);
        true
    }

    /// Remembers what others could open below the lake, except what is theirs and directories.
    fn look_around(&self, seen: &mut Seen) {
        let mut left = vec![self.lake()];
        while let Some(directory) = left.pop() {
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for path in entries.map(|entry| entry.unwrap().path()) {
                let Ok(found) = fs::symlink_metadata(&path) else {
                    continue;
                };
                let bits = found.permissions().mode() & 0o077;
                let is_theirs = found.nlink() > 1 || bits == 0o077;
                if found.is_dir() {
                    left.push(path);
                } else if found.is_file() && bits != 0 && !is_theirs {
                    let path = path.strip_prefix(self.lake()).unwrap();
                    seen.readable.insert(format!("{} {bits:o}", path.display()));
                }
            }
        }
    }
}

impl Hook for SecondUser {
    fn before(&self, operation: &'static str, paths: &[&str]) -> Result<()> {
        let mut seen = self.seen.lock().unwrap();
        let number = seen.operations;
        seen.operations += 1;
        if let Some((at, plant, spot)) = seen.at
            && number >= at
            && !seen.has_planted
        {
            // Where the second user can't do it, the next operation will do.
            seen.has_planted = paths.iter().any(|path| {
                let is_file = !path.is_empty() && !path.ends_with('/') && operation != "list";
                is_file && self.try_plant(plant, spot, path)
            });
        }
        Ok(())
    }

    fn after(&self, _: &'static str) {
        let mut seen = self.seen.lock().unwrap();
        self.look_around(&mut seen);
    }
}

/// What the kernel saw happen outside of the lake.
struct Watch {
    events: OwnedFd,
}

impl Watch {
    fn on(outside: &Path) -> Self {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let all = WatchFlags::ACCESS
            | WatchFlags::OPEN
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE;
        for path in [outside.to_owned(), outside.join("victim")] {
            inotify::add_watch(&events, &path, all).unwrap();
        }
        Self { events }
    }

    /// Forgets what happened so far.
    fn forget(&self) {
        self.events();
    }

    fn events(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            events.push(format!("{:?} {:?}", event.events(), event.file_name()));
        }
        events
    }
}

/// A lake that others can write in, whose shards only their owner can read, and what lies outside of it.
struct Scene {
    dir: tempfile::TempDir,
    user: Arc<SecondUser>,
    watch: Watch,
    before: Vec<(u32, u32, u32, u64, i64)>,
}

/// A file system in memory, if there is one: it is a real one, and its syncs cost nothing.
fn fast_room() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn facts(outside: &Path) -> Vec<(u32, u32, u32, u64, i64)> {
    let of = |path: &Path| {
        let found = fs::symlink_metadata(path).unwrap();
        (
            found.mode(),
            found.uid(),
            found.gid(),
            found.size(),
            found.mtime_nsec(),
        )
    };
    vec![of(outside), of(&outside.join("victim"))]
}

impl Scene {
    fn new(at: Option<(usize, Plant, Spot)>, work: Work) -> Self {
        let dir = fast_room();
        let lake = dir.path().join("lake");
        let outside = dir.path().join("outside");
        let directories = [lake.clone(), lake.join("day=1"), outside.clone()];
        for directory in &directories {
            fs::create_dir(directory).unwrap();
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for (path, ids) in [
            ("a.parquet", ["ada", "bob", "cyd", "bob", "cyd"]),
            ("day=1/b.parquet", ["bob", "cyd", "ada", "bob", "cyd"]),
        ] {
            write(&lake.join(path), &shard_of(&ids));
        }
        write(
            &lake.join("aliases.csv"),
            b"alias,distinct_id\nlaptop,ada\n",
        );
        for path in ["a.parquet", "day=1/b.parquet", "aliases.csv"] {
            fs::set_permissions(lake.join(path), Permissions::from_mode(0o600)).unwrap();
        }
        // What the second user would have us write to looks like a shard of somebody else.
        write(&outside.join("victim"), &shard_of(&["ada"; 5]));
        fs::set_permissions(outside.join("victim"), Permissions::from_mode(0o644)).unwrap();
        for directory in &directories[..2] {
            fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
        }
        let user = Arc::new(SecondUser {
            room: dir.path().to_owned(),
            seen: Mutex::default(),
        });
        if work == Work::Compact {
            // What waits was handed over before the second user came.
            submit(&engine(&user)).unwrap();
        }
        *user.seen.lock().unwrap() = Seen {
            at,
            ..Seen::default()
        };
        let watch = Watch::on(&outside);
        watch.forget();
        Self {
            before: facts(&outside),
            dir,
            user,
            watch,
        }
    }

    fn operations(&self) -> usize {
        self.user.seen.lock().unwrap().operations
    }

    fn has_planted(&self) -> bool {
        self.user.seen.lock().unwrap().has_planted
    }

    /// Does the work, and fails when it waits for something.
    fn work(&self, work: Work) -> Result<()> {
        let (done, result) = mpsc::channel();
        let user = Arc::clone(&self.user);
        thread::spawn(move || {
            // Nobody listens any more when the patience is over.
            let _ignored = done.send(carry_out(&user, work));
        });
        result
            .recv_timeout(PATIENCE)
            .expect("it hangs, or panicked")
    }
}

fn engine(user: &Arc<SecondUser>) -> Engine {
    let config = Config {
        aliases: Some("aliases.csv".to_owned()),
        ..Config::default()
    };
    let hooked = Hooked::new(Disk::new(user.lake()), Arc::clone(user) as _);
    Engine::open_files(hooked, EngineOptions::overriding(config)).unwrap()
}

fn request() -> Request {
    Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new(["laptop"]).unwrap(), now())
    }
}

fn submit(engine: &Engine) -> Result<()> {
    let id = TrackingId::new(now(), [1; 10]);
    engine.submit(id, &request(), now(), None).map(drop)
}

fn carry_out(user: &Arc<SecondUser>, work: Work) -> Result<()> {
    let engine = engine(user);
    match work {
        Work::Index => engine.refresh().map(drop),
        Work::Export => {
            let export = Request::export(Subjects::new(["laptop"])?, now());
            let plan = engine.plan(&export)?;
            // A reader may meet an error in the middle.
            engine.export(&plan)?.for_each(drop);
            Ok(())
        }
        Work::Delete => {
            let done = engine.delete(&request(), None, &DeleteOptions::default());
            done.map(drop)
        }
        Work::Submit => submit(&engine),
        Work::Compact => {
            engine.compact(&CompactOptions::at(now()))?;
            let status = engine.status(TrackingId::new(now(), [1; 10]), now())?;
            // What was planted is trouble of the dataset.
            assert_ne!(status.state, RequestState::Failure, "{:?}", status.reason);
            Ok(())
        }
        Work::Suppress => {
            engine.suppress(&request(), Suppress::default(), now())?;
            engine.compact(&CompactOptions {
                max_match: 1.0,
                ..CompactOptions::at(now())
            })?;
            Ok(())
        }
    }
}

/// One run with something planted: whether there was something to plant it for.
fn check(work: Work, at: usize, plant: Plant, spot: Spot) -> bool {
    let scene = Scene::new(Some((at, plant, spot)), work);
    let what = format!("{work:?}, {plant:?} {spot:?} at operation {at}");
    let outcome = scene.work(work);
    if let Err(error) = &outcome {
        assert!(!matches!(error, Error::Internal { .. }), "{what}: {error}");
    }
    let outside = scene.user.outside();
    // A link that is called like a shard or the alias table is one, and is read; nothing else is.
    let mut events = scene.watch.events();
    let is_read = |event: &String| event.contains("OPEN") || event.contains("ACCESS");
    if matches!(
        plant,
        Plant::LinkToFile | Plant::LinkToDirectory | Plant::HardLink
    ) {
        events.retain(|event| !is_read(event) && !event.contains("ISDIR"));
    }
    // A second name is a change of the file by whoever gives it.
    if plant == Plant::HardLink {
        events.retain(|event| !event.contains("ATTRIB"));
    }
    assert!(events.is_empty(), "{what}: {events:?}");
    assert_eq!(facts(&outside), scene.before, "{what}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{what}");
    let victim = fs::read(outside.join("victim")).unwrap();
    assert_eq!(victim, shard_of(&["ada"; 5]), "{what}");
    let seen = scene.user.seen.lock().unwrap();
    assert!(seen.readable.is_empty(), "{what}: {:?}", seen.readable);
    drop(seen);
    let has_planted = scene.has_planted();
    drop(scene.dir);
    has_planted
}

fn plant_in(work: Work) {
    if !is_root() {
        eprintln!("not as root: what is planted belongs to the user who runs this");
    }
    let undisturbed = Scene::new(None, work);
    undisturbed.work(work).unwrap();
    let operations = undisturbed.operations();
    assert!(operations > 10, "{work:?}: {operations}");
    let seen = undisturbed.user.seen.lock().unwrap();
    assert!(seen.readable.is_empty(), "{work:?}: {:?}", seen.readable);
    drop(seen);
    let manners: Vec<(Plant, Spot)> = PLANTS
        .iter()
        .flat_map(|plant| SPOTS.map(|spot| (*plant, spot)))
        .collect();
    let all = std::env::var("EFFACE_PLANTS").is_ok_and(|which| which == "all");
    let mut planted = 0;
    let mut runs = 0;
    for at in 0..operations {
        for (place, (plant, spot)) in manners.iter().enumerate() {
            // Each operation meets one manner of 21, and neighbours meet others; most find their spot a little later.
            if all || place == at * 8 % manners.len() {
                runs += 1;
                planted += usize::from(check(work, at, *plant, *spot));
            }
        }
    }
    println!("{work:?}: {operations} operations, {runs} runs, {planted} planted");
    // A request that is handed over goes to the state alone, which is private from the first operation on.
    assert!(planted * 4 > runs, "{work:?}: {planted} of {runs}");
}

#[test]
fn nothing_that_is_planted_while_an_index_is_built_leads_outside() {
    plant_in(WORKS[0]);
}

#[test]
fn nothing_that_is_planted_during_an_export_leads_outside() {
    plant_in(WORKS[1]);
}

#[test]
fn nothing_that_is_planted_during_a_delete_leads_outside() {
    plant_in(WORKS[2]);
}

#[test]
fn nothing_that_is_planted_while_a_request_is_handed_over_leads_outside() {
    plant_in(WORKS[3]);
}

#[test]
fn nothing_that_is_planted_during_a_compaction_leads_outside() {
    plant_in(WORKS[4]);
}

#[test]
fn nothing_that_is_planted_while_ids_are_suppressed_leads_outside() {
    plant_in(WORKS[5]);
}

#[test]
fn the_watch_sees_what_is_opened_and_changed_outside() {
    let scene = Scene::new(None, Work::Index);
    let victim = scene.user.outside().join("victim");
    drop(File::open(&victim).unwrap());
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    let events = scene.watch.events().join(" ");
    assert!(
        events.contains("OPEN") && events.contains("ATTRIB"),
        "{events}"
    );
    assert_ne!(facts(&scene.user.outside()), scene.before);
    // And the second user what can be read.
    let open = scene.user.lake().join("new");
    write(&open, b"rows");
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    scene.user.after("create");
    assert!(!scene.user.seen.lock().unwrap().readable.is_empty());
}
