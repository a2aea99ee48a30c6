//! What was decided is carried along, and trouble of the dataset ends no request.

#[path = "faults/lake.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod lake;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use efface::config::Config;
use efface::engine::Engine;
use efface::erase::delete::DeleteOptions;
use efface::erase::{CompactOptions, CompactReport};
use efface::queue::{RequestState, Submitted};
use efface::receipts::Receipt;
use efface::request::{Request, Subjects, Suppress};
use efface::shard::chunk::level::ZstdLevel;
use efface::state::files::StateFiles;
use efface::subject::SubjectKey;
use efface::testing::sim::Sim;
use efface::tracking::TrackingId;
use efface::{Error, ErrorKind};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;

use lake::{engine, ids_of, shard_of};

const SHARDS: [&str; 3] = ["a.parquet", "b.parquet", "c.parquet"];

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn delete_of(id: &str) -> Request {
    Request {
        max_match: 1.0,
        ..Request::delete(Subjects::new([id]).unwrap(), now())
    }
}

fn submitted(engine: &Engine, number: u8, request: &Request) -> Submitted {
    let id = TrackingId::new(now(), [number; 10]);
    engine.submit(id, request, now(), None).unwrap()
}

fn submit(engine: &Engine, number: u8, id: &str) -> TrackingId {
    submitted(engine, number, &delete_of(id)).tracking_id
}

fn compact(engine: &Engine) -> CompactReport {
    engine.compact(&CompactOptions::at(now())).unwrap()
}

fn state(engine: &Engine, id: TrackingId) -> RequestState {
    engine.status(id, now()).unwrap().state
}

fn reason(engine: &Engine, id: TrackingId) -> String {
    engine.status(id, now()).unwrap().reason.unwrap_or_default()
}

fn receipts(engine: &Engine) -> Vec<Receipt> {
    let mut all = Vec::new();
    engine.receipts(|receipt| all.push(receipt)).unwrap();
    all
}

/// Three shards in which each of three people has rows, and one in the last only.
fn three_shards() -> Sim {
    let sim = Sim::new(1);
    for name in SHARDS {
        sim.put(name, shard_of(&["ada", "bob", "cyd", "ada", "bob", "cyd"]));
    }
    sim.put("c.parquet", shard_of(&["ada", "bob", "cyd", "dee"]));
    sim.put("_efface/key", "0123456789abcdef".repeat(4));
    sim
}

/// Rows of people and of their e-mail addresses.
fn with_email(rows: &[(&str, &str)]) -> Vec<u8> {
    let column = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        (
            "distinct_id",
            column(rows.iter().map(|row| row.0).collect()),
        ),
        ("email", column(rows.iter().map(|row| row.1).collect())),
    ]);
    let batch = batch.unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn rows(sim: &Sim, id: &str) -> usize {
    let shards = SHARDS.iter().filter_map(|shard| sim.bytes(shard));
    shards
        .flat_map(|bytes| ids_of(&bytes))
        .filter(|found| found == id)
        .count()
}

type Damage = fn(&[u8]) -> Vec<u8>;
type Loss = fn(&Sim);

