//! The rules that every [`State`] must keep.
//!
//! ```
//! use efface::Disk;
//! use efface::state::files::StateFiles;
//!
//! let dir = tempfile::tempdir()?;
//! efface::testing::state::check(&StateFiles::new(Disk::new(dir.path())))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The effects of a crash can't be checked from here: a store that promises durability when a call returns is believed.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Violation, fails, rule, works};
use crate::error::Error;
use crate::io::ReadAt;
use crate::state::{DIRECTORY, Draft, Expect, State};

/// Threads that ask for the same thing at a time.
const RIVALS: usize = 8;
/// Bytes of a draft that no implementation keeps in one request.
const LONG: usize = 9 << 20;
/// No limit that a check runs into.
const ANY_LENGTH: u64 = u64::MAX - 1;

/// Checks an empty state. Files of the check are left in it.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(state: &dyn State) -> Result<(), Violation> {
    nothing_there(state)?;
    puts(state)?;
    lists(state)?;
    drafts(state)?;
    leases(state)?;
    rivals(state)
}

fn path(name: &str) -> String {
    format!("{DIRECTORY}/check/{name}")
}

fn is_changed(error: &Error) -> bool {
    matches!(error, Error::StateChanged { .. })
}

fn nothing_there(state: &dyn State) -> Result<(), Violation> {
    let name = path("nothing");
    let got = works(
        state.get(&name, 10),
        "a file that isn't there can be asked for",
    )?;
    rule(got.is_none(), "a file that isn't there is none", || {
        format!("{got:?}")
    })?;
    let has = works(state.has(&name), "a file that isn't there can be asked for")?;
    rule(!has, "a file that isn't there isn't had", || "it is".into())?;
    let listed = works(
        state.list(&path("nowhere")),
        "a directory that isn't there can be listed",
    )?;
    rule(
        listed.is_empty(),
        "a directory that isn't there is empty",
        || format!("{listed:?}"),
    )?;
    works(
        state.remove(std::slice::from_ref(&name)),
        "removing a file that isn't there is no error",
    )?;
    fails(
        state.map(&name).map(drop),
        "a file that isn't there can't be mapped",
    )
    .map(drop)
}

/// That a file holds these bytes.
fn holds(state: &dyn State, name: &str, bytes: &[u8], why: &'static str) -> Result<(), Violation> {
    let got = works(state.get(name, ANY_LENGTH), why)?;
    let found = got.map(|stored| stored.bytes);
    rule(found.as_deref() == Some(bytes), why, || {
        found.map_or_else(
            || "no file".to_owned(),
            |found| format!("{} bytes", found.len()),
        )
    })
}

fn puts(state: &dyn State) -> Result<(), Violation> {
    let name = path("puts");
    let put = |bytes: &[u8], expect| state.put(&name, bytes, expect);
    let first = works(put(b"one", Expect::Absent), "a new file can be put")?;
    holds(state, &name, b"one", "a file holds what was put")?;
    let stored = works(
        state.get(&name, 3),
        "a file as long as the limit can be had",
    )?;
    let version = stored.map(|stored| stored.version);
    rule(
        version.as_ref() == Some(&first),
        "a file has the version that putting it gave",
        || format!("{version:?} instead of {first:?}"),
    )?;
    let error = fails(
        state.get(&name, 2),
        "a file longer than the limit is refused",
    )?;
    rule(
        matches!(error, Error::State { .. }),
        "a file longer than the limit is an Error::State",
        || error.to_string(),
    )?;
    let refused = "a file that is there isn't replaced by one that expects none";
    let error = fails(put(b"two", Expect::Absent), refused)?;
    rule(is_changed(&error), "that is an Error::StateChanged", || {
        error.to_string()
    })?;
    holds(state, &name, b"one", refused)?;

    let second = works(
        put(b"two", Expect::Version(&first)),
        "a file is replaced if its version is the expected one",
    )?;
    rule(
        first != second,
        "another content has another version",
        || format!("{first:?}"),
    )?;
    let refused = "a file isn't replaced if its version isn't the expected one";
    let error = fails(put(b"three", Expect::Version(&first)), refused)?;
    rule(is_changed(&error), "that is an Error::StateChanged", || {
        error.to_string()
    })?;
    holds(state, &name, b"two", refused)?;
    let other = path("absent");
    let refused = "where there is no file, none has the expected version";
    let error = fails(state.put(&other, b"x", Expect::Version(&first)), refused)?;
    rule(is_changed(&error), "that is an Error::StateChanged", || {
        error.to_string()
    })?;
    works(
        put(b"", Expect::Any),
        "any file is replaced by an empty one",
    )?;
    holds(state, &name, b"", "an empty file is a file")?;

    let map = works(
        state.put(&name, b"mapped", Expect::Any),
        "a file can be put",
    )
    .and_then(|_| works(state.map(&name), "a file can be mapped"))?;
    works(state.put(&name, b"newer", Expect::Any), "a file can be put")?;
    works(state.remove(&[name]), "a file can be removed")?;
    rule(
        &*map == b"mapped",
        "a mapping keeps its bytes when the file is replaced and removed",
        || format!("{} other bytes", map.len()),
    )
}

