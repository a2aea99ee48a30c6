//! Where rows and reports go: standard output, or a file that is whole or isn't there.
//!
//! # Crash behaviour
//! A file is written under a hidden temporary name beside its place, synced, and then renamed, so
//! nobody ever sees half of it. The name is this run's alone: of two runs that write to one place the last one's
//! file is there in the end, whole. Devices and pipes are written as they are. Nobody but the user who runs this can read
//! a new file, unless a mode says so.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use efface::file_system::FileSystem;
use efface::file_system::disk::Disk;
use efface::state::files::StateFiles;
use efface::state::{Draft, State};
use efface::table::directory::sidecars;
use efface::{Error, Result, limits};

use crate::failure::Failure;

/// The mode of a file that only its owner can read.
const PRIVATE: u32 = 0o600;

const STDOUT: &str = "standard output";

/// The operation of errors of a stream, and of nothing else.
const WRITE_TO: &str = "write to";

/// Where rows go.
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// A device or a named pipe.
    Stream(PathBuf),
    /// A regular file, which may be there already.
    File(Place),
}

/// A regular file by its directory and its name.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) name: String,
}

impl Destination {
    /// Looks at what `path` is, and touches nothing.
    ///
    /// # Errors
    /// When it is a directory, or its directory isn't there.
    pub(crate) fn of(path: &Path, word: &'static str) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(Failure::usage(
                word,
                format!("{} is a directory", path.display()),
            )),
            Ok(found) if !found.is_file() => Ok(Self::Stream(path.to_owned())),
            // A link is followed: the file behind it is what gets replaced.
            Ok(_) => Place::of(
                &fs::canonicalize(path).map_err(io_error("find", path))?,
                word,
            )
            .map(Self::File),
            Err(_) => Place::of(path, word).map(Self::File),
        }
    }

    /// Writes what `fill` writes; to a file all of it or nothing.
    ///
    /// # Errors
    /// Those of `fill`, and when writing fails.
    pub(crate) fn write<T>(
        &self,
        mode: Option<u32>,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Stdout => stream(io::stdout(), STDOUT, fill),
            Self::Stream(path) => {
                let device = OpenOptions::new()
                    .write(true)
                    .open(path)
                    .map_err(io_error("open", path))?;
                stream(device, &path.display().to_string(), fill)
            }
            Self::File(place) => place.publish(mode, |mut draft| fill(&mut draft)),
        }
    }
}

impl Place {
    /// The place of `path`, whose directory must be there.
    ///
    /// # Errors
    /// When it has no directory or no name.
    pub(crate) fn of(path: &Path, word: &'static str) -> Result<Self, Failure> {
        let wrong = |reason: String| Failure::usage(word, reason);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| wrong(format!("{} does not name a file", path.display())))?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        if !directory.is_dir() {
            return Err(wrong(format!(
                "the directory {} isn't there",
                directory.display()
            )));
        }
        Ok(Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Puts what `fill` writes in this place, in one durable step.
    ///
    /// # Errors
    /// Those of `fill`, and when writing or the rename fails; what was there is then still there.
    pub(crate) fn publish<T>(
        &self,
        mode: Option<u32>,
        fill: impl FnOnce(&mut dyn Draft) -> Result<T>,
    ) -> Result<T> {
        // Who may not read what is there may not read what comes in its place.
        let mode = mode.unwrap_or_else(|| {
            let there = fs::metadata(self.directory.join(&self.name));
            there.map_or(PRIVATE, |there| there.permissions().mode() & PRIVATE)
        });
        let files = StateFiles::with_mode(Disk::new(&self.directory), mode);
        // Exports to this place that were killed left rows behind. If they can't be removed, the next one tries again.
        let _ignored = files.remove_dead_drafts(&self.name);
        let mut draft = files.create(&self.name)?;
        let filled = fill(&mut *draft)?;
        draft.sync().map_err(Error::io("write", &self.name))?;
        // A checksum of what was there would keep Hadoop from reading what comes in its place.
        for sidecar in sidecars(&self.name) {
            match Disk::new(&self.directory).unlink(&sidecar) {
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::PermissionDenied =>
                {
                    return Err(Error::io("write", &self.name)(source));
                }
                // What has such a name and is no file is no checksum.
                Ok(_) | Err(_) => {}
            }
        }
        draft.publish()?;
        Ok(filled)
    }
}

/// The directory `path`, which may still have to be made.
///
/// # Errors
/// When there is something else, or it is to be made where no directory is.
pub(crate) fn directory(
    path: &Path,
    mode: Option<u32>,
    word: &'static str,
) -> Result<StateFiles, Failure> {
    let files = || StateFiles::with_mode(Disk::new(path), mode.unwrap_or(PRIVATE));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(files()),
        Ok(_) => Err(Failure::usage(
            word,
            format!("{} is not a directory", path.display()),
        )),
        Err(_) => Place::of(path, word).map(|_| files()),
    }
}

