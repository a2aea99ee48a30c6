//! What a delete leaves behind: nothing of the ids, and nothing of an interrupted run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use serde_json::Value;

use crate::lake::{
    Event, Lake, MARK, PEOPLE, SHARDS, contains, one_document, person, put, strings, write_parquet,
};

/// The files of the dataset and when they were written.
fn times(lake: &Lake) -> BTreeMap<PathBuf, SystemTime> {
    let written = |path: PathBuf| {
        (
            path.clone(),
            fs::metadata(path).unwrap().modified().unwrap(),
        )
    };
    lake.snapshot().into_keys().map(written).collect()
}

#[test]
fn verify_says_where_something_is_left_and_never_what() {
    let lake = Lake::new();
    let id = person(3);
    let found = lake.run("verify", &["--id", &id, "--json"]);
    assert_eq!(found.status, 6, "{}", found.stderr);
    let found = one_document(&found.stdout);
    assert_eq!(found["clean"], false);
    let first = &found["findings"][0];
    assert_eq!(first["path"], SHARDS[0]);
    assert_eq!(first["row_group"], 0);
    assert_eq!(first["column"], "distinct_id");
    assert_eq!(first["place"], "page");
    assert_eq!(first["count"], 2);
    let text = lake.run("verify", &["--id", &id]);
    assert_eq!(text.status, 6);
    lake.json("delete", &["--id", &id]);
    let clean = lake.json("verify", &["--id", &id]);
    assert_eq!(clean["clean"], true);
    assert!(clean["findings"].as_array().unwrap().is_empty());
    assert_eq!(lake.run("verify", &["--id", ""]).status, 3);
    assert_eq!(
        lake.run("verify", &["--id", &id, "--subject", "nope"])
            .status,
        2
    );
}

#[test]
fn a_second_delete_finds_nothing_and_changes_nothing() {
    let lake = Lake::new();
    let table = lake.note(
        "aliases.csv",
        format!("alias,distinct_id\n{MARK}crm,{}\n", person(1)),
    );
    let options = ["--aliases", &table, "--id", &person(1), "--id", &person(2)];
    assert_eq!(lake.json("delete", &options)["rows_removed"], 24);
    let (files, written) = (lake.snapshot(), times(&lake));
    assert_eq!(
        lake.run("delete", &options).status,
        3,
        "the ids are unknown now"
    );
    let again = lake.json("delete", &[&options[..], &["--unknown", "report"]].concat());
    for key in [
        "rows_removed",
        "shards_rewritten",
        "shards_removed",
        "row_groups_rewritten",
        "pages_rewritten",
        "bytes_copied",
        "bytes_encoded",
        "alias_rows_removed",
    ] {
        assert_eq!(again[key], 0, "{key}");
    }
    for subject in again["subjects"].as_array().unwrap() {
        assert_eq!(
            (&subject["found"], &subject["rows"]),
            (&Value::from(false), &Value::from(0))
        );
    }
    assert!(lake.snapshot() == files, "a file changed");
    assert_eq!(times(&lake), written, "a file was written again");
}

#[test]
fn only_shards_with_rows_of_the_ids_are_written() {
    let lake = Lake::new();
    let one = Event {
        who: Some(format!("{MARK}once")),
        device: format!("{MARK}device-1"),
        time_us: None,
    };
    let more = || Event {
        who: Some(person(1)),
        device: format!("{MARK}device-1"),
        time_us: None,
    };
    lake.add_shard("b.parquet", &[more(), one, more()]);
    let before = times(&lake);
    let done = lake.json("delete", &["--id", &format!("{MARK}once")]);
    assert_eq!(
        (&done["rows_removed"], &done["shards_rewritten"]),
        (&1.into(), &1.into())
    );
    let after = times(&lake);
    let changed: Vec<_> = after
        .iter()
        .filter(|(path, time)| before[*path] != **time)
        .collect();
    assert_eq!(changed.len(), 1);
    assert!(changed[0].0.ends_with("b.parquet"));
}

