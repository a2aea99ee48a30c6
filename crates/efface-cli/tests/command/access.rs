//! Owner, group, mode, access control list, extended attributes and times of all that the command makes: a test for each
//! row of the table in docs/operations.md.
//!
//! Whether root hands files over to the owner of a directory is only tested as root. Every run has the umask 0, so that
//! nothing is private by chance, and works below directories that let one user more into all that is made in them.

use std::ffi::OsString;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::lake::{Lake, Run, SHARDS, one_document, person, put};

const ACL: &str = "system.posix_acl_access";
const ACL_BY_DEFAULT: &str = "system.posix_acl_default";

/// Somebody who owns nothing else.
const OTHER: u32 = 4321;

/// A list of access in its binary form (version 2): the owner may do all, one user and the group may read.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 7, u32::MAX),
        (0x02, 4, OTHER),
        (0x04, 4, u32::MAX),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permitted, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permitted.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    match getxattr(path, name, &mut value[..]) {
        Ok(length) => Some(value[..length].to_vec()),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => None,
        Err(errno) => panic!("{name} of {}: {errno}", path.display()),
    }
}

fn give(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Whether the file system of these tests has lists of access: if not, those parts are passed over with a message.
fn has_acls(directory: &Path) -> bool {
    let has = setxattr(directory, ACL_BY_DEFAULT, &acl(), XattrFlags::empty()).is_ok();
    if !has {
        eprintln!("skipped: no lists of access here");
    }
    has
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs the command, which must succeed, with an umask that hides nothing.
fn run(lake: &Lake, command: &str, options: &[&str]) -> Run {
    run_words(lake, &lake.words(command, options))
}

fn run_words(lake: &Lake, words: &[OsString]) -> Run {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_efface"))
        .args(words)
        .current_dir(lake.beside(""))
        .stdin(Stdio::null());
    let run = Run::of(shell.output().unwrap());
    assert_eq!(run.status, 0, "{}", run.stderr);
    run
}

fn json(lake: &Lake, command: &str, options: &[&str]) -> Value {
    one_document(&run(lake, command, &[options, &["--json"]].concat()).stdout)
}

/// All that lies below a directory, and the directory.
fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut all = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
        } else {
            all.push(path);
        }
    }
    all
}

/// What a replaced file has in common with the old one.
fn assert_carried_over(path: &Path, old: &Metadata, acl: Option<&Vec<u8>>) {
    let new = fs::metadata(path).unwrap();
    let carried = |found: &Metadata| (found.uid(), found.gid(), found.mode());
    assert_eq!(carried(&new), carried(old), "{}", path.display());
    assert_ne!(new.ino(), old.ino(), "it was replaced");
    assert!(new.mtime() > old.mtime(), "its time is that of the rewrite");
    assert_eq!(
        attribute(path, "user.origin").as_deref(),
        Some(&b"tracker"[..])
    );
    assert_eq!(attribute(path, "user.sha256"), None);
    assert_eq!(attribute(path, ACL).as_ref(), acl);
}

/// Gives a file an owner, a mode, a list and attributes, and an old time.
fn dress(path: &Path, has_acls: bool) -> (Metadata, Option<Vec<u8>>) {
    give(path, "user.origin", b"tracker");
    give(path, "user.sha256", b"0123");
    set_mode(path, 0o640);
    if has_acls {
        give(path, ACL, &acl());
    }
    if is_root() {
        chown(path, Some(OTHER), Some(OTHER + 1)).unwrap();
    }
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    (fs::metadata(path).unwrap(), attribute(path, ACL))
}

#[test]
fn shards_and_alias_tables_keep_owner_group_mode_list_and_attributes_and_get_a_new_time() {
    let lake = Lake::new();
    let aliases = lake.at("aliases.csv");
    put(
        &aliases,
        format!("alias,distinct_id\nperson~crm,{}\n", person(1)),
    );
    let has_acls = has_acls(&lake.path());
    let paths = [lake.at(SHARDS[0]), aliases];
    let dressed = paths.clone().map(|path| dress(&path, has_acls));
    let options = ["--id", "person~crm", "--aliases", "aliases.csv"];
    let done = json(&lake, "delete", &options);
    assert_eq!(done["attributes_left_out"], json!(["user.sha256"]));
    for (path, (old, acl)) in paths.iter().zip(&dressed) {
        assert_carried_over(path, old, acl.as_ref());
    }
    let (old, acl) = dress(&paths[0], has_acls);
    let said = run(&lake, "delete", &["--id", &person(2)]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("user.sha256"));
    assert_carried_over(&paths[0], &old, acl.as_ref());
    dress(&paths[0], has_acls);
    run(&lake, "submit", &["--id", &person(3)]);
    let done = json(&lake, "compact", &[]);
    assert_eq!(done["attributes_left_out"], json!(["user.sha256"]));
}