/// Makes the directory `path`, if need be, and holds it until the file is dropped: no other run writes into it. Who may
/// read files of this mode may enter a new one.
///
/// # Errors
/// [`Error::Locked`] when another one does, and when it can't be made or opened.
pub(crate) fn hold(path: &Path, mode: Option<u32>) -> Result<File> {
    let mode = mode.unwrap_or(PRIVATE);
    let created = fs::DirBuilder::new().mode(0o700).create(path);
    let directory = match created {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io_error("make", path)(error));
        }
        _ => open(path)?,
    };
    if created.is_ok() && mode != PRIVATE {
        let mode = fs::Permissions::from_mode(0o700 | mode | (mode & 0o444) >> 2);
        let permitted = directory.set_permissions(mode);
        permitted.map_err(io_error("make", path))?;
    }
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: path.display().to_string(),
            holder: "another export".to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
    }
}

/// Prints a report or a line of one.
///
/// # Errors
/// When standard output can't be written to.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::io(WRITE_TO, STDOUT))
}

/// Whether this only says that whoever read our output has gone.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { operation, source, .. }
        if *operation == WRITE_TO && source.kind() == io::ErrorKind::BrokenPipe)
}

/// Opens a file for reading.
///
/// # Errors
/// When it isn't there or can't be opened.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(io_error("open", path))
}

/// An [`Error::Io`] about a path of the command line.
pub(crate) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::io(operation, &path)(source)
}

fn stream<T>(
    to: impl Write + Send,
    name: &str,
    fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<T>,
) -> Result<T> {
    let watched = Watched {
        inner: to,
        reader_gone: false,
    };
    let mut out = BufWriter::with_capacity(limits::WRITE_BYTES, watched);
    let result = fill(&mut out).and_then(|filled| {
        out.flush().map_err(Error::io(WRITE_TO, name))?;
        Ok(filled)
    });
    if result.is_err() && out.get_ref().reader_gone {
        let source = io::ErrorKind::BrokenPipe.into();
        return Err(Error::io(WRITE_TO, name)(source));
    }
    result
}

/// Remembers a broken pipe, because the layers in between turn it into errors of their own.
struct Watched<W> {
    inner: W,
    reader_gone: bool,
}

impl<W> Watched<W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.reader_gone |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        result
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.note(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader has gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_told_apart_whatever_the_writer_makes_of_it() {
        let error = stream(Gone, STDOUT, |out| {
            out.write_all(&vec![0; 2 << 20])
                .map_err(|_| Error::Cancelled)
        });
        assert!(is_broken_pipe(&error.unwrap_err()));
        let error = stream(io::sink(), STDOUT, |_| Err::<(), _>(Error::Cancelled));
        assert!(matches!(error, Err(Error::Cancelled)));
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows");
        let destination = Destination::of(&path, "-o").unwrap();
        let write = |text: &'static [u8], then: Result<()>| {
            destination.write(None, |out| {
                out.write_all(text).unwrap();
                then
            })
        };
        assert!(write(b"half", Err(Error::Cancelled)).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        write(b"whole", Ok(())).unwrap();
        assert!(write(b"half", Err(Error::Cancelled)).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_is_not_replaced() {
        let destination = Destination::of(Path::new("/dev/null"), "-o").unwrap();
        assert!(matches!(destination, Destination::Stream(_)));
    }

    #[test]
    fn a_place_needs_a_directory_and_a_name() {
        for wrong in ["/", "no-such-directory/rows", ".."] {
            assert!(Destination::of(Path::new(wrong), "-o").is_err(), "{wrong}");
        }
    }
}
