//! The checks for those who implement a table or a state: ours pass them, and each fault that is planted is found.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use efface::file_system::FileSystem;
use efface::io::{ReadAt, Sink};
use efface::state::files::StateFiles;
use efface::table::directory::{Directory, Syncing};
use efface::table::{CommitUnit, Committed, Replacement, ShardRef, Snapshot, Staging, Table};
use efface::testing::sim::Sim;
use efface::testing::{Violation, state, table};
use efface::{Disk, Result};

/// A table needs no more of its shards than their bytes.
fn shards() -> Vec<(String, Vec<u8>)> {
    (0..5_u8)
        .map(|number| {
            let path = match number {
                3 => "d=1/c.parquet".to_owned(),
                _ => format!("{number}.parquet"),
            };
            (path, vec![number; 1000 + usize::from(number)])
        })
        .collect()
}

fn on_disk(dir: &Path) -> Disk {
    for (path, bytes) in shards() {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path).unwrap().write_all(&bytes).unwrap();
    }
    Disk::new(dir)
}

fn simulated() -> Sim {
    let sim = Sim::new(7);
    for (path, bytes) in shards() {
        sim.put(&path, bytes);
    }
    sim
}

#[test]
fn the_disk_and_the_simulation_keep_every_rule() {
    for syncing in [Syncing::SideBySide, Syncing::Whole] {
        let dir = tempfile::tempdir().unwrap();
        let disk = on_disk(dir.path());
        table::check(&Directory::new(disk.clone()).with_syncing(syncing)).unwrap();
        state::check(&StateFiles::new(disk)).unwrap();
        let sim = simulated();
        table::check(&Directory::new(sim.clone()).with_syncing(syncing)).unwrap();
        state::check(&StateFiles::new(sim)).unwrap();
    }
}

/// What is wrong with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It replaces shards that others have changed.
    Overwrites,
    /// It says nothing of those that it did not replace.
    Silent,
    /// Two runs write into one file.
    SharedStaging,
    /// What is staged is live.
    Visible,
    /// A copied span is one byte off.
    ShiftedCopy,
    /// It forgets the last replacement of a commit.
    ForgetsOne,
    /// It removes nothing.
    KeepsRemoved,
    /// It lists a shard twice.
    Twice,
    /// It opens whatever has the name now.
    OpensAnything,
    /// What a run that died left stays.
    NeverRecovers,
    /// What is discarded stays.
    NeverDiscards,
}

const FAULTS: [Fault; 11] = [
    Fault::Overwrites,
    Fault::Silent,
    Fault::SharedStaging,
    Fault::Visible,
    Fault::ShiftedCopy,
    Fault::ForgetsOne,
    Fault::KeepsRemoved,
    Fault::Twice,
    Fault::OpensAnything,
    Fault::NeverRecovers,
    Fault::NeverDiscards,
];

/// A table with a fault.
struct Wrong {
    table: Directory,
    sim: Sim,
    fault: Fault,
}

struct WrongStaging {
    staging: Box<dyn Staging>,
    fault: Fault,
}

impl Write for WrongStaging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.staging.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.staging.flush()
    }
}

impl Sink for WrongStaging {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        let by = u64::from(self.fault == Fault::ShiftedCopy);
        self.staging.copy_from(source, range.start..range.end - by)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.staging.sync()
    }
}

impl Staging for WrongStaging {
    fn name(&self) -> &str {
        match self.fault {
            Fault::SharedStaging => ".00000000000000ff00000000000000ff.efface-tmp",
            _ => self.staging.name(),
        }
    }
}

impl Table for Wrong {
    fn name(&self) -> String {
        self.table.name()
    }
    fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = self.table.snapshot()?;
        match self.fault {
            Fault::Twice => snapshot.shards.push(snapshot.shards[0].clone()),
            Fault::Visible => {
                let staged = snapshot.leftovers.iter();
                let staged: Vec<ShardRef> = staged
                    .filter_map(|path| self.table.find(path).unwrap())
                    .collect();
                snapshot.shards.extend(staged);
                snapshot
                    .shards
                    .sort_by(|left, right| left.path.cmp(&right.path));
            }
            _ => {}
        }
        Ok(snapshot)
    }
    fn find(&self, path: &str) -> Result<Option<ShardRef>> {
        self.table.find(path)
    }
    fn open(&self, shard: &ShardRef) -> Result<Arc<dyn ReadAt>> {
        match self.fault {
            Fault::OpensAnything => self.sim.open(&shard.path),
            _ => self.table.open(shard),
        }
    }
    fn clock_ns(&self) -> Result<Option<i64>> {
        Table::clock_ns(&self.table)
    }
    fn stage(&self, of: &ShardRef) -> Result<Box<dyn Staging>> {
        let staging = self.table.stage(of)?;
        let fault = self.fault;
        Ok(Box::new(WrongStaging { staging, fault }))
    }
    fn settle(&self, staged: &mut [Box<dyn Staging>]) -> Result<()> {
        self.table.settle(staged)
    }
    fn open_staged(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        self.table.open_staged(name)
    }
    fn discard(&self, names: &[String]) -> Result<()> {
        match self.fault {
            Fault::NeverDiscards => Ok(()),
            _ => self.table.discard(names),
        }
    }
    fn commit(&self, base: &Snapshot, replacements: &[Replacement]) -> Result<Committed> {
        let mut replacements = replacements.to_vec();
        match self.fault {
            Fault::Overwrites => {
                for replacement in &mut replacements {
                    if let Some(now) = self.table.find(&replacement.old.path)? {
                        replacement.old = now;
                    }
                }
            }
            Fault::ForgetsOne if replacements.len() > 1 => drop(replacements.pop()),
            Fault::KeepsRemoved => replacements.retain(|replacement| replacement.new.is_some()),
            _ => {}
        }
        let done = self.table.commit(base, &replacements)?;
        Ok(match self.fault {
            Fault::Silent => Committed::default(),
            _ => done,
        })
    }
    fn commit_unit(&self) -> CommitUnit {
        self.table.commit_unit()
    }
    fn recover(&self, base: &Snapshot, announced: &[String]) -> Result<()> {
        match self.fault {
            Fault::NeverRecovers => Ok(()),
            _ => self.table.recover(base, announced),
        }
    }
    fn room(&self) -> Result<Option<u64>> {
        self.table.room()
    }
    fn neighbour(&self, path: &str) -> Result<Arc<dyn Table>> {
        self.table.neighbour(path)
    }
    fn resolve(&self, path: &str) -> Result<Option<String>> {
        self.table.resolve(path)
    }
}

#[test]
fn each_fault_that_is_planted_in_a_table_is_found() {
    let mut rules = BTreeSet::new();
    for fault in FAULTS {
        let sim = simulated();
        let wrong = Wrong {
            table: Directory::new(sim.clone()),
            sim,
            fault,
        };
        let found: std::result::Result<(), Violation> = table::check(&wrong);
        let violation = found.expect_err(&format!("{fault:?} was not found"));
        rules.insert(violation.rule);
    }
    assert!(rules.len() >= 8, "{rules:?}");
}