/// Uses every part of the state.
fn work(lake: &Lake) {
    run(lake, "index", &[]);
    run(lake, "delete", &["--id", &person(1)]);
    run(lake, "submit", &["--id", &person(2)]);
    let (dataset, id) = (lake.path().into(), person(3).into());
    let words = ["suppress".into(), "add".into(), dataset, "--id".into(), id];
    run_words(lake, &words);
    run(lake, "compact", &[]);
    run(lake, "submit", &["--id", &person(4)]);
}

/// All of the state has these modes, no list of access, and this owner.
fn assert_state(lake: &Lake, directory_mode: u32, file_mode: u32, owner: u32) {
    let all = all_below(&lake.at("_efface"));
    assert!(all.len() > 10, "{}", all.len());
    for path in all {
        // Only who can write here takes a lock.
        let is_lock = path.ends_with("lock") || path.ends_with("queue.lock");
        let expected = match (path.is_dir(), is_lock) {
            (true, _) => directory_mode,
            (false, true) => 0o600,
            (false, false) => file_mode,
        };
        assert_eq!(mode(&path), expected, "{}", path.display());
        assert_eq!(
            fs::metadata(&path).unwrap().uid(),
            owner,
            "{}",
            path.display()
        );
        let lists = [ACL, ACL_BY_DEFAULT].map(|list| attribute(&path, list));
        assert_eq!(lists, [None, None], "{}", path.display());
    }
}

#[test]
fn the_state_is_private_whatever_its_directory_lets_in_and_belongs_to_the_owner_of_that() {
    let lake = Lake::new();
    has_acls(&lake.path());
    let mut owner = rustix::process::geteuid().as_raw();
    if is_root() {
        owner = OTHER;
        chown(lake.path(), Some(OTHER), Some(OTHER)).unwrap();
    }
    work(&lake);
    assert_state(&lake, 0o700, 0o600, owner);
}

#[test]
fn a_group_that_the_state_is_opened_to_can_read_it_and_nobody_else_that_a_list_names() {
    let lake = Lake::new();
    let state = lake.at("_efface");
    fs::create_dir(&state).unwrap();
    let has_acls = has_acls(&lake.path());
    if has_acls {
        // As an older version left it.
        give(&state, ACL_BY_DEFAULT, &acl());
        give(&state, ACL, &acl());
    }
    let group = rustix::process::getegid().as_raw();
    put(
        &state.join("dataset.toml"),
        format!("state_group = \"{group}\"\n"),
    );
    work(&lake);
    assert_state(&lake, 0o750, 0o640, rustix::process::geteuid().as_raw());
    assert_eq!(fs::metadata(&state).unwrap().gid(), group);
}

#[test]
fn exports_are_private_unless_a_mode_says_otherwise() {
    let lake = Lake::new();
    has_acls(&lake.beside(""));
    let export = |name: &str, options: &[&str]| {
        let id = person(1);
        let words = [&["--id", &id, "-o", name][..], options].concat();
        run(&lake, "export", &words);
        let path = lake.beside(name);
        assert_eq!(attribute(&path, ACL), None, "{name}");
        mode(&path)
    };
    assert_eq!(export("new.csv", &[]), 0o600);
    for (there, expected) in [(0o644, 0o600), (0o400, 0o400), (0o666, 0o600)] {
        put(&lake.beside("old.csv"), "old");
        set_mode(&lake.beside("old.csv"), there);
        assert_eq!(export("old.csv", &[]), expected, "{there:o}");
    }
    assert_eq!(export("shared.csv", &["--mode", "640"]), 0o640);
    assert_eq!(export("old.csv", &["--mode", "0644"]), 0o644);
    for wrong in [
        "",
        "rw",
        "+640",
        "640x",
        "755",
        "044",
        "1600",
        "77777777777",
    ] {
        let id = person(1);
        let run = lake.run("export", &["--id", &id, "-o", "no.csv", "--mode", wrong]);
        assert_eq!(run.status, 2, "{wrong}: {}", run.stderr);
        assert!(!lake.beside("no.csv").exists());
    }
    let id = person(1);
    let run = lake.run_showing_rows("export", &["--id", &id, "--mode", "600"]);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("--mode") && run.stdout.is_empty());
}

