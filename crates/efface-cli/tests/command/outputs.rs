//! Where the rows of an export go and what they look like there, also when nobody reads them to the end.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::answers::{says, size};
use crate::lake::{Event, Lake, MARK, Run, one_document, person, put, strings};

/// The `amount`s of JSON Lines, and a check that the rest of each line is what it should be.
fn amounts(lines: &[u8]) -> Vec<f64> {
    let text = std::str::from_utf8(lines).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let amount = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["distinct_id"], person(1));
        assert!(
            row["time"]
                .as_str()
                .is_some_and(|time| time.starts_with("2026-01-")),
            "{row}"
        );
        row["amount"].as_f64().unwrap()
    };
    text.lines().map(amount).collect()
}

#[test]
fn rows_come_as_parquet_or_json_lines_in_a_file_or_on_standard_output() {
    let lake = Lake::new();
    let id = person(1);
    // The amounts count the rows of each shard.
    let expected: Vec<f64> = [1.0, 21.0, 41.0, 61.0].repeat(3);
    lake.json("export", &["--id", &id, "-o", "rows.jsonl"]);
    lake.json(
        "export",
        &["--id", &id, "-o", "rows.txt", "--format", "jsonl"],
    );
    for name in ["rows.jsonl", "rows.txt"] {
        assert_eq!(amounts(&fs::read(lake.beside(name)).unwrap()), expected);
    }
    for options in [
        &["--id", id.as_str()][..],
        &["--id", &id, "-o", "-", "--format", "jsonl"],
    ] {
        let run = lake.run_showing_rows("export", options);
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert_eq!(amounts(&run.stdout), expected);
        assert!(run.stderr.contains("12 rows"), "{}", run.stderr);
    }
    lake.json("export", &["--id", &id, "-o", "rows.parquet"]);
    let run = lake.run_showing_rows("export", &["--id", &id, "-o", "-", "--format", "parquet"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    put(&lake.beside("piped.parquet"), &run.stdout);
    for name in ["rows.parquet", "piped.parquet"] {
        let rows = strings(&lake.beside(name), "distinct_id");
        assert_eq!(rows, vec![Some(id.clone()); 12], "{name}");
    }
    lake.json("export", &["--id", &id, "-o", "rows.csv"]);
    let text = fs::read_to_string(lake.beside("rows.csv")).unwrap();
    let mut rows = text.split("\r\n");
    assert_eq!(rows.next(), Some("distinct_id,device_id,time,amount,day"));
    let first = format!("{id},{MARK}device-2,2026-01-01T02:00:00Z,1.0,1");
    assert_eq!(rows.next(), Some(first.as_str()));
    assert_eq!(rows.count(), 12, "eleven more, and the end of the last one");
    lake.json("export", &["--id", &id, "-o", "rows.arrow"]);
    let file = File::open(lake.beside("rows.arrow")).unwrap();
    let batches = arrow::ipc::reader::StreamReader::try_new(file, None).unwrap();
    assert_eq!(
        batches
            .map(|batch| batch.unwrap().num_rows())
            .sum::<usize>(),
        12
    );
    // A file that was there is replaced, and nothing is left beside it.
    put(&lake.beside("rows.jsonl"), "old");
    lake.json("export", &["--id", &id, "-o", "rows.jsonl"]);
    assert_eq!(
        amounts(&fs::read(lake.beside("rows.jsonl")).unwrap()),
        expected
    );
    assert!(
        lake.snapshot()
            .keys()
            .all(|path| path.extension().unwrap() != "efface-tmp")
    );
    lake.json(
        "export",
        &["--id", &id, "-o", "/dev/null", "--format", "parquet"],
    );
}

#[test]
fn an_export_without_rows_is_an_empty_file_of_the_right_schema() {
    let lake = Lake::new();
    let options = ["--unknown", "report", "--id", &format!("{MARK}nobody")];
    for (output, rows) in [("none.parquet", 0), ("none.jsonl", 0)] {
        let report = lake.json("export", &[&options[..], &["-o", output]].concat());
        says(
            &report,
            &json!({"rows": rows, "shards": 0, "row_groups": 0}),
        );
    }
    assert_eq!(size(&lake.beside("none.jsonl")), 0);
    assert_eq!(
        strings(&lake.beside("none.parquet"), "distinct_id"),
        Vec::new()
    );
}

#[test]
fn the_report_of_an_export_to_standard_output_goes_to_standard_error() {
    let lake = Lake::new();
    let run = lake.run_showing_rows("export", &["--id", &person(1), "--json"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert_eq!(amounts(&run.stdout).len(), 12);
    says(
        &one_document(run.stderr.as_bytes()),
        &json!({"rows": 12, "output": "-"}),
    );
}

#[test]
fn a_reader_of_the_output_that_goes_away_is_a_normal_end() {
    let lake = Lake::without_shards();
    let event = |row: i64| Event {
        who: Some(person(1)),
        // Nothing that compresses well.
        device: format!("{MARK}{}", blake3::hash(&row.to_le_bytes()).to_hex()),
        time_us: Some(row),
    };
    // Far more rows than a pipe holds.
    lake.add_shard("a.parquet", &(0..8000).map(event).collect::<Vec<_>>());
    for (format, begin) in [
        ("jsonl", "{"),
        ("csv", "distinct_id,"),
        ("arrow", "\u{FFFD}"),
        ("parquet", "PAR1"),
    ] {
        let words = lake.words(
            "export",
            &["--id", &person(1), "-o", "-", "--format", format],
        );
        let mut child = lake
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 12];
        let mut rows = child.stdout.take().unwrap();
        rows.read_exact(&mut first).unwrap();
        drop(rows);
        let first = String::from_utf8_lossy(&first);
        assert!(first.starts_with(begin), "{format}: {first}");
        let run = Run::of(child.wait_with_output().unwrap());
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{format}");
    }
}

#[test]
fn a_report_that_nobody_reads_is_a_normal_end() {
    let lake = Lake::new();
    let id = person(1);
    for (command, options) in [
        ("inspect", vec![]),
        ("plan", vec!["--id", &id, "--json"]),
        ("export", vec!["--id", &id, "--format", "parquet"]),
        ("delete", vec!["--id", &id]),
        ("--help", vec![]),
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let words = lake.words(command, &options);
        let run = Run::of(lake.command(&words).stdout(writer).output().unwrap());
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{command}");
    }
    assert!(
        !lake.people().contains(&id),
        "the delete was carried out all the same"
    );
}

#[test]
fn two_exports_to_one_place_leave_the_whole_file_of_one() {
    let lake = Lake::new();
    let out = lake.beside("rows.jsonl");
    let begin = |number| {
        let words = [
            "export".into(),
            lake.path().into(),
            "--id".into(),
            person(number).into(),
        ];
        let mut command = lake.command(&words);
        command.args(["--format", "jsonl", "-o"]).arg(&out);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let alone = |number| {
        let run = begin(number).wait_with_output().unwrap();
        assert_eq!(Run::of(run).status, 0);
        fs::read(&out).unwrap()
    };
    let whole = [alone(1), alone(2)];
    for _ in 0..10 {
        let both = [begin(1), begin(2)];
        for run in both {
            assert_eq!(Run::of(run.wait_with_output().unwrap()).status, 0);
        }
        assert!(whole.contains(&fs::read(&out).unwrap()));
    }
    let beside = fs::read_dir(out.parent().unwrap()).unwrap();
    let left = beside.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.contains("efface-tmp")));
}

#[test]
fn what_replaces_a_private_file_is_private() {
    let lake = Lake::new();
    let out = lake.beside("rows.csv");
    put(&out, b"old");
    fs::set_permissions(&out, Permissions::from_mode(0o600)).unwrap();
    let run = lake.run(
        "export",
        &[
            "--id",
            &person(1),
            "--format",
            "csv",
            "-o",
            out.to_str().unwrap(),
        ],
    );
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(
        fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_directory_that_another_export_writes_into_is_refused() {
    let lake = Lake::new();
    let out = lake.beside("archive");
    fs::create_dir(&out).unwrap();
    let other = File::open(&out).unwrap();
    other.lock().unwrap();
    let words = [
        "--id",
        &person(1),
        "--per-subject",
        "-o",
        out.to_str().unwrap(),
    ];
    let run = lake.run("export", &words);
    assert_eq!(run.status, 4, "{run:?}");
    drop(other);
    assert_eq!(lake.run("export", &words).status, 0);
}
