//! The engine that a command works with, opened as its options say.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use efface::Error;
use efface::config::Config;
use efface::engine::{Configuration, Engine, EngineOptions};
use efface::file_system::disk::Disk;
use efface::state::State;
use efface::state::files::StateFiles;
use efface::table::Table;
use efface::table::directory::Directory;
use efface::table::throttled::Rate;
use efface_object_store::{Cache, Location, ObjectState, ObjectTable, OpenError};

use crate::args::{Args, Dataset, History};
use crate::failure::{Failure, Result};
use crate::output::io_error;
use crate::progress;

/// The engine of a dataset.
///
/// # Errors
/// Those of the configuration and of [`Engine::open`].
pub(crate) fn open(args: &Args, dataset: &Dataset) -> Result<Engine> {
    let (table, state) = places(args, dataset)?;
    let stored = Config::load(&*state)?;
    let options = EngineOptions {
        configuration: Configuration::Overriding(dataset.configure(stored.unwrap_or_default())),
        ..engine_options(args)
    };
    Ok(Engine::open(table, state, options)?)
}

/// The shards and efface's own files.
type Places = (Arc<dyn Table>, Arc<dyn State>);

fn places(args: &Args, dataset: &Dataset) -> Result<Places> {
    let url = match location(&dataset.path)? {
        Location::Local(path) => {
            check_directory(&path)?;
            let disk = Disk::new(&path);
            let state = Arc::new(StateFiles::new(disk.clone()));
            return Ok((Arc::new(Directory::new(disk)), state));
        }
        Location::Url(url) => url,
    };
    let store = efface_object_store::open(&url, &args.storage_option).map_err(not_opened)?;
    let store = match args.single_writer {
        true => store.with_single_writer(),
        false => store,
    };
    let store = match args.history {
        Some(History::Keep) => store.with_history(),
        None => store,
    };
    let cache = match &args.cache {
        Some(directory) => Cache::in_directory(directory),
        None => Cache::temporary(),
    };
    let cache = cache.map_err(Error::io("create", "a temporary directory"))?;
    let state = Arc::new(ObjectState::new(store.clone(), cache.clone()));
    Ok((Arc::new(ObjectTable::new(store, cache)), state))
}

/// Where a dataset lies.
///
/// # Errors
/// When its URL names no place.
pub(crate) fn location(path: &Path) -> Result<Location> {
    Location::of(path).map_err(not_opened)
}

fn not_opened(error: OpenError) -> Failure {
    match error {
        OpenError::Url(reason) => Failure::usage("DATASET", reason),
        OpenError::Option(reason) => Failure::usage("--storage-option", reason),
        OpenError::Machine(reason) => {
            let source = io::Error::other(reason);
            Error::io("start", "requests")(source).into()
        }
    }
}

fn check_directory(path: &Path) -> Result<()> {
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::usage("DATASET", format!("there is no {}", path.display()))
        }
        _ => io_error("open", path)(error).into(),
    })?;
    if found.is_dir() {
        return Ok(());
    }
    Err(Failure::usage(
        "DATASET",
        format!("{} is not a directory", path.display()),
    ))
}

/// What the library needs to know besides the dataset.
pub(crate) fn engine_options(args: &Args) -> EngineOptions {
    let process = std::process::id();
    let host = rustix::system::uname();
    EngineOptions {
        memory: args.memory(),
        observer: progress::observer(),
        rate: args.rate.map(Rate::new),
        holder: format!("pid {process} on {}", host.nodename().to_string_lossy()),
        ..EngineOptions::default()
    }
}
