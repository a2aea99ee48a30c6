//! Datasets that can't be worked on, or only in part: each is refused with its exit status and a message
//! that names the file, and stays as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::lake::{self, Lake, SHARDS, alter, person, put};
use crate::refusals::{BAD_DATA, ON_ANY, ON_REQUESTS, USAGE, refused};

#[test]
fn a_missing_column_lists_the_columns_that_there_are() {
    let lake = Lake::new();
    let says = [
        "distinct_id",
        "device_id",
        "time",
        "amount",
        "\"nope\"",
        SHARDS[0],
    ];
    refused(&lake, &ON_ANY, &["--subject", "nope"], USAGE, &says);
    let hint = ["hint: --subject names"];
    refused(&lake, &ON_ANY, &["--subject", "nope"], USAGE, &hint);
    let says = ["time", "distinct_id", "amount", "\"nope\""];
    let ccpa = ["--time", "nope", "--regulation", "ccpa"];
    refused(&lake, &["export"], &ccpa, USAGE, &says);
}

#[test]
fn a_shard_that_lacks_the_column_is_named_unless_it_is_marked() {
    let lake = Lake::new();
    let other = arrow::array::StringArray::from(vec!["x"]);
    let batch =
        arrow::array::RecordBatch::try_from_iter([("other", std::sync::Arc::new(other) as _)]);
    lake::write_parquet(&lake.at("legacy/x.parquet"), &batch.unwrap());
    refused(&lake, &ON_ANY, &[], USAGE, &["legacy/x.parquet", "other"]);
    put(&lake.at("_efface/dataset.toml"), "ignore = [\"legacy/\"]\n");
    assert_eq!(lake.json("plan", &["--id", &person(1)])["shards"], 3);
}

#[test]
fn a_column_of_a_type_that_can_be_no_id_is_refused() {
    let lake = Lake::new();
    let says = ["amount", "subject", SHARDS[0]];
    refused(&lake, &ON_ANY, &["--subject", "amount"], USAGE, &says);
    let ccpa = ["--time", "distinct_id", "--regulation", "ccpa"];
    refused(&lake, &["export"], &ccpa, USAGE, &["distinct_id", "time"]);
}

/// Damages one shard in some way; no command that reads it goes on, and each names it.
#[track_caller]
fn refused_when_damaged(damage: impl Fn(&mut Vec<u8>), commands: &[&str]) {
    for is_indexed in [false, true] {
        let lake = Lake::new();
        if is_indexed {
            lake.json("index", &[]);
        }
        alter(&lake.at(SHARDS[1]), &damage);
        refused(&lake, commands, &[], BAD_DATA, &[SHARDS[1]]);
    }
}

#[test]
fn a_truncated_shard_is_refused() {
    for left in [0, 3, 4, 11, 12, 500] {
        refused_when_damaged(|bytes| bytes.truncate(left), &ON_ANY);
    }
    refused_when_damaged(|bytes| bytes.truncate(bytes.len() - 1), &ON_ANY);
    refused_when_damaged(|bytes| bytes.truncate(bytes.len() - 100), &ON_ANY);
}

#[test]
fn a_shard_that_lost_its_beginning_is_refused() {
    refused_when_damaged(|bytes| drop(bytes.drain(..100)), &["export", "delete"]);
}

#[test]
fn a_corrupt_footer_is_refused() {
    let at_footer = |bytes: &[u8]| {
        let length = bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap();
        bytes.len() - 8 - u32::from_le_bytes(length) as usize
    };
    refused_when_damaged(
        |bytes| {
            let start = at_footer(bytes);
            bytes[start..start + 16].fill(0xFF);
        },
        &ON_ANY,
    );
    refused_when_damaged(
        |bytes| {
            let start = at_footer(bytes);
            let end = bytes.len() - 8;
            bytes[start..end].fill(0);
        },
        &ON_ANY,
    );
    for length in [0, 1, 1 << 30, u32::MAX] {
        refused_when_damaged(
            |bytes| {
                let at = bytes.len() - 8;
                bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(length));
            },
            &ON_ANY,
        );
    }
}

#[test]
fn damaged_pages_are_refused() {
    // The first pages are those of `distinct_id`.
    refused_when_damaged(|bytes| bytes[4..60].fill(0xEE), &["export", "delete"]);
}

#[test]
fn a_file_that_is_not_parquet_is_refused() {
    refused_when_damaged(
        |bytes| *bytes = b"hello, world; no Parquet here".to_vec(),
        &ON_ANY,
    );
}