#[test]
fn leftovers_of_an_interrupted_run_are_removed_and_other_files_are_not() {
    let lake = Lake::new();
    lake.json("index", &[]);
    let table = lake.note(
        "aliases.csv",
        format!("alias,distinct_id\n{MARK}crm,{}\n", person(2)),
    );
    let half = fs::read(lake.at(SHARDS[0])).unwrap()[..500].to_vec();
    let leftovers = [
        lake.at("day=1/.a.parquet.efface-tmp"),
        lake.at("day=1/.gone.parquet.efface-tmp"),
        lake.at(".top.parquet.efface-tmp"),
        lake.at("_efface/index/.segment.efface-tmp"),
        lake.beside(".aliases.csv.efface-tmp"),
    ];
    let strangers = [
        lake.at("day=1/.a.parquet.tmp"),
        lake.at("day=1/._a.parquet.crc"),
        lake.at("_SUCCESS"),
        lake.at("_temporary/0/part.parquet"),
        lake.beside(".notes.txt.efface-tmp"),
    ];
    for path in leftovers.iter().chain(&strangers) {
        put(path, &half);
    }
    assert_eq!(
        lake.json("plan", &["--id", &person(1)])["rows"],
        12,
        "no leftover is a shard"
    );
    assert_eq!(lake.json("inspect", &[])["rows"], 240);
    let done = lake.json("delete", &["--aliases", &table, "--id", &person(1)]);
    assert_eq!(done["rows_removed"], 12);
    for path in &leftovers {
        assert!(!path.exists(), "{} is still there", path.display());
    }
    for path in &strangers {
        assert!(
            fs::read(path).unwrap() == half,
            "{} was touched",
            path.display()
        );
    }
    // Also a delete that finds nothing more to do cleans up.
    put(&leftovers[0], &half);
    let again = lake.json("delete", &["--unknown", "report", "--id", &person(1)]);
    assert_eq!(again["rows_removed"], 0);
    assert!(!leftovers[0].exists());
}

#[test]
fn the_state_holds_no_id_before_or_after_a_delete() {
    let lake = Lake::new();
    let table = lake.note(
        "aliases.csv",
        format!("alias,distinct_id\n{MARK}crm,{}\n", person(1)),
    );
    let options = ["--aliases", &table, "--id", &format!("{MARK}crm")];
    let check = |when: &str| {
        assert!(!lake.state().is_empty());
        for (path, bytes) in lake.state() {
            let name = path.display();
            assert!(!contains(&bytes, MARK), "{name} holds an id after {when}");
            assert!(!name.to_string().contains(MARK), "{name} after {when}");
        }
    };
    lake.json("init", &["--aliases", &table]);
    lake.json("index", &[]);
    check("index");
    lake.json("plan", &options);
    lake.json("export", &[&options[..], &["-o", "rows.jsonl"]].concat());
    check("export");
    lake.json("delete", &options);
    check("delete");
    assert_eq!(
        lake.json("inspect", &[])["index"],
        "fresh",
        "the index follows a delete"
    );
    // The hash of the erased id has left the index, too.
    let index = lake.json("index", &[]);
    assert_eq!(
        (&index["subjects"], &index["unchanged"]),
        (&(PEOPLE - 1).into(), &3.into())
    );
}

#[test]
fn the_footers_forget_the_smallest_and_the_largest_id() {
    let lake = Lake::new();
    let ids = [person(0), person(PEOPLE - 1)];
    let holders = |id: &str| {
        let files = lake.snapshot();
        files.values().filter(|bytes| contains(bytes, id)).count()
    };
    assert!(
        ids.iter().all(|id| holders(id) == SHARDS.len()),
        "statistics name them"
    );
    lake.json("delete", &["--id", &ids[0], "--id", &ids[1]]);
    assert!(
        ids.iter().all(|id| holders(id) == 0),
        "statistics still name them"
    );
    assert!(
        holders(&person(1)) == SHARDS.len(),
        "the new smallest id is named"
    );
}

fn alias_csv() -> String {
    let crm = format!("{MARK}crm");
    format!(
        "\u{feff}note,alias,distinct_id\r\n\
         first,{crm},{}\r\n\
         second,{MARK}phone,{}\r\n\
         \"third, \"\"quoted\"\"\",{MARK}tablet,{crm}\r\n\
         fourth,{},{MARK}other\r\n\
         fifth,{},{}\r\n",
        person(1),
        person(1),
        person(1),
        person(2),
        person(3),
    )
}

#[test]
fn alias_rows_that_name_an_erased_id_are_removed_and_the_others_stay_as_they_were() {
    let lake = Lake::new();
    let table = lake.note("aliases.csv", alias_csv());
    let done = lake.json(
        "delete",
        &["--aliases", &table, "--id", &format!("{MARK}crm")],
    );
    assert_eq!(
        (&done["rows_removed"], &done["alias_rows_removed"]),
        (&12.into(), &4.into())
    );
    let left = fs::read_to_string(&table).unwrap();
    let expected = "\u{feff}note,alias,distinct_id\r\nfifth,person~02,person~03\r\n";
    assert_eq!(left, expected);
}

