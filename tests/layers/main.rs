//! The modules of the library stand on floors, and a file imports only downwards.
//!
//! # What counts
//! * An import is a path in a `use`, or a path in code that begins with `crate`, `self` or `super`. It leads to the
//!   file whose module is the longest part of the path. A name that this file itself took from another one leads to
//!   both: `crate::Error` is an arrow to `lib.rs` and one to `error.rs`.
//! * Comments, strings, items under `#[cfg(test)]`, `tests.rs` and folders called `tests` are left out.
//! * [`FLOORS`] orders the top-level modules. An arrow from one to a later one points upwards.
//! * Files make a circle if each of them leads to each other. A file may use the files below it (`shard/mod.rs` those
//!   in `shard/`), which are its parts: such an arrow is left out. What a part takes from the file above it counts.

mod code;
mod house;

use std::fs;
use std::path::{Path, PathBuf};

use house::House;

/// The top-level modules from the ground up, and why each stands where it does.
const FLOORS: [(&str, &str); 31] = [
    ("limits", "numbers, which know nothing"),
    ("observe", "is called from everywhere and calls nothing"),
    ("csv_records", "text becomes records, whatever they mean"),
    ("subject", "one id and its forms; knows no file"),
    ("tracking", "the id of a request, which errors name"),
    ("error", "all that stands above can fail"),
    (
        "io",
        "bytes at positions and bytes in order, wherever they lie",
    ),
    ("parquet_bytes", "the file format; knows no subject"),
    (
        "shard",
        "one file: which rows are whose, and it without them",
    ),
    ("file_system", "files by name, as a system has them"),
    ("state", "efface's own small files; knows none of them"),
    (
        "witness",
        "which hashes of ids the state holds, and under which keys",
    ),
    ("table", "which shards are live; knows no subject"),
    ("request", "what is asked; knows no data"),
    ("identity", "which ids belong together; knows no events"),
    ("config", "which columns of a dataset mean what"),
    (
        "key_file",
        "the secret, where the configuration says it lies",
    ),
    ("dataset", "many shards with one configuration"),
    ("index", "where in a dataset the rows of an id may be"),
    ("plan", "which rows a request touches, by the index"),
    ("export", "the rows of a plan as bytes"),
    ("receipts", "what became of a request"),
    ("archives", "what exports became, and of whom they are"),
    ("pass", "how far carrying out requests has come"),
    ("queue", "requests that wait; ends in receipts"),
    ("suppression", "the ids whose rows must not come back"),
    ("find", "the half of the engine that reads"),
    ("erase", "the half that writes: carries out what waits"),
    ("engine", "the calls of all that stands below"),
    ("testing", "checks what others implement"),
    (
        "lib",
        "the face of the crate; a path of its own parts through it is a detour upwards",
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_module_imports_only_from_the_floors_below_it() {
    let faults = House::at(&root().join("src")).upward(&FLOORS);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    let mut houses = vec![root().join("src")];
    // A package of the library alone has no other crates.
    let crates = fs::read_dir(root().join("crates")).into_iter().flatten();
    houses.extend(crates.map(|entry| entry.unwrap().path().join("src")));
    for src in houses.iter().filter(|src| src.is_dir()) {
        let circles = House::at(src).circles();
        assert!(circles.is_empty(), "{}\n{}", name(src), circles.join("\n"));
    }
}

fn name(src: &Path) -> String {
    let name = src.strip_prefix(root()).unwrap_or(src);
    name.display().to_string()
}

const PLANTED: [(&str, &str); 3] = [("ground", ""), ("upper", ""), ("lib", "")];

#[test]
fn a_planted_upward_import_is_told_with_its_path() {
    let planted = |ground: &'static str| {
        let files = [
            (
                "lib.rs",
                "pub mod ground; pub mod upper; pub use ground::Error;",
            ),
            ("ground.rs", "pub struct Error;"),
            ("ground/deep.rs", ground),
            ("upper/mod.rs", "use crate::ground::Error; pub struct Roof;"),
        ];
        House::of(files).upward(&PLANTED)
    };
    let none: [&str; 0] = [];
    assert_eq!(planted("use super::Error;"), none);
    for (ground, to, path) in [
        ("use crate::upper::Roof;", "upper/mod.rs", "upper::Roof"),
        (
            "use crate::{ground::Error, upper::{self as roofs, *}};",
            "upper/mod.rs",
            "upper",
        ),
        (
            "fn roof() -> super::super::upper::Roof { unreachable!() }",
            "upper/mod.rs",
            "upper::Roof",
        ),
        (
            "mod inside { use super::super::super::upper::Roof; }",
            "upper/mod.rs",
            "upper::Roof",
        ),
        (
            "const SIGNS: [char; 2] = ['\"', '\\'']; use crate::upper::Roof;",
            "upper/mod.rs",
            "upper::Roof",
        ),
        (
            "fn failed<'a>() -> crate::Error { unreachable!() }",
            "lib.rs",
            "Error",
        ),
    ] {
        let told = format!("ground/deep.rs -> {to} points upwards: {path}");
        assert_eq!(planted(ground), [told], "{ground}");
    }
    for harmless in [
        "/// See [`Roof`](crate::upper::Roof).\nstruct Floor;",
        "/* /* crate::upper::Roof */ use crate::upper::Roof; */",
        "const TEXT: &str = \"use crate::upper::Roof;\\\"\"; const RAW: &str = r#\"\"crate::upper::Roof\"#;",
        "#[cfg(test)]\n#[expect(dead_code)]\nmod checks { use crate::upper::Roof; fn f(of: [u8; 2]) {} }",
        "pub(in crate::ground) struct Floor;",
        "use parquet::upper::Roof;",
    ] {
        assert_eq!(planted(harmless), none, "{harmless}");
    }
}

#[test]
fn modules_and_floors_that_lack_each_other_are_told_by_name() {
    let files = [("lib.rs", ""), ("ground.rs", ""), ("annex.rs", "")];
    let faults = House::of(files).upward(&PLANTED).join("\n");
    assert!(faults.contains("module annex has no floor"), "{faults}");
    assert!(faults.contains("FLOORS has upper"), "{faults}");
}

#[test]
fn a_planted_circle_is_told_with_the_imports_that_tie_it() {
    let files = [
        ("lib.rs", "mod room;"),
        (
            "room/mod.rs",
            "mod a; mod b; mod c; mod d; use self::a::A; pub use self::b::B; pub struct R(A);",
        ),
        ("room/a.rs", "use super::B;\npub struct A;"),
        ("room/b.rs", "use crate::room::c; pub struct B(c::C);"),
        ("room/c.rs", "use super::{R, a::A}; pub struct C(A);"),
        ("room/d.rs", "use super::a::A;"),
    ];
    let circles = House::of(files).circles();
    assert_eq!(
        circles,
        [
            "a circle of 3 files:\n  room/a.rs -> room/b.rs: room::B\n  room/b.rs -> room/c.rs: room::c\n  \
         room/c.rs -> room/a.rs: room::a::A"
        ]
    );
}

#[test]
fn a_file_and_its_parts_make_no_circle_but_what_a_part_takes_from_elsewhere_may() {
    let planted = |elsewhere: &'static str| {
        let files = [
            ("lib.rs", ""),
            (
                "room.rs",
                "mod part; use part::Part; pub struct Whole(Part);",
            ),
            (
                "room/part.rs",
                "use super::Whole; use crate::elsewhere::Other; pub struct Part;",
            ),
            ("elsewhere.rs", elsewhere),
        ];
        House::of(files).circles().len()
    };
    assert_eq!(planted("pub struct Other;"), 0);
    assert_eq!(planted("pub struct Other(crate::room::part::Part);"), 1);
}
