//! A storage service with a catalog of its own, and efface linked into it for both requests.
//!
//! ```text
//!   ingest   batches ──> a shard, and its index segment, while it is written
//!   access   ids ──> segments ──> row groups ──> exact rows ──> Arrow, by any reader
//!   erase    ids ──> segments ──> row groups ──> exact rows ──> a new shard without them, searched for
//!            what is left ──> the catalog names it in the place of the old one ──> the old one goes
//! ```
//! Shards have names that are never used again, as on an object store, and the catalog changes in one step:
//! readers of the old version keep what they opened. `Engine` does all this for a directory that has no catalog.
//!
//! ```sh
//! cargo run --release --example catalog_service
//! ```

use std::error::Error;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
use efface::file_system::disk::{FileSink, PositionedFile};
use efface::index::builder::SegmentBuilder;
use efface::index::segment::Segment;
use efface::io::Sink;
use efface::shard::batch_ids::BatchColumns;
use efface::shard::residue::{Sought, residue};
use efface::shard::rewrite::{RewriteOptions, rewrite};
use efface::shard::roles::Roles;
use efface::shard::select::{Selection, Wanted, select};
use efface::state::State;
use efface::state::files::StateFiles;
use efface::subject::{Form, SubjectHash};
use efface::{Disk, Shard, SubjectId};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
use roaring::RoaringBitmap;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rows that share a row group.
const ROW_GROUP_ROWS: usize = 1000;
/// What sorting the ids of one shard may take before it spills.
const INDEX_BYTES: usize = 8 << 20;

/// A shard of the catalog: `{name}.parquet`, and the index of its ids, `{name}.ids`.
#[derive(Clone)]
struct Entry {
    name: String,
}

impl Entry {
    fn shard(&self) -> String {
        format!("{}.parquet", self.name)
    }

    fn segment(&self) -> String {
        format!("{}.ids", self.name)
    }
}

struct Service {
    /// Where all shards and segments lie.
    dir: PathBuf,
    /// The same directory as efface sees it, which writes segments there.
    files: StateFiles,
    /// Every segment hashes ids with it; a service keeps it with its catalog.
    seed: u64,
    roles: Roles,
    /// The live shards: a real catalog makes each new version durable before anyone sees it.
    catalog: Vec<Entry>,
    named: u32,
}

impl Service {
    fn new(dir: PathBuf) -> Self {
        Self {
            files: StateFiles::new(Disk::new(&dir)),
            dir,
            seed: 0x0eff_ace0,
            roles: Roles::default(), // `distinct_id` and `time`
            catalog: Vec::new(),
            named: 0,
        }
    }

    fn next_entry(&mut self) -> Entry {
        self.named += 1;
        Entry {
            name: format!("shard-{:06}", self.named),
        }
    }

    /// A file of a name that is never used again: nobody looks at it until the catalog names it.
    fn create(&self, name: &str) -> io::Result<File> {
        File::create_new(self.dir.join(name))
    }

    /// Any source of bytes at positions makes a shard: here a file, elsewhere an object of a store.
    fn open(&self, name: &str) -> Outcome<Shard> {
        let file = File::open(self.dir.join(name))?;
        Ok(Shard::new(name, Arc::new(PositionedFile::new(file)?))?)
    }

