//! What a service asks of a dataset on a simulated file system, with faults, and what must be true after each step:
//! each shard holds just the rows that it should, what ended has one receipt, and nothing is left of who is gone.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use efface::config::Config;
use efface::erase::CompactOptions;
use efface::erase::delete::DeleteOptions;
use efface::queue::RequestState;
use efface::receipts::Ended;
use efface::request::{Disclosure, RequiredColumns, Subjects, Suppress, Unknown};
use efface::state::files::StateFiles;
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Engine, EngineOptions, Error, ErrorKind, Request, Result};
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::lake::{config, is_pending, is_temporary, shard_of};

/// Whom the events are about. No id is part of another.
const PEOPLE: [&str; 8] = [
    "ada@gone",
    "bob@gone",
    "cyd@gone",
    "dee@gone",
    "eve@gone",
    "fay@gone",
    "laptop@gone",
    "tablet@gone",
];
/// Aliases with whom they lead to.
const LINKS: [(usize, usize); 3] = [(6, 0), (7, 6), (5, 1)];
const STEPS_MAX: usize = 12;
const ROWS_MAX: usize = 40;
const INDEX_SEED: u64 = 0;

/// The dataset, and what happens to it.
#[derive(Debug, Arbitrary)]
pub struct Story<'a> {
    seed: u8,
    shards: [&'a [u8]; 2],
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Arbitrary)]
struct Step<'a> {
    does: Does<'a>,
    fault: Option<Fault>,
}

#[derive(Debug, Arbitrary)]
enum Does<'a> {
    Submit(Asked),
    Cancel(u8),
    Compact,
    Delete(Asked),
    Suppress(u8),
    Refresh,
    Export(u8),
    /// Another program puts a shard there.
    Arrive(u8, &'a [u8]),
}

/// A delete request.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Asked {
    /// A bit for each of the people.
    people: u8,
    clears: bool,
    suppresses: bool,
    reports_unknown: bool,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Fault {
    /// The power goes at a change.
    Cut(u8),
    /// The process is killed at a change.
    Kill(u8),
    /// One operation fails.
    Fail(u16),
    /// A bit of a file of the index is another.
    Flip(u8, u16, u8),
}

/// A request that was handed over.
struct Handed {
    id: TrackingId,
    asked: Asked,
    is_over: bool,
}

/// What should be there.
struct Model {
    /// Who and which number, by shard.
    shards: BTreeMap<String, Vec<(usize, i64)>>,
    links: Vec<(usize, usize)>,
    suppressed: BTreeSet<usize>,
    requests: Vec<Handed>,
}

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().expect("a time")
}

fn people(bits: u8) -> impl Iterator<Item = usize> {
    // Nobody is asked for by a request without ids, which can't be made.
    let bits = if bits == 0 { 1 } else { bits };
    (0..PEOPLE.len()).filter(move |who| bits >> who & 1 == 1)
}

fn subjects(bits: u8) -> Subjects {
    Subjects::new(people(bits).map(|who| PEOPLE[who])).expect("some ids")
}

impl Asked {
    fn request(self) -> Request {
        Request {
            max_match: 1.0,
            required_columns: RequiredColumns::Default,
            disclosure: if self.clears {
                Disclosure::Categories
            } else {
                Disclosure::Data
            },
            unknown: if self.reports_unknown {
                Unknown::Report
            } else {
                Unknown::default()
            },
            suppress: self.suppresses.then_some(Suppress { before: None }),
            ..Request::delete(subjects(self.people), now())
        }
    }
}

impl Model {
    /// Whom these people cover by the links that are left.
    fn covered(&self, bits: u8) -> BTreeSet<usize> {
        let mut covered: BTreeSet<usize> = people(bits).collect();
        loop {
            let linked = self.links.iter().filter(|link| covered.contains(&link.0));
            let more: Vec<usize> = linked.map(|link| link.1).collect();
            let before = covered.len();
            covered.extend(more);
            if covered.len() == before {
                return covered;
            }
        }
    }

