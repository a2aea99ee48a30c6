//! What the commands print when all is well: the keys of `--json` and their values.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use efface::Disk;
use efface::file_system::FileSystem;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::lake::{
    Event, GROUP_ROWS, Lake, MARK, PEOPLE, SHARD_ROWS, SHARDS, alter, contains, one_document,
    person, strings,
};

/// Checks that `report` has these keys, and that its `seconds` are a time that a test may take.
#[track_caller]
fn has_keys(report: &Value, keys: &[&str]) {
    for key in keys {
        assert!(report.get(key).is_some(), "no {key:?} in {report}");
    }
    if keys.contains(&"seconds") {
        let seconds = report["seconds"].as_f64().unwrap();
        assert!((0.0..600.0).contains(&seconds), "{report}");
    }
}

/// Checks some values of `report`.
#[track_caller]
pub(crate) fn says(report: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&report[key], value, "{key} in {report}");
    }
}

/// Compressed bytes and pages of the row groups of a shard.
fn row_groups(path: &Path) -> Vec<(u64, u64)> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    (0..reader.num_row_groups())
        .map(|number| {
            let group = reader.get_row_group(number).unwrap();
            let pages = (0..group.num_columns())
                .map(|column| group.get_column_page_reader(column).unwrap().count() as u64)
                .sum();
            let bytes = group.metadata().compressed_size();
            (u64::try_from(bytes).unwrap(), pages)
        })
        .collect()
}

/// The bytes of a file.
pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// A shard of three row groups, of which person 1 has a row in the second and all of the third.
fn lake_of_three_row_groups() -> Lake {
    let lake = Lake::without_shards();
    let who = |row| match row {
        50 | 80.. => person(1),
        _ => person(2),
    };
    let event = |row| Event {
        who: Some(who(row)),
        device: format!("{MARK}device-{}", row % 7),
        time_us: Some(i64::try_from(row).unwrap()),
    };
    lake.add_shard(
        "a.parquet",
        &(0..3 * GROUP_ROWS).map(event).collect::<Vec<_>>(),
    );
    lake
}

#[test]
fn an_index_says_what_it_holds() {
    let lake = Lake::new();
    let report = lake.json("index", &[]);
    has_keys(
        &report,
        &["rows", "subjects", "postings", "bytes", "seconds"],
    );
    let expected = json!({
        "rows": SHARDS.len() * SHARD_ROWS,
        "subjects": PEOPLE,
        "postings": PEOPLE * SHARDS.len() * SHARD_ROWS / GROUP_ROWS,
        "added": 3, "changed": 0, "removed": 0, "unchanged": 0, "rebuilt": null,
    });
    says(&report, &expected);
    let index: u64 = lake
        .state()
        .iter()
        .filter(|(path, _)| path.starts_with(lake.at("_efface/index")))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    let bytes = report["bytes"].as_u64().unwrap();
    assert!(bytes > 0 && bytes <= index, "{bytes} of {index}");
    let again = lake.json("index", &[]);
    says(
        &again,
        &json!({"added": 0, "changed": 0, "unchanged": 3, "subjects": PEOPLE, "bytes": bytes}),
    );
    fs::copy(lake.at(SHARDS[0]), lake.at(SHARDS[1])).unwrap();
    fs::copy(lake.at(SHARDS[0]), lake.at("day=2/new.parquet")).unwrap();
    let changed = lake.json("index", &[]);
    says(
        &changed,
        &json!({"added": 1, "changed": 1, "removed": 0, "unchanged": 2, "rows": 320}),
    );
}

#[test]
fn inspect_shows_the_shards_and_how_the_index_stands_to_them() {
    let lake = Lake::new();
    let report = lake.json("inspect", &[]);
    let shard = |path: &str| json!({"path": path, "bytes": size(&lake.at(path)), "rows": 80, "row_groups": 2});
    let bytes: u64 = SHARDS.map(|path| size(&lake.at(path))).into_iter().sum();
    let expected = json!({
        "rows": 240, "row_groups": 6, "bytes": bytes, "shards": SHARDS.map(shard),
        "subject": ["distinct_id"], "time": "time", "index": "missing",
    });
    says(&report, &expected);
    assert!(lake.state().is_empty(), "inspect wrote something");
    lake.json("index", &[]);
    assert_eq!(lake.json("inspect", &[])["index"], "fresh");
    fs::copy(lake.at(SHARDS[0]), lake.at("day=3.parquet")).unwrap();
    let stale = json!({"stale": {"added": 1, "changed": 0, "removed": 0}});
    assert_eq!(lake.json("inspect", &[])["index"], stale);
    lake.json("index", &[]);
    for path in lake.state().keys() {
        if path.starts_with(lake.at("_efface/index")) {
            alter(path, |bytes| {
                for byte in bytes {
                    *byte ^= 0x55;
                }
            });
        }
    }
    let damaged = lake.json("inspect", &[]);
    assert!(damaged["index"]["damaged"].is_string(), "{damaged}");
    let rebuilt = lake.json("index", &[]);
    assert!(rebuilt["rebuilt"].is_string(), "{rebuilt}");
    says(&rebuilt, &json!({"rows": 320, "subjects": PEOPLE}));
}

