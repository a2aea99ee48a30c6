use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use proptest::prelude::*;

use super::filter::Filter;
use super::*;
use crate::file_system::disk::Disk;
use crate::shard::roles::Roles;
use crate::state::files::StateFiles;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_list_reads_back_and_says_who_is_on_it_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let key = SubjectKey::new([3; 32]);
    let ids = ["ada", "007", "00112233-4455-6677-8899-aabbccddeeff"].map(SubjectId::new);
    let mut list = Suppression::load(&disk, &key).unwrap();
    assert!(list.is_empty());
    assert_eq!(list.add(&key, &ids, None, at("2026-01-01T00:00:00Z")), 3);
    list.store(&disk).unwrap();
    let mut list = Suppression::load(&disk, &key).unwrap();
    assert_eq!(list.iter().len(), 3);
    let is_on =
        |list: &Suppression, form, bytes: &[u8]| list.cut_off(&key, &[form], bytes).is_some();
    assert!(is_on(&list, Form::Text, b"ada"));
    assert!(is_on(&list, Form::Number, b"7"));
    assert!(is_on(
        &list,
        Form::Uuid,
        &ids[2].canonical(Form::Uuid).unwrap()
    ));
    assert!(!is_on(&list, Form::Text, b"7"));
    assert!(!is_on(&list, Form::Text, b"bob"));
    assert_eq!(list.remove(&key, &ids[..2]), 2);
    assert_eq!(list.remove(&key, &ids[..2]), 0);
    assert!(!is_on(&list, Form::Number, b"7"));
    assert_eq!(list.iter().len(), 1);
    let text = crate::state::read(&disk, LIST_PATH, 1 << 20).unwrap();
    assert!(memchr::memmem::find(&text, b"ada").is_none());
}

#[test]
fn the_later_cut_off_counts() {
    let key = SubjectKey::new([3; 32]);
    let ada = [SubjectId::new("ada")];
    let mut list = Suppression::default();
    let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
    for (before, expected) in [
        (Some(late), Some(late)),
        (Some(early), Some(late)),
        (None, None),
        (Some(late), None),
    ] {
        list.add(&key, &ada, before, early);
        assert_eq!(list.cut_off(&key, &[Form::Text], b"ada"), Some(expected));
    }
    assert_eq!(list.iter().len(), 1);
}

#[test]
fn another_list_makes_every_shard_unchecked() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let key = SubjectKey::new([3; 32]);
    let mut list = Suppression::default();
    let time = at("2026-01-01T00:00:00Z");
    list.add(&key, &[SubjectId::new("ada")], None, time);
    let mut checked = Checked::load(&disk, &list, &Config::default()).unwrap();
    checked.shards.insert("a.parquet".to_owned(), 7);
    checked.store(&disk).unwrap();
    let checked = Checked::load(&disk, &list, &Config::default()).unwrap();
    assert!(checked.holds("a.parquet", 7) && !checked.holds("a.parquet", 8));
    list.add(&key, &[SubjectId::new("ada")], None, time);
    assert!(
        Checked::load(&disk, &list, &Config::default())
            .unwrap()
            .holds("a.parquet", 7)
    );
    list.add(&key, &[SubjectId::new("bob")], None, time);
    assert!(
        !Checked::load(&disk, &list, &Config::default())
            .unwrap()
            .holds("a.parquet", 7)
    );
}

#[test]
fn ids_that_an_earlier_key_hashed_are_met_and_without_that_key_the_list_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = StateFiles::new(Disk::new(dir.path()));
    let (first, second) = (SubjectKey::new([3; 32]), SubjectKey::new([4; 32]));
    let [ada, bob] = ["ada", "bob"].map(SubjectId::new);
    let time = at("2026-01-01T00:00:00Z");
    let mut list = Suppression::default();
    list.add(&first, [&ada], None, time);
    let both = first.replaced_by(&second);
    list.add(&both, [&bob], None, time);
    assert_eq!(list.add(&both, [&ada], None, time), 0, "it is known");
    list.store(&disk).unwrap();
    let mut list = Suppression::load(&disk, &both).unwrap();
    for id in [&ada, &bob] {
        let text = id.reveal().as_bytes();
        assert!(list.cut_off(&both, &[Form::Text], text).is_some());
    }
    for key in [&first, &second, &SubjectKey::new([5; 32])] {
        let error = Suppression::load(&disk, key).unwrap_err();
        assert!(matches!(error, Error::KeyLost { .. }), "{error}");
    }
    assert_eq!(list.remove(&both, [&ada, &bob]), 2);
    assert!(list.is_empty());
}