    /// What requests did that were carried out together.
    fn take_over(&mut self, ended: &[Asked]) {
        // They were planned together, before any link went.
        let covered: Vec<BTreeSet<usize>> = ended
            .iter()
            .map(|asked| self.covered(asked.people))
            .collect();
        for (asked, covered) in ended.iter().zip(covered) {
            for (who, number) in self.shards.values_mut().flatten() {
                if asked.clears && covered.contains(who) {
                    *number = 0;
                }
            }
            if !asked.clears {
                self.remove(&covered);
                self.links
                    .retain(|link| !covered.contains(&link.0) && !covered.contains(&link.1));
                if asked.suppresses {
                    self.suppressed.extend(covered);
                }
            }
        }
    }

    fn remove(&mut self, gone: &BTreeSet<usize>) {
        for rows in self.shards.values_mut() {
            rows.retain(|(who, _)| !gone.contains(who));
        }
    }
}

/// Who and which number, row by row.
fn rows_in(batches: impl Iterator<Item = RecordBatch>) -> Vec<(usize, i64)> {
    let mut rows = Vec::new();
    for batch in batches {
        let ids = batch.column_by_name("distinct_id").expect("ids");
        let ids = cast(ids, &DataType::Utf8).expect("text");
        let numbers = batch.column_by_name("number").expect("numbers");
        let numbers = numbers.as_primitive::<Int64Type>();
        for (id, number) in ids.as_string::<i32>().iter().zip(numbers) {
            let id = id.expect("an id");
            let who = PEOPLE.iter().position(|person| *person == id);
            rows.push((who.expect("a known id"), number.expect("a number")));
        }
    }
    rows
}

fn rows_of(shard: Vec<u8>) -> Vec<(usize, i64)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(shard));
    let reader = reader.expect("a shard").build().expect("a reader");
    rows_in(reader.map(|batch| batch.expect("rows")))
}

struct Service {
    sim: Sim,
    model: Model,
    step: u8,
    /// Of which the next gets this number.
    passes: Cell<u8>,
}

impl Story<'_> {
    /// Lets it happen.
    pub fn tell(&self) {
        let mut service = Service {
            sim: Sim::new(self.seed.into()),
            model: Model {
                shards: BTreeMap::new(),
                links: LINKS.to_vec(),
                suppressed: BTreeSet::new(),
                requests: Vec::new(),
            },
            step: 0,
            passes: Cell::new(100),
        };
        let mut aliases = "alias,distinct_id\n".to_owned();
        for (alias, id) in LINKS {
            aliases.push_str(&format!("{},{}\n", PEOPLE[alias], PEOPLE[id]));
        }
        service.sim.put("aliases.csv", aliases);
        service.sim.put("_efface/key", "0123456789abcdef".repeat(4));
        let state = StateFiles::new(service.sim.clone());
        config().store(&state).expect("no fault yet");
        for (number, ids) in (0..).zip(self.shards) {
            service.arrive(number, ids);
        }
        for step in self.steps.iter().take(STEPS_MAX) {
            service.take(step);
            service.check();
        }
        // What waits is carried out in the end.
        service.take(&Step {
            does: Does::Compact,
            fault: None,
        });
        service.check();
        for (path, _) in service.sim.all() {
            assert!(!is_pending(&path) && !is_temporary(&path), "{path} is left");
        }
    }
}

impl Service {
    fn engine(&self) -> Engine {
        // A find is found again: nothing is drawn at random. The configuration isn't read, since that may fail.
        let options = EngineOptions {
            seed_if_new: INDEX_SEED,
            ..EngineOptions::overriding(config())
        };
        Engine::open_files(self.sim.clone(), options).expect("nothing is read yet")
    }

    fn arrive(&mut self, number: u8, ids: &[u8]) {
        let path = ["a.parquet", "d=1/b.parquet", "d=1/c.parquet"][usize::from(number % 3)];
        let ids = ids.iter().take(ROWS_MAX);
        let who: Vec<usize> = ids.map(|id| usize::from(*id) % PEOPLE.len()).collect();
        let ids: Vec<&str> = who.iter().map(|who| PEOPLE[*who]).collect();
        self.sim.put(path, shard_of(&ids));
        let rows = who.into_iter().zip(0..).collect();
        self.model.shards.insert(path.to_owned(), rows);
    }

