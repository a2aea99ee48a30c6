//! The index of a dataset: what a delete leaves in it, and what it makes of shards that change behind its back.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use efface::config::Config;
use efface::request::{Disclosure, Unknown};
use efface::subject::SubjectHash;
use efface::{DeleteOptions, Engine, EngineOptions, Request, Subjects};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

const SEED: u64 = 0x1D5;
const PEOPLE: u8 = 14;
const DEVICES: u8 = 9;
const ROW_GROUP_ROWS: usize = 6;

/// A person and a device.
type Row = (u8, Option<u8>);

fn person(number: u8) -> String {
    format!("person-{number:03}@example.org")
}

fn device(number: u8) -> String {
    format!("device-{number:03}")
}

fn write_shard(path: &Path, rows: &[Row], has_dictionary: bool) {
    let people = rows.iter().map(|(number, _)| person(*number));
    let devices = rows.iter().map(|(_, number)| number.map(device));
    let columns: [(&str, ArrayRef, bool); 3] = [
        (
            "distinct_id",
            Arc::new(StringArray::from_iter_values(people)),
            false,
        ),
        (
            "device_id",
            Arc::new(devices.collect::<StringArray>()),
            true,
        ),
        (
            "city",
            Arc::new(StringArray::from(vec!["Ulm"; rows.len()])),
            true,
        ),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(has_dictionary)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn engine(root: &Path) -> Engine {
    let config = Config {
        subject: vec!["distinct_id".to_owned(), "device_id".to_owned()],
        ..Config::default()
    };
    let options = EngineOptions {
        seed_if_new: SEED,
        ..EngineOptions::overriding(config)
    };
    Engine::open_dir_with(root, options).unwrap()
}

fn request(ids: &[String], disclosure: Disclosure) -> Request {
    let subjects = Subjects::new(ids.iter().map(String::as_str)).unwrap();
    Request {
        disclosure,
        unknown: Unknown::Report,
        max_match: 1.0,
        ..Request::delete(subjects, "2026-01-31T12:00:00Z".parse().unwrap())
    }
}

/// All bytes of the index.
fn index_bytes(root: &Path) -> Vec<u8> {
    let files = fs::read_dir(root.join("_efface/index")).unwrap();
    files
        .flat_map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0..PEOPLE, prop::option::weighted(0.7, 0..DEVICES));
    prop::collection::vec(row, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_delete_the_index_is_what_one_that_is_built_from_nothing_would_be(
        shards in prop::collection::vec((rows(), any::<bool>()), 1..5),
        deletes in prop::collection::vec((prop::collection::vec(0..PEOPLE + DEVICES, 1..4), any::<bool>()), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for (number, (rows, has_dictionary)) in shards.iter().enumerate() {
            write_shard(&dir.path().join(format!("{number}.parquet")), rows, *has_dictionary);
        }
        let engine = engine(dir.path());
        engine.refresh().unwrap();
        let mut left: Vec<Row> = shards.into_iter().flat_map(|(rows, _)| rows).collect();
        for (numbers, clears) in deletes {
            let ids: Vec<String> = numbers
                .iter()
                .map(|number| number.checked_sub(PEOPLE).map_or_else(|| person(*number), device))
                .collect();
            let disclosure = if clears { Disclosure::Sources } else { Disclosure::Data };
            engine.delete(&request(&ids, disclosure), None, &DeleteOptions::default()).unwrap();
            if !clears {
                left.retain(|(whose, on)| {
                    let on = on.map(device);
                    !ids.contains(&person(*whose)) && !on.is_some_and(|on| ids.contains(&on))
                });
            }
            // Before anything else looks at it: no hash of an id of which no row is left.
            let bytes = index_bytes(dir.path());
            let there: BTreeSet<String> = left
                .iter()
                .flat_map(|(whose, on)| [Some(person(*whose)), on.map(device)])
                .flatten()
                .collect();
            let all = (0..PEOPLE).map(person).chain((0..DEVICES).map(device));
            for id in all {
                let hash = SubjectHash::of(id.as_bytes(), SEED).0;
                let is_in = |needle: [u8; 8]| bytes.windows(8).any(|window| window == needle);
                let found = is_in(hash.to_le_bytes()) || is_in(hash.to_be_bytes());
                prop_assert_eq!(found, there.contains(&id));
            }
            let (report, comparison) = engine.verify_index().unwrap();
            prop_assert_eq!((comparison.missing, comparison.surplus), (0, 0));
            prop_assert!(report.rebuilt.is_none());
            prop_assert_eq!((report.added, report.changed), (0, 0), "the delete left it up to date");
            prop_assert_eq!(report.subjects, there.len() as u64);
        }
    }
}

#[test]
fn a_shard_whose_size_and_time_were_set_back_is_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let shard = dir.path().join("a.parquet");
    write_shard(&shard, &[(1, None), (2, None)], true);
    // Left alone for so long that its times count.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let engine = engine(dir.path());
    engine.refresh().unwrap();
    let plan = |id: &str| {
        let subjects = Subjects::new([id]).unwrap();
        let asked = "2026-01-31T12:00:00Z".parse().unwrap();
        engine.plan(&Request::export(subjects, asked)).unwrap().rows
    };
    assert_eq!((plan(&person(1)), plan(&person(3))), (1, 0));

    let before = fs::metadata(&shard).unwrap();
    let footer_at = before.len() - 8;
    let mut bytes = fs::read(&shard).unwrap();
    let footer_len = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap());
    let footer = usize::try_from(footer_at - u64::from(footer_len)).unwrap();
    // The pages change, the footer doesn't: not even its hash tells.
    let (old, new) = (person(1), person(3));
    let pages = &mut bytes[..footer];
    let mut changed = 0;
    for at in 0..pages.len() - old.len() {
        if pages[at..].starts_with(old.as_bytes()) {
            pages[at..at + new.len()].copy_from_slice(new.as_bytes());
            changed += 1;
        }
    }
    assert!(changed > 0);
    let mut file = OpenOptions::new().write(true).open(&shard).unwrap();
    file.write_all(&bytes).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    drop(file);
    let after = fs::metadata(&shard).unwrap();
    assert_eq!(
        (after.len(), after.modified().unwrap()),
        (before.len(), before.modified().unwrap())
    );
    assert_eq!((plan(&person(1)), plan(&person(3))), (0, 1));
}
