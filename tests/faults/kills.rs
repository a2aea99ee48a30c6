//! The command, killed at random moments and run again, while others read the dataset.
//!
//! People are erased in the order of their numbers, two at a time, so at each instant a shard that is as it was
//! before one of the deletes or as it was after holds every event of everybody from some even number on, and it
//! never holds again what it did not hold before.
//!
//! `EFFACE_KILLS` says how often to kill (a few times otherwise), `EFFACE_READER` names a program that reads along:
//! it is called with the dataset, the number of people and their events in a shard, reads until its standard input
//! ends, and fails when a shard is anything else; see `tests/kills.sh`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::command::{
    ERASED_AT_ONCE, EVENTS, Efface, MARK, SHARDS, delete_of, first_person, person,
};

/// People that nobody erases.
const SURVIVORS: usize = 100;

/// Reads all shards again and again until `is_over`; says how often.
fn read_along(root: &Path, people: usize, is_over: &AtomicBool) -> usize {
    let mut firsts = [0; SHARDS.len()];
    let mut reads = 0;
    while !is_over.load(Ordering::Relaxed) {
        for (first, shard) in firsts.iter_mut().zip(SHARDS) {
            let bytes = fs::read(root.join(shard)).unwrap();
            let found = first_person(&bytes, people);
            let found = found.unwrap_or_else(|| panic!("{shard} is neither old nor new"));
            assert!(found >= *first, "{shard} is older than it was");
            *first = found;
        }
        reads += 1;
    }
    reads
}

/// Numbers that look random, the same for the same seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

#[test]
fn a_command_that_is_killed_at_any_time_leaves_old_or_new_shards_and_a_rerun_ends_its_work() {
    let kills = std::env::var("EFFACE_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let people = kills * ERASED_AT_ONCE + SURVIVORS;
    let dir = tempfile::tempdir().unwrap();
    let efface = Efface::with_lake(dir.path(), people);
    efface.finish("index", &[]);
    // Nobody is erased, so that nobody knows yet how long it takes to.
    let mut usual = Duration::from_millis(50);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random(seed);

    let reader = std::env::var_os("EFFACE_READER").map(|reader| {
        Command::new(reader)
            .arg(dir.path())
            .args([people, EVENTS].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let is_over = AtomicBool::new(false);
    let (mut cut_off, mut half_done, mut with_leftovers) = (0, 0, 0);
    let reads = thread::scope(|scope| {
        let reading = scope.spawn(|| read_along(dir.path(), people, &is_over));
        // Ends the reader also when this thread panics.
        let _over = Over(&is_over);
        for round in 0..kills {
            let first = round * ERASED_AT_ONCE;
            let delete = delete_of(first..first + ERASED_AT_ONCE);
            let mut child = efface.spawn("delete", &delete);
            let limit_us = u64::try_from(usual.as_micros()).unwrap() * 5 / 4;
            thread::sleep(Duration::from_micros(random.below(limit_us)));
            child.kill().unwrap();
            let is_cut_off = child.wait().unwrap().code().is_none();
            let firsts = SHARDS.map(|shard| {
                let bytes = fs::read(dir.path().join(shard)).unwrap();
                first_person(&bytes, people).expect("old or new")
            });
            let done = firsts.iter().filter(|found| **found > first).count();
            cut_off += usize::from(is_cut_off);
            half_done += usize::from((1..SHARDS.len()).contains(&done));
            with_leftovers += usize::from(efface.leftovers() > 0);
            usual = efface
                .finish("delete", &delete)
                .max(Duration::from_millis(10));
            assert_eq!(efface.leftovers(), 0, "round {round}");
        }
        is_over.store(true, Ordering::Relaxed);
        reading.join().unwrap()
    });
    println!(
        "{kills} kills: {cut_off} in time, {half_done} between shards, {with_leftovers} left temporary files; {reads} reads of all shards"
    );
    if let Some(mut reader) = reader {
        drop(reader.stdin.take());
        assert!(
            reader.wait().unwrap().success(),
            "the reader saw something wrong"
        );
    }

    let erased = kills * ERASED_AT_ONCE;
    for shard in SHARDS {
        let bytes = fs::read(dir.path().join(shard)).unwrap();
        assert_eq!(first_person(&bytes, people), Some(erased), "{shard}");
    }
    let ids = (0..erased).flat_map(|number| ["--id".to_owned(), person(number)]);
    efface.finish("verify", &ids.collect::<Vec<_>>());
    for path in efface.files() {
        let bytes = fs::read(&path).unwrap();
        let is_state = path.starts_with(dir.path().join("_efface"));
        let marks = bytes
            .windows(MARK.len())
            .filter(|part| *part == MARK.as_bytes());
        assert!(
            !is_state || marks.count() == 0,
            "{} names people",
            path.display()
        );
    }
    assert!(cut_off > 0 && reads > 0);
}

/// Sets its flag when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
