//! The engine that a command works with, opened as its options say.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use efface::config::Config;
use efface::engine::{Engine, EngineOptions};
use efface::storage::Storage;
use efface::storage::disk::Disk;
use efface::subject::SubjectKey;

use crate::args::{Args, Dataset};
use crate::failure::{Failure, Result};
use crate::output::io_error;
use crate::progress;

/// The engine of a dataset.
///
/// # Errors
/// Those of [`configured`] and of [`Engine::open`].
pub(crate) fn open(args: &Args, dataset: &Dataset) -> Result<Engine> {
    let (storage, config) = configured(dataset)?;
    Ok(Engine::open(storage, config, engine_options(args))?)
}

/// The dataset's storage, and its configuration with what the flags say instead.
///
/// # Errors
/// When it is no directory, or the configuration can't be read.
pub(crate) fn configured(dataset: &Dataset) -> Result<(Arc<dyn Storage>, Config)> {
    let path = &dataset.path;
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::usage("DATASET", format!("there is no {}", path.display()))
        }
        _ => io_error("open", path)(error).into(),
    })?;
    if !found.is_dir() {
        return Err(Failure::usage(
            "DATASET",
            format!("{} is not a directory", path.display()),
        ));
    }
    let storage: Arc<dyn Storage> = Arc::new(Disk::new(path));
    let stored = Config::load(&*storage)?.unwrap_or_default();
    Ok((storage, dataset.configure(stored)))
}

/// What the library needs to know besides the dataset.
pub(crate) fn engine_options(args: &Args) -> EngineOptions {
    let process = std::process::id();
    let host = rustix::system::uname();
    EngineOptions {
        memory: args.memory(),
        observer: progress::observer(),
        seed_if_new: RandomState::new().hash_one(process),
        key_if_new: SubjectKey::random(),
        holder: format!("pid {process} on {}", host.nodename().to_string_lossy()),
    }
}
