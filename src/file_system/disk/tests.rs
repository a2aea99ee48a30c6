use super::*;

fn make(disk: &Disk, path: &str) {
    let new = disk.create(path, None).unwrap();
    disk.rename(&new.path, path).unwrap();
}

#[test]
fn a_sink_writes_and_copies_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let mut new = disk.create("a/source", None).unwrap();
    new.sink.write_all(b"0123456789").unwrap();
    new.sink.sync().unwrap();
    assert!(disk.rename_new(&new.path, "a/source").unwrap());
    let source = disk.open("a/source").unwrap();
    let NewFile { path, mut sink } = disk.create("target", Some("a/source")).unwrap();
    assert!(!disk.rename_new(&path, "a/source").unwrap());
    disk.rename(&path, "target").unwrap();
    sink.write_all(b"<").unwrap();
    sink.copy_from(&*source, 2..5).unwrap();
    sink.write_all(b">").unwrap();
    sink.copy_from(&*source, 9..10).unwrap();
    sink.sync().unwrap();
    drop(sink);
    assert_eq!(&*disk.map("target").unwrap(), b"<234>9");
    let paths: Vec<_> = disk
        .list("", &|_| true)
        .unwrap()
        .into_iter()
        .map(|f| f.path)
        .collect();
    assert_eq!(paths, ["a/source", "target"]);
}

#[test]
fn links_to_directories_are_followed_but_not_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path().join("root"));
    for path in ["a/b", "../beside/c"] {
        make(&disk, path);
    }
    let link = |to: &str, at: &str| {
        std::os::unix::fs::symlink(dir.path().join(to), dir.path().join(at)).unwrap();
    };
    link("beside", "root/linked");
    link("root", "root/a/round");
    link("root", "beside/back");
    let listed = disk.list("", &|_| true).unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|file| (file.path.as_str(), file.is_link))
        .collect();
    assert_eq!(listed, [("a/b", false), ("linked/c", true)]);
}

#[test]
fn a_path_is_resolved_to_the_one_that_the_list_has() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path().join("root/sub/.."));
    for path in ["a/b", "sub/c", "../beside"] {
        make(&disk, path);
    }
    let absolute = dir.path().join("root/a/b");
    for path in ["a/b", "./a/b", "sub/../a/b", absolute.to_str().unwrap()] {
        assert_eq!(
            disk.resolve(path).unwrap().as_deref(),
            Some("a/b"),
            "{path}"
        );
    }
    for path in ["../beside", "nowhere", "/"] {
        assert_eq!(disk.resolve(path).unwrap(), None, "{path}");
    }
}

#[test]
fn a_second_lock_is_refused_and_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let first = disk.lock("_efface/lock", "pid 1").unwrap();
    match disk.lock("_efface/lock", "pid 2").err() {
        Some(Error::Locked { holder, .. }) => assert_eq!(holder, "pid 1"),
        other => panic!("{other:?}"),
    }
    drop(first);
    assert_eq!(disk.open("_efface/lock").unwrap().len(), 0);
    assert!(disk.lock("_efface/lock", "pid 2").is_ok());
}

#[test]
fn a_lock_that_was_not_released_or_saw_a_sync_fail_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let lock = disk.lock("_efface/lock", "pid 1 of long ago").unwrap();
    assert!(disk.sync_directories(&["gone/file"]).is_err());
    drop(lock);
    let held = || fs::read(dir.path().join("_efface/lock")).unwrap();
    assert_eq!(held(), b"pid 1 of long ago");
    let lock = disk.lock("_efface/lock", "pid 2").unwrap();
    assert_eq!(held(), b"pid 2");
    drop(lock);
    assert_eq!(held(), b"");
}

#[test]
fn directories_are_made_where_they_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path().join("a/b"));
    for path in ["c/d/e", "c/d/f", "c/g", "h"] {
        make(&disk, path);
        assert!(disk.info(path).unwrap().is_some());
    }
    assert!(disk.create("h/i", None).is_err(), "a file is no directory");
}
