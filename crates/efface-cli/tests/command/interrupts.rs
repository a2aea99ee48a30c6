//! Signals that end an export: it ends by them, and leaves no file with rows behind.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::lake::{Event, Lake, MARK, person};

/// Shards of one person with far more rows than a pipe holds.
fn long() -> Lake {
    let lake = Lake::without_shards();
    let event = |row: i64| Event {
        who: Some(person(1)),
        // Nothing that compresses well.
        device: format!("{MARK}{}", blake3::hash(&row.to_le_bytes()).to_hex()),
        time_us: Some(row),
    };
    let events: Vec<Event> = (0..8000).map(event).collect();
    lake.add_shard("0.parquet", &events);
    for copy in 1..8 {
        fs::copy(lake.at("0.parquet"), lake.at(&format!("{copy}.parquet"))).unwrap();
    }
    lake
}

fn begin(lake: &Lake, options: &[&str]) -> Child {
    let words = lake.words("export", &[&["--id", &person(1)][..], options].concat());
    let mut command = lake.command(&words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The one signal that ended the process, and what it said.
#[track_caller]
fn ended_by(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains(MARK), "{stderr}");
    (output.status.signal(), stderr)
}

#[test]
fn an_export_that_a_signal_cancels_is_ended_by_that_signal() {
    let lake = long();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut child = begin(&lake, &["-o", "-", "--format", "jsonl"]);
        // It has begun, and then it waits for a reader.
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0; 12])
            .unwrap();
        send(&child, signal);
        thread::sleep(Duration::from_millis(300));
        let (by, stderr) = ended_by(child);
        assert_eq!(by, Some(signal.as_raw()), "{stderr}");
        assert!(stderr.contains("error: cancelled"), "{stderr}");
    }
}

#[test]
fn an_export_into_a_file_that_is_terminated_leaves_none() {
    let lake = long();
    let beside = || -> Vec<String> {
        let room = fs::read_dir(lake.path().parent().unwrap()).unwrap();
        room.map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    // An export may be over before the signal comes.
    for attempt in 0..20 {
        let output = format!("{attempt}.jsonl");
        let mut child = begin(&lake, &["-o", &output]);
        let is_begun = || beside().iter().any(|name| name.ends_with(".efface-tmp"));
        while child.try_wait().unwrap().is_none() && !is_begun() {}
        // It can't end between the look at its file and the signal.
        send(&child, Signal::STOP);
        send(&child, Signal::TERM);
        send(&child, Signal::CONT);
        let (by, stderr) = ended_by(child);
        if by.is_some() {
            assert_eq!(by, Some(Signal::TERM.as_raw()), "{stderr}");
            assert!(
                !is_begun() && !lake.beside(&output).exists(),
                "{:?}",
                beside()
            );
            return;
        }
    }
    panic!("every export was over before the signal came");
}

/// What SIGKILL leaves, beside the file of an export that is running.
#[test]
fn what_a_killed_export_left_goes_with_the_next_one_to_its_place_and_nothing_else_does() {
    let lake = Lake::new();
    let [dead, other, living] = [
        ".rows.csv.aB3dE9.efface-tmp",
        ".other.csv.aB3dE9.efface-tmp",
        ".rows.csv.Zz11aa.efface-tmp",
    ]
    .map(|name| std::path::PathBuf::from(lake.note(name, MARK)));
    let held = fs::File::open(&living).unwrap();
    held.lock().unwrap();
    let to = lake.beside("rows.csv");
    let id = person(1);
    let done = lake.run(
        "export",
        &["--id", &id, "-o", to.to_str().unwrap(), "--format", "csv"],
    );
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(to.exists() && other.exists() && living.exists());
    assert!(!dead.exists(), "rows of a person are left");
    drop(held);
}
