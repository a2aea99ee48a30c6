//! Lists of files that other programs keep, and files that describe the bytes of one shard: no list is made wrong, no
//! checksum is left stale.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::lake::{Lake, SHARDS, person, put};
use crate::refusals::{BAD_DATA, refused};

/// A file of each list that is known.
const LISTS: [&str; 13] = [
    "_delta_log/00000000000000000000.json",
    "metadata/v1.metadata.json",
    "metadata/00001-0a.gz.metadata.json",
    ".hoodie/hoodie.properties",
    "nested/_delta_log/0.json",
    "_spark_metadata/0",
    "_spark_metadata/9.compact",
    "nested/_spark_metadata/0",
    "snapshot/snapshot-1",
    "schema/schema-0",
    "_symlink_format_manifest/manifest",
    "delta_0000001_0000001_0000/b.parquet",
    "ducklake-0190a9c4-7a3b-7c5d-8e6f-0123456789ab.parquet",
];

/// Every command that changes shards, or hands over a request to.
#[track_caller]
fn nothing_changes(lake: &Lake, says: &str) {
    let id = person(1);
    let says = [says, "efface rewrite"];
    refused(lake, &["delete", "submit"], &["--id", &id], BAD_DATA, &says);
    refused(lake, &["compact"], &[], BAD_DATA, &says);
    let plan = lake.json("plan", &["--id", &id]);
    let reason = plan["refused"].as_str().unwrap();
    assert!(reason.contains(says[0]), "{reason}");
}

#[test]
fn a_table_with_a_catalog_is_not_deleted_from() {
    for file in LISTS {
        let lake = Lake::new();
        let shard = fs::read(lake.at(SHARDS[0])).unwrap();
        let is_shard = file.ends_with(".parquet");
        put(
            &lake.at(file),
            if is_shard { shard } else { b"{}".to_vec() },
        );
        let folder = Path::new(file).parent().unwrap().to_str().unwrap();
        let list = if folder.is_empty() { file } else { folder };
        let says = [list, "efface rewrite"];
        refused(&lake, &["delete"], &[], BAD_DATA, &says);
        refused(&lake, &["compact"], &[], BAD_DATA, &says);
        assert_eq!(lake.json("inspect", &[])["managed_by"], list);
        let export = lake.json("export", &["--id", &person(1), "-o", "rows.jsonl"]);
        assert_eq!(export["rows"], if is_shard { 16 } else { 12 });
    }
}

#[test]
fn a_directory_inside_of_a_table_with_a_catalog_is_not_deleted_from() {
    let is_above = |file: &&str| !file.ends_with(".parquet") && !file.starts_with("nested");
    for file in LISTS.into_iter().filter(is_above) {
        let lake = Lake::new();
        put(&lake.beside(file), "{}");
        let folder = lake.beside(file).parent().unwrap().to_owned();
        nothing_changes(&lake, folder.to_str().unwrap());
        let inspected = lake.json("inspect", &[]);
        assert_eq!(inspected["managed_by"], folder.to_str().unwrap());
        let export = lake.json("export", &["--id", &person(1), "-o", "rows.jsonl"]);
        assert_eq!(export["rows"], 12, "a reader changes no list");
    }
}

#[test]
fn a_table_is_found_above_the_names_that_lead_to_a_dataset_and_above_its_place() {
    let says = ["_delta_log", "a Delta table"];
    let mut lake = Lake::new();
    put(&lake.at("_delta_log/0.json"), "{}");
    lake.enter("day=1");
    refused(&lake, &["delete"], &[], BAD_DATA, &says);
    let mut lake = Lake::new();
    lake.move_out("day=1", "elsewhere");
    symlink(lake.beside("elsewhere"), lake.at("day=1")).unwrap();
    put(&lake.at("_delta_log/0.json"), "{}");
    lake.enter("day=1");
    refused(&lake, &["delete"], &[], BAD_DATA, &says);
    let mut lake = Lake::new();
    put(&lake.at("_delta_log/0.json"), "{}");
    symlink(lake.at("day=1"), lake.beside("link")).unwrap();
    lake.enter("../link");
    refused(&lake, &["delete"], &[], BAD_DATA, &says);
    // A log that is a link is one.
    let mut lake = Lake::new();
    put(&lake.beside("log/0.json"), "{}");
    symlink(lake.beside("log"), lake.at("_delta_log")).unwrap();
    lake.enter("day=1");
    refused(&lake, &["delete"], &[], BAD_DATA, &says);
}

#[test]
fn a_table_that_a_path_only_passes_is_not_above_the_dataset() {
    let mut lake = Lake::new();
    lake.move_out("day=1", "other");
    put(&lake.at("_delta_log/0.json"), "{}");
    lake.enter("../other");
    assert_eq!(
        lake.json("delete", &["--id", &person(1)])["rows_removed"],
        8
    );
}