#[test]
fn damage_of_the_index_costs_one_line_of_warning_and_no_row() {
    for what in ["a flipped bit", "cut short", "emptied", "removed"] {
        for file in ["manifest", "segment-"] {
            let lake = Lake::new();
            lake.json("index", &[]);
            let state = lake.state().into_keys();
            let mut files = state.filter(|path| path.to_string_lossy().contains(file));
            let path = files.next().unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let middle = usize::try_from(size(&path)).unwrap() / 2 - 5;
            match what {
                "a flipped bit" => alter(&path, |bytes| bytes[middle] ^= 8),
                "cut short" => alter(&path, |bytes| bytes.truncate(2 * middle)),
                "emptied" => alter(&path, Vec::clear),
                _ => assert!(Disk::new(path.parent().unwrap()).unlink(name).unwrap()),
            }
            let plan = lake.run("plan", &["--json", "--id", &person(1)]);
            let report: Value = serde_json::from_slice(&plan.stdout).unwrap();
            assert_eq!(report["rows"], 12, "{file} {what}");
            let told = plan.stderr;
            assert_eq!(told.lines().count(), 1, "{file} {what}: {told}");
            assert!(
                told.contains("WARN") && told.contains(file),
                "{file} {what}: {told}"
            );
            let again = lake.run("plan", &["--json", "--id", &person(1)]);
            assert!(again.stderr.is_empty(), "{file} {what} was mended");
        }
    }
}

#[test]
fn init_writes_the_roles_that_the_other_commands_then_use() {
    let lake = Lake::new();
    let report = lake.json("init", &["--subject", "device_id", "--time", "time"]);
    says(
        &report,
        &json!({"path": "_efface/dataset.toml", "subject": ["device_id"], "time": "time"}),
    );
    let device = format!("{MARK}device-1");
    assert_eq!(lake.json("plan", &["--id", &device])["rows"], 80);
    assert_eq!(
        lake.json("plan", &["--subject=distinct_id", "--id", &person(1)])["rows"],
        12
    );
    // What is not named again stays.
    lake.json("init", &["--empty-shards", "remove"]);
    assert_eq!(lake.json("inspect", &[])["subject"], json!(["device_id"]));
}

#[test]
fn a_plan_says_what_it_will_cost_and_touches_nothing() {
    let lake = lake_of_three_row_groups();
    let before = lake.snapshot();
    let groups = row_groups(&lake.at("a.parquet"));
    let options = ["--id", &person(1)];
    let plan = lake.json("plan", &options);
    has_keys(
        &plan,
        &[
            "rows",
            "shards",
            "row_groups",
            "bytes",
            "digest",
            "subjects",
            "seconds",
        ],
    );
    let expected = json!({
        "kind": "delete", "rows": 41, "shards": 1, "row_groups": 2, "dataset_rows": 120,
        "pages": 8,
        "subjects": [{"position": 1, "found": true, "rows": 41}], "refused": null, "left_out": 0,
    });
    says(&plan, &expected);
    let bytes = plan["bytes"].as_u64().unwrap();
    assert!(
        (1..=groups[1].0 + groups[2].0).contains(&bytes),
        "a data page of each of four columns in two row groups: {plan}"
    );
    let export = lake.json("plan", &["--kind", "export", "--id", &person(1)]);
    says(
        &export,
        &json!({"kind": "export", "rows": 41, "row_groups": 2}),
    );
    assert_ne!(export["digest"], plan["digest"]);
    assert_eq!(
        lake.json("plan", &options)["digest"],
        plan["digest"],
        "a plan is pure"
    );
    assert!(lake.snapshot() == before, "a plan changed a file");
}

