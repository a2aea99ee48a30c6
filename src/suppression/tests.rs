use super::*;
use crate::storage::disk::Disk;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_list_reads_back_and_says_who_is_on_it_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let key = SubjectKey::new([3; 32]);
    let ids = ["ada", "007", "00112233-4455-6677-8899-aabbccddeeff"].map(SubjectId::new);
    let mut list = Suppression::load(&disk).unwrap();
    assert!(list.is_empty());
    assert_eq!(list.add(&key, &ids, None, at("2026-01-01T00:00:00Z")), 3);
    list.store(&disk).unwrap();
    let mut list = Suppression::load(&disk).unwrap();
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
    let text = crate::storage::read_all(&disk, LIST_PATH, 1 << 20).unwrap();
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
    let disk = Disk::new(dir.path());
    let key = SubjectKey::new([3; 32]);
    let mut list = Suppression::default();
    let time = at("2026-01-01T00:00:00Z");
    list.add(&key, &[SubjectId::new("ada")], None, time);
    let mut checked = Checked::load(&disk, &list).unwrap();
    checked.shards.insert("a.parquet".to_owned(), 7);
    checked.store(&disk).unwrap();
    let checked = Checked::load(&disk, &list).unwrap();
    assert!(checked.holds("a.parquet", 7) && !checked.holds("a.parquet", 8));
    list.add(&key, &[SubjectId::new("ada")], None, time);
    assert!(Checked::load(&disk, &list).unwrap().holds("a.parquet", 7));
    list.add(&key, &[SubjectId::new("bob")], None, time);
    assert!(!Checked::load(&disk, &list).unwrap().holds("a.parquet", 7));
}