#[test]
fn what_only_looks_like_a_catalog_is_none() {
    let lake = Lake::new();
    for file in [
        "_delta_log",
        "metadata/part.json",
        "snapshot/snapshot-of-monday.txt",
        "schema/schema.sql",
        "delta_1/notes.txt",
        "_SUCCESS",
    ] {
        put(&lake.at(file), "");
        put(&lake.beside(file), "");
    }
    assert_eq!(lake.json("inspect", &[])["managed_by"], json!(null));
    assert_eq!(
        lake.json("delete", &["--id", &person(1)])["rows_removed"],
        12
    );
}

#[test]
fn a_summary_of_a_directory_above_is_neither_changed_nor_left_stale() {
    for name in ["_metadata", "_common_metadata"] {
        let mut lake = Lake::new();
        put(&lake.at(name), "row groups of all shards");
        lake.enter("day=1");
        refused(
            &lake,
            &["delete"],
            &[],
            BAD_DATA,
            &[name, "open the directory"],
        );
        lake.enter("..");
        lake.json("delete", &["--id", &person(1)]);
        assert!(!lake.at(name).exists());
    }
}

#[test]
fn an_alias_table_that_belongs_to_a_catalog_is_not_deleted_from() {
    let lake = Lake::new();
    put(&lake.beside("links/_delta_log/0.json"), "{}");
    let links = format!("alias,distinct_id\nperson~crm,{}\n", person(7));
    put(&lake.beside("links/aliases.csv"), &links);
    let options = ["--aliases", "../links/aliases.csv"];
    refused(&lake, &["delete"], &options, BAD_DATA, &["_delta_log"]);
    let read = fs::read_to_string(lake.beside("links/aliases.csv")).unwrap();
    assert_eq!(read, links);
}

#[test]
fn checksums_of_a_shard_go_with_it_and_the_report_says_so() {
    for command in ["delete", "compact"] {
        let lake = Lake::new();
        let sidecars = [
            "day=1/.a.parquet.crc",
            "day=1/a.parquet.crc",
            "day=1/a.parquet.md5",
            "day=1/a.parquet.sha256",
        ];
        for path in sidecars {
            put(&lake.at(path), "of the old bytes");
        }
        put(&lake.at("._metadata.crc"), "of a summary");
        put(&lake.at("_metadata"), "a summary");
        // Those of other files stay, and so does what is no file.
        let others = ["day=1/.c.parquet.crc", "day=1/.crc", "day=1/a.parquet.txt"];
        for path in others {
            put(&lake.at(path), "of another");
        }
        fs::create_dir(lake.at("day=1/b.parquet.md5")).unwrap();
        let id = person(1);
        let done = if command == "delete" {
            lake.json("delete", &["--id", &id])
        } else {
            lake.json("submit", &["--id", &id]);
            lake.json("compact", &[])
        };
        let mut gone = vec!["._metadata.crc"];
        gone.extend(sidecars);
        assert_eq!(done["sidecars_removed"], json!(gone));
        for path in gone {
            assert!(!lake.at(path).exists(), "{path}");
        }
        for path in others {
            assert!(lake.at(path).exists(), "{path}");
        }
        assert!(lake.at("day=1/b.parquet.md5").exists());
    }
}

#[test]
fn a_checksum_of_a_shard_that_stays_as_it_was_stays() {
    let lake = Lake::new();
    put(&lake.at("day=1/.a.parquet.crc"), "right");
    let nobody = ["--unknown", "report", "--id", "person~nobody"];
    let done = lake.json("delete", &nobody);
    assert_eq!(done["sidecars_removed"], json!([]));
    assert!(lake.at("day=1/.a.parquet.crc").exists());
}

#[test]
fn what_replaces_a_file_takes_the_checksum_of_the_old_one_away() {
    let lake = Lake::new();
    let input = lake.at(SHARDS[0]);
    put(&lake.beside("out.parquet"), "old");
    put(&lake.beside(".out.parquet.crc"), "of the old bytes");
    let words = [
        "rewrite",
        input.to_str().unwrap(),
        "out.parquet",
        "--rows",
        "1",
    ];
    let run = lake.run_words(&words.map(OsString::from));
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(!lake.beside(".out.parquet.crc").exists());
    put(&lake.beside(".rows.parquet.crc"), "of the old bytes");
    let export = [
        "--id",
        &person(1),
        "--format",
        "parquet",
        "-o",
        "rows.parquet",
    ];
    lake.json("export", &export);
    assert!(!lake.beside(".rows.parquet.crc").exists());
}