#[test]
fn an_encrypted_shard_is_refused() {
    let Some(folder) = std::env::var_os("EFFACE_FOREIGN") else {
        eprintln!("skipped: EFFACE_FOREIGN is not set, and nothing here writes encrypted files");
        return;
    };
    let mut tried = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains("encrypt") && Path::new(name).extension().is_some_and(|e| e == "parquet") {
            let lake = Lake::new();
            put(&lake.at(SHARDS[1]), fs::read(&path).unwrap());
            refused(&lake, &ON_ANY, &[], BAD_DATA, &[SHARDS[1], "encrypt"]);
            tried += 1;
        }
    }
    assert!(tried > 0, "no encrypted file in EFFACE_FOREIGN");
}

#[test]
fn a_directory_without_shards_is_refused() {
    let lake = Lake::without_shards();
    refused(&lake, &ON_ANY, &[], USAGE, &["no Parquet shards"]);
    put(&lake.at("readme.txt"), "nothing");
    put(&lake.at("_hidden/a.parquet"), "nothing");
    put(&lake.at(".hidden/a.parquet"), "nothing");
    refused(&lake, &ON_ANY, &[], USAGE, &["no Parquet shards"]);
    assert!(!lake.at("_efface/dataset.toml").exists());
}

#[test]
fn a_directory_that_is_not_there_is_refused_and_not_made() {
    let lake = Lake::without_shards();
    fs::remove_dir(lake.path()).unwrap();
    refused(&lake, &ON_ANY, &[], USAGE, &["there is no"]);
    assert!(!lake.path().exists());
    put(&lake.path(), "a file");
    refused(&lake, &ON_ANY, &[], USAGE, &["not a directory"]);
}