fn lists(state: &dyn State) -> Result<(), Violation> {
    let root = path("lists");
    let names = ["a", "b/c", "b/d.json", "z%2F", "é ü"];
    for name in names {
        let put = state.put(&format!("{root}/{name}"), name.as_bytes(), Expect::Absent);
        works(
            put,
            "names may have directories, spaces and letters of any script",
        )?;
    }
    let put = state.put(&format!("{root}-beside"), b"x", Expect::Absent);
    works(put, "a file can be put beside a directory")?;
    let listed = works(state.list(&root), "a directory can be listed")?;
    let found: Vec<(String, u64)> = listed
        .into_iter()
        .map(|file| (file.path, file.bytes))
        .collect();
    let expected: Vec<(String, u64)> = names
        .iter()
        .map(|name| (format!("{root}/{name}"), name.len() as u64))
        .collect();
    rule(
        found == expected,
        "a list has the files below a directory, by path, with their lengths",
        || format!("{found:?}"),
    )?;
    let direct = ["a", "z%2F", "é ü"];
    for (after, limit, expected) in [
        ("", 9, &direct[..]),
        ("", 2, &direct[..2]),
        ("a", 1, &direct[1..2]),
        ("b", 9, &direct[1..]),
        ("é ü", 9, &[]),
        ("", 0, &[]),
    ] {
        let found = works(
            state.names(&root, after, limit),
            "the names in a directory can be asked for",
        )?;
        rule(
            found == expected,
            "names are the first ones directly in a directory behind the one that is given",
            || format!("{found:?} behind {after:?}, at most {limit}"),
        )?;
    }
    let found = works(
        state.names(&path("nowhere"), "", 1),
        "the names in a directory that isn't there can be asked for",
    )?;
    rule(
        found.is_empty(),
        "a directory that isn't there has no names",
        || format!("{found:?}"),
    )?;
    works(state.clean_up(&root), "a directory can be cleaned up")?;
    let all: Vec<String> = expected.into_iter().map(|(path, _)| path).collect();
    for path in &all {
        let has = works(state.has(path), "a file can be asked for")?;
        rule(has, "cleaning up leaves published files", || path.clone())?;
    }
    works(state.remove(&all), "several files can be removed at once")?;
    let left = works(state.list(&root), "a directory can be listed")?;
    rule(left.is_empty(), "files that were removed are gone", || {
        format!("{left:?}")
    })
}

fn written(draft: &mut dyn Draft, bytes: &[u8]) -> Result<(), Violation> {
    let done = draft.write_all(bytes);
    done.map_err(|error| Violation {
        rule: "a draft takes bytes",
        found: error.to_string(),
    })
}

fn all_of(file: &dyn ReadAt) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn drafts(state: &dyn State) -> Result<(), Violation> {
    let root = path("drafts");
    let name = format!("{root}/long");
    let long: Vec<u8> = (0..=255).cycle().take(LONG).collect();
    let begin = || works(state.create(&name), "a draft can be begun");
    let mut draft = begin()?;
    let mut rival = begin()?;
    written(&mut *draft, &long)?;
    written(&mut *rival, b"rival")?;
    let has = works(state.has(&name), "a file can be asked for")?;
    rule(!has, "a draft has no name before it is published", || {
        "it has".into()
    })?;
    let back = works(draft.read_back(), "a draft can be read back")?;
    let found = all_of(&*back).unwrap_or_default();
    rule(
        found == long,
        "a draft reads back as it was written",
        || format!("{} bytes", found.len()),
    )?;
    works(draft.publish(), "a draft can be published")?;
    holds(
        state,
        &name,
        &long,
        "a published draft holds what was written",
    )?;
    works(rival.publish(), "a draft can replace a file")?;
    holds(
        state,
        &name,
        b"rival",
        "a published draft replaces the file",
    )?;
    let mut dropped = begin()?;
    written(&mut *dropped, b"dropped")?;
    drop(dropped);
    holds(
        state,
        &name,
        b"rival",
        "a draft that is dropped changes nothing",
    )?;
    let listed = works(state.list(&root), "a directory can be listed")?;
    rule(
        listed.len() == 1,
        "a draft that is dropped leaves nothing behind",
        || format!("{listed:?}"),
    )?;
    works(state.remove(&[name]), "a file can be removed")
}

fn leases(state: &dyn State) -> Result<(), Violation> {
    let name = format!("{DIRECTORY}/check.lock");
    let first = works(state.lease(&name, "the first"), "a free lease can be taken")?;
    works(first.confirm(), "a lease that is held is confirmed")?;
    let error = fails(
        state.lease(&name, "the second").map(drop),
        "a lease that is held can't be taken",
    )?;
    rule(
        matches!(&error, Error::Locked { holder, .. } if holder.contains("the first")),
        "that is an Error::Locked that names the holder",
        || error.to_string(),
    )?;
    let other = state.lease(&format!("{DIRECTORY}/other.lock"), "another");
    drop(works(other, "another lease is free")?);
    drop(first);
    let again = state.lease(&name, "the second");
    works(again, "a lease that was given up can be taken").map(drop)
}

/// If many expect that nothing is there, exactly one puts its file.
fn rivals(state: &dyn State) -> Result<(), Violation> {
    let name = path("rivals");
    let done = AtomicUsize::new(0);
    let put = || {
        if state.put(&name, b"mine", Expect::Absent).is_ok() {
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..RIVALS {
            scope.spawn(put);
        }
    });
    let done = done.into_inner();
    rule(
        done == 1,
        "of many that put a file where none is expected, one does",
        || format!("{done} did"),
    )
}
