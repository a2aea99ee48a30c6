//! Names of shards and of outputs at the limits of the file system.

use std::ffi::OsString;
use std::fs;

use crate::lake::{Lake, SHARDS, person};

/// Names of as many bytes as a file system takes, one of them of characters of several bytes.
fn longest() -> [String; 2] {
    let ending = ".parquet";
    let front = 255 - ending.len();
    let wide = "\u{1f4c4}".repeat(front / 4) + &"n".repeat(front % 4);
    [
        format!("{}{ending}", "n".repeat(front)),
        format!("{wide}{ending}"),
    ]
}

#[test]
fn shards_of_the_longest_names_lose_their_rows() {
    let lake = Lake::new();
    let names = longest();
    for name in &names {
        assert_eq!(name.len(), 255);
        fs::copy(lake.at(SHARDS[0]), lake.at(name)).unwrap();
    }
    let id = person(1);
    let done = lake.json("delete", &["--id", &id]);
    assert_eq!(done["rows_removed"], 20);
    assert!(!lake.people().contains(&id));
    let id = person(2);
    lake.json("submit", &["--id", &id]);
    assert_eq!(lake.json("compact", &[])["rows_removed"], 20);
    assert!(!lake.people().contains(&id));
    for name in &names {
        assert!(lake.at(name).exists());
    }
}

#[test]
fn a_shard_so_deep_that_no_longer_path_fits_loses_its_rows() {
    // Names of temporary files are longer than that of the shard.
    const PATH_MAX: usize = 4095;
    let lake = Lake::new();
    let name = "a.parquet";
    let mut directory = lake.path();
    loop {
        let taken = directory.as_os_str().len() + name.len() + 2;
        match PATH_MAX.checked_sub(taken) {
            Some(left) if left > 2 => directory.push("d".repeat(left.min(200))),
            _ => break,
        }
    }
    fs::create_dir_all(&directory).unwrap();
    let shard = directory.join(name);
    assert!(shard.as_os_str().len() > PATH_MAX - 4);
    fs::copy(lake.at(SHARDS[0]), &shard).unwrap();
    let done = lake.json("delete", &["--id", &person(1)]);
    assert_eq!(done["rows_removed"], 16);
    assert!(!lake.people().contains(&person(1)));
}

#[test]
fn outputs_of_the_longest_names_are_written() {
    let lake = Lake::new();
    for name in longest() {
        let export = ["--id", &person(1), "--format", "parquet", "-o", &name];
        assert_eq!(lake.json("export", &export)["rows"], 12);
        assert!(lake.beside(&name).exists());
        let input = lake.at(SHARDS[0]);
        let words = ["rewrite", input.to_str().unwrap(), &name, "--rows", "1"];
        let run = lake.run_words(&words.map(OsString::from));
        assert_eq!(run.status, 0, "{}", run.stderr);
    }
}