#[test]
fn exports_belong_to_whoever_makes_them() {
    let lake = Lake::new();
    let out = lake.beside("theirs");
    fs::create_dir(&out).unwrap();
    if is_root() {
        chown(&out, Some(OTHER), Some(OTHER)).unwrap();
    }
    let id = person(1);
    run(&lake, "export", &["--id", &id, "-o", "theirs/rows.csv"]);
    run(
        &lake,
        "export",
        &["--id", &id, "--per-subject", "-o", "theirs/archive"],
    );
    let maker = rustix::process::geteuid().as_raw();
    for path in ["rows.csv", "archive", "archive/manifest.json"] {
        assert_eq!(fs::metadata(out.join(path)).unwrap().uid(), maker, "{path}");
    }
}

#[test]
fn archives_are_private_unless_a_mode_says_otherwise() {
    let lake = Lake::new();
    has_acls(&lake.beside(""));
    let id = person(1);
    for (name, options, directory, file) in [
        ("files", &["--per-subject"][..], 0o700, 0o600),
        ("pages", &["--format", "report"], 0o700, 0o600),
        ("shared", &["--per-subject", "--mode", "640"], 0o750, 0o640),
    ] {
        run(
            &lake,
            "export",
            &[&["--id", &id, "-o", name], options].concat(),
        );
        let all = all_below(&lake.beside(name));
        assert!(all.len() > 2);
        for path in all {
            let expected = if path.is_dir() { directory } else { file };
            assert_eq!(mode(&path), expected, "{}", path.display());
            if !path.is_dir() {
                assert_eq!(attribute(&path, ACL), None, "{}", path.display());
            }
        }
    }
    // A directory that is there keeps its mode.
    fs::create_dir(lake.beside("open")).unwrap();
    set_mode(&lake.beside("open"), 0o755);
    run(
        &lake,
        "export",
        &["--id", &id, "-o", "open", "--per-subject"],
    );
    assert_eq!(mode(&lake.beside("open")), 0o755);
    assert_eq!(mode(&lake.beside("open/manifest.json")), 0o600);
}

#[test]
fn what_the_bare_primitive_writes_is_private() {
    let lake = Lake::new();
    has_acls(&lake.beside(""));
    let (input, output) = (lake.at(SHARDS[0]), lake.beside("out.parquet"));
    let words = ["rewrite".into(), input.into(), output.into()];
    let rows = ["--rows", "1"].map(OsString::from);
    run_words(&lake, &[&words[..], &rows].concat());
    assert_eq!(mode(&lake.beside("out.parquet")), 0o600);
    assert_eq!(attribute(&lake.beside("out.parquet"), ACL), None);
}

#[test]
fn a_new_key_hashes_from_now_on_and_older_hashes_are_still_found() {
    let lake = Lake::new();
    let dataset = lake.path();
    let words = |command: &[&str], id: Option<&str>| -> Vec<OsString> {
        let mut words: Vec<OsString> = command.iter().map(Into::into).collect();
        words.push(dataset.clone().into());
        words.extend(id.into_iter().flat_map(|id| ["--id".into(), id.into()]));
        words
    };
    let must = |words: &[OsString]| {
        let run = lake.run_words(words);
        assert_eq!(run.status, 0, "{}", run.stderr);
        run
    };
    let whole = fs::read(lake.at(SHARDS[0])).unwrap();
    must(&words(&["suppress", "add"], Some(&person(1))));
    lake.json("compact", &[]);
    let first = fs::read_to_string(lake.at("_efface/key")).unwrap();
    let mut rotate = words(&["key", "rotate"], None);
    rotate.push("--json".into());
    let done = one_document(&must(&rotate).stdout);
    assert_eq!(done["earlier"], 1);
    let both = fs::read_to_string(lake.at("_efface/key")).unwrap();
    assert_eq!(both.lines().count(), 2);
    assert_eq!(both.lines().nth(1), Some(first.trim()));
    assert_eq!(mode(&lake.at("_efface/key")), 0o600);
    // Who was suppressed under the first key, and who is under the second one.
    must(&words(&["suppress", "add"], Some(&person(2))));
    put(&lake.at("day=3/restored.parquet"), &whole);
    assert!(lake.people().contains(&person(1)));
    lake.json("compact", &[]);
    let people = lake.people();
    assert!(!people.contains(&person(1)) && !people.contains(&person(2)));
    assert_eq!(lake.json("receipts", &[])["intact"], true);
    let said = must(&words(&["key", "rotate"], None));
    assert!(String::from_utf8_lossy(&said.stdout).contains("earlier keys  2"));
    let text = fs::read_to_string(lake.at("_efface/key")).unwrap();
    let shown = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        text.lines().all(|key| !shown.contains(key)),
        "no key is printed"
    );
}
