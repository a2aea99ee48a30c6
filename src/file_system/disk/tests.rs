use std::io::Write;

use super::*;

fn make(disk: &Disk, path: &str) {
    let new = disk.create(path, Access::State(None)).unwrap();
    disk.rename(&new.path, path).unwrap();
}

fn info(disk: &Disk, path: &str) -> FileInfo {
    disk.info(path).unwrap().unwrap()
}

#[test]
fn a_sink_writes_and_copies_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let mut new = disk.create("a/source", Access::State(None)).unwrap();
    new.sink.write_all(b"0123456789").unwrap();
    new.sink.sync().unwrap();
    assert!(disk.rename_new(&new.path, "a/source").unwrap());
    let source = disk.open("a/source").unwrap();
    let NewFile { path, mut sink, .. } = disk
        .create("target", Access::Of(&info(&disk, "a/source")))
        .unwrap();
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
        .list("", Walk::ALL)
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
    fs::create_dir(dir.path().join("beside")).unwrap();
    for path in ["a/b", "../beside/c"] {
        make(&disk, path);
    }
    let link = |to: &str, at: &str| {
        std::os::unix::fs::symlink(dir.path().join(to), dir.path().join(at)).unwrap();
    };
    link("beside", "root/linked");
    link("root", "root/a/round");
    link("root", "beside/back");
    let listed = disk.list("", Walk::ALL).unwrap();
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
    assert!(
        disk.create("h/i", Access::State(None)).is_err(),
        "a file is no directory"
    );
}

#[test]
fn a_file_that_takes_the_place_of_another_has_its_mode_and_attributes_and_no_checksum() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    make(&disk, "old");
    let old = dir.path().join("old");
    // Version 2: the owner may read and write, one user may read, everybody else nothing.
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, u32::MAX),
        (0x02, 4, 4321),
        (0x04, 0, u32::MAX),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permitted, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permitted.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let attributes = [
        ("user.origin", &b"tracker"[..]),
        ("user.sha256", b"0123"),
        ("system.posix_acl_access", &acl),
    ];
    for (name, value) in attributes {
        setxattr(&old, name, value, XattrFlags::empty()).unwrap();
    }
    disk.try_access("old").unwrap();
    let new = disk.create("old", Access::Of(&info(&disk, "old"))).unwrap();
    assert_eq!(new.left_out, ["user.sha256"]);
    let path = dir.path().join(&new.path);
    let value = |name| {
        let mut value = [0; 100];
        getxattr(&path, name, &mut value[..]).map(|len| value[..len].to_vec())
    };
    assert_eq!(value("user.origin").unwrap(), b"tracker");
    assert_eq!(value("system.posix_acl_access").unwrap(), acl);
    assert!(value("user.sha256").is_err());
    let mode = |path| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&old), mode(&path));
}

#[test]
fn whoever_puts_another_file_in_a_place_does_not_decide_who_reads_the_next_one() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    make(&disk, "old");
    let old = info(&disk, "old");
    make(&disk, "theirs");
    let open = fs::Permissions::from_mode(0o666);
    fs::set_permissions(dir.path().join("theirs"), open).unwrap();
    disk.rename("theirs", "old").unwrap();
    let error = disk.create("old", Access::Of(&old)).err().unwrap();
    assert!(matches!(error, Error::ShardChanged { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn no_link_that_is_put_in_the_way_leads_out_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path().join("root"));
    make(&disk, "day/a");
    fs::create_dir(dir.path().join("outside")).unwrap();
    for name in ["a", "victim"] {
        make(&Disk::new(dir.path()), &format!("outside/{name}"));
    }
    disk.rename("day", "moved").unwrap();
    std::os::unix::fs::symlink("../outside", dir.path().join("root/day")).unwrap();
    std::os::unix::fs::symlink("../outside/victim", dir.path().join("root/link")).unwrap();
    assert!(disk.create("day/b", Access::State(None)).is_err());
    assert!(disk.open("day/a").is_err() && disk.open("link").is_err());
    assert!(disk.rename("moved/a", "day/victim").is_err());
    assert!(disk.unlink("day/victim").is_err() && disk.map("link").is_err());
    assert!(disk.lock("day/lock", "pid 1").is_err() && disk.lock("link", "pid 1").is_err());
    assert!(disk.info("day/a").unwrap().unwrap().is_link);
    assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 2);
}

