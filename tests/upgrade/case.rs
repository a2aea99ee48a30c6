//! One dataset of 0.1, and what must hold once it is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use efface::engine::{Engine, IndexState};
use efface::erase::{CompactOptions, CompactReport};
use efface::file_system::TEMPORARY_SUFFIX;
use efface::queue::{RequestState, Status};
use efface::receipts::{Cause, Outcome, Receipt};
use efface::request::{Request, Subjects};
use efface::tracking::TrackingId;
use efface::{Result, SubjectId};
use jiff::Timestamp;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

use crate::events::{Event, SHARDS, original, read};

/// Receipts that were written before the case begins: one that suppressed, one cancelled, one refused.
const ENDED_BEFORE: usize = 3;

/// A copy of one case, to be carried on.
pub(crate) struct Case {
    dir: TempDir,
    requests: BTreeMap<String, TrackingId>,
    /// The hash of the last receipt, as 0.1 wrote it down.
    head: String,
}

pub(crate) fn now() -> Timestamp {
    "2026-12-31T12:00:00Z".parse().unwrap()
}

pub(crate) fn delete_of(ids: &[&str]) -> Request {
    let requested_at = "2026-01-31T12:00:00Z".parse().unwrap();
    Request::delete(Subjects::new(ids.iter().copied()).unwrap(), requested_at)
}