#[test]
fn a_delete_says_what_it_did() {
    let lake = lake_of_three_row_groups();
    let path = lake.at("a.parquet");
    let groups = row_groups(&path);
    let digest = lake.json("plan", &["--id", &person(1)])["digest"].take();
    let done = lake.json(
        "delete",
        &["--id", &person(1), "--plan", digest.as_str().unwrap()],
    );
    let keys = [
        "tracking_id",
        "rows_removed",
        "shards_rewritten",
        "row_groups_rewritten",
        "pages_rewritten",
        "bytes_copied",
        "bytes_encoded",
        "seconds",
    ];
    has_keys(&done, &keys);
    let expected = json!({
        "rows_removed": 41, "shards_rewritten": 1, "shards_removed": 0, "row_groups_rewritten": 1,
        "row_groups_dropped": 1, "alias_rows_removed": 0, "digest": digest,
        "subjects": [{"position": 1, "found": true, "rows": 41}],
    });
    says(&done, &expected);
    let after = row_groups(&path);
    assert_eq!(after.len(), 2, "a row group without rows is gone");
    assert_eq!(after[0], groups[0], "the first was copied");
    let pages = done["pages_rewritten"].as_u64().unwrap();
    assert!(
        (1..=after[1].1).contains(&pages),
        "pages of other row groups were rebuilt: {done}"
    );
    let [copied, encoded] =
        ["bytes_copied", "bytes_encoded"].map(|key| done[key].as_u64().unwrap());
    assert!(copied >= groups[0].0, "{done}");
    assert!(encoded > 0, "{done}");
    assert!(
        (0..=4).contains(&(size(&path) - copied - encoded)),
        "all but the magic: {done}"
    );
    let id = done["tracking_id"].as_str().unwrap();
    assert!(
        id.len() == 36 && id.as_bytes()[14] == b'7',
        "{id} is no UUID of version 7"
    );
}

#[test]
fn an_export_says_what_it_wrote() {
    let lake = lake_of_three_row_groups();
    let plan = lake.json("plan", &["--kind", "export", "--id", &person(1)]);
    let digest = plan["digest"].as_str().unwrap();
    for output in ["rows.parquet", "rows.jsonl"] {
        let report = lake.json(
            "export",
            &["--id", &person(1), "-o", output, "--plan", digest],
        );
        has_keys(
            &report,
            &["rows", "shards", "row_groups", "output", "bytes", "seconds"],
        );
        let expected = json!({
            "rows": 41, "shards": 1, "row_groups": 2, "output": output, "digest": digest,
            "bytes": size(&lake.beside(output)),
        });
        says(&report, &expected);
    }
}

#[test]
fn reports_for_people_are_text() {
    let lake = Lake::new();
    let id = person(1);
    let shard = lake.at(SHARDS[0]);
    for (command, options, part) in [
        ("inspect", vec![], "3 shards, 240 rows"),
        ("init", vec![], "_efface/dataset.toml"),
        ("index", vec![], "240"),
        ("plan", vec!["--id", &id], "12 of 240"),
        (
            "export",
            vec!["--id", &id, "-o", "rows.jsonl"],
            "Exported 12 rows",
        ),
        ("delete", vec!["--id", &id], "Deleted 12 rows"),
    ] {
        let run = lake.run(command, &options);
        assert_eq!(run.status, 0, "{}", run.stderr);
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(
            text.contains(part) && text.ends_with('\n'),
            "{command}: {text}"
        );
        assert!(run.stderr.is_empty(), "{command}: {}", run.stderr);
    }
    let words = [
        "rewrite",
        shard.to_str().unwrap(),
        "out.parquet",
        "--rows",
        "0",
    ];
    let run = lake.run_words(&words.map(OsString::from));
    assert!(contains(&run.stdout, "Left out 1 row"), "{}", run.stderr);
}

#[test]
fn logs_hold_no_id_and_leave_the_json_alone() {
    let lake = Lake::new();
    let table = lake.note(
        "aliases.csv",
        format!("alias,distinct_id\n{MARK}crm,{}\n", person(1)),
    );
    let crm = format!("{MARK}crm");
    let loud = [
        "-vv",
        "--threads=1",
        "--memory=64MiB",
        "--aliases",
        &table,
        "--id",
        &crm,
    ];
    assert_eq!(lake.json("plan", &loud)["rows"], 12);
    assert_eq!(lake.json("delete", &loud)["rows_removed"], 12);
}

