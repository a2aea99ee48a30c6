//! The command, killed at random moments and run again, while others read the dataset.
//!
//! People are erased in the order of their numbers, two at a time, so at each instant a shard that is as it was
//! before one of the deletes or as it was after holds every event of everybody from some even number on, and it
//! never holds again what it did not hold before.
//!
//! `EFFACE_KILLS` says how often to kill (a few times otherwise), `EFFACE_READER` names a program that reads along:
//! it is called with the dataset, the number of people and their events in a shard, reads until its standard input
//! ends, and fails when a shard is anything else; see `tests/kills.sh`.

use std::collections::BTreeMap;
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

/// What was seen of the kills.
#[derive(Debug, Default)]
struct Seen {
    rounds: usize,
    /// Kills that came before the command had ended.
    cut_off: usize,
    /// Of those, the ones between the first shard and the last.
    between_shards: usize,
    with_leftovers: usize,
}

/// Erases the people of one round after the other until the command was killed `kills` times in the middle of it.
fn kill_again_and_again(efface: &Efface, people: usize, kills: usize) -> Seen {
    let start = u64::from(std::process::id());
    println!("seed {start}");
    let mut random = Random(start);
    let mut usual = BTreeMap::new();
    let mut seen = Seen::default();
    while seen.cut_off < kills && (seen.rounds + 1) * ERASED_AT_ONCE + SURVIVORS <= people {
        let first = seen.rounds * ERASED_AT_ONCE;
        let delete = delete_of(first..first + ERASED_AT_ONCE);
        let (command, options) = match seen.rounds % 3 {
            0 => ("delete", delete.as_slice()),
            1 => {
                efface.finish("submit", &delete);
                ("compact", &[][..])
            }
            _ => ("submit", delete.as_slice()),
        };
        let mut child = efface.spawn(command, options);
        let usual_us = usual.entry(command).or_insert(50_000);
        thread::sleep(Duration::from_micros(random.below(*usual_us)));
        child.kill().unwrap();
        let is_cut_off = child.wait().unwrap().code().is_none();
        let firsts = SHARDS.map(|shard| {
            let bytes = fs::read(efface.root.join(shard)).unwrap();
            first_person(&bytes, people).expect("old or new")
        });
        let done = firsts.iter().filter(|found| **found > first).count();
        seen.rounds += 1;
        seen.cut_off += usize::from(is_cut_off);
        seen.between_shards += usize::from((1..SHARDS.len()).contains(&done));
        seen.with_leftovers += usize::from(efface.leftovers() > 0);
        let took = efface.finish(command, options);
        *usual_us = u64::try_from(took.as_micros()).unwrap();
        if command == "submit" {
            efface.finish("compact", &[]);
        }
        assert_eq!(efface.leftovers(), 0, "{seen:?}");
    }
    seen
}

#[test]
fn a_command_that_is_killed_at_any_time_leaves_old_or_new_shards_and_a_rerun_ends_its_work() {
    let kills = std::env::var("EFFACE_KILLS").map_or(9, |kills| kills.parse().unwrap());
    // Some of the kills come too late.
    let people = 2 * kills * ERASED_AT_ONCE + SURVIVORS;
    let dir = tempfile::tempdir().unwrap();
    let efface = Efface::with_lake(dir.path(), people);
    efface.finish("index", &[]);
    let reader = std::env::var_os("EFFACE_READER").map(|reader| {
        Command::new(reader)
            .arg(dir.path())
            .args([people, EVENTS].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let is_over = AtomicBool::new(false);
    let (seen, reads) = thread::scope(|scope| {
        let reading = scope.spawn(|| read_along(dir.path(), people, &is_over));
        // Ends the reader also when this thread panics.
        let over = Over(&is_over);
        let seen = kill_again_and_again(&efface, people, kills);
        drop(over);
        (seen, reading.join().unwrap())
    });
    println!("{seen:?}; {reads} reads of all shards");
    if let Some(mut reader) = reader {
        drop(reader.stdin.take());
        let is_right = reader.wait().unwrap().success();
        assert!(is_right, "the reader saw something wrong");
    }
    assert_all_is_done(&efface, people, seen.rounds * ERASED_AT_ONCE);
    assert!(seen.cut_off == kills && reads > 0, "{seen:?}");
}

/// The first `erased` people are gone without a trace, nothing waits, and the receipts are in order.
fn assert_all_is_done(efface: &Efface, people: usize, erased: usize) {
    for shard in SHARDS {
        let bytes = fs::read(efface.root.join(shard)).unwrap();
        assert_eq!(first_person(&bytes, people), Some(erased), "{shard}");
    }
    let ids = (0..erased).flat_map(|number| ["--id".to_owned(), person(number)]);
    efface.finish("verify", &ids.collect::<Vec<_>>());
    efface.finish("receipts", &["--check".to_owned()]);
    let state = efface.root.join("_efface");
    for path in efface.files() {
        let bytes = fs::read(&path).unwrap();
        let mut parts = bytes.windows(MARK.len());
        let is_named = parts.any(|part| part == MARK.as_bytes());
        let is_state = path.starts_with(&state);
        assert!(!(is_state && is_named), "{} names people", path.display());
        let is_waiting = ["queue", "pass"].map(|part| path.starts_with(state.join(part)));
        assert_eq!(is_waiting, [false; 2], "{} is left", path.display());
    }
}

/// Sets its flag when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