#[test]
fn what_is_no_file_is_told_by_its_kind_and_nothing_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mkfifoat(CWD, dir.path().join("pipe"), mode).unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    for (path, kind) in [
        ("pipe", "a named pipe"),
        ("directory", "a directory"),
        ("socket", "a socket"),
    ] {
        match disk.open(path).err() {
            Some(Error::Place {
                fault: PlaceFault::NotAFile { found },
                ..
            }) => assert_eq!(found, kind),
            other => panic!("{path}: {other:?}"),
        }
        assert!(matches!(
            disk.info(path),
            Err(Error::Place {
                fault: PlaceFault::NotAFile { .. },
                ..
            })
        ));
        assert!(disk.lock(path, "pid 1").is_err());
    }
}

#[test]
fn a_temporary_file_goes_only_when_nobody_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let new = disk.create("a", Access::State(None)).unwrap();
    assert!(!disk.unlink_dead(&new.path).unwrap());
    drop(new.sink);
    assert!(disk.unlink_dead(&new.path).unwrap());
    assert!(!disk.unlink_dead(&new.path).unwrap());
}

#[test]
fn deep_directories_and_names_of_others_stop_no_walk() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let deep = format!("{}leaf.parquet", "deep/".repeat(1500));
    make(&disk, &deep);
    make(&disk, "deep/deep/beside.parquet");
    std::os::unix::fs::symlink("nowhere", dir.path().join("README")).unwrap();
    std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
    File::create(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff"))).unwrap();
    let walk = Walk {
        enters: &|_| true,
        wants: &|path| path.ends_with(".parquet"),
    };
    let found = disk.list("", walk).unwrap();
    let paths: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["deep/deep/beside.parquet", &deep]);
    // Too deep for those who walk by paths.
    assert!(disk.unlink(&deep).unwrap());
    fs::remove_dir_all(dir.path().join("deep")).unwrap();
    File::create(
        dir.path()
            .join(std::ffi::OsStr::from_bytes(b"\xff.parquet")),
    )
    .unwrap();
    assert!(disk.list("", walk).is_err(), "it could be a shard");
}

#[test]
fn the_state_of_an_older_version_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().mode() & 0o777;
    fs::create_dir_all(dir.path().join("_efface/queue")).unwrap();
    for path in ["_efface", "_efface/queue"] {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    File::create(dir.path().join("_efface/queue/1.json")).unwrap();
    disk.make_private("_efface", None).unwrap();
    let modes = |paths: [&str; 3]| paths.map(mode);
    let paths = ["_efface", "_efface/queue", "_efface/queue/1.json"];
    assert_eq!(modes(paths), [0o700, 0o700, 0o600]);
    disk.make_private("_efface", Some(rustix::process::getegid().as_raw()))
        .unwrap();
    assert_eq!(modes(paths), [0o750, 0o750, 0o640]);
}

#[test]
fn no_mode_is_changed_behind_a_link_in_the_state() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let wide = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let theirs = outside.path().join("theirs");
    File::create(&theirs).unwrap();
    wide(outside.path(), 0o755).unwrap();
    wide(&theirs, 0o644).unwrap();
    let state = dir.path().join("_efface");
    fs::create_dir(&state).unwrap();
    wide(&state, 0o755).unwrap();
    symlink(outside.path(), state.join("planted")).unwrap();
    symlink(&theirs, state.join("file")).unwrap();
    fs::hard_link(&theirs, state.join("second")).unwrap();
    Disk::new(dir.path()).make_private("_efface", None).unwrap();
    assert_eq!(mode(&state), 0o700);
    assert_eq!((mode(outside.path()), mode(&theirs)), (0o755, 0o644));
}

#[test]
fn a_lock_that_has_a_second_name_is_refused_and_what_it_names_stays() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    File::create(&theirs)
        .unwrap()
        .write_all(b"of others")
        .unwrap();
    fs::hard_link(&theirs, dir.path().join("lock")).unwrap();
    let error = Disk::new(dir.path()).lock("lock", "pid 1").err().unwrap();
    assert!(error.to_string().contains("2 names"), "{error}");
    assert_eq!(fs::read(&theirs).unwrap(), b"of others");
}