    fn take(&mut self, step: &Step<'_>) {
        self.step += 1;
        match step.fault {
            Some(Fault::Cut(change) | Fault::Kill(change)) => self.sim.cut_at(change.into()),
            Some(Fault::Fail(operation)) => self.sim.fail_at((operation % 600).into()),
            Some(Fault::Flip(file, offset, mask)) => self.flip(file, offset, mask),
            None => {}
        }
        let result = self.work(&step.does);
        let was_disturbed = !matches!(step.fault, None | Some(Fault::Flip(..)));
        let is_off = self.sim.is_off();
        self.sim = match step.fault {
            Some(Fault::Cut(_)) if is_off => self.sim.reboot(),
            Some(Fault::Kill(_)) if is_off => self.sim.restart(),
            // Without a fault that was not met.
            _ => self.sim.fork(self.step.into()),
        };
        let Err(error) = result else {
            return self.look(matches!(step.does, Does::Compact));
        };
        let is_expected = match error.kind() {
            ErrorKind::Refused | ErrorKind::Usage => true,
            ErrorKind::Io => was_disturbed,
            _ => false,
        };
        assert!(is_expected, "{:?}: {error}", step.does);
        if let (Does::Suppress(bits), true) = (&step.does, was_disturbed) {
            self.suppress(*bits).expect("there is no fault now");
        }
        // Whoever opens the dataset for writing next ends what was begun.
        if was_disturbed {
            self.compact().expect("there is no fault now");
            self.look(true);
        } else {
            self.look(false);
        }
    }

    fn flip(&self, file: u8, offset: u16, mask: u8) {
        let mut files: Vec<(String, usize)> = self
            .sim
            .all()
            .into_iter()
            .filter(|(path, _)| path.starts_with("_efface/index/"))
            .map(|(path, bytes)| (path, bytes.len()))
            .collect();
        if files.is_empty() {
            return;
        }
        let (path, len) = files.swap_remove(usize::from(file) % files.len());
        if len > 0 {
            self.sim.flip(&path, usize::from(offset) % len, mask);
        }
    }

    fn work(&mut self, does: &Does<'_>) -> Result<()> {
        match does {
            Does::Submit(asked) => self.submit(*asked),
            Does::Cancel(which) => match self.model.requests.len() {
                0 => Ok(()),
                len => {
                    let id = self.model.requests[usize::from(*which) % len].id;
                    match self.engine().cancel(id, now()) {
                        Err(Error::NotCancellable { .. }) => Ok(()),
                        other => other,
                    }
                }
            },
            Does::Compact => self.compact(),
            Does::Delete(asked) => self.delete(*asked),
            Does::Suppress(bits) => self.suppress(*bits),
            Does::Refresh => self.engine().refresh().map(drop),
            Does::Export(bits) => self.export(*bits),
            Does::Arrive(number, ids) => {
                self.arrive(*number, ids);
                Ok(())
            }
        }
    }

    fn hand(&mut self, asked: Asked) -> TrackingId {
        let id = TrackingId::new(now(), [self.step; 10]);
        self.model.requests.push(Handed {
            id,
            asked,
            is_over: false,
        });
        id
    }

    fn submit(&mut self, asked: Asked) -> Result<()> {
        let id = self.hand(asked);
        let submitted = self.engine().submit(id, &asked.request(), now(), None)?;
        let told = self.engine().status(submitted.tracking_id, now());
        // A fault that is met just here says nothing of the request.
        assert!(told.is_err() || told.is_ok_and(|status| status.state == RequestState::Pending));
        Ok(())
    }

    fn delete(&mut self, asked: Asked) -> Result<()> {
        let options = DeleteOptions {
            tracking_id: Some(self.hand(asked)),
            now: Some(now()),
            ..DeleteOptions::default()
        };
        let request = asked.request();
        self.engine().delete(&request, None, &options).map(drop)
    }

    fn compact(&self) -> Result<()> {
        let options = CompactOptions {
            pass: TrackingId::new(now(), [self.passes.replace(self.passes.get() + 1); 10]),
            max_match: 1.0,
            ..CompactOptions::at(now())
        };
        self.engine().compact(&options).map(drop)
    }

