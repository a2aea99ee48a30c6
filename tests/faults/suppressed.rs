//! A delete at once that is cut off while rows of a suppressed id wait for a compaction.

use std::collections::BTreeSet;

use efface::erase::CompactOptions;
use efface::erase::delete::DeleteOptions;
use efface::receipts::Cause;
use efface::request::{Request, RequiredColumns, Subjects, Suppress};
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{DeleteReport, Result};
use jiff::Timestamp;

use crate::lake::{config, engine, ids_of, lake};

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn request(id: &str) -> Request {
    Request {
        max_match: 1.0,
        required_columns: RequiredColumns::Default,
        ..Request::delete(Subjects::new([id]).unwrap(), now())
    }
}

fn delete(sim: &Sim) -> Result<DeleteReport> {
    let options = DeleteOptions {
        tracking_id: Some(TrackingId::new(now(), [1; 10])),
        now: Some(now()),
        ..DeleteOptions::default()
    };
    engine(sim, &config()).delete(&request("ada@gone"), None, &options)
}

#[test]
fn a_delete_that_is_carried_on_has_one_receipt_though_suppressed_rows_are_there() {
    let before = lake(&config(), true);
    let suppressed = request("eve@gone");
    engine(&before, &config())
        .suppress(&suppressed, Suppress { before: None }, now())
        .unwrap();
    let whole = before.fork(0);
    let first = whole.changes();
    delete(&whole).unwrap();
    let mut carried_on = 0;
    for cut in 0..whole.changes() - first {
        let sim = before.fork(0);
        sim.cut_at(cut);
        let _cut_off = delete(&sim);
        let sim = sim.restart();
        let options = CompactOptions {
            pass: TrackingId::new(now(), [2; 10]),
            max_match: 1.0,
            ..CompactOptions::at(now())
        };
        let engine = engine(&sim, &config());
        engine.compact(&options).unwrap();

        let (mut known, mut causes) = (BTreeSet::new(), Vec::new());
        engine
            .receipts(|receipt| {
                let is_new = known.insert(receipt.tracking_id);
                assert!(is_new, "cut at {cut}: a second receipt");
                causes.push(receipt.cause);
            })
            .unwrap();
        carried_on += usize::from(causes == [Cause::Delete, Cause::Suppression]);
        let shards = sim.all();
        let shards = shards.iter().filter(|(path, _)| path.ends_with(".parquet"));
        for (path, shard) in shards {
            let is_left = ids_of(shard).iter().any(|id| id == "eve@gone");
            assert!(!is_left, "cut at {cut}: suppressed rows are in {path}");
        }
    }
    assert!(carried_on > 0);
}
