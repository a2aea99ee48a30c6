//! The rules that every [`Table`] must keep.
//!
//! A table decides how its files are called, so the checks recognise new shards by their content.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Violation, fails, rule, works};
use crate::error::{Error, is_replaced};
use crate::io::ReadAt;
use crate::table::{CommitUnit, Replacement, ShardRef, Snapshot, Staging, Table};

/// Shards that a table must have to be checked.
pub const SHARDS_MIN: usize = 4;

/// Checks a table of at least [`SHARDS_MIN`] shards of one schema, each with different bytes, that nobody else changes.
/// Afterwards it has lost some of them, and holds copies of others.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(table: &dyn Table) -> Result<(), Violation> {
    let shards = reads(table)?;
    stages(table, &shards)?;
    replaces(table)?;
    conflicts(table)?;
    removes(table)?;
    recovers(table)
}

/// A shard with its bytes.
type Read = (ShardRef, Vec<u8>);

fn snapshot(table: &dyn Table) -> Result<Snapshot, Violation> {
    works(table.snapshot(), "a table has a snapshot")
}

fn bytes_of(file: &dyn ReadAt) -> Result<Vec<u8>, Violation> {
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes);
    read.map_err(|error| Violation {
        rule: "an open file can be read whole",
        found: error.to_string(),
    })?;
    Ok(bytes)
}

fn all(table: &dyn Table) -> Result<(Snapshot, Vec<Read>), Violation> {
    let snapshot = snapshot(table)?;
    let mut read = Vec::new();
    for shard in &snapshot.shards {
        let file = works(table.open(shard), "a live shard can be opened")?;
        rule(
            file.len() == shard.bytes,
            "an open shard is as long as the snapshot says",
            || format!("{} bytes instead of {}", file.len(), shard.bytes),
        )?;
        read.push((shard.clone(), bytes_of(&*file)?));
    }
    Ok((snapshot, read))
}

fn reads(table: &dyn Table) -> Result<Vec<Read>, Violation> {
    let (snapshot, shards) = all(table)?;
    let paths: Vec<&str> = shards
        .iter()
        .map(|(shard, _)| shard.path.as_str())
        .collect();
    rule(
        paths.is_sorted_by(|left, right| left < right),
        "a snapshot has its shards by path, each once",
        || format!("{paths:?}"),
    )?;
    let free = shards.iter().filter(|(shard, _)| shard.obstacle.is_none());
    rule(
        free.count() >= SHARDS_MIN,
        "the table to check has shards enough that can be replaced",
        || format!("{} shards", shards.len()),
    )?;
    rule(
        snapshot.managed_by.is_none(),
        "the table to check is not managed by another",
        || format!("{:?}", snapshot.managed_by),
    )?;
    for (shard, bytes) in &shards {
        let found = works(table.find(&shard.path), "a live shard can be found")?;
        rule(
            found.as_ref().is_some_and(|found| found.is_same(shard)),
            "a shard that is found is that of the snapshot",
            || format!("{found:?}"),
        )?;
        let file = works(table.open(shard), "a live shard can be opened")?;
        let half = file.len() / 2;
        let ranges = [half..file.len(), 0..half];
        let read = file.read_ranges(&ranges).unwrap_or_default();
        let joined: Vec<u8> = read.iter().rev().flat_map(|part| part.to_vec()).collect();
        rule(
            joined == *bytes,
            "ranges are read in the order in which they are asked for",
            || format!("{} bytes", joined.len()),
        )?;
        let mut beyond = [0; 1];
        rule(
            file.read_at(file.len(), &mut beyond).is_err(),
            "nothing is read beyond the end",
            || "a byte".into(),
        )?;
    }
    let nowhere = works(
        table.find("no such shard.parquet"),
        "any path can be sought",
    )?;
    rule(nowhere.is_none(), "what isn't live isn't found", || {
        format!("{nowhere:?}")
    })?;
    rule(
        works(table.room(), "a table can say what room there is")? != Some(0),
        "there is room, or it isn't known",
        || "none".into(),
    )?;
    Ok(shards)
}

/// A staged file with these bytes, not durable yet.
fn staged(table: &dyn Table, of: &ShardRef, bytes: &[u8]) -> Result<Box<dyn Staging>, Violation> {
    let mut staging = works(table.stage(of), "a new shard can be begun")?;
    let written = staging.write_all(bytes).and_then(|()| staging.flush());
    written.map_err(|error| Violation {
        rule: "a staged file takes bytes",
        found: error.to_string(),
    })?;
    Ok(staging)
}