/// Every way in which a shard can be wrong without being anybody's request.
const DAMAGES: [(&str, Damage); 6] = [
    ("empty", |_| Vec::new()),
    ("half-copied", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("one byte short", |bytes| bytes[..bytes.len() - 1].to_vec()),
    ("no Parquet", |_| b"hello, world".to_vec()),
    ("without the column", |_| {
        let other: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let batch = RecordBatch::try_from_iter([("other", other)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }),
    ("damaged page of ids", |bytes| {
        let mut bytes = bytes.to_vec();
        bytes[4..40].fill(0xff);
        bytes
    }),
];

#[test]
fn a_bad_shard_ends_no_request_and_the_next_run_does() {
    for (what, damage) in DAMAGES {
        for is_indexed in [false, true] {
            let sim = three_shards();
            let engine = engine(&sim, &Config::default());
            if is_indexed {
                engine.refresh().unwrap();
            }
            let whole = sim.bytes("c.parquet").unwrap();
            sim.put("c.parquet", damage(&whole));
            // Handing over asks nothing of the shards.
            let in_all = submit(&engine, 1, "ada");
            let in_it_alone = submit(&engine, 2, "dee");
            let nowhere = submit(&engine, 3, "zoe");
            for _ in 0..2 {
                let done = compact(&engine);
                assert_eq!(done.shards_failed.len(), 1, "{what}");
                assert!(!done.troubles.is_empty(), "{what}");
                assert_eq!(state(&engine, in_all), RequestState::Started, "{what}");
                for id in [in_it_alone, nowhere] {
                    assert_eq!(state(&engine, id), RequestState::Pending, "{what}");
                }
                for id in [in_all, in_it_alone, nowhere] {
                    assert!(reason(&engine, id).contains("c.parquet"), "{what}");
                }
                let others = [&SHARDS[0], &SHARDS[1]].map(|shard| sim.bytes(shard).unwrap());
                assert!(
                    !others
                        .iter()
                        .any(|shard| ids_of(shard).contains(&"ada".to_owned()))
                );
            }
            assert!(receipts(&engine).is_empty(), "{what}");
            assert!(
                engine.cancel(in_all, now()).is_err(),
                "{what}: it is started"
            );
            sim.put("c.parquet", whole);
            let done = compact(&engine);
            assert!(done.shards_failed.is_empty() && done.troubles.is_empty());
            let [ada, dee, zoe] = [in_all, in_it_alone, nowhere].map(|id| state(&engine, id));
            assert_eq!(
                [ada, dee, zoe],
                [
                    RequestState::Success,
                    RequestState::Success,
                    RequestState::Failure
                ],
                "{what}"
            );
            assert_eq!((rows(&sim, "ada"), rows(&sim, "dee")), (0, 0), "{what}");
            let receipts = receipts(&engine);
            assert_eq!(receipts.len(), 3, "{what}");
            let ada = receipts
                .iter()
                .find(|receipt| receipt.tracking_id == in_all);
            let ada = ada.unwrap();
            let shards: Vec<&str> = ada.shards.iter().map(|shard| shard.path.as_str()).collect();
            assert_eq!((ada.rows_removed, ada.subjects[0].rows), (5, 5), "{what}");
            assert_eq!(shards, SHARDS, "{what}: of both passes");
            let left = sim.all().into_keys();
            let left: Vec<String> = left
                .filter(|path| path.starts_with("_efface/queue/"))
                .collect();
            assert!(left.is_empty(), "{what}: {left:?}");
        }
    }
}

/// Damages a page of the last column of a shard, which planning does not read. Gives the shard as it was.
fn damage_half_way(sim: &Sim) -> Vec<u8> {
    let whole = sim.bytes("b.parquet").unwrap();
    let mut bytes = whole.clone();
    let text = b"event 1";
    let at = bytes.windows(text.len()).position(|part| part == text);
    let at = at.expect("the texts are stored plain");
    bytes[at - 12..at].fill(0xff);
    sim.put("b.parquet", bytes);
    whole
}

#[test]
fn a_request_does_not_end_before_the_one_that_its_ids_were_merged_into() {
    let sim = three_shards();
    let engine = engine(&sim, &Config::default());
    let both = Request {
        subjects: Subjects::new(["ada", "bob"]).unwrap(),
        ..delete_of("ada")
    };
    let first = submitted(&engine, 1, &both).tracking_id;
    let merged = submit(&engine, 2, "ada");
    let whole = damage_half_way(&sim);
    compact(&engine);
    // Nothing was done yet that is counted for the second one.
    for (id, stands) in [
        (first, RequestState::Started),
        (merged, RequestState::Pending),
    ] {
        assert_eq!(state(&engine, id), stands);
        assert!(reason(&engine, id).contains("b.parquet"));
    }
    sim.put("b.parquet", whole);
    compact(&engine);
    for id in [first, merged] {
        assert_eq!(state(&engine, id), RequestState::Success);
    }
    assert_eq!(rows(&sim, "ada") + rows(&sim, "bob"), 0);
}

#[test]
fn requests_of_one_id_that_expand_it_otherwise_are_judged_each_for_itself() {
    let sim = Sim::new(1);
    sim.put("a.parquet", shard_of(&["ada", "bob", "bob"]));
    sim.put("aliases.csv", "alias,distinct_id\nlaptop,ada\n");
    let config = Config {
        aliases: Some("aliases.csv".to_owned()),
        ..Config::default()
    };
    let engine = engine(&sim, &config);
    let exact = Request {
        identity: efface::request::Identity::Exact,
        ..delete_of("laptop")
    };
    let exact = submitted(&engine, 1, &exact).tracking_id;
    let forward = submit(&engine, 2, "laptop");
    compact(&engine);
    let rows_of = |id| {
        let all = receipts(&engine);
        let of_request = all.iter().find(|receipt| receipt.tracking_id == id);
        of_request.unwrap().rows_removed
    };
    assert_eq!((rows_of(exact), rows_of(forward)), (0, 1));
    assert_eq!(rows(&sim, "ada"), 0);
}

#[test]
fn ids_that_are_suppressed_after_the_start_of_a_pass_are_for_the_next_one() {
    let sim = three_shards();
    let engine = engine(&sim, &Config::default());
    submit(&engine, 1, "dee");
    drop(engine.begin(&CompactOptions::at(now())).unwrap().unwrap());
    engine
        .suppress(&delete_of("ada"), Suppress::default(), now())
        .unwrap();
    let guarded = CompactOptions {
        max_match: 0.01,
        ..CompactOptions::at(now())
    };
    // The pass is carried on as it was planned; the next one is guarded.
    let error = engine.compact(&guarded).err();
    assert!(error.is_none_or(|error| error.kind() == ErrorKind::Refused));
    assert_eq!((rows(&sim, "dee"), rows(&sim, "ada")), (0, 5));
    compact(&engine);
    assert_eq!(rows(&sim, "ada"), 0);
}

#[test]
fn shards_that_were_checked_by_other_columns_are_checked_again() {
    let sim = Sim::new(1);
    sim.put(
        "a.parquet",
        with_email(&[("ada", "x"), ("bob", "y"), ("cyd", "z")]),
    );
    let by_id = engine(&sim, &Config::default());
    by_id
        .suppress(&delete_of("y"), Suppress::default(), now())
        .unwrap();
    compact(&by_id);
    assert_eq!(rows(&sim, "bob"), 1);
    let by_email = Config {
        subject: vec!["email".to_owned()],
        ..Config::default()
    };
    compact(&engine(&sim, &by_email));
    assert_eq!(rows(&sim, "bob"), 0);
}

#[test]
fn a_page_that_turns_out_damaged_half_way_leaves_the_request_started() {
    let sim = three_shards();
    let engine = engine(&sim, &Config::default());
    let whole = damage_half_way(&sim);
    let error = engine
        .delete(&delete_of("ada"), None, &DeleteOptions::default())
        .unwrap_err();
    let Error::Held {
        tracking_id,
        state: told,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (*told, error.kind()),
        ("STARTED", ErrorKind::Damaged),
        "{error}"
    );
    assert!(error.to_string().contains("b.parquet"), "{error}");
    assert_eq!(state(&engine, *tracking_id), RequestState::Started);
    sim.put("b.parquet", whole);
    compact(&engine);
    assert_eq!(state(&engine, *tracking_id), RequestState::Success);
    assert_eq!(rows(&sim, "ada"), 0);
}

#[test]
fn an_export_beside_a_started_delete_of_the_same_ids_is_a_conflict() {
    let sim = three_shards();
    let engine = engine(&sim, &Config::default());
    let export = |id: &str| engine.plan(&Request::export(Subjects::new([id]).unwrap(), now()));
    submit(&engine, 1, "ada");
    export("ada").unwrap();
    let pass = engine.begin(&CompactOptions::at(now())).unwrap();
    let error = export("ada").unwrap_err();
    assert!(matches!(error, Error::Underway { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    export("bob").unwrap();
    drop(pass);
    let whole = sim.bytes("c.parquet").unwrap();
    sim.put("c.parquet", &whole[..9]);
    compact(&engine);
    sim.put("c.parquet", whole);
    assert!(
        matches!(export("ada"), Err(Error::Underway { .. })),
        "it is done in part"
    );
    compact(&engine);
    export("ada").unwrap();
}

/// Two configurations: the ids of the second are in another column, and both know the same links.
fn two_ways() -> (Sim, Engine, Engine) {
    let sim = Sim::new(1);
    sim.put(
        "a.parquet",
        with_email(&[
            ("ada", "x"),
            ("bob", "ada"),
            ("laptop", "y"),
            ("cyd", "laptop"),
            ("cyd", "z"),
        ]),
    );
    sim.put("aliases.csv", "alias,distinct_id\nlaptop,ada\nphone,bob\n");
    let aliases = Some("aliases.csv".to_owned());
    let by_id = Config {
        aliases: aliases.clone(),
        ..Config::default()
    };
    let by_email = Config {
        subject: vec!["email".to_owned()],
        aliases,
        ..Config::default()
    };
    let engines = [by_id, by_email].map(|config| engine(&sim, &config));
    let [first, second] = engines;
    (sim, first, second)
}

#[test]
fn a_request_is_carried_out_under_the_configuration_that_it_was_handed_over_with() {
    let (sim, by_id, by_email) = two_ways();
    let plain = engine(&sim, &Config::default());
    let first = submit(&by_id, 1, "laptop");
    let second = submit(&by_email, 2, "laptop");
    assert_ne!(first, second, "another configuration is another request");
    let done = compact(&plain);
    assert_eq!(done.rows_removed, 4);
    for id in [first, second] {
        assert_eq!(state(&plain, id), RequestState::Success);
    }
    // The first pass took the link away, and the second covered the id all the same.
    assert_eq!(ids_of(&sim.bytes("a.parquet").unwrap()), ["cyd"]);
    let aliases = sim.bytes("aliases.csv").unwrap();
    assert_eq!(aliases, b"alias,distinct_id\nphone,bob\n");
}

#[test]
fn a_configuration_that_overrides_that_of_a_waiting_request_is_refused_by_name() {
    let (sim, by_id, by_email) = two_ways();
    let id = submit(&by_id, 1, "laptop");
    let error = by_email.compact(&CompactOptions::at(now())).unwrap_err();
    let Error::OtherRoles { tracking_id, keys } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (tracking_id, keys.as_slice()),
        (&id, &["subject".to_owned()][..])
    );
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(state(&by_id, id), RequestState::Pending);
    // One that is stored is no word on what waits.
    by_email
        .config()
        .store(&StateFiles::new(sim.clone()))
        .unwrap();
    compact(&by_email);
    assert_eq!(state(&by_id, id), RequestState::Success);
    assert!(!ids_of(&sim.bytes("a.parquet").unwrap()).contains(&"ada".to_owned()));
}

#[test]
fn links_that_go_with_another_request_still_lead_a_held_one_to_all_of_its_rows() {
    let sim = three_shards();
    sim.put("aliases.csv", "alias,distinct_id\nlaptop,ada\n");
    sim.put("b.parquet", shard_of(&["laptop", "bob", "bob"]));
    let config = Config {
        aliases: Some("aliases.csv".to_owned()),
        ..Config::default()
    };
    let engine = engine(&sim, &config);
    let whole = sim.bytes("c.parquet").unwrap();
    sim.put("c.parquet", &whole[..20]);
    let id = submit(&engine, 1, "laptop");
    compact(&engine);
    assert_eq!(state(&engine, id), RequestState::Started);
    sim.put("aliases.csv", "alias,distinct_id\n");
    sim.put("c.parquet", whole);
    compact(&engine);
    assert_eq!(state(&engine, id), RequestState::Success);
    assert_eq!((rows(&sim, "ada"), rows(&sim, "laptop")), (0, 0));
}

#[test]
fn a_pass_is_carried_on_at_its_own_level_and_with_its_own_key_or_not_at_all() {
    let sim = three_shards();
    let engine = engine(&sim, &Config::default());
    let id = submit(&engine, 1, "ada");
    let options = CompactOptions {
        zstd_level: ZstdLevel::Fixed(1),
        ..CompactOptions::at(now())
    };
    drop(engine.begin(&options).unwrap().unwrap());
    let later = engine.begin(&CompactOptions::at(now())).unwrap().unwrap();
    assert!(
        later
            .tasks()
            .iter()
            .all(|task| task.zstd_level == ZstdLevel::Fixed(1))
    );
    drop(later);

    let key = sim.bytes("_efface/key").unwrap();
    sim.put("_efface/key", "fedcba9876543210".repeat(4));
    let error = engine.compact(&CompactOptions::at(now())).unwrap_err();
    assert!(matches!(error, Error::KeyLost { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(state(&engine, id), RequestState::Started);
    sim.put("_efface/key", key);
    let old = SubjectKey::from_hex(&"0123456789abcdef".repeat(4)).unwrap();
    engine.replace_key(&SubjectKey::new([9; 32])).unwrap();
    compact(&engine);
    assert_eq!(state(&engine, id), RequestState::Success);
    let receipt = receipts(&engine).pop().unwrap();
    assert_eq!(
        receipt.key,
        Some(old.id()),
        "the pass was decided with that one"
    );
    assert_eq!(
        receipt.subjects[0].id,
        old.hash_of(&efface::SubjectId::new("ada"))
    );
}

#[test]
fn a_list_whose_key_is_lost_is_an_error_and_one_whose_key_was_replaced_still_counts() {
    let suppressing = |sim: &Sim| {
        let engine = engine(sim, &Config::default());
        let request = Request {
            suppress: Some(Suppress::default()),
            ..delete_of("ada")
        };
        engine
            .delete(&request, None, &DeleteOptions::default())
            .unwrap();
        engine
    };
    let sim = three_shards();
    let first = suppressing(&sim);
    let backup = shard_of(&["ada", "bob"]);
    first.replace_key(&SubjectKey::new([9; 32])).unwrap();
    sim.put("a.parquet", backup.clone());
    assert_eq!(compact(&first).rows_suppressed, 1);
    let losses: [(&str, Loss); 4] = [
        ("no key", |sim| assert!(sim.vanish("_efface/key"))),
        ("another key", |sim| sim.put("_efface/key", "00".repeat(32))),
        ("no list", |sim| {
            assert!(sim.vanish("_efface/suppression.json"));
        }),
        ("no receipts", |sim| {
            assert!(sim.vanish("_efface/receipts/000000000001.jsonl"));
            assert!(sim.vanish("_efface/receipts/head.json"));
        }),
    ];
    for (what, lose) in losses {
        let sim = three_shards();
        let engine = suppressing(&sim);
        sim.put("a.parquet", backup.clone());
        lose(&sim);
        let errors = [
            engine.compact(&CompactOptions::at(now())).unwrap_err(),
            engine.suppression().unwrap_err(),
            engine
                .submit(TrackingId::draw(now()), &delete_of("bob"), now(), None)
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}");
            assert!(error.to_string().contains("restore"), "{what}: {error}");
        }
        assert_eq!(rows(&sim, "ada"), 1, "{what}");
    }
}

#[test]
fn the_earlier_deadline_counts_and_no_hint_is_believed_that_names_another_request() {
    let sim = three_shards();
    let engine = engine(&sim, &Config::default());
    let later = submitted(&engine, 1, &delete_of("ada"));
    let due = |text: &str| Some(text.parse().unwrap());
    let again = |time: &str| {
        let id = TrackingId::new(now(), [2; 10]);
        engine
            .submit(id, &delete_of("ada"), now(), due(time))
            .unwrap()
    };
    let early = again("2026-02-02T00:00:00Z");
    assert!(early.joined && early.tracking_id == later.tracking_id);
    assert_eq!(early.due, "2026-02-02T00:00:00Z".parse().unwrap());
    assert_eq!(again("2026-05-01T00:00:00Z").due, early.due);
    let status = engine.status(later.tracking_id, now()).unwrap();
    assert_eq!(status.due, Some(early.due));

    let hints = sim.all().into_keys();
    let mut hint = hints.filter(|path| path.starts_with("_efface/queue/same/"));
    let hint = hint.next().unwrap();
    let bob = submit(&engine, 3, "bob");
    sim.put(&hint, bob.to_string());
    let ada = submitted(&engine, 4, &delete_of("ada"));
    assert!(!ada.joined, "the hint names another request");
}

#[test]
fn a_damaged_file_of_ours_hides_no_other_request() {
    let sim = three_shards();
    let engine = engine(&sim, &Config::default());
    let [bad, good] = [submit(&engine, 1, "ada"), submit(&engine, 2, "bob")];
    let path = format!("_efface/queue/{bad}.json");
    assert!(sim.flip(&path, 20, 1));
    let waiting = engine.waiting(now()).unwrap();
    let told: Vec<_> = waiting
        .iter()
        .map(|status| (status.tracking_id, status.is_damaged))
        .collect();
    assert_eq!(told, [(bad, true), (good, false)]);
    let reason = waiting[0].reason.as_ref().unwrap();
    assert!(
        reason.contains(&path) && reason.contains("remove it"),
        "{reason}"
    );
    drop(engine.begin(&CompactOptions::at(now())).unwrap().unwrap());
    assert!(sim.flip("_efface/pass/pass.json", 20, 1));
    let waiting = engine.waiting(now()).unwrap();
    assert_eq!(waiting.len(), 2);
    let reason = waiting[1].reason.as_ref().unwrap();
    assert!(
        waiting[1].is_damaged && reason.contains("pass.json"),
        "{reason}"
    );
}
