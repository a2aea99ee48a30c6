//! The command where the process may have few files open, little memory or few threads, and closed streams.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::lake::{Event, Lake, Run, person, put};

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

/// The command as a user who has no other process, and may have `most`. (Root may have any number.)
fn with_few_threads(lake: &Lake, most: u32, command: &str, options: &[&str]) -> Run {
    /// Nobody else's.
    const USER: &str = "54321";
    let binary = lake.beside("efface");
    fs::copy(env!("CARGO_BIN_EXE_efface"), &binary).unwrap();
    for of in [
        lake.beside("."),
        lake.path(),
        lake.at("_efface"),
        lake.at("day=1"),
        lake.at("day=2"),
    ] {
        if of.exists() {
            let open = fs::Permissions::from_mode(0o777);
            fs::set_permissions(of, open).unwrap();
        }
    }
    let script = format!("ulimit -u {most} && exec \"$@\"");
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, "bash"]);
    if rustix::process::geteuid().is_root() {
        shell.args(["setpriv", "--reuid", USER, "--clear-groups"]);
    }
    shell
        .arg(binary)
        .arg(command)
        .arg(lake.path())
        .args(options);
    Run::of(shell.output().unwrap())
}

#[test]
fn without_threads_the_command_ends_with_one_message() {
    let lake = Lake::new();
    let id = person(1);
    for threads in [&[][..], &["--threads", "1"], &["--threads", "64"]] {
        for (command, options) in [
            ("inspect", &[][..]),
            ("plan", &["--id", &id]),
            ("delete", &["--id", &id, "--max-match", "1"]),
        ] {
            let before = lake.snapshot();
            let options = [options, threads].concat();
            let run = with_few_threads(&lake, 1, command, &options);
            assert_eq!(run.status, 1, "{command}: {}", run.stderr);
            assert_eq!(run.stderr.lines().count(), 1, "{command}: {}", run.stderr);
            assert!(run.stderr.contains("start a thread"), "{}", run.stderr);
            assert!(lake.snapshot() == before);
        }
    }
}

#[test]
fn with_few_threads_the_command_does_with_fewer() {
    for most in [2, 3, 5] {
        let lake = Lake::new();
        let id = person(1);
        for threads in ["1", "64"] {
            let options = ["--threads", threads];
            let run = with_few_threads(&lake, most, "inspect", &options);
            assert_eq!(run.status, 0, "{most} {threads}: {}", run.stderr);
            let options = [
                "--id",
                &id,
                "--format",
                "jsonl",
                "-o",
                "-",
                "--threads",
                threads,
            ];
            let run = with_few_threads(&lake, most, "export", &options);
            let is_whole = run.status == 0 && run.stdout.split(|byte| *byte == b'\n').count() == 13;
            let is_refused = run.status == 1 && run.stderr.contains("start a thread");
            assert!(is_whole || is_refused, "{most} {threads}: {}", run.stderr);
        }
    }
}

/// The command in a shell with its streams redirected.
fn redirected(lake: &Lake, to: &str, command: &str, options: &[&str]) -> Output {
    let inner = lake.command(&lake.words(command, options));
    let mut shell = Command::new("bash");
    let script = format!("exec \"$0\" \"$@\" {to}");
    shell
        .args(["-c", &script])
        .arg(inner.get_program())
        .args(inner.get_args());
    shell.current_dir(inner.get_current_dir().unwrap());
    shell.output().unwrap()
}

#[test]
fn a_report_or_rows_that_do_not_arrive_are_no_success() {
    let id = person(1);
    let commands: [(&str, &[&str]); 10] = [
        ("index", &[]),
        ("inspect", &[]),
        ("plan", &["--id", &id]),
        ("export", &["--id", &id, "--format", "jsonl", "-o", "-"]),
        ("submit", &["--id", &id]),
        ("status", &[]),
        ("compact", &[]),
        ("receipts", &[]),
        (
            "delete",
            &["--id", &id, "--max-match", "1", "--unknown", "report"],
        ),
        ("verify", &["--id", &id]),
    ];
    for to in [">&-", ">/dev/full", ">&- 2>&-"] {
        for json in [false, true] {
            let lake = Lake::new();
            for (command, options) in commands {
                let mut options = options.to_vec();
                options.extend(json.then_some("--json"));
                let before = lake.snapshot();
                let run = redirected(&lake, to, command, &options);
                let told = String::from_utf8_lossy(&run.stderr).into_owned();
                assert_eq!(run.status.code(), Some(1), "{to} {command}: {told}");
                if to == ">&-" {
                    assert!(told.contains("standard output"), "{command}: {told}");
                    // A closed stream is seen before anything is done.
                    assert!(lake.snapshot() == before, "{command}");
                }
            }
        }
    }
}

#[test]
fn an_export_whose_report_has_no_stream_is_no_success() {
    let lake = Lake::new();
    let id = person(1);
    let export = ["--id", &id, "--format", "jsonl", "-o", "-"];
    for to in ["2>&-", "2>/dev/full"] {
        let run = redirected(&lake, to, "export", &export);
        assert_eq!(run.status.code(), Some(1), "{to}");
    }
    let run = redirected(&lake, "2>/dev/null", "export", &export);
    assert_eq!(run.status.code(), Some(0));
    let run = redirected(&lake, ">/dev/null", "inspect", &[]);
    assert_eq!(run.status.code(), Some(0));
}

/// Names of a shard and of a partition that a terminal would obey.
const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\u{9b}2J\u{7f}\nrows 0\u{202e}\u{2028}=x";

#[test]
fn names_that_a_terminal_would_obey_are_shown_as_numbers() {
    let lake = Lake::new();
    let shard = format!("day={HOSTILE}/{HOSTILE}.parquet");
    let bytes = fs::read(lake.at("day=1/a.parquet")).unwrap();
    put(&lake.at(&shard), &bytes);
    let id = person(1);
    let tame = |what: &str, bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let is_obeyed = |letter: char| {
            letter != '\n' && (letter.is_control() || matches!(letter, '\u{202e}' | '\u{2028}'))
        };
        assert!(!text.contains(is_obeyed), "{what}: {text:?}");
        assert!(!text.contains("\nrows 0"), "{what}: {text:?}");
        text
    };
    for (command, options) in [
        ("inspect", &["-vv"][..]),
        ("index", &["-vv"]),
        ("plan", &["--id", &id, "-vv"]),
        ("verify", &["--id", &id, "-vv"]),
        ("delete", &["--id", &id, "--max-match", "1", "-vv"]),
        ("receipts", &["-vv"]),
    ] {
        let run = lake.run(command, options);
        tame(command, &run.stdout);
        tame(command, run.stderr.as_bytes());
    }
    // JSON has the exact name.
    let plan = lake.run("plan", &["--id", &person(2), "--json"]).stdout;
    let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
    assert!(plan.to_string().contains("owned"));
    put(&lake.at(&shard), b"damaged");
    for command in ["inspect", "plan", "delete", "export"] {
        let options: &[&str] = if command == "inspect" {
            &[]
        } else {
            &["--id", &id]
        };
        let run = lake.run(command, options);
        assert_eq!(run.status, 5, "{command}: {}", run.stderr);
        let told = tame(command, run.stderr.as_bytes());
        assert!(told.contains("\\u{1b}]0;owned"), "{command}: {told}");
    }
    assert!(Path::new(&lake.at(&shard)).exists());
}