#[test]
fn an_unwritable_directory_fails_a_delete_and_not_an_export() {
    let lake = Lake::new();
    let all = [lake.path(), lake.at("day=1"), lake.at("day=2")];
    let set = |mode| {
        for dir in &all {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    if rustix::process::geteuid().is_root() {
        eprintln!(
            "skipped in part: root may write anywhere, so a file is put where a directory is needed"
        );
        put(&lake.at("_efface"), "in the way");
        refused(
            &lake,
            &["delete", "index", "init"],
            &[],
            5,
            &["_efface is a file, not a directory"],
        );
        return;
    }
    set(0o555);
    refused(&lake, &["delete", "index", "init"], &[], 1, &["_efface"]);
    let export = lake.run_showing_rows("export", &["--id", &person(1)]);
    set(0o755);
    assert_eq!(export.status, 0, "{}", export.stderr);
}

#[test]
fn nothing_that_somebody_puts_at_a_foreseeable_name_is_in_the_way_or_written_to() {
    let lake = Lake::new();
    fs::create_dir_all(lake.at("day=2/.a.parquet.efface-tmp/x")).unwrap();
    let victim = lake.beside("victim");
    put(&victim, "untouched");
    let link = lake.at("day=1/.a.parquet.efface-tmp");
    symlink(&victim, &link).unwrap();
    let key = lake.at("_efface/.key.efface-tmp");
    fs::create_dir_all(key.parent().unwrap()).unwrap();
    symlink(&victim, &key).unwrap();
    lake.json("delete", &["--id", &person(1)]);
    assert!(!lake.people().contains(&person(1)));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    for shard in SHARDS {
        assert!(!fs::symlink_metadata(lake.at(shard)).unwrap().is_symlink());
    }
}

#[test]
fn a_broken_configuration_is_refused() {
    for (text, says) in [
        ("subject = [", "dataset.toml"),
        ("subjects = [\"distinct_id\"]", "subjects"),
        ("subject = \"distinct_id\"", "subject"),
        ("time_unit = \"fortnight\"", "time_unit"),
        ("empty_shards = \"burn\"", "burn"),
    ] {
        let lake = Lake::new();
        put(&lake.at("_efface/dataset.toml"), text);
        refused(&lake, &ON_ANY, &[], USAGE, &["_efface/dataset.toml", says]);
    }
}

#[test]
fn a_directory_behind_a_link_is_part_of_the_dataset_and_not_deleted_from() {
    let lake = Lake::new();
    put(
        &lake.beside("elsewhere/x.parquet"),
        fs::read(lake.at(SHARDS[1])).unwrap(),
    );
    symlink(lake.beside("elsewhere"), lake.at("day=3")).unwrap();
    let says = ["day=3/x.parquet", "symbolic link"];
    refused(&lake, &["delete"], &[], BAD_DATA, &says);
    let export = lake.json("export", &["--id", &person(1), "-o", "rows.jsonl"]);
    assert_eq!(export["rows"], 16, "a reader follows the link");
}

#[test]
fn a_shard_behind_a_link_is_not_deleted_from() {
    let lake = Lake::new();
    put(
        &lake.beside("elsewhere"),
        fs::read(lake.at(SHARDS[1])).unwrap(),
    );
    let link = lake.at("day=3/linked.parquet");
    fs::create_dir(lake.at("day=3")).unwrap();
    symlink(lake.beside("elsewhere"), link).unwrap();
    refused(
        &lake,
        &["delete"],
        &[],
        BAD_DATA,
        &["day=3/linked.parquet", "symbolic link"],
    );
    let export = lake.json("export", &["--id", &person(1), "-o", "rows.jsonl"]);
    assert_eq!(export["rows"], 16, "a reader follows the link");
}

#[test]
fn an_alias_table_behind_a_link_is_not_deleted_from() {
    let lake = Lake::new();
    let links = format!("alias,distinct_id\nperson~crm,{}\n", person(7));
    lake.note("elsewhere.csv", &links);
    symlink(lake.beside("elsewhere.csv"), lake.at("aliases.csv")).unwrap();
    let options = ["--aliases", "aliases.csv"];
    let says = ["aliases.csv", "symbolic link"];
    refused(&lake, &["delete"], &options, BAD_DATA, &says);
    assert_eq!(
        fs::read_to_string(lake.beside("elsewhere.csv")).unwrap(),
        links
    );
    let plan = lake.json("plan", &[&options[..], &["--id", "person~crm"]].concat());
    assert_eq!(plan["rows"], 12, "a reader follows the link");
}

#[test]
fn a_ccpa_export_needs_a_time_column() {
    let lake = Lake::without_shards();
    let who = arrow::array::StringArray::from(vec![person(7)]);
    let batch =
        arrow::array::RecordBatch::try_from_iter([("distinct_id", std::sync::Arc::new(who) as _)]);
    lake::write_parquet(&lake.at("a.parquet"), &batch.unwrap());
    let says = ["no time column", "hint: --time", "distinct_id"];
    refused(&lake, &["export"], &["--regulation", "ccpa"], USAGE, &says);
    let all = lake.json("export", &["--id", &person(7), "-o", "rows.jsonl"]);
    assert_eq!(all["rows"], 1);
}

#[test]
fn a_time_column_whose_unit_nothing_tells_is_refused_until_it_is_said() {
    let lake = Lake::without_shards();
    let who = arrow::array::StringArray::from(vec![person(7); 2]);
    // A time in seconds, and one in milliseconds.
    let time = arrow::array::Int64Array::from(vec![1_767_225_600, 1_767_225_600_000]);
    let batch = arrow::array::RecordBatch::try_from_iter([
        ("distinct_id", std::sync::Arc::new(who) as _),
        ("time", std::sync::Arc::new(time) as _),
    ]);
    lake::write_parquet(&lake.at("a.parquet"), &batch.unwrap());
    let says = ["a.parquet", "\"time\"", "unit", "hint: --time-unit"];
    let options = [
        "--regulation",
        "ccpa",
        "--requested-at",
        "2026-06-01T00:00:00Z",
    ];
    refused(&lake, &["export"], &options, USAGE, &says);
    let id = person(7);
    let said = [
        &options[..],
        &["--time-unit", "ms", "--id", &id, "-o", "rows.jsonl"],
    ]
    .concat();
    assert_eq!(lake.json("export", &said)["rows"], 1);
}

#[test]
fn a_broken_alias_table_is_refused() {
    for (text, status, says) in [
        ("from,to\nperson~01,person~02\n", USAGE, "alias"),
        ("alias,distinct_id\nperson~01\n", BAD_DATA, "record 2"),
        (
            "alias,distinct_id\nperson~01,\"person~02\n",
            BAD_DATA,
            "never closed",
        ),
    ] {
        let lake = Lake::new();
        let table = lake.note("aliases.csv", text);
        refused(
            &lake,
            &ON_REQUESTS,
            &["--aliases", &table],
            status,
            &["aliases.csv", says],
        );
    }
    let lake = Lake::new();
    let nowhere = ["--aliases", "nowhere.csv"];
    refused(&lake, &ON_REQUESTS, &nowhere, 1, &["nowhere.csv"]);
}
