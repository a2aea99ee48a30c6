//! The command where the process may have few files open, little memory or few threads, and closed streams.

use std::process::Command;

use crate::lake::{Event, Lake, Run, person};

/// Far more shards than the process may have files.
const SHARDS: usize = 300;

/// Bounds of open files: one that leaves room for a shard or two, a few, and the usual one of old systems.
const BOUNDS: [u32; 3] = [40, 64, 256];

fn lake() -> Lake {
    let lake = Lake::without_shards();
    for number in 0..SHARDS {
        let events = (0..4).map(|row| Event {
            who: Some(person(row)),
            device: format!("device-{number}"),
            time_us: Some(1_767_225_600_000_000 + i64::try_from(number).unwrap()),
        });
        lake.add_shard(&format!("{number:03}.parquet"), &events.collect::<Vec<_>>());
    }
    lake
}

/// Runs the command in a process with such a bound, as `ulimit` takes it.
pub(crate) fn bounded(lake: &Lake, bound: &str, command: &str, options: &[&str]) -> Run {
    let inner = lake.command(&lake.words(command, options));
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "ulimit $0 && exec \"$@\"", bound])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(inner.get_current_dir().unwrap());
    Run::of(shell.output().unwrap())
}

#[test]
fn datasets_of_more_shards_than_files_that_may_be_open() {
    for bound in BOUNDS {
        let lake = lake();
        let id = person(1);
        let threads = ["--threads", "2"];
        let with = |options: &[&'static str]| [options, &threads].concat();
        for (command, options) in [
            ("inspect", with(&[])),
            ("index", with(&[])),
            ("plan", [&["--id", &id][..], &threads].concat()),
            (
                "delete",
                [&["--id", &id, "--max-match", "1"][..], &threads].concat(),
            ),
            ("verify", [&["--id", &id][..], &threads].concat()),
        ] {
            let done = bounded(&lake, &format!("-n {bound}"), command, &options);
            assert_eq!(done.status, 0, "{bound} {command}: {}", done.stderr);
        }
        let left = bounded(&lake, &format!("-n {bound}"), "inspect", &["--json"]);
        let left: serde_json::Value = serde_json::from_slice(&left.stdout).unwrap();
        assert_eq!(left["rows"], 3 * SHARDS, "{bound}");
    }
}
