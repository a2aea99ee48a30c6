//! The local disk, with a look before and after each operation: what others do in between, and what they could see.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use efface::Result;
use efface::file_system::disk::Disk;
use efface::file_system::{Access, FileInfo, FileSystem, Lock, NewFile, Walk};
use efface::io::{Mapped, ReadAt, Sink};

/// Sees each operation, before and after it.
pub(crate) trait Hook: Send + Sync {
    /// Called before an operation on these paths; an error is that of the operation.
    fn before(&self, operation: &'static str, paths: &[&str]) -> Result<()>;

    /// Called when it is done.
    fn after(&self, operation: &'static str);
}

/// The local disk, and who looks on.
#[derive(Clone)]
pub(crate) struct Hooked {
    disk: Disk,
    hook: Arc<dyn Hook>,
}

impl Hooked {
    pub(crate) fn new(disk: Disk, hook: Arc<dyn Hook>) -> Self {
        Self { disk, hook }
    }

    fn run<T>(
        &self,
        operation: &'static str,
        paths: &[&str],
        run: impl FnOnce(&Disk) -> Result<T>,
    ) -> Result<T> {
        self.hook.before(operation, paths)?;
        let done = run(&self.disk);
        self.hook.after(operation);
        done
    }
}

impl FileSystem for Hooked {
    fn root(&self) -> String {
        self.disk.root()
    }

    fn list(&self, dir: &str, walk: Walk<'_>) -> Result<Vec<FileInfo>> {
        self.run("list", &[], |disk| disk.list(dir, walk))
    }

    fn names(&self, dir: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        self.run("names", &[], |disk| disk.names(dir, after, limit))
    }

    fn info(&self, path: &str) -> Result<Option<FileInfo>> {
        self.run("info", &[path], |disk| disk.info(path))
    }

    fn resolve(&self, path: &str) -> Result<Option<String>> {
        self.run("resolve", &[path], |disk| disk.resolve(path))
    }

    fn above(&self, dir: &str) -> Result<Vec<String>> {
        self.run("above", &[], |disk| disk.above(dir))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        self.run("open", &[path], |disk| disk.open(path))
    }

    fn open_linked(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        self.run("open_linked", &[path], |disk| disk.open_linked(path))
    }

    fn map(&self, path: &str) -> Result<Mapped> {
        self.run("map", &[path], |disk| disk.map(path))
    }

    fn create(&self, beside: &str, access: Access<'_>) -> Result<NewFile> {
        let new = self.run("create", &[beside], |disk| disk.create(beside, access))?;
        let sink = HookedSink {
            sink: new.sink,
            path: new.path.clone(),
            hook: Arc::clone(&self.hook),
        };
        Ok(NewFile {
            sink: Box::new(sink),
            ..new
        })
    }

    fn try_access(&self, path: &str) -> Result<()> {
        self.run("try_access", &[path], |disk| disk.try_access(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.run("rename", &[from, to], |disk| disk.rename(from, to))
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<bool> {
        self.run("rename_new", &[from, to], |disk| disk.rename_new(from, to))
    }

    fn unlink(&self, path: &str) -> Result<bool> {
        self.run("unlink", &[path], |disk| disk.unlink(path))
    }

    fn unlink_dead(&self, path: &str) -> Result<bool> {
        self.run("unlink_dead", &[path], |disk| disk.unlink_dead(path))
    }

    fn make_private(&self, dir: &str, group: Option<u32>) -> Result<()> {
        self.run("make_private", &[dir], |disk| disk.make_private(dir, group))
    }

    fn group(&self, name: &str) -> Result<u32> {
        self.disk.group(name)
    }

    fn sync_directories(&self, files: &[&str]) -> Result<()> {
        self.run("sync_directories", files, |disk| {
            disk.sync_directories(files)
        })
    }

    fn sync_whole(&self) -> Result<bool> {
        self.run("sync_whole", &[], FileSystem::sync_whole)
    }

    fn clock_ns(&self) -> Result<Option<i64>> {
        self.run("clock_ns", &[], FileSystem::clock_ns)
    }

    fn room(&self) -> Result<Option<u64>> {
        self.run("room", &[], FileSystem::room)
    }

    fn open_files_max(&self) -> Option<u64> {
        self.disk.open_files_max()
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        self.run("lock", &[path], |disk| disk.lock(path, holder))
    }
}

struct HookedSink {
    sink: Box<dyn Sink>,
    path: String,
    hook: Arc<dyn Hook>,
}

impl HookedSink {
    fn run<T>(
        &mut self,
        operation: &'static str,
        run: impl FnOnce(&mut dyn Sink) -> io::Result<T>,
    ) -> io::Result<T> {
        let before = self.hook.before(operation, &[&self.path]);
        before.map_err(io::Error::other)?;
        let done = run(&mut *self.sink);
        self.hook.after(operation);
        done
    }
}

impl Write for HookedSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run("flush", |sink| sink.flush())
    }
}

impl Sink for HookedSink {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        self.sink.copy_from(source, range)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.run("sync", |sink| sink.sync())
    }
}