impl Case {
    pub(crate) fn new(name: &str) -> Self {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state_0_1");
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture.join(name), dir.path());
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        let head = read("events/_efface/receipts/head.json");
        let head: serde_json::Value = serde_json::from_str(head.lines().next().unwrap()).unwrap();
        assert_eq!(head["receipts"], ENDED_BEFORE);
        let requests: BTreeMap<String, String> =
            serde_json::from_str(&read("requests.json")).unwrap();
        Self {
            requests: requests
                .into_iter()
                .map(|(name, id)| (name, id.parse().unwrap()))
                .collect(),
            head: head["hash"].as_str().unwrap().to_owned(),
            dir,
        }
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.dir.path().join("events")
    }

    /// Opens the dataset with what is stored for it.
    pub(crate) fn open(&self) -> Result<Engine> {
        Engine::open_dir(self.events())
    }

    pub(crate) fn compact(&self) -> Result<CompactReport> {
        self.open()?.compact(&CompactOptions::at(now()))
    }

    pub(crate) fn id(&self, request: &str) -> TrackingId {
        self.requests[request]
    }

    pub(crate) fn status(&self, request: &str) -> Status {
        let engine = self.open().unwrap();
        engine.status(self.id(request), now()).unwrap()
    }

    pub(crate) fn states(&self) -> BTreeMap<&str, RequestState> {
        let requests = self.requests.keys();
        requests
            .map(|request| (request.as_str(), self.status(request).state))
            .collect()
    }

    /// All receipts, the chain of which was checked.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        let engine = self.open().unwrap();
        let head = engine.receipts(|receipt| receipts.push(receipt)).unwrap();
        assert_eq!(usize::try_from(head.receipts), Ok(receipts.len()));
        receipts
    }

    /// The receipts that were written after those of before.
    pub(crate) fn new_receipts(&self) -> Vec<Receipt> {
        let mut receipts = self.receipts();
        let new = receipts.split_off(ENDED_BEFORE);
        let ended = ["deleted and suppressed", "cancelled", "unknown"];
        for (receipt, request) in receipts.iter().zip(ended) {
            assert_eq!(receipt.tracking_id, self.id(request));
            assert_eq!(receipt.engine, "efface 0.1.0");
        }
        assert_eq!(new[0].previous, self.head);
        new
    }

    /// The events of all shards.
    pub(crate) fn rows(&self) -> Vec<Event> {
        let shards = SHARDS.iter();
        shards
            .flat_map(|shard| read(&self.events().join(shard)))
            .collect()
    }

    pub(crate) fn aliases(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("aliases.csv")).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    }

    /// Every file except those that say how a run of efface goes (locks, temporary files, the pass) and those that
    /// are made from others (the indexes).
    pub(crate) fn lasting_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let is_lasting = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let text = path.to_str().unwrap();
            !name.ends_with(TEMPORARY_SUFFIX)
                && !["lock", "queue.lock"].contains(&name)
                && ![
                    "/_efface/index/",
                    "/_efface/pass/",
                    "/_efface/receipts/index/",
                ]
                .iter()
                .any(|part| text.contains(part))
        };
        let files = files_below(self.dir.path()).into_iter();
        files
            .filter(|path| is_lasting(path))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    /// Changes the text of a sealed document.
    #[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
    pub(crate) fn change(&self, path: &str, from: &str, to: &str) {
        let path = self.events().join(path);
        let text = fs::read_to_string(&path).unwrap();
        let body = text.lines().next().unwrap();
        let changed = format!("{}\n", body.replacen(from, to, 1));
        assert_ne!(changed.trim_end(), body);
        let seal = format!("xxh3 {:016x}\n", xxh3_64(changed.as_bytes()));
        fs::write(path, changed + &seal).unwrap();
    }

    /// Checks that what waits has not been carried out, but what has ended was.
    pub(crate) fn check_events_are_as_0_1_left_them(&self) {
        let mut expected: Vec<Event> = (0..SHARDS.len()).flat_map(original).collect();
        expected.retain(|event| event.0 != "eve@gone" || event.1 >= 300);
        assert_eq!(self.rows(), expected);
    }

    /// Checks that of `gone` nothing is left, that of `cleared` the sources are, and that all else is as it was.
    pub(crate) fn check_events(&self, gone: &[&str], cleared: &[&str]) {
        let mut expected: Vec<Event> = (0..SHARDS.len()).flat_map(original).collect();
        expected.retain(|event| !gone.contains(&event.0.as_str()));
        for event in &mut expected {
            if cleared.contains(&event.0.as_str()) {
                (event.4, event.5) = (None, None);
            }
        }
        assert_eq!(self.rows(), expected);
    }

    /// Checks that nothing waits, no run left anything, no trace of `gone` is anywhere and the index is right.
    pub(crate) fn check_is_settled(&self, gone: &[&str]) {
        let engine = self.open().unwrap();
        assert!(engine.waiting(now()).unwrap().is_empty());
        let report = engine.compact(&CompactOptions::at(now())).unwrap();
        assert_eq!(
            (report.rows_removed, report.shards_rewritten),
            (0, 0),
            "all was done before"
        );
        for path in files_below(self.dir.path()) {
            let text = path.to_str().unwrap();
            assert!(!text.ends_with(TEMPORARY_SUFFIX), "{text}");
            assert!(!text.contains("/_efface/pass/"), "{text}");
            assert!(!text.contains("/_efface/queue/"), "{text}");
        }
        let ids: Vec<SubjectId> = gone.iter().map(|id| SubjectId::new(*id)).collect();
        let verification = engine.verify(&ids).unwrap();
        assert!(verification.clean, "{:?}", verification.findings);
        let (_, comparison) = engine.verify_index().unwrap();
        assert_eq!((comparison.missing, comparison.surplus), (0, 0));
        assert_eq!(engine.inspect().unwrap().index, IndexState::Fresh);
    }

    /// Checks a case in which four requests waited, wherever their pass was cut off, once it is finished.
    pub(crate) fn check_four_are_done(&self) {
        let states = [
            ("ada and fay", RequestState::Success),
            ("cancelled", RequestState::Revoked),
            ("deleted and suppressed", RequestState::Success),
            ("laptop", RequestState::Success),
            ("sources", RequestState::Success),
            ("unknown", RequestState::Failure),
            ("unknown too", RequestState::Failure),
        ];
        assert_eq!(self.states(), BTreeMap::from(states));

        let laptop = self.status("laptop");
        assert_eq!((laptop.rows_removed, laptop.left_out), (24, 0));
        let sources = self.status("sources");
        assert_eq!((sources.rows_removed, sources.rows_cleared), (0, 12));
        let both = self.status("ada and fay");
        assert_eq!((both.rows_removed, both.left_out), (24, 2));
        let rows = both.outcomes.iter().map(|subject| subject.rows);
        assert_eq!(rows.collect::<Vec<_>>(), [12, 12]);
        let refused = self.status("unknown too");
        assert!(refused.reason.unwrap().contains("position 1"));
        assert_eq!(self.status("unknown").reason_kind, None, "0.1 wrote none");
        assert_eq!(refused.outcomes[0].outcome, Outcome::Untouched);

        let receipts = self.new_receipts();
        let ended: BTreeSet<TrackingId> =
            receipts.iter().map(|receipt| receipt.tracking_id).collect();
        assert_eq!(ended.len(), receipts.len(), "one receipt for each");
        let passes: BTreeSet<_> = receipts.iter().map(|receipt| receipt.pass).collect();
        assert_eq!(passes.len(), 1, "one pass ended all");
        let of_requests = receipts
            .iter()
            .filter(|receipt| receipt.cause == Cause::Delete);
        assert_eq!(of_requests.count(), 4);
        let suppressed = receipts
            .iter()
            .filter(|receipt| receipt.cause == Cause::Suppression);
        let suppressed: Vec<u64> = suppressed.map(|receipt| receipt.rows_removed).collect();
        assert_eq!(suppressed, [4]);
        for receipt in &receipts {
            let paths: Vec<&str> = receipt
                .shards
                .iter()
                .map(|shard| shard.path.as_str())
                .collect();
            let expected: &[&str] = match (receipt.cause, receipt.rows_removed) {
                (Cause::Suppression, _) => &SHARDS[3..],
                (_, 0) if receipt.rows_cleared == 0 => &[],
                _ => &SHARDS[..3],
            };
            assert_eq!(paths, expected);
        }

        let gone = ["ada@gone", "eve@gone", "fay@gone", "laptop@gone"];
        self.check_events(&gone, &["cyd"]);
        assert_eq!(self.aliases(), ["phone,bob"]);
        self.check_is_settled(&gone);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