#[test]
fn rewrite_writes_one_file_without_some_rows() {
    let lake = Lake::new();
    let input = lake.at(SHARDS[0]);
    let before = fs::read(&input).unwrap();
    let run = |output: &str, rows: &str| {
        let words = [
            "rewrite",
            input.to_str().unwrap(),
            output,
            "--rows",
            rows,
            "--json",
        ];
        lake.run_words(&words.map(OsString::from))
    };
    let all = strings(&input, "distinct_id");
    for (rows, gone, rewritten, dropped) in [
        ("0", vec![0], 1, 0),
        (
            "1,5,9-20,39",
            [vec![1, 5], (9..=20).collect(), vec![39]].concat(),
            1,
            0,
        ),
        ("79,0-39", (0..40).chain([79]).collect(), 1, 1),
        ("0-79", (0..80).collect(), 0, 2),
    ] {
        let done = run("out.parquet", rows);
        assert_eq!(done.status, 0, "{}", done.stderr);
        let report = one_document(&done.stdout);
        has_keys(
            &report,
            &["pages_rewritten", "bytes_copied", "bytes_encoded"],
        );
        let expected = json!({
            "rows_removed": gone.len(), "row_groups_rewritten": rewritten, "row_groups_dropped": dropped,
        });
        says(&report, &expected);
        let left = all
            .iter()
            .enumerate()
            .filter(|(row, _)| !gone.contains(row));
        let left: Vec<_> = left.map(|(_, who)| who.clone()).collect();
        assert_eq!(
            strings(&lake.beside("out.parquet"), "distinct_id"),
            left,
            "{rows}"
        );
    }
    let out = fs::read(lake.beside("out.parquet")).unwrap();
    for (output, rows, status) in [
        ("out.parquet", "80", 2),
        ("out.parquet", "0-4294967295", 2),
        ("out.parquet", "9-3", 2),
        ("lake/day=1/a.parquet", "0", 2),
        ("no/such/out.parquet", "0", 2),
    ] {
        let refused = run(output, rows);
        assert_eq!(
            refused.status, status,
            "{output} {rows}: {}",
            refused.stderr
        );
        assert!(refused.stdout.is_empty() && refused.stderr.starts_with("error: "));
    }
    assert!(fs::read(lake.beside("out.parquet")).unwrap() == out);
    assert!(fs::read(&input).unwrap() == before, "the input changed");
}

#[test]
fn the_demo_shows_the_whole_and_leaves_nothing_behind() {
    let mut lake = Lake::without_shards();
    fs::create_dir(lake.beside("tmp")).unwrap();
    lake.set("TMPDIR", lake.beside("tmp").to_str().unwrap());
    let run = lake.run_words(&["demo".into()]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let text = String::from_utf8(run.stdout).unwrap();
    for step in ["index", "export", "plan", "delete", "compare"] {
        assert!(text.contains(&format!(". {step}")), "no {step} in {text}");
    }
    let run = lake.run_words(&["demo".into(), "--json".into()]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let steps = one_document(&run.stdout)["steps"].take();
    let removed = steps
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["step"] == "delete")
        .unwrap();
    assert_eq!(
        removed["rows_removed"], 355,
        "as data-samples/README.md says"
    );
    assert!(fs::read_dir(lake.beside("tmp")).unwrap().next().is_none());
}

#[test]
fn an_index_is_compared_with_the_shards_and_rebuilt_when_it_is_wrong() {
    let lake = Lake::new();
    let compared = lake.json("index", &["--verify"]);
    let postings = compared["postings"].as_u64().unwrap();
    assert_eq!(compared["compared"]["postings"], postings);
    assert_eq!(
        (
            &compared["compared"]["missing"],
            &compared["compared"]["surplus"]
        ),
        (&0.into(), &0.into())
    );
    assert!(compared["rebuilt"].is_null());
    let segment = lake
        .state()
        .into_keys()
        .find(|path| path.to_string_lossy().contains("segment"));
    alter(&segment.unwrap(), |bytes| bytes[100] ^= 1);
    let mended = lake.json("index", &["--verify"]);
    assert!(mended["rebuilt"].is_string());
    assert_eq!(mended["postings"], postings);
    let run = lake.run("index", &["--verify"]);
    assert!(
        String::from_utf8_lossy(&run.stdout).contains("holds just what the shards do"),
        "{run:?}"
    );
}