/// What is kept of each of these fronts of `ids`, by one filter.
fn filtered(
    list: &Suppression,
    key: &SubjectKey,
    ids: ArrayRef,
    fronts: &[usize],
) -> Vec<Vec<Option<String>>> {
    let batch = RecordBatch::try_from_iter_with_nullable([("distinct_id", ids, true)]).unwrap();
    let mut filter = Filter::new(list, key, &batch.schema(), &Roles::default()).unwrap();
    // The row's number is its time, in seconds.
    let second = |row| Timestamp::from_second(row).ok();
    let time = |row: usize| second(i64::try_from(row).unwrap());
    let mut kept = |front: &usize| {
        let kept = filter.keep(&batch.slice(0, *front), time).unwrap();
        let column = arrow::compute::cast(kept.column(0), &arrow::datatypes::DataType::Utf8);
        let column = column.unwrap();
        let column = column.as_string::<i32>();
        column.iter().map(|id| id.map(str::to_owned)).collect()
    };
    fronts.iter().map(&mut kept).collect()
}

#[test]
fn batches_of_another_schema_are_refused() {
    let key = SubjectKey::new([3; 32]);
    let list = Suppression::default();
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["ada"]));
    let batch = |name| RecordBatch::try_from_iter([(name, Arc::clone(&ids))]).unwrap();
    let known = batch("distinct_id");
    assert!(Filter::new(&list, &key, &batch("other").schema(), &Roles::default()).is_err());
    let mut filter = Filter::new(&list, &key, &known.schema(), &Roles::default()).unwrap();
    let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
    let numbers = RecordBatch::try_from_iter([("distinct_id", numbers)]).unwrap();
    assert!(filter.keep(&numbers, |_| None).is_err());
}

proptest! {
    /// As a naive filter of the rows, for plain and dictionary columns, with and without cut-offs.
    #[test]
    fn a_filter_keeps_what_a_naive_one_keeps(
        ids in prop::collection::vec(prop::option::of(0..12_u8), 0..60),
        suppressed in prop::collection::btree_map(0..12_u8, prop::option::of(0..60_i64), 0..5),
    ) {
        let key = SubjectKey::new([3; 32]);
        let name = |id: u8| format!("person {id}");
        let mut list = Suppression::default();
        for (id, before) in &suppressed {
            let before = before.map(|second| Timestamp::from_second(second).unwrap());
            list.add(&key, &[SubjectId::new(name(*id))], before, at("2026-01-01T00:00:00Z"));
        }
        let texts: Vec<Option<String>> = ids.iter().map(|id| id.map(name)).collect();
        // Of a dictionary that comes again the filter knows more than of one that is new.
        let fronts = [ids.len() / 3, ids.len() / 2, ids.len(), ids.len() / 2];
        let naive: Vec<Vec<Option<String>>> = fronts.iter().map(|front| {
            let rows = (0_i64..).zip(&ids).zip(&texts).take(*front);
            rows.filter(|((row, id), _)| match id.and_then(|id| suppressed.get(&id)) {
                None => true,
                Some(None) => false,
                Some(Some(before)) => row >= before,
            }).map(|(_, text)| text.clone()).collect()
        }).collect();
        let plain = StringArray::from(texts.clone());
        prop_assert_eq!(filtered(&list, &key, Arc::new(plain), &fronts), naive.clone());
        let dictionary: DictionaryArray<Int32Type> = texts.iter().map(Option::as_deref).collect();
        prop_assert_eq!(filtered(&list, &key, Arc::new(dictionary), &fronts), naive);
    }
}