#[test]
fn an_alias_without_events_is_removed_as_well() {
    let lake = Lake::new();
    let table = lake.note("aliases.csv", alias_csv());
    let phone = format!("{MARK}phone");
    let options = ["--aliases", &table, "--identity", "exact", "--id", &phone];
    let done = lake.json("delete", &options);
    assert_eq!(
        (&done["rows_removed"], &done["alias_rows_removed"]),
        (&0.into(), &1.into())
    );
    assert!(!fs::read_to_string(&table).unwrap().contains(&phone));
    assert_eq!(lake.run("delete", &options).status, 3);
}

/// An alias table as Parquet: person 1 by its alias, and person 2 by its own.
fn write_alias_shard(path: &std::path::Path) {
    let columns: [(&str, ArrayRef); 2] = [
        (
            "alias",
            Arc::new(StringArray::from(vec![
                format!("{MARK}crm"),
                format!("{MARK}app"),
            ])),
        ),
        (
            "distinct_id",
            Arc::new(StringArray::from(vec![person(1), person(2)])),
        ),
    ];
    write_parquet(path, &RecordBatch::try_from_iter(columns).unwrap());
}

#[test]
fn an_alias_table_inside_the_dataset_is_no_shard_however_it_is_named() {
    for name in [
        "aliases.parquet",
        "./aliases.parquet",
        "day=1/../aliases.parquet",
        "ABSOLUTE",
    ] {
        let lake = Lake::new();
        let table = lake.at("aliases.parquet");
        write_alias_shard(&table);
        let name = if name == "ABSOLUTE" {
            table.to_str().unwrap()
        } else {
            name
        };
        let options = ["--aliases", name, "--id", &format!("{MARK}crm")];
        let inspection = lake.json("inspect", &options[..2]);
        assert_eq!(inspection["rows"], 240, "{name} counts as a shard");
        let done = lake.json("delete", &options);
        assert_eq!(
            (&done["rows_removed"], &done["alias_rows_removed"]),
            (&12.into(), &1.into())
        );
        assert_eq!(strings(&table, "distinct_id"), [Some(person(2))]);
        assert!(!lake.at(".aliases.parquet.efface-tmp").exists());
    }
}

#[test]
fn a_shard_that_loses_all_rows_stays_empty_or_goes() {
    for (choice, stays) in [("keep", true), ("remove", false)] {
        let lake = Lake::new();
        let id = format!("{MARK}alone");
        let event = |_| Event {
            who: Some(id.clone()),
            device: format!("{MARK}device-1"),
            time_us: None,
        };
        lake.add_shard("alone.parquet", &(0..50).map(event).collect::<Vec<_>>());
        let done = lake.json("delete", &["--empty-shards", choice, "--id", &id]);
        assert_eq!(done["rows_removed"], 50);
        assert_eq!(done["shards_rewritten"], u8::from(stays));
        assert_eq!(done["shards_removed"], u8::from(!stays));
        assert_eq!(lake.at("alone.parquet").exists(), stays);
        assert_eq!(lake.json("inspect", &[])["rows"], 240);
        assert_eq!(lake.json("inspect", &[])["index"], "fresh");
        let export = lake.json("export", &["--id", &person(1), "-o", "rows.jsonl"]);
        assert_eq!(export["rows"], 12, "an empty shard is no obstacle");
    }
}

#[test]
fn the_last_rows_of_a_dataset_can_go() {
    for choice in ["keep", "remove"] {
        let lake = Lake::new();
        let ids = (0..PEOPLE).map(|number| person(number) + "\n");
        let ids = lake.note("ids.csv", ids.collect::<String>());
        let options = ["--empty-shards", choice, "--max-match", "1", "--ids", &ids];
        assert_eq!(lake.json("delete", &options)["rows_removed"], 240);
        assert_eq!(lake.subjects(), Vec::new());
        assert!(lake.state().values().all(|bytes| !contains(bytes, MARK)));
    }
}

#[test]
fn summaries_of_footers_go_since_they_would_be_stale() {
    let lake = Lake::new();
    put(&lake.at("_metadata"), format!("{MARK}00 is the smallest"));
    put(&lake.at("day=1/_common_metadata"), "schema");
    let untouched = lake.json(
        "delete",
        &["--unknown", "report", "--id", &format!("{MARK}nobody")],
    );
    assert_eq!(untouched["summaries_removed"], serde_json::json!([]));
    assert!(lake.at("_metadata").exists());
    let done = lake.json("delete", &["--id", &person(1)]);
    assert_eq!(
        done["summaries_removed"],
        serde_json::json!(["_metadata", "day=1/_common_metadata"])
    );
    assert!(!lake.at("_metadata").exists() && !lake.at("day=1/_common_metadata").exists());
}
