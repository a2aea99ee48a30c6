//! What an export says: disclosures, files per subject, and pages for people.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use serde_json::{Value, json};

use crate::answers::says;
use crate::lake::{Lake, MARK, SHARDS, contains, person, put, write_parquet};

/// A shard in which row `n` is of person `n % 4`, with sources in a column and in JSON.
fn events(lake: &Lake, path: &str, page: &str) {
    let of = |value: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new((0..40).map(value).collect::<StringArray>())
    };
    let columns = [
        ("distinct_id", of(&|row| Some(person(row % 4)))),
        ("event", of(&|row| Some(format!("event {}", row % 3)))),
        (
            "$browser",
            of(&|row| (row >= 4).then(|| "Firefox".to_owned())),
        ),
        ("page", of(&|_| Some(page.to_owned()))),
        (
            "properties",
            of(&|row| Some(format!(r#"{{"$os":"OS {row}","price":{row}}}"#))),
        ),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)));
    write_parquet(&lake.at(path), &batch.unwrap());
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn sources_are_shown_in_columns_and_in_json_and_nothing_else_is() {
    let lake = Lake::without_shards();
    events(&lake, "a.parquet", "/");
    let options = ["--id", &person(1), "--disclosure", "sources"];
    let run = lake.run_showing_rows("export", &options);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let rows = lines(&run.stdout);
    assert_eq!(rows.len(), 10);
    assert_eq!(
        rows[0],
        json!({"distinct_id": person(1), "properties": "{\"$os\":\"OS 1\"}"})
    );
    assert_eq!(rows[1]["$browser"], "Firefox");
    assert!(rows.iter().all(|row| row.as_object().unwrap().len() <= 3));
    lake.json("delete", &options);
    let run = lake.run_showing_rows("export", &options);
    assert_eq!(
        lines(&run.stdout),
        vec![json!({"distinct_id": person(1)}); 10]
    );
}

#[test]
fn categories_are_listed_without_a_value_in_every_format() {
    let lake = Lake::without_shards();
    events(&lake, "a.parquet", "/secret");
    let one = person(1);
    let options = [
        "--id",
        &one,
        "--id",
        &person(2),
        "--disclosure",
        "categories",
    ];
    let run = lake.run("export", &options);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(run.stderr.contains("14 headers"), "{}", run.stderr);
    let rows = lines(&run.stdout);
    let header = |column: &str, data_type: &str, role: &str, rows: u64| json!({"subject": 1, "table": "lake", "column": column, "type": data_type, "role": role, "rows": rows});
    assert_eq!(
        rows[..8],
        [
            header("distinct_id", "string", "subject", 10),
            header("event", "string", "data", 10),
            header("$browser", "string", "source", 9),
            header("page", "string", "data", 10),
            header("properties", "string", "data", 10),
            header("properties.$os", "string", "source", 10),
            header("properties.price", "number", "data", 10),
            json!({"subject": 2, "table": "lake", "column": "distinct_id", "type": "string", "role": "subject", "rows": 10}),
        ][..]
    );
    for format in ["csv", "arrow", "parquet"] {
        let run = lake.run("export", &[&options[..], &["--format", format]].concat());
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert!(contains(&run.stdout, "properties.price") && !contains(&run.stdout, "/secret"));
    }
    lake.json("delete", &options);
    let run = lake.run("export", &options);
    let columns: Vec<Value> = lines(&run.stdout)
        .iter()
        .map(|row| row["column"].clone())
        .collect();
    assert_eq!(columns, ["distinct_id", "distinct_id"]);
}

/// The files of a directory beside the dataset, by name.
fn files(lake: &Lake, directory: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(lake.beside(directory)).unwrap();
    let file = |entry: fs::DirEntry| {
        (
            entry.file_name().into_string().unwrap(),
            fs::read(entry.path()).unwrap(),
        )
    };
    entries.map(|entry| file(entry.unwrap())).collect()
}

#[test]
fn each_submitted_id_gets_a_file_and_the_manifest_says_what_is_in_it() {
    let lake = Lake::new();
    // Two aliases of person 3, one of which is also of person 4.
    let table = format!(
        "alias,distinct_id\n{MARK}x,{}\n{MARK}y,{}\n{MARK}y,{}\n",
        person(3),
        person(3),
        person(4)
    );
    let table = lake.note("aliases.csv", table);
    let ids = [
        format!("{MARK}x"),
        person(4),
        format!("{MARK}y"),
        format!("{MARK}nobody"),
    ];
    let mut options = vec![
        "--aliases",
        &table,
        "--unknown",
        "report",
        "--per-subject",
        "-o",
        "each",
    ];
    for id in &ids {
        options.extend(["--id", id]);
    }
    let report = lake.json("export", &options);
    says(
        &report,
        &json!({"rows": 48, "shards": 3, "output": "each", "files": 4}),
    );
    let found = files(&lake, "each");
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let numbered = |number| format!("subject-000{number}.jsonl");
    assert_eq!(names[0], "manifest.json");
    assert_eq!(names[1..], [1, 2, 3, 4].map(numbered));
    let ids_in = |number: usize| {
        let rows = lines(&found[&numbered(number)]);
        let mut ids: Vec<String> = rows
            .iter()
            .map(|row| row["distinct_id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort_unstable();
        ids.chunk_by(|left, right| left == right)
            .map(|ids| (ids[0].clone(), ids.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids_in(1), [(person(3), 12)]);
    assert_eq!(ids_in(2), [(person(4), 12)]);
    assert_eq!(ids_in(3), [(person(3), 12), (person(4), 12)]);
    assert_eq!(ids_in(4), []);
    assert!(!contains(&found["manifest.json"], MARK));
    let manifest: Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
    let entries = manifest["subjects"].as_array().unwrap();
    for (number, entry) in (1..).zip(entries) {
        let bytes = &found[&numbered(number)];
        assert_eq!(entry["position"], number);
        assert_eq!(entry["blake3"], blake3::hash(bytes).to_hex().as_str());
        assert_eq!(entry["bytes"], bytes.len());
        assert_eq!(entry["rows"], lines(bytes).len());
        assert_eq!(entry["found"], number != 4);
    }
    assert_eq!(
        entries[0]["time"],
        json!(["2026-01-01T04:00:00Z", "2026-01-10T08:00:00Z"])
    );
    assert_eq!(
        entries[0]["columns"],
        json!(["distinct_id", "device_id", "time", "amount", "day"])
    );
    assert_eq!(
        (&entries[3]["time"], &entries[3]["columns"]),
        (&Value::Null, &json!([]))
    );
}

#[test]
fn an_earlier_export_per_subject_is_replaced_and_anything_else_is_not() {
    let lake = Lake::new();
    let (one, two) = (person(1), person(2));
    let both = [
        "--per-subject",
        "-o",
        "each",
        "--format",
        "csv",
        "--id",
        &one,
        "--id",
        &two,
    ];
    lake.json("export", &both);
    put(&lake.beside("each/.subjects.efface-tmp"), "left behind");
    let single = [
        "--per-subject",
        "-o",
        "each",
        "--format",
        "parquet",
        "--id",
        &two,
    ];
    lake.json("export", &single);
    let names: Vec<String> = files(&lake, "each").into_keys().collect();
    assert_eq!(names, ["manifest.json", "subject-0001.parquet"]);
    let before = files(&lake, "each");
    let unknown = format!("{MARK}nobody");
    let refused = lake.run("export", &["--per-subject", "-o", "each", "--id", &unknown]);
    assert_eq!(refused.status, 3);
    assert!(files(&lake, "each") == before, "a refusal touches nothing");
    put(&lake.beside("each/notes.txt"), "mine");
    let run = lake.run("export", &single);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("notes.txt"), "{}", run.stderr);
    for (wrong, option) in [
        (&["--per-subject"][..], "-o"),
        (&["--format", "report"], "-o"),
        (&["--csv-safe"], "--csv-safe"),
        (
            &["--per-subject", "-o", "lake/each", "--format", "parquet"],
            "-o",
        ),
        (&["--per-subject", "-o", "no/where"], "-o"),
        (
            &["--per-subject", "-o", &format!("lake/{}", SHARDS[0])],
            "-o",
        ),
    ] {
        let run = lake.run("export", &[&["--id", one.as_str()][..], wrong].concat());
        assert_eq!(run.status, 2, "{wrong:?}");
        assert!(run.stderr.contains(option), "{wrong:?}: {}", run.stderr);
    }
    assert!(!lake.at("each").exists());
}

#[test]
fn a_page_holds_everything_and_nothing_that_a_browser_would_run() {
    let lake = Lake::without_shards();
    let hostile = "<script>alert(1)</script>\u{202e}\u{0}\" onload=\"x";
    events(&lake, "a.parquet", hostile);
    let (one, nobody) = (person(1), format!("{MARK}nobody"));
    let options = [
        "--id",
        &one,
        "--id",
        &nobody,
        "--unknown",
        "report",
        "--format",
        "report",
        "-o",
        "archive",
    ];
    let report = lake.json("export", &options);
    says(&report, &json!({"rows": 10, "files": 2}));
    let found = files(&lake, "archive");
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "index.html",
            "manifest.json",
            "subject-0001.csv",
            "subject-0001.html",
            "subject-0002.csv",
            "subject-0002.html"
        ]
    );
    let page = std::str::from_utf8(&found["subject-0001.html"]).unwrap();
    for part in [
        "Subject 1 of 2",
        "&lt;script&gt;alert(1)&lt;/script&gt;[U+202E]␀&quot; onload=&quot;x",
        "properties.$os",
        "<bdi>OS 1</bdi>",
        "<bdi>event 2</bdi>",
        "<a href=\"subject-0001.csv\">",
        "default-src 'none'",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for part in ["<script", "http://", "https://", "\u{202e}"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(contains(&found["subject-0002.html"], "Nothing is held"));
    assert!(contains(
        &found["index.html"],
        "<a href=\"subject-0001.html\">"
    ));
    // The other disclosures have pages as well.
    for disclosure in ["categories", "sources"] {
        let options = [&options[..], &["--disclosure", disclosure]].concat();
        lake.json("export", &options);
        let found = files(&lake, "archive");
        assert!(
            !contains(&found["subject-0001.html"], "alert"),
            "{disclosure}"
        );
        assert!(contains(&found["subject-0001.html"], "$os"), "{disclosure}");
    }
}
