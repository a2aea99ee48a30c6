//! Deletes that clear values and leave the rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};

use crate::lake::{Lake, MARK, PEOPLE, SHARD_ROWS, SHARDS, person, strings, write_parquet};

/// Rows of the shard of [`events`].
const ROWS: usize = 80;

/// A shard in which row `n` is of person `n % PEOPLE`, with a browser, a plan and properties as JSON.
fn events(lake: &Lake, path: &str) {
    let of = |value: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new((0..ROWS).map(value).collect::<StringArray>())
    };
    let columns = [
        ("distinct_id", of(&|row| Some(person(row % PEOPLE)))),
        (
            "$browser",
            of(&|row| (row > 0).then(|| format!("Browser {row}"))),
        ),
        (
            "plan",
            of(&|row| (row > 0).then(|| format!("plan {}", row % 3))),
        ),
        (
            "properties",
            of(&|row| (row > 0).then(|| format!(r#"{{"$os":"OS {row}","price":{row}}}"#))),
        ),
    ];
    write_parquet(
        &lake.at(path),
        &RecordBatch::try_from_iter(columns).unwrap(),
    );
}

/// Checks a column: `cleared` in the rows of person 7, as it was in the others.
#[track_caller]
fn check(
    lake: &Lake,
    column: &str,
    cleared: impl Fn(usize) -> Option<String>,
    other: impl Fn(usize) -> Option<String>,
) {
    let values = strings(&lake.at("a.parquet"), column);
    assert_eq!(values.len(), ROWS);
    for (row, value) in values.into_iter().enumerate() {
        let expected = if row % PEOPLE == 7 {
            cleared(row)
        } else {
            other(row)
        };
        assert_eq!(value, expected, "{column} of row {row}");
    }
}

#[test]
fn sources_are_cleared_in_columns_and_in_json() {
    let lake = Lake::without_shards();
    events(&lake, "a.parquet");
    let options = ["--id", &person(7), "--disclosure", "sources"];
    let plan = lake.json("plan", &options);
    assert_eq!((&plan["rows"], &plan["pages"]), (&4.into(), &4.into()));
    let digest = plan["digest"].as_str().unwrap();
    let mut other = options.to_vec();
    other.extend(["--source", "price", "--plan", digest]);
    assert_eq!(
        lake.run("delete", &other).status,
        3,
        "what is cleared is part of the plan"
    );
    let mut agreed = options.to_vec();
    agreed.extend(["--plan", digest]);
    let done = lake.json("delete", &agreed);
    assert_eq!(done["rows_removed"], 0);
    assert_eq!(done["shards_rewritten"], 1);
    assert_eq!(done["values_cleared"], 8);
    let some = |row: usize| move |text: String| (row > 0).then_some(text);
    check(
        &lake,
        "$browser",
        |_| None,
        |row| some(row)(format!("Browser {row}")),
    );
    check(
        &lake,
        "plan",
        |row| Some(format!("plan {}", row % 3)),
        |row| some(row)(format!("plan {}", row % 3)),
    );
    check(
        &lake,
        "properties",
        |row| Some(format!(r#"{{"price":{row}}}"#)),
        |row| some(row)(format!(r#"{{"$os":"OS {row}","price":{row}}}"#)),
    );
    let before = lake.snapshot();
    let again = lake.json("delete", &options);
    assert_eq!(
        (&again["values_cleared"], &again["shards_rewritten"]),
        (&0.into(), &0.into())
    );
    assert!(lake.snapshot() == before);
}

#[test]
fn categories_are_all_columns_but_subject_and_time() {
    let lake = Lake::without_shards();
    events(&lake, "a.parquet");
    let run = lake.run(
        "delete",
        &["--id", &person(7), "--disclosure", "categories"],
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        String::from_utf8_lossy(&run.stdout).starts_with("Cleared 12 values"),
        "{run:?}"
    );
    for column in ["$browser", "plan", "properties"] {
        let values = strings(&lake.at("a.parquet"), column);
        assert!(
            values
                .iter()
                .skip(1)
                .enumerate()
                .all(|(at, value)| value.is_none() == (at % PEOPLE == 6))
        );
    }
    assert_eq!(lake.people().len(), PEOPLE);
}

#[test]
fn columns_that_cannot_be_null_are_refused_or_get_the_empty_value() {
    let lake = Lake::new();
    let before = lake.snapshot();
    let options = ["--id", &person(7), "--disclosure", "categories"];
    for command in ["plan", "delete"] {
        let run = lake.run(command, &options);
        assert_eq!(run.status, 3, "{run:?}");
        for part in ["device_id", "--required-columns default", SHARDS[0]] {
            assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        }
    }
    assert!(lake.snapshot() == before);
    let mut words = options.to_vec();
    words.extend(["--required-columns", "default"]);
    let done = lake.json("delete", &words);
    assert_eq!(done["shards_rewritten"], SHARDS.len());
    assert_eq!(done["partitions_left"], serde_json::json!(["day"]));
    for shard in SHARDS {
        let devices = strings(&lake.at(shard), "device_id");
        assert_eq!(devices.len(), SHARD_ROWS);
        for (who, device) in strings(&lake.at(shard), "distinct_id").iter().zip(devices) {
            let is_cleared = device.as_deref() == Some("");
            assert_eq!(is_cleared, *who == Some(person(7)));
        }
    }
}

#[test]
fn a_source_that_is_nowhere_or_a_directory_is_refused() {
    let lake = Lake::without_shards();
    events(&lake, "os=linux/a.parquet");
    let before = lake.snapshot();
    let options = ["--id", &person(7), "--disclosure", "sources"];
    let run = lake.run("delete", &options);
    assert_eq!(run.status, 3, "{run:?}");
    assert!(
        run.stderr.contains("\"os\"") && run.stderr.contains("directory"),
        "{}",
        run.stderr
    );
    let mut misspelt = options.to_vec();
    misspelt.extend(["--source", "plam", "--json-column", "nowhere"]);
    let run = lake.run("delete", &misspelt);
    assert_eq!(run.status, 2, "{run:?}");
    assert!(run.stderr.contains("plam"), "{}", run.stderr);
    // An export is refused alike, and writes nothing.
    misspelt.extend(["-o", "out.parquet"]);
    let export = lake.run("export", &misspelt);
    assert_eq!((export.status, &export.stderr), (2, &run.stderr));
    assert!(lake.snapshot() == before);
    // A name that may be one of a key is none of a column.
    let mut key = options.to_vec();
    key.extend(["--source", "price"]);
    assert_eq!(lake.json("delete", &key)["values_cleared"], 4);
}

#[test]
fn links_of_ids_whose_rows_stay_are_left() {
    let lake = Lake::without_shards();
    events(&lake, "a.parquet");
    let table = lake.note(
        "aliases.csv",
        format!("alias,distinct_id\n{MARK}x,{}\n", person(7)),
    );
    let alias = format!("{MARK}x");
    let options = [
        "--id",
        &alias,
        "--aliases",
        &table,
        "--disclosure",
        "sources",
    ];
    let done = lake.json("delete", &options);
    assert_eq!(
        (&done["values_cleared"], &done["alias_rows_removed"]),
        (&8.into(), &0.into())
    );
}
