//! The engine that a command works with, opened as its options say.

use std::fs;
use std::io;

use efface::config::Config;
use efface::engine::{Configuration, Engine, EngineOptions};
use efface::file_system::disk::Disk;
use efface::state::files::StateFiles;
use efface::table::throttled::Rate;

use crate::args::{Args, Dataset};
use crate::failure::{Failure, Result};
use crate::output::io_error;
use crate::progress;

/// The engine of a dataset.
///
/// # Errors
/// Those of the configuration and of [`Engine::open`].
pub(crate) fn open(args: &Args, dataset: &Dataset) -> Result<Engine> {
    let options = EngineOptions {
        configuration: Configuration::Overriding(configured(dataset)?),
        ..engine_options(args)
    };
    Ok(Engine::open_dir_with(&dataset.path, options)?)
}

/// The dataset's configuration, with what the flags say instead.
///
/// # Errors
/// When it is no directory, or the configuration can't be read.
fn configured(dataset: &Dataset) -> Result<Config> {
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
    let stored = Config::load(&StateFiles::new(Disk::new(path)))?;
    Ok(dataset.configure(stored.unwrap_or_default()))
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
