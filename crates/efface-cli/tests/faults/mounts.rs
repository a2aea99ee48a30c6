//! The command on disks that are full or read-only, and beside another one.
//!
//! Where nothing may be mounted those tests are skipped with a message.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use crate::command::{ERASED_AT_ONCE, Efface, SHARDS, delete_of, first_person};

const PEOPLE: usize = 400;
const IO: i32 = 1;
const CONFLICT: i32 = 4;

/// A file system in memory, until it is dropped.
struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    /// `None`, with a message, where that isn't allowed.
    fn of_bytes(bytes: usize) -> Option<Self> {
        let mount = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let size = format!("size={bytes}");
        let is_mounted = mount.mount(&["-t", "tmpfs", "-o", &size, "tmpfs"]);
        if !is_mounted {
            eprintln!("skipped: no file system may be mounted here");
        }
        is_mounted.then_some(mount)
    }

    fn remount(&self, options: &str) {
        assert!(
            self.mount(&["-o", &format!("remount,{options}")]),
            "{options}"
        );
    }

    fn mount(&self, words: &[&str]) -> bool {
        let mount = Command::new("mount").args(words).arg(self.path()).output();
        mount.is_ok_and(|output| output.status.success())
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg(self.path()).output();
    }
}

fn firsts(efface: &Efface) -> Vec<usize> {
    let first = |shard: &&str| {
        let bytes = fs::read(efface.root.join(shard)).unwrap();
        first_person(&bytes, PEOPLE).expect("old or new")
    };
    SHARDS.iter().map(first).collect()
}

#[track_caller]
fn assert_fails(output: &Output, status: i32, message: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
}

#[test]
fn on_a_full_file_system_a_delete_ends_with_an_error_that_says_so_and_can_be_run_again() {
    let Some(mount) = Mount::of_bytes(8 << 20) else {
        return;
    };
    let efface = Efface::with_lake(mount.path(), PEOPLE);
    efface.finish("index", &[]);
    // Something else takes the room, to the last page.
    let mut filling = File::create(mount.path().join("filling")).unwrap();
    while filling.write_all(&[1; 4096]).is_ok() {}
    drop(filling);
    let delete = delete_of(0..ERASED_AT_ONCE);
    assert_fails(&efface.run("delete", &delete), IO, "No space left");
    assert_eq!(firsts(&efface), [0; SHARDS.len()]);
    assert_eq!(efface.leftovers(), 0);
    // Then there is room for one shard, but not for two: that is found out before the first one is written.
    let shard = fs::metadata(mount.path().join(SHARDS[0])).unwrap().len();
    let filled = fs::metadata(mount.path().join("filling")).unwrap().len();
    let filling = File::options()
        .write(true)
        .open(mount.path().join("filling"));
    filling.unwrap().set_len(filled - shard * 3 / 2).unwrap();
    assert_fails(&efface.run("delete", &delete), IO, "make room");
    assert_eq!(firsts(&efface), [0; SHARDS.len()]);
    assert_eq!(efface.leftovers(), 0);
    mount.remount("size=32m");
    efface.finish("delete", &delete);
    assert_eq!(firsts(&efface), [ERASED_AT_ONCE; SHARDS.len()]);
    efface.finish("verify", &delete[4..]);
}

#[test]
fn on_a_read_only_file_system_a_delete_ends_with_an_error_and_an_export_is_complete() {
    let Some(mount) = Mount::of_bytes(32 << 20) else {
        return;
    };
    let efface = Efface::with_lake(mount.path(), PEOPLE);
    mount.remount("ro");
    let delete = delete_of(0..ERASED_AT_ONCE);
    assert_fails(&efface.run("delete", &delete), IO, "Read-only file system");
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("rows.jsonl");
    let to = ["-o".to_owned(), out.to_str().unwrap().to_owned()];
    efface.finish("export", &[&delete[4..], &to].concat());
    let rows = fs::read_to_string(&out).unwrap();
    let expected = ERASED_AT_ONCE * crate::command::EVENTS * SHARDS.len();
    assert_eq!(rows.lines().count(), expected);
    assert_eq!(firsts(&efface), [0; SHARDS.len()]);
    mount.remount("rw");
    efface.finish("delete", &delete);
    assert_eq!(firsts(&efface), [ERASED_AT_ONCE; SHARDS.len()]);
}

#[test]
fn of_several_deleters_at_once_each_does_its_work_or_is_told_to_try_again() {
    const DELETERS: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let efface = Efface::with_lake(dir.path(), PEOPLE);
    let mut left: Vec<usize> = (0..DELETERS).collect();
    let mut refused = 0;
    while !left.is_empty() {
        let started: Vec<_> = left
            .into_iter()
            .map(|deleter| {
                let first = deleter * ERASED_AT_ONCE;
                let delete = delete_of(first..first + ERASED_AT_ONCE);
                (deleter, efface.spawn("delete", &delete))
            })
            .collect();
        let started_count = started.len();
        left = Vec::new();
        for (deleter, child) in started {
            let output = child.wait_with_output().unwrap();
            if !output.status.success() {
                assert_fails(&output, CONFLICT, "held by another efface (");
                refused += 1;
                left.push(deleter);
            }
        }
        assert!(left.len() < started_count, "one of them has the lock");
    }
    assert!(refused > 0, "they were never at work at once");
    assert_eq!(firsts(&efface), [DELETERS * ERASED_AT_ONCE; SHARDS.len()]);
    assert_eq!(efface.leftovers(), 0);
}