    /// Begins the index of a shard's ids.
    fn index(&self, entry: &Entry) -> SegmentBuilder<'_> {
        SegmentBuilder::new(&self.files, &entry.segment(), self.seed, INDEX_BYTES)
    }

    /// Writes a shard and its segment in one pass over the batches.
    fn ingest(&mut self, batches: &[RecordBatch]) -> Outcome<()> {
        let entry = self.next_entry();
        let shard = entry.shard();
        let schema = batches.first().ok_or("nothing to ingest")?.schema();
        let columns = BatchColumns::of(&schema, &self.roles, &shard)?;
        let index = self.index(&entry);
        let mut writer = ArrowWriter::try_new(self.create(&shard)?, schema, None)?;
        for (row_group, batch) in (0..).zip(batches) {
            writer.write(batch)?;
            writer.flush()?; // one row group a batch
            index.add_batch(row_group, batch, &columns)?;
        }
        writer.into_inner()?.sync_all()?;
        index.finish(self.named, Vec::new())?; // syncs the directory, so the shard's name lasts, too
        self.catalog.push(entry);
        Ok(())
    }

    /// The rows of `ids` in one shard. The segment nominates row groups; only those are looked into.
    fn rows_of(&self, entry: &Entry, ids: &[SubjectId]) -> Outcome<(Shard, Selection)> {
        let path = entry.segment();
        let segment = Segment::open(self.files.map(&path)?, &path, self.seed)?;
        let mut row_groups = RoaringBitmap::new();
        for id in ids {
            for form in Form::ALL {
                if let Some(canonical) = id.canonical(form) {
                    segment.lookup(SubjectHash::of(&canonical, self.seed), &mut row_groups)?;
                }
            }
        }
        let shard = self.open(&entry.shard())?;
        let wanted = Wanted::new(
            ids,
            (0..).map(|subject| vec![subject]).take(ids.len()).collect(),
            ids.len(),
        );
        let columns = self.roles.subjects(&shard)?;
        let selection = select(&shard, row_groups, &columns, &wanted, None)?;
        Ok((shard, selection))
    }

    /// Everything that is held of `ids`.
    fn access(&self, ids: &[SubjectId]) -> Outcome<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for entry in &self.catalog {
            let (_, selection) = self.rows_of(entry, ids)?;
            let rows = selection
                .rows
                .iter()
                .map(|row| row as usize..row as usize + 1);
            let file = File::open(self.dir.join(entry.shard()))?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
            let all = usize::try_from(reader.metadata().file_metadata().num_rows())?;
            let picked = RowSelection::from_consecutive_ranges(rows, all);
            for batch in reader.with_row_selection(picked).build()? {
                batches.push(batch?);
            }
        }
        Ok(batches)
    }

    /// Removes every row of `ids`, and says how many there were.
    fn erase(&mut self, ids: &[SubjectId]) -> Outcome<u64> {
        let (mut next, mut old, mut removed) = (Vec::new(), Vec::new(), 0);
        for entry in self.catalog.clone() {
            let (shard, selection) = self.rows_of(&entry, ids)?;
            if selection.rows.is_empty() {
                next.push(entry);
                continue;
            }
            old.push(entry);
            if selection.rows.len() == shard.footer.rows() {
                removed += selection.rows.len();
                continue; // nothing would be left of it
            }
            let new = self.next_entry();
            let mut sink = FileSink::new(self.create(&new.shard())?);
            let options = RewriteOptions::default();
            let report = rewrite(&shard, &selection.rows, &mut sink, &options)?;
            sink.sync()?;
            removed += report.rows_removed;

            // Read back what was written, before anything is believed of it.
            let shard = self.open(&new.shard())?;
            let columns = self.roles.subjects(&shard)?;
            let left = residue(&shard, &Sought::of_ids(&shard, ids, &columns))?;
            if !left.is_empty() {
                return Err(format!("{} traces are left in {}", left.len(), shard.path).into());
            }
            let index = self.index(&new);
            index.add_shard(0, &shard, &columns)?;
            index.finish(self.named, Vec::new())?;
            next.push(new);
        }
        self.catalog = next; // the commit
        let files = old
            .iter()
            .flat_map(|entry| [entry.shard(), entry.segment()]);
        self.files.remove(&files.collect::<Vec<_>>())?;
        Ok(removed)
    }
}

/// Events of people who come by in turn, `ROW_GROUP_ROWS` a batch; each batch has only three of them.
fn events(day: i64, batches: usize) -> Outcome<Vec<RecordBatch>> {
    let people = ["ada", "bob", "cyd", "dan", "eve"].into_iter().cycle();
    let batch = |number: usize| {
        let three = people.clone().skip(number).take(3).collect::<Vec<_>>();
        let ids = StringArray::from_iter_values(three.into_iter().cycle().take(ROW_GROUP_ROWS));
        let times =
            TimestampMillisecondArray::from_iter_values((day * 86_400_000..).take(ROW_GROUP_ROWS));
        let columns: [(&str, ArrayRef); 2] =
            [("distinct_id", Arc::new(ids)), ("time", Arc::new(times))];
        Ok(RecordBatch::try_from_iter(columns)?)
    };
    (0..batches).map(batch).collect()
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn main() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let mut service = Service::new(dir.path().to_owned());
    for day in 20_000..20_004 {
        service.ingest(&events(day, 6)?)?;
    }
    let (ada, bob) = ([SubjectId::new("ada")], [SubjectId::new("bob")]);
    let (of_ada, of_bob) = (service.access(&ada)?, service.access(&bob)?);
    println!("ada has {} rows, bob {}", count(&of_ada), count(&of_bob));

    let removed = service.erase(&ada)?;
    println!(
        "{removed} rows of ada are gone, from {} shards",
        service.catalog.len()
    );
    if removed != count(&of_ada) as u64 || !service.access(&ada)?.is_empty() {
        return Err("rows of ada are left".into());
    }
    if service.access(&bob)? != of_bob {
        return Err("rows of bob have changed".into());
    }
    println!("bob's are what they were");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_service_erases_one_person_and_keeps_the_other() {
        super::main().unwrap();
    }
}
