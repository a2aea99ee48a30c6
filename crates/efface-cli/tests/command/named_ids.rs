//! Ids in the names of files and directories: refused where the name would stay, and neither printed nor stored.

use std::fs;

use serde_json::json;

use crate::lake::{Lake, MARK, SHARDS, contains, lake_of_one_each, person, put};
use crate::refusals::{BAD_DATA, refused};

/// Ways to name a person's shard.
fn places(id: &str) -> [String; 5] {
    let encoded = id.replace('~', "%7E");
    [
        format!("distinct_id={id}/0.parquet"),
        format!("user={encoded}/day=1/0.parquet"),
        format!("{id}/0.parquet"),
        format!("{encoded}.parquet"),
        format!("day=1/events-{id}-2026.parquet"),
    ]
}

/// No file of efface's own holds an id, whether it is spelled out or encoded.
#[track_caller]
fn nothing_is_stored(lake: &Lake) {
    for (path, bytes) in lake.state() {
        for text in [MARK, "person%7E"] {
            assert!(!contains(&bytes, text), "an id is in {}", path.display());
        }
    }
}

#[test]
fn an_id_in_a_name_that_would_stay_is_refused_and_printed_and_stored_nowhere() {
    let id = person(3);
    for place in places(&id) {
        let lake = lake_of_one_each(&place, 3);
        let plan = lake.json("plan", &["--id", &id, "--max-match", "1"]);
        let says = plan["refused"].as_str().unwrap();
        assert!(says.contains("position 1"), "{says}");
        assert!(plan["per_shard"][0]["path"].as_str().unwrap().contains('*'));
        let options = ["--max-match", "1", "--id", &id];
        refused(
            &lake,
            &["delete"],
            &options,
            BAD_DATA,
            &["position 1", "would stay"],
        );
        lake.json("index", &[]);
        nothing_is_stored(&lake);
        assert!(lake.at(&place).exists());
        // Who has a row there, but no name, goes.
        assert_eq!(
            lake.json("delete", &["--id", &person(4)])["rows_removed"],
            4
        );
        // In the queue the request waits on, with the reason.
        lake.json("submit", &options);
        let run = lake.run("compact", &["--json"]);
        assert_eq!(run.status, BAD_DATA, "{}", run.stderr);
        assert!(lake.at(&place).exists() && lake.people().contains(&id));
    }
}

#[test]
fn a_damaged_shard_is_told_without_the_id_in_its_name() {
    let lake = lake_of_one_each("distinct_id=person~03/0.parquet", 3);
    put(&lake.at("distinct_id=person~03/1.parquet"), "PAR1xxxxPAR1");
    let id = person(3);
    for command in ["plan", "export", "delete", "verify"] {
        let run = lake.run_showing_rows(command, &["--id", &id]);
        assert_eq!(run.status, BAD_DATA, "{command}: {}", run.stderr);
        assert!(
            run.stderr.contains("distinct_id=*/1.parquet"),
            "{}",
            run.stderr
        );
    }
    for command in ["index", "inspect"] {
        let run = lake.run(command, &[]);
        assert_eq!(run.status, BAD_DATA, "{command}: {}", run.stderr);
    }
    nothing_is_stored(&lake);
}

#[test]
fn a_directory_that_is_removed_whole_takes_its_name_along() {
    let id = person(3);
    for place in places(&id) {
        for command in ["delete", "compact"] {
            let lake = lake_of_one_each(&place, 3);
            put(&lake.at(&format!("{place}.crc")), "of the old bytes");
            let options = ["--id", &id, "--max-match", "1", "--empty-shards", "remove"];
            let done = if command == "delete" {
                lake.json("delete", &options)
            } else {
                lake.json("submit", &options);
                lake.json("compact", &["--empty-shards", "remove"])
            };
            assert_eq!(done["shards_removed"], 1, "{place}");
            let first = place.split('/').next().unwrap();
            let stays = first == "day=1" && lake.at("day=1").exists();
            assert!(stays || !lake.at(first).exists(), "{place}");
            assert!(!lake.at(&place).exists());
            nothing_is_stored(&lake);
            let verified = lake.json("verify", &["--id", &id]);
            assert_eq!(verified["clean"], true, "{verified}");
        }
    }
}

#[test]
fn a_directory_in_which_something_else_lies_does_not_go() {
    let id = person(3);
    let lake = lake_of_one_each("user=person~03/0.parquet", 3);
    put(&lake.at("user=person~03/notes.txt"), "mine");
    let options = ["--id", &id, "--max-match", "1", "--empty-shards", "remove"];
    refused(
        &lake,
        &["delete"],
        &options,
        BAD_DATA,
        &["directory", "would stay"],
    );
    fs::remove_file(lake.at("user=person~03/notes.txt")).unwrap();
    assert_eq!(lake.json("delete", &options)["shards_removed"], 1);
    assert!(!lake.at("user=person~03").exists());
}

#[test]
fn verify_finds_ids_in_names() {
    let id = person(3);
    // The rows are those of somebody else.
    let lake = lake_of_one_each("user=person~03/0.parquet", 5);
    let run = lake.run("verify", &["--id", &id, "--json"]);
    assert_eq!(run.status, 6, "{}", run.stderr);
    let found = crate::lake::one_document(&run.stdout);
    let named = json!([{"path": "user=*/0.parquet", "row_group": null, "column": null, "place": "name", "count": 1}]);
    assert_eq!(found["findings"], named);
}

#[test]
fn an_id_that_stands_in_a_name_by_chance_refuses_nothing() {
    let lake = Lake::new();
    fs::copy(lake.at(SHARDS[0]), lake.at("person~010.parquet")).unwrap();
    assert_eq!(
        lake.json("delete", &["--id", &person(1)])["rows_removed"],
        16
    );
}