    fn suppress(&mut self, bits: u8) -> Result<()> {
        let request = Request::delete(subjects(bits), now());
        self.engine()
            .suppress(&request, Suppress { before: None }, now())?;
        let covered = self.model.covered(bits);
        self.model.suppressed.extend(covered);
        Ok(())
    }

    fn export(&self, bits: u8) -> Result<()> {
        let engine = self.engine();
        let request = Request {
            unknown: Unknown::Report,
            ..Request::export(subjects(bits), now())
        };
        let plan = engine.plan(&request)?;
        let covered = self.model.covered(bits);
        let expected = self.model.shards.values().flatten();
        let mut expected: Vec<(usize, i64)> = expected
            .filter(|(who, _)| covered.contains(who))
            .copied()
            .collect();
        let mut found = Vec::new();
        for batch in engine.export(&plan)? {
            match batch {
                Ok(batch) => found.extend(rows_in([batch].into_iter())),
                Err(error) => {
                    return Err(Error::io("export", "rows")(std::io::Error::other(error)));
                }
            }
        }
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(expected, found, "an export");
        Ok(())
    }

    /// Looks what has ended since, pass by pass; `compacted` says that suppressed rows are gone, too.
    fn look(&mut self, compacted: bool) {
        let engine = self.engine();
        let mut passes: Vec<(Option<TrackingId>, Vec<Asked>)> = Vec::new();
        let requests = &self.model.requests;
        let head = engine.receipts(|receipt| {
            let mut new = requests.iter().filter(|one| !one.is_over);
            let asked = new.find(|one| one.id == receipt.tracking_id);
            if let (Some(one), Ended::Success) = (asked, receipt.state) {
                match passes.last_mut().filter(|pass| pass.0 == receipt.pass) {
                    Some(pass) => pass.1.push(one.asked),
                    None => passes.push((receipt.pass, vec![one.asked])),
                }
            }
        });
        head.expect("a whole chain");
        for (_, ended) in passes {
            self.model.take_over(&ended);
        }
        for request in &mut self.model.requests {
            let status = engine.status(request.id, now()).expect("no fault now");
            assert!(
                !matches!(status.state, RequestState::Staging | RequestState::Started),
                "a pass was left open"
            );
            // One that joined another, was refused or was not handed over is not known.
            request.is_over = status.state != RequestState::Pending;
        }
        if compacted {
            let suppressed = self.model.suppressed.clone();
            self.model.remove(&suppressed);
        }
    }

    fn check(&self) {
        let all = self.sim.all();
        for (path, rows) in &self.model.shards {
            let found = rows_of(all.get(path).expect("each shard stays").clone());
            assert_eq!(rows, &found, "{path}");
        }
        let mut receipts = BTreeSet::new();
        let head = self.engine().receipts(|receipt| {
            assert!(receipts.insert(receipt.tracking_id), "a second receipt");
        });
        let head = head.expect("a whole chain");
        assert_eq!(head.receipts, receipts.len() as u64);
        for request in &self.model.requests {
            let known = self.engine().status(request.id, now()).expect("no fault");
            let has_ended = matches!(
                known.state,
                RequestState::Success | RequestState::Failure | RequestState::Revoked
            );
            assert_eq!(has_ended, receipts.contains(&request.id));
        }
        self.check_gone(&all);
        let state = StateFiles::new(self.sim.clone());
        assert!(Config::load(&state).is_ok_and(|found| found == Some(config())));
    }

    /// Of whom no row, no link and no waiting request is left, nothing is.
    fn check_gone(&self, all: &BTreeMap<String, Vec<u8>>) {
        let rows = self.model.shards.values().flatten().map(|(who, _)| *who);
        let links = self.model.links.iter().flat_map(|link| [link.0, link.1]);
        let waiting = self.model.requests.iter().filter(|one| !one.is_over);
        let waiting = waiting.flat_map(|one| people(one.asked.people));
        let there: BTreeSet<usize> = rows.chain(links).chain(waiting).collect();
        for who in (0..PEOPLE.len()).filter(|who| !there.contains(who)) {
            for (path, bytes) in all {
                let id = PEOPLE[who].as_bytes();
                let is_left = bytes.windows(id.len()).any(|part| part == id);
                assert!(!is_left, "{} is left in {path}", PEOPLE[who]);
            }
        }
    }
}