/// The name of a staged file with these bytes, which is durable.
fn settled(table: &dyn Table, of: &ShardRef, bytes: &[u8]) -> Result<String, Violation> {
    let mut stagings = [staged(table, of, bytes)?];
    works(
        table.settle(&mut stagings),
        "a staged file can be made durable",
    )?;
    let [staging] = stagings;
    Ok(staging.name().to_owned())
}

fn stages(table: &dyn Table, shards: &[Read]) -> Result<(), Violation> {
    let [(first, bytes), (_, other), ..] = shards else {
        return Ok(());
    };
    let before = snapshot(table)?;
    let half = bytes.len() / 2;
    let mut copied = works(table.stage(first), "a new shard can be begun")?;
    let source = works(table.open(first), "a live shard can be opened")?;
    let done = copied
        .write_all(b"<")
        .and_then(|()| copied.copy_from(&*source, 0..half as u64))
        .and_then(|()| copied.write_all(b">"));
    done.map_err(|error| Violation {
        rule: "a staged file takes spans of a shard",
        found: error.to_string(),
    })?;
    let rival = staged(table, first, other)?;
    rule(
        copied.name() != rival.name(),
        "no two runs ever get the same staged file",
        || copied.name().to_owned(),
    )?;
    let mut both = [copied, rival];
    works(
        table.settle(&mut both),
        "staged files can be made durable together",
    )?;
    let names = both.map(|staging| staging.name().to_owned());
    let expected = [
        [b"<", bytes.get(..half).unwrap_or_default(), b">"].concat(),
        other.clone(),
    ];
    for (name, expected) in names.iter().zip(&expected) {
        let file = works(
            table.open_staged(name),
            "a staged file can be read by its name",
        )?;
        let found = bytes_of(&*file)?;
        rule(
            found == *expected,
            "a staged file holds what was written and copied, in that order",
            || format!("{} bytes instead of {}", found.len(), expected.len()),
        )?;
    }
    let now = snapshot(table)?;
    rule(
        now.shards == before.shards,
        "what is staged is no part of the table",
        || format!("{} shards", now.shards.len()),
    )?;
    works(table.discard(&names), "staged files can be discarded")?;
    works(table.discard(&names), "to discard them again is no error")?;
    for name in &names {
        let opened = table.open_staged(name).map(drop);
        fails(opened, "a staged file that was discarded is gone")?;
    }
    let live = table.open_staged(&first.path).map(drop);
    fails(live, "a live shard is no staged file").map(drop)
}

/// How often each content is in the table.
fn contents(shards: &[Read]) -> BTreeMap<&[u8], usize> {
    let mut counts = BTreeMap::new();
    for (_, bytes) in shards {
        *counts.entry(bytes.as_slice()).or_default() += 1;
    }
    counts
}

/// That the table has the contents of `shards`, except those at `places`, which have that of `new`.
fn expect(
    table: &dyn Table,
    shards: &[Read],
    places: &[usize],
    new: Option<&[u8]>,
    why: &'static str,
) -> Result<Vec<Read>, Violation> {
    let (_, now) = all(table)?;
    let mut expected: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (place, (_, bytes)) in shards.iter().enumerate() {
        let bytes = match (places.contains(&place), new) {
            (false, _) => bytes.as_slice(),
            (true, Some(new)) => new,
            (true, None) => continue,
        };
        *expected.entry(bytes).or_default() += 1;
    }
    rule(contents(&now) == expected, why, || {
        format!(
            "{} shards, of which not all are the expected ones",
            now.len()
        )
    })?;
    Ok(now)
}

/// The shards that can be replaced, with their places.
fn free(shards: &[Read]) -> impl DoubleEndedIterator<Item = (usize, &Read)> {
    let places = shards.iter().enumerate();
    places.filter(|(_, (shard, _))| shard.obstacle.is_none())
}

/// Three shards that can be replaced, with their places; [`reads`] has found that there are enough.
fn three_free(shards: &[Read]) -> Result<[(usize, &Read); 3], Violation> {
    let mut free = free(shards);
    match (free.next(), free.next(), free.next()) {
        (Some(one), Some(two), Some(three)) => Ok([one, two, three]),
        _ => Err(Violation {
            rule: "shards that can be replaced stay so",
            found: format!("{} shards", shards.len()),
        }),
    }
}

fn replaces(table: &dyn Table) -> Result<(), Violation> {
    let (base, shards) = all(table)?;
    let [(one, (first, old)), (two, (second, _)), (_, (_, new))] = three_free(&shards)?;
    let open = works(table.open(first), "a live shard can be opened")?;
    let replacements = [
        Replacement {
            old: first.clone(),
            new: Some(settled(table, first, new)?),
        },
        Replacement {
            old: second.clone(),
            new: Some(settled(table, second, new)?),
        },
    ];
    let done = works(
        table.commit(&base, &replacements),
        "a commit replaces shards",
    )?;
    rule(
        done.changed.is_empty(),
        "a shard that nobody else changed is replaced",
        || format!("{:?} were not", done.changed),
    )?;
    expect(
        table,
        &shards,
        &[one, two],
        Some(new),
        "a commit puts the new shards in the place of the old ones, and changes no other",
    )?;
    let mut bytes = vec![0; old.len()];
    let kept = match open.read_at(0, &mut bytes) {
        Ok(()) => bytes == *old,
        Err(error) => is_replaced(&error),
    };
    rule(
        kept,
        "who has a shard open goes on reading what it was, or learns that it was replaced",
        || "other bytes or another error".into(),
    )?;
    match table.open(first) {
        Err(_) => Ok(()),
        Ok(file) => {
            let mut found = vec![0; usize::try_from(file.len()).unwrap_or(0)];
            let kept = match file.read_at(0, &mut found) {
                Ok(()) => found == *old || (found == *new && found.len() == old.len()),
                Err(error) => is_replaced(&error),
            };
            rule(
                kept,
                "an old version is opened as it was, or not at all",
                || "other bytes or another error".into(),
            )
        }
    }
}

fn conflicts(table: &dyn Table) -> Result<(), Violation> {
    let (base, shards) = all(table)?;
    let [(one, (first, _)), (_, (second, _)), (_, (_, new))] = three_free(&shards)?;
    let ours = settled(table, first, new)?;
    // Another process replaces the first one by something longer.
    let theirs = [new.as_slice(), new].concat();
    let by_them = Replacement {
        old: first.clone(),
        new: Some(settled(table, first, &theirs)?),
    };
    works(table.commit(&base, &[by_them]), "a commit replaces a shard")?;
    let shards = expect(
        table,
        &shards,
        &[one],
        Some(&theirs),
        "a commit replaces a shard",
    )?;
    let replacements = [
        Replacement {
            old: first.clone(),
            new: Some(ours),
        },
        Replacement {
            old: second.clone(),
            new: Some(settled(table, second, &theirs)?),
        },
    ];
    let done = works(
        table.commit(&base, &replacements),
        "a commit that comes too late for a shard says so, and is no error",
    )?;
    rule(
        done.changed.contains(&0),
        "a shard that another process replaced is never replaced",
        || format!("{:?} are said to have changed", done.changed),
    )?;
    let find = |version: &ShardRef| shards.iter().position(|(shard, _)| shard.is_same(version));
    let places: Vec<usize> = match table.commit_unit() {
        CommitUnit::EachShard => find(second).into_iter().collect(),
        CommitUnit::WholeTable => Vec::new(),
    };
    expect(
        table,
        &shards,
        &places,
        Some(&theirs),
        "beside a shard that changed, the others are replaced if each is committed for itself, and none if the table is committed as a whole",
    )?;
    let names: Vec<String> = replacements
        .into_iter()
        .filter_map(|each| each.new)
        .collect();
    works(
        table.discard(&names),
        "what was not committed can be discarded",
    )
}

fn removes(table: &dyn Table) -> Result<(), Violation> {
    let (base, shards) = all(table)?;
    let [_, _, (place, (last, _))] = three_free(&shards)?;
    let removal = Replacement {
        old: last.clone(),
        new: None,
    };
    let done = works(
        table.commit(&base, std::slice::from_ref(&removal)),
        "a commit removes a shard",
    )?;
    rule(done.changed.is_empty(), "a shard is removed", || {
        "it is said to have changed".into()
    })?;
    expect(
        table,
        &shards,
        &[place],
        None,
        "a shard that was removed is gone, and no other",
    )?;
    let again = works(
        table.commit(&base, &[removal]),
        "to remove a shard that is gone is no error",
    )?;
    rule(
        again.changed == [0],
        "a shard that is gone counts as changed",
        || format!("{:?}", again.changed),
    )
}

fn recovers(table: &dyn Table) -> Result<(), Violation> {
    let (_, shards) = all(table)?;
    let Some((first, bytes)) = shards.first() else {
        return Ok(());
    };
    let name = settled(table, first, bytes)?;
    let base = snapshot(table)?;
    works(
        table.recover(&base, std::slice::from_ref(&first.path)),
        "a table recovers from a run that died",
    )?;
    expect(table, &shards, &[], None, "to recover changes no shard")?;
    let opened = table.open_staged(&name).map(drop);
    let error = fails(
        opened,
        "what was staged and not committed is gone once the table has recovered",
    )?;
    rule(
        matches!(error, Error::Io { .. } | Error::State { .. }),
        "a staged file that is gone is an error of the store",
        || error.to_string(),
    )
}
